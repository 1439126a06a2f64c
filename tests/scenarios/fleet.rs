//! Two instances on one Redis share what they store and obey each other's purges.

use std::time::Duration;

use serde_json::json;

use crate::support::answer::fresh;
use crate::support::client::get;
use crate::support::faults::{FaultProxy, Weather};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::redis::RedisServer;
use crate::support::until;
use crate::support::yaml::all_to;

/// The key must not depend on the instance's own port.
const HOST: &str = "shop.example";

async fn ask(larder: &Larder, path: &str) -> crate::support::reply::Reply {
    get(larder.url(path)).with("Host", HOST).await
}

/// Asks until memory has it, so that a purge has something to beat there.
async fn until_in_memory(larder: &Larder, path: &str) {
    until("the entry is in memory", async || {
        let reply = ask(larder, path).await;
        ((reply.outcome(), reply.layer()) == ("HIT", "L1")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_one_fetched_the_other_finds() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let yaml = all_to(&origin).redis(redis.port());
    let (one, two) = (yaml.start().await, yaml.start().await);
    ask(&one, "/x").await.is("MISS", "ORIGIN");
    until("the entry is in Redis", async || {
        (!redis.keys("cache:*").await.is_empty()).then_some(())
    })
    .await;
    ask(&two, "/x").await.is("HIT", "L2").says("hello");
    ask(&two, "/x").await.is("HIT", "L1");
    assert_eq!(origin.count("/x"), 1);
}

#[tokio::test]
async fn after_a_complete_receipt_no_instance_serves_the_old_content() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    let yaml = all_to(&origin).redis(redis.port()).top("purge: { lease: 2s }");
    let (one, two) = (yaml.start().await, yaml.start().await);
    let scopes = [
        json!({"urls": [format!("http://{HOST}/x")]}),
        json!({"tags": ["t"]}),
        json!({"prefixes": [format!("http://{HOST}/")]}),
        json!({"routes": ["all"]}),
        json!({"everything": true}),
    ];
    for mut what in scopes {
        origin.on("/x", fresh("old").field("Surrogate-Key", "t"));
        for instance in [&one, &two] {
            until_in_memory(instance, "/x").await;
        }
        origin.on("/x", fresh("new").field("Surrogate-Key", "t"));
        what["wait"] = json!("all");
        what["timeout"] = json!("10s");
        let receipt = one.purge(what.clone()).await;
        let receipt = receipt.has_status(200).json();
        assert_eq!(receipt["complete"], true, "{receipt}");
        assert_eq!(receipt["instances"].as_array().map(Vec::len), Some(2), "{receipt}");
        for instance in [&one, &two] {
            let reply = ask(instance, "/x").await;
            assert_eq!(reply.text(), "new", "after {what}");
        }
        one.purges(json!({"everything": true, "wait": "all", "timeout": "10s"})).await;
    }
}

#[tokio::test]
async fn an_instance_that_is_cut_off_is_named_and_stops_vouching_when_its_lease_ends() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("/x", fresh("old"));
    let faults = FaultProxy::before(redis.port()).await;
    let lease = "purge: { when_detached: validate, lease: 2s }";
    let one = all_to(&origin).redis(redis.port()).top(lease).start().await;
    let two = all_to(&origin).redis(faults.port()).top(lease).start().await;
    for instance in [&one, &two] {
        until_in_memory(instance, "/x").await;
    }
    faults.turns(Weather::BlackHole);
    origin.on("/x", fresh("new"));
    let what = json!({"urls": [format!("http://{HOST}/x")], "wait": "all", "timeout": "1s"});
    let receipt = one.purge(what).await;
    let receipt = receipt.has_status(200).json();
    assert_eq!(receipt["complete"], false, "{receipt}");
    let silent = receipt["instances"]
        .as_array()
        .unwrap()
        .iter()
        // The log is young: who followed one before it would be waited for as well.
        .filter(|instance| !instance["id"].as_str().unwrap().starts_with("before-"))
        .filter(|instance| instance["applied"] == false);
    assert_eq!(silent.count(), 1, "{receipt}");
    ask(&one, "/x").await.says("new");
    // The lease is over some time after the last word from Redis; from then on nothing old is served.
    until("the lone instance has stopped vouching", async || {
        (ask(&two, "/x").await.text() == "new").then_some(())
    })
    .await;
    let receipt = until("the receipt is complete", async || {
        let what = json!({"tags": ["other"], "wait": "all", "timeout": "5s"});
        let reply = one.purge(what).await;
        (reply.json()["complete"] == true).then_some(reply)
    })
    .await;
    receipt.has_status(200);
    for _ in 0..5 {
        ask(&two, "/x").await.has_status(200).says("new");
    }
    faults.turns(Weather::Fair);
    until("the instance takes part again", async || {
        let reply = one.purge(json!({"tags": ["x"], "wait": "all", "timeout": "2s"})).await.json();
        let applied = reply["instances"]
            .as_array()?
            .iter()
            .filter(|instance| instance["applied"] == true)
            .count();
        (applied == 2).then_some(())
    })
    .await;
    ask(&two, "/x").await.says("new");
}

#[tokio::test]
async fn an_instance_that_is_told_to_serve_on_without_the_log_misses_purges_until_it_is_back() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("/x", fresh("old"));
    let faults = FaultProxy::before(redis.port()).await;
    let serve = "purge: { when_detached: serve, lease: 1s }\nl1: { max_ttl: 5m }";
    let one = all_to(&origin).redis(redis.port()).top(serve).start().await;
    let two = all_to(&origin).redis(faults.port()).top(serve).start().await;
    for instance in [&one, &two] {
        until_in_memory(instance, "/x").await;
    }
    faults.turns(Weather::BlackHole);
    origin.on("/x", fresh("new"));
    until("nobody is waited for any more", async || {
        let what = json!({"urls": [format!("http://{HOST}/x")], "wait": "all", "timeout": "5s"});
        (one.purge(what).await.json()["complete"] == true).then_some(())
    })
    .await;
    ask(&one, "/x").await.says("new");
    ask(&two, "/x").await.is("HIT", "L1").says("old");
    faults.turns(Weather::Fair);
    until("the purge is made up for", async || {
        (ask(&two, "/x").await.text() == "new").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_hangs_does_not_hold_up_a_purge_for_ever() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("/x", fresh("x"));
    let yaml = all_to(&origin).redis(redis.port()).top("purge: { lease: 2s }");
    let (one, two) = (yaml.start().await, yaml.start().await);
    until_in_memory(&two, "/x").await;
    crate::support::signal("STOP", two.pid());
    let receipt = one.purge(json!({"everything": true, "wait": "all", "timeout": "15s"})).await;
    crate::support::signal("CONT", two.pid());
    assert!(receipt.took < Duration::from_secs(16), "{receipt:?}");
    receipt.has_status(200);
    origin.on("/x", fresh("new"));
    until("the instance that hung has caught up", async || {
        (ask(&two, "/x").await.text() == "new").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_fleet_is_listed() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    let yaml = all_to(&origin).redis(redis.port()).top("purge: { lease: 2s }");
    let (one, mut two) = (yaml.start().await, yaml.start().await);
    let listed = async |n: usize| {
        until("the fleet is listed", async || {
            let reply = get(one.admin("/admin/instances")).await;
            let text = reply.has_status(200).json();
            let list = text.as_array().or_else(|| text["instances"].as_array())?;
            (list.len() == n).then_some(())
        })
        .await;
    };
    listed(2).await;
    two.stop().await;
    listed(1).await;
}

#[tokio::test]
async fn services_on_one_redis_are_kept_apart() {
    let redis = RedisServer::start().await;
    let (origin, other) = (Origin::start().await, Origin::start().await);
    origin.on("/x", fresh("shop"));
    other.on("/x", fresh("blog"));
    let one = all_to(&origin).redis(redis.port()).top("service: shop").start().await;
    let two = all_to(&other).redis(redis.port()).top("service: blog").start().await;
    ask(&one, "/x").await.is("MISS", "ORIGIN").says("shop");
    until("the entry is in Redis", async || {
        (!redis.keys("cache:shop:*").await.is_empty()).then_some(())
    })
    .await;
    ask(&two, "/x").await.is("MISS", "ORIGIN").says("blog");
    one.purges(json!({"everything": true})).await;
    ask(&two, "/x").await.is("HIT", "L1").says("blog");
}
