//! The admin side, the purge log, limits and logs.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::file::purging::Rewarm;
use crate::config::file::{count, kib, mib, seconds};
use crate::config::scalar::address::Address;
use crate::config::scalar::amount::{Size, Span};
use crate::config::scalar::name::{Name, RateKey, Secret};

/// The admin listener.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Its address and port.
    pub listen: Address,
    /// Who may use it. Without any token, only clients on this machine may.
    pub tokens: Vec<Token>,
}

/// A bearer token.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Token {
    /// What the audit log calls its holder.
    pub name: Option<Name>,
    /// The token itself; take it from the environment (`${CI_TOKEN}`) or from a file (`${file:ci.token}`).
    pub secret: Option<Secret>,
    /// What it allows.
    #[schemars(length(min = 1))]
    pub scopes: Option<Vec<TokenScope>>,
}

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenScope {
    /// Statistics, instances, and the configuration without its secrets.
    Read,
    /// Purging.
    Purge,
    /// Loading the configuration again.
    Config,
}

/// The log of purges.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Purge {
    /// What an instance does that has not heard from the log for longer than its lease.
    pub when_detached: WhenDetached,
    /// How long an instance that falls silent is still waited for.
    pub lease: Span,
    /// Purges that the log keeps. Entries older than the oldest are validated with the origin before use.
    pub retention: NonZeroU64,
    /// How the hottest entries that a purge takes are fetched again.
    pub rewarm: Rewarm,
    /// How long the log keeps a purge, at most.
    pub keep_for: Span,
}

/// What an instance does when it cannot know what was purged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhenDetached {
    /// Nothing stored is served before the origin has confirmed it.
    #[default]
    Validate,
    /// What is in memory is served on, within `l1.max_ttl`.
    Serve,
}

/// Bounds on what clients can make large or slow.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections of clients at once; more are answered 503.
    pub connections: NonZeroUsize,
    /// Those of one client at once; more are answered 429. An IPv6 client is its /64; trusted proxies, as they are at the
    /// start, are not counted. No bound where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_per_client: Option<NonZeroUsize>,
    /// How often one client may ask, over all routes; more is 429. No bound where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How long a TLS handshake may take, and what a load balancer says before it.
    pub handshake_timeout: Span,
    /// How long a request head may take.
    pub header_timeout: Span,
    /// How long a connection may stay open without a request.
    pub idle_timeout: Span,
    /// How long a request body may be silent.
    pub body_timeout: Span,
    /// How long a client may not read what is there for it.
    pub stall_timeout: Span,
    /// How large a request head may be; more is 431.
    pub header_bytes: Size,
    /// How many fields it may have; more is 431.
    pub header_fields: NonZeroUsize,
    /// How long a request target may be; more is 414.
    pub target_bytes: Size,
    /// What bodies on their way may hold in memory together: answers that are gathered to be stored or that several
    /// requests share, and content of requests that is keyed. What finds no room is streamed, and not stored. It comes
    /// beside `l1.capacity`.
    pub bodies_in_the_air: Size,
    /// How long requests in progress may take when Larder is told to stop.
    pub drain: Span,
}

/// How often one client may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rate {
    /// So many in the long run in each `per`; more are answered 429.
    pub requests: NonZeroU32,
    pub per: Span,
    /// So many at once, by who has not asked for a while; as many as `requests` where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<NonZeroU32>,
    /// Who is one client: `address`, where an IPv6 client is its /64; `authorization`, or `header:NAME`, and the address of
    /// those who send none.
    pub by: RateKey,
    /// Whether clients are told by `RateLimit` and `RateLimit-Policy` where they stand.
    pub fields: bool,
}

/// What is written to the terminal.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// For people, or for machines.
    pub format: LogFormat,
    /// One line per request on standard output.
    pub access: bool,
    /// What else is told, on standard error, unless the variable `RUST_LOG` says otherwise.
    pub level: LogLevel,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: Address(([127, 0, 0, 1], 9090).into()), tokens: Vec::new() }
    }
}

impl Default for Purge {
    fn default() -> Self {
        Self {
            when_detached: WhenDetached::Validate,
            lease: seconds(10),
            retention: NonZeroU64::MIN.saturating_add(99_999),
            rewarm: Rewarm::default(),
            keep_for: seconds(7 * 24 * 3600),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: count(10_000),
            connections_per_client: None,
            rate: None,
            handshake_timeout: seconds(10),
            header_timeout: seconds(10),
            idle_timeout: seconds(30),
            body_timeout: seconds(10),
            stall_timeout: seconds(60),
            header_bytes: kib(64),
            header_fields: count(128),
            target_bytes: kib(16),
            bodies_in_the_air: mib(256),
            drain: seconds(30),
        }
    }
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            requests: NonZeroU32::MIN.saturating_add(99),
            per: seconds(1),
            burst: None,
            by: RateKey::Address,
            fields: true,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, access: true, level: LogLevel::Info }
    }
}
