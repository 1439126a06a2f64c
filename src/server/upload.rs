//! The body of a request: fails when its client falls silent while somebody waits for it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use crate::server::pulse::{Busy, Pulse};

/// A request body as it arrives.
///
/// Where there is none, it is no larger than hyper's own and allocates nothing; a timer exists only after
/// somebody had to wait. Dropped before its end, the server reads what little has come already and else closes
/// the connection.
#[derive(Debug)]
pub struct Upload {
    body: Incoming,
    watch: Option<Box<Watch>>,
}

#[derive(Debug)]
struct Watch {
    /// While the body is not through, its connection is not idle, even if the answer is. Held for its drop.
    _busy: Busy,
    patience: Duration,
    silence: Option<Pin<Box<Sleep>>>,
    wait: Wait,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    None,
    Running,
}

/// Why a request body did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum UploadFailure {
    /// The client sent nothing for `body_timeout`.
    #[error("request body: the client fell silent")]
    Silent(#[source] io::Error),
    /// The client left, or framed its body wrongly.
    #[error("request body: {0}")]
    Broken(#[from] hyper::Error),
}

impl UploadFailure {
    /// The cause is of the kind `TimedOut`, for those who know nothing of this server.
    fn silent() -> Self {
        Self::Silent(io::ErrorKind::TimedOut.into())
    }
}

impl Upload {
    pub(crate) fn new(body: Incoming, pulse: &Arc<Pulse>, patience: Duration) -> Self {
        let watch = (!body.is_end_stream()).then(|| {
            Box::new(Watch { _busy: Busy::begin(pulse), patience, silence: None, wait: Wait::None })
        });
        Self { body, watch }
    }
}

impl Watch {
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(self.patience)));
        if self.wait == Wait::None {
            silence.as_mut().reset(Instant::now() + self.patience);
            self.wait = Wait::Running;
        }
        silence.as_mut().poll(cx)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadFailure;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFailure>>> {
        let this = self.get_mut();
        // hyper 1.12 does not tell the end of a body of known length whose answer was through before it, until
        // the next request begins; the count tells it.
        if this.body.is_end_stream() {
            this.watch = None;
            return Poll::Ready(None);
        }
        match (Pin::new(&mut this.body).poll_frame(cx), &mut this.watch) {
            (Poll::Ready(Some(Ok(frame))), Some(watch)) => {
                watch.wait = Wait::None;
                Poll::Ready(Some(Ok(frame)))
            }
            (Poll::Ready(frame), _) => {
                this.watch = None;
                Poll::Ready(frame.map(|frame| frame.map_err(UploadFailure::from)))
            }
            (Poll::Pending, Some(watch)) => {
                watch.poll_silence(cx).map(|()| Some(Err(UploadFailure::silent())))
            }
            (Poll::Pending, None) => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
