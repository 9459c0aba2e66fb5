//! The crowds, by name.

use std::time::Duration;

use clap::ValueEnum;

use super::ONCE;
use super::endpoints::{Manner, SHARED};
use super::filters;
use super::group::{Group, Load};
use super::healthy::Healthy;
use crate::receiver::{Answer, Workers};

/// How long an endpoint of few workers lets a request queue.
pub(super) const OWN_LIMIT: Duration = Duration::from_secs(10);

/// What healthy users have beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Scenario {
    /// 6 users with 70 webhooks each that answer 200 after 25 s, five events each.
    SlowAnswers,
    /// 12 webhooks of one user at the healthy users' host, 20 s an answer.
    OneHost,
    /// 1,000 users with one silent endpoint each, 45 events a second.
    Silent,
    /// 100 users with 100 silent webhooks each.
    Hanging,
    /// 2,000 endpoints, half of them silent, 500 events a second.
    HalfSilent,
    /// 200 endpoints that answer a byte a second, 45 events a second.
    Drip,
    /// 400 endpoints that are silent, or answer 503, in every other 10 s; 100 events a second.
    Flapping,
    /// Ten users with ten webhooks each: silent, dripping, refusing, failing, and quick.
    Mixed,
    /// One user with 1,000 times the events of each other; eight workers of 50 ms.
    Heavy,
    /// One user with 20,000 events, an answer a second later.
    SlowOne,
    /// One event a second to a silent endpoint.
    BlackHole,
    /// 100 webhooks with the worst filters that are allowed, and the largest events.
    Filters,
    /// All of these at once, scaled to fit.
    All,
    /// 100,000 events to one quick endpoint, beside the bare loop.
    BurstQuick,
    /// A burst to an endpoint of eight workers of 50 ms each.
    BurstWorkers,
    /// A backlog of a million for a webhook that takes 100 a second.
    Million,
    /// 100,000 events of 50 projects to an ordered webhook whose endpoint fails one in 20.
    Ordered,
}

/// What one scenario needs.
pub(super) struct Cast {
    pub(super) healthy: Healthy,
    pub(super) crowd: Vec<Group>,
}

impl Scenario {
    /// Those that are over when they have been measured for long enough.
    #[must_use]
    pub fn of_a_minute() -> Vec<Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(|one| !matches!(one, Self::Million | Self::Ordered)).collect()
    }

    /// Who is in it; `None` for those that are no crowd.
    pub(super) fn cast(self) -> Option<Cast> {
        let healthy = match self {
            Self::OneHost => Healthy { host: Some(SHARED), ..Healthy::default() },
            // The quiet half of the endpoints.
            Self::HalfSilent => Healthy { users: 1_000, rate: 250.0, ..Healthy::default() },
            // Half an event a second each; the heavy one has 500.
            Self::Heavy => Healthy { users: 20, rate: 10.0, failing_rate: 2.0, host: None },
            _ => Healthy::default(),
        };
        Some(Cast { healthy, crowd: self.groups()? })
    }

    fn groups(self) -> Option<Vec<Group>> {
        let seconds = Duration::from_secs;
        let (later, silent) = (|time| Manner::Later(seconds(time)), Manner::Silent);
        let flapping = |bad: Answer| Manner::Flapping(seconds(10), bad);
        let groups = match self {
            Self::SlowAnswers => {
                vec![Group::new("slow-answers", later(25), Load::Bursts(5, seconds(30))).of(6, 70)]
            }
            Self::OneHost => {
                let load = Load::Bursts(64, seconds(40));
                vec![Group::new("one-host", later(20), load).of(1, 12).at_one_host()]
            }
            Self::Silent => vec![Group::new("silent", silent, Load::Rate(45.0)).of(1_000, 1)],
            Self::Hanging => {
                vec![Group::new("hanging", silent, Load::Bursts(1, seconds(75))).of(100, 100)]
            }
            Self::HalfSilent => {
                vec![Group::new("half-silent", silent, Load::Rate(250.0)).of(1_000, 1)]
            }
            Self::Drip => vec![Group::new("drip", Manner::Dripping, Load::Rate(45.0)).of(200, 1)],
            Self::Flapping => vec![
                Group::new("flapping-silent", flapping(Answer::Never), Load::Rate(50.0)).of(200, 1),
                Group::new("flapping-503", flapping(503.into()), Load::Rate(50.0)).of(200, 1),
            ],
            Self::Mixed => mixed(),
            Self::Heavy => vec![Group::new("heavy", few_workers(), Load::Rate(500.0))],
            Self::SlowOne => vec![Group::new("slow-one", later(1), Load::Bursts(20_000, ONCE))],
            Self::BlackHole => vec![Group::new("black-hole", silent, Load::Rate(1.0))],
            Self::Filters => filters::groups(),
            Self::All => all()?,
            Self::BurstQuick | Self::BurstWorkers | Self::Million | Self::Ordered => return None,
        };
        Some(groups)
    }
}

/// Eight workers who take 50 ms each: 160 a second.
pub(super) fn few_workers() -> Manner {
    Manner::ByWorkers(Workers::new(8, Duration::from_millis(50), OWN_LIMIT))
}

fn mixed() -> Vec<Group> {
    let kinds = [
        ("mixed-silent", Manner::Silent),
        ("mixed-dripping", Manner::Dripping),
        ("mixed-refusing", Manner::Refusing),
        ("mixed-failing", Manner::Failing),
        ("mixed-quick", Manner::Quick),
    ];
    let group = |(name, manner)| Group::new(name, manner, Load::Rate(10.0)).of(10, 2);
    kinds.map(group).into()
}

/// Everything at once: the large ones smaller, so that one machine can play them all.
fn all() -> Option<Vec<Group>> {
    let parts = [
        (Scenario::SlowAnswers, 1.0),
        (Scenario::Silent, 0.5),
        (Scenario::Hanging, 0.2),
        (Scenario::HalfSilent, 0.2),
        (Scenario::Drip, 0.5),
        (Scenario::Flapping, 0.5),
        (Scenario::Heavy, 0.5),
        (Scenario::SlowOne, 0.5),
        (Scenario::BlackHole, 1.0),
        (Scenario::Filters, 0.2),
    ];
    let groups = parts.into_iter().map(|(scenario, share)| {
        Some(scenario.groups()?.into_iter().map(move |group| group.scaled(share)))
    });
    Some(groups.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
}
