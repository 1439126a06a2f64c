//! Conditional requests, answered from a stored response (RFC 9110 §13, RFC 9111 §4.3.2).

use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG,
    HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED, TRANSFER_ENCODING,
};
use http::{Method, StatusCode};

use crate::message::date;

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
    stored_fields: &HeaderMap,
) -> Condition {
    // RFC 9110 §13.2.1: "A server MUST ignore all received preconditions if its response to the same request
    // without those conditions [...] would have been a status code other than a 2xx (Successful) or 412".
    if !status.is_success() {
        return Condition::Send;
    }
    let safe = *method == Method::GET || *method == Method::HEAD;
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

/// The fields that a 304 carries, of those of the response in whose place it stands.
///
/// RFC 9110 §15.4.5 demands `Content-Location`, `Date`, `ETag`, `Vary`, `Cache-Control` and `Expires`, and advises
/// against other *representation metadata*; whatever is no such metadata (CORS and security fields) is kept.
pub fn not_modified(fields: &HeaderMap) -> HeaderMap {
    const METADATA: [HeaderName; 7] = [
        CONTENT_TYPE,
        CONTENT_LENGTH,
        CONTENT_ENCODING,
        CONTENT_LANGUAGE,
        CONTENT_RANGE,
        TRANSFER_ENCODING,
        HeaderName::from_static("content-md5"),
    ];
    let mut kept = fields.clone();
    for name in METADATA {
        kept.remove(name);
    }
    kept
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
    pub fn of_response(fields: &'a HeaderMap) -> Option<Self> {
        fields.get(ETAG).and_then(|value| Self::of(value.as_bytes()))
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

/// When a response was last modified, if it says so.
pub fn last_modified(fields: &HeaderMap) -> Option<u64> {
    only_date(fields, &LAST_MODIFIED)
}

/// The date that a field is; nothing when it is absent, has several lines or is no date.
pub fn only_date(fields: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut lines = fields.get_all(name).iter();
    let line = lines.next()?;
    lines.next().is_none().then(|| date::parse(line.as_bytes()))?
}

/// RFC 9111 §4.3.2: where there is no `Last-Modified`, the response's `Date` stands for it.
fn modified_or_dated(fields: &HeaderMap) -> Option<u64> {
    if fields.contains_key(LAST_MODIFIED) {
        last_modified(fields)
    } else {
        only_date(fields, &DATE)
    }
}

fn is_listed(
    request_fields: &HeaderMap,
    name: &HeaderName,
    stored_fields: &HeaderMap,
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
