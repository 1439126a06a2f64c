//! HTTP/2 without TLS, by prior knowledge, on the same port: the same answers, many at once on one connection each.

use tokio::task::JoinSet;

use crate::support::answer::{Gate, echo, fresh, ok};
use crate::support::client::{ask, get, post};
use crate::support::origin::Origin;
use crate::support::yaml::all_to;

#[tokio::test]
async fn both_protocols_share_the_cache() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello").field("ETag", "\"v1\""));
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).over_h2c().await.is("MISS", "ORIGIN").has_status(200).says("hello");
    get(larder.url("/x")).await.is("HIT", "L1").says("hello");
    get(larder.url("/x")).over_h2c().await.is("HIT", "L1").says("hello");
    get(larder.url("/x")).over_h2c().with("If-None-Match", "\"v1\"").await.has_status(304).says("");
    get(larder.url("/x")).over_h2c().with("Range", "bytes=1-2").await.has_status(206).says("el");
    ask("HEAD", larder.url("/x"))
        .over_h2c()
        .await
        .has_status(200)
        .has("content-length", "5")
        .says("");
    assert_eq!(origin.count("/x"), 1);
}

#[tokio::test]
async fn a_post_over_h2_arrives_with_its_body() {
    let origin = Origin::start().await;
    origin.on("/echo", echo());
    let larder = all_to(&origin).start().await;
    let body = "x".repeat(300_000);
    post(larder.url("/echo"))
        .over_h2c()
        .body(body.clone())
        .await
        .is("BYPASS", "ORIGIN")
        .says(&body);
    assert_eq!(origin.requests("/echo")[0].field("connection"), "");
}

#[tokio::test]
async fn pieces_arrive_over_h2_before_the_end() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on(
        "/x",
        ok("first").field("Content-Type", "text/event-stream").pause(&gate).chunk("last"),
    );
    let larder = all_to(&origin).start().await;
    let mut opened = get(larder.url("/x")).over_h2c().open().await;
    assert_eq!(opened.at_least(5).await, b"first");
    gate.open();
    assert_eq!(opened.rest().await.unwrap(), "last");
}

#[tokio::test]
async fn a_herd_over_h2_is_one_fetch() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/x", fresh("hello").held(&gate));
    let larder = all_to(&origin).start().await;
    let mut clients = JoinSet::new();
    for _ in 0..50 {
        let url = larder.url("/x");
        clients.spawn(async move { get(url).over_h2c().await });
    }
    origin.seen("/x", 1).await;
    gate.open();
    for reply in clients.join_all().await {
        reply.has_status(200).says("hello");
    }
    assert_eq!(origin.count("/x"), 1);
}

#[tokio::test]
async fn a_cut_off_body_is_an_error_over_h2_too() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("half").cut());
    let larder = all_to(&origin).start().await;
    assert!(get(larder.url("/x")).over_h2c().attempt().await.is_err());
}

#[tokio::test]
async fn fields_of_http1_that_h2_forbids_do_not_appear() {
    let origin = Origin::start().await;
    origin.on(
        "/x",
        fresh("hello").field("Connection", "keep-alive").field("Keep-Alive", "timeout=5"),
    );
    let larder = all_to(&origin).start().await;
    for _ in 0..2 {
        get(larder.url("/x"))
            .over_h2c()
            .await
            .lacks("connection")
            .lacks("keep-alive")
            .lacks("transfer-encoding");
    }
}

/// RFC 9113 §8.2.3.
#[tokio::test]
async fn cookies_that_h2_splits_are_one_line_for_an_origin_of_http1() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let larder = all_to(&origin).start().await;
    for method in ["GET", "POST"] {
        let asking = ask(method, larder.url("/x")).over_h2c();
        asking.with("Cookie", "a=1").with("Cookie", "b=2").with("Cookie", "c=3").await;
        let asked = origin.last();
        let lines: Vec<_> = asked.fields.get_all("cookie").iter().collect();
        assert_eq!(lines, ["a=1; b=2; c=3"], "{method}");
    }
}

#[tokio::test]
async fn several_lengths_are_refused_over_h2_as_over_http1() {
    let origin = Origin::start().await;
    let larder = all_to(&origin).start().await;
    let asking = post(larder.url("/x")).over_h2c().body("abc");
    asking.with("Content-Length", "3").with("Content-Length", "3").await.has_status(400);
    assert_eq!(origin.count("/x"), 0);
}
