//! A route is rolled out by keys: the same ones on every instance, and the others pass as if no cache were there.

use std::collections::BTreeSet;

use serde_json::json;
use tempfile::TempDir;

use crate::support::answer::{Crowd, fresh};
use crate::support::client::{get, post};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::until;
use crate::support::yaml::all_to;

/// The key must not depend on the instance's own port.
const HOST: &str = "shop.example";
const PATHS: usize = 60;

/// The paths that are cached.
async fn cached(larder: &Larder) -> BTreeSet<usize> {
    let mut cached = BTreeSet::new();
    for number in 0..PATHS {
        let reply = get(larder.url(&format!("/{number}"))).with("Host", HOST).await;
        match reply.has_status(200).outcome() {
            "BYPASS" => {
                reply.has("cache-status", "larder; fwd=bypass; detail=rollout");
            }
            _ => {
                cached.insert(number);
            }
        }
    }
    cached
}

#[tokio::test]
async fn instances_and_restarts_agree_on_the_keys_and_more_percent_only_add_to_them() {
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let yaml = |percent: &str| all_to(&origin).route(&format!("rollout: {percent}"));
    let mut one = yaml("30%").start().await;
    let first = cached(&one).await;
    assert!((5..40).contains(&first.len()), "{first:?}");
    let passed = one.metric("larder_rollout_passed_total", &[]).await;
    assert_eq!(passed, (PATHS - first.len()) as u64);
    assert_eq!(cached(&yaml("30%").start().await).await, first);
    one.restart().await;
    assert_eq!(cached(&one).await, first);
    one.rewrite(&yaml("70%").text());
    let more = until("the rollout goes on", async || {
        let now = cached(&one).await;
        (now != first).then_some(now)
    })
    .await;
    assert!(more.is_superset(&first) && more.len() < PATHS, "{first:?} {more:?}");
    for path in &first {
        get(one.url(&format!("/{path}"))).with("Host", HOST).await.is("HIT", "L1");
    }
    assert_eq!(cached(&yaml("0%").start().await).await.len(), 0);
    assert_eq!(cached(&yaml("100%").start().await).await.len(), PATHS);
}

#[tokio::test]
async fn what_is_not_rolled_out_does_not_coalesce_and_is_not_kept() {
    let origin = Origin::start().await;
    let crowd = Crowd::of(5);
    origin.on("/x", fresh("hello").with_crowd(&crowd));
    let larder = all_to(&origin).route("rollout: 0%").start().await;
    let asking = (0..5).map(|_| async { get(larder.url("/x")).await });
    for reply in futures_util::future::join_all(asking).await {
        reply.is("BYPASS", "ORIGIN").says("hello");
    }
    assert_eq!(origin.count("/x"), 5);
    assert_eq!(larder.metric("cache_keys_total", &[("cache_layer", "L1")]).await, 0);
}

#[tokio::test]
async fn a_query_that_is_keyed_by_its_content_passes_whole_and_purges_nothing() {
    let origin = Origin::start().await;
    origin.with("/search", |asked| fresh(asked.body().len().to_string()));
    let larder = all_to(&origin)
        .route("key: { body: { of: [POST], format: json } }")
        .route("rollout: 0%")
        .start()
        .await;
    let body = "{ \"b\": 1,\n  \"a\": 2 }";
    let reply =
        post(larder.url("/search")).with("Content-Type", "application/json").body(body).await;
    reply.is("BYPASS", "ORIGIN").has_status(200);
    let asked = origin.requests("/search").remove(0);
    let sent: serde_json::Value = serde_json::from_slice(&asked.body()).unwrap();
    assert_eq!(sent, json!({"a": 2, "b": 1}));
    assert_eq!(asked.field("content-length"), asked.body().len().to_string());
    assert_eq!(larder.metric("larder_ledger_purges", &[]).await, 0);
}

#[tokio::test]
async fn purges_and_writes_hold_for_what_was_cached_before_the_rollout_was_taken_back() {
    let origin = Origin::start().await;
    origin.on("/purged", fresh("old"));
    origin.on("/written", fresh("old"));
    origin.on("/kept", fresh("old"));
    let disk = TempDir::new().unwrap();
    let yaml = |percent: &str| {
        all_to(&origin).disk(disk.path()).route(&format!("rollout: {percent}")).text()
    };
    let larder = Larder::start(&yaml("100%")).await;
    let paths = ["/purged", "/written", "/kept"];
    for path in paths {
        get(larder.url(path)).await.is("MISS", "ORIGIN");
    }
    larder.rewrite(&yaml("0%"));
    until("the rollout is taken back", async || {
        (get(larder.url("/kept")).await.outcome() == "BYPASS").then_some(())
    })
    .await;
    for path in paths {
        origin.on(path, fresh("new"));
        get(larder.url(path)).await.is("BYPASS", "ORIGIN").says("new");
    }
    larder.purges(json!({"urls": [larder.url("/purged")]})).await;
    post(larder.url("/written")).await.is("BYPASS", "ORIGIN");
    larder.rewrite(&yaml("100%"));
    until("the rollout goes on", async || {
        (get(larder.url("/kept")).await.outcome() == "HIT").then_some(())
    })
    .await;
    get(larder.url("/kept")).await.is("HIT", "L1").says("old");
    for path in ["/purged", "/written"] {
        get(larder.url(path)).await.is("MISS", "ORIGIN").says("new");
    }
}
