//! A client's line that tells its pulse what moves, and closes without losing its last words.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::server::crowd::Place;
use crate::server::framing::Framing;
use crate::server::lane::{Lane, Socket, Taken};
use crate::server::line::Line;
use crate::server::pulse::{Order, Phase, Pulse, Seat};

/// What may still arrive after our last byte before we stop listening to it.
const LAST_WORDS: usize = 256 * 1024;

/// A connection counts as long as this lives, upgraded or not.
#[derive(Debug)]
pub(crate) struct Stream {
    line: Line,
    pulse: Arc<Pulse>,
    framing: Framing,
    lane: Lane,
    /// Held for their drop.
    _seat: Seat,
    _place: Place,
    end: End,
    discarded: usize,
}

/// How far the connection is on its way to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    NotYet,
    /// The peer sends nothing more.
    Theirs,
    /// We send nothing more.
    Ours,
}

/// An end would be that of what was being sent, where nothing else tells it: its client is to see that there is none.
impl Drop for Stream {
    fn drop(&mut self) {
        if self.pulse.is_cut_off() {
            self.line.reset();
        }
    }
}

impl Stream {
    /// `held` lives as long as the connection.
    pub(crate) fn new(line: Line, fast: Lane, pulse: Arc<Pulse>, held: (Seat, Place)) -> Self {
        let (framing, (seat, place)) = (Framing::default(), held);
        let end = End::NotYet;
        Self { line, pulse, framing, lane: fast, _seat: seat, _place: place, end, discarded: 0 }
    }

    pub(crate) fn line(&self) -> &Line {
        &self.line
    }

    pub(crate) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// A tunnel has no connection task that could hear an order, so its reads do.
    fn hear_orders(&self, cx: &Context<'_>) -> io::Result<()> {
        if self.pulse.phase() != Phase::Tunnel {
            return Ok(());
        }
        self.pulse.listen(cx.waker());
        match self.pulse.order() {
            Order::Continue | Order::Finish | Order::Close => Ok(()),
            Order::Cut => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    /// Looks at what came before the parser does, where it is HTTP/1.
    fn follow(&mut self, came: &[u8]) {
        match self.pulse.phase() {
            Phase::Idle | Phase::Head => {
                if let Some(doubtful) = self.framing.pass(came) {
                    self.pulse.doubt(doubtful);
                }
            }
            Phase::Multiplexed | Phase::Tunnel | Phase::Closing => {}
        }
    }

    /// Sends what the lane has begun.
    fn poll_lane(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (stream, pulse) = (&mut self.line, &*self.pulse);
        self.lane.poll_finish(&mut Socket { stream, pulse, context })
    }

    /// Has the lane answer what it can of what came after `before`; the parser gets what is left. Pending where that is
    /// to wait, because much was answered already.
    fn poll_take(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        before: usize,
    ) -> Poll<io::Result<()>> {
        let Some(heads) = self.framing.between() else { return Poll::Ready(Ok(())) };
        let (stream, pulse) = (&mut self.line, &*self.pulse);
        let mut socket = Socket { stream, pulse, context };
        let Taken { bytes, is_a_lot } =
            self.lane.take(&buffer.filled()[before..], heads, &mut socket)?;
        let end = buffer.filled().len();
        if self.lane.is_asking() {
            if before + bytes < end {
                self.lane.keep(&buffer.filled()[before + bytes..]);
            }
            buffer.set_filled(before);
            return Poll::Ready(Ok(()));
        }
        if is_a_lot && before + bytes < end {
            self.lane.wait(&buffer.filled()[before + bytes..], context);
            buffer.set_filled(before);
            return Poll::Pending;
        }
        if bytes > 0 {
            buffer.filled_mut().copy_within(before + bytes..end, before);
            buffer.set_filled(end - bytes);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush_line(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.line).poll_flush(context);
        if self.line.holds_back() {
            // What was written waits within, for the socket.
            match flushed {
                Poll::Pending => self.pulse.blocked(),
                Poll::Ready(_) => self.pulse.flushed(),
            }
        }
        flushed
    }

    /// Looks whether a client who waits for the service is still there. What it sends meanwhile waits with the lane, as
    /// much as comes at once. Ready where it has left.
    fn poll_left(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.lane.is_asking() || self.lane.is_ahead() || buffer.remaining() == 0 {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.line).poll_read(context, buffer))?;
        let came = &buffer.filled()[before..];
        if came.is_empty() {
            return self.hear_end(context).map(|()| {
                self.lane.forget();
                Ok(())
            });
        }
        self.lane.keep(came);
        buffer.set_filled(before);
        Poll::Pending
    }

    /// The client has ended its side: ready when that is known for the second time.
    ///
    /// The parser forgets a request whose client has ended, as one that has left, and so does the lane. Who asked and then
    /// ended its side may still listen, and gets what can be answered at once.
    fn hear_end(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.end != End::NotYet {
            return Poll::Ready(());
        }
        self.end = End::Theirs;
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads and forgets until the peer has ended too.
    ///
    /// A socket that is closed with unread bytes resets the connection, and a reset destroys the answer that
    /// the peer has not read yet (RFC 9112 §9.6: "The server then continues to read from the connection until
    /// it receives a corresponding close by the client").
    fn poll_last_words(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; 4096];
        while self.discarded < LAST_WORDS {
            let mut buffer = ReadBuf::new(&mut scratch);
            if ready!(Pin::new(&mut self.line).poll_read(cx, &mut buffer)).is_err() {
                break;
            }
            match buffer.filled().len() {
                0 => break,
                more => self.discarded += more,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.hear_orders(cx)?;
        let before = buffer.filled().len();
        loop {
            match this.poll_lane(cx) {
                Poll::Pending => return this.poll_left(cx, buffer),
                Poll::Ready(finished) => finished?,
            }
            if this.lane.is_closed() {
                // As if the client had ended: the parser closes between two messages.
                return Poll::Ready(Ok(()));
            }
            if !this.lane.go_on(buffer) {
                ready!(Pin::new(&mut this.line).poll_read(cx, buffer))?;
            }
            if buffer.filled().len() == before {
                if buffer.remaining() > 0 {
                    ready!(this.hear_end(cx));
                }
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_take(cx, buffer, before))?;
            let came = &buffer.filled()[before..];
            // What came is answered: there may be more.
            if !came.is_empty() {
                this.pulse.received();
                this.follow(came);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_lane(cx))?;
        let written = Pin::new(&mut this.line).poll_write(cx, bytes);
        this.pulse.note_written(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_lane(cx))?;
        let written = Pin::new(&mut this.line).poll_write_vectored(cx, slices);
        this.pulse.note_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.line.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lane.is_asking() {
            // Its answer is waited for where more is read; here goes out what is written of it.
            return this.poll_flush_line(cx);
        }
        ready!(this.poll_lane(cx))?;
        // hyper's server sends no interim responses. It flushes when everything it had to write is written, and
        // an answer in progress is held back by `Reception`: here is the place between two messages.
        let (pulse, mut line) = (&this.pulse, Pin::new(&mut this.line));
        ready!(pulse.outbox().poll_send(|bytes| {
            let written = line.as_mut().poll_write(cx, bytes);
            pulse.note_written(&written);
            written
        }))?;
        this.poll_flush_line(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_lane(cx))?;
        if this.end != End::Ours {
            ready!(Pin::new(&mut this.line).poll_shutdown(cx))?;
            if this.end == End::Theirs {
                return Poll::Ready(Ok(()));
            }
            this.end = End::Ours;
            // A tunnel's shutdown is half a close: its reader goes on.
            if this.pulse.phase() == Phase::Tunnel {
                return Poll::Ready(Ok(()));
            }
            this.pulse.enter(Phase::Closing);
        }
        if this.pulse.phase() == Phase::Tunnel {
            return Poll::Ready(Ok(()));
        }
        this.poll_last_words(cx)
    }
}
