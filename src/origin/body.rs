//! The two bodies of an exchange: what goes to the origin tells its progress, what comes back must not stall.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};

use crate::message::body as message;
use crate::message::failure::BodyError;
use crate::origin::failure::OriginFailure;
use crate::origin::plain::Answering;
use crate::telemetry::metrics::OriginMetrics;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request body on its way to the origin. An empty one costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Outgoing(Option<Streaming>);

#[derive(Debug)]
struct Streaming {
    body: UnsyncBoxBody<Bytes, BoxError>,
    feed: Arc<Feed>,
}

/// When the origin last took a piece of a request body; nobody, while the client owes one.
#[derive(Debug)]
pub(crate) struct Feed(Mutex<Option<Instant>>);

/// What the client's body failed of.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct RequestBodyFailure(OriginFailure);

impl RequestBodyFailure {
    fn of(error: &BoxError) -> Self {
        Self(match error.downcast_ref() {
            Some(BodyError::Silent) => OriginFailure::RequestSilent,
            Some(BodyError::Cut(_) | BodyError::Abandoned) | None => {
                OriginFailure::RequestBody(Arc::from(error.to_string()))
            }
        })
    }

    pub(crate) fn failure(&self) -> OriginFailure {
        self.0.clone()
    }
}

impl Outgoing {
    pub(crate) fn new<B>(body: B) -> (Self, Option<Arc<Feed>>)
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return (Self(None), None);
        }
        let feed = Arc::new(Feed(Mutex::new(Some(Instant::now()))));
        let body = body.map_err(Into::into).boxed_unsync();
        (Self(Some(Streaming { body, feed: Arc::clone(&feed) })), Some(feed))
    }
}

impl Feed {
    /// When the origin's time to answer is over, as far as is known now: it runs from the last piece it took,
    /// and not while the client is the one who is waited for.
    pub(crate) fn deadline(&self, patience: Duration) -> Instant {
        self.0.lock().unwrap_or_else(Instant::now) + patience
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = RequestBodyFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyFailure>>> {
        let Some(Streaming { body, feed }) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(cx);
        *feed.0.lock() = polled.is_ready().then(Instant::now);
        let frame = ready!(polled);
        Poll::Ready(frame.map(|frame| frame.map_err(|error| RequestBodyFailure::of(&error))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|streaming| streaming.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |streaming| streaming.body.size_hint())
    }
}

/// A response body as it arrives from the origin.
///
/// It fails with `Stalled` when nothing comes for the origin's idle time while somebody waits, and with `Cut` when
/// the connection ends before the body does; an end without an error is the true end. It holds the request's
/// place among `max_connections` until it is through. Dropped early, the connection is closed.
#[derive(Debug)]
pub struct Incoming {
    body: Coming,
    place: Option<Place>,
    metrics: OriginMetrics,
    patience: Duration,
    silence: Option<Pin<Box<Sleep>>>,
    wait: Wait,
}

/// A response body as whoever made the exchange gives it.
#[derive(Debug)]
pub(crate) enum Coming {
    Driven(hyper::body::Incoming),
    Plain(Answering),
}

/// One of the origin's, and one of the route's where that has a bound.
type Place = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    None,
    Running,
}

impl Incoming {
    pub(crate) fn new(
        body: Coming,
        place: Place,
        patience: Duration,
        metrics: OriginMetrics,
    ) -> Self {
        Self { body, place: Some(place), metrics, patience, silence: None, wait: Wait::None }
    }

    fn failed(&self, failure: OriginFailure) -> OriginFailure {
        self.metrics.failed(failure.token());
        failure
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

impl Body for Coming {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        match self.get_mut() {
            Self::Driven(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|error| error.to_string()))),
            Self::Plain(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Driven(body) => body.is_end_stream(),
            Self::Plain(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Driven(body) => body.size_hint(),
            Self::Plain(body) => body.size_hint(),
        }
    }
}

/// What is all here needs no place any more, and nobody who waits for it.
impl From<Incoming> for message::Body {
    fn from(incoming: Incoming) -> Self {
        let here = match &incoming.body {
            Coming::Plain(body) => body.whole(),
            Coming::Driven(_) => None,
        };
        here.map_or_else(|| Self::live(incoming), Self::from)
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = OriginFailure;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OriginFailure>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            return this.poll_silence(cx).map(|()| Some(Err(this.failed(OriginFailure::Stalled))));
        };
        this.wait = Wait::None;
        if !matches!(frame, Some(Ok(_))) || this.body.is_end_stream() {
            this.place = None;
        }
        Poll::Ready(
            frame.map(|frame| {
                frame.map_err(|error| this.failed(OriginFailure::Cut(Arc::from(error))))
            }),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
