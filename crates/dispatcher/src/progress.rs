//! What to do with a delivery that may have been worked on before.

use std::collections::HashMap;
use std::sync::Arc;

use domain::{DeliveryId, DeliveryStatus};
use store::{Carried, DeliveryProgress, Store, StoreError};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

/// Askers that share a query, at most.
const TOGETHER: usize = 256;

type Answer = Result<Arc<HashMap<DeliveryId, DeliveryProgress>>, StoreError>;

/// Asks the store how far deliveries are. Whoever asks while a query is under way shares the next
/// one with all others who do: a crowd of retries that fall due together costs a query for
/// hundreds of them.
pub(crate) struct Progress(mpsc::Sender<Question>);

struct Question {
    ids: Vec<DeliveryId>,
    answer: oneshot::Sender<Answer>,
}

impl Progress {
    /// Its queries are made by a task that ends with it.
    pub(crate) fn of(store: Store) -> Self {
        let (asked, mut questions) = mpsc::channel(TOGETHER);
        tokio::spawn(async move {
            let mut together = Vec::with_capacity(TOGETHER);
            while questions.recv_many(&mut together, TOGETHER).await > 0 {
                answer(&store, &mut together).await;
            }
        });
        Self(asked)
    }

    /// How far these deliveries, and others, have come; those that are not recorded are left out.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub(crate) async fn ask(&self, ids: Vec<DeliveryId>) -> Answer {
        let (answer, told) = oneshot::channel();
        let gone = || StoreError::Unavailable("the dispatcher is stopping".to_owned());
        self.0.send(Question { ids, answer }).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }
}

async fn answer(store: &Store, together: &mut Vec<Question>) {
    let all: Vec<DeliveryId> =
        together.iter().flat_map(|asked| asked.ids.iter().copied()).collect();
    let answer: Answer = store.progress(&all).await.map(Arc::new);
    for asked in together.drain(..) {
        let told = match &answer {
            Ok(found) => Ok(found.clone()),
            Err(StoreError::Unavailable(why)) => Err(StoreError::Unavailable(why.clone())),
            Err(other) => Err(StoreError::Unavailable(other.to_string())),
        };
        asked.answer.send(told).ok();
    }
}

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

/// What delivery attempt `attempt` needs at `now`, given what is recorded of the delivery.
pub(crate) fn need(recorded: Option<&DeliveryProgress>, attempt: u32, now: OffsetDateTime) -> Need {
    let Some(recorded) = recorded else {
        return Need::Attempt;
    };
    // The attempt that somebody else makes has this long.
    let is_made = recorded.next_attempt_at.is_some_and(|end| end > now);
    let carried = match recorded.carried {
        Carried::InBacklog => true,
        Carried::Parked => is_made,
        Carried::No => false,
    };
    if recorded.status.is_final() || carried {
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

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn recorded(status: DeliveryStatus, attempts: u32) -> DeliveryProgress {
        DeliveryProgress { status, attempts, next_attempt_at: Some(NOW), carried: Carried::No }
    }

    #[test]
    fn what_is_not_recorded_is_attempted() {
        assert_eq!(need(None, 1, NOW), Need::Attempt);
        assert_eq!(need(Some(&recorded(DeliveryStatus::Pending, 0)), 1, NOW), Need::Attempt);
        assert_eq!(need(Some(&recorded(DeliveryStatus::Retrying, 2)), 3, NOW), Need::Attempt);
    }

    #[test]
    fn what_has_ended_is_left_alone() {
        for status in [DeliveryStatus::Success, DeliveryStatus::Failed, DeliveryStatus::Cancelled] {
            assert_eq!(need(Some(&recorded(status, 1)), 2, NOW), Need::Nothing);
        }
    }

    #[test]
    fn a_recorded_attempt_is_not_made_again_but_its_successor_planned() {
        let expected = Need::Plan { attempt: 2, due: OffsetDateTime::UNIX_EPOCH };
        assert_eq!(need(Some(&recorded(DeliveryStatus::Retrying, 1)), 1, NOW), expected);
        assert_eq!(need(Some(&recorded(DeliveryStatus::Retrying, 3)), 1, NOW), Need::Nothing);
    }

    #[test]
    fn what_others_carry_on_is_left_to_them_while_they_do() {
        let waiting = DeliveryProgress {
            carried: Carried::InBacklog,
            ..recorded(DeliveryStatus::Pending, 0)
        };
        assert_eq!(need(Some(&waiting), 1, NOW), Need::Nothing);
        let parked =
            DeliveryProgress { carried: Carried::Parked, ..recorded(DeliveryStatus::Pending, 0) };
        let before = NOW - std::time::Duration::from_secs(1);
        assert_eq!(need(Some(&parked), 1, before), Need::Nothing);
        assert_eq!(need(Some(&parked), 1, NOW), Need::Attempt, "whoever made it is gone");
    }
}
