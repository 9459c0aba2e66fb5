//! Every route of the API, with the right that it asks for: one list.

use actix_web::body::BoxBody;
use actix_web::http::Method;
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{FromRequest, Handler, Resource, Responder, Route, Scope, guard};

use crate::caller::{self, Admin, Anybody, Proof, Prove, Reader, Right, Service, Writer};
use crate::cors::cors;
use crate::error::ApiError;
use crate::{
    Api, audit, catalogue, docs_page, events, health, idempotency, jobs, logs, openapi, requests,
    sign_out, webhooks,
};

/// Mounts the API: its routes, its answer to unknown paths, and what every answer of it has.
/// Mount it last, for it answers whatever comes to it.
pub fn routes(api: Api) -> impl FnOnce(&mut ServiceConfig) + Clone + Send + 'static {
    move |config: &mut ServiceConfig| {
        let cors = cors(&api.config.origins);
        let resources = table().into_iter().map(Entry::resource);
        let all = resources.fold(web::scope(""), Scope::service);
        config.service(
            all.app_data(Data::new(api))
                .default_service(web::to(|| async { Err::<&str, _>(ApiError::NotFound) }))
                .wrap(cors)
                .wrap(from_fn(requests::observe)),
        );
    }
}

/// A path, and who answers each of its methods.
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) answers: Vec<Answering>,
}

/// A method, the right that its caller needs, and the handler behind.
pub(crate) struct Answering {
    pub(crate) method: Method,
    #[cfg_attr(not(test), expect(dead_code, reason = "tests compare it with the document"))]
    pub(crate) right: Right,
    route: Route,
}

/// Every path with its methods and rights.
pub(crate) fn table() -> Vec<Entry> {
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    let webhook = "/v1/webhooks/{webhook_id}";
    let under = |path: &str| format!("{webhook}/{path}");
    vec![
        at("/healthz", [public(GET, health::healthz)]),
        at("/readyz", [public(GET, health::readyz)]),
        at("/openapi.json", [public(GET, openapi::serve)]),
        at("/docs", [public(GET, docs_page::page)]),
        at("/docs/page.css", [public(GET, docs_page::style)]),
        at("/docs/page.js", [public(GET, docs_page::script)]),
        at(
            "/v1/webhooks",
            [read(GET, webhooks::read::list), write(POST, webhooks::create::create)],
        ),
        // Before the path of one webhook, which would take it for an id.
        at("/v1/webhooks/events", [read(GET, catalogue::list)]),
        at(
            webhook,
            [
                read(GET, webhooks::read::get),
                write(Method::PUT, webhooks::update::update),
                write(Method::PATCH, webhooks::update::patch),
                write(Method::DELETE, webhooks::delete::delete),
            ],
        ),
        at(&under("test"), [write(POST, webhooks::test::test)]),
        at(&under("verify"), [write(POST, webhooks::verify::verify)]),
        at(&under("rotate-secret"), [write(POST, webhooks::rotate::rotate)]),
        at(&under("logs"), [read(GET, logs::list)]),
        at(&under("logs/{log_id}"), [read(GET, logs::get)]),
        at(&under("logs/{log_id}/redeliver"), [write(POST, logs::redeliver)]),
        at(&under("redeliver"), [write(POST, jobs::redeliver)]),
        at(&under("replay"), [write(POST, jobs::replay)]),
        at(&under("jobs"), [read(GET, jobs::list)]),
        at(&under("jobs/{job_id}"), [read(GET, jobs::get)]),
        at(&under("jobs/{job_id}/cancel"), [write(POST, jobs::cancel)]),
        at("/v1/events", [service(POST, events::publish)]),
        at("/v1/events/{event_id}", [read(GET, events::get)]),
        at("/v1/audit", [read(GET, audit::list)]),
        at("/v1/users/{user_id}/sign-out", [admin(POST, sign_out::sign_out)]),
    ]
}

/// Answers everybody.
fn public<A, F>(method: Method, handler: F) -> Answering
where
    A: FromRequest + Prove<Anybody> + 'static,
    F: Handler<A>,
    F::Output: Responder + 'static,
{
    let route = route(&method).to(handler);
    Answering { method, right: Right::Public, route }
}

/// Answers those who may read.
fn read<A, F>(method: Method, handler: F) -> Answering
where
    A: FromRequest + Prove<Reader> + 'static,
    F: Handler<A>,
    F::Output: Responder + 'static,
{
    proven::<Reader, A, F>(method, handler)
}

/// Answers those who may change.
fn write<A, F>(method: Method, handler: F) -> Answering
where
    A: FromRequest + Prove<Writer> + 'static,
    F: Handler<A>,
    F::Output: Responder + 'static,
{
    proven::<Writer, A, F>(method, handler)
}

/// Answers those who may publish.
fn service<A, F>(method: Method, handler: F) -> Answering
where
    A: FromRequest + Prove<Service> + 'static,
    F: Handler<A>,
    F::Output: Responder + 'static,
{
    proven::<Service, A, F>(method, handler)
}

/// Answers admins.
fn admin<A, F>(method: Method, handler: F) -> Answering
where
    A: FromRequest + Prove<Admin> + 'static,
    F: Handler<A>,
    F::Output: Responder + 'static,
{
    proven::<Admin, A, F>(method, handler)
}

/// Answers who has the right of `P`, which `handler` takes as its proof. The right is proven
/// before anything else of the request is looked at, an answer that was kept included.
fn proven<P, A, F>(method: Method, handler: F) -> Answering
where
    P: Proof,
    A: FromRequest + Prove<P> + 'static,
    F: Handler<A>,
    F::Output: Responder + 'static,
{
    let prove = move |request, next: Next<BoxBody>| caller::prove(P::RIGHT, request, next);
    let route = route(&method).to(handler);
    let route = if method == Method::POST { route.wrap(from_fn(idempotency::once)) } else { route };
    // What is wrapped last comes first.
    Answering { method, right: P::RIGHT, route: route.wrap(from_fn(prove)) }
}

/// The method alone; GET is HEAD, too: actix leaves the body out.
fn route(method: &Method) -> Route {
    match *method {
        Method::GET => web::route().guard(guard::Any(guard::Get()).or(guard::Head())),
        _ => web::method(method.clone()),
    }
}

fn at<const N: usize>(path: &str, answers: [Answering; N]) -> Entry {
    Entry { path: path.to_owned(), answers: answers.into() }
}

impl Entry {
    /// The path with its methods; any other is answered with the list of them.
    fn resource(self) -> Resource {
        let names = self.answers.iter().map(|answer| match answer.method {
            Method::GET => "GET, HEAD",
            ref other => other.as_str(),
        });
        let names = names.collect::<Vec<_>>().join(", ");
        let refuse = move || {
            let refusal = ApiError::MethodNotAllowed(names.clone());
            async { Err::<&str, _>(refusal) }
        };
        let routes = self.answers.into_iter().map(|answer| answer.route);
        let resource = routes.fold(web::resource(self.path), Resource::route);
        resource.default_service(web::to(refuse))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// The roles that the document names for a right.
    const fn roles(right: Right) -> &'static [&'static str] {
        match right {
            Right::Public => &[],
            Right::Read => &["user", "readonly", "admin"],
            Right::Write => &["user", "admin"],
            Right::Service => &["service"],
            Right::Admin => &["admin"],
        }
    }

    #[test]
    fn every_operation_is_described_with_the_right_that_its_route_asks_for() {
        let document: Value = serde_json::from_str(openapi::document()).unwrap();
        for entry in table() {
            for answer in entry.answers {
                let method = answer.method.as_str().to_lowercase();
                let operation = &document["paths"][&entry.path][&method];
                if operation.is_null() {
                    assert_eq!(answer.right, Right::Public, "{method} {}", entry.path);
                    continue;
                }
                let security = operation["security"].as_array().unwrap();
                let named = security.iter().flat_map(|way| way["access_token"].as_array().unwrap());
                let named: BTreeSet<&str> = named.map(|role| role.as_str().unwrap()).collect();
                let expected: BTreeSet<&str> = roles(answer.right).iter().copied().collect();
                assert_eq!(named, expected, "{method} {}", entry.path);
                assert_eq!(
                    security.is_empty(),
                    answer.right == Right::Public,
                    "{method} {}",
                    entry.path
                );
            }
        }
    }

    #[test]
    fn only_what_says_nothing_of_anybody_is_public() {
        let mut public = Vec::new();
        for entry in table() {
            if entry.answers.iter().any(|answer| answer.right == Right::Public) {
                public.push(entry.path);
            }
        }
        assert!(public.iter().all(|path| !path.starts_with("/v1/")), "{public:?}");
    }
}
