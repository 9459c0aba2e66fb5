//! Settings of the operators' listener.

use domain::setting;
use serde::Deserialize;

/// `[operate]`, or `STUDIO__OPERATE__…`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OperateConfig {
    /// Where operators are served. Not set: `127.0.0.1:9080` for `api` and `all`,
    /// `127.0.0.1:9081` for `gateway`, and nowhere where that port is taken. Empty: nowhere.
    pub bind: Option<String>,
    /// Names that operators call it by, beside `localhost`, addresses and the name in the
    /// listener's own setting; separated by commas, none by default. Counts for the dispatcher's
    /// listener too.
    #[serde(deserialize_with = "setting::texts")]
    pub hosts: Vec<String>,
}
