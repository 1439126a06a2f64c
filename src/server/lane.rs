//! The fast lane: simple requests are answered where they are read, at once or by the service.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncWrite, ReadBuf};
use tokio::task::yield_now;

use crate::message::plain::{Outlet, Remainder, Sent, Shortcut, Told};
use crate::message::shelf::Whole;
use crate::server::desk::Asking;
use crate::server::exchange::{After, Exchange};
use crate::server::limits::Limits;
use crate::server::line::Line;
use crate::server::pulse::{Busy, Pulse};
use crate::server::simple::{Simple, Wants, room};

/// What the room for a head may keep between two answers.
const ROOM: usize = 4096;

/// How many requests are answered in one go: a client that asks for many without waiting keeps the others of its worker
/// for no longer than that.
pub(super) const LOT: usize = 16;

/// How much of answers that others follow is gathered, to be sent with them in one system call. That call costs more than
/// all else about a small answer.
const GATHERED: usize = 32 * 1024;

/// The lane of one connection.
///
/// hyper parses a request into a map, calls a service with it and prints the map that it answers: two thirds of the
/// instructions of a hit, of 22,300. A plain request needs none of that where memory answers it, and where the service
/// does, it needs neither a second parser nor the bookkeeping for content, upgrades and older versions: with cheaper looks at
/// fields, a tenth of the 53,000 instructions of a miss. What is not so simple, and the first request of a connection, the lane has not touched,
/// and hyper gets the same bytes.
pub(crate) struct Lane {
    fast: Option<Fast>,
    pulse: Arc<Pulse>,
    limits: Arc<Limits>,
    /// Answers that are gathered, and the head of the one behind them.
    head: Vec<u8>,
    begun: Option<Begun>,
    /// What the service was asked; behind what was begun before.
    exchange: Option<Exchange>,
    waiting: Option<Waiting>,
    /// Whether the last answer said that the connection ends.
    is_closed: bool,
}

/// Who answers: one what is plain, at once; or else the other.
pub(crate) struct Fast {
    pub(crate) shortcut: Box<dyn Shortcut>,
    pub(crate) desk: Box<dyn Asking>,
}

/// What came behind requests that keep the lane busy, and waits until they are answered, or until others had their turn.
struct Waiting {
    bytes: Vec<u8>,
    /// Held for its drop.
    _busy: Busy,
}

/// An answer that did not go out at once.
struct Begun {
    /// How much of the lane's head went out.
    head_sent: usize,
    rest: Box<dyn Remainder>,
    /// Held for its drop.
    _busy: Busy,
}

/// How much of some bytes the lane has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) bytes: usize,
    /// As many as are answered in one go.
    pub(crate) is_a_lot: bool,
}

impl Lane {
    pub(crate) fn new(fast: Option<Fast>, pulse: Arc<Pulse>, limits: Arc<Limits>) -> Self {
        let head = Vec::new();
        let (begun, exchange, waiting, is_closed) = (None, None, None, false);
        Self { fast, pulse, limits, head, begun, exchange, waiting, is_closed }
    }

    /// Whether the service was asked and its answer is not through.
    pub(crate) fn is_asking(&self) -> bool {
        self.exchange.is_some()
    }

    /// Whether more came than is answered.
    pub(crate) fn is_ahead(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether no request is to be read any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Cancels what the service was asked.
    pub(crate) fn forget(&mut self) {
        self.exchange = None;
        self.is_closed = true;
        if let Some(fast) = &mut self.fast {
            fast.desk.forget();
        }
    }

    /// Puts what waited into the buffer, as if it were read now; false if nothing did.
    pub(crate) fn go_on(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let Some(waiting) = &mut self.waiting else { return false };
        let length = waiting.bytes.len().min(buffer.remaining());
        buffer.put_slice(&waiting.bytes[..length]);
        waiting.bytes.drain(..length);
        if waiting.bytes.is_empty() {
            self.waiting = None;
        }
        true
    }

    /// Keeps what came behind a request that is being answered.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        self.waiting = Some(Waiting { bytes: bytes.to_vec(), _busy: Busy::begin(&self.pulse) });
    }

    /// Keeps what came behind a whole lot, and comes back to it when the others of this worker had their turn.
    pub(crate) fn wait(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        self.keep(bytes);
        // Polled once it wakes the task, but only after the runtime has looked at its sockets.
        let _ = pin!(yield_now()).poll(context);
    }

    /// Answers as many of the requests at the beginning of `came` as are plain and can be answered at once, and has the
    /// service asked for the next one.
    ///
    /// `heads` came before on this connection. The lane is open once the service had a request, and only between two
    /// messages: every head that came was taken up, and every answer went out.
    pub(crate) fn take(
        &mut self,
        came: &[u8],
        heads: u64,
        socket: &mut Socket<'_, '_>,
    ) -> io::Result<Taken> {
        let (mut taken, mut answered) = (0, 0);
        if self.fast.is_none() || heads == 0 || !self.pulse.is_between(heads) {
            return Ok(Taken { bytes: 0, is_a_lot: false });
        }
        while self.begun.is_none()
            && self.exchange.is_none()
            && answered < LOT
            && came.get(taken) == Some(&b'G')
        {
            let Some(length) = self.answer(&came[taken..], socket)? else { break };
            taken += length;
            answered += 1;
        }
        self.send_gathered(socket)?;
        Ok(Taken { bytes: taken, is_a_lot: answered == LOT })
    }

    /// Answers the first request, and tells its length.
    fn answer(&mut self, bytes: &[u8], socket: &mut Socket<'_, '_>) -> io::Result<Option<usize>> {
        let Some(Fast { shortcut, desk }) = &mut self.fast else { return Ok(None) };
        let mut room = room();
        let Some(asked) = Simple::read(bytes, &mut room, &self.limits) else { return Ok(None) };
        let Simple { plain, fields, wants, head } = &asked;
        let length = head.len();
        let is_followed = bytes.len() > length;
        let mut outlet = Sending { socket, is_followed, head_sent: 0, failure: None };
        let told = match wants {
            Wants::Resource => shortcut.answer(plain, fields, &mut self.head, &mut outlet),
            Wants::More => Told::Left,
        };
        let Sending { head_sent, failure, .. } = outlet;
        if let Some(failure) = failure {
            return Err(failure);
        }
        match told {
            Told::Left => {
                let Some(request) = asked.request() else { return Ok(None) };
                self.pulse.outbox().begin();
                desk.ask(request);
                self.exchange = Some(Exchange::begin(Busy::begin(&self.pulse)));
            }
            Told::All => {}
            Told::Begun(rest) => self.begin(head_sent, rest),
        }
        Ok(Some(length))
    }

    /// Sends the answers that nothing more was gathered to.
    fn send_gathered(&mut self, socket: &mut Socket<'_, '_>) -> io::Result<()> {
        if self.begun.is_some() {
            return Ok(());
        }
        if !self.head.is_empty() {
            let mut outlet = Sending { socket, is_followed: false, head_sent: 0, failure: None };
            let sent = outlet.send(&mut self.head, Whole::empty());
            let Sending { head_sent, failure, .. } = outlet;
            if let Some(failure) = failure {
                return Err(failure);
            }
            if sent != Sent::All {
                self.begin(head_sent, Box::new(Nothing));
                return Ok(());
            }
        }
        self.head.shrink_to(ROOM);
        Ok(())
    }

    fn begin(&mut self, head_sent: usize, rest: Box<dyn Remainder>) {
        self.begun = Some(Begun { head_sent, rest, _busy: Busy::begin(&self.pulse) });
    }

    /// Sends what is left of an answer, when it is there; nothing else may be answered or written before that.
    pub(crate) fn poll_finish(&mut self, socket: &mut Socket<'_, '_>) -> Poll<io::Result<()>> {
        ready!(self.poll_begun(socket))?;
        let (Some(exchange), Some(fast)) = (&mut self.exchange, &mut self.fast) else {
            return Poll::Ready(Ok(()));
        };
        let answered = ready!(exchange.poll(&mut *fast.desk, &mut self.head, socket));
        // Whatever comes of it, nothing more may be said of it: what was cut off must not be given an end.
        self.forget();
        self.is_closed = answered? == After::Closes;
        self.head.shrink_to(ROOM);
        Poll::Ready(Ok(()))
    }

    fn poll_begun(&mut self, socket: &mut Socket<'_, '_>) -> Poll<io::Result<()>> {
        let Some(begun) = &mut self.begun else { return Poll::Ready(Ok(())) };
        loop {
            let head = &self.head[begun.head_sent..];
            let (body, at) = begun.rest.body();
            let head_left = head.len();
            if head_left == 0 && at == body.len() {
                self.begun = None;
                self.head.clear();
                self.head.shrink_to(ROOM);
                return Poll::Ready(Ok(()));
            }
            let sent = ready!(socket.poll_send(head, body, at))?;
            begun.head_sent += sent.min(head_left);
            begun.rest.advance(sent.saturating_sub(head_left));
        }
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Lane")
            .field("begun", &self.begun.is_some())
            .field("asking", &self.is_asking())
            .finish_non_exhaustive()
    }
}

/// Behind gathered answers there is no body.
struct Nothing;

impl Remainder for Nothing {
    fn body(&self) -> (Whole<'_>, usize) {
        (Whole::empty(), 0)
    }

    fn advance(&mut self, _: usize) {}
}

/// A connection's socket, in the task that polls it.
pub(crate) struct Socket<'a, 'b> {
    pub(crate) stream: &'a mut Line,
    pub(crate) pulse: &'a Pulse,
    pub(crate) context: &'a mut Context<'b>,
}

impl Socket<'_, '_> {
    /// Writes as much of some bytes as goes out at once.
    pub(super) fn poll_write<const N: usize>(
        &mut self,
        parts: [&[u8]; N],
    ) -> Poll<io::Result<usize>> {
        let slices = parts.map(IoSlice::new);
        let written = Pin::new(&mut *self.stream).poll_write_vectored(self.context, &slices);
        self.note(written)
    }

    /// Sends as much of a head, and of a body from `at` on, as goes out at once.
    fn poll_send(&mut self, head: &[u8], body: Whole<'_>, at: usize) -> Poll<io::Result<usize>> {
        match body {
            Whole::Bytes(bytes) => self.poll_write([head, &bytes[at..]]),
            Whole::Shelved(extent) => {
                let sent = self.stream.poll_send(self.context, head, extent, at);
                self.note(sent)
            }
        }
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.pulse.note_written(&written);
        match written {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            _ => written,
        }
    }

    /// Sends what is to be said before the answer in hand.
    pub(super) fn poll_outbox(&mut self) -> Poll<io::Result<()>> {
        let pulse = self.pulse;
        pulse.outbox().poll_send(|bytes| self.poll_write([bytes]))
    }
}

/// One answer on its way out.
struct Sending<'s, 'a, 'b> {
    socket: &'s mut Socket<'a, 'b>,
    /// Whether something came behind the request.
    is_followed: bool,
    head_sent: usize,
    failure: Option<io::Error>,
}

impl Outlet for Sending<'_, '_, '_> {
    fn send(&mut self, head: &mut Vec<u8>, body: Whole<'_>) -> Sent {
        let (all, mut sent) = (head.len() + body.len(), 0);
        if let Whole::Bytes(body) = body
            && self.is_followed
            && all <= GATHERED
        {
            head.extend_from_slice(body);
            return Sent::All;
        }
        while sent < all {
            let head_left = head.get(sent..).unwrap_or_default();
            match self.socket.poll_send(head_left, body, sent.saturating_sub(head.len())) {
                Poll::Ready(Ok(more)) => sent += more,
                Poll::Ready(Err(failure)) => {
                    self.failure = Some(failure);
                    break;
                }
                Poll::Pending => break,
            }
        }
        self.head_sent = sent.min(head.len());
        if sent < all {
            return Sent::Part(sent.saturating_sub(head.len()));
        }
        head.clear();
        Sent::All
    }

    fn sends_from_shelf(&self) -> bool {
        self.socket.stream.sends_from_shelf()
    }
}
