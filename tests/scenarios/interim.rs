//! Interim responses (RFC 9110 §15.2) reach the client that waits, before its answer and in no other place.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::larder::Larder;
use crate::support::raw::head;
use crate::support::within;
use crate::support::yaml::all_to_url;

const HINTS: &str =
    "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n";
const PROCESSING: &str = "HTTP/1.1 102 Processing\r\n\r\n";
const FINAL: &str = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 4\r\n\r\nlast";

/// Both ends of one conversation through a larder: the test is the client and the origin.
struct Conversation {
    larder: Larder,
    listener: TcpListener,
    client: TcpStream,
}

impl Conversation {
    async fn begin() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let larder =
            all_to_url(&format!("http://{}", listener.local_addr().unwrap())).start().await;
        let client = TcpStream::connect(larder.authority()).await.unwrap();
        Self { larder, listener, client }
    }

    async fn ask(&mut self, request: &str) {
        self.client.write_all(request.as_bytes()).await.unwrap();
    }

    /// The origin takes a connection and reads the request.
    async fn taken(&self) -> (TcpStream, String) {
        let (mut origin, _) =
            within("a connection to the origin", self.listener.accept()).await.unwrap();
        let asked = head(&mut origin).await;
        (origin, asked)
    }

    async fn hears(&mut self) -> String {
        head(&mut self.client).await
    }

    async fn hears_body(&mut self) -> String {
        let mut body = [0; 4];
        within("the body", self.client.read_exact(&mut body)).await.unwrap();
        String::from_utf8_lossy(&body).into_owned()
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: shop.example\r\n\r\n")
}

#[tokio::test]
async fn interim_responses_arrive_while_the_answer_is_still_awaited() {
    let mut talk = Conversation::begin().await;
    talk.ask(&get("/a")).await;
    let (mut origin, _) = talk.taken().await;
    origin.write_all(PROCESSING.as_bytes()).await.unwrap();
    assert_eq!(talk.hears().await, PROCESSING);
    origin.write_all(HINTS.as_bytes()).await.unwrap();
    assert_eq!(talk.hears().await, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
    origin.write_all(FINAL.as_bytes()).await.unwrap();
    let answer = talk.hears().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(!answer.contains("link"), "what a 103 says is not the answer's: {answer}");
    assert_eq!(talk.hears_body().await, "last");
}

#[tokio::test]
async fn one_that_comes_in_one_piece_with_the_answer_is_heard_before_it_and_not_on_a_hit() {
    let mut talk = Conversation::begin().await;
    talk.ask(&get("/a")).await;
    let (mut origin, _) = talk.taken().await;
    origin.write_all(format!("{HINTS}{FINAL}").as_bytes()).await.unwrap();
    assert!(talk.hears().await.starts_with("HTTP/1.1 103 "));
    assert!(talk.hears().await.contains("x-cache: MISS"));
    assert_eq!(talk.hears_body().await, "last");
    talk.ask(&get("/a")).await;
    let hit = talk.hears().await;
    assert!(hit.starts_with("HTTP/1.1 200 OK\r\n") && hit.contains("x-cache: HIT"), "{hit}");
    assert!(!hit.contains("link"), "{hit}");
}

#[tokio::test]
async fn a_request_that_passes_hears_them_before_the_answer_too() {
    let mut talk = Conversation::begin().await;
    let (post, options) = (
        "POST /a HTTP/1.1\r\nhost: shop.example\r\ncontent-length: 2\r\n\r\nhi",
        "OPTIONS /a HTTP/1.1\r\nhost: shop.example\r\n\r\n",
    );
    for request in [post, options] {
        talk.ask(request).await;
        let (mut origin, _) = talk.taken().await;
        let last = FINAL.replace("content-length", "connection: close\r\ncontent-length");
        origin.write_all(format!("{PROCESSING}{PROCESSING}{last}").as_bytes()).await.unwrap();
        assert_eq!(talk.hears().await, PROCESSING);
        assert_eq!(talk.hears().await, PROCESSING);
        assert!(talk.hears().await.starts_with("HTTP/1.1 200 OK\r\n"));
        assert_eq!(talk.hears_body().await, "last");
    }
}

#[tokio::test]
async fn requests_that_wait_behind_hear_what_is_theirs() {
    let mut talk = Conversation::begin().await;
    talk.ask(&format!("{}{}", get("/first"), get("/second"))).await;
    for path in ["/first", "/second"] {
        let (mut origin, asked) = talk.taken().await;
        assert!(asked.starts_with(&format!("GET {path} ")), "{asked}");
        let hint = format!("HTTP/1.1 103 Early Hints\r\nlink: <{path}>\r\n\r\n");
        let last = FINAL.replace("content-length", "connection: close\r\ncontent-length");
        origin.write_all(format!("{hint}{last}").as_bytes()).await.unwrap();
        assert_eq!(talk.hears().await, hint);
        assert!(talk.hears().await.starts_with("HTTP/1.1 200 OK\r\n"));
        assert_eq!(talk.hears_body().await, "last");
    }
}

#[tokio::test]
async fn an_http_1_0_client_hears_the_answer_alone() {
    let mut talk = Conversation::begin().await;
    talk.ask("GET /a HTTP/1.0\r\nhost: shop.example\r\n\r\n").await;
    let (mut origin, _) = talk.taken().await;
    origin.write_all(format!("{HINTS}{FINAL}").as_bytes()).await.unwrap();
    assert!(talk.hears().await.contains(" 200 OK\r\n"));
}

#[tokio::test]
async fn a_100_of_the_origin_is_not_the_clients() {
    let mut talk = Conversation::begin().await;
    talk.ask(&get("/a")).await;
    let (mut origin, _) = talk.taken().await;
    let reply = format!("HTTP/1.1 100 Continue\r\n\r\n{FINAL}");
    origin.write_all(reply.as_bytes()).await.unwrap();
    assert!(talk.hears().await.starts_with("HTTP/1.1 200 OK\r\n"));
    drop(talk.larder);
}
