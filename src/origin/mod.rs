//! The API behind the proxy: endpoints, time limits, a bounded number of requests, careful retries, a breaker.

pub mod body;
pub mod endpoint;
pub mod failure;
pub mod health;
pub mod places;
pub mod recovery;
pub mod tls;
pub mod tunnel;

mod budget;
mod client;
mod dial;
pub(crate) mod framing;
pub(crate) mod head;
mod plain;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::Authority;
use http::{Method, Request, Uri};
use http_body::Body;
use http_body_util::Full;
use tokio::sync::Notify;

use crate::breaker::{self, Breaker, Permit, State};
use crate::message::call::Call;
use crate::message::interim::Interim;
use crate::message::reply::Reply;
use crate::origin::body::{Coming, Feed, Incoming, Outgoing};
use crate::origin::budget::Budget;
use crate::origin::client::{Blueprint, Trouble};
use crate::origin::endpoint::{Endpoint, EndpointFault};
use crate::origin::failure::OriginFailure;
use crate::origin::places::{Places, Queue};
use crate::origin::tls::{Identity, IdentityFault, Tls};
use crate::telemetry::labels::BreakerState;
use crate::telemetry::metrics::OriginMetrics;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How many dead connections of the pool one request may find before it gives up.
const DEAD_LINES: usize = 16;

/// What an origin is told once; `Settings::new` has the defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How configuration and metrics call it.
    pub name: Arc<str>,
    /// Where it is; requests go round.
    pub endpoints: Vec<Uri>,
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// What is tried again.
    pub retries: Retries,
    /// When it is left alone.
    pub breaker: breaker::Settings,
    /// Requests at once, over all endpoints and runtimes; each lasts until its response body does.
    pub max_connections: usize,
    /// Requests that may wait for one of them.
    pub max_waiting: usize,
    /// What it is told in `Host`.
    pub host: HostRule,
    /// What is spoken.
    pub protocol: Protocol,
    /// How endpoints are asked whether they are well; where they are not, only what requests meet counts.
    pub health: Option<health::Settings>,
    /// How long it takes until an endpoint that is well again gets its full share of the requests.
    pub slow_start: Duration,
    /// Whom it trusts, and what it shows of itself, where it is https.
    pub identity: Identity,
    /// How long an unused connection is kept: shorter than origins do, because to write a request to a
    /// connection that the origin is closing is to lose it.
    pub pool_idle: Duration,
}

/// How long each step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Name look-up, TCP and TLS together.
    pub connect: Duration,
    /// From sending to the whole response head, connecting included; a request body that moves prolongs it.
    pub first_byte: Duration,
    /// Between two pieces of a response body that somebody waits for.
    pub idle: Duration,
    /// Waiting for one of `max_connections`.
    pub queue: Duration,
}

/// What is tried again: only what never reached the origin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retries {
    /// How often one request is tried again when no connection could be made.
    pub attempts: u32,
    /// Retries per request over time, `0.1` for one in ten.
    pub budget: f64,
}

/// What the origin is told in `Host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostRule {
    /// What the client said.
    Preserve,
    /// Always the same.
    Fixed(Authority),
}

/// What is spoken to the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1; over TLS what ALPN agrees on, HTTP/2 first.
    Auto,
    /// HTTP/2 without asking.
    Http2,
}

/// Why an origin cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SettingsFault {
    /// It has no endpoint.
    #[error("origin {0} has no endpoints")]
    NoEndpoints(Arc<str>),
    /// One of its endpoints is none.
    #[error("endpoint {0}: {1}")]
    Endpoint(Uri, EndpointFault),
    /// It is https, and that cannot be set up.
    #[error("origin {0}: {1}")]
    Tls(Arc<str>, Box<IdentityFault>),
}

/// An origin as metrics and explanations see it.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Of the whole origin.
    pub breaker: State,
    /// Requests that hold a place now.
    pub in_flight: usize,
    /// Retries since the start, of both kinds.
    pub retries: u64,
    /// Each endpoint, and whether it gets requests.
    pub endpoints: Vec<(Uri, bool)>,
}

impl Settings {
    /// An origin with these endpoints, and defaults for the rest.
    pub fn new(name: impl Into<Arc<str>>, endpoints: Vec<Uri>) -> Self {
        Self {
            name: name.into(),
            endpoints,
            timeouts: Timeouts::default(),
            retries: Retries::default(),
            breaker: breaker::Settings::default(),
            max_connections: 256,
            max_waiting: Queue::default().length,
            host: HostRule::Preserve,
            protocol: Protocol::Auto,
            health: None,
            slow_start: Duration::ZERO,
            identity: Identity::default(),
            pool_idle: Duration::from_secs(4),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            first_byte: Duration::from_secs(8),
            idle: Duration::from_secs(30),
            queue: Duration::from_secs(1),
        }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 1, budget: 0.1 }
    }
}

/// An origin. Share it; it works on any number of runtimes, each with its own connections.
pub struct Origin {
    name: Arc<str>,
    endpoints: Vec<Endpoint>,
    next: AtomicUsize,
    host: HostRule,
    timeouts: Timeouts,
    attempts: u32,
    budget: Budget,
    health: Option<health::Settings>,
    slow_start: Duration,
    retries: AtomicU64,
    breaker: Breaker,
    places: Places,
    metrics: OriginMetrics,
    /// Told when an exchange has failed, and when the origin is dropped.
    trouble: Arc<Notify>,
}

impl Origin {
    /// Sets everything up and connects to nothing. What it does from then on is counted in `metrics`.
    pub fn new(settings: Settings, metrics: OriginMetrics) -> Result<Self, SettingsFault> {
        if settings.endpoints.is_empty() {
            return Err(SettingsFault::NoEndpoints(settings.name));
        }
        let queue = Queue { length: settings.max_waiting, patience: settings.timeouts.queue };
        let places = Places::new(settings.max_connections, queue);
        let tls = Tls::of(&settings.endpoints, settings.protocol, &settings.identity)
            .map_err(|fault| SettingsFault::Tls(settings.name.clone(), Box::new(fault)))?;
        let blueprint = Blueprint {
            timeouts: settings.timeouts,
            protocol: settings.protocol,
            pool_idle: settings.pool_idle,
            connections: settings.max_connections.max(1),
            tls,
        };
        let endpoints = settings.endpoints.into_iter().map(|uri| {
            Endpoint::new(uri.clone(), blueprint.clone())
                .map_err(|fault| SettingsFault::Endpoint(uri, fault))
        });
        metrics.breaker(BreakerState::Closed);
        Ok(Self {
            name: settings.name,
            endpoints: endpoints.collect::<Result<_, _>>()?,
            next: AtomicUsize::new(0),
            host: settings.host,
            timeouts: settings.timeouts,
            attempts: settings.retries.attempts,
            budget: Budget::new(settings.retries.budget),
            health: settings.health,
            slow_start: settings.slow_start,
            retries: AtomicU64::new(0),
            breaker: Breaker::new(settings.breaker),
            places,
            metrics,
            trouble: Arc::default(),
        })
    }

    /// How configuration and metrics call it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The time limits that it was given.
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Sends a request and answers with the head of its response; the body follows as it comes. The request may need one of `own`
    /// places too, as long as it needs one of the origin's.
    ///
    /// Path, query, method, and the fields but `Host` go out as they are; scheme and authority of the URI are the
    /// endpoint's. Redirects are not followed. A request is repeated only if not a byte of it was sent, and it has
    /// no body or one that is here as a whole: on another endpoint when no connection could be made (idempotent,
    /// within attempts and budget), on another connection when a pooled one turns out to be closed.
    /// Of what precedes the response a 100 is not heard: the client gets that from us when its body is asked for. From an
    /// HTTP/2 origin nothing is heard: the library has no way.
    /// A 101 comes only for a request with `Upgrade`, and `tunnel` goes on from there.
    ///
    /// What is sent stays with who sends it: moved down through the futures below, it would be there once in each of them. Once
    /// its body has been sent as it came, it is not sent again. Dropped, the request is cancelled and its connection not used again. Must run within a tokio
    /// runtime.
    pub async fn ask(
        &self,
        dispatch: &mut Dispatch,
        own: Option<&Places>,
    ) -> Result<Reply<Incoming>, OriginFailure> {
        let answer = self.attempt(dispatch, own).await;
        if let Err(failure) = &answer
            && !failure.is_the_clients()
        {
            self.metrics.failed(failure.token());
        }
        answer
    }

    async fn attempt(
        &self,
        dispatch: &mut Dispatch,
        own: Option<&Places>,
    ) -> Result<Reply<Incoming>, OriginFailure> {
        let permit = self
            .breaker
            .admit(Instant::now())
            .map_err(|open| OriginFailure::BreakerOpen { retry_after: open.retry_after })?;
        if permit.is_probe() {
            self.metrics.breaker(BreakerState::HalfOpen);
        }
        // First its own, so that who waits there takes no place from others.
        let own = match own {
            Some(own) => Some(own.take().await?),
            None => None,
        };
        let place = (self.places.take().await?, own);
        endpoint::name_host(&self.host, &mut dispatch.call);
        let begun = Instant::now();
        let answer = self.deliver(dispatch).await;
        self.learn(permit, &answer, begun);
        let (idle, metrics) = (self.timeouts.idle, self.metrics.clone());
        Ok(answer?.map(|body| Incoming::new(body, place, idle, metrics)))
    }

    /// What the breaker and the metrics make of an exchange.
    fn learn<T>(&self, permit: Permit<'_>, answer: &Result<T, OriginFailure>, begun: Instant) {
        let now = Instant::now();
        match answer {
            Ok(_) => {
                self.metrics.answered(now - begun);
                if permit.is_probe() {
                    self.metrics.breaker(BreakerState::Closed);
                }
                permit.succeeded();
            }
            Err(failure) if failure.is_the_origins() => {
                permit.failed(now);
                self.metrics.breaker(label(self.breaker.state(now)));
                self.trouble.notify_one();
            }
            Err(_) => drop(permit),
        }
    }

    /// How it is doing.
    pub fn condition(&self) -> Condition {
        let now = Instant::now();
        Condition {
            breaker: self.breaker.state(now),
            in_flight: self.places.taken(),
            retries: self.retries.load(Ordering::Relaxed),
            endpoints: self.endpoints.iter().map(|e| (e.uri().clone(), e.is_used(now))).collect(),
        }
    }

    async fn deliver(&self, dispatch: &mut Dispatch) -> Result<Reply<Coming>, OriginFailure> {
        self.budget.deposit();
        let is_plain = dispatch.is_plain();
        let mut tries = Tries { attempts: self.attempts, dead_lines: DEAD_LINES };
        loop {
            let (endpoint, permit) = self.pick();
            let trouble = if let Some(lines) = endpoint.lines().filter(|_| is_plain) {
                let answer = lines.exchange(&dispatch.call, dispatch.interim.as_ref()).await;
                endpoint::learn(&answer, permit);
                match answer {
                    Ok(reply) => return Ok(reply.map(Coming::Plain)),
                    Err(trouble) => trouble,
                }
            } else {
                let (request, feed) = dispatch.request().ok_or(OriginFailure::Abandoned)?;
                // In a box: what is plain would have to have room for it.
                match Box::pin(endpoint.exchange(request, feed, permit)).await {
                    Ok(reply) => return Ok(reply.map(Coming::Driven)),
                    Err(trouble) => trouble,
                }
            };
            if matches!(trouble, Trouble::NoConnection(_)) {
                self.trouble.notify_one();
            }
            let whole = dispatch.whole.clone();
            let whole = self.again(&dispatch.call.method, whole, trouble, &mut tries)?;
            dispatch.load(whole);
            self.retries.fetch_add(1, Ordering::Relaxed);
            self.metrics.retried();
        }
    }

    /// The body with which the request is sent once more, or the failure that it ends with.
    fn again(
        &self,
        method: &Method,
        whole: Option<Bytes>,
        trouble: Trouble,
        tries: &mut Tries,
    ) -> Result<Bytes, OriginFailure> {
        match (trouble, whole) {
            (Trouble::Unsent, Some(whole)) if tries.dead_lines > 0 => {
                tries.dead_lines -= 1;
                Ok(whole)
            }
            (Trouble::NoConnection(_), Some(whole))
                if tries.attempts > 0 && method.is_idempotent() && self.budget.withdraw() =>
            {
                tries.attempts -= 1;
                Ok(whole)
            }
            (Trouble::Unsent, _) => Err(OriginFailure::Reset(Arc::from(dial::Unsent.to_string()))),
            (Trouble::NoConnection(failure) | Trouble::Failed(failure), _) => Err(failure),
        }
    }

    /// The next endpoint that is well and not ejected; one that has only just come back is passed over most of the
    /// time, unless there is no other. If none is left, the next: a check may be wrong about all of them.
    fn pick(&self) -> (&Endpoint, Option<Permit<'_>>) {
        let now = Instant::now();
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.endpoints.len();
        let (before, from) = self.endpoints.split_at(first);
        let round = || from.iter().chain(before).filter(|endpoint| endpoint.vitals().is_up());
        let warm =
            round().filter(|endpoint| is_its_turn(endpoint.vitals().share(now, self.slow_start)));
        let found = warm.chain(round()).find_map(|endpoint| Some((endpoint, endpoint.admit(now)?)));
        match found {
            Some((endpoint, permit)) => (endpoint, Some(permit)),
            None => (&self.endpoints[first], None),
        }
    }
}

/// Whether an endpoint with this share of its usual requests takes one; no dice are thrown where it takes all.
fn is_its_turn(share: f64) -> bool {
    share >= 1.0 || rand::random::<f64>() < share
}

fn label(state: State) -> BreakerState {
    match state {
        State::Closed => BreakerState::Closed,
        State::HalfOpen => BreakerState::HalfOpen,
        State::Open => BreakerState::Open,
    }
}

/// A request on its way, with what it takes to send it once more.
#[derive(Debug)]
pub struct Dispatch {
    call: Call<()>,
    /// Nothing once it was given out: what began to be sent as it came has no second beginning.
    body: Option<Outgoing>,
    feed: Option<Arc<Feed>>,
    /// All of the body, where it is here.
    whole: Option<Bytes>,
    /// Who hears what precedes the response.
    interim: Option<Interim>,
}

impl Dispatch {
    /// A request whose body comes as it is sent, unless it has none.
    pub fn streaming<B>(call: Call<B>, interim: Option<Interim>) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (call, body) = call.into_parts();
        let whole = body.is_end_stream().then(Bytes::new);
        let (body, feed) = Outgoing::new(body);
        Self { call, body: Some(body), feed, whole, interim }
    }

    /// A request whose body is here as a whole, so that it can be repeated as one without a body can.
    pub fn whole(call: Call<Bytes>, interim: Option<Interim>) -> Self {
        let (call, bytes) = call.into_parts();
        let mut dispatch = Self { call, body: None, feed: None, whole: None, interim };
        dispatch.load(bytes);
        dispatch
    }

    /// Has this for its body.
    fn load(&mut self, bytes: Bytes) {
        let (body, feed) = Outgoing::new(Full::new(bytes.clone()));
        (self.body, self.feed, self.whole) = (Some(body), feed, Some(bytes));
    }

    /// Whether its head says all of it.
    fn is_plain(&self) -> bool {
        self.whole.as_ref().is_some_and(Bytes::is_empty) && head::is_plain(&self.call)
    }

    /// The request as libraries know it; nothing where its body was given out.
    fn request(&mut self) -> Option<(Request<Outgoing>, Option<Arc<Feed>>)> {
        let mut request = self.call.request(self.body.take()?);
        if let Some(interim) = &self.interim {
            request.extensions_mut().insert(interim.clone());
        }
        Some((request, self.feed.take()))
    }
}

/// What one request may still try.
struct Tries {
    attempts: u32,
    dead_lines: usize,
}

impl Drop for Origin {
    fn drop(&mut self) {
        // Who waits for trouble would wait for ever.
        self.trouble.notify_one();
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
