//! What operators are told: metrics that count, one access line per request, health, configuration.

use serde_json::{Value, json};

use crate::support::answer::{Gate, fresh, ok, status};
use crate::support::client::{get, post};
use crate::support::origin::Origin;
use crate::support::raw::converse;
use crate::support::redis::RedisServer;
use crate::support::yaml::all_to;
use crate::support::{beside, until};

#[tokio::test]
async fn hits_and_misses_are_counted_by_layer() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let mut larder = all_to(&origin).redis(redis.port()).start().await;
    let l1 = [("cache_layer", "L1")];
    let l2 = [("cache_layer", "L2")];
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    assert_eq!(larder.metric("cache_hits_total", &l1).await, 0);
    assert_eq!(larder.metric("cache_misses_total", &l1).await, 1);
    assert_eq!(larder.metric("cache_misses_total", &l2).await, 1);
    for n in 1..4 {
        get(larder.url("/x")).await.is("HIT", "L1");
        assert_eq!(larder.metric("cache_hits_total", &l1).await, n);
    }
    assert_eq!(larder.metric("cache_misses_total", &l1).await, 1);
    larder.restart().await;
    get(larder.url("/x")).await.is("HIT", "L2");
    assert_eq!(larder.metric("cache_hits_total", &l2).await, 1);
    assert_eq!(larder.metric("cache_misses_total", &l2).await, 0);
}

#[tokio::test]
async fn every_family_of_the_contract_is_there() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = all_to(&origin).redis(redis.port()).start().await;
    for _ in 0..2 {
        get(larder.url("/x")).await.has_status(200);
    }
    larder.purges(json!({"everything": true})).await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    let metrics = get(larder.admin("/metrics")).await;
    metrics.has_status(200);
    for family in [
        "cache_hits_total",
        "cache_misses_total",
        "cache_hit_rate",
        "cache_operation_duration_seconds",
        "cache_memory_bytes",
        "cache_keys_total",
        "cache_evictions_total",
        "cache_invalidations_total",
        "cache_errors_total",
    ] {
        assert!(metrics.text().contains(family), "{family} in\n{}", metrics.text());
    }
    assert!(
        metrics.text().contains("cache_operation_duration_seconds_bucket{"),
        "{}",
        metrics.text()
    );
    assert!(larder.metric("cache_invalidations_total", &[]).await >= 1);
    assert!(!metrics.text().contains("/x"), "no URL is a label");
}

#[tokio::test]
async fn what_an_origin_does_is_counted() {
    let mut origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    origin.on("/cut", fresh("half").chunk(" ").cut());
    let larder = all_to(&origin).origin("breaker: { failures: 2, open_for: 1h }").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    get(larder.url("/x")).await.is("HIT", "L1");
    let answered = larder.metric("larder_origin_duration_seconds_count", &[]).await;
    assert_eq!(answered, 1, "a hit asks nobody");
    assert!(get(larder.url("/cut")).attempt().await.is_err());
    assert_eq!(larder.metric("larder_origin_failures_total", &[("reason", "cut")]).await, 1);
    origin.leave().await;
    for n in 0..3 {
        get(larder.url(&format!("/{n}"))).await.is_problem(502);
    }
    let failed =
        async |why| larder.metric("larder_origin_failures_total", &[("reason", why)]).await;
    assert_eq!(failed("unreachable").await, 2);
    assert_eq!(failed("breaker-open").await, 1);
    assert_eq!(larder.metric("larder_origin_breaker_state", &[]).await, 2);
    assert!(larder.metric("larder_origin_retries_total", &[]).await >= 1);
}

#[tokio::test]
async fn a_failing_redis_is_counted() {
    let mut redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = all_to(&origin).redis(redis.port()).start().await;
    get(larder.url("/a")).await.has_status(200);
    redis.kill();
    for n in 0..3 {
        get(larder.url(&format!("/{n}"))).await.has_status(200);
    }
    assert!(larder.metric("cache_errors_total", &[("cache_layer", "L2")]).await >= 1);
}

#[tokio::test]
async fn each_request_is_one_line_of_json() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let mut larder = all_to(&origin).top("log: { format: json, access: true }").start().await;
    for _ in 0..2 {
        get(larder.url("/x?page=1"))
            .with("Authorization", "Bearer hush-hush")
            .await
            .has_status(200);
    }
    post(larder.url("/x")).body("hush-hush").await;
    larder.stop().await;
    let said = larder.output().whole().await;
    let lines: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    assert_eq!(lines.len(), 3, "{said}");
    for (line, method) in lines.iter().zip(["GET", "GET", "POST"]) {
        let text = line.to_string();
        assert!(
            text.contains(method)
                && text.contains("/x")
                && text.contains("200")
                && text.contains("all"),
            "{text}"
        );
        assert!(text.to_lowercase().contains("outcome") && text.contains("duration"), "{text}");
    }
    let all = said + &larder.errors().whole().await;
    assert!(!all.contains("hush-hush"), "{all}");
}

#[tokio::test]
async fn access_lines_may_be_text_or_absent() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    for (log, expected) in
        [("log: { format: text, access: true }", 1), ("log: { access: false }", 0)]
    {
        let mut larder = all_to(&origin).top(log).start().await;
        get(larder.url("/x")).await.has_status(200);
        larder.stop().await;
        let said = larder.output().whole().await;
        assert_eq!(
            said.lines().filter(|line| line.contains("/x")).count(),
            expected,
            "{log}: {said}"
        );
    }
}

#[tokio::test]
async fn health_and_configuration_can_be_asked() {
    let origin = Origin::start().await;
    let larder = all_to(&origin).route("ttl: 5m").start().await;
    get(larder.admin("/live")).await.has_status(200);
    get(larder.admin("/ready")).await.has_status(200);
    let config = get(larder.admin("/admin/config")).await;
    assert!(config.has_status(200).text().contains(&origin.url()), "{config:?}");
    get(larder.admin("/admin/nonsense")).await.is_problem(404);
    get(larder.admin("/admin/purges")).await.has_status(405);
}

#[tokio::test]
async fn nothing_of_the_admin_side_is_on_the_public_port() {
    let origin = Origin::start().await;
    let larder = all_to(&origin).start().await;
    for path in ["/metrics", "/live", "/ready", "/admin/config", "/admin/instances"] {
        get(larder.url(path)).await.has_status(404).says("the test has no answer for this path");
        assert_eq!(origin.count(path), 1, "{path} is a path of the origin here");
    }
}

#[tokio::test]
async fn why_a_request_was_no_hit_is_told() {
    let origin = Origin::start().await;
    origin.on("/private", fresh("x").field("Cache-Control", "private"));
    let larder = all_to(&origin).start().await;
    let status = async |path: &str| get(larder.url(path)).await.field("cache-status").to_owned();
    let private = status("/private").await;
    assert!(private.starts_with("larder; fwd=") && !private.contains("stored"), "{private}");
    let passed = post(larder.url("/private")).body("x").await;
    assert!(passed.field("cache-status").contains("fwd=method"), "{passed:?}");
}

/// RFC 9211 §2 and §2.7.
#[tokio::test]
async fn the_cache_has_the_name_it_is_given_and_shows_keys_without_what_is_secret_in_them() {
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = all_to(&origin)
        .top("cache_name: \"the \\\"front\\\" one\"")
        .route("server_fields: debug")
        .route("key: { cookies: [session], personal: false, query: { deny: [utm] } }")
        .start()
        .await;
    let told = async |path: &str, session: &str| {
        let reply = get(larder.url(path)).with("Cookie", format!("session={session}")).await;
        assert!(reply.field("via").ends_with(" larder"), "{reply:?}");
        let told = reply.field("cache-status").to_owned();
        assert!(!told.contains(session), "{told}");
        told
    };
    let url = larder.url("/x?a=%22&b=%5C");
    let miss = told("/x?a=%22&utm=1&b=%5C", "hush-hush").await;
    let begins = "\"the \\\"front\\\" one\"; fwd=uri-miss; stored; ttl=60; key=\"";
    let key = miss.strip_prefix(begins).unwrap_or_else(|| panic!("{miss}"));
    let digest = key.strip_prefix(&format!("{url} ")).and_then(|key| key.strip_suffix('"'));
    let digest = digest.unwrap_or_else(|| panic!("{miss}"));
    assert!(digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{miss}");
    let hit = told("/x?a=%22&b=%5C", "hush-hush").await;
    assert!(hit.contains("; hit; ") && hit.ends_with(&format!("key=\"{url} {digest}\"")), "{hit}");
    let other = told("/x?a=%22&b=%5C", "psst-psst").await;
    assert!(other.contains(&url) && !other.contains(digest), "{other}");
    let passed = post(larder.url("/x")).body("x").await;
    assert!(!passed.field("cache-status").contains("key="), "{passed:?}");
}

/// RFC 9211 §2.5.
#[tokio::test]
async fn stored_is_said_of_what_was_shared_and_not_of_a_304_that_ends_it() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/shared", fresh("hello").held(&gate));
    let first = ok("hello").field("Cache-Control", "no-cache").field("ETag", "\"v1\"");
    let last = status(304).field("ETag", "\"v1\"").field("Cache-Control", "no-store");
    origin.script("/ending", [first, last]);
    let larder = all_to(&origin).start().await;
    let (one, two) = (larder.url("/shared"), larder.url("/shared"));
    let leads = beside(async move { get(one).await });
    origin.seen("/shared", 1).await;
    let follows = beside(async move { get(two).await });
    until("the second follows the first", async || {
        (larder.metric("larder_flight_followers_total", &[]).await == 1).then_some(())
    })
    .await;
    gate.open();
    leads.await.unwrap().is("MISS", "ORIGIN");
    let follower = follows.await.unwrap();
    let told = follower.field("cache-status");
    assert!(told.starts_with("larder; fwd=uri-miss; stored; collapsed; ttl="), "{told}");
    get(larder.url("/ending")).await.is("MISS", "ORIGIN");
    let ended = get(larder.url("/ending")).await;
    ended.is("REVALIDATED", "ORIGIN").says("hello");
    assert_eq!(ended.field("cache-status"), "larder; fwd=stale; fwd-status=304; detail=no-store");
}

#[tokio::test]
async fn what_is_refused_before_it_is_looked_at_is_told_like_everything_else() {
    let origin = Origin::start().await;
    let larder =
        all_to(&origin).top("limits: { header_fields: 20, target_bytes: 1KiB }").start().await;
    let fields = format!("GET /x HTTP/1.1\r\nHost: shop.example\r\n{}\r\n", "a: b\r\n".repeat(30));
    let target = format!("GET /{} HTTP/1.1\r\nHost: shop.example\r\n\r\n", "x".repeat(2000));
    let lengths = "POST /x HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab";
    for (asked, status, why) in
        [(&*fields, 431, "too-large"), (&target, 414, "too-large"), (lengths, 400, "malformed")]
    {
        let said = converse(larder.authority(), asked.as_bytes()).await.to_lowercase();
        assert!(said.starts_with(&format!("http/1.1 {status} ")), "{said}");
        assert!(said.contains(&format!("cache-status: larder; detail={why}\r\n")), "{said}");
        assert!(said.contains("\r\nconnection: close\r\n"), "{said}");
        assert!(said.contains("application/problem+json"), "{said}");
    }
    assert_eq!(origin.count("/x"), 0);
    let _ended = converse(larder.authority(), b"\x00\x01garbage\r\n\r\n").await;
    until("what is no request is counted", async || {
        (larder.metric("larder_unreadable_requests_total", &[]).await == 1).then_some(())
    })
    .await;
    let refused = [("route", "none"), ("outcome", "refused")];
    assert_eq!(larder.metric("larder_requests_total", &refused).await, 3);
}

#[tokio::test]
async fn a_problem_names_the_request_that_it_answers() {
    let mut origin = Origin::start().await;
    let larder = all_to(&origin).start().await;
    origin.leave().await;
    let asked = get(larder.url("/x")).with("X-Request-Id", "r-7\u{e4}").await;
    asked.is_problem(502);
    assert!(asked.json()["request_id"].as_str().unwrap().starts_with("r-7"), "{asked:?}");
    assert!(get(larder.url("/x")).await.json().get("request_id").is_none());
}

#[tokio::test]
async fn a_client_that_stops_sending_is_no_failure_of_the_origin() {
    let (origin, gate) = (Origin::start().await, Gate::closed());
    origin.on("/up", ok("too late").held(&gate));
    let larder = all_to(&origin).top("limits: { body_timeout: 200ms }").start().await;
    let asked = "POST /up HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 100\r\n\r\nabc";
    let said = converse(larder.authority(), asked.as_bytes()).await.to_lowercase();
    assert!(said.starts_with("http/1.1 408 "), "{said}");
    assert!(said.contains("cache-status: larder; detail=request-silent\r\n"), "{said}");
    let failures = [("reason", "request-silent")];
    assert_eq!(larder.metric("larder_origin_failures_total", &failures).await, 0);
}
