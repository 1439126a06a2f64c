//! One fetch in the fleet, whoever asks and whoever is killed: one more for each holder that dies, within the bound.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::load::NOISE;
use crate::support::answer::{Gate, fresh};
use crate::support::client::get;
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::redis::RedisServer;
use crate::support::until;
use crate::support::yaml::all_to;

/// The key must not depend on the instance's own port.
const HOST: &str = "shop.example";
/// The longest that anybody waits for a holder.
const LEASE: Duration = Duration::from_secs(3);

/// That many clients ask at once; each must get the page.
fn herd(larder: &Larder, path: &str, clients: usize) -> JoinSet<()> {
    let mut herd = JoinSet::new();
    for _ in 0..clients {
        let url = larder.url(path);
        herd.spawn(async move {
            get(url).with("Host", HOST).await.has_status(200).says("hello");
        });
    }
    herd
}

/// Waits until an instance waits for the other's fetch.
async fn until_waited_for(larder: &Larder, before: u64) {
    until("the other instance waits", async || {
        (larder.metric("larder_leases_waited_total", &[]).await > before).then_some(())
    })
    .await;
}

async fn waited(larder: &Larder) -> u64 {
    larder.metric("larder_leases_waited_total", &[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_on_each_of_two_instances_are_one_request_to_the_origin() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/x", fresh("hello").held(&gate));
    let yaml = all_to(&origin).redis(redis.port());
    let (one, two) = (yaml.start().await, yaml.start().await);
    let first = herd(&one, "/x", 200);
    origin.seen("/x", 1).await;
    let second = herd(&two, "/x", 200);
    until_waited_for(&two, 0).await;
    gate.open();
    first.join_all().await;
    second.join_all().await;
    assert_eq!(origin.count("/x"), 1);
}

/// `LARDER_LEASE_KILLS` says how often; a few times in the suite.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_is_killed_in_the_midst_of_its_fetch_costs_one_more_within_the_bound() {
    let kills = std::env::var("LARDER_LEASE_KILLS").ok().map(|text| text.parse().unwrap());
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    let yaml = all_to(&origin).redis(redis.port());
    let (mut victim, other) = (yaml.start().await, yaml.start().await);
    let mut longest = Duration::ZERO;
    for round in 0..kills.unwrap_or(2) {
        let path = format!("/{round}");
        let gate = Gate::closed();
        // The holder's own fetch never ends; the next one does at once.
        origin.script(&path, [fresh("hello").held(&gate), fresh("hello")]);
        let mut lost = herd(&victim, &path, 20);
        origin.seen(&path, 1).await;
        let before = waited(&other).await;
        let begun = Instant::now();
        let saved = herd(&other, &path, 200);
        until_waited_for(&other, before).await;
        // Its clients leave before: the fetch goes on without them.
        lost.shutdown().await;
        victim.kill();
        saved.join_all().await;
        longest = longest.max(begun.elapsed());
        assert_eq!(origin.count(&path), 2, "round {round}");
        gate.open();
        victim.start_again().await;
    }
    eprintln!("the longest wait was {longest:?}");
    assert!(longest < LEASE + NOISE * 2, "somebody waited {longest:?}");
}

#[tokio::test]
async fn a_route_may_coalesce_within_each_instance_alone() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/x", fresh("hello").held(&gate));
    let yaml = all_to(&origin).redis(redis.port()).route("coalesce: process");
    let (one, two) = (yaml.start().await, yaml.start().await);
    let (first, second) = (herd(&one, "/x", 10), herd(&two, "/x", 10));
    // Nobody waits for the other's fetch, which does not end.
    origin.seen("/x", 2).await;
    gate.open();
    first.join_all().await;
    second.join_all().await;
    assert_eq!(origin.count("/x"), 2);
    for instance in [&one, &two] {
        assert_eq!(instance.metric("larder_leases_taken_total", &[]).await, 0);
    }
}
