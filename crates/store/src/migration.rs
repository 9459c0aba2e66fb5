//! Migrations, oldest first. They only add: the release before must go on working beside them.

mod m0001_first_tables;
mod m0002_webhook_options;
mod m0003_idempotency_and_jobs;
mod m0004_webhook_health;
mod m0005_suspects;
mod m0006_sign_outs;
mod m0007_endpoint_proofs;
mod m0008_audit;
mod m0009_backlogs;

use sea_orm_migration::prelude::*;

pub(crate) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_first_tables::Migration),
            Box::new(m0002_webhook_options::Migration),
            Box::new(m0003_idempotency_and_jobs::Migration),
            Box::new(m0004_webhook_health::Migration),
            Box::new(m0005_suspects::Migration),
            Box::new(m0006_sign_outs::Migration),
            Box::new(m0007_endpoint_proofs::Migration),
            Box::new(m0008_audit::Migration),
            Box::new(m0009_backlogs::Migration),
        ]
    }
}
