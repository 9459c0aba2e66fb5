//! How fast events reach subscribers, what a connection costs, and how quickly they are let in;
//! the same for the gateway and for nchan.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use crate::event::{SampleEvent, unix_micros};
use crate::gateway::crowd::{Crowd, Door};
use crate::gateway::history;
use crate::gateway::nchan::Nchan;
use crate::publish::{AmqpPublisher, HttpPublisher};
use crate::quantile::quantile;
use crate::report::Report;

/// The user of whom one event goes to all subscribers.
pub const FAN: &str = "usr_fan";

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Subscribers of the small and of the large fan-out.
    pub few: usize,
    /// The large one; also the idle connections.
    pub many: usize,
    /// Events of a burst to the few.
    pub burst: usize,
    /// Seconds of 1,000 events a second.
    pub seconds: usize,
    /// Only those.
    pub only_singles: bool,
}

/// Who takes events for the server that is measured.
pub enum Publisher {
    /// RabbitMQ.
    Amqp(AmqpPublisher),
    /// `POST /v1/events`.
    Http(HttpPublisher),
    /// nchan.
    Nchan(Nchan),
}

/// A server with its subscribers' side.
pub struct Server {
    /// For the names of figures.
    pub name: &'static str,
    /// Where subscribers connect.
    pub address: SocketAddr,
    /// Its processes.
    pub pids: Vec<u32>,
    /// The broker behind it, if there is one.
    pub broker: Option<String>,
    /// Where events are published.
    pub publisher: Publisher,
    /// Makes access tokens; nchan needs none.
    pub token: fn(&str) -> String,
}

/// Subscribers of a server: all to one channel, or each to one of their own.
struct Audience {
    address: SocketAddr,
    nchan: bool,
    token: fn(&str) -> String,
    /// The token of the fan-out's user, made once.
    fan: Option<String>,
}

fn own(number: usize) -> String {
    format!("usr_own_{number}")
}

impl Door for Audience {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn path(&self, number: usize) -> String {
        match (self.nchan, &self.fan) {
            (true, Some(_)) => format!("/sub/{FAN}"),
            (true, None) => format!("/sub/{}", own(number)),
            (false, Some(token)) => format!("/v1/ws?token={token}"),
            (false, None) => format!("/v1/ws?token={}", (self.token)(&own(number))),
        }
    }

    fn first(&self, _: usize) -> Option<(String, &'static str)> {
        let line = r#"{"type":"subscribe","project_id":"p"}"#.to_owned();
        (!self.nchan).then_some((line, r#"{"type":"subscribed""#))
    }
}

impl Server {
    fn audience(&self, fan: bool) -> Arc<Audience> {
        let nchan = matches!(self.publisher, Publisher::Nchan(_));
        let fan = fan.then(|| (self.token)(FAN));
        Arc::new(Audience { address: self.address, nchan, token: self.token, fan })
    }

    async fn publish(&self, user: &str, number: usize) -> anyhow::Result<()> {
        // Unique in a run, whatever was published before.
        let event = SampleEvent::new(format!("evt_{}_{number}", unix_micros()), user, "p");
        match &self.publisher {
            Publisher::Amqp(publisher) => Ok(publisher.publish(&event).await?),
            Publisher::Http(publisher) => Ok(publisher.publish(&event).await?),
            Publisher::Nchan(nchan) => nchan.publish(user, &event).await,
        }
    }

    /// Resident memory of its processes, KiB. Pages that several share count once for each.
    fn resident(&self) -> f64 {
        let kib = |pid: &u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
            line.split_whitespace().nth(1)?.parse::<f64>().ok()
        };
        self.pids.iter().filter_map(kib).sum()
    }

    /// Measures everything.
    ///
    /// # Errors
    /// When something does not arrive, or arrives twice.
    pub async fn measure(&self, size: Size, report: &mut Report) -> anyhow::Result<()> {
        if !size.only_singles {
            self.fan_outs(size, report).await?;
        }
        let before = self.resident();
        let mut crowd = Crowd::default();
        crowd.grow(&self.audience(false), size.many).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        self.each_their_own(&crowd, size.seconds, report).await?;
        if !size.only_singles && !matches!(self.publisher, Publisher::Nchan(_)) {
            self.replay(&crowd, before, report).await?;
        }
        crowd.leave().await;
        Ok(())
    }

    /// One event to many, and what many connections cost.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    async fn fan_outs(&self, size: Size, report: &mut Report) -> anyhow::Result<()> {
        let name = self.name;
        // Warm: the first subscribers of a process are not what is measured.
        let mut crowd = Crowd::default();
        let fan = self.audience(true);
        crowd.grow(&fan, 50).await?;
        self.single(&crowd, 5).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = self.resident();
        // First, while nothing else has left memory behind that is used again.
        let mut idle = Crowd::default();
        idle.grow(&self.audience(false), size.many).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let each = (self.resident() - before) / size.many as f64;
        report.add(&format!("{name}: KiB resident per idle connection"), each);
        idle.leave().await;
        tokio::time::sleep(Duration::from_secs(3)).await;

        crowd.grow(&fan, size.few).await?;
        self.fan_out(&crowd, size.burst, report).await?;
        let rate = crowd.grow(&fan, size.many).await?;
        report.add(&format!("{name}: connections accepted per second"), rate);
        self.fan_out(&crowd, size.burst * size.few / size.many, report).await?;
        crowd.leave().await;
        let after = self.at_rest(before).await;
        report.add(&format!("{name}: MiB resident before all connections"), before / 1_024.0);
        report.add(&format!("{name}: MiB resident after all have left"), after / 1_024.0);
        Ok(())
    }

    /// One event at a time to all of `crowd`; when the last of each arrived, milliseconds.
    #[expect(clippy::cast_precision_loss, reason = "times are far below 2^52")]
    async fn single(&self, crowd: &Crowd, events: usize) -> anyhow::Result<Vec<f64>> {
        let mut last = Vec::new();
        for number in 0..events {
            crowd.seen.reset();
            let sent = unix_micros();
            self.publish(FAN, number).await?;
            let arrived = crowd.seen.wait(crowd.len()).await?;
            last.push(arrived.saturating_sub(sent) as f64 / 1_000.0);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        last.sort_by(f64::total_cmp);
        Ok(last)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    async fn fan_out(
        &self,
        crowd: &Crowd,
        burst: usize,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let (name, count) = (self.name, crowd.len());
        let last = self.single(crowd, 100).await?;
        let at = |share| quantile(&last, share).unwrap_or(f64::NAN);
        report.add(&format!("{name}: one event to {count}, last arrival p50 ms"), at(0.5));
        report.add(&format!("{name}: one event to {count}, last arrival p99 ms"), at(0.99));
        crowd.seen.reset();
        let began = unix_micros();
        stream::iter(0..burst)
            .map(|number| self.publish(FAN, number))
            .buffer_unordered(16)
            .try_collect::<()>()
            .await?;
        let arrived = crowd.seen.wait(count * burst).await?;
        let rate = (count * burst) as f64 * 1e6 / arrived.saturating_sub(began) as f64;
        report.add(&format!("{name}: {burst} events at once to {count}, messages/s"), rate);
        Ok(())
    }

    /// 1,000 events a second, each to one connection; beside it when the publisher was answered, and
    /// when a bare reader of the broker had them.
    async fn each_their_own(
        &self,
        crowd: &Crowd,
        seconds: usize,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        crowd.seen.reset();
        let reader = match &self.broker {
            Some(url) => Some(history::follow(url).await?),
            None => None,
        };
        let (count, began) = (seconds * 1_000, Instant::now());
        let mut under_way = stream::iter(0..count)
            .map(|number| async move {
                let due = began + Duration::from_millis(number as u64);
                tokio::time::sleep_until(due.into()).await;
                // Not the neighbours one after the other.
                let user = own(number * 7_919 % crowd.len());
                let asked = Instant::now();
                self.publish(&user, number).await?;
                anyhow::Ok(asked.elapsed().as_secs_f64() * 1_000.0)
            })
            .buffer_unordered(256);
        let mut answered = Vec::with_capacity(count);
        while let Some(published) = under_way.next().await {
            answered.push(published?);
        }
        answered.sort_by(f64::total_cmp);
        crowd.seen.wait(count).await?;
        if let Some((_reading, seen)) = &reader {
            seen.wait(count).await?;
        }
        let text = format!("{}: 1,000 events/s among {}", self.name, crowd.len());
        for (percentile, share) in [("p50", 0.5), ("p99", 0.99)] {
            report.add(&format!("{text}, {percentile} ms"), crowd.seen.quantile(share));
            let answer = quantile(&answered, share).unwrap_or(f64::NAN);
            report.add(&format!("{text}, publisher answered, {percentile} ms"), answer);
            if let Some((_reading, seen)) = &reader {
                let text = format!("{text}, bare reader of the broker, {percentile} ms");
                report.add(&text, seen.quantile(share));
            }
        }
        Ok(())
    }

    /// KiB resident once they have come down to a fifth over `before`, or after a minute: what is
    /// free goes back to the system a while after it is.
    async fn at_rest(&self, before: f64) -> f64 {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = self.resident();
            if now <= before * 1.2 || Instant::now() >= end {
                return now;
            }
        }
    }

    /// Everybody is sent a hundred events again; the memory that it took comes back.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    async fn replay(&self, crowd: &Crowd, before: f64, report: &mut Report) -> anyhow::Result<()> {
        const EVENTS: usize = 100;
        const WAVE: usize = 500;
        // Those of the fan-out's user are what can be sent to all: everybody subscribes as them.
        let count = crowd.len();
        let mut fans = Crowd::default();
        let idle = self.resident();
        fans.grow(&self.audience(true), count.min(5_000)).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let quiet = self.resident();
        fans.seen.reset();
        let since = format!("evt_since_{}", unix_micros());
        let event = SampleEvent::new(since.clone(), FAN, "q");
        match &self.publisher {
            Publisher::Amqp(publisher) => publisher.publish(&event).await?,
            Publisher::Http(publisher) => publisher.publish(&event).await?,
            Publisher::Nchan(_) => return Ok(()),
        }
        for number in 0..EVENTS {
            self.publish(FAN, number).await?;
        }
        fans.seen.wait(EVENTS * fans.len()).await?;
        fans.seen.reset();
        let unsubscribe = json!({ "type": "unsubscribe", "project_id": "p" }).to_string();
        let resume = json!({ "type": "subscribe", "project_id": "p", "since": since }).to_string();
        let began = Instant::now();
        let mut told = 0;
        for first in (0..fans.len()).step_by(WAVE) {
            for number in first..(first + WAVE).min(fans.len()) {
                fans.say(number, unsubscribe.clone());
                fans.say(number, resume.clone());
                told += EVENTS;
            }
            fans.seen.wait(told).await?;
        }
        let name = self.name;
        let rate = told as f64 / began.elapsed().as_secs_f64();
        report.add(&format!("{name}: replayed to {} connections, messages/s", fans.len()), rate);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let ratio = (self.resident() - idle) / (quiet - idle).max(1.0);
        report.add(&format!("{name}: resident per connection after a replay, of idle"), ratio);
        fans.leave().await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        // With the others still connected.
        report.add(&format!("{name}: MiB resident at the end"), self.resident() / 1_024.0);
        report.add(&format!("{name}: MiB resident before these"), before / 1_024.0);
        Ok(())
    }
}
