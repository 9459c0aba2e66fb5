//! Services under test: started, watched and killed from outside.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::http::HttpClient;
use crate::servers::{Signal, send_signal, target_folder};
use crate::usage::family;

/// Linux counts processor time for user space in hundredths of a second (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Kills the process `$1` when standard input closes: when the starting process is gone.
const WATCH: &str = r#"trap : HUP INT TERM; cat >/dev/null; kill -KILL "$1" 2>/dev/null"#;

/// Why a service does not do what is asked.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started or watched.
    #[error("{context}: {source}")]
    Io {
        /// What was being done.
        context: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It ended by itself.
    #[error("the service ended with {status} while it was waited for:\n{output}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// Its last lines.
        output: String,
    },
    /// What was waited for did not happen.
    #[error("not within {waited:?}: {what}\n{output}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
        /// Its last lines.
        output: String,
    },
}

fn io_error(context: &'static str) -> impl FnOnce(io::Error) -> ProcessError {
    move |source| ProcessError::Io { context, source }
}

/// A process that is killed when this is dropped, and when the test process dies.
#[derive(Debug)]
pub struct Service {
    child: Child,
    watch: Child,
    output: PathBuf,
}

impl Service {
    /// Starts `program` with its standard output and error appended to the file `output`.
    /// It inherits no variable named `STUDIO…` but those of `environment`.
    ///
    /// # Errors
    /// [`ProcessError::Io`].
    pub fn start<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        program: &Path,
        arguments: &[&str],
        environment: impl IntoIterator<Item = (K, V)>,
        output: &Path,
    ) -> Result<Self, ProcessError> {
        if let Some(folder) = output.parent() {
            fs::create_dir_all(folder).map_err(io_error("make a folder for the output"))?;
        }
        let file = File::options().create(true).append(true).open(output);
        let file = file.map_err(io_error("open the output file"))?;
        let errors = file.try_clone().map_err(io_error("open the output file"))?;
        let mut command = Command::new(program);
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("STUDIO") {
                command.env_remove(key);
            }
        }
        command.args(arguments).envs(environment);
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let child = command.spawn().map_err(io_error("start the service"))?;
        let watch = watch(child.id())?;
        Ok(Self { child, watch, output: output.to_owned() })
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written so far.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Waits until a line with `text` was written.
    ///
    /// # Errors
    /// [`ProcessError`] when it ends first, or `deadline` passes.
    pub async fn wait_for_line(
        &mut self,
        text: &str,
        deadline: Duration,
    ) -> Result<String, ProcessError> {
        let started = Instant::now();
        loop {
            if let Some(line) = self.output().lines().find(|line| line.contains(text)) {
                return Ok(line.to_owned());
            }
            self.still_waiting(&format!("a line with {text:?}"), started, deadline).await?;
        }
    }

    /// Waits until `http://ADDRESS PATH` answers with a status below 300.
    ///
    /// # Errors
    /// [`ProcessError`] when it ends first, or `deadline` passes.
    pub async fn wait_for_http(
        &mut self,
        address: SocketAddr,
        path: &str,
        deadline: Duration,
    ) -> Result<(), ProcessError> {
        let client = HttpClient::new(format!("http://{address}"));
        let started = Instant::now();
        loop {
            if client.get(path).await.is_ok_and(|reply| reply.status.as_u16() < 300) {
                return Ok(());
            }
            let what = format!("http://{address}{path} answers");
            self.still_waiting(&what, started, deadline).await?;
        }
    }

    async fn still_waiting(
        &mut self,
        what: &str,
        started: Instant,
        deadline: Duration,
    ) -> Result<(), ProcessError> {
        if let Some(status) = self.child.try_wait().map_err(io_error("ask for the service"))? {
            return Err(ProcessError::Ended { status, output: self.last_lines() });
        }
        if started.elapsed() >= deadline {
            let output = self.last_lines();
            return Err(ProcessError::Timeout { what: what.to_owned(), waited: deadline, output });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`ProcessError::Io`].
    pub fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        send_signal(signal, &[self.pid()]).map_err(|e| ProcessError::Io {
            context: "send a signal",
            source: io::Error::other(e.to_string()),
        })
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// [`ProcessError::Timeout`] when it still runs after `deadline`.
    pub async fn wait_for_end(&mut self, deadline: Duration) -> Result<ExitStatus, ProcessError> {
        let started = Instant::now();
        loop {
            match self.still_waiting("the service ends", started, deadline).await {
                Ok(()) => {}
                Err(ProcessError::Ended { status, .. }) => return Ok(status),
                Err(error) => return Err(error),
            }
        }
    }

    /// Kills it as `kill -9` does and waits until it is gone.
    ///
    /// # Errors
    /// [`ProcessError::Io`].
    pub fn kill9(&mut self) -> Result<(), ProcessError> {
        self.child.kill().map_err(io_error("kill the service"))?;
        self.child.wait().map(drop).map_err(io_error("wait for the killed service"))
    }

    /// What it has used so far; `None` when it is gone.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        Usage::of(self.pid())
    }

    fn last_lines(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // What it started would outlive it. Once it has ended, its number may be another's.
        let runs = matches!(self.child.try_wait(), Ok(None));
        let started = if runs { family(self.child.id()).split_off(1) } else { Vec::new() };
        // The watch first: once the service has been waited for, its number may be another's.
        for child in [&mut self.watch, &mut self.child] {
            if child.kill().and_then(|()| child.wait()).is_err() {
                eprintln!("process {} could not be ended", child.id());
            }
        }
        if !started.is_empty() {
            send_signal(Signal::Kill, &started).ok();
        }
    }
}

fn watch(pid: u32) -> Result<Child, ProcessError> {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new("sh");
    command.args(["-c", WATCH, "watch", &pid.to_string()]).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(io_error("start the service's watch"))
}

/// What a process, or several together, have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Usage {
    /// Processor time of all threads, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory now, in bytes.
    pub rss_bytes: u64,
    /// The most resident memory so far, in bytes.
    pub peak_bytes: u64,
}

impl Usage {
    /// What `pid` has used; `None` when it is gone.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Self::parse(&stat, &status)
    }

    /// The sum over processes. Memory that they share (PostgreSQL's buffers) counts each time.
    #[must_use]
    pub fn of_all(pids: &[u32]) -> Self {
        let all = pids.iter().filter_map(|pid| Self::of(*pid));
        all.fold(Self::default(), |sum, one| Self {
            cpu_seconds: sum.cpu_seconds + one.cpu_seconds,
            rss_bytes: sum.rss_bytes + one.rss_bytes,
            peak_bytes: sum.peak_bytes + one.peak_bytes,
        })
    }

    fn parse(stat: &str, status: &str) -> Option<Self> {
        // proc_pid_stat(5): after the name in parentheses, utime and stime are fields 12 and 13.
        let fields: Vec<&str> = stat.get(stat.rfind(')')? + 2..)?.split(' ').collect();
        let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok().map(f64::from);
        let kib = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1_024)
        };
        Some(Self {
            cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
            rss_bytes: kib("VmRSS:").unwrap_or(0),
            peak_bytes: kib("VmHWM:").unwrap_or(0),
        })
    }
}

/// Where cargo puts the product's binary, by profile (`debug`, `release`); `STUDIO_WEBHOOKS_BIN`
/// names another.
#[must_use]
pub fn product_binary(profile: &str) -> PathBuf {
    std::env::var_os("STUDIO_WEBHOOKS_BIN")
        .map_or_else(|| target_folder().join(profile).join("studio-webhooks"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_and_memory_are_read_as_the_kernel_writes_them() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 5 0 0";
        let status = "Name:\ta\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        let usage = Usage::parse(stat, status).unwrap();
        let expected =
            Usage { cpu_seconds: 3.0, rss_bytes: 1_024 * 1_024, peak_bytes: 2_048 * 1_024 };
        assert_eq!(usage, expected);
        assert!(Usage::of(std::process::id()).unwrap().rss_bytes > 0);
    }

    #[tokio::test]
    async fn a_service_is_waited_for_and_its_end_is_seen() {
        let output = target_folder().join(format!("bench/process-{}.log", std::process::id()));
        let script = ["-c", "echo up $STUDIO_X; read -r line </dev/null; exit 3"];
        let environment = [("STUDIO_X", "7")];
        let mut service = Service::start(Path::new("sh"), &script, environment, &output).unwrap();
        let status = service.wait_for_end(Duration::from_secs(10)).await.unwrap();
        assert_eq!(status.code(), Some(3));
        assert_eq!(service.output(), "up 7\n");
        let missed = service.wait_for_line("never", Duration::from_secs(1)).await.unwrap_err();
        assert!(matches!(missed, ProcessError::Ended { .. }), "{missed}");
        fs::remove_file(output).unwrap();
    }
}
