//! The purge log of a lone instance: in a file, or in memory where nothing outlives the process anyway.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::entry::facts::Mark;
use crate::purge::Record;
use crate::purge::log::{Instance, LogError, Page, PurgeLog};

/// The purge log of a lone instance. Cloning shares it.
#[derive(Clone)]
pub struct LocalLog {}

/// Why a log's file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the purge log {} cannot be opened: {cause}", path.display())]
pub struct OpenError {
    pub path: PathBuf,
    pub cause: std::io::Error,
}

impl LocalLog {
    /// A log that ends with the process.
    pub fn in_memory(instance: &str, retention: usize) -> Self {
        let _ = (instance, retention);
        unimplemented!()
    }

    /// The log in the file `path`, which is made where there is none. Reads the whole file.
    pub fn open(path: &Path, instance: &str, retention: usize) -> Result<Self, OpenError> {
        let _ = (path, instance, retention);
        unimplemented!()
    }
}

impl PurgeLog for LocalLog {
    async fn append(&self, _: &Record) -> Result<Mark, LogError> {
        unimplemented!()
    }

    async fn read(&self, _: Mark, _: Duration) -> Result<Page, LogError> {
        unimplemented!()
    }

    async fn acknowledge(&self, _: Mark, _: Duration) -> Result<(), LogError> {
        unimplemented!()
    }

    async fn instances(&self) -> Result<Vec<Instance>, LogError> {
        unimplemented!()
    }
}
