//! Events from a Redis stream are purged by the fleet, each at least once, also those that came while nobody was there.

use serde_json::json;

use crate::support::answer::fresh;
use crate::support::client::get;
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::redis::RedisServer;
use crate::support::until;
use crate::support::yaml::{Yaml, all_to};

const STREAM: &str = "app:events";

fn yaml(origin: &Origin, redis: &RedisServer) -> Yaml {
    let mut version = 0;
    origin.with("*", move |asked| {
        version += 1;
        fresh(format!("v{version}")).field("Surrogate-Key", format!("user:{}", &asked.path[1..]))
    });
    all_to(origin)
        .redis(redis.port())
        .top("intake: { stream: \"app:events\" }")
        .top("events: { user.updated: { purge: [ \"tag:user:{id}\" ] } }")
}

async fn add(redis: &RedisServer, event: &str, data: &str) {
    redis.run(&["XADD", STREAM, "*", "event", event, "data", data]).await;
}

async fn is_stored(larder: &Larder, path: &str) -> bool {
    get(larder.url(path)).with("Host", "shop.example").await.outcome() == "HIT"
}

async fn store(larder: &Larder, path: &str) {
    until("it is stored", async || is_stored(larder, path).await.then_some(())).await;
}

/// The group stands; what is added from now on is taken.
async fn joined(redis: &RedisServer) {
    until("the fleet reads the stream", async || {
        let found = redis.run(&["EXISTS", STREAM]).await;
        redis::from_redis_value::<bool>(found).unwrap().then_some(())
    })
    .await;
}

async fn events(larder: &Larder) -> u64 {
    larder.metric("larder_events_total", &[]).await
}

#[tokio::test]
async fn each_event_is_taken_by_one_instance_and_purges_on_all() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    let yaml = yaml(&origin, &redis);
    let (one, two) = (yaml.start().await, yaml.start().await);
    joined(&redis).await;
    for larder in [&one, &two] {
        store(larder, "/7").await;
        store(larder, "/8").await;
    }
    let says = async |larder: &Larder, path: &str| {
        get(larder.url(path)).with("Host", "shop.example").await.text().to_owned()
    };
    let (seven, eight) = (says(&one, "/7").await, says(&one, "/8").await);
    add(&redis, "user.updated", "{\"id\": 7}").await;
    for larder in [&one, &two] {
        until("it is purged there", async || (says(larder, "/7").await != seven).then_some(()))
            .await;
        assert_eq!(says(larder, "/8").await, eight);
    }
    assert_eq!(events(&one).await + events(&two).await, 1);
}

#[tokio::test]
async fn what_came_while_nobody_was_there_is_taken_after_the_start_and_once() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    let mut larder = yaml(&origin, &redis).start().await;
    joined(&redis).await;
    store(&larder, "/7").await;
    larder.stop().await;
    add(&redis, "user.updated", "{\"id\": 7}").await;
    larder.start_again().await;
    until("the event is taken", async || (events(&larder).await == 1).then_some(())).await;
    until("the event is forgotten", async || {
        let pending = redis.run(&["XPENDING", STREAM, "larder:default"]).await;
        format!("{pending:?}").starts_with("array([int(0)").then_some(())
    })
    .await;
    let audit = get(larder.admin("/admin/audit")).await.json();
    assert_eq!(audit["purges"][0]["event"], "user.updated", "{audit}");
    assert_eq!(audit["purges"][0]["purged"], json!(["tag user:7"]), "{audit}");
    larder.restart().await;
    add(&redis, "other", "{}").await;
    until("another is taken", async || (events(&larder).await >= 1).then_some(())).await;
    assert_eq!(events(&larder).await, 1);
}

#[tokio::test]
async fn what_is_not_understood_is_told_and_holds_up_nothing() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    let larder = yaml(&origin, &redis).start().await;
    joined(&redis).await;
    store(&larder, "/7").await;
    add(&redis, "user.updated", "{}").await;
    add(&redis, "user.updated", "not json").await;
    redis.run(&["XADD", STREAM, "*", "else", "x"]).await;
    add(&redis, "unknown", "{}").await;
    add(&redis, "user.updated", "{\"id\": 7}").await;
    until("it is purged", async || (!is_stored(&larder, "/7").await).then_some(())).await;
    assert_eq!(larder.metric("larder_events_refused_total", &[]).await, 3);
}

#[tokio::test]
async fn a_stream_that_was_lost_is_read_from_its_new_beginning() {
    let mut redis = RedisServer::start().await;
    let origin = Origin::start().await;
    let larder = yaml(&origin, &redis).start().await;
    joined(&redis).await;
    redis.restart().await;
    add(&redis, "user.updated", "{\"id\": 7}").await;
    until("the event is taken", async || (events(&larder).await == 1).then_some(())).await;
}
