//! In which order numbered events came: of a backlog, and of each project of an ordered webhook.

use std::collections::BTreeSet;

/// How a backlog was drained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Events that never came.
    pub lost: usize,
    /// Requests beyond the first for an event.
    pub doubled: usize,
    /// Events that came after a later one.
    pub overtaken: usize,
    /// By how many places, at most.
    pub furthest: usize,
}

impl Drained {
    /// Of `count` events, numbered from 0, in the order in which requests came.
    #[must_use]
    pub fn of(count: usize, arrivals: &[u32]) -> Self {
        let (mut seen, mut latest) = (vec![false; count], 0);
        let mut drained = Self::default();
        for number in arrivals.iter().map(|number| *number as usize) {
            match seen.get_mut(number) {
                Some(seen) if !*seen => *seen = true,
                _ => {
                    drained.doubled += 1;
                    continue;
                }
            }
            if number < latest {
                drained.overtaken += 1;
                drained.furthest = drained.furthest.max(latest - number);
            }
            latest = latest.max(number);
        }
        drained.lost = seen.iter().filter(|seen| !**seen).count();
        drained
    }
}

/// One request of an ordered webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Try {
    /// The project.
    pub project: u32,
    /// The event's number within its project, from 0.
    pub number: u32,
    /// Whether it was answered with success.
    pub success: bool,
}

/// How the order of an ordered webhook was kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Events that came to no end.
    pub lost: usize,
    /// Requests after an event's success.
    pub doubled: usize,
    /// Events whose first success came before the end of an earlier one of their project.
    pub out_of_order: usize,
    /// Requests for an event before the end of an earlier one of its project.
    pub not_held_up: usize,
    /// Events whose attempts were over.
    pub exhausted: usize,
}

/// The projects of an ordered webhook as its requests come.
#[derive(Debug)]
pub struct Order {
    lines: Vec<Line>,
    /// Attempts of a delivery.
    attempts: u32,
    kept: Kept,
}

/// One project's events so far.
#[derive(Debug)]
struct Line {
    tries: Vec<u32>,
    /// Those that have not come to an end.
    open: BTreeSet<u32>,
}

impl Order {
    /// `each` events in every one of `projects`, where a delivery has so many `attempts`.
    #[must_use]
    pub fn new(projects: u32, each: u32, attempts: u32) -> Self {
        let line = |_| Line { tries: vec![0; each as usize], open: (0..each).collect() };
        let lost = (projects * each) as usize;
        Self {
            lines: (0..projects).map(line).collect(),
            attempts,
            kept: Kept { lost, ..Kept::default() },
        }
    }

    /// The next request.
    pub fn take(&mut self, one: Try) {
        if let Some(line) = self.lines.get_mut(one.project as usize) {
            line.take(one, self.attempts, &mut self.kept);
        }
    }

    /// What has become of it so far.
    #[must_use]
    pub fn kept(&self) -> Kept {
        self.kept
    }
}

impl Line {
    fn take(&mut self, one: Try, attempts: u32, kept: &mut Kept) {
        let Some(tries) = self.tries.get_mut(one.number as usize) else { return };
        *tries += 1;
        if !self.open.contains(&one.number) {
            kept.doubled += 1;
            return;
        }
        let (is_next, is_last) = (self.open.first() == Some(&one.number), *tries >= attempts);
        kept.not_held_up += usize::from(!is_next);
        kept.out_of_order += usize::from(one.success && !is_next);
        kept.exhausted += usize::from(!one.success && is_last);
        if one.success || is_last {
            self.open.remove(&one.number);
            kept.lost -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_in_order_has_nothing_lost_doubled_or_overtaken() {
        assert_eq!(Drained::of(4, &[0, 1, 2, 3]), Drained::default());
        let expected = Drained { lost: 1, doubled: 1, overtaken: 1, furthest: 2 };
        assert_eq!(Drained::of(5, &[0, 3, 1, 3, 4]), expected);
    }

    fn kept(projects: u32, each: u32, tries: &[(u32, u32, bool)]) -> Kept {
        let mut order = Order::new(projects, each, 5);
        for &(project, number, success) in tries {
            order.take(Try { project, number, success });
        }
        order.kept()
    }

    #[test]
    fn an_event_may_come_once_those_before_it_in_its_project_succeeded() {
        let all = [(0, 0, false), (1, 0, true), (0, 0, true), (0, 1, true), (1, 1, true)];
        assert_eq!(kept(2, 2, &all), Kept::default());
        let all = [(0, 0, false), (0, 1, true), (0, 0, true)];
        let expected = Kept { out_of_order: 1, not_held_up: 1, ..Kept::default() };
        assert_eq!(kept(1, 2, &all), expected);
    }

    #[test]
    fn one_that_failed_five_times_has_come_to_its_end() {
        let mut all = vec![(0, 0, false); 5];
        all.push((0, 1, true));
        let expected = Kept { exhausted: 1, ..Kept::default() };
        assert_eq!(kept(1, 2, &all), expected);
        let expected = Kept { lost: 1, doubled: 1, ..Kept::default() };
        assert_eq!(kept(1, 2, &[(0, 0, true), (0, 0, true)]), expected);
    }
}
