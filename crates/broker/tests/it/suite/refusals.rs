//! What is not taken, and who is told.

use std::time::Duration;

use broker::{Outgoing, PublishError, Queue, Target};
use domain::MAX_EVENT_BYTES;

use crate::room::{Room, event, id_of, next, nothing};

/// A delay that no schedule of these tests has.
const UNKNOWN: Target = Target::Queue(Queue::Retry(Duration::from_secs(77)));

pub(crate) async fn what_has_no_queue_is_refused(room: Room) {
    let broker = room.open().await;
    let error = broker.publish(UNKNOWN, event("evt_1").1).await.unwrap_err();
    assert!(matches!(error, PublishError::Refused(_)), "{error}");
    // The next one is not held up by it.
    let (target, message) = event("evt_2");
    broker.publish(target, message).await.unwrap();
    broker.close().await;
}

pub(crate) async fn what_is_too_large_is_refused(room: Room) {
    let broker = room.open().await;
    let size = MAX_EVENT_BYTES + 8 * 1024;
    let (target, _) = event("evt_1");
    let message = Outgoing::json(vec![b'x'; size].into());
    let error = broker.publish(target.clone(), message).await.unwrap_err();
    assert!(matches!(error, PublishError::TooLarge(bytes) if bytes == size), "{error}");
    // The largest that is allowed goes through whole.
    let body = vec![b'x'; MAX_EVENT_BYTES];
    broker.publish(target, Outgoing::json(body.clone().into())).await.unwrap();
    assert_eq!(next(&mut broker.consume(Queue::Dispatch, 1)).await.body, body);
    let long = Outgoing { message_id: Some("x".repeat(256)), ..event("evt_1").1 };
    let error = broker.publish(Target::Queue(Queue::Deliver), long).await.unwrap_err();
    assert!(matches!(error, PublishError::Refused(_)), "{error}");
    broker.close().await;
}

pub(crate) async fn each_of_many_gets_its_own_result(room: Room) {
    let broker = room.open().await;
    let too_large = Outgoing::json(vec![b'x'; MAX_EVENT_BYTES * 2].into());
    let messages = (0..1_000).map(|number| {
        let (target, message) = event(&format!("evt_{number:03}"));
        match number {
            n if n % 100 == 50 => (target, too_large.clone()),
            n if n % 7 == 0 => (UNKNOWN, message),
            _ => (target, message),
        }
    });
    let results = broker.publish_all(messages.collect()).await;
    assert_eq!(results.len(), 1_000);
    let mut consumer = broker.consume(Queue::Dispatch, 1_000);
    for (number, result) in results.iter().enumerate() {
        if number % 100 == 50 {
            assert!(matches!(result, Err(PublishError::TooLarge(_))), "{number}: {result:?}");
        } else if number % 7 == 0 {
            assert!(matches!(result, Err(PublishError::Refused(_))), "{number}: {result:?}");
        } else {
            assert!(result.is_ok(), "{number}: {result:?}");
            assert_eq!(id_of(&next(&mut consumer).await), format!("evt_{number:03}"));
        }
    }
    broker.close().await;
}

pub(crate) async fn a_notice_is_taken_whether_anybody_listens_or_not(room: Room) {
    let broker = room.open().await;
    let target = Target::Notices("webhook.disabled");
    broker.publish(target, Outgoing::json("{}".into())).await.unwrap();
    nothing(&mut broker.consume(Queue::Dispatch, 10)).await;
    broker.close().await;
}
