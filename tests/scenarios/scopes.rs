//! Purges by glob, host, path and several tags at once, on the wire, in one instance and in two; and what would go.

use serde_json::{Value, json};

use crate::support::answer::fresh;
use crate::support::client::get;
use crate::support::larder::{Larder, run};
use crate::support::origin::Origin;
use crate::support::redis::RedisServer;
use crate::support::until;
use crate::support::yaml::all_to;

/// What is stored: each under its host, tagged with `all`, its host and its path.
const STORED: [(&str, &str); 5] = [
    ("www.shop.example", "/api/7/reviews"),
    ("www.shop.example", "/api/7/reviews?page=2"),
    ("img.shop.example", "/api/8/reviews"),
    ("shop.example", "/api/7"),
    ("other.example", "/x"),
];

/// What goes by each scope, and what stays.
fn scopes() -> Vec<(Value, [bool; 5])> {
    let (go, stay) = (true, false);
    vec![
        (json!({"globs": ["/api/*/reviews"]}), [go, go, go, stay, stay]),
        (json!({"globs": ["/api/*/reviews?page=*"]}), [stay, go, stay, stay, stay]),
        (json!({"globs": ["//*.Shop.example/api/7/**"]}), [go, go, stay, stay, stay]),
        (json!({"globs": ["https://shop.example:80/**"]}), [stay, stay, stay, go, stay]),
        (json!({"hosts": ["*.shop.example"]}), [go, go, go, stay, stay]),
        (json!({"hosts": ["Shop.Example"]}), [stay, stay, stay, go, stay]),
        (json!({"hosts": ["shop.example:81"]}), [stay, stay, stay, stay, stay]),
        (json!({"urls": ["/api/7/reviews?page=2", "/x"]}), [stay, go, stay, stay, go]),
        (json!({"urls": ["HTTP://SHOP.example:80/a/%2e%2e/api/7"]}), [stay, stay, stay, go, stay]),
        (json!({"all_tags": [["all", "/api/7/reviews"]]}), [go, go, stay, stay, stay]),
        (
            json!({"all_tags": [["/x", "/api/7/reviews"], ["other.example"]]}),
            [stay, stay, stay, stay, go],
        ),
        (
            json!({"hosts": ["other.example"], "all_tags": [["shop.example", "all"]]}),
            [stay, stay, stay, go, go],
        ),
    ]
}

fn tell(origin: &Origin, version: &str) {
    let version = version.to_owned();
    origin.with("*", move |asked| {
        let path = asked.path.split('?').next().unwrap_or_default().to_owned();
        let tags = format!("all {} {path}", asked.field("host"));
        fresh(version.clone()).field("Surrogate-Key", tags)
    });
}

async fn ask(larder: &Larder, (host, path): (&str, &str)) -> crate::support::reply::Reply {
    get(larder.url(path)).with("Host", host).await
}

async fn store(larder: &Larder) {
    for stored in STORED {
        until("the entry is in memory", async || {
            let reply = ask(larder, stored).await;
            ((reply.outcome(), reply.layer()) == ("HIT", "L1")).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn each_scope_takes_what_it_names_and_spares_the_rest() {
    let origin = Origin::start().await;
    let larder = all_to(&origin).start().await;
    for (what, goes) in scopes() {
        tell(&origin, "x");
        store(&larder).await;
        larder.purges(what.clone()).await;
        for (stored, goes) in STORED.into_iter().zip(goes) {
            let expected = if goes { "MISS" } else { "HIT" };
            assert_eq!(ask(&larder, stored).await.outcome(), expected, "{stored:?} after {what}");
        }
    }
}

#[tokio::test]
async fn after_a_complete_receipt_no_instance_serves_what_any_scope_took() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    let yaml = all_to(&origin).redis(redis.port());
    let (one, two) = (yaml.start().await, yaml.start().await);
    for (mut what, goes) in scopes() {
        tell(&origin, "old");
        for instance in [&one, &two] {
            store(instance).await;
        }
        tell(&origin, "new");
        what["timeout"] = json!("10s");
        let receipt = one.purge(what.clone()).await;
        assert_eq!(receipt.has_status(200).json()["complete"], true, "{receipt:?}");
        for instance in [&two, &one] {
            for (stored, goes) in STORED.into_iter().zip(goes) {
                let expected = if goes { "new" } else { "old" };
                assert_eq!(ask(instance, stored).await.text(), expected, "{stored:?} after {what}");
            }
        }
        one.purges(json!({"everything": true, "wait": "all", "timeout": "10s"})).await;
    }
}

#[tokio::test]
async fn a_path_finds_what_a_route_keys_without_its_host_and_in_its_own_order() {
    let origin = Origin::start().await;
    tell(&origin, "x");
    let yaml = all_to(&origin).route("key: { host: false, query: { allow: [a, b], sort: true } }");
    let larder = yaml.start().await;
    let stored = ("one.example", "/x?b=2&a=1&utm=3");
    for what in [
        json!({"urls": ["/x?a=1&b=2"]}),
        json!({"urls": ["/x?utm=9&b=2&a=1"]}),
        json!({"urls": ["https://two.example/x?b=2&a=1"]}),
        json!({"globs": ["//two.example/x?a=*"]}),
        json!({"hosts": ["two.example"]}),
    ] {
        ask(&larder, stored).await.is("MISS", "ORIGIN");
        ask(&larder, stored).await.is("HIT", "L1");
        larder.purges(json!({"urls": ["/x", "/x?a=1"], "globs": ["/x/*", "/x?b=*"]})).await;
        ask(&larder, stored).await.is("HIT", "L1");
        larder.purges(what).await;
    }
}

#[tokio::test]
async fn a_soft_purge_by_pattern_keeps_what_it_took_to_be_validated() {
    let origin = Origin::start().await;
    tell(&origin, "x");
    let larder = all_to(&origin).route("stale_while_revalidate: 1m").start().await;
    for what in [json!({"globs": ["/api/*"]}), json!({"all_tags": [["all", "/api/7"]]})] {
        let stored = ("shop.example", "/api/7");
        until("the entry is fresh", async || {
            (ask(&larder, stored).await.outcome() == "HIT").then_some(())
        })
        .await;
        let mut what = what;
        what["soft"] = json!(true);
        larder.purges(what).await;
        ask(&larder, stored).await.is("STALE", "L1");
    }
}

#[tokio::test]
async fn a_dry_run_tells_what_would_go_and_takes_nothing() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    tell(&origin, "x");
    for (yaml, second) in [
        (all_to(&origin).top("l2: none"), "none"),
        (all_to(&origin).redis(redis.port()), "unknown"),
    ] {
        let larder = yaml.start().await;
        store(&larder).await;
        let what = json!({"hosts": ["*.shop.example"], "dry_run": true});
        let estimate = larder.purge(what.clone()).await.has_status(200).json();
        assert_eq!(estimate["l1"]["entries"], 3, "{estimate}");
        assert_eq!(estimate["routes"]["all"], estimate["l1"], "{estimate}");
        assert!(estimate["l1"]["bytes"].as_u64() > Some(100), "{estimate}");
        assert_eq!(estimate["complete"], true, "{estimate}");
        assert!(estimate["l2"].as_str().unwrap().starts_with(second), "{estimate}");
        for stored in STORED {
            ask(&larder, stored).await.is("HIT", "L1");
        }
        larder.purges(json!({"hosts": ["img.shop.example"]})).await;
        let estimate = larder.purge(what).await.has_status(200).json();
        assert_eq!(
            estimate["l1"]["entries"], 2,
            "what is purged already is not counted: {estimate}"
        );
    }
}

#[tokio::test]
async fn the_command_line_names_every_scope_and_shows_each_instance() {
    let origin = Origin::start().await;
    tell(&origin, "x");
    let larder = all_to(&origin).start().await;
    let home = tempfile::TempDir::new().unwrap();
    let admin = larder.admin("");
    let command = async |arguments: &[&str]| {
        let all = [&["purge", "--admin", &admin], arguments].concat();
        let output = run(home.path(), &all).await;
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    store(&larder).await;
    let (code, told) =
        command(&["--glob", "/api/*/reviews", "--host", "other.example", "--dry-run"]).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("here: 4 entries") && told.contains("route all: 4 entries"), "{told}");
    ask(&larder, STORED[0]).await.is("HIT", "L1");
    let (code, told) = command(&["--glob", "/api/*/reviews", "--all-tags", "all,/x"]).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("applied by 1 instance\n") && told.contains(": applied"), "{told}");
    ask(&larder, STORED[0]).await.is("MISS", "ORIGIN");
    ask(&larder, STORED[4]).await.is("MISS", "ORIGIN");
    ask(&larder, STORED[3]).await.is("HIT", "L1");
    for wrong in [
        &["--glob", "/**"][..],
        &["foo"],
        &[""],
        &["--tag", ""],
        &["--route", "nowhere"],
        &["--everything", "--timeout", "10000d"],
    ] {
        let (code, told) = command(wrong).await;
        assert_eq!(code, Some(2), "{wrong:?} is wrong usage: {told}");
    }
    ask(&larder, STORED[3]).await.is("HIT", "L1");
}
