//! One plain request that the service was asked, and its answer on its way to the client.

use std::io;
use std::task::{Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, TRANSFER_ENCODING};
use http::{Response, StatusCode};
use hyper::ext::ReasonPhrase;

use crate::message::date;
use crate::message::fields::members;
use crate::message::lead::Lead;
use crate::server::desk::{Asking, Length};
use crate::server::lane::Socket;
use crate::server::pulse::{Busy, Order};
use crate::time::Timestamp;

/// A request of the lane that the service has.
pub(super) struct Exchange {
    hearing: Hearing,
    /// The answer, once it is there.
    sending: Option<Sending>,
    /// Held for its drop.
    _busy: Busy,
}

/// Whether the client is told of interim responses: from when it had to wait, and until the answer follows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hearing {
    NotYet,
    Listens,
    Over,
}

/// What becomes of the connection behind an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    GoesOn,
    Closes,
}

impl Exchange {
    pub(super) fn begin(busy: Busy) -> Self {
        Self { hearing: Hearing::NotYet, sending: None, _busy: busy }
    }

    /// Waits for the answer and sends it, its head by way of `head`. An error is the connection's: the client sees that
    /// what it got has no end.
    pub(super) fn poll(
        &mut self,
        desk: &mut dyn Asking,
        head: &mut Vec<u8>,
        socket: &mut Socket<'_, '_>,
    ) -> Poll<io::Result<After>> {
        loop {
            let outbox = socket.pulse.outbox();
            if self.hearing != Hearing::Over {
                ready!(socket.poll_outbox())?;
            }
            if let Some(sending) = &mut self.sending {
                if self.hearing == Hearing::Listens {
                    ready!(outbox.poll_sent(socket.context));
                }
                self.hearing = Hearing::Over;
                return sending.poll(desk, head, socket);
            }
            let Poll::Ready((answer, lead)) = desk.poll_answer(socket.context) else {
                if self.hearing == Hearing::NotYet {
                    self.hearing = Hearing::Listens;
                    outbox.listen(socket.context);
                }
                return Poll::Pending;
            };
            // What was said until now goes out before its head does.
            let order = socket.pulse.order();
            self.sending = Some(Sending::begin((&answer, lead.as_ref()), order, head));
        }
    }
}

/// An answer that is being sent: what stands in the head, then a piece of the content, then what follows that.
struct Sending {
    left: Left,
    piece: Bytes,
    suffix: &'static [u8],
    /// How much of the three went out.
    sent: usize,
    /// Whether nothing is to come behind them.
    is_last: bool,
    after: After,
}

/// How the content is framed.
enum Left {
    /// So many bytes are still to come.
    Length(u64),
    Chunks,
}

/// RFC 9112 §7.1.
const CHUNK_END: &[u8] = b"\r\n";
const CHUNKS_END: &[u8] = b"0\r\n\r\n";
const LAST_CHUNK_END: &[u8] = b"\r\n0\r\n\r\n";

impl Sending {
    fn begin(
        (answer, lead): (&Response<Length>, Option<&Lead>),
        order: Order,
        head: &mut Vec<u8>,
    ) -> Self {
        let (status, fields) = (answer.status(), answer.headers());
        let says_close =
            members(fields, &CONNECTION).any(|option| option.eq_ignore_ascii_case(b"close"));
        // RFC 9112 §9.6: a server that closes a connection says so in its last response.
        let closes = says_close || order != Order::Continue;
        let after = if closes { After::Closes } else { After::GoesOn };
        let left = left(status, *answer.body(), fields);
        write_head(head, (answer, lead), after, left.as_ref());
        let left = left.unwrap_or(Left::Length(0));
        Self {
            is_last: matches!(left, Left::Length(0)),
            left,
            piece: Bytes::new(),
            suffix: b"",
            sent: 0,
            after,
        }
    }

    fn poll(
        &mut self,
        desk: &mut dyn Asking,
        head: &mut Vec<u8>,
        socket: &mut Socket<'_, '_>,
    ) -> Poll<io::Result<After>> {
        loop {
            // The first piece goes out with the head, if it is there.
            if !self.is_last && self.piece.is_empty() {
                match desk.poll_piece(socket.context) {
                    Poll::Ready(next) => self.take(next.transpose(), desk, head)?,
                    Poll::Pending => {
                        ready!(self.poll_send(head, socket))?;
                        return Poll::Pending;
                    }
                }
            }
            ready!(self.poll_send(head, socket))?;
            if self.is_last {
                return Poll::Ready(Ok(self.after));
            }
        }
    }

    /// Takes the next piece, or the end.
    fn take<E>(
        &mut self,
        next: Result<Option<Bytes>, E>,
        desk: &dyn Asking,
        head: &mut Vec<u8>,
    ) -> io::Result<()>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let next = next.map_err(io::Error::other)?;
        match (&mut self.left, next) {
            // Whoever reads sees that it is cut off.
            (Left::Length(_), None) => return Err(io::ErrorKind::UnexpectedEof.into()),
            (Left::Length(left), Some(mut piece)) => {
                // What is more than was said would be taken for the next answer.
                piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= piece.len() as u64;
                self.is_last = *left == 0;
                self.piece = piece;
            }
            (Left::Chunks, None) => {
                head.extend_from_slice(CHUNKS_END);
                self.is_last = true;
            }
            // RFC 9112 §7.1: a chunk of no size is the last.
            (Left::Chunks, Some(piece)) if piece.is_empty() => {}
            (Left::Chunks, Some(piece)) => {
                push_size(head, piece.len());
                self.is_last = desk.is_over();
                self.suffix = if self.is_last { LAST_CHUNK_END } else { CHUNK_END };
                self.piece = piece;
            }
        }
        Ok(())
    }

    /// Sends all that is in hand.
    fn poll_send(
        &mut self,
        head: &mut Vec<u8>,
        socket: &mut Socket<'_, '_>,
    ) -> Poll<io::Result<()>> {
        let parts = [head.as_slice(), &self.piece, self.suffix];
        let all: usize = parts.iter().map(|part| part.len()).sum();
        while self.sent < all {
            let mut passed = self.sent;
            let rest = parts.map(|part| {
                let skipped = passed.min(part.len());
                passed -= skipped;
                &part[skipped..]
            });
            self.sent += ready!(socket.poll_write(rest))?;
        }
        head.clear();
        (self.piece, self.suffix, self.sent) = (Bytes::new(), b"", 0);
        Poll::Ready(Ok(()))
    }
}

/// How the content of an answer to a GET is framed (RFC 9112 §6.3); nothing where it has none.
fn left(status: StatusCode, length: Length, fields: &HeaderMap) -> Option<Left> {
    if status.is_informational() || matches!(status.as_u16(), 204 | 304) {
        return None;
    }
    let stated = || fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    let length = match length {
        Length::Known(length) => Some(length),
        Length::Unknown => stated(),
    };
    Some(length.map_or(Left::Chunks, Left::Length))
}

/// Writes the head as it goes out, with what the framing says of the length in the place of what the fields do.
fn write_head(
    head: &mut Vec<u8>,
    (answer, lead): (&Response<Length>, Option<&Lead>),
    after: After,
    left: Option<&Left>,
) {
    let status = answer.status();
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(status.as_str().as_bytes());
    head.push(b' ');
    match answer.extensions().get::<ReasonPhrase>() {
        Some(reason) => head.extend_from_slice(reason.as_bytes()),
        None => head.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes()),
    }
    head.extend_from_slice(b"\r\n");
    head.extend_from_slice(lead.map_or(&[], Lead::as_bytes));
    // A lead has a date.
    let mut is_dated = lead.is_some();
    for (name, value) in answer.headers() {
        // All three are this connection's, and written below where they are due.
        if name == CONTENT_LENGTH || name == TRANSFER_ENCODING || name == CONNECTION {
            continue;
        }
        is_dated |= name == DATE;
        push_line(head, name.as_str(), value.as_bytes());
    }
    match left {
        Some(Left::Length(length)) => {
            push_line(head, "content-length", itoa::Buffer::new().format(*length).as_bytes());
        }
        Some(Left::Chunks) => push_line(head, "transfer-encoding", b"chunked"),
        None => {}
    }
    if after == After::Closes {
        push_line(head, "connection", b"close");
    }
    // RFC 9110 §6.6.1: who receives a response without it "MUST record the time it was received and append a corresponding
    // Date header field to the message's header section if it is cached or forwarded downstream".
    if !is_dated {
        push_line(head, "date", date::format(Timestamp::now().as_seconds()).as_bytes());
    }
    head.extend_from_slice(b"\r\n");
}

fn push_line(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        head.extend_from_slice(part);
    }
}

/// The line before a chunk of this size.
fn push_size(head: &mut Vec<u8>, size: usize) {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4);
    for digit in (0..digits).rev() {
        head.push(b"0123456789abcdef"[size >> (4 * digit) & 15]);
    }
    head.extend_from_slice(CHUNK_END);
}

#[cfg(test)]
mod tests;
