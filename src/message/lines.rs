//! Field lines: where names and values stand in a text, without a map of them.

use std::ops::Range;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::message::fields::{Named, Removable};
use crate::message::pieces;

/// Field lines (RFC 9110 §5.2) in their order: those of a head that a parser has taken apart, or those that are written one
/// behind the other.
///
/// To ask ten lines for one costs ten comparisons of two numbers. A map of them costs a hundred instructions for each, besides
/// what it takes to print it and to drop it.
#[derive(Clone, Debug)]
pub struct FieldLines<T> {
    text: T,
    spots: Spots,
}

/// Where the lines of a text stand.
#[derive(Clone, Debug)]
pub(crate) struct Spots(Vec<Spot>);

#[derive(Clone, Debug)]
struct Spot {
    begin: usize,
    value: Range<usize>,
    /// Of the name: most names differ in it, or in their first letter.
    length: u16,
    first: u8,
}

/// A name is no longer than HTTP libraries have it.
pub(crate) const LONGEST_NAME: usize = u16::MAX as usize;

fn first(name: &[u8]) -> u8 {
    name.first().map_or(0, u8::to_ascii_lowercase)
}

impl Spots {
    /// Where these names and values stand in the head that they are slices of; nothing where a name is longer than a map has
    /// them.
    pub(crate) fn within<'a>(
        head: &'a [u8],
        lines: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Option<Self> {
        let mut spots = Vec::with_capacity(lines.len());
        for (name, value) in lines {
            let length = u16::try_from(name.len()).ok()?;
            let (begin, value) = (pieces::place(head, name).start, pieces::place(head, value));
            spots.push(Spot { begin, value, length, first: first(name) });
        }
        Some(Self(spots))
    }
}

impl Spot {
    fn name(&self) -> Range<usize> {
        self.begin..self.begin + usize::from(self.length)
    }
}

impl FieldLines<Bytes> {
    /// The lines that stand there in this head.
    pub(crate) fn of_head(head: Bytes, spots: Spots) -> Self {
        Self { text: head, spots }
    }

    /// The same as a map with room for `spare` more, whose values are pieces of the text.
    ///
    /// # Panics
    ///
    /// Where what stands there is no name or no value: what the parser lets pass is one (a test holds it to that).
    pub fn map(&self, spare: usize) -> HeaderMap {
        let lines = self.spots.0.iter().map(|spot| (spot.name(), spot.value.clone()));
        pieces::fields(&self.text, lines, spare)
            .expect("what a parser takes for names and values is that")
    }
}

impl FieldLines<Vec<u8>> {
    /// None yet, with room for so many, and for so many bytes of them.
    pub fn with_capacity(lines: usize, bytes: usize) -> Self {
        Self { text: Vec::with_capacity(bytes), spots: Spots(Vec::with_capacity(lines)) }
    }

    /// Adds a line behind the others. The value is one that fields may have: it is sent as it is.
    pub fn push(&mut self, name: &HeaderName, value: &[u8]) {
        debug_assert!(HeaderValue::from_bytes(value).is_ok(), "{name} has no value");
        let (begin, name) = (self.text.len(), name.as_str().as_bytes());
        for part in [name, b": ", value, b"\r\n"] {
            self.text.extend_from_slice(part);
        }
        let value = begin + name.len() + 2..self.text.len() - 2;
        // No library makes a longer name.
        let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
        self.spots.0.push(Spot { begin, value, length, first: first(name) });
    }

    /// The same as a map. Copies the text.
    pub fn map(&self) -> HeaderMap {
        FieldLines { text: Bytes::copy_from_slice(&self.text), spots: self.spots.clone() }.map(0)
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
        self.spots.0.iter().map(|spot| (&text[spot.name()], &text[spot.value.clone()]))
    }

    /// Writes the lines but those with such a name, which comes in any case, as they are sent. Lines that stand together as they
    /// are sent are copied together.
    pub fn write_but(&self, is_one: impl Fn(&[u8]) -> bool, to: &mut Vec<u8>) {
        let text = self.text.as_ref();
        let mut run = 0..0;
        for spot in self.spots.0.iter().filter(|spot| !is_one(&text[spot.name()])) {
            let (name, value) = (spot.name(), spot.value.clone());
            let line = name.start..value.end + 2;
            let is_ready = value.start == name.end + 2
                && text.get(name.end..value.start) == Some(b": ")
                && text.get(value.end..line.end) == Some(b"\r\n");
            if is_ready && run.end == line.start {
                run.end = line.end;
                continue;
            }
            to.extend_from_slice(&text[std::mem::take(&mut run)]);
            if is_ready {
                run = line;
                continue;
            }
            for part in [&text[name], b": ", &text[value], b"\r\n"] {
                to.extend_from_slice(part);
            }
        }
        to.extend_from_slice(&text[run]);
    }

    /// The value of the next line with this name.
    fn next(&self, spots: &mut std::slice::Iter<'_, Spot>, name: &HeaderName) -> Option<&[u8]> {
        let (text, name) = (self.text.as_ref(), name.as_str().as_bytes());
        let (length, first) = (name.len(), first(name));
        let is = |spot: &Spot| {
            usize::from(spot.length) == length
                && spot.first == first
                && text[spot.name()].eq_ignore_ascii_case(name)
        };
        spots.find(|spot| is(spot)).map(|spot| &text[spot.value.clone()])
    }
}

impl<T: AsRef<[u8]>> Named for FieldLines<T> {
    fn named(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        let mut spots = self.spots.0.iter();
        std::iter::from_fn(move || self.next(&mut spots, name))
    }

    fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        self.next(&mut self.spots.0.iter(), name)
    }
}

impl<T: AsRef<[u8]>> Removable for FieldLines<T> {
    fn remove_each(&mut self, is_one: impl Fn(&[u8]) -> bool) {
        let text = self.text.as_ref();
        self.spots.0.retain(|spot| !is_one(&text[spot.name()]));
    }
}

/// The lines of a text of lines, as tests write them.
#[cfg(test)]
pub(crate) fn lines(text: &'static str) -> FieldLines<Bytes> {
    let lines = text.split_inclusive("\r\n").map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.as_bytes(), value.trim().as_bytes())
    });
    let lines: Vec<_> = lines.collect();
    let spots = Spots::within(text.as_bytes(), lines.into_iter()).unwrap();
    FieldLines::of_head(Bytes::from_static(text.as_bytes()), spots)
}

#[cfg(test)]
mod tests {
    use http::header::HOST;

    use super::*;

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
        let map = written.map();
        let values: Vec<_> = map.get_all(own).iter().collect();
        assert_eq!(values, [&HeaderValue::from_static(""), &HeaderValue::from_static("2")]);
    }

    /// Lines are made a map without another look at what the parser let pass. It looks at up to 32 bytes at a time.
    #[test]
    fn whatever_the_parser_takes_for_a_name_or_a_value_is_one() {
        const LONG: usize = 70;
        let mut taken = 0;
        for (at, byte) in (0..LONG).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
            let mut text = [b'x'; LONG];
            text[at] = byte;
            for line in [[&text[..], b":v"].concat(), [b"n:", &text[..]].concat()] {
                let head = Bytes::from([b"HTTP/1.1 200 OK\r\n", &line[..], b"\r\n\r\n"].concat());
                let mut room = [httparse::EMPTY_HEADER; 4];
                let mut parsed = httparse::Response::new(&mut room);
                if !parsed.parse(&head).is_ok_and(|status| status.is_complete()) {
                    continue;
                }
                let lines = parsed.headers.iter().map(|it| (it.name.as_bytes(), it.value));
                let spots = Spots::within(&head, lines).unwrap();
                let lines = FieldLines::of_head(head.clone(), spots);
                assert_eq!(lines.map(0).len(), lines.iter().count(), "{line:?}");
                taken += 1;
            }
        }
        assert!(taken > 200 * LONG, "the parser takes most of them: {taken}");
    }

    #[test]
    fn a_name_that_no_map_has_is_refused() {
        let head = Bytes::from("a".repeat(LONGEST_NAME + 1));
        let spots =
            |length: usize| Spots::within(&head, [(&head[..length], &head[..1])].into_iter());
        assert!(spots(LONGEST_NAME + 1).is_none());
        let longest = spots(LONGEST_NAME).unwrap();
        assert_eq!(FieldLines::of_head(head.clone(), longest).map(0).len(), 1);
    }
}
