//! Where entries are kept, and how a store may fail. Stores decide nothing.

#[cfg(feature = "disk")]
mod bundle;
#[cfg(feature = "disk")]
pub mod disk;
mod index;
pub mod local_log;
pub mod memory;
mod queue;
pub mod redis;
#[cfg(feature = "disk")]
mod room;
pub mod shared;

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::entry::Entry;
use crate::entry::facts::{Epoch, RouteId};
use crate::entry::seal::NONCE;
use crate::entry::wire::{Encoded, Unreadable};
use crate::key::Key;
use crate::key::vary::Selector;
use crate::telemetry::labels::Operation;
use crate::telemetry::metrics::Metrics;

/// Names the slot of one URL in a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub key: Key,
    pub route: RouteId,
    /// How many variants the slot may hold.
    pub max_variants: usize,
    /// How long a variant counts as fresh in a store behind memory at most, since its response arrived: what is of no
    /// use after that ends there.
    pub max_ttl: Option<Duration>,
}

/// A store of entries. It keeps and gives back; what is fresh, purged or allowed is decided elsewhere.
///
/// No call may fail a request: the caller takes every error as "not there". Every call may be dropped.
pub trait Store: Clone + Send + Sync + 'static {
    /// The newest variant under `place` that `selector` selects. Within the store's own deadline.
    fn get(
        &self,
        place: &Place,
        selector: &Selector<'_>,
    ) -> impl Future<Output = Result<Option<Arc<Entry>>, StoreError>> + Send;

    /// Keeps a whole `entry` until its last use, in the place of the variant that it replaces. Returns when the
    /// entry is kept or safely queued; never waits for a slow server.
    fn put(
        &self,
        place: &Place,
        entry: Arc<Entry>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Forgets every variant under `place`; queued like [`Store::put`] where that would wait.
    fn remove(&self, place: &Place) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// The right to fetch a key, one per fleet.
pub trait Leases: Clone + Send + Sync + 'static {
    /// Releases the lease when dropped, in the background.
    type Held: Send + 'static;

    /// Asks for the right to fetch `key` for at most `span`. An error, or a store that is away, is `Mine`: a lease
    /// that cannot be had costs a second fetch, never a request.
    fn acquire(&self, key: Key, span: Duration) -> impl Future<Output = Lease<Self::Held>> + Send;

    /// Waits until the holder has let go of `key`, or `longest` is over.
    fn released(&self, key: Key, longest: Duration) -> impl Future<Output = Waited> + Send;
}

/// Whose the right to fetch is.
pub enum Lease<Held> {
    Mine(Option<Held>),
    Theirs,
}

/// How waiting for a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The holder let go, or the time is over: the store may have what it brought.
    Over,
    /// The store does not tell, and would not tell either what the holder brought.
    OutOfReach,
}

/// An epoch for a log that begins now: one that no other log has had.
fn fresh_epoch() -> u64 {
    rand::random_range(1..=Epoch::GREATEST)
}

/// How a store fails; each reason is counted, none fails a request.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store did not answer within {0:?}")]
    Late(Duration),
    #[error("the store's breaker is open")]
    Open,
    #[error("the store is out of reach: {0}")]
    Away(String),
    #[error("the store's write queue is full")]
    QueueFull,
    #[error("the object is larger than the store takes")]
    TooLarge,
    #[error("the store failed: {0}")]
    Failed(String),
}

impl StoreError {
    /// The error's name as a metric label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Late(_) => "late",
            Self::Open => "breaker_open",
            Self::Away(_) => "away",
            Self::QueueFull => "queue_full",
            Self::TooLarge => "too_large",
            Self::Failed(_) => "failed",
        }
    }
}

/// Bytes that are drawn anew for each entry that is encrypted.
fn nonce() -> [u8; NONCE] {
    rand::random()
}

/// Why values are unreadable, as labels: those of [`Counts::unreadable`], and those of the metrics.
const UNREADABLE: [(&str, &str); 11] = [
    ("foreign", "unreadable_foreign"),
    ("version", "unreadable_version"),
    ("cut", "unreadable_cut"),
    ("digest", "unreadable_digest"),
    ("malformed", "unreadable_malformed"),
    ("other_key", "unreadable_other_key"),
    ("index", "unreadable_index"),
    ("unsealed", "unreadable_unsealed"),
    ("unknown_key", "unreadable_unknown_key"),
    ("seal", "unreadable_seal"),
    ("compression", "unreadable_compression"),
];

/// What became of an L2's writes and of the bytes that it read, since it was opened.
#[derive(Default)]
pub struct Counts {
    /// Entries that were written.
    pub written: AtomicU64,
    /// Entries that were not queued, because the queue was full.
    pub queue_full: AtomicU64,
    /// Entries that were queued and could not be written.
    pub lost: AtomicU64,
    /// Entries that were refused, because they are larger than the store takes.
    pub too_large: AtomicU64,
    /// Entries that were removed by a sweep: purged, or of no more use.
    pub swept: AtomicU64,
    unreadable: [AtomicU64; UNREADABLE.len()],
    metrics: OnceLock<Metrics>,
}

impl Counts {
    /// From now on tells the metrics, too, what happens behind the back of those who call the store.
    pub fn report_to(&self, metrics: &Metrics) {
        // The first one stays: there is one set of metrics.
        let _told_before = self.metrics.set(metrics.clone());
    }

    /// How many stored values could not be used, by reason.
    pub fn unreadable(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.unreadable.iter().map(|count| count.load(Ordering::Relaxed));
        UNREADABLE.into_iter().map(|(label, _)| label).zip(counts)
    }

    pub(crate) fn one(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// An entry was queued and could not be written.
    pub(crate) fn lose(&self, why: &StoreError) {
        Self::one(&self.lost);
        if let Some(metrics) = self.metrics.get() {
            metrics.l2().failed(Operation::Put, why.label());
        }
    }

    /// A value that is no entry, or another one.
    pub(crate) fn unread(&self, why: Unreadable) {
        let at = match why {
            Unreadable::Foreign => 0,
            Unreadable::Version(_) => 1,
            Unreadable::Cut => 2,
            Unreadable::Digest => 3,
            Unreadable::Malformed => 4,
            Unreadable::OtherKey => 5,
            Unreadable::Unsealed => 7,
            Unreadable::UnknownKey => 8,
            Unreadable::Seal => 9,
            Unreadable::Compression => 10,
        };
        self.unread_at(at);
    }

    /// A slot whose index of variants makes no sense.
    pub(crate) fn unread_index(&self) {
        self.unread_at(6);
    }

    fn unread_at(&self, at: usize) {
        Self::one(&self.unreadable[at]);
        if let Some(metrics) = self.metrics.get() {
            metrics.l2().failed(Operation::Get, UNREADABLE[at].1);
        }
    }

    /// An entry was given to the store in these bytes.
    pub(crate) fn encoded(&self, encoded: &Encoded) {
        if let Some(metrics) = self.metrics.get() {
            metrics.counts().bodies_put.add(encoded.body as u64);
            metrics.counts().bodies_stored.add(encoded.stored as u64);
        }
    }
}
