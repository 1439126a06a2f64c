//! Memory, and the store behind it.

use std::num::NonZeroUsize;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::file::origin::Breaker;
use crate::config::file::{count, kib, mib, seconds};
use crate::config::scalar::address::RedisUrl;
use crate::config::scalar::amount::{Size, Span};
use crate::config::scalar::name::{Name, SealSecret, Secret, Word};

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
    /// Redis, shared by all instances of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<Redis>,
    /// A directory on this machine, for one instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Disk>,
    /// The largest body that is kept there.
    pub max_object: Size,
    /// Which entries are compressed.
    pub compress: Compress,
    /// Whether entries are sealed, and with what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypt: Option<Encrypt>,
    /// Whether what is one user's may lie there unsealed.
    pub personal_in_clear: bool,
}

/// Which entries are compressed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Compress {
    Without(Without),
    With(Compression),
}

/// How entries are compressed; those with a content coding of their own, and images and the like, never are.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Compression {
    /// Bodies of so many bytes and more.
    pub over: Size,
    pub with: Coding,
    /// From 1, the fastest, to 9, the smallest.
    #[schemars(range(min = 1, max = 9))]
    pub level: u8,
}

/// What entries are compressed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Coding {
    #[default]
    Zstd,
}

/// What entries are sealed with (AES-256-GCM-SIV).
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Encrypt {
    /// The first one seals, all open.
    #[schemars(length(min = 1))]
    pub keys: Vec<CacheKey>,
}

/// A key for entries.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheKey {
    /// By which entries tell that they were sealed with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Name>,
    /// 32 bytes at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<SealSecret>,
}

/// Redis: one server (`url`), a Cluster (`cluster`), or a master that Sentinel watches (`sentinel`).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Redis {
    /// `redis://:PASSWORD@HOST:PORT/DATABASE`, or `rediss://` for TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<RedisUrl>,
    /// Some nodes of a Cluster, which name the others; user, password and TLS of the first hold for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minItems" = 1))]
    pub cluster: Option<Vec<RedisUrl>>,
    /// The master that Sentinel watches, and its replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel: Option<Sentinel>,
    /// Certificates for `rediss://`; without, those that the machine trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<RedisTls>,
    /// Whether replicas answer for entries, in turn with their master. Purges and leases never come from them.
    pub read_from_replicas: bool,
    /// How long a request waits for it; then the answer is a miss.
    pub timeout: Span,
    /// When a server is left alone for a while.
    pub breaker: Breaker,
    /// Entries that may wait to be written; what comes when it is full is dropped and counted.
    pub write_queue: NonZeroUsize,
}

/// Sentinels, and who Larder is to the servers that they watch.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sentinel {
    /// What the sentinels call the master.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master: Option<Word>,
    /// The sentinels, with user and password for each where they want one; `rediss://` is TLS for the servers, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minItems" = 1))]
    pub urls: Option<Vec<RedisUrl>>,
    /// Who Larder is to the servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The database of the servers.
    pub database: u32,
}

/// Files in PEM format, read at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedisTls {
    /// Who signed the servers' certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Larder's own certificate, for servers that want one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The key of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Redis {
    /// Every URL, under the key that it stands under.
    pub(crate) fn urls(&self) -> impl Iterator<Item = (&'static str, &[RedisUrl])> {
        let one = self.url.as_ref().map(|url| ("url", std::slice::from_ref(url)));
        let cluster = self.cluster.as_ref().map(|urls| ("cluster", urls.as_slice()));
        let sentinels = self.sentinel.as_ref().and_then(|sentinel| sentinel.urls.as_ref());
        let sentinels = sentinels.map(|urls| ("sentinel.urls", urls.as_slice()));
        [one, cluster, sentinels].into_iter().flatten()
    }
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
        Self {
            redis: None,
            disk: None,
            max_object: kib(100),
            compress: Compress::default(),
            encrypt: None,
            personal_in_clear: false,
        }
    }
}

impl Default for Compress {
    fn default() -> Self {
        Self::With(Compression::default())
    }
}

impl Default for Compression {
    fn default() -> Self {
        Self { over: kib(1), with: Coding::Zstd, level: 3 }
    }
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: None,
            cluster: None,
            sentinel: None,
            tls: None,
            read_from_replicas: false,
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
