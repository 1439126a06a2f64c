//! What depends on something goes with it, in one purge; and a write refreshes what it purged.

use serde_json::json;

use crate::support::answer::{fresh, status};
use crate::support::client::{ask, get};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::redis::RedisServer;
use crate::support::until;
use crate::support::yaml::all_to;

const DEPENDS: &str = "depends:
  \"tag:user:{id}\": [ \"tag:feed:{id}\", \"/users/{id}\" ]
  \"tag:feed:{id}\": \"tag:home\"
  \"tag:home\": [ \"tag:user:0\" ]
  \"/pages/{id}\": [ \"tag:page:{id}\" ]";

/// Reads carry the tags that their query names; writes succeed.
fn tagged(origin: &Origin) {
    let mut version = 0;
    origin.with("*", move |asked| {
        version += 1;
        if asked.method != "GET" {
            return status(204);
        }
        let tags = asked.target.split_once('?').map_or("", |(_, tags)| tags).replace('&', " ");
        fresh(format!("v{version}")).field("Surrogate-Key", tags)
    });
}

async fn store(larder: &Larder, paths: &[&str]) {
    for path in paths {
        get(larder.url(path)).with("Host", "shop.example").await;
        get(larder.url(path)).with("Host", "shop.example").await.is("HIT", "L1");
    }
}

async fn outcomes(larder: &Larder, paths: &[&str]) -> Vec<String> {
    let mut outcomes = Vec::new();
    for path in paths {
        let reply = get(larder.url(path)).with("Host", "shop.example").await;
        outcomes.push(reply.outcome().to_owned());
    }
    outcomes
}

#[tokio::test]
async fn purging_the_left_purges_the_right_and_what_depends_on_it_and_circles_end() {
    let origin = Origin::start().await;
    tagged(&origin);
    let larder = all_to(&origin).top(DEPENDS).start().await;
    let paths = ["/a?user:7", "/b?feed:7", "/users/7", "/c?home", "/d?feed:8", "/users/70"];
    store(&larder, &paths).await;
    larder.purges(json!({"tags": ["user:7"]})).await;
    let after = outcomes(&larder, &paths).await;
    assert_eq!(after, ["MISS", "MISS", "MISS", "MISS", "HIT", "HIT"]);
}

#[tokio::test]
async fn a_purged_url_takes_along_what_depends_on_its_path_whoever_purges_it() {
    let origin = Origin::start().await;
    tagged(&origin);
    let yaml = all_to(&origin).top(DEPENDS).top("events: { e: { purge: [ \"/pages/{id}\" ] } }");
    let larder = yaml.start().await;
    let paths = ["/pages/1", "/x?page:1", "/y?page:2"];
    store(&larder, &paths).await;
    larder.purges(json!({"urls": ["http://shop.example/pages/1"]})).await;
    assert_eq!(outcomes(&larder, &paths).await, ["MISS", "MISS", "HIT"]);
    store(&larder, &paths).await;
    ask("DELETE", larder.url("/pages/1")).with("Host", "shop.example").await.has_status(204);
    assert_eq!(outcomes(&larder, &paths).await, ["MISS", "MISS", "HIT"]);
    store(&larder, &paths).await;
    let told = crate::support::client::post(larder.admin("/admin/events"))
        .with("Content-Type", "application/json")
        .body(json!({"event": "e", "data": {"id": 1}}).to_string())
        .await;
    told.has_status(200);
    assert_eq!(outcomes(&larder, &paths).await, ["MISS", "MISS", "HIT"]);
}

#[tokio::test]
async fn the_fleet_gets_what_depends_on_a_purge_with_it_in_one_record() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    tagged(&origin);
    let with = all_to(&origin).top(DEPENDS).redis(redis.port());
    // The other instance does not know the rule: what depends is resolved where the purge is asked for.
    let without = all_to(&origin).redis(redis.port());
    let (one, two) = (with.start().await, without.start().await);
    let path = "/b?feed:7";
    until("the entry is in memory", async || {
        let reply = get(two.url(path)).with("Host", "shop.example").await;
        ((reply.outcome(), reply.layer()) == ("HIT", "L1")).then_some(())
    })
    .await;
    one.purges(json!({"tags": ["user:7"]})).await;
    until("the other instance has heard of it", async || {
        (outcomes(&two, &[path]).await == ["MISS"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_depends_without_end_purges_nothing_and_is_told() {
    let origin = Origin::start().await;
    tagged(&origin);
    let many: Vec<String> = (0..=1000).map(|number| format!("tag:b{number}")).collect();
    let many = serde_json::to_string(&many).unwrap();
    // It begins to grow only behind a tag that no sample of the check has.
    let yaml = all_to(&origin).top(&format!("depends: {{ \"tag:a\": {many} }}"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("larder.yaml");
    std::fs::write(&file, yaml.text()).unwrap();
    let checked = crate::support::larder::run(
        directory.path(),
        &["check", "--config", file.to_str().unwrap()],
    )
    .await;
    assert_eq!(checked.status.code(), Some(2), "{checked:?}");
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(told.contains("more than 1000 things depend on it"), "{told}");
}

#[tokio::test]
async fn a_write_refreshes_what_it_purged_before_anybody_asks() {
    let origin = Origin::start().await;
    tagged(&origin);
    let url = origin.url();
    let larder = Larder::start(&format!(
        "origins: {{ api: {{ endpoints: [ \"{url}\" ] }} }}\n\
         routes:\n  \
           - {{ name: product, match: {{ path: \"/products/{{id}}\" }}, origin: api, on_write: {{ purge: [ \"/list?of={{id}}\" ], refresh: true }} }}\n  \
           - {{ name: rest, match: {{ path: \"/**\" }}, origin: api }}\n"
    ))
    .await;
    let paths = ["/products/7", "/list?of=7"];
    store(&larder, &paths).await;
    ask("PUT", larder.url("/products/7")).with("Host", "shop.example").body("{}").await;
    origin.seen("/list", 2).await;
    // The list is one request behind the product; both are asked for by nobody.
    until("both are refreshed", async || (origin.count("/products/7") == 3).then_some(())).await;
    until("both are stored", async || {
        let metric = larder.metric("larder_requests_total", &[]).await;
        let flights = larder.metric("larder_flights", &[]).await;
        (metric > 0 && flights == 0).then_some(())
    })
    .await;
    assert_eq!(outcomes(&larder, &paths).await, ["HIT", "HIT"]);
    assert_eq!((origin.count("/products/7"), origin.count("/list")), (3, 2));
}
