//! Times as they are stored: microseconds since 1970, the same and exact in both databases.

use time::OffsetDateTime;

use crate::StoreError;

/// The stored form of `at`.
pub(crate) fn to_micros(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}

/// The time of a stored form.
pub(crate) fn from_micros(micros: i64) -> Result<OffsetDateTime, StoreError> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000)
        .map_err(|e| StoreError::Corrupt { what: "time", message: e.to_string() })
}

/// `now`, as exact as it is stored: what is written is what is read back.
pub(crate) fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(now.nanosecond() / 1_000 * 1_000)
        .expect("fewer nanoseconds are still a nanosecond")
}

/// The day of a stored time: days since 1970, UTC.
pub(crate) fn day_of(micros: i64) -> i32 {
    i32::try_from(micros.div_euclid(86_400_000_000)).unwrap_or(i32::MAX)
}
