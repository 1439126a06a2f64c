//! The first field lines of a response, ready to be sent, beside the map of its other fields.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::Body;
use http_body_util::Full;

use crate::message::pieces;

/// Lines that stand before the fields of a response, each a name, `: `, a value and CR LF. `Date` is among them, no length, and nothing
/// that each answer says for itself.
///
/// The response's body has them ([`Led`]): who writes its head as bytes copies them, and whoever needs its fields as a map
/// folds them into it. To make a map of the stored fields took 5,600 of the 57,800 instructions of a hit in Redis, besides what it took
/// to print it and to drop it.
#[derive(Clone, Debug)]
pub struct Lead(Vec<u8>);

/// Room for what each answer says for itself: the lines grow but rarely.
const OURS: usize = 192;

impl Lead {
    /// These lines, one part behind the other.
    pub fn of(parts: [&[u8]; 2]) -> Self {
        let mut lines = Self::with_room_for(parts[0].len() + parts[1].len());
        for part in parts {
            lines.0.extend_from_slice(part);
        }
        lines
    }

    /// No lines yet, with room for so many bytes of them.
    pub fn with_room_for(length: usize) -> Self {
        Self(Vec::with_capacity(length + OURS))
    }

    /// Has `write` add lines as they are sent.
    pub fn extend(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.0);
    }

    /// Adds a line.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        for part in [name, b": ", value, b"\r\n"] {
            self.0.extend_from_slice(part);
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Puts the lines before the fields that are there.
    pub fn fold_into(self, fields: &mut HeaderMap) {
        let behind = std::mem::take(fields);
        *fields = pieces::fields_of(&self.0.into(), behind.len());
        let mut named = None;
        for (name, value) in behind {
            named = name.or(named);
            if let Some(name) = &named {
                fields.append(name, value);
            }
        }
    }
}

/// A response, and the lines that go before its fields.
#[derive(Debug)]
pub struct Prefaced<B> {
    response: Response<B>,
    lead: Option<Lead>,
}

impl<B> Prefaced<B> {
    pub fn new(response: Response<B>, lead: Option<Lead>) -> Self {
        Self { response, lead }
    }

    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub fn body(&self) -> &B {
        self.response.body()
    }

    /// Says what each answer says for itself: nothing else is said under this name.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        match &mut self.lead {
            Some(lead) => lead.push(name.as_str().as_bytes(), value.as_bytes()),
            None => drop(self.response.headers_mut().insert(name, value)),
        }
    }

    /// Says one thing more under a name.
    pub fn add(&mut self, name: HeaderName, value: HeaderValue) {
        match &mut self.lead {
            Some(lead) => lead.push(name.as_str().as_bytes(), value.as_bytes()),
            None => drop(self.response.headers_mut().append(name, value)),
        }
    }

    /// The response, all of whose fields are in its map.
    pub fn folded(&mut self) -> &mut Response<B> {
        if let Some(lead) = self.lead.take() {
            lead.fold_into(self.response.headers_mut());
        }
        &mut self.response
    }

    pub fn into_parts(self) -> (Response<B>, Option<Lead>) {
        (self.response, self.lead)
    }
}

impl<B> From<Response<B>> for Prefaced<B> {
    fn from(response: Response<B>) -> Self {
        Self::new(response, None)
    }
}

/// The body of a response, and the lines that go before the response's fields.
pub trait Led: Body<Data = Bytes> {
    /// The lines, once. Most say all by their fields.
    fn take_lead(&mut self) -> Option<Lead> {
        None
    }
}

impl Led for Full<Bytes> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_folded_stands_before_what_was_there_and_keeps_its_lines() {
        let mut fields = HeaderMap::new();
        for (name, value) in [("age", "1"), ("via", "b"), ("via", "c")] {
            fields.append(name, value.parse().unwrap());
        }
        Lead::of([b"Via: a\r\n", b"date: x\r\n"]).fold_into(&mut fields);
        assert_eq!(fields.get_all("via").iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(
            (&fields["date"], &fields["age"], fields.len()),
            (&"x".parse().unwrap(), &"1".parse().unwrap(), 5)
        );
    }
}
