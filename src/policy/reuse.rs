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
    // RFC 9111 §5.2.1.3: nothing is left of the life that the client wants a rest of.
    if directives.min_fresh.is_some() {
        return Err(WhyHeld::ClientMinFresh);
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
    // RFC 9111 §5.2.1.1: "Unless the max-stale request directive is also present, the client does not wish to receive
    // a stale response."
    if directives.max_age.is_some() {
        return Err(WhyHeld::ClientMaxAge);
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

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(1_000_000 + seconds)
    }

    /// Fresh for 100 s, then stale-while-revalidate 10 s, stale-if-error 50 s.
    const FRESHNESS: Freshness = Freshness {
        received: at(0),
        initial_age: Duration::ZERO,
        lifetime: seconds(100),
        stale_while_revalidate: seconds(10),
        stale_if_error: seconds(50),
        keep: seconds(600),
        fetch_time: seconds(1),
        use_without_asking: UseWithoutAsking::Allowed,
    };

    struct Case {
        freshness: Freshness,
        status: StatusCode,
        standing: Standing,
        directives: RequestDirectives,
        policy: Policy,
        dice: f64,
    }

    impl Case {
        fn new() -> Self {
            Self {
                freshness: FRESHNESS,
                status: StatusCode::OK,
                standing: Standing::Good,
                directives: RequestDirectives::default(),
                policy: Policy::default(),
                dice: 0.5,
            }
        }

        fn asking(directives: RequestDirectives) -> Self {
            Self { directives, ..Self::new() }
        }

        fn at(&self, age: u64) -> Reuse {
            reuse(&Question {
                freshness: &self.freshness,
                status: self.status,
                standing: self.standing,
                directives: self.directives,
                policy: &self.policy,
                now: at(age),
                dice: self.dice,
            })
        }
    }

    const fn held(why: WhyHeld, on_error: OnError) -> Reuse {
        Reuse::Hold { on_error, why }
    }

    const STALE: Reuse = Reuse::ServeAndRefresh(WhyRefresh::Stale);
    const ACCEPTED: Reuse = Reuse::ServeAndRefresh(WhyRefresh::ClientAcceptsStale);

    /// RFC 9111 §4.2, RFC 5861 §3 and §4.
    #[test]
    fn a_response_ages_from_fresh_over_its_windows_to_held() {
        let case = Case::new();
        let rows = [
            (0, Reuse::Serve),
            (99, Reuse::Serve),
            (100, STALE),
            (109, STALE),
            (110, held(WhyHeld::Stale, OnError::Serve)),
            (149, held(WhyHeld::Stale, OnError::Serve)),
            (150, held(WhyHeld::Stale, OnError::Fail)),
            (9999, held(WhyHeld::Stale, OnError::Fail)),
        ];
        for (age, expected) in rows {
            assert_eq!(case.at(age), expected, "{age}");
        }
    }

    /// RFC 9111 §5.2.2.2: "once the response has become stale, a cache MUST NOT reuse that response to satisfy
    /// another request until it has been successfully validated by the origin".
    #[test]
    fn what_must_be_revalidated_is_served_fresh_only_and_no_client_or_error_changes_that() {
        let mut case = Case::asking(RequestDirectives {
            max_stale: Some(MaxStale::Any),
            ..RequestDirectives::default()
        });
        case.freshness.use_without_asking = UseWithoutAsking::OnlyFresh;
        assert_eq!(case.at(99), Reuse::Serve);
        assert_eq!(case.at(100), held(WhyHeld::Stale, OnError::Fail));
        case.standing = Standing::MarkedStale(at(50));
        assert_eq!(case.at(51), held(WhyHeld::MarkedStale, OnError::Fail));
    }

    /// RFC 9111 §5.2.2.4.
    #[test]
    fn what_says_no_cache_is_never_served_unasked_not_even_on_error() {
        let mut case = Case::asking(RequestDirectives {
            max_stale: Some(MaxStale::Any),
            ..RequestDirectives::default()
        });
        case.freshness.use_without_asking = UseWithoutAsking::Never;
        for age in [0, 99, 100] {
            assert_eq!(case.at(age), held(WhyHeld::NoCache, OnError::Fail), "{age}");
        }
    }

    #[test]
    fn what_was_purged_is_refused_and_what_nobody_vouches_for_is_held_even_on_error() {
        let mut case = Case::new();
        case.standing = Standing::Gone;
        assert_eq!(case.at(0), Reuse::Refuse(WhyRefused::Purged));
        case.standing = Standing::Unvouched;
        assert_eq!(case.at(0), held(WhyHeld::Unvouched, OnError::Fail));
    }

    #[test]
    fn a_soft_purge_opens_the_stale_windows_at_its_own_moment() {
        let mut case = Case::new();
        case.standing = Standing::MarkedStale(at(20));
        assert_eq!(case.at(20), STALE);
        assert_eq!(case.at(29), STALE);
        assert_eq!(case.at(30), held(WhyHeld::MarkedStale, OnError::Serve));
        assert_eq!(case.at(69), held(WhyHeld::MarkedStale, OnError::Serve));
        assert_eq!(case.at(70), held(WhyHeld::MarkedStale, OnError::Fail));
        // What was stale before stays as stale as it is.
        case.standing = Standing::MarkedStale(at(109));
        assert_eq!(case.at(109), STALE);
        assert_eq!(case.at(110), held(WhyHeld::MarkedStale, OnError::Serve));
        // A mark from a clock that is ahead makes it stale all the same.
        case.standing = Standing::MarkedStale(at(60));
        assert_eq!(case.at(50), STALE);
        case.directives.max_stale = Some(MaxStale::Any);
        case.standing = Standing::MarkedStale(at(20));
        assert_eq!(case.at(30), held(WhyHeld::MarkedStale, OnError::Serve));
    }

    #[test]
    fn a_stored_error_never_stands_in_for_a_failing_origin() {
        let mut case = Case::new();
        for (status, on_error) in [
            (StatusCode::INTERNAL_SERVER_ERROR, OnError::Fail),
            (StatusCode::from_u16(599).unwrap(), OnError::Fail),
            (StatusCode::NOT_FOUND, OnError::Serve),
        ] {
            case.status = status;
            assert_eq!(case.at(0), Reuse::Serve);
            assert_eq!(case.at(120), held(WhyHeld::Stale, on_error), "{status}");
        }
    }

    /// RFC 9111 §5.2.1.
    #[test]
    fn request_directives_are_obeyed() {
        let none = RequestDirectives::default();
        let age = |limit| RequestDirectives { max_age: Some(seconds(limit)), ..none };
        let fresh = |rest| RequestDirectives { min_fresh: Some(seconds(rest)), ..none };
        let stale = |limit| RequestDirectives { max_stale: Some(limit), ..none };
        let both = RequestDirectives { max_stale: Some(MaxStale::Any), ..age(200) };
        let (serve, fail) = (OnError::Serve, OnError::Fail);
        let unfresh = held(WhyHeld::ClientMinFresh, serve);
        let rows = [
            (RequestDirectives { no_cache: true, ..none }, 1, held(WhyHeld::ClientNoCache, serve)),
            (RequestDirectives { no_store: true, ..none }, 1, held(WhyHeld::ClientNoStore, serve)),
            (RequestDirectives { only_if_cached: true, ..none }, 1, Reuse::Serve),
            (age(0), 0, held(WhyHeld::ClientMaxAge, serve)),
            (age(5), 5, Reuse::Serve),
            (age(5), 6, held(WhyHeld::ClientMaxAge, serve)),
            (age(200), 101, held(WhyHeld::ClientMaxAge, serve)),
            (both, 101, ACCEPTED),
            (both, 201, held(WhyHeld::ClientMaxAge, fail)),
            (fresh(40), 60, Reuse::Serve),
            (fresh(40), 61, held(WhyHeld::ClientMinFresh, serve)),
            (fresh(0), 100, held(WhyHeld::ClientMinFresh, serve)),
            (RequestDirectives { max_stale: Some(MaxStale::Any), ..fresh(1) }, 100, unfresh),
            (stale(MaxStale::Any), 9999, ACCEPTED),
            (stale(MaxStale::Any), 99, Reuse::Serve),
            (stale(MaxStale::Up(seconds(20))), 120, ACCEPTED),
            (stale(MaxStale::Up(seconds(20))), 121, held(WhyHeld::Stale, serve)),
            (stale(MaxStale::Up(seconds(2))), 105, STALE),
        ];
        for (directives, age, expected) in rows {
            assert_eq!(Case::asking(directives).at(age), expected, "{directives:?} at {age}");
            let mut ignoring = Case::asking(directives);
            ignoring.policy.client_directives = ClientDirectives::Ignored;
            assert_eq!(ignoring.at(age), Case::new().at(age), "ignored: {directives:?} at {age}");
        }
    }

    #[test]
    fn a_refresh_ahead_begins_when_little_of_what_it_arrived_with_is_left() {
        let mut case = Case::new();
        case.policy.refresh_ahead = Some(0.2);
        let ahead = Reuse::ServeAndRefresh(WhyRefresh::RefreshAhead);
        assert_eq!((case.at(80), case.at(81)), (Reuse::Serve, ahead));
        // One that arrived with 10 s left of 100 is not due at once.
        case.freshness.initial_age = seconds(90);
        assert_eq!((case.at(0), case.at(8), case.at(9)), (Reuse::Serve, Reuse::Serve, ahead));
    }

    #[test]
    fn an_early_refresh_depends_on_the_dice_the_fetch_time_and_beta() {
        let early = Reuse::ServeAndRefresh(WhyRefresh::Early);
        let mut case = Case::new();
        // ln(0.01) is -4.6: with a fetch time of 1 s the last 4.6 s are early.
        (case.policy.early_refresh, case.dice) = (Some(1.0), 0.01);
        assert_eq!((case.at(95), case.at(96)), (Reuse::Serve, early));
        case.policy.early_refresh = Some(10.0);
        assert_eq!((case.at(53), case.at(54)), (Reuse::Serve, early));
        case.freshness.fetch_time = Duration::from_millis(100);
        assert_eq!((case.at(95), case.at(96)), (Reuse::Serve, early));
        case.dice = 1.0;
        assert_eq!(case.at(99), Reuse::Serve);
        // The worst dice is finite: ln of the smallest number is about -708.
        case.dice = 0.0;
        case.freshness.fetch_time = Duration::from_millis(1);
        assert_eq!((case.at(92), case.at(93)), (Reuse::Serve, early));
        case.policy.early_refresh = None;
        assert_eq!(case.at(99), Reuse::Serve);
    }

    #[test]
    fn reasons_have_tokens() {
        assert_eq!(WhyRefresh::Stale.token(), "stale-while-revalidate");
        assert_eq!(WhyHeld::ClientNoCache.token(), "client-no-cache");
        assert!(WhyHeld::ClientNoCache.is_by_client() && !WhyHeld::Stale.is_by_client());
        assert_eq!(WhyRefused::Purged.token(), "purged");
    }
}
