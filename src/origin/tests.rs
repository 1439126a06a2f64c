//! The origin on the wire: against raw sockets that answer, lie, stall and leave.

use std::convert::Infallible;
use std::net::SocketAddr;

use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::*;

/// Nothing below may take longer; a hang is a failure, not a wait.
const SOON: Duration = Duration::from_secs(5);

impl Origin {
    /// Sends a request whose body comes as it is sent.
    async fn send<B>(&self, request: Request<B>) -> Result<Response<Incoming>, OriginFailure>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut dispatch = Dispatch::streaming(request.into(), None);
        self.ask(&mut dispatch, None).await.map(Reply::into_response)
    }
}

/// A request as the origin saw it.
#[derive(Debug)]
struct Seen {
    head: String,
    body: Vec<u8>,
}

/// One end of a connection at the origin, and where it tells what it has seen.
struct Caller {
    socket: TcpStream,
    seen: mpsc::UnboundedSender<Seen>,
}

impl Caller {
    /// The next request, told to the test; none once the proxy has hung up.
    async fn request(&mut self) -> Option<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.socket.read_u8().await.ok()?);
        }
        let head: String = head.into_iter().map(char::from).collect();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body).await.ok()?;
        let _ = self.seen.send(Seen { head, body });
        Some(())
    }

    async fn say(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes).await;
    }
}

/// An origin that treats each connection as the test says.
struct Scripted {
    address: SocketAddr,
    seen: mpsc::UnboundedReceiver<Seen>,
    _tasks: JoinSet<()>,
}

async fn scripted<F>(script: impl Fn(Caller) -> F + Send + 'static) -> Scripted
where
    F: Future<Output = ()> + Send + 'static,
{
    scripted_at(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
}

fn scripted_at<F>(listener: TcpListener, script: impl Fn(Caller) -> F + Send + 'static) -> Scripted
where
    F: Future<Output = ()> + Send + 'static,
{
    let address = listener.local_addr().unwrap();
    let (sender, seen) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((socket, _)) = listener.accept().await {
            connections.spawn(script(Caller { socket, seen: sender.clone() }));
        }
    });
    Scripted { address, seen, _tasks: tasks }
}

/// Answers every request with the same bytes and keeps the connection.
async fn always(answer: &'static [u8]) -> Scripted {
    scripted(move |caller| repeat(caller, answer)).await
}

async fn repeat(mut caller: Caller, answer: &'static [u8]) {
    while caller.request().await.is_some() {
        caller.say(answer).await;
    }
}

/// A port where nobody listens yet, and which nobody else can take.
struct Away(TcpSocket);

impl Away {
    fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self(socket)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// From now on it answers as `always` does.
    fn come(self, answer: &'static [u8]) -> Scripted {
        scripted_at(self.0.listen(64).unwrap(), move |caller| repeat(caller, answer))
    }
}

/// Answers one request with these bytes and closes.
async fn once(answer: &'static [u8]) -> Scripted {
    scripted(move |mut caller| async move {
        if caller.request().await.is_some() {
            caller.say(answer).await;
        }
    })
    .await
}

impl Scripted {
    fn settings(&self) -> Settings {
        settings(&[self.address])
    }

    fn origin(&self) -> Origin {
        set_up(self.settings()).unwrap()
    }

    /// How many requests came so far.
    fn count(&mut self) -> usize {
        std::iter::from_fn(|| self.seen.try_recv().ok()).count()
    }
}

fn set_up(settings: Settings) -> Result<Origin, SettingsFault> {
    Origin::new(settings, OriginMetrics::default())
}

fn settings(addresses: &[SocketAddr]) -> Settings {
    let uri = |address: &SocketAddr| format!("http://{address}").parse().unwrap();
    Settings::new("api", addresses.iter().map(uri).collect())
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn get(uri: &str) -> Request<Empty<Bytes>> {
    Request::get(uri).header("host", "shop.example").body(Empty::new()).unwrap()
}

fn post(body: &'static str) -> Request<Full<Bytes>> {
    Request::post("/").header("host", "shop.example").body(Full::from(body)).unwrap()
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("took too long")
}

async fn text(response: Response<Incoming>) -> String {
    let bytes = soon(response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn failure_of(origin: &Origin) -> OriginFailure {
    soon(origin.send(get("/"))).await.unwrap_err()
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_request_goes_out_as_it_came() {
    let mut scripted = always(OK).await;
    let origin = scripted.origin();
    let mut request = get("/a/../%2e/b//c?q='x'&&empty=");
    request.headers_mut().append("x", HeaderValue::from_static("1"));
    request.headers_mut().append("y", HeaderValue::from_static("2"));
    request.headers_mut().append("x", HeaderValue::from_bytes(b"\xe9").unwrap());
    assert_eq!(text(soon(origin.send(request)).await.unwrap()).await, "ok");
    let seen = scripted.seen.recv().await.unwrap();
    assert_eq!(
        seen.head,
        "GET /a/../%2e/b//c?q='x'&&empty= HTTP/1.1\r\nhost: shop.example\r\nx: 1\r\nx: \u{e9}\r\ny: 2\r\n\r\n"
    );
}

#[tokio::test]
async fn a_fixed_host_replaces_the_clients() {
    let mut scripted = always(OK).await;
    let host = HostRule::Fixed(Authority::from_static("api.example:8443"));
    let origin = set_up(Settings { host, ..scripted.settings() }).unwrap();
    soon(origin.send(get("/"))).await.unwrap();
    let seen = scripted.seen.recv().await.unwrap();
    assert!(seen.head.contains("\r\nhost: api.example:8443\r\n"), "{}", seen.head);
}

#[tokio::test]
async fn connections_are_used_again_and_bodies_pass_both_ways() {
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    let mut scripted = scripted(move |mut caller| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            while caller.request().await.is_some() {
                caller.say(OK).await;
            }
        }
    })
    .await;
    let origin = scripted.origin();
    for _ in 0..5 {
        let answer = soon(origin.send(post("hello"))).await.unwrap();
        assert_eq!(text(answer).await, "ok");
        assert_eq!(scripted.seen.recv().await.unwrap().body, b"hello");
    }
    assert_eq!(accepted.load(Ordering::Relaxed), 1);
}

/// What becomes of an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Read,
    Dropped,
}

/// How many connections three requests need to an origin that gives `answer` to each.
async fn connections(method: &Method, answer: &'static [u8], then: Then) -> usize {
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    let scripted = scripted(move |mut caller| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            while caller.request().await.is_some() {
                caller.say(answer).await;
            }
        }
    })
    .await;
    let origin = scripted.origin();
    for _ in 0..3 {
        let mut request = get("/");
        *request.method_mut() = method.clone();
        let answer = soon(origin.send(request)).await.unwrap();
        if then == Then::Read {
            soon(answer.into_body().collect()).await.unwrap();
        }
    }
    accepted.load(Ordering::Relaxed)
}

#[tokio::test]
async fn a_connection_is_used_again_once_its_answer_is_through() {
    for (method, answer) in [
        (Method::GET, OK),
        (Method::HEAD, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"),
        (Method::GET, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (Method::GET, b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n"),
        (Method::GET, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        (
            Method::GET,
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\na: b\r\n\r\n",
        ),
        (Method::GET, b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok"),
        (
            Method::GET,
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        ),
    ] {
        let text = answer.escape_ascii();
        assert_eq!(connections(&method, answer, Then::Read).await, 1, "{method} {text}");
    }
}

#[tokio::test]
async fn a_connection_is_not_used_again_where_its_answer_has_no_sure_end() {
    for (answer, then) in [
        (&b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"[..], Then::Read),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", Then::Read),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and more", Then::Read),
        (b"HTTP/1.1 204 No Content\r\n\r\nok", Then::Read),
        // Dropped before its end.
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", Then::Dropped),
    ] {
        let text = answer.escape_ascii();
        assert_eq!(connections(&Method::GET, answer, then).await, 3, "{text}");
    }
}

#[tokio::test]
async fn a_body_without_a_length_ends_with_its_connection() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\n\r\nall of it"[..],
        b"HTTP/1.0 200 OK\r\n\r\nall of it",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: foo\r\n\r\nall of it",
    ] {
        let answer = soon(once(answer).await.origin().send(get("/"))).await.unwrap();
        assert_eq!(text(answer).await, "all of it");
    }
}

#[tokio::test]
async fn a_long_body_comes_as_it_was_sent() {
    let scripted = scripted(|mut caller| async move {
        while caller.request().await.is_some() {
            caller.say(b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n").await;
            for part in 0..3 {
                caller.say(&vec![b'a' + part; 100_000]).await;
            }
        }
    })
    .await;
    let origin = scripted.origin();
    for _ in 0..3 {
        let answer = soon(origin.send(get("/"))).await.unwrap();
        assert_eq!(answer.body().size_hint().exact(), Some(300_000));
        let body = text(answer).await;
        let expected = ["a", "b", "c"].map(|part| part.repeat(100_000)).concat();
        assert!(body == expected, "{} bytes", body.len());
    }
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed_in_time() {
    let (tell, mut gone) = mpsc::unbounded_channel();
    let scripted = scripted(move |mut caller| {
        let tell = tell.clone();
        async move {
            while caller.request().await.is_some() {
                caller.say(OK).await;
            }
            let _ = tell.send(());
        }
    })
    .await;
    let pool_idle = Duration::from_millis(50);
    let origin = set_up(Settings { pool_idle, ..scripted.settings() }).unwrap();
    for _ in 0..2 {
        text(soon(origin.send(get("/"))).await.unwrap()).await;
        soon(gone.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn odd_statuses_and_bytes_pass() {
    let scripted = always(b"HTTP/1.1 799 Odd\r\nx: \xff\xfe\r\ncontent-length: 0\r\n\r\n").await;
    let answer = soon(scripted.origin().send(get("/"))).await.unwrap();
    assert_eq!(answer.status().as_u16(), 799);
    assert_eq!(answer.headers()["x"].as_bytes(), b"\xff\xfe");
}

/// An origin on a thread of its own: answers one request per connection, then, when told, says `last` and closes.
///
/// The test blocks its runtime until that is done, so the runtime cannot have noticed when the next request is
/// written: the race is lost every time.
struct Leaving {
    address: SocketAddr,
    leave: std::sync::mpsc::Sender<()>,
    left: std::sync::mpsc::Receiver<()>,
    requests: Arc<AtomicUsize>,
}

impl Leaving {
    fn saying(last: &'static [u8]) -> Self {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (leave, told) = std::sync::mpsc::channel();
        let (leaving, left) = std::sync::mpsc::channel();
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        std::thread::spawn(move || {
            let mut stay = Vec::new();
            while let Ok((mut socket, _)) = listener.accept() {
                let read = socket.read(&mut [0; 4096]).unwrap();
                count.fetch_add(usize::from(read > 0), Ordering::Relaxed);
                socket.write_all(OK).unwrap();
                if told.recv().is_err() {
                    return;
                }
                socket.write_all(last).unwrap();
                // What has said something stays open, so that this something is all there is to notice.
                if last.is_empty() {
                    drop(socket);
                } else {
                    stay.push(socket);
                }
                leaving.send(()).unwrap();
            }
        });
        Self { address, leave, left, requests }
    }

    async fn ask(&self, origin: &Origin, method: Method, times: usize) {
        for _ in 0..times {
            let mut request = get("/").map(|_| Bytes::new());
            *request.method_mut() = method.clone();
            if method == Method::QUERY {
                *request.body_mut() = Bytes::from_static(b"a question");
            }
            let mut dispatch = Dispatch::whole(request.into(), None);
            let answer = soon(origin.ask(&mut dispatch, None)).await.expect("the request was lost");
            assert_eq!(text(answer.into_response()).await, "ok");
            self.leave.send(()).unwrap();
            self.left.recv().unwrap();
        }
        assert_eq!(self.requests.swap(0, Ordering::Relaxed), times);
    }
}

#[tokio::test]
async fn a_connection_that_the_origin_closes_costs_no_request_and_doubles_none() {
    let leaving = Leaving::saying(b"");
    let origin = set_up(settings(&[leaving.address])).unwrap();
    leaving.ask(&origin, Method::GET, 50).await;
}

#[tokio::test]
async fn what_was_not_sent_is_sent_again_whatever_its_method() {
    let leaving = Leaving::saying(b"");
    let origin = set_up(settings(&[leaving.address])).unwrap();
    leaving.ask(&origin, Method::DELETE, 10).await;
    // With a body too, where that is here as a whole.
    leaving.ask(&origin, Method::QUERY, 10).await;
}

#[tokio::test]
async fn bytes_that_nobody_asked_for_answer_nobody() {
    let leaving = Leaving::saying(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil");
    let origin = set_up(settings(&[leaving.address])).unwrap();
    leaving.ask(&origin, Method::GET, 50).await;
}

#[tokio::test]
async fn a_post_is_never_seen_twice() {
    let mut scripted = once(OK).await;
    let origin = scripted.origin();
    for _ in 0..200 {
        if let Ok(answer) = soon(origin.send(post("once"))).await {
            text(answer).await;
        }
    }
    let seen = scripted.count();
    assert!(seen <= 200, "200 requests became {seen}");
}

#[tokio::test]
async fn a_request_that_was_read_and_not_answered_is_not_sent_again() {
    let mut scripted = scripted(|mut caller| async move {
        caller.request().await;
        caller.say(OK).await;
        // The second on the same connection is read, and the connection closed.
        caller.request().await;
    })
    .await;
    let origin = scripted.origin();
    text(soon(origin.send(get("/"))).await.unwrap()).await;
    assert!(matches!(failure_of(&origin).await, OriginFailure::Reset(_)));
    assert_eq!(scripted.count(), 2);
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_failure() {
    for nonsense in [
        &b"SSH-2.0-OpenSSH\r\n\r\n"[..],
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: \0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
    ] {
        let failure = failure_of(&once(nonsense).await.origin()).await;
        assert!(matches!(failure, OriginFailure::Protocol(_)), "{failure:?} of {nonsense:?}");
        assert_eq!(failure.status(), StatusCode::BAD_GATEWAY);
    }
}

#[tokio::test]
async fn a_head_without_end_is_bounded() {
    let scripted = scripted(|mut caller| async move {
        caller.request().await;
        caller.say(b"HTTP/1.1 200 OK\r\n").await;
        while caller.socket.write_all(b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n").await.is_ok() {
        }
    })
    .await;
    let failure = failure_of(&scripted.origin()).await;
    assert!(matches!(failure, OriginFailure::Protocol(_)), "{failure:?}");
}

#[tokio::test]
async fn chunked_wins_over_a_length_and_trailers_pass() {
    let scripted = once(
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ngrpc-status: 0\r\n\r\n",
    )
    .await;
    let answer = soon(scripted.origin().send(get("/"))).await.unwrap();
    assert!(!answer.headers().contains_key("content-length"));
    let collected = soon(answer.into_body().collect()).await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(collected.to_bytes().as_ref(), b"ok");
}

#[tokio::test]
async fn a_body_cut_short_is_an_error_and_not_an_end() {
    for cut in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nok",
    ] {
        let answer = soon(once(cut).await.origin().send(get("/"))).await.unwrap();
        let failure = soon(answer.into_body().collect()).await.unwrap_err();
        assert!(matches!(failure, OriginFailure::Cut(_)), "{failure:?}");
    }
}

/// Short enough to wait for.
fn hasty() -> Timeouts {
    Timeouts {
        first_byte: Duration::from_millis(200),
        idle: Duration::from_millis(100),
        queue: Duration::from_millis(50),
        ..Timeouts::default()
    }
}

#[tokio::test]
async fn an_origin_that_says_nothing_has_its_time_and_not_more() {
    for slow in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-le", b"HTTP/1.1 103 Early Hints\r\n\r\n"] {
        let scripted = always(slow).await;
        let origin = set_up(Settings { timeouts: hasty(), ..scripted.settings() }).unwrap();
        let failure = failure_of(&origin).await;
        assert_eq!(
            (&failure, failure.status()),
            (&OriginFailure::NoAnswer, StatusCode::GATEWAY_TIMEOUT)
        );
    }
}

#[tokio::test]
async fn an_upload_that_moves_prolongs_the_time_for_the_answer() {
    let mut scripted = always(OK).await;
    let origin = set_up(Settings { timeouts: hasty(), ..scripted.settings() }).unwrap();
    let pieces = futures_util::stream::unfold(0, |sent| async move {
        sleep(Duration::from_millis(60)).await;
        let frame = http_body::Frame::data(Bytes::from_static(b"x"));
        (sent < 8).then_some((Ok::<_, Infallible>(frame), sent + 1))
    });
    let mut request = get("/").map(|_| StreamBody::new(pieces));
    *request.method_mut() = Method::POST;
    request.headers_mut().insert("content-length", HeaderValue::from_static("8"));
    assert_eq!(text(soon(origin.send(request)).await.unwrap()).await, "ok");
    assert_eq!(scripted.seen.recv().await.unwrap().body, b"xxxxxxxx");
}

#[tokio::test]
async fn a_body_that_stalls_fails() {
    let scripted = always(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok").await;
    let origin = set_up(Settings { timeouts: hasty(), ..scripted.settings() }).unwrap();
    let answer = soon(origin.send(get("/"))).await.unwrap();
    let failure = soon(answer.into_body().collect()).await.unwrap_err();
    assert_eq!(failure, OriginFailure::Stalled);
}

#[tokio::test]
async fn the_clients_failure_is_not_the_origins() {
    let scripted = always(OK).await;
    let breaker = breaker::Settings { failures: 1, open_for: SOON };
    let origin = set_up(Settings { breaker, ..scripted.settings() }).unwrap();
    let gone = futures_util::stream::iter([Err::<http_body::Frame<Bytes>, _>("client gone")]);
    let mut request = get("/").map(|_| StreamBody::new(gone));
    *request.method_mut() = Method::POST;
    let failure = soon(origin.send(request)).await.unwrap_err();
    assert_eq!(failure, OriginFailure::RequestBody(Arc::from("client gone")));
    assert_eq!(origin.condition().breaker, State::Closed);
}

#[tokio::test]
async fn a_place_is_held_until_the_body_is_through() {
    let scripted = always(OK).await;
    let origin =
        set_up(Settings { max_connections: 1, timeouts: hasty(), ..scripted.settings() }).unwrap();
    let first = soon(origin.send(get("/"))).await.unwrap();
    assert_eq!(failure_of(&origin).await, OriginFailure::Overloaded);
    assert_eq!(origin.condition().in_flight, 1);
    text(first).await;
    let second = soon(origin.send(get("/"))).await.unwrap();
    drop(second);
    assert_eq!(text(soon(origin.send(get("/"))).await.unwrap()).await, "ok");
}

#[tokio::test]
async fn an_origin_that_cannot_be_reached_opens_the_breaker() {
    let breaker = breaker::Settings { failures: 3, open_for: SOON };
    let origin = set_up(Settings { breaker, ..settings(&[nobody().await]) }).unwrap();
    for _ in 0..3 {
        let failure = failure_of(&origin).await;
        assert!(matches!(failure, OriginFailure::Unreachable(_)), "{failure:?}");
    }
    let failure = failure_of(&origin).await;
    assert!(matches!(failure, OriginFailure::BreakerOpen { .. }), "{failure:?}");
    assert_eq!(failure.status(), StatusCode::BAD_GATEWAY);
    assert!(failure.retry_after().is_some_and(|after| after <= SOON));
}

#[tokio::test]
async fn an_answer_of_failure_is_an_answer() {
    let scripted = always(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").await;
    let breaker = breaker::Settings { failures: 1, open_for: SOON };
    let origin = set_up(Settings { breaker, ..scripted.settings() }).unwrap();
    for _ in 0..3 {
        assert_eq!(soon(origin.send(get("/"))).await.unwrap().status(), 503);
    }
}

#[tokio::test]
async fn a_dead_endpoint_is_passed_over() {
    let mut scripted = always(OK).await;
    let origin = set_up(settings(&[nobody().await, scripted.address])).unwrap();
    for _ in 0..10 {
        assert_eq!(text(soon(origin.send(get("/"))).await.unwrap()).await, "ok");
    }
    assert_eq!(scripted.count(), 10);
    let condition = origin.condition();
    assert_eq!(condition.retries, 1, "the dead endpoint was tried again before its time");
    assert!(!condition.endpoints[0].1, "it is passed over");
}

/// Waits until the origin is as it should be.
async fn until(origin: &Origin, is_so: impl Fn(&Condition) -> bool) {
    soon(async {
        while !is_so(&origin.condition()) {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// Watched over, and left alone for an hour after one failure.
fn watched(addresses: &[SocketAddr]) -> (Arc<Origin>, JoinSet<()>) {
    let breaker = breaker::Settings { failures: 1, open_for: Duration::from_hours(1) };
    let origin = Arc::new(set_up(Settings { breaker, ..settings(addresses) }).unwrap());
    let mut watch = JoinSet::new();
    watch.spawn(recovery::watch(Arc::downgrade(&origin)));
    (origin, watch)
}

#[tokio::test]
async fn an_origin_that_can_be_reached_again_is_asked_again_before_its_time() {
    let away = Away::new();
    let (origin, _watch) = watched(&[away.address()]);
    failure_of(&origin).await;
    assert!(matches!(failure_of(&origin).await, OriginFailure::BreakerOpen { .. }));
    let _back = away.come(OK);
    until(&origin, |now| now.breaker == State::HalfOpen).await;
    assert_eq!(text(soon(origin.send(get("/"))).await.unwrap()).await, "ok");
    assert_eq!(origin.condition().breaker, State::Closed);
}

#[tokio::test]
async fn an_origin_that_can_be_reached_and_fails_is_asked_again_and_again() {
    let broken = always(b"nonsense\r\n\r\n").await;
    let (origin, _watch) = watched(&[broken.address]);
    for _ in 0..3 {
        until(&origin, |now| now.breaker != State::Open).await;
        let failure = failure_of(&origin).await;
        assert!(matches!(failure, OriginFailure::Protocol(_)), "{failure:?}");
        assert_eq!(origin.condition().breaker, State::Open);
    }
}

#[tokio::test]
async fn an_endpoint_that_can_be_reached_again_is_used_again_before_its_time() {
    let (away, other) = (Away::new(), always(OK).await);
    let (origin, _watch) = watched(&[away.address(), other.address]);
    for _ in 0..2 {
        assert_eq!(text(soon(origin.send(get("/"))).await.unwrap()).await, "ok");
    }
    assert!(!origin.condition().endpoints[0].1);
    let mut back = away.come(OK);
    until(&origin, |now| now.endpoints[0].1).await;
    for _ in 0..2 {
        assert_eq!(text(soon(origin.send(get("/"))).await.unwrap()).await, "ok");
    }
    assert_eq!(back.count(), 1, "it is not asked again");
}

#[tokio::test]
async fn the_watch_ends_with_its_origin() {
    let (origin, mut watch) = watched(&[nobody().await]);
    tokio::task::yield_now().await;
    drop(origin);
    assert!(soon(watch.join_next()).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_post_is_not_tried_on_another_endpoint() {
    let mut scripted = always(OK).await;
    let origin = set_up(settings(&[nobody().await, scripted.address])).unwrap();
    let failure = soon(origin.send(post("x"))).await.unwrap_err();
    assert!(matches!(failure, OriginFailure::Unreachable(_)), "{failure:?}");
    assert_eq!(scripted.count(), 0);
}

#[tokio::test]
async fn retries_end_with_their_budget() {
    let origin = set_up(Settings {
        retries: Retries { attempts: 1, budget: 0.0 },
        ..settings(&[nobody().await, nobody().await])
    })
    .unwrap();
    failure_of(&origin).await;
    assert_eq!(origin.condition().retries, 0);
}

#[tokio::test]
async fn a_request_that_is_dropped_frees_its_place_and_closes_its_connection() {
    let gone = Arc::new(Notify::new());
    let told = Arc::clone(&gone);
    let mut scripted = scripted(move |mut caller| {
        let told = Arc::clone(&told);
        async move {
            caller.request().await;
            if caller.socket.read_u8().await.is_err() {
                told.notify_one();
            }
        }
    })
    .await;
    let origin = scripted.origin();
    tokio::select! {
        answer = origin.send(get("/")) => panic!("nobody answers: {answer:?}"),
        seen = scripted.seen.recv() => assert!(seen.is_some()),
    }
    soon(gone.notified()).await;
    assert_eq!(origin.condition().in_flight, 0);
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel_that_keeps_its_place() {
    let scripted = scripted(|mut caller| async move {
        caller.request().await;
        caller.say(b"HTTP/1.1 101 Switching\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n").await;
        let (mut read, mut write) = caller.socket.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let origin = Arc::new(scripted.origin());
    let (mut client, server) = tokio::io::duplex(1024);
    let (answered, held) = (Arc::new(Notify::new()), Arc::clone(&origin));
    let ready = Arc::clone(&answered);
    let service = hyper::service::service_fn(move |mut request: Request<hyper::body::Incoming>| {
        let (origin, ready) = (Arc::clone(&held), Arc::clone(&ready));
        async move {
            let upgrade = hyper::upgrade::on(&mut request);
            let answer = origin.send(request.map(|_| Empty::<Bytes>::new())).await.unwrap();
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            let mut tasks = JoinSet::new();
            tasks.spawn(tunnel::tunnel(upgrade, answer, SOON));
            tasks.detach_all();
            ready.notify_one();
            Ok::<_, Infallible>(response)
        }
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(server), service)
            .with_upgrades(),
    );
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nping")
        .await
        .unwrap();
    soon(answered.notified()).await;
    assert_eq!(origin.condition().in_flight, 1);
    client.shutdown().await.unwrap();
    let mut said = String::new();
    soon(client.read_to_string(&mut said)).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 101") && said.ends_with("\r\n\r\nping"), "{said}");
}

#[tokio::test]
async fn an_h2_origin_hears_the_clients_host() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let service =
            hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async move {
                assert!(!request.headers().contains_key("host"), "the name was said twice");
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(request.uri().to_string())))
            });
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(socket), service)
            .await
    });
    let settings = Settings { protocol: Protocol::Http2, ..settings(&[address]) };
    let origin = set_up(settings).unwrap();
    let answer = soon(origin.send(get("/x?y"))).await.unwrap();
    assert_eq!(text(answer).await, "http://shop.example/x?y");
}

#[test]
fn every_runtime_has_connections_of_its_own() {
    let server = runtime();
    let scripted = server.block_on(always(OK));
    let origin = scripted.origin();
    let _turning = std::thread::spawn(move || server.block_on(std::future::pending::<()>()));
    for _ in 0..2 {
        let runtime = runtime();
        for _ in 0..2 {
            let answer = runtime.block_on(soon(origin.send(get("/")))).unwrap();
            assert_eq!(runtime.block_on(text(answer)), "ok");
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn an_origin_needs_endpoints_that_are_some() {
    assert!(matches!(set_up(Settings::new("api", Vec::new())), Err(SettingsFault::NoEndpoints(_))));
    let path = Settings::new("api", vec![Uri::from_static("http://a/b")]);
    assert!(matches!(set_up(path), Err(SettingsFault::Endpoint(_, EndpointFault::Path))));
    let https = Settings::new("api", vec![Uri::from_static("https://a")]);
    assert!(matches!(set_up(https), Ok(_) | Err(SettingsFault::Tls(..))));
}
