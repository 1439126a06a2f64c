//! Accepts connections and hands their requests to a service: HTTP/1.1 and h2c on one port, bounded, drained.

pub mod limits;
pub mod listen;
pub mod shutdown;
pub mod upload;

mod connection;
mod framing;
mod lane;
mod pulse;
mod reception;
mod stream;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::message::interim::Outbox;
use crate::message::plain::Shortcut;
use crate::server::connection::{Connection, Protocols};
use crate::server::lane::Lane;
use crate::server::limits::Limits;
use crate::server::pulse::{Bounds, Clock, Order, Pulse, Registry};
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
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\n\
    content-length: 66\r\n\
    retry-after: 1\r\n\
    connection: close\r\n\r\n\
    {\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"overloaded\"}";

/// Who answers one connection.
pub struct Welcome<S> {
    pub service: S,
    /// Who answers plain HTTP/1 requests before the service is asked.
    pub shortcut: Option<Box<dyn Shortcut>>,
}

impl<S> Welcome<S> {
    /// By the service alone.
    pub fn to(service: S) -> Self {
        Self { service, shortcut: None }
    }
}

/// Serves one listener on the current runtime, until drained.
///
/// `make` builds the service of each connection from its peer's address and from where interim responses go. The service is cloned per request and
/// its future polled in the connection's task (HTTP/2: in a task of the stream); neither is boxed. It must
/// always be ready, as layers that wait inside their futures are: `poll_ready` is not asked.
/// Beyond `limits.connections`, over all servers that share the `drain`, a client is accepted and
/// answered 503: one that is left in the backlog would learn nothing and could not go elsewhere.
///
/// Returns when the drain has begun and the last connection, tunnels included, has ended or was cut.
/// Dropped, it stops accepting and sweeping; connections that live go on without limits of time.
pub async fn serve<M, S, B>(listener: TcpListener, make: M, limits: Arc<Limits>, drain: Drain)
where
    M: Fn(SocketAddr, &Arc<Outbox>) -> Welcome<S>,
    S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let _serving = drain.serving();
    let worker = Worker::new(limits, drain);
    tokio::select! {
        biased;
        () = worker.drain.begun() => {}
        () = worker.accept(&listener, make) => {}
        () = worker.sweep() => {}
    }
    drop(listener);
    worker.finish().await;
}

/// What the connections of one listener share.
struct Worker {
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
    fn new(limits: Arc<Limits>, drain: Drain) -> Self {
        let tasks = TaskTracker::new();
        Self {
            bounds: Bounds::of(&limits),
            clock: Arc::new(Clock::new()),
            registry: Arc::new(Registry::new()),
            protocols: Arc::new(Protocols::new(&limits, &tasks)),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
            limits,
            drain,
            tasks,
        }
    }

    /// Never returns.
    async fn accept<M, S, B>(&self, listener: &TcpListener, make: M)
    where
        M: Fn(SocketAddr, &Arc<Outbox>) -> Welcome<S>,
        S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        loop {
            match listener.accept().await {
                Ok((tcp, peer)) => self.welcome(tcp, |outbox| make(peer, outbox)),
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections; trying again");
                    sleep(REST).await;
                }
            }
        }
    }

    fn welcome<S, B>(&self, tcp: TcpStream, make: impl FnOnce(&Arc<Outbox>) -> Welcome<S>)
    where
        S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let pulse = Arc::new(Pulse::new(Arc::clone(&self.clock)));
        let limit = self.limits.connections;
        let Some(seat) = self.registry.admit(&pulse, self.drain.open(), limit) else {
            self.refuse(tcp);
            return;
        };
        let Welcome { service, shortcut } = make(pulse.outbox());
        let reception = Reception::new(service, Arc::clone(&pulse), &self.limits);
        let lane = Lane::new(shortcut, Arc::clone(&pulse), Arc::clone(&self.limits));
        let stream = Stream::new(tcp, pulse, seat, lane);
        self.tasks.spawn(Connection::new(stream, reception, Arc::clone(&self.protocols)));
    }

    fn refuse(&self, tcp: TcpStream) {
        if let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() {
            self.tasks.spawn(async move {
                let _ = timeout(REFUSAL_TIME, tell_refusal(tcp)).await;
                drop(permit);
            });
        }
    }

    /// Never returns.
    async fn sweep(&self) {
        loop {
            sleep(self.bounds.tick()).await;
            self.registry.sweep(self.clock.publish(), &self.bounds);
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

async fn tell_refusal(mut tcp: TcpStream) {
    let told = tcp.write_all(REFUSAL).await;
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
