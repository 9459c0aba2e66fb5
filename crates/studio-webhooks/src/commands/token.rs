//! `studio-webhooks token`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use domain::UserId;
use domain::setting::{format_duration, parse_duration};
use store::{Action, Deed, ObjectKind};
use time::OffsetDateTime;

use crate::commands::{parts, trail};
use crate::config::{Settings, env_key};

/// Make an access token.
///
/// It is signed with auth.jwt_secret (STUDIO__AUTH__JWT_SECRET) and printed.
#[derive(Args)]
pub(crate) struct Token {
    /// Whose token: the user id that stands in it as `sub`.
    #[arg(long)]
    user: UserId,
    /// A role: user (the default), admin, readonly, or service (may publish events). May be
    /// given several times.
    #[arg(long = "role", default_value = "user", value_parser = ["user", "admin", "readonly", "service"])]
    roles: Vec<String>,
    /// How long it is good for, such as 15m, 1h or 30d.
    #[arg(long, default_value = "1h", value_parser = lifetime)]
    expires_in: Duration,
}

fn lifetime(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|length| !length.is_zero())
        .ok_or_else(|| "expected a duration such as 15m, 1h or 30d".to_owned())
}

impl Token {
    pub(crate) fn run(self, settings: &Settings) -> anyhow::Result<ExitCode> {
        // Says what is wrong with the secret before a token is made with it.
        access::check_secret(&settings.auth.jwt_secret).map_err(|e| {
            let key = env_key(e.key);
            anyhow!("{key}: {}; tokens are made with it, whatever auth.jwks is", e.message)
        })?;
        let longest = settings.auth.longest_token_life;
        if self.expires_in > longest {
            eprintln!(
                "warning: it lives longer than {} ({}): a sign-out is remembered for that long, and \
                 the token would be good again afterwards",
                env_key("auth.longest_token_life"),
                format_duration(longest)
            );
        }
        let roles: Vec<&str> = self.roles.iter().map(String::as_str).collect();
        parts::command("token", settings, async {
            let length = format_duration(self.expires_in);
            let deed = Deed::of(Action::TokenIssue, ObjectKind::User, self.user.as_str())
                .belonging_to(&self.user)
                .outcome(&format!("roles {}, good for {length}", roles.join(",")));
            trail::note(settings, &deed).await;
            println!("{}", issue(settings, &self.user, &roles, self.expires_in));
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// A token of `user` that is good for `length` from now.
pub(crate) fn issue(
    settings: &Settings,
    user: &UserId,
    roles: &[&str],
    length: Duration,
) -> String {
    let now = OffsetDateTime::now_utc();
    access::issue_for(&settings.auth, user, roles, now, now + length)
}
