//! Many clients, and a gateway that is killed under them (in full: `make chaos-gateway`).

use std::net::SocketAddr;
use std::sync::Arc;

use bench::event::SampleEvent;
use bench::gateway::chaos::{self, Installation, Plan};
use bench::publish::{AmqpPublisher, HttpPublisher};
use bench::token::access_token;

use crate::support::on_both;
use crate::support::studio::{Backend, JWT_SECRET, Studio};

/// An installation whose gateway can be killed.
struct Killable {
    studio: Studio,
    backend: Backend,
    amqp: Option<AmqpPublisher>,
    http: HttpPublisher,
}

impl Installation for Killable {
    fn gateway(&self) -> SocketAddr {
        self.studio.gateway["http://".len()..].parse().unwrap()
    }

    fn token(&self, user: &str) -> String {
        access_token(JWT_SECRET, user, &["user"])
    }

    async fn publish(&self, events: Vec<SampleEvent>) -> anyhow::Result<()> {
        if let Some(amqp) = &self.amqp {
            let events = &events;
            amqp.publish_all(events.len(), 64, |number| events[number].clone()).await?;
            return Ok(());
        }
        // The API is killed with the gateway here: nothing is known of what it did not answer,
        // and the same events are sent again, as docs/api.md says.
        let began = std::time::Instant::now();
        while let Err(error) = self.http.publish_batch(&events).await {
            anyhow::ensure!(began.elapsed() < crate::support::PATIENCE, "{error}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn kill(&self) -> anyhow::Result<()> {
        let name = if self.backend == Backend::Embedded { "all" } else { "gateway" };
        self.studio.kill(name);
        self.studio.spawn(name, name, &[]);
        self.studio.wait_ready(&self.studio.gateway).await;
        Ok(())
    }
}

async fn clients_of_a_gateway_that_is_killed_see_exactly_their_events(backend: Backend) {
    let studio = Studio::start(backend).await;
    let amqp = match &studio.amqp_url {
        Some(url) => Some(AmqpPublisher::connect(url).await.unwrap()),
        None => None,
    };
    let service = access_token(JWT_SECRET, "svc", &["service"]);
    let http = HttpPublisher::new(&studio.api, &service).unwrap();
    let plan = Plan { users: 10, projects: 10, clients: 10, events: 2_000, kills: 2 };
    let installation = Killable { studio, backend, amqp, http };
    let outcome = chaos::run(plan, Arc::new(installation)).await.unwrap();
    // Each of the hundred came back at least once, some between the two kills and after them.
    assert!(outcome.seen > 2_000 && outcome.resumed >= 100, "{outcome:?}");
    assert!(outcome.replayed > 100, "{outcome:?}");
}

on_both!(clients_of_a_gateway_that_is_killed_see_exactly_their_events);
