//! What a HEAD's 200 says about the stored response that a GET would be answered with (RFC 9111 §4.3.5).

use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_LENGTH, HeaderMap};

use crate::entry::freshness::{Freshness, SHORTLY};
use crate::message::conditional::{EntityTag, last_modified};
use crate::time::Timestamp;

/// What the answer to a HEAD says about a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It still is what a GET would bring: its fields are updated, its freshness begins anew.
    Same,
    /// It is not: it is stale from now on.
    Other,
    /// Nothing: only a 200 speaks of what is stored.
    Nothing,
}

/// Compares the head of a HEAD's answer with a stored response, whose body is `length` bytes long.
///
/// "if the stored response and HEAD response have matching values for any received validator fields (`ETag` and
/// Last-Modified) and, if the HEAD response has a Content-Length header field, the value of Content-Length matches
/// that of the stored response, the cache SHOULD update the stored response [...]; otherwise, the cache SHOULD
/// consider the stored response to be stale."
pub fn told(
    status: StatusCode,
    answer: &HeaderMap,
    stored: (StatusCode, &HeaderMap),
    length: Option<u64>,
) -> Told {
    if status != StatusCode::OK {
        return Told::Nothing;
    }
    let (stored_status, fields) = stored;
    let same = stored_status == StatusCode::OK
        && has_same_tag(fields, answer)
        && has_same_date(fields, answer)
        && has_same_length(fields, answer, length);
    if same { Told::Same } else { Told::Other }
}

/// The freshness of what a HEAD has shown to be outdated: it was stale from `now` on, and nothing but a validation
/// makes it servable again.
pub fn outdated(freshness: &Freshness, now: Timestamp) -> Freshness {
    let age = freshness.age(now);
    let lifetime = freshness.lifetime.min(age);
    Freshness {
        lifetime,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        // Counted from `now`, not from the end of the lifetime.
        keep: freshness.keep.max(SHORTLY) + age.saturating_sub(lifetime),
        ..*freshness
    }
}

/// Compared weakly, as with a 304: servers that compress on the fly weaken the tag of what they send with a body.
fn has_same_tag(stored: &HeaderMap, answer: &HeaderMap) -> bool {
    EntityTag::of_response(answer).is_none_or(|named| {
        EntityTag::of_response(stored).is_some_and(|held| held.is_weakly(&named))
    })
}

fn has_same_date(stored: &HeaderMap, answer: &HeaderMap) -> bool {
    last_modified(answer).is_none_or(|named| last_modified(stored) == Some(named))
}

/// Where the stored response told no length, that of its body counts.
fn has_same_length(stored: &HeaderMap, answer: &HeaderMap, length: Option<u64>) -> bool {
    let Some(named) = answer.get(CONTENT_LENGTH) else { return true };
    let named = number(named.as_bytes());
    let known = stored.get(CONTENT_LENGTH).map_or(length, |field| number(field.as_bytes()));
    named.is_some() && named == known
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::entry::freshness::UseWithoutAsking;

    type Fields<'a> = &'a [(&'static str, &'static str)];

    fn fields(pairs: Fields) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    const TAG: (&str, &str) = ("etag", "\"a\"");
    const DATED: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    const LATER: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:49:38 GMT");

    /// RFC 9111 §4.3.5.
    #[test]
    fn every_validator_and_the_length_that_a_head_tells_must_match() {
        let rows: [(Fields, Fields, Told); 14] = [
            (&[TAG], &[TAG], Told::Same),
            (&[TAG], &[("etag", "W/\"a\"")], Told::Same),
            (&[TAG], &[("etag", "\"b\"")], Told::Other),
            (&[], &[TAG], Told::Other),
            (&[TAG], &[], Told::Same),
            (&[TAG, DATED], &[DATED], Told::Same),
            (&[TAG, DATED], &[TAG, LATER], Told::Other),
            (&[TAG], &[TAG, DATED], Told::Other),
            (&[TAG], &[TAG, ("content-length", "5")], Told::Same),
            (&[TAG], &[TAG, ("content-length", "6")], Told::Other),
            (&[TAG], &[TAG, ("content-length", "five")], Told::Other),
            (&[("content-length", "10")], &[("content-length", "10")], Told::Same),
            (&[("content-length", "10")], &[("content-length", "5")], Told::Other),
            (&[], &[], Told::Same),
        ];
        for (stored, answer, expected) in rows {
            let (stored, answer) = (fields(stored), fields(answer));
            let found = told(StatusCode::OK, &answer, (StatusCode::OK, &stored), Some(5));
            assert_eq!(found, expected, "{stored:?} {answer:?}");
        }
    }

    #[test]
    fn only_a_200_speaks_of_what_is_stored_and_only_of_a_200() {
        let same = fields(&[TAG]);
        for status in [204, 206, 304, 404, 410, 500] {
            let status = StatusCode::from_u16(status).unwrap();
            let found = told(status, &same, (StatusCode::OK, &same), Some(5));
            assert_eq!(found, Told::Nothing, "{status}");
        }
        let missing = (StatusCode::NOT_FOUND, &same);
        assert_eq!(told(StatusCode::OK, &same, missing, Some(5)), Told::Other);
    }

    #[test]
    fn what_is_outdated_is_stale_at_once_has_no_window_and_outlives_its_replacement() {
        let now = Timestamp::from_seconds(1000);
        for (received, lifetime) in [(990, 60), (900, 60), (1000, 0)] {
            let freshness = Freshness {
                received: Timestamp::from_seconds(received),
                initial_age: Duration::from_secs(3),
                lifetime: Duration::from_secs(lifetime),
                stale_while_revalidate: Duration::from_mins(10),
                stale_if_error: Duration::from_mins(10),
                keep: Duration::ZERO,
                fetch_time: Duration::ZERO,
                use_without_asking: UseWithoutAsking::Allowed,
            };
            let outdated = outdated(&freshness, now);
            assert!(!outdated.is_fresh(now), "{received}");
            assert_eq!(outdated.received, freshness.received, "its age goes on");
            let windows = (outdated.stale_while_revalidate, outdated.stale_if_error);
            assert_eq!(windows, (Duration::ZERO, Duration::ZERO));
            assert!(outdated.last_use() >= now.plus(SHORTLY), "{received}");
        }
    }
}
