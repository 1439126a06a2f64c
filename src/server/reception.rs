//! The service of one connection as hyper calls it: keeps the pulse, and has refused what is too large or ambiguous.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use pin_project_lite::pin_project;
use tower::Service;

use crate::message::fields::join_cookies;
use crate::message::lead::Led;
use crate::message::problem::Refusal;
use crate::server::limits::Limits;
use crate::server::pulse::{Busy, Order, Phase, Pulse};
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
    /// of fields. It decodes `chunked` and leaves other codings in the content.
    fn refuse(&self, request: &Request<Incoming>, head: u64) -> Option<Refusal> {
        let refusal = |status, detail| Some(Refusal { status, detail });
        if let Some(doubtful) = self.pulse.doubtful()
            && doubtful.head == head
        {
            return refusal(StatusCode::BAD_REQUEST, doubtful.why.detail());
        }
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if target > self.target_bytes {
            refusal(StatusCode::URI_TOO_LONG, "the target is too long")
        } else if request.headers().len() > self.header_fields {
            refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "there are too many fields")
        } else if request.headers().get_all(CONTENT_LENGTH).iter().nth(1).is_some() {
            // Of HTTP/1 the framing knows; HTTP/2 takes lengths that are equal as numbers.
            refusal(StatusCode::BAD_REQUEST, "there are several lengths")
        } else if !is_plainly_coded(request.headers()) {
            // RFC 9112 §6.1: "A server that receives a request message with a transfer coding it does not
            // understand SHOULD respond with 501 (Not Implemented)."
            refusal(StatusCode::NOT_IMPLEMENTED, "no transfer coding but chunked is understood")
        } else {
            None
        }
    }
}

/// Whether the content is what the parser makes of it.
fn is_plainly_coded(fields: &HeaderMap) -> bool {
    let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        && codings.next().is_none()
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Reception<S>
where
    S: Service<Request<Upload>, Response = Response<B>, Error = Infallible> + Clone,
    B: Led,
{
    type Response = Response<Sending<B>>;
    type Error = Infallible;
    type Future = Answering<S::Future, B>;

    fn call(&self, request: Request<Incoming>) -> Answering<S::Future, B> {
        let busy = Some(Busy::begin(&self.pulse));
        let head = self.pulse.take_up();
        let refusal = self.refuse(&request, head);
        self.pulse.outbox().begin();
        // RFC 9110 §15.2: "A server MUST NOT send a 1xx response to an HTTP/1.0 client." HTTP/2 would allow it;
        // hyper's server has no way.
        let hearing =
            if request.version() == Version::HTTP_11 { Hearing::NotYet } else { Hearing::Never };
        let version = request.version();
        let mut request =
            request.map(|body| Upload::new(body, &self.pulse, head, self.body_timeout));
        if version == Version::HTTP_2 {
            join_cookies(request.headers_mut());
        }
        // Nobody reads the content of what is refused.
        let then = if refusal.is_some() { Then::Closes } else { Then::GoesOn };
        if let Some(refusal) = refusal {
            request.extensions_mut().insert(refusal);
        }
        let asked = Asked { version, then };
        Answering::Called { answer: self.service.clone().call(request), asked, hearing, busy }
    }
}

/// What is remembered of a request until it is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    version: Version,
    then: Then,
}

/// What becomes of an HTTP/1 connection behind the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoesOn,
    Closes,
}

/// Whether the client of a request hears interim responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hearing {
    Never,
    /// The answer was not waited for so far.
    NotYet,
    Listens,
}

pin_project! {
    /// An answer on its way.
    #[project = AnsweringProjection]
    pub(crate) enum Answering<F, B> {
        Called { #[pin] answer: F, asked: Asked, hearing: Hearing, busy: Option<Busy> },
        /// It is there, and what precedes it is not sent yet.
        HeldBack { response: Option<Response<B>>, asked: Asked, busy: Option<Busy> },
    }
}

impl<F, B> Future for Answering<F, B>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: Led,
{
    type Output = Result<Response<Sending<B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (response, asked, busy) = match self.as_mut().project() {
            AnsweringProjection::Called { answer, asked, hearing, busy } => {
                let Poll::Ready(Ok(response)) = answer.poll(cx) else {
                    if let (Hearing::NotYet | Hearing::Listens, Some(busy)) = (*hearing, busy) {
                        busy.pulse().outbox().listen(cx);
                        *hearing = Hearing::Listens;
                    }
                    return Poll::Pending;
                };
                if *hearing != Hearing::Listens {
                    return Poll::Ready(Ok(sending(response, *asked, busy.take())));
                }
                (response, *asked, busy.take())
            }
            AnsweringProjection::HeldBack { response, asked, busy } => {
                let Some(response) = response.take() else { return Poll::Pending };
                (response, *asked, busy.take())
            }
        };
        if busy.as_ref().is_some_and(|busy| busy.pulse().outbox().poll_sent(cx).is_pending()) {
            self.set(Self::HeldBack { response: Some(response), asked, busy });
            return Poll::Pending;
        }
        Poll::Ready(Ok(sending(response, asked, busy)))
    }
}

fn sending<B: Led>(
    mut response: Response<B>,
    Asked { version, then }: Asked,
    busy: Option<Busy>,
) -> Response<Sending<B>> {
    if let Some(lead) = response.body_mut().take_lead() {
        lead.fold_into(response.headers_mut());
    }
    if response.status().canonical_reason().is_none()
        && response.extensions().get::<ReasonPhrase>().is_none()
    {
        // The library has a word of its own for none.
        response.extensions_mut().insert(ReasonPhrase::from_static(b""));
    }
    // RFC 9112 §2.3: "Intermediaries that process HTTP messages [...] MUST send their own HTTP-version in forwarded messages": an
    // origin's would have the library send without an end what the client cannot see cut off.
    *response.version_mut() = Version::HTTP_11;
    let ends_with_connection = version < Version::HTTP_11
        && response.body().size_hint().exact().is_none()
        && !response.headers().contains_key(CONTENT_LENGTH);
    if ends_with_connection {
        // Of a response of HTTP/1.1 the library tells an older client that the connection goes on, whatever it says itself.
        *response.version_mut() = Version::HTTP_10;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let pulse = busy.as_ref().map(Busy::pulse);
    if let Some(pulse) = pulse {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            pulse.enter(Phase::Tunnel);
        } else if (pulse.order() != Order::Continue || then == Then::Closes)
            && pulse.phase() != Phase::Multiplexed
        {
            // RFC 9112 §9.6: a server that closes a connection says so in its last response.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    response.map(|body| Sending { body, ends_with_connection, busy, lent: Lent::No })
}

pin_project! {
    /// The body of an answer; its request is in progress until this ends or is dropped.
    pub(crate) struct Sending<B>
    where
        B: Body,
    {
        #[pin]
        body: B,
        // Whether nothing else tells where it ends (RFC 9112 §6.3).
        ends_with_connection: bool,
        busy: Option<Busy>,
        lent: Lent,
    }

    impl<B> PinnedDrop for Sending<B>
    where
        B: Body,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(busy) = this.busy
                && *this.ends_with_connection
                && !this.body.is_end_stream()
            {
                busy.pulse().cut_off();
            }
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

impl<B: Led> Body for Sending<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        give_back(this.lent, this.busy.as_ref());
        let mut body = this.body;
        let frame = ready!(body.as_mut().poll_frame(cx));
        match (&frame, &this.busy) {
            (Some(Ok(_)), Some(busy)) if !body.is_end_stream() => {
                *this.lent = Lent::Yes;
                busy.pulse().lend();
            }
            (Some(Ok(_)), _) => {}
            (end @ (Some(Err(_)) | None), busy) => {
                if let (Some(_), true, Some(busy)) = (end, *this.ends_with_connection, busy) {
                    busy.pulse().cut_off();
                }
                *this.busy = None;
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
