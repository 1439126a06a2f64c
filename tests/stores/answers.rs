//! Whatever a Redis server says, or says too late, costs a miss within the deadline, and is never taken for another answer.

use std::time::Duration;

use http::HeaderMap;
use larder::breaker;
use larder::key::Key;
use larder::store::redis::entries::Entries;
use larder::store::redis::{Arrangement, Redis, Settings};
use larder::store::{Lease, Leases, Store, StoreError};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep, timeout};

use crate::benches::{body, redis, redis_settings};
use crate::entries::{Recipe, of};
use crate::support::faults::{FaultProxy, Weather};
use crate::support::redis::RedisServer;
use crate::support::scripted_redis::ScriptedRedis;
use crate::support::{PATIENCE, until, within};

const TIMEOUT: Duration = Duration::from_millis(100);
/// What a busy machine may add.
const NOISE: Duration = Duration::from_millis(1500);

/// A breaker that never opens: what is shown here is what each answer costs.
fn on(servers: Arrangement, timeout: Duration) -> Redis {
    redis(&Settings {
        servers,
        certificates: larder::store::redis::Certificates::default(),
        read_from_replicas: false,
        service: "shop".into(),
        instance: "a".into(),
        timeout,
        breaker: breaker::Settings { failures: 1_000_000, open_for: PATIENCE },
        write_queue: 100,
        max_object: 1 << 20,
        seal: larder::entry::seal::Seal::default(),
        retention: 1000,
        keep_for: Duration::from_hours(1),
        lease: Duration::from_secs(10),
    })
}

async fn get(entries: &Entries, recipe: &Recipe) -> Result<Option<String>, StoreError> {
    body(entries, recipe, &HeaderMap::new()).await
}

/// The server is asked and answers that it has nothing.
async fn until_taken_up(entries: &Entries, recipe: &Recipe) {
    until("the server is taken up", async || {
        matches!(get(entries, recipe).await, Ok(None)).then_some(())
    })
    .await;
}

/// A server without entries, on which every write succeeds.
fn knows_nothing(command: &[String]) -> Vec<u8> {
    let answer = match command[0].to_ascii_uppercase().as_str() {
        "HMGET" => "*2\r\n$-1\r\n$-1\r\n",
        "SET" => "+OK\r\n",
        "EVAL" | "EVALSHA" | "UNLINK" => ":1\r\n",
        _ => "$-1\r\n",
    };
    answer.into()
}

fn loop_to(port: u16) -> String {
    format!("-MOVED 1 127.0.0.1:{port}\r\n")
}

#[tokio::test]
async fn every_error_of_a_server_is_a_miss_within_the_deadline_and_passes_by_itself() {
    let server = ScriptedRedis::start().await;
    let redis = on(Arrangement::Single(server.url()), TIMEOUT);
    let (entries, leases, url) = (redis.entries(), redis.leases(), of("http://h/a"));
    server.says(knows_nothing);
    until_taken_up(&entries, &url).await;
    for error in [
        "-LOADING Redis is loading the dataset in memory\r\n".to_owned(),
        "-READONLY You can't write against a read only replica.\r\n".to_owned(),
        "-OOM command not allowed when used memory > 'maxmemory'.\r\n".to_owned(),
        "-TRYAGAIN Multiple keys request during rehashing of slot\r\n".to_owned(),
        "-CLUSTERDOWN The cluster is down\r\n".to_owned(),
        "-MASTERDOWN Link with MASTER is down\r\n".to_owned(),
        "-BUSY Redis is busy running a script.\r\n".to_owned(),
        "-MISCONF Redis is configured to save RDB snapshots\r\n".to_owned(),
        "-NOAUTH Authentication required.\r\n".to_owned(),
        "-NOPERM this user has no permissions\r\n".to_owned(),
        "-ERR something else\r\n".to_owned(),
        "-\r\n".to_owned(),
        loop_to(server.port()),
        "-MOVED nonsense\r\n".to_owned(),
        "-ASK 1 127.0.0.1:1\r\n".to_owned(),
    ] {
        server.always_says(error.clone());
        let asked = Instant::now();
        let answer = get(&entries, &url).await;
        assert!(answer.is_err(), "{error:?} is {answer:?}");
        let kept = entries.put(&url.place(), url.entry()).await;
        assert!(!matches!(kept, Err(StoreError::Failed(_))), "{error:?}: {kept:?}");
        let lease = leases.acquire(Key::from_bits(1), Duration::from_secs(1)).await;
        assert!(matches!(lease, Lease::Mine(_)), "{error:?} withholds a lease");
        assert!(asked.elapsed() < TIMEOUT * 3 + NOISE, "{error:?} took {:?}", asked.elapsed());
        drop(lease);
        server.says(knows_nothing);
        until_taken_up(&entries, &url).await;
        within("the queue is written or given up", entries.flush(PATIENCE)).await;
        assert_eq!(entries.queued(), 0, "{error:?}");
    }
}

#[tokio::test]
async fn what_is_no_answer_at_all_is_a_miss_and_the_connection_is_made_anew() {
    let server = ScriptedRedis::start().await;
    let redis = on(Arrangement::Single(server.url()), TIMEOUT);
    let (entries, url) = (redis.entries(), of("http://h/a"));
    server.says(knows_nothing);
    until_taken_up(&entries, &url).await;
    for garbage in [
        &b"nonsense\r\n"[..],
        b"\0\0\0\0\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"*-7\r\n",
        b"*99999999999999999999\r\n",
        b"$99999999999999999999\r\n",
        b"$5\r\nab\r\n",
        b"*2\r\n$1\r\n",
        b":1\r\n",
        b"+OK\r\n",
        b"*0\r\n",
        b"*1\r\n$1\r\nx\r\n",
        b"*2\r\n$7\r\nnonsens\r\n$7\r\nnonsens\r\n",
        b"*3\r\n$-1\r\n$-1\r\n$-1\r\n",
        b"",
    ] {
        server.always_says(garbage);
        let asked = Instant::now();
        let answer = get(&entries, &url).await;
        assert!(!matches!(answer, Ok(Some(_))), "{garbage:?} is {answer:?}");
        assert!(asked.elapsed() < TIMEOUT + NOISE, "{garbage:?} took {:?}", asked.elapsed());
        server.says(knows_nothing);
        until_taken_up(&entries, &url).await;
    }
}

/// Each says that the other has every slot.
#[tokio::test]
async fn two_nodes_that_point_at_each_other_are_asked_once_each_and_no_more() {
    let (one, two) = (ScriptedRedis::start().await, ScriptedRedis::start().await);
    let node = |server: &ScriptedRedis| format!("*2\r\n$9\r\n127.0.0.1\r\n:{}\r\n", server.port());
    let slots =
        format!("*2\r\n*3\r\n:0\r\n:8191\r\n{}*3\r\n:8192\r\n:16383\r\n{}", node(&one), node(&two));
    for (server, other) in [(&one, two.port()), (&two, one.port())] {
        let slots = slots.clone();
        let info = "cluster_current_epoch:1\r\n";
        let info = format!("${}\r\n{info}\r\n", info.len());
        server.says(move |command| {
            let said = match command.get(1).map(String::as_str) {
                Some("SLOTS") => slots.clone(),
                Some("INFO") => info.clone(),
                Some(_) | None => loop_to(other),
            };
            said.into_bytes()
        });
    }
    let redis = on(Arrangement::Cluster(vec![one.url(), two.url()]), TIMEOUT);
    let (entries, url) = (redis.entries(), of("http://h/a"));
    until("both are known", async || (redis.servers().len() == 2 && redis.is_up()).then_some(()))
        .await;
    let asked_for = |name: &str| one.count(name) + two.count(name);
    let before = asked_for("HMGET");
    for _ in 0..20 {
        let begun = Instant::now();
        assert!(get(&entries, &url).await.is_err());
        assert!(begun.elapsed() < TIMEOUT + NOISE, "{:?}", begun.elapsed());
    }
    let questions = asked_for("HMGET") - before;
    assert!((20..=40).contains(&questions), "20 reads were {questions} questions");
    let written = asked_for("EVALSHA") + asked_for("EVAL");
    entries.put(&url.place(), url.entry()).await.unwrap();
    within("the write is given up", entries.flush(PATIENCE)).await;
    let questions = asked_for("EVALSHA") + asked_for("EVAL") - written;
    assert!((1..=12).contains(&questions), "one write was {questions} questions");
    assert_eq!(entries.queued(), 0);
}

/// Answers arrive in the order of the questions on one connection, also those that nobody waits for any more.
#[tokio::test]
async fn a_late_answer_is_never_taken_for_that_of_another_key() {
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let server = RedisServer::start().await;
    let urls: Vec<Recipe> = (0..50).map(|number| of(&format!("http://h/{number}"))).collect();
    let writer = redis(&redis_settings(&server, "w"));
    for url in &urls {
        writer.entries().put(&url.place(), url.entry()).await.unwrap();
    }
    writer.entries().flush(PATIENCE).await;
    let faults = FaultProxy::before(server.port()).await;
    let url = format!("redis://127.0.0.1:{}/0", faults.port());
    let patience = Duration::from_millis(30);
    let redis = on(Arrangement::Single(url), patience);
    let entries = redis.entries();
    let (mut answered, mut given_up) = (0, 0);
    for round in 0..600 {
        match round % 100 {
            0 => faults.turns(Weather::Fair),
            30 => faults.turns(Weather::Slow(patience / 2)),
            60 => faults.turns(Weather::Slow(patience * 2)),
            _ => {}
        }
        let number = dice.random_range(0..urls.len());
        // Some are dropped before their own deadline, as when a client leaves.
        let asked =
            timeout(patience.mul_f64(dice.random_range(0.05..1.5)), get(&entries, &urls[number]));
        match asked.await {
            Ok(Ok(Some(found))) => {
                assert_eq!(found, format!("http://h/{number}"), "the answer of another key");
                answered += 1;
            }
            Ok(Ok(None)) => panic!("{number} is there, and the answer says that it is not"),
            Ok(Err(_)) | Err(_) => given_up += 1,
        }
        if round % 100 == 99 {
            // What is on its way arrives before the next weather.
            sleep(patience * 4).await;
        }
    }
    eprintln!("{answered} answered, {given_up} given up");
    assert!(answered > 50 && given_up > 50, "{answered} and {given_up} prove nothing");
}
