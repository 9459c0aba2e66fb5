//! Every route of the API: one list.

use actix_web::middleware::from_fn;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{Resource, Route, Scope, guard};

use crate::error::ApiError;
use crate::{Api, catalogue, docs_page, events, health, logs, openapi, requests, webhooks};

/// Mounts the API: its routes, its answer to unknown paths, and what every answer of it has.
/// Mount it last, for it answers whatever comes to it.
pub fn routes(api: Api) -> impl FnOnce(&mut ServiceConfig) + Clone + Send + 'static {
    move |config: &mut ServiceConfig| {
        let all = resources().into_iter().fold(web::scope(""), Scope::service);
        config.service(
            all.app_data(Data::new(api))
                .default_service(web::to(|| async { Err::<&str, _>(ApiError::NotFound) }))
                .wrap(from_fn(requests::observe)),
        );
    }
}

/// A path, the methods that it takes, and who answers them.
type Entry = (String, &'static str, Vec<Route>);

fn resources() -> Vec<Resource> {
    entries().into_iter().map(|(path, methods, routes)| at(&path, methods, routes)).collect()
}

/// Every path with its methods.
#[cfg(test)]
pub(crate) fn table() -> impl Iterator<Item = (String, &'static str)> {
    entries().into_iter().map(|(path, methods, _)| (path, methods))
}

fn entries() -> Vec<Entry> {
    use web::{delete, patch, post, put};
    let webhook = "/v1/webhooks/{webhook_id}";
    let under = |path: &str| format!("{webhook}/{path}");
    let fixed = |path: &str| path.to_owned();
    vec![
        (fixed("/healthz"), "GET, HEAD", vec![get().to(health::healthz)]),
        (fixed("/readyz"), "GET, HEAD", vec![get().to(health::readyz)]),
        (fixed("/metrics"), "GET, HEAD", vec![get().to(health::metrics)]),
        (fixed("/openapi.json"), "GET, HEAD", vec![get().to(openapi::serve)]),
        (fixed("/docs"), "GET, HEAD", vec![get().to(docs_page::page)]),
        (fixed("/docs/page.css"), "GET, HEAD", vec![get().to(docs_page::style)]),
        (fixed("/docs/page.js"), "GET, HEAD", vec![get().to(docs_page::script)]),
        (
            fixed("/v1/webhooks"),
            "GET, HEAD, POST",
            vec![get().to(webhooks::read::list), post().to(webhooks::create::create)],
        ),
        // Before the path of one webhook, which would take it for an id.
        (fixed("/v1/webhooks/events"), "GET, HEAD", vec![get().to(catalogue::list)]),
        (
            fixed(webhook),
            "GET, HEAD, PUT, PATCH, DELETE",
            vec![
                get().to(webhooks::read::get),
                put().to(webhooks::update::update),
                patch().to(webhooks::update::patch),
                delete().to(webhooks::delete::delete),
            ],
        ),
        (under("test"), "POST", vec![post().to(webhooks::test::test)]),
        (under("rotate-secret"), "POST", vec![post().to(webhooks::rotate::rotate)]),
        (under("logs"), "GET, HEAD", vec![get().to(logs::list)]),
        (under("logs/{log_id}"), "GET, HEAD", vec![get().to(logs::get)]),
        (under("logs/{log_id}/redeliver"), "POST", vec![post().to(logs::redeliver)]),
        (fixed("/v1/events"), "POST", vec![post().to(events::publish)]),
        (fixed("/v1/events/{event_id}"), "GET, HEAD", vec![get().to(events::get)]),
    ]
}

/// GET, and HEAD with the same meaning: actix leaves the body out.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A path with its methods; any other is answered with the list of them.
fn at(path: &str, methods: &'static str, routes: Vec<Route>) -> Resource {
    let refuse = move || async move { Err::<&str, _>(ApiError::MethodNotAllowed(methods)) };
    routes.into_iter().fold(web::resource(path), Resource::route).default_service(web::to(refuse))
}
