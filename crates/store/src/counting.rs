//! Counting and paging that cost the same however many rows there are.

use sea_orm::sea_query::{Asterisk, Expr, Func, Query};
use sea_orm::{ConnectionTrait, EntityTrait, QueryTrait, Select};

use crate::{PageRequest, StoreError};

/// Rows of a page, at most.
const LARGEST_PAGE: u64 = 100;

/// Rows of a list are counted up to here.
const COUNTED: u64 = 10_000;

/// The rows that a page was found to have, and whether more follow.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    /// Rows before the page, where that is known.
    pub(crate) before: Option<u64>,
    pub(crate) rows: usize,
    pub(crate) more: bool,
}

impl Seen {
    /// How many rows the list has, where the page tells: the last one does, and one beyond what
    /// is counted.
    fn tells(self) -> Option<u64> {
        let end = self.before? + self.rows as u64;
        let last = !self.more && (self.rows > 0 || self.before == Some(0));
        (last || (self.rows > 0 && end > COUNTED)).then_some(end)
    }
}

/// How many rows a list has, as far as they are counted, and whether there are more. They are
/// counted only where the page that was `seen` does not tell.
pub(crate) async fn total<E: EntityTrait>(
    connection: &impl ConnectionTrait,
    list: Select<E>,
    seen: Seen,
) -> Result<(u64, bool), StoreError> {
    let counted = match seen.tells() {
        Some(counted) => counted,
        // One more than counts, to see that there are more.
        None => count_up_to(connection, list, COUNTED + 1).await?,
    };
    Ok((Ord::min(counted, COUNTED), counted > COUNTED))
}

/// How many rows `select` finds, counted up to `most`.
pub(crate) async fn count_up_to<E: EntityTrait>(
    connection: &impl ConnectionTrait,
    select: Select<E>,
    most: u64,
) -> Result<u64, StoreError> {
    // Not `PaginatorTrait::count`: it takes the limit off.
    let mut found = select.into_query();
    found.clear_selects().expr(Expr::val(1)).clear_order_by().limit(most);
    let counting = Query::select()
        .expr_as(Func::count(Expr::col(Asterisk)), "counted")
        .from_subquery(found, "found")
        .to_owned();
    let row = connection.query_one(&counting).await?;
    let counted: i64 = row.map_or(Ok(0), |row| row.try_get("", "counted"))?;
    Ok(u64::try_from(counted).unwrap_or(0))
}

impl PageRequest {
    /// Rows of the page.
    pub(crate) fn rows(self) -> u64 {
        self.limit.clamp(1, LARGEST_PAGE)
    }

    /// The rows of the page out of those found, of which one too many was asked for, and whether
    /// there was one.
    pub(crate) fn cut<T>(self, mut found: Vec<T>) -> (Vec<T>, bool) {
        let rows = usize::try_from(self.rows()).unwrap_or(usize::MAX);
        let more = found.len() > rows;
        found.truncate(rows);
        (found, more)
    }

    /// Rows before the page; databases count with signed numbers.
    pub(crate) fn offset(self) -> u64 {
        let before = self.page.saturating_sub(1).saturating_mul(self.rows());
        Ord::min(before, i64::MAX.unsigned_abs())
    }
}
