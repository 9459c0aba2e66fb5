//! Where settings are read from. Errors name what is wrong and where, and repeat no value: any of
//! them may be a secret, or a secret that was put in the wrong place.

use std::path::Path;

use ::config::{Config, ConfigError, Environment, File, FileFormat, Map, Value, ValueKind};
use anyhow::anyhow;

use super::env_key;

/// Read when no other file is named; may be missing.
const DEFAULT_FILE: &str = "studio-webhooks.toml";

/// What environment variables that are settings begin with.
const PREFIX: &str = "STUDIO__";

/// Longest name of a setting or section.
const LONGEST_NAME: usize = 40;

/// Everything that `file` (or the default one, if it is there) and the environment say.
///
/// # Errors
/// When one of them cannot be read.
pub(super) fn read(file: Option<&Path>) -> anyhow::Result<Config> {
    let source = match file {
        Some(path) => File::from(path).format(FileFormat::Toml),
        None => File::new(DEFAULT_FILE, FileFormat::Toml).required(false),
    };
    let variables = Environment::with_prefix("STUDIO").prefix_separator("__").separator("__");
    let all =
        Config::builder().add_source(source).add_source(variables.source(Some(environment()?)));
    all.build().map_err(|error| unreadable(file, &error))
}

/// The variables that are settings; `config` would repeat one that is no text.
fn environment() -> anyhow::Result<Map<String, String>> {
    let names = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.to_uppercase().starts_with(PREFIX));
        name.map(|name| (name, value))
    });
    names
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => {
                let key = name[PREFIX.len()..].to_lowercase().replace("__", ".");
                Err(anyhow!(
                    "{}: expected a text in UTF-8 (what was found is not shown)",
                    env_key(&key)
                ))
            }
        })
        .collect()
}

fn unreadable(file: Option<&Path>, error: &ConfigError) -> anyhow::Error {
    match error {
        // The parser's error shows the line, which may hold a secret.
        ConfigError::FileParse { cause, .. } => {
            let file = file.unwrap_or(Path::new(DEFAULT_FILE)).display();
            let place =
                place_in_file(&cause.to_string()).map_or_else(String::new, |p| format!(" {p}:"));
            anyhow!(
                "{file}:{place} no TOML (the line is not shown, for it may hold a secret): a \
                 section is [name], a setting name = value on a line of its own, a text stands in \
                 quotes, and nothing stands twice"
            )
        }
        ConfigError::Foreign(cause) => anyhow!("the settings cannot be read: {cause}"),
        _ => anyhow!("the settings cannot be read"),
    }
}

/// `line 3, column 14`, where the TOML parser says it.
fn place_in_file(said: &str) -> Option<String> {
    let place = said.lines().next()?.strip_prefix("TOML parse error at ")?;
    let words: Vec<&str> = place.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        ["line", line, "column", column] => {
            let (line, column): (usize, usize) = (line.parse().ok()?, column.parse().ok()?);
            Some(format!("line {line}, column {column}"))
        }
        _ => None,
    }
}

/// The names at the top, each a section.
///
/// # Errors
/// When one is no name.
pub(super) fn names(all: &Config) -> anyhow::Result<Vec<String>> {
    let names: Map<String, serde::de::IgnoredAny> =
        all.clone().try_deserialize().map_err(|_| anyhow!("the settings cannot be read"))?;
    if names.keys().all(|name| is_name(name)) {
        return Ok(names.into_keys().collect());
    }
    Err(anyhow!("the settings have a section whose name is none (it is not shown)"))
}

/// The section `name`, whose settings have names that may be shown; `None` where there is none.
///
/// # Errors
/// When something else stands in its place.
pub(super) fn section(all: &Config, name: &str) -> anyhow::Result<Option<Value>> {
    let value = match all.get::<Value>(name) {
        Ok(value) => value,
        Err(ConfigError::NotFound(_)) => return Ok(None),
        Err(_) => return Err(no_section(name)),
    };
    let ValueKind::Table(settings) = &value.kind else {
        return Err(no_section(name));
    };
    if settings.keys().all(|setting| is_name(setting)) {
        return Ok(Some(value));
    }
    Err(anyhow!(
        "{}: it has a setting whose name is none (it is not shown, for it may be a secret)",
        env_key(name)
    ))
}

fn no_section(name: &str) -> anyhow::Error {
    anyhow!(
        "{}: expected a section with settings of its own, not a value (it is not shown)",
        env_key(name)
    )
}

/// Whether it can be a setting's or a section's name, so that errors may repeat it.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (1..=LONGEST_NAME).contains(&text.len()) && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_place_is_taken_from_what_the_parser_says() {
        let said = "TOML parse error at line 3, column 14\n  |\n3 | jwt_secret = hunter2\n";
        assert_eq!(place_in_file(said).as_deref(), Some("line 3, column 14"));
        for other in
            ["hunter2", "TOML parse error at hunter2", "TOML parse error at line x, column 1"]
        {
            assert_eq!(place_in_file(other), None);
        }
    }

    #[test]
    fn a_name_that_may_be_a_secret_is_none() {
        assert!(is_name("jwt_secret") && is_name("k1"));
        for other in ["", "Hunter2", "k1:AAAA", "a b", &"a".repeat(41)] {
            assert!(!is_name(other), "{other}");
        }
    }
}
