//! What follows an upgrade: bytes both ways, until both sides are done or fall silent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Response;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::time::sleep;

use crate::origin::body::Incoming;

/// Joins a client's connection to the origin's after a 101.
///
/// `answer` is the origin's 101 itself: it holds the request's place among `max_connections`, and with it the
/// tunnel does. Its status and fields are to be copied to the client's 101 before.
/// Ends when both sides have ended (one that has ended only its own half is still listened to), when either
/// breaks, or when neither says anything for `idle`. Dropped, both connections are closed.
pub async fn tunnel(
    client: OnUpgrade,
    mut answer: Response<Incoming>,
    idle: Duration,
) -> io::Result<()> {
    let origin = hyper::upgrade::on(&mut answer);
    let (client, origin) =
        tokio::try_join!(client, origin).map_err(|error| io::Error::other(error.to_string()))?;
    let said = Arc::new(AtomicU64::new(0));
    let mut client = Heard { io: TokioIo::new(client), said: Arc::clone(&said) };
    let mut origin = Heard { io: TokioIo::new(origin), said: Arc::clone(&said) };
    let ended = tokio::select! {
        ended = copy_bidirectional(&mut client, &mut origin) => ended.map(|_| ()),
        () = silence(&said, idle) => Err(io::ErrorKind::TimedOut.into()),
    };
    drop(answer);
    ended
}

/// Returns when nothing was said for between one and two times `idle`.
async fn silence(said: &AtomicU64, idle: Duration) {
    let mut before = u64::MAX;
    loop {
        let now = said.load(Ordering::Relaxed);
        if now == before {
            return;
        }
        before = now;
        sleep(idle).await;
    }
}

/// One side, counting how often it said something.
struct Heard {
    io: TokioIo<Upgraded>,
    said: Arc<AtomicU64>,
}

impl AsyncRead for Heard {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
        this.said.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
