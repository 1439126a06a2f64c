//! Connections to one endpoint: how they are made, and the last look before a request is written to an old one.

use std::error::Error;
use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::Service;

type BoxError = Box<dyn Error + Send + Sync>;
type Dialing<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// How often the kernel asks a silent origin whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Connects to one endpoint, whatever authority the request names: name look-up, TCP and TLS within one time.
#[derive(Clone)]
pub(crate) struct Dial {
    endpoint: Uri,
    within: Duration,
    tls: HttpsConnector<Tcp>,
}

impl Dial {
    pub(crate) fn new(endpoint: Uri, within: Duration, tls: Arc<rustls::ClientConfig>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        // Shared among the addresses of a name, so that a dead one leaves time for the next.
        tcp.set_connect_timeout(Some(within));
        Self { endpoint, within, tls: HttpsConnector::from((Tcp(tcp), tls)) }
    }
}

impl Service<Uri> for Dial {
    type Response = MaybeHttpsStream<TokioIo<Line>>;
    type Error = BoxError;
    type Future = Dialing<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tls.poll_ready(cx)
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let within = self.within;
        let connecting = self.tls.call(self.endpoint.clone());
        Box::pin(async move {
            match timeout(within, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        })
    }
}

#[derive(Clone)]
struct Tcp(HttpConnector);

impl Service<Uri> for Tcp {
    type Response = TokioIo<Line>;
    type Error = BoxError;
    type Future = Dialing<TokioIo<Line>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, endpoint: Uri) -> Self::Future {
        let connecting = self.0.call(endpoint);
        Box::pin(async move {
            let tcp = connecting.await?.into_inner();
            Ok(TokioIo::new(Line { tcp, last: Last::Read }))
        })
    }
}

/// A socket to the origin that is looked at once more before a request goes out on it.
///
/// A connection that waited in the pool may have been closed by the origin, or may hold bytes that nobody asked
/// for, without the runtime knowing it yet. A request written to it would be lost without our being able to tell
/// whether it was processed, or would be answered by those bytes. So before a write that follows a read and is
/// the head of an HTTP/1.1 request, the kernel is asked; if all is not as it should be the write fails with
/// `Unsent`, and the request, of which *not a byte has been written*, can go elsewhere. What is left is an
/// end that is still on the network, and TLS, where no write looks like a head and only what the runtime has
/// noticed counts.
///
/// A piece of a body that looks like a head is taken for one. That fails its own request, if the origin has
/// answered or left before the body's end; such a request has a body, and so is never sent again.
#[derive(Debug)]
pub(crate) struct Line {
    tcp: TcpStream,
    last: Last,
}

/// What was done last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// Also of a new connection.
    Read,
    Write,
}

/// The request was not begun on this connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unsent;

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the origin closed or used the connection while it was idle")
    }
}

impl Error for Unsent {}

impl Line {
    fn look(&self, bytes: &[u8]) -> io::Result<()> {
        if self.last == Last::Write || !is_head(bytes) {
            return Ok(());
        }
        let mut byte = [MaybeUninit::uninit()];
        match SockRef::from(&self.tcp).peek(&mut byte) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Ok(_) | Err(_) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, Unsent)),
        }
    }
}

/// A request line first, an empty line last.
fn is_head(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\r\n\r\n")
        && bytes
            .split(|byte| *byte == b'\r')
            .next()
            .is_some_and(|line| line.ends_with(b" HTTP/1.1"))
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.tcp).poll_read(cx, buffer))?;
        this.last = Last::Read;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.look(bytes)?;
        let written = ready!(Pin::new(&mut this.tcp).poll_write(cx, bytes))?;
        this.last = Last::Write;
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let [only] = slices {
            this.look(only)?;
        }
        let written = ready!(Pin::new(&mut this.tcp).poll_write_vectored(cx, slices))?;
        this.last = Last::Write;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

/// The first error of type `E` among the causes of `error`, looking into the ones that `io::Error` hides.
pub(crate) fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let hidden = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match hidden {
            Some(hidden) => Some(hidden),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_told_from_what_else_is_written() {
        assert!(is_head(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert!(is_head(b"DELETE /x HTTP/1.1\r\n\r\n"));
        for other in [
            &b""[..],
            b"{\"a\":1}",
            b"GET / HTTP/1.1\r\nhost: a\r\n",
            b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nok",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
        ] {
            assert!(!is_head(other), "{other:?}");
        }
    }
}
