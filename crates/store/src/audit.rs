//! The audit trail: who did what, on which object, when. Rows are only added: the database itself
//! refuses to change them, and to remove them but for their age or for an erased user
//! (`migration/m0008_audit.rs`). They hold names, never values: no secret, header or URL.

mod act;
mod changed;
mod deed;
mod erasing;
mod reading;
mod removal;

use domain::AuditId;
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, IntoActiveModel};

use crate::connection::{close, connections};
use crate::entity::audit;
use crate::instant::{now, to_micros};
use crate::outcome_columns::storable;
use crate::{DatabaseConfig, Store, StoreError};

pub use act::{Act, Via};
pub(crate) use changed::changed;
pub use deed::{Action, Deed, ObjectKind};
pub use reading::{AuditFilter, AuditRow};

/// Longest text of a column, characters; names of fields together, 512.
const LONGEST: usize = 256;
const LONGEST_LIST: usize = 512;

/// A row that was written and is not in the log yet: nothing says that it will be committed.
#[must_use = "once its transaction is committed, it belongs in the log"]
pub(crate) struct Noted(audit::Model);

impl Noted {
    /// Writes the line of the log, once the row is committed.
    pub(crate) fn log(self) {
        let row = self.0;
        tracing::info!(
            target: "audit",
            action = row.action,
            audit.id = %AuditId::from_uuid(row.id),
            actor = row.actor,
            via = Via::of_stored(row.via).as_str(),
            user.id = row.user_id,
            object.kind = row.object_kind,
            object.id = row.object_id,
            fields = row.fields,
            outcome = row.outcome,
            token.id = row.token_id,
            client.address = row.address,
            request.id = row.request_id,
            "{} of {} {}", row.action, row.object_kind, row.object_id
        );
    }
}

impl Store {
    /// The same store, whose changes are noted as done by `act`. Without it they are the
    /// service's own.
    #[must_use]
    pub fn acting(&self, act: Act) -> Self {
        Self { act: std::sync::Arc::new(act), ..self.clone() }
    }

    /// Notes what was done outside of the store, by whom the store acts for.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away: it is not noted.
    pub async fn note(&self, deed: &Deed<'_>) -> Result<(), StoreError> {
        note(&self.writer, &self.act, deed).await?.log();
        Ok(())
    }

    /// Notes what was done and cannot be undone: where that fails, the log has all of it as an
    /// error.
    pub async fn note_done(&self, deed: &Deed<'_>) {
        if let Err(error) = self.note(deed).await {
            let row = row_of(&self.act, deed);
            tracing::error!(
                target: "audit",
                action = row.action,
                actor = row.actor,
                user.id = row.user_id,
                object.kind = row.object_kind,
                object.id = row.object_id,
                fields = row.fields,
                outcome = row.outcome,
                token.id = row.token_id,
                client.address = row.address,
                request.id = row.request_id,
                "{} of {} {} is missing in the audit trail, and stands only here: {error}",
                row.action, row.object_kind, row.object_id
            );
        }
    }
}

/// Notes what was done outside of the database that `database` names, without the keys that its
/// values are encrypted with.
///
/// # Errors
/// [`StoreError::Config`] when a setting is wrong or the database is not up to date;
/// [`StoreError::Unavailable`] while it is away.
pub async fn note_outside(
    database: &DatabaseConfig,
    act: &Act,
    deed: &Deed<'_>,
) -> Result<(), StoreError> {
    let connections = connections(database).await?;
    let noted = note(&connections.0, act, deed).await;
    close(connections).await;
    noted?.log();
    Ok(())
}

/// Adds a row, in the transaction of the change where there is one.
pub(crate) async fn note(
    connection: &impl ConnectionTrait,
    act: &Act,
    deed: &Deed<'_>,
) -> Result<Noted, DbErr> {
    let row = row_of(act, deed);
    audit::Entity::insert(row.clone().into_active_model())
        .exec_without_returning(connection)
        .await?;
    Ok(Noted(row))
}

fn row_of(act: &Act, deed: &Deed<'_>) -> audit::Model {
    let text = |text: &str| cut(text, LONGEST);
    let optional = |given: &Option<String>| given.as_deref().map(text);
    audit::Model {
        id: AuditId::generate().as_uuid(),
        at: to_micros(now()),
        user_id: deed.user.map(ToString::to_string),
        actor: text(&act.actor),
        via: act.via as i16,
        token_id: optional(&act.token_id),
        address: act.address.map(|address| address.to_string()),
        request_id: optional(&act.request_id),
        action: deed.action.as_str().to_owned(),
        object_kind: deed.kind.as_str().to_owned(),
        object_id: text(&deed.id),
        fields: cut(&deed.fields.join(","), LONGEST_LIST),
        outcome: text(&deed.outcome),
    }
}

/// What can be stored of a text, and no more of it than that.
fn cut(text: &str, most: usize) -> String {
    storable(text).chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_bounded_whatever_it_is_told() {
        let long = "ä\0".repeat(10_000);
        let act =
            Act { token_id: Some(long.clone()), request_id: Some(long.clone()), ..Act::service() };
        let deed = Deed::of(Action::WebhookUpdate, ObjectKind::Webhook, &long)
            .fields(vec!["headers"; 1_000])
            .outcome(&long);
        let row = row_of(&act, &deed);
        for text in [&row.object_id, &row.outcome, &row.token_id.unwrap(), &row.request_id.unwrap()]
        {
            assert_eq!((text.chars().count(), text.contains('\0')), (256, false));
        }
        assert_eq!(row.fields.len(), 512);
    }
}
