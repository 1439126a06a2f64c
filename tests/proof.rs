//! The promise of a purge, held against a fleet in which everything fails: after a receipt that says `complete`, no
//! request that begins later gets an older version, from any instance.
//!
//! Three instances on one Redis, each behind a fault proxy of its own; an origin whose content carries a version
//! number; 20 writers that change it and purge with `wait: all`; 100 readers on all instances at random. Meanwhile
//! instances are killed, stopped and hung, their way to Redis is cut, swallowed and slowed down, and Redis is
//! restarted empty, emptied and trimmed by somebody else. A receipt that is not complete promises nothing.
//!
//! The short form is part of the suite. The long form:
//!
//! ```console
//! $ LARDER_PROOF_SECONDS=300 cargo test --test proof
//! $ LARDER_PROOF_SEED=17 LARDER_PROOF_SECONDS=60 cargo test --test proof    # as a run that printed this seed
//! ```
//!
//! A seed gives the same faults, writes and reads, each in the same order; how they fall together is the machine's.
//! A run in which too few purges were complete, too few reads were hits, or a fault was missing, proves nothing and
//! fails too.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops, and says where")]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::time::sleep;

use support::answer::{Answer, Step, fresh, status};
use support::client::{get, post};
use support::faults::{FaultProxy, Weather};
use support::larder::Larder;
use support::origin::{Asked, Origin};
use support::redis::RedisServer;
use support::{beside, signal};

const INSTANCES: usize = 3;
const WRITERS: u64 = 20;
const READERS: u64 = 100;
/// URLs; a third of them is on a route that only Redis keeps.
const PAGES: usize = 24;
/// How long an instance counts as live after it was last heard of.
const LEASE: Duration = Duration::from_secs(2);
/// How long a writer waits for a receipt.
const RECEIPT: &str = "8s";
/// The key must not depend on the instance's own port.
const HOST: &str = "shop.example";

/// Everything that goes wrong.
const FAULTS: [Fault; 9] = [
    Fault::Kill,
    Fault::Stop,
    Fault::Hang,
    Fault::Cut,
    Fault::Swallow,
    Fault::Slow,
    Fault::RestartRedis,
    Fault::EmptyRedis,
    Fault::TrimLog,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// An instance is killed, and started again.
    Kill,
    /// An instance is asked to end, and started again.
    Stop,
    /// An instance stands still for longer than its lease.
    Hang,
    /// Every connection between an instance and Redis breaks, and each new one at once.
    Cut,
    /// What an instance and Redis send each other arrives much later, unless the connection is given up before.
    Swallow,
    /// Each piece that an instance and Redis send each other is late.
    Slow,
    RestartRedis,
    EmptyRedis,
    TrimLog,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_complete_receipt_no_instance_serves_an_older_version_whatever_fails() {
    let seconds = number("LARDER_PROOF_SECONDS").unwrap_or(20);
    let seed = number("LARDER_PROOF_SEED").unwrap_or_else(|| rand::random_range(0..1_000_000));
    eprintln!("proof: seed {seed}, {seconds} s");
    let (story, mut fleet) = start(Duration::from_secs(seconds), seed).await;
    let dice = |number: u64| StdRng::seed_from_u64(seed.wrapping_mul(1_000_003) + number);
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        tasks.push(beside(write(story.clone(), dice(1 + writer))));
    }
    for reader in 0..READERS {
        tasks.push(beside(read(story.clone(), dice(1001 + reader))));
    }
    fail(&story, &mut fleet, dice(0)).await;
    for task in tasks {
        task.await.expect("writers and readers come to their end");
    }
    story.tally.tell(seed);
    story.is_quiet_in_the_end().await;
    story.tally.proves(seconds);
}

/// What all see.
struct Story {
    begun: Instant,
    length: Duration,
    over: AtomicBool,
    /// How long a fault or a fetch lasts at most: the short form has no time for the longest.
    longest: Duration,
    _origin: Origin,
    pages: Arc<[Page; PAGES]>,
    seats: Vec<Seat>,
    tally: Tally,
}

/// One URL.
#[derive(Default)]
struct Page {
    /// The version that the origin has.
    version: AtomicU64,
    /// The version under which a complete receipt says that nothing is served.
    floor: AtomicU64,
}

/// Where an instance listens, whoever sits there.
struct Seat {
    url: String,
    admin: String,
    /// Counts how often it went and came; odd while it is gone.
    turns: AtomicU64,
}

#[derive(Default)]
struct Tally {
    reads: AtomicU64,
    hits_l1: AtomicU64,
    hits_l2: AtomicU64,
    excused: AtomicU64,
    complete: AtomicU64,
    incomplete: AtomicU64,
    refused: AtomicU64,
    faults: Mutex<BTreeMap<Fault, u64>>,
    violations: Mutex<Vec<String>>,
}

/// What can be made to fail.
struct Fleet {
    members: Vec<Member>,
    redis: RedisServer,
}

struct Member {
    larder: Larder,
    weather: FaultProxy,
}

async fn start(length: Duration, seed: u64) -> (Arc<Story>, Fleet) {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    let pages: Arc<[Page; PAGES]> = Arc::new(std::array::from_fn(|_| Page::default()));
    let longest = (length / 8).clamp(LEASE * 2, Duration::from_secs(30));
    let slowest = (length / 25).clamp(Duration::from_secs(1), Duration::from_secs(2));
    let mut dice = StdRng::seed_from_u64(seed);
    let told = pages.clone();
    origin.with("*", move |asked| answer(&told, asked, slowest, &mut dice));
    let mut members = Vec::new();
    for _ in 0..INSTANCES {
        let weather = FaultProxy::before(redis.port()).await;
        let larder = Larder::start(&yaml(&origin, weather.port())).await;
        members.push(Member { larder, weather });
    }
    let seat = |member: &Member| Seat {
        url: member.larder.url(""),
        admin: member.larder.admin("/admin/purges"),
        turns: AtomicU64::new(0),
    };
    let seats = members.iter().map(seat).collect();
    let begun = Instant::now();
    let tally = Tally::default();
    let over = AtomicBool::new(false);
    let story = Story { begun, length, over, longest, _origin: origin, pages, seats, tally };
    (Arc::new(story), Fleet { members, redis })
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no whole number")))
}

fn yaml(origin: &Origin, redis: u16) -> String {
    let (origin, lease) = (origin.url(), LEASE.as_secs());
    format!(
        "purge: {{ lease: {lease}s, when_detached: validate }}\n\
         log: {{ access: false }}\n\
         l1: {{ capacity: 64MiB, max_ttl: 2s }}\n\
         l2:\n  redis: {{ url: \"redis://127.0.0.1:{redis}/0\", timeout: 200ms, breaker: {{ failures: 5, open_for: 500ms }} }}\n\
         origins:\n  api:\n    endpoints: [ \"{origin}\" ]\n\
         routes:\n\
         \x20 - {{ name: deep, match: {{ path: \"/deep/**\" }}, origin: api, layers: [l2] }}\n\
         \x20 - {{ name: all, match: {{ path: \"/**\" }}, origin: api, stale_if_error: 1m }}\n"
    )
}

fn path(page: usize) -> String {
    if page.is_multiple_of(3) {
        format!("/deep/{page}")
    } else {
        format!("/shelf{}/{page}", page % 2)
    }
}

/// The version of the moment at which the origin is asked, brought by an answer that may take its time.
fn answer(pages: &[Page; PAGES], asked: &Asked, slowest: Duration, dice: &mut StdRng) -> Answer {
    let page: usize = asked.path.rsplit('/').next().unwrap().parse().unwrap();
    let version = pages[page].version.load(Ordering::SeqCst);
    let tag = format!("\"{version}\"");
    let delay =
        if dice.random_bool(0.4) { some_of(Duration::ZERO..slowest, dice) } else { Duration::ZERO };
    let answer = if asked.field("if-none-match").contains(&tag) {
        status(304).field("Cache-Control", "max-age=60")
    } else {
        let mut answer = fresh(format!("{version} "));
        if dice.random_bool(0.3) {
            answer.body.push(Step::Wait(some_of(Duration::ZERO..slowest / 2, dice)));
        }
        answer.chunk("is the version")
    };
    answer.field("ETag", tag).field("Surrogate-Key", format!("page-{page} all")).after(delay)
}

fn some_of(span: Range<Duration>, dice: &mut StdRng) -> Duration {
    if span.is_empty() { span.start } else { dice.random_range(span) }
}

impl Story {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst) && self.tally.violations.lock().is_empty()
    }

    fn seat(&self, dice: &mut StdRng) -> &Seat {
        &self.seats[dice.random_range(0..INSTANCES)]
    }

    /// With all well again, everybody gets the last version of everything, from memory.
    async fn is_quiet_in_the_end(&self) {
        if !self.tally.violations.lock().is_empty() {
            return;
        }
        support::until("a purge of everything is complete", async || {
            let receipt = purge(&self.seats[0], &json!({"everything": true})).await;
            receipt.is_some_and(|receipt| receipt["complete"] == true).then_some(())
        })
        .await;
        for seat in &self.seats {
            for (number, page) in self.pages.iter().enumerate() {
                let reply = get(format!("{}{}", seat.url, path(number))).with("Host", HOST).await;
                let version = page.version.load(Ordering::SeqCst);
                reply.has_status(200).says(&format!("{version} is the version"));
            }
        }
    }
}

/// Changes pages and purges them. What a complete receipt promises is noted for the readers.
async fn write(story: Arc<Story>, mut dice: StdRng) {
    while story.goes_on() {
        sleep(some_of(Duration::from_millis(100)..Duration::from_millis(1500), &mut dice)).await;
        // Some are changed often, most seldom.
        let most = if dice.random_bool(0.5) { PAGES / 4 } else { PAGES };
        let number = dice.random_range(0..most);
        let page = &story.pages[number];
        let what = what(number, &mut dice);
        let version = page.version.fetch_add(1, Ordering::SeqCst) + 1;
        match purge(story.seat(&mut dice), &what).await {
            Some(receipt) if receipt["complete"] == true => {
                page.floor.fetch_max(version, Ordering::SeqCst);
                story.tally.complete.fetch_add(1, Ordering::Relaxed);
            }
            Some(_) => _ = story.tally.incomplete.fetch_add(1, Ordering::Relaxed),
            None => _ = story.tally.refused.fetch_add(1, Ordering::Relaxed),
        }
    }
}

/// A purge that speaks of the page, whatever else it speaks of.
fn what(page: usize, dice: &mut StdRng) -> Value {
    let path = path(page);
    match dice.random_range(0..100) {
        0 => json!({"everything": true}),
        1 => json!({"routes": ["all", "deep"]}),
        2 => json!({"tags": ["all"]}),
        3..10 => json!({"prefixes": [path]}),
        10..55 => json!({"tags": [format!("page-{page}")]}),
        _ => json!({"urls": [format!("http://{HOST}{path}")]}),
    }
}

/// The receipt, or nothing where the instance is away or says that the log is.
async fn purge(seat: &Seat, what: &Value) -> Option<Value> {
    let mut what = what.clone();
    (what["wait"], what["timeout"]) = (json!("all"), json!(RECEIPT));
    let ask = post(&seat.admin).with("Content-Type", "application/json").body(what.to_string());
    let reply = ask.attempt().await.ok()?;
    (reply.status == 200).then(|| reply.json())
}

/// Asks for pages, and holds each answer against what was promised before it was asked for.
async fn read(story: Arc<Story>, mut dice: StdRng) {
    while story.goes_on() {
        sleep(some_of(Duration::from_millis(50)..Duration::from_millis(400), &mut dice)).await;
        let number = dice.random_range(0..PAGES);
        let (seat, page) = (story.seat(&mut dice), &story.pages[number]);
        let turn = seat.turns.load(Ordering::SeqCst);
        let floor = page.floor.load(Ordering::SeqCst);
        let asked = story.begun.elapsed();
        let reply = get(format!("{}{}", seat.url, path(number))).with("Host", HOST).attempt().await;
        let was_there = turn.is_multiple_of(2) && seat.turns.load(Ordering::SeqCst) == turn;
        let tally = &story.tally;
        let wrong = match &reply {
            Err(_) if !was_there => {
                tally.excused.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            Err(why) => Some(format!("it failed: {why}")),
            Ok(reply) if reply.status == 503 && !was_there => continue,
            Ok(reply) => {
                tally.reads.fetch_add(1, Ordering::Relaxed);
                match (reply.outcome(), reply.layer()) {
                    ("HIT", "L1") => _ = tally.hits_l1.fetch_add(1, Ordering::Relaxed),
                    ("HIT", _) => _ = tally.hits_l2.fetch_add(1, Ordering::Relaxed),
                    _ => {}
                }
                let version = reply.text().strip_suffix(" is the version");
                match version.and_then(|version| version.parse::<u64>().ok()) {
                    Some(version) if reply.status == 200 && version >= floor => None,
                    _ => Some(format!("it got {reply:?}")),
                }
            }
        };
        if let Some(wrong) = wrong {
            tally.violations.lock().push(format!(
                "a request for {} that began {asked:.1?} after the start, when version {floor} was promised, at {}: {wrong}",
                path(number), seat.url,
            ));
        }
    }
}

/// Lets everything go wrong, each kind in each round, one or two at a time; and mends all in the end.
async fn fail(story: &Story, fleet: &mut Fleet, mut dice: StdRng) {
    // Something to lose first.
    sleep(LEASE).await;
    while story.begun.elapsed() < story.length && story.goes_on() {
        let mut round = FAULTS;
        round.shuffle(&mut dice);
        // The first round is played to its end.
        let is_first = story.tally.faults.lock().is_empty();
        for fault in round {
            if !story.goes_on() || !is_first && story.begun.elapsed() > story.length {
                break;
            }
            let number = dice.random_range(0..INSTANCES);
            let span = some_of(LEASE / 2..story.longest, &mut dice);
            strike(fault, number, span, story, fleet).await;
            *story.tally.faults.lock().entry(fault).or_default() += 1;
            // Often the next one comes while the weather is still bad.
            if dice.random_bool(0.6) {
                clear(fleet);
            }
            sleep(some_of(Duration::from_millis(100)..LEASE / 2, &mut dice)).await;
        }
    }
    clear(fleet);
    story.over.store(true, Ordering::SeqCst);
}

fn clear(fleet: &Fleet) {
    for member in &fleet.members {
        member.weather.turns(Weather::Fair);
    }
}

async fn strike(fault: Fault, number: usize, span: Duration, story: &Story, fleet: &mut Fleet) {
    let Member { larder, weather } = &mut fleet.members[number];
    let redis = &mut fleet.redis;
    let seat = &story.seats[number];
    let rest = span.min(LEASE * 2);
    match fault {
        Fault::Kill | Fault::Stop => {
            seat.turns.fetch_add(1, Ordering::SeqCst);
            if fault == Fault::Kill {
                larder.kill();
            } else {
                larder.stop().await;
            }
            larder.start_again().await;
            seat.turns.fetch_add(1, Ordering::SeqCst);
        }
        Fault::Hang => {
            signal("STOP", larder.pid());
            sleep(LEASE + rest / 2).await;
            signal("CONT", larder.pid());
        }
        Fault::Cut => {
            weather.turns(Weather::Cut);
            sleep(span).await;
        }
        Fault::Swallow => {
            weather.turns(Weather::BlackHole);
            sleep(span).await;
        }
        Fault::Slow => {
            // Late by so much that all is given up, or by so little that much comes about in time.
            let is_little = span.as_millis().is_multiple_of(2);
            weather.turns(Weather::Slow(if is_little { span / 20 } else { span }));
            sleep(span).await;
        }
        Fault::RestartRedis => redis.restart().await,
        Fault::EmptyRedis => _ = redis.run(&["FLUSHALL"]).await,
        Fault::TrimLog => _ = redis.run(&["XTRIM", "larder:{default}:purges", "MAXLEN", "0"]).await,
    }
}

impl Tally {
    fn tell(&self, seed: u64) {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        eprintln!(
            "proof: seed {seed}: {} reads ({} hits in memory, {} in Redis), {} of instances that were gone; \
             {} complete receipts, {} incomplete, {} purges refused; faults {:?}",
            number(&self.reads),
            number(&self.hits_l1),
            number(&self.hits_l2),
            number(&self.excused),
            number(&self.complete),
            number(&self.incomplete),
            number(&self.refused),
            self.faults.lock(),
        );
        let violations = self.violations.lock();
        assert!(
            violations.is_empty(),
            "seed {seed}: {} wrong:\n{}",
            violations.len(),
            violations[0]
        );
    }

    /// That enough has happened for the run to mean something.
    fn proves(&self, seconds: u64) {
        let at_least = |counter: &AtomicU64, least: u64, what: &str| {
            let number = counter.load(Ordering::Relaxed);
            assert!(number >= least, "this run proved nothing: {number} {what}, not {least}");
        };
        at_least(&self.reads, seconds * 40, "reads");
        at_least(&self.hits_l1, seconds * 5, "hits in memory");
        at_least(&self.hits_l2, seconds, "hits in Redis");
        at_least(&self.complete, seconds, "complete receipts");
        let faults = self.faults.lock();
        for fault in FAULTS {
            assert!(faults.contains_key(&fault), "this run proved nothing: {fault:?} was missing");
        }
    }
}
