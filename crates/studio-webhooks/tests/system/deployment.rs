//! The compose file, as far as it can be checked without a Docker engine: what it starts waits for
//! what it needs, can do no more than it needs, and runs with what it is given.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::studio::{Backend, Studio};

/// The secrets that each service gets, and there are no others.
const SECRETS: [(&str, &[&str]); 6] = [
    ("postgres", &["POSTGRES_PASSWORD"]),
    ("rabbitmq", &["RABBITMQ_PASSWORD"]),
    ("migrate", &["POSTGRES_PASSWORD"]),
    (
        "api",
        &["POSTGRES_PASSWORD", "RABBITMQ_PASSWORD", "STUDIO_JWT_SECRET", "STUDIO_SECRETS_KEYS"],
    ),
    ("dispatcher", &["POSTGRES_PASSWORD", "RABBITMQ_PASSWORD", "STUDIO_SECRETS_KEYS"]),
    ("gateway", &["RABBITMQ_PASSWORD", "STUDIO_JWT_SECRET"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn compose() -> Value {
    let output = Command::new(bench::servers::target_folder().join("python/bin/python3"))
        .arg("-c")
        .arg("import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))")
        .arg(root().join("docker-compose.yml"))
        .output()
        .expect("`make test-tools` installs Python's yaml");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the compose file sets for `service`, by name.
fn environment(service: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(service["environment"].clone()).unwrap()
}

#[test]
fn the_compose_file_starts_every_service_after_what_it_needs() {
    let services = &compose()["services"];
    let (healthy, done) = ("service_healthy", "service_completed_successfully");
    for (name, database) in [("api", true), ("dispatcher", true), ("gateway", false)] {
        let service = &services[name];
        assert_eq!(service["command"], json!([name]));
        assert!(service["healthcheck"]["test"].is_array(), "{name}");
        let needs = &service["depends_on"];
        assert_eq!(needs["rabbitmq"]["condition"], healthy, "{name}");
        assert_eq!(needs["postgres"]["condition"] == healthy, database, "{name}");
        assert_eq!(needs["migrate"]["condition"] == done, database, "{name}");
    }
    assert_eq!(services["dispatcher"]["deploy"]["replicas"], 2);
    assert!(services["rabbitmq"]["image"].as_str().unwrap().contains("management"));
    // The settings with which RabbitMQ is tested.
    let advanced = "./deploy/rabbitmq/advanced.config:/etc/rabbitmq/advanced.config:ro";
    assert!(services["rabbitmq"]["volumes"].as_array().unwrap().contains(&json!(advanced)));
    for name in ["postgres", "rabbitmq"] {
        assert!(services[name]["healthcheck"]["test"].is_array(), "{name}");
    }
}

#[test]
fn every_setting_of_the_compose_file_is_one_that_the_services_know() {
    let known = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let services = &compose()["services"];
    for service in ["migrate", "api", "dispatcher", "gateway"] {
        for name in environment(&services[service]).keys() {
            assert!(known.contains(&format!("`{name}`")), "{service}: {name}");
        }
    }
}

#[test]
fn each_service_gets_the_secrets_that_it_needs_and_no_other() {
    let services = compose()["services"].clone();
    let expected: BTreeMap<_, _> = SECRETS.into_iter().collect();
    let names: BTreeSet<_> = services.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, expected.keys().copied().collect());
    for (name, service) in services.as_object().unwrap() {
        // Wherever in the service one is written: `${NAME:?what to do}`.
        let text = service.to_string();
        let named = text.split("${").skip(1).map(|rest| {
            let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
            &rest[..end.expect("a closed brace")]
        });
        let named: BTreeSet<_> = named.collect();
        assert_eq!(named, expected[name.as_str()].iter().copied().collect(), "{name}");
        assert!(service.get("env_file").is_none(), "{name}: a file gives more than is named here");
    }
}

#[test]
fn no_container_can_do_more_than_its_service_needs() {
    let compose = compose();
    for (name, service) in compose["services"].as_object().unwrap() {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], json!(["ALL"]), "{name}");
        assert!(service.get("cap_add").is_none(), "{name}");
        assert!(service.get("privileged").is_none(), "{name}");
        assert_eq!(service["security_opt"], json!(["no-new-privileges:true"]), "{name}");
        assert!(service["mem_limit"].is_string(), "{name}");
        assert!(service["pids_limit"].as_u64().is_some_and(|most| most <= 2_048), "{name}");
        let user = service["user"].as_str().unwrap();
        let ids: Vec<u32> = user.split(':').map(|id| id.parse().unwrap()).collect();
        assert!(ids.len() == 2 && !ids.contains(&0), "{name} runs as {user}");
        // Writable are the data of those who have some, and what is gone with the container.
        let ours = !["postgres", "rabbitmq"].contains(&name.as_str());
        assert!(!ours || service.get("volumes").is_none() && service.get("tmpfs").is_none());
        let networks: Vec<&str> =
            service["networks"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
        let database = environment(service).values().any(|v| v.contains("POSTGRES_PASSWORD"));
        assert_eq!(networks.contains(&"database"), database, "{name}: {networks:?}");
    }
    assert_eq!(compose["networks"]["database"]["internal"], true);
    let image = std::fs::read_to_string(root().join("deploy/Dockerfile")).unwrap();
    assert!(image.lines().any(|line| line == "USER 10001:10001"));
}

#[test]
fn what_the_image_is_built_from_holds_no_secrets() {
    for file in [".dockerignore", ".gitignore"] {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        let all_but = text.lines().any(|line| line == "*") && !text.contains("!.env");
        assert!(all_but || text.lines().any(|line| line == ".env"), "{file}");
    }
}

/// Runs `service` with the names that the compose file gives it, and those alone. The values are
/// its own, but for secrets, which are the test's.
fn start(studio: &Studio, service: &str) {
    let given = environment(&compose()["services"][service]);
    let environment = given.into_iter().map(|(name, value)| {
        let value = if value.contains("${") { studio.setting(&name).to_owned() } else { value };
        (name, value)
    });
    // What a container has, and a test does not: an address of its own, and endpoints outside.
    let listens = format!("STUDIO__{}__BIND", service.to_uppercase());
    let listens = (service != "migrate").then_some(listens.as_str());
    let apart = listens.into_iter().chain(["STUDIO__DELIVERY__ALLOW_NETWORKS"]);
    let apart = apart.map(|name| (name.to_owned(), studio.setting(name).to_owned()));
    studio.spawn_with_only(service, service, environment.chain(apart));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_works_with_what_the_compose_file_gives_it() {
    let studio = Studio::prepare(Backend::Servers, &[]).await;
    start(&studio, "migrate");
    assert_eq!(studio.wait_for_end("migrate").await, 0, "{}", studio.log("migrate"));

    for service in ["api", "dispatcher", "gateway"] {
        start(&studio, service);
    }

    for base in [&studio.gateway, &studio.dispatcher, &studio.api] {
        studio.wait_ready(base).await;
    }
    let endpoint = Endpoint::answering([200]).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    studio.wait_for_log(&webhook, "success").await;
    // The folder they run in is read-only in a container.
    let kept: Vec<_> = std::fs::read_dir(studio.folder.path()).unwrap().collect();
    let logs = kept.iter().filter(|entry| {
        entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "log")
    });
    assert_eq!(logs.count(), kept.len(), "{kept:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_lacks_what_it_needs_says_which_setting() {
    for (service, key, name) in [
        ("api", "auth.jwt_secret", "STUDIO__AUTH__JWT_SECRET"),
        ("api", "secrets.keys", "STUDIO__SECRETS__KEYS"),
        ("dispatcher", "secrets.keys", "STUDIO__SECRETS__KEYS"),
        ("gateway", "auth.jwt_secret", "STUDIO__AUTH__JWT_SECRET"),
        ("all", "secrets.keys", "STUDIO__SECRETS__KEYS"),
    ] {
        let mut studio = Studio::prepare(Backend::Embedded, &[]).await;
        studio.forget_setting(name);
        let output = studio.command(&[service]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{service} without {name}: {said}");
        let line = said.lines().find(|line| line.contains("error: ")).unwrap_or_default();
        assert!(line.contains(&format!("{key} ({name}): expected")), "{service}: {said}");
    }
}
