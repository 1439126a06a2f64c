//! What the purger needs of a purge log, and what it needs to know of the fleet.

use std::future::Future;
use std::time::Duration;

use crate::entry::facts::Mark;
use crate::purge::Record;
use crate::time::Timestamp;

/// An ordered, durable log of purges that the instances of a fleet share.
///
/// Every call may be dropped at any time; a dropped `append` may or may not have appended.
pub trait PurgeLog: Clone + Send + Sync + 'static {
    /// Adds a record and returns its place. When it returns well, the record survives this process, and (in a
    /// shared log) every instance that reads on will see it.
    fn append(&self, record: &Record) -> impl Future<Output = Result<Appended, LogError>> + Send;

    /// The records after `after`, oldest first; waits up to `patience` for the first of them.
    ///
    /// `Page::beginning` is the mark before the log's first retained record: what is not newer than it cannot be
    /// vouched for. A log that was lost (emptied, recreated) begins anew with a mark greater than any it gave.
    fn read(
        &self,
        after: Mark,
        patience: Duration,
    ) -> impl Future<Output = Result<Page, LogError>> + Send;

    /// Tells the fleet that this instance has applied everything up to `applied`, and that it is alive for
    /// `lease` from now on (zero: it leaves).
    fn acknowledge(
        &self,
        applied: Mark,
        lease: Duration,
    ) -> impl Future<Output = Result<(), LogError>> + Send;

    /// The live instances, and what each has acknowledged.
    fn instances(&self) -> impl Future<Output = Result<Vec<Instance>, LogError>> + Send;
}

/// Where a record stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub mark: Mark,
    /// The last mark that was given before: between the two there is nothing.
    pub after: Mark,
}

/// What a log holds after some place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub records: Vec<(Mark, Record)>,
    /// Entries whose `as_of` is less than this are older than the log.
    pub beginning: Mark,
    /// The last mark that was given when the page was read, at least that of its last record.
    pub end: Mark,
}

/// One instance of the fleet, as it told of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub id: String,
    pub applied: Mark,
    /// When its lease ends, unless it renews it.
    pub until: Timestamp,
}

/// How a log fails.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    #[error("the purge log is out of reach: {0}")]
    Away(String),
    #[error("the purge log could not be written: {0}")]
    Unwritable(String),
}
