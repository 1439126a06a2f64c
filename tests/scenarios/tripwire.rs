//! What a route shares is compared with what another identity gets before that is answered with it.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::answer::{Gate, fresh, ok, status};
use crate::support::client::{get, post};
use crate::support::larder::{Larder, run};
use crate::support::origin::{Asked, Origin};
use crate::support::raw::head;
use crate::support::redis::RedisServer;
use crate::support::yaml::{Yaml, all_to};
use crate::support::{beside, until};

/// An origin that shows each its own, and says that everybody may have it.
async fn leaking() -> Origin {
    let origin = Origin::start().await;
    origin.with("*", |asked| fresh(account(asked)));
    origin
}

fn account(asked: &Asked) -> String {
    match asked.field("cookie") {
        "" => "account of nobody".to_owned(),
        cookie => format!("account of {cookie}"),
    }
}

fn watched(origin: &Origin) -> Yaml {
    all_to(origin).route("tripwire: 100%").top("log: { level: info }")
}

async fn has_sprung(larder: &Larder) {
    until("the tripwire has sprung", async || {
        (larder.metric("larder_tripwire_sprung_routes", &[]).await == 1).then_some(())
    })
    .await;
}

/// Nothing of the route is answered from what is stored, and nobody sees another's.
async fn passes(larder: &Larder, path: &str) {
    for who in ["ann", "bob", "eve"] {
        let reply = get(larder.url(path)).with("Cookie", who).await;
        reply.is("BYPASS", "ORIGIN").says(&format!("account of {who}"));
        assert!(reply.field("cache-status").contains("detail=tripwire"), "{reply:?}");
    }
}

#[tokio::test]
async fn a_route_that_leaks_is_found_before_the_first_stranger_is_answered_and_shares_no_more() {
    let origin = leaking().await;
    let larder = watched(&origin).start().await;
    get(larder.url("/me")).with("Cookie", "ann").await.is("MISS", "ORIGIN").says("account of ann");
    get(larder.url("/me")).with("Cookie", "ann").await.is("HIT", "L1").says("account of ann");
    let second = get(larder.url("/me")).with("Cookie", "bob").await;
    second.is("MISS", "ORIGIN").says("account of bob");
    let told = second.field("cache-status");
    assert!(told.contains("fwd=miss") && told.contains("detail=tripwire"), "{told}");
    has_sprung(&larder).await;
    passes(&larder, "/me").await;
    get(larder.url("/other")).await.is("BYPASS", "ORIGIN");
    let log = larder
        .errors()
        .find("the alarm", |line| line.contains("differs by who asks").then(|| line.to_owned()));
    let log = log.await.unwrap();
    assert!(log.contains("depends-on-identity") && !log.contains("bob"), "{log}");
    assert_eq!(larder.metric("larder_tripwire_alarms_total", &[]).await, 1);
    let shown = get(larder.admin("/admin/tripwire")).await.json();
    assert_eq!(
        (&shown["routes"][0]["sprung"], &shown["routes"][0]["route"]),
        (&json!(true), &json!("all"))
    );
    let audit = get(larder.admin("/admin/audit")).await.json();
    assert!(audit.to_string().contains("tripwire"), "{audit}");
    assert!(get(larder.admin("/")).await.text().contains("share no more"));
    let (home, admin) = (tempfile::TempDir::new().unwrap(), larder.admin(""));
    let said = async |arguments: &[&str]| {
        let output =
            run(home.path(), &[&["tripwire", "--admin", &admin], arguments].concat()).await;
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(said(&[]).await.contains("all (100%): sprung: depends-on-identity"));
    assert!(said(&["--reset", "all"]).await.contains("all (100%): set"));
}

#[tokio::test]
async fn after_a_reset_nothing_of_before_is_answered_and_it_is_found_again() {
    let origin = leaking().await;
    let larder = watched(&origin).start().await;
    for _ in 0..2 {
        for who in ["ann", "bob"] {
            let reply = get(larder.url("/me")).with("Cookie", who).await;
            reply.is("MISS", "ORIGIN").says(&format!("account of {who}"));
        }
        has_sprung(&larder).await;
        passes(&larder, "/me").await;
        let unknown =
            post(larder.admin("/admin/tripwire")).with("Content-Type", "application/json");
        unknown.body("{\"reset\": [\"al\"]}").await.is_problem(422);
        until("the route is purged", async || {
            let audit = get(larder.admin("/admin/audit")).await.json();
            audit.to_string().contains("differ by identity").then_some(())
        })
        .await;
        let reset = post(larder.admin("/admin/tripwire")).with("Content-Type", "application/json");
        let shown = reset.body("{\"reset\": [\"all\"], \"reason\": \"mended\"}").await.json();
        assert_eq!(shown["routes"][0]["sprung"], json!(false), "{shown}");
    }
    assert_eq!(larder.metric("larder_tripwire_alarms_total", &[]).await, 2);
}

#[tokio::test]
async fn what_is_the_same_for_everybody_costs_one_fetch_more_and_is_shared() {
    let origin = Origin::start().await;
    origin.with("*", |_| fresh("news").field("X-Request", "differs"));
    let larder = watched(&origin).start().await;
    get(larder.url("/x")).with("Cookie", "ann").await.is("MISS", "ORIGIN");
    get(larder.url("/x")).with("Cookie", "bob").await.is("MISS", "ORIGIN").says("news");
    until("it is clear", async || {
        (get(larder.url("/x")).with("Cookie", "eve").await.outcome() == "HIT").then_some(())
    })
    .await;
    for who in ["eve", "ann", "bob"] {
        get(larder.url("/x")).with("Cookie", who).await.is("HIT", "L1");
    }
    get(larder.url("/x")).await.is("HIT", "L1");
    assert_eq!(larder.metric("larder_tripwire_alarms_total", &[]).await, 0);
    assert!(origin.count("/x") <= 3, "{}", origin.count("/x"));
}

#[tokio::test]
async fn a_page_that_changes_with_time_or_each_time_is_no_leak_and_one_with_a_token_and_a_name_is()
{
    let origin = Origin::start().await;
    let tokens = AtomicU64::new(0);
    origin.with("/token", move |asked| {
        fresh(format!("{} token={}", account(asked), tokens.fetch_add(1, Ordering::SeqCst)))
    });
    let times = AtomicU64::new(0);
    origin.with("/time", move |_| fresh(format!("it is {}", times.fetch_add(1, Ordering::SeqCst))));
    let versions = AtomicU64::new(0);
    origin.with("/version", move |_| {
        fresh(format!("version {}", versions.fetch_add(1, Ordering::SeqCst).min(1)))
    });
    let larder = watched(&origin).start().await;
    for path in ["/time", "/version"] {
        for who in ["ann", "bob"] {
            get(larder.url(path)).with("Cookie", who).await.is("MISS", "ORIGIN");
        }
        until("it is shared", async || {
            (get(larder.url(path)).with("Cookie", "eve").await.outcome() == "HIT").then_some(())
        })
        .await;
    }
    assert_eq!(larder.metric("larder_tripwire_alarms_total", &[]).await, 0);
    for who in ["ann", "bob"] {
        let reply = get(larder.url("/token")).with("Cookie", who).await;
        assert!(reply.is("MISS", "ORIGIN").text().starts_with(&format!("account of {who}")));
    }
    has_sprung(&larder).await;
}

#[tokio::test]
async fn who_says_nothing_of_itself_is_not_answered_with_anothers_page_and_the_next_one_shows_it() {
    let origin = leaking().await;
    let larder = watched(&origin).start().await;
    get(larder.url("/me")).with("Cookie", "ann").await.says("account of ann");
    get(larder.url("/me")).await.is("MISS", "ORIGIN").says("account of nobody");
    until("nobody's page has taken its place", async || {
        (get(larder.url("/me")).await.says("account of nobody").outcome() == "HIT").then_some(())
    })
    .await;
    get(larder.url("/me")).with("Cookie", "bob").await.is("MISS", "ORIGIN").says("account of bob");
    has_sprung(&larder).await;
}

#[tokio::test]
async fn a_page_that_the_origin_denies_to_others_is_a_leak() {
    let origin = Origin::start().await;
    origin.with("*", |asked| match asked.field("cookie") {
        "ann" => fresh("for members"),
        _ => status(403).chunk("no"),
    });
    let larder = watched(&origin).start().await;
    get(larder.url("/x")).with("Cookie", "ann").await.says("for members");
    get(larder.url("/x")).with("Cookie", "bob").await.has_status(403).says("no");
    has_sprung(&larder).await;
    let shown = get(larder.admin("/admin/tripwire")).await.json();
    assert_eq!(shown["routes"][0]["why"], json!("denied-to-others"), "{shown}");
}

#[tokio::test]
async fn an_origin_that_fails_shows_nothing_and_nobody_gets_anothers_answer_for_it() {
    let origin = Origin::start().await;
    origin.with("*", |asked| match asked.field("cookie") {
        "ann" => fresh("account of ann"),
        _ => status(503),
    });
    let larder = watched(&origin).start().await;
    get(larder.url("/x")).with("Cookie", "ann").await.says("account of ann");
    for _ in 0..2 {
        get(larder.url("/x")).with("Cookie", "bob").await.has_status(503);
    }
    get(larder.url("/x")).with("Cookie", "ann").await.is("HIT", "L1").says("account of ann");
    assert_eq!(larder.metric("larder_tripwire_alarms_total", &[]).await, 0);
}

#[tokio::test]
async fn who_waits_for_anothers_fetch_gets_its_own_answer() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let held = gate.clone();
    origin.with("/me", move |asked| match asked.field("cookie") {
        "ann" => fresh(account(asked)).held(&held),
        _ => fresh(account(asked)),
    });
    let larder = watched(&origin).start().await;
    let leader = beside(get(larder.url("/me")).with("Cookie", "ann").open());
    origin.seen("/me", 1).await;
    let mut followers = Vec::new();
    for who in ["bob", "eve", "bob"] {
        let (url, before) = (larder.url("/me"), followers.len() as u64);
        followers.push((who, beside(async move { get(url).with("Cookie", who).await })));
        until("it waits aboard", async || {
            let aboard = larder.metric("larder_flight_followers_total", &[]).await;
            (aboard > before).then_some(())
        })
        .await;
    }
    gate.open();
    assert_eq!(leader.await.unwrap().rest().await.unwrap(), "account of ann");
    for (who, reply) in followers {
        reply.await.unwrap().says(&format!("account of {who}"));
    }
}

#[tokio::test]
async fn in_the_lane_nobody_gets_what_was_fetched_for_another_and_what_is_clear_is_a_hit() {
    let origin = leaking().await;
    origin.on("/all", fresh("news"));
    let larder = watched(&origin).start().await;
    let mut client = TcpStream::connect(larder.authority()).await.unwrap();
    let mut says = async |path: &str, cookie: &str| {
        let fields =
            if cookie.is_empty() { String::new() } else { format!("Cookie: {cookie}\r\n") };
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let head = head(&mut client).await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        tokio::io::AsyncReadExt::read_exact(&mut client, &mut body).await.unwrap();
        (head.contains("x-cache: HIT"), String::from_utf8(body).unwrap())
    };
    says("/first", "").await;
    // By nobody for nobody: nothing is compared.
    says("/all", "").await;
    assert_eq!(says("/all", "").await, (true, "news".to_owned()));
    assert_eq!(says("/all", "ann").await, (false, "news".to_owned()));
    until("it is clear", async || says("/all", "bob").await.0.then_some(())).await;
    // By somebody: neither nobody nor another gets it.
    assert_eq!(says("/me", "ann").await.1, "account of ann");
    assert_eq!(says("/me", "ann").await, (true, "account of ann".to_owned()));
    assert_eq!(says("/me", "bob").await, (false, "account of bob".to_owned()));
    has_sprung(&larder).await;
    for who in ["ann", "bob"] {
        assert_eq!(says("/me", who).await, (false, format!("account of {who}")));
    }
    assert_eq!(says("/me", "").await, (false, "account of nobody".to_owned()));
}

#[tokio::test]
async fn a_sibling_that_finds_it_in_redis_compares_too_and_what_leaked_is_purged_on_both() {
    let redis = RedisServer::start().await;
    let origin = leaking().await;
    let yaml = watched(&origin).redis(redis.port());
    let (one, other) = (yaml.start().await, yaml.start().await);
    let at = |larder: &Larder, who: &str| {
        get(larder.url("/me")).with("Host", "shop.example").with("Cookie", who)
    };
    at(&one, "ann").await.says("account of ann");
    until("it is in Redis", async || (!redis.keys("cache:*").await.is_empty()).then_some(())).await;
    at(&other, "bob").await.is("MISS", "ORIGIN").says("account of bob");
    has_sprung(&other).await;
    at(&other, "eve").await.is("BYPASS", "ORIGIN").says("account of eve");
    until("the purge is known to the first", async || {
        (at(&one, "ann").await.says("account of ann").outcome() == "MISS").then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_the_key_counts_is_no_difference_and_a_route_may_do_without() {
    let origin = leaking().await;
    let keyed = all_to(&origin)
        .route("tripwire: 100%")
        .route("key: { cookies: [who], personal: false }")
        .start()
        .await;
    for who in ["who=ann", "who=bob"] {
        get(keyed.url("/me")).with("Cookie", who).await.is("MISS", "ORIGIN");
        get(keyed.url("/me")).with("Cookie", who).await.is("HIT", "L1");
    }
    assert_eq!(keyed.metric("larder_tripwire_probes_total", &[]).await, 0);
    let off = all_to(&origin).route("tripwire: 0%").start().await;
    get(off.url("/off")).with("Cookie", "ann").await.is("MISS", "ORIGIN");
    get(off.url("/off")).with("Cookie", "bob").await.is("HIT", "L1");
    let usual = all_to(&origin).start().await;
    for n in 0..100 {
        assert_eq!(usual.metric("larder_tripwire_probes_total", &[]).await, 0, "{n}");
        let path = format!("/usual/{n}");
        get(usual.url(&path)).with("Cookie", "ann").await.is("MISS", "ORIGIN");
        get(usual.url(&path)).with("Cookie", "bob").await;
    }
    has_sprung(&usual).await;
}

#[tokio::test]
async fn a_head_and_a_condition_of_another_are_not_answered_from_it_either() {
    let origin = Origin::start().await;
    origin.with("*", |asked| {
        ok(account(asked))
            .field("Cache-Control", "max-age=60")
            .field("ETag", format!("\"{}\"", asked.field("cookie")))
    });
    let larder = watched(&origin).start().await;
    get(larder.url("/me")).with("Cookie", "ann").await.says("account of ann");
    let reply = crate::support::client::ask("HEAD", larder.url("/me")).with("Cookie", "bob").await;
    reply.is_not("HIT").has("etag", "\"bob\"");
    let reply = get(larder.url("/me")).with("Cookie", "eve").with("If-None-Match", "\"ann\"").await;
    reply.has_status(200).says("account of eve");
    has_sprung(&larder).await;
}
