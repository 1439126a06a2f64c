//! The heads of a plain exchange as bytes: the request's is written, the response's is read.

use std::mem::MaybeUninit;
use std::sync::Arc;

use bytes::BytesMut;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{Extensions, Method, StatusCode, Version};
use httparse::{ParserConfig, Status};
use hyper::ext::ReasonPhrase;

use crate::message::call::Call;
use crate::message::fields::{Named, is_among, members};
use crate::message::lines::{FieldLines, Spots};
use crate::message::reply::Reply;
use crate::origin::failure::OriginFailure;
use crate::origin::framing::{Chunked, Framing};

/// The longest response head, in bytes.
pub(crate) const LONGEST: usize = 128 * 1024;

/// The most field lines of a response head.
pub(crate) const FIELDS: usize = 256;

/// Whether a request is one that its head says all of, and that asks nothing of the connection.
pub(crate) fn is_plain<B>(call: &Call<B>) -> bool {
    const OTHERS: [&str; 5] =
        ["connection", "content-length", "expect", "transfer-encoding", "upgrade"];
    matches!(call.method, Method::GET | Method::HEAD)
        && !call.fields.iter().any(|(name, _)| is_among(name, &OTHERS))
}

/// Writes the head of a request; `host` is what `Host` says where the request does not.
pub(crate) fn write<B>(to: &mut Vec<u8>, call: &Call<B>, host: &[u8]) {
    let path = call.uri.path_and_query().map_or("/", |path| path.as_str());
    for part in [call.method.as_str(), " ", path, " HTTP/1.1\r\n"] {
        to.extend_from_slice(part.as_bytes());
    }
    call.fields.write_but(|_| false, to);
    if !call.fields.has(&HOST) {
        for part in [b"host: ", host, b"\r\n"] {
            to.extend_from_slice(part);
        }
    }
    to.extend_from_slice(b"\r\n");
}

/// Takes the head of a response from what came; nothing where it is not whole yet.
pub(crate) fn read(came: &mut BytesMut) -> Result<Option<Reply<()>>, OriginFailure> {
    let mut room = [const { MaybeUninit::uninit() }; FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let bytes = &came[..];
    let status = ParserConfig::default()
        .parse_response_with_uninit_headers(&mut parsed, bytes, &mut room)
        .map_err(|error| protocol(&error.to_string()))?;
    let Status::Complete(length) = status else {
        return if came.len() < LONGEST { Ok(None) } else { Err(protocol("the head is too long")) };
    };
    let lines = parsed.headers.iter().map(|line| (line.name.as_bytes(), line.value));
    let spots =
        Spots::within(bytes, lines).ok_or_else(|| protocol("a field's name is too long"))?;
    let status = StatusCode::from_u16(parsed.code.unwrap_or_default())
        .map_err(|error| protocol(&error.to_string()))?;
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut extensions = Extensions::new();
    let reason = parsed.reason.filter(|reason| Some(*reason) != status.canonical_reason());
    let reason = reason.and_then(|reason| ReasonPhrase::try_from(reason.as_bytes()).ok());
    if let Some(reason) = reason {
        extensions.insert(reason);
    }
    let fields = FieldLines::of_head(came.split_to(length).freeze(), spots).into();
    Ok(Some(Reply { status, version, fields, extensions, body: () }))
}

/// How the body of the response to a request by `method` ends. Its fields state one length at most.
pub(crate) fn framing<B>(method: &Method, reply: &Reply<B>) -> Result<Framing, OriginFailure> {
    let fields = &reply.fields;
    if *method == Method::HEAD || matches!(reply.status.as_u16(), 204 | 304) {
        return Ok(Framing::Done);
    }
    if let Some(coding) = fields.first(&TRANSFER_ENCODING) {
        // RFC 9112 §6.1: "A server [...] MUST NOT send a response containing Transfer-Encoding unless the corresponding
        // request indicates HTTP/1.1", and one that says 1.0 itself does not know what it says.
        if reply.version == Version::HTTP_10 {
            return Err(protocol("a transfer coding in HTTP/1.0"));
        }
        let is_chunked = coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
        return Ok(if is_chunked { Framing::Chunked(Chunked::Size) } else { Framing::UntilEnd });
    }
    let Some(length) = fields.first(&CONTENT_LENGTH) else { return Ok(Framing::UntilEnd) };
    let length = str::from_utf8(length).ok().and_then(|length| length.parse().ok());
    length.map(Framing::of_length).ok_or_else(|| protocol("the length is too large"))
}

/// Whether the connection may be used again when the response is through (RFC 9112 §9.3).
pub(crate) fn goes_on<B>(reply: &Reply<B>) -> bool {
    let mut says = (false, false);
    for option in members(&reply.fields, &CONNECTION) {
        says.0 |= option.eq_ignore_ascii_case(b"close");
        says.1 |= option.eq_ignore_ascii_case(b"keep-alive");
    }
    let (close, keep_alive) = says;
    !close && (keep_alive || reply.version == Version::HTTP_11)
}

fn protocol(why: &str) -> OriginFailure {
    OriginFailure::Protocol(Arc::from(why))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn read_all(bytes: &[u8]) -> (Reply<()>, Vec<u8>) {
        let mut came = BytesMut::from(bytes);
        let reply = read(&mut came).unwrap().expect("the head is whole");
        (reply, came.to_vec())
    }

    #[test]
    fn a_request_is_written_as_it_is_with_a_host() {
        let written = |request: Request<()>| {
            let mut text = Vec::new();
            write(&mut text, &request.into(), b"origin:81");
            String::from_utf8(text).unwrap()
        };
        let request = Request::get("/a?b").header("host", "shop").header("x", "1").header("x", "2");
        let expected = "GET /a?b HTTP/1.1\r\nhost: shop\r\nx: 1\r\nx: 2\r\n\r\n";
        assert_eq!(written(request.body(()).unwrap()), expected);
        let request = Request::head("http://shop").header("x", "").body(()).unwrap();
        assert_eq!(written(request), "HEAD / HTTP/1.1\r\nx: \r\nhost: origin:81\r\n\r\n");
    }

    #[test]
    fn only_what_its_head_says_all_of_is_plain() {
        let is = |method: &str, field: &str| {
            let request = Request::builder().method(method).uri("/").header(field, "1");
            is_plain(&Call::from(request.body(()).unwrap()))
        };
        assert!(is("GET", "host") && is("HEAD", "te"));
        for (method, field) in [
            ("POST", "host"),
            ("DELETE", "host"),
            ("GET", "upgrade"),
            ("GET", "connection"),
            ("GET", "content-length"),
            ("HEAD", "transfer-encoding"),
            ("GET", "expect"),
        ] {
            assert!(!is(method, field), "{method} {field}");
        }
    }

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let head = b"HTTP/1.1 200 Fine\r\nA: 1\r\nb:2 \r\na: \xff\r\n\r\n";
        for length in 0..head.len() {
            let mut came = BytesMut::from(&head[..length]);
            assert!(read(&mut came).unwrap().is_none(), "{length}");
            assert_eq!(came.len(), length);
        }
        let (reply, left) = read_all(&[head.as_slice(), b"body"].concat());
        assert_eq!(left, b"body");
        assert_eq!((reply.status.as_u16(), reply.version), (200, Version::HTTP_11));
        let lines: Vec<(&[u8], &[u8])> = reply.fields.lines().unwrap().iter().collect();
        assert_eq!(lines, [(&b"A"[..], &b"1"[..]), (b"b", b"2"), (b"a", b"\xff")]);
        assert_eq!(reply.extensions.get::<ReasonPhrase>().unwrap().as_bytes(), b"Fine");
        let (reply, _) = read_all(b"HTTP/1.0 404 Not Found\r\n\r\n");
        assert_eq!(reply.version, Version::HTTP_10);
        assert!(reply.extensions.is_empty());
    }

    #[test]
    fn a_body_ends_as_its_head_says() {
        let end = |method: Method, head: &str| {
            framing(&method, &read_all(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes()).0)
        };
        let get = |head| end(Method::GET, head).unwrap();
        assert_eq!(get("200 OK\r\ncontent-length: 7"), Framing::Length(7));
        assert_eq!(get("200 OK\r\ncontent-length: 0"), Framing::Done);
        assert_eq!(get("200 OK\r\ntransfer-encoding: Chunked"), Framing::Chunked(Chunked::Size));
        assert_eq!(get("200 OK\r\ntransfer-encoding: foo"), Framing::UntilEnd);
        assert_eq!(get("200 OK"), Framing::UntilEnd);
        assert_eq!(get("204 No Content\r\ncontent-length: 7"), Framing::Done);
        assert_eq!(get("304 Not Modified\r\ncontent-length: 7"), Framing::Done);
        assert_eq!(end(Method::HEAD, "200 OK\r\ncontent-length: 7"), Ok(Framing::Done));
        assert!(end(Method::GET, "200 OK\r\ncontent-length: 99999999999999999999").is_err());
        let (old, _) = read_all(b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        assert!(framing(&Method::GET, &old).is_err());
    }

    #[test]
    fn a_connection_goes_on_unless_a_word_or_the_version_says_otherwise() {
        for (head, expected) in [
            ("HTTP/1.1 200 OK", true),
            ("HTTP/1.1 200 OK\r\nconnection: x, Close", false),
            ("HTTP/1.1 200 OK\r\nconnection: close\r\nconnection: keep-alive", false),
            ("HTTP/1.0 200 OK", false),
            ("HTTP/1.0 200 OK\r\nconnection: Keep-Alive", true),
        ] {
            let (reply, _) = read_all(format!("{head}\r\n\r\n").as_bytes());
            assert_eq!(goes_on(&reply), expected, "{head}");
        }
    }
}
