//! Interim responses (RFC 9110 §15.2): what an origin says before its answer, on its way to the client it is for.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BufMut, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;

use crate::message::fields::remove_hop_by_hop;

/// What may wait for a client that reads slowly. Interim responses are advice, so what does not fit is left out.
const MOST_WAITING: usize = 32 * 1024;

/// The interim responses that one HTTP/1.1 connection has still to send.
///
/// HTTP/1.1 has one answer at a time on a connection, so what is said belongs to the exchange in progress or to
/// nobody. Whoever writes the connection sends it with [`Outbox::poll_send`] between two messages, and holds the
/// answer back until [`Outbox::poll_sent`].
#[derive(Debug, Default)]
pub struct Outbox {
    exchange: AtomicU64,
    unsent: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    heads: BytesMut,
    /// Who waits for the answer of the exchange; without anybody there is no exchange that could be told of.
    answering: Option<Waker>,
}

/// The client of one exchange, as those see it who have something to say before the answer.
#[derive(Clone)]
pub struct Interim {
    outbox: Arc<Outbox>,
    exchange: u64,
}

impl Outbox {
    /// Another request has come in.
    pub fn begin(&self) {
        self.exchange.fetch_add(1, Ordering::Relaxed);
    }

    /// The client of the request that came in last.
    pub fn client(self: &Arc<Self>) -> Interim {
        let exchange = self.exchange.load(Ordering::Relaxed);
        Interim { outbox: Arc::clone(self), exchange }
    }

    /// The answer is not there yet: from now on the client may hear what precedes it, and `context` is woken to
    /// send it.
    pub fn listen(&self, context: &Context<'_>) {
        let mut waiting = self.waiting.lock();
        if !waiting.answering.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            waiting.answering = Some(context.waker().clone());
        }
    }

    /// The answer is there: ready when it may follow. What is said later is not heard.
    pub fn poll_sent(&self, context: &Context<'_>) -> Poll<()> {
        if self.unsent.load(Ordering::Acquire) {
            self.listen(context);
            return Poll::Pending;
        }
        self.waiting.lock().answering = None;
        Poll::Ready(())
    }

    /// Sends what waits, if anything does.
    pub fn poll_send(
        &self,
        mut write: impl FnMut(&[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        if !self.unsent.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        let mut waiting = self.waiting.lock();
        while waiting.heads.has_remaining() {
            match ready!(write(&waiting.heads))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => waiting.heads.advance(sent),
            }
        }
        self.unsent.store(false, Ordering::Release);
        if let Some(answering) = &waiting.answering {
            answering.wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }
}

impl Interim {
    /// Tells the client, unless its request has been answered meanwhile.
    pub fn say(&self, status: StatusCode, fields: &HeaderMap) {
        let mut waiting = self.outbox.waiting.lock();
        let is_late = self.outbox.exchange.load(Ordering::Relaxed) != self.exchange;
        let Some(answering) = waiting.answering.clone().filter(|_| !is_late) else { return };
        let head = head(status, fields);
        if waiting.heads.len() + head.len() > MOST_WAITING {
            return;
        }
        waiting.heads.put(head);
        self.outbox.unsent.store(true, Ordering::Release);
        drop(waiting);
        answering.wake();
    }
}

/// The head as it goes out (RFC 9112 §4): without the fields of the last hop and of a content that it cannot have.
/// A gateway may leave `Via` out of what it sends outwards (RFC 9110 §7.6.3).
fn head(status: StatusCode, fields: &HeaderMap) -> BytesMut {
    let mut fields = fields.clone();
    remove_hop_by_hop(&mut fields);
    fields.remove(CONTENT_LENGTH);
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = BytesMut::from(format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).as_str());
    for (name, value) in &fields {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.put_slice(part);
        }
    }
    head.put_slice(b"\r\n");
    head
}

impl fmt::Debug for Interim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interim").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn outbox() -> Arc<Outbox> {
        let outbox = Arc::new(Outbox::default());
        outbox.begin();
        outbox
    }

    fn sent(outbox: &Outbox) -> String {
        let mut sent = Vec::new();
        let done = outbox.poll_send(|bytes| {
            sent.push(bytes[0]);
            Poll::Ready(Ok(1))
        });
        assert!(matches!(done, Poll::Ready(Ok(()))));
        String::from_utf8(sent).unwrap()
    }

    fn hints() -> HeaderMap {
        [("link", "</a.css>"), ("connection", "x-hop"), ("x-hop", "1"), ("content-length", "3")]
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect::<HeaderMap>()
    }

    #[test]
    fn what_is_said_before_the_answer_is_sent_before_it() {
        let (outbox, context) = (outbox(), Context::from_waker(Waker::noop()));
        let client = outbox.client();
        outbox.listen(&context);
        client.say(StatusCode::EARLY_HINTS, &hints());
        assert!(outbox.poll_sent(&context).is_pending());
        let expected = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
        assert_eq!(sent(&outbox), expected);
        assert!(outbox.poll_sent(&context).is_ready());
    }

    #[test]
    fn nothing_is_said_to_the_next_request_nor_after_the_answer() {
        let (outbox, context) = (outbox(), Context::from_waker(Waker::noop()));
        let first = outbox.client();
        first.say(StatusCode::PROCESSING, &hints());
        assert_eq!(sent(&outbox), "", "nobody waits yet");
        outbox.listen(&context);
        assert!(outbox.poll_sent(&context).is_ready());
        first.say(StatusCode::PROCESSING, &hints());
        assert_eq!(sent(&outbox), "", "the answer is there");
        outbox.begin();
        outbox.listen(&context);
        first.say(StatusCode::PROCESSING, &hints());
        assert_eq!(sent(&outbox), "", "another request has begun");
    }

    #[test]
    fn what_a_slow_client_does_not_read_is_bounded() {
        let (outbox, context) = (outbox(), Context::from_waker(Waker::noop()));
        outbox.listen(&context);
        for _ in 0..2_000 {
            outbox.client().say(StatusCode::EARLY_HINTS, &hints());
        }
        let sent = sent(&outbox);
        assert!(sent.len() <= MOST_WAITING && sent.ends_with("\r\n\r\n"));
    }
}
