//! Layers hold copies for no longer than their route says: memory asks L2 again, L2 the origin, and nothing grows younger.

use std::time::Duration;

use tempfile::TempDir;
use tokio::time::sleep;

use crate::support::answer::{fresh, ok};
use crate::support::client::get;
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::redis::RedisServer;
use crate::support::until;
use crate::support::yaml::all_to;

/// Longer than the short caps below; nothing tells when a copy grows old.
const OVER: Duration = Duration::from_millis(400);

#[tokio::test]
async fn a_copy_in_memory_is_looked_at_again_in_l2_and_keeps_its_age() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello").field("Age", "7"));
    let caps = "layers: { l1: { max_ttl: 200ms }, l2: { max_ttl: 1h } }";
    let larder = all_to(&origin).redis(redis.port()).route(caps).start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    until("the copy is compared", async || {
        let reply = get(larder.url("/x")).await;
        assert!(reply.has_status(200).age() >= 7, "{reply:?}");
        (reply.layer() == "L2").then_some(())
    })
    .await;
    get(larder.url("/x")).await.is("HIT", "L1");
    assert_eq!(origin.count("/x"), 1);
}

#[tokio::test]
async fn what_l2_holds_is_stale_there_after_its_cap_and_the_origin_is_asked() {
    let redis = RedisServer::start().await;
    let disk = TempDir::new().unwrap();
    let caps = "layers: { l2: { max_ttl: 200ms } }";
    for second in ["redis", "disk"] {
        let origin = Origin::start().await;
        origin.on("/x", fresh("hello").field("ETag", "\"v1\""));
        let yaml = match second {
            "redis" => all_to(&origin).redis(redis.port()),
            _ => all_to(&origin).disk(disk.path()),
        };
        let larder = yaml.route(caps).start().await;
        get(larder.url("/x")).await.is("MISS", "ORIGIN");
        sleep(OVER).await;
        // Still there, to be validated.
        until("it is in the store", async || {
            get(larder.url("/x")).await.has_status(200).says("hello");
            let asked = origin.requests("/x");
            (asked.last()?.field("if-none-match") == "\"v1\"").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn memory_alone_holds_a_copy_as_fresh_for_no_longer_than_its_cap() {
    let origin = Origin::start().await;
    origin.script("/x", [fresh("old"), fresh("new")]);
    let larder = all_to(&origin).route("layers: { l1: { max_ttl: 200ms } }").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN").says("old");
    sleep(OVER).await;
    let reply = get(larder.url("/x")).await;
    reply.says("new");
    assert!(reply.field("cache-status").contains("fwd=stale"), "{reply:?}");
}

#[tokio::test]
async fn what_l2_let_go_of_for_its_cap_does_not_live_on_in_memory() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.script("/x", [fresh("old"), fresh("new")]);
    let caps = "layers: { l1: { max_ttl: 100ms }, l2: { max_ttl: 300ms } }";
    let larder = all_to(&origin).redis(redis.port()).route(caps).route("keep: 0s").start().await;
    get(larder.url("/x")).await.says("old");
    sleep(OVER).await;
    assert_eq!(redis.keys("cache:*").await, [""; 0], "the key ends with its cap");
    get(larder.url("/x")).await.says("new");
}

#[tokio::test]
async fn the_cap_of_l2_bounds_the_life_of_its_key() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("/x", ok("hello").field("Cache-Control", "max-age=86400"));
    let caps = "layers: { l1: {}, l2: { max_ttl: 1h } }";
    let larder = all_to(&origin).redis(redis.port()).route(caps).route("keep: 0s").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    let key = until("the entry is in Redis", async || redis.keys("cache:*").await.pop()).await;
    let left = redis.seconds_left(&key).await;
    assert!((3500..=3600).contains(&left), "{left} s");
}

/// What passes a deadline while its origin fails is served as far as its windows go, counted from the cap.
#[tokio::test]
async fn a_cap_ends_freshness_and_the_stale_windows_begin_there() {
    let mut origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let yaml =
        all_to(&origin).route("layers: { l1: { max_ttl: 200ms } }").route("stale_if_error: 1h");
    let larder: Larder = yaml.start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    sleep(OVER).await;
    origin.leave().await;
    get(larder.url("/x")).await.is("STALE", "L1").says("hello");
}
