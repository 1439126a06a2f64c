//! The PROXY protocol: a load balancer says for whom it connects, and nobody else can.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::answer::fresh;
use crate::support::client::get;
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::raw::{converse, head};
use crate::support::tls::Authority;
use crate::support::until;
use crate::support::yaml::all_to;

const LINE: &str = "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n";

/// Version 2 with the same client, and what else is told.
fn block(more: &[u8]) -> Vec<u8> {
    let addresses = [192, 0, 2, 7, 10, 0, 0, 1, 0xdc, 0x04, 0x01, 0xbb];
    let length = u16::try_from(addresses.len() + more.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11", &length[..], &addresses, more].concat()
}

/// Behind a balancer that connects from `from`.
async fn behind(origin: &Origin, from: &str, more: &str) -> Larder {
    let listen =
        format!("listen: {{ address: \"127.0.0.1:0\", proxy_protocol: {{ from: [ {from} ] }} }}");
    Larder::start_as_written(&all_to(origin).top(&listen).top(more).text()).await
}

#[tokio::test]
async fn the_client_that_a_balancer_names_is_the_client_everywhere() {
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = behind(&origin, "127.0.0.0/8", "log: { format: json }").await;
    for (path, header) in [("/one", LINE.as_bytes().to_vec()), ("/two", block(&[]))] {
        get(larder.url(path)).after(header).await.has_status(200).says("hello");
        assert_eq!(origin.last().field("x-forwarded-for"), "192.0.2.7", "{path}");
        assert_eq!(origin.last().field("x-forwarded-proto"), "http", "{path}");
        let logged = larder.output().find("the line of the access log", |line| {
            line.contains(path).then(|| line.to_owned())
        });
        let logged = logged.await.unwrap();
        assert!(logged.contains("192.0.2.7"), "{logged}");
    }
    // A balancer that asks for itself.
    get(larder.url("/self")).after("PROXY UNKNOWN\r\n").await.says("hello");
    assert_eq!(origin.last().field("x-forwarded-for"), "127.0.0.1");
    // One that has ended TLS.
    let ended = block(&[0x20, 0, 5, 1, 0, 0, 0, 0]);
    get(larder.url("/tls")).after(ended).await.says("hello");
    assert_eq!(origin.last().field("x-forwarded-proto"), "https");
}

#[tokio::test]
async fn a_header_and_a_request_in_pieces_are_put_together() {
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = behind(&origin, "127.0.0.1", "").await;
    for header in [LINE.as_bytes().to_vec(), block(&[])] {
        let mut socket = TcpStream::connect(larder.authority()).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let request = b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        for byte in [&header[..], request].concat() {
            socket.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut said = String::new();
        socket.read_to_string(&mut said).await.unwrap();
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    }
}

#[tokio::test]
async fn a_balancer_that_says_nothing_or_something_else_is_closed_and_counted() {
    let origin = Origin::start().await;
    let larder = behind(&origin, "127.0.0.1", "limits: { handshake_timeout: 300ms }").await;
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(4000));
    let wrong = "PROXY TCP4 192.0.2.256 10.0.0.1 1 2\r\n";
    for said in [get, wrong, &endless] {
        assert_eq!(converse(larder.authority(), said.as_bytes()).await, "", "{said}");
    }
    let since = Instant::now();
    assert_eq!(converse(larder.authority(), &LINE.as_bytes()[..20]).await, "");
    assert!(since.elapsed() >= Duration::from_millis(300));
    let refused = async || larder.metric("larder_proxy_headers_refused_total", &[]).await;
    until("all are counted", async || (refused().await == 4).then_some(())).await;
    assert_eq!(origin.count("/"), 0);
}

#[tokio::test]
async fn a_header_from_anybody_else_is_a_malformed_request() {
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = behind(&origin, "10.0.0.0/8", "").await;
    for header in [LINE.as_bytes().to_vec(), block(&[])] {
        let request = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
        let said = converse(larder.authority(), &[&header[..], request].concat()).await;
        assert!(said.starts_with("HTTP/1.1 400"), "{said}");
    }
    get(larder.url("/x")).await.says("hello");
    assert_eq!(origin.last().field("x-forwarded-for"), "127.0.0.1");
}

#[tokio::test]
async fn tls_is_spoken_behind_the_header() {
    let (authority, origin) = (Authority::new(), Origin::start().await);
    origin.on("*", fresh("hello"));
    authority.issue("shop", &["shop.test"]);
    let tls = format!("tls: {{ {} }}", authority.pair("shop"));
    let larder = behind(&origin, "127.0.0.1", &tls).await;
    for header in [LINE.as_bytes().to_vec(), block(&[])] {
        let client = authority.client("shop.test");
        get(larder.url("/x")).after(header).over_tls(&client).await.says("hello");
        assert_eq!(origin.last().field("x-forwarded-for"), "192.0.2.7");
        assert_eq!(origin.last().field("x-forwarded-proto"), "https");
    }
}

#[tokio::test]
async fn one_client_has_its_share_of_connections_and_others_have_theirs() {
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let more = "limits: { connections_per_client: 1, idle_timeout: 1m }";
    let larder = behind(&origin, "127.0.0.1", more).await;
    let mut first = TcpStream::connect(larder.authority()).await.unwrap();
    let request = format!("{LINE}GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    first.write_all(request.as_bytes()).await.unwrap();
    assert!(head(&mut first).await.starts_with("HTTP/1.1 200"));
    let second = get(larder.url("/x")).after(LINE).await;
    second.has_status(429).has("retry-after", "1");
    let other = LINE.replace("192.0.2.7", "192.0.2.8");
    get(larder.url("/x")).after(other).await.says("hello");
    drop(first);
    until("its place is free again", async || {
        (get(larder.url("/x")).after(LINE).await.status == 200).then_some(())
    })
    .await;
    assert!(larder.metric("larder_client_connections_refused_total", &[]).await >= 1);
}
