//! `studio-webhooks doctor`

mod broker;
mod database;
mod machine;

use std::process::ExitCode;

use clap::Args;

use crate::commands::parts;
use crate::config::Settings;

/// Check settings, keys, database, broker and machine, and say what to do.
///
/// One line each: ok, warn or fail. Changes nothing. Ends with 1 when something fails.
#[derive(Args)]
pub(crate) struct Doctor {}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Ok,
    Warn,
    Fail,
}

/// What was found, and, where it is not well, what to do.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) what: &'static str,
    pub(super) health: Health,
    pub(super) text: String,
}

impl Finding {
    pub(super) fn ok(what: &'static str, text: impl Into<String>) -> Self {
        Self { what, health: Health::Ok, text: text.into() }
    }

    pub(super) fn warn(what: &'static str, text: impl Into<String>) -> Self {
        Self { what, health: Health::Warn, text: text.into() }
    }

    pub(super) fn fail(what: &'static str, text: impl Into<String>) -> Self {
        Self { what, health: Health::Fail, text: text.into() }
    }

    /// One line, whatever the text holds.
    fn line(&self) -> String {
        let health = match self.health {
            Health::Ok => "ok",
            Health::Warn => "warn",
            Health::Fail => "fail",
        };
        let text: Vec<&str> = self.text.split_whitespace().collect();
        format!("{health:<4}  {:<9}  {}", self.what, text.join(" "))
    }
}

impl Doctor {
    pub(crate) fn run(self, settings: anyhow::Result<Settings>) -> anyhow::Result<ExitCode> {
        let s = &match settings {
            Ok(settings) => settings,
            Err(error) => {
                println!("{}", Finding::fail("settings", format!("{error:#}")).line());
                return Ok(ExitCode::FAILURE);
            }
        };
        parts::command("doctor", s, async {
            let mut failed = false;
            let mut say = |findings: Vec<Finding>| {
                for finding in findings {
                    failed |= finding.health == Health::Fail;
                    println!("{}", finding.line());
                }
            };
            say(vec![Finding::ok("settings", "read"), tokens(s)]);
            say(delivery(s));
            say(database::check(s).await);
            say(broker::check(s).await);
            say(machine::check(s));
            Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        })
    }
}

fn tokens(s: &Settings) -> Finding {
    match parts::verifier(s) {
        Ok(_) => Finding::ok("tokens", "access tokens can be checked"),
        Err(error) => Finding::fail("tokens", format!("{error:#}")),
    }
}

fn delivery(s: &Settings) -> Vec<Finding> {
    let sender = match parts::sender(s) {
        Err(error) => return vec![Finding::fail("delivery", format!("{error:#}"))],
        Ok(sender) => sender,
    };
    let allowed = sender.guard().allowed_networks();
    if allowed.is_empty() {
        return vec![Finding::ok("delivery", "only public addresses are delivered to")];
    }
    let mut found = vec![Finding::warn(
        "delivery",
        "delivery.allow_networks lets webhooks reach addresses of your own: leave it empty unless \
         every user may reach them",
    )];
    found.extend(allowed.iter().map(|network| Finding::warn("delivery", network.to_string())));
    found
}
