//! What is shared by many is right for each of them: a flight's answer, a refresh, a fetch for one client alone.

use std::time::Duration;

use serde_json::json;

use crate::support::answer::{Gate, close, fresh, ok, status};
use crate::support::client::{Ask, get};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::redis::RedisServer;
use crate::support::reply::Reply;
use crate::support::yaml::all_to;
use crate::support::{beside, until};

/// Asks until the entry is no longer fresh.
async fn first_non_hit(larder: &Larder, path: &str) -> Reply {
    until("the entry is stale", async || {
        let reply = get(larder.url(path)).await;
        (reply.outcome() != "HIT").then_some(reply)
    })
    .await
}

async fn counted(larder: &Larder, metric: &str, number: u64) {
    until(&format!("{metric} is {number}"), async || {
        (larder.metric(metric, &[]).await >= number).then_some(())
    })
    .await;
}

/// Sends `ask` and waits until it has joined another's flight, the `number`th to do so.
async fn joining(larder: &Larder, ask: Ask, number: u64) -> tokio::task::JoinHandle<Reply> {
    let joined = beside(ask.into_future());
    counted(larder, "larder_flight_followers_total", number).await;
    joined
}

#[tokio::test]
async fn a_refresh_says_nothing_of_what_one_client_has_or_wants() {
    let origin = Origin::start().await;
    // The second answer tells that the URL's answers are not shared: refreshes go alone from then on. It says nothing of the
    // first, which is served stale.
    origin.script(
        "/x",
        [
            ok("old").field("ETag", "\"v1\""),
            status(429).field("Cache-Control", "no-store"),
            status(304).field("ETag", "\"v2\""),
        ],
    );
    let larder =
        all_to(&origin).route("ttl: 300ms").route("stale_while_revalidate: 1m").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    first_non_hit(&larder, "/x").await.is("STALE", "L1").says("old");
    origin.seen("/x", 2).await;
    until("another refresh is sent", async || {
        get(larder.url("/x"))
            .with("If-None-Match", "\"v2\"")
            .with("Range", "bytes=0-1")
            .with("Cache-Control", "max-stale=60")
            .await;
        (origin.count("/x") > 2).then_some(())
    })
    .await;
    for refresh in &origin.requests("/x")[1..] {
        assert_ne!(refresh.field("if-none-match"), "\"v2\"");
        assert_eq!((refresh.field("range"), refresh.field("cache-control")), ("", ""));
    }
}

#[tokio::test]
async fn what_is_fetched_for_one_client_alone_is_asked_for_in_the_words_that_name_its_variant() {
    let origin = Origin::start().await;
    let mut asked = 0;
    origin.with("/x", move |request| {
        asked += 1;
        let coded = fresh(request.field("accept-encoding").to_owned());
        let coded = coded.field("Vary", "Accept-Encoding");
        // After the first the URL counts as one whose answers are not shared.
        if asked == 1 { ok("private").field("Cache-Control", "no-store") } else { coded }
    });
    let larder =
        all_to(&origin).route("vary: { normalize: { Accept-Encoding: [br, gzip] } }").start().await;
    get(larder.url("/x")).await.says("private");
    get(larder.url("/x")).with("Accept-Encoding", "zstd").await.says("identity");
    get(larder.url("/x")).with("Accept-Encoding", "identity").await.says("identity");
}

#[tokio::test]
async fn a_client_that_wants_the_origins_word_does_not_get_what_a_flight_found_in_the_fleets_store()
{
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.script("/x", [fresh("old"), fresh("new")]);
    let yaml = all_to(&origin).top(&format!(
        "l2:\n  redis: {{ url: \"redis://127.0.0.1:{}/0\", timeout: 10s }}",
        redis.port()
    ));
    let mut larder = yaml.start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    until("the entry is in Redis", async || {
        (!redis.keys("cache:*").await.is_empty()).then_some(())
    })
    .await;
    larder.restart().await;
    redis.pause();
    let leader = beside(get(larder.url("/x")).into_future());
    counted(&larder, "larder_flights_begun_total", 1).await;
    let ask = get(larder.url("/x")).with("Cache-Control", "no-cache");
    let follower = joining(&larder, ask, 1).await;
    redis.resume();
    leader.await.unwrap().is("HIT", "L2").says("old");
    follower.await.unwrap().says("new");
}

#[tokio::test]
async fn a_stale_answer_that_its_leader_asked_for_is_not_given_to_others() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.script("/x", [ok("old").field("ETag", "\"v1\""), fresh("new")]);
    let yaml = all_to(&origin).route("ttl: 1s").top(&format!(
        "l2:\n  redis: {{ url: \"redis://127.0.0.1:{}/0\", timeout: 10s }}",
        redis.port()
    ));
    let mut larder = yaml.start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    until("the entry is in Redis", async || {
        (!redis.keys("cache:*").await.is_empty()).then_some(())
    })
    .await;
    larder.restart().await;
    // Nothing tells that an entry in Redis is stale but asking for it, which would bring it here.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    redis.pause();
    let ask = get(larder.url("/x")).with("Cache-Control", "max-stale");
    let leader = beside(ask.into_future());
    counted(&larder, "larder_flights_begun_total", 1).await;
    let follower = joining(&larder, get(larder.url("/x")), 1).await;
    redis.resume();
    leader.await.unwrap().is("STALE", "L2").says("old");
    follower.await.unwrap().says("new");
}

#[tokio::test]
async fn a_client_that_joins_a_failing_refresh_gets_what_it_may_have_on_error() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.script("/x", [ok("old"), close().held(&gate)]);
    let larder = all_to(&origin)
        .route("ttl: 300ms")
        .route("stale_while_revalidate: 1m")
        .route("stale_if_error: 1h")
        .start()
        .await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    first_non_hit(&larder, "/x").await.is("STALE", "L1");
    origin.seen("/x", 2).await;
    let ask = get(larder.url("/x")).with("Cache-Control", "no-cache");
    let follower = joining(&larder, ask, 1).await;
    gate.open();
    follower.await.unwrap().has_status(200).is("STALE", "L1").says("old");
}

#[tokio::test]
async fn what_was_purged_while_the_origin_failed_does_not_stand_in_for_it() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.script("/x", [ok("old"), status(503).held(&gate)]);
    let larder = all_to(&origin).route("ttl: 1m").route("stale_if_error: 1h").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    let ask = get(larder.url("/x")).with("Cache-Control", "no-cache");
    let failing = beside(ask.into_future());
    origin.seen("/x", 2).await;
    larder.purges(json!({"urls": [larder.url("/x")]})).await;
    gate.open();
    failing.await.unwrap().has_status(503);
}

#[tokio::test]
async fn a_body_that_arrives_for_longer_than_it_is_fresh_is_joined_no_more() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.script("/x", [ok("old, first, ").pause(&gate).chunk("old, last"), fresh("new")]);
    let larder = all_to(&origin).route("ttl: 300ms").start().await;
    let mut leader = get(larder.url("/x")).open().await;
    assert_eq!(leader.at_least(12).await, b"old, first, ");
    until("a request that comes later has its own fetch", async || {
        let _joined_or_not = get(larder.url("/x")).open().await;
        (origin.count("/x") > 1).then_some(())
    })
    .await;
    gate.open();
    assert_eq!(leader.rest().await.unwrap(), "old, last");
}

#[tokio::test]
async fn what_a_304_makes_private_is_given_to_nobody_else() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let private = status(304).field("ETag", "\"v1\"").field("Cache-Control", "private");
    origin
        .script("/x", [fresh("old").field("ETag", "\"v1\""), private.clone().held(&gate), private]);
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    let ask = || get(larder.url("/x")).with("Cache-Control", "no-cache");
    let leader = beside(ask().into_future());
    origin.seen("/x", 2).await;
    let follower = joining(&larder, ask(), 1).await;
    gate.open();
    leader.await.unwrap().says("old");
    follower.await.unwrap().says("old");
    assert_eq!(origin.count("/x"), 3, "each had the origin's word for itself");
}

#[tokio::test]
async fn what_was_purged_while_it_was_held_is_not_confirmed_but_fetched_anew() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.script("/x", [fresh("old").field("ETag", "\"v1\""), fresh("new")]);
    let yaml = all_to(&origin).top(&format!(
        "l2:\n  redis: {{ url: \"redis://127.0.0.1:{}/0\", timeout: 30s }}",
        redis.port()
    ));
    let larder = yaml.start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    redis.pause();
    let ask = get(larder.url("/x")).with("Cache-Control", "no-cache");
    let validating = beside(ask.into_future());
    counted(&larder, "larder_flights_begun_total", 2).await;
    // The log is away as well: the purge holds here.
    larder.purge(json!({"urls": [larder.url("/x")]})).await.has_status(503);
    redis.resume();
    validating.await.unwrap().says("new");
    assert_eq!(origin.requests("/x")[1].field("if-none-match"), "");
}

#[tokio::test]
async fn a_url_that_is_the_same_on_every_host_is_purged_by_its_prefix_on_any() {
    let origin = Origin::start().await;
    origin.script("/api/x", [fresh("old"), fresh("new")]);
    let larder = all_to(&origin).route("key: { host: false }").start().await;
    get(larder.url("/api/x")).with("Host", "a.example").await.says("old");
    get(larder.url("/api/x")).with("Host", "b.example").await.is("HIT", "L1").says("old");
    larder.purges(json!({"prefixes": ["http://b.example/api/"]})).await;
    get(larder.url("/api/x")).with("Host", "b.example").await.says("new");
}

#[tokio::test]
async fn a_head_of_unknown_length_is_not_said_to_be_empty() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("first, ").chunk("last"));
    let larder = all_to(&origin).start().await;
    crate::support::client::ask("HEAD", larder.url("/x"))
        .await
        .has_status(200)
        .lacks("content-length");
    get(larder.url("/x")).await.says("first, last");
}
