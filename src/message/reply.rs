//! A response as it came from its origin: with lines for fields, until somebody needs a map of them.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName};
use http::{Extensions, Response, StatusCode, Version};

use crate::message::fields::{Named, Removable};
use crate::message::lines::FieldLines;

/// A response of an origin. What is not kept is judged by its lines, and sent on as lines.
#[derive(Debug)]
pub struct Reply<B> {
    pub status: StatusCode,
    pub version: Version,
    pub fields: Fields,
    /// What libraries say of it besides, the reason phrase for one.
    pub extensions: Extensions,
    pub body: B,
}

/// The fields of a response: lines of its head, or a map. What a library has read comes as a map.
#[derive(Clone, Debug)]
pub struct Fields(Form);

#[derive(Clone, Debug)]
enum Form {
    Lines(FieldLines<Bytes>),
    Map(HeaderMap),
}

impl Fields {
    /// The lines, where no map was made of them yet.
    pub fn lines(&self) -> Option<&FieldLines<Bytes>> {
        match &self.0 {
            Form::Lines(lines) => Some(lines),
            Form::Map(_) => None,
        }
    }

    /// The same as a map, which is made the first time.
    pub fn map(&mut self) -> &mut HeaderMap {
        if let Form::Lines(lines) = &self.0 {
            self.0 = Form::Map(lines.map(OURS));
        }
        match &mut self.0 {
            Form::Map(map) => map,
            Form::Lines(_) => unreachable!("they are a map"),
        }
    }

    /// The same as a map, for good.
    pub fn into_map(mut self) -> HeaderMap {
        std::mem::take(self.map())
    }
}

/// How many fields a response gets from us on its way to a client: its map has room for them from the beginning, which saves
/// making it anew.
const OURS: usize = 5;

impl Default for Fields {
    fn default() -> Self {
        HeaderMap::new().into()
    }
}

impl From<HeaderMap> for Fields {
    fn from(map: HeaderMap) -> Self {
        Self(Form::Map(map))
    }
}

impl From<FieldLines<Bytes>> for Fields {
    fn from(lines: FieldLines<Bytes>) -> Self {
        Self(Form::Lines(lines))
    }
}

impl Named for Fields {
    fn named(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        let (mut lines, mut map) = match &self.0 {
            Form::Lines(lines) => (Some(lines.named(name)), None),
            Form::Map(map) => (None, Some(map.named(name))),
        };
        std::iter::from_fn(move || match (&mut lines, &mut map) {
            (Some(lines), _) => lines.next(),
            (None, Some(map)) => map.next(),
            (None, None) => None,
        })
    }

    fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        match &self.0 {
            Form::Lines(lines) => lines.first(name),
            Form::Map(map) => map.first(name),
        }
    }

    fn has(&self, name: &HeaderName) -> bool {
        match &self.0 {
            Form::Lines(lines) => lines.has(name),
            Form::Map(map) => map.has(name),
        }
    }
}

impl Removable for Fields {
    fn remove_each(&mut self, is_one: impl Fn(&[u8]) -> bool) {
        match &mut self.0 {
            Form::Lines(lines) => lines.remove_each(is_one),
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
    use crate::message::lines::lines;

    #[test]
    fn lines_and_their_map_say_the_same() {
        let mut fields = Fields::from(lines("Vary: a\r\nX-A: 1\r\nvary: b\r\nLast: 2\r\n"));
        for are_lines in [true, false] {
            assert_eq!(fields.lines().is_some(), are_lines);
            assert!(fields.named(&VARY).eq([&b"a"[..], b"b"]));
            assert_eq!(
                (fields.first(&VARY), fields.has(&CONTENT_LENGTH)),
                (Some(&b"a"[..]), false)
            );
            assert_eq!(fields.map().get("last"), Some(&HeaderValue::from_static("2")));
        }
    }

    #[test]
    fn what_is_of_one_hop_goes_out_of_lines_as_out_of_maps() {
        let text = "Connection: X-Own, close\r\nA: 1\r\nx-own: 2\r\nKEEP-Alive: 3\r\nTE: 4\r\nTransfer-Encoding: 5\r\n\
            upgrade: 6\r\nProxy-Connection: 7\r\nx-own-not: 8\r\n";
        for mut fields in [Fields::from(lines(text)), lines(text).map(0).into()] {
            remove_hop_by_hop(&mut fields);
            assert!(!fields.has(&CONNECTION));
            let map = fields.into_map();
            let mut left: Vec<_> = map.keys().map(HeaderName::as_str).collect();
            left.sort_unstable();
            assert_eq!(left, ["a", "x-own-not"]);
        }
    }
}
