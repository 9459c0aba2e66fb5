//! What can go wrong, by what the caller does about it.

/// A store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Unknown, or another user's: the two look the same.
    #[error("not found")]
    NotFound,
    /// The user has as many webhooks as allowed.
    #[error("the limit of {0} webhooks is reached")]
    LimitReached(u64),
    /// Worth retrying: the database is away, busy, or the connection broke.
    #[error("the database is away: {0}")]
    Unavailable(String),
    /// A setting is wrong, or the database is not up to date; the text says what to do.
    #[error("{key}: {message}")]
    Config {
        /// The setting, such as `secrets.keys`.
        key: &'static str,
        /// What is wrong and what is expected.
        message: String,
    },
    /// A row holds what it cannot hold: another version wrote it, or it is damaged.
    #[error("a stored {what} cannot be read: {message}")]
    Corrupt {
        /// Which kind of row.
        what: &'static str,
        /// Why.
        message: String,
    },
}

impl From<sea_orm::DbErr> for StoreError {
    fn from(error: sea_orm::DbErr) -> Self {
        match error {
            sea_orm::DbErr::RecordNotFound(_) | sea_orm::DbErr::RecordNotUpdated => Self::NotFound,
            other => Self::Unavailable(other.to_string()),
        }
    }
}
