//! The fleet's purge log, a Redis stream.

use std::time::Duration;

use crate::entry::facts::Mark;
use crate::purge::Record;
use crate::purge::log::{Instance, LogError, Page, PurgeLog};

/// The purge log of a fleet.
#[derive(Clone)]
pub struct StreamLog {}

impl PurgeLog for StreamLog {
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
