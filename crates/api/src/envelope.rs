//! The form of every answer: `success`, `data` or `error`, `meta`.

use actix_web::http::StatusCode;
use actix_web::http::header::ContentType;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, Responder, ResponseError, body::BoxBody};
use serde::Serialize;
use store::{Page, PageRequest};
use utoipa::ToSchema;

use crate::cursor::{self, Listed};
use crate::error::ApiError;
use crate::query::LAST_PAGE;
use crate::requests::RequestName;

/// A successful answer.
pub(crate) struct Success<T> {
    status: StatusCode,
    data: T,
    pagination: Option<Pagination>,
}

/// Which part of a list an answer holds.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct Pagination {
    /// This page, from 1.
    page: u64,
    /// Entries of a page, at most.
    limit: u64,
    /// Entries of all pages, counted up to 10,000.
    total: u64,
    /// How many pages that makes.
    total_pages: u64,
    /// Whether there is another page.
    has_next: bool,
    /// Whether there is one before.
    has_prev: bool,
    /// Whether there are more than were counted.
    total_capped: bool,
    /// For `?cursor=`: what follows the last entry, whatever has come meanwhile; null at the end.
    #[schema(required)]
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    success: bool,
    data: &'a T,
    meta: Meta<'a>,
}

#[derive(Serialize)]
pub(crate) struct Meta<'a> {
    pub(crate) request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pagination: Option<&'a Pagination>,
}

impl<T: Serialize> Success<T> {
    /// 200.
    pub(crate) fn ok(data: T) -> Self {
        Self { status: StatusCode::OK, data, pagination: None }
    }

    /// 201.
    pub(crate) fn created(data: T) -> Self {
        Self { status: StatusCode::CREATED, ..Self::ok(data) }
    }

    /// 202: it will happen, whatever fails meanwhile.
    pub(crate) fn accepted(data: T) -> Self {
        Self { status: StatusCode::ACCEPTED, ..Self::ok(data) }
    }
}

impl<T: Serialize> Success<Vec<T>> {
    /// 200 with a part of a list.
    pub(crate) fn page<R: Listed>(
        page: Page<R>,
        asked: PageRequest,
        view: impl Fn(R) -> T,
    ) -> Self {
        let next = page.items.last().filter(|_| page.more);
        let pagination = Pagination {
            page: asked.page,
            limit: asked.limit,
            total: page.total,
            total_pages: page.total.div_ceil(asked.limit).min(LAST_PAGE),
            has_next: page.more,
            has_prev: asked.page > 1,
            total_capped: page.total_capped,
            next_cursor: next.map(|row| cursor::write(&row.place(), asked.page + 1)),
        };
        let data = page.items.into_iter().map(view).collect();
        Self { pagination: Some(pagination), ..Self::ok(data) }
    }
}

impl<T: Serialize> Success<T> {
    /// The body for the request of this name.
    pub(crate) fn body(&self, request_id: &str) -> serde_json::Result<Vec<u8>> {
        let meta = Meta { request_id, pagination: self.pagination.as_ref() };
        serde_json::to_vec(&Envelope { success: true, data: &self.data, meta })
    }
}

impl<T: Serialize> Responder for Success<T> {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let extensions = request.extensions();
        let name = extensions.get::<RequestName>().map_or("", |name| name.0.as_str());
        match self.body(name) {
            Ok(body) => json_answer(self.status, body),
            Err(error) => ApiError::internal(error).error_response(),
        }
    }
}

/// An answer with this body.
pub(crate) fn json_answer(status: StatusCode, body: Vec<u8>) -> HttpResponse {
    HttpResponse::build(status).insert_header(ContentType::json()).body(body)
}
