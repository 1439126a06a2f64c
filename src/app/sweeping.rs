//! Gives back the room of what is of no more use: expired, or purged.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::sleep;
use tracing::{debug, info};

use crate::app::assemble::House;
use crate::entry::Entry;
use crate::entry::facts::{Mark, Standing};
use crate::store::memory::Progress;
use crate::store::redis::sweep::{Sweeper, Walk};
use crate::store::shared::SecondLevel;
use crate::time::Timestamp;

/// How long a sweep rests before the next.
const REST: Duration = Duration::from_secs(10);
/// URLs that are looked at before others get their turn.
const STEP: usize = 512;
/// Purges that are kept in the ledger whether or not there is anything left that they speak of.
const FEW: usize = 1000;

/// Sweeps memory for ever, on a thread that answers no client. A hit does not need it: what is swept would not be
/// served.
pub(crate) async fn sweep(house: Arc<House>) {
    loop {
        sleep(REST).await;
        let oldest = sweep_memory(&house).await;
        let nowhere_else = matches!(house.second, SecondLevel::None);
        if nowhere_else && house.ledger.len() > FEW {
            // Nothing older can come from anywhere: what those purges speak of is gone.
            house.ledger.forget(oldest);
        }
    }
}

/// Returns the mark under which the oldest fetch of all that is kept began.
async fn sweep_memory(house: &House) -> Mark {
    let oldest = Cell::new(house.ledger.known());
    let mut sweep = house.memory.sweep();
    loop {
        let progress = sweep.step(STEP, |entry| {
            let kept = is_kept(house, entry);
            if kept && entry.facts.as_of < oldest.get() {
                oldest.set(entry.facts.as_of);
            }
            kept
        });
        match progress {
            Progress::More => yield_now().await,
            Progress::Done => return oldest.get(),
        }
    }
}

/// Sweeps the fleet's store for ever, where something was purged.
pub(crate) async fn sweep_redis(house: Arc<House>, sweeper: Sweeper) {
    loop {
        sleep(REST).await;
        if house.ledger.is_empty() {
            continue;
        }
        let known = house.ledger.known();
        match sweeper.walk(known, |entry| is_kept(&house, entry)).await {
            Ok(Walk::Done(0) | Walk::Needless | Walk::Theirs) => {}
            Ok(Walk::Done(removed)) => info!(removed, "purged entries were removed from Redis"),
            Err(why) => debug!(error = %why, "Redis is swept later"),
        }
    }
}

fn is_kept(house: &House, entry: &Entry) -> bool {
    let now = Timestamp::now();
    entry.freshness().last_use() > now && house.ledger.standing(entry, now) != Standing::Gone
}
