//! Every route of the API: one list.

use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{Resource, Route};

use crate::error::ApiError;
use crate::{Api, catalogue, events, health, logs, webhooks};

/// Mounts the API, and its answer to unknown paths, on an application.
pub fn routes(api: Api) -> impl FnOnce(&mut ServiceConfig) + Clone + Send + 'static {
    move |config: &mut ServiceConfig| {
        config.app_data(Data::new(api));
        for resource in resources() {
            config.service(resource);
        }
        config.default_service(web::to(|| async { Err::<&str, _>(ApiError::NotFound) }));
    }
}

fn resources() -> Vec<Resource> {
    use web::{delete, get, patch, post, put};
    let webhook = "/v1/webhooks/{webhook_id}";
    let under = |path: &str| format!("{webhook}/{path}");
    vec![
        at("/healthz", "GET", [get().to(health::healthz)]),
        at("/readyz", "GET", [get().to(health::readyz)]),
        at("/metrics", "GET", [get().to(health::metrics)]),
        at(
            "/v1/webhooks",
            "GET, POST",
            [get().to(webhooks::read::list), post().to(webhooks::create::create)],
        ),
        // Before the path of one webhook, which would take it for an id.
        at("/v1/webhooks/events", "GET", [get().to(catalogue::list)]),
        at(
            webhook,
            "GET, PUT, PATCH, DELETE",
            [
                get().to(webhooks::read::get),
                put().to(webhooks::update::update),
                patch().to(webhooks::update::update),
                delete().to(webhooks::delete::delete),
            ],
        ),
        at(&under("test"), "POST", [post().to(webhooks::test::test)]),
        at(&under("rotate-secret"), "POST", [post().to(webhooks::rotate::rotate)]),
        at(&under("logs"), "GET", [get().to(logs::list)]),
        at(&under("logs/{log_id}"), "GET", [get().to(logs::get)]),
        at(&under("logs/{log_id}/redeliver"), "POST", [post().to(logs::redeliver)]),
        at("/v1/events", "POST", [post().to(events::publish)]),
        at("/v1/events/{event_id}", "GET", [get().to(events::get)]),
    ]
}

/// A path with its methods; any other is answered with the list of them.
fn at<const N: usize>(path: &str, methods: &'static str, routes: [Route; N]) -> Resource {
    let refuse = move || async move { Err::<&str, _>(ApiError::MethodNotAllowed(methods)) };
    routes.into_iter().fold(web::resource(path), Resource::route).default_service(web::to(refuse))
}
