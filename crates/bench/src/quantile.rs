//! Medians and percentiles.

/// The value that `share` (0 to 1) of `sorted` does not exceed (nearest rank); `None` when it is
/// empty.
///
/// ```
/// assert_eq!(bench::quantile::quantile(&[1, 2, 3, 4], 0.5), Some(2));
/// assert_eq!(bench::quantile::quantile(&[1, 2, 3, 4], 0.99), Some(4));
/// ```
#[must_use]
pub fn quantile<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rank = (share.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The median of figures (the lower one of the middle two); zero when there is none.
#[must_use]
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    quantile(&figures, 0.5).unwrap_or(0.0)
}
