//! Dispatchers that are killed while a backlog is drained.

use std::time::{Duration, Instant};

use super::site::Site;

/// Kills a dispatcher `kills` times, evenly while `done` rises from where it is to `of`; waits until
/// it is there. `false` when it is not within `longest`.
pub(super) async fn while_draining(
    site: &mut Site,
    kills: usize,
    of: usize,
    longest: Duration,
    done: impl Fn() -> usize,
) -> anyhow::Result<bool> {
    let (began, from, mut killed) = (Instant::now(), done(), 0);
    while done() < of {
        if began.elapsed() > longest {
            return Ok(false);
        }
        let next = from + of.saturating_sub(from) * (killed + 1) / (kills + 1);
        if killed < kills && done() >= next {
            site.kill_a_dispatcher(killed)?;
            killed += 1;
            println!("  killed a dispatcher at {} of {of}", done());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(true)
}
