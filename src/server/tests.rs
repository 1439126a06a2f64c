//! The server on the wire: raw clients against a real listener on a free port.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body::Body;
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::service_fn;

use super::*;
use crate::message::lead::Led;
use crate::message::plain::{Lines, Outlet, Plain, Remainder, Sent, Told};
use crate::message::problem::Refusal;
use crate::message::shelf::Whole;
use crate::server::shutdown::Ending;
use crate::server::upload::UploadFailure;

/// Nothing below may take longer; a hang is a failure, not a wait.
pub(super) const SOON: Duration = Duration::from_secs(5);

pub(super) const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

pub(super) struct Running {
    address: SocketAddr,
    pub(super) drain: Drain,
    tasks: JoinSet<()>,
}

fn start<S, B>(limits: Limits, service: S) -> Running
where
    S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    B: Led + Send + 'static,
    B::Error: Into<BoxError>,
{
    start_with(limits, move |_| Welcome::to(service.clone()))
}

pub(super) fn start_with<S, B>(
    limits: Limits,
    welcome: impl Fn(&Arc<Outbox>) -> Welcome<S> + Clone + Send + Sync + 'static,
) -> Running
where
    S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    B: Led + Send + 'static,
    B::Error: Into<BoxError>,
{
    let listener = listen::bind(SocketAddr::from(([127, 0, 0, 1], 0)), 1).unwrap().remove(0);
    let listener = TcpListener::from_std(listener).unwrap();
    let address = listener.local_addr().unwrap();
    let drain = Drain::new();
    let mut tasks = JoinSet::new();
    let threshold = Threshold::default();
    let make = move |_, outbox: &Arc<Outbox>| welcome(outbox);
    tasks.spawn(serve(listener, threshold, make, Arc::new(limits), drain.clone()));
    Running { address, drain, tasks }
}

async fn hello(request: Request<Upload>) -> Result<Response<Full<Bytes>>, Infallible> {
    let Some(Refusal { status, detail }) = request.extensions().get().copied() else {
        return Ok(Response::new(Full::from("hello")));
    };
    let mut response = Response::new(Full::from(detail));
    *response.status_mut() = status;
    Ok(response)
}

impl Running {
    /// Whether somebody listens.
    pub(super) async fn is_open(&self) -> bool {
        TcpStream::connect(self.address).await.is_ok()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(super) async fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut client = self.connect().await;
        client.write_all(bytes).await.unwrap();
        client
    }
}

/// Reads until the server ends the connection; a reset counts as an end.
pub(super) async fn read_to_end(client: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ =
        timeout(SOON, client.read_to_end(&mut bytes)).await.expect("the connection never ended");
    String::from_utf8(bytes).unwrap()
}

/// Reads until `end` has arrived.
pub(super) async fn read_until(client: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut piece = [0; 1024];
    while !text.ends_with(end) {
        let read = timeout(SOON, client.read(&mut piece)).await.expect("no answer").unwrap();
        assert!(read > 0, "ended early after: {text}");
        text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    text
}

fn status_of(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let server = start(Limits::default(), service_fn(hello));
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.write_all(GET).await.unwrap();
        assert_eq!(status_of(&read_until(&mut client, "hello").await), "200");
    }
    assert_eq!(server.drain.connections(), 1);
}

/// Answers what is asked of one path.
struct Short;

impl Shortcut for Short {
    fn answer(
        &self,
        asked: &Plain<'_>,
        _: &dyn Lines,
        head: &mut Vec<u8>,
        outlet: &mut dyn Outlet,
    ) -> Told {
        if asked.target != "/short" {
            return Told::Left;
        }
        head.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
        assert_eq!(outlet.send(head, Whole::Bytes(&Bytes::from_static(b"short"))), Sent::All);
        Told::All
    }
}

#[tokio::test]
async fn the_lane_answers_plain_requests_once_the_service_had_one() {
    let welcome = |_: &Arc<Outbox>| Welcome {
        service: service_fn(hello),
        shortcut: Some(Box::new(Short) as _),
    };
    let server = start_with(Limits::default(), welcome);
    let mut client = server.connect().await;
    let rows = [
        ("/short", "", "hello"),
        ("/short", "", "short"),
        ("/other", "", "hello"),
        ("/short", "TE: trailers\r\n", "hello"),
        ("/short", "Cookie: a\r\n", "short"),
    ];
    for (path, fields, says) in rows {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        read_until(&mut client, says).await;
    }
    // A connection that the lane used is idle like any other, and ends with the others.
    server.drain.begin();
    assert_eq!(read_to_end(&mut client).await, "");
}

/// Answers half of everything with what was asked for.
struct Echo;

impl Shortcut for Echo {
    fn answer(
        &self,
        asked: &Plain<'_>,
        _: &dyn Lines,
        head: &mut Vec<u8>,
        outlet: &mut dyn Outlet,
    ) -> Told {
        if !asked.target.starts_with("/short") {
            return Told::Left;
        }
        let length = asked.target.len();
        head.extend_from_slice(
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").as_bytes(),
        );
        let body = Bytes::copy_from_slice(asked.target.as_bytes());
        match outlet.send(head, Whole::Bytes(&body)) {
            Sent::All => Told::All,
            Sent::Part(at) => Told::Begun(Box::new(Rest(body, at))),
        }
    }
}

struct Rest(Bytes, usize);

impl Remainder for Rest {
    fn body(&self) -> (Whole<'_>, usize) {
        (Whole::Bytes(&self.0), self.1)
    }

    fn advance(&mut self, sent: usize) {
        self.1 += sent;
    }
}

/// Answers with what was asked for.
async fn echo(request: Request<Upload>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from(request.uri().path().to_owned())))
}

#[tokio::test]
async fn answers_to_requests_that_came_together_go_out_in_their_order_whoever_gives_them() {
    let welcome = |_: &Arc<Outbox>| Welcome {
        service: service_fn(echo),
        shortcut: Some(Box::new(Echo) as _),
    };
    let server = start_with(Limits::default(), welcome);
    let mut client = server.send(GET).await;
    read_until(&mut client, "\r\n\r\n/").await;
    // Many more than are answered in one go, of which some are the service's; and so long that they do not go out at once.
    let path = |at: usize| {
        let kind = if at % 23 == 22 { "other" } else { "short" };
        format!("/{kind}/{at}/{}", "x".repeat(at % 7000))
    };
    let (mut reader, mut writer) = client.split();
    let write = async {
        for at in 0..2000 {
            let request = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", path(at));
            writer.write_all(request.as_bytes()).await.unwrap();
        }
    };
    let read = async {
        let (mut said, mut piece) = (String::new(), vec![0; 1 << 16]);
        for at in 0..2000 {
            let body = format!("\r\n\r\n{}", path(at));
            let end = loop {
                if let Some(begin) = said.find(&body) {
                    break begin + body.len();
                }
                assert!(said.len() < 1 << 20, "{at} is not answered");
                let read =
                    timeout(SOON, reader.read(&mut piece)).await.expect("no answer").unwrap();
                assert!(read > 0, "ended early");
                said.push_str(str::from_utf8(&piece[..read]).unwrap());
            };
            assert_eq!(said[..end].matches("HTTP/1.1 200 OK").count(), 1, "{at}");
            said.drain(..end);
        }
    };
    tokio::join!(write, read);
}

/// Answers everything, and notes what the turn was.
struct Noting {
    turn: Arc<AtomicUsize>,
    noted: mpsc::UnboundedSender<usize>,
}

impl Shortcut for Noting {
    fn answer(
        &self,
        asked: &Plain<'_>,
        fields: &dyn Lines,
        head: &mut Vec<u8>,
        outlet: &mut dyn Outlet,
    ) -> Told {
        self.noted.send(self.turn.load(Ordering::Relaxed)).unwrap();
        Short.answer(asked, fields, head, outlet)
    }
}

#[tokio::test]
async fn a_client_that_asks_for_much_at_once_lets_others_have_their_turn() {
    let turn = Arc::new(AtomicUsize::new(0));
    let (sender, mut noted) = mpsc::unbounded_channel();
    let welcome = {
        let turn = turn.clone();
        move |_: &Arc<Outbox>| {
            let shortcut = Noting { turn: turn.clone(), noted: sender.clone() };
            Welcome { service: service_fn(hello), shortcut: Some(Box::new(shortcut) as _) }
        }
    };
    let server = start_with(Limits::default(), welcome);
    let mut client = server.send(GET).await;
    read_until(&mut client, "hello").await;
    // The others of this worker.
    let mut others = JoinSet::new();
    others.spawn(async move {
        loop {
            turn.fetch_add(1, Ordering::Relaxed);
            yield_now().await;
        }
    });
    let many = 200;
    let asked = b"GET /short HTTP/1.1\r\nhost: a\r\n\r\n";
    client.write_all(&asked.repeat(many)).await.unwrap();
    let mut answers = vec![0; many * "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nshort".len()];
    timeout(SOON, client.read_exact(&mut answers)).await.expect("all are answered").unwrap();
    let turns: Vec<_> = std::iter::from_fn(|| noted.try_recv().ok()).collect();
    assert_eq!(turns.len(), many);
    let most = turns.chunk_by(|one, next| one == next).map(<[usize]>::len).max();
    // The runtime may change the order of two tasks, so that one is last and then first.
    assert!(most <= Some(2 * lane::LOT), "{most:?} were answered in one turn");
    // And the connection is as good as before.
    client.write_all(asked).await.unwrap();
    read_until(&mut client, "short").await;
}

async fn ask_over_h2(stream: TcpStream) -> Response<Bytes> {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = Request::get("http://a/").body(Full::<Bytes>::default()).unwrap();
    let response = timeout(SOON, sender.send_request(request)).await.unwrap().unwrap();
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn both_protocols_are_spoken_on_one_port() {
    let server = start(Limits::default(), service_fn(hello));
    let h2 = ask_over_h2(server.connect().await).await;
    assert_eq!((h2.version(), h2.body().as_ref()), (http::Version::HTTP_2, &b"hello"[..]));
    let mut h1 = server.send(GET).await;
    assert!(read_until(&mut h1, "hello").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_first_byte_that_comes_alone_does_not_decide_the_protocol() {
    let server = start(Limits::default(), service_fn(hello));
    let mut post = server.send(b"P").await;
    yield_now().await;
    post.write_all(b"OST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    assert_eq!(status_of(&read_until(&mut post, "hello").await), "200");

    let mut preface = server.send(b"PRI").await;
    yield_now().await;
    preface.write_all(b" * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 9];
    timeout(SOON, preface.read_exact(&mut frame)).await.unwrap().unwrap();
    assert_eq!(frame[3], 4, "the first frame of an HTTP/2 server is SETTINGS");
}

#[tokio::test]
async fn a_head_that_drips_is_ended_although_it_moves() {
    let limits = Limits { header_timeout: Duration::from_millis(200), ..Limits::default() };
    let server = start(limits, service_fn(hello));
    let mut client = server.send(b"GET / HTTP/1.1\r\nx: ").await;
    let begun = Instant::now();
    let (mut read, mut write) = client.split();
    let drip = async {
        while write.write_all(b"a").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut piece = [0; 1];
    tokio::select! {
        () = drip => {}
        ended = timeout(SOON, read.read(&mut piece)) => {
            assert!(matches!(ended.expect("never ended"), Ok(0) | Err(_)));
        }
    }
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time() {
    let limits = Limits { idle_timeout: Duration::from_millis(100), ..Limits::default() };
    let server = start(limits, service_fn(hello));
    let mut client = server.send(GET).await;
    read_until(&mut client, "hello").await;
    assert_eq!(read_to_end(&mut client).await, "");
    let mut silent = server.connect().await;
    assert_eq!(read_to_end(&mut silent).await, "");
}

#[tokio::test]
async fn a_request_in_progress_outlives_the_idle_time() {
    let limits = Limits {
        idle_timeout: Duration::from_millis(50),
        header_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let service = service_fn(async |_: Request<Upload>| {
        sleep(Duration::from_millis(400)).await;
        Ok(Response::new(Full::<Bytes>::from("late")))
    });
    let server = start(limits, service);
    let mut client = server.send(GET).await;
    assert!(read_until(&mut client, "late").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_body_whose_client_falls_silent_fails_while_it_is_awaited() {
    let limits = Limits { body_timeout: Duration::from_millis(100), ..Limits::default() };
    let (failures, mut failed) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Upload>| {
        let failures = failures.clone();
        async move {
            let failure = request.into_body().collect().await.unwrap_err();
            failures.send(matches!(failure, UploadFailure::Silent(_))).unwrap();
            Ok(Response::new(Full::<Bytes>::default()))
        }
    });
    let server = start(limits, service);
    let _client = server.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc").await;
    assert_eq!(timeout(SOON, failed.recv()).await.unwrap(), Some(true));
}

/// A body without end that tells when it falls.
struct Endless {
    _fallen: oneshot::Sender<()>,
}

impl Led for Endless {}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 16384])))))
    }
}

fn endless() -> (
    impl Service<
        Request<Upload>,
        Response = Response<Endless>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static,
    oneshot::Receiver<()>,
) {
    let (sender, fallen) = oneshot::channel();
    let sender = Arc::new(parking_lot::Mutex::new(Some(sender)));
    let service = service_fn(move |_: Request<Upload>| {
        let body = Endless { _fallen: sender.lock().take().unwrap() };
        async { Ok(Response::new(body)) }
    });
    (service, fallen)
}

fn impatient() -> Limits {
    Limits { stall_timeout: Duration::from_millis(200), ..Limits::default() }
}

#[tokio::test]
async fn a_reader_that_stalls_is_cut() {
    let (service, fallen) = endless();
    let server = start(impatient(), service);
    let _client = server.send(GET).await;
    assert!(timeout(SOON, fallen).await.expect("the stalled reader was kept").is_err());
}

#[tokio::test]
async fn a_reader_that_shuts_its_window_is_cut() {
    let (service, fallen) = endless();
    let server = start(impatient(), service);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(
        TokioExecutor::new(),
        TokioIo::new(server.connect().await),
    )
    .await
    .unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = Request::get("http://a/").body(Full::<Bytes>::default()).unwrap();
    // Held, not read.
    let _response = sender.send_request(request).await.unwrap();
    assert!(timeout(SOON, fallen).await.expect("the stalled reader was kept").is_err());
}

#[tokio::test]
async fn who_ends_its_side_with_the_request_is_answered() {
    let server = start(Limits::default(), service_fn(hello));
    // Before and after it was accepted: what came is found with the end that came behind it.
    for turns in [0, 1, 2, 3, 10] {
        let mut client = server.connect().await;
        for _ in 0..turns {
            yield_now().await;
        }
        client.try_write(GET).unwrap();
        client.shutdown().await.unwrap();
        assert!(read_to_end(&mut client).await.ends_with("hello"), "after {turns} turns");
    }
}

#[tokio::test]
async fn heads_beyond_the_limits_are_refused() {
    let server = start(Limits::default(), service_fn(hello));
    let fields = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(length));
    let value = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(70_000));
    for (request, status) in [
        (fields(128), "200"),
        (fields(129), "431"),
        (target(16_000), "200"),
        (target(17_000), "414"),
        (value, "431"),
    ] {
        let mut client = server.send(request.as_bytes()).await;
        client.shutdown().await.unwrap();
        assert_eq!(status_of(&read_to_end(&mut client).await), status, "{request:.20}");
    }
}

#[tokio::test]
async fn the_head_that_is_ambiguous_is_refused_and_not_the_one_before_it() {
    let server = start(Limits::default(), service_fn(hello));
    let both = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let mut client = server.send(&[GET, both.as_bytes(), GET].concat()).await;
    let said = read_to_end(&mut client).await;
    let (first, second) = said.split_once("hello").expect("the first request is answered");
    assert!(first.starts_with("HTTP/1.1 200 "), "{said}");
    assert!(second.starts_with("HTTP/1.1 400 "), "{said}");
    assert!(second.contains("connection: close"), "{said}");
    let detail = second.split_once("\r\n\r\n").unwrap().1;
    assert!(!detail.is_empty() && !detail.contains("hello"), "and nothing follows it: {said}");
}

#[tokio::test]
async fn a_transfer_coding_that_nobody_takes_off_is_not_understood() {
    let server = start(Limits::default(), service_fn(hello));
    for lines in ["gzip, chunked", "gzip\r\ntransfer-encoding: chunked"] {
        let head =
            format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: {lines}\r\n\r\n0\r\n\r\n");
        let mut client = server.send(head.as_bytes()).await;
        assert_eq!(status_of(&read_to_end(&mut client).await), "501", "{lines}");
    }
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let server = start(limits, service_fn(hello));
    let mut first = server.send(GET).await;
    read_until(&mut first, "hello").await;
    let mut second = server.send(GET).await;
    let answer = read_until(&mut second, "}").await;
    assert_eq!(status_of(&answer), "503");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
    first.write_all(GET).await.unwrap();
    read_until(&mut first, "hello").await;
}

#[tokio::test]
async fn an_answer_reaches_a_client_whose_upload_nobody_reads() {
    let server = start(Limits::default(), service_fn(hello));
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 200000\r\n\r\n";
    let mut client = server.send(head).await;
    client.write_all(&vec![b'x'; 100_000]).await.unwrap();
    assert_eq!(status_of(&read_until(&mut client, "hello").await), "200");
}

/// Answers once it is released, and says when it was called.
fn held(
    called: Arc<Notify>,
    release: Arc<Notify>,
) -> impl Service<
    Request<Upload>,
    Response = Response<Full<Bytes>>,
    Error = Infallible,
    Future: Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static {
    service_fn(move |_: Request<Upload>| {
        let (called, release) = (Arc::clone(&called), Arc::clone(&release));
        async move {
            called.notify_one();
            release.notified().await;
            Ok(Response::new(Full::from("released")))
        }
    })
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_hand_and_takes_nothing_new() {
    let (called, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut server = start(Limits::default(), held(Arc::clone(&called), Arc::clone(&release)));
    let mut client = server.send(GET).await;
    called.notified().await;
    let drain = server.drain.clone();
    let mut finishing = JoinSet::new();
    finishing.spawn(async move {
        assert_eq!(drain.finish(SOON).await, Ending::Clean);
    });
    server.drain.begun().await;
    while server.is_open().await {
        yield_now().await;
    }
    release.notify_one();
    let answer = read_to_end(&mut client).await;
    assert!(answer.ends_with("released") && answer.contains("connection: close"), "{answer}");
    drop(client);
    timeout(SOON, server.tasks.join_next()).await.unwrap();
    finishing.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn what_does_not_finish_within_the_grace_is_cut_and_counted() {
    let (called, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let server = start(Limits::default(), held(Arc::clone(&called), release));
    let mut client = server.send(GET).await;
    called.notified().await;
    assert_eq!(server.drain.finish(Duration::from_millis(50)).await, Ending::Cut(1));
    assert_eq!(read_to_end(&mut client).await, "");
    assert_eq!(server.drain.connections(), 0);
}

#[tokio::test]
async fn a_drain_says_goodbye_to_h2_after_the_stream_in_hand() {
    let (called, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let server = start(Limits::default(), held(Arc::clone(&called), Arc::clone(&release)));
    let stream = server.connect().await;
    let mut asking = JoinSet::new();
    asking.spawn(ask_over_h2(stream));
    called.notified().await;
    server.drain.begin();
    release.notify_one();
    let answer = asking.join_next().await.unwrap().unwrap();
    assert_eq!((answer.status(), answer.body().as_ref()), (StatusCode::OK, &b"released"[..]));
    assert_eq!(server.drain.finish(SOON).await, Ending::Clean);
}

#[tokio::test]
async fn a_tunnel_counts_as_a_connection_until_it_is_cut() {
    let mut echoes = JoinSet::new();
    let (upgrades, mut taken) = mpsc::unbounded_channel();
    let service = service_fn(move |mut request: Request<Upload>| {
        upgrades.send(hyper::upgrade::on(&mut request)).unwrap();
        async move {
            let mut response = Response::new(Full::<Bytes>::default());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert("upgrade", "echo".parse().unwrap());
            response.headers_mut().insert("connection", "upgrade".parse().unwrap());
            Ok(response)
        }
    });
    let server = start(impatient(), service);
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    let mut client = server.send(request).await;
    assert_eq!(status_of(&read_until(&mut client, "\r\n\r\n").await), "101");
    let upgrade = taken.recv().await.unwrap();
    echoes.spawn(async move {
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    client.write_all(b"ping").await.unwrap();
    assert_eq!(read_until(&mut client, "ping").await, "ping");
    assert_eq!(server.drain.connections(), 1);
    assert_eq!(server.drain.finish(Duration::from_millis(50)).await, Ending::Cut(1));
    assert_eq!(read_to_end(&mut client).await, "");
}

#[tokio::test]
async fn an_answer_may_come_before_the_upload_is_through() {
    let limits = Limits { header_timeout: Duration::from_millis(100), ..Limits::default() };
    let (bodies, mut uploads) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Upload>| {
        bodies.send(request.into_body()).unwrap();
        async { Ok(Response::new(Full::<Bytes>::from("early"))) }
    });
    let server = start(limits, service);
    let mut client =
        server.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n12").await;
    read_until(&mut client, "early").await;
    let upload = uploads.recv().await.unwrap();
    let mut collecting = JoinSet::new();
    collecting.spawn(upload.collect());
    sleep(Duration::from_millis(400)).await;
    client.write_all(b"34").await.unwrap();
    let whole = collecting.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(whole.to_bytes().as_ref(), b"1234");
}

#[tokio::test]
async fn repeated_fields_and_unknown_methods_reach_the_service_as_they_came() {
    let (heads, mut seen) = mpsc::unbounded_channel::<(Method, HeaderMap)>();
    let service = service_fn(move |request: Request<Upload>| {
        heads.send((request.method().clone(), request.headers().clone())).unwrap();
        async { Ok(Response::new(Full::<Bytes>::default())) }
    });
    let server = start(Limits::default(), service);
    let _client = server.send(b"BREW /pot HTTP/1.1\r\nhost: a\r\nx: 1\r\nX: \xff\r\n\r\n").await;
    let (method, fields) = seen.recv().await.unwrap();
    assert_eq!(method.as_str(), "BREW");
    let values: Vec<_> = fields.get_all("x").iter().map(http::HeaderValue::as_bytes).collect();
    assert_eq!(values, [&b"1"[..], &b"\xff"[..]]);
}

#[test]
fn the_count_of_connections_begins_at_none() {
    assert_eq!(Drain::new().open().load(Ordering::Relaxed), 0);
}
