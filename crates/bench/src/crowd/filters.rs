//! The dearest filters that the API allows, and the largest data for them.

use super::endpoints::Manner;
use super::group::{Group, Load};

/// The largest `data` that fits into an event of 256 KiB, about.
const LARGEST: usize = 250 * 1024;

/// Webhooks of one user.
const WEBHOOKS: usize = 100;

/// One user for each kind of filter, with an event every second.
pub(super) fn groups() -> Vec<Group> {
    let group = |name, filters, members| {
        Group::new(name, Manner::Quick, Load::Rate(1.0)).of(1, WEBHOOKS).filtering(filters, members)
    };
    vec![
        // 24,000 different numbers, and 62,000 entries that are none of them.
        group(
            "filters-in",
            each(|n| format!(r#"{{"l":{{"$in":[{}]}}}}"#, numbers(n))),
            list("1.5"),
        ),
        // Texts that begin as all prefixes do, but for one letter.
        group("filters-prefix", each(prefixes), list(&format!("\"{}\"", "a".repeat(120)))),
        // Keys of which none is one of the 3,200 paths.
        group("filters-paths", each(paths), keys()),
    ]
}

fn each(make: impl Fn(usize) -> String) -> Vec<String> {
    (0..WEBHOOKS).map(make).collect()
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

fn numbers(n: usize) -> String {
    joined((0..240).map(|i| (n * 240 + i).to_string()))
}

fn prefixes(n: usize) -> String {
    let one = |i: usize| format!(r#"{{"l":{{"$prefix":"{}b"}}}}"#, "a".repeat(n % 10 * 9 + i));
    format!(r#"{{"$or":[{}]}}"#, joined((0..24).map(one)))
}

fn paths(n: usize) -> String {
    format!("{{{}}}", joined((0..32).map(|i| format!(r#""k{n}x{i}":1"#))))
}

/// The member `l`, a list of this entry alone.
fn list(entry: &str) -> String {
    format!(r#""l":[{}]"#, vec![entry; LARGEST / (entry.len() + 1)].join(","))
}

fn keys() -> String {
    joined((0..LARGEST / 12).map(|n| format!(r#""k{n:06}":1"#)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_as_long_and_events_as_large_as_they_may_be() {
        let longest = (0..WEBHOOKS).flat_map(|n| [numbers(n), prefixes(n), paths(n)]);
        assert!(longest.map(|text| text.len()).all(|length| length < 4_000));
        for members in [list("1.5"), list(&"a".repeat(122)), keys()] {
            assert!((200 * 1024..260 * 1024).contains(&members.len()), "{}", members.len());
        }
    }
}
