//! A first request is a miss and the next is a hit: lifetimes, Age, keys and the fields that tell of it.

use std::time::{Duration, SystemTime};

use crate::support::answer::{fresh, ok, status};
use crate::support::client::{ask, get};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::until;
use crate::support::yaml::all_to;

#[tokio::test]
async fn the_second_request_is_answered_from_memory() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello").field("Content-Type", "text/plain").field("X-Own", "kept"));
    let larder = all_to(&origin).start().await;

    let miss = get(larder.url("/x")).await;
    miss.is("MISS", "ORIGIN").has_status(200).says("hello").lacks("age");
    assert!(miss.field("cache-status").contains("fwd="), "{miss:?}");

    let hit = get(larder.url("/x")).await;
    hit.is("HIT", "L1")
        .has_status(200)
        .says("hello")
        .has("content-type", "text/plain")
        .has("x-own", "kept");
    hit.has("date", miss.field("date"))
        .has("cache-control", "max-age=60")
        .has("content-length", "5");
    assert!(hit.age() <= 60, "{hit:?}");
    assert!(hit.field("cache-status").starts_with("larder; hit"), "{hit:?}");
    assert_eq!(origin.count("/x"), 1);
}

#[tokio::test]
async fn serve_needs_no_file() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let larder = Larder::serve(&["--origin", &origin.url(), "--l2", "none"]).await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN").says("hello");
    get(larder.url("/x")).await.is("HIT", "L1").says("hello");
}

#[tokio::test]
async fn the_ttl_of_the_file_counts_where_the_origin_states_none() {
    let origin = Origin::start().await;
    origin.on("*", ok("hello"));
    let larder = all_to(&origin).route("ttl: 5m").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    get(larder.url("/x")).await.is("HIT", "L1");

    let without = all_to(&origin).start().await;
    get(without.url("/y")).await.is_not("HIT");
    get(without.url("/y")).await.is_not("HIT");
    assert_eq!(origin.count("/y"), 2, "nothing is kept without a lifetime");
}

#[tokio::test]
async fn the_lifetime_of_the_origin_comes_before_the_ttl_of_the_file() {
    let origin = Origin::start().await;
    let stated = ["max-age=0", "s-maxage=0, max-age=60", "MAX-AGE=0", "max-age=0, s-maxage=0"];
    let larder = all_to(&origin).route("ttl: 1h").start().await;
    for (n, stated) in stated.into_iter().enumerate() {
        let path = format!("/{n}");
        origin.on(&path, ok("hello").field("Cache-Control", stated));
        get(larder.url(&path)).await.is_not("HIT");
        get(larder.url(&path)).await.is_not("HIT");
    }
    origin.on("/shared", ok("hello").field("Cache-Control", "max-age=0, s-maxage=60"));
    get(larder.url("/shared")).await.is("MISS", "ORIGIN");
    get(larder.url("/shared")).await.is("HIT", "L1");
}

#[tokio::test]
async fn a_route_may_replace_the_origins_lifetime_but_not_its_privacy() {
    let origin = Origin::start().await;
    origin.on("/short", ok("hello").field("Cache-Control", "max-age=0"));
    origin.on("/private", ok("mine").field("Cache-Control", "private, max-age=60"));
    let larder = all_to(&origin).route("ttl: 1h").route("respect_origin: false").start().await;
    get(larder.url("/short")).await.is("MISS", "ORIGIN");
    get(larder.url("/short")).await.is("HIT", "L1");
    for _ in 0..2 {
        get(larder.url("/private")).await.is_not("HIT");
    }
}

#[tokio::test]
async fn an_entry_is_no_hit_any_more_when_its_ttl_is_over() {
    let origin = Origin::start().await;
    origin.script("/x", [ok("old"), fresh("new")]);
    let larder = all_to(&origin).route("ttl: 300ms").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN").says("old");
    let next = until("the entry is over", async || {
        let reply = get(larder.url("/x")).await;
        (reply.outcome() != "HIT").then_some(reply)
    })
    .await;
    next.is("MISS", "ORIGIN").says("new");
    get(larder.url("/x")).await.is("HIT", "L1").says("new");
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the origin's Date has to lie before the real now")]
async fn age_counts_what_the_answer_had_before_it_came_here() {
    let origin = Origin::start().await;
    origin.on("/aged", fresh("hello").field("Age", "20"));
    let then = httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(10));
    origin.on("/dated", fresh("hello").field("Date", then.clone()));
    origin.on("/over", fresh("hello").field("Age", "61"));
    let larder = all_to(&origin).start().await;
    for (path, least) in [("/aged", 20), ("/dated", 9)] {
        get(larder.url(path)).await.is("MISS", "ORIGIN");
        let hit = get(larder.url(path)).await;
        assert!((least..=least + 20).contains(&hit.is("HIT", "L1").age()), "{hit:?}");
    }
    get(larder.url("/dated")).await.has("date", &then);
    for _ in 0..2 {
        get(larder.url("/over")).await.is_not("HIT");
    }
}

#[tokio::test]
async fn a_head_request_is_answered_from_a_stored_get() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    ask("HEAD", larder.url("/x"))
        .await
        .is("HIT", "L1")
        .has_status(200)
        .has("content-length", "5")
        .says("");
    get(larder.url("/x")).await.is("HIT", "L1").says("hello");
    assert_eq!(origin.count("/x"), 1);
}

#[tokio::test]
async fn a_head_request_that_comes_first_leaves_no_empty_body_behind() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let larder = all_to(&origin).start().await;
    ask("HEAD", larder.url("/x")).await.has_status(200).says("");
    get(larder.url("/x")).await.has_status(200).says("hello");
    get(larder.url("/x")).await.is("HIT", "L1").says("hello");
}

#[tokio::test]
async fn what_the_key_leaves_out_does_not_reach_the_origin_either() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let larder =
        all_to(&origin).route("key: { query: { allow: [page, sort], sort: true } }").start().await;
    get(larder.url("/x?utm=1&sort=up&page=2")).await.is("MISS", "ORIGIN");
    get(larder.url("/x?page=2&utm=9&sort=up")).await.is("HIT", "L1");
    get(larder.url("/x?page=3")).await.is("MISS", "ORIGIN");
    assert_eq!(origin.requests("/x")[0].target, "/x?page=2&sort=up");
}

#[tokio::test]
async fn urls_that_differ_in_bytes_are_not_confused() {
    let origin = Origin::start().await;
    origin.with("*", |asked| fresh(asked.target.clone()));
    let larder = all_to(&origin).start().await;
    let targets = [
        "/a?b=1",
        "/a?b=2",
        "/a?b",
        "/a?b=",
        "/a?B=1",
        "/A?b=1",
        "/a%2Fb",
        "/a/b",
        "/a?b=1&b=2",
        "/a?b=2&b=1",
        "/a+b",
        "/a%20b",
    ];
    for target in targets {
        get(larder.url(target)).await.is("MISS", "ORIGIN").says(target);
    }
    for target in targets {
        get(larder.url(target)).await.is("HIT", "L1").says(target);
    }
}

#[tokio::test]
async fn hosts_are_kept_apart() {
    let origin = Origin::start().await;
    origin.with("/x", |asked| fresh(asked.field("host").to_owned()));
    let larder = all_to(&origin).origin("host: preserve").start().await;
    for host in ["one.example", "two.example"] {
        get(larder.url("/x")).with("Host", host).await.is("MISS", "ORIGIN").says(host);
    }
    for host in ["one.example", "two.example", "ONE.example"] {
        get(larder.url("/x")).with("Host", host).await.is("HIT", "L1").says(&host.to_lowercase());
    }
}

#[tokio::test]
async fn errors_are_kept_only_when_http_or_the_route_says_so() {
    let origin = Origin::start().await;
    let larder = all_to(&origin).route("ttl: 1m").route("negative: { 404: 1m }").start().await;
    origin.on("/404", status(404).chunk("gone"));
    origin.on("/500", status(500).chunk("oops"));
    origin.on("/503", status(503).chunk("busy"));
    origin.on("/410", status(410).chunk("gone").field("Cache-Control", "max-age=60"));
    for path in ["/404", "/410"] {
        get(larder.url(path)).await.is("MISS", "ORIGIN");
        get(larder.url(path))
            .await
            .is("HIT", "L1")
            .has_status(path[1..].parse().unwrap())
            .says("gone");
    }
    for path in ["/500", "/503"] {
        for _ in 0..2 {
            get(larder.url(path)).await.is_not("HIT").has_status(path[1..].parse().unwrap());
        }
    }
}

#[tokio::test]
async fn a_route_without_a_cache_passes_everything() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let larder = all_to(&origin).route("cache: false").start().await;
    for _ in 0..2 {
        get(larder.url("/x")).await.is("BYPASS", "ORIGIN").says("hello");
    }
    assert_eq!(origin.count("/x"), 2);
}

#[tokio::test]
async fn clients_are_told_the_clients_ttl_where_the_route_names_one() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let larder = all_to(&origin).route("client_ttl: 7s").start().await;
    for _ in 0..2 {
        let reply = get(larder.url("/x")).await;
        assert!(reply.field("cache-control").contains("max-age=7"), "{reply:?}");
        assert!(!reply.field("cache-control").contains("max-age=60"), "{reply:?}");
    }
}

#[tokio::test]
async fn minimal_fields_hide_that_there_is_a_cache() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let larder = all_to(&origin).route("server_fields: minimal").start().await;
    for _ in 0..2 {
        let reply = get(larder.url("/x")).await;
        reply
            .says("hello")
            .lacks("x-cache")
            .lacks("x-cache-layer")
            .lacks("cache-status")
            .lacks("via");
    }
    assert_eq!(origin.count("/x"), 1);
}

#[tokio::test]
async fn a_targeted_lifetime_comes_before_cache_control() {
    let origin = Origin::start().await;
    origin.on(
        "/on",
        ok("hello").field("Cache-Control", "no-store").field("CDN-Cache-Control", "max-age=60"),
    );
    origin.on("/off", fresh("hello").field("CDN-Cache-Control", "no-store"));
    let larder = all_to(&origin).start().await;
    get(larder.url("/on")).await.is("MISS", "ORIGIN");
    get(larder.url("/on")).await.is("HIT", "L1");
    for _ in 0..2 {
        get(larder.url("/off")).await.is_not("HIT");
    }
}

#[tokio::test]
async fn the_first_route_that_matches_decides() {
    let origin = Origin::start().await;
    origin.on("*", ok("hello"));
    let url = origin.url();
    let larder = Larder::start(&format!(
        "origins: {{ api: {{ endpoints: [ \"{url}\" ] }} }}\n\
         routes:\n  \
           - {{ name: live, match: {{ path: \"/api/live/**\" }}, origin: api, cache: false }}\n  \
           - {{ name: api, match: {{ path: \"/api/**\" }}, origin: api, ttl: 1m }}\n  \
           - {{ name: rest, match: {{ path: \"/**\" }}, origin: api }}\n"
    ))
    .await;
    for (path, first, second) in [("/api/live/x", "BYPASS", "BYPASS"), ("/api/x", "MISS", "HIT")] {
        assert_eq!(get(larder.url(path)).await.outcome(), first);
        assert_eq!(get(larder.url(path)).await.outcome(), second);
    }
    get(larder.url("/other")).await.is_not("HIT");
    get(larder.url("/other")).await.is_not("HIT");
}

/// RFC 9211.
#[tokio::test]
async fn cache_status_says_what_went_forward_and_follows_what_the_origins_cache_says() {
    let origin = Origin::start().await;
    let inner = "Inner; hit; ttl=9";
    origin.script(
        "/x",
        [
            fresh("hello").field("ETag", "\"v1\"").field("Cache-Status", inner),
            status(304).field("ETag", "\"v1\""),
        ],
    );
    let larder = all_to(&origin).start().await;
    let told = async |ask: crate::support::client::Ask| {
        let reply = ask.await;
        let lines: Vec<String> =
            reply.lines("cache-status").iter().map(|l| (*l).to_owned()).collect();
        assert_eq!((lines.len(), lines[0].as_str()), (2, inner), "{reply:?}");
        lines[1].clone()
    };
    let x = || get(larder.url("/x"));
    // The client gets a 304 where the origin sent a 200, and the other way round.
    let first = told(x().with("If-None-Match", "\"v1\"")).await;
    assert_eq!(first, "larder; fwd=uri-miss; fwd-status=200; stored; ttl=60");
    let hit = told(x()).await;
    assert!(hit.starts_with("larder; hit; ttl="), "{hit}");
    let validated = told(x().with("Cache-Control", "no-cache")).await;
    assert_eq!(validated, "larder; fwd=request; fwd-status=304; stored; ttl=60");
    get(larder.url("/none")).await.has_status(404);
    let plain = get(larder.url("/none")).await;
    assert!(!plain.field("cache-status").contains("fwd-status"), "{plain:?}");
}

/// RFC 9111 §4.2.3: `corrected_age_value = age_value + response_delay`.
#[tokio::test]
async fn what_the_origin_took_long_for_has_an_age_unless_it_came_with_one() {
    let origin = Origin::start().await;
    let slow = || fresh("hello").after(Duration::from_millis(1100));
    origin.on("/x", slow());
    origin.on("/aged", slow().field("Age", "7"));
    origin.on("/quick", fresh("hello"));
    let larder = all_to(&origin).start().await;
    let (x, aged) = tokio::join!(get(larder.url("/x")), get(larder.url("/aged")));
    assert_eq!((x.age(), aged.age()), (1, 7));
    get(larder.url("/quick")).await.is("MISS", "ORIGIN").lacks("age");
    assert!(get(larder.url("/aged")).await.age() >= 8);
}
