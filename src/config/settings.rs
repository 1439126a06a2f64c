//! What the configuration means: each part's settings, checked and complete.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, Method};
use rustls::pki_types::ServerName;
use secrecy::SecretString;

use crate::config::file::File;
use crate::config::scalar::address::{Endpoint, Network};
use crate::entry::seal::Seal;
use crate::purge::announce::Words;
use crate::purge::events::Events;
use crate::purge::template::Template;
use crate::rate::Rate;
use crate::route;
use crate::route::depends::Depends;

/// Everything that a running Larder is built from. Holds secrets, but shows none: neither in `Debug` nor in
/// [`Settings::print`].
#[derive(Clone, Debug)]
pub struct Settings {
    pub service: Arc<str>,
    /// What `Cache-Status` calls this cache.
    pub cache_name: Arc<str>,
    /// At least one.
    pub listen: Vec<Listener>,
    /// For the listeners that speak TLS.
    pub tls: Option<Tls>,
    /// At least one.
    pub workers: usize,
    pub admin: Admin,
    /// In the order of their names; each name once.
    pub origins: Vec<Origin>,
    pub l1: L1,
    pub l2: L2,
    pub purge: Purge,
    pub events: Events,
    /// The Redis stream that events are taken from.
    pub intake: Option<Arc<str>>,
    pub depends: Depends,
    /// Each name once.
    pub hooks: Vec<Hook>,
    /// Each name once.
    pub downstream: Vec<Downstream>,
    pub limits: Limits,
    /// How often a client may ask, over all routes.
    pub rate: Option<Rate>,
    pub trusted_proxies: Vec<Network>,
    /// In the order in which they are asked; each id once; each names one of `origins`.
    pub routes: Vec<route::Settings>,
    /// What no route matches: it passes.
    pub last_resort: route::Settings,
    pub log: Log,
    pub(crate) effective: Arc<File>,
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub address: SocketAddr,
    pub speaks: Speaks,
    /// Who says by the PROXY protocol for whom it connects.
    pub balancers: Vec<Network>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Plain,
    Tls,
}

/// Files in PEM format, and what is agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// At least one, each with its key; the first is for clients that name no host that another is for.
    pub certificates: Vec<(PathBuf, PathBuf)>,
    pub client: Option<ClientCertificates>,
    pub oldest: TlsVersion,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Who signs them.
    pub ca: PathBuf,
    pub presence: Presence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Required,
    Optional,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

impl Tls {
    /// Every file that is read.
    pub fn files(&self) -> Vec<PathBuf> {
        let pairs = self.certificates.iter().flat_map(|(certificate, key)| [certificate, key]);
        pairs.chain(self.client.as_ref().map(|client| &client.ca)).cloned().collect()
    }
}

#[derive(Clone, Debug)]
pub struct Admin {
    pub listen: SocketAddr,
    /// None: peers on this machine only.
    pub tokens: Vec<Token>,
}

#[derive(Clone, Debug)]
pub struct Token {
    pub name: Arc<str>,
    pub secret: SecretString,
    pub scopes: Vec<TokenScope>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenScope {
    Read,
    Purge,
    Config,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    pub name: Arc<str>,
    /// At least one.
    pub endpoints: Vec<Endpoint>,
    pub connect_timeout: Duration,
    pub first_byte_timeout: Duration,
    pub idle_timeout: Duration,
    pub retry_attempts: u32,
    /// Retries as a part of all requests, from 0 to 1.
    pub retry_budget: f64,
    pub breaker: Breaker,
    pub max_connections: usize,
    /// Requests that may wait for one of them, and how long.
    pub queue_length: usize,
    pub queue_timeout: Duration,
    /// The fixed `Host`; none, and the client's goes through.
    pub host: Option<Authority>,
    pub protocol: OriginProtocol,
    pub health: Option<Health>,
    pub slow_start: Duration,
    pub tls: OriginTls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginProtocol {
    Auto,
    Http2,
}

/// How endpoints are asked whether they are well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub path: PathAndQuery,
    pub every: Duration,
    pub timeout: Duration,
    pub unhealthy_after: u32,
    pub healthy_after: u32,
}

/// Files in PEM format, and the name that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginTls {
    pub authority: Option<PathBuf>,
    /// A certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
    pub server_name: Option<ServerName<'static>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    pub failures: u32,
    pub open_for: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L1 {
    pub capacity: u64,
    /// Counts only where there is an L2.
    pub max_ttl: Duration,
    pub max_object: u64,
}

#[derive(Clone, Debug)]
pub enum L2 {
    None,
    Disk(Disk),
    Redis(Redis),
}

#[derive(Clone, Debug)]
pub struct Disk {
    pub path: PathBuf,
    pub capacity: u64,
    pub max_object: u64,
    pub timeout: Duration,
    pub write_queue: usize,
    pub seal: Seal,
}

#[derive(Clone, Debug)]
pub struct Redis {
    pub servers: RedisServers,
    pub tls: RedisTls,
    pub read_from_replicas: bool,
    pub timeout: Duration,
    pub breaker: Breaker,
    pub write_queue: usize,
    pub max_object: u64,
    pub seal: Seal,
}

/// Where Redis is; URLs hold passwords.
#[derive(Clone, Debug)]
pub enum RedisServers {
    Single(SecretString),
    /// At least one.
    Cluster(Vec<SecretString>),
    Sentinel(Sentinel),
}

#[derive(Clone, Debug)]
pub struct Sentinel {
    pub master: String,
    /// At least one.
    pub urls: Vec<SecretString>,
    pub username: Option<String>,
    pub password: Option<SecretString>,
    pub database: u32,
}

/// Files in PEM format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisTls {
    pub authority: Option<PathBuf>,
    /// A certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purge {
    pub when_detached: WhenDetached,
    pub lease: Duration,
    /// Purges that the log keeps.
    pub retention: u64,
    pub rewarm: Rewarm,
    pub keep_for: Duration,
}

/// How the hottest entries that a purge takes are fetched again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewarm {
    pub keys: u32,
    pub per_second: usize,
    pub at_once: usize,
}

/// A webhook that tells of events.
#[derive(Clone, Debug)]
pub struct Hook {
    pub name: Arc<str>,
    pub secret: SecretString,
    pub signature: HeaderName,
    pub timestamp: Option<HeaderName>,
    pub tolerance: Duration,
    pub event: Template,
    /// Names with dots between levels; the whole payload where it is not given.
    pub data: Option<Arc<str>>,
}

/// Somebody who is told of purges.
#[derive(Clone, Debug)]
pub struct Downstream {
    pub name: Arc<str>,
    pub url: SecretString,
    /// Scheme and host of the URL, which may be shown.
    pub place: String,
    pub method: Method,
    pub fields: Vec<(HeaderName, Words)>,
    pub body: Option<Words>,
    pub site: Option<Arc<str>>,
    pub timeout: Duration,
    pub attempts: u32,
    pub queue: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenDetached {
    Validate,
    Serve,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub connections: usize,
    pub connections_per_client: Option<NonZeroUsize>,
    pub handshake_timeout: Duration,
    pub header_timeout: Duration,
    pub idle_timeout: Duration,
    pub body_timeout: Duration,
    pub stall_timeout: Duration,
    pub header_bytes: usize,
    pub header_fields: usize,
    pub target_bytes: usize,
    pub bodies_in_the_air: u64,
    pub drain: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    pub access: AccessLog,
    pub level: LogLevel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// As `tracing` writes it in filters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Settings {
    /// The configuration with every default filled in and every secret hidden, as YAML in the spelling of the file.
    pub fn print(&self) -> String {
        crate::config::print::yaml(&self.effective)
    }

    /// The same as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(&*self.effective).unwrap_or_default()
    }
}
