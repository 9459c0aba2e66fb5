//! Values: those that a filter names, and those that stand in raw JSON, compared without
//! building either.

use std::cmp::Ordering;

use super::lookup::Scanner;

/// A value that a filter names.
#[derive(Clone, Debug)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Number(Number),
    Text(Box<str>),
}

/// A number: whole ones exactly up to 38 digits, all others as the double that JavaScript reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Whole(i128),
    Double(f64),
}

impl Number {
    /// The number that begins and ends with `raw`, if it is one.
    pub(super) fn read(raw: &[u8]) -> Option<Self> {
        if !matches!(raw.first(), Some(b'-' | b'0'..=b'9')) {
            return None;
        }
        let text = std::str::from_utf8(raw).ok()?;
        let whole = text.parse().map(Self::Whole);
        whole.or_else(|_| text.parse().map(Self::Double)).ok()
    }

    fn cmp(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => Some(a.cmp(&b)),
            _ => self.double().partial_cmp(&other.double()),
        }
    }

    fn double(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Double(double) => double,
        }
    }
}

impl Constant {
    /// How the value `raw` stands to this one; `None` when they are of different kinds.
    pub(super) fn order(&self, raw: &[u8]) -> Option<Ordering> {
        match self {
            Self::Null => (raw == b"null").then_some(Ordering::Equal),
            Self::Bool(constant) => match raw {
                b"true" => Some(true.cmp(constant)),
                b"false" => Some(false.cmp(constant)),
                _ => None,
            },
            Self::Number(constant) => Number::read(raw)?.cmp(*constant),
            Self::Text(constant) => Some(order_of_text(inside_quotes(raw)?, constant)),
        }
    }
}

/// Whether `raw` is a text that begins with `prefix`.
pub(super) fn begins_with(raw: &[u8], prefix: &str) -> bool {
    inside_quotes(raw).is_some_and(|inside| {
        if plain(inside) {
            return inside.starts_with(prefix.as_bytes());
        }
        let mut characters = unescaped(inside);
        prefix.chars().all(|expected| characters.next() == Some(expected))
    })
}

/// Whether a text between its quotes is `text`.
pub(super) fn is_text(inside: &[u8], text: &str) -> bool {
    order_of_text(inside, text).is_eq()
}

/// The entries of a list.
pub(super) fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut scanner = Scanner::after(list, b'[');
    std::iter::from_fn(move || scanner.entry())
}

fn inside_quotes(raw: &[u8]) -> Option<&[u8]> {
    raw.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

fn plain(inside: &[u8]) -> bool {
    !inside.contains(&b'\\')
}

/// By code points, which is the order of the bytes of UTF-8.
fn order_of_text(inside: &[u8], text: &str) -> Ordering {
    if plain(inside) { inside.cmp(text.as_bytes()) } else { unescaped(inside).cmp(text.chars()) }
}

/// The characters that a JSON text means.
fn unescaped(inside: &[u8]) -> impl Iterator<Item = char> {
    let mut rest = std::str::from_utf8(inside).unwrap_or_default().chars();
    std::iter::from_fn(move || match rest.next()? {
        '\\' => Some(escaped(&mut rest).unwrap_or(char::REPLACEMENT_CHARACTER)),
        other => Some(other),
    })
}

/// The character of an escape, after its backslash.
fn escaped(rest: &mut std::str::Chars<'_>) -> Option<char> {
    Some(match rest.next()? {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => {
            let first = unit(rest)?;
            if !(0xD800..0xDC00).contains(&first) {
                return char::from_u32(first);
            }
            // Events with half a pair are rejected: the other half follows.
            let pair = (rest.next()? == '\\' && rest.next()? == 'u').then(|| unit(rest))??;
            let low = pair.checked_sub(0xDC00)?;
            return char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + low);
        }
        itself => itself,
    })
}

fn unit(rest: &mut std::str::Chars<'_>) -> Option<u32> {
    (0..4).try_fold(0, |unit, _| Some(unit << 4 | rest.next()?.to_digit(16)?))
}
