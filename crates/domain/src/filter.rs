//! A webhook's `filter`: which events it wants by what stands in their `data`.
//!
//! A small language in JSON (`docs/api.md`, "Filters"): an object of conditions, all of which
//! must hold. Checked once, when it is written. Those of a user's webhooks are asked together
//! ([`Filters`]): one pass over the raw text of `data`, whose values are looked up, not compared
//! with each filter in turn.

mod lookup;
mod parse;
mod questions;
#[cfg(test)]
mod tests;
mod together;
mod value;

use serde_json::value::RawValue;
use value::Constant;

pub use together::{Filters, Passing};

/// Longest filter, in bytes of JSON.
pub const MAX_FILTER_BYTES: usize = 4 * 1024;

/// Conditions of a filter, with the entries of their lists.
const MAX_CONDITIONS: usize = 256;

/// Levels of `$and`, `$or` and `$not`.
const MAX_DEPTH: usize = 8;

/// Different paths of a filter.
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
    /// The different paths that conditions name, by their number.
    paths: Vec<Path>,
    condition: Condition,
}

/// Keys from the top of `data` downwards.
type Path = Box<[Box<str>]>;

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
    /// # use domain::{Filter, Filters};
    /// let filter = Filter::parse(r#"{"status":"failed","summary.score":{"$lt":0.5}}"#).unwrap();
    /// let filters = Filters::new([&filter]);
    /// assert!(filters.ask(br#"{"status":"failed","summary":{"score":-1}}"#).passes(0));
    /// assert!(!filters.ask(br#"{"status":"failed"}"#).passes(0));
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
}
