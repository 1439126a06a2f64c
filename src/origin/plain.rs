//! Plain exchanges: a request without content over HTTP/1.1 without TLS, in the task of whoever asks.

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper_util::client::legacy::connect::HttpConnector;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tower::Service;

use crate::message::call::Call;
use crate::message::interim::Interim;
use crate::message::reply::Reply;
use crate::origin::client::{Blueprint, Trouble, Way, check, unconnected};
use crate::origin::dial::{connector, is_quiet};
use crate::origin::failure::OriginFailure;
use crate::origin::framing::Framing;
use crate::origin::head;
use crate::per_runtime::{Ends, PerRuntime};

/// What is read at a time: a head and 16 KiB of body fit.
const AT_ONCE: usize = 18 * 1024;

/// With less room than this, the buffer gets new room before it is read into.
const LEAST: usize = 4 * 1024;

/// The connections to one endpoint that speak plainly.
///
/// hyper drives a connection in a task of its own, which gets requests through one channel, gives responses through
/// another and bodies through a third; where whoever asks writes and reads the connection itself, a miss costs 58,000
/// instructions instead of 79,900. Whatever is not plain goes through hyper.
pub(crate) struct Lines {
    endpoint: Uri,
    /// What `Host` says where the request does not.
    host: Box<[u8]>,
    tcp: HttpConnector,
    connect: Duration,
    first_byte: Duration,
    pool_idle: Duration,
    most: usize,
    resting: PerRuntime<Resting>,
}

/// Connections of one runtime between two requests; the one that rested least is taken first.
struct Resting {
    rest: Mutex<Rested>,
    most: usize,
    longest: Duration,
    runtime: Handle,
}

#[derive(Default)]
struct Rested {
    /// Since when each rests; the last one came last.
    lines: Vec<(Instant, Line)>,
    /// Whether a task closes them in time: one, however often they come and go.
    is_swept: bool,
}

/// One connection: whoever has it has it alone.
struct Line {
    tcp: TcpStream,
    /// What came and nobody has taken.
    came: BytesMut,
    /// Room for the head of a request.
    head: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(endpoint: Uri, blueprint: &Blueprint) -> Self {
        let name = endpoint.host().unwrap_or_default();
        let host = match endpoint.port_u16().filter(|port| *port != 80) {
            Some(port) => format!("{name}:{port}"),
            None => name.to_owned(),
        };
        Self {
            endpoint,
            host: host.into_bytes().into(),
            tcp: connector(blueprint.timeouts.connect),
            connect: blueprint.timeouts.connect,
            first_byte: blueprint.timeouts.first_byte,
            pool_idle: blueprint.pool_idle,
            most: blueprint.connections,
            resting: PerRuntime::default(),
        }
    }

    /// Sends a request that [`head::is_plain`] and waits for the head of its response, within the time for the first
    /// byte; `interim` hears what precedes it.
    ///
    /// Nothing is sent on a connection that has ended or said something since its last response, and nothing is sent
    /// twice. Dropped, the connection is closed.
    pub(crate) async fn exchange(
        &self,
        call: &Call<()>,
        interim: Option<&Interim>,
    ) -> Result<Reply<Answering>, Trouble> {
        match timeout(self.first_byte, self.answer(call, interim)).await {
            Ok(answer) => answer,
            Err(_) => Err(Trouble::Failed(OriginFailure::NoAnswer)),
        }
    }

    async fn answer(
        &self,
        call: &Call<()>,
        interim: Option<&Interim>,
    ) -> Result<Reply<Answering>, Trouble> {
        let home = self.home();
        let mut line = match home.take() {
            Some(line) => line,
            // In a box, since it is rare: every other exchange would be so much larger for it.
            None => Box::pin(self.dial()).await?,
        };
        line.head.clear();
        head::write(&mut line.head, call, &self.host);
        line.tcp.write_all(&line.head).await.map_err(|error| Trouble::Failed(lost(&error)))?;
        let mut reply = line.reply(interim).await.map_err(Trouble::Failed)?;
        check(&mut reply, Way::Usual).map_err(Trouble::Failed)?;
        let framing = head::framing(&call.method, &reply).map_err(Trouble::Failed)?;
        let home = (head::goes_on(&reply) && framing != Framing::UntilEnd).then_some(home);
        Ok(reply.map(|()| Answering::new(line, framing, home)))
    }

    /// Where this runtime's connections rest.
    fn home(&self) -> Arc<Resting> {
        self.resting.get(|runtime| {
            let (most, longest, runtime) = (self.most, self.pool_idle, runtime.clone());
            Resting { rest: Mutex::default(), most, longest, runtime }
        })
    }

    async fn dial(&self) -> Result<Line, Trouble> {
        let connecting = self.tcp.clone().call(self.endpoint.clone());
        let connected = match timeout(self.connect, connecting).await {
            Ok(connected) => connected.map_err(|error| unconnected(&error))?,
            Err(_) => return Err(Trouble::NoConnection(OriginFailure::ConnectTimeout)),
        };
        let (came, head) = (BytesMut::new(), Vec::with_capacity(512));
        Ok(Line { tcp: connected.into_inner(), came, head })
    }
}

/// The connections end with their runtime, and what holds none takes next to nothing.
impl Ends for Resting {}

impl Resting {
    /// A connection that the origin has neither left nor used.
    fn take(&self) -> Option<Line> {
        loop {
            let (since, line) = self.rest.lock().lines.pop()?;
            if since.elapsed() < self.longest && is_quiet(&line.tcp) {
                return Some(line);
            }
        }
    }

    fn keep(self: Arc<Self>, line: Line) {
        let mut rest = self.rest.lock();
        if rest.lines.len() < self.most {
            rest.lines.push((Instant::now(), line));
        }
        let is_swept = std::mem::replace(&mut rest.is_swept, true);
        drop(rest);
        if !is_swept {
            let weak = Arc::downgrade(&self);
            self.runtime.spawn(close_in_time(weak, self.longest));
        }
    }

    /// Closes what has rested for too long; whether any is left to be swept.
    fn sweep(&self) -> bool {
        let mut rest = self.rest.lock();
        rest.lines.retain(|(since, _)| since.elapsed() < self.longest);
        rest.is_swept = !rest.lines.is_empty();
        rest.is_swept
    }
}

/// Closes connections that nobody uses, until there are none.
async fn close_in_time(resting: Weak<Resting>, longest: Duration) {
    loop {
        sleep(longest).await;
        if !resting.upgrade().is_some_and(|resting| resting.sweep()) {
            return;
        }
    }
}

impl Line {
    /// The head of the response; `interim` hears what precedes it.
    async fn reply(&mut self, interim: Option<&Interim>) -> Result<Reply<()>, OriginFailure> {
        loop {
            while !self.came.is_empty()
                && let Some(mut reply) = head::read(&mut self.came)?
            {
                match reply.status {
                    StatusCode::CONTINUE => {}
                    StatusCode::SWITCHING_PROTOCOLS => return Ok(reply),
                    status if status.is_informational() => {
                        interim.inspect(|interim| interim.say(status, reply.fields.map()));
                    }
                    _ => return Ok(reply),
                }
            }
            make_room(&mut self.came);
            match self.tcp.read_buf(&mut self.came).await {
                Ok(0) => {
                    let why = "connection closed before message completed";
                    return Err(OriginFailure::Reset(Arc::from(why)));
                }
                Ok(_) => {}
                Err(error) => return Err(lost(&error)),
            }
        }
    }
}

fn make_room(buffer: &mut BytesMut) {
    if buffer.capacity() - buffer.len() < LEAST {
        buffer.reserve(AT_ONCE);
    }
}

fn lost(error: &io::Error) -> OriginFailure {
    OriginFailure::Reset(Arc::from(error.to_string()))
}

/// A response body on its connection; dropped before its end, the connection is closed.
pub(crate) struct Answering {
    /// What came with the head.
    begin: Option<Frame<Bytes>>,
    rest: Option<Rest>,
}

/// What is still to come.
struct Rest {
    line: Line,
    framing: Framing,
    /// Where the connection goes afterwards, if it goes on.
    home: Option<Arc<Resting>>,
}

impl Answering {
    fn new(mut line: Line, mut framing: Framing, home: Option<Arc<Resting>>) -> Self {
        // What fails here fails once more for whoever reads.
        let begin = framing.next(&mut line.came).ok().flatten();
        let rest = Rest { line, framing, home };
        if framing.is_done() {
            rest.end();
            return Self { begin, rest: None };
        }
        Self { begin, rest: Some(rest) }
    }

    /// All of the body, where all of it came with the head.
    pub(crate) fn whole(&self) -> Option<Bytes> {
        match (&self.begin, &self.rest) {
            (None, None) => Some(Bytes::new()),
            (Some(begin), None) => begin.data_ref().cloned(),
            (_, Some(_)) => None,
        }
    }
}

impl Rest {
    /// The connection rests, unless it ends here, or the origin said more than it was asked.
    fn end(self) {
        if let Some(home) = self.home
            && self.line.came.is_empty()
        {
            home.keep(self.line);
        }
    }

    /// The next frame, or the end.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, String>> {
        let Self { line: Line { tcp, came, .. }, framing, .. } = self;
        loop {
            let frame = framing.next(came).map_err(|fault| fault.to_string())?;
            if frame.is_some() || framing.is_done() {
                return Poll::Ready(Ok(frame));
            }
            make_room(came);
            match ready!(pin!(tcp.read_buf(came)).poll(cx)) {
                Ok(0) => framing.end().map_err(|fault| fault.to_string())?,
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(error.to_string())),
            }
        }
    }
}

impl Body for Answering {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        if let Some(begin) = self.begin.take() {
            return Poll::Ready(Some(Ok(begin)));
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let polled = ready!(rest.poll_next(cx));
        let is_over = rest.framing.is_done() || polled.is_err();
        if let Some(rest) = self.rest.take_if(|_| is_over)
            && polled.is_ok()
        {
            rest.end();
        }
        Poll::Ready(polled.transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.begin.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let begin = self.begin.as_ref().and_then(Frame::data_ref);
        let begin = begin.map_or(0, |data| data.len() as u64);
        match self.rest.as_ref().map(|rest| rest.framing) {
            None => SizeHint::with_exact(begin),
            Some(Framing::Length(left)) => SizeHint::with_exact(begin + left),
            Some(Framing::Chunked(_) | Framing::UntilEnd | Framing::Done) => SizeHint::default(),
        }
    }
}

impl std::fmt::Debug for Answering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let framing = self.rest.as_ref().map(|rest| rest.framing);
        f.debug_struct("Answering").field("left", &framing).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn one_task_sweeps_however_often_a_connection_comes_and_goes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let _origin = listener.accept().await.unwrap();
        let mut line = Line { tcp, came: BytesMut::new(), head: Vec::new() };
        let (longest, runtime) = (Duration::from_mins(1), Handle::current());
        let resting = Arc::new(Resting { rest: Mutex::default(), most: 1, longest, runtime });
        for _ in 0..10 {
            resting.clone().keep(line);
            line = resting.take().expect("it rests");
        }
        assert_eq!(Arc::weak_count(&resting), 1);
        assert!(!resting.sweep() && resting.take().is_none());
    }
}
