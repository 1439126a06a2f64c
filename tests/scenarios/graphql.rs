//! GraphQL: what only asks is answered from the cache, what may change something passes, errors are not kept.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::answer::{Answer, fresh};
use crate::support::client::{Ask, ask, get, post};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::reply::Reply;
use crate::support::until;
use crate::support::yaml::all_to;

const GOOD: &str = r#"{"data":{"a":1}}"#;
const BAD: &str = r#"{"data":null,"errors":[{"message":"no"}]}"#;

fn answer(text: &str) -> Answer {
    fresh(text.to_owned()).field("Content-Type", "application/json")
}

async fn started(origin: &Origin) -> Larder {
    all_to(origin).route("graphql: {}").start().await
}

fn request(larder: &Larder, content: &Value) -> Ask {
    let content = content.to_string();
    post(larder.url("/graphql")).with("Content-Type", "application/json").body(content)
}

fn asking(larder: &Larder, document: &str) -> Ask {
    request(larder, &json!({ "query": document }))
}

#[track_caller]
fn passed(reply: &Reply, why: &str) {
    reply.is("BYPASS", "ORIGIN");
    let told = reply.field("cache-status");
    assert!(told.contains(&format!("detail={why}")), "{told}");
}

#[tokio::test]
async fn one_question_is_one_entry_however_it_is_written() {
    let origin = Origin::start().await;
    origin.on("/graphql", answer(GOOD));
    let larder = started(&origin).await;
    asking(&larder, "{ a(x: 1, y: \"#,\") { b, c } } # why").await.is("MISS", "ORIGIN").says(GOOD);
    asking(&larder, "{a(x:1 y:\"#,\"){b c}}").await.is("HIT", "L1").says(GOOD);
    asking(&larder, "{a(x:1 y:\"#, \"){b c}}").await.is("MISS", "ORIGIN");
    let named = |variables: Value| {
        request(&larder, &json!({"query": "query Q($v:Int){a(x:$v)}", "variables": variables}))
    };
    named(json!({"v": 1})).await.is("MISS", "ORIGIN");
    named(json!({"v": 1})).await.is("HIT", "L1");
    named(json!({"v": 2})).await.is("MISS", "ORIGIN");
    let sent = origin.requests("/graphql")[0].body();
    assert_eq!(String::from_utf8(sent).unwrap(), r##"{"query":"{a(x:1 y:\"#,\"){b c}}"}"##);
}

#[tokio::test]
async fn a_mutation_passes_and_makes_what_is_stored_invalid() {
    let origin = Origin::start().await;
    origin.on("/graphql", answer(GOOD));
    let larder = started(&origin).await;
    asking(&larder, "{a}").await.is("MISS", "ORIGIN");
    asking(&larder, "{a}").await.is("HIT", "L1");
    for _ in 0..2 {
        passed(&asking(&larder, "mutation { a }").await, "graphql-mutation");
    }
    asking(&larder, "{a}").await.is("MISS", "ORIGIN");
    assert_eq!(origin.count("/graphql"), 4);
}

#[tokio::test]
async fn a_route_that_is_purged_otherwise_may_keep_what_mutations_leave() {
    let origin = Origin::start().await;
    origin.on("/graphql", answer(GOOD));
    let larder = all_to(&origin).route("graphql: { mutations: keep }").start().await;
    asking(&larder, "{a}").await.is("MISS", "ORIGIN");
    passed(&asking(&larder, "mutation { a }").await, "graphql-mutation");
    asking(&larder, "{a}").await.is("HIT", "L1");
}

#[tokio::test]
async fn an_answer_with_errors_is_delivered_and_not_kept() {
    let origin = Origin::start().await;
    origin.script("/graphql", [answer(BAD), answer(BAD), answer(GOOD)]);
    let larder = started(&origin).await;
    for _ in 0..2 {
        let reply = asking(&larder, "{a}").await;
        reply.is("MISS", "ORIGIN").has_status(200).says(BAD);
        let told = reply.field("cache-status");
        assert!(told.contains("detail=graphql-errors") && !told.contains("stored"), "{told}");
    }
    asking(&larder, "{a}").await.is("MISS", "ORIGIN").says(GOOD);
    asking(&larder, "{a}").await.is("HIT", "L1").says(GOOD);
}

#[tokio::test]
async fn errors_of_a_refresh_leave_what_is_stored() {
    let origin = Origin::start().await;
    let short =
        |text| answer(text).field("CDN-Cache-Control", "max-age=1, stale-while-revalidate=60");
    origin.script("/graphql", [short(GOOD), short(BAD), answer(r#"{"data":{"a":2}}"#)]);
    let larder = started(&origin).await;
    asking(&larder, "{a}").await.is("MISS", "ORIGIN");
    until("it is refreshed in spite of the errors", async || {
        let reply = asking(&larder, "{a}").await;
        assert_ne!(reply.text(), BAD, "{reply:?}");
        (reply.text() != GOOD).then_some(())
    })
    .await;
    assert_eq!(origin.count("/graphql"), 3);
}

#[tokio::test]
async fn what_is_no_single_question_passes() {
    let origin = Origin::start().await;
    origin.on("/graphql", answer(GOOD));
    let larder = started(&origin).await;
    for _ in 0..2 {
        for (content, why) in [
            (json!([{"query": "{a}"}]), "graphql-batch"),
            (json!({"query": "subscription { a }"}), "graphql-subscription"),
            (
                json!({"query": "query A { a } mutation B { b }", "operationName": "A"}),
                "graphql-mutation",
            ),
            (json!({"query": "{ a"}), "graphql-unparsed"),
            (json!({"query": "{a}", "doc_id": "7"}), "graphql-unparsed"),
            (json!({"extensions": {"persistedQuery": {"sha256Hash": "x"}}}), "graphql-unparsed"),
        ] {
            passed(&request(&larder, &content).await, why);
        }
        // Some origins run what the URL says.
        let content = json!({"query": "{a}"}).to_string();
        let url = larder.url("/graphql?query=mutation%7Ba%7D");
        let asked = post(url).with("Content-Type", "application/json").body(content);
        passed(&asked.await, "graphql-unparsed");
    }
}

#[tokio::test]
async fn by_get_a_query_is_kept_and_a_mutation_never() {
    let origin = Origin::start().await;
    origin.on("/graphql", answer(GOOD));
    let larder = started(&origin).await;
    let url = |query: &str| larder.url(&format!("/graphql?{query}"));
    get(url("query=%7Ba%7D")).await.is("MISS", "ORIGIN");
    get(url("query=%7B+a+%7D%23why")).await.is("HIT", "L1");
    for _ in 0..2 {
        passed(&get(url("query=mutation%7Ba%7D")).await, "graphql-mutation");
        passed(&ask("HEAD", url("query=mutation%7Ba%7D")).await, "graphql-mutation");
        passed(&get(url("x=1")).await, "graphql-unparsed");
    }
    get(url("query=%7Ba%7D")).await.is("HIT", "L1");
    larder.purges(json!({"urls": [url("query=%7B%20a%7D")]})).await;
    get(url("query=%7Ba%7D")).await.is("MISS", "ORIGIN");
    origin.on("/graphql", answer(BAD));
    let hashed = url("extensions=%7B%22persistedQuery%22%3A%7B%22sha256Hash%22%3A%22x%22%7D%7D");
    get(&hashed).await.is("MISS", "ORIGIN").says(BAD);
    origin.on("/graphql", answer(GOOD));
    get(&hashed).await.is("MISS", "ORIGIN").says(GOOD);
    get(&hashed).await.is("HIT", "L1").says(GOOD);
}

#[tokio::test]
async fn an_answer_that_cannot_be_looked_into_is_delivered_and_not_kept() {
    let origin = Origin::start().await;
    let large = json!({"data": {"a": "x".repeat(4000)}}).to_string();
    let rows = [
        (answer(GOOD).field("Content-Encoding", "gzip"), GOOD, "graphql-unread"),
        (fresh("<html>").field("Content-Type", "text/html"), "<html>", "graphql-unread"),
        (answer("{\"data\""), "{\"data\"", "graphql-unread"),
        (answer(&large[..1000]).chunk(large[1000..].to_owned()), &large, "too-large"),
    ];
    let larder = all_to(&origin).route("graphql: {}").top("l1: { max_object: 2KiB }").start().await;
    for (answer, text, why) in rows {
        origin.on("/graphql", answer);
        for _ in 0..2 {
            let reply = asking(&larder, "{a}").with("Accept-Encoding", "gzip").await;
            reply.is("MISS", "ORIGIN").has_status(200).says(text);
            assert!(reply.field("cache-status").contains(why), "{reply:?}");
        }
    }
    assert_eq!(origin.requests("/graphql")[0].field("accept-encoding"), "identity");
    origin.on("/graphql", answer("{\"data\":").cut());
    asking(&larder, "{b}").await.is_problem(502);
}

#[tokio::test]
async fn a_hundred_equal_questions_are_one_fetch() {
    let origin = Origin::start().await;
    origin.on("/graphql", answer(GOOD).after(Duration::from_millis(500)));
    let larder = started(&origin).await;
    let mut clients = JoinSet::new();
    for client in 0..100 {
        let asked = asking(&larder, &format!("{{{} a }}", " ".repeat(client % 7)));
        clients.spawn(async move { asked.await });
    }
    for reply in clients.join_all().await {
        reply.has_status(200).says(GOOD);
    }
    assert_eq!(origin.count("/graphql"), 1);
}
