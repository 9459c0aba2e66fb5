//! A steady load: what is not confirmed is published again with the same id, as a Studio service
//! would.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::Mutex;

use super::endpoints::{PROJECTS, USERS};
use super::installation::Installation;
use crate::event::SampleEvent;
use crate::ledger::Ledger;
use crate::publish::{AmqpPublisher, HttpPublisher, PublishError};

/// Publishes that may wait for their confirm; when all wait, no event is made.
const WINDOW: usize = 400;

/// How long to wait before an event is published again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

pub(super) struct Traffic<'a> {
    ledger: &'a Ledger,
    rate: u32,
    amqp: Option<Amqp>,
    http: HttpPublisher,
    refused: AtomicUsize,
    stopped: AtomicBool,
}

/// A connection that is made again when it was lost.
struct Amqp {
    url: String,
    publisher: Mutex<Option<Arc<AmqpPublisher>>>,
}

impl<'a> Traffic<'a> {
    pub(super) fn new(installation: &Installation, ledger: &'a Ledger, rate: u32) -> Self {
        let amqp = installation.amqp_url().map(|url| Amqp { url, publisher: Mutex::default() });
        let token = installation.product.token("svc", "service");
        let http = HttpPublisher::new(&installation.product.api, &token)
            .expect("a token is a header value");
        let (refused, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { ledger, rate, amqp, http, refused, stopped }
    }

    /// No new event is made; those that wait are published to the end.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Publishes until the stop; gives back how many publishes failed on the way.
    pub(super) async fn run(&self) -> usize {
        let mut tick = tokio::time::interval(Duration::from_secs(1) / self.rate.max(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut running = FuturesUnordered::new();
        let mut number = 0;
        while !self.stopped.load(Ordering::Acquire) {
            tokio::select! {
                _ = tick.tick(), if running.len() < WINDOW => {
                    running.push(self.publish(number));
                    number += 1;
                }
                Some(()) = running.next(), if !running.is_empty() => {}
            }
        }
        while running.next().await.is_some() {}
        self.refused.load(Ordering::Acquire)
    }

    async fn publish(&self, number: usize) {
        let user = USERS[usize::from(number % 10 == 9)];
        let project = PROJECTS[number % PROJECTS.len()];
        let event = SampleEvent::new(format!("evt_{number}"), user, project);
        let mut tries = number;
        while self.ledger.publish(&event, self.once(&event, tries)).await.is_err() {
            self.refused.fetch_add(1, Ordering::AcqRel);
            tries += 1;
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Over AMQP and through the API in turn, where there are both.
    async fn once(&self, event: &SampleEvent, turn: usize) -> Result<(), PublishError> {
        match &self.amqp {
            Some(amqp) if turn.is_multiple_of(2) => amqp.publish(event).await,
            _ => self.http.publish(event).await,
        }
    }
}

impl Amqp {
    async fn publish(&self, event: &SampleEvent) -> Result<(), PublishError> {
        let publisher = self.publisher().await?;
        let result = publisher.publish(event).await;
        if result.is_err() {
            let mut known = self.publisher.lock().await;
            // Not the connection that another made meanwhile.
            if known.as_ref().is_some_and(|known| Arc::ptr_eq(known, &publisher)) {
                *known = None;
            }
        }
        result
    }

    async fn publisher(&self) -> Result<Arc<AmqpPublisher>, PublishError> {
        let mut known = self.publisher.lock().await;
        if let Some(publisher) = &*known {
            return Ok(publisher.clone());
        }
        let connecting = AmqpPublisher::connect(&self.url);
        let made = tokio::time::timeout(Duration::from_secs(5), connecting).await;
        let made = Arc::new(made.map_err(|_| PublishError::Timeout)??);
        *known = Some(made.clone());
        Ok(made)
    }
}
