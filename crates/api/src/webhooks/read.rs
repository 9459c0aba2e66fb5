//! `GET /v1/webhooks` and `GET /v1/webhooks/{webhook_id}`

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};

use crate::Api;
use crate::caller::Reader;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::openapi::parameters::{Paging, WebhookFilter, WebhookPath};
use crate::query::Query;
use crate::view::{WebhookDetailView, WebhookView};
use crate::webhooks::webhook_id;

/// List webhooks
///
/// The user's webhooks, newest first.
#[utoipa::path(
    get, path = "/v1/webhooks", operation_id = "listWebhooks", tag = "Webhooks",
    params(Paging, WebhookFilter),
    responses((status = 200, description = "A page of the webhooks.", body = Vec<WebhookView>)),
)]
pub(crate) async fn list(
    api: Data<Api>,
    Reader(caller): Reader,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let read = || async {
        let mut query = Query::of(&request)?;
        let (page, after) = query.page();
        let filter = query.webhooks(after);
        query.finish()?;
        let found = api.store.list_webhooks(&caller.user, &filter, page).await?;
        Ok(Success::page(found, page, |row| WebhookView::new(row, &api.config)))
    };
    api.kept.answer(&api.store, (&request, &caller.user), read).await
}

/// Get a webhook
///
/// With the deliveries that wait for its endpoint, where some do.
#[utoipa::path(
    get, path = "/v1/webhooks/{webhook_id}", operation_id = "getWebhook", tag = "Webhooks",
    params(WebhookPath),
    responses((status = 200, description = "The webhook.", body = WebhookDetailView)),
)]
pub(crate) async fn get(
    api: Data<Api>,
    Reader(caller): Reader,
    request: HttpRequest,
    path: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let read = || async {
        let id = webhook_id(&path)?;
        let found = api.store.webhook(&caller.user, id).await?;
        let depth = api.store.backlog_of(id).await?;
        Ok(Success::ok(WebhookDetailView::new(found, depth, &api.config)))
    };
    api.kept.answer(&api.store, (&request, &caller.user), read).await
}
