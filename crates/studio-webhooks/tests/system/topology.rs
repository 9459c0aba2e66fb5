//! What the services declare at the broker, seen by the broker's own tool.

use bench::servers::RabbitMq;
use serde_json::json;

use crate::support::studio::{Backend, Studio};

#[tokio::test(flavor = "multi_thread")]
async fn without_configuration_the_delays_are_those_of_the_specification() {
    let mut studio = Studio::prepare(Backend::Servers, &[]).await;
    studio.migrate();
    studio.forget_setting("STUDIO__DELIVERY__RETRY_DELAYS");
    studio.spawn("api", "api", &[]);
    studio.wait_ready(&studio.api).await;
    let vhost = studio.vhost();
    let queues = RabbitMq::shared().queue_arguments(&vhost).unwrap();
    let minute = 60_000;
    for (name, ttl) in
        [("1m", minute), ("5m", 5 * minute), ("30m", 30 * minute), ("2h", 120 * minute)]
    {
        let arguments = &queues[&format!("studio.deliver.retry.{name}")];
        assert_eq!(arguments["x-message-ttl"], json!(ttl), "{name}");
        assert_eq!(arguments["x-queue-type"], "quorum");
        assert_eq!(arguments["x-dead-letter-routing-key"], "studio.deliver");
        assert_eq!(arguments["x-dead-letter-strategy"], "at-least-once");
        assert_eq!(arguments["x-overflow"], "reject-publish");
    }
    for name in ["studio.dispatch", "studio.deliver"] {
        assert_eq!(queues[name]["x-delivery-limit"], json!(1_000), "{name}");
        assert_eq!(queues[name]["x-dead-letter-routing-key"], "studio.rejected");
    }
    assert_eq!(queues["studio.history"]["x-queue-type"], "stream");
}
