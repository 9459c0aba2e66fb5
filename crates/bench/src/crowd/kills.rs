//! Dispatchers that are killed while a backlog is drained.

use std::time::{Duration, Instant};

use super::site::Site;

/// Kills a dispatcher `kills` times, evenly while `done` rises to `of`; waits until it is there.
/// `false` when it is not within `longest`.
pub(super) async fn while_draining(
    site: &mut Site,
    kills: usize,
    of: usize,
    longest: Duration,
    done: impl Fn() -> usize,
) -> anyhow::Result<bool> {
    let (began, mut killed) = (Instant::now(), 0);
    while done() < of {
        if began.elapsed() > longest {
            return Ok(false);
        }
        if killed < kills && done() >= of * (killed + 1) / (kills + 1) {
            site.kill_a_dispatcher(killed)?;
            killed += 1;
            println!("  killed a dispatcher at {} of {of}", done());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(true)
}
