//! Memory, and the store behind it.

use std::num::NonZeroUsize;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::file::origin::Breaker;
use crate::config::file::{count, kib, mib, seconds};
use crate::config::scalar::address::RedisUrl;
use crate::config::scalar::amount::{Size, Span};

/// The entries in memory.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct L1 {
    /// What all entries together may take, overhead included.
    pub capacity: Size,
    /// How long a copy stays in memory before L2 is asked again; counts only where there is an L2.
    pub max_ttl: Span,
    /// The largest body that is kept, at most a quarter of the capacity; `1MiB` where it is not given, or less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_object: Option<Size>,
}

/// The store behind memory.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum L2 {
    Without(Without),
    Stores(Box<Stores>),
}

/// The word for "there is none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Without {
    None,
}

/// The store behind memory: one of the two.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Stores {
    /// A Redis server, shared by all instances of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<Redis>,
    /// A directory on this machine, for one instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Disk>,
    /// The largest body that is kept there.
    pub max_object: Size,
}

/// A Redis server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Redis {
    /// `redis://:PASSWORD@HOST:PORT/DATABASE`, or `rediss://` for TLS.
    pub url: Option<RedisUrl>,
    /// How long a request waits for it; then the answer is a miss.
    pub timeout: Span,
    /// When it is left alone for a while.
    pub breaker: Breaker,
    /// Entries that may wait to be written; what comes when it is full is dropped and counted.
    pub write_queue: NonZeroUsize,
}

/// A directory on this machine.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Disk {
    /// Made where there is none; no two instances may share it.
    pub path: Option<String>,
    /// What all entries together may take.
    pub capacity: Size,
    /// How long a request waits for it; then the answer is a miss.
    pub timeout: Span,
    /// Entries that may wait to be written; what comes when it is full is dropped and counted.
    pub write_queue: NonZeroUsize,
}

impl Default for L1 {
    fn default() -> Self {
        Self { capacity: mib(256), max_ttl: seconds(30), max_object: None }
    }
}

impl Default for L2 {
    fn default() -> Self {
        Self::Without(Without::None)
    }
}

impl Default for Stores {
    fn default() -> Self {
        Self { redis: None, disk: None, max_object: kib(100) }
    }
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: None,
            timeout: Span(Duration::from_millis(50)),
            breaker: Breaker::default(),
            write_queue: count(10_000),
        }
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            path: None,
            capacity: mib(10 << 10),
            timeout: Span(Duration::from_millis(50)),
            write_queue: count(10_000),
        }
    }
}
