//! How many requests may be under way at once, and how many may wait for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::origin::failure::OriginFailure;

/// Who waits for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// So many at once.
    pub length: usize,
    /// And each for no longer than this.
    pub patience: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self { length: 1024, patience: Duration::from_secs(1) }
    }
}

/// Places for requests under way, which are given in the order of arrival.
#[derive(Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    most: usize,
    queue: Queue,
    waiting: AtomicUsize,
}

impl Places {
    /// At least one place.
    pub fn new(most: usize, queue: Queue) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        let free = Arc::new(Semaphore::new(most));
        Self { free, most, queue, waiting: AtomicUsize::new(0) }
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.most - self.free.available_permits()
    }

    /// A place, at once or after a while; none where too many wait already, or where none becomes free in time. Dropped,
    /// it does not wait any more.
    pub(crate) async fn take(&self) -> Result<OwnedSemaphorePermit, OriginFailure> {
        if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(place);
        }
        let _waiting = Waiting::begin(self).ok_or(OriginFailure::Overloaded)?;
        match timeout(self.queue.patience, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            // The semaphore is never closed, so this is the time.
            Ok(Err(_)) | Err(_) => Err(OriginFailure::Overloaded),
        }
    }
}

/// Somebody who waits, for as long as this lives.
struct Waiting<'a>(&'a Places);

impl<'a> Waiting<'a> {
    fn begin(places: &'a Places) -> Option<Self> {
        let waiting = Self(places);
        let before = places.waiting.fetch_add(1, Ordering::Relaxed);
        (before < places.queue.length).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_waits_in_a_queue_that_has_an_end_and_not_for_ever() {
        let queue = Queue { length: 1, patience: Duration::from_secs(1) };
        let places = Places::new(1, queue);
        let held = places.take().await.unwrap();
        let (first, second) = tokio::join!(places.take(), places.take());
        assert_eq!(first.unwrap_err(), OriginFailure::Overloaded);
        assert_eq!(second.unwrap_err(), OriginFailure::Overloaded);
        assert_eq!(places.waiting.load(Ordering::Relaxed), 0);
        let (waited, ()) = tokio::join!(places.take(), async { drop(held) });
        assert!(waited.is_ok());
        assert_eq!(places.taken(), 1);
    }
}
