//! Routes, and what holds for all of them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::config::file::purging::PurgeMethod;
use crate::config::file::service::Rate;
use crate::config::file::store::Without;
use crate::config::file::{OneOrMany, count, kib, seconds};
use crate::config::scalar::amount::{Part, Size, Span};
use crate::config::scalar::name::{FieldName, Host, Name, Path, Status, Word};
use crate::message::fields::PERSONAL;

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
    /// RFC 10008: told apart by its content too.
    Query,
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
    /// Where entries live: a list, or a map with what holds for each layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Layers>,
    /// The part of the keys that is cached at all; requests for the others pass. The same keys on every instance; more of
    /// them with a greater part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Part>,
    /// The part of the entries that, before they are first shared with another identity, are compared with what the origin
    /// answers to that; `0%`: none. On a difference the route shares nothing any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tripwire: Option<Part>,
    /// What tells two requests apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// The route speaks GraphQL: operations that only ask are answered from the cache, by POST, QUERY and GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graphql: Option<GraphQl>,
    /// How `Vary` is heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vary: Option<Vary>,
    /// What may be shared between clients although HTTP says no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<Vec<Share>>,
    /// Tags of its entries, beside those in `Surrogate-Key`, `Cache-Tag`, `xkey` and `Cache-Groups`: `product:{id}`, with
    /// what `match.path` captures, `header:X-Tags`, or `json:$.vendor.id -> vendor:{}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Whether `Surrogate-Key`, `Cache-Tag` and `xkey` are kept from clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip_tags: Option<bool>,
    /// Whether a 200 to a POST is kept for a GET of the URL, where its `Content-Location` is the URL and it states how
    /// long it is fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_posts: Option<bool>,
    /// What else a successful POST, PUT, PATCH or DELETE purges, beside its own URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_write: Option<OnWrite>,
    /// Whose `PURGE` requests purge their URL; without it they pass like any other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purge_method: Option<PurgeMethod>,
    /// Which simultaneous requests for one URL share one fetch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coalesce: Option<Coalesce>,
    /// What the origin is asked for when a request wants a part of what is not stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranges: Option<Ranges>,
    /// Which fields of a request that is looked up the origin gets: `all`; `keyed`, those that tell requests apart; or a
    /// list of fields beside those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
    /// Keys of this route that are stored at once, by this instance; answers for more are served and not stored. No bound
    /// where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_keys: Option<NonZeroUsize>,
    /// Requests of this route that the origin has at once, from this instance: misses, refreshes and what passes. Others
    /// wait as `queue` of the origin says. No bound but the origin's where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_fetches: Option<NonZeroUsize>,
    /// How often one client may ask here; more is 429. `none` is no bound but that of `limits.rate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rated>,
    /// Whether clients see `X-Cache`, `X-Cache-Layer`, `Cache-Status` and `Via`, and the key in `Cache-Status`.
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

/// Where entries live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Layers {
    #[schemars(extend("minItems" = 1))]
    Named(Vec<Layer>),
    Ruled(LayerRules),
}

/// What holds for each layer; one that is not given is not used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LayerRules {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l1: Option<LayerRule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l2: Option<LayerRule>,
}

/// What holds for one layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LayerRule {
    /// How long what it holds counts as fresh there at most. A copy in memory is looked at again in L2 then; what is in
    /// L2, or in memory without an L2, is stale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ttl: Option<Span>,
}

/// Which simultaneous requests for one URL share one fetch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coalesce {
    /// Those of the fleet.
    #[default]
    #[serde(alias = "true")]
    On,
    /// Those of one instance.
    Process,
    /// None.
    #[serde(alias = "false")]
    Off,
}

impl JsonSchema for Coalesce {
    fn schema_name() -> Cow<'static, str> {
        "Coalesce".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": ["on", "process", "off", true, false] })
    }

    fn inline_schema() -> bool {
        true
    }
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
    /// Whether what counts is a person: then entries are kept in L2 alone, sealed. Where it is not given, it is so
    /// where a cookie or a field that carries an identity counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub personal: Option<bool>,
    /// How content tells requests apart: those of QUERY, and those of POST where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<KeyBody>,
}

/// How content tells requests apart.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeyBody {
    /// `[POST]`: the POST requests of this route change nothing, and are answered from the cache.
    pub of: Vec<BodyMethod>,
    /// What form of it counts, and is sent to the origin.
    pub format: BodyFormat,
    /// The longest content that is read; requests with more pass. At most 1MiB.
    pub limit: Size,
    /// Only these members of a JSON object; all where it is not given. The others are not sent to the origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub fields: Option<Vec<Word>>,
}

/// What a route can declare to change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum BodyMethod {
    Post,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BodyFormat {
    /// JSON as `json`, everything else as `bytes`.
    #[default]
    Auto,
    /// Blanks and the order of members do not count; what is no JSON passes.
    Json,
    /// Every byte counts.
    Bytes,
}

/// How a route speaks GraphQL.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GraphQl {
    /// The longest request that is read; longer ones pass. At most 1MiB.
    pub limit: Size,
    /// What a mutation does to what is stored for its URL.
    pub mutations: Mutations,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mutations {
    /// RFC 9111: all of it is invalid, as after every write.
    #[default]
    Purge,
    /// Nothing: purges come from elsewhere.
    Keep,
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
    /// Whether a success with one `Content-Language` also answers requests whose `Accept-Language` wants that
    /// language above all others. RFC 9111 §4.1 does not allow it: for origins that choose by nothing else.
    pub content_language: bool,
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

/// What the origin is asked for when a request wants a part of what is not stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ranges {
    /// The whole: one fetch serves every part, now and later.
    #[default]
    FetchWhole,
    /// The same part; what comes is stored as a part, and parts are combined.
    AsAsked,
}

/// Which fields of a request that is looked up the origin gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Forward {
    Word(ForwardWord),
    /// These, and those that tell requests apart.
    #[schemars(extend("minItems" = 1))]
    Named(Vec<FieldName>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ForwardWord {
    /// All but those of one hop and those that say whom the request is for.
    All,
    /// Those of `key` and `vary.normalize`, and of the content where it tells requests apart.
    Keyed,
}

/// How often one client may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Rated {
    Without(Without),
    With(Rate),
}

/// What a successful write purges.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OnWrite {
    /// `tag:product:{id}`, `/api/products` on the same host, `prefix:/api/products` on every host, `route:NAME`.
    pub purge: Vec<String>,
    /// Whether the URLs that were purged are fetched again at once.
    pub refresh: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServerFields {
    #[default]
    Full,
    /// None of them is shown.
    Minimal,
    /// All of them, and the key in `Cache-Status`: the URL as it is keyed, and the digest of the whole key.
    Debug,
}

impl Default for EarlyRefresh {
    fn default() -> Self {
        Self { beta: 1.0 }
    }
}

impl Default for Key {
    fn default() -> Self {
        Self {
            query: Query::default(),
            headers: Vec::new(),
            cookies: Vec::new(),
            host: true,
            personal: None,
            body: None,
        }
    }
}

impl Default for KeyBody {
    fn default() -> Self {
        Self { of: Vec::new(), format: BodyFormat::default(), limit: kib(64), fields: None }
    }
}

impl Default for GraphQl {
    fn default() -> Self {
        Self { limit: kib(64), mutations: Mutations::default() }
    }
}

impl Default for Vary {
    fn default() -> Self {
        Self { normalize: BTreeMap::new(), max_variants: count(64), content_language: false }
    }
}

impl Key {
    /// The first of what counts that tells persons apart, by its name.
    pub(crate) fn identity(&self) -> Option<&str> {
        let cookie = self.cookies.first().map(|cookie| cookie.0.as_str());
        let names = self.headers.iter().map(|name| name.0.as_str());
        let field = names
            .into_iter()
            .find(|name| PERSONAL.iter().any(|known| known.as_str().eq_ignore_ascii_case(name)));
        field.or(cookie)
    }

    /// Whether what the route keeps is one person's.
    pub(crate) fn is_personal(&self) -> bool {
        self.personal.unwrap_or_else(|| self.identity().is_some())
    }
}

impl Layers {
    /// What holds for memory, where it is used.
    pub(crate) fn l1(&self) -> Option<LayerRule> {
        match self {
            Self::Named(named) => named.contains(&Layer::L1).then(LayerRule::default),
            Self::Ruled(rules) => rules.l1,
        }
    }

    /// What holds for the store behind it, where it is used.
    pub(crate) fn l2(&self) -> Option<LayerRule> {
        match self {
            Self::Named(named) => named.contains(&Layer::L2).then(LayerRule::default),
            Self::Ruled(rules) => rules.l2,
        }
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
            strip_tags: Some(false),
            keep_posts: Some(false),
            rollout: Some(Part(1.0)),
            tripwire: Some(Part(0.01)),
            coalesce: Some(Coalesce::On),
            ranges: Some(Ranges::FetchWhole),
            forward: Some(Forward::Word(ForwardWord::All)),
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
            early_refresh jitter negative client_ttl client_directives layers rollout tripwire key graphql vary share tags
            strip_tags keep_posts on_write purge_method coalesce ranges forward max_keys max_fetches rate server_fields
        }
    }

    /// These without what says nothing on a route that stores nothing ([`Keys::STORING`]).
    #[must_use]
    pub(super) fn passing(self) -> Self {
        Self {
            ttl: None,
            stale_while_revalidate: None,
            stale_if_error: None,
            heuristic_ttl: None,
            refresh_ahead: None,
            early_refresh: None,
            negative: None,
            layers: None,
            rollout: None,
            tripwire: None,
            graphql: None,
            keep_posts: None,
            forward: None,
            max_keys: None,
            key: self.key.map(|key| Key { body: None, ..key }),
            ..self
        }
    }

    /// The keys that say nothing where nothing is stored.
    pub(crate) const STORING: [&str; 14] = [
        "ttl",
        "stale_while_revalidate",
        "stale_if_error",
        "heuristic_ttl",
        "refresh_ahead",
        "early_refresh",
        "negative",
        "layers",
        "rollout",
        "tripwire",
        "graphql",
        "keep_posts",
        "forward",
        "max_keys",
    ];

    pub(super) fn is_empty(&self) -> bool {
        serde_json::to_value(self).is_ok_and(|keys| keys == serde_json::json!({}))
    }
}
