//! Everything that can go wrong, as HTTP. One list of codes; each message says what to do.

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use store::StoreError;
use utoipa::ToSchema;

use crate::openapi::error_code;

/// An answer that is no success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("the request body is not valid JSON: {0}")]
    Malformed(String),
    #[error("the headers and the path have more than {0} bytes")]
    HeadTooLarge(usize),
    #[error("{0}")]
    Unauthorized(&'static str),
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("there is nothing here with this id or path")]
    NotFound,
    #[error("this path does not take this method; it takes {0}")]
    MethodNotAllowed(String),
    #[error("{0}")]
    Conflict(String),
    #[error("the same request with this Idempotency-Key is under way; try again in a second")]
    KeyInUse,
    #[error("the body has more than {0} bytes")]
    TooLarge(usize),
    #[error("the body did not arrive in time")]
    TooSlow,
    #[error("the body must be JSON, with the header Content-Type: application/json")]
    UnsupportedMediaType,
    #[error("{} of the request cannot be accepted", fields(.0))]
    Invalid(Vec<FieldError>),
    #[error("too many requests; try again in {0} s")]
    TooManyRequests(u64),
    #[error("{0} cannot be reached right now; try again in some seconds")]
    Unavailable(&'static str),
    #[error("something went wrong on our side; it was noted")]
    Internal,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// The field, such as `events[1]`.
    pub(crate) field: String,
    /// What is wrong and what is expected.
    pub(crate) message: String,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

fn fields(errors: &[FieldError]) -> String {
    match errors.len() {
        1 => format!("the field {:?}", errors[0].field),
        n => format!("{n} fields"),
    }
}

#[derive(Serialize)]
struct ErrorEnvelope {
    success: bool,
    error: ErrorBody,
    meta: serde_json::Value,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// The case, for programs.
    #[schema(schema_with = error_code)]
    code: &'static str,
    /// What is wrong and what to do.
    message: String,
    /// Every wrong field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<FieldError>,
}

impl From<&ApiError> for ErrorBody {
    fn from(error: &ApiError) -> Self {
        Self { code: error.code(), message: error.to_string(), details: error.details().to_vec() }
    }
}

impl ApiError {
    /// Our own fault: noted here, for operators; the caller learns nothing of it.
    pub(crate) fn internal(reason: impl std::fmt::Display) -> Self {
        tracing::error!("a request failed: {reason}");
        Self::Internal
    }

    /// The name of the case, for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "MALFORMED_JSON",
            Self::HeadTooLarge(_) => "HEADERS_TOO_LARGE",
            Self::Unauthorized(_) => "UNAUTHORIZED",
            Self::Forbidden(_) => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::MethodNotAllowed(_) => "METHOD_NOT_ALLOWED",
            Self::Conflict(_) => "CONFLICT",
            Self::KeyInUse => "IDEMPOTENCY_KEY_IN_USE",
            Self::TooLarge(_) => "PAYLOAD_TOO_LARGE",
            Self::TooSlow => "REQUEST_TIMEOUT",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::Invalid(_) => "VALIDATION_ERROR",
            Self::TooManyRequests(_) => "RATE_LIMITED",
            Self::Unavailable(_) => "SERVICE_UNAVAILABLE",
            Self::Internal => "INTERNAL_ERROR",
        }
    }

    /// What is wrong, field by field.
    pub(crate) fn details(&self) -> &[FieldError] {
        match self {
            Self::Invalid(errors) => errors,
            _ => &[],
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::HeadTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict(_) | Self::KeyInUse => StatusCode::CONFLICT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status_code());
        match self {
            Self::MethodNotAllowed(allowed) => {
                answer.insert_header((ALLOW, allowed.as_str()));
            }
            Self::TooManyRequests(seconds) => {
                answer.insert_header((RETRY_AFTER, seconds.to_string()));
            }
            Self::KeyInUse => drop(answer.insert_header((RETRY_AFTER, "1"))),
            Self::Unavailable(_) => drop(answer.insert_header((RETRY_AFTER, "2"))),
            Self::Unauthorized(_) => {
                answer.insert_header(("www-authenticate", "Bearer"));
            }
            Self::TooLarge(_) | Self::TooSlow | Self::HeadTooLarge(_) => drop(answer.force_close()),
            _ => {}
        }
        let error = self.into();
        // The request's id is filled in on the way out, where it is known.
        let meta = serde_json::json!({ "request_id": crate::requests::PLACE });
        answer.json(ErrorEnvelope { success: false, error, meta })
    }
}

impl From<domain::Obstacle> for ApiError {
    fn from(obstacle: domain::Obstacle) -> Self {
        Self::Conflict(obstacle.to_string())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::NotFound,
            StoreError::LimitReached(limit) => Self::Conflict(format!(
                "you have {limit} webhooks, as many as are allowed; delete one first"
            )),
            StoreError::Headers(reason) => {
                Self::Invalid(crate::validation::refused_headers(&reason))
            }
            StoreError::InvalidText(field) => {
                Self::Invalid(vec![FieldError::new(field, "must not contain the character NUL")])
            }
            StoreError::Unavailable(reason) => {
                tracing::warn!("a request failed: the store is away: {reason}");
                Self::Unavailable("the database")
            }
            StoreError::Config { .. } | StoreError::Corrupt { .. } => Self::internal(error),
        }
    }
}
