//! Correctness under load: many clients, a gateway that is killed, and what each must have seen.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::event::SampleEvent;
use crate::gateway::socket::{Came, Socket};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client leaves by itself after so many events, besides being thrown out.
const LEAVES_AFTER: usize = 67;

/// Events that are published together.
const BATCH: usize = 50;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Users.
    pub users: usize,
    /// Projects of each.
    pub projects: usize,
    /// Clients of each.
    pub clients: usize,
    /// Events of all users.
    pub events: usize,
    /// How often the gateway is killed.
    pub kills: usize,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Events that clients saw, each as expected.
    pub seen: usize,
    /// Times that a client resumed.
    pub resumed: usize,
    /// Events that were sent again to clients that came back.
    pub replayed: usize,
}

/// What is tried.
pub trait Installation: Send + Sync {
    /// Where the gateway listens.
    fn gateway(&self) -> SocketAddr;
    /// An access token.
    fn token(&self, user: &str) -> String;
    /// Publishes events, in this order; returns once all are confirmed.
    fn publish(&self, events: Vec<SampleEvent>) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// Kills the gateway with SIGKILL and starts another.
    fn kill(&self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

fn user(number: usize) -> String {
    format!("usr_{number}")
}

fn project(user: usize, number: usize) -> String {
    format!("proj_{user}_{number}")
}

impl Plan {
    /// The events, in their order.
    fn events(&self) -> Vec<SampleEvent> {
        let event = |number: usize| {
            let user_number = number % self.users;
            // Not in turn: neighbours share a project now and then.
            let of_user = number / self.users;
            let project = project(user_number, of_user * of_user % self.projects);
            SampleEvent::new(format!("evt_{number}"), &user(user_number), &project)
        };
        let mut events: Vec<SampleEvent> = (0..self.events).map(event).collect();
        // The last of each project, so that whoever has seen it has seen all.
        for user_number in 0..self.users {
            for number in 0..self.projects {
                let id = format!("end_{user_number}_{number}");
                let project = project(user_number, number);
                events.push(SampleEvent::new(id, &user(user_number), &project));
            }
        }
        events
    }

    /// What client `number` of a user subscribes to: everything, some projects, or one.
    fn topics(&self, user: usize, number: usize) -> Vec<String> {
        match number % 10 {
            0 => vec!["*".to_owned()],
            1 => (0..self.projects.min(3)).map(|number| project(user, number)).collect(),
            other => vec![project(user, other % self.projects)],
        }
    }
}

/// Does what `plan` says. Every client must have seen exactly its events, byte for byte, in
/// order, none twice, none of another user.
///
/// # Errors
/// When one has not, or something did not happen in time.
pub async fn run<I: Installation + 'static>(
    plan: Plan,
    installation: Arc<I>,
) -> anyhow::Result<Outcome> {
    // From here every user resumes, also one who has seen nothing yet.
    let first = (0..plan.users).map(|number| {
        SampleEvent::new(format!("begin_{number}"), &user(number), &project(number, 0))
    });
    installation.publish(first.collect()).await?;
    let events = plan.events();
    let payloads: Vec<Arc<str>> = events.iter().map(|event| event.payload().into()).collect();
    let counts = Arc::new(Counts::default());
    let mut clients = JoinSet::new();
    for user_number in 0..plan.users {
        for number in 0..plan.clients {
            let topics = plan.topics(user_number, number);
            let client = Client {
                user: user(user_number),
                expected: expected(&events, &payloads, &user(user_number), &topics),
                topics,
                number: user_number * plan.clients + number,
                counts: counts.clone(),
            };
            clients.spawn(client.run(installation.clone()));
        }
    }
    let all = plan.users * plan.clients;
    wait_for("every client subscribes", &mut clients, || {
        counts.subscribed.load(Ordering::Acquire) >= all
    })
    .await?;
    let publishing = publish(plan, installation, events);
    publishing.await?;
    let finishing = async {
        while let Some(client) = clients.join_next().await {
            client??;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, finishing).await.context("not every client saw the end")??;
    let count = |counter: &AtomicUsize| counter.load(Ordering::Acquire);
    Ok(Outcome {
        seen: count(&counts.seen),
        resumed: count(&counts.resumed),
        replayed: count(&counts.replayed),
    })
}

/// Publishes, and kills the gateway in between, without waiting for anybody.
async fn publish<I: Installation + 'static>(
    plan: Plan,
    installation: Arc<I>,
    events: Vec<SampleEvent>,
) -> anyhow::Result<()> {
    let every = events.len() / (plan.kills + 1);
    let mut next_kill = every;
    let mut killing: Option<tokio::task::JoinHandle<anyhow::Result<()>>> = None;
    for (number, batch) in events.chunks(BATCH).enumerate() {
        installation.publish(batch.to_vec()).await?;
        if number * BATCH >= next_kill && next_kill + every <= events.len() {
            next_kill += every;
            if let Some(killing) = killing.take() {
                killing.await??;
            }
            let installation = installation.clone();
            killing = Some(tokio::spawn(async move { installation.kill().await }));
        }
    }
    match killing {
        Some(killing) => killing.await?,
        None => Ok(()),
    }
}

async fn wait_for(
    what: &str,
    clients: &mut JoinSet<anyhow::Result<()>>,
    done: impl Fn() -> bool,
) -> anyhow::Result<()> {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if let Some(ended) = clients.try_join_next() {
                ended??;
                bail!("a client ended too early");
            }
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, waiting).await.with_context(|| format!("{what}: not in time"))?
}

/// What a client must see, in order.
fn expected(
    events: &[SampleEvent],
    payloads: &[Arc<str>],
    user: &str,
    topics: &[String],
) -> Vec<Arc<str>> {
    let wanted = |event: &SampleEvent| {
        event.user == user
            && (topics[0] == "*" || event.project().is_some_and(|id| topics.contains(&id)))
    };
    let both = events.iter().zip(payloads);
    both.filter(|(event, _)| wanted(event)).map(|(_, payload)| payload.clone()).collect()
}

#[derive(Default)]
struct Counts {
    subscribed: AtomicUsize,
    seen: AtomicUsize,
    resumed: AtomicUsize,
    replayed: AtomicUsize,
}

struct Client {
    user: String,
    topics: Vec<String>,
    expected: Vec<Arc<str>>,
    number: usize,
    counts: Arc<Counts>,
}

/// Where a client is.
#[derive(Default)]
struct Progress {
    seen: usize,
    since: Option<String>,
    /// Answers to its subscription that are still to come on this connection.
    answers: HashSet<String>,
    connections: usize,
}

impl Client {
    async fn run<I: Installation>(self, installation: Arc<I>) -> anyhow::Result<()> {
        let path = format!("/v1/ws?token={}", installation.token(&self.user));
        let mut progress = Progress::default();
        while progress.seen < self.expected.len() {
            let opened = Socket::connect(installation.gateway(), &path, "").await;
            if let Ok(mut socket) = opened {
                self.follow(&mut socket, &mut progress).await?;
            }
            // Not all at the same moment, and soon.
            let pause = 20 + self.number as u64 * 7 % 180;
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self.counts.seen.fetch_add(progress.seen, Ordering::AcqRel);
        Ok(())
    }

    /// Reads one connection until it breaks, all is seen, or it is time to leave.
    async fn follow(&self, socket: &mut Socket, progress: &mut Progress) -> anyhow::Result<()> {
        let mut subscribe = json!({ "type": "subscribe", "project_ids": self.topics });
        if let Some(since) = &progress.since {
            subscribe["since"] = json!(since);
        }
        if socket.say(&subscribe.to_string()).await.is_err() {
            return Ok(());
        }
        progress.answers = self.topics.iter().cloned().collect();
        progress.connections += 1;
        let until = progress.seen + LEAVES_AFTER + self.number % 40;
        let mut wrong = None;
        loop {
            let heard = socket.hear(|came| match came {
                Came::Close(_) => false,
                Came::Text(text) => match self.see(text, progress) {
                    Ok(()) => progress.seen < self.expected.len(),
                    Err(error) => {
                        wrong = Some(error);
                        false
                    }
                },
            });
            let open = heard.await.unwrap_or(false);
            if let Some(error) = wrong {
                return Err(error);
            }
            if progress.seen == self.expected.len() {
                return self.see_nothing_more(socket).await;
            }
            if !open || progress.seen > until {
                return Ok(());
            }
        }
    }

    fn see(&self, text: &[u8], progress: &mut Progress) -> anyhow::Result<()> {
        if !text.starts_with(br#"{"id":"#) {
            return self.answered(&serde_json::from_slice(text)?, progress);
        }
        let found = String::from_utf8_lossy(text);
        let id = found[7..].split('"').next().unwrap_or_default();
        progress.since = Some(id.to_owned());
        if id.starts_with("begin_") {
            // Published before, read by the gateway only now.
            return Ok(());
        }
        let expected = &self.expected[progress.seen];
        ensure!(
            *found == **expected,
            "client {} of {} {:?}, connection {}, event {} of {}:\nexpected {expected}\nfound    {found}",
            self.number,
            self.user,
            self.topics,
            progress.connections,
            progress.seen,
            self.expected.len()
        );
        progress.seen += 1;
        Ok(())
    }

    fn answered(&self, said: &Value, progress: &mut Progress) -> anyhow::Result<()> {
        match said["type"].as_str() {
            Some("subscribed") => {
                let topic = said["project_id"].as_str().unwrap_or_default();
                ensure!(progress.answers.remove(topic), "{said} was not asked for");
                if progress.since.is_some() && progress.connections > 1 {
                    ensure!(said["recovered"] == true, "{} could not resume: {said}", self.user);
                    if progress.answers.is_empty() {
                        let replayed = said["replayed"].as_u64().unwrap_or(0);
                        let replayed = usize::try_from(replayed).unwrap_or(usize::MAX);
                        self.counts.replayed.fetch_add(replayed, Ordering::AcqRel);
                        self.counts.resumed.fetch_add(1, Ordering::AcqRel);
                    }
                } else if progress.answers.is_empty() {
                    progress.since = said["last_event_id"].as_str().map(str::to_owned);
                    self.counts.subscribed.fetch_add(1, Ordering::AcqRel);
                }
                Ok(())
            }
            Some("error") => bail!("{said}"),
            _ => Ok(()),
        }
    }

    /// Nothing follows the last event.
    async fn see_nothing_more(&self, socket: &mut Socket) -> anyhow::Result<()> {
        let mut more = None;
        let hearing = async {
            while socket
                .hear(|came| {
                    if let Came::Text(text) = came {
                        more = Some(String::from_utf8_lossy(text).into_owned());
                    }
                    more.is_none()
                })
                .await
                .unwrap_or(false)
                && more.is_none()
            {}
        };
        // The quiet is what is waited for.
        tokio::time::timeout(Duration::from_millis(500), hearing).await.ok();
        match more {
            None => Ok(()),
            Some(text) => bail!("client {} saw more than there was: {text}", self.number),
        }
    }
}
