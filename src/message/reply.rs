//! A response as it came from its origin: its fields are lines until somebody needs a map of them.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName};
use http::{Extensions, Response, StatusCode, Version};

use crate::message::fields::{Named, Removable};
use crate::message::pieces::{self, Line};

/// A response of an origin.
///
/// What is not kept is judged by its lines and sent on as lines: to make a map of them took 5,000 of the 45,000 instructions of
/// such a miss, and as many again to ask it, to print it and to drop it.
#[derive(Debug)]
pub struct Reply<B> {
    pub status: StatusCode,
    pub version: Version,
    pub fields: Fields,
    /// What libraries say of it besides, the reason phrase for one.
    pub extensions: Extensions,
    pub body: B,
}

/// The fields of a response: lines in the bytes of their head, or a map.
#[derive(Clone, Debug)]
pub struct Fields(Form);

#[derive(Clone, Debug)]
enum Form {
    Lines { head: Bytes, places: Vec<Line> },
    Map(HeaderMap),
}

/// A name is no longer than HTTP libraries have it.
const LONGEST_NAME: usize = u16::MAX as usize;

impl Fields {
    /// The lines of a head that a parser has taken apart; nothing where a name is longer than a map has them.
    pub fn of_lines(head: Bytes, places: Vec<Line>) -> Option<Self> {
        let fit = places.iter().all(|(name, _)| name.len() < LONGEST_NAME);
        fit.then_some(Self(Form::Lines { head, places }))
    }

    /// The names, in any case, and the values of all lines. Of one name in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let (mut lines, mut map) = match &self.0 {
            Form::Lines { head, places } => (Some((head, places.iter())), None),
            Form::Map(map) => (None, Some(map.iter())),
        };
        std::iter::from_fn(move || match (&mut lines, &mut map) {
            (Some((head, places)), _) => {
                let (name, value) = places.next()?;
                Some((&head[name.clone()], &head[value.clone()]))
            }
            (None, Some(map)) => {
                let (name, value) = map.next()?;
                Some((name.as_str().as_bytes(), value.as_bytes()))
            }
            (None, None) => None,
        })
    }

    /// Whether no map was made of them yet.
    pub fn are_lines(&self) -> bool {
        matches!(self.0, Form::Lines { .. })
    }

    /// The same as a map, which is made the first time.
    pub fn map(&mut self) -> &mut HeaderMap {
        if let Form::Lines { head, places } = &self.0 {
            let map = pieces::fields(head, places, OURS);
            self.0 = Form::Map(map.expect("what a parser takes for names and values is that"));
        }
        match &mut self.0 {
            Form::Map(map) => map,
            Form::Lines { .. } => unreachable!("they are a map"),
        }
    }

    pub fn into_map(mut self) -> HeaderMap {
        std::mem::take(self.map())
    }
}

/// How many fields a response gets from us on its way to a client: its map has room for them from the beginning, which saves
/// making it anew.
const OURS: usize = 5;

impl Default for Fields {
    fn default() -> Self {
        Self(Form::Map(HeaderMap::new()))
    }
}

impl From<HeaderMap> for Fields {
    fn from(map: HeaderMap) -> Self {
        Self(Form::Map(map))
    }
}

impl Named for Fields {
    fn named(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        let (mut lines, mut map) = match &self.0 {
            Form::Lines { .. } => (Some((self.iter(), name.as_str().as_bytes())), None),
            Form::Map(map) => (None, Some(map.named(name))),
        };
        std::iter::from_fn(move || match (&mut lines, &mut map) {
            (Some((lines, name)), _) => {
                Some(lines.find(|line| line.0.eq_ignore_ascii_case(name))?.1)
            }
            (None, Some(map)) => map.next(),
            (None, None) => None,
        })
    }
}

impl Removable for Fields {
    fn remove_each(&mut self, is_one: impl Fn(&[u8]) -> bool) {
        match &mut self.0 {
            Form::Lines { head, places } => places.retain(|(name, _)| !is_one(&head[name.clone()])),
            Form::Map(map) => map.remove_each(is_one),
        }
    }
}

impl<B> Reply<B> {
    /// The same with what `make` makes of its body.
    pub fn map<C>(self, make: impl FnOnce(B) -> C) -> Reply<C> {
        let Self { status, version, fields, extensions, body } = self;
        Reply { status, version, fields, extensions, body: make(body) }
    }

    /// The same as libraries know it, with a map of its fields.
    pub fn into_response(self) -> Response<B> {
        let Self { status, version, fields, extensions, body } = self;
        let mut response = Response::new(body);
        (*response.status_mut(), *response.version_mut()) = (status, version);
        (*response.headers_mut(), *response.extensions_mut()) = (fields.into_map(), extensions);
        response
    }
}

impl<B> From<Response<B>> for Reply<B> {
    fn from(response: Response<B>) -> Self {
        let (parts, body) = response.into_parts();
        let (status, version) = (parts.status, parts.version);
        Self { status, version, fields: parts.headers.into(), extensions: parts.extensions, body }
    }
}

#[cfg(test)]
mod tests {
    use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, VARY};

    use super::*;
    use crate::message::fields::remove_hop_by_hop;

    fn lines(text: &'static str) -> Fields {
        let head = Bytes::from_static(text.as_bytes());
        let places = text.split_inclusive("\r\n").map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            let at = |part: &str| pieces::place(&head, part.as_bytes());
            (at(name), at(value.trim_end()))
        });
        let places = places.collect();
        Fields::of_lines(head, places).unwrap()
    }

    #[test]
    fn lines_and_their_map_say_the_same() {
        let mut fields = lines("Vary: a\r\nX-A: 1\r\nvary: b\r\nEmpty: \r\n");
        for are_lines in [true, false] {
            assert_eq!(fields.are_lines(), are_lines);
            assert!(fields.named(&VARY).eq([&b"a"[..], b"b"]));
            assert_eq!((fields.first(&VARY), fields.has(&CONTENT_LENGTH)), (Some(&b"a"[..]), false));
            assert_eq!(fields.iter().count(), 4);
            assert_eq!(fields.map().get("empty"), Some(&HeaderValue::from_static("")));
        }
    }

    #[test]
    fn what_is_of_one_hop_goes_out_of_lines_as_out_of_maps() {
        let text = "Connection: X-Own, close\r\nA: 1\r\nx-own: 2\r\nKeep-Alive: 3\r\nTE: 4\r\nx-own-not: 5\r\n";
        for mut fields in [lines(text), lines(text).into_map().into()] {
            remove_hop_by_hop(&mut fields);
            let mut left: Vec<_> = fields.iter().map(|(_, value)| value).collect();
            left.sort_unstable();
            assert_eq!(left, [b"1", b"5"]);
            assert!(!fields.has(&CONNECTION));
        }
    }

    /// Lines are made a map without another look at what the parser let pass.
    #[test]
    fn whatever_the_parser_takes_for_a_name_or_a_value_is_one() {
        for byte in 0..=u8::MAX {
            for line in [&[b'a', byte, b'b', b':', b'c'][..], &[b'a', b':', b'b', byte, b'c']] {
                let head = [b"HTTP/1.1 200 OK\r\n", line, b"\r\n\r\n"].concat();
                let head = Bytes::from(head);
                let mut room = [httparse::EMPTY_HEADER; 4];
                let mut parsed = httparse::Response::new(&mut room);
                if !parsed.parse(&head).is_ok_and(|status| status.is_complete()) {
                    continue;
                }
                let at = |part: &[u8]| pieces::place(&head, part);
                let places =
                    parsed.headers.iter().map(|it| (at(it.name.as_bytes()), at(it.value))).collect();
                let fields = Fields::of_lines(head.clone(), places).unwrap();
                assert_eq!(fields.clone().into_map().len(), fields.iter().count(), "{line:?}");
            }
        }
    }

    #[test]
    fn a_name_that_no_map_has_is_refused() {
        let name = "a".repeat(LONGEST_NAME);
        let head = Bytes::from(format!("{name}: b\r\n"));
        let (end, longer) = (LONGEST_NAME, LONGEST_NAME - 1);
        assert!(Fields::of_lines(head.clone(), vec![(0..end, end + 2..end + 3)]).is_none());
        let fields = Fields::of_lines(head, vec![(0..longer, end + 2..end + 3)]).unwrap();
        assert_eq!(fields.into_map().len(), 1);
    }
}
