//! What to do with a delivery that may have been worked on before.

use std::collections::HashMap;
use std::sync::Arc;

use domain::{DeliveryId, DeliveryStatus};
use store::{DeliveryProgress, Store, StoreError};
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
    use store::Carried;

    use super::*;

    fn recorded(status: DeliveryStatus, attempts: u32) -> DeliveryProgress {
        DeliveryProgress {
            status,
            attempts,
            next_attempt_at: Some(OffsetDateTime::UNIX_EPOCH),
            carried: Carried::No,
        }
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
