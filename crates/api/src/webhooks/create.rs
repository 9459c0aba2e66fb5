//! `POST /v1/webhooks`

use actix_web::web::Data;

use crate::Api;
use crate::body::Fields;
use crate::caller::Writer;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::seed::Seed;
use crate::validation::new_webhook;
use crate::view::CreatedView;

/// Makes a webhook; the answer is the one that shows its whole secret.
pub(crate) async fn create(
    api: Data<Api>,
    caller: Writer,
    seed: Seed,
    fields: Fields,
) -> Result<Success<CreatedView>, ApiError> {
    let new = new_webhook(fields, caller.user, api.sender.guard())?;
    let made = api.store.create_webhook_once(seed.webhook(), new, api.config.max_webhooks).await?;
    super::announce(&api, &made.user, made.id).await;
    Ok(Success::created(made.into()))
}
