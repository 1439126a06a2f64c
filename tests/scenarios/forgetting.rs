//! Whatever is lost of the purge log, nothing purged comes back; and what is purged gives back its room.

use std::time::Duration;

use serde_json::json;

use crate::support::answer::{Answer, fresh, status};
use crate::support::client::get;
use crate::support::larder::Larder;
use crate::support::origin::{Asked, Origin};
use crate::support::redis::RedisServer;
use crate::support::until;
use crate::support::yaml::all_to;

/// Answers with this content, or says that what was had before is still right.
fn says(content: &'static str) -> impl FnMut(&Asked) -> Answer {
    move |asked| {
        let tag = format!("\"{content}\"");
        let answer = if asked.field("if-none-match").contains(&tag) {
            status(304).field("Cache-Control", "max-age=600")
        } else {
            fresh(content)
        };
        answer.field("ETag", tag).field("Surrogate-Key", "t")
    }
}

async fn in_redis(redis: &RedisServer) -> String {
    until("the entry is in Redis", async || redis.keys("cache:*").await.pop()).await
}

/// Has the old content in memory and in Redis, and in a second database of Redis for later.
async fn old_is_everywhere(larder: &Larder, redis: &RedisServer) -> String {
    get(larder.url("/x")).await.is("MISS", "ORIGIN").says("old");
    let key = in_redis(redis).await;
    redis.run(&["COPY", &key, &key, "DB", "1"]).await;
    key
}

/// What is in Redis is the old content again, as a slow writer or a rolled back server would have it.
async fn old_comes_back(redis: &RedisServer, key: &str) {
    let script = "redis.call('DEL', KEYS[1]) redis.call('SELECT', 1) \
                  return redis.call('COPY', KEYS[1], KEYS[1], 'DB', 0)";
    redis.run(&["EVAL", script, "1", key]).await;
}

#[tokio::test]
async fn what_was_purged_is_not_served_again_whatever_of_the_log_is_lost() {
    let losses: [(&str, &[&str]); 5] = [
        ("nothing", &["PING"]),
        ("its records", &["XTRIM", "larder:{default}:purges", "MAXLEN", "0"]),
        ("the stream", &["DEL", "larder:{default}:purges"]),
        ("its identity", &["DEL", "larder:{default}:log"]),
        // Not FLUSHALL, which takes the copy, too.
        ("everything", &["FLUSHDB"]),
    ];
    for (what, loss) in losses {
        for restarted in [false, true] {
            let redis = RedisServer::start().await;
            let origin = Origin::start().await;
            origin.with("/x", says("old"));
            let mut larder = all_to(&origin).redis(redis.port()).start().await;
            let key = old_is_everywhere(&larder, &redis).await;
            origin.with("/x", says("new"));
            larder.purges(json!({"tags": ["t"]})).await;
            if restarted {
                larder.stop().await;
                redis.run(loss).await;
                old_comes_back(&redis, &key).await;
                larder.start_again().await;
            } else {
                redis.run(loss).await;
                old_comes_back(&redis, &key).await;
            }
            for _ in 0..3 {
                let reply = get(larder.url("/x")).await;
                assert_eq!(
                    reply.text(),
                    "new",
                    "{what} was lost, restarted: {restarted}: {reply:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_redis_that_comes_back_without_the_last_purges_brings_nothing_purged_back() {
    let mut redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.with("/x", says("old"));
    let mut larder = all_to(&origin).redis(redis.port()).start().await;
    old_is_everywhere(&larder, &redis).await;
    redis.run(&["SAVE"]).await;
    origin.with("/x", says("new"));
    larder.purges(json!({"tags": ["t"]})).await;
    larder.stop().await;
    redis.restart().await;
    assert_eq!(redis.keys("cache:*").await.len(), 1, "the old entry is back");
    assert_eq!(redis.keys("larder:{default}:purges").await.len(), 1, "the old log is back");
    larder.start_again().await;
    get(larder.url("/x")).await.has_status(200).says("new");
}

#[tokio::test]
async fn what_is_still_right_when_the_log_was_lost_is_confirmed_and_served_on() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.with("/x", says("same"));
    let larder = all_to(&origin).redis(redis.port()).start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    get(larder.url("/x")).await.is("HIT", "L1");
    redis.run(&["FLUSHALL"]).await;
    until("the loss is noticed", async || {
        (get(larder.url("/x")).await.outcome() == "REVALIDATED").then_some(())
    })
    .await;
    until("it is a hit again", async || {
        let reply = get(larder.url("/x")).await;
        (reply.says("same").outcome() == "HIT").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_never_heard_the_log_trusts_nothing_that_others_stored() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.with("/x", says("old"));
    let yaml = all_to(&origin).redis(redis.port()).top("purge: { when_detached: serve }");
    let mut larder = yaml.start().await;
    let key = old_is_everywhere(&larder, &redis).await;
    origin.with("/x", says("new"));
    larder.purges(json!({"tags": ["t"]})).await;
    larder.stop().await;
    old_comes_back(&redis, &key).await;
    // It may read entries, but the log's scripts are refused.
    redis.run(&["ACL", "SETUSER", "default", "-@scripting"]).await;
    larder.start_again().await;
    for _ in 0..5 {
        get(larder.url("/x")).await.has_status(200).says("new");
    }
    redis.run(&["ACL", "SETUSER", "default", "+@all"]).await;
    until("purges are taken again", async || {
        (larder.purge(json!({"tags": ["x"], "wait": "local"})).await.status == 200).then_some(())
    })
    .await;
    get(larder.url("/x")).await.has_status(200).says("new");
}

#[tokio::test]
async fn purged_entries_give_back_their_room_in_memory_and_in_redis() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("*", fresh("x").field("Surrogate-Key", "t"));
    let larder = all_to(&origin).redis(redis.port()).start().await;
    for number in 0..20 {
        get(larder.url(&format!("/{number}"))).await.has_status(200);
    }
    until("all are in Redis", async || (redis.keys("cache:*").await.len() == 20).then_some(()))
        .await;
    larder.purges(json!({"tags": ["t"]})).await;
    until("they are gone from Redis", async || {
        redis.keys("cache:*").await.is_empty().then_some(())
    })
    .await;
    until("they are gone from memory", async || {
        let left = larder.metric("cache_keys_total", &[("cache_layer", "L1")]).await;
        (left == 0).then_some(())
    })
    .await;
    for layer in ["L1", "L2"] {
        let labels = [("cache_layer", layer), ("reason", "swept")];
        let swept = larder.metric("cache_evictions_total", &labels).await;
        assert_eq!(swept, 20, "{layer}");
    }
}

#[tokio::test]
async fn purges_of_which_nothing_can_be_left_are_forgotten() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("x"));
    let larder = all_to(&origin).top("l2: none").start().await;
    for half in ["a", "b"] {
        let tags: Vec<_> = (0..1000).map(|number| format!("{half}-{number}")).collect();
        larder.purges(json!({"tags": tags})).await;
    }
    assert_eq!(larder.metric("larder_ledger_purges", &[]).await, 2000);
    until("they are forgotten", async || {
        (larder.metric("larder_ledger_purges", &[]).await == 0).then_some(())
    })
    .await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    get(larder.url("/x")).await.is("HIT", "L1");
    larder.purges(json!({"urls": [larder.url("/x")]})).await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
}

#[tokio::test]
async fn the_metrics_tell_how_far_the_log_is_behind_and_what_waits_for_it() {
    let mut redis = RedisServer::start().await;
    let origin = Origin::start().await;
    let yaml = all_to(&origin).redis(redis.port()).top("purge: { lease: 2s }");
    let larder = yaml.start().await;
    let metric = async |name| larder.metric(name, &[]).await;
    assert_eq!(metric("larder_purges_pending").await, 0);
    assert!(metric("larder_purge_lag_seconds").await < 2);
    assert_eq!(metric("larder_purge_log_vouches").await, 1);
    redis.kill();
    until("the purge waits for the log", async || {
        larder.purge(json!({"tags": ["t"], "timeout": "100ms"})).await;
        (metric("larder_purges_pending").await > 0).then_some(())
    })
    .await;
    until("the log is behind", async || {
        (metric("larder_purge_lag_seconds").await >= 3).then_some(())
    })
    .await;
    until("nothing is vouched for", async || {
        (metric("larder_purge_log_vouches").await == 0).then_some(())
    })
    .await;
    redis.restart().await;
    until("the log has taken it", async || {
        (metric("larder_purges_pending").await == 0).then_some(())
    })
    .await;
    until("the log is followed", async || {
        (metric("larder_purge_lag_seconds").await < 2).then_some(())
    })
    .await;
    assert!(metric("larder_ledger_purges").await > 0);
}

#[tokio::test]
async fn with_the_shortest_lease_an_idle_instance_goes_on_trusting_what_it_has() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("/x", fresh("x"));
    let larder = all_to(&origin).redis(redis.port()).top("purge: { lease: 1s }").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    let begun = std::time::Instant::now();
    let (mut hits, mut others) = (0, 0);
    while begun.elapsed() < Duration::from_secs(3) {
        match get(larder.url("/x")).await.outcome() {
            "HIT" => hits += 1,
            _ => others += 1,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(others * 20 < hits, "{others} of {hits} were no hits");
}
