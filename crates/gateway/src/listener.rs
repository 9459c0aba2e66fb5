//! What the kernel does for connections: those whose peer is gone or stuck, and how many there
//! may be.

use std::net::TcpListener;
use std::time::Duration;

use socket2::SockRef;

/// How long what was sent may stay unread or unacknowledged. A connection that is closed as too
/// slow has this long to take its goodbye: its write buffer is full, so that nothing else would
/// ever end it.
const UNREAD: Duration = Duration::from_secs(30);

/// Prepares `listener` for long-lived connections; those that it accepts inherit the setting.
///
/// # Errors
/// When the kernel refuses the option.
pub fn prepare(listener: &TcpListener) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    SockRef::from(listener).set_tcp_user_timeout(Some(UNREAD))?;
    Ok(())
}

/// Files that the gateway needs beside its connections.
const OTHER_FILES: usize = 100;

/// Says so when the process may open fewer files than it is to have connections: beyond, clients
/// would hang instead of being told.
pub(crate) fn check_files(connections: usize) {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(most) = open_files(&limits)
        && most < connections.saturating_add(OTHER_FILES)
    {
        tracing::warn!(
            "the process may open {most} files, too few for gateway.connections = {connections}: \
             raise the limit (ulimit -n, LimitNOFILE) or lower the setting"
        );
    }
}

fn open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_files_is_read_as_the_kernel_writes_it() {
        let limits = "Limit           Soft Limit  Hard Limit  Units\n\
                      Max processes   1000        1000        processes\n\
                      Max open files  1024        524288      files\n";
        assert_eq!(open_files(limits), Some(1_024));
        assert_eq!(open_files("Max open files  unlimited  unlimited  files"), None);
    }
}
