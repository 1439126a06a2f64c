//! Asking the origin whether a stored response still holds, and what its answer makes of it.

use std::time::Duration;

use http::StatusCode;
use http::header::{
    ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};

use crate::entry::freshness::{Freshness, UseWithoutAsking};
use crate::message::conditional::{EntityTag, last_modified};
use crate::policy::head::outdated;
use crate::time::Timestamp;

/// What the answer to a conditional request says about the stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// It holds: [merge](crate::message::update::merge) the fields, and judge the result as if it had just arrived.
    Confirmed,
    /// The answer stands in its place, and is judged on its own.
    Replaced,
    /// The origin failed: the stored response answers where it may on error, else the answer is passed on.
    Failed,
    /// A 304 that speaks of something else than what is held: to be asked again, without conditions.
    Mismatched,
}

/// The conditions to set on the request, each in the place of any that the client sent. Empty where the stored
/// response has no validator.
pub fn conditions(stored: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let mut conditions = Vec::with_capacity(2);
    // RFC 9111 §4.3.1: "MUST send the relevant entity tags (using If-Match, If-None-Match, or If-Range) if the
    // entity tags were provided in the stored response(s) being validated."
    conditions.extend(stored.get(ETAG).and_then(quoted).map(|tag| (IF_NONE_MATCH, tag)));
    // "SHOULD send the Last-Modified value (using If-Modified-Since) if the request is not for a subrange, a
    // single stored response is being validated, and that response contains a Last-Modified value."
    if last_modified(stored).is_some()
        && let Some(modified) = stored.get(LAST_MODIFIED)
    {
        conditions.push((IF_MODIFIED_SINCE, modified.clone()));
    }
    conditions
}

/// What an answer with this status and these fields says about the stored response.
pub fn validation(status: StatusCode, stored: &HeaderMap, answer: &HeaderMap) -> Validation {
    match status.as_u16() {
        304 if is_about(stored, answer) => Validation::Confirmed,
        304 => Validation::Mismatched,
        // RFC 9111 §4.3.3: "if a cache receives a 5xx (Server Error) response while attempting to validate a
        // response, it can either forward this response to the requesting client or act as if the server failed
        // to respond". RFC 5861 §4 counts these four as errors.
        500 | 502 | 503 | 504 => Validation::Failed,
        _ => Validation::Replaced,
    }
}

/// Whether an answer that is not kept takes a stored response with it, which was asked about because it was stale.
///
/// RFC 9111 §4.3.3: a full response "indicates that none of the stored responses nominated in the conditional request are
/// suitable". Word that the origin cannot answer now is no such response: there stale windows are for (RFC 5861).
pub fn supersedes(status: StatusCode) -> bool {
    let busy = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    !status.is_informational() && !status.is_server_error() && !busy.contains(&status)
}

/// The freshness of a stored response of which the origin's last word is that it is not to be had any more, or not to be
/// kept: from `now` on it answers nobody without the origin's word.
///
/// It is kept no longer than it takes to be put in the place of what it was. Nothing where it answers nobody already: else each
/// request that the origin answers so would write it once more.
pub fn withdrawn(freshness: &Freshness, now: Timestamp) -> Option<Freshness> {
    let shortly = Freshness { keep: Duration::ZERO, ..*freshness };
    let withdrawn =
        || Freshness { use_without_asking: UseWithoutAsking::Never, ..outdated(&shortly, now) };
    (!freshness.is_spent(now)).then(withdrawn)
}

/// The tag in quotes, as it must be sent; nothing where it is empty.
pub fn quoted(tag: &HeaderValue) -> Option<HeaderValue> {
    let text = tag.as_bytes().trim_ascii();
    let bare = text.strip_prefix(b"W/").unwrap_or(text);
    if text.is_empty() {
        return None;
    }
    if bare.starts_with(b"\"") {
        return Some(tag.clone());
    }
    HeaderValue::from_bytes(&[b"\"", text, b"\""].concat()).ok()
}

/// Whether a 304 selects the stored response (RFC 9111 §4.3.4).
///
/// Tags are compared weakly: servers that compress on the fly send the weak form of a tag with the body and the
/// strong one with the 304. A 304 without any validator confirms: exactly one response was asked about.
fn is_about(stored: &HeaderMap, answer: &HeaderMap) -> bool {
    match (EntityTag::of_response(stored), EntityTag::of_response(answer)) {
        (Some(held), Some(named)) => held.is_weakly(&named),
        (Some(_), None) => true,
        (None, _) => match (last_modified(stored), last_modified(answer)) {
            (Some(held), Some(named)) => held == named,
            (_, None) => EntityTag::of_response(answer).is_none(),
            (None, Some(_)) => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::freshness::SHORTLY;

    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn fields(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            fields.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        fields
    }

    fn asked(stored: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
        let told = |(name, value): (HeaderName, HeaderValue)| {
            (name.as_str().to_owned(), value.as_bytes().to_vec())
        };
        conditions(&fields(stored)).into_iter().map(told).collect()
    }

    #[test]
    fn what_is_withdrawn_answers_nobody_and_is_withdrawn_once() {
        let now = Timestamp::from_seconds(1_700_000_000);
        let window = Duration::from_hours(1);
        for (age, never) in [(0, false), (10, false), (1_000, false), (10, true)] {
            let freshness = Freshness {
                received: now.minus(Duration::from_secs(age)),
                initial_age: Duration::ZERO,
                lifetime: Duration::from_secs(30),
                stale_while_revalidate: if never { Duration::ZERO } else { window },
                stale_if_error: if never { Duration::ZERO } else { window },
                keep: window,
                fetch_time: Duration::ZERO,
                use_without_asking: if never {
                    UseWithoutAsking::Never
                } else {
                    UseWithoutAsking::Allowed
                },
            };
            let withdrawn = withdrawn(&freshness, now).expect("it was good for something");
            assert!(withdrawn.is_spent(now) && !withdrawn.is_fresh(now), "{age}");
            assert!(withdrawn.last_use() > now && withdrawn.last_use() <= now.plus(SHORTLY));
            assert_eq!(super::withdrawn(&withdrawn, now), None, "{age}");
            assert_eq!(super::withdrawn(&withdrawn, now.plus(Duration::from_secs(5))), None);
        }
    }

    /// RFC 9111 §4.3.1.
    #[test]
    fn the_stored_validators_are_sent_as_they_are_and_unquoted_tags_in_quotes() {
        let tag = |tag: &str| vec![("if-none-match".to_owned(), tag.as_bytes().to_vec())];
        assert_eq!(asked(&[("etag", "\"a\"")]), tag("\"a\""));
        assert_eq!(asked(&[("etag", "W/\"a\"")]), tag("W/\"a\""));
        assert_eq!(asked(&[("etag", "\"caf\u{e9}\"")]), tag("\"caf\u{e9}\""));
        assert_eq!(asked(&[("etag", "a")]), tag("\"a\""));
        assert_eq!(asked(&[("etag", "W/a")]), tag("\"W/a\""));
        assert_eq!(asked(&[("etag", "")]), []);
        assert_eq!(asked(&[("last-modified", "foo")]), []);
        assert_eq!(asked(&[]), []);
        let since = ("if-modified-since".to_owned(), MODIFIED.as_bytes().to_vec());
        assert_eq!(asked(&[("last-modified", MODIFIED)]), std::slice::from_ref(&since));
        let both = asked(&[("last-modified", MODIFIED), ("etag", "\"a\"")]);
        assert_eq!(both, [tag("\"a\""), vec![since]].concat());
    }

    /// RFC 9111 §4.3.4.
    #[test]
    fn a_304_confirms_only_what_it_is_about() {
        use Validation::{Confirmed, Mismatched};
        type Fields<'a> = &'a [(&'a str, &'a str)];
        let rows: [(Fields, Fields, Validation); 13] = [
            (&[("etag", "\"a\"")], &[("etag", "\"a\"")], Confirmed),
            (&[("etag", "\"a\"")], &[("etag", "\"b\"")], Mismatched),
            (&[("etag", "W/\"a\"")], &[("etag", "W/\"a\"")], Confirmed),
            (&[("etag", "W/\"a\"")], &[("etag", "\"a\"")], Confirmed),
            (&[("etag", "a")], &[("etag", "\"a\"")], Confirmed),
            (&[("etag", "\"a\"")], &[], Confirmed),
            (&[("etag", "\"a\"")], &[("last-modified", LATER)], Confirmed),
            (&[("last-modified", MODIFIED)], &[], Confirmed),
            (&[("last-modified", MODIFIED)], &[("last-modified", MODIFIED)], Confirmed),
            (&[("last-modified", MODIFIED)], &[("last-modified", LATER)], Mismatched),
            (&[("last-modified", MODIFIED)], &[("etag", "\"a\"")], Mismatched),
            (&[], &[("etag", "\"a\"")], Mismatched),
            (&[], &[("last-modified", MODIFIED)], Mismatched),
        ];
        for (stored, answer, expected) in rows {
            let found = validation(StatusCode::NOT_MODIFIED, &fields(stored), &fields(answer));
            assert_eq!(found, expected, "{stored:?} {answer:?}");
        }
    }

    /// RFC 9111 §4.3.3.
    #[test]
    fn a_failing_origin_confirms_nothing_and_any_other_answer_replaces() {
        let of = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            validation(status, &fields(&[("etag", "\"a\"")]), &fields(&[("etag", "\"a\"")]))
        };
        for status in [500, 502, 503, 504] {
            assert_eq!(of(status), Validation::Failed, "{status}");
        }
        for status in [200, 206, 301, 404, 410, 412, 501, 599] {
            assert_eq!(of(status), Validation::Replaced, "{status}");
        }
    }
}
