//! What a request brings before it is a connection: the token, and the page it comes from.

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, HeaderName, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use actix_web::web::Query;

/// The subprotocol that carries a token: `Sec-WebSocket-Protocol: bearer, TOKEN`. Only this word
/// is answered, never the token.
pub(crate) const BEARER: &str = "bearer";

/// The token of the header, the subprotocol, or the query, in this order; empty without one.
pub(crate) fn token(request: &HttpRequest) -> String {
    header(request, AUTHORIZATION)
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(BEARER))
        .map(|(_, token)| token.trim().to_owned())
        .or_else(|| subprotocol_token(request))
        .or_else(|| query(request, "token").into_iter().next())
        .unwrap_or_default()
}

fn subprotocols(request: &HttpRequest) -> impl Iterator<Item = &str> {
    let lines = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
    lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).map(str::trim)
}

/// Whether the subprotocol [`BEARER`] is offered, and may be answered.
pub(crate) fn offers_bearer(request: &HttpRequest) -> bool {
    subprotocols(request).any(|offered| offered == BEARER)
}

fn subprotocol_token(request: &HttpRequest) -> Option<String> {
    let mut offered = subprotocols(request);
    (offered.next()? == BEARER).then(|| offered.next())?.map(str::to_owned)
}

/// The values of `key` in the query.
pub(crate) fn query(request: &HttpRequest, key: &str) -> Vec<String> {
    let pairs = Query::<Vec<(String, String)>>::from_query(request.query_string());
    let pairs = pairs.map(Query::into_inner).unwrap_or_default();
    pairs.into_iter().filter(|(name, _)| name == key).map(|(_, value)| value).collect()
}

/// The header `name`, where it is text.
pub(crate) fn header(request: &HttpRequest, name: HeaderName) -> Option<&str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

/// Whether the page that connects may: programs name none, browsers always do.
pub(crate) fn origin_allowed(request: &HttpRequest, allowed: &[String]) -> bool {
    let Some(origin) = request.headers().get(ORIGIN) else {
        return true;
    };
    allowed.is_empty()
        || origin.to_str().is_ok_and(|origin| {
            allowed.iter().any(|known| known.trim_end_matches('/').eq_ignore_ascii_case(origin))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn a_token_is_found_in_its_three_places() {
        let of = |request: TestRequest| token(&request.to_http_request());
        let get = || TestRequest::get();
        assert_eq!(of(get().insert_header((AUTHORIZATION, "bearer a.b.c"))), "a.b.c");
        assert_eq!(of(get().insert_header((AUTHORIZATION, "Basic a.b.c"))), "");
        assert_eq!(of(get().insert_header((SEC_WEBSOCKET_PROTOCOL, "bearer, a.b.c"))), "a.b.c");
        let lines = get()
            .append_header((SEC_WEBSOCKET_PROTOCOL, "bearer"))
            .append_header((SEC_WEBSOCKET_PROTOCOL, "a.b.c"));
        assert_eq!(of(lines), "a.b.c");
        assert_eq!(of(get().insert_header((SEC_WEBSOCKET_PROTOCOL, "graphql, a.b.c"))), "");
        assert_eq!(of(get().uri("/v1/ws?x=1&token=a.b%2Ec")), "a.b.c");
        assert_eq!(of(get().uri("/v1/ws?nottoken=a")), "");
    }

    #[test]
    fn only_listed_pages_connect_where_there_is_a_list() {
        let from = |origin: &str, list: &[&str]| {
            let request = TestRequest::get().insert_header((ORIGIN, origin)).to_http_request();
            let list: Vec<String> = list.iter().map(|text| (*text).to_owned()).collect();
            origin_allowed(&request, &list)
        };
        let list = ["https://studio.example", "https://other.example/"];
        assert!(from("https://studio.example", &list) && from("https://other.example", &list));
        assert!(!from("https://studio.example.evil", &list) && !from("null", &list));
        assert!(from("https://anything.example", &[]));
        assert!(origin_allowed(&TestRequest::get().to_http_request(), &["x".to_owned()]));
    }
}
