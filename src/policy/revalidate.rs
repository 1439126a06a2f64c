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
