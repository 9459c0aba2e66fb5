//! `GET /openapi.json`: the API described by OpenAPI 3.1, made from the code.
//!
//! A handler's `#[utoipa::path]` says what is its own: parameters, body, the `data` of its
//! answer. What all answers have in common (envelope, errors, headers, links) is added in
//! [`answers`] and [`links`]. `docs/openapi.json` is the same text, kept equal by a test.

mod answers;
mod errors;
mod examples;
pub(crate) mod filter;
mod links;
mod merge;
pub(crate) mod parameters;
pub(crate) mod requests;
pub(crate) mod schema;

pub(crate) use errors::error_code;

use std::sync::LazyLock;

use actix_web::HttpResponse;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, Info, Paths};

use crate::{audit, catalogue, events, health, jobs, logs, sign_out, webhooks};

#[derive(utoipa::OpenApi)]
#[openapi(
    servers((url = "/", description = "where this document was read")),
    tags(
        (name = "Webhooks", description = "Subscriptions to events, and the endpoints that are told."),
        (name = "Secrets", description = "What deliveries are signed with."),
        (name = "Logs", description = "What was delivered, every attempt of it, and how to have it again."),
        (name = "Jobs", description = "Deliveries made again, and events that were missed, a range at once."),
        (name = "Events", description = "The types of events, publishing, and what became of an event."),
        (name = "Audit", description = "Who did what, on which object, when."),
        (name = "Users", description = "Closing a user's connections."),
        (name = "Operations", description = "For probes and monitoring; without a token."),
    ),
    paths(
        webhooks::read::list,
        webhooks::create::create,
        webhooks::read::get,
        webhooks::update::update,
        webhooks::update::patch,
        webhooks::delete::delete,
        webhooks::test::test,
        webhooks::verify::verify,
        webhooks::rotate::rotate,
        logs::list,
        logs::get,
        logs::redeliver,
        jobs::redeliver,
        jobs::replay,
        jobs::list,
        jobs::get,
        jobs::cancel,
        catalogue::list,
        events::publish,
        events::get,
        audit::list,
        sign_out::sign_out,
        health::healthz,
        health::readyz,
    ),
)]
struct Api;

/// The document, as it is served and committed.
pub fn document() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let mut text = build().to_pretty_json().expect("the document has only texts as keys");
        text.push('\n');
        text
    });
    &TEXT
}

/// The document itself.
pub(crate) async fn serve() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(document())
}

fn build() -> utoipa::openapi::OpenApi {
    let mut document = <Api as utoipa::OpenApi>::openapi();
    document.info = info();
    let components = document.components.get_or_insert_with(Components::default);
    components.add_security_scheme("access_token", access_token());
    merge::flatten(components);
    answers::add_components(components);
    filter::add(components);
    for (path, method, operation) in operations(&mut document.paths) {
        answers::finish(path, method, operation);
        examples::add(operation);
    }
    links::add(&mut document.paths);
    document
}

fn info() -> Info {
    let mut info = Info::new("Sentimatrix Studio Webhooks", env!("CARGO_PKG_VERSION"));
    info.description = Some(include_str!("openapi/introduction.md").to_owned());
    info.license = Some(utoipa::openapi::License::new(env!("CARGO_PKG_LICENSE")));
    info
}

fn access_token() -> SecurityScheme {
    let description = "An access token of Studio. Its claim `roles` says what it may do: `user` \
        reads and writes, `readonly` reads, `admin` may also act for others, `service` publishes \
        events.";
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
    SecurityScheme::Http(bearer.description(Some(description)).build())
}

/// Every operation with its path and method.
fn operations(paths: &mut Paths) -> impl Iterator<Item = (&String, &'static str, &mut Operation)> {
    paths.paths.iter_mut().flat_map(|(path, item)| {
        let all = [
            ("get", &mut item.get),
            ("post", &mut item.post),
            ("put", &mut item.put),
            ("patch", &mut item.patch),
            ("delete", &mut item.delete),
        ];
        all.into_iter().filter_map(move |(method, operation)| {
            operation.as_mut().map(|operation| (path, method, operation))
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn read() -> Value {
        serde_json::from_str(document()).unwrap()
    }

    /// To rewrite the committed document: `make openapi`.
    #[test]
    fn the_committed_document_is_what_the_code_says() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let committed = std::fs::read_to_string(file).unwrap_or_default();
        assert!(committed == document(), "docs/openapi.json is old: run `make openapi`");
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let described: BTreeSet<(String, String)> = read()["paths"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(path, item)| {
                let methods = ["get", "put", "post", "patch", "delete"];
                let has = methods.iter().filter(|method| item.get(**method).is_some());
                let mut has: Vec<String> = has.map(|method| method.to_uppercase()).collect();
                has.sort();
                (path.clone(), has.join(" "))
            })
            .collect();
        // What shows the document is not part of it.
        let mounted: BTreeSet<(String, String)> = crate::routes::table()
            .into_iter()
            .filter(|entry| entry.path != "/openapi.json" && !entry.path.starts_with("/docs"))
            .map(|entry| {
                let methods = entry.answers.iter().map(|answer| answer.method.as_str());
                let mut methods: Vec<&str> = methods.collect();
                methods.sort_unstable();
                (entry.path, methods.join(" "))
            })
            .collect();
        assert_eq!(described, mounted);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
            match value {
                Value::Object(map) => {
                    found.extend(map.get("$ref").and_then(Value::as_str));
                    map.values().for_each(|value| references(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document = read();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for reference in found {
            let place = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(place).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_operation_has_words_and_a_name_of_its_own() {
        let document = read();
        let mut names = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let text = |field: &str| operation[field].as_str().unwrap_or("").to_owned();
                assert!(!text("summary").is_empty(), "{method} {path}");
                assert!(names.insert(text("operationId")), "{method} {path}");
                assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{method} {path}");
            }
        }
    }
}
