//! Filters that are asked together: of one event, for all webhooks of its user.

use super::lookup::Paths;
use super::questions::{Questions, TestNumber};
use super::{Condition, Filter};

/// Filters made ready to be asked of the same events. Each value of an event is read once for all
/// of them, and constants are looked up: the largest event costs some milliseconds, whatever the
/// filters are and however many.
#[derive(Clone, Debug)]
pub struct Filters {
    paths: Paths,
    /// What is asked at each path.
    questions: Vec<Questions>,
    tests: usize,
    verdicts: Box<[Verdict]>,
}

/// When a filter passes, by the numbers of its tests.
#[derive(Clone, Debug)]
enum Verdict {
    All(Box<[Verdict]>),
    Any(Box<[Verdict]>),
    Not(Box<Verdict>),
    Passed(TestNumber),
}

/// What one event answers.
#[derive(Clone, Debug)]
pub struct Passing<'a> {
    filters: &'a Filters,
    passed: Vec<bool>,
}

impl Filters {
    /// These filters, in this order.
    #[must_use]
    pub fn new<'a>(filters: impl IntoIterator<Item = &'a Filter>) -> Self {
        let mut all =
            Self { paths: Paths::new(), questions: Vec::new(), tests: 0, verdicts: Box::default() };
        all.verdicts = filters.into_iter().map(|filter| all.add(filter)).collect();
        all
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.verdicts.is_empty()
    }

    fn add(&mut self, filter: &Filter) -> Verdict {
        let numbers: Vec<usize> = filter.paths.iter().map(|path| self.paths.number(path)).collect();
        let most = numbers.iter().map(|number| number + 1).max().unwrap_or(0);
        self.questions.resize_with(self.questions.len().max(most), Questions::default);
        self.verdict(&filter.condition, &numbers)
    }

    fn verdict(&mut self, condition: &Condition, paths: &[usize]) -> Verdict {
        let mut each = |conditions: &[Condition]| {
            conditions.iter().map(|condition| self.verdict(condition, paths)).collect()
        };
        match condition {
            Condition::All(all) => Verdict::All(each(all)),
            Condition::Any(any) => Verdict::Any(each(any)),
            Condition::Not(not) => Verdict::Not(Box::new(self.verdict(not, paths))),
            Condition::Of(path, test) => {
                let number = self.tests;
                self.tests += 1;
                self.questions[paths[*path]].add(test, number);
                Verdict::Passed(number)
            }
        }
    }

    /// Asks `data`, a JSON object that was read as an event's, all that the filters want to know.
    #[must_use]
    pub fn ask(&self, data: &[u8]) -> Passing<'_> {
        let mut passed = vec![false; self.tests];
        for (questions, value) in self.questions.iter().zip(self.paths.find_in(data)) {
            if let Some(value) = value {
                questions.ask(value, &mut passed);
            }
        }
        Passing { filters: self, passed }
    }
}

impl Passing<'_> {
    /// Whether the event passes the filter `index`, counted from 0 in the order in which they were
    /// given.
    #[must_use]
    pub fn passes(&self, index: usize) -> bool {
        self.filters.verdicts.get(index).is_some_and(|verdict| verdict.holds(&self.passed))
    }
}

impl Verdict {
    fn holds(&self, passed: &[bool]) -> bool {
        match self {
            Self::All(all) => all.iter().all(|verdict| verdict.holds(passed)),
            Self::Any(any) => any.iter().any(|verdict| verdict.holds(passed)),
            Self::Not(not) => !not.holds(passed),
            Self::Passed(number) => passed[*number],
        }
    }
}
