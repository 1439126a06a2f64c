//! The configuration as it is written: every key with its meaning, its kind and its default.
//!
//! The schema, the reader and the printed configuration all come from these types, so that they cannot disagree.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::scalar::{
    Address, Endpoint, FieldName, Host, HostField, Name, Network, Part, Path, RedisUrl, Secret,
    Size, Span, Status, Word,
};

/// The configuration of Larder.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Larder")]
pub struct File {
    /// Names the fleet: instances of one service share their entries and purges. Part of every key in Redis.
    pub service: Name,
    /// Where clients connect: an address with a port, or a list of them. Port 0 lets the system choose.
    pub listen: OneOrMany<Address>,
    /// Threads that serve; the number of cores where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<NonZeroUsize>,
    /// The listener for purges, health and metrics.
    pub admin: Admin,
    /// The servers that Larder stands before, by names that routes use.
    #[schemars(extend("x-keys" = "name"))]
    pub origins: BTreeMap<Name, Origin>,
    /// The entries in memory.
    pub l1: L1,
    /// The store behind memory: `redis`, which a fleet shares, or `disk`, or `none`.
    pub l2: L2,
    /// The log of purges.
    pub purge: Purge,
    /// Bounds on what clients can make large or slow.
    pub limits: Limits,
    /// Addresses and networks whose `Forwarded` and `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<Network>,
    /// What holds for every route that does not say otherwise; a route's key replaces the default's whole.
    #[serde(skip_serializing_if = "Keys::is_empty")]
    pub defaults: Keys,
    /// The first route whose host and path match takes a request. What none matches passes through to
    /// `defaults.origin`, or else the first origin by name, and is never stored. Without any route everything belongs to
    /// one named `default`.
    pub routes: Vec<Route>,
    /// What is written to the terminal.
    pub log: Log,
}

/// One value, or several in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum OneOrMany<T> {
    One(T),
    #[schemars(extend("minItems" = 1))]
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

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
    Purge,
    /// Loading the configuration again.
    Config,
}

/// A server that Larder stands before.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Origin {
    /// Where it is; with several, requests are spread over them.
    #[schemars(length(min = 1))]
    pub endpoints: Vec<Endpoint>,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// What is tried again.
    pub retries: Retries,
    /// When it is left alone for a while.
    pub breaker: Breaker,
    /// Connections that may be open to it at once, from this instance.
    pub max_connections: NonZeroUsize,
    /// What it gets as `Host`: `preserve`, what the client sent, or a fixed host.
    pub host: HostField,
}

/// How long an origin may take.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Until the connection stands, TLS included.
    pub connect: Span,
    /// From the end of the request to the head of the answer.
    pub first_byte: Span,
    /// Between two pieces of the body.
    pub idle: Span,
}

/// What is tried again: idempotent requests that surely never reached the origin.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retries {
    /// Further attempts for one request; 0 for none.
    #[schemars(range(max = 10))]
    pub attempts: u32,
    /// Retries, as a part of all requests, at most.
    pub budget: Part,
}

/// When something that fails is left alone for a while.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// Failures in a row that open it.
    pub failures: NonZeroU32,
    /// How long nothing is asked then, before one request may try.
    pub open_for: Span,
}

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
    /// How long requests in progress may take when Larder is told to stop.
    pub drain: Span,
}

/// What is written to the terminal.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// For people, or for machines.
    pub format: LogFormat,
    /// One line per request on standard output.
    pub access: bool,
    /// What else is told, on standard error.
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

/// One rule set, and which requests it is for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Route {
    /// Names the route in metrics, logs, purges and keys. Entries stored under another name are not found again.
    pub name: Option<Name>,
    /// Which URLs it is for; all of them where it is not given.
    #[serde(rename = "match", skip_serializing_if = "Match::is_empty")]
    pub matches: Match,
    #[serde(flatten)]
    pub keys: Keys,
}

/// Which URLs a route is for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// `/api/products/**`; `*` within a segment, `{name}` captures one, `**` any number of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Path>,
    /// `shop.example` or `*.shop.example`, or a list; every host where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<OneOrMany<Host>>,
    /// Which methods are answered from the cache. The other methods take the same route, and pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub methods: Option<Vec<Method>>,
}

/// What can be answered from the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    Get,
    Head,
}

/// What a route may say, and `defaults` for all of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Keys {
    /// The origin that is asked; need not be said where there is only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Name>,
    /// `false` passes everything and stores nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<bool>,
    /// The lifetime of answers whose origin states none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// `false`: `ttl` replaces the origin's lifetime too. What the origin marks private stays so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub respect_origin: Option<bool>,
    /// How long after its lifetime an entry is served while a new one is fetched, where the origin does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_while_revalidate: Option<Span>,
    /// How long after its lifetime an entry is served when the origin fails, where the origin does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_if_error: Option<Span>,
    /// The longest lifetime that is guessed from `Last-Modified` where nobody states one; `0s` guesses none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heuristic_ttl: Option<Span>,
    /// How long an entry that can be validated is kept when it can no longer be served as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<Span>,
    /// An entry is fetched again when it is asked for with less than this part of its lifetime left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_ahead: Option<Part>,
    /// Refreshes by chance before the end, the sooner the longer a fetch takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_refresh: Option<EarlyRefresh>,
    /// Lifetimes that this file sets are shortened by up to this part, so that entries do not end together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Part>,
    /// Statuses other than success that are stored, and for how long, where the origin states nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-keys" = "status"))]
    pub negative: Option<BTreeMap<Status, Span>>,
    /// The lifetime that clients are told instead of the origin's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ttl: Option<Span>,
    /// Whether `Cache-Control` of requests is heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_directives: Option<ClientDirectives>,
    /// Where entries live.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub layers: Option<Vec<Layer>>,
    /// What tells two requests apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// How `Vary` is heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vary: Option<Vary>,
    /// What may be shared between clients although HTTP says no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<Vec<Share>>,
    /// Tags of its entries, beside those in `Surrogate-Key`, `Cache-Tag` and `xkey`: `product:{id}`, with what
    /// `match.path` captures, or `header:X-Tags`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// What else a successful POST, PUT, PATCH or DELETE purges, beside its own URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_write: Option<OnWrite>,
    /// Whether simultaneous requests for one URL share one fetch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coalesce: Option<bool>,
    /// Whether clients see `X-Cache`, `X-Cache-Layer`, `Cache-Status` and `Via`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_fields: Option<ServerFields>,
}

/// Refreshes by chance before the end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EarlyRefresh {
    /// Above 1 refreshes sooner, below 1 later.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 100))]
    pub beta: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientDirectives {
    /// RFC 9111: clients may ask for a fresher answer.
    #[default]
    Honour,
    /// Clients cannot force requests to the origin.
    Ignore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// Memory.
    L1,
    /// Redis or disk.
    L2,
}

/// What tells two requests apart, beside scheme and path.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Key {
    /// Which parts of the query count. What does not count is not sent to the origin either.
    pub query: Query,
    /// Fields of the request whose values count.
    pub headers: Vec<FieldName>,
    /// Cookies whose values count.
    pub cookies: Vec<Word>,
    /// `false`: all hosts share their entries, and the origin gets its own host.
    pub host: bool,
}

/// Which parts of the query count.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// Only these parameters; all where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<Word>>,
    /// Not these.
    pub deny: Vec<Word>,
    /// Whether their order does not count.
    pub sort: bool,
}

/// How `Vary` is heard.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Vary {
    /// Fields whose values are reduced to the first of these that the client accepts.
    #[schemars(extend("x-keys" = "field-name"))]
    pub normalize: BTreeMap<FieldName, Vec<Word>>,
    /// Variants of one URL that are kept.
    #[schemars(range(max = 1024))]
    pub max_variants: NonZeroUsize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Share {
    /// Answers to requests with `Authorization`.
    Authorization,
    /// Answers with `Set-Cookie`.
    SetCookie,
    /// Answers marked `private`.
    Private,
}

/// What a successful write purges.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OnWrite {
    /// `tag:product:{id}`, `/api/products` on the same host, `prefix:/api/products` on every host, `route:NAME`.
    pub purge: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServerFields {
    #[default]
    Full,
    /// None of them is shown.
    Minimal,
}

const fn seconds(seconds: u64) -> Span {
    Span(Duration::from_secs(seconds))
}

const fn kib(kib: u64) -> Size {
    Size(kib << 10)
}

const fn mib(mib: u64) -> Size {
    kib(mib << 10)
}

impl Default for File {
    fn default() -> Self {
        Self {
            service: Name("default".into()),
            listen: OneOrMany::One(Address(([127, 0, 0, 1], 8080).into())),
            workers: None,
            admin: Admin::default(),
            origins: BTreeMap::new(),
            l1: L1::default(),
            l2: L2::default(),
            purge: Purge::default(),
            limits: Limits::default(),
            trusted_proxies: Vec::new(),
            defaults: Keys::default(),
            routes: Vec::new(),
            log: Log::default(),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: Address(([127, 0, 0, 1], 9090).into()), tokens: Vec::new() }
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            timeouts: Timeouts::default(),
            retries: Retries::default(),
            breaker: Breaker::default(),
            max_connections: count(256),
            host: HostField::Preserve,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: seconds(1), first_byte: seconds(8), idle: seconds(30) }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 1, budget: Part(0.1) }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: NonZeroU32::MIN.saturating_add(4), open_for: seconds(30) }
    }
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

impl Default for Purge {
    fn default() -> Self {
        Self {
            when_detached: WhenDetached::Validate,
            lease: seconds(10),
            retention: NonZeroU64::MIN.saturating_add(99_999),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: count(10_000),
            header_timeout: seconds(10),
            idle_timeout: seconds(30),
            body_timeout: seconds(10),
            stall_timeout: seconds(60),
            header_bytes: kib(64),
            header_fields: count(128),
            target_bytes: kib(16),
            drain: seconds(30),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, access: true, level: LogLevel::Info }
    }
}

impl Default for EarlyRefresh {
    fn default() -> Self {
        Self { beta: 1.0 }
    }
}

impl Default for Key {
    fn default() -> Self {
        Self { query: Query::default(), headers: Vec::new(), cookies: Vec::new(), host: true }
    }
}

impl Default for Vary {
    fn default() -> Self {
        Self { normalize: BTreeMap::new(), max_variants: count(64) }
    }
}

const fn count(count: usize) -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(count - 1)
}

/// The name of the only route where none is configured.
const DEFAULT_ROUTE: &str = "default";

impl File {
    /// The file with every default filled in: the routes hold what `defaults` and Larder say, and there is at least
    /// one.
    #[must_use]
    pub(crate) fn effective(mut self) -> Self {
        if self.routes.is_empty() {
            let name = Some(Name(DEFAULT_ROUTE.into()));
            self.routes.push(Route { name, ..Route::default() });
        }
        let only = match self.origins.len() {
            1 => self.origins.keys().next().cloned(),
            _ => None,
        };
        let layers = match self.l2 {
            L2::Without(Without::None) => vec![Layer::L1],
            L2::Stores(_) => vec![Layer::L1, Layer::L2],
        };
        let base = Keys { origin: only, layers: Some(layers), ..Keys::builtin() };
        for route in &mut self.routes {
            route.keys = std::mem::take(&mut route.keys).or(&self.defaults).or(&base);
        }
        let object = Size(mib(1).0.min(self.l1.capacity.0 / 4));
        self.l1.max_object.get_or_insert(object);
        self
    }
}

impl Match {
    fn is_empty(&self) -> bool {
        let Self { path, host, methods } = self;
        path.is_none() && host.is_none() && methods.is_none()
    }
}

impl Keys {
    /// What holds where neither a route nor `defaults` says anything, whatever else is configured.
    pub(crate) fn builtin() -> Self {
        Self {
            cache: Some(true),
            respect_origin: Some(true),
            heuristic_ttl: Some(seconds(24 * 3600)),
            keep: Some(seconds(600)),
            jitter: Some(Part(0.0)),
            client_directives: Some(ClientDirectives::Honour),
            key: Some(Key::default()),
            vary: Some(Vary::default()),
            share: Some(Vec::new()),
            coalesce: Some(true),
            server_fields: Some(ServerFields::Full),
            ..Self::default()
        }
    }

    /// These, and what `base` says of the keys that are not here.
    #[must_use]
    pub(crate) fn or(self, base: &Self) -> Self {
        macro_rules! or {
            ($($key:ident)*) => {
                Self { $($key: self.$key.or_else(|| base.$key.clone())),* }
            };
        }
        or! {
            origin cache ttl respect_origin stale_while_revalidate stale_if_error heuristic_ttl keep refresh_ahead
            early_refresh jitter negative client_ttl client_directives layers key vary share tags on_write coalesce
            server_fields
        }
    }

    fn is_empty(&self) -> bool {
        serde_json::to_value(self).is_ok_and(|keys| keys == serde_json::json!({}))
    }
}
