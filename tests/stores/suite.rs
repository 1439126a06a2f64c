//! What every store promises, whatever it is made of.

use std::time::Duration;

use http::HeaderMap;
use http::header::SET_COOKIE;
use larder::entry::Stored;
use larder::key::vary::{Selector, VaryRules};
use larder::message::air::Air;
use larder::message::fill::Fill;
use larder::store::{Store, StoreError};

use crate::benches::{
    BehindSentinel, Bench, InCluster, InMemory, InRedis, MAX_OBJECT, OnDisk, Secured, body,
};
use crate::entries::{of, request};
use crate::support::beside;

macro_rules! suite {
    ($($store:ident: $bench:ty),+; $cases:tt) => { $(suite!(@store $store, $bench, $cases);)+ };
    (@store $store:ident, $bench:ty, [$($case:ident),+ $(,)?]) => {
        mod $store {
            use crate::benches::Bench;

            $(#[tokio::test]
            async fn $case() {
                super::$case(<$bench>::start().await).await;
            })+
        }
    };
}

suite! {
    memory: super::InMemory, disk: super::OnDisk, redis: super::InRedis, cluster: super::InCluster,
    sentinel: super::BehindSentinel, secured: super::Secured;
    [
        what_is_put_comes_back_as_it_was,
        what_was_never_put_is_absent,
        a_request_gets_the_variant_that_it_selects,
        of_two_variants_that_a_request_selects_it_gets_the_newest,
        a_url_keeps_its_newest_variants_up_to_its_cap,
        a_younger_fetch_replaces_and_an_older_one_does_not,
        a_removal_takes_all_variants,
        what_is_put_after_a_removal_stays,
        a_large_object_is_refused,
        a_body_that_still_arrives_is_refused,
        many_writers_at_once_lose_nothing,
        calls_come_from_any_runtime,
    ]
}

fn anything() -> HeaderMap {
    HeaderMap::new()
}

async fn what_is_put_comes_back_as_it_was(bench: impl Bench) {
    let recipe = of("http://h/a").fetched_at(7).says([0, 255, b'x']);
    bench.put(&recipe).await;
    let (fields, rules) = (anything(), VaryRules::default());
    let selector = Selector { fields: &fields, rules: &rules };
    let (put, found) = (recipe.entry(), bench.store().get(&recipe.place(), &selector).await);
    let found = found.unwrap().unwrap();
    assert_eq!((&found.facts, found.head()), (&put.facts, put.head()));
    assert_eq!(found.bytes(), put.bytes());
    assert_eq!(found.freshness().lifetime, put.freshness().lifetime);
    assert_eq!(found.fields().get_all(SET_COOKIE).iter().count(), 2);
}

async fn what_was_never_put_is_absent(bench: impl Bench) {
    bench.put(&of("http://h/a")).await;
    assert_eq!(bench.body(&of("http://h/b"), &anything()).await, None);
}

async fn a_request_gets_the_variant_that_it_selects(bench: impl Bench) {
    let url = of("http://h/a");
    for coding in ["br", "gzip"] {
        bench.put(&url.clone().varies("accept-encoding", coding).says(coding)).await;
    }
    for coding in ["br", "gzip"] {
        let body = bench.body(&url, &request("accept-encoding", coding)).await;
        assert_eq!(body.as_deref(), Some(coding));
    }
    assert_eq!(bench.body(&url, &request("accept-encoding", "zstd")).await, None);
    assert_eq!(bench.body(&url, &anything()).await, None);
}

async fn of_two_variants_that_a_request_selects_it_gets_the_newest(bench: impl Bench) {
    let url = of("http://h/a");
    let old = Duration::from_secs(5);
    bench.put(&url.clone().says("plain").received_before(old)).await;
    bench.put(&url.clone().varies("x-a", "1").says("by a").received_before(old / 5)).await;
    bench.put(&url.clone().varies("x-b", "1").says("by b").received_before(old / 2)).await;
    let mut both = request("x-a", "1");
    both.insert("x-b", "1".parse().unwrap());
    assert_eq!(bench.body(&url, &both).await.as_deref(), Some("by a"));
    assert_eq!(bench.body(&url, &request("x-b", "1")).await.as_deref(), Some("by b"));
    assert_eq!(bench.body(&url, &anything()).await.as_deref(), Some("plain"));
}

async fn a_url_keeps_its_newest_variants_up_to_its_cap(bench: impl Bench) {
    let url = of("http://h/a").among(3);
    for number in 0..6_u32 {
        let age = Duration::from_secs(30 - u64::from(number));
        let value = number.to_string();
        bench.put(&url.clone().varies("x-n", &value).says(&value).received_before(age)).await;
    }
    for number in 0..6_u32 {
        let value = number.to_string();
        let body = bench.body(&url, &request("x-n", &value)).await;
        assert_eq!(body, (number >= 3).then_some(value), "variant {number}");
    }
}

async fn a_younger_fetch_replaces_and_an_older_one_does_not(bench: impl Bench) {
    let url = of("http://h/a");
    bench.put(&url.clone().fetched_at(5).says("five")).await;
    bench.put(&url.clone().fetched_at(4).says("four")).await;
    assert_eq!(bench.body(&url, &anything()).await.as_deref(), Some("five"));
    bench.put(&url.clone().fetched_at(6).says("six")).await;
    assert_eq!(bench.body(&url, &anything()).await.as_deref(), Some("six"));
}

async fn a_removal_takes_all_variants(bench: impl Bench) {
    let (url, other) = (of("http://h/a"), of("http://h/b"));
    bench.put(&url.clone().varies("x-a", "1")).await;
    bench.put(&url).await;
    bench.put(&other).await;
    bench.store().remove(&url.place()).await.unwrap();
    bench.settle().await;
    assert_eq!(bench.body(&url, &anything()).await, None);
    assert_eq!(bench.body(&url, &request("x-a", "1")).await, None);
    assert!(bench.body(&other, &anything()).await.is_some());
}

async fn what_is_put_after_a_removal_stays(bench: impl Bench) {
    let url = of("http://h/a");
    bench.put(&url.clone().fetched_at(9).says("before")).await;
    bench.store().remove(&url.place()).await.unwrap();
    bench.put(&url.clone().fetched_at(1).says("after")).await;
    assert_eq!(bench.body(&url, &anything()).await.as_deref(), Some("after"));
}

async fn a_large_object_is_refused(bench: impl Bench) {
    let (largest, larger) = (vec![b'x'; MAX_OBJECT], vec![b'x'; MAX_OBJECT + 1]);
    let url = of("http://h/a");
    bench.put(&url.clone().says(&largest)).await;
    assert_eq!(bench.body(&url, &anything()).await.map(|body| body.len()), Some(MAX_OBJECT));
    let larger = of("http://h/b").says(&larger);
    let refused = bench.store().put(&larger.place(), larger.entry()).await;
    assert!(matches!(refused, Err(StoreError::TooLarge)), "{refused:?}");
    bench.settle().await;
    assert_eq!(bench.body(&larger, &anything()).await, None);
}

async fn a_body_that_still_arrives_is_refused(bench: impl Bench) {
    let url = of("http://h/a");
    let (_writer, fill) = Fill::open(10, Air::bounded(10).take(0).unwrap());
    let arriving = url.entry_with(Stored::arriving(fill, Some(1)));
    assert!(bench.store().put(&url.place(), arriving).await.is_err());
    bench.settle().await;
    assert_eq!(bench.body(&url, &anything()).await, None);
}

async fn many_writers_at_once_lose_nothing(bench: impl Bench) {
    let mut writers = Vec::new();
    for url in 0..40 {
        for variant in 0..4 {
            let store = bench.store().clone();
            let recipe = of(&format!("http://h/{url}")).varies("x-n", &variant.to_string());
            writers.push(beside(async move { store.put(&recipe.place(), recipe.entry()).await }));
        }
    }
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    bench.settle().await;
    for url in 0..40 {
        for variant in 0..4 {
            let request = request("x-n", &variant.to_string());
            let body = bench.body(&of(&format!("http://h/{url}")), &request).await;
            assert!(body.is_some(), "variant {variant} of {url} is lost");
        }
    }
}

/// A worker's runtime may have one thread, and end before the store does.
async fn calls_come_from_any_runtime(bench: impl Bench) {
    let url = of("http://h/a");
    let (store, recipe) = (bench.store().clone(), url.clone());
    let elsewhere = |task| {
        tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(task)
        })
    };
    let task: std::pin::Pin<Box<dyn Future<Output = Option<String>> + Send>> =
        Box::pin(async move {
            store.put(&recipe.place(), recipe.entry()).await.unwrap();
            body(&store, &recipe, &HeaderMap::new()).await.unwrap()
        });
    elsewhere(task).await.unwrap();
    bench.settle().await;
    let (store, recipe) = (bench.store().clone(), url.clone());
    let task: std::pin::Pin<Box<dyn Future<Output = Option<String>> + Send>> =
        Box::pin(async move { body(&store, &recipe, &HeaderMap::new()).await.unwrap() });
    assert!(elsewhere(task).await.unwrap().is_some());
    assert!(
        bench.body(&url, &anything()).await.is_some(),
        "the store ended with a caller's runtime"
    );
}
