//! One stored response.

pub mod facts;
pub mod freshness;
pub mod partial;
pub mod seal;
pub mod slot;
pub mod wire;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::entry::facts::Facts;
use crate::entry::freshness::Freshness;
use crate::key::vary::Variant;
use crate::message::content_range::ContentRange;
use crate::message::fill::Fill;
use crate::time::Timestamp;

/// One stored response: immutable once made, shared by all who serve it.
#[derive(Debug)]
pub struct Entry {
    pub facts: Facts,
    pub head: Head,
    pub freshness: Freshness,
    pub variant: Variant,
    pub body: Stored,
    /// Which part of the representation the body is; nothing where it is all of it. The head is that of the whole.
    pub part: Option<ContentRange>,
    /// The ledger's version under which no purge matched this entry; see [`Entry::is_verified_at`].
    verified: AtomicU64,
    tags: Tags,
    /// The ledger's turn in which this process began to fetch it; zero where another one did. See [`Entry::in_turn`].
    turn: u64,
    /// When this copy was taken into memory or last found to be the fleet's newest, in milliseconds.
    taken: AtomicU64,
    /// How often this copy, and half as often those that it replaced, answered from memory; about.
    hits: AtomicU32,
}

/// Whether [`Facts::tags`] are all there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tags {
    Known,
    /// Some stand in the body, which is not whole yet.
    ToCome,
}

/// Status and end-to-end fields, as they are sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub status: StatusCode,
    pub fields: HeaderMap,
}

/// Fields that are added to each response that is sent: the map's index has room for them.
const ADDED_FIELDS: usize = 6;

impl Head {
    /// The same head in memory of its own: fields as they arrive are pieces of the buffer that their connection
    /// reads into, and one of them would keep the whole of it for as long as the entry lives. All values share
    /// one allocation.
    #[must_use]
    pub fn compact(&self) -> Self {
        let length = self.fields.values().map(HeaderValue::len).sum();
        let mut text = BytesMut::with_capacity(length);
        for value in self.fields.values() {
            text.extend_from_slice(value.as_bytes());
        }
        let text = text.freeze();
        let mut fields = HeaderMap::with_capacity(self.fields.len() + ADDED_FIELDS);
        let mut begin = 0;
        for (name, value) in &self.fields {
            let end = begin + value.len();
            // What was a name and a value is one; were it not, the original is as good and only larger.
            let own = HeaderValue::from_maybe_shared(text.slice(begin..end));
            let name = HeaderName::from_bytes(name.as_str().as_bytes()).unwrap_or(name.clone());
            fields.append(name, own.unwrap_or_else(|_| value.clone()));
            begin = end;
        }
        // A clone has room for just what is there (and an index for what will be added), which is a third of the
        // memory of a map that grew.
        Self { status: self.status, fields: fields.clone() }
    }
}

/// A stored body: all that is kept of it, or one that its fetch still brings.
///
/// Only whole ones are ever given to a store; one that arrives is shared by the requests of its flight.
#[derive(Clone)]
pub enum Stored {
    Whole(Bytes),
    Arriving {
        fill: Fill,
        /// `Content-Length`, where the origin told it.
        length: Option<u64>,
    },
}

/// What an entry costs beyond its bytes: its own struct, its `Arc`, its place in the store, allocator slack.
const OVERHEAD: usize = 512;
/// What one field costs beyond its name and value.
const FIELD_OVERHEAD: usize = 112;

impl Entry {
    pub fn new(
        facts: Facts,
        head: Head,
        freshness: Freshness,
        variant: Variant,
        body: Stored,
    ) -> Self {
        let variant =
            if head.status.is_success() { variant.in_language_of(&head.fields) } else { variant };
        Self {
            facts,
            head,
            freshness,
            variant,
            body,
            part: None,
            verified: AtomicU64::new(0),
            tags: Tags::Known,
            turn: 0,
            taken: AtomicU64::new(0),
            hits: AtomicU32::new(0),
        }
    }

    /// This entry, whose body is this part of the representation: an incomplete response (RFC 9111 §3.3).
    #[must_use]
    pub fn of_part(self, part: Option<ContentRange>) -> Self {
        Self { part, ..self }
    }

    /// The same entry, fetched by this process from `turn` of its ledger on: what was purged here before that, and is
    /// not in the log yet, does not speak of it. An entry without a turn came from elsewhere.
    #[must_use]
    pub fn in_turn(self, turn: u64) -> Self {
        Self { turn, ..self }
    }

    pub fn turn(&self) -> u64 {
        self.turn
    }

    /// The same entry with another body: how an arriving one becomes whole.
    #[must_use]
    pub fn with_body(&self, body: Stored) -> Self {
        let head = self.head.clone();
        Self::new(self.facts.clone(), head, self.freshness, self.variant.clone(), body)
            .of_part(self.part.clone())
            .in_turn(self.turn)
    }

    /// The same entry with another head: how a validation updates it.
    #[must_use]
    pub fn with_head(&self, head: Head) -> Self {
        let body = self.body.clone();
        Self::new(self.facts.clone(), head, self.freshness, self.variant.clone(), body)
            .of_part(self.part.clone())
            .in_turn(self.turn)
    }

    /// The same entry, some of whose tags are known only when its body is whole.
    #[must_use]
    pub fn awaiting_tags(self) -> Self {
        Self { tags: Tags::ToCome, ..self }
    }

    /// Whether it may carry tags that are not among its facts yet: then a purge of any tag speaks of it.
    pub fn awaits_tags(&self) -> bool {
        self.tags == Tags::ToCome
    }

    /// The ledger's version under which nothing stood against this entry; zero, if it was never judged so.
    pub fn verified_at(&self) -> u64 {
        self.verified.load(Ordering::Acquire)
    }

    /// The same entry with another freshness: how it comes to be outdated.
    #[must_use]
    pub fn with_freshness(&self, freshness: Freshness) -> Self {
        let (facts, head) = (self.facts.clone(), self.head.clone());
        Self::new(facts, head, freshness, self.variant.clone(), self.body.clone())
            .of_part(self.part.clone())
            .in_turn(self.turn)
    }

    /// Whether the ledger found nothing against this entry at `version` of its own; the one comparison that a hit
    /// costs when nothing new was purged.
    pub fn is_verified_at(&self, version: u64) -> bool {
        self.verified.load(Ordering::Acquire) == version
    }

    /// Remembers that nothing stood against this entry at `version`.
    pub fn verify_at(&self, version: u64) {
        self.verified.store(version, Ordering::Release);
    }

    /// Remembers when this copy was taken into memory, or last compared with what the fleet has.
    pub fn take_at(&self, now: Timestamp) {
        self.taken.store(now.as_millis(), Ordering::Relaxed);
    }

    /// How long ago this copy was taken into memory or last compared.
    pub fn taken_since(&self, now: Timestamp) -> Duration {
        now.since(Timestamp::from_millis(self.taken.load(Ordering::Relaxed)))
    }

    /// Counts an answer from memory. Two at once may count as one: who is hot is hot all the same, and nobody waits.
    pub fn hit(&self) {
        let hits = self.hits.load(Ordering::Relaxed);
        self.hits.store(hits.saturating_add(1), Ordering::Relaxed);
    }

    /// How often this answered from memory, about.
    pub fn hits(&self) -> u32 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Takes the place of `old`, and half of its hits.
    pub fn succeed(&self, old: &Self) {
        self.hits.store(old.hits() / 2, Ordering::Relaxed);
    }

    /// All that is stored of the body, or nothing while it arrives.
    pub fn whole(&self) -> Option<&Bytes> {
        match &self.body {
            Stored::Whole(bytes) => Some(bytes),
            Stored::Arriving { .. } => None,
        }
    }

    /// The length of the representation, where it is known.
    pub fn length(&self) -> Option<u64> {
        match (&self.part, &self.body) {
            (Some(part), _) => Some(part.complete()),
            (None, Stored::Whole(bytes)) => Some(bytes.len() as u64),
            (None, Stored::Arriving { length, .. }) => *length,
        }
    }

    /// What this entry costs in memory, in bytes, overhead included. Never changes for one entry.
    pub fn weight(&self) -> usize {
        let fields: usize = self
            .head
            .fields
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD)
            .sum();
        OVERHEAD
            + self.whole().map_or(0, Bytes::len)
            + fields
            + self.facts.weight()
            + self.variant.weight()
    }
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(bytes) => write!(formatter, "Whole({} bytes)", bytes.len()),
            Self::Arriving { length, .. } => write!(formatter, "Arriving({length:?})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compact_head_says_the_same_in_memory_of_its_own() {
        let read = Bytes::from_static(b"one, two\xff three");
        let mut fields = HeaderMap::new();
        for (name, range) in [("x-a", 0..3), ("x-b", 5..9), ("x-a", 10..15)] {
            let value = HeaderValue::from_maybe_shared(read.slice(range)).unwrap();
            fields.append(HeaderName::from_static(name), value);
        }
        let head = Head { status: StatusCode::OK, fields };
        let compact = head.compact();
        assert_eq!(compact, head);
        let bounds = read.as_ptr_range();
        for value in compact.fields.values() {
            assert!(!bounds.contains(&value.as_bytes().as_ptr()), "{value:?}");
        }
    }
}
