//! The errors of the API, each as it is answered, with the sentence that says when.

use actix_web::ResponseError;
use serde_json::{Value, json};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{Content, ContentBuilder, Ref, RefOr};

use crate::error::{ApiError, ErrorBody, FieldError};
use crate::openapi::answers::REQUEST;

/// The errors of one status.
pub(super) struct Case {
    /// Names it in the document.
    pub(super) name: &'static str,
    pub(super) when: &'static str,
    /// One of each kind.
    pub(super) errors: Vec<ApiError>,
}

impl Case {
    pub(super) fn status(&self) -> u16 {
        self.errors.first().map_or(500, |error| error.status_code().as_u16())
    }

    /// The body, with an example of each kind.
    pub(super) fn content(&self) -> Content {
        let schema = Ref::from_schema_name("Error");
        let mut content = ContentBuilder::new().schema(Some(schema)).build();
        if let [error] = self.errors.as_slice() {
            content.example = Some(body(error));
            return content;
        }
        for error in &self.errors {
            let example = ExampleBuilder::new().summary(error.code()).value(Some(body(error)));
            content.examples.insert(error.code().to_owned(), RefOr::T(example.build()));
        }
        content
    }
}

fn body(error: &ApiError) -> Value {
    json!({
        "success": false,
        "error": ErrorBody::from(error),
        "meta": { "request_id": REQUEST },
    })
}

/// Every `code` of an error.
pub(crate) fn error_code() -> Object {
    let all = cases();
    let codes = all.iter().flat_map(|case| &case.errors).map(ApiError::code);
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .description(Some("The case, for programs."))
        .enum_values(Some(codes))
        .build()
}

/// All of them, by status.
pub(super) fn cases() -> Vec<Case> {
    let case = |name, when, errors| Case { name, when, errors };
    let wrong = FieldError::new("url", "must begin with https:// or http://");
    let limit = "you have 100 webhooks, as many as are allowed; delete one first";
    let syntax = "EOF while parsing an object at line 1 column 9";
    vec![
        case(
            "Malformed",
            "The body is no JSON, or a key of it stands twice.",
            vec![ApiError::Malformed(syntax.to_owned())],
        ),
        case(
            "Unauthorized",
            "There is no access token, or none that is valid.",
            vec![ApiError::Unauthorized("the access token has expired")],
        ),
        case(
            "Forbidden",
            "The token's roles do not allow it.",
            vec![ApiError::Forbidden("the token's roles do not allow changing webhooks")],
        ),
        case(
            "NotFound",
            "Unknown, or another user's: the two look the same.",
            vec![ApiError::NotFound],
        ),
        case(
            "MethodNotAllowed",
            "The path does not take this method; `Allow` lists those that it takes.",
            vec![ApiError::MethodNotAllowed("GET, HEAD, POST".to_owned())],
        ),
        case("RequestTimeout", "The body did not arrive in time.", vec![ApiError::TooSlow]),
        case(
            "Conflict",
            "It does not go together with how things are; the message says why.",
            vec![ApiError::Conflict(limit.to_owned()), ApiError::KeyInUse],
        ),
        case("PayloadTooLarge", "The body is too large.", vec![ApiError::TooLarge(64 * 1024)]),
        case(
            "UnsupportedMediaType",
            "The body is not `application/json`, or compressed.",
            vec![ApiError::UnsupportedMediaType],
        ),
        case(
            "ValidationError",
            "`details` names every wrong field or parameter.",
            vec![ApiError::Invalid(vec![wrong])],
        ),
        case(
            "HeadersTooLarge",
            "The headers and the path are too large together.",
            vec![ApiError::HeadTooLarge(32 * 1024)],
        ),
        case("RateLimited", "Too many requests in a minute.", vec![ApiError::TooManyRequests(12)]),
        case("InternalError", "Our fault; it was noted.", vec![ApiError::Internal]),
        case(
            "ServiceUnavailable",
            "The database or the broker is away: ask again later.",
            vec![ApiError::Unavailable("the database")],
        ),
    ]
}
