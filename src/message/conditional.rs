//! Conditional requests, answered from a stored response (RFC 9110 §13, RFC 9111 §4.3.2).

use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG,
    HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED, TRANSFER_ENCODING,
};
use http::{Method, StatusCode};

use crate::message::date;
use crate::message::fields::Named;

/// What the conditions of a request make of a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It is sent as it is (or a range of it).
    Send,
    /// 304 (Not Modified).
    NotModified,
    /// 412 (Precondition Failed).
    Failed,
}

/// An entity tag: its bytes are opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    pub strength: Strength,
    pub opaque: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    Strong,
    Weak,
}

/// Evaluates the conditions of a request for a stored response, in the order of RFC 9110 §13.2.2.
///
/// `If-Match` and `If-Unmodified-Since` are meant for origins and a cache "MAY ignore" them (RFC 9110 §13.1.1);
/// they are evaluated, since a stored response that may be served says the same as the origin would.
/// Allocates nothing; costs four look-ups where there is no condition.
pub fn evaluate(
    request_fields: &HeaderMap,
    method: &Method,
    status: StatusCode,
    stored_fields: &impl Named,
) -> Condition {
    // RFC 9110 §13.2.1: "A server MUST ignore all received preconditions if its response to the same request
    // without those conditions [...] would have been a status code other than a 2xx (Successful) or 412".
    if !status.is_success() {
        return Condition::Send;
    }
    // RFC 10008: conditions of a QUERY are about its results, as those of a GET are about what it selects.
    let safe = matches!(*method, Method::GET | Method::HEAD | Method::QUERY);
    if request_fields.contains_key(IF_MATCH) {
        if !is_listed(request_fields, &IF_MATCH, stored_fields, Strength::Strong) {
            return Condition::Failed;
        }
    } else if let Some(limit) = only_date(request_fields, &IF_UNMODIFIED_SINCE)
        && last_modified(stored_fields).is_some_and(|modified| modified > limit)
    {
        return Condition::Failed;
    }
    if request_fields.contains_key(IF_NONE_MATCH) {
        // RFC 9110 §13.1.3: "A recipient MUST ignore If-Modified-Since if the request contains an If-None-Match
        // header field".
        return match is_listed(request_fields, &IF_NONE_MATCH, stored_fields, Strength::Weak) {
            true if safe => Condition::NotModified,
            true => Condition::Failed,
            false => Condition::Send,
        };
    }
    let since = if safe { only_date(request_fields, &IF_MODIFIED_SINCE) } else { None };
    match (since, modified_or_dated(stored_fields)) {
        (Some(since), Some(modified)) if modified <= since => Condition::NotModified,
        _ => Condition::Send,
    }
}

/// Whether a 304 leaves a field with this name, in lower case, out of those of the response in whose place it stands.
///
/// RFC 9110 §15.4.5 demands `Content-Location`, `Date`, `ETag`, `Vary`, `Cache-Control` and `Expires`, and advises
/// against other *representation metadata*; whatever is no such metadata (CORS and security fields) is kept.
pub fn is_left_out(name: &[u8]) -> bool {
    METADATA.iter().any(|left| left.as_str().as_bytes() == name)
}

const METADATA: [HeaderName; 7] = [
    CONTENT_TYPE,
    CONTENT_LENGTH,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_RANGE,
    TRANSFER_ENCODING,
    HeaderName::from_static("content-md5"),
];

/// The fields that a 304 carries; see [`is_left_out`].
pub fn not_modified(mut fields: HeaderMap) -> HeaderMap {
    for name in METADATA {
        fields.remove(name);
    }
    fields
}

impl<'a> EntityTag<'a> {
    /// The tag that a field's value is. One without quotes is taken for its bytes, whatever they are.
    pub fn of(value: &'a [u8]) -> Option<Self> {
        let value = value.trim_ascii();
        let (strength, rest) = match value.strip_prefix(b"W/") {
            Some(rest) => (Strength::Weak, rest),
            None => (Strength::Strong, value),
        };
        let opaque = rest.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        let opaque = opaque.unwrap_or(rest);
        (!rest.is_empty()).then_some(Self { strength, opaque })
    }

    /// The tag of a response.
    pub fn of_response(fields: &'a impl Named) -> Option<Self> {
        fields.named(&ETAG).next().and_then(Self::of)
    }

    /// "two entity tags are equivalent if their opaque-tags match character-by-character, regardless of either or
    /// both being tagged as weak" (RFC 9110 §8.8.3.2).
    pub fn is_weakly(&self, other: &EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }

    /// "two entity tags are equivalent if both are not weak and their opaque-tags match character-by-character".
    pub fn is_strongly(&self, other: &EntityTag<'_>) -> bool {
        self.strength == Strength::Strong
            && other.strength == Strength::Strong
            && self.opaque == other.opaque
    }
}

/// Whether two responses share a strong tag: of the bytes of one representation (RFC 9110 §8.8.1).
pub fn share_strong_tag(one: &HeaderMap, other: &HeaderMap) -> bool {
    let tags = EntityTag::of_response(one).zip(EntityTag::of_response(other));
    tags.is_some_and(|(one, other)| one.is_strongly(&other))
}

/// When a response was last modified, if it says so.
pub fn last_modified(fields: &impl Named) -> Option<u64> {
    only_date(fields, &LAST_MODIFIED)
}

/// The date that a field is; nothing when it is absent, has several lines or is no date.
pub fn only_date(fields: &impl Named, name: &HeaderName) -> Option<u64> {
    let mut lines = fields.named(name);
    let line = lines.next()?;
    lines.next().is_none().then(|| date::parse(line))?
}

/// RFC 9111 §4.3.2: where there is no `Last-Modified`, the response's `Date` stands for it.
fn modified_or_dated(fields: &impl Named) -> Option<u64> {
    if fields.named(&LAST_MODIFIED).next().is_some() {
        last_modified(fields)
    } else {
        only_date(fields, &DATE)
    }
}

fn is_listed(
    request_fields: &HeaderMap,
    name: &HeaderName,
    stored_fields: &impl Named,
    comparison: Strength,
) -> bool {
    let stored = EntityTag::of_response(stored_fields);
    request_fields.get_all(name).iter().flat_map(|line: &HeaderValue| tags(line.as_bytes())).any(
        |listed| {
            listed == b"*"
                || EntityTag::of(listed).zip(stored.as_ref()).is_some_and(|(listed, stored)| {
                    match comparison {
                        Strength::Strong => listed.is_strongly(stored),
                        Strength::Weak => listed.is_weakly(stored),
                    }
                })
        },
    )
}

/// The members of a list of entity tags. Unlike in other lists a backslash in quotes is a byte like any other.
fn tags(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    line.split(move |byte| {
        if *byte == b'"' {
            quoted = !quoted;
        }
        *byte == b',' && !quoted
    })
    .map(<[u8]>::trim_ascii)
    .filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn fields(pairs: &[(&str, &[u8])]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            fields.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        fields
    }

    fn asked(request: &[(&str, &str)], stored: &[(&str, &str)]) -> Condition {
        let bytes = |pairs: &[(&str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in pairs {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                map.append(name, HeaderValue::from_str(value).unwrap());
            }
            map
        };
        evaluate(&bytes(request), &Method::GET, StatusCode::OK, &bytes(stored))
    }

    /// RFC 9110 §13.1.2: "the condition is false if one of the listed tags matches", by weak comparison.
    #[test]
    fn a_listed_tag_gives_304_wherever_it_stands_and_however_weak() {
        use Condition::{NotModified, Send};
        let rows = [
            ("\"a\"", "\"a\"", NotModified),
            ("W/\"a\"", "\"a\"", NotModified),
            ("\"a\"", "W/\"a\"", NotModified),
            ("W/\"a\"", "W/\"a\"", NotModified),
            ("\"a\", \"b\", \"c\"", "\"a\"", NotModified),
            ("\"b\", \"a\", \"c\"", "\"a\"", NotModified),
            ("\"b\",\"c\" ,, W/\"a\"", "\"a\"", NotModified),
            ("*", "\"a\"", NotModified),
            ("\"b\"", "\"a\"", Send),
            ("\"A\"", "\"a\"", Send),
            ("w/\"a\"", "\"a\"", Send),
            ("W\\\"a\"", "\"a\"", Send),
            ("W\"a\"", "\"a\"", Send),
            ("\"a,b\"", "\"a\"", Send),
            ("\"a,b\"", "\"a,b\"", NotModified),
            ("\"a\\\", \"b\"", "\"b\"", NotModified),
            ("a", "\"a\"", NotModified),
            ("\"a\"", "a", NotModified),
            ("a", "a", NotModified),
            ("", "\"a\"", Send),
            ("\"\"", "\"\"", NotModified),
            ("\"", "\"a\"", Send),
        ];
        for (listed, stored, expected) in rows {
            let found = asked(&[("if-none-match", listed)], &[("etag", stored)]);
            assert_eq!(found, expected, "{listed} against {stored}");
        }
    }

    #[test]
    fn tags_are_opaque_bytes_and_all_lines_count() {
        let stored = fields(&[("etag", b"\"caf\xe9\"")]);
        let request = fields(&[("if-none-match", b"\"x\""), ("if-none-match", b"\"caf\xe9\"")]);
        let found = evaluate(&request, &Method::GET, StatusCode::OK, &stored);
        assert_eq!(found, Condition::NotModified);
        let other = fields(&[("if-none-match", b"\"caf\xe8\"")]);
        assert_eq!(evaluate(&other, &Method::GET, StatusCode::OK, &stored), Condition::Send);
    }

    /// RFC 9110 §13.1.3: "the condition is false" if the selected representation's modification date "is earlier
    /// or equal to the date provided in the field value".
    #[test]
    fn if_modified_since_compares_moments_and_not_texts() {
        use Condition::{NotModified, Send};
        let rows = [
            (MODIFIED, NotModified),
            ("Sunday, 06-Nov-94 08:49:37 GMT", NotModified),
            ("Sun, 06 Nov 1994 08:49:38 GMT", NotModified),
            ("Sun, 06 Nov 1994 08:49:36 GMT", Send),
            ("foo", Send),
        ];
        for (since, expected) in rows {
            let request = [("if-modified-since", since)];
            assert_eq!(asked(&request, &[("last-modified", MODIFIED)]), expected, "{since}");
            // RFC 9111 §4.3.2: without Last-Modified, by Date.
            assert_eq!(asked(&request, &[("date", MODIFIED)]), expected, "{since} by date");
            assert_eq!(asked(&request, &[]), Send, "{since} by nothing");
        }
        let twice = [("if-modified-since", MODIFIED), ("if-modified-since", MODIFIED)];
        assert_eq!(asked(&twice, &[("last-modified", MODIFIED)]), Send);
        let unreadable = [("last-modified", "foo"), ("date", MODIFIED)];
        assert_eq!(asked(&[("if-modified-since", MODIFIED)], &unreadable), Send);
    }

    /// RFC 9110 §13.2.2.
    #[test]
    fn conditions_are_evaluated_in_their_order() {
        use Condition::{Failed, NotModified, Send};
        let earlier = "Sun, 06 Nov 1994 08:49:36 GMT";
        let stored = [("etag", "\"a\""), ("last-modified", MODIFIED)];
        let rows: [(&[(&str, &str)], Condition); 11] = [
            (&[("if-match", "\"a\"")], Send),
            (&[("if-match", "\"b\", \"a\"")], Send),
            (&[("if-match", "*")], Send),
            (&[("if-match", "\"b\"")], Failed),
            (&[("if-match", "W/\"a\"")], Failed),
            (&[("if-match", "\"a\""), ("if-unmodified-since", earlier)], Send),
            (&[("if-unmodified-since", earlier)], Failed),
            (&[("if-unmodified-since", MODIFIED)], Send),
            (&[("if-match", "\"b\""), ("if-none-match", "\"a\"")], Failed),
            (&[("if-match", "\"a\""), ("if-none-match", "\"a\"")], NotModified),
            (&[("if-none-match", "\"b\""), ("if-modified-since", MODIFIED)], Send),
        ];
        for (request, expected) in rows {
            assert_eq!(asked(request, &stored), expected, "{request:?}");
        }
    }

    /// RFC 9110 §13.2.1 and §13.1.2.
    #[test]
    fn errors_ignore_conditions_and_other_methods_fail_them() {
        let (request, stored) = (fields(&[("if-none-match", b"*")]), fields(&[("etag", b"\"a\"")]));
        let on = |method: Method, status: StatusCode| evaluate(&request, &method, status, &stored);
        assert_eq!(on(Method::GET, StatusCode::NOT_FOUND), Condition::Send);
        assert_eq!(on(Method::HEAD, StatusCode::OK), Condition::NotModified);
        assert_eq!(on(Method::PUT, StatusCode::OK), Condition::Failed);
        let dated = fields(&[("if-modified-since", MODIFIED.as_bytes())]);
        let old = fields(&[("last-modified", MODIFIED.as_bytes())]);
        assert_eq!(evaluate(&dated, &Method::PUT, StatusCode::OK, &old), Condition::Send);
    }

    /// RFC 9110 §15.4.5.
    #[test]
    fn a_304_keeps_what_it_must_and_leaves_representation_metadata() {
        let must = ["cache-control", "content-location", "date", "etag", "expires", "vary"];
        let metadata = ["content-type", "content-length", "content-encoding", "content-range"];
        let mut stored = HeaderMap::new();
        for name in must.iter().chain(&metadata).chain(&["access-control-allow-origin"]) {
            stored.append(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        let sent = not_modified(stored);
        assert!(must.iter().all(|name| sent.contains_key(*name)), "{sent:?}");
        assert!(sent.contains_key("access-control-allow-origin"));
        assert!(!metadata.iter().any(|name| sent.contains_key(*name)), "{sent:?}");
    }
}
