//! A webhook's `filter`: which events it wants by what stands in their `data`.
//!
//! A small language in JSON (`docs/api.md`, "Filters"): an object of conditions, all of which
//! must hold. Checked once, when it is written; then evaluated on the raw text of `data` in one
//! pass and without an allocation.

mod lookup;
mod parse;
#[cfg(test)]
mod tests;
mod value;

use lookup::{Found, Paths};
use serde_json::value::RawValue;
use value::{Constant, elements};

/// Longest filter, in bytes of JSON.
pub const MAX_FILTER_BYTES: usize = 4 * 1024;

/// Conditions of a filter, with the entries of their lists.
const MAX_CONDITIONS: usize = 256;

/// Levels of `$and`, `$or` and `$not`.
const MAX_DEPTH: usize = 8;

/// Different paths of a filter: what is found of them stands on the stack.
const MAX_PATHS: usize = 32;

/// Parts of one path.
const MAX_PARTS: usize = 16;

/// What is wrong at one place of a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at:?} {message}")]
pub struct InvalidFilter {
    /// The place, such as `$or[1].status.$in`; empty for the filter as a whole.
    pub at: String,
    /// What is wrong with it and what is expected.
    pub message: String,
}

/// Conditions on an event's `data`.
#[derive(Clone, Debug)]
pub struct Filter {
    text: Box<str>,
    paths: Paths,
    condition: Condition,
}

#[derive(Clone, Debug)]
enum Condition {
    All(Box<[Condition]>),
    Any(Box<[Condition]>),
    Not(Box<Condition>),
    /// A test of what stands at a path, named by its number.
    Of(usize, Test),
}

#[derive(Clone, Debug)]
enum Test {
    Exists,
    /// Equal to one of these.
    In(Box<[Constant]>),
    Less(Constant),
    Greater(Constant),
    Prefix(Box<str>),
}

impl Filter {
    /// Reads a filter from its JSON.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    ///
    /// ```
    /// # use domain::Filter;
    /// let filter = Filter::parse(r#"{"status":"failed","summary.score":{"$lt":0.5}}"#).unwrap();
    /// assert!(filter.matches(br#"{"status":"failed","summary":{"score":-1}}"#));
    /// assert!(!filter.matches(br#"{"status":"failed"}"#));
    /// ```
    pub fn parse(json: &str) -> Result<Self, Vec<InvalidFilter>> {
        let raw: &RawValue = serde_json::from_str(json).map_err(|e| {
            vec![InvalidFilter { at: String::new(), message: format!("is no JSON: {e}") }]
        })?;
        let (paths, condition) = parse::parse(raw)?;
        Ok(Self { text: raw.get().into(), paths, condition })
    }

    /// The JSON that it was read from.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `data`, a JSON object that was read as an event's, is wanted.
    #[must_use]
    pub fn matches(&self, data: &[u8]) -> bool {
        self.condition.holds(&self.paths.find_in(data))
    }
}

impl Condition {
    fn holds(&self, found: &Found<'_>) -> bool {
        match self {
            Self::All(all) => all.iter().all(|condition| condition.holds(found)),
            Self::Any(any) => any.iter().any(|condition| condition.holds(found)),
            Self::Not(not) => !not.holds(found),
            Self::Of(path, test) => found[*path].is_some_and(|value| test.passes(value)),
        }
    }
}

impl Test {
    /// A list passes when one of its entries does.
    fn passes(&self, value: &[u8]) -> bool {
        match self {
            Self::Exists => true,
            _ if value.starts_with(b"[") => elements(value).any(|entry| self.passes_one(entry)),
            _ => self.passes_one(value),
        }
    }

    fn passes_one(&self, value: &[u8]) -> bool {
        match self {
            Self::Exists => true,
            Self::In(constants) => {
                constants.iter().any(|c| c.order(value).is_some_and(|o| o.is_eq()))
            }
            Self::Less(constant) => constant.order(value).is_some_and(|o| o.is_lt()),
            Self::Greater(constant) => constant.order(value).is_some_and(|o| o.is_gt()),
            Self::Prefix(prefix) => value::begins_with(value, prefix),
        }
    }
}
