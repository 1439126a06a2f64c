//! A purge takes effect before it is answered: every scope, hard and soft, and never more than it names.

use serde_json::{Value, json};

use crate::support::answer::{Gate, fresh};
use crate::support::client::{ask, get, post};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::until;
use crate::support::yaml::all_to;

/// Two routes, `a` and `rest`; every answer names its version and carries the tags `all` and its own path.
async fn shop(origin: &Origin) -> Larder {
    let mut version = 0;
    origin.with("*", move |asked| {
        version += 1;
        fresh(format!("v{version}"))
            .field("Surrogate-Key", format!("all {}", asked.path.trim_start_matches('/')))
    });
    let url = origin.url();
    Larder::start(&format!(
        "origins: {{ api: {{ endpoints: [ \"{url}\" ] }} }}\n\
         routes:\n  \
           - {{ name: a, match: {{ path: \"/a/**\" }}, origin: api }}\n  \
           - {{ name: rest, match: {{ path: \"/**\" }}, origin: api }}\n"
    ))
    .await
}

async fn store(larder: &Larder, paths: &[&str]) {
    for path in paths {
        get(larder.url(path)).await;
        get(larder.url(path)).await.is("HIT", "L1");
    }
}

async fn outcomes(larder: &Larder, paths: &[&str]) -> Vec<String> {
    let mut outcomes = Vec::new();
    for path in paths {
        outcomes.push(get(larder.url(path)).await.outcome().to_owned());
    }
    outcomes
}

#[tokio::test]
async fn each_scope_takes_what_it_names_and_nothing_else() {
    let paths = ["/a/1", "/a/2", "/b/1", "/b/1?q=1"];
    let origin = Origin::start().await;
    let larder = shop(&origin).await;
    let scopes: [(Value, [&str; 4]); 7] = [
        (json!({"urls": [larder.url("/b/1")]}), ["HIT", "HIT", "MISS", "HIT"]),
        (
            json!({"urls": [larder.url("/b/1?q=1"), larder.url("/a/2")]}),
            ["HIT", "MISS", "HIT", "MISS"],
        ),
        (json!({"tags": ["a/2"]}), ["HIT", "MISS", "HIT", "HIT"]),
        (json!({"tags": ["nothing", "all"]}), ["MISS", "MISS", "MISS", "MISS"]),
        (json!({"prefixes": [larder.url("/b/")]}), ["HIT", "HIT", "MISS", "MISS"]),
        (json!({"routes": ["a"]}), ["MISS", "MISS", "HIT", "HIT"]),
        (json!({"everything": true}), ["MISS", "MISS", "MISS", "MISS"]),
    ];
    for (what, after) in scopes {
        store(&larder, &paths).await;
        larder.purges(what.clone()).await;
        assert_eq!(outcomes(&larder, &paths).await, after, "{what}");
    }
}

#[tokio::test]
async fn several_scopes_in_one_call_are_one_purge() {
    let origin = Origin::start().await;
    let larder = shop(&origin).await;
    let paths = ["/a/1", "/b/1", "/c"];
    store(&larder, &paths).await;
    let what = json!({"urls": [larder.url("/c")], "tags": ["a/1"], "reason": "price change"});
    let receipt = larder.purge(what).await;
    let receipt = receipt.has_status(200).json();
    assert_eq!(receipt["complete"], true, "{receipt}");
    let mark = receipt["mark"].as_str().unwrap().to_owned();
    let parts: Vec<_> = mark.split('-').collect();
    let numbers = parts[..2].iter().all(|part| part.parse::<u64>().is_ok());
    assert!(parts.len() == 3 && numbers && u64::from_str_radix(parts[2], 16).is_ok(), "{mark}");
    assert_eq!(receipt["instances"].as_array().map(Vec::len), Some(1), "{receipt}");
    assert_eq!(receipt["instances"][0]["applied"], true, "{receipt}");
    assert_eq!(outcomes(&larder, &paths).await, ["MISS", "HIT", "MISS"]);
}

#[tokio::test]
async fn marks_rise() {
    let origin = Origin::start().await;
    let larder = shop(&origin).await;
    let mut last = (0, 0);
    for _ in 0..20 {
        let mark = larder.purges(json!({"tags": ["x"]})).await;
        let mut parts = mark.split('-').map_while(|part| part.parse::<u64>().ok());
        let mark = (parts.next().unwrap(), parts.next().unwrap());
        assert!(mark > last, "{mark:?} after {last:?}");
        last = mark;
    }
}

#[tokio::test]
async fn a_purged_url_loses_all_its_variants() {
    let origin = Origin::start().await;
    origin.with("/x", |asked| {
        fresh(asked.field("accept-language").to_owned()).field("Vary", "Accept-Language")
    });
    let larder = all_to(&origin).start().await;
    for language in ["en", "de"] {
        get(larder.url("/x")).with("Accept-Language", language).await.is("MISS", "ORIGIN");
    }
    larder.purges(json!({"urls": [larder.url("/x")]})).await;
    for language in ["en", "de"] {
        get(larder.url("/x")).with("Accept-Language", language).await.is("MISS", "ORIGIN");
    }
}

#[tokio::test]
async fn a_purged_url_is_found_by_its_canonical_form() {
    let origin = Origin::start().await;
    origin.on("*", fresh("x"));
    let larder = all_to(&origin).route("key: { query: { deny: [utm], sort: true } }").start().await;
    get(larder.url("/x?b=2&a=1")).await.is("MISS", "ORIGIN");
    larder.purges(json!({"urls": [larder.url("/x?utm=9&a=1&b=2")]})).await;
    get(larder.url("/x?b=2&a=1")).await.is("MISS", "ORIGIN");
}

#[tokio::test]
async fn a_soft_purge_serves_stale_once_and_refreshes() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let larder = all_to(&origin).route("stale_while_revalidate: 1m").start().await;
    for (path, what) in [
        ("/url", json!({"urls": [larder.url("/url")], "soft": true})),
        ("/tag", json!({"tags": ["t"], "soft": true})),
    ] {
        origin.script(path, [fresh("old").field("Surrogate-Key", "t"), fresh("new").held(&gate)]);
        get(larder.url(path)).await.is("MISS", "ORIGIN");
        get(larder.url(path)).await.is("HIT", "L1");
        larder.purges(what).await;
        get(larder.url(path)).await.is("STALE", "L1").says("old");
        origin.seen(path, 2).await;
    }
    gate.open();
    for path in ["/url", "/tag"] {
        let reply = until("the refreshed entry is served", async || {
            let reply = get(larder.url(path)).await;
            (reply.outcome() == "HIT").then_some(reply)
        })
        .await;
        reply.says("new");
        assert_eq!(origin.count(path), 2);
    }
}

#[tokio::test]
async fn a_soft_purge_without_a_stale_window_is_validated() {
    let origin = Origin::start().await;
    let first = fresh("hello").field("ETag", "\"v1\"");
    let again = crate::support::answer::status(304)
        .field("ETag", "\"v1\"")
        .field("Cache-Control", "max-age=60");
    origin.script("/x", [first, again]);
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    larder.purges(json!({"urls": [larder.url("/x")], "soft": true})).await;
    get(larder.url("/x")).await.is("REVALIDATED", "ORIGIN").says("hello");
    get(larder.url("/x")).await.is("HIT", "L1").says("hello");
}

#[tokio::test]
async fn a_hard_purge_leaves_nothing_to_be_stale() {
    let mut origin = Origin::start().await;
    origin.on("/x", fresh("old"));
    let larder = all_to(&origin)
        .route("stale_while_revalidate: 1h")
        .route("stale_if_error: 1h")
        .start()
        .await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    larder.purges(json!({"urls": [larder.url("/x")]})).await;
    origin.leave().await;
    let reply = get(larder.url("/x")).await;
    reply.is_problem(502);
}

#[tokio::test]
async fn what_is_stored_after_a_purge_stays() {
    let origin = Origin::start().await;
    let larder = shop(&origin).await;
    larder.purges(json!({"everything": true})).await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    for _ in 0..3 {
        get(larder.url("/x")).await.is("HIT", "L1");
    }
}

#[tokio::test]
async fn odd_input_never_purges_anything() {
    let origin = Origin::start().await;
    let larder = shop(&origin).await;
    store(&larder, &["/x"]).await;
    let bodies = [
        "",
        "{}",
        "null",
        "[]",
        "not json",
        "{\"urls\": []}",
        "{\"tags\": [], \"everything\": false}",
        "{\"tag\": [\"all\"]}",
        "{\"everything\": \"yes\"}",
        "{\"urls\": [\"\"]}",
        "{\"urls\": [\"not a url\"]}",
        "{\"tags\": [\"\"]}",
        "{\"prefixes\": [\"\"]}",
        "{\"routes\": [\"no-such-route\"]}",
        "{\"urls\": \"/x\"}",
    ];
    for body in bodies {
        let reply = post(larder.admin("/admin/purges"))
            .with("Content-Type", "application/json")
            .body(body)
            .await;
        assert!((400..500).contains(&reply.status), "{body}: {reply:?}");
        get(larder.url("/x")).await.is("HIT", "L1");
    }
}

#[tokio::test]
async fn nothing_purges_from_the_public_port() {
    let origin = Origin::start().await;
    let larder = shop(&origin).await;
    store(&larder, &["/x", "/y"]).await;
    ask("PURGE", larder.url("/x")).await.is("BYPASS", "ORIGIN");
    let all = json!({"everything": true}).to_string();
    post(larder.url("/admin/purges"))
        .with("Content-Type", "application/json")
        .body(all)
        .await
        .is("BYPASS", "ORIGIN");
    assert_eq!(origin.count("/admin/purges"), 1, "it is a path of the origin here");
    get(larder.url("/y")).await.is("HIT", "L1");
}

#[tokio::test]
async fn tokens_guard_the_admin_side() {
    let origin = Origin::start().await;
    let yaml = all_to(&origin).top(
        "admin:\n  listen: 127.0.0.1:0\n  tokens:\n    - { name: ci, secret: \"purge-secret-1\", scopes: [purge] }\n    \
         - { name: eye, secret: \"read-secret-2\", scopes: [read] }",
    );
    let larder = yaml.start().await;
    let purge = |token: &str| {
        let asking = post(larder.admin("/admin/purges")).with("Content-Type", "application/json");
        asking.with("Authorization", token).body(json!({"tags": ["x"]}).to_string())
    };
    post(larder.admin("/admin/purges"))
        .with("Content-Type", "application/json")
        .body("{\"tags\":[\"x\"]}")
        .await
        .has_status(401);
    for wrong in [
        "Bearer nonsense",
        "Bearer ",
        "purge-secret-1",
        "Bearer purge-secret-12",
        "Bearer purge-secret-",
    ] {
        purge(wrong).await.has_status(401);
    }
    purge("Bearer read-secret-2").await.has_status(403);
    purge("Bearer purge-secret-1").await.has_status(200);
    let config =
        get(larder.admin("/admin/config")).with("Authorization", "Bearer read-secret-2").await;
    assert!(
        !config.text().contains("secret-1") && !config.text().contains("secret-2"),
        "{config:?}"
    );
    get(larder.admin("/live")).await.has_status(200);
}
