//! What is not ours to cache goes through as it comes: bodies stream, upgrades tunnel, fields of one hop stay behind.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::answer::{Gate, echo, fresh, ok, status, upgrade};
use crate::support::client::{ask, get, post};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::raw::{Afterwards, RawOrigin, converse, head};
use crate::support::yaml::{all_to, all_to_url};
use crate::support::{beside, until, within};

#[tokio::test]
async fn a_post_streams_in_both_directions_before_either_body_ends() {
    let origin = Origin::start().await;
    origin.on("/echo", echo());
    let larder = all_to(&origin).start().await;
    let (asking, sender) = post(larder.url("/echo")).streaming();
    let opening = beside(asking.open());
    sender.send("ping".into()).await.unwrap();
    let mut opened = opening.await.unwrap();
    assert_eq!((opened.status, opened.field("x-cache")), (200, "BYPASS"));
    assert_eq!(opened.at_least(4).await, b"ping");
    sender.send("pong".into()).await.unwrap();
    assert_eq!(opened.at_least(4).await, b"pong");
    drop(sender);
    assert_eq!(opened.rest().await.unwrap(), "");
}

#[tokio::test]
async fn an_upload_reaches_the_origin_while_it_arrives() {
    let origin = Origin::start().await;
    origin.on("/up", status(204));
    let larder = all_to(&origin).start().await;
    let (asking, sender) = post(larder.url("/up")).streaming();
    let answering = beside(asking.open());
    sender.send("first".into()).await.unwrap();
    origin.seen("/up", 1).await;
    until("the first piece is at the origin", async || {
        (origin.requests("/up")[0].body() == b"first").then_some(())
    })
    .await;
    sender.send("last".into()).await.unwrap();
    drop(sender);
    assert_eq!(answering.await.unwrap().status, 204);
    assert_eq!(origin.requests("/up")[0].body(), b"firstlast");
}

#[tokio::test]
async fn a_large_body_arrives_whole_in_both_directions() {
    let origin = Origin::start().await;
    origin.on("/echo", echo());
    let larder = all_to(&origin).start().await;
    let body: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251).to_le_bytes()[0]).collect();
    let reply = post(larder.url("/echo")).body(body.clone()).await;
    assert!(reply.body == body, "{} bytes came back, and not the same", reply.body.len());
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel_after_the_origins_101() {
    let origin = Origin::start().await;
    origin.on("/socket", upgrade());
    let larder = all_to(&origin).start().await;
    let asking =
        get(larder.url("/socket")).with("Connection", "Upgrade").with("Upgrade", "websocket");
    let opened = asking.open().await;
    assert_eq!((opened.status, opened.field("upgrade")), (101, "websocket"));
    let (mut tunnel, _open) = opened.tunnel().await;
    for word in ["hello", "again"] {
        tunnel.write_all(word.as_bytes()).await.unwrap();
        let mut back = [0; 5];
        within("the echo", tunnel.read_exact(&mut back)).await.unwrap();
        assert_eq!(&back, word.as_bytes());
    }
}

#[tokio::test]
async fn an_origin_that_refuses_the_upgrade_is_heard() {
    let origin = Origin::start().await;
    origin.on("/socket", ok("no sockets here"));
    let larder = all_to(&origin).start().await;
    let reply =
        get(larder.url("/socket")).with("Connection", "Upgrade").with("Upgrade", "websocket").await;
    reply.has_status(200).says("no sockets here");
}

#[tokio::test]
async fn an_unasked_101_is_refused() {
    let origin = Origin::start().await;
    origin.on("/x", status(101).field("Connection", "Upgrade").field("Upgrade", "websocket"));
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).await.has_status(502);
}

#[tokio::test]
async fn events_arrive_before_the_stream_ends() {
    let origin = Origin::start().await;
    let (first, second) = (Gate::closed(), Gate::closed());
    let stream = ok("data: 1\n\n").field("Content-Type", "text/event-stream");
    origin.on(
        "/events",
        stream.pause(&first).chunk("data: 2\n\n").pause(&second).chunk("data: 3\n\n"),
    );
    let larder = all_to(&origin).start().await;
    let mut opened = get(larder.url("/events")).open().await;
    assert_eq!(opened.at_least(9).await, b"data: 1\n\n");
    first.open();
    assert_eq!(opened.at_least(9).await, b"data: 2\n\n");
    second.open();
    assert_eq!(opened.rest().await.unwrap(), "data: 3\n\n");
}

#[tokio::test]
async fn fields_of_one_hop_stay_behind_in_both_directions() {
    let origin = Origin::start().await;
    let answer = ok("x")
        .field("Connection", "x-hop")
        .field("X-Hop", "origin")
        .field("Keep-Alive", "timeout=9")
        .field("X-End", "1");
    origin.on("/x", answer);
    let larder = all_to(&origin).start().await;
    let asking = get(larder.url("/x"))
        .with("Connection", "x-mine, close")
        .with("X-Mine", "1")
        .with("X-End", "2");
    let reply = asking.with("Proxy-Connection", "keep-alive").with("Keep-Alive", "5").await;
    reply.lacks("x-hop").lacks("keep-alive").has("x-end", "1");
    let asked = &origin.requests("/x")[0];
    for name in ["x-mine", "proxy-connection", "keep-alive"] {
        assert_eq!(asked.field(name), "", "{name}");
    }
    assert_eq!(asked.field("x-end"), "2");
}

#[tokio::test]
async fn the_origin_hears_of_the_proxy_and_not_what_a_stranger_claims() {
    let origin = Origin::start().await;
    origin.on("*", ok("x"));
    let larder = all_to(&origin).start().await;
    let asking = get(larder.url("/x"))
        .with("X-Forwarded-For", "6.6.6.6")
        .with("X-Forwarded-Host", "evil.example");
    let asking = asking
        .with("X-Original-URL", "/admin")
        .with("X-HTTP-Method-Override", "DELETE")
        .with("X-Rewrite-URL", "/admin");
    let reply = asking.with("X-Forwarded-Proto", "https").with("Forwarded", "for=6.6.6.6").await;
    assert!(!reply.field("via").is_empty(), "{reply:?}");
    let asked = &origin.requests("/x")[0];
    for (name, value) in &asked.fields {
        let value = value.to_str().unwrap();
        assert!(
            !value.contains("6.6.6.6") && !value.contains("evil") && !value.contains("/admin"),
            "{name}: {value}"
        );
    }
    assert_eq!(asked.field("x-http-method-override"), "");
    assert!(asked.field("via").contains("1.1"), "{:?}", asked.fields);
    assert!(
        asked.field("x-forwarded-for").contains("127.0.0.1")
            || asked.field("forwarded").contains("127.0.0.1")
    );
    assert_eq!(asked.field("x-forwarded-proto"), "http");
}

#[tokio::test]
async fn a_client_waiting_for_continue_may_go_on() {
    let origin = Origin::start().await;
    origin.on("/up", status(204));
    let larder = all_to(&origin).start().await;
    let mut socket = TcpStream::connect(larder.authority()).await.unwrap();
    let start = "POST /up HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    socket.write_all(start.as_bytes()).await.unwrap();
    let interim = head(&mut socket).await;
    assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
    socket.write_all(b"body").await.unwrap();
    let answer = head(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert_eq!(origin.requests("/up")[0].body(), b"body");
}

#[tokio::test]
async fn trailers_of_an_answer_that_passes_go_through() {
    let origin = Origin::start().await;
    origin.on("/x", ok("body").trailer("X-Sum", "4"));
    let larder = all_to(&origin).route("cache: false").start().await;
    let reply = get(larder.url("/x")).with("TE", "trailers").await;
    assert_eq!(reply.says("body").trailers["x-sum"], "4");
}

#[tokio::test]
async fn an_unknown_method_is_a_request_like_any_other() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("made"));
    let larder = all_to(&origin).start().await;
    for _ in 0..2 {
        ask("BREW", larder.url("/x"))
            .body("beans")
            .await
            .is("BYPASS", "ORIGIN")
            .has_status(200)
            .says("made");
    }
    assert_eq!(origin.requests("/x")[1].body(), b"beans");
}

#[tokio::test]
async fn connect_is_refused() {
    let origin = Origin::start().await;
    let larder = all_to(&origin).start().await;
    let said = converse(
        larder.authority(),
        b"CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(said.starts_with("HTTP/1.1 4") || said.starts_with("HTTP/1.1 5"), "{said}");
    assert_eq!(origin.count("/"), 0);
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let larder = all_to(&origin).start().await;
    let mut socket = TcpStream::connect(larder.authority()).await.unwrap();
    for n in 0..5 {
        let connection = if n == 4 { "close" } else { "keep-alive" };
        let request =
            format!("GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: {connection}\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let answer = head(&mut socket).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let mut body = [0; 5];
        within("the body", socket.read_exact(&mut body)).await.unwrap();
        assert_eq!(&body, b"hello");
    }
    assert_eq!(origin.count("/x"), 1);
}

#[tokio::test]
async fn the_body_of_a_cached_get_does_not_steer_the_origin() {
    let origin = Origin::start().await;
    origin.with("/x", |asked| fresh(String::from_utf8(asked.body()).unwrap()));
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).body("poison").await;
    get(larder.url("/x")).await.says("");
    assert!(
        origin.requests("/x").iter().all(|asked| asked.body().is_empty() || asked.method != "GET")
    );
}

/// RFC 9110 §7.6.2.
#[tokio::test]
async fn options_go_no_further_than_they_may() {
    let origin = Origin::start().await;
    origin.on("/x", status(204).field("X-From", "origin"));
    let larder = all_to(&origin).start().await;
    let options = |steps: &str| ask("OPTIONS", larder.url("/x")).with("Max-Forwards", steps);
    let last = options("0").await;
    last.has_status(204).lacks("x-from");
    assert!(last.field("allow").contains("GET, HEAD"), "{last:?}");
    assert!(last.field("cache-status").ends_with("detail=max-forwards"), "{last:?}");
    assert_eq!(origin.count("/x"), 0);
    for (steps, left) in [("1", "0"), ("5", "4"), ("many", "many")] {
        options(steps).await.has_status(204).has("x-from", "origin");
        assert_eq!(origin.last().field("max-forwards"), left);
    }
    // It means nothing to other methods.
    get(larder.url("/x")).with("Max-Forwards", "0").await.has("x-from", "origin");
}

/// What a client of HTTP/1.0 is sent, and whether the connection came to a proper end.
async fn to_an_old_client(larder: &Larder, path: &str) -> (String, bool) {
    let mut socket = TcpStream::connect(larder.authority()).await.unwrap();
    let asking = format!("GET {path} HTTP/1.0\r\nHost: shop.example\r\n\r\n");
    socket.write_all(asking.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let end = within("the end of the connection", socket.read_to_end(&mut said)).await;
    (String::from_utf8_lossy(&said).to_lowercase(), end.is_ok())
}

/// RFC 9112 §6.3: to them, what nothing else ends is ended by the connection.
#[tokio::test]
async fn a_client_of_http_1_0_sees_what_was_cut_off() {
    let begin = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    for (rest, is_whole) in [("", false), ("0\r\n\r\n", true)] {
        let origin = RawOrigin::start(format!("{begin}{rest}"), Afterwards::Close).await;
        let larder = all_to_url(&origin.url()).start().await;
        let (said, ended) = to_an_old_client(&larder, "/x").await;
        assert_eq!(ended, is_whole, "{said}");
        assert!(!is_whole || said.ends_with("\r\n\r\nabc"), "{said}");
    }
}

/// RFC 9112 §2.3; a body that nothing ends in HTTP/1.0 is chunked for who can see that it was not cut off.
#[tokio::test]
async fn an_origin_of_http_1_0_is_answered_for_in_our_own_version() {
    for (length, framing, body) in [
        ("", "transfer-encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"),
        ("Content-Length: 3\r\n", "content-length: 3", "abc"),
    ] {
        let answer = format!("HTTP/1.0 200 OK\r\nCache-Control: no-store\r\n{length}\r\nabc");
        let origin = RawOrigin::start(answer, Afterwards::Close).await;
        let larder = all_to_url(&origin.url()).start().await;
        for method in ["GET", "POST"] {
            let asking =
                format!("{method} /x HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n");
            let said = converse(larder.authority(), asking.as_bytes()).await;
            let said = said.replace("Content-Length", "content-length");
            assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
            assert!(said.contains(&format!("\r\n{framing}\r\n")), "{said}");
            assert!(said.ends_with(&format!("\r\n\r\n{body}")), "{said}");
        }
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_is_told_that_the_connection_ends_with_the_answer() {
    let (origin, gate) = (Origin::start().await, Gate::closed());
    origin.on("/x", ok("abc").pause(&gate).chunk("def"));
    let larder = all_to(&origin).start().await;
    let mut socket = TcpStream::connect(larder.authority()).await.unwrap();
    let asking = "GET /x HTTP/1.0\r\nHost: shop.example\r\nConnection: keep-alive\r\n\r\n";
    socket.write_all(asking.as_bytes()).await.unwrap();
    let said = head(&mut socket).await.to_lowercase();
    gate.open();
    assert!(said.contains("\r\nconnection: close\r\n") && !said.contains("keep-alive"), "{said}");
    let mut body = String::new();
    within("the end of the body", socket.read_to_string(&mut body)).await.unwrap();
    assert_eq!(body, "abcdef");
}

#[tokio::test]
async fn a_status_without_a_usual_reason_has_none_on_any_way() {
    let answer = "HTTP/1.1 299 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let origin = RawOrigin::start(answer, Afterwards::Close).await;
    let larder = all_to_url(&origin.url()).start().await;
    let asking = "GET /x HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    let last = asking.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let said = converse(larder.authority(), format!("{asking}{asking}{last}").as_bytes()).await;
    assert_eq!(said.matches("HTTP/1.1 299 \r\n").count(), 3, "{said}");
}
