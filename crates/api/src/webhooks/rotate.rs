//! `POST /v1/webhooks/{webhook_id}/rotate-secret`

use std::time::Duration;

use actix_web::web::{Data, Path};
use serde_json::Value;
use time::OffsetDateTime;

use crate::Api;
use crate::body::OptionalFields;
use crate::caller::Writer;
use crate::envelope::Success;
use crate::error::{ApiError, FieldError};
use crate::openapi::parameters::WebhookPath;
use crate::openapi::requests::RotateRequest;
use crate::validation::{Form, generate_secret, whole};
use crate::view::CreatedView;
use crate::webhooks::webhook_id;

/// How long the old secret goes on signing beside the new one, unless the user says otherwise.
const GRACE: u64 = 24 * 3_600;

/// The longest grace period, seconds.
const LONGEST_GRACE: u64 = 7 * 24 * 3_600;

/// Rotate the secret
///
/// Makes a new secret and shows it; the old one signs beside it for `grace_seconds`. A webhook that
/// signs with Ed25519 gets a new key pair too.
#[utoipa::path(
    post, path = "/v1/webhooks/{webhook_id}/rotate-secret",
    operation_id = "rotateSecret", tag = "Secrets",
    params(WebhookPath),
    request_body = Option<RotateRequest>,
    responses((status = 200, description = "The webhook, with its whole new secret.", body = CreatedView)),
)]
pub(crate) async fn rotate(
    api: Data<Api>,
    Writer(caller): Writer,
    path: Path<String>,
    fields: OptionalFields,
) -> Result<Success<CreatedView>, ApiError> {
    let id = webhook_id(&path)?;
    let grace = match fields.0 {
        None => GRACE,
        Some(fields) => {
            let mut form = Form::new(fields);
            let grace = form.optional("grace_seconds", grace_seconds).unwrap_or(GRACE);
            form.finish()?;
            grace
        }
    };
    let until = OffsetDateTime::now_utc() + Duration::from_secs(grace);
    let rotated =
        api.acting(&caller).rotate_secret(&caller.user, id, generate_secret(), until).await?;
    super::announce(&api, &caller.user, id).await;
    Ok(Success::ok(CreatedView::new(rotated, &api.config)))
}

fn grace_seconds(value: Value) -> Result<u64, Vec<FieldError>> {
    whole(&value).filter(|seconds| *seconds <= LONGEST_GRACE).ok_or_else(|| {
        let message = format!("must be a whole number from 0 to {LONGEST_GRACE}");
        vec![FieldError::new("grace_seconds", message)]
    })
}
