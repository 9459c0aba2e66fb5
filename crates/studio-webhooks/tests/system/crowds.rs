//! Waiting costs nobody else, in small: crowds that are slow, silent or many beside healthy users,
//! who are measured by themselves in the same run. The settings are the defaults but where a test
//! says so; `bench crowd` measures the full forms.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bench::crowd::{
    Compared, Endpoints, Group, Healthy, Load, Manner, ONCE, SHARED, Span, Town, compare,
};
use bench::receiver::Workers;
use serde_json::json;
use tokio::sync::Mutex;

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::studio::{Backend, JWT_SECRET, Studio};
use crate::support::{on_both, wait_at_most, wait_for};

/// A p99 that is nobody's fault: a debug build on two cores that others use, too.
const NOISE_MS: f64 = 150.0;

/// The first step of the schedule that these tests run with.
const DELAY: Duration = Duration::from_secs(1);

/// How long each part is measured; events that have not arrived so long after it never did.
const SPAN: Span = Span {
    length: Duration::from_secs(4),
    delay: DELAY,
    patience: Duration::from_secs(6),
    head_start: Duration::ZERO,
};

/// A debug build works for a second or two on a burst of hundreds of requests: what is measured is
/// what their waiting costs others.
const SPAN_WHILE_THEY_WAIT: Span = Span { head_start: Duration::from_secs(3), ..SPAN };

/// Held by the test that measures: another crowd beside it is none of its own.
static MEASURING: Mutex<()> = Mutex::const_new(());

async fn town(studio: &Studio) -> Town {
    Town::at(&studio.api, JWT_SECRET, studio.amqp_url.as_deref()).await.unwrap()
}

/// Healthy users by themselves and beside the crowd.
async fn beside(studio: &Studio, healthy: Healthy, crowd: &[Group], span: Span) -> Compared {
    beside_at(&Endpoints::start().await.unwrap(), studio, healthy, crowd, span).await
}

/// The same with endpoints that outlive it.
async fn beside_at(
    endpoints: &Endpoints,
    studio: &Studio,
    healthy: Healthy,
    crowd: &[Group],
    span: Span,
) -> Compared {
    let compared = compare(&town(studio).await, endpoints, healthy, crowd, span).await.unwrap();
    println!("{compared}");
    compared
}

/// First attempts and retries are about as quick as they are alone.
#[track_caller]
fn assert_held_up_by_nobody(compared: &Compared) {
    let Compared { alone, beside, .. } = compared;
    let firsts = alone.firsts.p99 * 2.0 + NOISE_MS;
    assert!(beside.firsts.p99 <= firsts, "{compared}");
    // Brokers look at the time of what waits now and then.
    let retries = alone.retries.p99 * 2.0 + NOISE_MS * 2.0;
    assert!(beside.retries.p99 <= retries, "{compared}");
    assert_eq!((beside.firsts.missing, beside.retries.missing), (0, 0), "{compared}");
}

async fn answers_that_are_slow_hold_nobody_up(backend: Backend) {
    let _alone = MEASURING.lock().await;
    let studio = Studio::start(backend).await;
    let (later, burst) = (Manner::Later(Duration::from_secs(8)), Load::Bursts(5, ONCE));
    let crowd = [Group::new("slow", later, burst).of(6, 60)];
    assert_held_up_by_nobody(
        &beside(&studio, Healthy::default(), &crowd, SPAN_WHILE_THEY_WAIT).await,
    );
}

async fn users_with_silent_endpoints_hold_nobody_up(backend: Backend) {
    let _alone = MEASURING.lock().await;
    let studio = Studio::start(backend).await;
    // More than a dispatcher takes from the broker before something has ended.
    let crowd = [Group::new("silent", Manner::Silent, Load::Bursts(6, ONCE)).of(300, 1)];
    assert_held_up_by_nobody(
        &beside(&studio, Healthy::default(), &crowd, SPAN_WHILE_THEY_WAIT).await,
    );
}

/// Retries that hang hold no messages of those behind them.
async fn retries_to_silent_endpoints_hold_nobody_up(backend: Backend) {
    let _alone = MEASURING.lock().await;
    let studio = Studio::with(backend, &[("STUDIO__DELIVERY__TIMEOUT", "2s")]).await;
    // More than a dispatcher takes of retries before something has ended; they time out, and their
    // retries come, while others are measured.
    let crowd = [Group::new("silent", Manner::Silent, Load::Bursts(1, ONCE)).of(700, 1)];
    let span = Span { length: Duration::from_secs(6), head_start: Duration::from_secs(1), ..SPAN };
    assert_held_up_by_nobody(&beside(&studio, Healthy::default(), &crowd, span).await);
}

async fn a_host_that_many_use_is_shared(backend: Backend) {
    let _alone = MEASURING.lock().await;
    let studio = Studio::start(backend).await;
    let (later, burst) = (Manner::Later(Duration::from_secs(8)), Load::Bursts(40, ONCE));
    let crowd = [Group::new("host", later, burst).of(1, 12).at_one_host()];
    let healthy = Healthy { host: Some(SHARED), ..Healthy::default() };
    assert_held_up_by_nobody(&beside(&studio, healthy, &crowd, SPAN).await);
}

async fn a_user_who_publishes_a_thousand_times_more_holds_nobody_up(backend: Backend) {
    let _alone = MEASURING.lock().await;
    let studio = Studio::start(backend).await;
    let workers = Workers::new(8, Duration::from_millis(50), Duration::from_secs(10));
    let crowd = [Group::new("heavy", Manner::ByWorkers(workers), Load::Rate(500.0))];
    let healthy = Healthy { users: 20, rate: 20.0, failing_rate: 5.0, host: None };
    assert_held_up_by_nobody(&beside(&studio, healthy, &crowd, SPAN).await);
}

async fn an_endpoint_of_few_workers_is_not_driven_into_its_own_time_limit(backend: Backend) {
    let _alone = MEASURING.lock().await;
    let studio = Studio::start(backend).await;
    let (each, own_limit) = (Duration::from_millis(50), Duration::from_secs(1));
    let workers = Workers::new(8, each, own_limit);
    let load = Load::Bursts(1_000, ONCE);
    let crowd = [Group::new("workers", Manner::ByWorkers(workers.clone()), load)];
    let began = Instant::now();
    let endpoints = Endpoints::start().await.unwrap();
    // The burst itself is worked on within that second.
    let span = Span { head_start: Duration::from_secs(1), ..SPAN };
    let compared = beside_at(&endpoints, &studio, Healthy::default(), &crowd, span).await;
    // 160 a second at best.
    let last = workers.wait_for(1_000, Duration::from_secs(12)).await;
    println!("{last:?} after {:?}, {} refused", began.elapsed(), workers.refused());
    assert!(last.is_ok(), "only {} of 1,000 were served", workers.served());
    assert_eq!(workers.refused(), 0, "attempts failed that the endpoint had no time for");
    assert_held_up_by_nobody(&compared);
}

/// Requests that hang are made again by whoever comes after their process; shorter time-outs, so
/// that it is soon.
async fn what_hangs_and_what_waits_outlives_a_kill(backend: Backend) {
    let settings = [("STUDIO__DELIVERY__TIMEOUT", "3s"), ("STUDIO__DISPATCHER__SWEEP_EVERY", "1s")];
    let studio = Studio::with(backend, &settings).await;
    // Longer than a message is held: some are under way when the process dies, the rest wait.
    let endpoint = Endpoint::slow(Duration::from_millis(1_500)).await;
    let slow = studio.webhook("usr_1", &endpoint.url(), json!({ "project_ids": ["slow"] })).await;
    let paced = Endpoint::answering([200]).await;
    let fields = json!({ "project_ids": ["paced"], "rate_limit": 20 });
    let backlog = studio.webhook("usr_2", &paced.url(), fields).await;
    let hanging: Vec<_> = (0..100).map(|_| Published::in_project("usr_1", "slow")).collect();
    let waiting: Vec<_> = (0..150).map(|_| Published::in_project("usr_2", "paced")).collect();
    studio.publish_all(&hanging).await;
    studio.publish_all(&waiting).await;
    // Requests have been under way for more than a second, and others wait.
    endpoint.wait_for(1).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let name = backend.worker();
    studio.kill(name);
    studio.spawn(name, name, &[]);
    studio.wait_ready(&studio.api).await;
    for (webhook, events, endpoint) in [(&slow, &hanging, &endpoint), (&backlog, &waiting, &paced)]
    {
        wait_for("every delivery being a success", || async {
            (studio.succeeded(webhook).await == events.len()).then_some(())
        })
        .await;
        let arrived: HashSet<String> =
            endpoint.requests().iter().map(|request| request.event_id()).collect();
        assert!(events.iter().all(|event| arrived.contains(&event.id)), "something is lost");
    }
}

on_both!(
    answers_that_are_slow_hold_nobody_up,
    users_with_silent_endpoints_hold_nobody_up,
    retries_to_silent_endpoints_hold_nobody_up,
    a_host_that_many_use_is_shared,
    a_user_who_publishes_a_thousand_times_more_holds_nobody_up,
    an_endpoint_of_few_workers_is_not_driven_into_its_own_time_limit,
    what_hangs_and_what_waits_outlives_a_kill,
);

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_is_exact_over_three_dispatchers() {
    let studio = Studio::start(Backend::Servers).await;
    for name in ["dispatcher-2", "dispatcher-3"] {
        studio.spawn(name, "dispatcher", &[("STUDIO__DISPATCHER__BIND", "127.0.0.1:0")]);
        wait_for(name, || async {
            studio.log(name).contains("the dispatcher works").then_some(())
        })
        .await;
    }
    let endpoint = Endpoint::answering([200]).await;
    studio.webhook("usr_1", &endpoint.url(), json!({ "rate_limit": 5 })).await;
    studio.publish_all(&Published::several("usr_1", 60)).await;
    // At five a second they take twelve.
    wait_at_most(Duration::from_secs(25), "the arrival of all", || async {
        (endpoint.count() >= 60).then_some(())
    })
    .await;
    let requests = endpoint.requests();
    let took = requests[59].at - requests[0].at;
    println!("60 events at 5 a second within {took:?}");
    for window in requests.windows(9) {
        // Five a second, one more for each end of the window, one because clocks tremble.
        let took = window[8].at - window[0].at;
        assert!(took >= Duration::from_secs(1), "9 in {took:?}");
    }
    assert!(took >= Duration::from_secs(10), "60 in {took:?}");
    let ids: HashSet<String> = requests.iter().map(|request| request.event_id()).collect();
    assert_eq!((ids.len(), requests.len()), (60, 60));
}
