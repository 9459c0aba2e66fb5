//! Reading the trail, newest first. Every way to ask goes along an index: what a page costs does
//! not grow with the trail.

use std::net::IpAddr;

use domain::{AuditId, UserId};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Action, Via};
use crate::counting::{Seen, total};
use crate::entity::audit::{Column, Entity, Model};
use crate::instant::{from_micros, to_micros};
use crate::{Page, PageRequest, Store, StoreError};

/// Which rows; everything that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only what was done to this user's objects, or by this user.
    pub user: Option<UserId>,
    /// Only what this actor did.
    pub actor: Option<String>,
    /// Only this.
    pub action: Option<Action>,
    /// Only on the object of this id.
    pub object: Option<String>,
    /// At or after.
    pub since: Option<OffsetDateTime>,
    /// Before.
    pub until: Option<OffsetDateTime>,
    /// Only what follows this one in the list.
    pub after: Option<AuditId>,
}

/// A row of the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Names it.
    pub id: AuditId,
    /// When.
    pub at: OffsetDateTime,
    /// Whose object it was; `None` for what belongs to nobody.
    pub user: Option<UserId>,
    /// Who did it.
    pub actor: String,
    /// The way in.
    pub via: Via,
    /// The access token's `jti`.
    pub token_id: Option<String>,
    /// Where from.
    pub address: Option<IpAddr>,
    /// The request.
    pub request_id: Option<String>,
    /// What, such as `webhook.update`; a later release may have written one that is unknown here.
    pub action: String,
    /// The kind of the object.
    pub object_kind: String,
    /// The object.
    pub object_id: String,
    /// The names of what was changed.
    pub fields: Vec<String>,
    /// What came of it.
    pub outcome: String,
}

impl Store {
    /// The rows that pass `filter`, newest first. The total is counted as for every list.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn audit(
        &self,
        filter: &AuditFilter,
        page: PageRequest,
    ) -> Result<Page<AuditRow>, StoreError> {
        // NUL is in no stored text, and PostgreSQL refuses to look for it.
        let texts = [filter.actor.as_ref(), filter.object.as_ref()];
        if texts.into_iter().flatten().any(|text| text.contains('\0')) {
            return Ok(Page { items: Vec::new(), total: 0, total_capped: false, more: false });
        }
        let offset = if filter.after.is_none() { page.offset() } else { 0 };
        let most = offset + page.rows() + 1;
        let mut found = Vec::new();
        // One walk for each index that leads to a row: the newest of both are the newest of all.
        for ways in walks(filter) {
            let walk = select(filter).filter(ways).order_by_desc(Column::Id).limit(most);
            found.extend(walk.all(&self.reader).await?);
        }
        found.sort_unstable_by_key(|row| std::cmp::Reverse(row.id));
        found.dedup_by_key(|row| row.id);
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        let (rows, more) = page.cut(found.into_iter().skip(skipped).collect());
        let before = filter.after.is_none().then_some(offset);
        let seen = Seen { before, rows: rows.len(), more };
        let whole = AuditFilter { after: None, ..filter.clone() };
        let either = walks(filter).into_iter().fold(Condition::any(), Condition::add);
        let (total, total_capped) =
            total(&self.reader, select(&whole).filter(either), seen).await?;
        let items = rows.into_iter().map(row_of).collect::<Result<_, _>>()?;
        Ok(Page { items, total, total_capped, more })
    }
}

/// The ways to the rows of a user: theirs, and what they did. Of all rows there is one way.
fn walks(filter: &AuditFilter) -> Vec<Condition> {
    let one = |condition| Condition::all().add(condition);
    match &filter.user {
        None => vec![Condition::all()],
        Some(user) => vec![
            one(Column::UserId.eq(user.as_str())),
            // An operator or a service of the same name is somebody else.
            one(Column::Actor.eq(user.as_str())).add(Column::Via.eq(Via::Api as i16)),
        ],
    }
}

fn select(filter: &AuditFilter) -> Select<Entity> {
    let mut found = Entity::find();
    if let Some(actor) = &filter.actor {
        found = found.filter(Column::Actor.eq(actor.as_str()));
    }
    if let Some(action) = filter.action {
        found = found.filter(Column::Action.eq(action.as_str()));
    }
    if let Some(object) = &filter.object {
        found = found.filter(Column::ObjectId.eq(object.as_str()));
    }
    if let Some(last) = filter.after {
        found = found.filter(Column::Id.lt(last.as_uuid()));
    }
    // Ids sort by time, to the millisecond: the index is left where the times end.
    if let Some(since) = filter.since {
        found = found.filter(Column::Id.gte(first_of(since)));
        found = found.filter(Column::At.gte(to_micros(since)));
    }
    if let Some(until) = filter.until {
        found = found.filter(Column::Id.lt(first_of(until + time::Duration::milliseconds(1))));
        found = found.filter(Column::At.lt(to_micros(until)));
    }
    found
}

/// The least id of the millisecond of `at`.
pub(super) fn first_of(at: OffsetDateTime) -> Uuid {
    let millis = at.unix_timestamp_nanos().max(0) / 1_000_000;
    let millis = u64::try_from(millis).unwrap_or(u64::MAX);
    Uuid::from_u128(u128::from(millis & 0xffff_ffff_ffff) << 80)
}

fn row_of(row: Model) -> Result<AuditRow, StoreError> {
    let user = row.user_id.map(|user| user.parse()).transpose();
    Ok(AuditRow {
        id: AuditId::from_uuid(row.id),
        at: from_micros(row.at)?,
        user: user.map_err(|e| StoreError::corrupt("row of the audit trail", e))?,
        actor: row.actor,
        via: Via::of_stored(row.via),
        token_id: row.token_id,
        address: row.address.and_then(|address| address.parse().ok()),
        request_id: row.request_id,
        action: row.action,
        object_kind: row.object_kind,
        object_id: row.object_id,
        fields: row.fields.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        outcome: row.outcome,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_lies_between_the_first_of_its_millisecond_and_the_first_of_the_next() {
        let now = OffsetDateTime::now_utc();
        let id = Uuid::now_v7();
        assert!(first_of(now - time::Duration::milliseconds(1)) < id);
        assert!(id < first_of(now + time::Duration::seconds(60)));
        assert!(first_of(OffsetDateTime::UNIX_EPOCH - time::Duration::days(9)).is_nil());
    }
}
