//! What is no longer fresh is validated: the origin is asked whether it changed, and its 304 renews the entry.

use crate::support::answer::{Answer, fresh, ok, status};
use crate::support::client::{ask, get};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::redis::RedisServer;
use crate::support::reply::Reply;
use crate::support::until;
use crate::support::yaml::all_to;

/// Asks until the stored entry is no longer a hit.
async fn first_non_hit(url: &str) -> Reply {
    until("the entry is over", async || {
        let reply = get(url).await;
        (reply.outcome() != "HIT").then_some(reply)
    })
    .await
}

#[tokio::test]
async fn a_304_renews_the_entry_and_its_fields() {
    let origin = Origin::start().await;
    let renewed = status(304)
        .field("ETag", "\"v1\"")
        .field("Cache-Control", "max-age=60")
        .field("X-Count", "2");
    origin.script(
        "/x",
        [ok("hello").field("ETag", "\"v1\"").field("X-Count", "1").field("X-Own", "kept"), renewed],
    );
    let larder = all_to(&origin).route("ttl: 300ms").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    let reply = first_non_hit(&larder.url("/x")).await;
    reply
        .is("REVALIDATED", "ORIGIN")
        .has_status(200)
        .says("hello")
        .has("x-count", "2")
        .has("x-own", "kept");
    assert_eq!(origin.requests("/x")[1].field("if-none-match"), "\"v1\"");
    let hit = get(larder.url("/x")).await;
    hit.is("HIT", "L1")
        .says("hello")
        .has("x-count", "2")
        .has("x-own", "kept")
        .has("cache-control", "max-age=60");
    assert_eq!(origin.count("/x"), 2);
}

#[tokio::test]
async fn a_date_validates_where_there_is_no_tag() {
    let origin = Origin::start().await;
    let modified = "Sun, 06 Nov 1994 08:49:37 GMT";
    let first = ok("hello").field("Last-Modified", modified).field("Cache-Control", "no-cache");
    origin.script("/x", [first, status(304).field("Cache-Control", "max-age=60")]);
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    get(larder.url("/x")).await.is("REVALIDATED", "ORIGIN").says("hello");
    assert_eq!(origin.requests("/x")[1].field("if-modified-since"), modified);
}

#[tokio::test]
async fn another_answer_replaces_the_entry() {
    let origin = Origin::start().await;
    origin.script("/x", [ok("old").field("ETag", "\"v1\""), fresh("new").field("ETag", "\"v2\"")]);
    let larder = all_to(&origin).route("ttl: 300ms").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN").says("old");
    first_non_hit(&larder.url("/x")).await.is("MISS", "ORIGIN").says("new").has("etag", "\"v2\"");
    get(larder.url("/x")).await.is("HIT", "L1").says("new");
}

#[tokio::test]
async fn a_no_cache_answer_is_validated_each_time() {
    let origin = Origin::start().await;
    let first = ok("hello").field("ETag", "\"v1\"").field("Cache-Control", "no-cache");
    origin.script("/x", [first, status(304).field("ETag", "\"v1\"")]);
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).await.is_not("HIT").says("hello");
    for n in 2..5 {
        get(larder.url("/x")).await.is("REVALIDATED", "ORIGIN").has_status(200).says("hello");
        assert_eq!(origin.count("/x"), n);
    }
}

#[tokio::test]
async fn a_client_with_the_same_tag_gets_its_304_from_a_validated_entry() {
    let origin = Origin::start().await;
    let first = ok("hello").field("ETag", "\"v1\"").field("Cache-Control", "no-cache");
    origin.script("/x", [first, status(304).field("ETag", "\"v1\"")]);
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).await.says("hello");
    get(larder.url("/x")).with("If-None-Match", "\"v1\"").await.has_status(304).says("");
    get(larder.url("/x")).with("If-None-Match", "\"other\"").await.has_status(200).says("hello");
}

#[tokio::test]
async fn a_304_that_nobody_asked_for_is_an_error_and_not_an_entry() {
    let origin = Origin::start().await;
    origin.script("/x", [status(304).field("ETag", "\"v1\""), fresh("hello")]);
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).await.has_status(502);
    get(larder.url("/x")).await.has_status(200).says("hello");
}

#[tokio::test]
async fn a_304_for_another_representation_does_not_renew_this_one() {
    let origin = Origin::start().await;
    let first = ok("old").field("ETag", "\"v1\"").field("Cache-Control", "no-cache");
    origin.script(
        "/x",
        [first, status(304).field("ETag", "\"v2\""), fresh("new").field("ETag", "\"v2\"")],
    );
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).await.says("old");
    let reply = get(larder.url("/x")).await;
    assert!(reply.text() == "new" || reply.status == 502, "{reply:?}");
    get(larder.url("/x")).await.has_status(200).says("new");
}

/// GETs are answered with a tagged body that has to be validated, HEADs with `answer`.
fn head_with(origin: &Origin, answer: Answer) {
    origin.with("/x", move |asked| match asked.method.as_str() {
        "HEAD" => answer.clone(),
        _ if asked.field("if-none-match") == "\"v1\"" => status(304).field("ETag", "\"v1\""),
        _ => ok("hello")
            .field("ETag", "\"v1\"")
            .field("Cache-Control", "no-cache")
            .field("X-Own", "kept"),
    });
}

#[tokio::test]
async fn a_head_that_matches_renews_the_stored_get_in_both_layers() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    let same = status(200)
        .field("ETag", "\"v1\"")
        .field("Content-Length", "5")
        .field("Cache-Control", "max-age=60")
        .field("X-New", "added");
    head_with(&origin, same);
    let mut larder = all_to(&origin).redis(redis.port()).start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    let reply = ask("HEAD", larder.url("/x")).await;
    reply.is("REVALIDATED", "ORIGIN").has_status(200).has("content-length", "5").says("");
    assert_eq!(origin.requests("/x")[1].method, "HEAD");
    let renewed = async |larder: &Larder, layer| {
        let hit = get(larder.url("/x")).await;
        hit.is("HIT", layer).says("hello").has("x-new", "added").has("x-own", "kept");
        hit.has("content-length", "5");
    };
    // What is looked for must not go to the origin, which would answer as before and undo what was renewed.
    let stored = async |larder: &Larder| {
        ask("GET", larder.url("/x")).with("Cache-Control", "only-if-cached").await
    };
    // The answer to a HEAD does not wait for what it renews.
    until("the renewed entry is in memory", async || {
        (stored(&larder).await.outcome() == "HIT").then_some(())
    })
    .await;
    renewed(&larder, "L1").await;
    until("the renewed entry is in Redis", async || {
        larder.restart().await;
        (stored(&larder).await.layer() == "L2").then_some(())
    })
    .await;
    renewed(&larder, "L1").await;
}

#[tokio::test]
async fn a_head_that_contradicts_the_stored_get_makes_it_stale() {
    let other = [
        status(200).field("ETag", "\"v2\""),
        status(200).field("Content-Length", "6"),
        status(200).field("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ];
    for answer in other {
        let origin = Origin::start().await;
        let told = answer.clone();
        origin.with("/x", move |asked| match asked.method.as_str() {
            "HEAD" => told.clone(),
            _ => fresh("hello").field("ETag", "\"v1\""),
        });
        let larder = all_to(&origin).route("stale_while_revalidate: 1h").start().await;
        get(larder.url("/x")).await.is("MISS", "ORIGIN");
        ask("HEAD", larder.url("/x")).await.is("HIT", "L1");
        // The client's own wish brings the HEAD to the origin though the stored response is fresh.
        ask("HEAD", larder.url("/x")).with("Cache-Control", "no-cache").await.is("MISS", "ORIGIN");
        // The answer to a HEAD does not wait until what it outdates is outdated.
        let next = async || Some(get(larder.url("/x")).await).filter(|it| it.outcome() != "HIT");
        until("the stored response is outdated", next).await.is("MISS", "ORIGIN").says("hello");
        assert_eq!(origin.requests("/x")[2].field("if-none-match"), "\"v1\"");
    }
}

#[tokio::test]
async fn a_head_without_a_200_or_without_a_stored_get_stores_nothing() {
    let origin = Origin::start().await;
    head_with(&origin, status(410).field("Cache-Control", "max-age=60").field("X-New", "added"));
    let larder = all_to(&origin).start().await;
    ask("HEAD", larder.url("/x")).await.is("MISS", "ORIGIN").has_status(410);
    get(larder.url("/x")).await.is("MISS", "ORIGIN").has_status(200);
    ask("HEAD", larder.url("/x")).await.is("MISS", "ORIGIN").has_status(410);
    get(larder.url("/x")).await.is("REVALIDATED", "ORIGIN").has_status(200).lacks("x-new");
}

#[tokio::test]
async fn a_head_brings_nothing_back_that_a_purge_has_taken_or_marked_stale() {
    let origin = Origin::start().await;
    head_with(&origin, status(200).field("Cache-Control", "max-age=60"));
    let larder = all_to(&origin).start().await;
    for soft in [false, true] {
        get(larder.url("/x")).await.says("hello");
        larder.purges(serde_json::json!({"everything": true, "soft": soft})).await;
        ask("HEAD", larder.url("/x")).await.is("MISS", "ORIGIN").has_status(200);
        get(larder.url("/x")).await.is_not("HIT").says("hello");
    }
}

#[tokio::test]
async fn a_304_that_forbids_to_keep_leaves_nothing_for_others() {
    for (name, value) in
        [("Cache-Control", "private"), ("Cache-Control", "no-store"), ("Vary", "*")]
    {
        let origin = Origin::start().await;
        let forbids = status(304).field("ETag", "\"v1\"").field(name, value);
        origin.with("/x", move |asked| match asked.field("if-none-match") {
            "" => fresh("hello").field("ETag", "\"v1\""),
            _ => forbids.clone(),
        });
        let larder = all_to(&origin).route("stale_while_revalidate: 1h").start().await;
        get(larder.url("/x")).await.is("MISS", "ORIGIN");
        get(larder.url("/x")).await.is("HIT", "L1");
        let asks = ask("GET", larder.url("/x")).with("Cache-Control", "no-cache").await;
        asks.is("REVALIDATED", "ORIGIN").says("hello").has(name, value);
        for _ in 0..2 {
            get(larder.url("/x")).await.is("REVALIDATED", "ORIGIN").says("hello").has(name, value);
        }
    }
}

#[tokio::test]
async fn a_304_with_a_cookie_leaves_what_is_fresh_as_it_is() {
    let origin = Origin::start().await;
    origin.with("/x", |asked| match asked.field("if-none-match") {
        "" => fresh("hello").field("ETag", "\"v1\""),
        _ => status(304).field("ETag", "\"v1\"").field("Set-Cookie", "a=1"),
    });
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    let asks = ask("GET", larder.url("/x")).with("Cache-Control", "no-cache").await;
    asks.is("REVALIDATED", "ORIGIN").says("hello");
    get(larder.url("/x")).await.is("HIT", "L1").lacks("set-cookie");
}

/// What stood in a stale window, and how the origin answers from then on.
async fn outlived(route: &str, tag: Option<&str>, answer: Answer) -> (Origin, Larder, Reply) {
    let origin = Origin::start().await;
    let first = ok("hello");
    let first = match tag {
        Some(tag) => first.field("ETag", tag),
        None => first,
    };
    origin.script("/x", [first, answer]);
    let larder = all_to(&origin).route("ttl: 300ms").route(route).start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    let reply = first_non_hit(&larder.url("/x")).await;
    (origin, larder, reply)
}

#[tokio::test]
async fn what_an_answer_that_is_not_kept_has_replaced_is_served_to_nobody_in_its_window() {
    for answer in [
        status(410).field("Cache-Control", "no-store"),
        status(404),
        status(302).field("Location", "/y"),
        ok("new").field("Cache-Control", "no-store"),
        ok("new").field("Cache-Control", "private"),
        ok("new").field("Set-Cookie", "a=1"),
        status(403).field("Cache-Control", "no-store"),
    ] {
        for tag in [Some("\"v1\""), None] {
            let route = "stale_while_revalidate: 1h";
            let (_origin, larder, reply) = outlived(route, tag, answer.clone()).await;
            reply.is("STALE", "L1").says("hello");
            // The refresh is nobody's; what it brings takes effect when it comes.
            let next =
                async || Some(get(larder.url("/x")).await).filter(|it| it.outcome() != "STALE");
            let next = until("it is not served any more", next).await;
            assert_ne!(next.text(), "hello", "{next:?}");
            let next = get(larder.url("/x")).await;
            assert_ne!(next.text(), "hello", "{next:?}");
        }
    }
}

#[tokio::test]
async fn an_origin_that_cannot_answer_now_replaces_nothing() {
    for busy in [429, 503] {
        let route = "stale_while_revalidate: 1h";
        let (origin, larder, reply) = outlived(route, Some("\"v1\""), status(busy)).await;
        reply.is("STALE", "L1");
        // Each asks for a refresh, once the one before is over.
        for seen in [2, 3] {
            until("the origin is asked once more", async || {
                get(larder.url("/x")).await.is("STALE", "L1").says("hello");
                (origin.count("/x") > seen).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn what_was_replaced_does_not_stand_in_for_a_failure_either() {
    let origin = Origin::start().await;
    let gone = status(410).field("Cache-Control", "no-store");
    origin.script("/x", [ok("hello").field("ETag", "\"v1\""), gone, status(503)]);
    let larder = all_to(&origin).route("ttl: 300ms").route("stale_if_error: 1h").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    first_non_hit(&larder.url("/x")).await.is("MISS", "ORIGIN").has_status(410);
    get(larder.url("/x")).await.has_status(503);
    let asks = ask("GET", larder.url("/x")).with("Cache-Control", "max-stale").await;
    asks.has_status(503);
}

/// One client with a wrong token would end what all others are served.
#[tokio::test]
async fn what_one_who_says_who_it_is_may_not_have_stays_for_others() {
    let (origin, mut asked_before) = (Origin::start().await, false);
    origin.with("/x", move |asked| match asked.field("authorization") {
        "" if asked_before => status(503),
        "" => {
            asked_before = true;
            ok("hello").field("ETag", "\"v1\"")
        }
        _ => status(403).field("Cache-Control", "no-store"),
    });
    let larder = all_to(&origin).route("ttl: 300ms").route("stale_if_error: 1h").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    until("it is stale, and asked about with a token", async || {
        let asks = ask("GET", larder.url("/x")).with("Authorization", "Bearer wrong").await;
        (asks.status == 403).then_some(())
    })
    .await;
    get(larder.url("/x")).await.is("STALE", "L1").says("hello");
}
