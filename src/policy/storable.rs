//! May a response be kept, and for how long is it of use.

use std::time::Duration;

use http::header::{
    AGE, AUTHORIZATION, DATE, ETAG, EXPIRES, HeaderMap, HeaderName, SET_COOKIE, VARY,
};
use http::{Method, StatusCode};

use crate::entry::freshness::{Freshness, UseWithoutAsking};
use crate::message::cache_control::{
    Extent, RequestDirectives, ResponseDirectives, Revalidation, VERY_LONG, delta_seconds,
};
use crate::message::conditional::{last_modified, only_date};
use crate::message::fields::members;
use crate::policy::veto::{self, Opinion};
use crate::policy::{ClientDirectives, OriginLifetime, Policy, Share};
use crate::time::Timestamp;

/// A request and the head of its response, as they went over the wire to the origin.
///
/// After a 304 it is asked again, with the status and the *merged* fields of the stored response.
#[derive(Clone, Copy)]
pub struct Exchange<'a> {
    pub method: &'a Method,
    pub request: &'a HeaderMap,
    pub status: StatusCode,
    pub response: &'a HeaderMap,
    /// When the request was sent.
    pub requested: Timestamp,
    /// When the response's head arrived.
    pub received: Timestamp,
}

/// Whether a response is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storable {
    /// It is, after [`strip`] took out what is not to be stored.
    Keep(Freshness),
    Leave(WhyNot),
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhyNot {
    /// Only what answers a GET is kept.
    Method,
    /// 206, 304, 412, 416 and interim responses answer one request, not all.
    Status,
    /// `must-understand` on a status whose rules are not known here.
    NotUnderstood,
    NoStore,
    /// The client's `no-store`.
    ClientNoStore,
    Private,
    Authorization,
    SetCookie,
    /// `Vary: *`.
    VaryStar,
    /// Nothing says how long it is fresh, and nothing could validate it.
    NoLifetime,
    /// It was stale when it arrived, and nothing could validate it.
    ArrivedStale,
    /// The second opinion says no.
    Vetoed,
    /// It is larger than any layer takes.
    TooLarge,
    /// It carries more tags than can be kept.
    TooManyTags,
}

/// Where a lifetime comes from, which decides what else of the route applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// `s-maxage`, `max-age` or `Expires`.
    Stated(Duration),
    /// A part of the time since `Last-Modified`.
    Heuristic(Duration),
    /// The route's `ttl` or `negative`.
    Route(Duration),
    Unknown,
}

/// What the response says, whichever field says it.
pub(crate) struct Statement {
    pub(crate) directives: ResponseDirectives,
    pub(crate) source: Source,
}

/// Which field governs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `Cache-Control`, and `Expires` after it.
    CacheControl,
    /// A targeted field alone (RFC 9213).
    Targeted,
}

/// RFC 9110 §15.1: "defined as heuristically cacheable", without 206, which is never kept.
const HEURISTIC: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];
/// Statuses to which a route's `ttl` applies: successes and permanent redirections, never errors.
const ROUTE_TTL: [u16; 6] = [200, 203, 204, 300, 301, 308];
/// Final statuses whose caching requirements are known here, for `must-understand`.
const UNDERSTOOD: [u16; 39] = [
    200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 405, 406,
    408, 409, 410, 411, 413, 414, 415, 417, 421, 422, 428, 429, 431, 451, 500, 501, 502, 503, 504,
    505,
];
/// `Date` has whole seconds, and clocks differ by about as much: a smaller apparent age says nothing.
const CLOCK_GRAIN: Duration = Duration::from_secs(2);

/// Decides (RFC 9111 §3), pure: `dice`, from 0 to 1, is the chance for the jitter.
pub fn storable(policy: &Policy, exchange: &Exchange<'_>, dice: f64) -> Storable {
    let statement = Statement::of(exchange.response);
    match refusal(policy, exchange, &statement) {
        Some(why) => Storable::Leave(why),
        None => keep(policy, exchange, &statement, dice),
    }
}

/// Takes out of a response's fields what may not be stored though the rest may: those that `private="…"` and
/// `no-cache="…"` list.
///
/// RFC 9111 §5.2.2.7: "a shared cache MUST NOT store any information" of those fields. §5.2.2.4 allows to reuse a
/// response without the fields that `no-cache` lists; they are not stored either, which is the simple and the safe
/// side. The framing and the directives themselves stay, whatever is listed.
pub fn strip(fields: &mut HeaderMap, policy: &Policy) {
    let directives = Statement::of(fields).directives;
    for name in withheld(&directives, policy) {
        fields.remove(name);
    }
}

fn withheld<'a>(
    directives: &'a ResponseDirectives,
    policy: &Policy,
) -> impl Iterator<Item = &'a HeaderName> {
    use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE};
    let private =
        if policy.may_share(Share::Private) { &Extent::Nothing } else { &directives.private };
    private.fields().chain(directives.no_cache.fields()).filter(|name| {
        ![CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, VARY].contains(name)
    })
}

impl Statement {
    fn of(response: &HeaderMap) -> Self {
        match ResponseDirectives::targeted(response) {
            Some(directives) => Self { directives, source: Source::Targeted },
            None => {
                Self { directives: ResponseDirectives::of(response), source: Source::CacheControl }
            }
        }
    }
}

/// The conditions of RFC 9111 §3 that have nothing to do with time.
fn refusal(policy: &Policy, exchange: &Exchange<'_>, statement: &Statement) -> Option<WhyNot> {
    let directives = &statement.directives;
    // "the request method is understood by the cache"
    if *exchange.method != Method::GET {
        return Some(WhyNot::Method);
    }
    // "the response status code is final"; a part or a verdict about one request is never the entry.
    if exchange.status.is_informational()
        || [206, 304, 412, 416].contains(&exchange.status.as_u16())
    {
        return Some(WhyNot::Status);
    }
    if client_forbids(policy, exchange.request) {
        return Some(WhyNot::ClientNoStore);
    }
    // "if the response status code is 206 or 304, or the must-understand cache directive is present: the cache
    // understands the response status code"; "the no-store cache directive is not present in the response"; and
    // §5.2.2.3: a cache that understands the status "SHOULD ignore the no-store directive".
    if directives.must_understand {
        if !UNDERSTOOD.contains(&exchange.status.as_u16()) {
            return Some(WhyNot::NotUnderstood);
        }
    } else if directives.no_store {
        return Some(WhyNot::NoStore);
    }
    // "if the cache is shared: the private response directive is either not present or allows a shared cache to
    // store a modified response"
    if directives.private.is_whole() && !policy.may_share(Share::Private) {
        return Some(WhyNot::Private);
    }
    if exchange.request.contains_key(AUTHORIZATION)
        && !allows_authorized(directives)
        && !policy.may_share(Share::Authorization)
    {
        return Some(WhyNot::Authorization);
    }
    // RFC 9111 §7.3 leaves cookies to the origin's directives; the safe side is not to hand one client's on.
    if exchange.response.contains_key(SET_COOKIE)
        && !policy.may_share(Share::SetCookie)
        && !withheld(directives, policy).any(|name| *name == SET_COOKIE)
    {
        return Some(WhyNot::SetCookie);
    }
    // RFC 9111 §4.1: "A stored response with a Vary header field value containing a member "*" always fails to
    // match."
    members(exchange.response, &VARY).any(|member| member == b"*").then_some(WhyNot::VaryStar)
}

fn client_forbids(policy: &Policy, request: &HeaderMap) -> bool {
    match policy.client_directives {
        ClientDirectives::Honoured => RequestDirectives::of(request).no_store,
        ClientDirectives::Ignored => false,
    }
}

/// RFC 9111 §3.5: "In this specification, the following response directives have such an effect: must-revalidate
/// (Section 5.2.2.2), public (Section 5.2.2.9), and s-maxage (Section 5.2.2.10)."
fn allows_authorized(directives: &ResponseDirectives) -> bool {
    directives.public
        || directives.s_maxage.is_some()
        || match directives.revalidation {
            Revalidation::Must => true,
            Revalidation::Free | Revalidation::ByProxies => false,
        }
}

fn keep(policy: &Policy, exchange: &Exchange<'_>, statement: &Statement, dice: f64) -> Storable {
    let lifetime = lifetime(policy, exchange, statement, dice);
    let lifetime = match veto::ask(policy, exchange, statement, lifetime) {
        Opinion::Agrees => lifetime,
        Opinion::Shorter(shorter) => lifetime.shortened_to(shorter),
        Opinion::Refuses => return Storable::Leave(WhyNot::Vetoed),
    };
    let freshness = freshness(policy, exchange, statement, lifetime);
    let fresh = freshness.is_fresh(exchange.received)
        && freshness.use_without_asking != UseWithoutAsking::Never;
    let stale = !freshness.stale_while_revalidate.is_zero() || !freshness.stale_if_error.is_zero();
    if fresh || stale || is_validatable(exchange.response) {
        return Storable::Keep(freshness);
    }
    Storable::Leave(match lifetime {
        Lifetime::Unknown => WhyNot::NoLifetime,
        Lifetime::Stated(_) | Lifetime::Heuristic(_) | Lifetime::Route(_) => WhyNot::ArrivedStale,
    })
}

fn freshness(
    policy: &Policy,
    exchange: &Exchange<'_>,
    statement: &Statement,
    lifetime: Lifetime,
) -> Freshness {
    let initial_age = initial_age(exchange);
    let use_without_asking = use_without_asking(policy, &statement.directives);
    let mut freshness = Freshness {
        received: exchange.received,
        initial_age,
        lifetime: lifetime.span(),
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        keep: Duration::ZERO,
        fetch_time: exchange.received.since(exchange.requested),
        use_without_asking,
    };
    if is_validatable(exchange.response) {
        freshness.keep = policy.keep;
    }
    if use_without_asking == UseWithoutAsking::Allowed && lifetime != Lifetime::Unknown {
        open_windows(&mut freshness, policy, exchange, &statement.directives);
    }
    freshness
}

/// Sets the stale windows: the response's own before the route's.
///
/// The route's `stale_while_revalidate` prolongs what was fresh; what arrived stale (`max-age=0` among it) may be
/// served without asking only where the origin itself opens a window. Errors have no window on error: a stored
/// one must not hide the answer of now.
fn open_windows(
    freshness: &mut Freshness,
    policy: &Policy,
    exchange: &Exchange<'_>,
    directives: &ResponseDirectives,
) {
    let error = exchange.status.is_server_error();
    let route = if error || !freshness.is_fresh(exchange.received) {
        None
    } else {
        policy.stale_while_revalidate
    };
    freshness.stale_while_revalidate =
        directives.stale_while_revalidate.or(route).unwrap_or_default();
    if !error {
        freshness.stale_if_error =
            directives.stale_if_error.or(policy.stale_if_error).unwrap_or_default();
    }
}

fn use_without_asking(policy: &Policy, directives: &ResponseDirectives) -> UseWithoutAsking {
    // A `ttl` that replaces the origin's lifetimes replaces `s-maxage` with all that it means.
    let s_maxage = match policy.origin_lifetime {
        OriginLifetime::Respected => directives.s_maxage.is_some(),
        OriginLifetime::Replaced => false,
    };
    if directives.no_cache.is_whole() {
        UseWithoutAsking::Never
    } else if s_maxage || directives.revalidation != Revalidation::Free {
        // RFC 9111 §5.2.2.10: s-maxage "incorporates the semantics of the proxy-revalidate response directive".
        UseWithoutAsking::OnlyFresh
    } else {
        UseWithoutAsking::Allowed
    }
}

impl Lifetime {
    pub(crate) fn span(self) -> Duration {
        match self {
            Self::Stated(span) | Self::Heuristic(span) | Self::Route(span) => span,
            Self::Unknown => Duration::ZERO,
        }
    }

    fn shortened_to(self, span: Duration) -> Self {
        match self {
            Self::Stated(own) => Self::Stated(own.min(span)),
            Self::Heuristic(own) => Self::Heuristic(own.min(span)),
            Self::Route(_) | Self::Unknown => self,
        }
    }
}

/// `freshness_lifetime` (RFC 9111 §4.2.1), then the route's, then the heuristic one.
fn lifetime(
    policy: &Policy,
    exchange: &Exchange<'_>,
    statement: &Statement,
    dice: f64,
) -> Lifetime {
    let stated = stated(exchange, statement).map(Lifetime::Stated);
    let route = || {
        let span = route_lifetime(policy, exchange.status)?;
        let kept = 1.0 - policy.jitter.clamp(0.0, 1.0) * dice.clamp(0.0, 1.0);
        Some(Lifetime::Route(span.mul_f64(kept).min(VERY_LONG)))
    };
    let chosen = match policy.origin_lifetime {
        OriginLifetime::Respected => stated.or_else(route),
        OriginLifetime::Replaced => route().or(stated),
    };
    chosen.or_else(|| heuristic(policy, exchange, statement)).unwrap_or(Lifetime::Unknown)
}

fn stated(exchange: &Exchange<'_>, statement: &Statement) -> Option<Duration> {
    let directives = &statement.directives;
    let expires = || match statement.source {
        Source::CacheControl => expires(exchange),
        Source::Targeted => None,
    };
    directives.s_maxage.or(directives.max_age).or_else(expires)
}

/// "If the Expires response header field is present, use its value minus the value of the Date response header
/// field (using the time the message was received if it is not present)".
///
/// RFC 9111 §5.3: "A cache recipient MUST interpret invalid date formats, especially the value "0", as
/// representing a time in the past (i.e., "already expired")"; several lines are no date either.
fn expires(exchange: &Exchange<'_>) -> Option<Duration> {
    if !exchange.response.contains_key(EXPIRES) {
        return None;
    }
    let Some(expires) = only_date(exchange.response, &EXPIRES) else { return Some(Duration::ZERO) };
    let lifetime = Timestamp::from_seconds(expires).since(dated(exchange));
    Some(lifetime.min(VERY_LONG))
}

fn route_lifetime(policy: &Policy, status: StatusCode) -> Option<Duration> {
    let listed = policy.negative.iter().find(|(listed, _)| *listed == status);
    match listed {
        Some((_, span)) => Some(*span),
        None => policy.ttl.filter(|_| ROUTE_TTL.contains(&status.as_u16())),
    }
}

/// RFC 9111 §4.2.2: "a cache MAY use a heuristic expiration value"; only with `Last-Modified`, ten per cent of its
/// age ("A typical setting of this fraction might be 10%"), capped.
fn heuristic(policy: &Policy, exchange: &Exchange<'_>, statement: &Statement) -> Option<Lifetime> {
    // "the response status code is defined as heuristically cacheable", or "a public response directive".
    if !HEURISTIC.contains(&exchange.status.as_u16()) && !statement.directives.public {
        return None;
    }
    let modified = Timestamp::from_seconds(last_modified(exchange.response)?);
    let span = dated(exchange).since(modified) / 10;
    (!span.is_zero()).then(|| Lifetime::Heuristic(span.min(policy.heuristic_cap)))
}

/// The response's `Date`, or when it arrived where that cannot be read.
fn dated(exchange: &Exchange<'_>) -> Timestamp {
    only_date(exchange.response, &DATE).map_or(exchange.received, Timestamp::from_seconds)
}

/// `corrected_initial_age` (RFC 9111 §4.2.3).
fn initial_age(exchange: &Exchange<'_>) -> Duration {
    // "apparent_age = max(0, response_time - date_value)"
    let apparent = exchange.received.since(dated(exchange));
    let apparent = if apparent < CLOCK_GRAIN { Duration::ZERO } else { apparent };
    // "response_delay = response_time - request_time; corrected_age_value = age_value + response_delay"
    let corrected = age_value(exchange.response) + exchange.received.since(exchange.requested);
    apparent.max(corrected).min(VERY_LONG)
}

/// The first member of `Age`; a value that is no number is ignored.
///
/// RFC 9111 §5.1: "If the field value (after discarding additional members, as per above) is invalid (e.g., it
/// contains something other than a non-negative integer), a cache SHOULD ignore the field."
fn age_value(response: &HeaderMap) -> Duration {
    members(response, &AGE).next().and_then(delta_seconds).unwrap_or(Duration::ZERO)
}

/// Whether the origin could be asked whether it still holds.
fn is_validatable(response: &HeaderMap) -> bool {
    response.get(ETAG).is_some_and(|tag| !tag.as_bytes().trim_ascii().is_empty())
        || last_modified(response).is_some()
}

impl WhyNot {
    /// One word for `Cache-Status`, logs and metrics.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::NotUnderstood => "not-understood",
            Self::NoStore => "no-store",
            Self::ClientNoStore => "client-no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::SetCookie => "set-cookie",
            Self::VaryStar => "vary-star",
            Self::NoLifetime => "no-lifetime",
            Self::ArrivedStale => "arrived-stale",
            Self::Vetoed => "vetoed",
            Self::TooLarge => "too-large",
            Self::TooManyTags => "too-many-tags",
        }
    }

    /// Whether the next answer will probably not be kept either, whoever asks: then nobody should wait for it.
    pub fn is_lasting(self) -> bool {
        match self {
            Self::Method | Self::ClientNoStore | Self::Authorization => false,
            Self::Status
            | Self::NotUnderstood
            | Self::NoStore
            | Self::Private
            | Self::SetCookie
            | Self::VaryStar
            | Self::NoLifetime
            | Self::ArrivedStale
            | Self::Vetoed
            | Self::TooLarge
            | Self::TooManyTags => true,
        }
    }
}
