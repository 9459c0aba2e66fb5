//! `studio-webhooks listen`

mod connection;
mod forward;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use clap::Args;
use domain::setting::SecretUrl;
use domain::{Event, UserId};
use rand::RngExt;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::commands::{parts, token};
use crate::config::Settings;

use connection::{Connection, Ended, Said};
use forward::Forward;

/// Shortest and longest wait before another connection.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Events that wait for the local program. While it is full nothing more is read, and the
/// gateway keeps what comes.
const WAITING: usize = 1_000;

/// How long a token lives that is made here; another one is made in time.
const TOKEN_LIFE: Duration = Duration::from_secs(3_600);

/// Receive your events from a gateway and forward them, signed, to a local program.
///
/// Each event is sent as the dispatcher would send it to a webhook, and a line is printed with
/// the answer and the time it took. Without --forward the events are printed, one JSON object in
/// a line. After a lost connection it resumes where it was.
///
///   studio-webhooks listen --token "$TOKEN" --forward http://localhost:3000/hook
///   studio-webhooks listen --user usr_1 --events 'scrape.*' | jq .data
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Listen {
    /// The program to POST to, such as http://localhost:3000/hook.
    #[arg(long, value_name = "URL")]
    forward: Option<SecretUrl>,
    /// The gateway, such as wss://api.studio.sentimatrix.dev; http and https mean the same.
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8080")]
    gateway: SecretUrl,
    /// Your access token. Better given as an environment variable: others can read the
    /// arguments of a process.
    #[arg(long, env = "STUDIO_ACCESS_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Make a token of this user with auth.jwt_secret instead: for development.
    #[arg(long, value_name = "USER_ID", conflicts_with = "token")]
    user: Option<UserId>,
    /// Only this project; may be given several times. All of the user's when left out.
    #[arg(long = "project", value_name = "PROJECT_ID")]
    projects: Vec<String>,
    /// Only these types, such as scrape.completed or 'scrape.*', separated by commas.
    #[arg(long, value_delimiter = ',')]
    events: Vec<String>,
    /// Begin with what came after this event.
    #[arg(long, value_name = "EVENT_ID")]
    since: Option<String>,
    /// The secret to sign with; made and printed when left out.
    #[arg(long, env = "STUDIO_WEBHOOK_SECRET", hide_env_values = true, requires = "forward")]
    secret: Option<String>,
}

/// Where the access token comes from.
enum Tokens<'a> {
    Given(String),
    Made(&'a Settings, UserId),
}

impl Tokens<'_> {
    fn token(&self) -> String {
        match self {
            Self::Given(token) => token.clone(),
            Self::Made(settings, user) => token::issue(settings, user, &["user"], TOKEN_LIFE),
        }
    }

    /// Another token, if one can be made.
    fn another(&self) -> Option<String> {
        matches!(self, Self::Made(..)).then(|| self.token())
    }
}

impl Listen {
    pub(crate) fn run(self, settings: Settings) -> anyhow::Result<ExitCode> {
        let s = &settings;
        parts::serve("listen", s, |stop| async move {
            let url = connection::url(&self.gateway)?;
            let tokens = self.tokens(s)?;
            let user = user_of(&tokens.token())?;
            let forward = self
                .forward
                .as_ref()
                .map(|target| Forward::new(target, self.secret.clone(), s))
                .transpose()?;
            let (events, waiting) = mpsc::channel(WAITING);
            let telling = tokio::spawn(tell(forward, user, waiting));
            let listening = self.listen(&url, &tokens, events);
            let result = tokio::select! {
                result = listening => result,
                () = stop.cancelled() => Ok(()),
            };
            // What was read is forwarded, unless the program does not answer.
            tokio::time::timeout(Duration::from_secs(2), telling).await.ok();
            result
        })
    }

    fn tokens<'a>(&self, settings: &'a Settings) -> anyhow::Result<Tokens<'a>> {
        match (&self.token, &self.user) {
            (Some(token), _) => Ok(Tokens::Given(token.trim().to_owned())),
            (None, Some(user)) => {
                parts::verifier(settings)?;
                Ok(Tokens::Made(settings, user.clone()))
            }
            (None, None) => Err(anyhow!(
                "no access token: give --token or STUDIO_ACCESS_TOKEN, or --user in development"
            )),
        }
    }

    /// Connects again and again, until something is wrong that will not pass.
    async fn listen(
        &self,
        url: &SecretUrl,
        tokens: &Tokens<'_>,
        events: mpsc::Sender<Bytes>,
    ) -> anyhow::Result<()> {
        let mut since = self.since.clone();
        let mut wait = FIRST_WAIT;
        loop {
            let ended = match Connection::open(url, &tokens.token()).await {
                Ok(mut connection) => {
                    let before = since.clone();
                    let ended = self.follow(&mut connection, tokens, &mut since, &events).await;
                    if since != before {
                        wait = FIRST_WAIT;
                    }
                    ended
                }
                Err(ended) => ended,
            };
            let pause = match ended {
                Ended::ForGood(reason) => return Err(anyhow!(reason)),
                Ended::Expired if tokens.another().is_none() => {
                    return Err(anyhow!(
                        "the access token has expired; start again with a new one"
                    ));
                }
                Ended::Expired => Duration::ZERO,
                Ended::Told(after) => {
                    eprintln!("The gateway restarts; coming back in {:.1} s.", after.as_secs_f32());
                    after
                }
                Ended::Lost(reason) => {
                    let pause = wait.mul_f64(rand::rng().random_range(0.5..=1.0));
                    wait = (wait * 2).min(LONGEST_WAIT);
                    eprintln!("{reason}; trying again in {:.1} s.", pause.as_secs_f32());
                    pause
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Reads one connection to its end.
    async fn follow(
        &self,
        connection: &mut Connection,
        tokens: &Tokens<'_>,
        since: &mut Option<String>,
        events: &mpsc::Sender<Bytes>,
    ) -> Ended {
        if let Err(ended) =
            connection.subscribe(&self.projects, &self.events, since.as_deref()).await
        {
            return ended;
        }
        loop {
            match connection.next().await {
                Ok(Said::Event { id, payload }) => {
                    if events.send(payload).await.is_err() {
                        return Ended::ForGood("nobody reads the output any more".to_owned());
                    }
                    *since = Some(id);
                }
                Ok(Said::Subscribed { recovered, last_event_id }) => {
                    if recovered == Some(false) {
                        eprintln!(
                            "Some events may have been missed: the gateway no longer knows {}.",
                            since.as_deref().unwrap_or_default()
                        );
                        *since = None;
                    }
                    if since.is_none() {
                        *since = last_event_id;
                    }
                }
                Ok(Said::Expiring) => {
                    if let Some(token) = tokens.another()
                        && let Err(ended) = connection.renew(&token).await
                    {
                        return ended;
                    }
                }
                Ok(Said::Nothing) => {}
                Err(ended) => return ended,
            }
        }
    }
}

/// Forwards or prints what comes, in its order.
async fn tell(forward: Option<Forward>, user: UserId, mut events: mpsc::Receiver<Bytes>) {
    while let Some(payload) = events.recv().await {
        let line = match &forward {
            None => String::from_utf8_lossy(&payload).into_owned(),
            Some(forward) => match Event::from_payload(user.clone(), payload) {
                Ok(event) => forward.send(&event).await,
                Err(error) => format!("an event cannot be forwarded: {error}"),
            },
        };
        if writeln!(std::io::stdout(), "{line}").is_err() {
            // Whoever read the lines has gone.
            return;
        }
    }
}

/// Whose token it is; the gateway checks it.
fn user_of(token: &str) -> anyhow::Result<UserId> {
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Option<Value> = claims.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let user = claims.as_ref().and_then(|claims| claims["sub"].as_str()?.parse().ok());
    user.context("the access token is no JSON Web Token; `studio-webhooks token` makes one")
}
