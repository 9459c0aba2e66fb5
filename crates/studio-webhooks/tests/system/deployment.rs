//! The compose file, as far as it can be checked without a Docker engine: it parses, and what it
//! starts waits for what it needs.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

fn compose() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker-compose.yml");
    let output = Command::new(bench::servers::target_folder().join("python/bin/python3"))
        .arg("-c")
        .arg("import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))")
        .arg(file)
        .output()
        .expect("`make test-tools` installs Python's yaml");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_compose_file_starts_every_service_after_what_it_needs() {
    let services = &compose()["services"];
    for name in ["api", "dispatcher", "gateway"] {
        let service = &services[name];
        assert_eq!(service["command"], json!([name]));
        assert!(service["healthcheck"]["test"].is_array(), "{name}");
        let needs = &service["depends_on"];
        assert_eq!(needs["postgres"]["condition"], "service_healthy", "{name}");
        assert_eq!(needs["rabbitmq"]["condition"], "service_healthy", "{name}");
        assert_eq!(needs["migrate"]["condition"], "service_completed_successfully", "{name}");
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
    let known = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md"),
    )
    .unwrap();
    for (name, _) in compose()["services"]["api"]["environment"].as_object().unwrap() {
        assert!(known.contains(&format!("`{name}`")), "{name}");
    }
}
