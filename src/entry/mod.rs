//! One stored response.

pub mod facts;
pub mod freshness;
pub mod slot;
pub mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::entry::facts::Facts;
use crate::entry::freshness::Freshness;
use crate::key::vary::Variant;
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
    /// The ledger's version under which no purge matched this entry; see [`Entry::is_verified_at`].
    verified: AtomicU64,
    /// When this copy was taken into memory or last found to be the fleet's newest, in milliseconds.
    taken: AtomicU64,
}

/// Status and end-to-end fields, as they are sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub status: StatusCode,
    pub fields: HeaderMap,
}

/// A stored body: all of it, or one that its fetch still brings.
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
const FIELD_OVERHEAD: usize = 72;

impl Entry {
    pub fn new(
        facts: Facts,
        head: Head,
        freshness: Freshness,
        variant: Variant,
        body: Stored,
    ) -> Self {
        Self {
            facts,
            head,
            freshness,
            variant,
            body,
            verified: AtomicU64::new(0),
            taken: AtomicU64::new(0),
        }
    }

    /// The same entry with another body: how an arriving one becomes whole.
    #[must_use]
    pub fn with_body(&self, body: Stored) -> Self {
        Self::new(self.facts.clone(), self.head.clone(), self.freshness, self.variant.clone(), body)
    }

    /// The same entry with another head: how a validation updates it.
    #[must_use]
    pub fn with_head(&self, head: Head) -> Self {
        Self::new(self.facts.clone(), head, self.freshness, self.variant.clone(), self.body.clone())
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

    /// The whole body, or nothing while it arrives.
    pub fn whole(&self) -> Option<&Bytes> {
        match &self.body {
            Stored::Whole(bytes) => Some(bytes),
            Stored::Arriving { .. } => None,
        }
    }

    /// The length of the body, where it is known.
    pub fn length(&self) -> Option<u64> {
        match &self.body {
            Stored::Whole(bytes) => Some(bytes.len() as u64),
            Stored::Arriving { length, .. } => *length,
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
