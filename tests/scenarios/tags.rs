//! Tags from fields and from bodies: what carries them is purged by them, also while it arrives.

use serde_json::json;

use crate::support::answer::{Gate, fresh, status};
use crate::support::client::{get, post};
use crate::support::origin::Origin;
use crate::support::until;
use crate::support::yaml::all_to;

const RULES: &str = "tags: [ \"json:$.vendor.id -> vendor:{}\", \"json:$.items[*].id -> item:{}\", \"header:X-Tags\" ]";

fn json_body(body: impl Into<bytes::Bytes>) -> crate::support::answer::Answer {
    fresh(body).field("Content-Type", "application/json")
}

#[tokio::test]
async fn values_of_the_body_are_tags() {
    let origin = Origin::start().await;
    origin.on("/x", json_body(r#"{"vendor": {"id": 7}, "items": [{"id": "a"}, {"id": "b"}]}"#));
    let larder = all_to(&origin).route(RULES).start().await;
    for tag in ["vendor:7", "item:a", "item:b"] {
        get(larder.url("/x")).with("Accept-Encoding", "gzip").await.is("MISS", "ORIGIN");
        get(larder.url("/x")).await.is("HIT", "L1");
        larder.purges(json!({"tags": ["vendor:8", "item:7", "7"]})).await;
        get(larder.url("/x")).await.is("HIT", "L1");
        larder.purges(json!({"tags": [tag]})).await;
    }
    assert_eq!(origin.requests("/x")[0].field("accept-encoding"), "identity");
}

#[tokio::test]
async fn an_answer_whose_tags_cannot_be_read_is_not_stored_and_says_so() {
    let origin = Origin::start().await;
    origin.on("/encoded", json_body("zzz").field("Content-Encoding", "gzip"));
    origin.on("/large", json_body(vec![b' '; (1 << 20) + 1]));
    origin.on("/broken", json_body("{").chunk("]"));
    origin.on("/many", fresh("x").field("X-Tags", "a,".repeat(10) + &tags(1025)));
    origin.on("/text", fresh("{").field("Content-Type", "text/plain"));
    let yaml = all_to(&origin).route(RULES).top("l1: { max_object: 2MiB }");
    let larder = yaml.start().await;
    for (path, detail) in
        [("/encoded", "tags-unreadable"), ("/large", "tags-unreadable"), ("/many", "too-many-tags")]
    {
        for _ in 0..2 {
            let reply = get(larder.url(path)).await;
            reply.is("MISS", "ORIGIN");
            assert!(
                reply.field("cache-status").ends_with(&format!("detail={detail}")),
                "{reply:?}"
            );
        }
    }
    get(larder.url("/broken")).await.is("MISS", "ORIGIN").says("{]");
    larder
        .errors()
        .find("the log says why", |line| line.contains("cannot be read for tags").then_some(()))
        .await
        .unwrap();
    get(larder.url("/broken")).await.is_not("HIT");
    get(larder.url("/text")).await.is("MISS", "ORIGIN");
    get(larder.url("/text")).await.is("HIT", "L1");
}

fn tags(number: usize) -> String {
    (0..number).map(|tag| tag.to_string()).collect::<Vec<_>>().join(",")
}

#[tokio::test]
async fn a_tag_in_a_body_that_arrives_is_not_missed_by_a_purge() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let old = json_body(r#"{"vendor": "#).pause(&gate).chunk(r#"{"id": 7}}"#);
    origin.script("/x", [old, json_body(r#"{"vendor": {"id": 7}, "new": 1}"#)]);
    let larder = all_to(&origin).route(RULES).start().await;
    let url = larder.url("/x");
    let first = crate::support::beside(async move { get(url).await });
    origin.seen("/x", 1).await;
    // The head has landed when somebody else can read along.
    let joined = larder.url("/x");
    let along = crate::support::beside(async move { get(joined).await });
    until("somebody follows", async || {
        (larder.metric("larder_flight_followers_total", &[]).await == 1).then_some(())
    })
    .await;
    larder.purges(json!({"tags": ["vendor:7"]})).await;
    let after = get(larder.url("/x")).await;
    assert!(after.text().contains("new"), "{after:?}");
    gate.open();
    for early in [first, along] {
        assert!(!early.await.unwrap().text().contains("new"));
    }
    let later = get(larder.url("/x")).await;
    assert!(later.text().contains("new"), "{later:?}");
}

#[tokio::test]
async fn a_confirmed_answer_keeps_the_tags_of_its_body_and_of_stripped_fields() {
    let origin = Origin::start().await;
    let first =
        json_body(r#"{"vendor": {"id": 7}}"#).field("ETag", "\"1\"").field("Surrogate-Key", "s");
    let confirmed = status(304).field("ETag", "\"1\"").field("Cache-Control", "max-age=60");
    for (path, tag) in [("/a", "vendor:7"), ("/b", "s")] {
        origin.script(path, [first.clone(), confirmed.clone(), first.clone()]);
        let larder = all_to(&origin).route(RULES).route("strip_tags: true").start().await;
        get(larder.url(path)).await.is("MISS", "ORIGIN").lacks("surrogate-key");
        larder.purges(json!({"urls": [path], "soft": true})).await;
        get(larder.url(path)).await.is("REVALIDATED", "ORIGIN");
        get(larder.url(path)).await.is("HIT", "L1");
        larder.purges(json!({"tags": [tag]})).await;
        get(larder.url(path)).await.is("MISS", "ORIGIN");
    }
}

#[tokio::test]
async fn fields_of_tags_are_for_caches_like_this_one_unless_the_route_shows_them() {
    let origin = Origin::start().await;
    let tagged = |answer: crate::support::answer::Answer| {
        let answer = answer.field("Surrogate-Key", "a").field("Cache-Tag", "b").field("xkey", "c");
        answer.field("Cache-Groups", "\"g\"")
    };
    origin.on("/x", tagged(fresh("x")));
    origin.on("/once", tagged(fresh("x")).field("Cache-Control", "no-store"));
    for (yaml, shown) in
        [(all_to(&origin), true), (all_to(&origin).route("strip_tags: true"), false)]
    {
        let larder = yaml.start().await;
        let replies = [
            get(larder.url("/x")).await,
            get(larder.url("/x")).await,
            get(larder.url("/once")).await,
            post(larder.url("/x")).body("x").await,
        ];
        for reply in replies {
            for name in ["surrogate-key", "cache-tag", "xkey"] {
                assert_eq!(reply.fields.contains_key(name), shown, "{name} in {reply:?}");
            }
            reply.has("cache-groups", "\"g\"");
        }
    }
}

/// RFC 9875 §2.1, §3: two responses share a group when they have the name in common and are of the same origin.
#[tokio::test]
async fn a_write_invalidates_the_groups_that_its_answer_names_on_its_own_origin() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("x").field("Cache-Groups", "\"news\", \"a b\""));
    origin.on("/y", fresh("y").field("Cache-Groups", "\"News\""));
    origin.on("/safe", fresh("x").field("Cache-Group-Invalidation", "\"news\""));
    let write = |groups| status(204).field("Cache-Group-Invalidation", groups);
    let larder = all_to(&origin).start().await;
    let ask = async |host: &str, path: &str| {
        get(larder.url(path)).with("Host", host).await.outcome().to_owned()
    };
    for group in ["\"other\", \"news\";p", "\"a b\""] {
        origin.on("/write", write(group));
        for (host, path) in [("a.example", "/x"), ("a.example", "/y"), ("b.example", "/x")] {
            ask(host, path).await;
            assert_eq!(ask(host, path).await, "HIT");
        }
        ask("a.example", "/safe").await;
        assert_eq!(ask("a.example", "/x").await, "HIT", "a safe method invalidates nothing");
        post(larder.url("/write")).with("Host", "a.example").body("x").await.has_status(204);
        assert_eq!(ask("a.example", "/x").await, "MISS", "{group}");
        assert_eq!(ask("a.example", "/y").await, "HIT", "names are compared byte by byte");
        assert_eq!(ask("b.example", "/x").await, "HIT", "another origin's group is another");
    }
    larder.purges(json!({"tags": ["news"]})).await;
    for host in ["a.example", "b.example"] {
        assert_eq!(ask(host, "/x").await, "MISS");
    }
}
