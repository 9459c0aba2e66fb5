//! `POST /v1/webhooks`

use actix_web::web::Data;

use crate::Api;
use crate::body::Fields;
use crate::caller::Writer;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::openapi::requests::NewWebhook;
use crate::seed::Seed;
use crate::validation::new_webhook;
use crate::view::CreatedView;

/// Create a webhook
///
/// It counts from 100 ms after the answer, which is the one that shows its whole secret. Where
/// endpoints have to be verified it is `pending` first, and its endpoint is asked.
#[utoipa::path(
    post, path = "/v1/webhooks", operation_id = "createWebhook", tag = "Webhooks",
    request_body = NewWebhook,
    responses(
        (status = 201, description = "The webhook, with its whole secret.", body = CreatedView),
        (status = 409, description = "As many webhooks as are allowed."),
    ),
)]
pub(crate) async fn create(
    api: Data<Api>,
    Writer(caller): Writer,
    seed: Seed,
    fields: Fields,
) -> Result<Success<CreatedView>, ApiError> {
    let store = api.acting(&caller);
    let must_verify = api.config.verify_endpoints;
    let new = new_webhook(fields, caller.user, api.sender.guard(), must_verify)?;
    let made = store.create_webhook_once(seed.webhook(), new, api.config.max_webhooks).await?;
    super::announce(&api, &made.user, made.id).await;
    super::verify::ask_soon(&api, &made);
    Ok(Success::created(CreatedView::new(made, &api.config)))
}
