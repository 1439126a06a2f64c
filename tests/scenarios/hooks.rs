//! Webhooks come in signed, and purges go out to whoever caches downstream.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::answer::{fresh, status};
use crate::support::client::{get, post};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::reply::Reply;
use crate::support::until;
use crate::support::yaml::all_to;

const HOOKS: &str = "events:
  shop.paid: { purge: [ \"tag:order:{id}\" ] }
hooks:
  shop: { secret: \"hook-secret\", signature: X-Hub-Signature-256, event: \"shop.{type}\", data: data.object }
  timed: { secret: \"timed-secret\", timestamp: X-Timestamp, event: shop.paid }";

fn sign(secret: &str, text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    STANDARD.encode(hmac::sign(&key, text.as_bytes()))
}

async fn shop(origin: &Origin) -> Larder {
    origin.on("*", fresh("x").field("Surrogate-Key", "order:7"));
    all_to(origin).top(HOOKS).start().await
}

async fn store(larder: &Larder) {
    get(larder.url("/x")).await;
    get(larder.url("/x")).await.is("HIT", "L1");
}

async fn send(larder: &Larder, secret: &str, body: &Value) -> Reply {
    let body = body.to_string();
    post(larder.admin("/admin/hooks/shop"))
        .with("X-Hub-Signature-256", sign(secret, &body))
        .body(body)
        .await
}

#[tokio::test]
async fn a_signed_hook_has_its_event_happen_without_a_token() {
    let origin = Origin::start().await;
    let larder = shop(&origin).await;
    store(&larder).await;
    let paid = json!({"type": "paid", "data": {"object": {"id": 7}}});
    let receipt = send(&larder, "hook-secret", &paid).await;
    assert_eq!(receipt.has_status(200).json()["complete"], true);
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    let audit = get(larder.admin("/admin/audit")).await.json();
    assert_eq!(audit["purges"][0]["by"], "hook:shop", "{audit}");
    assert_eq!(audit["purges"][0]["event"], "shop.paid", "{audit}");
}

#[tokio::test]
async fn a_hook_that_is_not_signed_rightly_or_not_understood_purges_nothing() {
    let origin = Origin::start().await;
    let larder = shop(&origin).await;
    store(&larder).await;
    let paid = json!({"type": "paid", "data": {"object": {"id": 7}}});
    send(&larder, "another-secret", &paid).await.is_problem(401);
    let unsigned = post(larder.admin("/admin/hooks/shop")).body(paid.to_string()).await;
    unsigned.is_problem(401);
    let moved = post(larder.admin("/admin/hooks/shop"))
        .with("X-Hub-Signature-256", sign("hook-secret", "{}"))
        .body(paid.to_string())
        .await;
    moved.is_problem(401);
    let stranger = post(larder.admin("/admin/hooks/none")).body(paid.to_string()).await;
    stranger.is_problem(401);
    let other = send(&larder, "hook-secret", &json!({"type": "x", "data": {"object": {}}})).await;
    assert_eq!(other.has_status(200).json()["ignored"], true);
    send(&larder, "hook-secret", &json!({"type": "paid"})).await.is_problem(422);
    let missing = json!({"type": "paid", "data": {"object": {}}});
    send(&larder, "hook-secret", &missing).await.is_problem(422);
    get(larder.url("/x")).await.is("HIT", "L1");
    let config = get(larder.admin("/admin/config")).await;
    assert!(!config.text().contains("hook-secret"), "{config:?}");
}

#[tokio::test]
async fn a_hook_with_a_time_is_taken_in_time_and_once() {
    let origin = Origin::start().await;
    let larder = shop(&origin).await;
    let send = async |seconds: u64| {
        let body = json!({"id": 7}).to_string();
        post(larder.admin("/admin/hooks/timed"))
            .with("X-Timestamp", seconds.to_string())
            .with("X-Signature", sign("timed-secret", &format!("{seconds}.{body}")))
            .body(body)
            .await
    };
    let now = larder::time::Timestamp::now().as_millis() / 1000;
    send(now).await.has_status(200);
    send(now).await.is_problem(409);
    send(now - 1).await.has_status(200);
    send(now - 3600).await.is_problem(401);
    send(now + 3600).await.is_problem(401);
}

/// A Larder that tells `cdn` of its purges.
async fn before(cdn: &Origin, origin: &Origin, more: &str) -> Larder {
    origin.on("*", fresh("x").field("Surrogate-Key", "t"));
    let url = cdn.url();
    let yaml = all_to(origin).top(&format!(
        "events: {{ user: {{ purge: [ \"/users/{{id}}\" ] }} }}\n\
         downstream:\n  cdn: {{ url: \"{url}/purge?key=url-secret\", fields: {{ Authorization: \"Bearer cdn-secret\", Surrogate-Key: \"{{{{tags}}}}\" }}, \
         body: '{{\"tags\": {{{{tags}}}}, \"files\": {{{{urls}}}}}}', site: https://shop.example {more} }}"
    ));
    yaml.start().await
}

/// What became of telling the purge, once that is decided.
async fn fate(larder: &Larder, mark: &str) -> Value {
    until("the purge is told downstream, or not", async || {
        let receipt = get(larder.admin(&format!("/admin/purges/{mark}"))).await.json();
        let state = receipt["downstream"][0].clone();
        (state["state"] != "waiting" && !state.is_null()).then_some(state)
    })
    .await
}

#[tokio::test]
async fn purges_are_told_downstream_with_their_tags_and_urls() {
    let (cdn, origin) = (Origin::start().await, Origin::start().await);
    cdn.on("/purge", status(200));
    let larder = before(&cdn, &origin, "").await;
    let what = json!({"tags": ["a", "b\"c"], "urls": ["http://shop.example/x?y=1"]});
    let mark = larder.purges(what).await;
    assert_eq!(fate(&larder, &mark).await["state"], "told");
    let asked = &cdn.requests("/purge")[0];
    assert_eq!(asked.method, "POST");
    assert_eq!(asked.field("authorization"), "Bearer cdn-secret");
    assert_eq!(asked.field("surrogate-key"), "a b\"c");
    let body: Value = serde_json::from_slice(&asked.body()).unwrap();
    assert_eq!(body, json!({"tags": ["a", "b\"c"], "files": ["https://shop.example/x?y=1"]}));
    let told = post(larder.admin("/admin/events"))
        .with("Content-Type", "application/json")
        .body(json!({"event": "user", "data": {"id": 7}}).to_string())
        .await;
    fate(&larder, told.json()["mark"].as_str().unwrap()).await;
    let body: Value = serde_json::from_slice(&cdn.requests("/purge")[1].body()).unwrap();
    assert_eq!(body, json!({"tags": [], "files": ["https://shop.example/users/7"]}));
    let config = get(larder.admin("/admin/config")).await;
    let secret = |text: &str| text.contains("cdn-secret") || text.contains("url-secret");
    assert!(!secret(config.text()), "{config:?}");
    assert!(!secret(&larder.errors().text()));
}

#[tokio::test]
async fn what_fails_downstream_is_tried_again_and_given_up_aloud() {
    let (cdn, origin) = (Origin::start().await, Origin::start().await);
    cdn.script("/purge", [status(503), status(429), status(200)]);
    let larder = before(&cdn, &origin, ", attempts: 3").await;
    let mark = larder.purges(json!({"tags": ["a"]})).await;
    assert_eq!(fate(&larder, &mark).await["state"], "told");
    assert_eq!(larder.metric("larder_downstream_retried_total", &[]).await, 2);
    cdn.on("/purge", status(503));
    let mark = larder.purges(json!({"tags": ["b"]})).await;
    let state = fate(&larder, &mark).await;
    assert_eq!(state["state"], "failed", "{state}");
    assert_eq!(cdn.count("/purge"), 6);
    cdn.on("/purge", status(403));
    let mark = larder.purges(json!({"tags": ["c"]})).await;
    let state = fate(&larder, &mark).await;
    assert!(state["why"].as_str().unwrap().contains("403"), "{state}");
    assert_eq!(cdn.count("/purge"), 7, "a refusal is not tried again");
    assert_eq!(larder.metric("larder_downstream_failed_total", &[]).await, 2);
    assert!(larder.errors().text().contains("a purge is not told downstream"));
}

#[tokio::test]
async fn what_downstream_cannot_be_told_of_is_said() {
    let (cdn, origin) = (Origin::start().await, Origin::start().await);
    cdn.on("/purge", status(200));
    let larder = before(&cdn, &origin, "").await;
    let mark = larder.purges(json!({"everything": true})).await;
    assert_eq!(fate(&larder, &mark).await["state"], "failed");
    let mark = larder.purges(json!({"tags": ["a"], "routes": ["all"]})).await;
    let state = fate(&larder, &mark).await;
    assert_eq!(state["state"], "in part", "{state}");
    assert!(state["why"].as_str().unwrap().contains("routes"), "{state}");
    assert_eq!(cdn.count("/purge"), 1);
}
