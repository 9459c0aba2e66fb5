//! Sealing everything anew with the first key, beside running services; and counting what each
//! key seals.

use std::collections::BTreeMap;

use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};
use uuid::Uuid;

use crate::entity::{idempotency_key, webhook};
use crate::idempotency::{place as answer_place, row as answer_row};
use crate::keyring::{Place, is_bound, key_id};
use crate::webhook_row::{place, sealed_values};
use crate::{Store, StoreError};

/// Webhooks read together.
const WEBHOOKS: u64 = 200;

/// Answers read together: each may be as large as is kept.
const ANSWERS: u64 = 20;

/// What became of sealed values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rekeyed {
    /// Webhooks of which a value was sealed anew.
    pub webhooks: u64,
    /// Answers of idempotency keys that were sealed anew.
    pub answers: u64,
    /// Rows that no key opens, and why the first of them does not open.
    pub unopened: Option<(u64, String)>,
}

impl Rekeyed {
    fn note(&mut self, error: &StoreError) {
        let (count, _) = self.unopened.get_or_insert_with(|| (0, error.to_string()));
        *count += 1;
    }
}

/// How many values a key seals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// Secrets, signing keys and headers of webhooks.
    pub webhook_values: u64,
    /// Answers of idempotency keys.
    pub answers: u64,
    /// How many of them an earlier release sealed, not bound to their owner.
    pub unbound: u64,
}

impl Sealed {
    fn note(&mut self, sealed: &[u8], kind: impl FnOnce(&mut Self) -> &mut u64) {
        *kind(self) += 1;
        self.unbound += u64::from(!is_bound(sealed));
    }
}

impl Store {
    /// Seals with the first key what is sealed with another, and bound to its owner what is not
    /// yet: secrets, signing keys, headers, stored answers; answers that are not bound are
    /// forgotten. What a service changes meanwhile is left as it wrote it, and looked at
    /// again.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away; what was done stays done.
    pub async fn rekey(&self) -> Result<Rekeyed, StoreError> {
        let mut done = Rekeyed::default();
        self.rekey_webhooks(&mut done).await?;
        self.rekey_answers(&mut done).await?;
        Ok(done)
    }

    /// How many values each key seals, by the key's id; keys of the settings that seal nothing
    /// are there too.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn sealed_by_key(&self) -> Result<BTreeMap<String, Sealed>, StoreError> {
        let mut found: BTreeMap<String, Sealed> =
            self.keyring.ids().map(|id| (id.to_owned(), Sealed::default())).collect();
        let mut after = Uuid::nil();
        loop {
            let rows = webhooks_after(after).all(&self.reader).await?;
            let Some(last) = rows.last() else { break };
            after = last.id;
            for row in &rows {
                let values = sealed_values(row).into_iter().filter_map(|(_, _, sealed)| sealed);
                for value in values {
                    let Some(id) = key_id(value) else { continue };
                    found.entry(id).or_default().note(value, |sealed| &mut sealed.webhook_values);
                }
            }
        }
        let mut after = None;
        loop {
            let rows = answers_after(after.as_ref()).all(&self.reader).await?;
            let Some(last) = rows.last() else { break };
            after = Some((last.user_id.clone(), last.key.clone()));
            for answer in rows.iter().filter_map(|row| row.answer.as_deref()) {
                let Some(id) = key_id(answer) else { continue };
                found.entry(id).or_default().note(answer, |sealed| &mut sealed.answers);
            }
        }
        Ok(found)
    }

    async fn rekey_webhooks(&self, done: &mut Rekeyed) -> Result<(), StoreError> {
        let mut after = Uuid::nil();
        loop {
            let rows = webhooks_after(after).all(&self.reader).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.id;
            for row in rows {
                match self.rekey_webhook(row).await {
                    Ok(changed) => done.webhooks += u64::from(changed),
                    Err(error @ StoreError::Corrupt { .. }) => done.note(&error),
                    Err(other) => return Err(other),
                }
            }
        }
    }

    async fn rekey_webhook(&self, mut row: webhook::Model) -> Result<bool, StoreError> {
        use webhook::Column;
        loop {
            let mut update = webhook::Entity::update_many().filter(Column::Id.eq(row.id));
            let mut any = false;
            for (name, column, sealed) in sealed_values(&row) {
                // Not over what a service has written since.
                update = update.filter(match sealed {
                    Some(sealed) => column.eq(sealed.clone()),
                    None => column.is_null(),
                });
                let place = place(&row.id, &row.user_id, name);
                let anew = sealed.map(|sealed| self.sealed_anew(place, sealed)).transpose()?;
                if let Some(anew) = anew.flatten() {
                    update = update.col_expr(column, Expr::value(anew));
                    any = true;
                }
            }
            if !any {
                return Ok(false);
            }
            let changed = update.exec(&self.writer).await?;
            if changed.rows_affected == 1 {
                return Ok(true);
            }
            match webhook::Entity::find_by_id(row.id).one(&self.writer).await? {
                Some(now) => row = now,
                None => return Ok(false),
            }
        }
    }

    async fn rekey_answers(&self, done: &mut Rekeyed) -> Result<(), StoreError> {
        use idempotency_key::{Column, Entity};
        let mut after = None;
        loop {
            let rows = answers_after(after.as_ref()).all(&self.reader).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some((last.user_id.clone(), last.key.clone()));
            for row in rows {
                let Some(old) = row.answer.as_deref() else { continue };
                if !is_bound(old) {
                    self.forget_answer(&row).await?;
                    continue;
                }
                let name = answer_row(&row.fingerprint, &row.key);
                match self.sealed_anew(answer_place(&name, &row.user_id), old) {
                    Ok(None) => {}
                    Ok(Some(sealed)) => {
                        // An answer is written once: whatever stands there is this one.
                        let changed = Entity::update_many()
                            .col_expr(Column::Answer, Expr::value(sealed))
                            .filter(Column::UserId.eq(row.user_id.as_str()))
                            .filter(Column::Key.eq(row.key.as_str()))
                            .filter(Column::Seed.eq(row.seed))
                            .exec(&self.writer)
                            .await?;
                        done.answers += changed.rows_affected;
                    }
                    Err(error) => done.note(&error),
                }
            }
        }
    }

    /// `None` when it is as it would be sealed now.
    fn sealed_anew(&self, place: Place<'_>, sealed: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if self.keyring.is_current(sealed) {
            return Ok(None);
        }
        Ok(Some(self.keyring.seal(place, &self.keyring.open(place, sealed)?)))
    }
}

fn webhooks_after(id: Uuid) -> Select<webhook::Entity> {
    webhook::Entity::find()
        .filter(webhook::Column::Id.gt(id))
        .order_by_asc(webhook::Column::Id)
        .limit(WEBHOOKS)
}

fn answers_after(last: Option<&(String, String)>) -> Select<idempotency_key::Entity> {
    use idempotency_key::Column;
    let found = idempotency_key::Entity::find()
        .filter(Column::Answer.is_not_null())
        .order_by_asc(Column::UserId)
        .order_by_asc(Column::Key)
        .limit(ANSWERS);
    let Some((user, key)) = last else { return found };
    found.filter(
        Condition::any()
            .add(Column::UserId.gt(user.as_str()))
            .add(Column::UserId.eq(user.as_str()).and(Column::Key.gt(key.as_str()))),
    )
}
