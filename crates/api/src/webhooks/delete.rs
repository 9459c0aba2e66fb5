//! `DELETE /v1/webhooks/{webhook_id}`

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

use crate::Api;
use crate::caller::Writer;
use crate::error::ApiError;
use crate::webhooks::webhook_id;

/// Deletes a webhook; its deliveries that have not ended are cancelled.
pub(crate) async fn delete(
    api: Data<Api>,
    caller: Writer,
    path: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = webhook_id(&path)?;
    api.store.delete_webhook(&caller.user, id).await?;
    super::announce(&api, &caller.user, id).await;
    Ok(HttpResponse::NoContent().finish())
}
