//! The flights that are under way, one per URL, variant and part, and who may come aboard.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::sync::SetOnce;

use crate::entry::Entry;
use crate::entry::facts::{Mark, RouteId, Standing};
use crate::entry::freshness::UseWithoutAsking;
use crate::key::canonical::Target;
use crate::key::{HostRule, Key};
use crate::lookup::Lookup;
use crate::lookup::outcome::Outcome;
use crate::message::cache_control::RequestDirectives;
use crate::message::range::RangeSpec;
use crate::origin::failure::OriginFailure;
use crate::purge::ledger::{Expected, Ledger};
use crate::time::Timestamp;

/// What tells flights apart: the URL, the variant as far as it is known, and the part that is asked for, if not all.
pub(crate) type FlightName = (Key, u128, Option<RangeSpec>);

/// The flights of this process.
pub(crate) struct Board {
    shards: Box<[Shard]>,
    aloft: AtomicUsize,
}

const SHARDS: usize = 64;

type Shard = Mutex<HashMap<FlightName, Arc<Flight>, RandomState>>;

/// One fetch that many requests share.
pub(crate) struct Flight {
    target: Target,
    host: HostRule,
    /// Its key and its text; most flights nobody else comes aboard of, and so nobody asks.
    url: OnceLock<(Key, String)>,
    route: RouteId,
    as_of: Mark,
    turn: u64,
    /// Told once: at its end at the latest.
    news: SetOnce<News>,
}

/// What came of a flight.
#[derive(Clone)]
pub(crate) enum News {
    /// Its answer may be shared; its body may still arrive. With it goes what its leader asked of stored responses.
    Landed(Arc<Entry>, Outcome, RequestDirectives),
    /// Its answer is for the leader alone: everybody goes by themselves.
    Released,
    Failed(OriginFailure),
}

/// How a lookup takes part.
pub(crate) enum Part {
    Lead(Captain),
    Follow(Arc<Flight>),
}

/// The leader's side of a flight. Dropped, it strikes the flight off the board; followers who have heard nothing
/// then hear that it was abandoned.
pub(crate) struct Captain {
    board: Arc<Board>,
    name: FlightName,
    flight: Arc<Flight>,
}

impl Board {
    pub(crate) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, aloft: AtomicUsize::new(0) }
    }

    /// How many flights are under way.
    pub(crate) fn len(&self) -> usize {
        self.aloft.load(Ordering::Relaxed)
    }

    /// Comes aboard the flight for `lookup`, or begins one. A flight that a purge has beaten is not joined: what
    /// it brings is older than the purge. It flies on for those who came before.
    pub(crate) fn board(self: &Arc<Self>, lookup: &Lookup, ledger: &Ledger) -> Part {
        let name = (lookup.key, lookup.variant, lookup.range);
        let mut shard = self.shard(name).lock();
        if let Some(flight) = shard.get(&name)
            && flight.may_be_joined(ledger, lookup.now)
        {
            return Part::Follow(flight.clone());
        }
        let flight = Arc::new(Flight {
            target: lookup.target.clone(),
            host: lookup.route.key.host,
            url: OnceLock::new(),
            route: lookup.route.id.clone(),
            as_of: ledger.known(),
            turn: ledger.turn(),
            news: SetOnce::new(),
        });
        if shard.insert(name, flight.clone()).is_none() {
            self.aloft.fetch_add(1, Ordering::Relaxed);
        }
        Part::Lead(Captain { board: self.clone(), name, flight })
    }

    fn shard(&self, (key, ..): FlightName) -> &Shard {
        let index = usize::try_from(key.bits() % SHARDS as u128).unwrap_or_default();
        &self.shards[index]
    }
}

impl Flight {
    fn may_be_joined(&self, ledger: &Ledger, now: Timestamp) -> bool {
        let expected = || {
            let (url_key, url) = self.url.get_or_init(|| {
                (Key::of_url(&self.target, self.host), self.target.url_under(self.host))
            });
            let (route, as_of, turn) = (&self.route, self.as_of, self.turn);
            Expected { url_key: *url_key, url, route, as_of, turn }
        };
        match self.news.get() {
            // Its head has not come yet.
            None => ledger.may_join(&expected(), now),
            Some(News::Landed(entry, outcome, _)) => {
                ledger.standing(entry, now) == Standing::Good && may_be_shared(entry, outcome)
            }
            Some(News::Released | News::Failed(_)) => false,
        }
    }

    /// Waits for what comes of it.
    pub(crate) async fn news(&self) -> News {
        self.news.wait().await.clone()
    }
}

/// Whether an answer serves others too, now: a body may arrive for longer than it is fresh. One that is kept only to be validated does not (RFC 9111 §5.2.2.4:
/// "MUST NOT be used to satisfy any other request without forwarding it for validation").
pub(crate) fn may_be_shared(entry: &Entry, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Stale(_) | Outcome::StaleOnError(..) => true,
        Outcome::Hit(_)
        | Outcome::Revalidated(_)
        | Outcome::Miss(_)
        | Outcome::Followed(_)
        | Outcome::Passed(_)
        | Outcome::Purged
        | Outcome::Failed(..)
        | Outcome::Refused(_) => {
            let freshness = &entry.freshness();
            freshness.use_without_asking != UseWithoutAsking::Never
                && freshness.is_fresh(Timestamp::now())
        }
    }
}

impl Captain {
    /// Tells everybody aboard, once; whatever is told later is not heard.
    pub(crate) fn tell(&self, news: News) {
        let _ = self.flight.news.set(news);
    }
}

impl Drop for Captain {
    fn drop(&mut self) {
        // Nothing was told: a panic, or the end of its runtime.
        if !self.flight.news.initialized() {
            self.tell(News::Failed(OriginFailure::Abandoned));
        }
        let mut shard = self.board.shard(self.name).lock();
        let is_ours = shard.get(&self.name).is_some_and(|known| Arc::ptr_eq(known, &self.flight));
        if is_ours {
            shard.remove(&self.name);
            self.board.aloft.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
