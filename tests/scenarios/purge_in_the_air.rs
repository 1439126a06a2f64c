//! A fetch that began before a purge never answers, joins or overwrites what began after it.

use serde_json::json;

use crate::support::answer::{Gate, fresh};
use crate::support::client::get;
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::redis::RedisServer;
use crate::support::yaml::all_to;
use crate::support::{beside, until};

/// The first answer is old and held; every later one is new.
fn old_then_new(origin: &Origin, path: &str, gate: &Gate) {
    let tagged = |body: &'static str| {
        fresh(body).field("Surrogate-Key", "t").field("ETag", format!("\"{body}\""))
    };
    origin.script(path, [tagged("old").held(gate), tagged("new")]);
}

async fn always_new(larder: &Larder, path: &str) {
    for _ in 0..5 {
        get(larder.url(path)).await.has_status(200).says("new");
    }
    get(larder.url(path)).await.is("HIT", "L1").says("new");
}

#[tokio::test]
async fn a_request_after_the_purge_does_not_join_the_flight_before_it() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    old_then_new(&origin, "/x", &gate);
    let larder = all_to(&origin).start().await;
    let before = beside(get(larder.url("/x")).into_future());
    origin.seen("/x", 1).await;
    larder.purges(json!({"urls": [larder.url("/x")]})).await;
    get(larder.url("/x")).await.has_status(200).says("new");
    assert_eq!(origin.count("/x"), 2);
    gate.open();
    before.await.unwrap().has_status(200).says("old");
    always_new(&larder, "/x").await;
}

#[tokio::test]
async fn a_flight_that_lands_after_the_purge_leaves_nothing() {
    for what in [json!({"tags": ["t"]}), json!({"routes": ["all"]}), json!({"everything": true})] {
        let origin = Origin::start().await;
        let gate = Gate::closed();
        old_then_new(&origin, "/x", &gate);
        let larder = all_to(&origin).start().await;
        let before = beside(get(larder.url("/x")).into_future());
        origin.seen("/x", 1).await;
        larder.purges(what.clone()).await;
        gate.open();
        before.await.unwrap().says("old");
        let after = get(larder.url("/x")).await;
        assert_eq!(after.text(), "new", "after {what}");
        always_new(&larder, "/x").await;
    }
}

#[tokio::test]
async fn a_request_that_waits_while_a_purged_flight_lands_gets_the_new_answer() {
    let prefix = |larder: &Larder| json!({"prefixes": [larder.url("/")]});
    let scopes: [fn(&Larder) -> serde_json::Value; 3] =
        [|_| json!({"tags": ["t"]}), prefix, |_| json!({"everything": true})];
    for scope in scopes {
        let origin = Origin::start().await;
        let gate = Gate::closed();
        old_then_new(&origin, "/x", &gate);
        let larder = all_to(&origin).start().await;
        let before = beside(get(larder.url("/x")).into_future());
        origin.seen("/x", 1).await;
        let what = scope(&larder);
        larder.purges(what.clone()).await;
        let after = beside(get(larder.url("/x")).into_future());
        // Whether it waits for the flight's head or goes by itself: both are right, the old answer is not.
        gate.open();
        assert_eq!(after.await.unwrap().text(), "new", "after {what}");
        before.await.unwrap().says("old");
        always_new(&larder, "/x").await;
    }
}

#[tokio::test]
async fn a_body_still_arriving_is_not_joined_after_its_purge() {
    let scopes = |larder: &Larder| {
        [json!({"urls": [larder.url("/x")]}), json!({"tags": ["t"]}), json!({"everything": true})]
    };
    for n in 0..3 {
        let origin = Origin::start().await;
        let gate = Gate::closed();
        let old = fresh("old, first, ").field("Surrogate-Key", "t").pause(&gate).chunk("old, last");
        origin.script("/x", [old, fresh("new").field("Surrogate-Key", "t")]);
        let larder = all_to(&origin).start().await;
        let mut before = get(larder.url("/x")).open().await;
        assert_eq!(before.at_least(12).await, b"old, first, ");
        let what = scopes(&larder)[n].clone();
        larder.purges(what.clone()).await;
        let after = get(larder.url("/x")).await;
        assert_eq!(after.text(), "new", "after {what}");
        gate.open();
        assert_eq!(before.rest().await.unwrap(), "old, last");
        always_new(&larder, "/x").await;
    }
}

#[tokio::test]
async fn a_refresh_that_began_before_a_purge_does_not_bring_the_old_back() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let tagged = |body: &'static str| fresh(body).field("Surrogate-Key", "t");
    origin.script("/x", [tagged("first"), tagged("old").held(&gate), tagged("new")]);
    let larder = all_to(&origin).route("stale_while_revalidate: 1m").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN").says("first");
    larder.purges(json!({"tags": ["t"], "soft": true})).await;
    get(larder.url("/x")).await.is("STALE", "L1").says("first");
    origin.seen("/x", 2).await;
    larder.purges(json!({"tags": ["t"]})).await;
    let after = beside(get(larder.url("/x")).into_future());
    gate.open();
    after.await.unwrap().says("new");
    always_new(&larder, "/x").await;
}

#[tokio::test]
async fn a_304_for_an_entry_purged_meanwhile_does_not_renew_it() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let old = fresh("old").field("ETag", "\"old\"").field("Surrogate-Key", "t");
    let unchanged = crate::support::answer::status(304)
        .field("ETag", "\"old\"")
        .field("Cache-Control", "max-age=60");
    origin.script("/x", [old, unchanged.held(&gate), fresh("new")]);
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).await.says("old");
    larder.purges(json!({"urls": [larder.url("/x")], "soft": true})).await;
    let validating = beside(get(larder.url("/x")).into_future());
    origin.seen("/x", 2).await;
    larder.purges(json!({"urls": [larder.url("/x")]})).await;
    let after = beside(get(larder.url("/x")).into_future());
    gate.open();
    after.await.unwrap().has_status(200).says("new");
    validating.await.unwrap().has_status(200);
    always_new(&larder, "/x").await;
}

#[tokio::test]
async fn a_write_to_redis_that_comes_late_is_not_believed() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    let gate = Gate::closed();
    old_then_new(&origin, "/x", &gate);
    let mut larder = all_to(&origin).redis(redis.port()).start().await;
    let before = beside(get(larder.url("/x")).into_future());
    origin.seen("/x", 1).await;
    larder.purges(json!({"tags": ["t"]})).await;
    gate.open();
    before.await.unwrap().says("old");
    larder.restart().await;
    get(larder.url("/x")).await.has_status(200).says("new");
    until("the new one is in Redis", async || {
        (!redis.keys("cache:*").await.is_empty()).then_some(())
    })
    .await;
    larder.restart().await;
    get(larder.url("/x")).await.says("new");
}

#[tokio::test]
async fn an_invalidating_write_beats_a_read_in_the_air() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let held = gate.clone();
    let mut reads = 0;
    origin.with("/x", move |asked| {
        if asked.method != "GET" {
            return crate::support::answer::status(204);
        }
        reads += 1;
        if reads == 1 { fresh("old").held(&held) } else { fresh("new") }
    });
    let larder = all_to(&origin).start().await;
    let before = beside(get(larder.url("/x")).into_future());
    origin.seen("/x", 1).await;
    crate::support::client::post(larder.url("/x")).body("{}").await.has_status(204);
    get(larder.url("/x")).await.says("new");
    gate.open();
    before.await.unwrap().says("old");
    always_new(&larder, "/x").await;
}
