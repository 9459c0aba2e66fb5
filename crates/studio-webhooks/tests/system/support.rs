//! What the tests are written with.

pub(crate) mod endpoint;
pub(crate) mod events;
pub(crate) mod marks;
pub(crate) mod publishing;
pub(crate) mod studio;

use std::future::Future;
use std::time::{Duration, Instant};

/// An HTTP client without settings from the environment.
pub(crate) fn client() -> reqwest::Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    #[expect(clippy::disallowed_methods, reason = "it looks at the product from outside")]
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Asks `look` until it finds something.
pub(crate) async fn wait_for<T, F: Future<Output = Option<T>>>(
    what: &str,
    look: impl FnMut() -> F,
) -> T {
    wait_at_most(PATIENCE, what, look).await
}

/// Asks `look` until it finds something, for at most `longest`.
pub(crate) async fn wait_at_most<T, F: Future<Output = Option<T>>>(
    longest: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < longest, "{what} did not happen within {longest:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs the test `$name` on both backends.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod embedded {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::$name(crate::support::studio::Backend::Embedded).await;
                }
            )*
        }
        mod rabbitmq_and_postgresql {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::$name(crate::support::studio::Backend::Servers).await;
                }
            )*
        }
    };
}
pub(crate) use on_both;
