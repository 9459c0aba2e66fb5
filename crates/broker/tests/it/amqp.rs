//! What only RabbitMQ can do to us.

mod faults;
mod slow;
mod topology;

use broker::{Health, SharedBroker};

use crate::room::wait_for;

/// Waits until the broker is away, and returns why.
async fn away(broker: &SharedBroker) -> String {
    wait_for("a broker that is away", || async { broker.health() != Health::Ready }).await;
    match broker.health() {
        Health::Away(reason) => reason,
        Health::Ready => String::new(),
    }
}

/// A channel of a stranger to this crate.
async fn stranger(url: &str) -> (lapin::Connection, lapin::Channel) {
    let connection = bench::servers::connect(url).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}
