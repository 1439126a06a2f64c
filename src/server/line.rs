//! The line to a client: TCP as it is, or TLS over it.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::message::shelf::Extent;
use crate::server::tls::H2;

/// What is given to the system in one go at most. A body of 1 MiB from memory over loopback takes 283 µs in pieces of this
/// size and 620 in pieces of 64 KiB, of 128 KiB 28 and 33, and 66 as one: what is longer than 64 KiB becomes several
/// segments before the first has been sent, and behind whole multiples of 64 KiB a head's length is left over.
const AT_ONCE: usize = 44 << 10;

/// How much of a body on a shelf is read to be encrypted: three records of TLS (RFC 8446 §5.1), which go out together.
const RECORDS: usize = 3 * (16 << 10);

/// A closed set, so that plain connections pay one comparison for the others.
#[derive(Debug)]
pub(crate) enum Line {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What is known of the protocol before the first byte.
pub(crate) enum Agreed<'a> {
    /// Nothing; the first bytes tell.
    Nothing(&'a TcpStream),
    H1,
    H2,
}

impl Line {
    pub(crate) fn agreed(&self) -> Agreed<'_> {
        match self {
            Self::Plain(tcp) => Agreed::Nothing(tcp),
            Self::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(H2) => Agreed::H2,
            // RFC 9113 §3.2: over TLS, HTTP/2 is spoken only by who has asked for it in the handshake.
            Self::Tls(_) => Agreed::H1,
        }
    }

    /// Has the connection be reset when it is dropped: what did not go out is lost.
    pub(crate) fn reset(&self) {
        let tcp = match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(stream) => stream.get_ref().0,
        };
        if let Err(error) = tcp.set_zero_linger() {
            tracing::debug!(%error, "a cut-off answer ends like a whole one");
        }
    }

    /// Sends as much of a head, and of a body on a shelf from `at` on, as goes out at once.
    pub(crate) fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        head: &[u8],
        body: &Extent,
        at: usize,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => loop {
                ready!(tcp.poll_write_ready(context))?;
                let sent = tcp.try_io(Interest::WRITABLE, || body.send_to(tcp.as_fd(), head, at));
                match sent {
                    // It is not ready any more: the next look registers.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    sent => return Poll::Ready(sent),
                }
            },
            Self::Tls(stream) => {
                // What finds no room is read again, which is seldom: nothing more is read for a client that reads no further.
                let piece = body.read(at, RECORDS)?;
                let slices = [IoSlice::new(head), IoSlice::new(&piece)];
                Pin::new(stream).poll_write_vectored(context, &slices)
            }
        }
    }

    /// Whether what is on a shelf is sent from there.
    pub(crate) fn sends_from_shelf(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(_) => false,
        }
    }

    /// Whether what was written may still be here, and not with the system.
    pub(crate) fn holds_back(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(_) => true,
        }
    }
}

/// Has as much of the beginning of `slices` written as is written at once: whole slices, or a part of the first two.
#[inline]
fn with_less<T>(slices: &[IoSlice<'_>], write: impl FnOnce(&[IoSlice<'_>]) -> T) -> T {
    let mut left = AT_ONCE;
    let fit = slices.iter().take_while(|slice| {
        let fits = slice.len() <= left;
        left = left.saturating_sub(slice.len());
        fits
    });
    match (fit.count(), slices) {
        (all, _) if all == slices.len() || all > 1 => write(&slices[..all]),
        (1, [first, second, ..]) => {
            let left = AT_ONCE - first.len();
            write(&[IoSlice::new(first), IoSlice::new(&second[..left])])
        }
        (_, [first, ..]) => write(&[IoSlice::new(&first[..AT_ONCE])]),
        (_, []) => write(&[]),
    }
}

impl AsyncRead for Line {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Line {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, &bytes[..bytes.len().min(AT_ONCE)]),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => {
                let mut tcp = Pin::new(tcp);
                with_less(slices, |slices| tcp.as_mut().poll_write_vectored(cx, slices))
            }
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_written_at_once_than_makes_one_segment_and_nothing_is_passed_over() {
        let bytes: Vec<u8> = (0..=250).cycle().take(200_000).collect();
        for lengths in [
            &[][..],
            &[0],
            &[300],
            &[300, 1024],
            &[300, 131_072],
            &[131_072],
            &[0, 131_072, 5],
            &[300, 50_000, 300],
            &[10, 10, 10, 45_056, 10],
            &[45_056, 1],
            &[45_055, 2],
            &[30_000, 30_000, 30_000],
        ] {
            let mut at = 0;
            let slices = lengths.iter().map(|length| {
                at += length;
                IoSlice::new(&bytes[at - length..at])
            });
            let slices: Vec<_> = slices.collect();
            let written = with_less(&slices, |slices| {
                slices.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<_>>()
            });
            assert!(written.len() <= AT_ONCE, "{lengths:?}");
            assert!(bytes.starts_with(&written), "{lengths:?}");
            assert_eq!(written.is_empty(), at == 0, "{lengths:?}");
        }
    }
}
