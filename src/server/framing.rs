//! Follows an HTTP/1 client's bytes from head to head, to see what the parser forgives and we do not.

use std::mem;

/// Why a head is refused that the parser accepts.
///
/// All else that is wrong with a head (CR alone, NUL, folded lines, spaces around names, lengths that are none)
/// the parser refuses by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// RFC 9112 §6.1: a request with both "ought to be handled as an error"; whoever sends it may mean two
    /// requests. The parser takes the length away, so nobody after it can tell.
    TwoFramings,
    /// RFC 9112 §2.2 allows to take LF for CRLF; whoever is in front of us may not.
    BareLineFeed,
}

impl Doubt {
    pub(crate) fn detail(self) -> &'static str {
        match self {
            Self::TwoFramings => "the request has both Transfer-Encoding and Content-Length",
            Self::BareLineFeed => "a line of the request's head ends without a carriage return",
        }
    }
}

/// Which head of the connection is in doubt, counted from one, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doubtful {
    pub(crate) head: u64,
    pub(crate) why: Doubt,
}

/// Where the connection's bytes have got to.
///
/// It agrees with the parser on every message that the parser accepts. On others it may be anywhere: there the
/// parser ends the connection.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    part: Part,
    /// Heads that ended.
    heads: u64,
    /// Of the head in hand.
    length: Option<u64>,
    coding: Coding,
    /// The beginning of a head's line whose end is still to come.
    carried: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Coding {
    #[default]
    None,
    Chunked,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    /// Before a request line; empty lines do not count (RFC 9112 §2.2).
    #[default]
    Between,
    Head,
    /// So much of a body, then another head.
    Body(u64),
    Chunked(Chunked),
    /// After a doubt, which ends the connection.
    Over,
}

/// RFC 9112 §7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunked {
    Size(u64),
    /// What follows the size in its line.
    Extension(u64),
    /// Data, with the line end after it.
    Data(u64),
    /// At the beginning of a trailer field, or of the empty line after them.
    Trailer,
    TrailerLine,
    TrailerEnd,
    LastEnd,
}

impl Framing {
    /// Takes what came, and tells when it makes a head doubtful; once at most, for what follows is not looked at.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) -> Option<Doubtful> {
        while !bytes.is_empty() {
            match self.part {
                Part::Between | Part::Head => {
                    if let Some(why) = self.line(&mut bytes) {
                        self.part = Part::Over;
                        return Some(Doubtful { head: self.heads + 1, why });
                    }
                }
                Part::Body(left) => {
                    let left = skip(left, &mut bytes);
                    self.part = if left == 0 { Part::Between } else { Part::Body(left) };
                }
                Part::Chunked(chunked) => self.part = chunked.step(&mut bytes),
                Part::Over => return None,
            }
        }
        None
    }

    /// How many heads there were, where the next byte begins another.
    pub(crate) fn between(&self) -> Option<u64> {
        (self.part == Part::Between && self.carried.is_empty()).then_some(self.heads)
    }

    /// Takes one line of a head, or the piece of it that is there.
    fn line(&mut self, bytes: &mut &[u8]) -> Option<Doubt> {
        let Some(end) = line_end(bytes) else {
            self.carried.extend_from_slice(bytes);
            *bytes = &[];
            return None;
        };
        let (piece, rest) = bytes.split_at(end);
        *bytes = rest;
        if self.carried.is_empty() {
            return self.whole_line(piece);
        }
        self.carried.extend_from_slice(piece);
        let mut line = mem::take(&mut self.carried);
        let doubt = self.whole_line(&line);
        line.clear();
        self.carried = line;
        doubt
    }

    #[inline]
    fn whole_line(&mut self, line: &[u8]) -> Option<Doubt> {
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return Some(Doubt::BareLineFeed);
        };
        match line.first() {
            None if self.part == Part::Between => {}
            None => return self.end_of_head(),
            Some(b'c' | b'C' | b't' | b'T') => self.field(line),
            Some(_) => self.part = Part::Head,
        }
        None
    }

    /// A line that may say how long the body is.
    fn field(&mut self, line: &[u8]) {
        self.part = Part::Head;
        if let Some(length) = value(line, b"content-length:") {
            // One that is none the parser refuses, as it does lengths that differ.
            let length = str::from_utf8(length).ok().and_then(|length| length.trim().parse().ok());
            self.length = Some(length.unwrap_or(0));
        } else if value(line, b"transfer-encoding:").is_some() {
            self.coding = Coding::Chunked;
        }
    }

    fn end_of_head(&mut self) -> Option<Doubt> {
        let framings = (mem::take(&mut self.coding), self.length.take());
        self.part = match framings {
            (Coding::Chunked, Some(_)) => return Some(Doubt::TwoFramings),
            (Coding::Chunked, None) => Part::Chunked(Chunked::Size(0)),
            (Coding::None, None | Some(0)) => Part::Between,
            (Coding::None, Some(length)) => Part::Body(length),
        };
        self.heads += 1;
        None
    }
}

impl Chunked {
    /// Takes a byte, or data as far as it goes.
    fn step(self, bytes: &mut &[u8]) -> Part {
        if let Self::Data(left) = self {
            let left = skip(left, bytes);
            return Part::Chunked(if left == 0 { Self::Size(0) } else { Self::Data(left) });
        }
        let Some((byte, rest)) = bytes.split_first() else {
            return Part::Chunked(self);
        };
        *bytes = rest;
        Part::Chunked(match (self, byte) {
            (Self::Size(0) | Self::Extension(0), b'\n') | (Self::TrailerEnd, _) => Self::Trailer,
            (Self::Size(size) | Self::Extension(size), b'\n') => Self::Data(size.saturating_add(2)),
            (Self::Size(size), digit) => match char::from(*digit).to_digit(16) {
                Some(digit) => Self::Size(size.saturating_mul(16).saturating_add(digit.into())),
                None => Self::Extension(size),
            },
            (Self::Trailer, b'\r') => Self::LastEnd,
            (Self::TrailerLine, b'\r') => Self::TrailerEnd,
            (Self::Trailer | Self::TrailerLine, _) => Self::TrailerLine,
            (Self::LastEnd, _) => return Part::Between,
            (Self::Extension(_) | Self::Data(_), _) => self,
        })
    }
}

/// How long the first line is, its line feed included, eight bytes at a step: every byte of every head passes here.
fn line_end(bytes: &[u8]) -> Option<usize> {
    const FEEDS: u64 = u64::from_ne_bytes([b'\n'; 8]);
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let (blocks, tail) = bytes.as_chunks();
    for (number, block) in blocks.iter().enumerate() {
        // Zero where there is a line feed. The lowest bit that the next line finds is that of the first zero.
        let differs = u64::from_le_bytes(*block) ^ FEEDS;
        let zeros = differs.wrapping_sub(ONES) & !differs & HIGHS;
        if zeros != 0 {
            return Some(number * 8 + zeros.trailing_zeros() as usize / 8 + 1);
        }
    }
    let at = tail.iter().position(|byte| *byte == b'\n')?;
    Some(blocks.len() * 8 + at + 1)
}

/// Takes as much as there is of `left`, and tells what is left after that.
fn skip(left: u64, bytes: &mut &[u8]) -> u64 {
    let there = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    *bytes = &bytes[there..];
    left - there as u64
}

/// The value of the line's field, if it is the one of this name.
fn value<'line>(line: &'line [u8], name: &[u8]) -> Option<&'line [u8]> {
    let (named, value) = line.split_at_checked(name.len())?;
    // The colon is where it must be in few of the others.
    (named.last() == name.last() && named.eq_ignore_ascii_case(name)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str =
        "POST / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 4\r\nTransfer-encoding: chunked\r\n\r\n";
    const PLAIN: &str = "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nCookie: c\r\n\r\n";

    /// The same bytes whole, and cut at every place, must be judged alike.
    fn judged(bytes: &str) -> Option<Doubtful> {
        let whole = Framing::default().pass(bytes.as_bytes());
        for at in 0..bytes.len() {
            let (first, second) = bytes.as_bytes().split_at(at);
            let mut framing = Framing::default();
            let cut = framing.pass(first).or_else(|| framing.pass(second));
            assert_eq!(cut, whole, "cut at {at}: {bytes:?}");
        }
        let mut framing = Framing::default();
        let dripped = bytes.as_bytes().chunks(1).find_map(|byte| framing.pass(byte));
        assert_eq!(dripped, whole, "in single bytes: {bytes:?}");
        whole
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is compared with what `judged` returns")]
    fn two_framings(head: u64) -> Option<Doubtful> {
        Some(Doubtful { head, why: Doubt::TwoFramings })
    }

    #[test]
    fn both_framings_in_one_head_are_seen_in_either_order() {
        assert_eq!(judged(BOTH), two_framings(1));
        let other = "POST / HTTP/1.1\r\nTransfer-Encoding:chunked\r\nContent-Length:4\r\n\r\n";
        assert_eq!(judged(other), two_framings(1));
    }

    #[test]
    fn one_framing_in_each_of_two_heads_is_none_in_doubt() {
        let with_length = "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody";
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        let all = [with_length, chunked, PLAIN, chunked, with_length, "\r\n", PLAIN].concat();
        assert_eq!(judged(&all), None);
        assert_eq!(judged(&(all + BOTH)), two_framings(7));
    }

    #[test]
    fn what_a_body_says_is_not_a_head() {
        let said = format!("a\n{BOTH}");
        let plain =
            format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{said}{PLAIN}", said.len());
        assert_eq!(judged(&plain), None);
        let chunked = format!(
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{:X};a=\"b\"\r\n{said}\r\n1\r\n\n\r\n0\r\n\
             Content-Length: 4\r\nX: b\r\n\r\n{PLAIN}",
            said.len()
        );
        assert_eq!(judged(&chunked), None);
        assert_eq!(judged(&(chunked + BOTH)), two_framings(3));
    }

    #[test]
    fn a_line_of_a_head_that_ends_without_cr_is_seen() {
        let doubt = |head| Some(Doubtful { head, why: Doubt::BareLineFeed });
        assert_eq!(judged("GET / HTTP/1.1\nHost: a\r\n\r\n"), doubt(1));
        assert_eq!(judged("GET / HTTP/1.1\r\nHost: a\n\r\n"), doubt(1));
        assert_eq!(judged(&format!("{PLAIN}GET / HTTP/1.1\r\nHost: a\r\n\n")), doubt(2));
        assert_eq!(judged(&format!("{PLAIN}\n{PLAIN}")), doubt(2));
    }
}
