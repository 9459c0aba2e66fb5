//! What every process hears.

use broker::{ControlMessage, ControlReader, ControlSignal};
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
    let signed_out = ControlMessage::SignedOut { user_id: "usr_2".into(), token_id: None };
    for message in [&changed, &signed_out] {
        broker.announce(message).await.unwrap();
    }
    for reader in &mut readers {
        assert_eq!(signal(reader).await, ControlSignal::Message(changed.clone()));
        assert_eq!(signal(reader).await, ControlSignal::Message(signed_out.clone()));
    }
    broker.close().await;
    assert!(readers[0].next().await.is_none());
}
