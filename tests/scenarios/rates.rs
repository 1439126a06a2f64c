//! Who asks more often than it may is told when to come back, and nobody else is.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::answer::fresh;
use crate::support::client::{Ask, get, post};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::raw::head;
use crate::support::reply::Reply;
use crate::support::until;
use crate::support::yaml::{Yaml, all_to};

async fn started(change: impl FnOnce(Yaml) -> Yaml) -> (Origin, Larder) {
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = change(all_to(&origin)).start().await;
    (origin, larder)
}

#[track_caller]
fn refused(reply: &Reply) {
    reply.has_status(429);
    assert_eq!(reply.field("content-type"), "application/problem+json", "{reply:?}");
    assert!(reply.field("cache-status").ends_with("; detail=rate-limited"), "{reply:?}");
    assert_eq!(reply.json()["status"], 429);
}

#[tokio::test]
async fn a_client_beyond_its_rate_is_told_when_to_come_back_and_the_origin_hears_nothing() {
    let (origin, larder) =
        started(|yaml| yaml.route("cache: false").route("rate: { requests: 2, per: 1h }")).await;
    for left in ["\"all\";r=1;t=1800", "\"all\";r=0;t=3600"] {
        let reply = get(larder.url("/x")).await;
        reply.has_status(200);
        assert_eq!(reply.field("ratelimit"), left);
        assert_eq!(reply.field("ratelimit-policy"), "\"all\";q=2;w=3600");
    }
    let reply = get(larder.url("/x")).await;
    refused(&reply);
    let wait: u64 = reply.field("retry-after").parse().unwrap();
    assert!((1790..=1800).contains(&wait), "{reply:?}");
    assert_eq!(reply.field("ratelimit"), "\"all\";r=0;t=3600");
    assert_eq!(origin.count("/x"), 2);
    assert_eq!(larder.metric("larder_rate_limited_total", &[]).await, 1);
}

#[tokio::test]
async fn hits_count_and_a_part_of_a_pause_later_there_is_room_again() {
    let (_origin, larder) =
        started(|yaml| yaml.route("rate: { requests: 10, per: 1s, burst: 3, fields: false }"))
            .await;
    let reply = get(larder.url("/x")).await;
    assert_eq!((reply.status, reply.field("ratelimit")), (200, ""));
    let reply = until("a hit is one too many", async || {
        let reply = get(larder.url("/x")).await;
        (reply.status == 429).then_some(reply)
    })
    .await;
    refused(&reply);
    assert_eq!((reply.field("retry-after"), reply.field("ratelimit")), ("1", ""));
    until("there is room again", async || {
        (get(larder.url("/x")).await.status == 200).then_some(())
    })
    .await;
}

/// Several requests on one connection: a hit is answered from its bytes where nothing is counted.
async fn statuses(larder: &Larder, number: usize) -> Vec<String> {
    let mut socket = TcpStream::connect(larder.authority()).await.unwrap();
    let mut statuses = Vec::new();
    for _ in 0..number {
        socket.write_all(b"GET /x HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
        let head = head(&mut socket).await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        socket.read_exact(&mut body).await.unwrap();
        statuses.push(head.split(' ').nth(1).unwrap_or_default().to_owned());
    }
    statuses
}

#[tokio::test]
async fn plain_hits_on_one_connection_count_by_route_and_over_all() {
    let rate = "rate: { requests: 3, per: 1h }";
    let (_origin, of_a_route) = started(|yaml| yaml.route(rate)).await;
    assert_eq!(statuses(&of_a_route, 5).await, ["200", "200", "200", "429", "429"]);
    let (_origin, of_all) = started(|yaml| yaml.top(&format!("limits: {{ {rate} }}"))).await;
    assert_eq!(statuses(&of_all, 5).await, ["200", "200", "200", "429", "429"]);
}

#[tokio::test]
async fn a_token_is_a_client_and_who_sends_none_is_its_address() {
    let (_origin, larder) = started(|yaml| {
        yaml.route("rate: { requests: 1, per: 1h, by: authorization }").route("cache: false")
    })
    .await;
    let ask = |token: &str| -> Ask { get(larder.url("/x")).with("Authorization", token) };
    ask("Bearer one").await.has_status(200);
    ask("Bearer two").await.has_status(200);
    refused(&ask("Bearer one").await);
    get(larder.url("/x")).await.has_status(200);
    refused(&get(larder.url("/x")).await);
    let log = larder.output().text() + &larder.errors().text();
    assert!(!log.contains("Bearer"), "{log}");
}

#[tokio::test]
async fn a_trusted_proxy_says_who_asks_and_a_stranger_does_not_choose() {
    let rate = "limits: { rate: { requests: 1, per: 1h } }";
    let (_origin, larder) =
        started(|yaml| yaml.top(rate).top("trusted_proxies: [ 127.0.0.1/32 ]")).await;
    let of = |client: &str| get(larder.url("/x")).with("X-Forwarded-For", client);
    of("192.0.2.1").await.has_status(200);
    of("192.0.2.2").await.has_status(200);
    refused(&of("192.0.2.1").await);
    of("2001:db8::1").await.has_status(200);
    refused(&of("2001:db8::2").await);
    let (_origin, larder) = started(|yaml| yaml.top(rate)).await;
    let of = |client: &str| get(larder.url("/x")).with("X-Forwarded-For", client);
    of("192.0.2.1").await.has_status(200);
    refused(&of("192.0.2.2").await);
}

#[tokio::test]
async fn what_a_route_says_comes_beside_what_holds_for_all() {
    let (_origin, larder) = started(|yaml| {
        yaml.top("limits: { rate: { requests: 100, per: 1h } }")
            .route("rate: { requests: 1, per: 1h }")
    })
    .await;
    let reply = get(larder.url("/x")).await;
    reply.has_status(200);
    assert_eq!(reply.field("ratelimit"), "\"*\";r=99;t=36, \"all\";r=0;t=3600");
    assert_eq!(reply.field("ratelimit-policy"), "\"*\";q=100;w=3600, \"all\";q=1;w=3600");
    refused(&get(larder.url("/x")).await);
}

#[tokio::test]
async fn a_reload_changes_rates_and_leaves_what_was_counted_where_they_stay() {
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let yaml = |rate: &str| {
        all_to(&origin).top(&format!("limits: {{ rate: {rate} }}")).route("rate: none").text()
    };
    let larder = Larder::start(&yaml("{ requests: 1, per: 1h }")).await;
    get(larder.url("/x")).await.has_status(200);
    let reload = async |text: String| {
        larder.rewrite(&text);
        post(larder.admin("/admin/config/reload")).await.has_status(200);
    };
    reload(yaml("{ requests: 1, per: 1h }") + "    ttl: 1m\n").await;
    refused(&get(larder.url("/x")).await);
    reload(yaml("{ requests: 2, per: 1h }")).await;
    get(larder.url("/x")).await.has_status(200);
    reload(all_to(&origin).text()).await;
    for _ in 0..3 {
        assert_eq!(get(larder.url("/x")).await.has_status(200).field("ratelimit"), "");
    }
}

#[tokio::test]
async fn who_guesses_at_tokens_of_the_admin_side_is_not_heard_after_a_while() {
    let tokens = "admin: { tokens: [ { name: ci, secret: right, scopes: [read] } ] }";
    let (_origin, larder) = started(|yaml| yaml.top(tokens)).await;
    let with = |token: &str| {
        get(larder.admin("/admin/layers")).with("Authorization", format!("Bearer {token}"))
    };
    with("right").await.has_status(200);
    until("guesses are refused", async || {
        let reply = with("wrong").await;
        (reply.status == 429 && !reply.field("retry-after").is_empty()).then_some(())
    })
    .await;
    with("right").await.has_status(429);
}
