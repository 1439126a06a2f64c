//! The service of one connection as hyper calls it: keeps the pulse, refuses heads that are too large.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::Service;

use crate::server::limits::Limits;
use crate::server::pulse::{Busy, Phase, Pulse};
use crate::server::upload::Upload;

/// A service for one connection.
#[derive(Debug)]
pub(crate) struct Reception<S> {
    service: S,
    pulse: Arc<Pulse>,
    body_timeout: Duration,
    target_bytes: usize,
    header_fields: usize,
}

impl<S> Reception<S> {
    pub(crate) fn new(service: S, pulse: Arc<Pulse>, limits: &Limits) -> Self {
        Self {
            service,
            pulse,
            body_timeout: limits.body_timeout,
            target_bytes: limits.target_bytes,
            header_fields: limits.header_fields,
        }
    }

    /// The parser has limits of its own, but not these: it allows targets of 64 KiB, and HTTP/2 any number
    /// of fields.
    fn refuse(&self, request: &Request<Incoming>) -> Option<StatusCode> {
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if target > self.target_bytes {
            Some(StatusCode::URI_TOO_LONG)
        } else if request.headers().len() > self.header_fields {
            Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
        } else {
            None
        }
    }
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Reception<S>
where
    S: Service<Request<Upload>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body,
{
    type Response = Response<Sending<B>>;
    type Error = Infallible;
    type Future = Answering<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Answering<S::Future> {
        let busy = Some(Busy::begin(&self.pulse));
        if let Some(status) = self.refuse(&request) {
            return Answering::Refused { status, busy };
        }
        let request = request.map(|body| Upload::new(body, &self.pulse, self.body_timeout));
        Answering::Called { answer: self.service.clone().call(request), busy }
    }
}

pin_project! {
    /// An answer on its way.
    #[project = AnsweringProjection]
    pub(crate) enum Answering<F> {
        Called { #[pin] answer: F, busy: Option<Busy> },
        Refused { status: StatusCode, busy: Option<Busy> },
    }
}

impl<F, B> Future for Answering<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<Sending<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AnsweringProjection::Called { answer, busy } => {
                let response = ready!(answer.poll(cx))?;
                let busy = busy.take();
                if response.status() == StatusCode::SWITCHING_PROTOCOLS
                    && let Some(busy) = &busy
                {
                    busy.pulse().enter(Phase::Tunnel);
                }
                Poll::Ready(Ok(response.map(|body| Sending {
                    body: Some(body),
                    busy,
                    lent: Lent::No,
                })))
            }
            AnsweringProjection::Refused { status, busy } => {
                let mut response =
                    Response::new(Sending { body: None, busy: busy.take(), lent: Lent::No });
                *response.status_mut() = *status;
                Poll::Ready(Ok(response))
            }
        }
    }
}

pin_project! {
    /// The body of an answer; its request is in progress until this ends or is dropped.
    pub(crate) struct Sending<B> {
        #[pin]
        body: Option<B>,
        busy: Option<Busy>,
        lent: Lent,
    }

    impl<B> PinnedDrop for Sending<B> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            give_back(this.lent, this.busy.as_ref());
        }
    }
}

/// Whether a piece has been given and the next one not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lent {
    No,
    Yes,
}

fn give_back(lent: &mut Lent, busy: Option<&Busy>) {
    if *lent == Lent::Yes {
        *lent = Lent::No;
        if let Some(busy) = busy {
            busy.pulse().return_lent();
        }
    }
}

impl<B: Body<Data = Bytes>> Body for Sending<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        give_back(this.lent, this.busy.as_ref());
        let Some(mut body) = this.body.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        let frame = ready!(body.as_mut().poll_frame(cx));
        match (&frame, &this.busy) {
            (Some(Ok(_)), Some(busy)) if !body.is_end_stream() => {
                *this.lent = Lent::Yes;
                busy.pulse().lend();
            }
            (Some(Ok(_)), _) => {}
            (Some(Err(_)) | None, _) => *this.busy = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
