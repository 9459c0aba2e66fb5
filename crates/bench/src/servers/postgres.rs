//! A private PostgreSQL.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::process::{self, Guarded, Signal};
use super::{ServerError, free_ports, target_folder, unique};

const START: Duration = Duration::from_secs(60);

/// How a private PostgreSQL runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostgresOptions {
    /// Whether a commit waits for the disk: true for measurements, false for quick tests.
    pub fsync: bool,
    /// At most this many connections, 200 by default.
    pub max_connections: u32,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { fsync: true, max_connections: 200 }
    }
}

/// A PostgreSQL of our own on 127.0.0.1, everybody trusted, killed when dropped.
#[derive(Debug)]
pub struct Postgres {
    folder: PathBuf,
    programs: PathBuf,
    port: u16,
    options: PostgresOptions,
    guarded: Guarded,
}

impl Postgres {
    /// Makes a cluster, starts it and waits until it answers (2 to 4 s).
    ///
    /// # Errors
    /// [`ServerError`], with the server's last lines when it did not come up.
    pub fn start(name: &str, options: PostgresOptions) -> Result<Self, ServerError> {
        let programs = programs()?;
        let folder = data_folder(name)?;
        process::output_of(
            as_server_user(programs.join("initdb").as_ref())
                .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"])
                .args(["--no-sync", "--pgdata"])
                .arg(folder.join("data")),
        )?;
        let [port] = free_ports()?;
        let guarded = launch(&programs, &folder, port, options)?;
        let server = Self { folder, programs, port, options, guarded };
        server.wait_ready()?;
        Ok(server)
    }

    /// The one server of this test process (without fsync), started by the first who asks.
    /// Take a [`Postgres::fresh_database`] of it, so that tests do not meet.
    ///
    /// # Panics
    /// When it cannot be started: a test has nothing else to do then.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        let options = PostgresOptions { fsync: false, ..PostgresOptions::default() };
        SHARED.get_or_init(|| {
            Self::start("shared-postgres", options).unwrap_or_else(|e| panic!("{e}"))
        })
    }

    /// The URL of a database; `postgres` always exists.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database and returns its URL.
    ///
    /// # Errors
    /// [`ServerError::Command`].
    pub fn fresh_database(&self) -> Result<String, ServerError> {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let name = format!("fresh_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(self.url(&name))
    }

    /// Runs statements through `psql` and returns the rows, unaligned, a line each.
    ///
    /// # Errors
    /// [`ServerError::Command`] with what the server said.
    pub fn sql(&self, database: &str, statements: &str) -> Result<String, ServerError> {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]);
        command.args(["--set", "ON_ERROR_STOP=1", "--dbname", &self.url(database)]);
        command.env("PGCONNECT_TIMEOUT", "5");
        process::output_of(command.args(["--command", statements]))
    }

    /// The port; it stays the same across restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The main process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let text = fs::read_to_string(self.folder.join("data/postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok().filter(|pid| process::runs(*pid))
    }

    /// The main process and those that it started: one for each connection and the background.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let Some(main) = self.pid() else { return Vec::new() };
        let mut all = process::children(main);
        all.insert(0, main);
        all
    }

    /// Kills the main process and all others at once, as when the machine loses power, and
    /// waits until they are gone.
    ///
    /// # Errors
    /// [`ServerError::Io`].
    pub fn kill9(&self) -> Result<(), ServerError> {
        let pids = self.pids();
        process::send_signal(Signal::Kill, &pids)?;
        process::wait_until(Duration::from_secs(10), || {
            pids.iter().all(|pid| !process::runs(*pid))
        });
        Ok(())
    }

    /// Freezes all of its processes: connections stay open and nobody answers.
    ///
    /// # Errors
    /// [`ServerError::Io`].
    pub fn sigstop(&self) -> Result<(), ServerError> {
        process::send_signal(Signal::Stop, &self.pids())
    }

    /// Lets frozen processes go on.
    ///
    /// # Errors
    /// [`ServerError::Io`].
    pub fn sigcont(&self) -> Result<(), ServerError> {
        process::send_signal(Signal::Cont, &self.pids())
    }

    /// Kills the server where it still runs and starts it again: same data, same port.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn restart(&mut self) -> Result<(), ServerError> {
        self.halt()?;
        self.guarded = launch(&self.programs, &self.folder, self.port, self.options)?;
        self.wait_ready()
    }

    /// Ends the server and removes its data; what dropping it does, with the errors shown.
    ///
    /// # Errors
    /// [`ServerError::Io`].
    pub fn stop(mut self) -> Result<(), ServerError> {
        self.end()
    }

    fn halt(&mut self) -> Result<(), ServerError> {
        self.kill9()?;
        self.guarded.kill()
    }

    fn end(&mut self) -> Result<(), ServerError> {
        self.halt()?;
        match fs::remove_dir_all(&self.folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(ServerError::io("remove the database's folder")(e))
            }
            _ => Ok(()),
        }
    }

    fn wait_ready(&self) -> Result<(), ServerError> {
        if process::wait_until(START, || self.sql("postgres", "SELECT 1").is_ok()) {
            return Ok(());
        }
        let output = process::tail(&self.folder.join("output.log"));
        Err(ServerError::NotReady { server: "PostgreSQL", waited: START, output })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("the private PostgreSQL was not stopped in order: {error}");
        }
    }
}

/// Where Debian puts the programs of its newest PostgreSQL.
fn programs() -> Result<PathBuf, ServerError> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|version| Path::new(&program_folder(*version)).join("initdb").exists())
        .max();
    newest
        .map(|version| program_folder(version).into())
        .ok_or(ServerError::NotInstalled { program: "initdb", package: "postgresql" })
}

fn program_folder(version: u32) -> String {
    format!("/usr/lib/postgresql/{version}/bin")
}

/// PostgreSQL refuses root: for root its programs run as the user `postgres` of the package.
fn as_server_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    // Not `runuser`, which stays between: the server must be the guard's own child.
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
    command.env("HOME", "/");
    // That user may not be allowed to stand where we do.
    command.current_dir("/");
    command
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// A folder that the server's user owns: under `target/`, or in the system's folder for
/// temporary files where that user cannot reach `target/`.
fn data_folder(name: &str) -> Result<PathBuf, ServerError> {
    let name = unique(name);
    let near = owned(&target_folder().join("servers").join(&name))?;
    if reachable(&near) {
        return Ok(near);
    }
    fs::remove_dir_all(&near).map_err(ServerError::io("remove the database's folder"))?;
    owned(&std::env::temp_dir().join(format!("studio-webhooks-{name}")))
}

fn owned(folder: &Path) -> Result<PathBuf, ServerError> {
    fs::create_dir_all(folder).map_err(ServerError::io("make the database's folder"))?;
    if is_root() {
        process::output_of(Command::new("chown").arg("postgres:").arg(folder))?;
    }
    Ok(folder.to_owned())
}

fn reachable(folder: &Path) -> bool {
    process::output_of(as_server_user(Path::new("test")).arg("-w").arg(folder)).is_ok()
}

fn launch(
    programs: &Path,
    folder: &Path,
    port: u16,
    options: PostgresOptions,
) -> Result<Guarded, ServerError> {
    let on = |yes: bool| if yes { "on" } else { "off" };
    let mut command = as_server_user(&programs.join("postgres"));
    command.arg("-D").arg(folder.join("data"));
    for setting in [
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        format!("port={port}"),
        format!("fsync={}", on(options.fsync)),
        format!("max_connections={}", options.max_connections),
        "logging_collector=off".to_owned(),
    ] {
        command.arg("-c").arg(setting);
    }
    Guarded::start(&command, &folder.join("output.log"), Some(folder))
}
