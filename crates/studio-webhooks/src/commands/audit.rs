//! `studio-webhooks audit`

use std::process::ExitCode;

use clap::Args;
use domain::UserId;
use serde_json::{Value, json};
use store::{Action, AuditFilter, AuditRow, Deed, ObjectKind, PageRequest};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::commands::table::Table;
use crate::commands::{parts, trail};
use crate::config::Settings;

/// Rows read together.
const PAGE: u64 = 100;

/// Show the audit trail: who did what, on which object, when. The newest first.
///
/// It holds names, never values. Reading it is noted in it, too.
#[derive(Args)]
pub(crate) struct Audit {
    /// Only what was done to this user's objects, or by this user.
    #[arg(long)]
    user: Option<UserId>,
    /// Only what this actor did: a user id, operator:UID or service.
    #[arg(long)]
    actor: Option<String>,
    /// Only this, such as webhook.update.
    #[arg(long, value_parser = action)]
    action: Option<Action>,
    /// Only on the object of this id, such as wh_….
    #[arg(long)]
    object: Option<String>,
    /// At or after this time, such as 2026-02-01T15:30:00Z.
    #[arg(long, value_parser = instant)]
    since: Option<OffsetDateTime>,
    /// Before this time.
    #[arg(long, value_parser = instant)]
    until: Option<OffsetDateTime>,
    /// At most so many rows.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn action(text: &str) -> Result<Action, String> {
    text.parse().map_err(|()| {
        let all: Vec<&str> = Action::ALL.iter().map(|action| action.as_str()).collect();
        format!("expected one of {}", all.join(", "))
    })
}

fn instant(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "expected a time such as 2026-02-01T15:30:00Z".to_owned())
}

impl Audit {
    pub(crate) fn run(self, settings: Settings) -> anyhow::Result<ExitCode> {
        let s = &settings;
        parts::command("audit", s, async {
            let store = trail::store(s).await?;
            store.check_schema().await.map_err(parts::explain)?;
            let filter = AuditFilter {
                user: self.user,
                actor: self.actor,
                action: self.action,
                object: self.object,
                since: self.since,
                until: self.until,
                after: None,
            };
            let asked = Deed::of(Action::AuditRead, ObjectKind::Installation, "audit");
            let asked = match &filter.user {
                Some(user) => asked.belonging_to(user),
                None => asked,
            };
            let (rows, more) = read(&store, filter.clone(), self.limit).await?;
            store.note(&asked).await.map_err(parts::explain)?;
            store.close().await;
            if self.json {
                let rows: Vec<Value> = rows.iter().map(json_of).collect();
                println!("{}", serde_json::to_string_pretty(&rows)?);
            } else {
                print!("{}", table(&rows));
            }
            if more {
                eprintln!("There are more: narrow it down, or give a greater --limit.");
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn read(
    store: &store::Store,
    mut filter: AuditFilter,
    limit: usize,
) -> anyhow::Result<(Vec<AuditRow>, bool)> {
    let mut rows = Vec::new();
    loop {
        let page = PageRequest { page: 1, limit: PAGE };
        let found = store.audit(&filter, page).await.map_err(parts::explain)?;
        rows.extend(found.items);
        filter.after = rows.last().map(|row| row.id);
        if rows.len() >= limit || !found.more {
            let more = found.more || rows.len() > limit;
            rows.truncate(limit);
            return Ok((rows, more));
        }
    }
}

fn written(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

fn json_of(row: &AuditRow) -> Value {
    json!({
        "id": row.id,
        "at": written(row.at),
        "actor": row.actor,
        "via": row.via.as_str(),
        "user_id": row.user,
        "action": row.action,
        "object": { "kind": row.object_kind, "id": row.object_id },
        "fields": row.fields,
        "outcome": row.outcome,
        "token_id": row.token_id,
        "address": row.address,
        "request_id": row.request_id,
    })
}

fn table(rows: &[AuditRow]) -> String {
    let head = ["time", "actor", "via", "action", "object", "user", "fields", "from", "outcome"];
    let mut table = Table::new(head);
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for row in rows {
        table.row([
            written(row.at),
            row.actor.clone(),
            row.via.as_str().to_owned(),
            row.action.clone(),
            row.object_id.clone(),
            or_none(row.user.as_ref().map(ToString::to_string)),
            or_none((!row.fields.is_empty()).then(|| row.fields.join(","))),
            or_none(row.address.map(|address| address.to_string())),
            row.outcome.clone(),
        ]);
    }
    table.to_string()
}
