//! PURGE on the public port purges for chosen addresses and tokens, and for nobody else.

use serde_json::json;

use crate::support::answer::{fresh, status};
use crate::support::client::{Ask, ask, get};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::yaml::all_to;

const TOKENS: &str = "admin:
  listen: 127.0.0.1:0
  tokens: [ { name: cms, secret: \"cms-secret\", scopes: [purge] }, { name: ci, secret: \"ci-secret\", scopes: [purge] } ]";

async fn store(larder: &Larder, path: &str) {
    get(larder.url(path)).await;
    get(larder.url(path)).await.is("HIT", "L1");
}

fn purge(larder: &Larder, path: &str) -> Ask {
    ask("PURGE", larder.url(path))
}

#[tokio::test]
async fn a_near_client_purges_a_url_with_all_its_variants_and_nothing_else() {
    let origin = Origin::start().await;
    origin.with("/x", |asked| {
        fresh(asked.field("accept-language").to_owned()).field("Vary", "Accept-Language")
    });
    origin.on("/y", fresh("y"));
    let yaml = all_to(&origin).route("purge_method: { from: [ 127.0.0.0/8 ] }");
    let larder = yaml.start().await;
    for language in ["en", "de"] {
        get(larder.url("/x")).with("Accept-Language", language).await.is("MISS", "ORIGIN");
    }
    store(&larder, "/y").await;
    let purged = purge(&larder, "/x").await;
    let receipt = purged.has_status(200).json();
    assert_eq!(receipt["complete"], true, "{receipt}");
    assert_eq!(receipt["instances"].as_array().map(Vec::len), Some(1), "{receipt}");
    for language in ["en", "de"] {
        get(larder.url("/x")).with("Accept-Language", language).await.is("MISS", "ORIGIN");
    }
    get(larder.url("/y")).await.is("HIT", "L1");
    assert_eq!(larder.metric("larder_requests_total", &[("outcome", "purge")]).await, 1);
    assert!(origin.requests("/x").iter().all(|asked| asked.method == "GET"));
}

#[tokio::test]
async fn a_token_purges_from_anywhere_and_a_wrong_one_nowhere() {
    let origin = Origin::start().await;
    origin.on("*", fresh("x"));
    let yaml = all_to(&origin)
        .top(TOKENS)
        .route("purge_method: { from: [ 192.0.2.0/24 ], tokens: [ cms ] }");
    let larder = yaml.start().await;
    store(&larder, "/x").await;
    let rows =
        ["", "Bearer", "Bearer cms-secre", "Bearer cms-secret2", "Bearer ci-secret", "cms-secret"];
    for token in rows {
        let refused = purge(&larder, "/x").with("Authorization", token).await;
        refused.is_problem(403).has("X-Cache", "BYPASS");
        get(larder.url("/x")).await.is("HIT", "L1");
    }
    purge(&larder, "/x").with("Authorization", "Bearer cms-secret").await.has_status(200);
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    assert_eq!(origin.count("/x"), 2, "a PURGE is never forwarded");
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_client_counts_and_not_the_proxy() {
    let origin = Origin::start().await;
    origin.on("*", fresh("x"));
    let yaml = all_to(&origin)
        .top("trusted_proxies: [ 127.0.0.1 ]")
        .route("purge_method: { from: [ 127.0.0.1, 10.0.0.0/8 ] }");
    let larder = yaml.start().await;
    store(&larder, "/x").await;
    for (name, value) in [
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-For", "10.0.0.1, 192.0.2.1"),
        ("X-Forwarded-For", "nonsense"),
        ("Forwarded", "for=10.0.0.1"),
    ] {
        purge(&larder, "/x").with(name, value).await.is_problem(403);
    }
    get(larder.url("/x")).await.is("HIT", "L1");
    purge(&larder, "/x").with("X-Forwarded-For", "192.0.2.1, 10.0.0.1").await.has_status(200);
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
}

#[tokio::test]
async fn a_soft_purge_leaves_the_entry_stale() {
    let origin = Origin::start().await;
    let yaml = all_to(&origin)
        .route("stale_while_revalidate: 1m")
        .route("purge_method: { from: [ 127.0.0.1 ] }");
    let larder = yaml.start().await;
    for (path, field) in [("/a", "Fastly-Soft-Purge"), ("/b", "Soft-Purge")] {
        origin.script(path, [fresh("old"), fresh("new")]);
        store(&larder, path).await;
        purge(&larder, path).with(field, "1").await.has_status(200);
        get(larder.url(path)).await.is("STALE", "L1").says("old");
    }
}

#[tokio::test]
async fn where_no_route_takes_it_purge_is_a_request_like_any_other() {
    let origin = Origin::start().await;
    origin.with("/x", |asked| if asked.method == "GET" { fresh("x") } else { status(405) });
    let larder = all_to(&origin).start().await;
    store(&larder, "/x").await;
    purge(&larder, "/x").await.is("BYPASS", "ORIGIN").has_status(405);
    get(larder.url("/x")).await.is("HIT", "L1");
}

#[tokio::test]
async fn who_purged_from_where_is_in_the_audit() {
    let origin = Origin::start().await;
    origin.on("*", fresh("x"));
    let yaml = all_to(&origin).route("purge_method: { from: [ 127.0.0.1 ] }");
    let larder = yaml.start().await;
    purge(&larder, "/x?y=1").await.has_status(200);
    let audit = get(larder.admin("/admin/audit")).await.json();
    let entry = &audit["purges"][0];
    assert_eq!(entry["by"], "127.0.0.1", "{audit}");
    assert_eq!(entry["reason"], "the method PURGE", "{audit}");
    assert_eq!(entry["purged"], json!([format!("url {}", larder.url("/x?y=1"))]), "{audit}");
}
