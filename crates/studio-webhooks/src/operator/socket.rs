//! The socket for operators' commands, beside the file of the embedded broker: the process that
//! has the file answers for it. Whoever may write the file may ask; nobody else can connect
//! (mode 0600), and nothing of it is on the network.
//!
//! A connection is one question: JSON, the end of writing, and one answer.

use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use broker::SharedBroker;
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::{LocalSet, spawn_local};
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::operator::{Answer, Ask, operate};

/// Largest question, bytes: many ids of messages.
const LARGEST: u64 = 256 * 1024;

/// Longest time that a question may take to arrive.
const ARRIVES: Duration = Duration::from_secs(5);

/// Longest time for the work, and again for the answer to be taken.
const PATIENCE: Duration = Duration::from_secs(120);

/// Questions answered at a time; others wait to be let in.
const AT_ONCE: usize = 4;

/// Connections that wait to be let in.
const BACKLOG: i32 = 16;

/// What is answered.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Answer(Answer),
    Failed(String),
}

/// The bound socket; its file is removed when this is dropped.
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

/// Where the socket is: beside the embedded broker's file, where there is one.
pub(crate) fn path_of(settings: &Settings) -> Option<PathBuf> {
    let file = settings.broker.url.file("embedded")?;
    Some(PathBuf::from(format!("{file}.sock")))
}

fn address(path: &Path) -> anyhow::Result<SockAddr> {
    SockAddr::unix(path).with_context(|| {
        format!(
            "{} has {} bytes, and the path of a socket at most 107: give broker.url a shorter path",
            path.display(),
            path.as_os_str().len()
        )
    })
}

impl Socket {
    /// Binds the socket; none where the broker is not embedded. Call it once the broker is open:
    /// whoever has its file may replace what an earlier process left.
    ///
    /// # Errors
    /// When it cannot be bound, with what to do.
    pub(crate) fn bind(settings: &Settings) -> anyhow::Result<Option<Self>> {
        let Some(path) = path_of(settings) else { return Ok(None) };
        let address = address(&path)?;
        let shown = path.display();
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.file_type().is_socket() => {
                std::fs::remove_file(&path)
                    .with_context(|| format!("{shown} cannot be removed"))?;
            }
            Ok(_) => bail!("{shown} is no socket: move it away and restart"),
            Err(_) => {}
        }
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&address).with_context(|| format!("{shown} cannot be bound"))?;
        // Nobody can connect before `listen`, so that the mode is there in time.
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok(Some(Self { listener, path }))
    }

    /// Answers until `stop`, on this thread: what is asked takes its time, and does it beside
    /// the services.
    pub(crate) fn serve(self, runtime: &Handle, broker: SharedBroker, stop: CancellationToken) {
        let here = LocalSet::new();
        runtime.block_on(here.run_until(self.answer_all(broker, stop)));
    }

    async fn answer_all(self, broker: SharedBroker, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let next = async {
                let permit = room.clone().acquire_owned().await;
                (permit, self.listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                next = next => next,
                () = stop.cancelled() => return,
            };
            let (broker, stop) = (broker.clone(), stop.clone());
            match accepted {
                Ok((stream, _)) => drop(spawn_local(async move {
                    let _permit = permit;
                    tokio::select! {
                        () = answer(stream, &broker) => {}
                        () = stop.cancelled() => {}
                    }
                })),
                Err(error) => {
                    tracing::warn!("the socket for operators' commands: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Another start replaces it, too.
        std::fs::remove_file(&self.path).ok();
    }
}

async fn answer(mut stream: UnixStream, broker: &SharedBroker) {
    let reply = match tokio::time::timeout(ARRIVES, question(&mut stream)).await {
        Err(_) => Reply::Failed("the question did not arrive in time".to_owned()),
        Ok(Err(why)) => Reply::Failed(why.to_string()),
        Ok(Ok(ask)) => match tokio::time::timeout(PATIENCE, operate(broker.as_ref(), ask)).await {
            Ok(Ok(answer)) => Reply::Answer(answer),
            Ok(Err(error)) => Reply::Failed(format!("{error:#}")),
            Err(_) => Reply::Failed("it took too long and was given up".to_owned()),
        },
    };
    let Ok(bytes) = serde_json::to_vec(&reply) else { return };
    // Whoever asked may be gone.
    tokio::time::timeout(PATIENCE, stream.write_all(&bytes)).await.ok();
}

async fn question(stream: &mut UnixStream) -> anyhow::Result<Ask> {
    let mut bytes = Vec::new();
    stream.take(LARGEST + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > LARGEST {
        bail!("the question has more than {LARGEST} bytes: name fewer messages");
    }
    serde_json::from_slice(&bytes).context("the question cannot be read: is it another version?")
}

/// Connects to the running process; none where none runs.
///
/// # Errors
/// When one runs and cannot be asked.
pub(crate) async fn connect(path: &Path) -> anyhow::Result<Option<UnixStream>> {
    address(path)?;
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Some(stream)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            Ok(None)
        }
        Err(error) => {
            let shown = path.display();
            Err(anyhow!("{shown}: {error}; run the command as the user of the running process"))
        }
    }
}

/// Asks the running process at `path`, and waits for the answer.
///
/// # Errors
/// When it does not answer, or says that it cannot.
pub(crate) async fn ask(path: &Path, ask: &Ask) -> anyhow::Result<Answer> {
    let shown = path.display();
    let asking = async {
        let stream = connect(path).await?;
        let mut stream = stream.with_context(|| format!("{shown}: the process has ended"))?;
        stream.write_all(&serde_json::to_vec(ask)?).await?;
        stream.shutdown().await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        match serde_json::from_slice(&bytes) {
            Ok(Reply::Answer(answer)) => Ok(answer),
            Ok(Reply::Failed(why)) => Err(anyhow!("the running process: {why}")),
            Err(error) => Err(anyhow!("the answer at {shown} cannot be read: {error}")),
        }
    };
    let answered = tokio::time::timeout(2 * PATIENCE, asking).await;
    answered.with_context(|| format!("{shown} does not answer"))?
}
