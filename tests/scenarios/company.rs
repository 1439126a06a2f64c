//! What is shared by many is right for each of them: a flight's answer, a refresh, a fetch for one client alone.

use std::time::Duration;

use serde_json::json;

use crate::support::answer::{Gate, close, fresh, ok, status};
use crate::support::client::{Ask, get};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::redis::RedisServer;
use crate::support::reply::Reply;
use crate::support::yaml::all_to;
use crate::support::{beside, until};

/// Asks until the entry is no longer fresh.
async fn first_non_hit(larder: &Larder, path: &str) -> Reply {
    until("the entry is stale", async || {
        let reply = get(larder.url(path)).await;
        (reply.outcome() != "HIT").then_some(reply)
    })
    .await
}

async fn counted(larder: &Larder, metric: &str, number: u64) {
    until(&format!("{metric} is {number}"), async || {
        (larder.metric(metric, &[]).await >= number).then_some(())
    })
    .await;
}

/// Sends `ask` and waits until it has joined another's flight, the `number`th to do so.
async fn joining(larder: &Larder, ask: Ask, number: u64) -> tokio::task::JoinHandle<Reply> {
    let joined = beside(ask.into_future());
    counted(larder, "larder_flight_followers_total", number).await;
    joined
}

#[tokio::test]
async fn a_refresh_says_nothing_of_what_one_client_has_or_wants() {
    let origin = Origin::start().await;
    // The second answer tells that the URL's answers are not shared: refreshes go alone from then on.
    origin.script(
        "/x",
        [
            ok("old").field("ETag", "\"v1\""),
            ok("not to be kept").field("Cache-Control", "no-store"),
            status(304).field("ETag", "\"v2\""),
        ],
    );
    let larder =
        all_to(&origin).route("ttl: 300ms").route("stale_while_revalidate: 1m").start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    first_non_hit(&larder, "/x").await.is("STALE", "L1").says("old");
    origin.seen("/x", 2).await;
    until("another refresh is sent", async || {
        get(larder.url("/x"))
            .with("If-None-Match", "\"v2\"")
            .with("Range", "bytes=0-1")
            .with("Cache-Control", "max-stale=60")
            .await;
        (origin.count("/x") > 2).then_some(())
    })
    .await;
    for refresh in &origin.requests("/x")[1..] {
        assert_ne!(refresh.field("if-none-match"), "\"v2\"");
        assert_eq!((refresh.field("range"), refresh.field("cache-control")), ("", ""));
    }
}

#[tokio::test]
async fn what_is_fetched_for_one_client_alone_is_asked_for_in_the_words_that_name_its_variant() {
    let origin = Origin::start().await;
    let mut asked = 0;
    origin.with("/x", move |request| {
        asked += 1;
        let coded = fresh(request.field("accept-encoding").to_owned());
        let coded = coded.field("Vary", "Accept-Encoding");
        // After the first the URL counts as one whose answers are not shared.
        if asked == 1 { ok("private").field("Cache-Control", "no-store") } else { coded }
    });
    let larder =
        all_to(&origin).route("vary: { normalize: { Accept-Encoding: [br, gzip] } }").start().await;
    get(larder.url("/x")).await.says("private");
    get(larder.url("/x")).with("Accept-Encoding", "zstd").await.says("identity");
    get(larder.url("/x")).with("Accept-Encoding", "identity").await.says("identity");
}
