//! How many files the process may open: every connection is one.

/// Files that the gateway needs beside its connections.
const OTHER_FILES: usize = 100;

/// Says so when the process may open fewer files than it is to have connections: beyond, clients
/// would hang instead of being told.
pub(crate) fn check(connections: usize) {
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
