//! `POST /internal/operate`: a process with the embedded broker answers for it. Only to tokens
//! of the role `admin`.

use access::Verifier;
use actix_web::http::header::AUTHORIZATION;
use actix_web::web::{self, Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use broker::SharedBroker;
use time::OffsetDateTime;

use crate::operator::{Ask, operate};

/// What the route works with.
#[derive(Clone)]
pub(crate) struct Operated {
    pub(crate) broker: SharedBroker,
    pub(crate) verifier: Verifier,
}

/// The route.
pub(crate) fn routes(operated: Operated) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config| {
        let resource = web::resource("/internal/operate")
            .app_data(Data::new(operated))
            .route(web::post().to(answer));
        config.service(resource);
    }
}

async fn answer(request: HttpRequest, operated: Data<Operated>, ask: Json<Ask>) -> HttpResponse {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default();
    match operated.verifier.verify(token, OffsetDateTime::now_utc()) {
        Err(_) => return HttpResponse::Unauthorized().finish(),
        Ok(access) if !access.roles.is_admin() => return HttpResponse::Forbidden().finish(),
        Ok(_) => {}
    }
    match operate(operated.broker.as_ref(), ask.into_inner()).await {
        Ok(answer) => HttpResponse::Ok().json(answer),
        Err(error) => HttpResponse::ServiceUnavailable().body(format!("{error:#}")),
    }
}
