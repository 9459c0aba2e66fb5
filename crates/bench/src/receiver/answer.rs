//! What a receiver answers.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;

use super::Workers;

/// Deliveries whose place in a script is remembered; beyond, the script starts again.
const MAX_DELIVERIES: usize = 200_000;

/// One answer, good or bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A status with an empty body.
    Status(u16),
    /// A status with headers and a body.
    Full {
        /// The status.
        status: u16,
        /// Added headers.
        headers: Vec<(String, String)>,
        /// The body.
        body: Bytes,
    },
    /// The same, this much later.
    Later(Duration, Box<Answer>),
    /// 200 once one of the workers has done it, or 503 when none had time.
    ByWorkers(Workers),
    /// To one in so many requests, at random; the others are answered 200.
    OneIn(u32, Box<Answer>),
    /// None: the connection stays open and silent.
    Never,
    /// A proper answer whose bytes come one a second, without end.
    Drip,
    /// None: the connection is closed.
    Close,
    /// None: the connection is reset.
    Reset,
    /// A status 200 with a body of this many bytes.
    Huge(u64),
    /// These bytes, whatever they are, and the end of the connection.
    Raw(Bytes),
}

impl Answer {
    /// `status` with a `Location`.
    #[must_use]
    pub fn redirect(status: u16, location: &str) -> Self {
        let headers = vec![("location".to_owned(), location.to_owned())];
        Self::Full { status, headers, body: Bytes::new() }
    }

    /// `status` with `Retry-After: seconds`.
    #[must_use]
    pub fn retry_after(status: u16, seconds: u64) -> Self {
        let headers = vec![("retry-after".to_owned(), seconds.to_string())];
        Self::Full { status, headers, body: Bytes::new() }
    }

    /// What no HTTP client can read.
    #[must_use]
    pub fn garbage() -> Self {
        Self::Raw(Bytes::from_static(b"\x00\xffthis is no HTTP\r\n\r\n"))
    }

    /// The answer itself, where chance has a say.
    fn drawn(self) -> Self {
        match self {
            Self::OneIn(many, answer) if rand::random_range(0..many.max(1)) == 0 => *answer,
            Self::OneIn(..) => Self::Status(200),
            answer => answer,
        }
    }

    /// The status of a proper answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status(status) | Self::Full { status, .. } => Some(*status),
            Self::Later(_, answer) => answer.status(),
            Self::Huge(_) => Some(200),
            // Not known before it is given.
            Self::ByWorkers(_) | Self::OneIn(..) => None,
            Self::Never | Self::Drip | Self::Close | Self::Reset | Self::Raw(_) => None,
        }
    }
}

impl From<u16> for Answer {
    fn from(status: u16) -> Self {
        Self::Status(status)
    }
}

/// Answers in their order; the last is repeated.
#[derive(Clone, Debug)]
pub struct Script {
    answers: Vec<Answer>,
    by_delivery: bool,
}

impl Script {
    /// The answers to a path's requests, whatever they carry.
    #[must_use]
    pub fn new(answers: impl IntoIterator<Item = impl Into<Answer>>) -> Self {
        Self { answers: answers.into_iter().map(Into::into).collect(), by_delivery: false }
    }

    /// The answers to each delivery's requests (`X-Sentimatrix-Delivery`), from the first.
    #[must_use]
    pub fn by_delivery(answers: impl IntoIterator<Item = impl Into<Answer>>) -> Self {
        Self { by_delivery: true, ..Self::new(answers) }
    }
}

impl<A: Into<Answer>, const N: usize> From<[A; N]> for Script {
    fn from(answers: [A; N]) -> Self {
        Self::new(answers)
    }
}

impl From<Answer> for Script {
    fn from(answer: Answer) -> Self {
        Self::new([answer])
    }
}

impl From<u16> for Script {
    fn from(status: u16) -> Self {
        Self::new([status])
    }
}

/// The scripts of all paths, and how far each has come.
#[derive(Default)]
pub(super) struct Scripts {
    paths: HashMap<String, Progress>,
}

struct Progress {
    script: Script,
    given: usize,
    given_to: HashMap<String, usize>,
}

impl Scripts {
    pub(super) fn set(&mut self, path: &str, script: Script) {
        let progress = Progress { script, given: 0, given_to: HashMap::new() };
        self.paths.insert(path.to_owned(), progress);
    }

    /// The answer to the next request of `path`; 200 without a script.
    pub(super) fn next(&mut self, path: &str, delivery: Option<&str>) -> Answer {
        let Some(progress) = self.paths.get_mut(path) else { return Answer::Status(200) };
        let given = match delivery.filter(|_| progress.script.by_delivery) {
            None => &mut progress.given,
            Some(delivery) => {
                if progress.given_to.len() >= MAX_DELIVERIES {
                    progress.given_to.clear();
                }
                progress.given_to.entry(delivery.to_owned()).or_default()
            }
        };
        let answers = &progress.script.answers;
        let answer = answers.get(*given).or_else(|| answers.last());
        *given += 1;
        answer.cloned().unwrap_or(Answer::Status(200)).drawn()
    }
}
