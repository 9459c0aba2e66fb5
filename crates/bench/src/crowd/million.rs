//! A backlog of any depth for one webhook, drained in order while dispatchers are killed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use super::endpoints::Endpoints;
use super::healthy::Healthy;
use super::kills;
use super::order::Drained;
use super::run::{Outcome, Plan, Watch};
use super::town::Wanted;
use super::waits::Compared;
use crate::arrivals::number_after;
use crate::receiver::{Answer, Arrival, Keep, Receiver, ReceiverOptions, Workers};

const MANY: usize = 1_000_000;

/// How long a worker of the endpoint takes.
const EACH: Duration = Duration::from_millis(50);

/// How long its requests may queue there.
const OWN_LIMIT: Duration = Duration::from_secs(20);

const USER: &str = "usr_million";

/// The numbers of events in the order in which requests came.
#[derive(Default)]
struct Log(Mutex<Vec<u32>>);

impl Log {
    fn saw(&self, arrival: &Arrival<'_>) {
        let Some(number) = number_after(arrival.body, br#""n":"#) else { return };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(u32::try_from(number).unwrap_or(u32::MAX));
    }

    fn arrivals(&self) -> Vec<u32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Fills the backlog, measures healthy users while it is drained, and looks at the order.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    let count = plan.events.unwrap_or(MANY);
    let people = (plan.taken as f64 * EACH.as_secs_f64()).ceil().max(1.0) as usize;
    let workers = Workers::new(people, EACH, OWN_LIMIT);
    let (log, receiver) = endpoint(&workers).await?;
    let mut site = plan.site("million").await?;
    let (town, endpoints) = (site.town().await?, Endpoints::start().await?);
    let (healthy, span) = (Healthy::default(), plan.span());
    healthy.settle(&town, &endpoints).await?;
    let wanted = Wanted { user: USER.to_owned(), url: receiver.url("/"), fields: json!({}) };
    town.make(vec![wanted]).await?;
    let alone = healthy.measure(&town, &endpoints, span).await;

    let (watch, began) = (Watch::begin(&site).await?, Instant::now());
    let make = |number: usize| town.event(USER, "p", &format!(r#""n":{number}"#));
    let filling = async {
        town.publish_all(count, make).await?;
        anyhow::Ok(began.elapsed())
    };
    // Kills come after that: in one process they would end the API, too.
    let (filled, beside) = tokio::join!(filling, healthy.measure(&town, &endpoints, span));
    let filled = filled?;
    let at_best = Duration::from_secs_f64(count as f64 / (people as f64 / EACH.as_secs_f64()));
    // Twice what it takes at best, and what a lease and a sweep take after each kill.
    let longest = at_best * 2 + Duration::from_secs(120) * (1 + plan.kills as u32);
    let ended = kills::while_draining(&mut site, plan.kills, count, longest, || workers.served());
    let ended = ended.await?;
    let took = began.elapsed();
    // Those that come twice come late.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let Drained { lost, doubled, overtaken, furthest } = Drained::of(count, &log.arrivals());
    let mut notes = vec![
        format!("{count} events published within {:.1} s", filled.as_secs_f64()),
        format!(
            "drained within {:.1} s, {:.0} a second of {:.0}{}",
            took.as_secs_f64(),
            workers.served() as f64 / took.as_secs_f64(),
            people as f64 / EACH.as_secs_f64(),
            if ended { "" } else { "; given up" }
        ),
        format!("{lost} lost, {doubled} doubled, {} refused", workers.refused()),
        format!("{overtaken} came after a later one, by {furthest} places at most"),
    ];
    notes.extend(watch.end(&site).await?);
    let compared = Compared { alone, beside, notes: Vec::new() };
    Ok(Outcome { compared: Some(compared), notes })
}

async fn endpoint(workers: &Workers) -> anyhow::Result<(Arc<Log>, Receiver)> {
    let log = Arc::<Log>::default();
    let observed = Arc::clone(&log);
    let options = ReceiverOptions {
        keep: Keep::Counts,
        observer: Some(Arc::new(move |arrival: &Arrival<'_>| observed.saw(arrival))),
        ..ReceiverOptions::default()
    };
    let receiver = Receiver::start_with(options).await?;
    receiver.answer("/", Answer::ByWorkers(workers.clone()));
    Ok((log, receiver))
}
