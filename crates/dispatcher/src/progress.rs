//! What to do with a delivery that may have been worked on before.

use domain::DeliveryStatus;
use store::DeliveryProgress;
use time::OffsetDateTime;

/// What a delivery needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The attempt is to be made.
    Attempt,
    /// The attempt was made and failed; its successor was perhaps not planned.
    Plan {
        /// The number of the attempt to plan.
        attempt: u32,
        /// When it is due.
        due: OffsetDateTime,
    },
    /// Nothing: it has ended, or another message carries it on.
    Nothing,
}

/// What delivery attempt `attempt` needs, given what is recorded of the delivery.
pub(crate) fn need(recorded: Option<&DeliveryProgress>, attempt: u32) -> Need {
    let Some(recorded) = recorded else {
        return Need::Attempt;
    };
    if recorded.status.is_final() {
        return Need::Nothing;
    }
    if recorded.attempts < attempt {
        return Need::Attempt;
    }
    match (recorded.status, recorded.next_attempt_at) {
        // A later attempt than this one's successor is on its way already.
        (DeliveryStatus::Retrying, Some(due)) if recorded.attempts == attempt => {
            Need::Plan { attempt: attempt + 1, due }
        }
        _ => Need::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(status: DeliveryStatus, attempts: u32) -> DeliveryProgress {
        DeliveryProgress { status, attempts, next_attempt_at: Some(OffsetDateTime::UNIX_EPOCH) }
    }

    #[test]
    fn what_is_not_recorded_is_attempted() {
        assert_eq!(need(None, 1), Need::Attempt);
        assert_eq!(need(Some(&recorded(DeliveryStatus::Pending, 0)), 1), Need::Attempt);
        assert_eq!(need(Some(&recorded(DeliveryStatus::Retrying, 2)), 3), Need::Attempt);
    }

    #[test]
    fn what_has_ended_is_left_alone() {
        for status in [DeliveryStatus::Success, DeliveryStatus::Failed, DeliveryStatus::Cancelled] {
            assert_eq!(need(Some(&recorded(status, 1)), 2), Need::Nothing);
        }
    }

    #[test]
    fn a_recorded_attempt_is_not_made_again_but_its_successor_planned() {
        let expected = Need::Plan { attempt: 2, due: OffsetDateTime::UNIX_EPOCH };
        assert_eq!(need(Some(&recorded(DeliveryStatus::Retrying, 1)), 1), expected);
        assert_eq!(need(Some(&recorded(DeliveryStatus::Retrying, 3)), 1), Need::Nothing);
    }
}
