//! What serde_json does not look at when it passes raw text on: the depth, and escapes that
//! are no character. Receivers would fail on either.

/// Why raw JSON text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsound {
    /// Arrays and objects are nested deeper than the limit.
    TooDeep,
    /// A string holds half of a surrogate pair (`\ud800` alone).
    LoneSurrogate,
}

/// Checks `text`, which is known to be well-formed JSON, in one pass.
pub(crate) fn check(text: &str, max_depth: usize) -> Result<(), Unsound> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'{' | b'[' => {
                depth += 1;
                if depth > max_depth {
                    return Err(Unsound::TooDeep);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => at = string_end(bytes, at + 1)?,
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// The position of the quote that ends the string whose first character is at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> Result<usize, Unsound> {
    while at < bytes.len() && bytes[at] != b'"' {
        if bytes[at] != b'\\' {
            at += 1;
            continue;
        }
        at += match escape(bytes, at) {
            Some(0xD800..=0xDBFF) if matches!(escape(bytes, at + 6), Some(0xDC00..=0xDFFF)) => 12,
            Some(0xD800..=0xDFFF) => return Err(Unsound::LoneSurrogate),
            Some(_) => 6,
            None => 2,
        };
    }
    Ok(at)
}

/// The code unit of the `\uXXXX` at `at`, if that is what stands there.
fn escape(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_counted_outside_strings_only() {
        assert_eq!(check(r#"{"a":[[1]]}"#, 3), Ok(()));
        assert_eq!(check(r#"{"a":[[1]]}"#, 2), Err(Unsound::TooDeep));
        assert_eq!(check(r#""[[[[[[\"[[[[""#, 1), Ok(()));
    }

    #[test]
    fn half_a_surrogate_pair_is_found() {
        assert_eq!(check(r#""\ud83d\ude00 \u00e9 \\ud800""#, 1), Ok(()));
        for wrong in [r#""\ud83d""#, r#""\ud83d\u0041""#, r#""\ude00""#, r#""\ud83dx""#] {
            assert_eq!(check(wrong, 1), Err(Unsound::LoneSurrogate), "{wrong}");
        }
    }
}
