//! What a token says, read strictly: every key once, every value of its own type.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;
use time::OffsetDateTime;

/// A JSON object in which no key stands twice: two readers of one that does may see different
/// values.
pub(crate) struct Strict(pub(crate) BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Strict;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
                let mut found = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if found.insert(key, value).is_some() {
                        return Err(A::Error::custom("a key stands twice"));
                    }
                }
                Ok(Strict(found))
            }
        }
        d.deserialize_map(Keys)
    }
}

impl Strict {
    /// The text of `key`; `Err` when it is there and no text.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, ()> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(()),
        }
    }

    /// The time of `key` (RFC 7519, NumericDate; whole seconds only); `Err` when it is there and
    /// none.
    pub(crate) fn time(&self, key: &str) -> Result<Option<OffsetDateTime>, ()> {
        let Some(value) = self.0.get(key) else {
            return Ok(None);
        };
        let seconds = value.as_i64().filter(|seconds| *seconds >= 0).ok_or(())?;
        OffsetDateTime::from_unix_timestamp(seconds).map(Some).map_err(|_| ())
    }

    /// Whether `key` is `wanted`, or a list that has it.
    pub(crate) fn names(&self, key: &str, wanted: &str) -> bool {
        match self.0.get(key) {
            Some(Value::String(text)) => text == wanted,
            Some(Value::Array(list)) => list.iter().any(|value| value == wanted),
            _ => false,
        }
    }
}
