//! What the lane has the service answer, on the wire: as hyper would have sent it, and nobody can tell.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderValue, LINK};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::ext::ReasonPhrase;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::{Service, service_fn};

use crate::message::interim::Outbox;
use crate::message::lead::Led;
use crate::message::plain::{Lines, Outlet, Plain, Shortcut, Told};
use crate::server::Welcome;
use crate::server::limits::Limits;
use crate::server::shutdown::Ending;
use crate::server::tests::{GET, Running, SOON, read_to_end, read_until, start_with};
use crate::server::upload::Upload;

/// Answers nothing: all is the service's.
struct Nobody;

impl Shortcut for Nobody {
    fn answer(&self, _: &Plain<'_>, _: &dyn Lines, _: &mut Vec<u8>, _: &mut dyn Outlet) -> Told {
        Told::Left
    }
}

/// What one step of a content does.
#[derive(Clone)]
enum Step {
    Piece(&'static [u8]),
    /// One piece after another, without an end.
    Endless,
    Trailers,
    /// Comes back in the next turn.
    Turn,
    Break,
}

/// Content that goes by steps; when it is dropped, somebody may hear.
struct Content {
    steps: VecDeque<Step>,
    length: Option<u64>,
    _fallen: Option<Unanswered>,
}

impl Content {
    fn of(steps: &[Step], length: Option<u64>) -> Self {
        Self { steps: steps.iter().cloned().collect(), length, _fallen: None }
    }

    fn endless(fallen: Unanswered) -> Self {
        Self { steps: [Step::Endless].into(), length: None, _fallen: Some(fallen) }
    }
}

impl Led for Content {}

impl Body for Content {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        let step = self.steps.pop_front();
        if let Some(Step::Endless) = step {
            self.steps.push_front(Step::Endless);
        }
        if let (Some(Step::Piece(piece)), Some(left)) = (&step, &mut self.length) {
            *left -= piece.len() as u64;
        }
        match step {
            None => Poll::Ready(None),
            Some(Step::Piece(piece)) => {
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece)))))
            }
            Some(Step::Endless) => {
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&LENGTHY[..16384])))))
            }
            Some(Step::Trailers) => Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::new())))),
            Some(Step::Turn) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Break) => Poll::Ready(Some(Err("broken off"))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A server whose lane asks this service.
fn asking<S, B>(limits: Limits, service: S) -> Running
where
    S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    B: Led + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    start_with(limits, move |_| Welcome {
        service: service.clone(),
        shortcut: Some(Box::new(Nobody) as _),
    })
}

const LENGTHY: &[u8] = &[b'x'; 100_000];

fn answer(path: &str) -> Response<Content> {
    use Step::{Break, Piece, Trailers, Turn};
    let hello = [Piece(b"hello")];
    let pieces = [Piece(b"he"), Turn, Piece(b""), Piece(b"l"), Piece(b"lo"), Turn, Trailers, Turn];
    let content = match path {
        "/unknown" => Content::of(&hello, None),
        "/pieces" => Content::of(&pieces, None),
        "/known-pieces" => Content::of(&pieces[..6], Some(5)),
        "/long" => Content::of(&[Piece(LENGTHY), Turn, Piece(LENGTHY)], None),
        "/long-known" => Content::of(&[Piece(LENGTHY), Piece(LENGTHY)], Some(200_000)),
        "/late" => Content::of(&[Turn, Turn, Piece(b"hello")], Some(5)),
        "/empty-unknown" => Content::of(&[Turn], None),
        "/empty" | "/none" | "/304" => Content::of(&[], Some(0)),
        "/broken" => Content::of(&[Piece(b"he"), Turn, Break], Some(5)),
        "/broken-chunks" => Content::of(&[Piece(b"he"), Turn, Break], None),
        "/short" => Content::of(&[Piece(b"he")], Some(5)),
        _ => Content::of(&hello, Some(5)),
    };
    let mut response = Response::new(content);
    let fields = response.headers_mut();
    fields.append("x-own", HeaderValue::from_static("1"));
    fields.append("x-own", HeaderValue::from_static("2"));
    match path {
        "/none" => *response.status_mut() = StatusCode::NO_CONTENT,
        "/304" => {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("7"));
        }
        "/reason" => {
            response.extensions_mut().insert(ReasonPhrase::from_static(b"Fine"));
        }
        "/dated" => {
            let date = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
            response.headers_mut().insert(DATE, date);
        }
        "/stated" => {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("5"));
        }
        "/bytes" => {
            let bytes = HeaderValue::from_bytes(b"\xff\xfe").unwrap();
            response.headers_mut().insert("x-bytes", bytes);
        }
        "/close" => {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

async fn answers(request: Request<Upload>) -> Result<Response<Content>, Infallible> {
    Ok(answer(request.uri().path()))
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// What is not plain, and so hyper's.
const NOT_PLAIN: &str = "TE: trailers\r\n";

/// All that is said until the connection ends behind the answer to the last request, which every row sends behind its
/// own.
async fn said(server: &Running, path: &str, fields: &str) -> (Vec<String>, Vec<u8>) {
    let mut client = server.send(GET).await;
    read_until(&mut client, "hello").await;
    let last = get("/close", NOT_PLAIN);
    let both = get(path, fields) + if path == "/close" { "" } else { &last };
    client.write_all(both.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    timeout(SOON, client.read_to_end(&mut bytes)).await.expect("it never ended").unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines: Vec<_> = head.split("\r\n").map(str::to_owned).collect();
    for line in &mut lines {
        // A second may pass between two requests.
        if line.starts_with("date: ") && !line.contains("1994") {
            "date".clone_into(line);
        }
    }
    lines[1..].sort_unstable();
    (lines, bytes[end..].to_vec())
}

/// The content of an answer, whatever its chunks are, and how many bytes follow it.
fn content(lines: &[String], rest: &[u8]) -> Vec<u8> {
    let rest = &rest[4..];
    let length = lines.iter().find_map(|line| line.strip_prefix("content-length: "));
    if lines.iter().any(|line| line == "transfer-encoding: chunked") {
        let (mut content, mut rest) = (Vec::new(), rest);
        loop {
            let end = rest.windows(2).position(|two| two == b"\r\n").expect("a size");
            let size = usize::from_str_radix(str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
            assert_eq!(rest[end + 2 + size..][..2], *b"\r\n");
            content.extend_from_slice(&rest[end + 2..][..size]);
            rest = &rest[end + 4 + size..];
            if size == 0 {
                break;
            }
        }
        return content;
    }
    let has_none = lines[0].contains(" 204 ") || lines[0].contains(" 304 ");
    let length = length.filter(|_| !has_none).map_or(0, |length| length.parse().unwrap());
    rest[..length].to_vec()
}

#[tokio::test]
async fn every_kind_of_answer_is_told_as_hyper_tells_it() {
    let server = asking(Limits::default(), service_fn(answers));
    for path in [
        "/known",
        "/unknown",
        "/pieces",
        "/known-pieces",
        "/long",
        "/long-known",
        "/late",
        "/empty",
        "/empty-unknown",
        "/none",
        "/304",
        "/reason",
        "/dated",
        "/stated",
        "/bytes",
        "/close",
    ] {
        let (by_hyper, rest) = said(&server, path, NOT_PLAIN).await;
        let expected = content(&by_hyper, &rest);
        let (by_lane, rest) = said(&server, path, "").await;
        assert_eq!(by_lane, by_hyper, "{path}");
        assert_eq!(content(&by_lane, &rest), expected, "{path}");
        if path != "/close" {
            assert!(rest.ends_with(b"hello"), "the next request of {path} is answered");
        }
    }
}

#[tokio::test]
async fn content_that_breaks_off_is_seen_to_have_no_end() {
    let server = asking(Limits::default(), service_fn(answers));
    for path in ["/broken", "/broken-chunks", "/short"] {
        let mut client = server.send(GET).await;
        read_until(&mut client, "hello").await;
        let both = get(path, "") + &get("/known", "");
        client.write_all(both.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        // The request behind it is not read any more, so that the end may be a reset.
        let _ = timeout(SOON, client.read_to_end(&mut bytes)).await.expect("it never ended");
        let said = String::from_utf8_lossy(&bytes);
        assert!(said.ends_with("he") || said.ends_with("he\r\n"), "{path}: {said}");
    }
}

/// Answers the first request at once and all others when it is released; says when it was called, and when an answer
/// that was not given is dropped.
struct Held {
    called: Notify,
    release: Notify,
    first: std::sync::atomic::AtomicBool,
    fallen: mpsc::UnboundedSender<()>,
}

fn held() -> (
    Arc<Held>,
    impl Service<
        Request<Upload>,
        Response = Response<Content>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static,
    mpsc::UnboundedReceiver<()>,
) {
    let (fallen, falls) = mpsc::unbounded_channel();
    let (called, release, first) = (Notify::new(), Notify::new(), true.into());
    let held = Arc::new(Held { called, release, first, fallen });
    let service = {
        let held = held.clone();
        service_fn(move |request: Request<Upload>| {
            let held = held.clone();
            async move {
                if held.first.swap(false, std::sync::atomic::Ordering::Relaxed) {
                    return Ok(answer("/known"));
                }
                let unanswered = Unanswered(held.fallen.clone());
                held.called.notify_one();
                held.release.notified().await;
                std::mem::forget(unanswered);
                Ok(answer(request.uri().path()))
            }
        })
    };
    (held, service, falls)
}

struct Unanswered(mpsc::UnboundedSender<()>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

async fn second(server: &Running, request: &str) -> TcpStream {
    let mut client = server.send(GET).await;
    read_until(&mut client, "hello").await;
    client.write_all(request.as_bytes()).await.unwrap();
    client
}

#[tokio::test]
async fn what_a_client_asked_that_left_is_cancelled() {
    for leaves_at_once in [true, false] {
        let (held, service, mut falls) = held();
        let server = asking(Limits::default(), service);
        let mut client = second(&server, &get("/known", "")).await;
        held.called.notified().await;
        if !leaves_at_once {
            // It may only have ended its side, and is not answered all the same.
            client.shutdown().await.unwrap();
            assert_eq!(read_to_end(&mut client).await, "");
        }
        drop(client);
        timeout(SOON, falls.recv()).await.expect("it was not cancelled").unwrap();
    }
}

#[tokio::test]
async fn who_ends_its_side_with_a_later_request_is_answered() {
    let server = asking(Limits::default(), service_fn(answers));
    let mut client = second(&server, &get("/unknown", "")).await;
    client.shutdown().await.unwrap();
    assert!(read_to_end(&mut client).await.ends_with("5\r\nhello\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn requests_that_come_meanwhile_wait_for_their_turn() {
    let (held, service, _falls) = held();
    let server = asking(Limits::default(), service);
    let mut client = second(&server, &get("/pieces", "")).await;
    held.called.notified().await;
    for fields in ["", NOT_PLAIN] {
        client.write_all(get("/known", fields).as_bytes()).await.unwrap();
    }
    for ends in ["0\r\n\r\n", "hello", "hello"] {
        held.release.notify_one();
        let said = read_until(&mut client, ends).await;
        assert_eq!(said.matches("HTTP/1.1 200 OK").count(), 1, "{said}");
    }
}

#[tokio::test]
async fn a_drain_lets_what_was_asked_finish_and_says_goodbye() {
    let (held, service, _falls) = held();
    let server = asking(Limits::default(), service);
    let mut client = second(&server, &get("/known", "")).await;
    held.called.notified().await;
    let drain = server.drain.clone();
    let mut finishing = JoinSet::new();
    finishing.spawn(async move { assert_eq!(drain.finish(SOON).await, Ending::Clean) });
    server.drain.begun().await;
    // Whoever connects finds nobody once the drain has reached the listener, and so the connections.
    while server.is_open().await {
        tokio::task::yield_now().await;
    }
    held.release.notify_one();
    let answer = read_to_end(&mut client).await;
    assert!(answer.ends_with("hello") && answer.contains("connection: close"), "{answer}");
    timeout(SOON, finishing.join_next()).await.expect("it did not end").unwrap().unwrap();
}

#[tokio::test]
async fn what_was_asked_and_does_not_finish_within_the_grace_is_cut() {
    let (held, service, mut falls) = held();
    let server = asking(Limits::default(), service);
    let mut client = second(&server, &get("/known", "")).await;
    held.called.notified().await;
    assert_eq!(server.drain.finish(Duration::from_millis(50)).await, Ending::Cut(1));
    assert_eq!(read_to_end(&mut client).await, "");
    timeout(SOON, falls.recv()).await.expect("it was not cancelled").unwrap();
}

#[tokio::test]
async fn who_waits_for_the_service_is_not_idle() {
    let (held, service, _falls) = held();
    let idle_timeout = Duration::from_millis(50);
    let server = asking(Limits { idle_timeout, ..Limits::default() }, service);
    let mut client = second(&server, &get("/known", "")).await;
    held.called.notified().await;
    // Another connection is ended for being idle, so the sweeper was here.
    assert_eq!(read_to_end(&mut server.send(b"").await).await, "");
    held.release.notify_one();
    read_until(&mut client, "hello").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_what_it_asked_for_is_cut() {
    let (fallen, mut falls) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Upload>| {
        let content = match request.uri().path() {
            "/endless" => Content::endless(Unanswered(fallen.clone())),
            path => answer(path).into_body(),
        };
        async { Ok::<_, Infallible>(Response::new(content)) }
    });
    let stall_timeout = Duration::from_millis(200);
    let server = asking(Limits { stall_timeout, ..Limits::default() }, service);
    let _client = second(&server, &get("/endless", "")).await;
    timeout(SOON, falls.recv()).await.expect("the stalled reader was kept").unwrap();
}

#[tokio::test]
async fn interim_responses_are_heard_before_the_answer() {
    let outboxes = Arc::new(parking_lot::Mutex::new(Vec::<Arc<Outbox>>::new()));
    let (called, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let hint = || {
        let link = HeaderValue::from_static("</a.css>");
        let hints = [(LINK, link)].into_iter().collect::<HeaderMap>();
        outboxes.lock()[0].client().say(StatusCode::EARLY_HINTS, &hints);
    };
    let service = {
        let (called, release, outboxes) = (called.clone(), release.clone(), outboxes.clone());
        service_fn(move |request: Request<Upload>| {
            let (called, release) = (called.clone(), release.clone());
            let client = outboxes.lock()[0].client();
            async move {
                if request.uri().path() == "/hinted" {
                    called.notify_one();
                    release.notified().await;
                    // In the same turn as the answer.
                    client.say(StatusCode::PROCESSING, &HeaderMap::new());
                }
                Ok::<_, Infallible>(answer("/known"))
            }
        })
    };
    let server = {
        let outboxes = outboxes.clone();
        start_with(Limits::default(), move |outbox| {
            outboxes.lock().push(outbox.clone());
            Welcome { service: service.clone(), shortcut: Some(Box::new(Nobody) as _) }
        })
    };
    let mut client = second(&server, &get("/hinted", "")).await;
    called.notified().await;
    hint();
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
    assert_eq!(read_until(&mut client, "\r\n\r\n").await, early);
    release.notify_one();
    let said = read_until(&mut client, "hello").await;
    let expected = "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n";
    assert!(said.starts_with(expected), "{said}");
}
