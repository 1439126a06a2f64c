//! The closed sets of choices: which second level, whose purge log, whose leases.

use std::sync::Arc;
use std::time::Duration;

use crate::entry::Entry;
use crate::entry::facts::Mark;
use crate::key::Key;
use crate::key::vary::Selector;
use crate::purge::Record;
use crate::purge::log::{Appended, Instance, LogError, Page, PurgeLog};
#[cfg(feature = "disk")]
use crate::store::disk::Disk;
use crate::store::local_log::LocalLog;
use crate::store::redis::entries::Entries;
use crate::store::redis::lease::{Held, RedisLeases};
use crate::store::redis::log::StreamLog;
use crate::store::{Counts, Lease, Leases, Place, Store, StoreError, Waited};

/// L2.
#[derive(Clone)]
pub enum SecondLevel {
    /// Memory only: nothing is ever found, and keeping is nothing.
    None,
    #[cfg(feature = "disk")]
    Disk(Disk),
    Redis(Entries),
}

/// The log that purges are written to.
#[derive(Clone)]
pub enum FleetLog {
    Local(LocalLog),
    Redis(StreamLog),
}

/// Who else may fetch.
#[derive(Clone)]
pub enum FleetLeases {
    /// Nobody: every lease is granted, and none is held.
    Alone,
    Redis(RedisLeases),
}

impl SecondLevel {
    /// What became of its writes and reads.
    pub fn counts(&self) -> Option<&Counts> {
        match self {
            Self::None => None,
            #[cfg(feature = "disk")]
            Self::Disk(disk) => Some(disk.counts()),
            Self::Redis(entries) => Some(entries.counts()),
        }
    }

    /// How many entries wait to be written.
    pub fn queued(&self) -> usize {
        match self {
            Self::None => 0,
            #[cfg(feature = "disk")]
            Self::Disk(disk) => disk.queued(),
            Self::Redis(entries) => entries.queued(),
        }
    }

    /// Writes what is queued, at most until `patience` is over. The connections to Redis are closed by their owner.
    pub async fn close(&self, patience: Duration) {
        match self {
            Self::None => {}
            Self::Redis(entries) => entries.flush(patience).await,
            #[cfg(feature = "disk")]
            Self::Disk(disk) => disk.close(patience).await,
        }
    }
}

impl Store for SecondLevel {
    async fn get(
        &self,
        place: &Place,
        selector: &Selector<'_>,
    ) -> Result<Option<Arc<Entry>>, StoreError> {
        match self {
            Self::None => Ok(None),
            #[cfg(feature = "disk")]
            Self::Disk(disk) => disk.get(place, selector).await,
            Self::Redis(entries) => entries.get(place, selector).await,
        }
    }

    async fn put(&self, place: &Place, entry: Arc<Entry>) -> Result<(), StoreError> {
        match self {
            Self::None => Ok(()),
            #[cfg(feature = "disk")]
            Self::Disk(disk) => disk.put(place, entry).await,
            Self::Redis(entries) => entries.put(place, entry).await,
        }
    }

    async fn remove(&self, place: &Place) -> Result<(), StoreError> {
        match self {
            Self::None => Ok(()),
            #[cfg(feature = "disk")]
            Self::Disk(disk) => disk.remove(place).await,
            Self::Redis(entries) => entries.remove(place).await,
        }
    }
}

impl PurgeLog for FleetLog {
    async fn append(&self, record: &Record) -> Result<Appended, LogError> {
        match self {
            Self::Local(log) => log.append(record).await,
            Self::Redis(log) => log.append(record).await,
        }
    }

    async fn read(&self, after: Mark, patience: Duration) -> Result<Page, LogError> {
        match self {
            Self::Local(log) => log.read(after, patience).await,
            Self::Redis(log) => log.read(after, patience).await,
        }
    }

    async fn acknowledge(&self, applied: Mark, lease: Duration) -> Result<(), LogError> {
        match self {
            Self::Local(log) => log.acknowledge(applied, lease).await,
            Self::Redis(log) => log.acknowledge(applied, lease).await,
        }
    }

    async fn instances(&self) -> Result<Vec<Instance>, LogError> {
        match self {
            Self::Local(log) => log.instances().await,
            Self::Redis(log) => log.instances().await,
        }
    }
}

impl Leases for FleetLeases {
    type Held = Held;

    async fn acquire(&self, key: Key, span: Duration) -> Lease<Held> {
        match self {
            Self::Alone => Lease::Mine(None),
            Self::Redis(leases) => leases.acquire(key, span).await,
        }
    }

    async fn released(&self, key: Key, longest: Duration) -> Waited {
        match self {
            Self::Alone => Waited::Over,
            Self::Redis(leases) => leases.released(key, longest).await,
        }
    }
}
