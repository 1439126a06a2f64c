//! Where entries are kept, and how a store may fail. Stores decide nothing.

#[cfg(feature = "disk")]
pub mod disk;
pub mod local_log;
pub mod memory;
pub mod redis;
pub mod shared;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::entry::Entry;
use crate::entry::facts::RouteId;
use crate::key::Key;
use crate::key::vary::Selector;

/// Names the slot of one URL in a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub key: Key,
    pub route: RouteId,
    /// How many variants the slot may hold.
    pub max_variants: usize,
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
    fn released(&self, key: Key, longest: Duration) -> impl Future<Output = ()> + Send;
}

/// Whose the right to fetch is.
pub enum Lease<Held> {
    Mine(Option<Held>),
    Theirs,
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
