//! One connection from its first byte to its last: finds out the protocol, obeys orders.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use http::{Request, Response};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::io::{Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::message::lead::Led;
use crate::server::introduction::Counts;
use crate::server::limits::Limits;
use crate::server::line::Agreed;
use crate::server::pulse::{Order, Phase, Pulse};
use crate::server::reception::Reception;
use crate::server::stream::Stream;
use crate::server::upload::Upload;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The beginning of the HTTP/2 preface (RFC 9113 §3.4); no HTTP/1 method is called `PRI`.
const PREFACE: &[u8; 4] = b"PRI ";

/// The least that hyper takes for its HTTP/1 buffer.
const LEAST_BUFFER: usize = 8192;

/// How many fields hyper parses without allocating for them.
const FREE_FIELDS: usize = 100;

/// Runs the streams of HTTP/2 connections.
#[derive(Clone, Debug)]
pub(crate) struct Streams(TaskTracker);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// Both protocols, set up once per worker.
#[derive(Debug)]
pub(crate) struct Protocols {
    h1: http1::Builder,
    h2: http2::Builder<Streams>,
    counts: Arc<Counts>,
}

impl Protocols {
    pub(crate) fn new(limits: &Limits, tasks: &TaskTracker, counts: &Arc<Counts>) -> Self {
        let mut h1 = http1::Builder::new();
        // `pipeline_flush` stays off: with it hyper buffers a body without bound for a client that does not
        // read. The read timeout stays off: the sweeper does that without a timer per request.
        h1.half_close(false)
            .keep_alive(true)
            .header_read_timeout(None)
            .max_buf_size(limits.header_bytes.max(LEAST_BUFFER))
            .max_header_size(limits.header_bytes);
        // Up to its default, hyper parses fields on the stack; `Reception` counts them.
        if limits.header_fields > FREE_FIELDS {
            h1.max_headers(limits.header_fields);
        }
        let mut h2 = http2::Builder::new(Streams(tasks.clone()));
        h2.timer(TokioTimer::new())
            .keep_alive_interval(limits.h2.ping_every)
            .keep_alive_timeout(limits.h2.ping_timeout)
            .max_concurrent_streams(limits.h2.streams)
            .max_pending_accept_reset_streams(limits.h2.pending_resets)
            .max_local_error_reset_streams(limits.h2.faulty_streams)
            .max_send_buf_size(limits.h2.send_buffer)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX));
        Self { h1, h2, counts: counts.clone() }
    }
}

pin_project! {
    /// The task of one connection. Ends when the connection does, or is upgraded.
    pub(crate) struct Connection<S, B>
    where
        S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>,
        S: Clone,
        B: Led,
        B: 'static,
    {
        #[pin]
        stage: Stage<S, B>,
        protocols: Arc<Protocols>,
        told: Told,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<S, B>
    where
        S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>,
        S: Clone,
        B: Led,
        B: 'static,
    {
        Sensing { parts: Option<(Stream, Reception<S>)> },
        H1 { #[pin] connection: http1::UpgradeableConnection<TokioIo<Stream>, Reception<S>> },
        H2 { connection: Pin<Box<http2::Connection<TokioIo<Stream>, Reception<S>, Streams>>> },
    }
}

/// What the connection has heard from its pulse, and who is woken when there is more.
#[derive(Debug)]
struct Told {
    pulse: Arc<Pulse>,
    waker: Option<Waker>,
    order: Order,
    finish: Finish,
}

/// How far a connection is with its end, once it was told to finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finish {
    NotTold,
    /// With what is in progress, or with the request behind so many heads. The sweeper ends who asks nothing.
    After(u64),
    Begun,
}

impl Told {
    /// Whether it is time to begin no more requests.
    fn ends(&self) -> bool {
        match self.finish {
            Finish::After(heads) => self.pulse.is_asked() || self.pulse.heads() > heads,
            Finish::NotTold | Finish::Begun => false,
        }
    }

    /// The order, if it is new.
    fn news(&mut self, cx: &Context<'_>) -> Option<Order> {
        // Registering takes a lock, comparing does not; a task's waker never changes in practice.
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.pulse.listen(cx.waker());
            self.waker = Some(cx.waker().clone());
        }
        let order = self.pulse.order();
        (order > self.order).then(|| {
            self.order = order;
            order
        })
    }
}

impl<S, B> Connection<S, B>
where
    S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Led + Send + 'static,
    B::Error: Into<BoxError>,
{
    pub(crate) fn new(stream: Stream, reception: Reception<S>, protocols: Arc<Protocols>) -> Self {
        let told = Told {
            pulse: Arc::clone(stream.pulse()),
            waker: None,
            order: Order::Continue,
            finish: Finish::NotTold,
        };
        Self { stage: Stage::Sensing { parts: Some((stream, reception)) }, protocols, told }
    }
}

impl<S, B> Stage<S, B>
where
    S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Led + Send + 'static,
    B::Error: Into<BoxError>,
{
    /// Asks the connection to finish what is in progress and to begin nothing.
    fn finish(self: Pin<&mut Self>) {
        match self.project() {
            // Nobody has said anything yet.
            StageProjection::Sensing { .. } => {}
            StageProjection::H1 { connection } => connection.graceful_shutdown(),
            StageProjection::H2 { connection } => connection.as_mut().graceful_shutdown(),
        }
    }

    /// Runs the connection, if its protocol is known; `Sensing` answers with the stage that follows.
    fn poll_run(
        self: Pin<&mut Self>,
        protocols: &Protocols,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Self>, hyper::Error>> {
        match self.project() {
            StageProjection::H1 { connection } => connection.poll(cx).map_ok(|()| None),
            StageProjection::H2 { connection } => connection.as_mut().poll(cx).map_ok(|()| None),
            StageProjection::Sensing { parts } => {
                let Some((stream, _)) = parts.as_ref() else {
                    return Poll::Ready(Ok(None));
                };
                let sensed = ready!(poll_protocol(stream, cx));
                let next = parts.take().and_then(|(stream, reception)| match sensed {
                    Ok(protocol) => Some(protocols.begin(protocol, stream, reception)),
                    Err(_) => None,
                });
                Poll::Ready(Ok(next))
            }
        }
    }
}

impl Protocols {
    fn begin<S, B>(
        &self,
        protocol: Protocol,
        stream: Stream,
        reception: Reception<S>,
    ) -> Stage<S, B>
    where
        S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send + 'static,
        B: Led + Send + 'static,
        B::Error: Into<BoxError>,
    {
        match protocol {
            Protocol::H1 => {
                let connection = self.h1.serve_connection(TokioIo::new(stream), reception);
                Stage::H1 { connection: connection.with_upgrades() }
            }
            Protocol::H2 => {
                stream.pulse().enter(Phase::Multiplexed);
                let connection = self.h2.serve_connection(TokioIo::new(stream), reception);
                Stage::H2 { connection: Box::pin(connection) }
            }
        }
    }
}

impl<S, B> Future for Connection<S, B>
where
    S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Led + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        match this.told.news(cx) {
            None | Some(Order::Continue) => {}
            Some(Order::Finish) => this.told.finish = Finish::After(this.told.pulse.heads()),
            Some(Order::Close) => {
                this.told.finish = Finish::Begun;
                this.stage.as_mut().finish();
            }
            Some(Order::Cut) => return Poll::Ready(()),
        }
        loop {
            if this.told.ends() {
                this.told.finish = Finish::Begun;
                this.stage.as_mut().finish();
            }
            let Poll::Ready(ran) = this.stage.as_mut().poll_run(this.protocols, cx) else {
                if this.told.ends() {
                    continue;
                }
                return Poll::Pending;
            };
            match ran {
                Ok(Some(next)) => this.stage.set(next),
                Ok(None) => return Poll::Ready(()),
                Err(error) => {
                    if error.is_parse() {
                        Counts::one(&this.protocols.counts.unreadable);
                    }
                    tracing::debug!(%error, "connection ended by an error");
                    return Poll::Ready(());
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    H1,
    H2,
}

/// What the handshake agreed on, or else what the first bytes tell.
fn poll_protocol(stream: &Stream, cx: &mut Context<'_>) -> Poll<io::Result<Protocol>> {
    match stream.line().agreed() {
        Agreed::Nothing(tcp) => poll_first_bytes(tcp, stream.pulse(), cx),
        Agreed::H1 => Poll::Ready(Ok(Protocol::H1)),
        Agreed::H2 => Poll::Ready(Ok(Protocol::H2)),
    }
}

/// Looks at the first bytes without taking them. An error, or an end before the first byte, is an error.
fn poll_first_bytes(
    tcp: &TcpStream,
    pulse: &Pulse,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Protocol>> {
    let mut seen = 0;
    loop {
        let mut bytes = [0; PREFACE.len()];
        let mut buffer = ReadBuf::new(&mut bytes);
        let there = ready!(tcp.poll_peek(cx, &mut buffer))?;
        let peeked = buffer.filled();
        if there == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        if peeked == PREFACE {
            return Poll::Ready(Ok(Protocol::H2));
        }
        // Nothing new since the last look, which emptied the readiness: the peer has ended.
        if !PREFACE.starts_with(peeked) || there == seen {
            return Poll::Ready(Ok(Protocol::H1));
        }
        // The beginning of `PRI `, or of `POST `: forget the readiness, so that the next look waits for more.
        pulse.received();
        seen = there;
        let forget: io::Result<()> =
            tcp.try_io(Interest::READABLE, || Err(io::ErrorKind::WouldBlock.into()));
        drop(forget);
    }
}
