//! The fields of a stored response as HTTP/1 sends them: one block of bytes, written once for all who are served.

use std::fmt;

use http::header::{HeaderMap, HeaderName};

use crate::entry::alike::{Shared, shared};
use crate::entry::block;
use crate::message::fields::Named;
use crate::message::lines::LONGEST_NAME;
use crate::message::pieces::{fields_of, spans};

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Mostly alike on one site, and kept once.
    Alike,
    /// Each response's own.
    Own,
    /// What each answer says for itself; whatever was stored under such a name is not sent with a hit.
    Replaced,
    /// Not kept: the length is that of the body, or of what is sent of it. The line would take each entry into a larger
    /// block.
    Left,
}

/// The kind of a field with this name, in lower case.
fn kind(name: &[u8]) -> Kind {
    match name {
        b"age" | b"x-cache" | b"x-cache-layer" => Kind::Replaced,
        b"content-length" => Kind::Left,
        b"date"
        | b"etag"
        | b"last-modified"
        | b"expires"
        | b"set-cookie"
        | b"location"
        | b"content-location"
        | b"content-disposition"
        | b"content-range"
        | b"link"
        | b"surrogate-key"
        | b"cache-tag"
        | b"cache-groups"
        | b"xkey"
        | b"x-request-id" => Kind::Own,
        _ => Kind::Alike,
    }
}

/// Fields that are added to each response that is sent: a map's index has room for them.
const ADDED: usize = 6;

/// How many bytes of a text tell where the lines begin that each answer says for itself.
const HEADER: usize = 4;

/// Room for the lines of one kind, so that it grows but rarely.
const USUAL: usize = 512;

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
        let mut writing = Writing::new();
        for (name, value) in fields {
            writing.line(name.as_str().as_bytes(), value.as_bytes());
        }
        writing.lines()
    }

    /// The lines of fields that are read from elsewhere; nothing where one cannot be read, or has a name or a value that
    /// none may have.
    pub fn read<'a>(fields: impl Iterator<Item = Option<(&'a [u8], &'a [u8])>>) -> Option<Self> {
        let mut writing = Writing::new();
        for field in fields {
            let (name, value) = field?;
            if !is_value(value) {
                return None;
            }
            match kind(name) {
                Kind::Alike if !is_lower_case_name(name) => {
                    let name = HeaderName::from_bytes(name).ok()?;
                    writing.line(name.as_str().as_bytes(), value);
                }
                kind => writing.line_of(kind, name, value),
            }
        }
        Some(writing.lines())
    }

    /// The lines that every answer has in common, as they are sent: in two parts.
    pub fn common(&self) -> [&[u8]; 2] {
        [self.alike(), self.text.get(HEADER..self.begin()).unwrap_or_default()]
    }

    /// Names and values of the same.
    pub fn common_lines(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.common().into_iter().flat_map(parted)
    }

    /// Names and values. Of one name in their order; others may have changed places.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        parted(self.alike()).chain(parted(self.rest()))
    }

    /// Whether they are all the same for every answer.
    pub fn are_common(&self) -> bool {
        self.begin() == self.text.len()
    }

    /// The same fields as a map, but for the length. Costs two allocations, and some forty nanoseconds for each field.
    pub fn map(&self) -> HeaderMap {
        fields_of(&[self.alike(), self.rest()].concat().into(), ADDED)
    }

    /// What they cost in memory beyond their struct; what is shared costs next to nothing.
    pub(crate) fn weight(&self) -> usize {
        block(self.text.len())
    }

    /// Where those begin that each answer says for itself.
    fn begin(&self) -> usize {
        self.text.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize)
    }

    fn alike(&self) -> &[u8] {
        self.alike.as_ref().map_or(&[], |alike| &***alike)
    }

    fn rest(&self) -> &[u8] {
        self.text.get(HEADER..).unwrap_or_default()
    }
}

impl Named for Lines {
    fn named(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        let name = name.as_str().as_bytes();
        self.iter().filter(move |line| line.0 == name).map(|(_, value)| value)
    }
}

fn parted(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    spans(text).map(|span| (span.name(text), span.value(text)))
}

impl fmt::Debug for Lines {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = [self.alike(), self.rest()].concat();
        formatter.write_str(&String::from_utf8_lossy(&text))
    }
}

/// Whether a field may have this value (RFC 9110 §5.5, and as HTTP libraries have it: any byte but control characters).
///
/// Looks at eight bytes at a time: that of eight fields took 1,000 instructions byte by byte.
fn is_value(value: &[u8]) -> bool {
    let (words, rest) = value.as_chunks();
    words
        .iter()
        .all(|word| is_without_controls(*word) || word.iter().all(|byte| may_be_in_value(*byte)))
        && rest.iter().all(|byte| may_be_in_value(*byte))
}

fn may_be_in_value(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// Whether none of the bytes is a control character; may say no where one is a tab or is not of ASCII.
fn is_without_controls(bytes: [u8; 8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let word = u64::from_ne_bytes(bytes);
    // What is below a blank borrows from its highest bit, and what is above a tilde carries into it.
    (word | word.wrapping_sub(ONES * 0x20) | word.wrapping_add(ONES)) & HIGH == 0
}

/// Whether a field may have this name, which is written as it is kept; of another one this says nothing.
fn is_lower_case_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name.iter().all(|byte| NAME[usize::from(*byte)])
}

/// The characters of a token (RFC 9110 §5.6.2), without the upper case.
const NAME: [bool; 256] = {
    let mut table = [false; 256];
    let characters = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz";
    let mut at = 0;
    while at < characters.len() {
        table[characters[at] as usize] = true;
        at += 1;
    }
    table
};

/// Lines that are being sorted, each kind in its order.
struct Writing {
    alike: Vec<u8>,
    own: Vec<u8>,
    replaced: Vec<u8>,
}

impl Writing {
    fn new() -> Self {
        let (alike, own) = (Vec::with_capacity(USUAL), Vec::with_capacity(USUAL));
        Self { alike, own, replaced: Vec::new() }
    }

    /// A line with this name, in lower case.
    fn line(&mut self, name: &[u8], value: &[u8]) {
        self.line_of(kind(name), name, value);
    }

    fn line_of(&mut self, kind: Kind, name: &[u8], value: &[u8]) {
        let kind = match kind {
            Kind::Alike => &mut self.alike,
            Kind::Own => &mut self.own,
            Kind::Replaced => &mut self.replaced,
            Kind::Left => return,
        };
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http::header::{AGE, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, SET_COOKIE};

    use super::*;
    use crate::message::fields::{
        CACHE_GROUPS, CACHE_TAG, SURROGATE_KEY, X_CACHE, X_CACHE_LAYER, X_REQUEST_ID, XKEY,
    };

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
        let lines = Lines::read(pairs.into_iter().map(Some)).unwrap();
        assert_eq!(lines.map(), fields);
        assert_eq!(lines.common().concat(), Lines::of(&fields).common().concat());
    }

    #[test]
    fn a_name_or_a_value_that_none_may_have_makes_no_lines() {
        for (byte, at) in (0..=u8::MAX).flat_map(|byte| (0..18).map(move |at| (byte, at))) {
            let mut value = [b'~'; 18];
            value[at] = byte;
            let may = HeaderValue::from_bytes(&value).is_ok();
            let lines = Lines::read([Some((&b"x-a"[..], &value[..]))].into_iter());
            assert_eq!(lines.is_some(), may, "{byte:#x} in a value at {at}");
            let may = HeaderName::from_bytes(&value).is_ok();
            let lines = Lines::read([Some((&value[..], &b"a"[..]))].into_iter());
            assert_eq!(lines.is_some(), may, "{byte:#x} in a name at {at}");
        }
        let longest = vec![b'a'; LONGEST_NAME];
        for name in [&b""[..], &longest, &[longest.as_slice(), b"a"].concat()] {
            let lines = Lines::read([Some((name, &b"a"[..]))].into_iter());
            assert_eq!(lines.is_some(), HeaderName::from_bytes(name).is_ok(), "{}", name.len());
        }
        assert!(Lines::read([Some((&b"a"[..], &b"b"[..])), None].into_iter()).is_none());
    }

    #[test]
    fn names_are_known_as_the_rest_of_the_house_writes_them() {
        let own = [SURROGATE_KEY, CACHE_TAG, CACHE_GROUPS, XKEY, X_REQUEST_ID, ETAG, SET_COOKIE];
        for (names, expected) in [
            (own.as_slice(), Kind::Own),
            (&[AGE, X_CACHE, X_CACHE_LAYER], Kind::Replaced),
            (&[CONTENT_LENGTH], Kind::Left),
            (&[CONTENT_TYPE], Kind::Alike),
        ] {
            for name in names {
                assert_eq!(kind(name.as_str().as_bytes()), expected, "{name}");
            }
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
