//! What purges ask of an entry.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::key::Key;
use crate::time::Timestamp;

/// A place in the purge log. A later purge has a greater mark; marks of one log are never compared with clocks.
///
/// The parts are those of a Redis stream's ids: milliseconds by the log's own clock, and a number among those of
/// the same millisecond.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Mark {
    pub millis: u64,
    pub number: u64,
}

/// A name by which entries are purged together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tag(Arc<str>);

/// The name of a route, which outlives configurations and processes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RouteId(Arc<str>);

/// What purges ask of an entry, and what names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub key: Key,
    /// The key of the URL alone, which a purge by URL names.
    pub url_key: Key,
    /// The canonical URL, which a purge by prefix matches; from its path on where its route ignores the host.
    pub url: Arc<str>,
    pub route: RouteId,
    pub tags: Box<[Tag]>,
    /// The mark of the log under which the fetch *began*: every later purge that matches beats this entry.
    pub as_of: Mark,
}

/// What the purge log has to say about an entry; the harshest statement wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nothing was purged that matches.
    Good,
    /// Purged softly: stale since then, otherwise as its freshness allows.
    MarkedStale(Timestamp),
    /// The log cannot vouch for it (it is older than the log, or the log is out of reach): to be validated with
    /// the origin before it is served, also when the origin fails.
    Unvouched,
    /// Purged: it does not exist.
    Gone,
}

impl Mark {
    pub const ZERO: Self = Self { millis: 0, number: 0 };

    pub const fn new(millis: u64, number: u64) -> Self {
        Self { millis, number }
    }

    /// The smallest mark after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { millis: self.millis, number: self.number.saturating_add(1) }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.millis, self.number)
    }
}

/// A text that is no mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a mark is two numbers with a dash between them, such as 1700000000000-0")]
pub struct NoMark;

impl FromStr for Mark {
    type Err = NoMark;

    fn from_str(text: &str) -> Result<Self, NoMark> {
        let (millis, number) = text.split_once('-').ok_or(NoMark)?;
        let millis = millis.parse().map_err(|_| NoMark)?;
        let number = number.parse().map_err(|_| NoMark)?;
        Ok(Self { millis, number })
    }
}

impl Tag {
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RouteId {
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RouteId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Facts {
    /// What the facts cost in memory beyond their struct.
    pub(crate) fn weight(&self) -> usize {
        self.url.len() + self.tags.iter().map(|tag| tag.0.len() + 32).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_written_and_read_alike_and_follow_each_other() {
        let mark = Mark::new(17, 3);
        assert_eq!(mark.to_string().parse(), Ok(mark));
        assert!(mark.next() > mark && Mark::new(18, 0) > mark.next());
        assert_eq!("17".parse::<Mark>(), Err(NoMark));
    }

    #[test]
    fn the_harshest_standing_is_the_greatest() {
        let soft = Standing::MarkedStale(Timestamp::from_millis(9));
        assert!(
            Standing::Good < soft
                && soft < Standing::Unvouched
                && Standing::Unvouched < Standing::Gone
        );
    }
}
