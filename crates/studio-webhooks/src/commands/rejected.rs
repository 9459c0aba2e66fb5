//! `studio-webhooks rejected`

use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use store::{Action, Deed, ObjectKind};
use time::OffsetDateTime;

use crate::commands::table::{Table, age};
use crate::commands::{parts, trail};
use crate::config::Settings;
use crate::operator::rejected::{Outcome, RejectedMessage, Which};
use crate::operator::{Access, Answer, Ask};

/// Look after studio.rejected: messages that could not be read as events.
///
/// A message's id is made of its content: it stays the same, and copies share it.
#[derive(Args)]
pub(crate) struct Rejected {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List messages, the oldest first.
    List {
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Only those rejected for this reason, such as unknown_type.
        #[arg(long)]
        reason: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one message whole.
    Show {
        /// Its id.
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Send messages back to where they belong; what still cannot be read stays.
    Requeue(Chosen),
    /// Forget messages for good.
    Drop(Chosen),
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Chosen {
    /// Ids of messages.
    #[arg(group = "which")]
    ids: Vec<String>,
    /// All that were rejected for this reason.
    #[arg(long, group = "which")]
    reason: Option<String>,
    /// All of them.
    #[arg(long, group = "which")]
    all: bool,
}

impl Chosen {
    fn which(self) -> Which {
        Which { ids: self.ids, reason: self.reason, user: None }
    }
}

impl Rejected {
    pub(crate) fn run(self, settings: Settings) -> anyhow::Result<ExitCode> {
        let s = &settings;
        parts::command("rejected", s, async {
            let access = Access::open(s).await?;
            let done = self.command.run(s, &access).await;
            access.close().await;
            done
        })
    }
}

impl Command {
    async fn run(self, s: &Settings, access: &Access) -> anyhow::Result<ExitCode> {
        match self {
            Self::List { limit, reason, json } => {
                let which = Which { reason, ..Which::default() };
                note(s, Action::RejectedList, &which, "done").await;
                let (messages, more) = listed(access, which, limit, false).await?;
                if json {
                    println!("{}", serde_json::to_string_pretty(&messages)?);
                } else {
                    print!("{}", table(&messages));
                    if more {
                        eprintln!("There are more.");
                    }
                }
                Ok(ExitCode::SUCCESS)
            }
            Self::Show { id, json } => {
                let which = Which { ids: vec![id.clone()], ..Which::default() };
                note(s, Action::RejectedShow, &which, "done").await;
                let (messages, _) = listed(access, which, 1, true).await?;
                let message =
                    messages.first().ok_or_else(|| anyhow!("no message has the id {id}"))?;
                if json {
                    println!("{}", serde_json::to_string_pretty(message)?);
                } else {
                    show(message);
                }
                Ok(ExitCode::SUCCESS)
            }
            Self::Requeue(chosen) => {
                let which = chosen.which();
                let done = outcome(access.ask(Ask::Requeue { which: which.clone() }).await?)?;
                note(s, Action::RejectedRequeue, &which, &came_to(&done)).await;
                Ok(report("Requeued", done))
            }
            Self::Drop(chosen) => {
                let which = chosen.which();
                let done = outcome(access.ask(Ask::Drop { which: which.clone() }).await?)?;
                note(s, Action::RejectedDrop, &which, &came_to(&done)).await;
                Ok(report("Dropped", done))
            }
        }
    }
}

async fn listed(
    access: &Access,
    which: Which,
    limit: usize,
    bodies: bool,
) -> anyhow::Result<(Vec<RejectedMessage>, bool)> {
    match access.ask(Ask::List { which, limit, bodies }).await? {
        Answer::Listed { messages, more } => Ok((messages, more)),
        _ => bail!("another answer than was asked for: is the process another version?"),
    }
}

fn table(messages: &[RejectedMessage]) -> String {
    let mut table = Table::new(["id", "age", "reason", "message id", "key", "bytes", "requeue"]);
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    for message in messages {
        let seconds = |at: i64| (now - i128::from(at)).max(0) as f64 / 1_000.0;
        table.row([
            message.id.clone(),
            message.rejected_at_ms.map_or_else(|| "-".to_owned(), |at| age(seconds(at))),
            message.reason.clone().unwrap_or_else(|| "given up by the broker".to_owned()),
            text(&message.message_id),
            text(&message.routing_key),
            message.size.to_string(),
            if message.unreadable.is_some() { "no" } else { "yes" }.to_owned(),
        ]);
    }
    table.to_string()
}

fn show(message: &RejectedMessage) {
    println!("id            {}", message.id);
    println!("reason        {}", message.reason.as_deref().unwrap_or("given up by the broker"));
    if let Some(text) = &message.reason_text {
        println!("              {}", printable(text));
    }
    match &message.unreadable {
        None => println!("requeue       it can be read now"),
        Some(why) => println!("requeue       it would be rejected again: {}", printable(why)),
    }
    println!("content type  {}", message.content_type);
    println!("bytes         {}", message.size);
    for (name, text) in &message.headers {
        println!("header        {}: {}", printable(name), printable(text));
    }
    println!("\n{}", printable(&message.body));
}

/// Terminals obey control characters of others.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// Notes what was asked for; the messages are not repeated.
async fn note(s: &Settings, action: Action, which: &Which, came_to: &str) {
    let chosen = match (&which.reason, which.ids.as_slice()) {
        (Some(reason), _) => format!("reason {reason}"),
        (None, []) => "all".to_owned(),
        (None, ids) => ids.join(","),
    };
    let deed = Deed::of(action, ObjectKind::Rejected, &chosen).outcome(came_to);
    trail::note(s, &deed).await;
}

fn came_to(outcome: &Outcome) -> String {
    format!("{} messages, {} stay", outcome.done.len(), outcome.left.len())
}

fn outcome(answer: Answer) -> anyhow::Result<Outcome> {
    match answer {
        Answer::Done(outcome) => Ok(outcome),
        _ => bail!("another answer than was asked for: is the process another version?"),
    }
}

/// Says what was done; 1 when something that was named stays.
fn report(done: &str, Outcome { done: ids, left, more }: Outcome) -> ExitCode {
    println!("{done} {} message(s).", ids.len());
    for (id, why) in &left {
        println!("{id} stays: {}", printable(why));
    }
    if more {
        println!("There are more than are looked at in one go: run it again.");
    }
    if left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
