//! What a purge would take, without taking it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::entry::Entry;
use crate::entry::facts::Standing;
use crate::purge::Scope;
use crate::purge::ledger::Ledger;
use crate::store::memory::{Memory, Progress};
use crate::store::shared::SecondLevel;
use crate::time::Timestamp;

/// How many URLs of memory are walked through at most.
const URLS: usize = 500_000;
/// How many of them are walked through between two looks at their number.
const STEP: usize = 1024;

/// What this instance holds.
#[derive(Clone)]
pub struct Holdings {
    pub ledger: Arc<Ledger>,
    pub memory: Memory,
    pub second: SecondLevel,
}

/// What would go.
#[derive(Clone, Debug, Serialize)]
pub struct Estimate {
    dry_run: bool,
    l1: Count,
    /// Whether all of memory was walked through.
    complete: bool,
    routes: BTreeMap<String, Count>,
    l2: &'static str,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Count {
    entries: u64,
    bytes: u64,
}

impl Default for Estimate {
    fn default() -> Self {
        let (l1, routes) = (Count::default(), BTreeMap::new());
        Self { dry_run: true, l1, complete: true, routes, l2: "none" }
    }
}

impl Holdings {
    /// What of this instance's memory a purge of `scopes` would take, without what is purged already. The second layer
    /// is not walked through: it would have to be read whole.
    pub async fn estimate(&self, scopes: Vec<Scope>) -> Estimate {
        let holdings = self.clone();
        // A walk is long; the thread has other things to do.
        let walk = tokio::task::spawn_blocking(move || holdings.walk(&scopes)).await;
        walk.unwrap_or_else(|_| Estimate { complete: false, ..Estimate::default() })
    }

    fn walk(&self, scopes: &[Scope]) -> Estimate {
        let mut walked = 0;
        let estimate = RefCell::new(Estimate { l2: self.second_layer(), ..Estimate::default() });
        let mut places = self.memory.sweep();
        let now = Timestamp::now();
        let look = |entry: &Entry| {
            let matches = scopes.iter().any(|scope| scope.speaks_of(&entry.facts));
            if matches && self.ledger.standing(entry, now) != Standing::Gone {
                estimate.borrow_mut().add(entry);
            }
            true
        };
        while let Progress::More = places.step(STEP, look) {
            walked += STEP;
            if walked >= URLS {
                estimate.borrow_mut().complete = false;
                break;
            }
        }
        estimate.into_inner()
    }

    fn second_layer(&self) -> &'static str {
        match &self.second {
            SecondLevel::None => "none",
            SecondLevel::Redis(_) => "unknown: what the fleet holds in Redis is not counted",
            #[cfg(feature = "disk")]
            SecondLevel::Disk(_) => "unknown: what is on the disk is not counted",
        }
    }
}

impl Estimate {
    fn add(&mut self, entry: &Entry) {
        let route = self.routes.entry(entry.facts.route.to_string()).or_default();
        for count in [&mut self.l1, route] {
            count.entries += 1;
            count.bytes += entry.weight() as u64;
        }
    }
}
