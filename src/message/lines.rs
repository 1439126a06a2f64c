//! Field lines: where names and values stand in a text, without a map of them.

use std::ops::Range;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName};

use crate::message::fields::{Named, Removable};
use crate::message::pieces::{self, Line};

/// Field lines (RFC 9110 §5.2) in their order: those of a head that a parser has taken apart, or those that are written one
/// behind the other.
///
/// What has ten lines is asked for one of them by ten comparisons of lengths. To make a map of them costs some hundred
/// instructions for each, and as many again to print it and to drop it.
#[derive(Clone, Debug)]
pub struct FieldLines<T> {
    text: T,
    places: Vec<Line>,
}

/// A name is no longer than HTTP libraries have it.
const LONGEST_NAME: usize = u16::MAX as usize;

impl FieldLines<Bytes> {
    /// The lines of a head; nothing where a name is longer than a map has them.
    pub fn of_head(text: Bytes, places: Vec<Line>) -> Option<Self> {
        let fit = places.iter().all(|(name, _)| name.len() < LONGEST_NAME);
        fit.then_some(Self { text, places })
    }

    /// The same as a map with room for `spare` more, whose values are pieces of the text.
    pub fn map(&self, spare: usize) -> HeaderMap {
        pieces::fields(&self.text, &self.places, spare)
            .expect("what a parser takes for names and values is that")
    }
}

impl FieldLines<Vec<u8>> {
    /// None yet, with room for so many, and for so many bytes of them.
    pub fn with_capacity(lines: usize, bytes: usize) -> Self {
        Self { text: Vec::with_capacity(bytes), places: Vec::with_capacity(lines) }
    }

    /// Adds a line behind the others. What is no name or no value spoils the request: take them from where they are.
    pub fn push(&mut self, name: &HeaderName, value: &[u8]) {
        let begin = self.text.len();
        for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
            self.text.extend_from_slice(part);
        }
        let (colon, end) = (begin + name.as_str().len(), self.text.len() - 2);
        self.places.push((begin..colon, colon + 2..end));
    }

    /// The same as a map.
    pub fn into_map(self) -> HeaderMap {
        let Self { text, places } = self;
        FieldLines { text: Bytes::from(text), places }.map(0)
    }
}

impl<T: AsRef<[u8]>> FieldLines<T> {
    /// The names, in any case, and the values. Of one name in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let text = self.text.as_ref();
        self.places.iter().map(|(name, value)| (&text[name.clone()], &text[value.clone()]))
    }

    /// Writes the lines but those with such a name, which comes in any case, as they are sent. Lines that stand together as they
    /// are sent are copied together.
    pub fn write_but(&self, is_one: impl Fn(&[u8]) -> bool, to: &mut Vec<u8>) {
        let text = self.text.as_ref();
        to.reserve(text.len());
        let mut run = 0..0;
        for (name, value) in self.places.iter().filter(|(name, _)| !is_one(&text[name.clone()])) {
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
            for part in [&text[name.clone()], b": ", &text[value.clone()], b"\r\n"] {
                to.extend_from_slice(part);
            }
        }
        to.extend_from_slice(&text[run]);
    }

    /// Where the value of the next line with this name stands.
    fn next(&self, places: &mut std::slice::Iter<'_, Line>, name: &[u8]) -> Option<&[u8]> {
        let text = self.text.as_ref();
        // Most names are told by their length.
        let is = |at: &Range<usize>| {
            at.len() == name.len() && text[at.clone()].eq_ignore_ascii_case(name)
        };
        let (_, value) = places.find(|(at, _)| is(at))?;
        Some(&text[value.clone()])
    }
}

impl<T: AsRef<[u8]>> Named for FieldLines<T> {
    fn named(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        let mut places = self.places.iter();
        let name = name.as_str().as_bytes();
        std::iter::from_fn(move || self.next(&mut places, name))
    }

    fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        self.next(&mut self.places.iter(), name.as_str().as_bytes())
    }
}

impl<T: AsRef<[u8]>> Removable for FieldLines<T> {
    fn remove_each(&mut self, is_one: impl Fn(&[u8]) -> bool) {
        let text = self.text.as_ref();
        self.places.retain(|(name, _)| !is_one(&text[name.clone()]));
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HOST, HeaderValue};

    use super::*;

    pub(super) fn lines(text: &'static str) -> FieldLines<Bytes> {
        let head = Bytes::from_static(text.as_bytes());
        let places = text.split_inclusive("\r\n").map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            let at = |part: &str| pieces::place(&head, part.as_bytes());
            (at(name), at(value.trim()))
        });
        let places = places.collect();
        FieldLines::of_head(head, places).unwrap()
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
                let at = |part: &[u8]| pieces::place(&head, part);
                let places =
                    parsed.headers.iter().map(|it| (at(it.name.as_bytes()), at(it.value))).collect();
                let lines = FieldLines::of_head(head.clone(), places).unwrap();
                assert_eq!(lines.map(0).len(), lines.iter().count(), "{line:?}");
            }
        }
    }

    #[test]
    fn a_name_that_no_map_has_is_refused() {
        let name = "a".repeat(LONGEST_NAME);
        let head = Bytes::from(format!("{name}: b\r\n"));
        let (end, shorter) = (LONGEST_NAME, LONGEST_NAME - 1);
        assert!(FieldLines::of_head(head.clone(), vec![(0..end, end + 2..end + 3)]).is_none());
        let lines = FieldLines::of_head(head, vec![(0..shorter, end + 2..end + 3)]).unwrap();
        assert_eq!(lines.map(0).len(), 1);
    }
}
