//! A server's processes: started under a guard that ends them with us, signalled by pid.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::ServerError;

/// Runs `$@` beside a read of standard input, a pipe that only the starting process holds open.
/// When it closes, everything in this process group and all that the server started (PostgreSQL's
/// processes leave the group, and frozen ones die of nothing else) is killed, and the folder `$1`
/// is removed. (A group that loses its parent while a member is frozen is sent HUP by the kernel.)
/// Children are found by their parent's number: not every kernel lists them below `/proc/PID/task`.
const GUARD: &str = r#"
trap : HUP INT TERM
folder=$1; shift
tree() {
    echo "$1"
    for child in $(grep -ls "^PPid:[[:space:]]*$1\$" /proc/[0-9]*/status); do
        child=${child#/proc/}
        tree "${child%/status}"
    done
}
"$@" </dev/null &
server=$!
# Only now, for the server would inherit it: our end closes the pipe a moment before the kernel
# sends HUP, which must not hit what looks for the processes.
trap '' HUP INT TERM
cat >/dev/null
kill -KILL $(tree $server) 2>/dev/null
[ -z "$folder" ] || rm -rf "$folder"
kill -KILL 0
"#;

/// What can be sent to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Asks it to end in order.
    Term,
    /// PostgreSQL's fast shutdown, Ctrl-C for others.
    Int,
    /// Ends it at once.
    Kill,
    /// Freezes it.
    Stop,
    /// Lets it go on.
    Cont,
}

impl Signal {
    const fn name(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Int => "INT",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Cont => "CONT",
        }
    }
}

/// Sends `signal` to each of `pids`; those that are gone are passed over.
///
/// # Errors
/// [`ServerError::Io`] when no shell can be started.
pub fn send_signal(signal: Signal, pids: &[u32]) -> Result<(), ServerError> {
    signal_targets(signal, pids.iter().map(u32::to_string))
}

fn signal_targets(
    signal: Signal,
    targets: impl Iterator<Item = String>,
) -> Result<(), ServerError> {
    // The shell's own `kill`: the program of that name is not in every image.
    let script = r#"for pid; do kill -"$0" "$pid" 2>/dev/null; done; :"#;
    let mut command = Command::new("sh");
    command.args(["-c", script, signal.name()]).args(targets).stdin(Stdio::null());
    command.status().map(drop).map_err(ServerError::io("send a signal"))
}

/// A server under its guard.
#[derive(Debug)]
pub(crate) struct Guarded {
    guard: Child,
}

impl Guarded {
    /// Starts `command` in a process group of its own, its output appended to `log`.
    /// `remove` is deleted when this process dies without stopping the server.
    pub(crate) fn start(
        command: &Command,
        log: &Path,
        remove: Option<&Path>,
    ) -> Result<Self, ServerError> {
        use std::os::unix::process::CommandExt as _;
        let output = File::options().create(true).append(true).open(log);
        let output = output.map_err(ServerError::io("open the server's log"))?;
        let errors = output.try_clone().map_err(ServerError::io("open the server's log"))?;
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard"]).arg(remove.unwrap_or(Path::new("")));
        guard.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => guard.env(key, value),
                None => guard.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            guard.current_dir(folder);
        }
        guard.process_group(0).stdin(Stdio::piped()).stdout(output).stderr(errors);
        let guard = guard.spawn().map_err(ServerError::io("start the server's guard"))?;
        Ok(Self { guard })
    }

    /// The process group of everything that was started.
    pub(crate) fn group(&self) -> u32 {
        self.guard.id()
    }

    /// Kills the group, guard included, and waits until no process of it runs.
    pub(crate) fn kill(&mut self) -> Result<(), ServerError> {
        let group = self.group();
        // A negative number means the group; it exists until its guard has been waited for.
        signal_targets(Signal::Kill, std::iter::once(format!("-{group}")))?;
        self.wait()?;
        wait_until(Duration::from_secs(10), || members(group).is_empty());
        Ok(())
    }

    fn wait(&mut self) -> Result<ExitStatus, ServerError> {
        self.guard.wait().map_err(ServerError::io("wait for the server's guard"))
    }
}

/// The processes of a group.
pub(crate) fn members(group: u32) -> Vec<u32> {
    find(|stat| stat.group == group)
}

/// The processes that `parent` started.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    find(|stat| stat.parent == parent)
}

/// The process of `group` whose program is called `name`.
pub(crate) fn member_named(group: u32, name: &str) -> Option<u32> {
    find(|stat| stat.group == group && stat.name == name).first().copied()
}

/// Whether `pid` runs (a zombie does not).
pub(crate) fn runs(pid: u32) -> bool {
    Stat::read(PathBuf::from(format!("/proc/{pid}"))).is_some_and(|stat| stat.state != 'Z')
}

struct Stat {
    pid: u32,
    name: String,
    state: char,
    parent: u32,
    group: u32,
}

impl Stat {
    fn read(folder: PathBuf) -> Option<Self> {
        let pid = folder.file_name()?.to_str()?.parse().ok()?;
        let text = fs::read_to_string(folder.join("stat")).ok()?;
        // `pid (name) state ppid pgrp …`; the name may hold spaces and parentheses.
        let (head, tail) = (text.find('(')?, text.rfind(')')?);
        let mut fields = text.get(tail + 2..)?.split(' ');
        Some(Self {
            pid,
            name: text.get(head + 1..tail)?.to_owned(),
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
        })
    }
}

fn find(wanted: impl Fn(&Stat) -> bool) -> Vec<u32> {
    let Ok(folders) = fs::read_dir("/proc") else { return Vec::new() };
    let stats = folders.flatten().filter_map(|folder| Stat::read(folder.path()));
    stats.filter(|stat| stat.state != 'Z' && wanted(stat)).map(|stat| stat.pid).collect()
}

/// Asks every 20 ms until `condition` holds; `false` when `deadline` passed first.
pub(crate) fn wait_until(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    while !condition() {
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

/// The last 30 lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// Runs `command` to its end and returns its standard output.
pub(crate) fn output_of(command: &mut Command) -> Result<String, ServerError> {
    let output = command.stdin(Stdio::null()).output().map_err(ServerError::io("run a program"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(ServerError::Command { command: format!("{command:?}"), output: format!("{text}{errors}") })
}
