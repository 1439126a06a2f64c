//! May a stored response answer this request: the one judgement of every layer.

use std::time::Duration;

use http::StatusCode;

use crate::entry::facts::Standing;
use crate::entry::freshness::{Freshness, UseWithoutAsking};
use crate::message::cache_control::{MaxStale, RequestDirectives};
use crate::policy::{ClientDirectives, Policy};
use crate::time::Timestamp;

/// Everything that the judgement depends on.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    pub freshness: &'a Freshness,
    /// The stored response's status.
    pub status: StatusCode,
    pub standing: Standing,
    pub directives: RequestDirectives,
    pub policy: &'a Policy,
    pub now: Timestamp,
    /// Chance, from 0 to 1, for early refreshes.
    pub dice: f64,
}

/// What may be done with a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It answers.
    Serve,
    /// It answers, and a refresh is asked for.
    ServeAndRefresh(WhyRefresh),
    /// The origin is asked first, conditionally if the response has validators. With `only-if-cached` the request
    /// ends here, with 504 (RFC 9111 §5.2.1.7).
    Hold { on_error: OnError, why: WhyHeld },
    /// It does not exist any more.
    Refuse(WhyRefused),
}

/// Whether a held response may answer when the origin fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    Serve,
    Fail,
}

/// Why a refresh is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyRefresh {
    /// It is stale, inside `stale-while-revalidate`.
    Stale,
    /// It is stale, and the client said that it may be (`max-stale`).
    ClientAcceptsStale,
    /// Less than the route's part of its lifetime is left.
    RefreshAhead,
    /// The dice fell so: refreshes of one response are spread before its end.
    Early,
}

/// Why the origin is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyHeld {
    Stale,
    /// Softly purged, and outside its stale window.
    MarkedStale,
    /// The purge log cannot vouch for it.
    Unvouched,
    /// The response says `no-cache`.
    NoCache,
    /// The client says `no-cache`.
    ClientNoCache,
    /// The client says `no-store`.
    ClientNoStore,
    /// It is older than the client's `max-age`.
    ClientMaxAge,
    /// It is fresh for less than the client's `min-fresh`.
    ClientMinFresh,
}

/// Why it does not exist any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyRefused {
    Purged,
}

/// Judges. Costs some comparisons; allocates nothing.
pub fn reuse(question: &Question<'_>) -> Reuse {
    let staleness = match question.standing {
        Standing::Gone => return Reuse::Refuse(WhyRefused::Purged),
        Standing::Unvouched => {
            return Reuse::Hold { on_error: OnError::Fail, why: WhyHeld::Unvouched };
        }
        Standing::Good if question.freshness.is_fresh(question.now) => None,
        Standing::Good => Some(question.freshness.staleness(question.now)),
        Standing::MarkedStale(since) => {
            let natural = question.freshness.staleness(question.now);
            Some(natural.max(question.now.since(since)))
        }
    };
    match verdict(question, staleness) {
        Ok(served) => served,
        Err(why) => Reuse::Hold { on_error: on_error(question, staleness), why },
    }
}

fn verdict(question: &Question<'_>, staleness: Option<Duration>) -> Result<Reuse, WhyHeld> {
    // RFC 9111 §5.2.2.4: no-cache "indicates that the response MUST NOT be used to satisfy any other request
    // without forwarding it for validation and receiving a successful response".
    if question.freshness.use_without_asking == UseWithoutAsking::Never {
        return Err(WhyHeld::NoCache);
    }
    let directives = match question.policy.client_directives {
        ClientDirectives::Honoured => question.directives,
        ClientDirectives::Ignored => RequestDirectives::default(),
    };
    client_allows(question, &directives)?;
    match staleness {
        None => fresh(question, &directives),
        Some(staleness) => stale(question, &directives, staleness),
    }
}

/// What the client demands of any stored response (RFC 9111 §5.2.1).
fn client_allows(question: &Question<'_>, directives: &RequestDirectives) -> Result<(), WhyHeld> {
    if directives.no_cache {
        return Err(WhyHeld::ClientNoCache);
    }
    if directives.no_store {
        return Err(WhyHeld::ClientNoStore);
    }
    let too_old = |limit: Duration| {
        // Ages are kept finer than seconds; `max-age=0` asks for an answer of the origin all the same.
        limit.is_zero() || question.freshness.age(question.now) > limit
    };
    if directives.max_age.is_some_and(too_old) {
        return Err(WhyHeld::ClientMaxAge);
    }
    Ok(())
}

fn fresh(question: &Question<'_>, directives: &RequestDirectives) -> Result<Reuse, WhyHeld> {
    let remaining = question.freshness.remaining(question.now);
    if directives.min_fresh.is_some_and(|wanted| remaining < wanted) {
        return Err(WhyHeld::ClientMinFresh);
    }
    Ok(if is_ahead(question, remaining) {
        Reuse::ServeAndRefresh(WhyRefresh::RefreshAhead)
    } else if is_early(question, remaining) {
        Reuse::ServeAndRefresh(WhyRefresh::Early)
    } else {
        Reuse::Serve
    })
}

fn stale(
    question: &Question<'_>,
    directives: &RequestDirectives,
    staleness: Duration,
) -> Result<Reuse, WhyHeld> {
    let marked = matches!(question.standing, Standing::MarkedStale(_));
    let why = if marked { WhyHeld::MarkedStale } else { WhyHeld::Stale };
    match question.freshness.use_without_asking {
        // RFC 9111 §4.2.4: "A cache MUST NOT generate a stale response if it is prohibited by an explicit
        // in-protocol directive".
        UseWithoutAsking::Never | UseWithoutAsking::OnlyFresh => return Err(why),
        UseWithoutAsking::Allowed => {}
    }
    // A client cannot undo a purge: `max-stale` speaks of what grew old by itself.
    let accepted = match directives.max_stale {
        Some(MaxStale::Any) => !marked,
        Some(MaxStale::Up(limit)) => !marked && staleness <= limit,
        None => false,
    };
    if accepted {
        return Ok(Reuse::ServeAndRefresh(WhyRefresh::ClientAcceptsStale));
    }
    // RFC 9111 §5.2.1.1 and .3: who asks for an age or a rest of life "does not wish to receive a stale response".
    if directives.max_age.is_some() {
        return Err(WhyHeld::ClientMaxAge);
    }
    if directives.min_fresh.is_some() {
        return Err(WhyHeld::ClientMinFresh);
    }
    if staleness < question.freshness.stale_while_revalidate {
        return Ok(Reuse::ServeAndRefresh(WhyRefresh::Stale));
    }
    Err(why)
}

/// Whether little enough is left of what was left when it arrived: a response that arrives old is not refreshed by
/// each hit.
fn is_ahead(question: &Question<'_>, remaining: Duration) -> bool {
    let freshness = question.freshness;
    let at_first = freshness.lifetime.saturating_sub(freshness.initial_age);
    question
        .policy
        .refresh_ahead
        .is_some_and(|part| remaining.as_secs_f64() < at_first.as_secs_f64() * part)
}

/// `XFetch`: early when `now - fetch_time * beta * ln(dice) >= expiry`.
fn is_early(question: &Question<'_>, remaining: Duration) -> bool {
    let Some(beta) = question.policy.early_refresh else { return false };
    let dice = question.dice.clamp(f64::MIN_POSITIVE, 1.0);
    question.freshness.fetch_time.as_secs_f64() * beta * -dice.ln() >= remaining.as_secs_f64()
}

/// RFC 5861 §4: stale-if-error "indicates that when an error is encountered, a cached stale response MAY be used to
/// satisfy the request, regardless of other freshness information"; never against §4.2.4 of RFC 9111.
fn on_error(question: &Question<'_>, staleness: Option<Duration>) -> OnError {
    let freshness = question.freshness;
    let staleness = staleness.unwrap_or(Duration::ZERO);
    match freshness.use_without_asking {
        // A stored error never hides the answer that the origin gives now.
        UseWithoutAsking::Allowed
            if !question.status.is_server_error() && staleness < freshness.stale_if_error =>
        {
            OnError::Serve
        }
        UseWithoutAsking::Allowed | UseWithoutAsking::OnlyFresh | UseWithoutAsking::Never => {
            OnError::Fail
        }
    }
}

impl WhyRefresh {
    /// One word for `Cache-Status`, logs and metrics.
    pub fn token(self) -> &'static str {
        match self {
            Self::Stale => "stale-while-revalidate",
            Self::ClientAcceptsStale => "client-max-stale",
            Self::RefreshAhead => "refresh-ahead",
            Self::Early => "early-refresh",
        }
    }
}

impl WhyHeld {
    /// One word for `Cache-Status`, logs and metrics.
    pub fn token(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::MarkedStale => "soft-purged",
            Self::Unvouched => "unvouched",
            Self::NoCache => "no-cache",
            Self::ClientNoCache => "client-no-cache",
            Self::ClientNoStore => "client-no-store",
            Self::ClientMaxAge => "client-max-age",
            Self::ClientMinFresh => "client-min-fresh",
        }
    }

    /// Whether the client's own directives are the reason, and not the response's state.
    pub fn is_by_client(self) -> bool {
        match self {
            Self::ClientNoCache
            | Self::ClientNoStore
            | Self::ClientMaxAge
            | Self::ClientMinFresh => true,
            Self::Stale | Self::MarkedStale | Self::Unvouched | Self::NoCache => false,
        }
    }
}

impl WhyRefused {
    /// One word for `Cache-Status`, logs and metrics.
    pub fn token(self) -> &'static str {
        match self {
            Self::Purged => "purged",
        }
    }
}
