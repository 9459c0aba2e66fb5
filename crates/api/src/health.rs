//! `/healthz` and the public `/readyz`; what operators are told in their place.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Data;
use async_trait::async_trait;
use broker::Health;
use operate::{Readiness, Watched};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{Api, metrics};

/// Longest wait for the database's answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the process lives.
#[derive(Serialize, ToSchema)]
pub(crate) struct Liveness {
    /// `ok`
    status: &'static str,
}

/// Whether requests can be served.
#[derive(Serialize, ToSchema)]
#[schema(as = Readiness)]
pub(crate) struct ReadinessView {
    /// `ready` or `away`
    status: &'static str,
}

/// Whether it lives
///
/// Answers as long as the process does.
#[utoipa::path(
    get, path = "/healthz", operation_id = "healthz", tag = "Operations",
    responses((status = 200, description = "It lives.", body = Liveness)),
)]
pub(crate) async fn healthz() -> HttpResponse {
    operate::healthz().await
}

/// Whether it is ready
///
/// Whether requests can be served. What is away is told to operators, on a port of their own.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "Operations",
    responses(
        (status = 200, description = "Requests can be served.", body = ReadinessView),
        (status = 503, description = "They cannot: something is away.", body = ReadinessView),
    ),
)]
pub(crate) async fn readyz(api: Data<Api>) -> HttpResponse {
    operate::bare(&api.readiness().await)
}

#[async_trait]
impl Watched for Api {
    fn name(&self) -> &'static str {
        "api"
    }

    async fn readiness(&self) -> Readiness {
        let store = match tokio::time::timeout(PATIENCE, self.store.ping()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the database does not answer".to_owned()),
        };
        let broker = match self.broker.health() {
            Health::Ready => None,
            Health::Away(reason) => Some(reason),
        };
        Readiness::of([("store", store), ("broker", broker)])
    }

    fn waiting(&self) -> Value {
        json!({ "requests": metrics::under_way() })
    }
}
