//! A webhook whose deliveries come in the order of publication, project by project, although its
//! endpoint fails and dispatchers are killed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use super::kills;
use super::order::{Kept, Order, Try};
use super::run::{Outcome, Plan, Watch};
use super::town::Wanted;
use crate::arrivals::number_after;
use crate::receiver::{Answer, Arrival, Keep, Receiver, ReceiverOptions};

const MANY: usize = 100_000;

const PROJECTS: u32 = 50;

/// The endpoint fails one request in so many.
const ONE_IN: u32 = 20;

/// Attempts of a delivery.
const ATTEMPTS: u32 = 5;

/// How long nothing may come before it is given up, beside the first step of the schedule.
const STILL: Duration = Duration::from_secs(120);

const USER: &str = "usr_ordered";

type Log = Arc<Mutex<Order>>;

/// Publishes to an ordered webhook and checks what its endpoint saw.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    let each = u32::try_from(plan.events.unwrap_or(MANY))?.div_ceil(PROJECTS);
    let count = (each * PROJECTS) as usize;
    let (log, receiver) = endpoint(each).await?;
    let mut site = plan.site("ordered").await?;
    let town = site.town().await?;
    let fields = json!({ "ordered": true });
    let wanted = Wanted { user: USER.to_owned(), url: receiver.url("/"), fields };
    town.make(vec![wanted]).await?;
    let (watch, began) = (Watch::begin(&site).await?, Instant::now());
    let make = |number: usize| {
        let (project, number) = (number % PROJECTS as usize, number / PROJECTS as usize);
        let members = format!(r#""p":{project},"n":{number}"#);
        town.event(USER, &format!("p{project}"), &members)
    };
    town.publish_all(count, make).await?;
    // Each failure holds up its project for a step of the schedule.
    let failures = 1 + each / ONE_IN * 2;
    let longest = plan.span().delay * failures + STILL * (1 + u32::try_from(plan.kills)?);
    let done = || count - kept(&log).lost;
    let ended = kills::while_draining(&mut site, plan.kills, count, longest, done).await?;
    let took = began.elapsed();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let Kept { lost, doubled, out_of_order, not_held_up, exhausted } = kept(&log);
    let mut notes = vec![
        format!(
            "{count} events of {PROJECTS} projects within {:.1} s{}",
            took.as_secs_f64(),
            if ended { "" } else { "; given up" }
        ),
        format!("{out_of_order} succeeded out of order, {not_held_up} requests came too early"),
        format!("{lost} lost, {doubled} doubled, {exhausted} exhausted"),
    ];
    notes.extend(watch.end(&site).await?);
    Ok(Outcome { compared: None, notes })
}

fn kept(log: &Log) -> Kept {
    log.lock().unwrap_or_else(PoisonError::into_inner).kept()
}

async fn endpoint(each: u32) -> anyhow::Result<(Log, Receiver)> {
    let log = Arc::new(Mutex::new(Order::new(PROJECTS, each, ATTEMPTS)));
    let seen = Arc::clone(&log);
    let observer = move |arrival: &Arrival<'_>| {
        let number = |key: &[u8]| u32::try_from(number_after(arrival.body, key)?).ok();
        let (Some(project), Some(number)) = (number(br#""p":"#), number(br#""n":"#)) else {
            return;
        };
        let success = arrival.answered == Some(200);
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.take(Try { project, number, success });
    };
    let options = ReceiverOptions {
        keep: Keep::Counts,
        observer: Some(Arc::new(observer)),
        ..ReceiverOptions::default()
    };
    let receiver = Receiver::start_with(options).await?;
    receiver.answer("/", Answer::OneIn(ONE_IN, Box::new(503.into())));
    Ok((log, receiver))
}
