//! The configuration as it is written: every key with its meaning, its kind and its default.
//!
//! The schema, the reader and the printed configuration all come from these types, so that they cannot disagree.

pub mod listen;
pub mod origin;
pub mod purging;
pub mod route;
pub mod service;
pub mod store;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::file::listen::{Listen, Listeners, Tls};
use crate::config::file::origin::Origin;
use crate::config::file::purging::{Downstream, Event, Hook, Intake};
use crate::config::file::route::{Keys, Layer, Layers, Route};
use crate::config::file::service::{Admin, Limits, Log, Purge};
use crate::config::file::store::{L1, L2, Without};
use crate::config::scalar::address::{Address, Network};
use crate::config::scalar::amount::{Size, Span};
use crate::config::scalar::name::{CacheName, EventName, Name};

/// The name of the only route where none is configured.
const DEFAULT_ROUTE: &str = "default";

/// The configuration of Larder.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Larder")]
pub struct File {
    /// Names the fleet: instances of one service share their entries and purges. Part of every key in Redis.
    pub service: Name,
    /// What `Cache-Status` calls this cache (RFC 9211), so that caches in a row can be told apart.
    pub cache_name: CacheName,
    /// Where clients connect: an address with a port, or a list of them. Port 0 lets the system choose.
    pub listen: Listeners,
    /// Certificates, for the listeners that speak TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
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
    /// What happens elsewhere, by name, and what it purges: `POST /admin/events`. `order.*` is every name that begins
    /// so; of several that fit, all count.
    #[schemars(extend("x-keys" = "event-name"))]
    pub events: BTreeMap<EventName, Event>,
    /// A Redis stream with events, on the server of `l2.redis`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intake: Option<Intake>,
    /// Purging the left also purges the right: `"tag:user:{id}": [ "tag:feed:{id}" ]`.
    pub depends: BTreeMap<String, OneOrMany<String>>,
    /// Webhooks that tell of events: `POST /admin/hooks/NAME`.
    #[schemars(extend("x-keys" = "name"))]
    pub hooks: BTreeMap<Name, Hook>,
    /// Who is told of purges: a CDN before Larder.
    #[schemars(extend("x-keys" = "name"))]
    pub downstream: BTreeMap<Name, Downstream>,
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

impl Default for File {
    fn default() -> Self {
        Self {
            service: Name("default".into()),
            cache_name: CacheName("larder".into()),
            listen: Listeners::One(Listen::At(Address(([127, 0, 0, 1], 8080).into()))),
            tls: None,
            workers: None,
            admin: Admin::default(),
            origins: BTreeMap::new(),
            l1: L1::default(),
            l2: L2::default(),
            purge: Purge::default(),
            events: BTreeMap::new(),
            intake: None,
            depends: BTreeMap::new(),
            hooks: BTreeMap::new(),
            downstream: BTreeMap::new(),
            limits: Limits::default(),
            trusted_proxies: Vec::new(),
            defaults: Keys::default(),
            routes: Vec::new(),
            log: Log::default(),
        }
    }
}

impl<T> OneOrMany<T> {
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

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
        let base = Keys { origin: only, ..Keys::builtin() };
        for route in &mut self.routes {
            let mut keys = std::mem::take(&mut route.keys).or(&self.defaults).or(&base);
            let is_personal = keys.key.as_ref().is_some_and(route::Key::is_personal);
            let usual = if is_personal { vec![Layer::L2] } else { layers.clone() };
            keys.layers.get_or_insert(Layers::Named(usual));
            route.keys = if keys.cache == Some(false) { keys.passing() } else { keys };
        }
        let object = Size(mib(1).0.min(self.l1.capacity.0 / 4));
        self.l1.max_object.get_or_insert(object);
        self.listen.decide(self.tls.as_ref());
        self
    }
}

pub(super) const fn seconds(seconds: u64) -> Span {
    Span(Duration::from_secs(seconds))
}

pub(super) const fn kib(kib: u64) -> Size {
    Size(kib << 10)
}

pub(super) const fn mib(mib: u64) -> Size {
    kib(mib << 10)
}

pub(super) const fn count(count: usize) -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(count - 1)
}
