//! Requests that the lane takes, read from their bytes.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::Request;
use http::uri::PathAndQuery;
use httparse::{Header, Status};

use crate::message::fields::PERSONAL;
use crate::message::pieces;
use crate::message::plain::{Bears, Lines, Plain};
use crate::server::framing::Framing;
use crate::server::limits::Limits;
use crate::server::upload::Upload;

/// Heads with more fields are the parser's.
const FIELDS: usize = 32;

/// Room for the fields of a head. It is not written before they are: that would cost each hit a kilobyte of zeros.
pub(crate) type Room<'a> = [MaybeUninit<Header<'a>>; FIELDS];

pub(crate) const fn room<'a>() -> Room<'a> {
    [const { MaybeUninit::uninit() }; FIELDS]
}

/// A request that the lane takes: a GET of HTTP/1.1 whose head says all of it, and nothing of the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Simple<'r, 'a> {
    pub(crate) plain: Plain<'a>,
    pub(crate) fields: Fields<'r, 'a>,
    pub(crate) wants: Wants,
    pub(crate) head: &'a [u8],
}

/// What a request of the lane wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// The resource as it is: it is plain.
    Resource,
    /// Only what is new, a part, or an answer of a certain age: all that the service decides.
    More,
}

/// The field lines of a request, in their order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'r, 'a>(pub(crate) &'r [Header<'a>]);

impl Lines for Fields<'_, '_> {
    fn each(&self, name: &str, take: &mut dyn FnMut(&[u8])) {
        self.0
            .iter()
            .filter(|line| line.name.eq_ignore_ascii_case(name))
            .for_each(|line| take(line.value));
    }
}

impl<'r, 'a> Simple<'r, 'a> {
    /// The request at the beginning of `bytes`, if it is one for the lane and all of its head is there.
    pub(crate) fn read(bytes: &'a [u8], room: &'r mut Room<'a>, limits: &Limits) -> Option<Self> {
        let mut request = httparse::Request::new(&mut []);
        let Ok(Status::Complete(length)) = request.parse_with_uninit_headers(bytes, room) else {
            return None;
        };
        let (Some("GET"), Some(target), Some(1)) = (request.method, request.path, request.version)
        else {
            return None;
        };
        let (head, fields) = (&bytes[..length], &*request.headers);
        let within = length <= limits.header_bytes
            && target.len() <= limits.target_bytes
            && fields.len() <= limits.header_fields;
        // The parser forgives lines without CR; they are the framing's to refuse.
        if !within || !target.starts_with('/') || Framing::default().pass(head).is_some() {
            return None;
        }
        let (mut host, mut request_id, mut bears) = (None, None, Bears::Nothing);
        let (mut wants, mut is_forwarded) = (Wants::Resource, false);
        for field in fields {
            match sort(field) {
                Sort::Host if host.is_none() => host = str::from_utf8(field.value).ok(),
                Sort::RequestId => request_id = request_id.or(Some(field.value)),
                Sort::Personal => bears = Bears::Identity,
                Sort::Asking => wants = Wants::More,
                Sort::Forwarded => is_forwarded = true,
                Sort::Idle => {}
                Sort::Host | Sort::Framing => return None,
            }
        }
        let request_id = request_id.unwrap_or_default();
        let plain = Plain { host: host?, target, request_id, bears, is_forwarded };
        Some(Self { plain, fields: Fields(fields), wants, head })
    }

    /// The same as the service takes it: what hyper would make of it.
    pub(crate) fn request(&self) -> Option<Request<Upload>> {
        let at = |part: &[u8]| pieces::place(self.head, part);
        let Fields(lines) = self.fields;
        let lines = lines.iter().map(|line| (at(line.name.as_bytes()), at(line.value)));
        let target = at(self.plain.target.as_bytes());
        let head = Bytes::copy_from_slice(self.head);
        let mut request = Request::new(Upload::none());
        *request.uri_mut() = PathAndQuery::from_maybe_shared(head.slice(target)).ok()?.into();
        *request.headers_mut() = pieces::fields(&head, lines, 0)?;
        Some(request)
    }
}

/// What a field means for a request that memory may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Host,
    RequestId,
    /// It asks for something else than the resource as it is.
    Asking,
    /// A proxy that is trusted says by it which scheme it was asked by: another key.
    Forwarded,
    /// It says something about the message or the connection.
    Framing,
    /// It says who asks.
    Personal,
    /// It says nothing that a stored response which did not vary would heed.
    Idle,
}

/// What [`PERSONAL`] names, told by lengths first.
fn is_personal(name: &str) -> bool {
    matches!(name.len(), 6 | 9 | 12..=14 | 19)
        && PERSONAL.iter().any(|known| known.as_str().eq_ignore_ascii_case(name))
}

fn sort(field: &Header<'_>) -> Sort {
    let is = |name: &str| field.name.eq_ignore_ascii_case(name);
    let found = match field.name.len() {
        2 => is("te").then_some(Sort::Framing),
        4 if is("host") => Some(Sort::Host),
        5 => is("range").then_some(Sort::Asking),
        6 if is("expect") => Some(Sort::Framing),
        6 => is("pragma").then_some(Sort::Asking),
        7 => (is("upgrade") || is("trailer")).then_some(Sort::Framing),
        8 => (is("if-match") || is("if-range")).then_some(Sort::Asking),
        9 => is("forwarded").then_some(Sort::Forwarded),
        // It names fields that go no further than us; which ones is the service's to see.
        10 if is("connection") => {
            (!field.value.eq_ignore_ascii_case(b"keep-alive")).then_some(Sort::Framing)
        }
        12 if is("x-request-id") => Some(Sort::RequestId),
        13 => (is("cache-control") || is("if-none-match")).then_some(Sort::Asking),
        14 => is("content-length").then_some(Sort::Framing),
        16 => is("proxy-connection").then_some(Sort::Framing),
        17 if is("transfer-encoding") => Some(Sort::Framing),
        17 if is("x-forwarded-proto") => Some(Sort::Forwarded),
        17 => is("if-modified-since").then_some(Sort::Asking),
        19 => is("if-unmodified-since").then_some(Sort::Asking),
        _ => None,
    };
    found.unwrap_or_else(|| if is_personal(field.name) { Sort::Personal } else { Sort::Idle })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(head: &str) -> Option<String> {
        let mut room = room();
        let read = Simple::read(head.as_bytes(), &mut room, &Limits::default())?;
        let Simple { plain, wants, head, .. } = read;
        let length = head.len();
        let more = if wants == Wants::More { " and more" } else { "" };
        let by = if plain.is_forwarded { " by a proxy" } else { "" };
        Some(format!("{} {} {length}{more}{by}", plain.host, plain.target))
    }

    #[test]
    fn a_get_of_a_resource_as_it_is_is_plain_whatever_else_it_says() {
        let heads = [
            ("GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n", "h /a?b 30"),
            (
                "GET / HTTP/1.1\r\nhost: h\r\nConnection: Keep-Alive\r\nCookie: a\r\n\r\nGET",
                "h / 62",
            ),
            ("GET / HTTP/1.1\r\nAccept: */*\r\nHOST: h:1\r\n\r\n", "h:1 / 42"),
            ("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: a\r\n\r\n", "h / 49 by a proxy"),
            ("GET / HTTP/1.1\r\nHost: h\r\nforwarded: proto=a\r\n\r\n", "h / 47 by a proxy"),
            ("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: a\r\n\r\n", "h / 47"),
        ];
        for (head, plain) in heads {
            assert_eq!(target(head).as_deref(), Some(plain), "{head:?}");
        }
    }

    #[test]
    fn the_service_gets_every_line_as_it_came() {
        let head =
            b"GET /a?b HTTP/1.1\r\nHost: h\r\nX-Empty:\r\nX-A: 1\r\nX-Blank: \r\nx-a:2\r\n\r\n";
        let mut room = room();
        let found = Simple::read(head, &mut room, &Limits::default()).expect("it is simple");
        let request = found.request().expect("it is a request");
        assert_eq!(
            (request.method(), request.uri().to_string()),
            (&http::Method::GET, "/a?b".into())
        );
        let lines = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let expected: [(&str, &[u8]); 5] =
            [("host", b"h"), ("x-empty", b""), ("x-a", b"1"), ("x-a", b"2"), ("x-blank", b"")];
        assert_eq!(lines.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_asks_for_more_is_the_services() {
        for field in [
            "Range: bytes=0-1",
            "Pragma: no-cache",
            "If-Match: \"a\"",
            "If-Range: \"a\"",
            "Cache-Control: no-cache",
            "If-None-Match: \"a\"",
            "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
            "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n");
            let expected = format!("h / {} and more", head.len());
            assert_eq!(target(&head), Some(expected), "{field}");
        }
    }

    #[test]
    fn what_is_about_the_connection_or_in_doubt_is_left_to_the_parser() {
        for field in [
            "TE: trailers",
            "Expect: 100-continue",
            "Upgrade: websocket",
            "Trailer: a",
            "Connection: close",
            "Connection: cookie",
            "Content-Length: 0",
            "Proxy-Connection: keep-alive",
            "Transfer-Encoding: chunked",
            "Host: other",
        ] {
            assert_eq!(
                target(&format!("GET / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n")),
                None,
                "{field}"
            );
        }
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: h\r\n\r\n",
            "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: \u{e4}\r\nHost: h\r\n\r\n",
        ] {
            assert_eq!(target(head), None, "{head:?}");
        }
    }

    #[test]
    fn limits_hold_in_the_lane_too() {
        let head = b"GET /abc HTTP/1.1\r\nHost: h\r\nAccept: a\r\n\r\n";
        for limits in [
            Limits { header_bytes: head.len() - 1, ..Limits::default() },
            Limits { header_fields: 1, ..Limits::default() },
            Limits { target_bytes: 3, ..Limits::default() },
        ] {
            assert!(Simple::read(head, &mut room(), &limits).is_none(), "{limits:?}");
        }
        assert!(Simple::read(head, &mut room(), &Limits::default()).is_some());
    }
}
