//! One fetch per key in the fleet; whatever fails costs a second fetch, never a request.

use std::time::Duration;

use larder::store::redis::Settings;
use larder::store::redis::lease::RedisLeases;
use larder::store::shared::FleetLeases;
use larder::store::{Lease, Leases, Waited};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::benches::{redis, redis_settings};
use crate::entries::key;
use crate::support::redis::RedisServer;
use crate::support::{beside, until, within};

const SPAN: Duration = Duration::from_mins(1);
const LONGEST: Duration = Duration::from_mins(1);

/// The leases of two instances of one fleet.
async fn two() -> (RedisServer, RedisLeases, RedisLeases) {
    let server = RedisServer::start().await;
    let of = |instance| redis(&redis_settings(&server, instance)).leases();
    let leases = (of("a"), of("b"));
    (server, leases.0, leases.1)
}

async fn is_mine(leases: &impl Leases, url: &str, span: Duration) -> bool {
    // The guard is forgotten, so that the lease stays.
    match leases.acquire(key(url), span).await {
        Lease::Mine(held) => {
            std::mem::forget(held);
            true
        }
        Lease::Theirs => false,
    }
}

#[tokio::test]
async fn one_of_many_gets_the_lease_and_each_key_has_its_own() {
    let (_server, one, other) = two().await;
    let mut mine = 0;
    for _ in 0..10 {
        mine += usize::from(is_mine(&one, "u", SPAN).await);
        mine += usize::from(is_mine(&other, "u", SPAN).await);
    }
    assert_eq!(mine, 1);
    assert!(is_mine(&other, "v", SPAN).await);
}

#[tokio::test]
async fn a_lease_that_is_dropped_wakes_those_who_wait() {
    let (server, one, other) = two().await;
    let Lease::Mine(held) = one.acquire(key("u"), SPAN).await else { panic!("nobody holds it") };
    let waiter = beside({
        let other = other.clone();
        async move { other.released(key("u"), LONGEST).await }
    });
    let names = server.keys("larder:shop:lease:*").await;
    assert_eq!(names, [format!("larder:shop:lease:{}", key("u"))]);
    assert!(server.seconds_left(&names[0]).await > 0);
    assert!(!waiter.is_finished());
    drop(held);
    within("the waiter is woken", waiter).await.unwrap();
    assert!(is_mine(&other, "u", SPAN).await);
}

#[tokio::test]
async fn waiting_is_bounded() {
    let (_server, one, other) = two().await;
    assert!(is_mine(&one, "u", SPAN).await);
    let asked = Instant::now();
    let longest = Duration::from_millis(150);
    let waited = within("waiting ends", other.released(key("u"), longest)).await;
    assert_eq!(waited, Waited::Over);
    assert!(asked.elapsed() >= longest);
    assert!(!is_mine(&other, "u", SPAN).await, "it is still held");
}

#[tokio::test]
async fn the_lease_of_a_dead_holder_ends_and_is_not_released_by_it() {
    let (_server, one, other) = two().await;
    let Lease::Mine(lost) = one.acquire(key("u"), Duration::from_millis(30)).await else {
        panic!("nobody holds it")
    };
    assert_eq!(other.released(key("u"), LONGEST).await, Waited::Over);
    assert!(is_mine(&other, "u", SPAN).await);
    drop(lost);
    // The drop is carried out in the background, so a lease that comes after it must find the other's still there.
    let Lease::Mine(next) = one.acquire(key("v"), SPAN).await else { panic!("nobody holds it") };
    drop(next);
    until("the later release is done", async || is_mine(&other, "v", SPAN).await.then_some(()))
        .await;
    assert!(!is_mine(&one, "u", SPAN).await, "a lease was released that was another's");
}

#[tokio::test]
async fn a_server_that_is_away_or_hangs_grants_every_lease_within_the_deadline() {
    let mut server = RedisServer::start().await;
    let timeout = Duration::from_millis(50);
    let leases = redis(&Settings { timeout, ..redis_settings(&server, "a") }).leases();
    until("the first lease is held", async || {
        server.keys("*").await.is_empty().then_some(())?;
        let held = leases.acquire(key("u"), SPAN).await;
        (!server.keys("*").await.is_empty()).then_some(held)
    })
    .await;
    server.pause();
    assert!(within("a hung server", is_mine(&leases, "x", SPAN)).await);
    let waited = within("a hung server", leases.released(key("x"), LONGEST)).await;
    assert_eq!(waited, Waited::OutOfReach);
    server.resume();
    server.kill();
    assert!(within("a server that is away", is_mine(&leases, "y", SPAN)).await);
    let waited = within("a server that is away", leases.released(key("y"), LONGEST)).await;
    assert_eq!(waited, Waited::OutOfReach);
}

#[tokio::test]
async fn a_lone_instance_is_granted_everything() {
    let alone = FleetLeases::Alone;
    for _ in 0..2 {
        assert!(matches!(alone.acquire(key("u"), SPAN).await, Lease::Mine(None)));
    }
    let waited = within("nothing to wait for", alone.released(key("u"), LONGEST)).await;
    assert_eq!(waited, Waited::Over);
}

#[tokio::test]
async fn a_lease_is_let_go_although_the_connection_breaks_just_then() {
    let (server, one, other) = two().await;
    let Lease::Mine(held) = one.acquire(key("u"), SPAN).await else { panic!("nobody holds it") };
    server.run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    drop(held);
    until("the lease is gone", async || {
        server.keys("larder:shop:lease:*").await.is_empty().then_some(())
    })
    .await;
    until("another gets it", async || is_mine(&other, "u", SPAN).await.then_some(())).await;
}

/// What a busy machine may add to a wait, the deadline of a question included.
const NOISE: Duration = Duration::from_secs(2);
/// The longest lease of the proof.
const SHORT: Duration = Duration::from_millis(120);
/// Keys that are fought for at a time.
const AT_ONCE: usize = 24;
/// Who wants each, on each of two instances.
const RIVALS: usize = 3;

/// How a holder ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// It lets go.
    Drops,
    /// Its task is aborted while it fetches.
    Aborted,
    /// Its process is gone: nobody lets go.
    Lost,
    /// Every connection breaks, its own too, and it lets go.
    Cut,
}

/// `LARDER_LEASE_ROUNDS=10000 cargo test --test stores leases::` is the long form, some minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_holders_end_everybody_else_is_done_within_the_bound() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let rounds = number("LARDER_LEASE_ROUNDS").unwrap_or(240);
    let seed: u64 = number("LARDER_LEASE_SEED").unwrap_or_else(|| rand::random_range(0..1_000_000));
    eprintln!("leases: seed {seed}, {rounds} rounds");
    let (server, one, other) = two().await;
    let mut rounds_left = 0..rounds;
    let mut under_way = JoinSet::new();
    let mut tally = [0_usize; 3];
    let mut longest = Duration::ZERO;
    loop {
        while under_way.len() < AT_ONCE
            && let Some(round) = rounds_left.next()
        {
            let leases = [one.clone(), other.clone()];
            let mut dice = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003) + round);
            let end = match dice.random_range(0..100) {
                0..40 => End::Drops,
                40..70 => End::Aborted,
                70..99 => End::Lost,
                _ => End::Cut,
            };
            if matches!(end, End::Cut) {
                server.run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
            }
            under_way.spawn(fight(round, leases, end, dice));
        }
        let Some(done) = within("a round ends", under_way.join_next()).await else { break };
        let (mine, waited) = done.expect("no rival fails");
        // The first, and at most everybody: a lease that is lost costs fetches, never a request.
        assert!((1..=2 * RIVALS).contains(&mine), "{mine} of {} fetched", 2 * RIVALS);
        tally[usize::from(mine > 1)] += 1;
        tally[2] += 2 * RIVALS - mine;
        longest = longest.max(waited);
    }
    let [single, several, waits] = tally;
    eprintln!(
        "leases: {single} keys had one fetch, {several} several; {waits} waits, the longest {longest:?}"
    );
    assert!(longest <= SHORT + NOISE, "somebody waited {longest:?}");
    assert!(waits as u64 >= rounds, "{waits} waits in {rounds} rounds prove nothing");
    until("no lease is left", async || {
        server.keys("larder:shop:lease:*").await.is_empty().then_some(())
    })
    .await;
}

/// Several rivals of two instances want one key; who gets it ends as it is told. How many got it, and the longest wait.
async fn fight(
    round: u64,
    leases: [RedisLeases; 2],
    end: End,
    mut dice: StdRng,
) -> (usize, Duration) {
    let mut rivals = JoinSet::new();
    for leases in leases.iter().flat_map(|leases| std::iter::repeat_n(leases, RIVALS)) {
        let (leases, work) = (leases.clone(), Duration::from_millis(dice.random_range(30..80)));
        rivals.spawn(async move {
            let key = key(&format!("round {round}"));
            let Lease::Mine(held) = leases.acquire(key, SHORT).await else {
                let begun = Instant::now();
                leases.released(key, SHORT).await;
                return (0, begun.elapsed());
            };
            match end {
                End::Drops | End::Cut => {
                    sleep(work).await;
                    drop(held);
                }
                End::Aborted => {
                    let fetch = beside(async move {
                        let _held = held;
                        std::future::pending::<()>().await;
                    });
                    sleep(work).await;
                    fetch.abort();
                }
                End::Lost => std::mem::forget(held),
            }
            (1, Duration::ZERO)
        });
    }
    let done = rivals.join_all().await;
    (
        done.iter().map(|(mine, _)| mine).sum(),
        done.iter().map(|(_, waited)| *waited).max().unwrap_or_default(),
    )
}
