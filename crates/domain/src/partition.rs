//! The parts of an ordered webhook's deliveries, each of which is sent in order.

use sha2::{Digest, Sha256};

use crate::ProjectId;

/// The part that events of `project` belong to, or those without one. The same in every process
/// and release: the beginning of the SHA-256 of the project's id, or of nothing, as a positive
/// number. Never 0, which is the one part of webhooks that are not ordered.
///
/// Two projects in one part (one pair in 2⁶³) would only wait for each other.
///
/// ```
/// # use domain::partition_of;
/// let project = "proj_abc123".parse().unwrap();
/// assert_eq!(partition_of(Some(&project)), partition_of(Some(&project)));
/// assert_ne!(partition_of(Some(&project)), partition_of(None));
/// assert!(partition_of(None) > 0);
/// ```
#[must_use]
pub fn partition_of(project: Option<&ProjectId>) -> i64 {
    let digest = Sha256::digest(project.map_or("", ProjectId::as_str));
    let mut first = [0_u8; 8];
    first.copy_from_slice(&digest[..8]);
    (i64::from_be_bytes(first) & i64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_has_the_same_part_for_ever() {
        let project: ProjectId = "proj_abc123".parse().unwrap();
        // What is stored must be found again: `printf proj_abc123 | sha256sum`.
        assert_eq!(partition_of(Some(&project)), 0x62e0_64a6_5230_907e);
        assert_eq!(partition_of(None), 0x63b0_c442_98fc_1c14);
    }
}
