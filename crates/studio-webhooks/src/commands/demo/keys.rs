//! Keys and files of the demo: made once, found again.

use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::{create_private_file, ensure_private_folder, open_to_others};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::config::Settings;

/// The keys of a demo's folder.
#[derive(Serialize, Deserialize)]
pub(super) struct Keys {
    jwt_secret: String,
    secrets_key: String,
}

/// The keys in `folder`, made now if there are none.
///
/// # Errors
/// When the folder or the file cannot be written or read.
pub(super) fn find_or_make(folder: &Path) -> anyhow::Result<Keys> {
    ensure_private_folder(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join("keys.json");
    for wide in [open_to_others(folder), open_to_others(&path)].into_iter().flatten() {
        eprintln!("warning: {wide}");
    }
    if path.exists() {
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        // Not the error, which may repeat a key.
        return serde_json::from_slice(&text).map_err(|_| {
            anyhow!("{} is damaged; remove the folder to begin anew", path.display())
        });
    }
    let keys = Keys { jwt_secret: random(), secrets_key: format!("dev:{}", random()) };
    let file =
        create_private_file(&path).with_context(|| format!("cannot write {}", path.display()))?;
    serde_json::to_writer_pretty(file, &keys)?;
    Ok(keys)
}

/// 32 random bytes in base64.
fn random() -> String {
    STANDARD.encode(rand::rng().random::<[u8; 32]>())
}

impl Keys {
    /// Lets `settings` use these keys and `folder`, and reach receivers on this machine.
    pub(super) fn apply(self, settings: &mut Settings, folder: &Path) {
        settings.auth.jwt_secret = self.jwt_secret.into();
        settings.secrets.keys = vec![self.secrets_key.into()];
        settings.database.url = format!("sqlite://{}", folder.join("store.db").display()).into();
        settings.broker.url = format!("embedded://{}", folder.join("queues.db").display()).into();
        settings.delivery.allow_networks = vec!["127.0.0.0/8".into(), "::1/128".into()];
    }
}
