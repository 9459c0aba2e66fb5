//! The machine: room on disk, and files that may be open.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use domain::database_open_to_others;

use super::Finding;
use crate::commands::parts::allow_open_files;
use crate::config::Settings;

/// Room on disk below which it is said, and below which it fails, in MiB.
const LITTLE: u64 = 1_024;
const TOO_LITTLE: u64 = 128;

/// Open files beyond connections: databases, logs, listeners.
const OTHER_FILES: usize = 256;

pub(super) fn check(s: &Settings) -> Vec<Finding> {
    let mut found: Vec<Finding> = folders(s).iter().map(|folder| room(folder)).collect();
    found.extend(files(s));
    found.extend(operators(s));
    found.extend(modes(s));
    found
}

/// The files of the embedded store and broker.
fn our_files(s: &Settings) -> impl Iterator<Item = &str> {
    [s.database.url.file("sqlite"), s.broker.url.file("embedded")].into_iter().flatten()
}

/// What others than their owner may read of them.
fn modes(s: &Settings) -> Vec<Finding> {
    let wide = our_files(s).flat_map(database_open_to_others);
    wide.map(|wide| Finding::warn("modes", wide.to_string())).collect()
}

/// Where files of ours lie, each once.
fn folders(s: &Settings) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = our_files(s).map(existing_folder).collect();
    folders.dedup();
    folders
}

fn existing_folder(path: &str) -> PathBuf {
    let folders = Path::new(path).ancestors().skip(1);
    let existing =
        folders.map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    existing.into_iter().find(|folder| folder.exists()).unwrap_or(Path::new("/")).to_owned()
}

fn room(folder: &Path) -> Finding {
    let shown = folder.display();
    let free = match rustix::fs::statvfs(folder) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize) / (1_024 * 1_024),
        Err(error) => {
            return Finding::warn("disk", format!("{shown} cannot be looked at: {error}"));
        }
    };
    let text = format!("{free} MiB free for {shown}");
    if free < TOO_LITTLE {
        Finding::fail("disk", format!("{text}: make room, or nothing more is taken"))
    } else if free < LITTLE {
        Finding::warn("disk", format!("{text}: make room"))
    } else {
        Finding::ok("disk", text)
    }
}

/// Whether anybody but operators of this machine can reach the operators' listeners.
fn operators(s: &Settings) -> Vec<Finding> {
    let set = s.operate.bind.as_deref().unwrap_or_default();
    let binds = [("operate.bind", set), ("dispatcher.bind", s.dispatcher.bind.as_str())];
    let open = binds.into_iter().filter(|(_, bind)| is_open(bind));
    open.map(|(key, bind)| {
        let text =
            format!("{key} = {bind} has no token: see that only operators and Prometheus reach it");
        Finding::warn("operators", text)
    })
    .collect()
}

fn is_open(bind: &str) -> bool {
    let name = bind.rsplit_once(':').map_or(bind, |(name, _)| name);
    let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
    !bind.is_empty() && name != "localhost" && !address.is_ok_and(|address| address.is_loopback())
}

fn files(s: &Settings) -> Option<Finding> {
    // As a service does before it starts.
    allow_open_files();
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let limit = open_files(&limits)?;
    let dispatcher = s.dispatcher.concurrency + s.dispatcher.retry_concurrency + OTHER_FILES;
    let gateway = s.gateway.connections + OTHER_FILES;
    let text = format!("{limit} may be open at once");
    Some(if limit < dispatcher {
        Finding::fail(
            "files",
            format!("{text}; the dispatcher needs {dispatcher}: raise ulimit -n"),
        )
    } else if limit < gateway {
        Finding::warn(
            "files",
            format!("{text}; a gateway with gateway.connections needs {gateway}: raise ulimit -n"),
        )
    } else {
        Finding::ok("files", text)
    })
}

/// The soft limit; none where there is no limit.
fn open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_read_as_the_kernel_writes_it() {
        let limits = "Limit   Soft Limit   Hard Limit   Units\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(open_files(limits), Some(1_024));
        assert_eq!(existing_folder("no/such/folder/file.db"), Path::new("."));
    }

    #[test]
    fn what_others_can_reach_is_told_from_what_they_cannot() {
        for open in ["0.0.0.0:9080", "[::]:9080", "10.1.2.3:9080", "operators.internal:9080"] {
            assert!(is_open(open), "{open}");
        }
        for own in ["", "127.0.0.1:9080", "[::1]:9080", "localhost:9080"] {
            assert!(!is_open(own), "{own}");
        }
    }
}
