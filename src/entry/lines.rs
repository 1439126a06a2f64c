//! The fields of a stored response as HTTP/1 sends them: one block of bytes, written once for all who are served.

use std::fmt;

use bytes::Bytes;
use http::header::{AGE, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use memchr::{memchr, memchr_iter};

use crate::entry::block;
use crate::message::fields::{X_CACHE, X_CACHE_LAYER};

/// What each answer says for itself; whatever was stored under these names is not sent with a hit.
const REPLACED: [HeaderName; 4] = [CONTENT_LENGTH, AGE, X_CACHE, X_CACHE_LAYER];

/// Fields that are added to each response that is sent: a map's index has room for them.
const ADDED: usize = 6;

/// Field lines, each a name, `: `, a value and CR LF: what a name and a value may hold makes that unambiguous.
///
/// A map takes 104 bytes for each field, and an index, besides the text; a copy of it costs two atomic operations for
/// each field where a copy of these lines is a copy of bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Lines {
    text: Box<[u8]>,
    /// Where those begin that each answer says for itself.
    replaced: u32,
}

impl Lines {
    /// The lines of `fields`, in memory of their own: fields as they arrive are pieces of the buffer that their
    /// connection reads into, and one of them would keep the whole of it for as long as the entry lives.
    pub fn of(fields: &HeaderMap) -> Self {
        let length = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        let mut text = Vec::with_capacity(length);
        for (name, value) in fields.iter().filter(|(name, _)| !REPLACED.contains(name)) {
            push(&mut text, name, value);
        }
        // A head of four gigabytes is refused long before.
        let replaced = u32::try_from(text.len()).unwrap_or(u32::MAX);
        for (name, value) in fields.iter().filter(|(name, _)| REPLACED.contains(name)) {
            push(&mut text, name, value);
        }
        Self { text: text.into(), replaced }
    }

    /// The lines that every answer has in common, as they are sent.
    pub fn common(&self) -> &[u8] {
        self.text.get(..self.replaced as usize).unwrap_or(&self.text)
    }

    /// Names and values. Of one name in their order; others may have changed places.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        spans(&self.text).map(|span| (&self.text[span.begin..span.colon], &self.text[span.value()]))
    }

    /// The same fields as a map. Costs two allocations, and some forty nanoseconds for each field.
    pub fn map(&self) -> HeaderMap {
        let text = Bytes::copy_from_slice(&self.text);
        let mut fields = HeaderMap::with_capacity(memchr_iter(b'\n', &text).count() + ADDED);
        for span in spans(&self.text) {
            // What was a name and a value is one.
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(&self.text[span.begin..span.colon]),
                HeaderValue::from_maybe_shared(text.slice(span.value())),
            ) {
                fields.append(name, value);
            }
        }
        fields
    }

    /// What they cost in memory beyond their struct.
    pub(crate) fn weight(&self) -> usize {
        block(self.text.len())
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&String::from_utf8_lossy(&self.text))
    }
}

fn push(text: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    text.extend_from_slice(name.as_str().as_bytes());
    text.extend_from_slice(b": ");
    text.extend_from_slice(value.as_bytes());
    text.extend_from_slice(b"\r\n");
}

/// Where a line stands in the text.
struct Span {
    begin: usize,
    colon: usize,
    end: usize,
}

impl Span {
    fn value(&self) -> std::ops::Range<usize> {
        self.colon + 2..self.end
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
    use http::header::{CONTENT_TYPE, SET_COOKIE};

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
        let common = "content-type: a/b\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n";
        assert_eq!(str::from_utf8(lines.common()), Ok(common));
        assert_eq!(lines.map(), fields);
    }
}
