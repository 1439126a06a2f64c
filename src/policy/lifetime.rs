//! How long a response is fresh, and how old it was when it arrived (RFC 9111 §4.2).

use std::time::Duration;

use http::StatusCode;
use http::header::{AGE, DATE, EXPIRES};

use crate::message::cache_control::{ResponseDirectives, VERY_LONG, delta_seconds};
use crate::message::conditional::{last_modified, only_date};
use crate::message::fields::{Named, members};
use crate::policy::storable::{Exchange, Source, Statement};
use crate::policy::{OriginLifetime, Policy};
use crate::time::Timestamp;

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

/// RFC 9110 §15.1: "defined as heuristically cacheable", without 206, which is never kept.
const HEURISTIC: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];
/// Statuses to which a route's `ttl` applies: successes and permanent redirections, never errors.
const ROUTE_TTL: [u16; 6] = [200, 203, 204, 300, 301, 308];
/// `Date` has whole seconds, and clocks differ by about as much: a smaller apparent age says nothing.
const CLOCK_GRAIN: Duration = Duration::from_secs(2);

/// `freshness_lifetime` (RFC 9111 §4.2.1), then the route's, then the heuristic one.
pub(crate) fn lifetime(
    policy: &Policy,
    exchange: &Exchange<'_, impl Named>,
    statement: &Statement,
    dice: f64,
) -> Lifetime {
    let stated = stated(exchange, statement).map(Lifetime::Stated);
    let route = || {
        let span = route_lifetime(policy, exchange.status)?;
        let kept = 1.0 - policy.jitter.clamp(0.0, 1.0) * dice.clamp(0.0, 1.0);
        let jittered = Duration::try_from_secs_f64(span.as_secs_f64() * kept).unwrap_or(span);
        Some(Lifetime::Route(jittered.min(VERY_LONG)))
    };
    let chosen = match policy.origin_lifetime {
        OriginLifetime::Respected => stated.or_else(route),
        OriginLifetime::Replaced => route().or(stated),
    };
    chosen.or_else(|| heuristic(policy, exchange, statement)).unwrap_or(Lifetime::Unknown)
}

/// What the response itself states.
pub(crate) fn stated(
    exchange: &Exchange<'_, impl Named>,
    statement: &Statement,
) -> Option<Duration> {
    let directives = &statement.directives;
    let expires = || match statement.source {
        Source::CacheControl => expires(exchange),
        Source::Targeted => None,
    };
    directives.s_maxage.or(directives.max_age).or_else(expires)
}

/// RFC 9111 §4.2.1: "If the Expires response header field [...] is present, use its value minus the value of the
/// Date response header field (using the time the message was received if it is not present [...])".
///
/// RFC 9111 §5.3: "A cache recipient MUST interpret invalid date formats, especially the value "0", as
/// representing a time in the past (i.e., "already expired")"; several lines are no date either.
fn expires(exchange: &Exchange<'_, impl Named>) -> Option<Duration> {
    if !exchange.response.has(&EXPIRES) {
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

/// RFC 9111 §4.2.2: "a cache MAY assign a heuristic expiration time when an explicit time is not specified"; only with `Last-Modified`, ten per cent of its
/// age ("A typical setting of this fraction might be 10%"), capped.
fn heuristic(
    policy: &Policy,
    exchange: &Exchange<'_, impl Named>,
    statement: &Statement,
) -> Option<Lifetime> {
    if !may_be_guessed(exchange.status, &statement.directives) {
        return None;
    }
    let modified = Timestamp::from_seconds(last_modified(exchange.response)?);
    let span = dated(exchange).since(modified) / 10;
    (!span.is_zero()).then(|| Lifetime::Heuristic(span.min(policy.heuristic_cap)))
}

/// Whether a response that states no lifetime may be kept all the same (RFC 9111 §3 and §4.2.2): it is `public`, or
/// its status is defined as heuristically cacheable.
pub(crate) fn may_be_guessed(status: StatusCode, directives: &ResponseDirectives) -> bool {
    HEURISTIC.contains(&status.as_u16()) || directives.public
}

/// The response's `Date`, or when it arrived where that cannot be read.
fn dated(exchange: &Exchange<'_, impl Named>) -> Timestamp {
    only_date(exchange.response, &DATE).map_or(exchange.received, Timestamp::from_seconds)
}

/// `corrected_initial_age` (RFC 9111 §4.2.3).
pub(crate) fn initial_age(exchange: &Exchange<'_, impl Named>) -> Duration {
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
fn age_value(response: &impl Named) -> Duration {
    members(response, &AGE).next().and_then(delta_seconds).unwrap_or(Duration::ZERO)
}

impl Lifetime {
    /// Whether somebody states it: the origin or the route.
    pub(crate) fn is_explicit(self) -> bool {
        match self {
            Self::Stated(_) | Self::Route(_) => true,
            Self::Heuristic(_) | Self::Unknown => false,
        }
    }

    pub(crate) fn span(self) -> Duration {
        match self {
            Self::Stated(span) | Self::Heuristic(span) | Self::Route(span) => span,
            Self::Unknown => Duration::ZERO,
        }
    }

    pub(crate) fn shortened_to(self, span: Duration) -> Self {
        match self {
            Self::Stated(own) => Self::Stated(own.min(span)),
            Self::Heuristic(own) => Self::Heuristic(own.min(span)),
            Self::Route(_) | Self::Unknown => self,
        }
    }
}
