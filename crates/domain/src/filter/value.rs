//! Values: those that a filter names, and those that stand in raw JSON.

use std::borrow::Cow;
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

/// A value that stands in raw JSON, as far as filters look at it.
#[derive(Clone, Debug)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Number(Number),
    /// The bytes of UTF-8 that the text means; their order is that of its code points.
    Text(Cow<'a, [u8]>),
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

    /// Two whole numbers exactly, any others as doubles.
    pub(super) fn cmp(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => Some(a.cmp(&b)),
            _ => self.double().partial_cmp(&other.double()),
        }
    }

    /// The bits of its double; numbers that are equal as doubles have the same.
    pub(super) fn double_bits(self) -> u64 {
        // Zero has one sign.
        (self.double() + 0.0).to_bits()
    }

    fn double(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Double(double) => double,
        }
    }
}

impl<'a> Scalar<'a> {
    /// The value of `raw`; `None` for lists and objects.
    pub(super) fn read(raw: &'a [u8]) -> Option<Self> {
        Some(match raw {
            b"null" => Self::Null,
            b"true" => Self::Bool(true),
            b"false" => Self::Bool(false),
            [b'"', inside @ .., b'"'] => Self::Text(text_of(inside)),
            _ => Self::Number(Number::read(raw)?),
        })
    }
}

/// What the text between two quotes means, in UTF-8.
pub(super) fn text_of(inside: &[u8]) -> Cow<'_, [u8]> {
    if inside.contains(&b'\\') {
        Cow::Owned(unescaped(inside).collect::<String>().into_bytes())
    } else {
        Cow::Borrowed(inside)
    }
}

/// The entries of a list.
pub(super) fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut scanner = Scanner::after(list, b'[');
    std::iter::from_fn(move || scanner.entry())
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
