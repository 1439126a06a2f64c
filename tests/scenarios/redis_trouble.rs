//! Redis may be killed, hang, be slow or absent: a miss within the deadline, never a failed request, and recovery by itself.

use std::future::IntoFuture;
use std::time::Duration;

use serde_json::json;

use crate::load::{Load, NOISE, until_redis_serves};
use crate::support::answer::{Gate, fresh};
use crate::support::client::get;
use crate::support::faults::{FaultProxy, Weather};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::redis::RedisServer;
use crate::support::yaml::all_to;
use crate::support::{beside, until};

/// Redis with a deadline of 100 ms; memory forgets at once, so that Redis is asked often.
async fn larder_on(origin: &Origin, port: u16) -> Larder {
    all_to(origin).redis(port).top("l1: { max_ttl: 200ms }").start().await
}

#[tokio::test]
async fn a_redis_that_is_killed_costs_misses_and_nothing_else() {
    let mut redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = larder_on(&origin, redis.port()).await;
    until_redis_serves(&larder, "/hot").await;
    let load = Load::on(&larder);
    load.goes_on_for(100).await;
    redis.kill();
    load.goes_on_for(400).await;
    redis.restart().await;
    until_redis_serves(&larder, "/again").await;
    let latencies = load.latencies().await;
    let lost = |line: &&String| line.contains("the connection was lost");
    let said = larder.errors().all();
    assert!(said.iter().filter(lost).count() <= 1, "the new one was given up too: {said:?}");
    let (median, worst) = (latencies[latencies.len() / 2], latencies[latencies.len() - 1]);
    assert!(worst < Duration::from_millis(100) + NOISE, "the slowest took {worst:?}");
    assert!(median < Duration::from_millis(100), "half took {median:?} and more");
}

#[tokio::test]
async fn a_redis_that_hangs_costs_its_deadline_until_the_breaker_opens() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = larder_on(&origin, redis.port()).await;
    until_redis_serves(&larder, "/hot").await;
    let load = Load::on(&larder);
    load.goes_on_for(100).await;
    redis.pause();
    load.goes_on_for(600).await;
    redis.resume();
    until_redis_serves(&larder, "/again").await;
    let latencies = load.latencies().await;
    let (median, worst) = (latencies[latencies.len() / 2], latencies[latencies.len() - 1]);
    assert!(worst < Duration::from_millis(300) + NOISE, "the slowest took {worst:?}");
    assert!(median < Duration::from_millis(100), "half took {median:?} and more");
}

#[tokio::test]
async fn a_slow_redis_is_not_waited_for() {
    let redis = RedisServer::start().await;
    let faults = FaultProxy::before(redis.port()).await;
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = larder_on(&origin, faults.port()).await;
    until_redis_serves(&larder, "/hot").await;
    faults.turns(Weather::Slow(Duration::from_secs(3)));
    for n in 0..20 {
        let reply = get(larder.url(&format!("/{n}"))).await;
        assert!(reply.has_status(200).says("hello").took < Duration::from_secs(2), "{reply:?}");
    }
    faults.turns(Weather::Fair);
    until_redis_serves(&larder, "/again").await;
}

/// Answers after 200 ms, twice its deadline.
#[tokio::test]
async fn a_redis_that_is_twice_too_slow_costs_its_deadline_until_the_breaker_opens() {
    let redis = RedisServer::start().await;
    let faults = FaultProxy::before(redis.port()).await;
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = larder_on(&origin, faults.port()).await;
    until_redis_serves(&larder, "/hot").await;
    let load = Load::on(&larder);
    load.goes_on_for(100).await;
    faults.turns(Weather::Slow(Duration::from_millis(200)));
    load.goes_on_for(400).await;
    faults.turns(Weather::Fair);
    let took = until_redis_serves(&larder, "/again").await;
    assert!(took < Duration::from_secs(5) + NOISE, "hits came back after {took:?}");
    load.ends_within(Duration::from_millis(300) + NOISE).await;
}

#[tokio::test]
async fn an_answer_that_is_cut_in_the_middle_is_a_miss() {
    let redis = RedisServer::start().await;
    let faults = FaultProxy::before(redis.port()).await;
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = larder_on(&origin, faults.port()).await;
    until_redis_serves(&larder, "/hot").await;
    let load = Load::on(&larder);
    for _ in 0..5 {
        load.goes_on_for(40).await;
        faults.turns(Weather::CutAfter(7));
        load.goes_on_for(40).await;
        faults.turns(Weather::Fair);
        let took = until_redis_serves(&larder, "/again").await;
        assert!(took < Duration::from_secs(2) + NOISE, "hits came back after {took:?}");
    }
    load.ends_within(Duration::from_millis(200) + NOISE).await;
}

/// While it loads its data it takes connections and refuses all else; a node of a Cluster that was renumbered points
/// elsewhere, and here to itself, for ever.
#[tokio::test]
async fn a_redis_that_loads_or_points_in_circles_costs_misses() {
    let redis = RedisServer::start().await;
    let faults = FaultProxy::before(redis.port()).await;
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = larder_on(&origin, faults.port()).await;
    until_redis_serves(&larder, "/hot").await;
    let load = Load::on(&larder);
    let in_circles: &'static str = format!("MOVED 1 127.0.0.1:{}", faults.port()).leak();
    for error in ["LOADING Redis is loading the dataset in memory", in_circles] {
        faults.turns(Weather::Says(error));
        load.goes_on_for(200).await;
        faults.turns(Weather::Fair);
        let took = until_redis_serves(&larder, "/again").await;
        assert!(
            took < Duration::from_secs(2) + NOISE,
            "after {error}, hits came back after {took:?}"
        );
    }
    load.ends_within(Duration::from_millis(200) + NOISE).await;
}

/// It asks whether the holder has let go, and not then what it has brought.
#[tokio::test]
async fn who_waits_for_anothers_fetch_when_redis_hangs_waits_one_deadline() {
    const DEADLINE: Duration = Duration::from_secs(2);
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.script("/slow", [fresh("hello").held(&gate), fresh("hello")]);
    let patient = format!("l2: {{ redis: {{ url: \"{}\", timeout: 2s }} }}", redis.url());
    let yaml = all_to(&origin).top(&patient);
    let (holder, waiting) = (yaml.start().await, yaml.start().await);
    let ask = |larder: &Larder| get(larder.url("/slow")).with("Host", "shop.example");
    let held = beside(ask(&holder).into_future());
    origin.seen("/slow", 1).await;
    let waits = beside(ask(&waiting).into_future());
    until("the other waits for the lease", async || {
        let page = get(waiting.admin("/metrics")).await;
        page.text().contains("larder_leases_waited_total 1").then_some(())
    })
    .await;
    redis.pause();
    let reply = waits.await.unwrap();
    assert!(reply.has_status(200).took < DEADLINE * 2, "{reply:?}");
    redis.resume();
    gate.open();
    held.await.unwrap().has_status(200).says("hello");
}

#[tokio::test]
async fn a_redis_that_became_a_replica_or_is_full_costs_misses() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = larder_on(&origin, redis.port()).await;
    until_redis_serves(&larder, "/hot").await;
    let load = Load::on(&larder);
    for (begin, end) in [
        (["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"][..]),
        (["CONFIG", "SET", "maxmemory 1"], &["CONFIG", "SET", "maxmemory", "0"]),
    ] {
        let begin: Vec<&str> = begin.iter().flat_map(|part| part.split(' ')).collect();
        redis.run(&begin).await;
        load.goes_on_for(200).await;
        redis.run(end).await;
        let took = until_redis_serves(&larder, "/again").await;
        assert!(took < Duration::from_secs(2) + NOISE, "hits came back after {took:?}");
    }
    load.ends_within(Duration::from_millis(200) + NOISE).await;
}

#[tokio::test]
async fn redis_is_not_needed_to_start() {
    let mut redis = RedisServer::start().await;
    let port = redis.port();
    redis.kill();
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = larder_on(&origin, port).await;
    get(larder.url("/x")).await.has_status(200).says("hello");
    redis.restart().await;
    until_redis_serves(&larder, "/x").await;
}

#[tokio::test]
async fn a_hit_in_memory_never_asks_redis() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let larder = all_to(&origin).redis(redis.port()).start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    redis.pause();
    for _ in 0..20 {
        get(larder.url("/x")).await.is("HIT", "L1").says("hello");
    }
    redis.resume();
}

#[tokio::test]
async fn a_redis_that_loses_its_data_costs_misses_and_keeps_purges_working() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("/x", fresh("old"));
    let larder = all_to(&origin).redis(redis.port()).start().await;
    get(larder.url("/x")).await.says("old");
    redis.run(&["FLUSHALL"]).await;
    get(larder.url("/x")).await.has_status(200).says("old");
    origin.on("/x", fresh("new"));
    until("a purge is taken again", async || {
        let reply = larder.purge(json!({"urls": [larder.url("/x")]})).await;
        (reply.status == 200).then_some(())
    })
    .await;
    get(larder.url("/x")).await.says("new");
}

#[tokio::test]
async fn a_full_redis_costs_misses_only() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = larder_on(&origin, redis.port()).await;
    redis.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    for n in 0..20 {
        get(larder.url(&format!("/{n}"))).await.has_status(200).says("hello");
    }
    redis.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    until_redis_serves(&larder, "/x").await;
}

#[tokio::test]
async fn a_purge_while_redis_is_away_says_so_holds_here_and_holds_for_redis_later() {
    let redis = RedisServer::start().await;
    let faults = FaultProxy::before(redis.port()).await;
    for weather in [Weather::BlackHole, Weather::Cut] {
        redis.run(&["FLUSHALL"]).await;
        let origin = Origin::start().await;
        origin.on("/x", fresh("old").field("Surrogate-Key", "t"));
        let mut larder = all_to(&origin).redis(faults.port()).start().await;
        get(larder.url("/x")).await.is("MISS", "ORIGIN");
        until("the old one is in Redis", async || {
            (!redis.keys("cache:*").await.is_empty()).then_some(())
        })
        .await;
        faults.turns(weather);
        let refused = until("the loss of Redis is noticed", async || {
            let reply = larder.purge(json!({"tags": ["t"]})).await;
            (reply.status == 503).then_some(reply)
        })
        .await;
        refused.is_problem(503);
        origin.on("/x", fresh("new").field("Surrogate-Key", "t"));
        get(larder.url("/x")).await.has_status(200).says("new");
        faults.turns(Weather::Fair);
        until("purges are taken again", async || {
            get(larder.url("/x")).await.has_status(200).says("new");
            let reply = larder.purge(json!({"tags": ["other"]})).await;
            (reply.status == 200).then_some(())
        })
        .await;
        larder.restart().await;
        get(larder.url("/x")).await.has_status(200).says("new");
    }
}

#[tokio::test]
async fn a_redis_that_wants_a_password_is_told_by_its_cause_and_is_not_up() {
    let redis = RedisServer::start_with(|_| vec!["--requirepass".into(), "hunter2".into()]).await;
    let origin = Origin::start().await;
    origin.on("/x", fresh("x"));
    let larder = all_to(&origin).redis(redis.port()).start().await;
    let cause = |line: &str| line.contains("wants a password").then_some(());
    larder.errors().find("the cause", cause).await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    let server = format!("127.0.0.1:{}", redis.port());
    assert_eq!(larder.metric("larder_l2_server_up", &[("server", &server)]).await, 0);
}

#[tokio::test]
async fn a_redis_that_accepts_and_never_answers_is_not_up() {
    let redis = RedisServer::start().await;
    let faults = FaultProxy::before(redis.port()).await;
    faults.turns(Weather::BlackHole);
    let origin = Origin::start().await;
    let larder = all_to(&origin).redis(faults.port()).start().await;
    let away = |line: &str| line.contains("Redis is away").then_some(());
    larder.errors().find("the loss", away).await;
    let server = format!("127.0.0.1:{}", faults.port());
    assert_eq!(larder.metric("larder_l2_server_up", &[("server", &server)]).await, 0);
    assert!(!larder.errors().text().contains("connected to Redis"), "{}", larder.errors().text());
}

/// What the audit of an instance says of tags.
async fn tags_purged(larder: &Larder) -> Vec<String> {
    let audit = get(larder.admin("/admin/audit")).await.json();
    let records = audit["purges"].as_array().expect("a list").iter();
    records.map(|record| record["purged"].to_string()).collect()
}

#[tokio::test]
async fn a_purge_that_waits_for_redis_is_waited_for_by_a_stop_and_told_to_the_fleet_once() {
    let mut redis = RedisServer::start().await;
    let origin = Origin::start().await;
    let yaml = all_to(&origin).redis(redis.port());
    let (mut one, two) = (yaml.start().await, yaml.start().await);
    redis.kill();
    for tag in ["first", "second"] {
        one.purge(json!({"tags": [tag]})).await.is_problem(503);
    }
    one.ask_to_stop();
    one.errors().find("the stop", |line| line.contains("draining").then_some(())).await;
    redis.restart().await;
    assert!(one.ended().await.success());
    let told = until("the other one knows both", async || {
        let told = tags_purged(&two).await;
        (told.len() >= 2).then_some(told)
    })
    .await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().any(|purged| purged.contains("first")), "{told:?}");
    assert!(told.iter().any(|purged| purged.contains("second")), "{told:?}");
}

#[tokio::test]
async fn a_purge_that_redis_has_not_taken_before_the_end_is_told_as_lost() {
    let mut redis = RedisServer::start().await;
    let origin = Origin::start().await;
    let yaml = all_to(&origin).redis(redis.port()).top("limits: { drain: 500ms }");
    let mut larder = yaml.start().await;
    redis.kill();
    larder.purge(json!({"tags": ["gone"]})).await.is_problem(503);
    assert!(larder.stop().await.success());
    let is_lost =
        |line: &str| line.contains("a purge is lost to the others").then(|| line.to_owned());
    let line = larder.errors().all().iter().find_map(|line| is_lost(line));
    assert!(line.as_ref().is_some_and(|line| line.contains("tag gone")), "{line:?}");
}

#[tokio::test]
async fn an_outage_of_redis_is_told_once_and_so_is_its_end() {
    let mut redis = RedisServer::start().await;
    let origin = Origin::start().await;
    let larder = all_to(&origin).redis(redis.port()).start().await;
    let away = |line: &str| line.contains("the purge log is away").then_some(());
    redis.kill();
    larder.errors().find("the outage", away).await;
    // Each of these is slower than the first few attempts to reach it again.
    for _ in 0..5 {
        larder.purge(json!({"tags": ["t"]})).await.is_problem(503);
    }
    let told = larder.errors().all().iter().filter_map(|line| away(line)).count();
    assert_eq!(told, 1, "{}", larder.errors().text());
    redis.restart().await;
    let back = |line: &str| line.contains("the purge log is back").then_some(());
    larder.errors().find("the end of the outage", back).await;
}

#[tokio::test]
async fn a_purge_log_that_somebody_has_overwritten_begins_anew() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let larder = all_to(&origin).redis(redis.port()).start().await;
    for key in redis.keys("larder:*").await {
        redis.run(&["SET", &key, "garbage"]).await;
        get(larder.url("/x")).await.has_status(200).says("hello");
        until("a purge is taken again", async || {
            let reply = larder.purge(json!({"urls": [larder.url("/x")]})).await;
            (reply.status == 200).then_some(())
        })
        .await;
        get(larder.url("/x")).await.is("MISS", "ORIGIN");
    }
}
