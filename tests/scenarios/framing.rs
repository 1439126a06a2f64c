//! Requests whose framing or syntax is in doubt are refused and their connection closed; nothing of them reaches the origin.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::answer::{fresh, ok};
use crate::support::client::get;
use crate::support::origin::Origin;
use crate::support::raw::{converse, head};
use crate::support::yaml::all_to;

#[tokio::test]
async fn an_ambiguous_request_is_refused_by_the_admin_api_too() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    let admin = larder.admin("");
    let authority = admin.trim_start_matches("http://").trim_end_matches('/');
    let body = r#"{"everything":true}"#;
    let length = format!("Content-Length: {}\r\n", body.len());
    let purge = format!(
        "POST /admin/purges HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\n{length}{length}\r\n{body}"
    );
    let said = converse(authority, purge.as_bytes()).await.to_lowercase();
    assert!(said.starts_with("http/1.1 400 ") && said.contains("connection: close"), "{said}");
    get(larder.url("/x")).await.is("HIT", "L1");
}

#[tokio::test]
async fn ambiguous_framing_and_bad_syntax_are_400_and_close() {
    let origin = Origin::start().await;
    origin.on("*", ok("reached"));
    let larder = all_to(&origin).start().await;
    let bad: [(&str, &[u8]); 21] = [
        ("CL and TE", b"POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("TE and CL", b"POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
        ("two lengths", b"POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody!"),
        ("two lengths in one line", b"POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 5\r\n\r\nbody!"),
        ("a signed length", b"POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nbody"),
        ("a length that overflows", b"POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"),
        ("chunked not last", b"POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        ("unknown coding", b"POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("bare CR in a field", b"GET /bad HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
        ("LF alone after the request line", b"GET /bad HTTP/1.1\nHost: a\r\n\r\n"),
        ("LF alone after a field", b"GET /bad HTTP/1.1\r\nHost: a\nX: a\r\n\r\n"),
        ("LF alone for the empty line", b"GET /bad HTTP/1.1\r\nHost: a\r\n\n"),
        ("CR alone for a line end", b"GET /bad HTTP/1.1\r\nHost: a\rX: a\r\n\r\n"),
        ("folded field", b"GET /bad HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"),
        ("space before the colon", b"GET /bad HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n"),
        ("NUL in a field", b"GET /bad HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n"),
        ("no host", b"GET /bad HTTP/1.1\r\nX: a\r\n\r\n"),
        ("two hosts", b"GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("a host that is none", b"GET /bad HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        ("a space in the target", b"GET /bad bad HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("no HTTP at all", b"\x16\x03\x01\x00\xa5\x01\x00\r\n\r\n"),
    ];
    for (name, bytes) in bad {
        let said = converse(larder.authority(), bytes).await;
        assert!(
            said.starts_with("HTTP/1.1 400 ") || said.starts_with("HTTP/1.0 400 "),
            "{name}: {said}"
        );
    }
    assert_eq!(origin.count("/bad"), 0, "nothing of it reached the origin");
    get(larder.url("/good")).await.has_status(200).says("reached");
}

#[tokio::test]
async fn a_bad_chunk_never_completes_the_request() {
    let origin = Origin::start().await;
    origin.on("/x", ok("reached"));
    let larder = all_to(&origin).start().await;
    for chunk in ["xyz\r\n", "4\r\nbodyXX", "-1\r\n\r\n", "ffffffffffffffffff\r\n"] {
        let request = format!(
            "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}\r\n0\r\n\r\n"
        );
        let said = converse(larder.authority(), request.as_bytes()).await;
        assert!(!said.contains("HTTP/1.1 200"), "{chunk:?}: {said}");
    }
}

#[tokio::test]
async fn an_absolute_target_names_the_host() {
    let origin = Origin::start().await;
    origin.with("*", |asked| fresh(format!("{} {}", asked.field("host"), asked.target)));
    let larder = all_to(&origin).origin("host: preserve").start().await;
    let request =
        "GET http://real.example/x HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n";
    let said = converse(larder.authority(), request.as_bytes()).await;
    assert!(said.ends_with("real.example /x"), "{said}");
    get(larder.url("/x"))
        .with("Host", "other.example")
        .await
        .is("MISS", "ORIGIN")
        .says("other.example /x");
    get(larder.url("/x"))
        .with("Host", "real.example")
        .await
        .is("HIT", "L1")
        .says("real.example /x");
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let origin = Origin::start().await;
    origin.on("*", ok("reached"));
    let larder = all_to(&origin).start().await;
    let close = "Connection: close\r\n\r\n";
    let wide = format!("GET /x HTTP/1.1\r\nHost: a\r\nX: {}\r\n{close}", "x".repeat(100_000));
    let many = format!("GET /x HTTP/1.1\r\nHost: a\r\n{}{close}", "X: 1\r\n".repeat(200));
    for request in [wide, many] {
        let said = converse(larder.authority(), request.as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 431 "), "{said}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n{close}", "x".repeat(20_000));
    let said = converse(larder.authority(), long.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 414 "), "{said}");
    assert_eq!(origin.count("/x"), 0);
}

#[tokio::test]
async fn a_head_that_never_ends_is_given_up() {
    let origin = Origin::start().await;
    let larder = all_to(&origin).top("limits: { header_timeout: 300ms }").start().await;
    let mut socket = TcpStream::connect(larder.authority()).await.unwrap();
    socket.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n").await.unwrap();
    let said = head(&mut socket).await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "{said}");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let origin = Origin::start().await;
    origin.on("/x", ok("hello"));
    let larder = all_to(&origin).top("limits: { idle_timeout: 300ms }").start().await;
    let said = converse(larder.authority(), b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(said.ends_with("hello"), "{said}");
}

#[tokio::test]
async fn a_body_that_falls_silent_is_408_and_the_connection_closes() {
    let origin = Origin::start().await;
    origin.on("/x", ok("reached"));
    let larder = all_to(&origin).top("limits: { body_timeout: 300ms }").start().await;
    let said = converse(
        larder.authority(),
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf",
    )
    .await;
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    assert!(said.contains("connection: close\r\n"), "{said}");
    assert!(said.contains("application/problem+json"), "{said}");
}

#[tokio::test]
async fn a_body_that_nobody_reads_does_not_become_the_next_request() {
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).with("Host", "a").await.is("MISS", "ORIGIN");
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let request =
        format!("GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len());
    let mut socket = TcpStream::connect(larder.authority()).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let said = head(&mut socket).await;
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    let more = tokio::time::timeout(Duration::from_millis(500), origin.seen("/hidden", 1)).await;
    assert!(more.is_err(), "the body was read as a request");
}
