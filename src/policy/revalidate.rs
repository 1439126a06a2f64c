//! Asking the origin whether a stored response still holds, and what its answer makes of it.

use http::StatusCode;
use http::header::{
    AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderMap, HeaderName,
    HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};

use crate::message::conditional::{EntityTag, Strength, last_modified};
use crate::message::fields::remove_unstorable;

/// What the answer to a conditional request says about the stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// It holds: [`merge`] the fields, and judge the result as if it had just arrived.
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

/// The stored fields, updated by those of a 304 (RFC 9111 §3.2): a field that the 304 has replaces all lines of
/// the stored one.
///
/// "Content-Length" is excepted by the clause, connection fields by §3.1. `Content-Encoding` and `Content-Range`
/// describe the stored bytes and stay ("those fields necessary to ensure integrity of the stored response"). The
/// stored `Age` and `Date` belong to the old answer and go even where the 304 has none: freshness begins anew;
/// RFC 9110 §6.6.1 has the recipient add a `Date` that is missing.
pub fn merge(stored: &HeaderMap, from_304: &HeaderMap) -> HeaderMap {
    let mut news = from_304.clone();
    remove_unstorable(&mut news);
    for name in [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE] {
        news.remove(name);
    }
    if only_strengthens(stored, &news) {
        // The stored bytes were given out as equivalent, not as identical: a strong tag would promise too much.
        news.remove(ETAG);
    }
    let mut merged = stored.clone();
    for name in [AGE, DATE] {
        merged.remove(name);
    }
    for name in news.keys() {
        merged.remove(name);
    }
    for (name, value) in &news {
        merged.append(name.clone(), value.clone());
    }
    merged
}

/// The tag in quotes, as it must be sent; nothing where it is empty.
fn quoted(tag: &HeaderValue) -> Option<HeaderValue> {
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

fn only_strengthens(stored: &HeaderMap, news: &HeaderMap) -> bool {
    match (EntityTag::of_response(stored), EntityTag::of_response(news)) {
        (Some(held), Some(named)) => {
            held.strength == Strength::Weak
                && named.strength == Strength::Strong
                && held.is_weakly(&named)
        }
        (None, _) | (_, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// RFC 9111 §3.2.
    #[test]
    fn fields_of_the_304_replace_all_stored_lines_and_the_others_stay() {
        let stored = fields(&[
            ("a", "1"),
            ("a", "2"),
            ("b", "kept"),
            ("cache-control", "max-age=1"),
            ("content-length", "10"),
            ("content-encoding", "gzip"),
            ("content-type", "text/plain"),
            ("age", "50"),
            ("date", MODIFIED),
            ("etag", "\"a\""),
        ]);
        let answer = fields(&[
            ("a", "3"),
            ("a", "4"),
            ("c", "new"),
            ("cache-control", "max-age=3600"),
            ("content-length", "0"),
            ("content-encoding", "br"),
            ("content-range", "bytes 0-1/2"),
            ("content-type", "text/html"),
            ("connection", "d"),
            ("d", "hop"),
            ("keep-alive", "1"),
            ("proxy-authenticate", "x"),
            ("date", LATER),
        ]);
        let expected = fields(&[
            ("a", "3"),
            ("a", "4"),
            ("b", "kept"),
            ("c", "new"),
            ("cache-control", "max-age=3600"),
            ("content-length", "10"),
            ("content-encoding", "gzip"),
            ("content-type", "text/html"),
            ("date", LATER),
            ("etag", "\"a\""),
        ]);
        assert_eq!(merge(&stored, &answer), expected);
    }

    #[test]
    fn an_age_and_a_date_never_outlive_the_answer_that_they_belong_to() {
        let stored = fields(&[("age", "50"), ("date", MODIFIED)]);
        assert_eq!(merge(&stored, &HeaderMap::new()), HeaderMap::new());
        assert_eq!(merge(&stored, &fields(&[("age", "7")])), fields(&[("age", "7")]));
    }

    #[test]
    fn a_weak_tag_does_not_become_strong() {
        let weak = fields(&[("etag", "W/\"a\"")]);
        assert_eq!(merge(&weak, &fields(&[("etag", "\"a\"")])), weak);
        let strong = fields(&[("etag", "\"a\"")]);
        assert_eq!(merge(&strong, &weak), weak);
    }
}
