//! Field lines: where names and values stand in a text, without a map of them.

use std::ops::Range;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName};

use crate::message::fields::{Named, Removable};
use crate::message::pieces;

/// Field lines (RFC 9110 §5.2) in their order: those of a head that a parser has taken apart, or those that are written one
/// behind the other.
///
/// What has ten lines is asked for one of them by ten comparisons of numbers. To make a map of them costs some hundred
/// instructions for each, and as many again to print it and to drop it.
#[derive(Clone, Debug)]
pub struct FieldLines<T> {
    text: T,
    places: Places,
}

/// Where the lines of a text stand.
#[derive(Clone, Debug, Default)]
pub struct Places(Vec<Place>);

#[derive(Clone, Copy, Debug)]
struct Place {
    /// The length of the name, and its first letter: most names differ in one of them.
    tag: u32,
    begin: u32,
    value: u32,
    end: u32,
}

/// A name is no longer than HTTP libraries have it.
const LONGEST_NAME: usize = u16::MAX as usize;

fn tag(name: &[u8]) -> u32 {
    let first = name.first().map_or(0, |first| first | 0x20);
    at(name.len()) << 8 | u32::from(first)
}

/// Heads are no longer than some hundred KiB.
fn at(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

impl Places {
    /// Where these names and values stand in the text that they are slices of; nothing where a name is longer than a map has
    /// them.
    pub fn within<'a>(
        text: &'a [u8],
        lines: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Option<Self> {
        let mut places = Vec::with_capacity(lines.len());
        for (name, value) in lines {
            if name.len() >= LONGEST_NAME {
                return None;
            }
            let (begin, value) = (pieces::place(text, name).start, pieces::place(text, value));
            let (begin, value, end) = (at(begin), at(value.start), at(value.end));
            places.push(Place { tag: tag(name), begin, value, end });
        }
        Some(Self(places))
    }
}

impl Place {
    fn name(self) -> Range<usize> {
        let begin = self.begin as usize;
        begin..begin + (self.tag >> 8) as usize
    }

    fn value(self) -> Range<usize> {
        self.value as usize..self.end as usize
    }
}

impl FieldLines<Bytes> {
    /// The lines of a head.
    pub fn of_head(text: Bytes, places: Places) -> Self {
        Self { text, places }
    }

    /// The same as a map with room for `spare` more, whose values are pieces of the text.
    ///
    /// # Panics
    ///
    /// Where a place is of no name or of no value: the parser has no such places (a test holds it to that).
    pub fn map(&self, spare: usize) -> HeaderMap {
        let lines = self.places.0.iter().map(|place| (place.name(), place.value()));
        pieces::fields(&self.text, lines, spare)
            .expect("what a parser takes for names and values is that")
    }
}

impl FieldLines<Vec<u8>> {
    /// None yet, with room for so many, and for so many bytes of them.
    pub fn with_capacity(lines: usize, bytes: usize) -> Self {
        Self { text: Vec::with_capacity(bytes), places: Places(Vec::with_capacity(lines)) }
    }

    /// Adds a line behind the others, whose value is one that fields may have.
    pub fn push(&mut self, name: &HeaderName, value: &[u8]) {
        let (begin, name) = (self.text.len(), name.as_str().as_bytes());
        for part in [name, b": ", value, b"\r\n"] {
            self.text.extend_from_slice(part);
        }
        let (begin, value, end) =
            (at(begin), at(begin + name.len() + 2), at(self.text.len() - 2));
        self.places.0.push(Place { tag: tag(name), begin, value, end });
    }

    /// The same as a map.
    pub fn into_map(self) -> HeaderMap {
        let Self { text, places } = self;
        FieldLines { text: Bytes::from(text), places }.map(0)
    }
}

impl<T: AsRef<[u8]>> FieldLines<T> {
    /// How long the text is that they stand in, in bytes.
    pub fn extent(&self) -> usize {
        self.text.as_ref().len()
    }

    /// The names, in any case, and the values. Of one name in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let text = self.text.as_ref();
        self.places.0.iter().map(|place| (&text[place.name()], &text[place.value()]))
    }

    /// Writes the lines but those with such a name, which comes in any case, as they are sent. Lines that stand together as they
    /// are sent are copied together.
    pub fn write_but(&self, is_one: impl Fn(&[u8]) -> bool, to: &mut Vec<u8>) {
        let text = self.text.as_ref();
        to.reserve(text.len());
        let mut run = 0..0;
        for place in self.places.0.iter().filter(|place| !is_one(&text[place.name()])) {
            let (name, value) = (place.name(), place.value());
            let (begin, end) = (name.start, value.end + 2);
            let is_ready = value.start == name.end + 2
                && text.get(name.end..value.start) == Some(b": ")
                && text.get(value.end..end) == Some(b"\r\n");
            if is_ready && run.end == begin {
                run.end = end;
                continue;
            }
            to.extend_from_slice(&text[std::mem::take(&mut run)]);
            if is_ready {
                run = begin..end;
                continue;
            }
            for part in [&text[name], b": ", &text[value], b"\r\n"] {
                to.extend_from_slice(part);
            }
        }
        to.extend_from_slice(&text[run]);
    }

    /// The value of the next line with this name, which is in lower case.
    fn next(&self, places: &mut std::slice::Iter<'_, Place>, name: &[u8]) -> Option<&[u8]> {
        let (text, tag) = (self.text.as_ref(), tag(name));
        let is = |place: &Place| {
            place.tag == tag
                && text[place.name()].iter().map(u8::to_ascii_lowercase).eq(name.iter().copied())
        };
        places.find(|place| is(place)).map(|place| &text[place.value()])
    }
}

impl<T: AsRef<[u8]>> Named for FieldLines<T> {
    fn named(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        let mut places = self.places.0.iter();
        let name = name.as_str().as_bytes();
        std::iter::from_fn(move || self.next(&mut places, name))
    }

    fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        self.next(&mut self.places.0.iter(), name.as_str().as_bytes())
    }
}

impl<T: AsRef<[u8]>> Removable for FieldLines<T> {
    fn remove_each(&mut self, is_one: impl Fn(&[u8]) -> bool) {
        let text = self.text.as_ref();
        self.places.0.retain(|place| !is_one(&text[place.name()]));
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HOST, HeaderValue};

    use super::*;

    fn lines(text: &'static str) -> FieldLines<Bytes> {
        let lines = text.split_inclusive("\r\n").map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.as_bytes(), value.trim().as_bytes())
        });
        let lines: Vec<_> = lines.collect();
        let places = Places::within(text.as_bytes(), lines.into_iter()).unwrap();
        FieldLines::of_head(Bytes::from_static(text.as_bytes()), places)
    }

    #[test]
    fn lines_are_sent_as_they_came_but_for_what_is_left_out_and_what_was_not_as_it_is_sent() {
        let text = "A: 1\r\nB: 2\r\nGone: 3\r\nC: \r\nD:4\r\nE: 5 \r\nF:  6\r\nG: 7\r\nGone: 8\r\n";
        let sent = |is_one: fn(&[u8]) -> bool| {
            let mut sent = Vec::new();
            lines(text).write_but(is_one, &mut sent);
            String::from_utf8(sent).unwrap()
        };
        let expected = "A: 1\r\nB: 2\r\nC: \r\nD: 4\r\nE: 5\r\nF: 6\r\nG: 7\r\n";
        assert_eq!(sent(|name| name == b"Gone"), expected);
        assert_eq!(sent(|_| true), "");
    }

    #[test]
    fn what_is_written_is_sent_and_asked_for_and_mapped() {
        let mut written = FieldLines::with_capacity(1, 8);
        let own = HeaderName::from_static("x-own");
        for (name, value) in [(&HOST, "shop"), (&own, ""), (&own, "2")] {
            written.push(name, value.as_bytes());
        }
        let mut sent = Vec::new();
        written.write_but(|_| false, &mut sent);
        assert_eq!(sent, b"host: shop\r\nx-own: \r\nx-own: 2\r\n");
        assert_eq!(written.first(&HOST), Some(&b"shop"[..]));
        assert!(written.named(&own).eq([&b""[..], b"2"]));
        written.remove_all(&HOST);
        assert!(!written.has(&HOST));
        let map = written.into_map();
        let values: Vec<_> = map.get_all(own).iter().collect();
        assert_eq!(values, [&HeaderValue::from_static(""), &HeaderValue::from_static("2")]);
    }

    /// Lines are made a map without another look at what the parser let pass.
    #[test]
    fn whatever_the_parser_takes_for_a_name_or_a_value_is_one() {
        for byte in 0..=u8::MAX {
            for line in [&[b'a', byte, b'b', b':', b'c'][..], &[b'a', b':', b'b', byte, b'c']] {
                let head = Bytes::from([b"HTTP/1.1 200 OK\r\n", line, b"\r\n\r\n"].concat());
                let mut room = [httparse::EMPTY_HEADER; 4];
                let mut parsed = httparse::Response::new(&mut room);
                if !parsed.parse(&head).is_ok_and(|status| status.is_complete()) {
                    continue;
                }
                let places = parsed.headers.iter().map(|it| (it.name.as_bytes(), it.value));
                let places = Places::within(&head, places).unwrap();
                let lines = FieldLines::of_head(head.clone(), places);
                assert_eq!(lines.map(0).len(), lines.iter().count(), "{line:?}");
            }
        }
    }

    #[test]
    fn a_name_that_no_map_has_is_refused() {
        let head = Bytes::from("a".repeat(LONGEST_NAME));
        let places = |length: usize| Places::within(&head, [(&head[..length], &head[..1])].into_iter());
        assert!(places(LONGEST_NAME).is_none());
        let longest = places(LONGEST_NAME - 1).unwrap();
        assert_eq!(FieldLines::of_head(head.clone(), longest).map(0).len(), 1);
    }
}
