//! Events purge what their templates say, all of it or nothing; and what was hot is fetched again.

use serde_json::{Value, json};

use crate::support::answer::{Gate, fresh};
use crate::support::client::{get, post};
use crate::support::larder::{Larder, run};
use crate::support::origin::Origin;
use crate::support::reply::Reply;
use crate::support::until;
use crate::support::yaml::all_to;

const EVENTS: &str = "events:
  user.updated: { purge: [ \"tag:user:{userId}\", \"/users/{userId}\" ] }
  order.*: { purge: [ \"tag:order:{order.id}\", \"tag:item:{items.id}\" ], soft: true }
  order.cancelled: { purge: [ \"prefix:/orders/{order.id}/\" ] }
  deployed: { purge: [ everything ] }";

/// Every answer carries the tags that its query names.
fn tagged(origin: &Origin) {
    let mut version = 0;
    origin.with("*", move |asked| {
        version += 1;
        let tags = asked.target.split_once('?').map_or("", |(_, tags)| tags).replace('&', " ");
        fresh(format!("v{version}")).field("Surrogate-Key", tags)
    });
}

async fn shop(origin: &Origin) -> Larder {
    tagged(origin);
    all_to(origin).top(EVENTS).start().await
}

async fn tell(larder: &Larder, body: Value) -> Reply {
    post(larder.admin("/admin/events"))
        .with("Content-Type", "application/json")
        .body(body.to_string())
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
async fn an_event_purges_what_its_templates_say_with_its_data_and_nothing_else() {
    let origin = Origin::start().await;
    let larder = shop(&origin).await;
    let paths = ["/a?user:7", "/b?user:77", "/users/7", "/users/77", "/users/7/posts"];
    store(&larder, &paths).await;
    let told = tell(&larder, json!({"event": "user.updated", "data": {"userId": 7}})).await;
    let receipt = told.has_status(200).json();
    assert_eq!(receipt["complete"], true, "{receipt}");
    assert_eq!(receipt["event"], "user.updated");
    assert_eq!(outcomes(&larder, &paths).await, ["MISS", "HIT", "MISS", "HIT", "HIT"]);
}

#[tokio::test]
async fn lists_purge_several_and_all_patterns_that_fit_count() {
    let origin = Origin::start().await;
    let larder = shop(&origin).await;
    let paths = ["/a?item:1", "/b?item:2", "/c?item:3", "/orders/9/x", "/orders/99/x"];
    store(&larder, &paths).await;
    let data = json!({"order": {"id": "9"}, "items": [{"id": 1}, {"id": 2}]});
    let told = tell(&larder, json!({"event": "order.cancelled", "data": data})).await;
    told.has_status(200);
    let after = outcomes(&larder, &paths).await;
    assert_eq!(after, ["MISS", "MISS", "HIT", "MISS", "HIT"]);
}

#[tokio::test]
async fn an_event_that_is_not_clear_purges_nothing_and_says_why() {
    let origin = Origin::start().await;
    let larder = shop(&origin).await;
    let paths = ["/a?user:7", "/users/7", "/users/", "/"];
    store(&larder, &paths).await;
    let rows = [
        (json!({"event": "user.updated"}), 422, "no value for `userId`"),
        (json!({"event": "user.updated", "data": {"userid": 7}}), 422, "no value for `userId`"),
        (json!({"event": "user.updated", "data": {"userId": ""}}), 422, "empty"),
        (json!({"event": "user.updated", "data": {"userId": ".."}}), 422, "another path"),
        (json!({"event": "user.updated", "data": {"userId": {}}}), 422, "neither"),
        (json!({"event": "user.updated", "data": {"userId": []}}), 422, "names nothing"),
        (
            json!({"event": "user.update", "data": {"userId": 7}}),
            404,
            "did you mean `user.updated`",
        ),
        (json!({"event": "user.updated", "dat": {}}), 422, "unknown field"),
        (json!({"data": {}}), 422, "missing field"),
    ];
    for (body, status, why) in rows {
        let told = tell(&larder, body.clone()).await;
        told.is_problem(status);
        assert!(told.text().contains(why), "{body}: {told:?}");
    }
    // Data cannot be more than itself.
    for value in ["*", "%", "7/..", "7*", "**", "{userId}"] {
        tell(&larder, json!({"event": "user.updated", "data": {"userId": value}}))
            .await
            .has_status(200);
    }
    assert_eq!(outcomes(&larder, &paths).await, ["HIT"; 4]);
}

#[tokio::test]
async fn events_are_told_and_listed_from_the_command_line() {
    let origin = Origin::start().await;
    let larder = shop(&origin).await;
    store(&larder, &["/users/7"]).await;
    let admin = larder.admin("");
    let directory = tempfile::tempdir().unwrap();
    let listed = run(directory.path(), &["events", "--admin", &admin]).await;
    let names = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(names, "deployed\norder.*\norder.cancelled\nuser.updated\n");
    let told = ["events", "user.updated", "--set", "userId=7", "--admin", &admin];
    let told = run(directory.path(), &told).await;
    assert!(told.status.success(), "{told:?}");
    assert!(String::from_utf8_lossy(&told.stdout).starts_with("purged at "), "{told:?}");
    get(larder.url("/users/7")).await.is("MISS", "ORIGIN");
    let wrong = run(directory.path(), &["events", "user.updted", "--admin", &admin]).await;
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("did you mean `user.updated`"));
}

#[tokio::test]
async fn the_hottest_of_what_was_purged_are_fetched_again_and_no_more_than_asked() {
    let origin = Origin::start().await;
    tagged(&origin);
    let yaml = all_to(&origin).top("purge: { rewarm: { per_second: 1000 } }");
    let larder = yaml.start().await;
    let paths: Vec<String> = (0..6).map(|number| format!("/{number}?all")).collect();
    for (number, path) in paths.iter().enumerate() {
        for _ in 0..=number * 3 + 1 {
            get(larder.url(path)).await;
        }
    }
    larder.purges(json!({"tags": ["all"], "rewarm": 2})).await;
    until("the hottest are there again", async || {
        (larder.metric("larder_rewarmed_total", &[]).await == 2).then_some(())
    })
    .await;
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    assert_eq!(outcomes(&larder, &paths).await, ["MISS", "MISS", "MISS", "MISS", "HIT", "HIT"]);
    assert_eq!(larder.metric("larder_rewarms_asked_total", &[]).await, 2);
}

#[tokio::test]
async fn the_origin_is_not_asked_for_more_at_once_than_the_configuration_says() {
    let origin = Origin::start().await;
    tagged(&origin);
    let yaml = all_to(&origin).top("purge: { rewarm: { keys: 4, per_second: 1000, at_once: 1 } }");
    let larder = yaml.start().await;
    let paths = ["/1?all", "/2?all", "/3?all", "/4?all"];
    store(&larder, &paths).await;
    let gate = Gate::closed();
    let held = gate.clone();
    origin.with("*", move |_| fresh("new").held(&held));
    larder.purges(json!({"tags": ["all"]})).await;
    until("one is asked for", async || {
        (larder.metric("larder_flights", &[]).await == 1).then_some(())
    })
    .await;
    until("all are found", async || {
        (larder.metric("larder_rewarms_asked_total", &[]).await == 4).then_some(())
    })
    .await;
    for _ in 0..20 {
        assert_eq!(larder.metric("larder_flights", &[]).await, 1);
    }
    gate.open();
    until("all are there again", async || {
        (larder.metric("larder_rewarmed_total", &[]).await == 4).then_some(())
    })
    .await;
    assert_eq!(outcomes(&larder, &paths).await, ["HIT"; 4]);
}

#[tokio::test]
async fn without_being_asked_nothing_is_fetched_again() {
    let origin = Origin::start().await;
    let larder = shop(&origin).await;
    store(&larder, &["/x?all"]).await;
    larder.purges(json!({"tags": ["all"]})).await;
    store(&larder, &["/y"]).await;
    get(larder.url("/x?all")).await.is("MISS", "ORIGIN");
    assert_eq!(larder.metric("larder_rewarms_asked_total", &[]).await, 0);
}
