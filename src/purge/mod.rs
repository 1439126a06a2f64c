//! Dated statements about entries: what is purged, how, and why.

pub mod announce;
pub mod audit;
pub mod events;
pub mod ledger;
pub mod log;
pub mod purger;
pub mod receipt;
mod scope;
pub mod template;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::entry::facts::{RouteId, Tag};
use crate::key::Key;
use crate::time::Timestamp;

/// One statement: these entries are gone, or stale from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    pub scope: Scope,
    pub effect: Effect,
}

/// Which entries a purge speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// One URL, all its variants, by [`Key::of_url`].
    #[serde(with = "key_bits")]
    Url(Key),
    Tag(Tag),
    /// One path with its query, on every host, all its variants.
    Path(Arc<str>),
    /// Every URL that begins so: with a scheme and a host, or, where it begins with a slash, on every host.
    Prefix(Arc<str>),
    Route(RouteId),
    Everything,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Effect {
    /// Soft: stale from now on; served stale only where the stale windows allow.
    MarkStale,
    /// Hard: gone.
    Remove,
}

/// What one call purges, all or nothing: one record of the log under one mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub purges: Vec<Purge>,
    pub cause: Cause,
    /// When it was asked for, by the clock of the instance that was asked; told, never compared with marks.
    #[serde(with = "millis")]
    pub at: Timestamp,
}

/// Who purged, and why; for the audit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The token's name, `public` for a write through the proxy, or the address.
    pub by: String,
    pub reason: Option<String>,
    /// The event that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The address that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The URLs that [`Scope::Url`] stands for, as they were named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// How many of the hottest entries that go the instance that was asked fetches again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewarm: Option<u32>,
}

mod key_bits {
    //! A key as 32 hexadecimal digits.
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::key::Key;

    pub(super) fn serialize<S: Serializer>(key: &Key, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&key.to_string())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Key::from_bits).map_err(serde::de::Error::custom)
    }
}

mod millis {
    //! A moment as milliseconds.
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::time::Timestamp;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(
        at: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(at.as_millis())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        u64::deserialize(deserializer).map(Timestamp::from_millis)
    }
}
