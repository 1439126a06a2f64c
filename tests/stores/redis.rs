//! L2 in Redis: what it writes, what it does with what it did not write, and what it costs when Redis is in trouble.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::HeaderMap;
use larder::breaker::{self, State};
use larder::entry::seal::{Seal, Spot};
use larder::entry::wire;
use larder::store::redis::entries::Entries;
use larder::store::redis::{Redis, Settings};
use larder::store::{Store, StoreError};
use redis::Value;
use tokio::time::Instant;

use crate::benches::{Bench, InRedis, body, redis, redis_settings};
use crate::entries::{Recipe, key, of, request};
use crate::support::redis::RedisServer;
use crate::support::{PATIENCE, beside, until, within};

const TIMEOUT: Duration = Duration::from_millis(50);

/// With the deadline that is shipped, and a breaker that would by itself stay open for longer than a test takes.
fn strict(server: &RedisServer) -> (Redis, Entries) {
    let breaker = breaker::Settings { failures: 5, open_for: PATIENCE * 10 };
    let redis = redis(&Settings { timeout: TIMEOUT, breaker, ..redis_settings(server, "a") });
    let entries = redis.entries();
    (redis, entries)
}

async fn get(entries: &Entries, recipe: &Recipe) -> Result<Option<String>, StoreError> {
    body(entries, recipe, &HeaderMap::new()).await
}

/// Waits until the store answers, which a busy machine may delay.
async fn until_found(entries: &Entries, recipe: &Recipe) {
    until("the entry is found", async || get(entries, recipe).await.ok().flatten()).await;
}

fn name(recipe: &Recipe) -> String {
    format!("cache:shop:products:{}", recipe.place().key)
}

async fn raw(bench: &InRedis, command: &[&[u8]]) -> Value {
    let client = redis::Client::open(bench.server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut call = redis::Cmd::new();
    for part in command {
        call.arg(*part);
    }
    call.query_async(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_url_with_all_its_variants_is_one_key_that_ends_with_its_last_use() {
    let bench = InRedis::start().await;
    let url = of("http://h/Secret?user=1");
    bench.put(&url.clone().lives(Duration::from_secs(100))).await;
    bench.put(&url.clone().varies("x-a", "1").lives(Duration::from_mins(5))).await;
    bench.put(&url.clone().varies("x-a", "2").lives(Duration::from_secs(200))).await;
    assert_eq!(bench.server.keys("*").await, [name(&url)]);
    let left = bench.server.seconds_left(&name(&url)).await;
    assert!((290..=300).contains(&left), "{left} s");
}

/// What is of use for a day ends with its cap, and the longest of all variants counts.
#[tokio::test]
async fn a_cap_ends_each_variant_and_the_key_with_the_last_of_them() {
    let bench = InRedis::start().await;
    let url = of("http://h/a").lives(Duration::from_hours(24));
    bench.put(&url.clone().varies("x-a", "1").capped_at(Duration::from_secs(100))).await;
    let left = bench.server.seconds_left(&name(&url)).await;
    assert!((90..=100).contains(&left), "{left} s");
    bench.put(&url.clone().varies("x-a", "2").capped_at(Duration::from_secs(50))).await;
    let left = bench.server.seconds_left(&name(&url)).await;
    assert!((90..=100).contains(&left), "{left} s");
    let old = url.varies("x-a", "3").received_before(Duration::from_mins(1));
    let old = old.capped_at(Duration::from_secs(50));
    bench.put(&old).await;
    assert_eq!(bench.body(&old, &request("x-a", "3")).await, None, "it was over before it came");
}

#[tokio::test]
async fn variants_of_no_more_use_are_pruned_by_the_next_write() {
    let bench = InRedis::start().await;
    let url = of("http://h/a");
    bench.put(&url.clone().varies("x-a", "1").lives(Duration::from_millis(1))).await;
    bench.put(&url.clone().varies("x-a", "2")).await;
    bench.put(&url.clone().varies("x-a", "3")).await;
    let fields = raw(&bench, &[b"HLEN", name(&url).as_bytes()]).await;
    assert_eq!(fields, Value::Int(3), "an index and two variants");
}

#[tokio::test]
async fn entries_outlive_the_instance_and_are_flushed_when_it_closes() {
    let server = RedisServer::start().await;
    let first = redis(&redis_settings(&server, "a"));
    for number in 0..200 {
        let recipe = of(&format!("http://h/{number}"));
        first.entries().put(&recipe.place(), recipe.entry()).await.unwrap();
    }
    first.close(PATIENCE).await;
    let second = redis(&redis_settings(&server, "b")).entries();
    for number in 0..200 {
        let recipe = of(&format!("http://h/{number}"));
        assert!(get(&second, &recipe).await.unwrap().is_some(), "{number} is lost");
    }
}

#[tokio::test]
async fn what_is_no_entry_is_absent_then_deleted_and_counted_by_reason() {
    let bench = InRedis::start().await;
    let url = of("http://h/a");
    bench.put(&url).await;
    let name = name(&url);
    let spot = Spot { slot: &name, field: "0", key: url.place().key };
    let encode = |recipe: &Recipe| {
        wire::encode(&recipe.entry(), &Seal::default(), &spot, [0; 12]).unwrap().bytes
    };
    let other = encode(&of("http://h/b"));
    let mut flipped = encode(&url).to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let mut later = encode(&url).to_vec();
    later[4] = 99;
    let key = name.as_bytes();
    let garbage: [(&[&[u8]], &str); 7] = [
        (&[b"HSET", key, b"0", b"nonsense"], "foreign"),
        (&[b"HSET", key, b"0", &other], "other_key"),
        (&[b"HSET", key, b"0", &flipped], "digest"),
        (&[b"HSET", key, b"0", &flipped[..60]], "cut"),
        (&[b"HSET", key, b"0", &later], "version"),
        (&[b"HSET", key, b"v", b"nonsense"], "index"),
        (&[b"HDEL", key, b"v"], "index"),
    ];
    for (command, reason) in garbage {
        bench.put(&url).await;
        assert!(bench.body(&url, &HeaderMap::new()).await.is_some());
        let before = unreadable(&bench, reason);
        raw(&bench, command).await;
        assert_eq!(bench.body(&url, &HeaderMap::new()).await, None, "{reason}");
        bench.settle().await;
        assert_eq!(bench.server.keys("*").await, [""; 0], "{reason} is deleted");
        assert_eq!(unreadable(&bench, reason), before + 1, "{reason}");
    }
}

fn unreadable(bench: &InRedis, reason: &str) -> u64 {
    bench.redis.counts().unreadable().find(|(label, _)| *label == reason).unwrap().1
}

#[tokio::test]
async fn a_key_of_another_type_gives_way() {
    let bench = InRedis::start().await;
    let url = of("http://h/a");
    bench.server.run(&["SET", &name(&url), "text", "EX", "100"]).await;
    assert_eq!(bench.body(&url, &HeaderMap::new()).await, None);
    bench.server.run(&["SET", &name(&url), "text", "EX", "100"]).await;
    bench.put(&url).await;
    assert!(bench.body(&url, &HeaderMap::new()).await.is_some());
}

#[tokio::test]
async fn a_damaged_index_gives_way_to_the_next_write() {
    for index in [&b"nonsense"[..], b"\x91\x01", b"\xc0", b"\x91\x92\xa1x\xa0"] {
        let bench = InRedis::start().await;
        let url = of("http://h/a").varies("x-a", "1");
        raw(&bench, &[b"HSET", name(&url).as_bytes(), b"v", index]).await;
        raw(&bench, &[b"EXPIRE", name(&url).as_bytes(), b"100"]).await;
        bench.put(&url).await;
        assert!(bench.body(&url, &request("x-a", "1")).await.is_some(), "{index:?}");
    }
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_is_taught_them_again() {
    let bench = InRedis::start().await;
    bench.put(&of("http://h/a")).await;
    bench.server.run(&["SCRIPT", "FLUSH"]).await;
    bench.put(&of("http://h/b")).await;
    assert!(bench.body(&of("http://h/b"), &HeaderMap::new()).await.is_some());
}

#[tokio::test]
async fn start_up_does_not_need_redis_which_is_taken_up_when_it_comes() {
    let mut server = RedisServer::start().await;
    server.kill();
    let (redis, entries) = strict(&server);
    let url = of("http://h/a");
    assert!(within("an answer without a server", get(&entries, &url)).await.is_err());
    server.restart().await;
    until("the server is taken up", async || {
        let _away = entries.put(&url.place(), url.entry()).await;
        get(&entries, &url).await.ok().flatten()
    })
    .await;
    assert!(redis.is_up());
}

#[tokio::test]
async fn a_hung_server_costs_one_deadline_per_read_until_the_breaker_opens_and_then_nothing() {
    let server = RedisServer::start().await;
    let (redis, entries) = strict(&server);
    let url = of("http://h/a");
    until("the entry is written", async || {
        let _away = entries.put(&url.place(), url.entry()).await;
        get(&entries, &url).await.ok().flatten()
    })
    .await;
    server.pause();
    let mut late = 0;
    while redis.breaker_state() == State::Closed {
        let asked = Instant::now();
        let answer = get(&entries, &url).await;
        assert!(matches!(answer, Err(StoreError::Late(_) | StoreError::Away(_))), "{answer:?}");
        assert!(asked.elapsed() < TIMEOUT * 10, "{:?}", asked.elapsed());
        late += 1;
        assert!(late <= 20, "the breaker does not open");
    }
    let asked = Instant::now();
    for _ in 0..1000 {
        assert!(matches!(get(&entries, &url).await, Err(StoreError::Open)));
    }
    assert!(asked.elapsed() < TIMEOUT * 10, "a thousand refusals took {:?}", asked.elapsed());
    let refused = entries.put(&url.place(), url.entry()).await;
    assert!(matches!(refused, Err(StoreError::Open)), "{refused:?}");
    server.resume();
    let resumed = Instant::now();
    until_found(&entries, &url).await;
    assert!(resumed.elapsed() < Duration::from_secs(8), "{:?}", resumed.elapsed());
}

#[tokio::test]
async fn a_server_that_is_killed_costs_nothing_and_is_taken_up_again() {
    let mut server = RedisServer::start().await;
    let (_redis, entries) = strict(&server);
    let url = of("http://h/a");
    until("the entry is written", async || {
        let _away = entries.put(&url.place(), url.entry()).await;
        get(&entries, &url).await.ok().flatten()
    })
    .await;
    server.kill();
    until("the loss is noticed", async || get(&entries, &url).await.is_err().then_some(())).await;
    let asked = Instant::now();
    for _ in 0..200 {
        assert!(get(&entries, &url).await.is_err());
    }
    assert!(asked.elapsed() < TIMEOUT * 20, "200 refusals took {:?}", asked.elapsed());
    server.restart().await;
    until("the server is taken up", async || {
        let _away = entries.put(&url.place(), url.entry()).await;
        get(&entries, &url).await.ok().flatten()
    })
    .await;
}

#[tokio::test]
async fn a_full_queue_drops_and_counts_and_repeated_writes_take_one_place() {
    let server = RedisServer::start().await;
    let redis = redis(&Settings { write_queue: 3, ..redis_settings(&server, "a") });
    let entries = redis.entries();
    assert!(get(&entries, &of("http://h/0")).await.unwrap().is_none());
    server.pause();
    let mut full = 0;
    for number in 0..200 {
        let recipe = of(&format!("http://h/{number}"));
        match entries.put(&recipe.place(), recipe.entry()).await {
            Ok(()) => {}
            Err(StoreError::QueueFull) => full += 1,
            Err(error) => panic!("{error}"),
        }
        // Until the writer holds all that it can, the queue may take more than its size.
        tokio::task::yield_now().await;
    }
    assert!(full > 0 && entries.queued() <= 3);
    assert_eq!(redis.counts().queue_full.load(Ordering::Relaxed), full);
    server.resume();
}

#[tokio::test]
async fn repeated_writes_of_a_url_are_one() {
    let server = RedisServer::start().await;
    let redis = redis(&Settings { write_queue: 100, ..redis_settings(&server, "a") });
    let entries = redis.entries();
    let url = of("http://h/a");
    assert!(get(&entries, &url).await.unwrap().is_none());
    for round in 0..1000 {
        let recipe = url.clone().fetched_at(round);
        entries.put(&recipe.place(), recipe.says(round.to_string()).entry()).await.unwrap();
    }
    entries.flush(PATIENCE).await;
    assert_eq!(get(&entries, &url).await.unwrap().as_deref(), Some("999"));
    assert_eq!(redis.counts().queue_full.load(Ordering::Relaxed), 0);
    assert_eq!(key("http://h/a"), url.place().key);
}

#[tokio::test]
async fn each_runtime_reads_over_a_connection_of_its_own_which_ends_with_it() {
    let bench = InRedis::start().await;
    let url = of("http://h/a");
    bench.put(&url).await;
    until_found(&bench.entries, &url).await;
    let connections = async || bench.server.text(&["CLIENT", "LIST"]).await.lines().count();
    let settled = async |expected: usize| {
        until("as many connections as runtimes", async || {
            (connections().await == expected).then_some(())
        })
        .await;
    };
    // Two that all share, and one of this test's runtime, besides the one that asks.
    settled(4).await;
    let (entries, asked) = (bench.entries.clone(), url.clone());
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            until_found(&entries, &asked).await;
            begun.send(()).unwrap();
            ended.await.unwrap_or_default();
        });
    });
    has_begun.await.unwrap();
    settled(5).await;
    end.send(()).unwrap();
    within("the other runtime ends", tokio::task::spawn_blocking(|| other.join().unwrap()))
        .await
        .unwrap();
    settled(4).await;
    until_found(&bench.entries, &url).await;
}

#[tokio::test]
async fn an_answer_that_lay_in_the_socket_while_the_thread_was_held_up_is_not_late() {
    let server = RedisServer::start().await;
    let (redis, entries) = strict(&server);
    let url = of("http://h/a");
    until("its own connection is there", async || {
        get(&entries, &url).await.ok()?;
        (server.text(&["CLIENT", "LIST"]).await.lines().count() == 4).then_some(())
    })
    .await;
    server.pause();
    let asked = {
        let (entries, url) = (entries.clone(), url.clone());
        beside(async move { get(&entries, &url).await })
    };
    // The question goes out while nobody answers.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    server.resume();
    // Longer than the deadline: all that this thread does waits.
    std::thread::sleep(TIMEOUT * 20);
    let answer = asked.await.unwrap();
    assert!(matches!(answer, Ok(None)), "{answer:?}");
    drop(redis);
}
