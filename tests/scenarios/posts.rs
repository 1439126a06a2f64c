//! An answer to a POST that is what a GET of its URL would get answers those who ask later, where the route says so.

use serde_json::json;

use crate::support::answer::{Answer, Gate, fresh, ok, status};
use crate::support::client::{get, post};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::redis::RedisServer;
use crate::support::yaml::{Yaml, all_to};
use crate::support::{beside, until};

/// A fresh answer of the URL `/x` itself.
fn of_x(body: &'static str) -> Answer {
    fresh(body).field("Content-Location", "/x")
}

/// Reads are fresh and say `read`; each write gets the next of `writes`.
fn reads_and<const N: usize>(origin: &Origin, writes: [Answer; N]) {
    let mut writes = writes.into_iter();
    origin.with("*", move |asked| match asked.method.as_str() {
        "GET" => fresh("read"),
        _ => writes.next().unwrap(),
    });
}

fn keeping(origin: &Origin) -> Yaml {
    all_to(origin).route("keep_posts: true")
}

async fn stored(larder: &Larder) -> bool {
    get(larder.url("/x")).with("Cache-Control", "only-if-cached").await.status == 200
}

#[tokio::test]
async fn the_answer_to_a_post_answers_a_get_of_its_url() {
    let origin = Origin::start().await;
    reads_and(&origin, [of_x("written").field("ETag", "\"w\"")]);
    let larder = keeping(&origin).start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN").says("read");
    post(larder.url("/x"))
        .body("{}")
        .await
        .is("BYPASS", "ORIGIN")
        .says("written")
        .has("Cache-Status", "larder; fwd=method; stored");
    until("the answer is stored", async || stored(&larder).await.then_some(())).await;
    get(larder.url("/x")).await.is("HIT", "L1").says("written").has("ETag", "\"w\"");
    get(larder.url("/x")).with("If-None-Match", "\"w\"").await.has_status(304);
    assert_eq!(origin.count("/x"), 2);
}

#[tokio::test]
async fn a_second_post_replaces_what_the_first_left() {
    let origin = Origin::start().await;
    reads_and(&origin, [of_x("one"), of_x("two"), ok("three")]);
    let larder = keeping(&origin).start().await;
    for body in ["one", "two"] {
        post(larder.url("/x")).body("{}").await.says(body);
        until("it is stored", async || stored(&larder).await.then_some(())).await;
        get(larder.url("/x")).await.is("HIT", "L1").says(body);
    }
    post(larder.url("/x")).body("{}").await.says("three");
    get(larder.url("/x")).await.is("MISS", "ORIGIN").says("read");
}

#[tokio::test]
async fn what_is_not_the_get_s_answer_or_not_to_be_kept_is_not_kept() {
    let cases = [
        fresh("no content location"),
        fresh("another's").field("Content-Location", "/x/1"),
        fresh("another host's").field("Content-Location", "http://elsewhere.example/x"),
        ok("no freshness").field("Content-Location", "/x").field("ETag", "\"e\""),
        ok("public").field("Content-Location", "/x").field("Cache-Control", "public"),
        of_x("created").with_status(201),
        of_x("for one").field("Cache-Control", "private"),
        of_x("for none").field("Cache-Control", "no-store"),
        of_x("varies by all").field("Vary", "*"),
        of_x("with a cookie").field("Set-Cookie", "a=b"),
    ];
    for answer in cases {
        let origin = Origin::start().await;
        reads_and(&origin, [answer.clone()]);
        let larder = keeping(&origin).route("ttl: 1m").start().await;
        let written = post(larder.url("/x")).body("{}").await;
        written.has("Cache-Status", "larder; fwd=method");
        let read = get(larder.url("/x")).await;
        assert_eq!((read.outcome(), read.text()), ("MISS", "read"), "after {}", written.text());
    }
}

#[tokio::test]
async fn the_answer_to_a_post_with_authorization_is_kept_only_where_it_may_be_shared() {
    let origin = Origin::start().await;
    let shared = of_x("shared").field("Cache-Control", "public");
    reads_and(&origin, [of_x("private"), shared]);
    let larder = keeping(&origin).start().await;
    post(larder.url("/x")).with("Authorization", "a").body("{}").await.says("private");
    get(larder.url("/x")).await.is("MISS", "ORIGIN").says("read");
    post(larder.url("/x")).with("Authorization", "a").body("{}").await.says("shared");
    until("it is stored", async || stored(&larder).await.then_some(())).await;
    get(larder.url("/x")).await.is("HIT", "L1").says("shared");
}

#[tokio::test]
async fn no_answer_to_a_post_is_kept_where_the_route_does_not_say_so() {
    let origin = Origin::start().await;
    reads_and(&origin, [of_x("written")]);
    let larder = all_to(&origin).start().await;
    post(larder.url("/x")).body("{}").await.has("Cache-Status", "larder; fwd=method");
    get(larder.url("/x")).await.is("MISS", "ORIGIN").says("read");
}

#[tokio::test]
async fn an_answer_is_not_kept_if_anything_was_purged_since_the_post_was_sent() {
    for what in ["urls", "tags", "everything"] {
        let origin = Origin::start().await;
        let gate = Gate::closed();
        reads_and(&origin, [of_x("old").held(&gate), of_x("new")]);
        let larder = keeping(&origin).start().await;
        let writing = beside(post(larder.url("/x")).body("{}").into_future());
        origin.seen("/x", 1).await;
        larder
            .purges(match what {
                "urls" => json!({"urls": [larder.url("/x")]}),
                "tags" => json!({"tags": ["of-something"]}),
                _ => json!({"everything": true}),
            })
            .await;
        gate.open();
        writing.await.unwrap().says("old").has("Cache-Status", "larder; fwd=method");
        get(larder.url("/x")).await.is("MISS", "ORIGIN").says("read");
        post(larder.url("/x")).body("{}").await.has("Cache-Status", "larder; fwd=method; stored");
    }
}

#[tokio::test]
async fn an_answer_is_not_kept_if_another_instance_purged_since_the_post_was_sent() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    let gate = Gate::closed();
    reads_and(&origin, [of_x("old").held(&gate)]);
    let yaml = keeping(&origin).redis(redis.port());
    let (one, other) = (yaml.start().await, yaml.start().await);
    let writing = beside(post(one.url("/x")).body("{}").into_future());
    origin.seen("/x", 1).await;
    other.purges(json!({"urls": [one.url("/x")]})).await;
    gate.open();
    writing.await.unwrap().says("old").has("Cache-Status", "larder; fwd=method");
    get(one.url("/x")).await.is("MISS", "ORIGIN").says("read");
}

#[tokio::test]
async fn an_answer_is_not_kept_if_the_purge_of_its_post_does_not_reach_the_log() {
    let mut redis = RedisServer::start().await;
    let origin = Origin::start().await;
    reads_and(&origin, [of_x("written")]);
    let larder = keeping(&origin).redis(redis.port()).start().await;
    redis.kill();
    let written = post(larder.url("/x")).body("{}").await;
    written.says("written").has("Cache-Status", "larder; fwd=method");
    get(larder.url("/x")).await.is("MISS", "ORIGIN").says("read");
}

#[tokio::test]
async fn of_two_posts_at_once_the_answer_that_comes_last_is_not_kept() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    reads_and(&origin, [of_x("first").held(&gate), of_x("second")]);
    let larder = keeping(&origin).start().await;
    let writing = beside(post(larder.url("/x")).body("{}").into_future());
    origin.seen("/x", 1).await;
    post(larder.url("/x")).body("{}").await.says("second");
    gate.open();
    writing.await.unwrap().says("first").has("Cache-Status", "larder; fwd=method");
    get(larder.url("/x")).await.is("MISS", "ORIGIN").says("read");
}

#[tokio::test]
async fn a_purge_afterwards_removes_it() {
    let origin = Origin::start().await;
    reads_and(&origin, [of_x("written").field("Surrogate-Key", "t")]);
    let larder = keeping(&origin).start().await;
    post(larder.url("/x")).body("{}").await.says("written");
    until("it is stored", async || stored(&larder).await.then_some(())).await;
    larder.purges(json!({"tags": ["t"]})).await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN").says("read");
}

#[tokio::test]
async fn it_is_kept_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    reads_and(&origin, [of_x("written")]);
    let mut larder = keeping(&origin).disk(directory.path()).start().await;
    post(larder.url("/x")).body("{}").await.says("written");
    until("it is stored", async || stored(&larder).await.then_some(())).await;
    larder.restart().await;
    get(larder.url("/x")).await.is("HIT", "L2").says("written");
}

#[tokio::test]
async fn it_is_kept_for_the_fleet() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    reads_and(&origin, [of_x("written")]);
    let yaml = keeping(&origin).redis(redis.port()).route("key: { host: false }");
    let (one, other) = (yaml.start().await, yaml.start().await);
    post(one.url("/x")).body("{}").await.says("written");
    until("the other has it", async || stored(&other).await.then_some(())).await;
    get(other.url("/x")).await.is("HIT", "L1").says("written");
    assert_eq!(origin.count("/x"), 1);
}

#[tokio::test]
async fn the_client_gets_it_as_it_comes_and_may_leave() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    reads_and(&origin, [of_x("first, ").pause(&gate).chunk("last")]);
    let larder = keeping(&origin).start().await;
    let mut writing = post(larder.url("/x")).body("{}").open().await;
    assert_eq!(writing.at_least(7).await, b"first, ");
    assert!(!stored(&larder).await);
    drop(writing);
    gate.open();
    until("the whole is stored", async || stored(&larder).await.then_some(())).await;
    get(larder.url("/x")).await.is("HIT", "L1").says("first, last");
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_cut_off_for_the_client_and_not_kept() {
    let origin = Origin::start().await;
    reads_and(&origin, [of_x("first, ").chunk("and then").cut()]);
    let larder = keeping(&origin).start().await;
    let writing = post(larder.url("/x")).body("{}").open().await;
    assert!(writing.rest().await.is_err());
    get(larder.url("/x")).await.is("MISS", "ORIGIN").says("read");
}

#[tokio::test]
async fn its_variant_is_that_of_the_post_as_the_origin_saw_it() {
    let origin = Origin::start().await;
    reads_and(&origin, [of_x("written").field("Vary", "Accept-Language")]);
    let rules = "vary: { normalize: { Accept-Language: [en, de] } }";
    let larder = keeping(&origin).route(rules).start().await;
    post(larder.url("/x")).with("Accept-Language", "fr, de;q=0.5").body("{}").await.has_status(200);
    assert_eq!(origin.requests("/x")[0].field("accept-language"), "de");
    until("it is stored", async || {
        let cached = get(larder.url("/x")).with("Cache-Control", "only-if-cached");
        (cached.with("Accept-Language", "de").await.status == 200).then_some(())
    })
    .await;
    get(larder.url("/x")).with("Accept-Language", "de").await.is("HIT", "L1").says("written");
    get(larder.url("/x")).with("Accept-Language", "en").await.is("MISS", "ORIGIN").says("read");
}

#[tokio::test]
async fn a_write_that_fails_leaves_what_was_kept() {
    let origin = Origin::start().await;
    reads_and(&origin, [of_x("written"), status(500)]);
    let larder = keeping(&origin).start().await;
    post(larder.url("/x")).body("{}").await.says("written");
    until("it is stored", async || stored(&larder).await.then_some(())).await;
    post(larder.url("/x")).body("{}").await.has_status(500);
    get(larder.url("/x")).await.is("HIT", "L1").says("written");
}
