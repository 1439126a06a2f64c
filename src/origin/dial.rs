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
            Ok(TokioIo::new(Line { tcp, turn: Turn::Quiet }))
        })
    }
}

/// A socket to the origin that is looked at once more before a request goes out on it.
///
/// A connection that waited in the pool may have been closed by the origin, or may hold bytes that nobody asked
/// for, without the runtime knowing it yet. A request written to it would be lost without our being able to tell
/// whether it was processed, or would be answered by those bytes. So before the first byte of a request, the
/// kernel is asked; if all is not as it should be the write fails with `Unsent`, and the request, of which
/// *not a byte has been written*, can go elsewhere. What is left is an end that is still on the network.
///
/// That a write is the first of a request is certain only where requests are seen whole: a GET or HEAD head in
/// one write, then only reads. Anything else (a body, TLS, HTTP/2) makes the line unsure, and it is not
/// looked at again.
#[derive(Debug)]
pub(crate) struct Line {
    tcp: TcpStream,
    turn: Turn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Nothing asked that is not answered at least in part.
    Quiet,
    /// A request without a body was written whole.
    Asked,
    Unsure,
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
    fn look(&self) -> io::Result<()> {
        if self.turn != Turn::Quiet {
            return Ok(());
        }
        let mut byte = [MaybeUninit::uninit()];
        match SockRef::from(&self.tcp).peek(&mut byte) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Ok(_) | Err(_) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, Unsent)),
        }
    }

    /// `first` is the beginning of what was to be written, `length` the whole.
    fn note_written(&mut self, first: &[u8], length: usize, written: usize) {
        let is_bare = first.starts_with(b"GET ") || first.starts_with(b"HEAD ");
        let is_whole = first.len() == length && written == length && first.ends_with(b"\r\n\r\n");
        self.turn = match self.turn {
            Turn::Quiet if is_bare && is_whole => Turn::Asked,
            Turn::Quiet | Turn::Asked | Turn::Unsure => Turn::Unsure,
        };
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.tcp).poll_read(cx, buffer))?;
        if this.turn == Turn::Asked {
            this.turn = Turn::Quiet;
        }
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
        this.look()?;
        let written = ready!(Pin::new(&mut this.tcp).poll_write(cx, bytes))?;
        this.note_written(bytes, bytes.len(), written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.look()?;
        let written = ready!(Pin::new(&mut this.tcp).poll_write_vectored(cx, slices))?;
        let first = slices.first().map_or(&[][..], |slice| slice);
        this.note_written(first, slices.iter().map(|slice| slice.len()).sum(), written);
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
