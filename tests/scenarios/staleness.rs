//! Stale entries are served while one refresh runs, or while the origin fails, as long as the rules allow and no longer.

use std::time::Duration;

use crate::support::answer::{Gate, close, fresh, ok, status};
use crate::support::client::get;
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::reply::Reply;
use crate::support::until;
use crate::support::yaml::all_to;

/// Asks until the entry is no longer fresh.
async fn first_non_hit(larder: &Larder, path: &str) -> Reply {
    until("the entry is stale", async || {
        let reply = get(larder.url(path)).await;
        (reply.outcome() != "HIT").then_some(reply)
    })
    .await
}

async fn until_hit(larder: &Larder, path: &str, body: &str) {
    until("the refreshed entry is served", async || {
        let reply = get(larder.url(path)).await;
        (reply.outcome() == "HIT" && reply.text() == body).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stale_entry_is_served_while_one_refresh_runs() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.script("/x", [ok("old"), fresh("new").held(&gate)]);
    let larder =
        all_to(&origin).route("ttl: 300ms").route("stale_while_revalidate: 1m").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    first_non_hit(&larder, "/x").await.is("STALE", "L1").says("old");
    origin.seen("/x", 2).await;
    for _ in 0..10 {
        get(larder.url("/x")).await.is("STALE", "L1").says("old");
    }
    assert_eq!(origin.count("/x"), 2, "one refresh at a time");
    gate.open();
    until_hit(&larder, "/x", "new").await;
    assert_eq!(origin.count("/x"), 2);
}

#[tokio::test]
async fn the_origin_may_open_the_window_itself() {
    let origin = Origin::start().await;
    origin.script(
        "/x",
        [ok("old").field("Cache-Control", "max-age=1, stale-while-revalidate=60"), fresh("new")],
    );
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    first_non_hit(&larder, "/x").await.is("STALE", "L1").says("old");
    until_hit(&larder, "/x", "new").await;
}

#[tokio::test]
async fn a_refresh_that_fails_harms_nothing_and_is_tried_again() {
    let origin = Origin::start().await;
    origin.script("/x", [ok("old"), close(), close(), fresh("new")]);
    let larder =
        all_to(&origin).route("ttl: 300ms").route("stale_while_revalidate: 1m").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    first_non_hit(&larder, "/x").await.is("STALE", "L1").says("old");
    until("a refresh succeeds", async || {
        let reply = get(larder.url("/x")).await;
        reply.has_status(200);
        (reply.outcome() == "HIT" && reply.text() == "new").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_window_ends_hard() {
    let origin = Origin::start().await;
    origin.script("/x", [ok("old"), fresh("new")]);
    let larder =
        all_to(&origin).route("ttl: 100ms").route("stale_while_revalidate: 200ms").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    // Nothing tells that a window is over; and asking within it would refresh the entry.
    tokio::time::sleep(Duration::from_millis(600)).await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN").says("new");
}

#[tokio::test]
async fn must_revalidate_closes_every_window() {
    for directive in ["must-revalidate", "proxy-revalidate", "s-maxage=1", "no-cache"] {
        let origin = Origin::start().await;
        origin.script(
            "/x",
            [
                ok("old").field("Cache-Control", format!("max-age=1, {directive}")),
                fresh("new"),
                close(),
            ],
        );
        let yaml = all_to(&origin).route("stale_while_revalidate: 1m").route("stale_if_error: 1h");
        let larder = yaml.start().await;
        get(larder.url("/x")).await.says("old");
        first_non_hit(&larder, "/x").await.is("MISS", "ORIGIN").says("new");
    }
}

#[tokio::test]
async fn a_failing_origin_is_hidden_by_a_stale_entry() {
    let mut origin = Origin::start().await;
    origin.script("/500", [ok("old"), status(500).chunk("oops")]);
    origin.script("/closes", [ok("old"), close()]);
    origin.on("/refuses", ok("old"));
    let larder = all_to(&origin).route("ttl: 300ms").route("stale_if_error: 1h").start().await;
    for path in ["/500", "/closes", "/refuses"] {
        get(larder.url(path)).await.is("MISS", "ORIGIN");
    }
    for path in ["/500", "/closes"] {
        let stale = first_non_hit(&larder, path).await;
        stale.is("STALE", "L1").has_status(200).says("old");
        assert!(stale.field("cache-status").starts_with("larder; fwd=stale; "), "{stale:?}");
        get(larder.url(path)).await.has_status(200).says("old");
    }
    origin.leave().await;
    first_non_hit(&larder, "/refuses").await.is("STALE", "L1").has_status(200).says("old");
}

#[tokio::test]
async fn without_a_window_the_error_is_told() {
    let origin = Origin::start().await;
    origin.script("/x", [ok("old"), status(500).chunk("oops")]);
    let larder = all_to(&origin).route("ttl: 300ms").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    first_non_hit(&larder, "/x").await.has_status(500).says("oops");
}

#[tokio::test]
async fn must_revalidate_forbids_stale_on_error() {
    let origin = Origin::start().await;
    origin.script(
        "/x",
        [
            ok("old").field("Cache-Control", "max-age=1, must-revalidate, stale-if-error=60"),
            close(),
        ],
    );
    let larder = all_to(&origin).route("stale_if_error: 1h").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    let reply = first_non_hit(&larder, "/x").await;
    assert!(reply.status >= 502, "{reply:?}");
}

#[tokio::test]
async fn a_refresh_ahead_keeps_a_busy_entry_fresh() {
    let origin = Origin::start().await;
    origin.script("/x", [ok("old").field("Cache-Control", "max-age=2"), fresh("new")]);
    let larder = all_to(&origin).route("refresh_ahead: 90%").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    until("the entry was refreshed before its end", async || {
        let reply = get(larder.url("/x")).await;
        reply.is("HIT", "L1");
        (reply.text() == "new").then_some(())
    })
    .await;
}
