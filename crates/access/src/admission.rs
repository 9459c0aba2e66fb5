//! The one way in for a token that somebody sends us: checked, and counted against the address
//! that it comes from when it is wrong.

use std::net::IpAddr;

use time::OffsetDateTime;

use crate::verifier::{Access, Denied, Verifier};

/// Why whoever sent a token is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The token gives no access.
    #[error(transparent)]
    Token(Denied),
    /// The address has sent too many wrong ones: so many seconds must pass.
    #[error("too many wrong tokens from this address; try again in {0} s")]
    TooMany(u64),
}

impl Verifier {
    /// Who `token`, sent from `address`, lets in at `now`. Waits, two seconds at most, for a key
    /// that the token names and that we do not know yet, but not for an address that has sent
    /// too many wrong tokens. One whose right to wrong tokens is used up is let in with a right
    /// one all the same.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn admit(
        &self,
        token: &str,
        address: IpAddr,
        now: OffsetDateTime,
    ) -> Result<Access, Refused> {
        if !self.wrong_tokens().is_over(address) {
            self.learn(token, now).await;
        }
        self.admit_at_once(token, address, now)
    }

    /// The same without waiting for anything.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn admit_at_once(
        &self,
        token: &str,
        address: IpAddr,
        now: OffsetDateTime,
    ) -> Result<Access, Refused> {
        self.verify(token, now).map_err(|denied| match denied {
            // No token at all is no guess.
            Denied::Invalid if !token.is_empty() => {
                let counted = self.wrong_tokens().count(address);
                counted.map_or_else(Refused::TooMany, |()| Refused::Token(Denied::Invalid))
            }
            other => Refused::Token(other),
        })
    }
}
