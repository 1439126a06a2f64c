//! The second layer outlives a restart: Redis and disk hand their entries back, with their age and their purges.

use serde_json::json;
use tempfile::TempDir;

use crate::support::answer::{fresh, ok};
use crate::support::client::get;
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::redis::RedisServer;
use crate::support::until;
use crate::support::yaml::{Yaml, all_to};

/// A second layer to be tried, and what keeps it alive.
enum Second {
    Redis(RedisServer),
    Disk(TempDir),
}

impl Second {
    async fn both() -> [Self; 2] {
        [Self::Redis(RedisServer::start().await), Self::Disk(TempDir::new().unwrap())]
    }

    fn under(&self, yaml: Yaml) -> Yaml {
        match self {
            Self::Redis(redis) => yaml.redis(redis.port()),
            Self::Disk(directory) => yaml.disk(directory.path()),
        }
    }
}

/// Waits until the write behind the answer has arrived: a metric or a key tells, a restart flushes the queue.
async fn restart(larder: &mut Larder) {
    assert!(larder.stop().await.success(), "an orderly end");
    larder.start_again().await;
}

#[tokio::test]
async fn an_entry_is_a_hit_of_the_second_layer_after_a_restart_and_then_of_memory() {
    for second in Second::both().await {
        let origin = Origin::start().await;
        origin.on("/x", fresh("hello").field("X-Own", "kept").field("Age", "5"));
        let mut larder = second.under(all_to(&origin)).start().await;
        let miss = get(larder.url("/x")).await;
        miss.is("MISS", "ORIGIN");
        get(larder.url("/x")).await.is("HIT", "L1");
        restart(&mut larder).await;
        let hit = get(larder.url("/x")).await;
        hit.is("HIT", "L2")
            .has_status(200)
            .says("hello")
            .has("x-own", "kept")
            .has("date", miss.field("date"));
        assert!((5..60).contains(&hit.age()), "{hit:?}");
        let again = get(larder.url("/x")).await;
        assert!(
            again.is("HIT", "L1").says("hello").age() >= hit.age(),
            "an entry does not get younger by moving"
        );
        assert_eq!(origin.count("/x"), 1);
    }
}

#[tokio::test]
async fn variants_tags_and_bodies_come_back_whole() {
    for second in Second::both().await {
        let origin = Origin::start().await;
        let body: Vec<u8> = (0..90_000_u32).map(|n| (n % 251).to_le_bytes()[0]).collect();
        origin.on("/bytes", fresh(body.clone()).field("ETag", "\"v1\""));
        origin.with("/vary", |asked| {
            fresh(asked.field("x-kind").to_owned())
                .field("Vary", "X-Kind")
                .field("Surrogate-Key", "t")
        });
        let mut larder = second.under(all_to(&origin)).start().await;
        get(larder.url("/bytes")).await.is("MISS", "ORIGIN");
        for kind in ["a", "b"] {
            get(larder.url("/vary")).with("X-Kind", kind).await.is("MISS", "ORIGIN");
        }
        restart(&mut larder).await;
        assert!(get(larder.url("/bytes")).await.is("HIT", "L2").body == body);
        get(larder.url("/bytes")).with("If-None-Match", "\"v1\"").await.has_status(304);
        get(larder.url("/vary")).with("X-Kind", "a").await.is("HIT", "L2").says("a");
        larder.purges(json!({"tags": ["t"]})).await;
        for kind in ["a", "b"] {
            get(larder.url("/vary")).with("X-Kind", kind).await.is("MISS", "ORIGIN").says(kind);
        }
    }
}

#[tokio::test]
async fn a_purge_survives_a_restart() {
    for second in Second::both().await {
        let origin = Origin::start().await;
        for path in ["/url", "/tag", "/prefix/x", "/kept"] {
            origin.script(
                path,
                [fresh("old").field("Surrogate-Key", path.trim_start_matches('/')), fresh("new")],
            );
        }
        let mut larder = second.under(all_to(&origin)).start().await;
        for path in ["/url", "/tag", "/prefix/x", "/kept"] {
            get(larder.url(path)).await.is("MISS", "ORIGIN");
        }
        restart(&mut larder).await;
        let what = json!({"urls": [larder.url("/url")], "tags": ["tag"], "prefixes": [larder.url("/prefix/")]});
        larder.purges(what).await;
        larder.kill();
        larder.start_again().await;
        for path in ["/url", "/tag", "/prefix/x"] {
            get(larder.url(path)).await.is("MISS", "ORIGIN").says("new");
        }
        get(larder.url("/kept")).await.is("HIT", "L2").says("old");
    }
}

#[tokio::test]
async fn a_soft_purge_survives_a_restart() {
    for second in Second::both().await {
        let origin = Origin::start().await;
        origin.script("/x", [fresh("old"), fresh("new")]);
        let mut larder =
            second.under(all_to(&origin).route("stale_while_revalidate: 1m")).start().await;
        get(larder.url("/x")).await.is("MISS", "ORIGIN");
        larder.purges(json!({"urls": [larder.url("/x")], "soft": true})).await;
        restart(&mut larder).await;
        let reply = get(larder.url("/x")).await;
        reply.is_not("HIT");
        until("the new one is served", async || {
            (get(larder.url("/x")).await.text() == "new").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn an_entry_in_redis_is_never_without_an_end_and_its_key_tells_nothing() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = all_to(&origin).redis(redis.port()).top("service: shop").start().await;
    get(larder.url("/secret-path?token=abc")).await.is("MISS", "ORIGIN");
    larder.purges(json!({"tags": ["t"]})).await;
    let keys = until("the entry is in Redis", async || {
        let keys = redis.keys("cache:shop:all:*").await;
        (!keys.is_empty()).then_some(keys)
    })
    .await;
    assert!(
        keys.iter()
            .all(|key| key.len() < 250 && !key.contains("secret") && *key == key.to_lowercase()),
        "{keys:?}"
    );
    for key in redis.keys("*").await {
        let ours = ["cache:shop:", "larder:shop:lease:", "larder:{shop}:"];
        assert!(ours.iter().any(|prefix| key.starts_with(prefix)), "{key}");
        let left = redis.seconds_left(&key).await;
        assert!(left > 0, "{key} has {left} s");
    }
}

#[tokio::test]
async fn what_is_too_large_for_the_second_layer_stays_in_memory() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("/large", fresh("x".repeat(200_000)));
    origin.on("/small", fresh("x"));
    let mut larder = all_to(&origin).redis(redis.port()).start().await;
    for path in ["/large", "/small"] {
        get(larder.url(path)).await.is("MISS", "ORIGIN");
        get(larder.url(path)).await.is("HIT", "L1");
    }
    restart(&mut larder).await;
    get(larder.url("/large")).await.is("MISS", "ORIGIN");
    get(larder.url("/small")).await.is("HIT", "L2");
}

#[tokio::test]
async fn what_l2_alone_may_keep_is_not_kept_where_there_is_none_and_that_is_told() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("x"));
    let larder = all_to(&origin).route("key: { cookies: [session] }").start().await;
    for _ in 0..2 {
        let reply = get(larder.url("/x")).await;
        reply.is("MISS", "ORIGIN").has("cache-status", "larder; fwd=uri-miss; detail=no-layer");
    }
}

#[tokio::test]
async fn an_object_too_large_for_memory_is_passed_on_whole() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("x".repeat(3_000_000)));
    let larder = all_to(&origin).top("l1: { capacity: 64MiB, max_object: 1MiB }").start().await;
    for _ in 0..2 {
        assert_eq!(get(larder.url("/x")).await.is_not("HIT").body.len(), 3_000_000);
    }
}

#[tokio::test]
async fn memory_is_bounded() {
    let origin = Origin::start().await;
    origin.on("*", fresh("x".repeat(100_000)));
    let larder = all_to(&origin).top("l1: { capacity: 2MiB, max_object: 256KiB }").start().await;
    for n in 0..60 {
        get(larder.url(&format!("/{n}"))).await.has_status(200);
    }
    let held = larder.metric("cache_memory_bytes", &[("cache_layer", "L1")]).await;
    assert!(held > 0 && held <= 2 * 1024 * 1024, "{held} bytes");
    let evicted = larder.metric("cache_evictions_total", &[("cache_layer", "L1")]).await;
    assert!(evicted >= 40, "{evicted} evictions");
}

#[tokio::test]
async fn a_corrupt_entry_in_redis_is_a_miss() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let mut larder = all_to(&origin).redis(redis.port()).start().await;
    for nonsense in ["", "nonsense", "\u{1}\u{2}\u{3}\u{4}"] {
        get(larder.url("/x")).await.says("hello");
        let key = until("it is in Redis", async || redis.keys("cache:*").await.pop()).await;
        larder.stop().await;
        redis.run(&["SET", &key, nonsense, "EX", "100"]).await;
        larder.start_again().await;
        get(larder.url("/x")).await.is("MISS", "ORIGIN").says("hello");
    }
}

#[tokio::test]
async fn one_bit_that_flipped_in_redis_is_a_miss() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello ".repeat(200)));
    let mut larder = all_to(&origin).redis(redis.port()).start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    let key = until("it is in Redis", async || redis.keys("cache:*").await.pop()).await;
    larder.stop().await;
    let flip = "local kept = redis.call('HGET', KEYS[1], '0') \
        return redis.call('HSET', KEYS[1], '0', kept:sub(1, 900) .. 'Z' .. kept:sub(902))";
    redis.run(&["EVAL", flip, "1", &key]).await;
    larder.start_again().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN").says(&"hello ".repeat(200));
}

#[tokio::test]
async fn a_killed_instance_loses_no_purge_and_serves_no_wrong_byte_from_disk() {
    let directory = TempDir::new().unwrap();
    let origin = Origin::start().await;
    origin.with("*", |asked| fresh(asked.path.repeat(500)));
    let mut larder = all_to(&origin).disk(directory.path()).start().await;
    for round in 0..3 {
        for n in 0..50 {
            let path = format!("/{round}/{n}");
            get(larder.url(&path)).await.has_status(200).says(&path.repeat(500));
        }
        larder.kill();
        larder.start_again().await;
        for n in 0..50 {
            let path = format!("/{round}/{n}");
            get(larder.url(&path)).await.has_status(200).says(&path.repeat(500));
        }
    }
}

#[tokio::test]
async fn a_layer_that_a_route_leaves_out_is_not_used() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("/x", ok("hello"));
    let mut larder =
        all_to(&origin).redis(redis.port()).route("ttl: 1m").route("layers: [l1]").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    get(larder.url("/x")).await.is("HIT", "L1");
    restart(&mut larder).await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    assert!(redis.keys("cache:*").await.is_empty());
}
