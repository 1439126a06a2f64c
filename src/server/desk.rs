//! The service as the lane asks it: one plain request at a time, in the connection's own task.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::Service;

use crate::message::lead::{Lead, Led};
use crate::server::upload::Upload;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Asks the service of one connection.
pub(crate) trait Asking: Send {
    /// Asks, and forgets what was asked before.
    fn ask(&mut self, request: Request<Upload>);

    /// The head of the answer, and the lines before its fields; once.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<(Response<Length>, Option<Lead>)>;

    /// The next piece of its content. An error ends it.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>>;

    /// Whether the content is known to be at its end.
    fn is_over(&self) -> bool;

    /// Forgets what was asked: what is not through is cancelled.
    fn forget(&mut self);
}

/// What is known of the length of an answer's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    Known(u64),
    Unknown,
}

/// The service, and what it was asked.
pub(crate) struct Desk<S, F, B> {
    service: S,
    /// In memory of its own, which is kept from one request to the next; a connection that asks nothing has none.
    asked: Option<Pin<Box<Asked<F, B>>>>,
}

pin_project! {
    #[project = AskedProjection]
    enum Asked<F, B> {
        Nothing,
        Answer { #[pin] answer: F },
        Content { #[pin] content: B },
    }
}

impl<S, F, B> Desk<S, F, B> {
    pub(crate) fn new(service: S) -> Self {
        Self { service, asked: None }
    }
}

impl<S, B> Asking for Desk<S, S::Future, B>
where
    S: Service<Request<Upload>, Response = Response<B>, Error = Infallible> + Send,
    S::Future: Send,
    B: Led + Send,
    B::Error: Into<BoxError>,
{
    fn ask(&mut self, request: Request<Upload>) {
        let answer = self.service.call(request);
        let asked = self.asked.get_or_insert_with(|| Box::pin(Asked::Nothing));
        asked.set(Asked::Answer { answer });
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<(Response<Length>, Option<Lead>)> {
        let Some(asked) = &mut self.asked else { return Poll::Pending };
        let AskedProjection::Answer { answer } = asked.as_mut().project() else {
            return Poll::Pending;
        };
        let Ok(response) = ready!(answer.poll(cx));
        let (parts, mut content) = response.into_parts();
        let lead = content.take_lead();
        let length = content.size_hint().exact().map_or(Length::Unknown, Length::Known);
        asked.set(Asked::Content { content });
        Poll::Ready((Response::from_parts(parts, length), lead))
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        let Some(asked) = &mut self.asked else { return Poll::Ready(None) };
        let AskedProjection::Content { mut content } = asked.as_mut().project() else {
            return Poll::Ready(None);
        };
        loop {
            match ready!(content.as_mut().poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(failure)) => return Poll::Ready(Some(Err(failure.into()))),
                // Who asks plainly takes no trailers (RFC 9110 §6.5.1).
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Poll::Ready(Some(Ok(piece)));
                    }
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        match self.asked.as_deref() {
            Some(Asked::Content { content }) => content.is_end_stream(),
            Some(Asked::Nothing) | None => true,
            Some(Asked::Answer { .. }) => false,
        }
    }

    fn forget(&mut self) {
        if let Some(asked) = &mut self.asked {
            asked.set(Asked::Nothing);
        }
    }
}
