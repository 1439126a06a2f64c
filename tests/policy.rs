//! What Larder stores and reuses, beside what `http-cache-semantics` would: agreement, or a named exception.
//!
//! Both are shown the same exchange and the same second request. Where no [`Exception`] applies, both verdicts must
//! be the same; every exception is also shown to be a real disagreement, so that the list cannot rot.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_cache_semantics::{BeforeRequest, CacheOptions, CachePolicy};
use larder::entry::facts::Standing;
use larder::key::vary::{Selector, Variant, VaryRules};
use larder::message::cache_control::RequestDirectives;
use larder::message::date;
use larder::policy::Policy;
use larder::policy::reuse::{Question, Reuse, reuse};
use larder::policy::storable::{Exchange, Storable, storable};
use larder::time::Timestamp;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use proptest::{collection, option};

/// When responses arrive.
const RECEIVED: u64 = 1_700_000_000;

/// An exchange, and a second request for the same URL half a second and `later` seconds after it.
#[derive(Clone, Debug, Default)]
struct Case {
    method: Method,
    status: u16,
    authorization: bool,
    first: Vec<&'static str>,
    said: Vec<&'static str>,
    /// Offsets from the arrival, in seconds.
    date: Option<i64>,
    expires: Option<Expires>,
    last_modified: Option<i64>,
    age: Option<&'static str>,
    etag: bool,
    set_cookie: bool,
    vary: Option<&'static str>,
    foo: [Option<&'static str>; 2],
    second: Vec<&'static str>,
    later: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expires {
    At(i64),
    Rfc850(i64),
    Nonsense,
}

/// Where the two differ on purpose, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exception {
    /// The crate knows 14 statuses; RFC 9111 §3 lets any final one be stored with explicit freshness.
    UnknownStatus,
    /// The crate stores answers to HEAD and POST too; here only a GET makes an entry.
    Method,
    /// The crate reads names case-sensitively: `No-Store` is stored there (RFC 9111 §5.2: "case-insensitive").
    Case,
    /// The crate takes any quoted list for the whole response; it may (RFC 9111 §5.2.2.4), and need not.
    Qualified,
    /// The crate splits quoted strings at commas.
    Quoted,
    /// The crate does not know `must-understand` (RFC 9111 §5.2.2.3).
    MustUnderstand,
    /// The crate has no lifetime at all for `proxy-revalidate`, which only forbids stale answers (§5.2.2.8).
    ProxyRevalidate,
    /// The crate ignores blanks around `=`, which the grammar does not allow (RFC 9110 §5.6.6).
    Blank,
    /// The crate stores answers with `Set-Cookie`, and serves them where they are `public`.
    SetCookie,
    /// The crate reads only the modern form of dates (RFC 9110 §5.6.7 demands three).
    DateForm,
    /// The crate does not look at how old `Date` is (RFC 9111 §4.2.3, `apparent_age`).
    ApparentAge,
    /// The crate ignores an `Age` that is a list; its first member counts (RFC 9111 §5.1).
    AgeList,
    /// The crate does not cap heuristic lifetimes.
    HeuristicCap,
    /// The crate stores `Vary: *` though it never matches.
    VaryStar,
    /// The crate lets `max-stale` defeat `no-cache` and `s-maxage` (RFC 9111 §4.2.4).
    MaxStale,
    /// The crate reads two different values of one directive as `must-revalidate` besides; here the first counts
    /// and nothing else is made of it (RFC 9111 §4.2.1).
    Twice,
    /// The crate does not look at a second request's `no-store`; here it goes to the origin.
    ClientNoStore,
}

/// What is done about the second request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    /// The response is kept because it is fresh or could be validated.
    kept: bool,
    /// The second request is answered from store.
    served: bool,
}

/// Directives that both read alike, and those on which some exception rests.
const PLAIN: [&str; 16] = [
    "max-age=0",
    "max-age=5",
    "max-age=60",
    "max-age=60",
    "max-age=3600",
    "max-age=3600",
    "max-age=x",
    "max-age=\"60\"",
    "max-age=99999999999",
    "s-maxage=5",
    "s-maxage=60",
    "public",
    "private",
    "no-store",
    "no-cache",
    "must-revalidate",
];
const ODD: [&str; 8] = [
    "max-age=60, max-age=5",
    "max-age =60",
    "proxy-revalidate",
    "must-understand",
    "No-Store",
    "Max-Age=60",
    "private=\"x\"",
    "foo=\"a, max-age=60\"",
];

const ASKED: [&str; 9] = [
    "no-cache",
    "no-store",
    "max-age=0",
    "max-age=30",
    "min-fresh=30",
    "max-stale",
    "max-stale=30",
    "only-if-cached",
    "foo",
];

const STATUSES: [u16; 32] = [
    200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 203, 204, 206, 300, 301, 302, 303, 307, 308,
    404, 405, 410, 414, 501, 201, 400, 403, 412, 416, 500, 503, 599,
];

fn cases() -> impl Strategy<Value = Case> {
    let moment =
        || prop_oneof![Just(0_i64), Just(-3600), Just(-30), Just(30), Just(3600), Just(-1)];
    let expires = prop_oneof![
        9 => moment().prop_map(Expires::At),
        1 => moment().prop_map(Expires::Rfc850),
        1 => Just(Expires::Nonsense),
    ];
    let directives = prop_oneof![14 => select(PLAIN.to_vec()), 1 => select(ODD.to_vec())];
    let methods =
        prop_oneof![18 => Just(Method::GET), 1 => Just(Method::HEAD), 1 => Just(Method::POST)];
    let modified = select(vec![-100_i64, -600, -86_400, -400 * 86_400, 600]);
    let ages = select(vec!["0", "3", "50", "7200", "abc", "50, 0", "99999999999"]);
    let foos = || option::of(select(vec!["1", "2"]));
    let sent = (methods, select(STATUSES.to_vec()), proptest::bool::weighted(0.2));
    let said = (
        collection::vec(directives, 0..4),
        option::of(moment()),
        option::of(expires),
        option::of(modified),
        option::of(ages),
    );
    let more = (
        any::<bool>(),
        proptest::bool::weighted(0.05),
        option::weighted(0.3, select(vec!["foo", "Foo, bar", "foo", "foo, *"])),
        [foos(), foos()],
    );
    let asked = (
        collection::vec(select(ASKED.to_vec()), 0..2),
        collection::vec(select(ASKED.to_vec()), 0..3),
        select(vec![0_u64, 4, 20, 70, 4000]),
    );
    (sent, said, more, asked).prop_map(|(sent, said, more, asked)| Case {
        method: sent.0,
        status: sent.1,
        authorization: sent.2,
        said: said.0,
        date: said.1,
        expires: said.2,
        last_modified: said.3,
        age: said.4,
        etag: more.0,
        set_cookie: more.1,
        vary: more.2,
        foo: more.3,
        first: asked.0,
        second: asked.1,
        later: asked.2,
    })
}

/// Runs a property over many cases; a failure tells the seed, which `LARDER_SEED` repeats.
fn over_cases(count: u32, property: impl Fn(&Case) -> Result<(), String>) {
    let seed = std::env::var("LARDER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    let config = Config {
        cases: count,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    };
    let outcome =
        TestRunner::new(config).run(&cases(), |case| property(&case).map_err(TestCaseError::fail));
    outcome.unwrap_or_else(|failure| panic!("LARDER_SEED={seed}: {failure}"));
}

#[test]
fn both_agree_wherever_no_exception_is_named() {
    let (compared, served) = (Cell::new(0_u32), Cell::new(0_u32));
    over_cases(10_000, |case| {
        if !exceptions(case).is_empty() {
            return Ok(());
        }
        let (ours, theirs) = (ours(case), theirs(case));
        compared.set(compared.get() + 1);
        served.set(served.get() + u32::from(ours.served));
        if ours == theirs { Ok(()) } else { Err(format!("ours {ours:?}, theirs {theirs:?}")) }
    });
    let (compared, served) = (compared.get(), served.get());
    assert!(compared > 2000 && served > 300, "only {compared} compared, {served} served");
}

/// The safe direction of the exceptions: what forbids is never overlooked.
#[test]
fn nothing_forbidden_is_ever_served_whatever_the_exceptions() {
    over_cases(5_000, |case| {
        let says =
            |directive: &str| case.said.iter().any(|said| said.eq_ignore_ascii_case(directive));
        let forbidden = (says("no-store") && !says("must-understand"))
            || says("private")
            || says("no-cache")
            || case.set_cookie
            || case.vary.is_some_and(|vary| vary.contains('*'))
            || case.second.contains(&"no-cache");
        if forbidden && ours(case).served { Err("it is served".to_owned()) } else { Ok(()) }
    });
}

#[test]
fn every_exception_is_a_real_disagreement() {
    for (exception, case, expected) in witnesses() {
        assert!(exceptions(&case).contains(&exception), "{exception:?} does not apply to {case:?}");
        let (ours, theirs) = (ours(&case), theirs(&case));
        assert_ne!(ours, theirs, "{exception:?}: {case:?}");
        assert_eq!(ours, expected, "{exception:?}: {case:?}");
    }
}

const SERVED: Verdict = Verdict { kept: true, served: true };
/// Not served to the second request.
const KEPT: Verdict = Verdict { kept: true, served: false };
const LEFT: Verdict = Verdict { kept: false, served: false };

fn witnesses() -> Vec<(Exception, Case, Verdict)> {
    let says = |said: &[&'static str]| Case { status: 200, said: said.to_vec(), ..Case::default() };
    let hour = || says(&["max-age=3600"]);
    let dated = |date| Case { date: Some(date), ..hour() };
    let old = Case { last_modified: Some(-400 * 86_400), later: 100_000, ..says(&[]) };
    let expires = Case { expires: Some(Expires::Rfc850(3600)), ..says(&[]) };
    let stale = |said: &[&'static str]| Case { second: vec!["max-stale"], later: 70, ..says(said) };
    vec![
        (Exception::UnknownStatus, Case { status: 599, ..hour() }, SERVED),
        (Exception::Method, Case { method: Method::HEAD, ..hour() }, LEFT),
        (Exception::Case, says(&["max-age=60", "No-Store"]), LEFT),
        (Exception::Case, says(&["Max-Age=60"]), SERVED),
        (Exception::Qualified, says(&["max-age=60", "private=\"x\""]), SERVED),
        (Exception::Quoted, says(&["foo=\"a, max-age=60\""]), LEFT),
        (Exception::MustUnderstand, says(&["max-age=60", "no-store", "must-understand"]), SERVED),
        (Exception::ProxyRevalidate, says(&["max-age=60", "proxy-revalidate"]), SERVED),
        (Exception::Blank, says(&["max-age =60"]), LEFT),
        (Exception::SetCookie, Case { set_cookie: true, ..says(&["max-age=60", "public"]) }, LEFT),
        (Exception::DateForm, expires, SERVED),
        (Exception::ApparentAge, Case { etag: true, ..dated(-3600) }, KEPT),
        (Exception::AgeList, Case { age: Some("50, 0"), later: 20, ..says(&["max-age=60"]) }, KEPT),
        (Exception::HeuristicCap, old, KEPT),
        (Exception::VaryStar, Case { vary: Some("*"), etag: true, ..hour() }, LEFT),
        (Exception::MaxStale, Case { etag: true, ..stale(&["max-age=5", "no-cache"]) }, KEPT),
        (Exception::MaxStale, stale(&["s-maxage=60"]), KEPT),
        (Exception::Twice, Case { authorization: true, ..says(&["max-age=60, max-age=5"]) }, LEFT),
        (Exception::ClientNoStore, Case { second: vec!["no-store"], ..hour() }, KEPT),
    ]
}

/// The exceptions that may make a difference for a case.
fn exceptions(case: &Case) -> Vec<Exception> {
    let says = |directive: &str| case.said.contains(&directive);
    let asks = |directive: &str| case.second.iter().any(|asked| asked.starts_with(directive));
    let understood = [200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 501]
        .contains(&case.status);
    let strict = case.said.iter().any(|said| said.starts_with("s-maxage"));
    let twice = case.said.iter().filter(|said| said.contains("ax-age")).count() > 1
        || case.said.iter().filter(|said| said.starts_with("s-maxage")).count() > 1
        || says("max-age=60, max-age=5");
    let expires = |kind: fn(Expires) -> bool| case.expires.is_some_and(kind);
    let table = [
        (!understood, Exception::UnknownStatus),
        (case.method != Method::GET, Exception::Method),
        (says("No-Store") || says("Max-Age=60"), Exception::Case),
        (says("private=\"x\""), Exception::Qualified),
        (says("foo=\"a, max-age=60\""), Exception::Quoted),
        (says("must-understand"), Exception::MustUnderstand),
        (says("proxy-revalidate"), Exception::ProxyRevalidate),
        (says("max-age =60"), Exception::Blank),
        (case.set_cookie, Exception::SetCookie),
        (expires(|kind| matches!(kind, Expires::Rfc850(_))), Exception::DateForm),
        (case.date.is_some_and(|offset| offset <= -2), Exception::ApparentAge),
        (case.age.is_some_and(|age| age.contains(',')), Exception::AgeList),
        (case.last_modified.is_some_and(|offset| offset <= -10 * 86_400), Exception::HeuristicCap),
        (case.vary.is_some_and(|vary| vary.contains('*')), Exception::VaryStar),
        (asks("max-stale") && (strict || says("no-cache")), Exception::MaxStale),
        (twice && (case.authorization || asks("max-stale")), Exception::Twice),
        (asks("no-store"), Exception::ClientNoStore),
    ];
    table.iter().filter(|(applies, _)| *applies).map(|(_, exception)| *exception).collect()
}

fn ours(case: &Case) -> Verdict {
    let (policy, rules) = (Policy::default(), VaryRules::default());
    let (first, second, response) = (case.first(), case.second(), case.response());
    let received = Timestamp::from_seconds(RECEIVED);
    let exchange = Exchange {
        method: &case.method,
        request: &first,
        status: status(case.status),
        response: &response,
        requested: received,
        received,
    };
    let Storable::Keep(freshness) = storable(&policy, &exchange, 0.5) else { return LEFT };
    let selector = |fields| Selector { fields, rules: &rules };
    let Ok(variant) = Variant::of(&response, &selector(&first)) else { return LEFT };
    let verdict = reuse(&Question {
        freshness: &freshness,
        status: exchange.status,
        standing: Standing::Good,
        directives: RequestDirectives::of(&second),
        policy: &policy,
        now: received.plus(case.later()),
        dice: 0.5,
    });
    let serves = match verdict {
        Reuse::Serve | Reuse::ServeAndRefresh(_) => true,
        Reuse::Hold { .. } | Reuse::Refuse(_) => false,
    };
    Verdict { kept: true, served: serves && variant.is_selected_by(&selector(&second)) }
}

fn theirs(case: &Case) -> Verdict {
    let request = |fields: HeaderMap, method: &Method| {
        let mut request = Request::new(());
        (*request.method_mut(), *request.headers_mut()) = (method.clone(), fields);
        request
    };
    let mut response = Response::new(());
    *response.status_mut() = status(case.status);
    *response.headers_mut() = case.response();
    let received: SystemTime = UNIX_EPOCH + Duration::from_secs(RECEIVED);
    let policy = CachePolicy::new_options(
        &request(case.first(), &case.method),
        &response,
        received,
        CacheOptions { immutable_min_time_to_live: Duration::ZERO, ..CacheOptions::default() },
    );
    let validator = case.etag || case.last_modified.is_some();
    let fresh = !policy.time_to_live(received).is_zero();
    let kept = policy.is_storable() && (fresh || validator);
    let asked =
        policy.before_request(&request(case.second(), &case.method), received + case.later());
    // What the crate would serve but had no reason to keep is not there any more.
    Verdict { kept, served: kept && matches!(asked, BeforeRequest::Fresh(_)) }
}

impl Case {
    fn first(&self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        put(&mut fields, "cache-control", &self.first.join(", "));
        put(&mut fields, "foo", self.foo[0].unwrap_or_default());
        put(&mut fields, "authorization", if self.authorization { "Basic x" } else { "" });
        fields
    }

    fn second(&self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        put(&mut fields, "cache-control", &self.second.join(", "));
        put(&mut fields, "foo", self.foo[1].unwrap_or_default());
        fields
    }

    fn response(&self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        put(&mut fields, "cache-control", &self.said.join(", "));
        put(&mut fields, "age", self.age.unwrap_or_default());
        put(&mut fields, "vary", self.vary.unwrap_or_default());
        put(&mut fields, "etag", if self.etag { "\"a\"" } else { "" });
        put(&mut fields, "set-cookie", if self.set_cookie { "a=b" } else { "" });
        for (name, offset) in [("date", self.date), ("last-modified", self.last_modified)] {
            put(&mut fields, name, &offset.map(moment).unwrap_or_default());
        }
        let expires = self.expires.map(|kind| match kind {
            Expires::At(offset) => moment(offset),
            Expires::Rfc850(offset) => rfc850(offset),
            Expires::Nonsense => "0".to_owned(),
        });
        put(&mut fields, "expires", &expires.unwrap_or_default());
        fields
    }

    fn later(&self) -> Duration {
        Duration::from_secs(self.later) + Duration::from_millis(500)
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).expect("a status of the list")
}

/// Sets a field, unless the value is empty.
fn put(fields: &mut HeaderMap, name: &'static str, value: &str) {
    if !value.is_empty() {
        fields.insert(
            HeaderName::from_static(name),
            HeaderValue::from_str(value).expect("a field value"),
        );
    }
}

fn moment(offset: i64) -> String {
    let seconds = RECEIVED.checked_add_signed(offset).expect("a small offset");
    date::format(seconds).to_str().expect("a date is ASCII").to_owned()
}

/// `Tuesday, 14-Nov-23 22:13:20 GMT`.
fn rfc850(offset: i64) -> String {
    let text = moment(offset);
    let (day, month, year, clock) = (&text[5..7], &text[8..11], &text[14..16], &text[17..25]);
    format!("Tuesday, {day}-{month}-{year} {clock} GMT")
}
