//! What is said of a panic: where, and no value.
//!
//! The message of a panic is written by whoever panics. Of ours it is the sentence of an `expect`;
//! but the standard library adds what was found to it (an error's `Debug`, the text that was cut in
//! the middle of a character), and libraries write what they like. So only the sentence of ours is
//! shown, up to where a value can begin.

use std::panic::PanicHookInfo;

/// Our own code, as the compiler names it: relative to the workspace.
const OURS: &str = "crates/";

/// Lets panics be told without values from now on, for the whole process. With `RUST_BACKTRACE=1`
/// the calls that led there are told too: names of functions, which hold no values.
pub fn tell_panics_without_values() {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{}", told(panic));
        let backtrace = std::backtrace::Backtrace::capture();
        if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
            eprintln!("{backtrace}");
        }
    }));
}

fn told(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let (place, ours) = panic.location().map_or_else(
        || ("an unknown place".to_owned(), false),
        |at| (format!("{}:{}:{}", at.file(), at.line(), at.column()), at.file().starts_with(OURS)),
    );
    let sentence = panic.payload_as_str().filter(|_| ours).map_or("", without_values);
    let sentence = if sentence.is_empty() { "(its message is not shown)" } else { sentence };
    format!("thread '{thread}' panicked at {place}: {sentence}")
}

/// What stands before the first value: values follow a colon or stand in quotes.
fn without_values(message: &str) -> &str {
    message.split([':', '`', '"', '\'', '\n']).next().unwrap_or_default().trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_told_and_the_value_behind_it_is_not() {
        for (message, told) in [
            ("the room is never closed", "the room is never closed"),
            ("it is JSON: Error(\"hunter2\")", "it is JSON"),
            (
                "byte index 3 is not a char boundary; it is inside 'é' (bytes 2..4) of `hé`",
                "byte index 3 is not a char boundary; it is inside",
            ),
            ("called `Result::unwrap()` on an `Err` value: \"hunter2\"", "called"),
            ("index out of bounds: the len is 3 but the index is 5", "index out of bounds"),
        ] {
            assert_eq!(without_values(message), told);
        }
    }
}
