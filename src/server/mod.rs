//! Accepts connections and hands their requests to a service: HTTP/1.1 and HTTP/2, plain or over TLS, bounded, drained.

pub mod introduction;
pub mod limits;
pub mod listen;
pub mod shutdown;
pub mod tls;
pub mod upload;

mod connection;
mod crowd;
mod desk;
mod exchange;
pub(crate) mod framing;
mod lane;
mod line;
pub(crate) mod proxied;
mod pulse;
mod reception;
pub(crate) mod simple;
mod stream;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::uri::Scheme;
use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::message::interim::Outbox;
use crate::message::lead::Led;
use crate::message::plain::Shortcut;
use crate::server::connection::{Connection, Protocols};
use crate::server::crowd::Place;
use crate::server::desk::Desk;
use crate::server::introduction::{Caller, Counts, Stranger, Threshold, told_to_end};
use crate::server::lane::{Fast, Lane};
use crate::server::limits::Limits;
use crate::server::line::Line;
use crate::server::pulse::{Bounds, Clock, Order, Phase, Pulse, Registry, Seat};
use crate::server::reception::Reception;
use crate::server::shutdown::Drain;
use crate::server::stream::Stream;
use crate::server::upload::Upload;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long accepting rests after an error such as "too many open files", which would repeat at once.
const REST: Duration = Duration::from_millis(100);

/// Connections that one worker refuses politely at a time; those beyond are closed without a word.
const REFUSALS: usize = 256;

/// How long a refused client may take to hear it.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// What a client is told when there are too many.
const OVERLOADED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\n\
    content-length: 66\r\n\
    retry-after: 1\r\n\
    connection: close\r\n\r\n\
    {\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"overloaded\"}";

/// Who answers one connection.
pub struct Welcome<S> {
    pub service: S,
    /// Who answers plain HTTP/1 requests before the service is asked. Where there is nobody, all requests are parsed by
    /// hyper.
    pub shortcut: Option<Box<dyn Shortcut>>,
}

impl<S> Welcome<S> {
    /// By the service alone.
    pub fn to(service: S) -> Self {
        Self { service, shortcut: None }
    }
}

/// What a client is told that has too many connections of its own.
const CROWDING: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\n\
    content-type: application/problem+json\r\n\
    content-length: 89\r\n\
    retry-after: 1\r\n\
    connection: close\r\n\r\n\
    {\"title\":\"Too Many Requests\",\"status\":429,\"detail\":\"too many connections of this client\"}";

/// What a client is told that speaks HTTP where TLS is expected.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: application/problem+json\r\n\
    content-length: 87\r\n\
    connection: close\r\n\r\n\
    {\"title\":\"Bad Request\",\"status\":400,\"detail\":\"this port speaks TLS: ask with https://\"}";

/// Serves one listener on the current runtime, until drained.
///
/// Callers cross the `threshold` first. `make` builds the service of each connection from its caller and from where
/// interim responses go. It, or a clone of it, is asked for each request, and its future polled in the connection's task (HTTP/2: in a
/// task of the stream); neither is boxed. It must always be ready, as layers that wait inside their futures are:
/// `poll_ready` is not asked. Beyond `limits.connections`, over all servers that share the `drain`, a client is accepted and
/// answered 503: one that is left in the backlog would learn nothing and could not go elsewhere.
///
/// **A request that has a [`Refusal`](crate::message::problem::Refusal) among its extensions must be answered with that, and
/// with nothing else**: it is too large or ambiguous, and the connection ends behind the answer.
///
/// Returns when the drain has begun and the last connection, tunnels included, has ended or was cut.
/// Dropped, it stops accepting and sweeping; connections that live go on without limits of time.
pub async fn serve<M, S, B>(
    listener: TcpListener,
    threshold: Threshold,
    make: M,
    limits: Arc<Limits>,
    drain: Drain,
) where
    M: Fn(Caller, &Arc<Outbox>) -> Welcome<S> + Clone + Send + Sync + 'static,
    S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Led + Send + 'static,
    B::Error: Into<BoxError>,
{
    let _serving = drain.serving();
    let worker = Worker::new(threshold, limits, drain);
    tokio::select! {
        biased;
        () = worker.drain.begun() => {}
        () = worker.accept(&listener, &make) => {}
        () = worker.sweep() => {}
    }
    // Who waits in the queue has connected, and would be reset by the close.
    while let Some(Ok((tcp, peer))) = listener.accept().now_or_never() {
        worker.welcome(tcp, peer.ip(), &make);
    }
    drop(listener);
    worker.finish().await;
}

/// What the connections of one listener share.
struct Worker {
    threshold: Threshold,
    limits: Arc<Limits>,
    drain: Drain,
    bounds: Bounds,
    clock: Arc<Clock>,
    registry: Arc<Registry>,
    tasks: TaskTracker,
    protocols: Arc<Protocols>,
    refusals: Arc<Semaphore>,
}

impl Worker {
    fn new(threshold: Threshold, limits: Arc<Limits>, drain: Drain) -> Self {
        let tasks = TaskTracker::new();
        Self {
            bounds: Bounds::of(&limits),
            clock: Arc::new(Clock::new()),
            registry: Arc::new(Registry::new()),
            protocols: Arc::new(Protocols::new(&limits, &tasks, &threshold.counts)),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
            threshold,
            limits,
            drain,
            tasks,
        }
    }

    /// Never returns.
    async fn accept<M, S, B>(&self, listener: &TcpListener, make: &M)
    where
        M: Fn(Caller, &Arc<Outbox>) -> Welcome<S> + Clone + Send + Sync + 'static,
        S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send + 'static,
        B: Led + Send + 'static,
        B::Error: Into<BoxError>,
    {
        loop {
            match listener.accept().await {
                Ok((tcp, peer)) => {
                    self.welcome(tcp, peer.ip(), make);
                    // One in each turn: a crowd that comes at once does not hold up those who are here.
                    yield_now().await;
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections; trying again");
                    sleep(REST).await;
                }
            }
        }
    }

    fn welcome<M, S, B>(&self, tcp: TcpStream, peer: IpAddr, make: &M)
    where
        M: Fn(Caller, &Arc<Outbox>) -> Welcome<S> + Clone + Send + Sync + 'static,
        S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send + 'static,
        B: Led + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let pulse = Arc::new(Pulse::new(Arc::clone(&self.clock)));
        let limit = self.limits.connections;
        let Some(seat) = self.registry.admit(&pulse, self.drain.open(), limit) else {
            if self.threshold.tls.is_none() {
                self.refuse(tcp, OVERLOADED);
            }
            return;
        };
        let (limits, protocols) = (Arc::clone(&self.limits), Arc::clone(&self.protocols));
        let seated = Seated { pulse, seat, limits, protocols };
        if !self.threshold.is_open() {
            let entrance = self.entrance(Arc::clone(&seated.pulse));
            let make = make.clone();
            self.tasks.spawn(async move {
                let Some((line, caller, place)) = Box::pin(entrance.cross(tcp, peer)).await else {
                    return;
                };
                // The time for a first request begins now.
                seated.pulse.enter(Phase::Idle);
                let welcome = make(caller, seated.pulse.outbox());
                seated.connect(line, place, welcome).await;
            });
            return;
        }
        let Some(place) = self.drain.crowd().admit(peer, &self.limits.crowding) else {
            Counts::one(&self.threshold.counts.crowding);
            self.refuse(tcp, CROWDING);
            return;
        };
        let caller = Caller { address: peer, scheme: Scheme::HTTP };
        let welcome = make(caller, seated.pulse.outbox());
        self.tasks.spawn(seated.connect(Line::Plain(tcp), place, welcome));
    }

    fn entrance(&self, pulse: Arc<Pulse>) -> Entrance {
        Entrance {
            threshold: self.threshold.clone(),
            limits: Arc::clone(&self.limits),
            drain: self.drain.clone(),
            refusals: Arc::clone(&self.refusals),
            pulse,
        }
    }

    fn refuse(&self, tcp: TcpStream, words: &'static [u8]) {
        if let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() {
            self.tasks.spawn(async move {
                let _ = timeout(REFUSAL_TIME, tell_refusal(tcp, words)).await;
                drop(permit);
            });
        }
    }

    /// Never returns.
    async fn sweep(&self) {
        loop {
            sleep(self.bounds.tick()).await;
            let now = self.clock.publish();
            let mut from = self.registry.sweep(0, now, &self.bounds);
            while let Some(number) = from {
                yield_now().await;
                from = self.registry.sweep(number, now, &self.bounds);
            }
        }
    }

    /// Lets the connections finish, and cuts them when the drain says so.
    async fn finish(&self) {
        self.clock.publish();
        self.registry.command(Order::Finish);
        tokio::select! {
            () = self.registry.emptied() => {}
            () = self.drain.cut() => {}
            () = self.sweep() => {}
        }
        self.registry.command(Order::Cut);
        self.registry.emptied().await;
    }
}

/// What there is of a connection before anybody is known to be at its other end.
struct Seated {
    pulse: Arc<Pulse>,
    seat: Seat,
    limits: Arc<Limits>,
    protocols: Arc<Protocols>,
}

impl Seated {
    /// The connection with a caller who has crossed the threshold.
    fn connect<S, B>(self, line: Line, place: Place, welcome: Welcome<S>) -> Connection<S, B>
    where
        S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send + 'static,
        B: Led + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let Self { pulse, seat, limits, protocols } = self;
        let Welcome { service, shortcut } = welcome;
        let fast =
            shortcut.map(|shortcut| Fast { shortcut, desk: Box::new(Desk::new(service.clone())) });
        let reception = Reception::new(service, Arc::clone(&pulse), &limits);
        let fast = Lane::new(fast, Arc::clone(&pulse), limits);
        let stream = Stream::new(line, fast, pulse, (seat, place));
        Connection::new(stream, reception, protocols)
    }
}

/// One caller on its way over the threshold.
struct Entrance {
    threshold: Threshold,
    limits: Arc<Limits>,
    drain: Drain,
    refusals: Arc<Semaphore>,
    pulse: Arc<Pulse>,
}

impl Entrance {
    /// The line to the caller and who it is; nothing where it was refused, left, or took too long.
    async fn cross(&self, mut tcp: TcpStream, peer: IpAddr) -> Option<(Line, Caller, Place)> {
        let deadline = Instant::now() + self.limits.handshake_timeout;
        let counts = &self.threshold.counts;
        let crossing = async {
            let announced = timeout_at(deadline, self.threshold.announced(&mut tcp, peer)).await;
            let caller = match announced {
                Ok(Ok(caller)) => caller,
                Ok(Err(Stranger::Left)) => return None,
                Ok(Err(_)) | Err(_) => {
                    tracing::debug!(client.address = %peer, "a balancer did not say who connects");
                    Counts::one(&counts.proxy_headers_refused);
                    return None;
                }
            };
            let crowd = self.drain.crowd();
            let Some(place) = crowd.admit(caller.address, &self.limits.crowding) else {
                Counts::one(&counts.crowding);
                if self.threshold.tls.is_none() {
                    self.refuse(tcp, CROWDING).await;
                }
                return None;
            };
            let error = match timeout_at(deadline, self.threshold.line(tcp)).await {
                Ok(Ok(line)) => return Some((line, caller, place)),
                Ok(Err(Stranger::Left)) => return None,
                Ok(Err(Stranger::Plain(tcp))) => {
                    self.refuse(tcp, NOT_TLS).await;
                    "it was plain HTTP".to_owned()
                }
                Ok(Err(Stranger::Handshake(error))) => error.to_string(),
                Ok(Err(Stranger::Unannounced)) | Err(_) => "it took too long".to_owned(),
            };
            Counts::one(&counts.handshakes_failed);
            tracing::debug!(client.address = %caller.address, error, "no TLS was agreed on");
            None
        };
        tokio::select! {
            crossed = crossing => crossed,
            () = told_to_end(&self.pulse) => None,
        }
    }

    async fn refuse(&self, tcp: TcpStream, words: &'static [u8]) {
        if let Ok(_permit) = self.refusals.try_acquire() {
            let _ = timeout(REFUSAL_TIME, tell_refusal(tcp, words)).await;
        }
    }
}

async fn tell_refusal(mut tcp: TcpStream, words: &[u8]) {
    let told = tcp.write_all(words).await;
    if told.is_ok() && tcp.shutdown().await.is_ok() {
        // A close with unread bytes would reset the connection and destroy the answer.
        let mut scratch = [0; 1024];
        while matches!(tcp.read(&mut scratch).await, Ok(1..)) {}
    }
}

/// Errors of a connection that died in the backlog say nothing about the listener.
fn is_about_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests;
