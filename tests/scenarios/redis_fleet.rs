//! A Cluster or a master behind Sentinel loses a server: no request fails, hits come back by themselves, purges hold.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::load::{Load, NOISE, until_redis_serves};
use crate::support::answer::fresh;
use crate::support::client::get;
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::redis::RedisServer;
use crate::support::redis_groups::{RedisCluster, SentinelGroup};
use crate::support::until;
use crate::support::yaml::all_to;

/// A living server on a busy machine is not taken for a dead one, a dead one soon is.
const DOWN_AFTER: u32 = 1500;

/// With a deadline of 100 ms; memory forgets at once, so that Redis is asked often.
async fn larder_on(origin: &Origin, servers: &str) -> Larder {
    let redis = format!(
        "l2:\n  redis: {{ {servers}, timeout: 100ms, breaker: {{ failures: 5, open_for: 30s }} }}"
    );
    all_to(origin)
        .top("l1: { max_ttl: 200ms }")
        .top("purge: { lease: 2s }")
        .top(&redis)
        .start()
        .await
}

async fn until_master(server: &RedisServer) {
    until("a replica is the master", async || {
        // A server that changes its role ends its connections.
        let role = server.try_run(&["INFO", "replication"]).await.ok()?;
        let role: String = redis::from_redis_value(role).expect("the answer is text");
        role.contains("role:master").then_some(())
    })
    .await;
}

/// Waits until Redis answers for paths of all masters.
async fn until_all_hit(larder: &Larder) {
    let paths: Vec<String> = (0..30).map(|n| format!("/{n}")).collect();
    join_all(paths.iter().map(|path| until_redis_serves(larder, path))).await;
}

/// The purge is taken, and what it purged is gone.
async fn until_purges_hold(larder: &Larder, origin: &Origin) {
    origin.on("/purged", fresh("old").field("Surrogate-Key", "t"));
    get(larder.url("/purged")).await.has_status(200);
    origin.on("/purged", fresh("new").field("Surrogate-Key", "t"));
    until("purges are taken", async || {
        let reply = larder.purge(json!({"tags": ["t"]})).await;
        (reply.status == 200).then_some(())
    })
    .await;
    get(larder.url("/purged")).await.has_status(200).says("new");
}

/// Every key that Larder writes has a prefix of its own and an end.
async fn keys_are_ours_and_end(servers: &[RedisServer]) {
    let mut seen = 0;
    for server in servers {
        for key in server.keys("*").await {
            let is_ours = ["cache:default:", "larder:default:lease:", "larder:{default}:"]
                .iter()
                .any(|prefix| key.starts_with(prefix));
            let left = server.seconds_left(&key).await;
            assert!(is_ours && (left >= 0 || left == -2), "{key} ends in {left} s");
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} keys were written");
}

#[tokio::test]
async fn a_cluster_that_loses_a_master_costs_misses_until_its_replica_stands_in() {
    let mut cluster = RedisCluster::start(DOWN_AFTER).await;
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = larder_on(&origin, &cluster.yaml()).await;
    until_all_hit(&larder).await;
    until_purges_hold(&larder, &origin).await;
    keys_are_ours_and_end(&cluster.nodes[..3]).await;
    let load = Load::on(&larder);
    load.goes_on_for(200).await;
    // The one that holds the purge log: both must find their new home.
    let (holder, _) = cluster.holder("larder:{default}:purges").await;
    cluster.nodes[holder].kill();
    load.goes_on_for(200).await;
    until_master(&cluster.nodes[holder + 3]).await;
    let since = Instant::now();
    until_all_hit(&larder).await;
    assert!(since.elapsed() < Duration::from_secs(5) + NOISE * 2, "{:?}", since.elapsed());
    until_purges_hold(&larder, &origin).await;
    load.ends_within(Duration::from_millis(300) + NOISE).await;
    let dead = cluster.nodes[holder].port();
    let server = format!("127.0.0.1:{}", cluster.nodes[holder + 3].port());
    assert_eq!(larder.metric("larder_l2_server_up", &[("server", &server)]).await, 1);
    let gone = format!("127.0.0.1:{dead}");
    assert_eq!(larder.metric("larder_l2_server_up", &[("server", &gone)]).await, 0);
}

#[tokio::test]
async fn a_master_behind_sentinel_that_dies_costs_misses_until_its_replica_stands_in() {
    let mut group = SentinelGroup::start(DOWN_AFTER).await;
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = larder_on(&origin, &group.yaml()).await;
    until_redis_serves(&larder, "/hot").await;
    until_purges_hold(&larder, &origin).await;
    group.can_fail_over().await;
    let load = Load::on(&larder);
    load.goes_on_for(100).await;
    group.servers[0].kill();
    load.goes_on_for(200).await;
    until_master(&group.servers[1]).await;
    let took = until_redis_serves(&larder, "/again").await;
    assert!(took < Duration::from_secs(5) + NOISE, "hits came back after {took:?}");
    until_purges_hold(&larder, &origin).await;
    load.ends_within(Duration::from_millis(300) + NOISE).await;
    keys_are_ours_and_end(&group.servers[1..]).await;
}

#[tokio::test]
async fn a_node_that_hangs_is_left_alone_and_the_others_go_on() {
    let cluster = RedisCluster::start(60_000).await;
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = larder_on(&origin, &cluster.yaml()).await;
    until_all_hit(&larder).await;
    let load = Load::on(&larder);
    load.goes_on_for(100).await;
    // Not the one that holds the purge log, without which nothing is served unasked.
    let (holder, _) = cluster.holder("larder:{default}:purges").await;
    let hung = &cluster.nodes[(holder + 1) % 3];
    hung.pause();
    load.goes_on_for(400).await;
    let breakers = larder.metric("larder_l2_server_breaker_state", &[]).await;
    assert!(breakers <= 2, "more than one server is left alone");
    let mut hits = 0;
    for n in 0..30 {
        let reply = get(larder.url(&format!("/{n}"))).await;
        hits += usize::from(reply.has_status(200).outcome() == "HIT");
    }
    assert!(hits >= 10, "only {hits} of 30 were hits while one of three hung");
    hung.resume();
    let since = Instant::now();
    until_all_hit(&larder).await;
    assert!(since.elapsed() < Duration::from_secs(5) + NOISE * 2, "{:?}", since.elapsed());
    load.ends_within(Duration::from_millis(300) + NOISE).await;
}
