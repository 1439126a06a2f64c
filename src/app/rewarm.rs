//! Fetches the hottest of what a purge took again, before clients have to wait for it, and slowly enough for the origin.

use std::cmp::Reverse;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval};
use tower::Service;
use tracing::{debug, warn};

use crate::app::assemble::House;
use crate::config::settings;
use crate::entry::Entry;
use crate::lookup::Lookup;
use crate::lookup::answer::Answer;
use crate::purge::purger::Submitted;
use crate::refresh::seed::again;
use crate::refresh::worker::bring;
use crate::store::memory::Progress;
use crate::time::Timestamp;

/// Entries that may wait to be fetched again.
const WAITING: usize = 10_000;
/// URLs that are looked at before others get their turn.
const STEP: usize = 512;

/// What is to be fetched again, from whoever finds it to whoever fetches it.
pub(crate) type Found = mpsc::Receiver<Lookup>;

/// Finds, for each purge that asks for it, the hottest entries that it took from memory; for ever.
pub(crate) async fn find(
    house: Arc<House>,
    settings: settings::Rewarm,
    mut submissions: broadcast::Receiver<Arc<Submitted>>,
    found: mpsc::Sender<Lookup>,
) {
    loop {
        let submitted = match submissions.recv().await {
            Ok(submitted) => submitted,
            Err(RecvError::Lagged(missed)) => {
                warn!(
                    purges = missed,
                    "too many purges at once; what they took is not fetched again"
                );
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        let keys = submitted.record.cause.rewarm.unwrap_or(settings.keys);
        let keys = usize::try_from(keys).unwrap_or(usize::MAX);
        if keys == 0 {
            continue;
        }
        let counts = house.metrics.counts();
        for lookup in hottest(&house, &submitted, keys).await {
            match found.try_send(lookup) {
                Ok(()) => counts.rewarms_asked.one(),
                Err(_) => counts.rewarms_skipped.one(),
            }
        }
    }
}

/// A queue of what is to be fetched again.
pub(crate) fn queue() -> (mpsc::Sender<Lookup>, Found) {
    mpsc::channel(WAITING)
}

/// The lookups for the hottest entries that the purge took, the hottest first.
async fn hottest(house: &House, submitted: &Submitted, keys: usize) -> Vec<Lookup> {
    let now = Timestamp::now();
    let purges = &submitted.record.purges;
    let routes = house.routes.load_full();
    let best: Mutex<Vec<(Reverse<u32>, Lookup)>> = Mutex::default();
    let look = |entry: &Entry| {
        if !purges.iter().any(|purge| purge.scope.speaks_of(&entry.facts)) {
            return;
        }
        let mut best = best.lock();
        let hits = Reverse(entry.hits());
        let at = best.partition_point(|(other, _)| *other <= hits);
        if at >= keys {
            return;
        }
        match again(&house.service, &routes, entry, now) {
            Some(lookup) => {
                best.insert(at, (hits, lookup));
                best.truncate(keys);
            }
            None => house.metrics.counts().rewarms_skipped.one(),
        }
    };
    let mut walk = house.memory.sweep();
    loop {
        let progress = walk.step(STEP, |entry| {
            look(entry);
            true
        });
        match progress {
            Progress::More => yield_now().await,
            Progress::Done => break,
        }
    }
    best.into_inner().into_iter().map(|(_, lookup)| lookup).collect()
}

/// Fetches what was found, at the pace and as many at once as `settings` say; for ever. Each is a lookup like any other:
/// it joins a client's flight, or finds what a sibling wrote, or asks the origin.
pub(crate) async fn fetch<S>(
    house: Arc<House>,
    settings: settings::Rewarm,
    stack: S,
    mut found: Found,
) where
    S: Service<Box<Lookup>, Response = Answer> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Display + Send,
{
    let permits = Arc::new(Semaphore::new(settings.at_once));
    let pace = u32::try_from(settings.per_second).unwrap_or(u32::MAX).max(1);
    let mut turn = interval((Duration::from_secs(1) / pace).max(Duration::from_micros(1)));
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Some(mut lookup) = found.recv().await {
        turn.tick().await;
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        lookup.now = Timestamp::now();
        let (stack, metrics) = (stack.clone(), house.metrics.clone());
        house.flights.tasks.spawn(async move {
            match bring(stack, lookup).await {
                Ok(()) => metrics.counts().rewarmed.one(),
                Err(why) => {
                    metrics.counts().rewarms_failed.one();
                    debug!(error = %why, "a purged entry could not be fetched again");
                }
            }
            drop(permit);
        });
    }
}
