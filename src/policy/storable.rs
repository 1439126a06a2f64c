//! May a response be kept, and for how long is it of use.

use std::time::Duration;

use http::header::{AUTHORIZATION, ETAG, Entry, HeaderMap, HeaderName, SET_COOKIE, VARY};
use http::{Method, StatusCode};

use crate::entry::freshness::{Freshness, UseWithoutAsking};
use crate::message::cache_control::{Extent, RequestDirectives, ResponseDirectives, Revalidation};
use crate::message::conditional::last_modified;
use crate::message::fields::{Named, members};
use crate::policy::lifetime::{Lifetime, initial_age, lifetime, may_be_guessed, stated};
use crate::policy::veto::{self, Opinion};
use crate::policy::{ClientDirectives, OriginLifetime, Policy, Post, Share};
use crate::time::Timestamp;

/// A request and the head of its response, as they went over the wire to the origin.
///
/// After a 304 it is asked again, with the status and the *merged* fields of the stored response.
pub struct Exchange<'a, F = HeaderMap> {
    pub method: &'a Method,
    pub request: &'a HeaderMap,
    pub status: StatusCode,
    pub response: &'a F,
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
    /// Only what answers a GET is kept, a QUERY, or a POST where the route says so.
    Method,
    /// 304, 412 and interim responses answer one request, not all.
    Status,
    /// 416, and a 206 that is not exactly one part, with its length, that holds what was asked for: see
    /// [`crate::message::content_range`].
    Part,
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
    /// No layer takes anything of the route: it is L2's alone, and there is none.
    NoLayer,
    /// There was no room for it beside the bodies of other requests: see [`crate::message::air`].
    NoRoom,
    /// Of its route as many keys are stored as may be.
    TooManyKeys,
    /// It carries more tags than can be kept.
    TooManyTags,
    /// Its tags stand in its body, which cannot be read for them: it is encoded, too large, or not what it says.
    TagsUnreadable,
    /// Its media type contradicts its path's extension: see [`crate::policy::deception`].
    Contradiction,
    /// A GraphQL answer that tells of errors.
    GraphQlErrors,
    /// An answer to a GraphQL request in which no errors could be looked for: no JSON, or a coded one.
    GraphQlUnread,
    /// It is compared with what is stored first: see [`crate::policy::tripwire`].
    Tripwire,
}

impl WhyNot {
    /// Whether it is the head of the response that says so, whoever asked for it, and whatever is stored already. What is found in
    /// a body comes later, and what is too large for us is not the origin's word.
    pub fn is_of_the_response(self) -> bool {
        match self {
            Self::NotUnderstood
            | Self::NoStore
            | Self::Private
            | Self::SetCookie
            | Self::VaryStar
            | Self::NoLifetime
            | Self::ArrivedStale
            | Self::Vetoed
            | Self::Contradiction => true,
            Self::Method
            | Self::Status
            | Self::Part
            | Self::ClientNoStore
            | Self::Authorization
            | Self::NoLayer
            | Self::NoRoom
            | Self::TooLarge
            | Self::TooManyKeys
            | Self::TooManyTags
            | Self::TagsUnreadable
            | Self::GraphQlErrors
            | Self::GraphQlUnread
            | Self::Tripwire => false,
        }
    }
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

/// Final statuses whose caching requirements are known here, for `must-understand`.
const UNDERSTOOD: [u16; 39] = [
    200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 405, 406,
    408, 409, 410, 411, 413, 414, 415, 417, 421, 422, 428, 429, 431, 451, 500, 501, 502, 503, 504,
    505,
];
/// Decides (RFC 9111 §3), pure: `dice`, from 0 to 1, is the chance for the jitter.
pub fn storable(policy: &Policy, exchange: &Exchange<'_, impl Named>, dice: f64) -> Storable {
    let statement = Statement::of(exchange.response);
    match refusal(policy, exchange, &statement) {
        Some(why) => Storable::Leave(why),
        None => keep(policy, exchange, &statement, dice),
    }
}

/// Takes out of a response's fields what may not be stored though the rest may: those that `private="…"` and
/// `no-cache="…"` list.
///
/// RFC 9111 §5.2.2.7: "a shared cache MUST NOT store the listed header fields if they are present in the original
/// response but MAY store the remainder". §5.2.2.4 allows to reuse a response without the fields that `no-cache`
/// lists; they are not stored either, which is the simple and the safe side. The framing and the directives themselves stay, whatever is listed.
///
/// Returns what it took: the fields are for whoever asked, and for nobody else.
#[must_use]
pub fn strip(fields: &mut HeaderMap, policy: &Policy) -> HeaderMap {
    let directives = Statement::of(fields).directives;
    let mut own = HeaderMap::new();
    for name in withheld(&directives, policy) {
        if let Entry::Occupied(listed) = fields.entry(name) {
            let (name, values) = listed.remove_entry_mult();
            for value in values {
                own.append(name.clone(), value);
            }
        }
    }
    own
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
    fn of(response: &impl Named) -> Self {
        match ResponseDirectives::targeted(response) {
            Some(directives) => Self { directives, source: Source::Targeted },
            None => {
                Self { directives: ResponseDirectives::of(response), source: Source::CacheControl }
            }
        }
    }
}

/// The conditions of RFC 9111 §3 that have nothing to do with time.
fn refusal(
    policy: &Policy,
    exchange: &Exchange<'_, impl Named>,
    statement: &Statement,
) -> Option<WhyNot> {
    let directives = &statement.directives;
    // "the request method is understood by the cache"
    if !is_understood(policy, exchange.method) {
        return Some(WhyNot::Method);
    }
    // "the response status code is final"; a verdict about one request is never the entry. A part that may be kept has
    // the head of the whole, and its status.
    match exchange.status.as_u16() {
        206 | 416 => return Some(WhyNot::Part),
        100..200 | 304 | 412 => return Some(WhyNot::Status),
        _ => {}
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
    if exchange.response.has(&SET_COOKIE)
        && !policy.may_share(Share::SetCookie)
        && !withheld(directives, policy).any(|name| *name == SET_COOKIE)
    {
        return Some(WhyNot::SetCookie);
    }
    // RFC 9111 §4.1: "A stored response with a Vary header field value containing a member "*" always fails to
    // match."
    members(exchange.response, &VARY).any(|member| member == b"*").then_some(WhyNot::VaryStar)
}

fn is_understood(policy: &Policy, method: &Method) -> bool {
    match *method {
        // RFC 10008 §2.7: "The response to a QUERY method is cacheable".
        Method::GET | Method::QUERY => true,
        Method::POST => policy.post != Post::Unsafe,
        _ => false,
    }
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

fn keep(
    policy: &Policy,
    exchange: &Exchange<'_, impl Named>,
    statement: &Statement,
    dice: f64,
) -> Storable {
    let lifetime = lifetime(policy, exchange, statement, dice);
    // "the response contains at least one of the following: a public response directive; [...] an Expires header
    // field; a max-age response directive; [...] a status code that is defined as heuristically cacheable".
    if lifetime == Lifetime::Unknown && !may_be_guessed(exchange.status, &statement.directives) {
        return Storable::Leave(WhyNot::NoLifetime);
    }
    // RFC 9110 §9.3.3: "Responses to POST requests are only cacheable when they include explicit freshness
    // information".
    if *exchange.method == Method::POST && !is_explicit(policy, exchange, statement, lifetime) {
        return Storable::Leave(WhyNot::NoLifetime);
    }
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

/// What the route states is as explicit as what the answer to a POST includes, where the route vouches for the POST;
/// where it does not, its `ttl` is for answers to those who ask.
fn is_explicit(
    policy: &Policy,
    exchange: &Exchange<'_, impl Named>,
    statement: &Statement,
    lifetime: Lifetime,
) -> bool {
    match policy.post {
        Post::Vouched => lifetime.is_explicit(),
        Post::Answering | Post::Unsafe => stated(exchange, statement).is_some(),
    }
}

fn freshness(
    policy: &Policy,
    exchange: &Exchange<'_, impl Named>,
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
    exchange: &Exchange<'_, impl Named>,
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

/// Whether the origin could be asked whether it still holds.
fn is_validatable(response: &impl Named) -> bool {
    response.first(&ETAG).is_some_and(|tag| !tag.trim_ascii().is_empty())
        || last_modified(response).is_some()
}

impl WhyNot {
    /// One word for `Cache-Status`, logs and metrics.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::Part => "part",
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
            Self::NoLayer => "no-layer",
            Self::NoRoom => "no-room",
            Self::TooManyTags => "too-many-tags",
            Self::TagsUnreadable => "tags-unreadable",
            Self::TooManyKeys => "too-many-keys",
            Self::Contradiction => "contradiction",
            Self::GraphQlErrors => "graphql-errors",
            Self::GraphQlUnread => "graphql-unread",
            Self::Tripwire => "tripwire",
        }
    }

    /// Whether the next answer will probably not be kept either, whoever asks: then nobody should wait for it.
    pub fn is_lasting(self) -> bool {
        match self {
            Self::Method
            | Self::Part
            | Self::ClientNoStore
            | Self::Authorization
            | Self::NoRoom
            | Self::TooManyKeys
            | Self::GraphQlErrors
            | Self::Tripwire => false,
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
            | Self::NoLayer
            | Self::TooManyTags
            | Self::TagsUnreadable
            | Self::Contradiction
            | Self::GraphQlUnread => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::{AGE, DATE, HeaderValue};

    use super::*;
    use crate::message::cache_control::VERY_LONG;
    use crate::message::date;

    /// When the head arrives; 300 ms into a second, 100 ms after it was asked for.
    const RECEIVED: Timestamp = Timestamp::from_millis(1_700_000_000_300);
    const NOW: i64 = 1_700_000_000;

    struct Case {
        policy: Policy,
        method: Method,
        request: HeaderMap,
        status: u16,
        response: HeaderMap,
        asked_before: Duration,
        dice: f64,
    }

    impl Case {
        /// A 200 with these fields; `@N` in a value is the date N seconds from now.
        fn new(response: &[(&str, &str)]) -> Self {
            Self {
                policy: Policy::default(),
                method: Method::GET,
                request: HeaderMap::new(),
                status: 200,
                response: fields(response),
                asked_before: Duration::from_millis(100),
                dice: 0.5,
            }
        }

        fn with(response: &[(&str, &str)], change: impl FnOnce(&mut Policy)) -> Self {
            let mut case = Self::new(response);
            change(&mut case.policy);
            case
        }

        fn status(mut self, status: u16) -> Self {
            self.status = status;
            self
        }

        fn asked(mut self, request: &[(&str, &str)]) -> Self {
            self.request = fields(request);
            self
        }

        fn judged(&self) -> Storable {
            let exchange = Exchange {
                method: &self.method,
                request: &self.request,
                status: StatusCode::from_u16(self.status).unwrap(),
                response: &self.response,
                requested: RECEIVED.minus(self.asked_before),
                received: RECEIVED,
            };
            storable(&self.policy, &exchange, self.dice)
        }

        fn kept(&self) -> Freshness {
            match self.judged() {
                Storable::Keep(freshness) => freshness,
                Storable::Leave(why) => panic!("left because of {why:?}: {:?}", self.response),
            }
        }

        fn left(&self) -> WhyNot {
            match self.judged() {
                Storable::Leave(why) => why,
                Storable::Keep(kept) => panic!("kept as {kept:?}: {:?}", self.response),
            }
        }

        /// Seconds that it stays fresh after it arrived, rounded up; zero when it is stale or not kept.
        fn fresh_for(&self) -> u64 {
            match self.judged() {
                Storable::Keep(kept) if kept.use_without_asking != UseWithoutAsking::Never => {
                    u64::try_from(kept.remaining(RECEIVED).as_millis().div_ceil(1000)).unwrap()
                }
                Storable::Keep(_) | Storable::Leave(_) => 0,
            }
        }
    }

    fn fields(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            let value = match value.strip_prefix('@') {
                Some(offset) => {
                    let seconds = NOW + offset.parse::<i64>().unwrap();
                    date::format(seconds.try_into().unwrap())
                }
                None => HeaderValue::from_str(value).unwrap(),
            };
            fields.append(name, value);
        }
        fields
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    type Fields<'a> = &'a [(&'a str, &'a str)];
    const FRESH: (&str, &str) = ("cache-control", "max-age=3600");
    const TAG: (&str, &str) = ("etag", "\"a\"");
    const HOUR: u64 = 3600;

    /// RFC 9111 §4.2.1.
    #[test]
    fn the_lifetime_is_the_shared_caches_then_max_age_then_expires() {
        let past = ("expires", "@-3600");
        let rows: [(Fields, u64); 20] = [
            (&[FRESH], HOUR),
            (&[("cache-control", "max-age=2")], 2),
            (&[("cache-control", "max-age=1"), ("date", "@0")], 1),
            (&[FRESH, past], HOUR),
            (&[FRESH, ("expires", "0")], HOUR),
            (&[("cache-control", "max-age=0"), ("expires", "@3600")], 0),
            (&[("cache-control", "s-maxage=3600")], HOUR),
            (&[("cache-control", "s-maxage=2, max-age=3600")], 2),
            (&[("cache-control", "max-age=3600"), ("cache-control", "s-maxage=2")], 2),
            (&[("cache-control", "max-age=2, s-maxage=3600")], HOUR),
            (&[("cache-control", "max-age=0, s-maxage=3600"), past], HOUR),
            (&[("expires", "@3600"), ("date", "@0")], HOUR),
            (&[("expires", "@3600")], HOUR),
            (&[("expires", "@10"), ("date", "foo")], 10),
            (&[past, ("date", "@0")], 0),
            (&[("expires", "@0"), ("date", "@0")], 0),
            (&[("expires", "@10"), ("date", "@20")], 0),
            (&[("expires", "0"), ("date", "@0")], 0),
            (&[("expires", "@3600"), ("expires", "@3600"), ("date", "@0")], 0),
            (&[("cache-control", "max-age=x"), ("expires", "@3600"), ("date", "@0")], 0),
        ];
        for (response, expected) in rows {
            assert_eq!(Case::new(response).fresh_for(), expected, "{response:?}");
        }
        let saturated = Case::new(&[("cache-control", "max-age=99999999999")]).kept();
        assert_eq!(saturated.lifetime, VERY_LONG);
        let far = Case::new(&[("expires", "Fri, 31 Dec 9999 23:59:59 GMT"), ("date", "@0")]).kept();
        assert_eq!(far.lifetime, VERY_LONG);
    }

    /// RFC 9111 §4.2.3 and §5.1.
    #[test]
    fn the_age_on_arrival_counts() {
        let rows: [(Fields, u64); 20] = [
            (&[("age", "1800")], 1800),
            (&[("age", "7200")], 0),
            (&[("age", "2147483647")], 0),
            (&[("age", "2147483649")], 0),
            (&[("age", "18446744073709551616")], 0),
            (&[("age", "abc")], HOUR),
            (&[("age", "-7200")], HOUR),
            (&[("age", "7200.0")], HOUR),
            (&[("age", "7200;foo=bar")], HOUR),
            (&[("age", "7200, 0")], 0),
            (&[("age", "0, 7200")], HOUR),
            (&[("age", "7200"), ("age", "0")], 0),
            (&[("age", "0"), ("age", "7200")], HOUR),
            (&[("age", "0, 0"), ("date", "@0")], HOUR),
            (&[("date", "@-7200")], 0),
            (&[("date", "@-600")], 3000),
            (&[("date", "@-600"), ("age", "1200")], 2400),
            (&[("date", "@600")], HOUR),
            // Less than two seconds is what whole seconds and two clocks make of nothing.
            (&[("date", "@-1")], HOUR),
            (&[("date", "@-2")], HOUR - 2),
        ];
        for (age, expected) in rows {
            let case = Case::new(&[&[FRESH], age].concat());
            assert_eq!(case.fresh_for(), expected, "{age:?}");
        }
        let expires: Fields = &[("date", "@-10"), ("expires", "@10"), ("age", "25")];
        assert_eq!(Case::new(expires).fresh_for(), 0);
        let ahead: Fields = &[("date", "@10"), ("expires", "@20"), ("age", "15")];
        assert_eq!(Case::new(ahead).fresh_for(), 0);
    }

    /// RFC 9111 §4.2.3: "`response_delay = response_time - request_time`".
    #[test]
    fn a_slow_answer_is_as_old_as_it_was_slow() {
        let mut case = Case::new(&[FRESH, ("age", "10"), ("date", "@-3")]);
        case.asked_before = seconds(5);
        let kept = case.kept();
        assert_eq!((kept.initial_age, kept.fetch_time), (seconds(15), seconds(5)));
        assert_eq!(kept.received, RECEIVED);
        case.response.remove(AGE);
        assert_eq!(case.kept().initial_age, seconds(5));
        // Whichever is more counts.
        case.response.insert(DATE, date::format(u64::try_from(NOW - 60).unwrap()));
        assert_eq!(case.kept().initial_age, Duration::from_millis(60_300));
    }

    /// RFC 9111 §3.
    #[test]
    fn what_may_not_be_stored_is_left_with_the_reason() {
        let cached = |directives: &str| Case::new(&[("cache-control", directives), TAG]);
        assert_eq!(cached("max-age=60, no-store").left(), WhyNot::NoStore);
        assert_eq!(cached("max-age=60, No-Store").left(), WhyNot::NoStore);
        assert_eq!(cached("private, max-age=60").left(), WhyNot::Private);
        assert_eq!(cached("PRIVATE").left(), WhyNot::Private);
        let star = [FRESH, ("vary", "a"), ("vary", "b, *")];
        assert_eq!(Case::new(&star).left(), WhyNot::VaryStar);
        assert_eq!(Case::new(&[FRESH, ("set-cookie", "a=b")]).left(), WhyNot::SetCookie);
        assert_eq!(Case::new(&[]).left(), WhyNot::NoLifetime);
        assert_eq!(cached("public").status(200).fresh_for(), 0);
        for method in [Method::HEAD, Method::POST, Method::PUT] {
            let mut case = Case::new(&[FRESH]);
            case.method = method;
            assert_eq!(case.left(), WhyNot::Method);
        }
        let mut query = Case::new(&[FRESH]);
        query.method = Method::QUERY;
        assert_eq!(query.fresh_for(), HOUR);
        for status in [100, 103, 304, 412] {
            assert_eq!(Case::new(&[FRESH]).status(status).left(), WhyNot::Status, "{status}");
        }
        for status in [206, 416] {
            assert_eq!(Case::new(&[FRESH]).status(status).left(), WhyNot::Part, "{status}");
        }
        let refused = Case::new(&[FRESH]).asked(&[("cache-control", "no-store")]);
        assert_eq!(refused.left(), WhyNot::ClientNoStore);
        let mut ignored = refused;
        ignored.policy.client_directives = ClientDirectives::Ignored;
        assert_eq!(ignored.fresh_for(), HOUR);
    }

    /// RFC 9110 §9.3.3.
    #[test]
    fn a_post_that_the_route_vouches_for_is_kept_where_somebody_states_how_long() {
        let modified = ("last-modified", "@-86400");
        let vouched = |response: &[(&str, &str)]| {
            let mut case = Case::with(response, |policy| policy.post = Post::Vouched);
            case.method = Method::POST;
            case
        };
        assert_eq!(vouched(&[FRESH]).fresh_for(), HOUR);
        assert_eq!(vouched(&[modified, TAG]).left(), WhyNot::NoLifetime);
        assert_eq!(vouched(&[TAG, ("cache-control", "public")]).left(), WhyNot::NoLifetime);
        let mut timed = vouched(&[modified]);
        timed.policy.ttl = Some(Duration::from_mins(1));
        assert_eq!(timed.fresh_for(), 60);
        timed.method = Method::PUT;
        assert_eq!(timed.left(), WhyNot::Method);
    }

    /// RFC 9110 §9.3.3: the response is to include it; a route's `ttl` is no part of it.
    #[test]
    fn a_post_that_may_write_is_kept_only_where_its_answer_states_how_long() {
        let answering = |response: &[(&str, &str)]| {
            let mut case = Case::with(response, |policy| {
                policy.post = Post::Answering;
                policy.ttl = Some(Duration::from_mins(1));
            });
            case.method = Method::POST;
            case
        };
        assert_eq!(answering(&[FRESH]).fresh_for(), HOUR);
        assert_eq!(answering(&[TAG]).left(), WhyNot::NoLifetime);
        assert_eq!(answering(&[("cache-control", "public")]).left(), WhyNot::NoLifetime);
        let mut other = answering(&[FRESH]);
        other.method = Method::PUT;
        assert_eq!(other.left(), WhyNot::Method);
        other.method = Method::POST;
        other.policy.post = Post::Unsafe;
        assert_eq!(other.left(), WhyNot::Method);
    }

    /// RFC 9111 §3: any final status with explicit freshness; also errors.
    #[test]
    fn any_final_status_is_kept_while_fresh_and_not_when_it_arrived_stale() {
        let old = ("last-modified", "@-86400");
        for status in [
            200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504,
            599, 999,
        ] {
            assert_eq!(Case::new(&[FRESH]).status(status).fresh_for(), HOUR, "{status}");
            let stale = Case::new(&[("expires", "@-60"), ("date", "@0"), old]).status(status);
            assert_eq!(stale.fresh_for(), 0, "{status}");
        }
        let arrived = Case::new(&[("expires", "@-60"), ("date", "@0")]);
        assert_eq!(arrived.left(), WhyNot::ArrivedStale);
    }

    /// RFC 9111 §4.2.2.
    #[test]
    fn only_a_modification_date_gives_a_heuristic_lifetime() {
        let heuristic = |status: u16, directives: &'static str| {
            let day = [("last-modified", "@-86400"), ("date", "@0"), ("cache-control", directives)];
            Case::new(&day).status(status).fresh_for()
        };
        for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
            assert_eq!(heuristic(status, ""), 8640, "{status}");
        }
        for status in [201, 202, 302, 307, 403, 500, 502, 503, 504, 599] {
            assert_eq!(heuristic(status, ""), 0, "{status}");
            // Without any word about it, such a status is not even kept to be validated.
            assert_eq!(Case::new(&[TAG]).status(status).left(), WhyNot::NoLifetime, "{status}");
        }
        let public = Case::new(&[TAG, ("cache-control", "public")]).status(599);
        assert_eq!(public.kept().lifetime, Duration::ZERO);
        assert_eq!(heuristic(599, "public"), 8640);
        let case =
            |modified: &'static str| Case::new(&[("last-modified", modified), ("date", "@0")]);
        assert_eq!(case("@-60").fresh_for(), 6);
        assert_eq!(case("@60").fresh_for(), 0);
        assert_eq!(case("@-864000000").kept().lifetime, seconds(24 * 3600));
        assert_eq!(case("foo").left(), WhyNot::NoLifetime);
        let undated = Case::new(&[("last-modified", "@-60")]);
        assert_eq!(undated.fresh_for(), 6);
        assert_eq!(Case::new(&[TAG]).fresh_for(), 0);
    }

    /// RFC 9111 §5.2.2.3.
    #[test]
    fn must_understand_overrules_no_store_where_the_status_is_understood() {
        let said = "max-age=3600, no-store, must-understand";
        let case = |status| Case::new(&[("cache-control", said)]).status(status);
        assert_eq!(case(200).fresh_for(), HOUR);
        assert_eq!(case(404).fresh_for(), HOUR);
        assert_eq!(case(599).left(), WhyNot::NotUnderstood);
        let alone = Case::new(&[("cache-control", "max-age=60, must-understand")]).status(599);
        assert_eq!(alone.left(), WhyNot::NotUnderstood);
    }

    /// RFC 9111 §3.5.
    #[test]
    fn an_answer_to_credentials_is_shared_only_where_the_response_allows_it() {
        let case = |directives: &str| {
            Case::new(&[("cache-control", directives)]).asked(&[("authorization", "Basic x")])
        };
        for directives in ["max-age=3600", "max-age=3600, proxy-revalidate", "max-age=3600, foo"] {
            assert_eq!(case(directives).left(), WhyNot::Authorization, "{directives}");
        }
        for directives in ["max-age=3600, public", "max-age=3600, must-revalidate", "s-maxage=3600"]
        {
            assert_eq!(case(directives).fresh_for(), HOUR, "{directives}");
        }
        let mut shared = case("max-age=3600");
        shared.policy.share = vec![Share::Authorization];
        assert_eq!(shared.fresh_for(), HOUR);
        shared.policy.share = vec![Share::SetCookie, Share::Private];
        assert_eq!(shared.left(), WhyNot::Authorization);
    }

    #[test]
    fn a_route_may_share_what_http_would_not_and_each_only_what_it_names() {
        let cookie = [FRESH, ("set-cookie", "a=b")];
        let private = [("cache-control", "private, max-age=3600")];
        let with =
            |response: Fields, share| Case::with(response, |policy| policy.share = vec![share]);
        assert_eq!(with(&cookie, Share::SetCookie).fresh_for(), HOUR);
        assert_eq!(with(&private, Share::Private).fresh_for(), HOUR);
        assert_eq!(with(&cookie, Share::Private).left(), WhyNot::SetCookie);
        assert_eq!(with(&private, Share::SetCookie).left(), WhyNot::Private);
    }

    /// RFC 9111 §5.2.2.4 and §5.2.2.7, qualified forms.
    #[test]
    fn fields_that_are_listed_are_taken_out_and_the_rest_is_kept() {
        let said = "max-age=3600, private=\"Set-Cookie, a\", no-cache=\"b, cache-control\"";
        let response =
            [("cache-control", said), ("set-cookie", "s"), ("a", "1"), ("b", "2"), ("c", "3")];
        let mut case = Case::new(&response);
        assert_eq!(case.fresh_for(), HOUR);
        let mut stored = case.response.clone();
        let own = strip(&mut stored, &case.policy);
        assert_eq!(stored, fields(&[("cache-control", said), ("c", "3")]));
        assert_eq!(own, fields(&[("set-cookie", "s"), ("a", "1"), ("b", "2")]));
        case.policy.share = vec![Share::Private];
        let mut shared = case.response.clone();
        let _own = strip(&mut shared, &case.policy);
        assert!(shared.contains_key(SET_COOKIE) && shared.contains_key("a"));
        assert!(!shared.contains_key("b"));
        assert_eq!(case.left(), WhyNot::SetCookie);
    }

    /// RFC 9111 §5.2.2.4: no-cache is stored to be validated, where it can be.
    #[test]
    fn what_cannot_be_used_unasked_is_kept_only_with_a_validator() {
        for directives in ["no-cache", "No-Cache, max-age=3600"] {
            let bare = Case::new(&[("cache-control", directives), ("expires", "@3600")]);
            assert_eq!(bare.left(), WhyNot::ArrivedStale, "{directives}");
            let kept = Case::new(&[("cache-control", directives), TAG]).kept();
            assert_eq!(kept.use_without_asking, UseWithoutAsking::Never);
            assert_eq!((kept.stale_if_error, kept.keep), (Duration::ZERO, seconds(600)));
        }
        let zero =
            |validator: (&str, &str)| Case::new(&[("cache-control", "max-age=0"), validator]);
        assert_eq!(zero(TAG).kept().keep, seconds(600));
        assert_eq!(zero(("last-modified", "@-9")).kept().keep, seconds(600));
        assert_eq!(zero(("etag", " ")).left(), WhyNot::ArrivedStale);
        assert_eq!(zero(("last-modified", "x")).left(), WhyNot::ArrivedStale);
        assert_eq!(Case::new(&[FRESH]).kept().keep, Duration::ZERO);
    }

    /// RFC 9111 §5.2.2.2, §5.2.2.8 and §5.2.2.10: no stale answer at all.
    #[test]
    fn what_must_be_revalidated_has_no_stale_windows() {
        let windows = ", stale-while-revalidate=9, stale-if-error=9";
        for said in ["max-age=9, must-revalidate", "max-age=9, proxy-revalidate", "s-maxage=9"] {
            let case = Case::with(&[("cache-control", &format!("{said}{windows}"))], |policy| {
                policy.stale_while_revalidate = Some(seconds(60));
                policy.stale_if_error = Some(seconds(60));
            });
            let kept = case.kept();
            assert_eq!(kept.use_without_asking, UseWithoutAsking::OnlyFresh, "{said}");
            assert_eq!(kept.stale_while_revalidate + kept.stale_if_error, Duration::ZERO, "{said}");
        }
    }

    /// RFC 5861 §3 and §4.
    #[test]
    fn the_responses_windows_count_before_the_routes() {
        let windows = |status: u16, directives: &str| {
            let mut case = Case::new(&[("cache-control", directives), TAG]).status(status);
            case.policy.stale_while_revalidate = Some(seconds(60));
            case.policy.stale_if_error = Some(seconds(600));
            let kept = case.kept();
            (kept.stale_while_revalidate.as_secs(), kept.stale_if_error.as_secs())
        };
        assert_eq!(windows(200, "max-age=9"), (60, 600));
        assert_eq!(windows(200, "max-age=9, stale-while-revalidate=3"), (3, 600));
        assert_eq!(windows(200, "max-age=9, stale-if-error=3"), (60, 3));
        assert_eq!(windows(200, "max-age=9, stale-if-error=0, stale-while-revalidate=0"), (0, 0));
        // What arrived stale is served unasked only where the origin says so.
        assert_eq!(windows(200, "max-age=0"), (0, 600));
        assert_eq!(windows(200, "max-age=0, stale-while-revalidate=3"), (3, 600));
        // Nothing said that it may ever be used.
        assert_eq!(windows(200, "stale-while-revalidate=3"), (0, 0));
        assert_eq!(windows(503, "max-age=9, stale-if-error=9"), (0, 0));
        assert_eq!(windows(503, "max-age=9, stale-while-revalidate=3"), (3, 0));
        assert_eq!(windows(404, "max-age=9"), (60, 600));
    }

    #[test]
    fn what_arrived_stale_is_kept_for_a_window_alone() {
        let case = Case::with(&[("cache-control", "max-age=0")], |policy| {
            policy.stale_if_error = Some(seconds(5));
        });
        assert_eq!(case.kept().stale_if_error, seconds(5));
        let own = Case::new(&[("cache-control", "max-age=0, stale-while-revalidate=5")]);
        assert_eq!(own.kept().stale_while_revalidate, seconds(5));
        let nothing = Case::with(&[], |policy| policy.stale_if_error = Some(seconds(5)));
        assert_eq!(nothing.left(), WhyNot::NoLifetime);
    }

    #[test]
    fn a_routes_ttl_fills_the_gap_for_successes_and_listed_statuses_only() {
        let with = |response: Fields, status: u16| {
            let mut case = Case::new(response).status(status);
            case.policy.ttl = Some(seconds(300));
            case.policy.negative = vec![(StatusCode::NOT_FOUND, seconds(30))];
            case.fresh_for()
        };
        for status in [200, 203, 204, 300, 301, 308] {
            assert_eq!(with(&[], status), 300, "{status}");
        }
        for status in [201, 302, 400, 401, 403, 410, 429, 500, 502, 503] {
            assert_eq!(with(&[], status), 0, "{status}");
        }
        assert_eq!(with(&[], 404), 30);
        assert_eq!(with(&[FRESH], 200), HOUR);
        assert_eq!(with(&[FRESH], 404), HOUR);
        assert_eq!(with(&[("cache-control", "max-age=0"), TAG], 200), 0);
        assert_eq!(with(&[("expires", "0"), TAG], 200), 0);
        // The route's word counts before a guess.
        assert_eq!(with(&[("last-modified", "@-86400")], 200), 300);
        assert_eq!(with(&[("cache-control", "private")], 200), 0);
        assert_eq!(with(&[("age", "100")], 200), 200);
    }

    #[test]
    fn a_ttl_that_replaces_the_origins_never_replaces_its_privacy() {
        let with = |response: Fields, status: u16| {
            let mut case = Case::new(response).status(status);
            case.policy.ttl = Some(seconds(300));
            case.policy.origin_lifetime = OriginLifetime::Replaced;
            case.policy.stale_if_error = Some(seconds(60));
            case
        };
        for said in ["max-age=3600", "max-age=0", "s-maxage=9", "max-age=x", "foo"] {
            assert_eq!(with(&[("cache-control", said)], 200).fresh_for(), 300, "{said}");
        }
        assert_eq!(with(&[("expires", "0")], 200).fresh_for(), 300);
        assert_eq!(with(&[FRESH], 404).fresh_for(), HOUR);
        assert_eq!(with(&[("cache-control", "private")], 200).left(), WhyNot::Private);
        assert_eq!(with(&[("cache-control", "no-store")], 200).left(), WhyNot::NoStore);
        assert_eq!(with(&[("set-cookie", "a")], 200).left(), WhyNot::SetCookie);
        assert_eq!(with(&[("cache-control", "no-cache"), TAG], 200).fresh_for(), 0);
        let s_maxage = with(&[("cache-control", "s-maxage=9")], 200).kept();
        assert_eq!(s_maxage.stale_if_error, seconds(60));
        let strict = with(&[("cache-control", "must-revalidate")], 200).kept();
        assert_eq!(strict.stale_if_error, Duration::ZERO);
    }

    #[test]
    fn the_dice_shorten_what_the_route_set_and_nothing_else() {
        let life = |response: Fields, dice: f64| {
            let mut case = Case::with(response, |policy| {
                (policy.ttl, policy.jitter) = (Some(seconds(100)), 0.1);
            });
            case.dice = dice;
            case.kept().lifetime
        };
        assert_eq!(life(&[], 0.0), seconds(100));
        assert_eq!(life(&[], 0.5), seconds(95));
        assert_eq!(life(&[], 1.0), seconds(90));
        assert_eq!(life(&[FRESH], 1.0), seconds(HOUR));
    }

    /// RFC 9213 §2.2: "it MUST ignore the Cache-Control and Expires header fields in that response".
    #[test]
    fn a_targeted_field_alone_decides() {
        fn targeted(value: &str, other: Fields) -> Case {
            Case::new(&[&[("cdn-cache-control", value)], other].concat())
        }
        let past = ("expires", "@-60");
        assert_eq!(targeted("max-age=3600", &[past]).fresh_for(), HOUR);
        assert_eq!(targeted("max-age=3600", &[("cache-control", "max-age=1")]).fresh_for(), HOUR);
        assert_eq!(targeted("max-age=3600", &[("cache-control", "no-store")]).fresh_for(), HOUR);
        assert_eq!(targeted("max-age=3600", &[("cache-control", "private")]).fresh_for(), HOUR);
        assert_eq!(targeted("max-age=3600, foo=bar", &[("age", "7200")]).fresh_for(), 0);
        assert_eq!(targeted("max-age=2", &[FRESH]).fresh_for(), 2);
        assert_eq!(targeted("max-age=0", &[("expires", "@3600")]).fresh_for(), 0);
        assert_eq!(targeted("foo", &[("expires", "@3600")]).left(), WhyNot::NoLifetime);
        assert_eq!(targeted("private", &[FRESH]).left(), WhyNot::Private);
        assert_eq!(targeted("no-store", &[FRESH]).left(), WhyNot::NoStore);
        assert_eq!(targeted("no-cache", &[FRESH]).fresh_for(), 0);
        let no_store = [("cache-control", "no-store")];
        for ignored in ["max-age=10000, &&&&&", "max-age=\"10000\"", "MaX-aGe=1", ""] {
            let case = Case::new(&[&[("cdn-cache-control", ignored)], &no_store[..]].concat());
            assert_eq!(case.left(), WhyNot::NoStore, "{ignored}");
        }
    }

    #[test]
    fn cookies_in_requests_and_pragma_in_responses_mean_nothing() {
        let case =
            Case::new(&[FRESH, ("pragma", "no-cache"), ("content-disposition", "attachment")])
                .asked(&[("cookie", "a=b"), ("cache-control", "nothing-to-see-here")]);
        assert_eq!(case.fresh_for(), HOUR);
    }
}
