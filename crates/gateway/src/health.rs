//! The public `/readyz` of a gateway that runs by itself, and what operators are told.

use actix_web::HttpResponse;
use actix_web::web::Data;
use async_trait::async_trait;
use broker::Health;
use operate::{Readiness, Watched};
use serde_json::{Value, json};

use crate::Gateway;

/// Ready once the history has been caught up with: then clients can resume here.
pub(crate) async fn readyz(gateway: Data<Gateway>) -> HttpResponse {
    operate::bare(&gateway.readiness().await)
}

#[async_trait]
impl Watched for Gateway {
    fn name(&self) -> &'static str {
        "gateway"
    }

    async fn readiness(&self) -> Readiness {
        let broker = match self.broker.health() {
            Health::Ready => None,
            Health::Away(reason) => Some(reason),
        };
        let history = if self.hub.is_draining() {
            Some("draining")
        } else if self.hub.is_following() {
            None
        } else {
            Some("catching up")
        };
        let known = self.verifier.sign_outs().is_known();
        let sign_outs =
            (!known).then_some("waiting to be told who was signed out, by an api or a dispatcher");
        Readiness::of([
            ("broker", broker),
            ("history", history.map(str::to_owned)),
            ("sign_outs", sign_outs.map(str::to_owned)),
        ])
    }

    fn waiting(&self) -> Value {
        let (connections, users) = self.hub.presence.size();
        let (events, bytes) = self.hub.ring().size();
        json!({
            "connections": connections,
            "users": users,
            "queued_bytes": self.hub.queued_bytes(),
            "kept_events": events,
            "kept_bytes": bytes,
        })
    }
}
