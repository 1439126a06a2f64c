//! One fetch serves all who wait for it; what cannot be shared is fetched side by side.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::support::answer::{Crowd, Gate, close, fresh, ok, status};
use crate::support::client::get;
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::reply::Reply;
use crate::support::yaml::all_to;
use crate::support::{beside, until};

/// So many clients ask for the path at once.
fn herd(larder: &Larder, path: &str, size: usize) -> JoinSet<Reply> {
    let mut clients = JoinSet::new();
    for _ in 0..size {
        let url = larder.url(path);
        clients.spawn(async move { get(url).await });
    }
    clients
}

#[tokio::test]
async fn two_hundred_cold_requests_are_one_fetch() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("x".repeat(10_000)).after(Duration::from_millis(500)));
    let larder = all_to(&origin).start().await;
    let replies = herd(&larder, "/x", 200).join_all().await;
    assert_eq!(origin.count("/x"), 1);
    let body = "x".repeat(10_000);
    for reply in &replies {
        assert!(reply.status == 200 && reply.text() == body, "{reply:?}");
    }
    let outcome = |name: &str| replies.iter().filter(|reply| reply.outcome() == name).count();
    assert_eq!(outcome("MISS"), 1);
    assert!(outcome("COALESCED") > 100, "{} of 200 joined", outcome("COALESCED"));
    assert_eq!(outcome("MISS") + outcome("COALESCED") + outcome("HIT"), 200);
    get(larder.url("/x")).await.is("HIT", "L1");
}

#[tokio::test]
async fn a_first_client_that_leaves_does_not_ground_the_flight() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/x", fresh("hello").held(&gate));
    let larder = all_to(&origin).start().await;
    let first = beside(get(larder.url("/x")).open());
    origin.seen("/x", 1).await;
    let others = herd(&larder, "/x", 199);
    first.abort();
    assert!(first.await.is_err(), "the first client has left");
    gate.open();
    for reply in others.join_all().await {
        reply.has_status(200).says("hello");
    }
    assert_eq!(origin.count("/x"), 1);
}

#[tokio::test]
async fn a_flight_whose_only_client_left_still_lands() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/x", fresh("hello").held(&gate));
    let larder = all_to(&origin).start().await;
    let first = beside(get(larder.url("/x")).open());
    origin.seen("/x", 1).await;
    first.abort();
    let _left = first.await;
    gate.open();
    let reply = until("the entry is there", async || {
        let reply = get(larder.url("/x")).await;
        (reply.outcome() == "HIT").then_some(reply)
    })
    .await;
    reply.says("hello");
    assert_eq!(origin.count("/x"), 1);
}

#[tokio::test]
async fn followers_stream_from_the_fetch_while_it_arrives() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/x", fresh("first").pause(&gate).chunk("last"));
    let larder = all_to(&origin).start().await;
    let mut leader = get(larder.url("/x")).open().await;
    assert_eq!(leader.at_least(5).await, b"first");
    let mut followers = Vec::new();
    for _ in 0..5 {
        let mut follower = get(larder.url("/x")).open().await;
        assert_eq!(follower.at_least(5).await, b"first");
        followers.push(follower);
    }
    gate.open();
    for follower in followers {
        assert_eq!(follower.rest().await.unwrap(), "last");
    }
    assert_eq!(leader.rest().await.unwrap(), "last");
    assert_eq!(origin.count("/x"), 1);
    get(larder.url("/x")).await.is("HIT", "L1").says("firstlast");
}

#[tokio::test]
async fn followers_go_on_when_the_leader_leaves_in_the_middle_of_the_body() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/x", fresh("first").pause(&gate).chunk("last"));
    let larder = all_to(&origin).start().await;
    let mut leader = get(larder.url("/x")).open().await;
    assert_eq!(leader.at_least(5).await, b"first");
    let follower = get(larder.url("/x")).open().await;
    drop(leader);
    gate.open();
    assert_eq!(follower.rest().await.unwrap(), "firstlast");
    assert_eq!(origin.count("/x"), 1);
}

#[tokio::test]
async fn a_slow_reader_does_not_hold_up_the_others() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("x".repeat(900_000)).after(Duration::from_millis(200)));
    let larder = all_to(&origin).start().await;
    let slow = beside(get(larder.url("/x")).open());
    origin.seen("/x", 1).await;
    // The slow one reads nothing of its body until the others have all of theirs.
    for reply in herd(&larder, "/x", 10).join_all().await {
        assert_eq!(reply.body.len(), 900_000);
    }
    assert_eq!(slow.await.unwrap().rest().await.unwrap().len(), 900_000);
}

#[tokio::test]
async fn two_hundred_uncacheable_requests_go_side_by_side() {
    let origin = Origin::start().await;
    // The first answer tells that it may not be shared; the other 199 then must all be in the air at once.
    let crowd = Crowd::of(199);
    let mut asked = 0;
    origin.with("/x", move |_| {
        asked += 1;
        let answer = ok(format!("answer {asked}")).field("Cache-Control", "no-store");
        if asked == 1 {
            answer.after(Duration::from_millis(500))
        } else {
            answer.with_crowd(&crowd)
        }
    });
    let larder = all_to(&origin)
        .origin("max_connections: 256")
        // So many connections at once take their time on a busy machine.
        .origin("timeouts: { connect: 10s, first_byte: 20s }")
        .start()
        .await;
    let replies = herd(&larder, "/x", 200).join_all().await;
    let mut bodies: Vec<_> =
        replies.iter().map(|reply| reply.has_status(200).text().to_owned()).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 200, "each has an answer of its own");
    assert_eq!(origin.count("/x"), 200);
}

#[tokio::test]
async fn an_url_that_was_uncacheable_does_not_queue_again_and_recovers() {
    let origin = Origin::start().await;
    let crowd = Crowd::of(50);
    origin.on("/x", ok("mine").field("Cache-Control", "private"));
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).await.is_not("HIT");
    origin.on("/x", ok("mine").field("Cache-Control", "private").with_crowd(&crowd));
    for reply in herd(&larder, "/x", 50).join_all().await {
        reply.has_status(200).says("mine");
    }
    origin.on("/x", fresh("ours"));
    until("it is cached again", async || {
        (get(larder.url("/x")).await.outcome() == "HIT").then_some(())
    })
    .await;
}

#[tokio::test]
async fn errors_that_may_not_be_shared_do_not_queue() {
    let origin = Origin::start().await;
    origin.on("/x", status(500).chunk("oops").after(Duration::from_millis(800)));
    let larder = all_to(&origin).start().await;
    let since = Instant::now();
    for reply in herd(&larder, "/x", 100).join_all().await {
        reply.has_status(500).says("oops");
    }
    // One after another would take 80 seconds; side by side it takes one or two rounds.
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_herd_on_an_origin_that_breaks_fails_together_and_at_once() {
    let origin = Origin::start().await;
    origin.on("/x", close().after(Duration::from_millis(800)));
    let larder = all_to(&origin).start().await;
    let since = Instant::now();
    for reply in herd(&larder, "/x", 100).join_all().await {
        reply.is_problem(502);
    }
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    assert!(origin.count("/x") <= 6, "{} requests for one herd", origin.count("/x"));
}

#[tokio::test]
async fn a_herd_on_an_origin_that_is_too_slow_fails_together_and_at_once() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/x", fresh("never").held(&gate));
    let yaml = all_to(&origin)
        .origin("timeouts: { first_byte: 1500ms }")
        .origin("retries: { attempts: 0 }");
    let larder = yaml.start().await;
    let since = Instant::now();
    for reply in herd(&larder, "/x", 100).join_all().await {
        reply.is_problem(504);
    }
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    assert!(origin.count("/x") <= 4, "{} requests for one herd", origin.count("/x"));
}

#[tokio::test]
async fn followers_of_another_variant_get_their_own() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let held = gate.clone();
    origin.with("/x", move |asked| {
        fresh(asked.field("x-kind").to_owned()).field("Vary", "X-Kind").held(&held)
    });
    let larder = all_to(&origin).start().await;
    let mut clients = JoinSet::new();
    for n in 0..20 {
        let url = larder.url("/x");
        let kind = ["a", "b"][n % 2];
        clients.spawn(async move {
            get(url).with("X-Kind", kind).await.has_status(200).says(kind);
        });
    }
    origin.seen("/x", 1).await;
    gate.open();
    clients.join_all().await;
    for kind in ["a", "b"] {
        get(larder.url("/x")).with("X-Kind", kind).await.is("HIT", "L1").says(kind);
    }
}

#[tokio::test]
async fn a_route_may_do_without_coalescing() {
    let origin = Origin::start().await;
    let crowd = Crowd::of(5);
    origin.on("/x", fresh("hello").with_crowd(&crowd));
    let larder = all_to(&origin).route("coalesce: false").start().await;
    for reply in herd(&larder, "/x", 5).join_all().await {
        reply.has_status(200).says("hello");
    }
    assert_eq!(origin.count("/x"), 5);
}

#[tokio::test]
async fn a_body_that_turns_out_too_large_is_served_whole_to_all_and_kept_by_none() {
    let origin = Origin::start().await;
    let part = "x".repeat(150_000);
    origin.on("/x", fresh("").chunk(part.clone()).chunk(part.clone()).chunk(part.clone()));
    let small = "l1: { capacity: 4MiB, max_object: 64KiB }";
    let larder = all_to(&origin).top(small).start().await;
    let mut clients = JoinSet::new();
    for _ in 0..5 {
        let url = larder.url("/x");
        clients.spawn(async move { get(url).await.has_status(200).body.len() });
    }
    for length in clients.join_all().await {
        assert_eq!(length, 3 * part.len());
    }
    get(larder.url("/x")).await.is("MISS", "ORIGIN").says(&part.repeat(3));
}
