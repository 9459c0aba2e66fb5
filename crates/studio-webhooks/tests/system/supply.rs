//! What is built in: the check of it (`make deny`) tells a fault from a database that it could not
//! reach, and no old cipher comes back by a side door.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap()
}

/// `file`, which is TOML, as JSON.
fn toml(file: &str) -> Value {
    let script =
        "import json, sys, tomllib; print(json.dumps(tomllib.load(open(sys.argv[1], 'rb'))))";
    let output = Command::new(bench::servers::target_folder().join("python/bin/python3"))
        .args(["-c", script])
        .arg(root().join(file))
        .output()
        .expect("`make test-tools` makes Python's environment");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs the check with a stand-in for cargo-deny, which finds faults of these kinds, and fetches the
/// database or does not.
fn deny(folder: &Path, faults: &str, fetched: bool, settings: &[(&str, &str)]) -> Output {
    let tool = folder.join("cargo-deny");
    let fetch = if fetched {
        r#"mkdir -p "$CARGO_HOME/advisory-dbs/db/crates"; exit 0"#
    } else {
        "echo 'fatal: no way to the database' >&2; exit 1"
    };
    // By the last words of its command line it knows which part is checked.
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = fetch ] && {{ {fetch}; }}\n\
         for part in {faults} none; do case \"$*\" in *\"$part\"*) echo \"found: $part\"; exit 1;; \
         esac; done\nexit 0\n"
    );
    std::fs::write(&tool, script).unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(root().join(".ci/deny"));
    command.env("CARGO_DENY", &tool).env("CARGO_HOME", folder.join("home"));
    command.envs(settings.iter().copied()).output().unwrap()
}

#[test]
fn a_fault_fails_the_check_whatever_kind_it_is_of() {
    for part in ["bans", "advisories"] {
        let folder = tempfile::tempdir().unwrap();
        let output = deny(folder.path(), part, true, &[]);
        assert_eq!(output.status.code(), Some(1), "{part}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(&format!("found: {part}")));
    }
    let folder = tempfile::tempdir().unwrap();
    let output = deny(folder.path(), "", true, &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("NOT CHECKED"));
}

#[test]
fn a_database_of_advisories_out_of_reach_is_said_and_is_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let output = deny(folder.path(), "advisories", false, &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("ADVISORIES NOT CHECKED"), "{said}");
    assert!(said.contains("no way to the database"), "{said}");
    // The other parts count all the same.
    assert_eq!(deny(folder.path(), "licenses", false, &[]).status.code(), Some(1));
    // Where it must be checked, not checked is not good enough.
    let required = [("DENY_ADVISORIES", "required")];
    assert_eq!(deny(folder.path(), "", false, &required).status.code(), Some(1));
}

#[test]
fn a_database_of_advisories_that_was_fetched_before_is_used() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("home/advisory-dbs/db/crates")).unwrap();
    let output = deny(folder.path(), "advisories", false, &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("found: advisories"), "{said}");
    assert!(said.contains("the one that is there is used"), "{said}");
}

#[test]
fn every_exception_has_its_reason_and_every_check_is_strict() {
    let deny = toml("deny.toml");
    let (bans, sources) = (&deny["bans"], &deny["sources"]);
    for list in [&bans["deny"], &bans["skip"], &deny["advisories"]["ignore"]] {
        for entry in list.as_array().unwrap() {
            let reason = entry["reason"].as_str().unwrap_or_default();
            assert!(reason.len() > 10, "{entry} has no reason");
        }
    }
    assert_eq!(bans["multiple-versions"], "deny");
    assert_eq!(bans["build"]["executables"], "deny");
    assert_eq!(
        (&sources["unknown-registry"], &sources["unknown-git"]),
        (&"deny".into(), &"deny".into())
    );
    let allowed = deny["licenses"]["allow"].to_string();
    assert!(!allowed.contains("GPL") && !allowed.contains("MPL"), "{allowed}");
    for (file, line) in
        [("Makefile", "\t@.ci/deny"), (".ci/run", "make deny"), (".ci/run", "make test")]
    {
        assert!(read(file).lines().any(|found| found == line), "{file}: {line}");
    }
}

#[test]
fn ciphers_and_hashes_are_there_once() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in toml("Cargo.lock")["package"].as_array().unwrap() {
        let (name, version) = (&package["name"], &package["version"]);
        versions
            .entry(name.as_str().unwrap().to_owned())
            .or_default()
            .push(version.as_str().unwrap().to_owned());
    }
    let once = [
        "aes",
        "aes-gcm",
        "cipher",
        "ctr",
        "ghash",
        "hkdf",
        "hmac",
        "md-5",
        "polyval",
        "ring",
        "rustls",
        "sha1",
        "subtle",
        "universal-hash",
    ];
    for name in once {
        let found = versions.get(name).cloned().unwrap_or_default();
        assert_eq!(found.len(), 1, "{name}: {found:?}");
    }
    for name in ["aws-lc-sys", "cbc", "des", "md4", "openssl-sys", "p12-keystore", "rc2", "rsa"] {
        assert!(!versions.contains_key(name), "{name} {:?}", versions[name]);
    }
}
