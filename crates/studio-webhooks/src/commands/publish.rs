//! `studio-webhooks publish`

use std::io::BufRead;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use broker::{Outgoing, Target};
use clap::Args;
use domain::{Event, EventId, EventType, Origin, UserId};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::commands::{parts, token};
use crate::config::Settings;

/// Events published together.
const BATCH: usize = 500;

/// Publish events from flags, a file or standard input.
///
/// They go to RabbitMQ, or, with the embedded broker, through the API of the running process.
///
/// One event from flags:
///   studio-webhooks publish --event scrape.completed --user usr_1 --data '{"project_id":"p"}'
/// Many from a file of JSON lines, each as docs/publishers.md describes it (`id` and
/// `timestamp` are made where they are left out):
///   studio-webhooks publish --file events.jsonl        (or --file - for standard input)
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Publish {
    /// The event's type, such as scrape.completed.
    #[arg(long, requires = "user", conflicts_with = "file")]
    event: Option<EventType>,
    /// Whose event it is.
    #[arg(long)]
    user: Option<UserId>,
    /// The event's id; made when left out.
    #[arg(long)]
    id: Option<EventId>,
    /// The event's data, a JSON object; the type's example when left out.
    #[arg(long, requires = "event")]
    data: Option<String>,
    /// JSON lines to publish; - is standard input.
    #[arg(long, required_unless_present = "event")]
    file: Option<PathBuf>,
}

impl Publish {
    pub(crate) fn run(self, settings: Settings) -> anyhow::Result<ExitCode> {
        let s = &settings;
        parts::serve("publish", s, |_| async move {
            let publisher = Publisher::open(s).await?;
            let published = match (&self.event, &self.file) {
                (Some(kind), _) => {
                    let event = self.event_of_flags(*kind)?;
                    publisher.publish(vec![event]).await?
                }
                (None, Some(path)) => publish_lines(&publisher, path).await?,
                (None, None) => return Err(anyhow!("give --event and --user, or --file")),
            };
            publisher.close().await;
            eprintln!("Published {published} event(s), each confirmed.");
            Ok(())
        })
    }

    fn event_of_flags(&self, kind: EventType) -> anyhow::Result<Event> {
        let user = self.user.as_ref().context("--user is missing")?;
        let id = self.id.clone().unwrap_or_else(EventId::generate);
        let data = self.data.as_deref().unwrap_or(kind.example_data());
        let text = format!(
            r#"{{"id":"{id}","event":"{kind}","timestamp":"{}","user_id":"{user}","data":{data}}}"#,
            now()
        );
        Event::from_json(text.as_bytes(), &Origin::default()).map_err(|e| anyhow!("--data: {e}"))
    }
}

fn now() -> String {
    let now = OffsetDateTime::now_utc();
    let now = now.replace_nanosecond(0).expect("zero is a nanosecond");
    now.format(&Rfc3339).expect("this century's dates have an RFC 3339 form")
}

async fn publish_lines(publisher: &Publisher, path: &std::path::Path) -> anyhow::Result<usize> {
    let input: Box<dyn BufRead> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        let file =
            std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Box::new(std::io::BufReader::new(file))
    };
    let mut batch = Vec::with_capacity(BATCH);
    let mut published = 0;
    for (number, line) in input.lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        if line.trim().is_empty() {
            continue;
        }
        batch.push(read_line(&line).map_err(|e| anyhow!("line {}: {e}", number + 1))?);
        if batch.len() == BATCH {
            published += publisher.publish(std::mem::take(&mut batch)).await?;
        }
    }
    Ok(published + publisher.publish(batch).await?)
}

/// An event of one line; what the publisher may leave out is made here.
fn read_line(line: &str) -> anyhow::Result<Event> {
    #[derive(serde::Deserialize)]
    struct Made<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
        #[serde(borrow)]
        timestamp: Option<&'a RawValue>,
    }
    let made: Made<'_> = serde_json::from_str(line)?;
    let origin = Origin {
        message_id: made.id.is_none().then(|| EventId::generate().to_string()),
        timestamp: made.timestamp.is_none().then(|| OffsetDateTime::now_utc().unix_timestamp()),
        ..Origin::default()
    };
    Ok(Event::from_json(line.as_bytes(), &origin)?)
}

/// The way to the broker.
enum Publisher {
    Broker(broker::SharedBroker),
    Api { client: reqwest::Client, url: String, token: String },
}

impl Publisher {
    async fn open(settings: &Settings) -> anyhow::Result<Self> {
        if settings.broker.url.file("embedded").is_none() {
            return Ok(Self::Broker(parts::broker(settings).await?));
        }
        parts::verifier(settings)?;
        let user: UserId = "studio-webhooks-publish".parse().expect("a plain word is a user id");
        Ok(Self::Api {
            client: own_client()?,
            url: format!("http://{}/v1/events", settings.api.bind),
            token: token::issue(settings, &user, &["service"], Duration::from_secs(3_600)),
        })
    }

    /// Publishes `events`; gives back how many, all of them confirmed.
    async fn publish(&self, events: Vec<Event>) -> anyhow::Result<usize> {
        let count = events.len();
        match self {
            _ if events.is_empty() => {}
            Self::Broker(broker) => {
                let messages =
                    events.iter().map(|e| (Target::Events(e.kind), Outgoing::event(e))).collect();
                for (event, result) in events.iter().zip(broker.publish_all(messages).await) {
                    result.with_context(|| format!("event {} is not confirmed", event.id))?;
                }
            }
            Self::Api { client, url, token } => post(client, url, token, &events).await?,
        }
        Ok(count)
    }

    async fn close(self) {
        if let Self::Broker(broker) = self {
            broker.close().await;
        }
    }
}

async fn post(
    client: &reqwest::Client,
    url: &str,
    token: &str,
    events: &[Event],
) -> anyhow::Result<()> {
    let bodies: Vec<String> = events
        .iter()
        .map(|event| String::from_utf8_lossy(&event.to_message()).into_owned())
        .collect();
    let body = format!(r#"{{"events":[{}]}}"#, bodies.join(","));
    let answer = client
        .post(url)
        .bearer_auth(token)
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .with_context(|| format!("{url} does not answer: is `studio-webhooks all` running?"))?;
    let status = answer.status();
    if status != reqwest::StatusCode::ACCEPTED {
        return Err(anyhow!(
            "{url} answered {status}: {}",
            answer.text().await.unwrap_or_default()
        ));
    }
    Ok(())
}

/// A client for our own API.
///
/// # Errors
/// When TLS cannot be set up.
pub(crate) fn own_client() -> anyhow::Result<reqwest::Client> {
    #[expect(clippy::disallowed_methods, reason = "it calls our own API, not users' endpoints")]
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
    Ok(client)
}
