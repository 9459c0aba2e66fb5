//! A webhook's own headers, and which of them hold credentials: those are sealed at rest, sent to
//! the host that they were given for, and shown to nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What is shown instead of the value of a header that holds credentials.
pub const MASK: &str = "***";

/// Bytes of the names and values of all own headers of one webhook, at most: 8 KiB.
pub const MAX_OWN_HEADER_BYTES: usize = 8 * 1024;

/// Parts of the names of headers that hold credentials, in lower case.
const CREDENTIALS: [&str; 16] = [
    "auth",
    "bearer",
    "cookie",
    "credential",
    "csrf",
    "jwt",
    "key",
    "passcode",
    "passphrase",
    "passw",
    "pwd",
    "secret",
    "session",
    "signature",
    "token",
    "xsrf",
];

/// The headers that a webhook adds to its deliveries, at most 20. Names are compared without
/// case. `Debug` shows names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OwnHeaders {
    values: BTreeMap<String, String>,
    /// Names, in lower case, that their owner marked as sensitive.
    marked: BTreeSet<String>,
}

/// What a request says of one header.
#[derive(Clone, PartialEq, Eq)]
pub struct GivenHeader {
    /// The new value; `None` where the mask was sent back, which leaves the value as it is.
    pub value: Option<String>,
    /// Whether it holds credentials whatever its name says; as before when `None`.
    pub sensitive: Option<bool>,
}

/// All headers of a request, by name; no two names differ by case alone.
pub type GivenHeaders = BTreeMap<String, GivenHeader>;

/// Headers that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedHeaders {
    /// The mask came for these names, and there is no masked value that it could stand for.
    #[error("{MASK} is the masked form, and no masked value is kept of {}", .0.join(", "))]
    NothingMasked(Vec<String>),
    /// With the values that stay they have this many bytes.
    #[error("must have at most {MAX_OWN_HEADER_BYTES} bytes, found {0}")]
    TooLarge(usize),
}

impl OwnHeaders {
    /// Headers as they were stored: values by name, and names that are marked.
    #[must_use]
    pub fn stored(values: BTreeMap<String, String>, marked: BTreeSet<String>) -> Self {
        Self { values, marked }
    }

    /// Values by name: for sending and for sealing, never for showing.
    #[must_use]
    pub fn values(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    /// The names, in lower case, that their owner marked as sensitive.
    #[must_use]
    pub fn marked(&self) -> &BTreeSet<String> {
        &self.marked
    }

    /// Whether the value of a header of this name is hidden: the one place that decides it.
    ///
    /// ```
    /// # use domain::OwnHeaders;
    /// let headers = OwnHeaders::default();
    /// assert!(headers.hides("X-Partner-Token") && headers.hides("COOKIE"));
    /// assert!(!headers.hides("X-Custom-Header"));
    /// ```
    #[must_use]
    pub fn hides(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        CREDENTIALS.iter().any(|part| name.contains(part)) || self.marked.contains(&name)
    }

    /// `value` of the header `name`, as anybody may see it.
    #[must_use]
    pub fn shown(&self, name: &str, value: &str) -> String {
        if self.hides(name) { MASK.to_owned() } else { value.to_owned() }
    }

    /// All of them as anybody may see them.
    #[must_use]
    pub fn all_shown(&self) -> BTreeMap<String, String> {
        self.values.iter().map(|(name, value)| (name.clone(), self.shown(name, value))).collect()
    }

    /// The headers after a request that gives `given`, or leaves them out. With `moved` the
    /// webhook's URL leads to another host now: of what is hidden only values given in this
    /// request stay, and a mask stands for nothing.
    ///
    /// A mark stays with its name, and a value that was hidden stays hidden: who wants it shown
    /// gives a value anew.
    ///
    /// # Errors
    /// [`RefusedHeaders`].
    pub fn after(&self, given: Option<GivenHeaders>, moved: bool) -> Result<Self, RefusedHeaders> {
        let Some(given) = given else {
            let mut kept = self.clone();
            if moved {
                kept.values.retain(|name, _| !self.hides(name));
                kept.forget_marks();
            }
            return Ok(kept);
        };
        let mut after = Self::default();
        let mut nothing_masked = Vec::new();
        for (name, GivenHeader { value, sensitive }) in given {
            let marked = self.marked.contains(&name.to_ascii_lowercase());
            let before = self.hidden_value(&name);
            let (value, marked) = match (value, before) {
                (Some(value), _) => (value, sensitive.unwrap_or(marked)),
                (None, None) => {
                    nothing_masked.push(name);
                    continue;
                }
                (None, Some(_)) if moved => continue,
                (None, Some(before)) => (before.to_owned(), marked || sensitive == Some(true)),
            };
            if marked {
                after.marked.insert(name.to_ascii_lowercase());
            }
            after.values.insert(name, value);
        }
        if !nothing_masked.is_empty() {
            return Err(RefusedHeaders::NothingMasked(nothing_masked));
        }
        // Counted with what a mask stands for: otherwise masks would make room without end.
        let bytes = after.values.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > MAX_OWN_HEADER_BYTES {
            return Err(RefusedHeaders::TooLarge(bytes));
        }
        Ok(after)
    }

    /// The names of hidden headers that `after` does not have any more.
    #[must_use]
    pub fn hidden_and_gone(&self, after: &Self) -> Vec<String> {
        let gone = |name: &&String| self.hides(name) && after.find(name).is_none();
        self.values.keys().filter(gone).cloned().collect()
    }

    fn hidden_value(&self, name: &str) -> Option<&str> {
        self.find(name).filter(|_| self.hides(name))
    }

    fn find(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    fn forget_marks(&mut self) {
        let names: BTreeSet<String> =
            self.values.keys().map(|name| name.to_ascii_lowercase()).collect();
        self.marked.retain(|name| names.contains(name));
    }
}

/// Headers without marks.
impl From<BTreeMap<String, String>> for OwnHeaders {
    fn from(values: BTreeMap<String, String>) -> Self {
        Self { values, marked: BTreeSet::new() }
    }
}

impl fmt::Debug for OwnHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnHeaders").field(&self.values.keys()).finish()
    }
}

impl fmt::Debug for GivenHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.as_ref().map(|_| MASK);
        f.debug_struct("GivenHeader")
            .field("value", &value)
            .field("sensitive", &self.sensitive)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[(&str, &str)], marked: &[&str]) -> OwnHeaders {
        let values = values.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        OwnHeaders::stored(values.collect(), marked.iter().map(|name| (*name).into()).collect())
    }

    fn given(all: &[(&str, Option<&str>, Option<bool>)]) -> Option<GivenHeaders> {
        let header = |(name, value, sensitive): &(&str, Option<&str>, Option<bool>)| {
            let value = value.map(str::to_owned);
            ((*name).to_owned(), GivenHeader { value, sensitive: *sensitive })
        };
        Some(all.iter().map(header).collect())
    }

    #[test]
    fn names_that_speak_of_credentials_are_hidden_in_any_case_and_others_are_not() {
        let none = OwnHeaders::default();
        for name in "Authorization PROXY-AUTHORIZATION cookie X-Api-Key X-Partner-Token apikey \
             X-Hub-Signature X-Passwd x-pwd Passphrase X-SESSION X-Credential x-csrf X-Xsrf Bearer \
             jwt X-Passcode client_secret"
            .split_whitespace()
        {
            assert!(none.hides(name), "{name}");
        }
        for name in "X-Custom-Header Accept X-Tenant X-Request-Source X-Environment".split(' ') {
            assert!(!none.hides(name), "{name}");
        }
        assert!(headers(&[], &["x-tenant"]).hides("X-Tenant"));
    }

    #[test]
    fn nothing_hidden_is_formatted() {
        let hidden = headers(&[("X-Api-Key", "mark")], &[]);
        let sent = given(&[("X-Own", Some("mark"), None)]);
        assert!(!format!("{hidden:?} {sent:?}").contains("mark"));
        assert!(format!("{hidden:?}").contains("X-Api-Key"));
    }

    #[test]
    fn a_move_leaves_what_is_hidden_behind_unless_it_is_given_again() {
        let before = headers(&[("X-Key", "k"), ("X-Own", "o"), ("X-T", "t")], &["x-t"]);
        let after = before.after(None, true).unwrap();
        assert_eq!(after, headers(&[("X-Own", "o")], &[]));
        assert_eq!(before.hidden_and_gone(&after), ["X-Key", "X-T"]);
        let again = given(&[("x-key", Some("k2"), None), ("X-T", None, Some(true))]);
        let after = before.after(again, true).unwrap();
        assert_eq!(after, headers(&[("x-key", "k2")], &[]));
        assert_eq!(before.hidden_and_gone(&after), ["X-T"]);
        assert_eq!(before.after(None, false).unwrap(), before);
    }

    #[test]
    fn a_mask_stands_for_a_hidden_value_alone() {
        let before = headers(&[("X-Key", "k"), ("X-Own", "o"), ("X-T", "t")], &["x-t"]);
        let after = before.after(given(&[("x-t", None, Some(false))]), false).unwrap();
        assert_eq!(after, headers(&[("x-t", "t")], &["x-t"]), "the mark cannot be taken so");
        let wrong = before.after(given(&[("X-Own", None, None), ("X-New", None, None)]), false);
        let names = vec!["X-New".to_owned(), "X-Own".to_owned()];
        assert_eq!(wrong, Err(RefusedHeaders::NothingMasked(names)));
        let open = before.after(given(&[("X-T", Some("n"), Some(false))]), false).unwrap();
        assert_eq!(open, headers(&[("X-T", "n")], &[]));
    }

    #[test]
    fn values_that_stay_are_counted() {
        let long = "v".repeat(4_096);
        let before = headers(&[("X-Key", &long), ("Y-Key", &long[10..])], &[]);
        let more = given(&[("X-Key", None, None), ("Y-Key", None, None), ("Z", Some("v"), None)]);
        assert!(matches!(before.after(more, false), Err(RefusedHeaders::TooLarge(8_194))));
    }
}
