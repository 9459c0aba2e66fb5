//! `DELETE /v1/webhooks/{webhook_id}`

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

use crate::Api;
use crate::caller::Writer;
use crate::error::ApiError;
use crate::openapi::parameters::WebhookPath;
use crate::webhooks::webhook_id;

/// Delete a webhook
///
/// Its deliveries that have not ended are cancelled.
#[utoipa::path(
    delete, path = "/v1/webhooks/{webhook_id}", operation_id = "deleteWebhook", tag = "Webhooks",
    params(WebhookPath),
    responses((status = 204, description = "It is deleted.")),
)]
pub(crate) async fn delete(
    api: Data<Api>,
    Writer(caller): Writer,
    path: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = webhook_id(&path)?;
    api.acting(&caller).delete_webhook(&caller.user, id).await?;
    super::announce(&api, &caller.user, id).await;
    Ok(HttpResponse::NoContent().finish())
}
