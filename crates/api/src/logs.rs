//! `GET /v1/webhooks/{webhook_id}/logs`, one log of it, and its redelivery

use actix_web::HttpRequest;
use actix_web::web::{Data, Path};
use broker::{Outgoing, Queue, Target};
use domain::{Cause, DeliveryId, DeliveryTask, Event};
use serde::Serialize;
use store::{Action, Deed, ObjectKind, Outcome};
use utoipa::ToSchema;

use crate::Api;
use crate::caller::{Reader, Writer};
use crate::envelope::Success;
use crate::error::ApiError;
use crate::openapi::parameters::{LogFilter, LogPath, Paging, WebhookPath};
use crate::openapi::schema;
use crate::query::Query;
use crate::seed::Seed;
use crate::sent::RequestView;
use crate::view::{LogDetailView, LogView};
use crate::webhooks::webhook_id;

/// List logs
///
/// The webhook's deliveries, newest first.
#[utoipa::path(
    get, path = "/v1/webhooks/{webhook_id}/logs", operation_id = "listLogs", tag = "Logs",
    params(WebhookPath, Paging, LogFilter),
    responses((status = 200, description = "A page of the deliveries.", body = Vec<LogView>)),
)]
pub(crate) async fn list(
    api: Data<Api>,
    Reader(caller): Reader,
    path: Path<String>,
    request: HttpRequest,
) -> Result<Success<Vec<LogView>>, ApiError> {
    let id = webhook_id(&path)?;
    let mut query = Query::of(&request)?;
    let (page, after) = query.page();
    let filter = query.deliveries(after);
    query.finish()?;
    let found = api.store.deliveries(&caller.user, id, &filter, page).await?;
    Ok(Success::page(found, page, LogView::from))
}

/// Get a log
///
/// One delivery with its request, as it was sent last, and its attempts.
#[utoipa::path(
    get, path = "/v1/webhooks/{webhook_id}/logs/{log_id}", operation_id = "getLog", tag = "Logs",
    params(LogPath),
    responses((status = 200, description = "The delivery.", body = LogDetailView)),
)]
pub(crate) async fn get(
    api: Data<Api>,
    Reader(caller): Reader,
    path: Path<(String, String)>,
) -> Result<Success<LogDetailView>, ApiError> {
    let (webhook, log) = ids(&path)?;
    let (row, event, attempts) = api.store.delivery(&caller.user, webhook, log).await?;
    let webhook = api.store.find_webhook(webhook).await?.ok_or(ApiError::NotFound)?;
    let event = Event::from_payload(caller.user, event.payload).map_err(ApiError::internal)?;
    let request = RequestView::of(&webhook, &event, log, attempts.last());
    let request = request.map_err(ApiError::internal)?;
    Ok(Success::ok(LogDetailView::new(row, request, attempts)))
}

/// A delivery that will be made.
#[derive(Serialize, ToSchema)]
pub(crate) struct Redelivery {
    /// The new delivery.
    id: String,
    /// How far it is.
    #[schema(schema_with = schema::delivery_status)]
    status: &'static str,
}

/// Redeliver a log
///
/// Makes the delivery again, as one of its own with a schedule of its own. 202 means that it will
/// be made, whatever fails meanwhile.
#[utoipa::path(
    post, path = "/v1/webhooks/{webhook_id}/logs/{log_id}/redeliver",
    operation_id = "redeliverLog", tag = "Logs",
    params(LogPath),
    responses(
        (status = 202, description = "The new delivery.", body = Redelivery),
        (status = 409, description = "The webhook is switched off, or its endpoint is not verified."),
    ),
)]
pub(crate) async fn redeliver(
    api: Data<Api>,
    Writer(caller): Writer,
    path: Path<(String, String)>,
    seed: Seed,
) -> Result<Success<Redelivery>, ApiError> {
    let (webhook, log) = ids(&path)?;
    api.limits.count_redelivery(&caller.user)?;
    let (_, event, _) = api.store.delivery(&caller.user, webhook, log).await?;
    if let Some(obstacle) = api.store.webhook(&caller.user, webhook).await?.webhook.obstacle() {
        return Err(obstacle.into());
    }
    let user = caller.user.clone();
    let event = Event::from_payload(user, event.payload).map_err(ApiError::internal)?;
    // Every redelivery by hand is one of its own.
    let id = DeliveryId::derive(&event.user, &event.id, webhook, &seed.nonce());
    let task =
        DeliveryTask { id, webhook, event, attempt: 1, not_before: None, cause: Cause::Redelivery };
    api.broker
        .publish(Target::Queue(Queue::Deliver), Outgoing::task(&task))
        .await
        .map_err(crate::events::not_confirmed)?;
    // Afterwards: had it been recorded and not published, the user would try again after the
    // error, and the sweep would send it a second time. An attempt that was faster stands.
    if let Err(error) = api.store.record(&[Outcome::planned(&task)]).await {
        tracing::warn!(delivery.id = %id, "a redelivery shows in the log once tried: {error}");
    }
    let deed = Deed::of(Action::DeliveryRedeliver, ObjectKind::Delivery, &id.to_string());
    api.acting(&caller).note_done(&deed.belonging_to(&caller.user)).await;
    Ok(Success::accepted(Redelivery { id: id.to_string(), status: "pending" }))
}

fn ids(path: &(String, String)) -> Result<(domain::WebhookId, DeliveryId), ApiError> {
    Ok((webhook_id(&path.0)?, path.1.parse().map_err(|_| ApiError::NotFound)?))
}
