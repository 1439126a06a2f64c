//! From what was written to what is meant: a file without faults becomes settings.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use secrecy::ExposeSecret;

use crate::config::check::routes::{LAST_RESORT, matches};
use crate::config::file::listen::Listen;
use crate::config::file::route::{
    BodyFormat, BodyMethod, Coalesce, GraphQl, KeyBody, Keys, LayerRule, Mutations, Rated,
};
use crate::config::file::{self, File};
use crate::config::scalar::address::{HostField, RedisUrl};
use crate::config::scalar::amount::{Size, Span};
use crate::config::scalar::name::{EventName, FieldName, Word};
use crate::config::settings::{
    AccessLog, Admin, Breaker, ClientCertificates, Disk, Downstream, Health, Hook, L1, L2, Limits,
    Listener, Log, LogFormat, LogLevel, Origin, OriginProtocol, OriginTls, Presence, Purge, Redis,
    RedisServers, RedisTls, Rewarm, Sentinel, Settings, Speaks, Tls, TlsVersion, Token, TokenScope,
    WhenDetached,
};
use crate::entry::facts::RouteId;
use crate::entry::seal::{self, Compression, Seal, SealKey};
use crate::key::canonical::{QueryLanguage, QueryOrder, QueryRules};
use crate::key::content::{ContentRules, Form, Writes};
use crate::key::pattern::PathPattern;
use crate::key::vary::{LanguageRule, VaryRules};
use crate::key::{HostRule, KeyRules};
use crate::message::bearer::Digest;
use crate::message::network::Network;
use crate::policy::{ClientDirectives, OriginLifetime, Policy, Post, Share};
use crate::purge::Effect;
use crate::purge::announce::Words;
use crate::purge::events::{EventRule, Events, NamePattern};
use crate::purge::template::{Holes, Rule, Template};
use crate::rate::{By, Fields, Rate};
use crate::route::depends::{Dependency, Depends, Left};
use crate::route::purging::PurgeMethod;
use crate::route::rollout::Rollout;
use crate::route::table::Match;
use crate::route::tags::{OnWrite, TagFields, TagRules};
use crate::route::{
    self, AfterWrite, Caps, Coalescing, Layers, Methods, Mode, RangeFetch, ServerFields,
};

/// The settings of an effective file (`File::effective`) that passed every check.
///
/// Total: what a check should have refused is left out here, never a panic.
pub(crate) fn compile(file: File) -> Settings {
    let routes = file.routes.iter().map(|route| route_settings(&file, route)).collect();
    Settings {
        service: file.service.0.as_str().into(),
        cache_name: file.cache_name.0.as_str().into(),
        listen: file.listen.as_slice().iter().filter_map(listener).collect(),
        tls: file.tls.as_ref().map(tls),
        workers: file.workers.map_or_else(cores, std::num::NonZero::get),
        admin: admin(&file.admin),
        origins: file.origins.iter().map(|(name, origin)| server(&name.0, origin)).collect(),
        l1: L1 {
            capacity: file.l1.capacity.0,
            max_ttl: file.l1.max_ttl.0,
            max_object: file.l1.max_object.map_or(0, |size| size.0),
        },
        l2: l2(&file.l2),
        purge: Purge {
            when_detached: match file.purge.when_detached {
                file::service::WhenDetached::Validate => WhenDetached::Validate,
                file::service::WhenDetached::Serve => WhenDetached::Serve,
            },
            lease: file.purge.lease.0,
            retention: file.purge.retention.get(),
            rewarm: Rewarm {
                keys: file.purge.rewarm.keys,
                per_second: file.purge.rewarm.per_second.get(),
                at_once: file.purge.rewarm.at_once.get(),
            },
            keep_for: file.purge.keep_for.0,
        },
        events: events(&file),
        intake: file.intake.as_ref().and_then(|it| Some(it.stream.as_ref()?.0.as_str().into())),
        depends: depends(&file),
        hooks: file.hooks.iter().filter_map(|(name, it)| hook(&name.0, it)).collect(),
        downstream: file
            .downstream
            .iter()
            .filter_map(|(name, it)| downstream(&name.0, it))
            .collect(),
        limits: limits(&file.limits),
        rate: file.limits.rate.as_ref().map(rate),
        trusted_proxies: file.trusted_proxies.clone(),
        routes,
        last_resort: last_resort(&file),
        log: log(&file.log),
        effective: Arc::new(file),
    }
}

fn listener(listen: &Listen) -> Option<Listener> {
    Some(Listener {
        address: listen.address()?.0,
        speaks: if listen.tls() == Some(true) { Speaks::Tls } else { Speaks::Plain },
        balancers: listen.balancers().to_vec(),
    })
}

fn tls(tls: &file::listen::Tls) -> Tls {
    let paths = |(certificate, key): (&str, &str)| (certificate.into(), key.into());
    let client = tls.client.as_ref().and_then(|client| {
        let presence = if client.required { Presence::Required } else { Presence::Optional };
        Some(ClientCertificates { ca: client.ca.as_ref()?.into(), presence })
    });
    let oldest = match tls.min_version {
        file::listen::TlsVersion::Tls12 => TlsVersion::Tls12,
        file::listen::TlsVersion::Tls13 => TlsVersion::Tls13,
    };
    Tls { certificates: tls.pairs().map(paths).collect(), client, oldest }
}

fn events(file: &File) -> Events {
    let rule = |(name, event): (&EventName, &file::purging::Event)| {
        let rules = event.purge.iter();
        EventRule {
            name: NamePattern(name.0.as_str().into()),
            purge: rules.filter_map(|text| Rule::parse(text, Holes::OfData).ok()).collect(),
            effect: if event.soft { Effect::MarkStale } else { Effect::Remove },
            rewarm: event.rewarm,
        }
    };
    Events { rules: file.events.iter().map(rule).collect() }
}

fn depends(file: &File) -> Depends {
    let rules = file.depends.iter().filter_map(|(left, right)| {
        let left = Left::parse(left).ok()?;
        let right = right.as_slice().iter();
        let right = right.filter_map(|text| Dependency::right(text, &left).ok()).collect();
        Some(Dependency::new(left, right))
    });
    Depends::new(rules.collect())
}

fn hook(name: &str, hook: &file::purging::Hook) -> Option<Hook> {
    Some(Hook {
        name: name.into(),
        secret: hook.secret.as_ref()?.0.clone(),
        signature: hook.signature.name(),
        timestamp: hook.timestamp.as_ref().map(FieldName::name),
        tolerance: hook.tolerance.0,
        event: Template::parse(hook.event.as_ref()?, Holes::OfData).ok()?,
        data: hook.data.as_deref().map(Arc::from),
    })
}

fn downstream(name: &str, downstream: &file::purging::Downstream) -> Option<Downstream> {
    let url = downstream.url.as_ref()?;
    let fields = downstream.fields.iter();
    let fields =
        fields.filter_map(|(name, text)| Some((name.name(), Words::parse(text.text()).ok()?)));
    Some(Downstream {
        name: name.into(),
        url: url.0.clone(),
        place: url.place(),
        method: downstream.method.0.parse().ok()?,
        fields: fields.collect(),
        body: downstream.body.as_ref().and_then(|text| Words::parse(text.text()).ok()),
        site: downstream.site.as_ref().map(|site| site.to_string().into()),
        timeout: downstream.timeout.0,
        attempts: downstream.attempts,
        queue: downstream.queue.get(),
    })
}

/// Whose PURGE requests purge; the tokens are those of the admin side.
fn purge_method(file: &File, keys: &Keys) -> Option<PurgeMethod> {
    let method = keys.purge_method.as_ref()?;
    let from = method.from.iter();
    let tokens = file.admin.tokens.iter().filter_map(|token| {
        let name = token.name.as_ref().filter(|name| method.tokens.contains(name))?;
        let secret = token.secret.as_ref()?.0.expose_secret();
        Some((name.0.as_str().into(), Digest::of(secret.as_bytes())))
    });
    Some(PurgeMethod {
        from: from.map(|it| Network { address: it.address, bits: it.bits }).collect(),
        tokens: tokens.collect(),
    })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn admin(admin: &file::service::Admin) -> Admin {
    let tokens = admin.tokens.iter().filter_map(|token| {
        let scopes = token.scopes.iter().flatten().map(|scope| match scope {
            file::service::TokenScope::Read => TokenScope::Read,
            file::service::TokenScope::Purge => TokenScope::Purge,
            file::service::TokenScope::Config => TokenScope::Config,
        });
        Some(Token {
            name: token.name.as_ref()?.0.as_str().into(),
            secret: token.secret.as_ref()?.0.clone(),
            scopes: scopes.collect(),
        })
    });
    Admin { listen: admin.listen.0, tokens: tokens.collect() }
}

fn server(name: &str, origin: &file::origin::Origin) -> Origin {
    Origin {
        name: name.into(),
        endpoints: origin.endpoints.clone(),
        connect_timeout: origin.timeouts.connect.0,
        first_byte_timeout: origin.timeouts.first_byte.0,
        idle_timeout: origin.timeouts.idle.0,
        retry_attempts: origin.retries.attempts,
        retry_budget: origin.retries.budget.0,
        breaker: breaker(&origin.breaker),
        max_connections: origin.max_connections.get(),
        queue_length: origin.queue.length,
        queue_timeout: origin.queue.timeout.0,
        host: match &origin.host {
            HostField::Preserve => None,
            HostField::Fixed(host) => Some(host.clone()),
        },
        protocol: match origin.protocol {
            file::origin::Protocol::Auto => OriginProtocol::Auto,
            file::origin::Protocol::H2 => OriginProtocol::Http2,
        },
        health: origin.health.as_ref().and_then(health),
        slow_start: origin.slow_start.0,
        tls: origin.tls.as_ref().map(origin_tls).unwrap_or_default(),
    }
}

fn health(health: &file::origin::Health) -> Option<Health> {
    Some(Health {
        path: health.path.as_ref()?.0.clone(),
        every: health.every.0,
        timeout: health.timeout.0,
        unhealthy_after: health.unhealthy_after.get(),
        healthy_after: health.healthy_after.get(),
    })
}

fn origin_tls(tls: &file::origin::Tls) -> OriginTls {
    let client = tls.certificate.as_ref().zip(tls.key.as_ref());
    OriginTls {
        authority: tls.ca.as_ref().map(PathBuf::from),
        client: client.map(|(certificate, key)| (certificate.into(), key.into())),
        server_name: tls.server_name.as_ref().map(|name| name.0.clone()),
    }
}

fn breaker(breaker: &file::origin::Breaker) -> Breaker {
    Breaker { failures: breaker.failures.get(), open_for: breaker.open_for.0 }
}

fn l2(l2: &file::store::L2) -> L2 {
    let stores = match l2 {
        file::store::L2::Without(file::store::Without::None) => return L2::None,
        file::store::L2::Stores(stores) => stores,
    };
    let max_object = stores.max_object.0;
    let seal = seal(stores);
    if let Some((redis, servers)) =
        stores.redis.as_ref().and_then(|redis| Some((redis, redis_servers(redis)?)))
    {
        return L2::Redis(Redis {
            servers,
            tls: redis.tls.as_ref().map(redis_tls).unwrap_or_default(),
            read_from_replicas: redis.read_from_replicas,
            timeout: redis.timeout.0,
            breaker: breaker(&redis.breaker),
            write_queue: redis.write_queue.get(),
            max_object,
            seal,
        });
    }
    if let Some((disk, path)) =
        stores.disk.as_ref().and_then(|disk| Some((disk, disk.path.as_ref()?)))
    {
        return L2::Disk(Disk {
            path: PathBuf::from(path),
            capacity: disk.capacity.0,
            max_object,
            timeout: disk.timeout.0,
            write_queue: disk.write_queue.get(),
            seal,
        });
    }
    L2::None
}

fn seal(stores: &file::store::Stores) -> Seal {
    let compression = match stores.compress {
        file::store::Compress::Without(file::store::Without::None) => None,
        file::store::Compress::With(file::store::Compression { over, with, level }) => match with {
            file::store::Coding::Zstd => {
                Some(Compression { over: over.0, level: i32::from(level) })
            }
        },
    };
    let keys = stores.encrypt.iter().flat_map(|encrypt| &encrypt.keys);
    let keys = keys.filter_map(|key| {
        let (id, secret) = (key.id.as_ref()?, key.secret.as_ref()?);
        Some(SealKey::new(&id.0, secret.0.expose_secret()))
    });
    let keys = keys.collect();
    Seal::new(seal::Settings { compression, keys, max_object: stores.max_object.0 })
}

fn redis_servers(redis: &file::store::Redis) -> Option<RedisServers> {
    let secrets = |urls: &[RedisUrl]| urls.iter().map(|url| url.0.clone()).collect();
    if let Some(url) = &redis.url {
        return Some(RedisServers::Single(url.0.clone()));
    }
    if let Some(urls) = &redis.cluster {
        return Some(RedisServers::Cluster(secrets(urls)));
    }
    let sentinel = redis.sentinel.as_ref()?;
    Some(RedisServers::Sentinel(Sentinel {
        master: sentinel.master.as_ref()?.0.clone(),
        urls: secrets(sentinel.urls.as_ref()?),
        username: sentinel.username.as_ref().map(|name| name.0.clone()),
        password: sentinel.password.as_ref().map(|secret| secret.0.clone()),
        database: sentinel.database,
    }))
}

fn redis_tls(tls: &file::store::RedisTls) -> RedisTls {
    RedisTls {
        authority: tls.ca.as_ref().map(PathBuf::from),
        client: tls
            .certificate
            .as_ref()
            .zip(tls.key.as_ref())
            .map(|(certificate, key)| (PathBuf::from(certificate), PathBuf::from(key))),
    }
}

fn limits(limits: &file::service::Limits) -> Limits {
    Limits {
        connections: limits.connections.get(),
        connections_per_client: limits.connections_per_client,
        handshake_timeout: limits.handshake_timeout.0,
        header_timeout: limits.header_timeout.0,
        idle_timeout: limits.idle_timeout.0,
        body_timeout: limits.body_timeout.0,
        stall_timeout: limits.stall_timeout.0,
        header_bytes: bytes(limits.header_bytes),
        header_fields: limits.header_fields.get(),
        target_bytes: bytes(limits.target_bytes),
        bodies_in_the_air: limits.bodies_in_the_air.0,
        drain: limits.drain.0,
    }
}

fn rate(rate: &file::service::Rate) -> Rate {
    Rate {
        requests: rate.requests,
        per: rate.per.0,
        burst: rate.burst.unwrap_or(rate.requests),
        by: rate.by.field().map_or(By::Address, By::Field),
        fields: if rate.fields { Fields::Told } else { Fields::Untold },
    }
}

fn route_rate(keys: &Keys) -> Option<Rate> {
    match keys.rate.as_ref()? {
        Rated::Without(_) => None,
        Rated::With(with) => Some(rate(with)),
    }
}

fn log(log: &file::service::Log) -> Log {
    Log {
        format: match log.format {
            file::service::LogFormat::Text => LogFormat::Text,
            file::service::LogFormat::Json => LogFormat::Json,
        },
        access: if log.access { AccessLog::On } else { AccessLog::Off },
        level: match log.level {
            file::service::LogLevel::Error => LogLevel::Error,
            file::service::LogLevel::Warn => LogLevel::Warn,
            file::service::LogLevel::Info => LogLevel::Info,
            file::service::LogLevel::Debug => LogLevel::Debug,
            file::service::LogLevel::Trace => LogLevel::Trace,
        },
    }
}

/// A route whose keys hold their defaults already.
fn route_settings(file: &File, route: &file::route::Route) -> route::Settings {
    let keys = &route.keys;
    let matches = matches(route);
    let path = &matches.path;
    let mut tags = TagRules::default();
    for text in keys.tags.iter().flatten() {
        // A template that cannot be used was a fault.
        let _ = tags.add(text, path);
    }
    let writes = keys.on_write.iter().flat_map(|rule| &rule.purge);
    route::Settings {
        id: RouteId::new(route.name.as_ref().map_or("", |name| name.0.as_str())),
        methods: methods(route.matches.methods.as_deref()),
        origin: origin_of(file, keys),
        mode: if keys.cache == Some(false) { Mode::Pass } else { Mode::Cache },
        policy: policy(keys),
        key: key_rules(&keys.key.clone().unwrap_or_default(), keys.graphql.as_ref()),
        vary: vary(&keys.vary.clone().unwrap_or_default()),
        layers: layers(keys.layers.as_ref()),
        caps: caps(keys.layers.as_ref()),
        rollout: keys.rollout.map_or(Rollout::ALL, |part| Rollout::of(part.0)),
        tripwire: keys.tripwire.map_or(0.0, |part| part.0),
        after_write: match &keys.on_write {
            Some(rule) if rule.refresh => AfterWrite::Refresh,
            Some(_) | None => AfterWrite::Wait,
        },
        purge_method: purge_method(file, keys),
        on_write: writes.filter_map(|text| OnWrite::parse(text, path).ok()).collect(),
        tags: tags.showing(tag_fields(keys)),
        client_ttl: duration(keys.client_ttl),
        coalescing: coalescing(keys.coalesce.unwrap_or_default()),
        ranges: ranges(keys),
        forward: forward(keys),
        max_keys: keys.max_keys,
        max_fetches: keys.max_fetches,
        rate: route_rate(keys),
        server_fields: server_fields(keys),
        matches,
    }
}

fn last_resort(file: &File) -> route::Settings {
    let keys = &file.defaults;
    route::Settings {
        id: RouteId::new(LAST_RESORT),
        matches: Match { path: PathPattern::every(), hosts: Vec::new() },
        methods: Methods::default(),
        origin: origin_of(file, keys),
        mode: Mode::Pass,
        policy: Policy::default(),
        key: KeyRules::default(),
        vary: VaryRules::default(),
        layers: Layers::Both,
        caps: Caps::default(),
        rollout: Rollout::ALL,
        tripwire: 0.0,
        tags: TagRules::default().showing(tag_fields(keys)),
        on_write: Vec::new(),
        after_write: AfterWrite::Wait,
        purge_method: purge_method(file, keys),
        client_ttl: None,
        coalescing: Coalescing::Off,
        ranges: RangeFetch::Whole,
        forward: route::forward::Forward::All,
        max_keys: keys.max_keys,
        max_fetches: keys.max_fetches,
        rate: route_rate(keys),
        server_fields: server_fields(keys),
    }
}

fn origin_of(file: &File, keys: &Keys) -> Arc<str> {
    let named = keys.origin.as_ref().or_else(|| file.origins.keys().next());
    named.map_or("", |name| name.0.as_str()).into()
}

fn tag_fields(keys: &Keys) -> TagFields {
    if keys.strip_tags == Some(true) { TagFields::Stripped } else { TagFields::Kept }
}

fn ranges(keys: &Keys) -> RangeFetch {
    match keys.ranges.unwrap_or_default() {
        file::route::Ranges::FetchWhole => RangeFetch::Whole,
        file::route::Ranges::AsAsked => RangeFetch::AsAsked,
    }
}

fn forward(keys: &Keys) -> route::forward::Forward {
    match &keys.forward {
        None | Some(file::route::Forward::Word(file::route::ForwardWord::All)) => {
            route::forward::Forward::All
        }
        Some(file::route::Forward::Word(file::route::ForwardWord::Keyed)) => {
            route::forward::Forward::Keyed(Vec::new())
        }
        Some(file::route::Forward::Named(names)) => {
            route::forward::Forward::Keyed(names.iter().map(FieldName::name).collect())
        }
    }
}

fn server_fields(keys: &Keys) -> ServerFields {
    match keys.server_fields.unwrap_or_default() {
        file::route::ServerFields::Full => ServerFields::Full,
        file::route::ServerFields::Minimal => ServerFields::Minimal,
        file::route::ServerFields::Debug => ServerFields::Debug,
    }
}

fn methods(methods: Option<&[file::route::Method]>) -> Methods {
    let Some(methods) = methods else { return Methods::default() };
    Methods {
        get: methods.contains(&file::route::Method::Get),
        head: methods.contains(&file::route::Method::Head),
        query: methods.contains(&file::route::Method::Query),
    }
}

fn layers(layers: Option<&file::route::Layers>) -> Layers {
    let uses =
        |rule: fn(&file::route::Layers) -> Option<LayerRule>| layers.and_then(rule).is_some();
    match (uses(file::route::Layers::l1), uses(file::route::Layers::l2)) {
        (true, false) => Layers::OnlyL1,
        (false, true) => Layers::OnlyL2,
        (true, true) | (false, false) => Layers::Both,
    }
}

fn caps(layers: Option<&file::route::Layers>) -> Caps {
    let cap = |rule: Option<LayerRule>| duration(rule?.max_ttl);
    Caps {
        l1: cap(layers.and_then(file::route::Layers::l1)),
        l2: cap(layers.and_then(file::route::Layers::l2)),
    }
}

fn coalescing(coalesce: Coalesce) -> Coalescing {
    match coalesce {
        Coalesce::On => Coalescing::Fleet,
        Coalesce::Process => Coalescing::Process,
        Coalesce::Off => Coalescing::Off,
    }
}

fn duration(span: Option<Span>) -> Option<Duration> {
    span.map(|span| span.0)
}

fn policy(keys: &Keys) -> Policy {
    let base = Policy::default();
    let negative = keys
        .negative
        .iter()
        .flatten()
        .filter_map(|(status, span)| Some((StatusCode::from_u16(status.0).ok()?, span.0)));
    let share = keys.share.iter().flatten().map(|share| match share {
        file::route::Share::Authorization => Share::Authorization,
        file::route::Share::SetCookie => Share::SetCookie,
        file::route::Share::Private => Share::Private,
    });
    Policy {
        ttl: duration(keys.ttl),
        origin_lifetime: match keys.respect_origin {
            Some(false) => OriginLifetime::Replaced,
            Some(true) | None => OriginLifetime::Respected,
        },
        stale_while_revalidate: duration(keys.stale_while_revalidate),
        stale_if_error: duration(keys.stale_if_error),
        refresh_ahead: keys.refresh_ahead.map(|part| part.0).filter(|part| *part > 0.0),
        early_refresh: keys.early_refresh.map(|early| early.beta),
        jitter: keys.jitter.map_or(base.jitter, |part| part.0),
        negative: negative.collect(),
        client_directives: match keys.client_directives.unwrap_or_default() {
            file::route::ClientDirectives::Honour => ClientDirectives::Honoured,
            file::route::ClientDirectives::Ignore => ClientDirectives::Ignored,
        },
        post: post(keys),
        share: share.collect(),
        heuristic_cap: duration(keys.heuristic_ttl).unwrap_or(base.heuristic_cap),
        keep: duration(keys.keep).unwrap_or(base.keep),
    }
}

/// A route that vouches for its POST requests keeps their answers for the like of them alone; one that speaks GraphQL tells by itself which of its POST requests only ask.
fn post(keys: &Keys) -> Post {
    let body = keys.key.as_ref().and_then(|key| key.body.as_ref());
    let vouched = body.is_some_and(|body| body.of.contains(&BodyMethod::Post));
    if vouched || keys.graphql.is_some() {
        Post::Vouched
    } else if keys.keep_posts == Some(true) {
        Post::Answering
    } else {
        Post::Unsafe
    }
}

fn key_rules(key: &file::route::Key, graphql: Option<&GraphQl>) -> KeyRules {
    KeyRules {
        query: QueryRules {
            allow: key.query.allow.as_deref().map(texts),
            deny: texts(&key.query.deny),
            order: if key.query.sort { QueryOrder::Sorted } else { QueryOrder::AsSent },
            language: match graphql {
                Some(_) => QueryLanguage::GraphQl,
                None => QueryLanguage::Unknown,
            },
        },
        headers: key.headers.iter().map(FieldName::name).collect(),
        cookies: texts(&key.cookies),
        host: if key.host { HostRule::Keyed } else { HostRule::Ignored },
        content: graphql.map_or_else(
            || key.body.as_ref().map(content_rules).unwrap_or_default(),
            graphql_rules,
        ),
    }
}

fn content_rules(body: &KeyBody) -> ContentRules {
    let form = match body.format {
        BodyFormat::Auto => Form::Auto,
        BodyFormat::Bytes => Form::Bytes,
        BodyFormat::Json => Form::Json { members: body.fields.as_deref().map(texts) },
    };
    ContentRules { form, limit: bytes(body.limit) }
}

fn graphql_rules(graphql: &GraphQl) -> ContentRules {
    let writes = match graphql.mutations {
        Mutations::Purge => Writes::Invalidate,
        Mutations::Keep => Writes::Keep,
    };
    ContentRules { form: Form::GraphQl { writes }, limit: bytes(graphql.limit) }
}

fn bytes(size: Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

fn vary(vary: &file::route::Vary) -> VaryRules {
    let normalize = vary.normalize.iter().map(|(name, values)| (name.name(), texts(values)));
    VaryRules {
        normalize: normalize.collect(),
        max_variants: vary.max_variants.get(),
        language: if vary.content_language { LanguageRule::Heard } else { LanguageRule::Unheard },
    }
}

fn texts(words: &[Word]) -> Vec<String> {
    words.iter().map(|word| word.0.clone()).collect()
}
