//! `POST /v1/users/{user_id}/sign-out`

use std::time::Duration;

use actix_web::web::{Data, Path};
use broker::ControlMessage;
use domain::UserId;
use serde::Serialize;
use serde_json::Value;

use crate::Api;
use crate::body::OptionalFields;
use crate::caller::Admin;
use crate::envelope::Success;
use crate::error::{ApiError, FieldError};
use crate::validation::Form;

/// Longest wait for the announcement.
const ANNOUNCE: Duration = Duration::from_secs(5);

/// Longest `jti`, bytes.
const MAX_TOKEN_ID: usize = 256;

#[derive(Serialize)]
pub(crate) struct SignedOut {
    user_id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
}

/// Has every gateway close the user's connections, or those of one token, within a second, and
/// refuse the tokens that they had. 202 once it is announced.
pub(crate) async fn sign_out(
    api: Data<Api>,
    _caller: Admin,
    path: Path<String>,
    fields: OptionalFields,
) -> Result<Success<SignedOut>, ApiError> {
    let user_id: UserId = path.parse().map_err(|_| ApiError::NotFound)?;
    let jti = match fields.0 {
        None => None,
        Some(fields) => {
            let mut form = Form::new(fields);
            let jti = form.optional("jti", token_id);
            form.finish()?;
            jti
        }
    };
    let message = ControlMessage::SignedOut { user_id: user_id.to_string(), token_id: jti.clone() };
    match tokio::time::timeout(ANNOUNCE, api.broker.announce(&message)).await {
        Ok(Ok(())) => {
            tracing::info!(user.id = %user_id, one_token = jti.is_some(), "a user was signed out");
            Ok(Success::accepted(SignedOut { user_id, jti }))
        }
        Ok(Err(error)) => {
            tracing::warn!(user.id = %user_id, "a sign-out was not announced: {error}");
            Err(ApiError::Unavailable("the broker"))
        }
        Err(_) => Err(ApiError::Unavailable("the broker")),
    }
}

fn token_id(value: Value) -> Result<String, Vec<FieldError>> {
    let text = value.as_str().filter(|text| (1..=MAX_TOKEN_ID).contains(&text.len()));
    text.map(str::to_owned).ok_or_else(|| {
        let message = format!("must be the `jti` of a token: a text of 1 to {MAX_TOKEN_ID} bytes");
        vec![FieldError::new("jti", message)]
    })
}
