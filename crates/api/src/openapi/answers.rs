//! What all answers have in common: the envelopes, the errors, the headers, who may ask.

use serde_json::Value;
use utoipa::PartialSchema;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{Components, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Ref, RefOr, Required};

use crate::envelope::Pagination;
use crate::error::{ErrorBody, FieldError};
use crate::openapi::errors::cases;
use crate::openapi::schema::{ID, text};

/// The id of the examples' requests.
pub(crate) const REQUEST: &str = "req_0198c6a1b2c37d4e8f90a1b2c3d4e5f6";

/// Adds what operations refer to: schemas of the envelopes, the errors, the headers.
pub(crate) fn add_components(components: &mut Components) {
    let meta = meta("What is said about the answer.", None);
    let list = meta_of_list();
    for (name, schema) in [
        ("Meta", meta),
        ("ListMeta", list),
        ("Pagination", Pagination::schema()),
        ("FieldError", FieldError::schema()),
        ("ErrorDetail", ErrorBody::schema()),
        ("Error", error_envelope()),
    ] {
        components.schemas.insert(name.to_owned(), schema);
    }
    for case in cases() {
        let response = ResponseBuilder::new().description(case.when);
        let mut response = response.content("application/json", case.content()).build();
        add_to(&mut response, case.status(), true);
        components.responses.insert(case.name.to_owned(), response.into());
    }
    for (name, header) in all_headers() {
        components.headers.insert(name.to_owned(), header.into());
    }
    components.parameters.insert("RequestId".to_owned(), RefOr::T(request_id()));
    components.parameters.insert("ActAs".to_owned(), RefOr::T(act_as()));
    components.parameters.insert("IdempotencyKey".to_owned(), RefOr::T(idempotency_key()));
}

fn meta(description: &str, pagination: Option<RefOr<Schema>>) -> RefOr<Schema> {
    let id = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .description(Some("The id of the request: `X-Request-Id`."));
    let mut meta = ObjectBuilder::new()
        .description(Some(description))
        .property("request_id", id)
        .required("request_id");
    if let Some(pagination) = pagination {
        meta = meta.property("pagination", pagination).required("pagination");
    }
    meta.into()
}

fn meta_of_list() -> RefOr<Schema> {
    let pagination = Ref::from_schema_name("Pagination");
    meta("What is said about a part of a list.", Some(pagination.into()))
}

fn success(value: bool) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::Type(Type::Boolean)).enum_values(Some([value]))
}

fn error_envelope() -> RefOr<Schema> {
    ObjectBuilder::new()
        .description(Some("The answer to a request that failed."))
        .property("success", success(false))
        .property("error", Ref::from_schema_name("ErrorDetail"))
        .property("meta", Ref::from_schema_name("Meta"))
        .required("success")
        .required("error")
        .required("meta")
        .into()
}

/// The envelope round `data`.
fn envelope(data: RefOr<Schema>, paged: bool) -> RefOr<Schema> {
    let meta = if paged { "ListMeta" } else { "Meta" };
    ObjectBuilder::new()
        .property("success", success(true))
        .property("data", data)
        .property("meta", Ref::from_schema_name(meta))
        .required("success")
        .required("data")
        .required("meta")
        .into()
}

fn header(of: Type, description: &str, example: Value) -> Header {
    HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(SchemaType::Type(of)).examples([example])))
        .description(Some(description))
        .build()
}

fn all_headers() -> [(&'static str, Header); 8] {
    let number = Type::Integer;
    [
        ("X-Request-Id", header(Type::String, "Names the request.", REQUEST.into())),
        ("X-RateLimit-Limit", header(number.clone(), "Requests in a minute.", 100.into())),
        ("X-RateLimit-Remaining", header(number.clone(), "Those that are left.", 87.into())),
        (
            "X-RateLimit-Reset",
            header(number.clone(), "When all are back, unix seconds.", 1_770_033_600.into()),
        ),
        ("Retry-After", header(number, "Seconds to wait before asking again.", 12.into())),
        (
            "Idempotent-Replayed",
            header(Type::String, "There when the answer was given before.", "true".into()),
        ),
        ("Allow", header(Type::String, "The methods of the path.", "GET, HEAD, POST".into())),
        ("WWW-Authenticate", header(Type::String, "How to authenticate.", "Bearer".into())),
    ]
}

fn header_reference(name: &str) -> RefOr<Header> {
    RefOr::Ref(Ref::new(format!("#/components/headers/{name}")))
}

/// The headers of an answer, and whether they need a counted caller.
fn headers(status: u16) -> Vec<(&'static str, bool)> {
    let mut names = vec![("X-Request-Id", false)];
    match status {
        401 => names.push(("WWW-Authenticate", false)),
        405 => names.push(("Allow", false)),
        429 | 503 => names.push(("Retry-After", false)),
        _ => {}
    }
    if !matches!(status, 401 | 405) {
        names.extend(
            ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"].map(|n| (n, true)),
        );
    }
    names
}

fn text_parameter(name: &str, place: ParameterIn, description: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(SchemaType::Type(Type::String))))
        .build()
}

fn request_id() -> Parameter {
    let description = "Your name for the request, which the answer and our logs carry: 1 to 64 \
        letters, digits, `.`, `_` or `-`. Anything else is replaced by an id of ours.";
    text_parameter("X-Request-Id", ParameterIn::Header, description)
}

fn act_as() -> Parameter {
    let description = "Whom an `admin` acts for. Others are refused.";
    let mut parameter = text_parameter("user_id", ParameterIn::Query, description);
    parameter.schema = Some(text(1, 128, ID).into());
    parameter
}

fn idempotency_key() -> Parameter {
    let description = "Your own name for this request, a UUID for example: the same request with \
        the same key gets the same answer for 24 hours and is done once.";
    let mut parameter = text_parameter("Idempotency-Key", ParameterIn::Header, description);
    parameter.schema = Some(text(1, 255, "^[!-~]([ -~]*[!-~])?$").into());
    parameter
}

/// Completes an operation: who may ask, the envelope round its answer, the errors that it can
/// give, the headers.
pub(crate) fn finish(path: &str, method: &str, operation: &mut Operation) {
    if !path.starts_with("/v1/") {
        operation.security = Some(Vec::new());
        add_headers(operation, false);
        return;
    }
    // An operation that names its roles itself is for no user's own calls, and not counted.
    let special = operation.security.is_some();
    if !special {
        let roles: &[&str] =
            if method == "get" { &["user", "readonly", "admin"] } else { &["user", "admin"] };
        operation.security =
            Some(vec![SecurityRequirement::new("access_token", roles.iter().copied())]);
    }
    let parameters = operation.parameters.get_or_insert_default();
    let has = |name: &str| {
        parameters.iter().any(|p| matches!(p, RefOr::T(parameter) if parameter.name == name))
    };
    let paged = has("page");
    let in_path = parameters.iter().any(|parameter| {
        matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Path)
    });
    if !special {
        parameters.push(RefOr::Ref(Ref::new("#/components/parameters/ActAs")));
    }
    parameters.push(RefOr::Ref(Ref::new("#/components/parameters/RequestId")));
    if method == "post" {
        parameters.push(RefOr::Ref(Ref::new("#/components/parameters/IdempotencyKey")));
    }

    for response in operation.responses.responses.values_mut() {
        let RefOr::T(response) = response else { continue };
        if let Some(RefOr::T(content)) = response.content.get_mut("application/json")
            && let Some(data) = content.schema.take()
        {
            content.schema = Some(envelope(data, paged));
        }
    }
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        may_be_left_out(body);
    }
    let mut wanted = vec![401, 403, 422, 431, 500, 503];
    wanted.extend((method == "post").then_some(409));
    wanted.extend((!special).then_some(429));
    wanted.extend(in_path.then_some(404));
    if operation.request_body.is_some() {
        wanted.extend([400, 408, 413, 415]);
    }
    for case in cases() {
        let status = case.status();
        let given = operation.responses.responses.contains_key(&status.to_string());
        if wanted.contains(&status) || given {
            let reference = RefOr::Ref(Ref::from_response_name(case.name));
            operation.responses.responses.insert(status.to_string(), reference);
        }
    }
    add_headers(operation, !special);
    if method == "post" {
        add_replayed(operation);
    }
}

/// A body that may be left out comes as "null or that"; null itself is refused.
fn may_be_left_out(body: &mut RequestBody) {
    let Some(RefOr::T(content)) = body.content.get_mut("application/json") else { return };
    if let Some(RefOr::T(Schema::OneOf(forms))) = &content.schema
        && let [body @ RefOr::Ref(_), RefOr::T(_)] = forms.items.as_slice()
    {
        content.schema = Some(body.clone());
    }
}

fn add_headers(operation: &mut Operation, counted: bool) {
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        add_to(response, status.parse().unwrap_or(200), counted);
    }
}

/// The header of an answer that was given before, which successes only can be.
fn add_replayed(operation: &mut Operation) {
    const NAME: &str = "Idempotent-Replayed";
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && status.starts_with('2')
        {
            response.headers.insert(NAME.to_owned(), header_reference(NAME));
        }
    }
}

fn add_to(response: &mut Response, status: u16, counted: bool) {
    for (name, needs_caller) in headers(status) {
        if counted || !needs_caller {
            response.headers.insert(name.to_owned(), header_reference(name));
        }
    }
}
