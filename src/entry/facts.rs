//! What purges ask of an entry.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::entry::block;
use crate::key::Key;
use crate::time::Timestamp;

/// A place in the purge log. Of two marks of one log, that of the later purge is the greater. Marks of two logs, or of
/// two lives of one log, are neither equal nor in any order: `<`, `>`, `<=` and `>=` are all false. No mark is ever
/// compared with a clock.
///
/// Millis and number are those of a Redis stream's ids: milliseconds by the log's own clock, and a number among those
/// of the same millisecond. Written as `1700000000000-0-1f3a`, the epoch last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mark {
    #[serde(default)]
    pub epoch: Epoch,
    pub millis: u64,
    pub number: u64,
}

/// Names one life of one log, from where it began to where it was lost. Drawn at random, so that a log that is lost
/// and begins anew never gives a mark for the second time, whatever its clock says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch(u64);

impl Epoch {
    /// No log's: that of a ledger which has never read a log, and of an entry that was written before there were any.
    pub const NONE: Self = Self(0);
    /// The greatest: each of them is a number that Redis' scripts take exactly.
    pub const GREATEST: u64 = (1 << 53) - 1;

    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:x}", self.0)
    }
}

/// A name by which entries are purged together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tag(Arc<str>);

/// The name of a route, which outlives configurations and processes. One pointer, since each entry has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RouteId(Arc<Box<str>>);

/// What purges ask of an entry, and what names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub key: Key,
    /// The key of the URL alone, which a purge by URL names.
    pub url_key: Key,
    /// The canonical URL, which a purge by prefix matches; from its path on where its route ignores the host.
    pub url: Box<str>,
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
    pub const ZERO: Self = Self::new(0, 0);

    /// A mark of no log.
    pub const fn new(millis: u64, number: u64) -> Self {
        Self { epoch: Epoch::NONE, millis, number }
    }

    /// The same place in the log's life `epoch`.
    #[must_use]
    pub const fn of(self, epoch: Epoch) -> Self {
        Self { epoch, ..self }
    }

    /// The smallest mark after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { number: self.number.saturating_add(1), ..self }
    }

    /// The later one of two marks of one log; this one where they are not.
    #[must_use]
    pub fn or_later(self, other: Self) -> Self {
        if other > self { other } else { self }
    }
}

/// A mark's place in a list: by its log's clock, and then by its epoch, so that all have one. It says nothing of what
/// came first in two logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed(u64, u64, u64);

impl From<Mark> for Listed {
    fn from(mark: Mark) -> Self {
        Self(mark.millis, mark.number, mark.epoch.number())
    }
}

impl From<Listed> for Mark {
    fn from(Listed(millis, number, epoch): Listed) -> Self {
        Self { epoch: Epoch::new(epoch), millis, number }
    }
}

impl PartialOrd for Mark {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let place = |mark: &Self| (mark.millis, mark.number);
        (self.epoch == other.epoch).then(|| place(self).cmp(&place(other)))
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.millis, self.number)?;
        match self.epoch {
            Epoch::NONE => Ok(()),
            epoch => write!(formatter, "-{epoch}"),
        }
    }
}

/// A text that is no mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a mark is two numbers and an epoch with dashes between them, such as 1700000000000-0-1f3a"
)]
pub struct NoMark;

impl FromStr for Mark {
    type Err = NoMark;

    fn from_str(text: &str) -> Result<Self, NoMark> {
        let (millis, rest) = text.split_once('-').ok_or(NoMark)?;
        let (number, epoch) = match rest.split_once('-') {
            Some((number, epoch)) => (number, u64::from_str_radix(epoch, 16).map_err(|_| NoMark)?),
            None => (rest, 0),
        };
        let millis = millis.parse().map_err(|_| NoMark)?;
        let number = number.parse().map_err(|_| NoMark)?;
        Ok(Self { epoch: Epoch::new(epoch), millis, number })
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
        Self(Arc::new(name.into()))
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
        let tags = self.tags.iter().map(|tag| block(tag.0.len() + 2 * size_of::<usize>()));
        block(self.url.len()) + block(size_of_val(&*self.tags)) + tags.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_written_and_read_alike_and_follow_each_other() {
        let mark = Mark::new(17, 3);
        assert_eq!((mark.to_string().as_str(), mark.to_string().parse()), ("17-3", Ok(mark)));
        assert!(mark.next() > mark && Mark::new(18, 0) > mark.next());
        let later = mark.of(Epoch::new(0x1f3a));
        assert_eq!(
            (later.to_string().as_str(), later.to_string().parse()),
            ("17-3-1f3a", Ok(later))
        );
        for text in ["17", "17-", "17-3-", "17-3-x", "17-3-1-1", "a-3"] {
            assert_eq!(text.parse::<Mark>(), Err(NoMark), "{text}");
        }
    }

    #[test]
    fn marks_of_two_logs_are_never_equal_and_in_no_order() {
        let (one, other) = (Mark::new(17, 3).of(Epoch::new(1)), Mark::new(17, 3).of(Epoch::new(2)));
        assert_ne!(one, other);
        for (one, other) in [(one, other), (one, other.next()), (one.next(), other)] {
            assert_eq!(one.partial_cmp(&other), None);
            assert_eq!((one.or_later(other), other.or_later(one)), (one, other));
        }
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
