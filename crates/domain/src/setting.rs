//! How settings are written: durations (`30s`, `5m`), lists (`a, b`), and what serde needs to
//! read them from a file or from environment variables, which know only text. And the types of
//! those that are secret.

mod secret;

use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

pub use secret::{SecretText, SecretUrl, secrets};

/// Reads `250ms`, `30s`, `5m`, `2h` or `7d`; a number without a unit is refused.
///
/// ```
/// # use std::time::Duration;
/// assert_eq!(domain::setting::parse_duration("5m"), Some(Duration::from_secs(300)));
/// assert_eq!(domain::setting::parse_duration("5"), None);
/// ```
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().ok()?;
    let millis = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// The shortest text that [`parse_duration`] reads back: `90s` for a minute and a half.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (size, unit) in [(3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
        if millis > 0 && millis.is_multiple_of(size) {
            return format!("{}{unit}", millis / size);
        }
    }
    format!("{millis}ms")
}

/// For `#[serde(deserialize_with)]`: a duration such as `30s`.
///
/// # Errors
/// When the text is no duration; the message shows an example.
pub fn duration<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(d)?;
    parse_duration(&text).ok_or_else(|| {
        D::Error::custom(format!(
            "expected a duration such as 250ms, 30s, 5m or 2h, found {text:?}"
        ))
    })
}

/// For `#[serde(deserialize_with)]`: durations separated by commas, such as `1m,5m`.
///
/// # Errors
/// When an element is no duration.
pub fn durations<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Duration>, D::Error> {
    texts(d)?
        .iter()
        .map(|text| {
            parse_duration(text).ok_or_else(|| {
                D::Error::custom(format!("expected durations such as 1m,5m,30m,2h, found {text:?}"))
            })
        })
        .collect()
}

/// For `#[serde(deserialize_with)]`: texts separated by commas, or a list in a file.
///
/// # Errors
/// When the value is neither.
pub fn texts<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Texts {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Texts::deserialize(d)? {
        Texts::One(text) => {
            text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect()
        }
        Texts::Many(texts) => texts,
    })
}

/// For `#[serde(deserialize_with)]`: a number that may come as text (environment variables do).
///
/// # Errors
/// When the value is no number of the wanted size; the message shows the text.
pub fn number<'de, D, N>(d: D) -> Result<N, D::Error>
where
    D: Deserializer<'de>,
    N: std::str::FromStr,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Integer(i64),
        Float(f64),
        Text(String),
    }
    let text = match Number::deserialize(d)? {
        Number::Integer(number) => number.to_string(),
        Number::Float(number) => number.to_string(),
        Number::Text(text) => text.trim().to_owned(),
    };
    text.parse()
        .map_err(|_| D::Error::custom(format!("expected a number in range, found {text:?}")))
}

/// For `#[serde(deserialize_with)]`: `true` or `false`, also as text.
///
/// # Errors
/// When the value is neither.
pub fn boolean<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Boolean {
        Plain(bool),
        Text(String),
    }
    match Boolean::deserialize(d)? {
        Boolean::Plain(value) => Ok(value),
        Boolean::Text(text) => match text.trim() {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(D::Error::custom(format!("expected true or false, found {other:?}"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_back_as_written() {
        for text in ["250ms", "30s", "5m", "2h", "90s"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn a_duration_needs_a_number_and_a_unit() {
        for wrong in ["", "s", "5", "-5s", "5 weeks", "1.5s", "99999999999999999999h"] {
            assert_eq!(parse_duration(wrong), None, "{wrong:?}");
        }
    }
}
