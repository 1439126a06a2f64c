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
/// Where there is none, it allocates nothing; a timer exists only after
/// somebody had to wait. Dropped before its end, the server reads what little has come already and else closes
/// the connection.
#[derive(Debug)]
pub struct Upload {
    /// Nothing where the lane took the request, which then has no content.
    body: Option<Incoming>,
    watch: Option<Box<Watch>>,
}

#[derive(Debug)]
struct Watch {
    /// While the body is not through, its connection is not idle, even if the answer is.
    busy: Busy,
    /// Of its request, as `Doubtful` counts.
    head: u64,
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
    /// The parser takes it, and others may read it otherwise.
    #[error("request body: {0}")]
    Doubtful(&'static str),
}

impl UploadFailure {
    /// The cause is of the kind `TimedOut`, for those who know nothing of this server.
    fn silent() -> Self {
        Self::Silent(io::ErrorKind::TimedOut.into())
    }
}

impl Upload {
    /// The body of the connection's request number `head`.
    pub(crate) fn new(body: Incoming, pulse: &Arc<Pulse>, head: u64, patience: Duration) -> Self {
        let watch = (!body.is_end_stream()).then(|| {
            let (busy, wait) = (Busy::begin(pulse), Wait::None);
            Box::new(Watch { busy, head, patience, silence: None, wait })
        });
        Self { body: Some(body), watch }
    }

    /// No content.
    pub(crate) fn none() -> Self {
        Self { body: None, watch: None }
    }
}

impl Watch {
    /// Why nothing more of the body is believed.
    fn doubt(&self) -> Option<UploadFailure> {
        let doubtful = self.busy.pulse().doubtful()?;
        (doubtful.head == self.head).then(|| UploadFailure::Doubtful(doubtful.why.detail()))
    }

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
        let Some(body) = this.body.as_mut().filter(|body| !body.is_end_stream()) else {
            this.watch = None;
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(cx);
        // After the poll: it is what reads on.
        if let Some(failure) = this.watch.as_ref().and_then(|watch| watch.doubt()) {
            this.watch = None;
            return Poll::Ready(Some(Err(failure)));
        }
        match (polled, &mut this.watch) {
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
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
