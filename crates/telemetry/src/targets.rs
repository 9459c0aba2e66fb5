//! Whose lines are logged, and whose spans are exported: a list of who may, for whatever stands on
//! no list of who may not is said one day.
//!
//! Our own crates write no secret. Libraries do: an ORM gives its spans the database's URL, a
//! driver its warnings the parts of it that it does not know, HTTP and AMQP print headers and
//! frames, and what they will print after their next release nobody knows. So none of them is
//! heard but for the warnings of a few, which were read (`docs/operators.md`).

use tracing::{Level, Metadata};

/// The crates of this house, by the names that their lines have.
pub(crate) const OWN: [&str; 12] = [
    "access",
    "api",
    "broker",
    "delivery",
    "dispatcher",
    "domain",
    "gateway",
    "listener",
    "operate",
    "store",
    "studio_webhooks",
    "telemetry",
];

/// Targets that our own lines name themselves: the trail of who did what.
const NAMED: [&str; 1] = ["audit"];

/// Libraries that are heard, and how far down. What they say at these levels names files, ports,
/// hosts and certificates, and nothing that was sent or set.
const HEARD: [(&str, Level); 4] = [
    ("actix_server", Level::WARN),
    ("hickory_net", Level::WARN),
    ("hickory_resolver", Level::WARN),
    ("rustls_platform_verifier", Level::WARN),
];

/// Whether a line of this kind may be logged; what the operator's filter says comes on top.
pub(crate) fn may_be_logged(line: &Metadata<'_>) -> bool {
    let heard = |(name, most): &(&str, Level)| is_of(line.target(), name) && line.level() <= most;
    is_own(line.target()) || NAMED.contains(&line.target()) || HEARD.iter().any(heard)
}

/// Whether a span or a line in one may be exported: ours, and no more detailed than `info`.
pub(crate) fn may_be_exported(what: &Metadata<'_>) -> bool {
    is_own(what.target()) && *what.level() <= Level::INFO
}

fn is_own(target: &str) -> bool {
    OWN.iter().any(|name| is_of(target, name))
}

/// Whether `target` is the crate `name` or a module of it: `store::sweep` is of `store`, and
/// `store_of_others` is not.
fn is_of(target: &str, name: &str) -> bool {
    target.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What lines call their targets themselves, in every source file below `folder`.
    fn targets_named(folder: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                targets_named(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let named = text.split(concat!("target", ": \"")).skip(1);
                found.extend(named.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
            }
        }
    }

    #[test]
    fn a_target_that_a_line_names_itself_is_heard() {
        let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut found = Vec::new();
        for name in OWN {
            targets_named(&crates.join(name.replace('_', "-")).join("src"), &mut found);
        }
        let unheard: Vec<_> =
            found.iter().filter(|name| !NAMED.contains(&name.as_str()) && !is_own(name)).collect();
        assert!(unheard.is_empty(), "{unheard:?} stand on no list in targets.rs");
    }

    #[test]
    fn every_crate_of_the_house_is_heard_and_no_other_that_is_called_alike() {
        let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut found: Vec<String> = std::fs::read_dir(crates)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().replace('-', "_"))
            // It measures the product from outside.
            .filter(|name| name != "bench")
            .collect();
        found.sort();
        assert_eq!(found, OWN);
        assert!(is_own("store") && is_own("store::sweep"));
        for other in ["stores", "store_of_others::x", "sqlx", "sea_orm", "lapin", "log", ""] {
            assert!(!is_own(other), "{other}");
        }
    }
}
