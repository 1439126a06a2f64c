//! Follows an HTTP/1 client's bytes from head to head, to see what the parser forgives and we do not.

use std::mem;

/// Why a request is refused that the parser accepts.
///
/// All else that is wrong with a head (CR alone, NUL, folded lines, spaces around names, lengths that are none)
/// the parser refuses by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// RFC 9112 §6.1: a request with both "ought to be handled as an error"; whoever sends it may mean two
    /// requests. The parser takes the length away, so nobody after it can tell.
    TwoFramings,
    /// RFC 9112 §6.3 allows to take equal lengths for one; the parser compares numbers, and `05` is one way to
    /// write five that others read otherwise.
    SeveralLengths,
    /// RFC 9112 §2.2 allows to take LF for CRLF; whoever is in front of us may not.
    BareLineFeed,
    /// RFC 9112 §3.2 has no `#` in a target. The parser takes it away with what follows, and an origin might not.
    Fragment,
    /// RFC 9112 §7.1: blanks where a chunk's size ends, a size of more digits than a length can have, controls
    /// in an extension, a line without CR. The parser reads past them, and others may read something else.
    Chunk,
}

impl Doubt {
    pub(crate) fn detail(self) -> &'static str {
        match self {
            Self::TwoFramings => "the request has both Transfer-Encoding and Content-Length",
            Self::SeveralLengths => "the request has more than one Content-Length",
            Self::BareLineFeed => "a line of the request's head ends without a carriage return",
            Self::Fragment => "the request's target has a fragment",
            Self::Chunk => "the request's body is not chunked by the letter",
        }
    }
}

/// Which request of the connection is in doubt, by its head, counted from one, and why.
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

/// The most hexadecimal digits of a size that is a number of 64 bits.
const DIGITS: u8 = 16;

/// RFC 9112 §7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunked {
    Size {
        size: u64,
        digits: u8,
    },
    /// Blanks behind the size, where only an extension may follow.
    Blank(u64),
    /// What follows the size in its line.
    Extension(u64),
    SizeEnd(u64),
    /// Data, with the line end after it.
    Data(u64),
    /// At the beginning of a trailer field, or of the empty line after them.
    Trailer,
    TrailerLine,
    TrailerEnd,
    LastEnd,
}

impl Framing {
    /// Takes what came, and tells when it makes a request doubtful; once at most, for what follows is not looked at.
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
                Part::Chunked(chunked) => match chunked.step(&mut bytes) {
                    Ok(part) => self.part = part,
                    Err(why) => {
                        self.part = Part::Over;
                        return Some(Doubtful { head: self.heads, why });
                    }
                },
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
            None if self.part == Part::Between => None,
            None => self.end_of_head(),
            Some(_) if self.part == Part::Between => {
                self.part = Part::Head;
                line.contains(&b'#').then_some(Doubt::Fragment)
            }
            Some(b'c' | b'C' | b't' | b'T') => self.field(line),
            Some(_) => None,
        }
    }

    /// A line that may say how long the body is.
    fn field(&mut self, line: &[u8]) -> Option<Doubt> {
        if let Some(length) = value(line, b"content-length:") {
            // One that is none the parser refuses.
            let length = str::from_utf8(length).ok().and_then(|length| length.trim().parse().ok());
            return self.length.replace(length.unwrap_or(0)).map(|_| Doubt::SeveralLengths);
        }
        if value(line, b"transfer-encoding:").is_some() {
            self.coding = Coding::Chunked;
        }
        None
    }

    fn end_of_head(&mut self) -> Option<Doubt> {
        let framings = (mem::take(&mut self.coding), self.length.take());
        self.part = match framings {
            (Coding::Chunked, Some(_)) => return Some(Doubt::TwoFramings),
            (Coding::Chunked, None) => Part::Chunked(Chunked::BEGINNING),
            (Coding::None, None | Some(0)) => Part::Between,
            (Coding::None, Some(length)) => Part::Body(length),
        };
        self.heads += 1;
        None
    }
}

impl Chunked {
    const BEGINNING: Self = Self::Size { size: 0, digits: 0 };

    /// Takes a byte, or data as far as it goes.
    fn step(self, bytes: &mut &[u8]) -> Result<Part, Doubt> {
        if let Self::Data(left) = self {
            let left = skip(left, bytes);
            return Ok(Part::Chunked(if left == 0 { Self::BEGINNING } else { Self::Data(left) }));
        }
        let Some((byte, rest)) = bytes.split_first() else {
            return Ok(Part::Chunked(self));
        };
        *bytes = rest;
        Ok(Part::Chunked(match (self, byte) {
            (Self::Size { size, digits }, b'\r') if digits > 0 => Self::SizeEnd(size),
            (Self::Size { size, digits }, b';') if digits > 0 => Self::Extension(size),
            (Self::Size { size, digits }, b' ' | b'\t') if digits > 0 => Self::Blank(size),
            (Self::Size { size, digits }, digit) if digits < DIGITS => {
                let digit = char::from(*digit).to_digit(16).ok_or(Doubt::Chunk)?;
                Self::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Self::Blank(size), b';') => Self::Extension(size),
            (Self::Extension(size), b'\r') => Self::SizeEnd(size),
            (Self::Blank(_), b' ' | b'\t') | (Self::Extension(_), b'\t' | b' '..=b'~' | 0x80..) => {
                self
            }
            (Self::SizeEnd(0) | Self::TrailerEnd, b'\n') => Self::Trailer,
            (Self::SizeEnd(size), b'\n') => Self::Data(size.saturating_add(2)),
            (Self::Trailer, b'\r') => Self::LastEnd,
            (Self::TrailerLine, b'\r') => Self::TrailerEnd,
            (Self::LastEnd, b'\n') => return Ok(Part::Between),
            (Self::Trailer | Self::TrailerLine, byte) if *byte != b'\n' => Self::TrailerLine,
            (
                Self::Size { .. }
                | Self::Blank(_)
                | Self::Extension(_)
                | Self::SizeEnd(_)
                | Self::Data(_)
                | Self::Trailer
                | Self::TrailerLine
                | Self::TrailerEnd
                | Self::LastEnd,
                _,
            ) => return Err(Doubt::Chunk),
        }))
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
    fn a_second_length_is_seen_whatever_it_says() {
        for second in ["4", "04", "5", "x"] {
            let head = format!("Content-Length: 4\r\nX: a\r\ncontent-length: {second}\r\n\r\n");
            let doubt = Some(Doubtful { head: 1, why: Doubt::SeveralLengths });
            assert_eq!(judged(&format!("POST / HTTP/1.1\r\n{head}")), doubt, "{second}");
        }
    }

    #[test]
    fn a_fragment_is_seen_in_the_target_alone() {
        let doubt = Some(Doubtful { head: 2, why: Doubt::Fragment });
        assert_eq!(judged(&format!("{PLAIN}GET /a#b HTTP/1.1\r\n\r\n")), doubt);
        assert_eq!(judged("GET /a HTTP/1.1\r\nX: #\r\n\r\n"), None);
    }

    #[test]
    fn chunks_are_read_by_the_letter() {
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let good =
            ["2", "02", "2;a", "2 ;a", "2;", "2;a=\"\u{e9}\"", "0000000000000002", "2 \t; b=c"];
        for size in good {
            let message = format!("{head}{size}\r\nab\r\n0\r\nX: b\r\n\r\n{PLAIN}");
            assert_eq!(judged(&message), None, "{size}");
        }
        let bad = [
            "2 \r\nab\r\n0\r\n\r\n",
            "2\t\r\nab\r\n0\r\n\r\n",
            " 2\r\nab\r\n0\r\n\r\n",
            "0x2\r\nab\r\n0\r\n\r\n",
            "+2\r\nab\r\n0\r\n\r\n",
            "\r\nab\r\n0\r\n\r\n",
            "00000000000000002\r\nab\r\n0\r\n\r\n",
            "2;a\0\r\nab\r\n0\r\n\r\n",
            "2;a\nab\r\n0\r\n\r\n",
            "2;a\rab\r\n0\r\n\r\n",
            "2\nab\r\n0\r\n\r\n",
            "2\r\nab\r\n0\n\r\n",
            "2\r\nab\r\n0\r\n\n",
            "2\r\nab\r\n0\r\nX: y\n\r\n",
            "2\r\nab\r\n0\r\nX: y\r\r\n\r\n",
        ];
        for body in bad {
            let doubt = Some(Doubtful { head: 1, why: Doubt::Chunk });
            assert_eq!(judged(&format!("{head}{body}")), doubt, "{body:?}");
        }
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
