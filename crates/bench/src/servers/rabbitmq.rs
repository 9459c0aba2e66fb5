//! A private RabbitMQ.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::process::{self, Guarded, Signal};
use super::{ServerError, free_ports, target_folder, unique};

/// The packaged wrapper in `/usr/sbin` insists on the user `rabbitmq`; these do not.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";
const START: Duration = Duration::from_secs(90);

/// As operators are told to run it.
const ADVANCED: &str = include_str!("../../../../deploy/rabbitmq/advanced.config");

/// A RabbitMQ node of our own on 127.0.0.1, killed when dropped.
#[derive(Debug)]
pub struct RabbitMq {
    folder: PathBuf,
    ports: [u16; 3],
    guarded: Guarded,
}

impl RabbitMq {
    /// Starts a node with an empty data folder and waits until it answers (4 to 10 s).
    ///
    /// # Errors
    /// [`ServerError`], with the broker's last lines when it did not come up.
    pub fn start(name: &str) -> Result<Self, ServerError> {
        if !Path::new(PROGRAMS).join("rabbitmq-server").exists() {
            let (program, package) = ("rabbitmq-server", "rabbitmq-server");
            return Err(ServerError::NotInstalled { program, package });
        }
        let folder = target_folder().join("servers").join(unique(name));
        prepare(&folder)?;
        let ports = free_ports()?;
        let guarded = launch(&folder, ports)?;
        let broker = Self { folder, ports, guarded };
        broker.wait_ready()?;
        Ok(broker)
    }

    /// The one broker of this test process, started by the first who asks. Take a
    /// [`RabbitMq::vhost`] of it, so that tests do not meet.
    ///
    /// # Panics
    /// When it cannot be started: a test has nothing else to do then.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RabbitMq> = OnceLock::new();
        SHARED.get_or_init(|| Self::start("shared-rabbitmq").unwrap_or_else(|e| panic!("{e}")))
    }

    /// Makes a virtual host with full rights for `guest` and returns its URL (about 1 s).
    ///
    /// # Errors
    /// [`ServerError::Command`] when there is one of this name, or the broker is away.
    pub fn vhost(&self, name: &str) -> Result<String, ServerError> {
        // One call of the command line starts an Erlang VM: one is enough.
        let script = format!(
            r#"rabbit_vhost:add(<<"{name}">>, <<"test">>), rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>)."#
        );
        let answer = self.ctl(&["eval", &script])?;
        if answer.trim() != "ok" {
            return Err(ServerError::Command { command: "add a vhost".into(), output: answer });
        }
        Ok(format!("amqp://guest:guest@127.0.0.1:{}/{name}", self.port()))
    }

    /// The URL of the virtual host `/`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port())
    }

    /// The AMQP port; it stays the same across restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// The broker's process (`beam.smp`), while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        process::member_named(self.guarded.group(), "beam.smp")
    }

    /// Kills the broker as `kill -9` does and waits until it is gone. See
    /// [`RabbitMq::wait_until_durable`] when queues were declared just before.
    ///
    /// # Errors
    /// [`ServerError::Io`].
    pub fn kill9(&self) -> Result<(), ServerError> {
        let Some(pid) = self.pid() else { return Ok(()) };
        process::send_signal(Signal::Kill, &[pid])?;
        process::wait_until(Duration::from_secs(10), || !process::runs(pid));
        Ok(())
    }

    /// Waits until the broker knows a quorum queue on disk.
    ///
    /// RabbitMQ answers a declaration before that (Ra keeps its directory in a file that it
    /// saves after half a second of rest). Killed in between, 3.10 comes back with a queue that
    /// exists and has no leader, for good: a fault of its own, not what a test is after.
    ///
    /// # Errors
    /// [`ServerError::NotReady`] after 10 s.
    pub fn wait_until_durable(&self, queue: &str) -> Result<(), ServerError> {
        self.wait_for_name("quorum", queue)
    }

    /// The same for streams: their coordinator keeps a directory of its own, made with the first
    /// of them.
    ///
    /// # Errors
    /// [`ServerError::NotReady`] after 10 s.
    pub fn wait_until_streams_are_durable(&self) -> Result<(), ServerError> {
        self.wait_for_name("coordination", "rabbit_stream_coordinator")
    }

    fn wait_for_name(&self, system: &str, name: &str) -> Result<(), ServerError> {
        let node = node_name(self.ports);
        let directory = self.folder.join(format!("mnesia/{node}/{system}/{node}/names.dets"));
        let waited = Duration::from_secs(10);
        let named = |file: &[u8]| file.windows(name.len()).any(|part| part == name.as_bytes());
        if process::wait_until(waited, || fs::read(&directory).is_ok_and(|file| named(&file))) {
            return Ok(());
        }
        let output = format!("{name} is not in {}", directory.display());
        Err(ServerError::NotReady { server: "RabbitMQ", waited, output })
    }

    /// Freezes the broker: connections stay open and nobody answers.
    ///
    /// # Errors
    /// [`ServerError::Io`].
    pub fn sigstop(&self) -> Result<(), ServerError> {
        process::send_signal(Signal::Stop, self.pid().as_slice())
    }

    /// Lets a frozen broker go on.
    ///
    /// # Errors
    /// [`ServerError::Io`].
    pub fn sigcont(&self) -> Result<(), ServerError> {
        process::send_signal(Signal::Cont, self.pid().as_slice())
    }

    /// Kills the broker where it still runs and starts it again: same data, same ports.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn restart(&mut self) -> Result<(), ServerError> {
        self.guarded.kill()?;
        self.guarded = launch(&self.folder, self.ports)?;
        self.wait_ready()
    }

    /// Starts the broker again with everything lost: no queue, no message, no virtual host.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn wipe_and_restart(&mut self) -> Result<(), ServerError> {
        self.guarded.kill()?;
        fs::remove_dir_all(self.folder.join("mnesia"))
            .map_err(ServerError::io("remove the broker's data"))?;
        self.guarded = launch(&self.folder, self.ports)?;
        self.wait_ready()
    }

    /// Runs `rabbitmqctl` on this broker and returns what it printed (about 1 s).
    ///
    /// # Errors
    /// [`ServerError::Command`] with its output when it fails.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String, ServerError> {
        self.program("rabbitmqctl", arguments)
    }

    /// Runs `rabbitmq-diagnostics` on this broker and returns what it printed.
    ///
    /// # Errors
    /// [`ServerError::Command`] with its output when it fails.
    pub fn diagnostics(&self, arguments: &[&str]) -> Result<String, ServerError> {
        self.program("rabbitmq-diagnostics", arguments)
    }

    fn program(&self, name: &str, arguments: &[&str]) -> Result<String, ServerError> {
        let mut command = Command::new(Path::new(PROGRAMS).join(name));
        environment(&mut command, &self.folder, self.ports);
        // Without a broker there may be no epmd: it must not leave a daemon of its own behind.
        command.env("ERL_FLAGS", "-start_epmd false");
        process::output_of(command.args(["-q", "-n", &node_name(self.ports)]).args(arguments))
    }

    /// The arguments with which each queue of a virtual host was declared, by queue.
    ///
    /// # Errors
    /// [`ServerError::Command`].
    pub fn queue_arguments(
        &self,
        vhost: &str,
    ) -> Result<BTreeMap<String, BTreeMap<String, Value>>, ServerError> {
        let rows = self.list_queues(vhost, "arguments")?;
        Ok(rows.into_iter().map(|(name, list)| (name, argument_map(&list))).collect())
    }

    /// How many messages each queue of a virtual host holds, unacknowledged ones included; up to
    /// a second old.
    ///
    /// # Errors
    /// [`ServerError::Command`].
    pub fn queue_depths(&self, vhost: &str) -> Result<BTreeMap<String, u64>, ServerError> {
        let rows = self.list_queues(vhost, "messages")?;
        Ok(rows.into_iter().map(|(name, count)| (name, count.as_u64().unwrap_or(0))).collect())
    }

    /// How many queues have a worker that passes dead letters on. RabbitMQ 3.10 ends all of them,
    /// until it is started again, when two end within 5 s (`rabbit_fifo_dlx_sup`): each does so
    /// that looks for its queue before the queue is back after a crash.
    ///
    /// # Errors
    /// [`ServerError::Command`].
    pub fn dead_letter_workers(&self) -> Result<usize, ServerError> {
        let script = "length(supervisor:which_children(rabbit_fifo_dlx_sup)).";
        let answer = self.ctl(&["eval", script])?;
        let wrong = || ServerError::Command { command: "eval".into(), output: answer.clone() };
        answer.trim().parse().map_err(|_| wrong())
    }

    fn list_queues(&self, vhost: &str, column: &str) -> Result<Vec<(String, Value)>, ServerError> {
        let text =
            self.ctl(&["list_queues", "-p", vhost, "name", column, "--formatter", "json"])?;
        let wrong = || ServerError::Command { command: "list_queues".into(), output: text.clone() };
        let rows: Vec<Value> = serde_json::from_str(&text).map_err(|_| wrong())?;
        let row = |row: Value| Some((row["name"].as_str()?.to_owned(), row[column].clone()));
        rows.into_iter().map(|r| row(r).ok_or_else(wrong)).collect()
    }

    /// Ends the broker and removes its data; what dropping it does, with the errors shown.
    ///
    /// # Errors
    /// [`ServerError::Io`].
    pub fn stop(mut self) -> Result<(), ServerError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), ServerError> {
        self.guarded.kill()?;
        match fs::remove_dir_all(&self.folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(ServerError::io("remove the broker's folder")(e))
            }
            _ => Ok(()),
        }
    }

    fn wait_ready(&self) -> Result<(), ServerError> {
        if process::wait_until(START, || answers(self.port())) {
            return Ok(());
        }
        let output = process::tail(&self.folder.join("output.log"));
        Err(ServerError::NotReady { server: "RabbitMQ", waited: START, output })
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("the private RabbitMQ was not stopped in order: {error}");
        }
    }
}

fn prepare(folder: &Path) -> Result<(), ServerError> {
    fs::create_dir_all(folder).map_err(ServerError::io("make the broker's folder"))?;
    let write = |name: &str, text: &str| {
        fs::write(folder.join(name), text).map_err(ServerError::io("configure the broker"))
    };
    write("enabled_plugins", "[].\n")?;
    write("env.conf", "")?;
    write("advanced.config", ADVANCED)?;
    // So that the disk alarm tells of the machine's disk only when a test asks for it.
    write("rabbitmq.conf", "disk_free_limit.absolute = 10MB\n")
}

fn launch(folder: &Path, ports: [u16; 3]) -> Result<Guarded, ServerError> {
    // Erlang's port mapper makes itself a daemon where it has to be started on the way, and
    // would stay behind. Started here, in the foreground, it belongs to the group.
    let script = r#"epmd -address 127.0.0.1 -port "$ERL_EPMD_PORT" & exec "$0""#;
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(Path::new(PROGRAMS).join("rabbitmq-server"));
    environment(&mut command, folder, ports);
    Guarded::start(&command, &folder.join("output.log"), Some(folder))
}

fn environment(command: &mut Command, folder: &Path, ports: [u16; 3]) {
    let [amqp, distribution, epmd] = ports;
    // Another can be tried: RabbitMQ's defaults, for one.
    let advanced = std::env::var_os("RABBITMQ_ADVANCED_CONFIG_FILE")
        .unwrap_or_else(|| folder.join("advanced.config").into());
    command
        .env("HOME", folder)
        .env("RABBITMQ_NODENAME", node_name(ports))
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", amqp.to_string())
        .env("RABBITMQ_DIST_PORT", distribution.to_string())
        .env("ERL_EPMD_PORT", epmd.to_string())
        .env("RABBITMQ_CONF_ENV_FILE", folder.join("env.conf"))
        .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"))
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", advanced)
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("enabled_plugins"))
        .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", folder.join("log"))
        .env("RABBITMQ_PID_FILE", folder.join("pid"))
        // Quorum queues tell their depth every 5 s; a test that waits for zero waits less so.
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-rabbit quorum_tick_interval 1000");
}

fn node_name(ports: [u16; 3]) -> String {
    format!("studio{}@localhost", ports[0])
}

/// Whether the broker greets an AMQP client with `connection.start`.
fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut frame_type = [0];
    stream.set_read_timeout(Some(Duration::from_secs(2))).is_ok()
        && stream.write_all(b"AMQP\x00\x00\x09\x01").is_ok()
        && stream.read_exact(&mut frame_type).is_ok()
        && frame_type == [1]
}

/// `rabbitmqctl` prints arguments as `[name, type, value]` or as an object, by its version.
fn argument_map(list: &Value) -> BTreeMap<String, Value> {
    match list {
        Value::Object(map) => map.clone().into_iter().collect(),
        Value::Array(rows) => rows
            .iter()
            .filter_map(|row| Some((row[0].as_str()?.to_owned(), row.as_array()?.last()?.clone())))
            .collect(),
        _ => BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_forms_of_printed_arguments_are_read() {
        let rows = json!([["x-queue-type", "longstr", "quorum"], ["x-message-ttl", "long", 60]]);
        let object = json!({"x-queue-type": "quorum", "x-message-ttl": 60});
        assert_eq!(argument_map(&rows), argument_map(&object));
        assert_eq!(argument_map(&rows)["x-message-ttl"], 60);
    }
}
