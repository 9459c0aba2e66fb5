//! Every route of the API: one list.

use actix_web::body::BoxBody;
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{Resource, Route, Scope, guard};

use crate::cors::cors;
use crate::error::ApiError;
use crate::{
    Api, caller, catalogue, docs_page, events, health, idempotency, jobs, logs, openapi, requests,
    webhooks,
};

/// Mounts the API: its routes, its answer to unknown paths, and what every answer of it has.
/// Mount it last, for it answers whatever comes to it.
pub fn routes(api: Api) -> impl FnOnce(&mut ServiceConfig) + Clone + Send + 'static {
    move |config: &mut ServiceConfig| {
        let cors = cors(&api.config.origins);
        let verifier = api.verifier.clone();
        let learn_key =
            move |request, next: Next<BoxBody>| caller::learn_key(verifier.clone(), request, next);
        let resources = resources().into_iter().map(|entry| entry.resource);
        let all = resources.fold(web::scope(""), Scope::service);
        config.service(
            all.app_data(Data::new(api))
                .default_service(web::to(|| async { Err::<&str, _>(ApiError::NotFound) }))
                .wrap(from_fn(idempotency::once))
                .wrap(from_fn(learn_key))
                .wrap(cors)
                .wrap(from_fn(requests::observe)),
        );
    }
}

/// A path, the methods that it takes, and who answers them.
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "tests compare path and methods with the document")
)]
struct Entry {
    path: String,
    methods: &'static str,
    resource: Resource,
}

/// Every path with its methods.
#[cfg(test)]
pub(crate) fn table() -> impl Iterator<Item = (String, &'static str)> {
    resources().into_iter().map(|entry| (entry.path, entry.methods))
}

fn resources() -> Vec<Entry> {
    use web::{delete, patch, post, put};
    let webhook = "/v1/webhooks/{webhook_id}";
    let under = |path: &str| format!("{webhook}/{path}");
    vec![
        at("/healthz", "GET, HEAD", [get().to(health::healthz)]),
        at("/readyz", "GET, HEAD", [get().to(health::readyz)]),
        at("/metrics", "GET, HEAD", [get().to(health::metrics)]),
        at("/openapi.json", "GET, HEAD", [get().to(openapi::serve)]),
        at("/docs", "GET, HEAD", [get().to(docs_page::page)]),
        at("/docs/page.css", "GET, HEAD", [get().to(docs_page::style)]),
        at("/docs/page.js", "GET, HEAD", [get().to(docs_page::script)]),
        at(
            "/v1/webhooks",
            "GET, HEAD, POST",
            [get().to(webhooks::read::list), post().to(webhooks::create::create)],
        ),
        // Before the path of one webhook, which would take it for an id.
        at("/v1/webhooks/events", "GET, HEAD", [get().to(catalogue::list)]),
        at(
            webhook,
            "GET, HEAD, PUT, PATCH, DELETE",
            [
                get().to(webhooks::read::get),
                put().to(webhooks::update::update),
                patch().to(webhooks::update::patch),
                delete().to(webhooks::delete::delete),
            ],
        ),
        at(&under("test"), "POST", [post().to(webhooks::test::test)]),
        at(&under("rotate-secret"), "POST", [post().to(webhooks::rotate::rotate)]),
        at(&under("logs"), "GET, HEAD", [get().to(logs::list)]),
        at(&under("logs/{log_id}"), "GET, HEAD", [get().to(logs::get)]),
        at(&under("logs/{log_id}/redeliver"), "POST", [post().to(logs::redeliver)]),
        at(&under("redeliver"), "POST", [post().to(jobs::redeliver)]),
        at(&under("replay"), "POST", [post().to(jobs::replay)]),
        at(&under("jobs"), "GET, HEAD", [get().to(jobs::list)]),
        at(&under("jobs/{job_id}"), "GET, HEAD", [get().to(jobs::get)]),
        at(&under("jobs/{job_id}/cancel"), "POST", [post().to(jobs::cancel)]),
        at("/v1/events", "POST", [post().to(events::publish)]),
        at("/v1/events/{event_id}", "GET, HEAD", [get().to(events::get)]),
    ]
}

/// GET, and HEAD with the same meaning: actix leaves the body out.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A path with its methods; any other is answered with the list of them.
fn at<const N: usize>(path: &str, methods: &'static str, routes: [Route; N]) -> Entry {
    let refuse = move || async move { Err::<&str, _>(ApiError::MethodNotAllowed(methods)) };
    let resource = routes.into_iter().fold(web::resource(path), Resource::route);
    let resource = resource.default_service(web::to(refuse));
    Entry { path: path.to_owned(), methods, resource }
}
