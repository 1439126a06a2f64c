//! SIGTERM: readiness goes off, the request in hand ends whole, the process ends well and in bounded time.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::answer::{Gate, fresh};
use crate::support::client::get;
use crate::support::origin::Origin;
use crate::support::raw::head;
use crate::support::yaml::all_to;
use crate::support::{beside, until, within};

#[tokio::test]
async fn the_request_in_hand_ends_whole() {
    let origin = Origin::start().await;
    let (head, body) = (Gate::closed(), Gate::closed());
    origin.on("/body", fresh("first").pause(&body).chunk("last"));
    origin.on("/head", fresh("hello").held(&head));
    let mut larder = all_to(&origin).start().await;
    get(larder.admin("/ready")).await.has_status(200);
    let mut opened = get(larder.url("/body")).open().await;
    assert_eq!(opened.at_least(5).await, b"first");
    let waiting = beside(get(larder.url("/head")).into_future());
    origin.seen("/head", 1).await;
    larder.ask_to_stop();
    until("readiness is off", async || {
        let ready = get(larder.admin("/ready")).attempt().await;
        ready.is_ok_and(|reply| reply.status == 503).then_some(())
    })
    .await;
    body.open();
    assert_eq!(opened.rest().await.unwrap(), "last");
    head.open();
    waiting.await.unwrap().has_status(200).says("hello");
    assert!(larder.ended().await.success());
}

#[tokio::test]
async fn idle_connections_do_not_hold_it_up() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let mut larder = all_to(&origin).start().await;
    let mut socket = TcpStream::connect(larder.authority()).await.unwrap();
    socket.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    head(&mut socket).await;
    let _silent = TcpStream::connect(larder.authority()).await.unwrap();
    let since = Instant::now();
    assert!(larder.stop().await.success());
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    let mut rest = Vec::new();
    within("the end of the idle connection", socket.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"hello");
}

/// Whoever keeps a connection may have asked on it already when it is to end.
#[tokio::test]
async fn a_connection_that_rests_is_answered_once_more() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let mut larder = all_to(&origin).start().await;
    let mut socket = TcpStream::connect(larder.authority()).await.unwrap();
    let asking = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut body = [0; 5];
    for _ in 0..3 {
        socket.write_all(asking).await.unwrap();
        head(&mut socket).await;
        within("a body", socket.read_exact(&mut body)).await.unwrap();
    }
    larder.ask_to_stop();
    until("readiness is off", async || {
        let ready = get(larder.admin("/ready")).attempt().await;
        ready.is_ok_and(|reply| reply.status == 503).then_some(())
    })
    .await;
    socket.write_all(asking).await.unwrap();
    let said = head(&mut socket).await;
    assert!(
        said.starts_with("HTTP/1.1 200 ") && said.contains("\r\nconnection: close\r\n"),
        "{said}"
    );
    let mut rest = Vec::new();
    within("the end of the connection", socket.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"hello");
    assert!(larder.ended().await.success());
}

#[tokio::test]
async fn a_request_that_never_ends_is_left_after_the_grace_period() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/x", fresh("first").pause(&gate).chunk("never"));
    let mut larder = all_to(&origin).top("limits: { drain: 500ms }").start().await;
    let mut opened = get(larder.url("/x")).open().await;
    assert_eq!(opened.at_least(5).await, b"first");
    let since = Instant::now();
    larder.stop().await;
    assert!(since.elapsed() < Duration::from_secs(6), "{:?}", since.elapsed());
    assert!(opened.rest().await.is_err(), "it is not ended as if whole");
    gate.open();
}

#[tokio::test]
async fn it_can_start_again_on_the_same_port_at_once() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let mut larder = all_to(&origin).start().await;
    for _ in 0..3 {
        get(larder.url("/x")).await.is("MISS", "ORIGIN");
        larder.restart().await;
    }
}
