//! One record per request, told to the log and the metrics when its response is over.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{HeaderValue, VIA};
use http::uri::Scheme;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::Service;

use crate::lookup::cache_status::{CacheId, Status, cache_status};
use crate::lookup::outcome::Outcome;
use crate::lookup::record::{BodyEnd, Ended, Record, words};
use crate::message::body::Body;
use crate::message::failure::BodyError;
use crate::message::fields::{CACHE_STATUS, X_CACHE, X_CACHE_LAYER, X_REQUEST_ID};
use crate::message::interim::Outbox;
use crate::message::lead::{Lead, Led, Prefaced};
use crate::message::problem;
use crate::pipeline::crossing::{Arrival, Departure};
use crate::route::ServerFields;
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::time::Timestamp;

/// The outermost layer, for one client: opens a record, which closes when the body is sent or dropped.
pub(crate) struct Observe<S> {
    parts: Arc<Parts>,
    client: IpAddr,
    scheme: Scheme,
    outbox: Arc<Outbox>,
    inner: S,
}

struct Parts {
    metrics: Metrics,
    log: AccessLog,
    cache: CacheId,
}

/// Observes for whoever connects; cheap to ask.
#[derive(Clone)]
pub(crate) struct Observatory(Arc<Parts>);

impl Observatory {
    pub(crate) fn new(metrics: Metrics, log: AccessLog, cache: CacheId) -> Self {
        Self(Arc::new(Parts { metrics, log, cache }))
    }

    /// The whole stack for one client, which connected by `scheme`.
    pub(crate) fn observe<S>(
        &self,
        client: IpAddr,
        scheme: Scheme,
        outbox: Arc<Outbox>,
        inner: S,
    ) -> Observe<S> {
        Observe { parts: self.0.clone(), client, scheme, outbox, inner }
    }
}

impl<S: Clone> Clone for Observe<S> {
    fn clone(&self) -> Self {
        let Self { parts, client, scheme, outbox, inner } = self;
        Self {
            parts: parts.clone(),
            client: *client,
            scheme: scheme.clone(),
            outbox: outbox.clone(),
            inner: inner.clone(),
        }
    }
}

impl<S, B> Service<Request<B>> for Observe<S>
where
    S: Service<Arrival, Response = Departure, Error = Infallible>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Observed>;
    type Error = Infallible;
    type Future = Observing<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let now = Timestamp::now();
        let request =
            request.map(|body| if body.is_end_stream() { Body::Empty } else { Body::live(body) });
        let mut record = Record::open(Some(self.client), now);
        if self.parts.log.is_on() {
            record.note(&request);
        }
        let id = request.headers().get(X_REQUEST_ID).cloned();
        let interim = self.outbox.client();
        let scheme = self.scheme.clone();
        let arrival = Arrival { request, client: self.client, scheme, interim, now };
        let opened = Opened { parts: self.parts.clone(), record };
        Observing { departure: self.inner.call(arrival), opened: Some(opened), id }
    }
}

/// A record that is not told yet.
struct Opened {
    parts: Arc<Parts>,
    record: Record,
}

pin_project! {
    /// Resolves to the response, whose body carries the record on.
    pub(crate) struct Observing<F> {
        #[pin]
        departure: F,
        opened: Option<Opened>,
        // What the client calls its request.
        id: Option<HeaderValue>,
    }
}

impl<F> Future for Observing<F>
where
    F: Future<Output = Result<Departure, Infallible>>,
{
    type Output = Result<Response<Observed>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(departure) = ready!(this.departure.poll(context));
        let mut opened = this.opened.take().expect("polled again after it was ready");
        let Departure { mut response, outcome, route, mut status } = departure;
        if let Some(id) = this.id
            && matches!(outcome, Outcome::Failed(..) | Outcome::Refused(_))
        {
            problem::identify(response.folded(), id);
        }
        status.forwarded_status.take_if(|told| *told == response.status());
        let shown = route.as_ref().map_or(ServerFields::Full, |route| route.server_fields);
        opened.parts.sign(&mut response, shown, &outcome, &status);
        opened.record.status = response.status();
        opened.record.outcome = outcome;
        opened.record.route = route;
        let left = response.body().size_hint().exact();
        let (response, lead) = response.into_parts();
        Poll::Ready(Ok(response.map(|body| Observed {
            body,
            lead,
            opened,
            bytes: 0,
            left,
            end: None,
            failure: None,
        })))
    }
}

impl Parts {
    /// Adds what the route shows of Larder: how the answer came about.
    fn sign(
        &self,
        response: &mut Prefaced<Body>,
        shown: ServerFields,
        outcome: &Outcome,
        status: &Status,
    ) {
        match shown {
            ServerFields::Minimal => {
                response.folded().headers_mut().remove(VIA);
            }
            ServerFields::Full | ServerFields::Debug => {
                let words = words(outcome);
                response.set(X_CACHE, HeaderValue::from_static(words.cache));
                response.set(X_CACHE_LAYER, HeaderValue::from_static(words.layer));
                // RFC 9211 §2: each cache on the way adds its member after those of the caches before it.
                response.add(CACHE_STATUS, cache_status(&self.cache, outcome, status));
            }
        }
    }
}

/// A body on its way to the client; dropped, it tells the record.
pub(crate) struct Observed {
    body: Body,
    lead: Option<Lead>,
    opened: Opened,
    bytes: u64,
    /// What is still to come, where that is known: a body that was given out whole is complete although nobody
    /// asks it for its end.
    left: Option<u64>,
    end: Option<BodyEnd>,
    /// Why it was cut off, which is not told yet.
    failure: Option<Box<BodyError>>,
}

impl Led for Observed {
    fn take_lead(&mut self) -> Option<Lead> {
        self.lead.take()
    }
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Some(Err(*failure)));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.bytes += length;
                self.left = self.left.map(|left| left.saturating_sub(length));
            }
            Some(Err(_)) => self.end = Some(BodyEnd::CutOff),
            None => self.end = Some(BodyEnd::Complete),
        }
        if let Some(Err(failure)) = frame {
            // A turn later: what an error meets unsent, head and all, is never sent, and it may have come with the rest.
            self.failure = Some(Box::new(failure));
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.failure.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let how = self.end.unwrap_or(if self.left == Some(0) {
            BodyEnd::Complete
        } else {
            BodyEnd::ClientLeft
        });
        let Opened { parts, record } = &self.opened;
        record.tell(Ended { how, bytes: self.bytes }, &parts.metrics, &parts.log);
    }
}
