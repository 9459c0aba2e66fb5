//! The endpoint's wish for the next attempt (RFC 9110, section 10.2.3).

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// How long `value` asks to wait from `now`: seconds, or a date. Nonsense is no wish.
pub(crate) fn parse(value: &str, now: OffsetDateTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = OffsetDateTime::parse(value, &Rfc2822).ok()?;
    Some((at - now).try_into().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_understood_and_nonsense_is_no_wish() {
        let now = OffsetDateTime::from_unix_timestamp(1_445_412_420).unwrap();
        assert_eq!(parse("120", now), Some(Duration::from_secs(120)));
        assert_eq!(parse("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(parse("Wed, 21 Oct 2015 07:00:00 GMT", now), Some(Duration::ZERO));
        for nonsense in ["", "-1", "soon", "1.5", "99999999999"] {
            assert_eq!(parse(nonsense, now), None, "{nonsense:?}");
        }
    }
}
