//! The first field lines of a response, ready to be sent, beside the map of its other fields.

use bytes::Bytes;
use http::header::{DATE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::Body;
use http_body_util::Full;

use crate::message::fields::{Named, is_among};
use crate::message::lines::FieldLines;
use crate::message::pieces;

/// Lines that stand before the fields of a response, each a name, `: `, a value and CR LF.
///
/// There is a `Date` among them, no length, and nothing yet that is [set](Prefaced::set) later. The response's body has them
/// ([`Led`]): who writes its head as bytes copies them, and whoever needs its fields as a map folds them into it.
#[derive(Clone, Debug)]
pub struct Lead(Vec<u8>);

/// Room for what each answer says for itself: the lines grow but rarely.
const OURS: usize = 192;

impl Lead {
    /// Stored lines, one part behind the other.
    pub fn of_parts(parts: [&[u8]; 2]) -> Self {
        let mut lead = Self(Vec::with_capacity(parts[0].len() + parts[1].len() + OURS));
        for part in parts {
            lead.0.extend_from_slice(part);
        }
        lead
    }

    /// Stored names and values.
    pub fn of_lines<'a>(lines: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut lead = Self(Vec::with_capacity(512));
        for (name, value) in lines {
            lead.push(name, value);
        }
        lead
    }

    /// The lines of a response as it came, and its date, which is `now` where it has none: RFC 9110 §6.6.1 has whoever forwards
    /// such a response append it.
    pub fn of_reply(lines: &FieldLines<Bytes>, now: impl FnOnce() -> HeaderValue) -> Self {
        let mut lead = Self(Vec::with_capacity(lines.extent() + OURS));
        let is_left = |name: &[u8]| is_among(name, &["content-length", "x-cache", "x-cache-layer"]);
        lines.write_but(is_left, &mut lead.0);
        if !lines.has(&DATE) {
            lead.push(DATE.as_str().as_bytes(), now().as_bytes());
        }
        lead
    }

    fn push(&mut self, name: &[u8], value: &[u8]) {
        for part in [name, b": ", value, b"\r\n"] {
            self.0.extend_from_slice(part);
        }
    }

    /// The lines as they are sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn has(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        pieces::spans(&self.0).any(|span| span.name(&self.0).eq_ignore_ascii_case(name))
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
    /// A response with these lines before its fields.
    pub fn new(response: Response<B>, lead: Option<Lead>) -> Self {
        Self { response, lead }
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Its body.
    pub fn body(&self) -> &B {
        self.response.body()
    }

    /// Says this and nothing else under a name. In a lead there is no such line yet: to look for one would cost as much as to
    /// write it.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        match &mut self.lead {
            Some(lead) => {
                debug_assert!(!lead.has(&name), "{name} is said already");
                lead.push(name.as_str().as_bytes(), value.as_bytes());
            }
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

    /// The response, and the lines that go before its fields.
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
    use crate::message::lines::lines;

    #[test]
    fn what_is_folded_stands_before_what_was_there_and_keeps_its_lines() {
        let mut fields = HeaderMap::new();
        for (name, value) in [("age", "1"), ("via", "b"), ("via", "c")] {
            fields.append(name, value.parse().unwrap());
        }
        Lead::of_parts([b"Via: a\r\n", b"date: x\r\n"]).fold_into(&mut fields);
        assert_eq!(fields.get_all("via").iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(
            (&fields["date"], &fields["age"], fields.len()),
            (&"x".parse().unwrap(), &"1".parse().unwrap(), 5)
        );
    }

    #[test]
    fn what_came_is_said_with_a_date_and_without_what_is_said_anew() {
        let now = || HeaderValue::from_static("now");
        let said = |text| {
            let lead = Lead::of_reply(&lines(text), now);
            String::from_utf8(lead.as_bytes().to_vec()).unwrap()
        };
        let expected = "Age: 1\r\nVary: a\r\nvary: b\r\ndate: now\r\n";
        let text = "X-Cache: HIT\r\nAge: 1\r\nVary: a\r\nContent-LENGTH: 7\r\nvary: b\r\nx-cache-Layer: L9\r\n";
        assert_eq!(said(text), expected);
        assert_eq!(said("DATE: then\r\nA: b\r\n"), "DATE: then\r\nA: b\r\n");
    }

    #[test]
    fn what_is_said_is_said_in_the_lead_or_in_the_map() {
        for lead in [None, Some(Lead::of_parts([b"date: x\r\n", b"via: a\r\n"]))] {
            let mut response = Prefaced::new(Response::new(()), lead);
            response.set(HeaderName::from_static("x-cache"), HeaderValue::from_static("HIT"));
            response.add(http::header::VIA, HeaderValue::from_static("b"));
            let fields = response.folded().headers();
            assert_eq!(fields["x-cache"], "HIT");
            assert_eq!(fields.get_all("via").iter().next_back().unwrap(), "b");
            assert!(response.into_parts().1.is_none());
        }
    }
}
