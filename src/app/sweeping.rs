//! Frees the memory of what is of no more use: expired, or purged.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::sleep;

use crate::app::assemble::House;
use crate::entry::facts::Standing;
use crate::store::memory::Progress;
use crate::time::Timestamp;

/// How long a sweep rests before the next.
const REST: Duration = Duration::from_secs(10);
/// URLs that are looked at before others get their turn.
const STEP: usize = 512;

/// Sweeps for ever, on a thread that answers no client. A hit does not need it: what is swept would not be served.
pub(crate) async fn sweep(house: Arc<House>) {
    loop {
        sleep(REST).await;
        let now = Timestamp::now();
        let mut sweep = house.memory.sweep();
        let is_kept = |entry: &crate::entry::Entry| {
            entry.freshness.last_use() > now && house.ledger.standing(entry) != Standing::Gone
        };
        while let Progress::More = sweep.step(STEP, is_kept) {
            yield_now().await;
        }
    }
}
