//! One stored response.

mod alike;
pub mod facts;
pub mod freshness;
pub mod lines;
pub(crate) mod pack;
pub mod partial;
pub mod seal;
pub mod sharing;
pub mod slot;
pub mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::entry::facts::Facts;
use crate::entry::freshness::{Freshness, Packed};
use crate::entry::lines::Lines;
use crate::entry::sharing::{Asker, Sharing};
use crate::key::vary::Variant;
use crate::message::content_range::ContentRange;
use crate::message::fill::Fill;
use crate::message::shelf::{Extent, Whole};
use crate::time::Timestamp;

/// One stored response: immutable once made, shared by all who serve it.
#[derive(Debug)]
pub struct Entry {
    pub facts: Facts,
    pub status: StatusCode,
    /// The end-to-end fields, as they are sent again.
    pub lines: Lines,
    freshness: Packed,
    pub variant: Variant,
    pub body: Stored,
    /// Behind a pointer: nearly all entries are whole.
    part: Option<Box<ContentRange>>,
    /// The ledger's version under which no purge matched this entry; see [`Entry::is_verified_at`].
    verified: AtomicU64,
    tags: Tags,
    /// The ledger's turn in which this process began to fetch it; zero where another one did. See [`Entry::in_turn`].
    turn: u64,
    /// When this copy was taken into memory or last found to be the fleet's newest, in milliseconds.
    taken: AtomicU64,
    /// How often this copy, and half as often those that it replaced, answered from memory; about.
    hits: AtomicU32,
    sharing: Sharing,
}

/// Whether [`Facts::tags`] are all there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tags {
    Known,
    /// Some stand in the body, which is not whole yet.
    ToCome,
}

/// Status and end-to-end fields of a response that may be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub status: StatusCode,
    pub fields: HeaderMap,
}

/// A stored body: all that is kept of it, or one that its fetch still brings.
///
/// Only whole ones are ever given to a store; one that arrives is shared by the requests of its flight.
#[derive(Clone)]
pub enum Stored {
    Whole(Bytes),
    /// In an enum of its own: one more case here would cost each entry a block of the next size.
    Apart(Apart),
}

/// A stored body that is not in the entry itself.
#[derive(Clone)]
pub enum Apart {
    /// Whole, on a shelf: memory puts large ones there, for clients that are sent them from it.
    Shelved(Arc<Extent>),
    Arriving {
        fill: Fill,
        /// `Content-Length`, where the origin told it.
        length: Option<u64>,
    },
}

impl Stored {
    pub fn arriving(fill: Fill, length: Option<u64>) -> Self {
        Self::Apart(Apart::Arriving { fill, length })
    }
}

/// What an entry costs besides what its parts point to: itself, and the two counts of its `Arc`.
const OWN: usize = size_of::<Entry>() + 2 * size_of::<usize>();
/// What the count of a body that is shared costs.
const SHARED_BODY: usize = 32;
/// What an extent costs, and the two counts of its `Arc`.
const SHELVED_BODY: usize = size_of::<Extent>() + 2 * size_of::<usize>();

/// What the allocator takes for `length` bytes: its blocks come in four sizes for each power of two.
pub(crate) const fn block(length: usize) -> usize {
    match length {
        0..=64 => length.next_multiple_of(8),
        _ => length.next_multiple_of(1 << ((length - 1).ilog2() - 2)),
    }
}

impl Entry {
    pub fn new(
        facts: Facts,
        head: &Head,
        freshness: Freshness,
        variant: Variant,
        body: Stored,
    ) -> Self {
        let variant = in_language(variant, head);
        Self::of_lines(facts, (head.status, Lines::of(&head.fields)), freshness, variant, body)
    }

    /// The same from lines; `variant` knows the language of the response.
    fn of_lines(
        facts: Facts,
        (status, lines): (StatusCode, Lines),
        freshness: Freshness,
        variant: Variant,
        body: Stored,
    ) -> Self {
        Self {
            facts,
            status,
            lines,
            freshness: Packed::of(&freshness),
            variant,
            body,
            part: None,
            verified: AtomicU64::new(0),
            tags: Tags::Known,
            turn: 0,
            taken: AtomicU64::new(0),
            hits: AtomicU32::new(0),
            sharing: Sharing::default(),
        }
    }

    /// This entry, fetched for this asker.
    #[must_use]
    pub fn asked_by(self, asker: Asker) -> Self {
        Self { sharing: Sharing::with(asker), ..self }
    }

    /// The same entry as another one of which it is the newer word.
    #[must_use]
    pub fn shared_like(self, known: &Self) -> Self {
        Self { sharing: known.sharing.clone(), ..self }
    }

    /// With whom the tripwire lets it be shared.
    pub fn sharing(&self) -> &Sharing {
        &self.sharing
    }

    /// This entry, whose body is this part of the representation: an incomplete response (RFC 9111 §3.3).
    #[must_use]
    pub fn of_part(self, part: Option<ContentRange>) -> Self {
        Self { part: part.map(Box::new), ..self }
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
        Self {
            facts: self.facts.clone(),
            status: self.status,
            lines: self.lines.clone(),
            freshness: self.freshness,
            variant: self.variant.clone(),
            body,
            part: self.part.clone(),
            verified: AtomicU64::new(0),
            tags: Tags::Known,
            turn: self.turn,
            taken: AtomicU64::new(0),
            hits: AtomicU32::new(0),
            sharing: self.sharing.clone(),
        }
    }

    /// The same entry, whose body is on a shelf: with all that is known of it.
    #[must_use]
    pub fn shelved(&self, extent: Extent) -> Self {
        let body = Stored::Apart(Apart::Shelved(Arc::new(extent)));
        Self {
            verified: self.verified_at().into(),
            tags: self.tags,
            taken: self.taken.load(Ordering::Relaxed).into(),
            hits: self.hits().into(),
            ..self.with_body(body)
        }
    }

    /// The same entry with another head: how a validation updates it.
    #[must_use]
    pub fn with_head(&self, head: &Head) -> Self {
        let (status, lines) = (head.status, Lines::of(&head.fields));
        let same = self.with_body(self.body.clone());
        let variant = in_language(self.variant.clone(), head);
        Self { status, lines, variant, ..same }
    }

    /// Status and fields, as they may be changed. Costs what [`Lines::map`] costs.
    pub fn head(&self) -> Head {
        Head { status: self.status, fields: self.lines.map() }
    }

    /// The fields as a map. Costs what [`Lines::map`] costs.
    pub fn fields(&self) -> HeaderMap {
        self.lines.map()
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
        Self { freshness: Packed::of(&freshness), ..self.with_body(self.body.clone()) }
    }

    pub fn freshness(&self) -> Freshness {
        self.freshness.open()
    }

    /// Which part of the representation the body is; nothing where it is all of it. The head is that of the whole.
    pub fn part(&self) -> Option<&ContentRange> {
        self.part.as_deref()
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
    pub fn whole(&self) -> Option<Whole<'_>> {
        match &self.body {
            Stored::Whole(bytes) => Some(Whole::Bytes(bytes)),
            Stored::Apart(Apart::Shelved(extent)) => Some(Whole::Shelved(extent)),
            Stored::Apart(Apart::Arriving { .. }) => None,
        }
    }

    /// The bytes of all that is stored of the body, or nothing while it arrives, or where they cannot be read. Copies what is
    /// on a shelf.
    pub fn bytes(&self) -> Option<Bytes> {
        self.whole()?.read().ok()
    }

    /// The body that still arrives, if it does, and its length where the origin told it.
    pub fn arriving(&self) -> Option<(&Fill, Option<u64>)> {
        match &self.body {
            Stored::Apart(Apart::Arriving { fill, length }) => Some((fill, *length)),
            Stored::Whole(_) | Stored::Apart(Apart::Shelved(_)) => None,
        }
    }

    /// The length of the representation, where it is known.
    pub fn length(&self) -> Option<u64> {
        match (&self.part, &self.body) {
            (Some(part), _) => Some(part.complete()),
            (None, Stored::Whole(bytes)) => Some(bytes.len() as u64),
            (None, Stored::Apart(Apart::Shelved(extent))) => Some(extent.len() as u64),
            (None, Stored::Apart(Apart::Arriving { length, .. })) => *length,
        }
    }

    /// What this entry costs in memory, in bytes, overhead included. Never changes for one entry.
    pub fn weight(&self) -> usize {
        let body = match &self.body {
            Stored::Whole(bytes) => block(bytes.len()) + SHARED_BODY,
            Stored::Apart(Apart::Shelved(extent)) => extent.weight() + SHELVED_BODY,
            Stored::Apart(Apart::Arriving { .. }) => 0,
        };
        block(OWN) + body + self.lines.weight() + self.facts.weight() + self.variant.weight()
    }
}

fn in_language(variant: Variant, head: &Head) -> Variant {
    if head.status.is_success() { variant.in_language_of(&head.fields) } else { variant }
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(bytes) => write!(formatter, "Whole({} bytes)", bytes.len()),
            Self::Apart(Apart::Shelved(extent)) => {
                write!(formatter, "Shelved({} bytes)", extent.len())
            }
            Self::Apart(Apart::Arriving { length, .. }) => {
                write!(formatter, "Arriving({length:?})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One byte more, and each entry costs 64 more: see [`block`].
    #[test]
    fn an_entry_fits_into_a_block_of_256_bytes() {
        const { assert!(OWN <= 256) };
    }

    #[test]
    fn blocks_are_as_large_as_the_allocators() {
        let rows = [(1, 8), (24, 24), (65, 80), (245, 256), (257, 320), (1024, 1024), (1025, 1280)];
        for (length, taken) in rows {
            assert_eq!(block(length), taken, "{length}");
        }
    }
}
