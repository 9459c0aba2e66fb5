//! Old history is removed a little at a time, together with what is written anyway.

use sea_orm::sqlx::{self, Row, SqliteConnection};

use crate::BrokerConfig;
use crate::embedded::clock::millis;
use crate::embedded::rows;

/// Between looking for old entries, in ms.
const ROUND: i64 = 10_000;

/// Rounds until what was passed over, because it waits for dispatch, is looked at again.
const ROUNDS: u32 = 60;

pub(super) struct Retention {
    /// How long entries are kept, in ms.
    age: i64,
    /// How much is kept.
    bytes: i64,
    /// Entries up to this id have been looked at.
    looked: i64,
    rounds: u32,
    pub(super) next_at: i64,
}

impl Retention {
    pub(super) fn new(config: &BrokerConfig, now: i64) -> Self {
        Self {
            age: millis(config.history_age),
            bytes: i64::try_from(config.history_bytes).unwrap_or(i64::MAX),
            looked: 0,
            rounds: 0,
            next_at: now,
        }
    }

    /// Looks at the next `most` entries and deletes those that are too old, or too much where
    /// all together have `upto` bytes. What waits for dispatch stays.
    pub(super) async fn step(
        &mut self,
        connection: &mut SqliteConnection,
        now: i64,
        upto: i64,
        most: i64,
    ) -> Result<(), sqlx::Error> {
        let sql = "SELECT id, at >= ? AND upto > ? AS kept,
                   EXISTS (SELECT 1 FROM pending WHERE pending.id = events.id) AS pending
                   FROM events WHERE id > ? ORDER BY id LIMIT ?";
        let found = sqlx::query(sql)
            .bind(now.saturating_sub(self.age))
            .bind(upto.saturating_sub(self.bytes))
            .bind(self.looked)
            .bind(most)
            .fetch_all(&mut *connection)
            .await?;
        let (mut old, mut looked) = (Vec::new(), self.looked);
        let mut reached_kept = false;
        for row in &found {
            let id = row.try_get("id")?;
            reached_kept = row.try_get("kept")?;
            if reached_kept {
                break;
            }
            looked = id;
            if !row.try_get("pending")? {
                old.push(id);
            }
        }
        rows::delete(connection, "events", &old).await?;
        self.looked = looked;
        if reached_kept || i64::try_from(found.len()).unwrap_or(i64::MAX) < most {
            self.end_round(now);
        }
        Ok(())
    }

    fn end_round(&mut self, now: i64) {
        self.next_at = now.saturating_add(ROUND);
        self.rounds += 1;
        if self.rounds == ROUNDS {
            (self.rounds, self.looked) = (0, 0);
        }
    }
}
