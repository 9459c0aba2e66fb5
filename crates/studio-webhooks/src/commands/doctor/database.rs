//! The database: there, up to date, on time, and readable with the keys.

use time::Duration;

use super::Finding;
use crate::commands::parts;
use crate::config::Settings;
use store::{Store, StoreError};

/// Clocks further apart than this make retries early or late.
const APART: Duration = Duration::seconds(1);

pub(super) async fn check(s: &Settings) -> Vec<Finding> {
    // Looking makes no file.
    if let Some(path) = s.database.url.file("sqlite")
        && !std::path::Path::new(path).exists()
    {
        let text = format!("{path} is not there yet: a service makes it when it starts");
        return vec![Finding::warn("database", text)];
    }
    let store = match parts::store(s).await {
        Ok(store) => store,
        Err(error) => return vec![Finding::fail("database", format!("{error:#}"))],
    };
    let mut found = vec![schema(&store, &s.database.url.shown()).await];
    if found[0].health == super::Health::Ok {
        found.push(clock(&store).await);
        found.push(keys(&store).await);
    }
    store.close().await;
    found
}

async fn schema(store: &Store, url: &str) -> Finding {
    match store.check_schema().await {
        Ok(()) => Finding::ok("database", format!("{url} is there, and up to date")),
        Err(StoreError::Unavailable(reason)) => Finding::fail(
            "database",
            format!("{url} does not answer ({reason}): is it running, and is database.url right?"),
        ),
        Err(error) => Finding::fail("database", error.to_string()),
    }
}

async fn clock(store: &Store) -> Finding {
    match store.clock_ahead().await {
        Err(error) => Finding::fail("clock", error.to_string()),
        Ok(None) => Finding::ok("clock", "the database uses this machine's"),
        Ok(Some(ahead)) if ahead.abs() > APART => Finding::warn(
            "clock",
            format!(
                "the database's is {:.1} s ahead of this machine's: let NTP set both",
                ahead.as_seconds_f64()
            ),
        ),
        Ok(Some(ahead)) => Finding::ok(
            "clock",
            format!("the database's differs by {} ms", ahead.whole_milliseconds()),
        ),
    }
}

async fn keys(store: &Store) -> Finding {
    match store.readable_webhooks(200).await {
        Err(error) => Finding::fail("keys", error.to_string()),
        Ok((looked, 0)) => Finding::ok("keys", format!("open all of {looked} webhooks looked at")),
        Ok((looked, closed)) => Finding::fail(
            "keys",
            format!(
                "secrets.keys does not open {closed} of {looked} webhooks looked at: add the key \
                 they were sealed with, behind the first"
            ),
        ),
    }
}
