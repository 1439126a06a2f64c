//! A second opinion on what may be stored, by `http-cache-semantics`; the only user of that crate.
//!
//! The crate is asked with a synthetic exchange made from our own parse, since it reads names case-sensitively,
//! knows no quoted strings, no list of fields and no date form but one. What it does not know at all is translated
//! first: targeted fields speak as `Cache-Control`, a status that may be kept as 200, `must-understand` as the
//! absence of `no-store`, what the route shares as the absence of what forbids it. What remains is its judgement
//! of `no-store`, `private` and `Authorization`, and of the lifetime.

use std::time::{Duration, UNIX_EPOCH};

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, DATE, EXPIRES, HeaderMap, HeaderValue, LAST_MODIFIED,
};
use http::{Request, Response};
use http_cache_semantics::{CacheOptions, CachePolicy};

use crate::message::cache_control::{ResponseDirectives, Revalidation};
use crate::message::conditional::{last_modified, only_date};
use crate::message::date;
use crate::message::fields::Named;
use crate::policy::lifetime::Lifetime;
use crate::policy::storable::{Exchange, Source, Statement};
use crate::policy::{Policy, Share};

/// What the second opinion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opinion {
    Agrees,
    /// It may be stored, but for no longer than this.
    Shorter(Duration),
    Refuses,
}

/// The crate counts whole seconds; a smaller difference is none.
const GRAIN: Duration = Duration::from_secs(1);

/// Asks. Costs about half a microsecond, on misses only.
pub(crate) fn ask(
    policy: &Policy,
    exchange: &Exchange<'_, impl Named>,
    statement: &Statement,
    lifetime: Lifetime,
) -> Opinion {
    let (Some(request), Some(response)) =
        (request(policy, exchange), response(policy, exchange, statement, lifetime))
    else {
        return Opinion::Refuses;
    };
    let options = CacheOptions {
        shared: true,
        cache_heuristic: 0.1,
        immutable_min_time_to_live: Duration::ZERO,
        ignore_cargo_cult: false,
    };
    let received = UNIX_EPOCH + Duration::from_millis(exchange.received.as_millis());
    let second = CachePolicy::new_options(&request, &response, received, options);
    if !second.is_storable() {
        return Opinion::Refuses;
    }
    let theirs = second.time_to_live(received);
    match lifetime {
        // What says `no-cache` is never fresh for the crate; for us it is fresh, but not to be used unasked.
        _ if statement.directives.no_cache.is_whole() => Opinion::Agrees,
        Lifetime::Stated(ours) | Lifetime::Heuristic(ours) if theirs + GRAIN < ours => {
            Opinion::Shorter(theirs)
        }
        Lifetime::Stated(_) | Lifetime::Heuristic(_) | Lifetime::Route(_) | Lifetime::Unknown => {
            Opinion::Agrees
        }
    }
}

fn request(policy: &Policy, exchange: &Exchange<'_, impl Named>) -> Option<Request<()>> {
    let mut request = Request::get("/");
    if exchange.request.contains_key(AUTHORIZATION) && !policy.may_share(Share::Authorization) {
        request = request.header(AUTHORIZATION, HeaderValue::from_static("x"));
    }
    request.body(()).ok()
}

fn response(
    policy: &Policy,
    exchange: &Exchange<'_, impl Named>,
    statement: &Statement,
    lifetime: Lifetime,
) -> Option<Response<()>> {
    let mut response = Response::new(());
    let fields = response.headers_mut();
    let text = directives(policy, &statement.directives, lifetime);
    if !text.is_empty() {
        fields.insert(CACHE_CONTROL, HeaderValue::try_from(text).ok()?);
    }
    copy_dates(exchange.response, fields, statement.source);
    Some(response)
}

/// Our parse, written again as the crate can read it.
fn directives(policy: &Policy, said: &ResponseDirectives, lifetime: Lifetime) -> String {
    let mut text = String::new();
    let mut say = |directive: &str| {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(directive);
    };
    if said.no_store && !said.must_understand {
        say("no-store");
    }
    if said.private.is_whole() && !policy.may_share(Share::Private) {
        say("private");
    }
    if said.no_cache.is_whole() {
        say("no-cache");
    }
    if said.public {
        say("public");
    }
    if said.revalidation == Revalidation::Must {
        say("must-revalidate");
    }
    if let Some(span) = said.s_maxage {
        say(&format!("s-maxage={}", span.as_secs()));
    }
    // An explicit lifetime of the route makes any status storable, as one of the origin would.
    let route = match lifetime {
        Lifetime::Route(span) => Some(span),
        Lifetime::Stated(_) | Lifetime::Heuristic(_) | Lifetime::Unknown => None,
    };
    if let Some(span) = said.max_age.or(route) {
        say(&format!("max-age={}", span.as_secs()));
    }
    text
}

fn copy_dates(from: &impl Named, to: &mut HeaderMap, source: Source) {
    if let Some(dated) = only_date(from, &DATE) {
        to.insert(DATE, date::format(dated));
    }
    if let Some(modified) = last_modified(from) {
        to.insert(LAST_MODIFIED, date::format(modified));
    }
    match source {
        Source::CacheControl if from.has(&EXPIRES) => {
            let expires = only_date(from, &EXPIRES).map(date::format);
            to.insert(EXPIRES, expires.unwrap_or(HeaderValue::from_static("0")));
        }
        Source::CacheControl | Source::Targeted => {}
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};

    use super::*;
    use crate::message::cache_control::Extent;
    use crate::time::Timestamp;

    const SECOND: Duration = Duration::from_secs(1);
    const RECEIVED: Timestamp = Timestamp::from_seconds(1_700_000_000);

    struct Case {
        policy: Policy,
        request: HeaderMap,
        response: HeaderMap,
        said: ResponseDirectives,
        source: Source,
    }

    impl Case {
        fn saying(said: ResponseDirectives) -> Self {
            Self {
                policy: Policy::default(),
                request: HeaderMap::new(),
                response: HeaderMap::new(),
                said,
                source: Source::CacheControl,
            }
        }

        fn on(&self, lifetime: Lifetime) -> Opinion {
            let exchange = Exchange {
                method: &Method::GET,
                request: &self.request,
                status: StatusCode::from_u16(599).unwrap(),
                response: &self.response,
                requested: RECEIVED,
                received: RECEIVED,
            };
            let statement = Statement { directives: self.said.clone(), source: self.source };
            ask(&self.policy, &exchange, &statement, lifetime)
        }
    }

    fn max_age(seconds: u32) -> ResponseDirectives {
        ResponseDirectives { max_age: Some(SECOND * seconds), ..ResponseDirectives::default() }
    }

    #[test]
    fn what_forbids_storing_is_refused_whatever_we_thought() {
        let stated = Lifetime::Stated(SECOND * 60);
        let no_store = ResponseDirectives { no_store: true, ..max_age(60) };
        let private = ResponseDirectives { private: Extent::Whole, ..max_age(60) };
        assert_eq!(Case::saying(no_store.clone()).on(stated), Opinion::Refuses);
        assert_eq!(Case::saying(private.clone()).on(stated), Opinion::Refuses);
        let mut authorized = Case::saying(max_age(60));
        authorized.request.insert(AUTHORIZATION, HeaderValue::from_static("x"));
        assert_eq!(authorized.on(stated), Opinion::Refuses);
        authorized.said.public = true;
        assert_eq!(authorized.on(stated), Opinion::Agrees);
        // The exceptions that the crate does not know.
        let understood = ResponseDirectives { must_understand: true, ..no_store };
        assert_eq!(Case::saying(understood).on(stated), Opinion::Agrees);
        let mut shared = Case::saying(private);
        shared.policy.share = vec![Share::Private];
        assert_eq!(shared.on(stated), Opinion::Agrees);
        authorized.said.public = false;
        authorized.policy.share = vec![Share::Authorization];
        assert_eq!(authorized.on(stated), Opinion::Agrees);
    }

    #[test]
    fn the_shorter_lifetime_counts_where_both_speak_of_the_same() {
        let case = Case::saying(max_age(60));
        assert_eq!(case.on(Lifetime::Stated(SECOND * 60)), Opinion::Agrees);
        assert_eq!(case.on(Lifetime::Stated(SECOND * 62)), Opinion::Shorter(SECOND * 60));
        assert_eq!(case.on(Lifetime::Stated(SECOND * 5)), Opinion::Agrees);
        assert_eq!(case.on(Lifetime::Route(SECOND * 600)), Opinion::Agrees);
        let unasked = ResponseDirectives { no_cache: Extent::Whole, ..max_age(60) };
        assert_eq!(Case::saying(unasked).on(Lifetime::Stated(SECOND * 60)), Opinion::Agrees);
        let nothing = Case::saying(ResponseDirectives::default());
        assert_eq!(nothing.on(Lifetime::Unknown), Opinion::Agrees);
    }

    #[test]
    fn dates_are_translated_and_a_targeted_field_hides_expires() {
        let mut case = Case::saying(ResponseDirectives::default());
        let soon = date::format(1_700_000_060);
        case.response.insert(EXPIRES, soon);
        assert_eq!(case.on(Lifetime::Stated(SECOND * 60)), Opinion::Agrees);
        assert_eq!(case.on(Lifetime::Stated(SECOND * 90)), Opinion::Shorter(SECOND * 60));
        case.response.insert(EXPIRES, HeaderValue::from_static("tomorrow"));
        assert_eq!(case.on(Lifetime::Stated(SECOND * 60)), Opinion::Shorter(Duration::ZERO));
        (case.source, case.said) = (Source::Targeted, max_age(60));
        assert_eq!(case.on(Lifetime::Stated(SECOND * 60)), Opinion::Agrees);
        let mut modified = Case::saying(ResponseDirectives::default());
        modified.response.insert(LAST_MODIFIED, date::format(1_700_000_000 - 1000));
        assert_eq!(modified.on(Lifetime::Heuristic(SECOND * 100)), Opinion::Agrees);
        assert_eq!(modified.on(Lifetime::Heuristic(SECOND * 200)), Opinion::Shorter(SECOND * 100));
    }
}
