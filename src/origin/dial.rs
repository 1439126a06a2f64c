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
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
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
    /// `server_name` is the name that the certificate must bear, where it is not the endpoint's host.
    pub(crate) fn new(
        endpoint: Uri,
        within: Duration,
        tls: Arc<rustls::ClientConfig>,
        server_name: Option<ServerName<'static>>,
    ) -> Self {
        let tcp = connector(within);
        let tls = match server_name {
            None => HttpsConnector::from((Tcp(tcp), tls)),
            Some(name) => {
                let names = Arc::new(FixedServerNameResolver::new(name));
                HttpsConnector::new(Tcp(tcp), tls, false, names)
            }
        };
        Self { endpoint, within, tls }
    }
}

/// Looks up names and makes TCP connections.
pub(crate) fn connector(within: Duration) -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    // Shared among the addresses of a name, so that a dead one leaves time for the next.
    tcp.set_connect_timeout(Some(within));
    tcp
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
            Ok(TokioIo::new(Line::new(tcp)))
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
/// A body whose length its head tells is never taken for a head, whatever it looks like: what of it is still to be
/// written is counted. A piece of a body in chunks that looks like a head is taken for one. That fails its own
/// request, if the origin has answered or left before the body's end; such a body streams, and so is never sent
/// again.
#[derive(Debug)]
pub(crate) struct Line {
    tcp: TcpStream,
    last: Last,
    /// Bytes of the request that is being written which are still to come, where its head told how many.
    owed: u64,
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
    fn new(tcp: TcpStream) -> Self {
        Self { tcp, last: Last::Read, owed: 0 }
    }

    /// Looks at the connection before `bytes` go out, if they begin a request; says how much belongs to that.
    fn look(&self, bytes: &[u8]) -> io::Result<u64> {
        if self.owed > 0 || !is_head(bytes) {
            return Ok(self.owed);
        }
        let owed = bytes.len() as u64 + content_length(bytes);
        if self.last == Last::Write {
            return Ok(owed);
        }
        if is_quiet(&self.tcp) {
            Ok(owed)
        } else {
            Err(io::Error::new(io::ErrorKind::ConnectionAborted, Unsent))
        }
    }
}

/// Whether the origin has neither ended a connection nor said anything that nobody has read, as far as the kernel knows.
pub(crate) fn is_quiet(tcp: &TcpStream) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    let peeked = SockRef::from(tcp).peek(&mut byte);
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// What a head says of its body's length; nothing where it has none or one in chunks.
fn content_length(head: &[u8]) -> u64 {
    let mut lines = head.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        name.eq_ignore_ascii_case(b"content-length:").then_some(value)
    });
    let value = value.and_then(|value| std::str::from_utf8(value.trim_ascii()).ok());
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
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
        let owed = this.look(bytes)?;
        let written = ready!(Pin::new(&mut this.tcp).poll_write(cx, bytes))?;
        this.last = Last::Write;
        this.owed = owed.saturating_sub(written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let owed = this.look(slices.first().map_or(&[], |first| first))?;
        let written = ready!(Pin::new(&mut this.tcp).poll_write_vectored(cx, slices))?;
        this.last = Last::Write;
        this.owed = owed.saturating_sub(written as u64);
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
    fn a_head_tells_the_length_of_its_body() {
        for (head, length) in [
            (&b"QUERY / HTTP/1.1\r\ncontent-length: 12\r\nhost: a\r\n\r\n"[..], 12),
            (b"POST / HTTP/1.1\r\nContent-Length:7\r\n\r\n", 7),
            (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", 0),
            (b"GET / HTTP/1.1\r\nx-content-length: 12\r\n\r\n", 0),
            (b"GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n", 0),
        ] {
            assert_eq!(content_length(head), length, "{head:?}");
        }
    }

    /// Through a body that looks like a head, while the origin has answered already.
    #[tokio::test]
    async fn a_body_of_known_length_is_never_taken_for_a_head() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut origin, _) = listener.accept().await.unwrap();
        let mut line = Line::new(tcp);
        let hidden = b"GET /hidden HTTP/1.1\r\n\r\n";
        let head = format!("QUERY / HTTP/1.1\r\ncontent-length: {}\r\n\r\n", hidden.len());
        line.write_all(head.as_bytes()).await.unwrap();
        origin.write_all(b"early").await.unwrap();
        assert_eq!(line.read_u8().await.unwrap(), b'e');
        line.write_all(hidden).await.unwrap();
        // The next head is one, and what nobody has read is seen.
        assert_eq!(line.read_u8().await.unwrap(), b'a');
        let refused = line.write_all(head.as_bytes()).await.unwrap_err();
        assert!(cause::<Unsent>(refused.get_ref().unwrap()).is_some(), "{refused}");
    }

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
