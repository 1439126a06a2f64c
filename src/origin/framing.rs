//! Where a response body ends, and what of the bytes that came belongs to it (RFC 9112 §6.3 and §7.1).

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use httparse::{EMPTY_HEADER, Status, parse_headers};

/// The longest line of a chunk's length with its extensions, and the longest trailer section, in bytes.
const LONGEST: usize = 16 * 1024;

/// What is mostly behind the last piece: taken with it, since whoever knows that it has the last needs not ask again.
const LAST: &[u8] = b"\r\n0\r\n\r\n";

/// The most trailer fields.
const FIELDS: usize = 256;

/// How a body's end is told, and how much of it is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes.
    Length(u64),
    /// Pieces that each tell their length.
    Chunked(Chunked),
    /// The end of the connection.
    UntilEnd,
    /// It is through.
    Done,
}

/// What comes next of a body in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunked {
    /// The line with a chunk's length.
    Size,
    /// So many bytes of a chunk, more than none.
    Data(u64),
    /// The end of the line after a chunk.
    AfterData,
    Trailers,
}

/// Why what came is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection ended first.
    Cut,
    Size,
    AfterData,
    Trailers,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "the connection ended before the body did",
            Self::Size => "the length of a chunk cannot be read",
            Self::AfterData => "a chunk is longer than it says",
            Self::Trailers => "the trailers cannot be read",
        })
    }
}

impl Framing {
    /// The framing of a body of `length` bytes.
    pub(crate) fn of_length(length: u64) -> Self {
        if length == 0 { Self::Done } else { Self::Length(length) }
    }

    pub(crate) fn is_done(self) -> bool {
        self == Self::Done
    }

    /// Takes from `came` the next frame of the body, if one is there; what is behind the body's end stays.
    pub(crate) fn next(&mut self, came: &mut BytesMut) -> Result<Option<Frame<Bytes>>, Fault> {
        match *self {
            Self::Done => Ok(None),
            Self::UntilEnd => Ok((!came.is_empty()).then(|| Frame::data(came.split().freeze()))),
            Self::Length(left) => {
                let Some((piece, left)) = piece(came, left) else { return Ok(None) };
                *self = Self::of_length(left);
                Ok(Some(Frame::data(piece)))
            }
            Self::Chunked(mut next) => loop {
                match step(next, came)? {
                    Step::More => return Ok(None),
                    Step::Went(to) => next = to,
                    Step::Piece(piece, Chunked::AfterData) if came.starts_with(LAST) => {
                        came.advance(LAST.len());
                        *self = Self::Done;
                        return Ok(Some(Frame::data(piece)));
                    }
                    Step::Piece(piece, to) => {
                        *self = Self::Chunked(to);
                        return Ok(Some(Frame::data(piece)));
                    }
                    Step::End(trailers) => {
                        *self = Self::Done;
                        return Ok(trailers.map(Frame::trailers));
                    }
                }
                *self = Self::Chunked(next);
            },
        }
    }

    /// What the end of the connection means.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        match self {
            Self::Done | Self::UntilEnd => {
                *self = Self::Done;
                Ok(())
            }
            Self::Length(_) | Self::Chunked(_) => Err(Fault::Cut),
        }
    }
}

/// What is there of `left` bytes, and how many are left then.
fn piece(came: &mut BytesMut, left: u64) -> Option<(Bytes, u64)> {
    let there = usize::try_from(left).map_or(came.len(), |left| left.min(came.len()));
    (there > 0).then(|| (came.split_to(there).freeze(), left - there as u64))
}

/// What one look at a body in chunks brought.
enum Step {
    /// Not enough has come.
    More,
    Went(Chunked),
    Piece(Bytes, Chunked),
    End(Option<HeaderMap>),
}

fn step(next: Chunked, came: &mut BytesMut) -> Result<Step, Fault> {
    match next {
        Chunked::Size => {
            let Some(end) = memchr::memchr(b'\n', came) else {
                return if came.len() < LONGEST { Ok(Step::More) } else { Err(Fault::Size) };
            };
            let size = size(&came[..end]).ok_or(Fault::Size)?;
            came.advance(end + 1);
            Ok(Step::Went(if size == 0 { Chunked::Trailers } else { Chunked::Data(size) }))
        }
        Chunked::Data(left) => Ok(match piece(came, left) {
            None => Step::More,
            Some((piece, 0)) => Step::Piece(piece, Chunked::AfterData),
            Some((piece, left)) => Step::Piece(piece, Chunked::Data(left)),
        }),
        Chunked::AfterData => match came.get(..2) {
            Some(b"\r\n") => {
                came.advance(2);
                Ok(Step::Went(Chunked::Size))
            }
            None if came.first().is_none_or(|first| *first == b'\r') => Ok(Step::More),
            Some(_) | None => Err(Fault::AfterData),
        },
        Chunked::Trailers => {
            if came.starts_with(b"\r\n") {
                came.advance(2);
                return Ok(Step::End(None));
            }
            let Some(end) = memchr::memmem::find(came, b"\r\n\r\n") else {
                return if came.len() < LONGEST { Ok(Step::More) } else { Err(Fault::Trailers) };
            };
            let trailers = trailers(&came[..end + 4]).ok_or(Fault::Trailers)?;
            came.advance(end + 4);
            Ok(Step::End(Some(trailers)))
        }
    }
}

/// The length that a line tells, which ends before its line feed. Strict where two readers might differ: hexadecimal
/// digits, then blanks, then extensions, and a carriage return at the end and nowhere else.
fn size(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"\r").filter(|line| !line.contains(&b'\r'))?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    let is_sound = matches!(rest.iter().find(|byte| !b" \t".contains(byte)), None | Some(b';'));
    // What is no number has no digits here, or too many of them.
    let digits = std::str::from_utf8(digits).ok().filter(|_| is_sound)?;
    u64::from_str_radix(digits, 16).ok()
}

fn trailers(section: &[u8]) -> Option<HeaderMap> {
    let mut room = [EMPTY_HEADER; FIELDS];
    let Ok(Status::Complete((read, lines))) = parse_headers(section, &mut room) else {
        return None;
    };
    if read != section.len() {
        return None;
    }
    let mut fields = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        fields.append(name, HeaderValue::from_bytes(line.value).ok()?);
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body, its trailers, and what is left behind it.
    type Read = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

    /// What a body is read as that comes in pieces of `at_once` bytes.
    fn read(mut framing: Framing, sent: &[u8], at_once: usize) -> Result<Read, Fault> {
        let (mut came, mut body, mut trailers) = (BytesMut::new(), Vec::new(), None);
        let mut pieces = sent.chunks(at_once);
        while !framing.is_done() {
            match framing.next(&mut came)? {
                Some(frame) => match frame.into_data() {
                    Ok(data) => body.extend_from_slice(&data),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
                None if framing.is_done() => {}
                None => match pieces.next() {
                    Some(piece) => came.extend_from_slice(piece),
                    None => framing.end()?,
                },
            }
        }
        for piece in pieces {
            came.extend_from_slice(piece);
        }
        Ok((body, trailers, came.to_vec()))
    }

    const CHUNKED: Framing = Framing::Chunked(Chunked::Size);

    #[test]
    fn a_body_ends_where_its_framing_says_however_it_comes() {
        for at_once in 1..40 {
            let read = |framing, sent| read(framing, sent, at_once).unwrap();
            let (body, _, left) = read(Framing::of_length(3), b"abcdef");
            assert_eq!((&body[..], &left[..]), (&b"abc"[..], &b"def"[..]));
            let (body, _, left) = read(Framing::UntilEnd, b"abcdef");
            assert_eq!((&body[..], &left[..]), (&b"abcdef"[..], &b""[..]));
            let (body, trailers, left) =
                read(CHUNKED, b"2\r\nab\r\n0001 ; x=\"y\"\r\nc\r\n0\r\n\r\nHTTP");
            assert_eq!((&body[..], trailers, &left[..]), (&b"abc"[..], None, &b"HTTP"[..]));
            let (body, trailers, left) =
                read(CHUNKED, b"A\r\n0123456789\r\n0\r\nt: 1\r\nu: 2\r\n\r\n!");
            let trailers = trailers.unwrap();
            assert_eq!((&body[..], &left[..]), (&b"0123456789"[..], &b"!"[..]));
            assert!(trailers["t"] == "1" && trailers["u"] == "2");
        }
    }

    #[test]
    fn what_two_readers_might_read_differently_is_no_body() {
        for (sent, fault) in [
            (&b"\r\n"[..], Fault::Size),
            (b"x\r\n", Fault::Size),
            (b"0x2\r\nab\r\n", Fault::Size),
            (b"+2\r\nab\r\n", Fault::Size),
            (b" 2\r\nab\r\n", Fault::Size),
            (b"2\nab\r\n", Fault::Size),
            (b"2 2\r\nab\r\n", Fault::Size),
            (b"2;a\rb\r\nab\r\n", Fault::Size),
            (b"10000000000000000\r\n", Fault::Size),
            (b"2\r\nabc\r\n", Fault::AfterData),
            (b"2\r\nab\n0\r\n\r\n", Fault::AfterData),
            (b"0\r\na b: c\r\n\r\n", Fault::Trailers),
            (b"0\r\n: c\r\n\r\n", Fault::Trailers),
            (b"2\r\na", Fault::Cut),
            (b"2\r\nab\r\n0\r\n", Fault::Cut),
        ] {
            for at_once in [1, 100] {
                let text = sent.escape_ascii();
                assert_eq!(read(CHUNKED, sent, at_once), Err(fault), "{text}, {at_once} at a time");
            }
        }
        assert_eq!(read(Framing::Length(3), b"ab", 9), Err(Fault::Cut));
    }

    #[test]
    fn what_frames_is_bounded() {
        let extension = [b"1;".as_slice(), &vec![b'x'; 2 * LONGEST]].concat();
        assert_eq!(read(CHUNKED, &extension, 1000), Err(Fault::Size));
        let trailers = [b"0\r\n".as_slice(), &b"a: b\r\n".repeat(LONGEST)].concat();
        assert_eq!(read(CHUNKED, &trailers, 1000), Err(Fault::Trailers));
        let many = [b"0\r\n".as_slice(), &b"a:\r\n".repeat(FIELDS + 1), b"\r\n"].concat();
        assert_eq!(read(CHUNKED, &many, 1000), Err(Fault::Trailers));
    }
}
