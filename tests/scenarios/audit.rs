//! The audit tells who purged what, when, from where and why, on every instance of the fleet.

use serde_json::{Value, json};

use crate::support::answer::{fresh, status};
use crate::support::client::{ask, get};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::redis::RedisServer;
use crate::support::until;
use crate::support::yaml::all_to;

async fn audit(larder: &Larder, query: &str) -> Vec<Value> {
    let answer = get(larder.admin(&format!("/admin/audit{query}"))).await;
    answer.has_status(200).json()["purges"].as_array().unwrap().clone()
}

#[tokio::test]
async fn every_instance_tells_who_purged_what_and_why_also_after_a_restart() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.on("*", fresh("x"));
    let yaml = all_to(&origin).redis(redis.port());
    let (one, mut two) = (yaml.start().await, yaml.start().await);
    let what = json!({"urls": ["http://shop.example/x"], "tags": ["t"], "reason": "price change"});
    let mark = one.purges(what).await;
    for _ in 0..2 {
        let entry = until("the other instance knows of it", async || {
            audit(&two, "").await.into_iter().find(|entry| entry["mark"] == mark.as_str())
        })
        .await;
        assert_eq!(entry["by"], "127.0.0.1", "{entry}");
        assert_eq!(entry["from"], "127.0.0.1", "{entry}");
        assert_eq!(entry["reason"], "price change", "{entry}");
        assert_eq!(entry["soft"], false, "{entry}");
        assert_eq!(entry["purged"], json!(["url http://shop.example/x", "tag t"]), "{entry}");
        two.restart().await;
    }
}

#[tokio::test]
async fn the_audit_is_asked_by_time_by_scope_and_by_number() {
    let origin = Origin::start().await;
    origin.on("*", fresh("x"));
    let larder = all_to(&origin).start().await;
    for tag in ["a", "b", "ab"] {
        larder.purges(json!({"tags": [tag], "soft": true})).await;
    }
    let told = async |query: &str| {
        let purges = audit(&larder, query).await;
        let first = |entry: &Value| entry["purged"][0].as_str().unwrap().to_owned();
        purges.iter().map(first).collect::<Vec<_>>()
    };
    assert_eq!(told("").await, ["tag ab", "tag b", "tag a"]);
    assert_eq!(told("?limit=1").await, ["tag ab"]);
    assert_eq!(told("?scope=b").await, ["tag ab", "tag b"]);
    assert_eq!(told("?since=1h").await.len(), 3);
    assert_eq!(told("?since=2999-01-01T00:00:00Z").await, [""; 0]);
    get(larder.admin("/admin/audit?since=yesterday")).await.is_problem(422);
    get(larder.admin("/admin/audit?sinc=1h")).await.is_problem(422);
}

#[tokio::test]
async fn a_path_that_is_purged_on_every_host_is_told_once() {
    let origin = Origin::start().await;
    origin.on("*", fresh("x"));
    let larder = all_to(&origin).start().await;
    get(larder.url("/api/x")).await.is("MISS", "ORIGIN");
    larder.purges(json!({"urls": ["/api/x"]})).await;
    let purges = audit(&larder, "").await;
    assert_eq!(purges[0]["purged"], json!(["url /api/x"]), "{purges:?}");
    assert_eq!(purges[0]["number"], 1, "{purges:?}");
    get(larder.url("/api/x")).await.is("MISS", "ORIGIN");
}

#[tokio::test]
async fn a_write_is_in_the_audit_with_the_address_of_its_client() {
    let origin = Origin::start().await;
    origin.on("*", status(204));
    let larder = all_to(&origin).start().await;
    ask("DELETE", larder.url("/x")).await.has_status(204);
    let purges = audit(&larder, "").await;
    assert_eq!(purges[0]["by"], "public", "{purges:?}");
    assert_eq!(purges[0]["from"], "127.0.0.1", "{purges:?}");
    let line = |line: &str| (line.contains("larder::audit") && line.contains("/x")).then_some(());
    larder.errors().find("the audit's line", line).await;
}

#[tokio::test]
async fn only_who_may_read_sees_the_audit() {
    let origin = Origin::start().await;
    let larder = all_to(&origin)
        .top(
            "admin:\n  listen: 127.0.0.1:0\n  tokens: [ { name: ci, secret: \"purge-secret\", scopes: [purge] }, { name: eye, secret: \"read-secret\", scopes: [read] } ]",
        )
        .start()
        .await;
    let asked = |token: &str| {
        get(larder.admin("/admin/audit")).with("Authorization", format!("Bearer {token}"))
    };
    asked("purge-secret").await.has_status(403);
    asked("read-secret").await.has_status(200);
    let listed = get(larder.admin("/admin/events")).with("Authorization", "Bearer purge-secret");
    listed.await.has_status(403);
}
