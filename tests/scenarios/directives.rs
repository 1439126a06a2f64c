//! What clients may ask of the cache, and how a route stops strangers from asking it.

use crate::support::answer::{fresh, ok};
use crate::support::client::get;
use crate::support::origin::Origin;
use crate::support::yaml::all_to;

#[tokio::test]
async fn only_if_cached_never_asks_the_origin() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let larder = all_to(&origin).start().await;
    let reply = get(larder.url("/x")).with("Cache-Control", "only-if-cached").await;
    reply.is_problem(504);
    assert_eq!(origin.count("/x"), 0);
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    get(larder.url("/x"))
        .with("Cache-Control", "only-if-cached")
        .await
        .is("HIT", "L1")
        .says("hello");
}

#[tokio::test]
async fn a_client_may_insist_on_the_origin() {
    let origin = Origin::start().await;
    let larder = all_to(&origin).start().await;
    for directive in ["no-cache", "max-age=0"] {
        let path = format!("/{directive}");
        origin.script(&path, [fresh("old"), fresh("new")]);
        get(larder.url(&path)).await.is("MISS", "ORIGIN").says("old");
        get(larder.url(&path)).with("Cache-Control", directive).await.is_not("HIT").says("new");
        get(larder.url(&path)).await.is("HIT", "L1").says("new");
    }
}

#[tokio::test]
async fn a_route_may_ignore_what_clients_ask() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let larder = all_to(&origin).route("client_directives: ignore").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    for directive in ["no-cache", "max-age=0", "no-store", "min-fresh=1000"] {
        get(larder.url("/x")).with("Cache-Control", directive).await.is("HIT", "L1").says("hello");
    }
    assert_eq!(origin.count("/x"), 1);
}

#[tokio::test]
async fn min_fresh_and_max_age_ask_for_something_younger() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello").field("Age", "30"));
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    get(larder.url("/x")).with("Cache-Control", "max-age=59").await.is("HIT", "L1");
    get(larder.url("/x")).with("Cache-Control", "min-fresh=5").await.is("HIT", "L1");
    get(larder.url("/x")).with("Cache-Control", "max-age=10").await.is_not("HIT");
    get(larder.url("/x")).with("Cache-Control", "min-fresh=50").await.is_not("HIT");
}

#[tokio::test]
async fn max_stale_accepts_what_is_over() {
    let origin = Origin::start().await;
    origin.script("/x", [ok("old"), fresh("new")]);
    let larder = all_to(&origin).route("ttl: 100ms").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN").says("old");
    let reply = crate::support::until("the entry is stale", async || {
        let reply = get(larder.url("/x")).with("Cache-Control", "max-stale=60").await;
        (reply.outcome() != "HIT").then_some(reply)
    })
    .await;
    reply.is("STALE", "L1").says("old");
}
