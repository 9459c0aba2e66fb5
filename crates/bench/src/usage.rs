//! What processes use: CPU seconds and resident memory, from /proc.

use std::fs;
use std::time::Duration;

/// Ticks of a second in /proc (USER_HZ, 100 on every Linux that runs this).
const TICKS: f64 = 100.0;

/// CPU seconds that `pids` have used, user and system, together.
#[must_use]
pub fn cpu_seconds(pids: &[u32]) -> f64 {
    let ticks = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold spaces.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
    };
    pids.iter().filter_map(ticks).sum::<f64>() / TICKS
}

/// The most memory that `pids` had resident, together, in MiB.
#[must_use]
pub fn peak_mib(pids: &[u32]) -> f64 {
    memory_mib(pids, "VmHWM:")
}

/// The memory that `pids` have resident now, together, in MiB.
#[must_use]
pub fn resident_mib(pids: &[u32]) -> f64 {
    memory_mib(pids, "VmRSS:")
}

fn memory_mib(pids: &[u32], key: &str) -> f64 {
    let kib = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    };
    pids.iter().filter_map(kib).sum::<f64>() / 1_024.0
}

/// How long the machine's disks have been busy since its start, together.
#[must_use]
pub fn disks_busy() -> Duration {
    let lines = fs::read_to_string("/proc/diskstats").unwrap_or_default();
    let busy = |line: &str| line.split_whitespace().nth(12)?.parse::<u64>().ok();
    Duration::from_millis(lines.lines().filter_map(busy).sum())
}

/// `pid` and all of its descendants.
#[must_use]
pub fn family(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut at = 0;
    while at < found.len() {
        let path = format!("/proc/{0}/task/{0}/children", found[at]);
        let children = fs::read_to_string(path).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_is_of_its_own_family() {
        let own = std::process::id();
        assert!(peak_mib(&[own]) > 0.5);
        assert!(cpu_seconds(&[own]) >= 0.0);
        assert!(family(own).contains(&own));
    }
}
