//! The fields of a stored response as HTTP/1 sends them: one block of bytes, written once for all who are served.

use std::fmt;

use bytes::Bytes;
use http::header::{
    AGE, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, DATE, ETAG, EXPIRES,
    HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED, LINK, LOCATION, SET_COOKIE,
};
use memchr::{memchr, memchr_iter};

use crate::entry::alike::{Shared, shared};
use crate::entry::block;
use crate::message::fields::{
    CACHE_GROUPS, CACHE_TAG, SURROGATE_KEY, X_CACHE, X_CACHE_LAYER, X_REQUEST_ID, XKEY,
};

/// What each answer says for itself; whatever was stored under these names is not sent with a hit.
///
/// Of a length there is no line: it is that of the body, or of what is sent of it. The line would take each entry into a
/// larger block.
const REPLACED: [HeaderName; 3] = [AGE, X_CACHE, X_CACHE_LAYER];

/// What is each response's own. All others are mostly alike on one site, and are kept once.
const OWN: [HeaderName; 15] = [
    DATE,
    ETAG,
    LAST_MODIFIED,
    EXPIRES,
    SET_COOKIE,
    LOCATION,
    CONTENT_LOCATION,
    CONTENT_DISPOSITION,
    CONTENT_RANGE,
    LINK,
    SURROGATE_KEY,
    CACHE_TAG,
    CACHE_GROUPS,
    XKEY,
    X_REQUEST_ID,
];

/// Fields that are added to each response that is sent: a map's index has room for them.
const ADDED: usize = 6;

/// How many bytes of a text tell where the lines begin that each answer says for itself.
const HEADER: usize = 4;

/// Field lines, each a name, `: `, a value and CR LF: what a name and a value may hold makes that unambiguous.
///
/// A map takes 104 bytes for each field, and an index, besides the text; a copy of it costs two atomic operations for
/// each field where a copy of these lines is a copy of bytes. Lines that many responses have alike are shared.
#[derive(Clone)]
pub struct Lines {
    alike: Option<Shared>,
    /// Where those begin that each answer says for itself, then all that are not shared.
    text: Box<[u8]>,
}

impl Lines {
    /// The lines of `fields`, in memory of their own: fields as they arrive are pieces of the buffer that their
    /// connection reads into, and one of them would keep the whole of it for as long as the entry lives.
    pub fn of(fields: &HeaderMap) -> Self {
        let mut writing = Writing::default();
        for (name, value) in fields {
            writing.line(name, value.as_bytes());
        }
        writing.lines()
    }

    /// The lines of fields that were read from elsewhere; nothing where one has a name or a value that none may have.
    pub fn read<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Option<Self> {
        let mut writing = Writing::default();
        for (name, value) in fields {
            if !is_value(value) {
                return None;
            }
            writing.line(&HeaderName::from_bytes(name).ok()?, value);
        }
        Some(writing.lines())
    }

    /// The lines that every answer has in common, as they are sent: in two parts.
    pub fn common(&self) -> [&[u8]; 2] {
        let begin = self.text.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize);
        [self.alike(), self.text.get(HEADER..begin).unwrap_or_default()]
    }

    /// Names and values. Of one name in their order; others may have changed places.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let parted = |text| spans(text).map(move |span| (span.name(text), span.value(text)));
        parted(self.alike()).chain(parted(self.rest()))
    }

    /// The same fields as a map, but for the length. Costs two allocations, and some forty nanoseconds for each field.
    pub fn map(&self) -> HeaderMap {
        let text = Bytes::from([self.alike(), self.rest()].concat());
        let mut fields = HeaderMap::with_capacity(memchr_iter(b'\n', &text).count() + ADDED);
        for span in spans(&text) {
            // What was a name and a value is one.
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(span.name(&text)),
                HeaderValue::from_maybe_shared(text.slice(span.colon + 2..span.end)),
            ) {
                fields.append(name, value);
            }
        }
        fields
    }

    /// What they cost in memory beyond their struct; what is shared costs next to nothing.
    pub(crate) fn weight(&self) -> usize {
        block(self.text.len())
    }

    fn alike(&self) -> &[u8] {
        self.alike.as_ref().map_or(&[], |alike| &***alike)
    }

    fn rest(&self) -> &[u8] {
        self.text.get(HEADER..).unwrap_or_default()
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = [self.alike(), self.rest()].concat();
        formatter.write_str(&String::from_utf8_lossy(&text))
    }
}

/// Whether a field may have this value (RFC 9110 §5.5, and as HTTP libraries have it: any byte but control characters).
fn is_value(value: &[u8]) -> bool {
    value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))
}

/// Lines that are being sorted, each kind in its order.
#[derive(Default)]
struct Writing {
    alike: Vec<u8>,
    own: Vec<u8>,
    replaced: Vec<u8>,
}

impl Writing {
    fn line(&mut self, name: &HeaderName, value: &[u8]) {
        if name == CONTENT_LENGTH {
            return;
        }
        let kind = if REPLACED.contains(name) {
            &mut self.replaced
        } else if OWN.contains(name) {
            &mut self.own
        } else {
            &mut self.alike
        };
        let name = name.as_str().as_bytes();
        kind.reserve(name.len() + value.len() + 4);
        for part in [name, b": ", value, b"\r\n"] {
            kind.extend_from_slice(part);
        }
    }

    fn lines(self) -> Lines {
        let Self { alike, own, replaced } = self;
        let shared = shared(&alike);
        let alike = if shared.is_some() { &[] } else { alike.as_slice() };
        // A head of four gigabytes is refused long before.
        let begin = u32::try_from(HEADER + alike.len() + own.len()).unwrap_or(u32::MAX);
        let text = [&begin.to_le_bytes(), alike, &own, &replaced].concat();
        Lines { alike: shared, text: text.into() }
    }
}

/// Where a line stands in the text.
struct Span {
    begin: usize,
    colon: usize,
    end: usize,
}

impl Span {
    fn name<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.begin..self.colon]
    }

    fn value<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.colon + 2..self.end]
    }
}

fn spans(text: &[u8]) -> impl Iterator<Item = Span> {
    let mut begin = 0;
    std::iter::from_fn(move || {
        let colon = begin + memchr(b':', text.get(begin..)?)?;
        let end = colon + memchr(b'\r', &text[colon..])?;
        let span = Span { begin, colon, end };
        begin = end + 2;
        Some(span)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::header::CONTENT_TYPE;

    use super::*;

    #[test]
    fn lines_say_the_same_in_memory_of_their_own() {
        let read = Bytes::from_static(b"one: two,\xff :three");
        let mut fields = HeaderMap::new();
        for (name, range) in [("x-a", 0..8), ("age", 5..5), ("x-b", 5..10), ("x-a", 11..17)] {
            let value = HeaderValue::from_maybe_shared(read.slice(range)).unwrap();
            fields.append(HeaderName::from_static(name), value);
        }
        let lines = Lines::of(&fields);
        let map = lines.map();
        assert_eq!(map, fields);
        assert_eq!(lines.iter().count(), 4);
        let bounds = read.as_ptr_range();
        for value in map.values().filter(|value| !value.is_empty()) {
            assert!(!bounds.contains(&value.as_bytes().as_ptr()), "{value:?}");
        }
    }

    #[test]
    fn what_is_read_from_elsewhere_is_what_the_same_fields_are() {
        let pairs =
            [("ETag", "\"1\""), ("x-a", "b\t c"), ("age", "5"), ("X-A", ""), ("x-b", "\u{e4}")];
        let pairs = pairs.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let mut fields = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name).unwrap();
            fields.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        let lines = Lines::read(pairs.into_iter()).unwrap();
        assert_eq!(lines.map(), fields);
        assert_eq!(lines.common().concat(), Lines::of(&fields).common().concat());
    }

    #[test]
    fn a_name_or_a_value_that_none_may_have_makes_no_lines() {
        for byte in 0..=u8::MAX {
            let value = [b'a', byte, b'b'];
            let may = HeaderValue::from_bytes(&value).is_ok();
            let lines = Lines::read([(&b"x-a"[..], &value[..])].into_iter());
            assert_eq!(lines.is_some(), may, "{byte:#x} in a value");
            let may = HeaderName::from_bytes(&value).is_ok();
            let lines = Lines::read([(&value[..], &b"a"[..])].into_iter());
            assert_eq!(lines.is_some(), may, "{byte:#x} in a name");
        }
        assert!(Lines::read([(&b""[..], &b"a"[..])].into_iter()).is_none());
    }

    #[test]
    fn what_each_answer_says_for_itself_is_not_among_the_common_lines() {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            (AGE, "1"),
            (CONTENT_TYPE, "a/b"),
            (X_CACHE, "HIT"),
            (SET_COOKIE, "a=1"),
            (CONTENT_LENGTH, "2"),
            (X_CACHE_LAYER, "L1"),
            (SET_COOKIE, "b=2"),
        ] {
            fields.append(name, HeaderValue::from_static(value));
        }
        let lines = Lines::of(&fields);
        fields.remove(CONTENT_LENGTH);
        let common = b"content-type: a/b\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n";
        assert_eq!(lines.common().concat(), common);
        assert_eq!(lines.map(), fields);
    }

    #[test]
    fn what_comes_again_is_shared_and_says_the_same() {
        let mut fields = HeaderMap::new();
        for (name, value) in [(ETAG, "\"1\""), (CONTENT_TYPE, "a/shared"), (AGE, "2")] {
            fields.append(name, HeaderValue::from_static(value));
        }
        let [first, second, third] = [0; 3].map(|_| Lines::of(&fields));
        assert!(first.alike.is_none());
        assert!(Arc::ptr_eq(second.alike.as_ref().unwrap(), third.alike.as_ref().unwrap()));
        for lines in [first, second, third] {
            assert_eq!(lines.map(), fields);
            assert_eq!(lines.common().concat(), b"content-type: a/shared\r\netag: \"1\"\r\n");
        }
    }
}
