//! A layer is turned off and on again while Larder runs: at once, on this instance, and without losing a purge.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::answer::{Gate, fresh};
use crate::support::client::{get, post};
use crate::support::larder::{Larder, run};
use crate::support::origin::Origin;
use crate::support::redis::RedisServer;
use crate::support::reply::Reply;
use crate::support::until;
use crate::support::yaml::all_to;

/// The key must not depend on the instance's own port.
const HOST: &str = "shop.example";

async fn ask(larder: &Larder, path: &str) -> Reply {
    get(larder.url(path)).with("Host", HOST).await
}

async fn turn(larder: &Larder, what: Value) -> Value {
    let asked = post(larder.admin("/admin/layers")).with("Content-Type", "application/json");
    asked.body(what.to_string()).await.has_status(200).json()
}

async fn layer_on(larder: &Larder, layer: &str) -> u64 {
    larder.metric("larder_layer_on", &[("cache_layer", layer)]).await
}

async fn until_in_redis(redis: &RedisServer, keys: usize) {
    until("the entries are in Redis", async || {
        (redis.keys("cache:*").await.len() == keys).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_l2_memory_goes_on_and_redis_is_neither_read_nor_written_nor_waited_for() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = all_to(&origin).redis(redis.port()).start().await;
    ask(&larder, "/x").await.is("MISS", "ORIGIN");
    until_in_redis(&redis, 1).await;
    let told = turn(&larder, json!({"l2": "off", "reason": "a test"})).await;
    assert_eq!(told["l2"], json!({"switch": "off", "store": "redis"}), "{told}");
    assert_eq!(told["l1"], json!({"switch": "on", "store": "memory"}), "{told}");
    ask(&larder, "/x").await.is("HIT", "L1");
    let leases = larder.metric("larder_leases_taken_total", &[]).await;
    let reads =
        |stats: &str| stats.lines().find(|line| line.contains("_hmget:")).map(str::to_owned);
    let before = reads(&redis.text(&["INFO", "commandstats"]).await);
    ask(&larder, "/y").await.is("MISS", "ORIGIN");
    ask(&larder, "/y").await.is("HIT", "L1");
    assert_eq!(reads(&redis.text(&["INFO", "commandstats"]).await), before, "Redis was read");
    assert_eq!(larder.metric("larder_leases_taken_total", &[]).await, leases);
    assert_eq!((layer_on(&larder, "L1").await, layer_on(&larder, "L2").await), (1, 0));
    turn(&larder, json!({"l2": "on"})).await;
    ask(&larder, "/z").await.is("MISS", "ORIGIN");
    // What is written later stands behind what would have been.
    until_in_redis(&redis, 2).await;
    assert_eq!(layer_on(&larder, "L2").await, 1);
}

#[tokio::test]
async fn without_l1_redis_answers_and_memory_is_empty() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let larder = all_to(&origin).redis(redis.port()).start().await;
    ask(&larder, "/x").await.is("MISS", "ORIGIN");
    until_in_redis(&redis, 1).await;
    turn(&larder, json!({"l1": "off"})).await;
    for _ in 0..3 {
        ask(&larder, "/x").await.is("HIT", "L2").says("hello");
    }
    assert_eq!(larder.metric("cache_keys_total", &[("cache_layer", "L1")]).await, 0);
    // What is on already stays as it is.
    turn(&larder, json!({"l1": "on"})).await;
    ask(&larder, "/x").await.is("HIT", "L2");
    turn(&larder, json!({"l1": "on"})).await;
    ask(&larder, "/x").await.is("HIT", "L1");
    assert_eq!(origin.count("/x"), 1);
}

#[tokio::test]
async fn what_was_purged_while_a_layer_was_off_stays_gone_when_it_is_on_again() {
    let redis = RedisServer::start().await;
    let disk = TempDir::new().unwrap();
    for yaml in [
        (|origin, redis: &RedisServer, _: &TempDir| all_to(origin).redis(redis.port()))
            as fn(&Origin, &RedisServer, &TempDir) -> crate::support::yaml::Yaml,
        |origin, _, disk| all_to(origin).disk(disk.path()),
    ] {
        for layer in ["l1", "l2"] {
            let origin = Origin::start().await;
            let path = format!("/{layer}");
            origin.on(&path, fresh("old").field("Surrogate-Key", "t"));
            let mut larder = yaml(&origin, &redis, &disk).start().await;
            ask(&larder, &path).await.is("MISS", "ORIGIN");
            // What is in both layers, flushed on the way.
            larder.restart().await;
            ask(&larder, &path).await.is("HIT", "L2").says("old");
            turn(&larder, json!({ layer: "off" })).await;
            origin.on(&path, fresh("new").field("Surrogate-Key", "t"));
            larder.purges(json!({"tags": ["t"]})).await;
            turn(&larder, json!({ layer: "on" })).await;
            ask(&larder, &path).await.is("MISS", "ORIGIN").says("new");
            larder.stop().await;
        }
    }
}

#[tokio::test]
async fn what_memory_got_while_l2_was_off_is_not_undone_by_what_l2_held() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.script("/x", [fresh("old"), fresh("new")]);
    let yaml = all_to(&origin).redis(redis.port()).top("l1: { max_ttl: 1ms }");
    let larder = yaml.start().await;
    ask(&larder, "/x").await.is("MISS", "ORIGIN").says("old");
    until_in_redis(&redis, 1).await;
    let [key] = &redis.keys("cache:*").await[..] else { panic!("one URL was stored") };
    let older = redis.run(&["HGETALL", key]).await;
    turn(&larder, json!({"l2": "off"})).await;
    get(larder.url("/x")).with("Host", HOST).with("Cache-Control", "no-cache").await.says("new");
    ask(&larder, "/x").await.is("HIT", "L1").says("new");
    turn(&larder, json!({"l2": "on"})).await;
    until("Redis has the newer one", async || {
        ask(&larder, "/x").await.has_status(200).says("new");
        (redis.run(&["HGETALL", key]).await != older).then_some(())
    })
    .await;
    // What memory holds is forgotten with it: whoever asks then gets what Redis has.
    turn(&larder, json!({"l1": "off"})).await;
    ask(&larder, "/x").await.is("HIT", "L2").says("new");
}

#[tokio::test]
async fn with_all_layers_off_requests_pass_and_say_why_and_writes_still_purge() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("/x", fresh("old"));
    let yaml = all_to(&origin).redis(redis.port());
    let (one, two) = (yaml.start().await, yaml.start().await);
    ask(&one, "/x").await.is("MISS", "ORIGIN");
    until_in_redis(&redis, 1).await;
    ask(&two, "/x").await.is("HIT", "L2");
    turn(&one, json!({"l1": "off", "l2": "off"})).await;
    for _ in 0..2 {
        let reply = ask(&one, "/x").await;
        reply.is("BYPASS", "ORIGIN").has("cache-status", "larder; fwd=bypass; detail=layers-off");
    }
    assert_eq!(one.metric("larder_layers_off_passed_total", &[]).await, 2);
    // The other instance is not asked.
    ask(&two, "/x").await.is("HIT", "L1").says("old");
    origin.on("/x", fresh("new"));
    post(one.url("/x")).with("Host", HOST).await.has_status(200);
    until("the write purged it everywhere", async || {
        (ask(&two, "/x").await.text() == "new").then_some(())
    })
    .await;
    turn(&one, json!({"l1": "on", "l2": "on"})).await;
    assert_eq!(ask(&one, "/x").await.text(), "new");
}

#[tokio::test]
async fn what_arrives_when_a_layer_is_turned_off_is_not_kept_there() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/x", fresh("").chunk("hel").pause(&gate).chunk("lo"));
    let larder = all_to(&origin).start().await;
    let url = larder.url("/x");
    let client = crate::support::beside(async move { get(url).await.text().to_owned() });
    origin.seen("/x", 1).await;
    turn(&larder, json!({"l1": "off"})).await;
    gate.open();
    assert_eq!(client.await.unwrap(), "hello");
    until("the flight has landed", async || {
        (larder.metric("larder_flights", &[]).await == 0).then_some(())
    })
    .await;
    assert_eq!(larder.metric("cache_keys_total", &[("cache_layer", "L1")]).await, 0);
    turn(&larder, json!({"l1": "on"})).await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
}

#[tokio::test]
async fn who_turned_what_is_in_the_audit_log_and_a_restart_turns_everything_on() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let token = "admin: { tokens: [ { name: ops, secret: s3cret, scopes: [read, config] }, { name: ci, secret: other, scopes: [read, purge] } ] }";
    let mut larder = all_to(&origin).top(token).start().await;
    let ask = async |secret: &str, what: Value| {
        post(larder.admin("/admin/layers"))
            .with("Content-Type", "application/json")
            .with("Authorization", format!("Bearer {secret}"))
            .body(what.to_string())
            .await
    };
    ask("other", json!({"l1": "off"})).await.is_problem(403);
    for (what, says) in [
        (json!({}), "name a layer"),
        (json!({"l2": "off"}), "has no l2"),
        (json!({"l1": "of"}), "unknown variant `of`"),
        (json!({"l3": "off"}), "unknown field `l3`"),
    ] {
        let reply = ask("s3cret", what).await;
        assert!(reply.is_problem(422).text().contains(says), "{reply:?}");
    }
    ask("s3cret", json!({"l1": "off", "reason": "too \"hot\""})).await.has_status(200);
    let line = larder
        .errors()
        .find("the audit's line", |line| line.contains("larder::audit").then(|| line.to_owned()))
        .await
        .unwrap();
    for part in ["a layer was turned off", "l1", "ops", "127.0.0.1", "hot"] {
        assert!(line.contains(part), "{part} is missing: {line}");
    }
    larder.restart().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    get(larder.url("/x")).await.is("HIT", "L1");
}

#[tokio::test]
async fn the_command_shows_and_turns_layers() {
    let origin = Origin::start().await;
    let disk = TempDir::new().unwrap();
    let larder = all_to(&origin).disk(disk.path()).start().await;
    let home = TempDir::new().unwrap();
    let admin = larder.admin("");
    let said = async |arguments: &[&str]| {
        let output = run(home.path(), &[&["layers", "--admin", &admin], arguments].concat()).await;
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let scope = "on this instance only, until it is told otherwise or restarts\n";
    let rows = |l1, l2| (Some(0), format!("l1 (memory): {l1}\nl2 (disk): {l2}\n{scope}"));
    assert_eq!(said(&[]).await, rows("on", "on"));
    assert_eq!(said(&["--l2", "off", "--reason", "a test"]).await, rows("on", "off"));
    assert_eq!(said(&["--l1", "off", "--l2", "on"]).await, rows("off", "on"));
    let (code, json) = said(&["--json"]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["l1"]["switch"]), (Some(0), &json!("off")), "{json}");
    let page = get(&admin).await;
    assert!(page.text().contains("<td>L1</td><td>off</td>"), "{}", page.text());
    let stats = get(larder.admin("/admin/cache/stats")).await.json();
    assert_eq!(
        (&stats["layers"]["l1"]["on"], &stats["layers"]["l2"]["on"]),
        (&json!(false), &json!(true))
    );
}
