//! The walk that gives back the room of purged entries in Redis.

use std::sync::atomic::Ordering;
use std::time::Duration;

use larder::entry::Entry;
use larder::entry::facts::Mark;
use larder::store::Store;
use larder::store::redis::sweep::{Sweeper, Walk};

use crate::benches::{Bench, InRedis, redis, redis_settings};
use crate::entries::of;
use crate::support::PATIENCE;

fn is_young(entry: &Entry) -> bool {
    entry.facts.as_of >= Mark::new(10, 0)
}

async fn walk(sweeper: &Sweeper, known: u64) -> Walk {
    sweeper.walk(Mark::new(known, 0), is_young).await.unwrap()
}

#[tokio::test]
async fn what_is_not_kept_is_removed_and_the_rest_stays() {
    let bench = InRedis::start().await;
    for number in 0..300 {
        let recipe =
            of(&format!("http://h/{number}")).fetched_at(if number < 200 { 1 } else { 10 });
        bench.entries.put(&recipe.place(), recipe.entry()).await.unwrap();
    }
    bench.settle().await;
    bench.server.run(&["SET", "cache:shop:products:odd", "not ours", "EX", "100"]).await;
    bench.server.run(&["SET", "cache:other:x", "not ours", "EX", "100"]).await;
    assert_eq!(walk(&bench.entries.sweeper(), 10).await, Walk::Done(200));
    assert_eq!(bench.server.keys("cache:shop:products:*").await.len(), 101);
    assert_eq!(bench.server.keys("cache:other:*").await.len(), 1);
    assert_eq!(bench.entries.counts().swept.load(Ordering::Relaxed), 200);
    assert!(bench.body(&of("http://h/250"), &http::HeaderMap::new()).await.is_some());
}

#[tokio::test]
async fn of_a_url_only_the_purged_variants_go() {
    let bench = InRedis::start().await;
    let url = of("http://h/a");
    bench.put(&url.clone().varies("x-a", "1").says("old").fetched_at(1)).await;
    bench.put(&url.clone().varies("x-a", "2").says("new").fetched_at(10)).await;
    assert_eq!(walk(&bench.entries.sweeper(), 10).await, Walk::Done(1));
    let asks = |value| crate::entries::request("x-a", value);
    assert_eq!(bench.body(&url, &asks("1")).await, None);
    assert_eq!(bench.body(&url, &asks("2")).await.as_deref(), Some("new"));
}

#[tokio::test]
async fn one_instance_walks_at_a_time_and_none_for_nothing() {
    let bench = InRedis::start().await;
    for number in 0..300 {
        let recipe = of(&format!("http://h/{number}")).fetched_at(10);
        bench.entries.put(&recipe.place(), recipe.entry()).await.unwrap();
    }
    bench.settle().await;
    let other = redis(&redis_settings(&bench.server, "b")).entries().sweeper();
    let first = bench.entries.sweeper();
    let (one, two) = tokio::join!(walk(&first, 10), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        walk(&other, 10).await
    });
    assert_eq!((one, two), (Walk::Done(0), Walk::Theirs));
    assert_eq!(walk(&other, 10).await, Walk::Needless);
    assert_eq!(walk(&other, 11).await, Walk::Done(0));
    for key in bench.server.keys("larder:*").await {
        let left = bench.server.seconds_left(&key).await;
        assert!(left > 0, "{key} has no end");
    }
}

#[tokio::test]
async fn an_instance_that_died_in_its_walk_is_not_waited_for_for_ever() {
    let bench = InRedis::start().await;
    bench.server.run(&["SET", "larder:{shop}:sweep", "another's", "PX", "300"]).await;
    let sweeper = bench.entries.sweeper();
    assert_eq!(walk(&sweeper, 10).await, Walk::Theirs);
    let done = crate::support::until("its turn is over", async || {
        (walk(&sweeper, 10).await == Walk::Done(0)).then_some(())
    });
    tokio::time::timeout(PATIENCE, done).await.unwrap();
}
