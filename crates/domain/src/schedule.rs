//! When a failed delivery is tried again (specification, "Retry Policy").

use std::time::Duration;

/// The waits between the attempts of a delivery; the first attempt is made at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    delays: Vec<Duration>,
}

impl Default for Schedule {
    /// `1m, 5m, 30m, 2h`: five attempts.
    fn default() -> Self {
        Self { delays: [60, 300, 1_800, 7_200].map(Duration::from_secs).to_vec() }
    }
}

impl Schedule {
    /// A schedule of these waits, in this order.
    #[must_use]
    pub fn new(delays: Vec<Duration>) -> Self {
        Self { delays }
    }

    /// The waits, the one before attempt 2 first.
    #[must_use]
    pub fn delays(&self) -> &[Duration] {
        &self.delays
    }

    /// All of its waits together: how long after its first attempt a delivery's last one is due.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.delays.iter().sum()
    }

    /// How many attempts are made before a delivery is marked as failed.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        u32::try_from(self.delays.len()).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// How long to wait after failed attempt `attempt` (the first is 1); `None` after the last.
    ///
    /// `retry_after` is the endpoint's wish: the wait is the first step, this one or a later
    /// one, that is not shorter than it; the longest step where none is.
    ///
    /// ```
    /// # use {domain::Schedule, std::time::Duration};
    /// let schedule = Schedule::default(); // 1m, 5m, 30m, 2h
    /// assert_eq!(schedule.wait_after(1, None), Some(Duration::from_secs(60)));
    /// assert_eq!(schedule.wait_after(1, Some(Duration::from_secs(61))), Some(Duration::from_secs(300)));
    /// assert_eq!(schedule.wait_after(5, None), None);
    /// ```
    #[must_use]
    pub fn wait_after(&self, attempt: u32, retry_after: Option<Duration>) -> Option<Duration> {
        let step = usize::try_from(attempt).ok()?.checked_sub(1)?;
        let planned = *self.delays.get(step)?;
        let Some(wish) = retry_after else {
            return Some(planned);
        };
        let later = &self.delays[step..];
        later.iter().find(|delay| **delay >= wish).or_else(|| later.iter().max()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_default_schedule_is_the_specifications() {
        let schedule = Schedule::default();
        let minutes: Vec<u64> =
            (1..5).map(|n| schedule.wait_after(n, None).unwrap().as_secs() / 60).collect();
        assert_eq!(minutes, [1, 5, 30, 120]);
        assert_eq!(schedule.attempts(), 5);
        assert_eq!(schedule.wait_after(5, None), None);
    }

    #[test]
    fn a_wish_longer_than_every_step_gets_the_longest() {
        let week = Duration::from_secs(7 * 86_400);
        assert_eq!(Schedule::default().wait_after(2, Some(week)), Some(Duration::from_secs(7_200)));
    }

    proptest! {
        #[test]
        fn a_wish_never_shortens_a_wait(attempt in 1_u32..5, wish in 0_u64..20_000) {
            let schedule = Schedule::default();
            let planned = schedule.wait_after(attempt, None).unwrap();
            let wished = schedule.wait_after(attempt, Some(Duration::from_secs(wish))).unwrap();
            prop_assert!(wished >= planned);
        }
    }
}
