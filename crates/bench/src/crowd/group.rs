//! Users who need more than others: what their endpoints do, and what is published to them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::endpoints::{Endpoints, Manner};
use super::healthy::due;
use super::town::{Town, Wanted};

/// How often what is due is published, together.
const TICK: Duration = Duration::from_millis(100);

/// How much is published to a group.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// So many events for each user at once, again after every such time.
    Bursts(usize, Duration),
    /// So many events a second, the users in turn.
    Rate(f64),
}

/// Users of one kind.
#[derive(Clone, Debug)]
pub struct Group {
    pub(super) name: &'static str,
    users: usize,
    webhooks: usize,
    pub(super) manner: Manner,
    shared_host: bool,
    load: Load,
    /// A filter for each webhook of a user, in turn.
    filters: Arc<[String]>,
    /// Members of each event's `data`.
    members: Arc<str>,
}

/// What became of a group's events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pressed {
    /// Events that were confirmed.
    pub published: usize,
    /// Events that were not, for whatever reason.
    pub refused: usize,
}

impl Group {
    /// One user with one webhook whose endpoint does this.
    #[must_use]
    pub fn new(name: &'static str, manner: Manner, load: Load) -> Self {
        let members = r#""status":"completed","results_count":150"#.into();
        let filters = Arc::new([]);
        Self { name, users: 1, webhooks: 1, manner, shared_host: false, load, filters, members }
    }

    /// So many users with so many webhooks each.
    #[must_use]
    pub fn of(self, users: usize, webhooks: usize) -> Self {
        Self { users, webhooks, ..self }
    }

    /// All of their endpoints are at the host that is shared.
    #[must_use]
    pub fn at_one_host(self) -> Self {
        Self { shared_host: true, ..self }
    }

    /// Each user's webhooks have these filters in turn, and each event these members.
    #[must_use]
    pub fn filtering(self, filters: Vec<String>, members: String) -> Self {
        Self { filters: filters.into(), members: members.into(), ..self }
    }

    /// The group at this share of its size.
    #[must_use]
    pub fn scaled(self, share: f64) -> Self {
        let scaled = |number: usize| ((number as f64 * share).ceil() as usize).max(1);
        let load = match self.load {
            // One user is one user: less is published to it.
            Load::Bursts(events, every) if self.users == 1 => Load::Bursts(scaled(events), every),
            Load::Rate(rate) => Load::Rate(rate * share),
            load => load,
        };
        Self { users: scaled(self.users), load, ..self }
    }

    /// Makes its webhooks; their ids.
    ///
    /// # Errors
    /// What the API said to the first that it refused.
    pub async fn settle(&self, town: &Town, endpoints: &Endpoints) -> anyhow::Result<Vec<String>> {
        endpoints.behave(self.name, &self.manner);
        let all = (0..self.users).flat_map(|user| (0..self.webhooks).map(move |n| (user, n)));
        let webhooks = all.map(|(user, number)| {
            let url = endpoints.of_group(self.name, &self.manner, self.shared_host);
            Wanted { user: self.user(user), url, fields: self.fields(number) }
        });
        town.make(webhooks.collect()).await
    }

    fn fields(&self, number: usize) -> Value {
        let mut fields = Map::new();
        let filters = self.filters.len().max(1);
        let filter = self.filters.get(number % filters);
        if let Some(filter) = filter.and_then(|text| serde_json::from_str(text).ok()) {
            fields.insert("filter".to_owned(), filter);
        }
        Value::Object(fields)
    }

    /// Publishes to it for so long.
    pub async fn press(&self, town: &Town, endpoints: &Endpoints, length: Duration) -> Pressed {
        let publishing = async {
            match self.load {
                Load::Bursts(events, every) => self.bursts(town, events, every, length).await,
                Load::Rate(rate) => self.steadily(town, rate, length).await,
            }
        };
        tokio::select! {
            pressed = publishing => pressed,
            () = endpoints.flap(self.name, &self.manner) => Pressed::default(),
        }
    }

    async fn bursts(
        &self,
        town: &Town,
        events: usize,
        every: Duration,
        length: Duration,
    ) -> Pressed {
        let (began, mut pressed) = (Instant::now(), Pressed::default());
        let mut tick = tokio::time::interval(every.min(length).max(TICK));
        while began.elapsed() < length {
            tick.tick().await;
            if began.elapsed() < length {
                pressed.add(self.publish(town, 0, events * self.users).await);
            }
        }
        pressed
    }

    async fn steadily(&self, town: &Town, rate: f64, length: Duration) -> Pressed {
        let (began, mut pressed) = (Instant::now(), Pressed::default());
        let mut tick = tokio::time::interval(TICK);
        while began.elapsed() < length {
            tick.tick().await;
            let done = pressed.published + pressed.refused;
            let more = due(rate, began).saturating_sub(done);
            if more > 0 {
                pressed.add(self.publish(town, done, more).await);
            }
        }
        pressed
    }

    /// Publishes so many events, from the user on whose turn it is.
    async fn publish(&self, town: &Town, from: usize, count: usize) -> Pressed {
        let make = |number: usize| {
            town.event(&self.user((from + number) % self.users), "crowd", &self.members)
        };
        match town.publish_all(count, make).await {
            Ok(()) => Pressed { published: count, refused: 0 },
            Err(_) => Pressed { published: 0, refused: count },
        }
    }

    pub(super) fn user(&self, number: usize) -> String {
        format!("usr_{}_{number}", self.name)
    }
}

impl fmt::Display for Pressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events", self.published)?;
        if self.refused > 0 {
            write!(f, ", {} refused", self.refused)?;
        }
        Ok(())
    }
}

impl Pressed {
    fn add(&mut self, other: Self) {
        self.published += other.published;
        self.refused += other.refused;
    }
}
