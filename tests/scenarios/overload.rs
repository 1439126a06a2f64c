//! An origin is asked for no more at once than it may be; who is beyond that waits a little, and hits never do.

use futures_util::future::select;

use crate::support::answer::{Gate, fresh, ok};
use crate::support::client::{get, post};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::reply::Reply;
use crate::support::until;
use crate::support::yaml::{Yaml, all_to};

/// An origin that keeps `/slow` waiting, and a Larder with a request for that under way.
async fn busy(change: impl FnOnce(Yaml) -> Yaml) -> (Origin, Larder, Gate) {
    let (origin, gate) = (Origin::start().await, Gate::closed());
    origin.on("*", fresh("hello"));
    origin.on("/slow", fresh("slow").held(&gate));
    let larder = change(all_to(&origin)).start().await;
    (origin, larder, gate)
}

async fn with_one_under_way<T>(
    (origin, larder, gate): (Origin, Larder, Gate),
    test: impl AsyncFnOnce(&Origin, &Larder, &Gate) -> T,
) -> T {
    let slow = async {
        get(larder.url("/slow")).await.has_status(200).says("slow");
    };
    let rest = async {
        until("the slow one is at the origin", async || (origin.count("/slow") == 1).then_some(()))
            .await;
        let result = test(&origin, &larder, &gate).await;
        gate.open();
        result
    };
    tokio::join!(slow, rest).1
}

#[track_caller]
fn overloaded(reply: &Reply) {
    reply.has_status(503);
    assert_eq!(reply.field("retry-after"), "1", "{reply:?}");
    assert!(reply.field("cache-status").ends_with("; detail=overloaded"), "{reply:?}");
}

const NOBODY_WAITS: &str = "queue: { length: 0 }";

#[tokio::test]
async fn a_route_has_so_many_fetches_at_once_and_hits_go_on() {
    let stage = busy(|yaml| yaml.origin(NOBODY_WAITS).route("max_fetches: 1")).await;
    get(stage.1.url("/hit")).await.is("MISS", "ORIGIN");
    with_one_under_way(stage, async |origin, larder, _| {
        overloaded(&get(larder.url("/miss")).await);
        overloaded(&post(larder.url("/write")).body("x").await);
        get(larder.url("/hit")).await.is("HIT", "L1");
        assert_eq!((origin.count("/miss"), origin.count("/write")), (0, 0));
        let reasons = [("reason", "overloaded")];
        assert_eq!(larder.metric("larder_origin_failures_total", &reasons).await, 2);
    })
    .await;
}

#[tokio::test]
async fn one_route_does_not_take_the_places_of_another() {
    let (origin, gate) = (Origin::start().await, Gate::closed());
    origin.on("*", fresh("hello"));
    origin.on("/slow", fresh("slow").held(&gate));
    let other = "routes:\n  - { name: other, match: { path: /other }, origin: api }\n";
    let yaml = all_to(&origin).origin(NOBODY_WAITS).origin("max_connections: 2");
    let text = yaml.route("max_fetches: 1").text().replacen("routes:\n", other, 1);
    let larder = Larder::start(&text).await;
    with_one_under_way((origin, larder, gate), async |_, larder, _| {
        overloaded(&get(larder.url("/miss")).await);
        get(larder.url("/other")).await.is("MISS", "ORIGIN");
    })
    .await;
}

#[tokio::test]
async fn who_waits_gets_the_place_that_becomes_free_and_no_more_wait_than_may() {
    let queue = "queue: { length: 1, timeout: 30s }";
    let stage = busy(|yaml| yaml.origin(queue).origin("max_connections: 1")).await;
    with_one_under_way(stage, async |origin, larder, gate| {
        let (one, other) = (get(larder.url("/a")).attempt(), get(larder.url("/b")).attempt());
        let (first, second) = select(Box::pin(one), Box::pin(other)).await.factor_first();
        overloaded(&first.unwrap());
        assert_eq!(origin.count("/a") + origin.count("/b"), 0);
        gate.open();
        second.await.unwrap().is("MISS", "ORIGIN").has_status(200);
    })
    .await;
}

#[tokio::test]
async fn what_is_stale_stands_in_where_it_may() {
    let stage = busy(|yaml| yaml.origin(NOBODY_WAITS).route("max_fetches: 1")).await;
    let old = ok("old").field("Cache-Control", "max-age=0, stale-if-error=600");
    stage.0.on("/stale", old.field("ETag", "\"a\""));
    get(stage.1.url("/stale")).await.has_status(200);
    with_one_under_way(stage, async |_, larder, _| {
        let reply = get(larder.url("/stale")).await;
        reply.is("STALE", "L1").has_status(200).says("old");
        assert!(reply.field("cache-status").contains("; hit"), "{reply:?}");
    })
    .await;
}
