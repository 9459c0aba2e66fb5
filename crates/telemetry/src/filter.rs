//! What is logged: the directives of the settings, and how operators change them while the
//! process runs. Of libraries they bring out no more than `targets` lets through.

use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::{EnvFilter, Registry};

use crate::TelemetryError;

/// Longest list of directives that is taken while the process runs, bytes.
const LONGEST: usize = 2_048;

/// The filter of the process, once logging has begun.
static CURRENT: OnceLock<Current> = OnceLock::new();

/// What a changed filter is put into.
pub(crate) struct Current {
    handle: Handle<EnvFilter, Registry>,
    directives: Mutex<String>,
}

/// The filter of these directives, and what changes it once it is in use.
///
/// # Errors
/// [`TelemetryError`] when they cannot be read.
pub(crate) fn begin(
    directives: &str,
) -> Result<(reload::Layer<EnvFilter, Registry>, Current), TelemetryError> {
    let (layer, handle) = reload::Layer::new(read(directives)?);
    let directives = Mutex::new(directives.to_owned());
    Ok((layer, Current { handle, directives }))
}

impl Current {
    /// Lets the filter be changed from here on.
    pub(crate) fn keep(self) {
        // Logging begins once: a second beginning was refused before.
        CURRENT.set(self).ok();
    }
}

fn read(directives: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder().parse(directives).map_err(|e: ParseError| {
        wrong(format!("expected directives such as info or info,dispatcher=debug: {e}"))
    })
}

fn wrong(message: String) -> TelemetryError {
    TelemetryError { key: "telemetry.filter", message }
}

/// What is logged now, in the syntax of `telemetry.filter`; empty before logging has begun.
#[must_use]
pub fn log_filter() -> String {
    let current = CURRENT.get().map(|current| &current.directives);
    current.map_or_else(String::new, |known| {
        known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    })
}

/// Logs by `directives` (the syntax of `telemetry.filter`, at most 2,048 bytes) until the
/// process ends or they are changed again.
///
/// # Errors
/// When they cannot be read, or logging has not begun: nothing is changed then.
pub fn set_log_filter(directives: &str) -> Result<(), TelemetryError> {
    if directives.len() > LONGEST {
        return Err(wrong(format!("expected at most {LONGEST} bytes")));
    }
    let filter = read(directives)?;
    let current = CURRENT.get().ok_or_else(|| wrong("logging has not begun".to_owned()))?;
    let mut known = current.directives.lock().unwrap_or_else(PoisonError::into_inner);
    current.handle.reload(filter).map_err(|e| wrong(e.to_string()))?;
    directives.clone_into(&mut known);
    Ok(())
}

/// Gives `target` (a crate or module, such as `dispatcher`) this level; without a target, all
/// that are not named. Levels are `off`, `error`, `warn`, `info`, `debug` and `trace`.
///
/// # Errors
/// As [`set_log_filter`], and when the level or the target is none.
pub fn set_log_level(target: Option<&str>, level: &str) -> Result<(), TelemetryError> {
    set_log_filter(&with_level(&log_filter(), target, level)?)
}

/// `directives` with another level for `target`.
fn with_level(
    directives: &str,
    target: Option<&str>,
    level: &str,
) -> Result<String, TelemetryError> {
    let level = level.trim().to_ascii_lowercase();
    if !["off", "error", "warn", "info", "debug", "trace"].contains(&level.as_str()) {
        return Err(wrong("expected a level: off, error, warn, info, debug or trace".to_owned()));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    if target.is_some_and(|target| target.is_empty() || !target.chars().all(plain)) {
        return Err(wrong("expected a target such as dispatcher or api::webhooks".to_owned()));
    }
    let names = |directive: &&str| match (directive.split_once('='), target) {
        (Some((name, _)), Some(target)) => name == target,
        (None, None) => true,
        (None, Some(target)) => *directive == target,
        (Some(_), None) => false,
    };
    let kept = directives.split(',').map(str::trim).filter(|text| !text.is_empty());
    let mut all: Vec<String> = kept.filter(|text| !names(text)).map(str::to_owned).collect();
    match target {
        Some(target) => all.push(format!("{target}={level}")),
        None => all.insert(0, level),
    }
    Ok(all.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_level_is_changed_and_the_others_stay() {
        let change = |target, level| with_level("info,store=warn, gateway=trace", target, level);
        let changed = |target, level| change(target, level).unwrap();
        assert_eq!(changed(None, "DEBUG"), "debug,store=warn,gateway=trace");
        assert_eq!(changed(Some("store"), "debug"), "info,gateway=trace,store=debug");
        assert_eq!(
            changed(Some("api::jobs"), "off"),
            "info,store=warn,gateway=trace,api::jobs=off"
        );
        for (target, level) in [(None, "loud"), (Some(""), "info"), (Some("a,b=trace"), "info")] {
            assert!(change(target, level).is_err(), "{target:?} {level}");
        }
    }

    #[test]
    fn what_cannot_be_read_changes_nothing() {
        assert!(set_log_filter("info,=[").is_err());
        assert!(set_log_filter(&"a".repeat(LONGEST + 1)).is_err());
    }
}
