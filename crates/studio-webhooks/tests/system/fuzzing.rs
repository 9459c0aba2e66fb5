//! The API, asked by its own description: schemathesis makes requests that fit it and requests
//! that do not, follows its links, and holds every answer against it (`docs/api.md`).

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::studio::{Backend, Studio};

/// Requests of each kind to each operation: few in every test run, many in `make fuzz-api`.
fn examples() -> Option<String> {
    std::env::var("FUZZ_EXAMPLES").ok()
}

/// Two users, who must not see what is each other's, and a service, which publishes.
const TOKENS: &str = "[auth.wfc]\npath = \"users.json\"\npeers = [\"first\", \"second\"]\n";

fn users(studio: &Studio) -> String {
    let entry = |name: &str, role: &str| {
        let value = format!("Bearer {}", studio.token(&format!("fuzz_{name}"), role));
        json!({ "name": name, "fixedHeaders": [{ "name": "Authorization", "value": value }] })
    };
    let all = [entry("first", "user"), entry("second", "user"), entry("service", "service")];
    json!({ "auth": all }).to_string()
}

fn python() -> Command {
    Command::new(bench::servers::target_folder().join("python/bin/python3"))
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/fuzzing").join(name)
}

/// Starts an installation and has it asked with every check of schemathesis.
async fn fuzz(tokens: &str) {
    let unlimited = [("STUDIO__API__MAX_WEBHOOKS", "0")];
    let studio = Studio::with(Backend::Embedded, &unlimited).await;
    let hooks = script("hooks.py");
    let config = format!(
        "hooks = {hooks:?}\n{tokens}\n[checks.response_schema_conformance]\nvalidate-formats = true\n"
    );
    std::fs::write(studio.folder.path().join("schemathesis.toml"), config).unwrap();
    std::fs::write(studio.folder.path().join("users.json"), users(&studio)).unwrap();
    let mut command = python();
    command
        .args(["-m", "schemathesis.cli", "run", "--no-color", "--continue-on-failure"])
        .args(["--phases", "examples,coverage,fuzzing,stateful", "--max-examples"])
        .arg(examples().as_deref().unwrap_or("8"))
        .arg(format!("{}/openapi.json", studio.api))
        .env("FUZZ_ENDPOINT", format!("{}/healthz", studio.api))
        .env("FUZZ_SHALLOW", if examples().is_none() { "1" } else { "" })
        .env("FUZZ_WITHOUT_TOKEN", if tokens.is_empty() { "1" } else { "" })
        .current_dir(studio.folder.path());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let output = output.expect("`make test-tools` installs schemathesis");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    println!("{text}");
}

#[test]
fn every_example_fits_its_schema() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let mut check = python();
    check.arg(script("examples.py")).stdin(std::fs::File::open(file).unwrap());
    let output = check.output().expect("`make test-tools` installs schemathesis");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_does_what_its_description_says() {
    fuzz(TOKENS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nothing_is_answered_but_a_refusal() {
    fuzz("").await;
}
