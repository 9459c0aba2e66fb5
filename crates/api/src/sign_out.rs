//! `POST /v1/users/{user_id}/sign-out`

use std::time::Duration;

use actix_web::web::{Data, Path};
use broker::ControlMessage;
use domain::UserId;
use serde::Serialize;
use serde_json::Value;
use store::{Action, Deed, ObjectKind};
use utoipa::ToSchema;

use crate::Api;
use crate::body::OptionalFields;
use crate::caller::Admin;
use crate::envelope::Success;
use crate::error::{ApiError, FieldError};
use crate::openapi::parameters::UserPath;
use crate::openapi::requests::SignOut;
use crate::validation::Form;
use crate::view::seconds;

/// Longest wait for the announcement.
const ANNOUNCE: Duration = Duration::from_secs(5);

/// Longest `jti`, bytes.
const MAX_TOKEN_ID: usize = 256;

/// Who was signed out.
#[derive(Serialize, ToSchema)]
pub(crate) struct SignedOut {
    /// The user.
    #[schema(value_type = String)]
    user_id: UserId,
    /// The one token, where one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    jti: Option<String>,
    /// From which `iat` on the user's tokens are taken again, where no single one was named: half a
    /// minute later, for clocks differ. Issue new tokens from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    tokens_from: Option<String>,
}

/// Sign a user out
///
/// Has every service refuse the tokens that the user had, or the one that is named, within a
/// second, and close their connections; also after a restart. 202 once it is kept and announced.
#[utoipa::path(
    post, path = "/v1/users/{user_id}/sign-out", operation_id = "signOut", tag = "Users",
    params(UserPath),
    request_body = Option<SignOut>,
    responses((status = 202, description = "It is kept and announced.", body = SignedOut)),
    security(("access_token" = ["admin"])),
)]
pub(crate) async fn sign_out(
    api: Data<Api>,
    Admin(caller): Admin,
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
    // Kept before it is told: who is told and looks finds it, and a restart does not undo it.
    let at = api.store.sign_out(&user_id, jti.as_deref()).await?;
    let noted = access::SignOut { user: user_id.clone(), token_id: jti.clone(), at };
    api.verifier.sign_outs().note(&noted);
    let which = if jti.is_some() { "one token" } else { "all tokens" };
    let deed = Deed::of(Action::UserSignOut, ObjectKind::User, user_id.as_str());
    let deed = deed.belonging_to(&user_id).outcome(which);
    // It counts from here on, also where it cannot be announced.
    api.acting(&caller).note_done(&deed).await;
    let message = ControlMessage::SignedOut {
        user_id: user_id.to_string(),
        token_id: jti.clone(),
        at: i64::try_from(at.unix_timestamp_nanos() / 1_000).ok(),
    };
    match tokio::time::timeout(ANNOUNCE, api.broker.announce(&message)).await {
        Ok(Ok(())) => {
            let by = &caller.subject;
            tracing::info!(user.id = %user_id, %by, one_token = jti.is_some(), "a user was signed out");
            let tokens_from = jti.is_none().then(|| seconds(access::SignOut::tokens_from(at)));
            Ok(Success::accepted(SignedOut { user_id, jti, tokens_from }))
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
