//! What a caller may do.

use serde_json::Value;

/// The roles of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    user: bool,
    admin: bool,
    readonly: bool,
    service: bool,
}

impl Roles {
    /// The roles of the claim `roles`. One that is no list of texts may only read; unknown roles
    /// give no right. A token without the claim is an ordinary user's where Studio itself issued
    /// it; where somebody else did, who need not know of roles, it may only read.
    pub(crate) fn of_claim(claim: Option<&Value>, own: bool) -> Self {
        let Some(claim) = claim else {
            return Self { user: own, readonly: !own, ..Self::default() };
        };
        let names: Option<Vec<&str>> =
            claim.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
        let Some(names) = names else {
            return Self { readonly: true, ..Self::default() };
        };
        let has = |role| names.contains(&role);
        Self {
            user: has("user"),
            admin: has("admin"),
            readonly: has("readonly"),
            service: has("service"),
        }
    }

    /// May see the user's own webhooks, logs and events.
    #[must_use]
    pub const fn can_read(self) -> bool {
        self.user || self.admin || self.readonly
    }

    /// May create, change, test and delete. `readonly` takes this right away.
    #[must_use]
    pub const fn can_write(self) -> bool {
        (self.user || self.admin) && !self.readonly
    }

    /// May act for another user.
    #[must_use]
    pub const fn is_admin(self) -> bool {
        self.admin && !self.readonly
    }

    /// May publish events.
    #[must_use]
    pub const fn is_service(self) -> bool {
        self.service && !self.readonly
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn roles_give_the_least_rights_that_they_can_mean() {
        let of = |claim: Value| Roles::of_claim(Some(&claim), true);
        assert!(Roles::of_claim(None, true).can_write());
        let foreign = Roles::of_claim(None, false);
        assert!(foreign.can_read() && !foreign.can_write());
        assert!(of(json!(["user"])).can_write());
        assert!(!of(json!(["user", "readonly"])).can_write());
        assert!(!of(json!("admin")).can_write() && of(json!("admin")).can_read());
        assert!(!of(json!(["emperor"])).can_read());
        assert!(!of(json!(["service"])).can_read() && of(json!(["service"])).is_service());
        assert!(!of(json!(["admin", 1])).is_admin());
    }
}
