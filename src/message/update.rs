//! The fields of a stored response, updated by those of a newer one (RFC 9111 §3.2).

use http::header::{AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderMap};

use crate::message::conditional::{EntityTag, Strength};
use crate::message::fields::remove_unstorable;

/// The stored fields, updated by those of a 304 or of another part (RFC 9111 §3.2, §3.4): a field that the newer one has replaces all lines of
/// the stored one.
///
/// "Content-Length" is excepted by the clause, connection fields by §3.1. `Content-Encoding` and `Content-Range`
/// describe the stored bytes and stay ("those fields necessary to ensure integrity of the stored response"). The
/// stored `Age` and `Date` belong to the old answer and go even where the newer one has none: freshness begins anew;
/// RFC 9110 §6.6.1 has the recipient add a `Date` that is missing.
pub fn merge(stored: &HeaderMap, newer: &HeaderMap) -> HeaderMap {
    let mut news = newer.clone();
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
    use http::header::{HeaderName, HeaderValue};

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
