//! Secrets that a test gives away, to be looked for wherever nobody should find them.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Texts that nobody should find, with what they are.
pub(crate) type Marks = Vec<(&'static str, String)>;

/// In hexadecimal digits.
pub(crate) fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        write!(all, "{byte:02x}").unwrap();
        all
    })
}

/// A text in the forms that it could be written in: itself, in hexadecimal digits, as a list of
/// bytes, and within longer texts in base64.
fn forms(mark: &str) -> Vec<String> {
    let bytes: Vec<String> = mark.bytes().map(|byte| byte.to_string()).collect();
    let mut forms = vec![mark.to_owned(), hex(mark), bytes.join(", ")];
    // Three bytes are four digits: of each place that it can begin at, the whole ones.
    for before in 0..3 {
        let whole = &mark.as_bytes()[(3 - before) % 3..];
        forms.push(STANDARD_NO_PAD.encode(&whole[..whole.len() / 3 * 3]));
    }
    forms
}

/// What stands in `text`, and after which words.
pub(crate) fn found(marks: &[(&str, String)], text: &str) -> Option<String> {
    marks.iter().find_map(|(what, mark)| {
        let at = forms(mark).iter().find_map(|form| text.find(form.as_str()))?;
        let around: String = text[..at].chars().rev().take(200).collect();
        let around: String = around.chars().rev().collect();
        Some(format!("{what}, after {around:?}"))
    })
}

/// None of the marks stands in `text`, which is `place`.
#[track_caller]
pub(crate) fn assert_none(marks: &[(&str, String)], place: &str, text: &str) {
    if let Some(found) = found(marks, text) {
        panic!("in {place} stands {found}");
    }
}

#[test]
fn a_mark_is_found_in_every_form() {
    let marks = vec![("a mark", "mark-3f9c".to_owned())];
    for text in
        ["[mark-3f9c]", "6d61726b2d33663963", "[97, 109, 97, 114, 107, 45, 51, 102, 57, 99]"]
    {
        assert!(found(&marks, text).is_some(), "{text}");
    }
    for before in ["", "u", "u:", "usr", "user:"] {
        let text = STANDARD_NO_PAD.encode(format!("{before}mark-3f9c@host"));
        assert!(found(&marks, &text).is_some(), "{before}");
    }
    assert_eq!(found(&marks, "a mark"), None);
}
