//! What every process hears.

use broker::{ControlMessage, ControlReader, ControlSignal, SignedOut};
use domain::WebhookId;

use crate::room::{PATIENCE, Room};

async fn signal(reader: &mut ControlReader) -> ControlSignal {
    let next = tokio::time::timeout(PATIENCE, reader.next()).await;
    next.expect("a signal in time").expect("a broker that is open")
}

pub(crate) async fn a_reader_begins_with_a_gap(room: Room) {
    let broker = room.open().await;
    assert_eq!(signal(&mut broker.control()).await, ControlSignal::Gap);
    broker.close().await;
}

pub(crate) async fn every_reader_hears_an_announcement(room: Room) {
    let broker = room.open().await;
    let mut readers = [broker.control(), broker.control()];
    for reader in &mut readers {
        assert_eq!(signal(reader).await, ControlSignal::Gap);
    }
    let user = "usr_1".parse().unwrap();
    let changed = ControlMessage::webhook_changed(&user, WebhookId::generate());
    let signed_out =
        ControlMessage::SignedOut { user_id: "usr_2".into(), token_id: None, at: Some(7) };
    let wanted = ControlMessage::SignOutsWanted { question: "q".into(), since: None };
    let one = SignedOut { user_id: "usr_2".into(), token_id: Some("t".into()), at: 7 };
    let answer = ControlMessage::SignOuts {
        question: "q".into(),
        answer: "a".into(),
        part: 0,
        parts: 1,
        sign_outs: vec![one],
        everybody: None,
    };
    let all = [changed, signed_out, wanted, answer];
    for message in &all {
        broker.announce(message).await.unwrap();
    }
    for reader in &mut readers {
        for message in &all {
            assert_eq!(signal(reader).await, ControlSignal::Message(message.clone()));
        }
    }
    broker.close().await;
    assert!(readers[0].next().await.is_none());
}
