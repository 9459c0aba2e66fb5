//! `studio-webhooks queues`

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use domain::setting::parse_duration;

use crate::commands::parts;
use crate::commands::table::{Table, age};
use crate::config::Settings;
use crate::operator::queues::QueueLine;
use crate::operator::{Access, Answer, Ask};

/// Show how the queues are doing.
///
/// For each: the messages in it, the age of the oldest (where the broker can tell), messages a
/// second in and out (where it can tell) and by how many it grows, and who takes from it.
#[derive(Args)]
pub(crate) struct Queues {
    /// How long rates are measured; 0 measures none. 20 s at most.
    #[arg(long, default_value = "2s", value_parser = pause)]
    measure: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn pause(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "expected a duration such as 500ms or 5s".to_owned())
}

impl Queues {
    pub(crate) fn run(self, settings: Settings) -> anyhow::Result<ExitCode> {
        let s = &settings;
        parts::command("queues", s, async {
            let access = Access::open(s).await?;
            let millis = |duration: &Duration| u64::try_from(duration.as_millis());
            let delays: Result<_, _> = s.delivery.retry_delays.iter().map(millis).collect();
            let ask = Ask::Queues { delays_ms: delays?, pause_ms: millis(&self.measure)? };
            let answer = access.ask(ask).await;
            access.close().await;
            let Answer::Queues { queues } = answer? else {
                anyhow::bail!("another answer than was asked for: is the process another version?");
            };
            if self.json {
                println!("{}", serde_json::to_string_pretty(&queues)?);
            } else {
                print!("{}", table(&queues));
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

fn table(queues: &[QueueLine]) -> String {
    let mut table =
        Table::new(["queue", "messages", "oldest", "in/s", "out/s", "growth/s", "consumers"]);
    let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
    for line in queues {
        table.row([
            line.queue.clone(),
            line.messages.to_string(),
            line.oldest_s.map_or_else(|| "-".to_owned(), age),
            rate(line.in_per_s),
            rate(line.out_per_s),
            rate(line.growth_per_s),
            line.consumers.to_string(),
        ]);
    }
    table.to_string()
}
