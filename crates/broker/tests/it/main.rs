//! One suite for both brokers ([`suite`]), and what only one of them promises.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod amqp;
mod embedded;
mod room;
mod speed;
mod suite;

/// A test for every promise of the suite, on each broker.
macro_rules! on_both {
    ($($part:ident::$name:ident;)*) => {
        mod on_the_embedded_broker {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                crate::suite::$part::$name(crate::room::Room::embedded()).await;
            })*
        }

        mod on_rabbitmq {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                crate::suite::$part::$name(crate::room::Room::rabbitmq().await).await;
            })*
        }
    };
}

on_both! {
    messages::a_message_arrives_as_it_was_published;
    messages::what_is_acknowledged_is_gone_and_what_is_not_comes_again_after_a_restart;
    messages::a_message_whose_acker_is_dropped_comes_again;
    messages::a_dropped_consumer_gives_everything_back;
    messages::what_was_sent_ahead_does_not_wait_for_work_under_way;
    messages::no_more_than_the_prefetch_is_under_way;
    messages::two_consumers_share_a_queue;
    messages::a_body_that_is_no_event_reaches_the_dispatcher;
    messages::a_backlog_is_consumed_whole_and_once;
    messages::a_close_hands_back_and_gives_out_nothing_more;
    messages::a_broker_just_opened_takes_publishes;
    refusals::what_has_no_queue_is_refused;
    refusals::what_is_too_large_is_refused;
    refusals::each_of_many_gets_its_own_result;
    refusals::a_notice_is_taken_whether_anybody_listens_or_not;
    delays::a_delayed_message_is_never_early_and_the_shorter_delay_comes_first;
    delays::a_delay_goes_on_across_a_restart;
    history::the_history_is_read_from_a_time_on_and_goes_on_live;
    history::reading_from_now_on_begins_with_what_comes;
    history::a_reader_catches_up_without_gap_or_double_while_events_are_published;
    history::the_history_skips_what_is_no_event;
    history::a_history_of_which_nothing_was_removed_is_whole_for_as_long_as_it_is_kept;
    inspection::a_queue_tells_how_it_is_doing;
    inspection::what_is_looked_at_and_handed_back_keeps_its_order;
    announcements::every_reader_hears_an_announcement;
    announcements::a_reader_begins_with_a_gap;
}
