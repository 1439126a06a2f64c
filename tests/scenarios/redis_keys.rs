//! What a fleet leaves in Redis: keys of its own alone, each with an end, and no index.
//!
//! The long form, with a load, is `load-tests/redis-keys`.

use std::collections::BTreeSet;
use std::future::IntoFuture;

use serde_json::json;

use crate::support::answer::{Gate, fresh, status};
use crate::support::beside;
use crate::support::client::{get, post};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::redis::RedisServer;
use crate::support::yaml::all_to;

/// The key must not depend on the instance's own port.
const HOST: &str = "shop.example";
const FOREIGN: &str = "somebody:else";

/// What docs/operations.md says is there, and of which type.
const KINDS: [(&str, &str); 6] = [
    ("cache:default:", "hash"),
    ("larder:default:lease:", "string"),
    ("larder:{default}:purges", "stream"),
    ("larder:{default}:log", "hash"),
    ("larder:{default}:instances", "hash"),
    ("larder:{default}:swe", "string"),
];

/// Looks at every key; returns the kinds that were there.
async fn kinds_of_keys(redis: &RedisServer) -> BTreeSet<&'static str> {
    let mut seen = BTreeSet::new();
    for key in redis.keys("*").await {
        if key == FOREIGN {
            continue;
        }
        let left = redis.seconds_left(&key).await;
        if left == -2 {
            continue;
        }
        assert!(left >= 0, "{key} has no end");
        let found = redis.text(&["TYPE", &key]).await;
        let kind = KINDS.iter().find(|(prefix, _)| key.starts_with(prefix));
        let (prefix, expected) = kind.unwrap_or_else(|| panic!("{key} is not ours to make"));
        assert!(found == *expected || found == "none", "{key} is a {found}");
        seen.insert(*prefix);
    }
    seen
}

/// Reads of every kind.
async fn read(larder: &Larder) {
    for n in 0..10 {
        get(larder.url(&format!("/{n}"))).with("Host", HOST).await.has_status(200);
    }
    for language in ["de", "en"] {
        let ask = get(larder.url("/tongue")).with("Host", HOST);
        ask.with("Accept-Language", language).await.has_status(200);
    }
    get(larder.url("/missing")).with("Host", HOST).await.has_status(404);
    get(larder.url("/brief")).with("Host", HOST).await.has_status(200);
}

#[tokio::test]
async fn every_key_is_ours_and_ends_by_itself() {
    let redis = RedisServer::start().await;
    redis.run(&["SET", FOREIGN, "untouched"]).await;
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("*", fresh("hello").field("Surrogate-Key", "t"));
    origin.on("/tongue", fresh("hello").field("Vary", "Accept-Language"));
    origin.on("/missing", status(404).field("Cache-Control", "max-age=60"));
    let brief = "max-age=1, stale-while-revalidate=9";
    origin.on("/brief", fresh("hello").field("Cache-Control", brief));
    origin.on("/held", fresh("hello").held(&gate));
    let yaml = all_to(&origin).redis(redis.port()).route("on_write: { purge: [ \"tag:t\" ] }");
    let mut fleet = [yaml.start().await, yaml.start().await];
    let held = beside(get(fleet[0].url("/held")).into_future());
    origin.seen("/held", 1).await;
    let mut seen = kinds_of_keys(&redis).await;
    gate.open();
    held.await.unwrap().has_status(200);
    for what in [json!({"tags": ["t"], "soft": true}), json!({"prefixes": ["/1"]})] {
        for larder in &fleet {
            read(larder).await;
            seen.append(&mut kinds_of_keys(&redis).await);
        }
        post(fleet[1].url("/3")).with("Host", HOST).body("new").await.has_status(200);
        fleet[1].purge(what).await.has_status(200);
        fleet[1].restart().await;
        seen.append(&mut kinds_of_keys(&redis).await);
    }
    for (prefix, _) in &KINDS[..5] {
        assert!(seen.contains(prefix), "no key {prefix}… was ever seen, only {seen:?}");
    }
    assert_eq!(redis.text(&["GET", FOREIGN]).await, "untouched");
}
