//! One compiled rule set, which a request's host, path and method select.

pub mod census;
pub mod depends;
pub mod forward;
pub mod json;
pub mod purging;
pub mod rollout;
pub mod switches;
pub mod table;
pub mod tags;
pub mod tripwire;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};

use crate::entry::facts::{RouteId, Tag};
use crate::key::KeyRules;
use crate::key::content::{Form, Writes};
use crate::key::vary::VaryRules;
use crate::origin::Origin;
use crate::origin::places::Places;
use crate::policy::{Policy, Post};
use crate::rate::{Limiter, Rate};
use crate::route::census::Census;
use crate::route::forward::Forward;
use crate::route::purging::PurgeMethod;
use crate::route::rollout::Rollout;
use crate::route::table::Match;
use crate::route::tags::{OnWrite, TagRules, TooMany};
use crate::route::tripwire::Tripwire;
use crate::telemetry::metrics::RouteMetrics;

/// A route, compiled: everything that its requests need, behind one pointer.
pub struct Route {
    pub id: RouteId,
    pub matches: Match,
    pub methods: Methods,
    pub origin: Arc<Origin>,
    pub mode: Mode,
    pub policy: Policy,
    pub key: KeyRules,
    pub vary: VaryRules,
    pub layers: Layers,
    pub caps: Caps,
    pub rollout: Rollout,
    pub tripwire: Tripwire,
    pub tags: TagRules,
    /// What a successful unsafe request purges besides its own URL.
    pub on_write: Vec<OnWrite>,
    pub after_write: AfterWrite,
    /// Whose PURGE requests purge; none, and they pass like any other.
    pub purge_method: Option<PurgeMethod>,
    /// What the client is told as lifetime, if not what the origin said.
    pub client_ttl: Option<Duration>,
    pub coalescing: Coalescing,
    pub ranges: RangeFetch,
    pub forward: Forward,
    /// Its keys that are stored, where they are bounded.
    pub census: Option<Arc<Census>>,
    /// Its requests to the origin, where they are bounded.
    pub places: Option<Places>,
    /// Who asks too often is refused.
    pub rate: Option<Arc<Limiter>>,
    pub server_fields: ServerFields,
    pub metrics: RouteMetrics,
}

/// Everything of a route that a configuration says: a route without its origin and its metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub id: RouteId,
    pub matches: Match,
    pub methods: Methods,
    /// The origin's name.
    pub origin: Arc<str>,
    pub mode: Mode,
    pub policy: Policy,
    pub key: KeyRules,
    pub vary: VaryRules,
    pub layers: Layers,
    pub caps: Caps,
    pub rollout: Rollout,
    /// The part of the entries, from 0 to 1, that are compared before another identity gets them.
    pub tripwire: f64,
    pub tags: TagRules,
    pub on_write: Vec<OnWrite>,
    pub after_write: AfterWrite,
    pub purge_method: Option<PurgeMethod>,
    pub client_ttl: Option<Duration>,
    pub coalescing: Coalescing,
    pub ranges: RangeFetch,
    pub forward: Forward,
    /// Keys of it that are stored at once.
    pub max_keys: Option<NonZeroUsize>,
    /// Requests of it that the origin has at once.
    pub max_fetches: Option<NonZeroUsize>,
    pub rate: Option<Rate>,
    pub server_fields: ServerFields,
}

/// What a route's settings name, built.
pub struct Parts {
    pub origin: Arc<Origin>,
    pub census: Option<Arc<Census>>,
    pub places: Option<Places>,
    pub rate: Option<Arc<Limiter>>,
    pub metrics: RouteMetrics,
}

/// Whether a route's requests are looked up at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Cache,
    Pass,
}

/// Which safe methods a route answers from its store. A POST is answered where the policy vouches for it; every
/// other method takes the same route and passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods {
    pub get: bool,
    pub head: bool,
    pub query: bool,
}

/// How a request is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sought {
    ByUrl,
    /// By its URL and its content.
    ByContent,
    /// Not at all: it passes.
    Nowhere,
}

/// Which layers a route's entries live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    Both,
    OnlyL1,
    OnlyL2,
}

/// How long what a layer holds counts as fresh there at most; nothing: as long as it is. A cap never extends anything, and
/// ages go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Of a copy in memory, since it was taken there or compared with what the store behind it has; where there is no such
    /// store, since its response arrived.
    pub l1: Option<Duration>,
    /// Of an entry in the store behind memory, since its response arrived.
    pub l2: Option<Duration>,
}

/// What becomes of the URLs that a write purged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterWrite {
    /// The next client that asks has them fetched.
    #[default]
    Wait,
    /// They are fetched at once.
    Refresh,
}

/// Which requests for one URL share a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coalescing {
    /// Those of all instances that share a store.
    Fleet,
    /// Those of one instance.
    Process,
    /// Each has its own.
    Off,
}

/// What the origin is asked for when a request wants a part of what is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeFetch {
    /// The whole, which serves every part.
    Whole,
    /// The same part.
    AsAsked,
}

/// What the client sees of Larder itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerFields {
    Full,
    /// No `X-Cache`, `X-Cache-Layer`, `Cache-Status` and `Via`.
    Minimal,
    /// `Cache-Status` tells the key too.
    Debug,
}

impl Route {
    /// The route that `settings` describe, of the parts that they name.
    pub fn new(settings: Settings, parts: Parts) -> Self {
        Self {
            id: settings.id,
            matches: settings.matches,
            methods: settings.methods,
            origin: parts.origin,
            mode: settings.mode,
            policy: settings.policy,
            key: settings.key,
            vary: settings.vary,
            layers: settings.layers,
            caps: settings.caps,
            rollout: settings.rollout,
            tripwire: Tripwire::new(settings.tripwire),
            tags: settings.tags,
            on_write: settings.on_write,
            after_write: settings.after_write,
            purge_method: settings.purge_method,
            client_ttl: settings.client_ttl,
            coalescing: settings.coalescing,
            ranges: settings.ranges,
            forward: settings.forward,
            census: parts.census,
            places: parts.places,
            rate: parts.rate,
            server_fields: settings.server_fields,
            metrics: parts.metrics,
        }
    }

    /// How a request with this method is looked up, if it is.
    pub fn seeks(&self, method: &Method) -> Sought {
        let Methods { get, head, query } = self.methods;
        match (self.mode, method) {
            (Mode::Cache, &Method::GET) if get => Sought::ByUrl,
            (Mode::Cache, &Method::HEAD) if head => Sought::ByUrl,
            (Mode::Cache, &Method::QUERY) if query => Sought::ByContent,
            (Mode::Cache, &Method::POST) if self.policy.post == Post::Vouched => Sought::ByContent,
            (Mode::Cache | Mode::Pass, _) => Sought::Nowhere,
        }
    }

    /// Whether a GET is looked up in memory by its URL as it was sent, and what is stored answers as it is: nothing is
    /// added to the key or left out of it, and nothing depends on chance or is told differently.
    pub fn answers_plainly(&self) -> bool {
        self.seeks(&Method::GET) == Sought::ByUrl
            && self.layers != Layers::OnlyL2
            && self.rollout.is_whole()
            && self.graphql().is_none()
            && self.key.is_plain()
            && self.policy.early_refresh.is_none()
            && self.client_ttl.is_none()
            && self.rate.is_none()
            && self.server_fields == ServerFields::Full
    }

    /// Whether the answer to a request with this method, which passes, may be kept for a GET. What passes is sent whole,
    /// and so more than a GET would be where that is narrowed.
    pub fn keeps_for_get(&self, method: &Method) -> bool {
        *method == Method::POST
            && self.forward == Forward::All
            && self.policy.post == Post::Answering
            && self.seeks(&Method::GET) == Sought::ByUrl
    }

    /// What GraphQL requests that pass do to what is stored, where the route speaks GraphQL.
    pub fn graphql(&self) -> Option<Writes> {
        match self.key.content.form {
            Form::GraphQl { writes } => Some(writes),
            Form::Auto | Form::Bytes | Form::Json { .. } => None,
        }
    }

    /// Every tag of a response to `path`; too many, and it is not to be stored.
    pub fn tags_of(&self, path: &str, response: &HeaderMap) -> Result<Box<[Tag]>, TooMany> {
        self.tags.tags(path, &self.matches.path, response)
    }
}

impl Default for Methods {
    fn default() -> Self {
        Self { get: true, head: true, query: true }
    }
}
