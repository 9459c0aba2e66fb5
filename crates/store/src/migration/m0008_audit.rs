//! The audit trail, and the triggers that let nobody change it. Rows are removed only in a
//! transaction that opens the gate: for their age, or for a user who is erased. Whoever owns the
//! database can take the triggers away: they keep mistakes and services out, not its owner.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, small_integer, text, text_null, uuid};
use sea_orm_migration::sea_orm::{ConnectionTrait, DatabaseBackend};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0008_audit"
    }
}

fn audit() -> TableCreateStatement {
    Table::create()
        .table("audit")
        .if_not_exists()
        .col(uuid("id").primary_key())
        .col(big_integer("at"))
        .col(text_null("user_id"))
        .col(text("actor"))
        .col(small_integer("via"))
        .col(text_null("token_id"))
        .col(text_null("address"))
        .col(text_null("request_id"))
        .col(text("action"))
        .col(text("object_kind"))
        .col(text("object_id"))
        .col(text("fields"))
        .col(text("outcome"))
        .to_owned()
}

/// One row: what the triggers let go of. Closed: nothing is older, and nobody is erased.
fn gate() -> TableCreateStatement {
    Table::create()
        .table("audit_gate")
        .if_not_exists()
        .col(small_integer("id").primary_key())
        .col(big_integer("older_than"))
        .col(text_null("user_id"))
        .to_owned()
}

/// The ways to ask, each with its index; the id is last, in the order of time.
const INDEXES: [(&str, &[&str]); 7] = [
    ("audit_by_user", &["user_id", "id"]),
    ("audit_by_user_and_action", &["user_id", "action", "id"]),
    ("audit_by_user_and_actor", &["user_id", "actor", "id"]),
    ("audit_by_actor", &["actor", "id"]),
    ("audit_by_actor_and_action", &["actor", "action", "id"]),
    ("audit_by_object", &["object_id", "id"]),
    ("audit_by_action", &["action", "id"]),
];

/// What must hold of the gate for a row to go.
const MAY_GO: &str = "SELECT 1 FROM audit_gate WHERE OLD.at < audit_gate.older_than \
     OR OLD.user_id = audit_gate.user_id";

/// What must hold for a row to change: its actor is erased, and nothing else becomes of it.
const MAY_CHANGE: &str = "SELECT 1 FROM audit_gate WHERE OLD.actor = audit_gate.user_id \
     AND NEW.actor = 'an erased user' AND NEW.token_id IS NULL \
     AND NEW.address IS NULL AND NEW.request_id IS NULL \
     AND NEW.id = OLD.id AND NEW.at = OLD.at AND NEW.via = OLD.via AND NEW.action = OLD.action \
     AND NEW.object_kind = OLD.object_kind AND NEW.object_id = OLD.object_id \
     AND NEW.fields = OLD.fields AND NEW.outcome = OLD.outcome";

const REFUSAL: &str = "the audit trail is only added to";

fn sqlite_triggers() -> Vec<String> {
    let trigger = |name: &str, event: &str, unless: &str| {
        format!(
            "CREATE TRIGGER IF NOT EXISTS {name} BEFORE {event} ON audit \
             WHEN NOT EXISTS ({unless}) BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
        )
    };
    vec![trigger("audit_stays", "DELETE", MAY_GO), trigger("audit_stands", "UPDATE", MAY_CHANGE)]
}

fn postgres_triggers() -> Vec<String> {
    let function = |name: &str, unless: &str, row: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $body$ \
             BEGIN IF NOT EXISTS ({unless}) THEN RAISE EXCEPTION '{REFUSAL}'; END IF; \
             RETURN {row}; END $body$"
        )
    };
    let trigger = |name: &str, event: &str, each: &str, function: &str| {
        format!(
            "CREATE TRIGGER {name} BEFORE {event} ON audit FOR EACH {each} \
             EXECUTE FUNCTION {function}()"
        )
    };
    vec![
        function("audit_may_go", MAY_GO, "OLD"),
        function("audit_may_change", MAY_CHANGE, "NEW"),
        function("audit_may_be_emptied", "SELECT 1 WHERE false", "NULL"),
        trigger("audit_stays", "DELETE", "ROW", "audit_may_go"),
        trigger("audit_stands", "UPDATE", "ROW", "audit_may_change"),
        trigger("audit_is_not_emptied", "TRUNCATE", "STATEMENT", "audit_may_be_emptied"),
    ]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(audit()).await?;
        manager.create_table(gate()).await?;
        for (name, columns) in INDEXES {
            let mut index = Index::create().name(name).table("audit").if_not_exists().to_owned();
            for column in columns {
                index.col(*column);
            }
            manager.create_index(index).await?;
        }
        let connection = manager.get_connection();
        let closed = "INSERT INTO audit_gate (id, older_than, user_id) VALUES (1, 0, NULL) \
                      ON CONFLICT (id) DO NOTHING";
        connection.execute_unprepared(closed).await?;
        let triggers = match manager.get_database_backend() {
            DatabaseBackend::Postgres => postgres_triggers(),
            _ => sqlite_triggers(),
        };
        for trigger in triggers {
            connection.execute_unprepared(&trigger).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["audit", "audit_gate"] {
            manager.drop_table(Table::drop().table(name).to_owned()).await?;
        }
        Ok(())
    }
}
