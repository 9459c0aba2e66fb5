//! `GET /v1/audit`: who did what, on which object, when.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::web::Data;
use domain::{AuditId, UserId};
use serde::Serialize;
use store::{Act, AuditRow, Store, Via};
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use crate::Api;
use crate::caller::{Caller, Reader};
use crate::envelope::Success;
use crate::error::ApiError;
use crate::openapi::parameters::{AuditFilter, Paging};
use crate::openapi::schema;
use crate::query::Query;

impl Api {
    /// The store, in which changes are noted as done by `caller`. Every handler that changes
    /// something takes it: a test goes over all routes.
    pub(crate) fn acting(&self, caller: &Caller) -> Store {
        self.store.acting(Act {
            actor: caller.subject.to_string(),
            via: Via::Api,
            token_id: caller.token_id.clone(),
            address: Some(caller.address),
            request_id: Some(caller.request_id.clone()),
        })
    }
}

/// Something that was done.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(crate) struct AuditView {
    /// Names it.
    #[schema(value_type = String)]
    id: AuditId,
    /// When.
    #[schema(format = DateTime)]
    at: String,
    /// Who did it: a user id; `operator:` and a number for a command; `service` for what the
    /// product did by itself.
    actor: String,
    #[schema(schema_with = schema::audit_via)]
    via: &'static str,
    /// Whose object it was; null for what belongs to nobody.
    #[schema(required, value_type = Option<String>)]
    user_id: Option<UserId>,
    /// What was done, such as `webhook.update`.
    action: String,
    /// What it was done on.
    object: ObjectView,
    /// The names of the fields that were changed; never their values.
    fields: Vec<String>,
    /// What came of it.
    outcome: String,
    /// The `jti` of the access token; null where it had none, and where another did it.
    #[schema(required)]
    token_id: Option<String>,
    /// Where the request came from; null where there was none, and where another did it.
    #[schema(required, value_type = Option<String>)]
    address: Option<IpAddr>,
    /// The request; null where there was none, and where another did it.
    #[schema(required)]
    request_id: Option<String>,
}

/// What something was done on.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditObject)]
struct ObjectView {
    /// Its kind: `webhook`, `delivery`, `job`, `user`, `rejected` or `installation`.
    kind: String,
    /// Its id.
    id: String,
}

impl AuditView {
    /// What `caller` is shown of a row: admins all of it, others not where those who acted on
    /// their objects came from.
    fn of(row: AuditRow, caller: &Caller) -> Self {
        let own = row.via == Via::Api && row.actor == caller.subject.as_str();
        let told = own || caller.roles.is_admin();
        Self {
            id: row.id,
            at: row.at.format(&Rfc3339).expect("a stored time has an RFC 3339 form"),
            actor: row.actor,
            via: row.via.as_str(),
            user_id: row.user,
            action: row.action,
            object: ObjectView { kind: row.object_kind, id: row.object_id },
            fields: row.fields,
            outcome: row.outcome,
            token_id: row.token_id.filter(|_| told),
            address: row.address.filter(|_| told),
            request_id: row.request_id.filter(|_| told),
        }
    }
}

/// Read the audit trail
///
/// What was done, newest first: to the user's objects, by whomever, and by the user. Admins read
/// everybody's, or with `user_id` what concerns that user. Publishing events is not part of it.
#[utoipa::path(
    get, path = "/v1/audit", operation_id = "listAudit", tag = "Audit",
    params(Paging, AuditFilter),
    responses((status = 200, description = "A page of the trail.", body = Vec<AuditView>)),
)]
pub(crate) async fn list(
    api: Data<Api>,
    Reader(caller): Reader,
    request: HttpRequest,
) -> Result<Success<Vec<AuditView>>, ApiError> {
    let mut query = Query::of(&request)?;
    let (page, after) = query.page();
    let everybody = caller.roles.is_admin() && !caller.for_another;
    let user = (!everybody).then(|| caller.user.clone());
    let filter = query.audit(user, after);
    query.finish()?;
    let found = api.store.audit(&filter, page).await?;
    Ok(Success::page(found, page, |row| AuditView::of(row, &caller)))
}
