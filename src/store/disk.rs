//! L2 on this machine's disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::entry::Entry;
use crate::key::vary::Selector;
use crate::store::{Place, Store, StoreError};

#[derive(Clone, Debug)]
pub struct Settings {
    /// Made where there is none; nobody else may use it.
    pub directory: PathBuf,
    /// Bytes on the disk.
    pub capacity: u64,
    /// The longest body that is kept.
    pub max_object: u64,
    /// How long a request waits for a read.
    pub timeout: Duration,
    /// Entries that may wait to be written.
    pub write_queue: usize,
}

/// Entries on the disk. Cloning shares them.
#[derive(Clone)]
pub struct Disk {}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the cache directory {} is used by another process", path.display())]
    InUse { path: PathBuf },
    #[error("the cache directory {} cannot be used: {cause}", path.display())]
    Unusable { path: PathBuf, cause: String },
}

impl Disk {
    /// Opens the directory and recovers what it holds; all its work is done on `background`.
    pub async fn open(settings: Settings, background: &Handle) -> Result<Self, OpenError> {
        let _ = (settings, background);
        unimplemented!()
    }

    /// Writes what is queued, at most until `patience` is over, and closes the files.
    pub async fn close(&self, patience: Duration) {
        let _ = patience;
    }
}

impl Store for Disk {
    async fn get(&self, _: &Place, _: &Selector<'_>) -> Result<Option<Arc<Entry>>, StoreError> {
        unimplemented!()
    }

    async fn put(&self, _: &Place, _: Arc<Entry>) -> Result<(), StoreError> {
        unimplemented!()
    }

    async fn remove(&self, _: &Place) -> Result<(), StoreError> {
        unimplemented!()
    }
}
