//! An endpoint of few workers: so many requests at a time, the others in a queue of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// So many workers, each of whom takes so long for a request.
#[derive(Clone, Debug)]
pub struct Workers(Arc<Shop>);

#[derive(Debug)]
struct Shop {
    room: Semaphore,
    each: Duration,
    patience: Duration,
    served: AtomicUsize,
    refused: AtomicUsize,
}

impl Workers {
    /// `count` workers who take `each` for a request; one that has queued for `patience` is
    /// answered 503, as by servers that have a time limit of their own.
    #[must_use]
    pub fn new(count: usize, each: Duration, patience: Duration) -> Self {
        let (served, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self(Arc::new(Shop { room: Semaphore::new(count), each, patience, served, refused }))
    }

    /// How many requests were answered with 200.
    #[must_use]
    pub fn served(&self) -> usize {
        self.0.served.load(Ordering::Acquire)
    }

    /// How many requests queued for too long.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.0.refused.load(Ordering::Acquire)
    }

    /// Waits for a worker and for the work; the status.
    pub(super) async fn work(&self) -> u16 {
        let shop = &self.0;
        let Ok(Ok(_worker)) = tokio::time::timeout(shop.patience, shop.room.acquire()).await else {
            shop.refused.fetch_add(1, Ordering::AcqRel);
            return 503;
        };
        tokio::time::sleep(shop.each).await;
        shop.served.fetch_add(1, Ordering::AcqRel);
        200
    }

    /// Waits until `count` requests were answered with 200; when the last of them was, or how many
    /// were within `longest`.
    ///
    /// # Errors
    /// How many were served, when it takes longer.
    pub async fn wait_for(&self, count: usize, longest: Duration) -> Result<Instant, usize> {
        let until = Instant::now() + longest;
        while self.served() < count {
            if Instant::now() >= until {
                return Err(self.served());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(Instant::now())
    }
}

impl PartialEq for Workers {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Workers {}
