//! `PUT /v1/webhooks/{webhook_id}`, and PATCH with the same meaning

use actix_web::web::{Data, Path};

use crate::Api;
use crate::body::Fields;
use crate::caller::Writer;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::openapi::parameters::WebhookPath;
use crate::openapi::requests::WebhookChange;
use crate::validation::change;
use crate::view::UpdatedView;
use crate::webhooks::webhook_id;

/// Update a webhook
///
/// Changes what is given; what is left out stays as it is. Deliveries follow within a second. When
/// the scheme, host or port of the URL change, headers that hold credentials are removed unless
/// their values are given again; `removed_headers` names them.
#[utoipa::path(
    put, path = "/v1/webhooks/{webhook_id}", operation_id = "updateWebhook", tag = "Webhooks",
    params(WebhookPath),
    request_body = WebhookChange,
    responses((status = 200, description = "The webhook as it is now.", body = UpdatedView)),
)]
pub(crate) async fn update(
    api: Data<Api>,
    Writer(caller): Writer,
    path: Path<String>,
    fields: Fields,
) -> Result<Success<UpdatedView>, ApiError> {
    let id = webhook_id(&path)?;
    // Unknown before invalid: who may not see a webhook learns nothing of its fields.
    api.store.webhook(&caller.user, id).await?;
    let change = change(fields, api.sender.guard(), api.config.verify_endpoints)?;
    let asks_otherwise = change.url.is_some() || change.secret.is_some();
    let changed = api.acting(&caller).update_webhook(&caller.user, id, change).await?;
    super::announce(&api, &caller.user, id).await;
    if asks_otherwise {
        super::verify::ask_soon(&api, &changed.webhook);
    }
    Ok(Success::ok(UpdatedView::new(changed, &api.config)))
}

/// Update a webhook
///
/// The same as PUT: changes what is given; what is left out stays as it is.
#[utoipa::path(
    patch, path = "/v1/webhooks/{webhook_id}", operation_id = "patchWebhook", tag = "Webhooks",
    params(WebhookPath),
    request_body = WebhookChange,
    responses((status = 200, description = "The webhook as it is now.", body = UpdatedView)),
)]
pub(crate) async fn patch(
    api: Data<Api>,
    Writer(caller): Writer,
    path: Path<String>,
    fields: Fields,
) -> Result<Success<UpdatedView>, ApiError> {
    update(api, Writer(caller), path, fields).await
}
