//! Fields whose values are pieces of the head that they came in.

use std::ops::Range;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use memchr::{memchr, memchr_iter};

/// Where the name and the value of a field line stand in a head.
pub type Line = (Range<usize>, Range<usize>);

/// Where `part` stands in `head`, of which it is a slice.
pub fn place(head: &[u8], part: &[u8]) -> Range<usize> {
    let from = part.as_ptr().addr() - head.as_ptr().addr();
    from..from + part.len()
}

/// These lines as a map with room for `spare` more, which shares the bytes of `head`; nothing where a name or a value
/// is none. Allocates for the map alone.
pub fn fields(
    head: &Bytes,
    lines: impl ExactSizeIterator<Item = Line>,
    spare: usize,
) -> Option<HeaderMap> {
    let mut fields = HeaderMap::with_capacity(lines.len() + spare);
    for (at, value) in lines {
        let value = HeaderValue::from_maybe_shared(head.slice(value)).ok()?;
        fields.append(name(&head[at])?, value);
    }
    Some(fields)
}

/// Where a line stands in a text of lines, each a name, `: `, a value and CR LF.
pub struct Span {
    begin: usize,
    colon: usize,
    end: usize,
}

impl Span {
    pub fn name<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.begin..self.colon]
    }

    pub fn value<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.colon + 2..self.end]
    }
}

/// The lines of a text. What a name and a value may hold makes them unambiguous.
pub fn spans(text: &[u8]) -> impl Iterator<Item = Span> {
    let mut begin = 0;
    std::iter::from_fn(move || {
        let colon = begin + memchr(b':', text.get(begin..)?)?;
        let end = colon + memchr(b'\r', &text[colon..])?;
        let span = Span { begin, colon, end };
        begin = end + 2;
        Some(span)
    })
}

/// The lines of a text as a map with room for `spare` more, which shares its bytes. Costs an allocation, and some forty
/// nanoseconds for each field.
pub fn fields_of(text: &Bytes, spare: usize) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(memchr_iter(b'\n', text).count() + spare);
    for span in spans(text) {
        // What was a name and a value is one.
        if let (Some(name), Ok(value)) = (
            name(span.name(text)),
            HeaderValue::from_maybe_shared(text.slice(span.colon + 2..span.end)),
        ) {
            fields.append(name, value);
        }
    }
    fields
}

/// A field's name; nothing where these bytes are none. The library lowers and hashes every one, for 165 instructions; the
/// most usual are found by their length.
pub fn name(bytes: &[u8]) -> Option<HeaderName> {
    use http::header::{
        ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_ORIGIN, AGE,
        CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
        CONTENT_TYPE, COOKIE, DATE, ETAG, EXPIRES, HOST, LAST_MODIFIED, LINK, SERVER, SET_COOKIE,
        STRICT_TRANSPORT_SECURITY, TRANSFER_ENCODING, USER_AGENT, VARY, VIA,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    };
    let is = |name: &str| bytes.eq_ignore_ascii_case(name.as_bytes());
    let known = match bytes.len() {
        3 if is("age") => AGE,
        3 if is("via") => VIA,
        4 if is("host") => HOST,
        4 if is("date") => DATE,
        4 if is("etag") => ETAG,
        4 if is("vary") => VARY,
        4 if is("link") => LINK,
        6 if is("server") => SERVER,
        6 if is("accept") => ACCEPT,
        6 if is("cookie") => COOKIE,
        7 if is("expires") => EXPIRES,
        10 if is("connection") => CONNECTION,
        10 if is("user-agent") => USER_AGENT,
        10 if is("set-cookie") => SET_COOKIE,
        12 if is("content-type") => CONTENT_TYPE,
        13 if is("cache-control") => CACHE_CONTROL,
        13 if is("last-modified") => LAST_MODIFIED,
        13 if is("accept-ranges") => ACCEPT_RANGES,
        14 if is("content-length") => CONTENT_LENGTH,
        15 if is("accept-encoding") => ACCEPT_ENCODING,
        15 if is("accept-language") => ACCEPT_LANGUAGE,
        15 if is("x-frame-options") => X_FRAME_OPTIONS,
        16 if is("content-encoding") => CONTENT_ENCODING,
        16 if is("content-language") => CONTENT_LANGUAGE,
        17 if is("transfer-encoding") => TRANSFER_ENCODING,
        22 if is("x-content-type-options") => X_CONTENT_TYPE_OPTIONS,
        25 if is("strict-transport-security") => STRICT_TRANSPORT_SECURITY,
        27 if is("access-control-allow-origin") => ACCESS_CONTROL_ALLOW_ORIGIN,
        _ => return HeaderName::from_bytes(bytes).ok(),
    };
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_the_one_that_the_library_makes_of_it() {
        let names = "Host date ETag vary Server ACCEPT cookie Expires Connection User-Agent Content-Type \
            cache-control Last-Modified accept-ranges Content-Length accept-encoding Accept-Language \
            content-encoding transfer-encoding Age via link Set-Cookie x-frame-options Content-Language \
            x-content-type-options strict-transport-security Access-Control-Allow-Origin hosts x-a X-B te";
        for text in names.split_ascii_whitespace() {
            let expected = HeaderName::from_bytes(text.as_bytes()).unwrap();
            assert_eq!(name(text.as_bytes()), Some(expected), "{text}");
        }
        assert_eq!(name(b""), None);
        assert_eq!(name(b"a b"), None);
    }

    #[test]
    fn values_are_pieces_of_the_head() {
        let head = Bytes::from_static(b"A: one\r\nb: \r\na: two\r\n");
        let lines = ["A:one", "b:", "a:two"].map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            let at = |part: &str, from: usize| {
                let text = std::str::from_utf8(&head[from..]).unwrap();
                let at = from + text.find(part).unwrap();
                at..at + part.len()
            };
            (at(name, 0), at(value, 3))
        });
        let fields = fields(&head, lines.into_iter(), 1).unwrap();
        let all: Vec<_> = fields.get_all("a").iter().collect();
        assert_eq!(all, ["one", "two"]);
        assert_eq!(fields["b"], "");
        assert!(
            super::fields(&Bytes::from_static(b"a \x01"), [(0..1, 2..3)].into_iter(), 0).is_none()
        );
        assert_eq!(place(&head, &head[3..6]), 3..6);
    }
}
