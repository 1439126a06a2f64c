//! Requests that are told apart by their content: QUERY everywhere, POST where a route vouches for it.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::answer::{echo, fresh, ok, status};
use crate::support::client::{Ask, ask, get, post};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::raw;
use crate::support::redis::RedisServer;
use crate::support::reply::Reply;
use crate::support::yaml::all_to;
use crate::support::{until, within};

const JSON: &str = "application/json";
/// A route whose POST requests only ask.
const VOUCHED: &str = "key: { body: { of: [POST] } }";

fn query(url: impl AsRef<str>, content: impl Into<Bytes>) -> Ask {
    ask("QUERY", url).with("Content-Type", JSON).body(content)
}

fn vouched(url: impl AsRef<str>, content: impl Into<Bytes>) -> Ask {
    post(url).with("Content-Type", JSON).body(content)
}

/// An origin whose every answer has a number of its own, and is fresh.
async fn counting() -> Origin {
    let origin = Origin::start().await;
    let mut version = 0;
    origin.with("*", move |asked| {
        version += 1;
        fresh(format!("{} v{version}", asked.method))
    });
    origin
}

#[track_caller]
fn passed(reply: &Reply, why: &str) {
    reply.is("BYPASS", "ORIGIN");
    let told = reply.field("cache-status");
    assert!(told.contains(&format!("detail={why}")), "{told}");
}

#[tokio::test]
async fn equal_content_is_one_entry_and_the_origin_gets_the_form_that_is_keyed() {
    let origin = counting().await;
    let larder = all_to(&origin).start().await;
    let spellings = [
        "{\"b\": [1, 2], \"a\": \"\\u0041\"}",
        "{\"a\":\"A\",\"b\":[1,2]}",
        " {\n\t\"a\" : \"A\" , \"b\" : [ 1 , 2 ]\r\n} ",
    ];
    query(larder.url("/x"), spellings[0]).await.is("MISS", "ORIGIN").says("QUERY v1");
    for spelling in spellings {
        query(larder.url("/x"), spelling).await.is("HIT", "L1").says("QUERY v1");
    }
    let [asked] = &origin.requests("/x")[..] else { panic!("one request") };
    assert_eq!((asked.method.as_str(), asked.field("content-type")), ("QUERY", JSON));
    assert_eq!(asked.body(), spellings[1].as_bytes());
    assert_eq!(asked.field("content-length"), spellings[1].len().to_string());
    assert_eq!(asked.field("transfer-encoding"), "");
}

#[tokio::test]
async fn other_content_another_type_another_path_and_another_method_are_other_entries() {
    let origin = counting().await;
    let larder = all_to(&origin).route(VOUCHED).start().await;
    let url = larder.url("/x");
    let typed = |media_type: &str| ask("QUERY", &url).with("Content-Type", media_type).body("{}");
    let others = || {
        [
            get(&url),
            vouched(&url, "{}"),
            query(&url, "{}"),
            query(&url, "[]"),
            query(&url, "1"),
            query(&url, "1.0"),
            query(larder.url("/y"), "{}"),
            query(larder.url("/x?q"), "{}"),
            typed("text/plain"),
            typed("application/json; charset=utf-8"),
            query(&url, "{}").with("Content-Language", "en"),
            query(&url, "{}").with("Content-Encoding", "gzip"),
        ]
    };
    let mut seen = std::collections::HashSet::new();
    for other in others() {
        let reply = other.await;
        reply.is("MISS", "ORIGIN");
        assert!(seen.insert(reply.text().to_owned()));
    }
    for other in others() {
        let reply = other.await;
        assert!(seen.remove(reply.is("HIT", "L1").text()), "each its own: {reply:?}");
    }
}

#[tokio::test]
async fn content_of_any_type_is_keyed_by_its_bytes() {
    let origin = counting().await;
    let larder = all_to(&origin).start().await;
    let text = |content: &'static str| {
        ask("QUERY", larder.url("/x")).with("Content-Type", "text/plain").body(content)
    };
    text("select a").await.is("MISS", "ORIGIN");
    text("select a").await.is("HIT", "L1");
    text("select  a").await.is("MISS", "ORIGIN");
    assert_eq!(origin.requests("/x")[1].body(), b"select  a");
}

#[tokio::test]
async fn a_route_may_leave_query_out_and_it_passes_without_harm() {
    let origin = counting().await;
    let url = origin.url();
    let larder = Larder::start(&format!(
        "origins: {{ api: {{ endpoints: [ \"{url}\" ] }} }}\n\
         routes: [ {{ name: all, match: {{ methods: [GET] }} }} ]\n"
    ))
    .await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    query(larder.url("/x"), "{}").await.is("BYPASS", "ORIGIN");
    query(larder.url("/x"), "{}").await.is("BYPASS", "ORIGIN");
    get(larder.url("/x")).await.is("HIT", "L1");
}

#[tokio::test]
async fn a_post_is_looked_up_only_where_the_route_vouches_for_it() {
    let origin = counting().await;
    let plain = all_to(&origin).start().await;
    get(plain.url("/x")).await.is("MISS", "ORIGIN");
    for _ in 0..2 {
        vouched(plain.url("/x"), "{}").await.is("BYPASS", "ORIGIN");
    }
    get(plain.url("/x")).await.is("MISS", "ORIGIN");

    let larder = all_to(&origin).route(VOUCHED).start().await;
    get(larder.url("/y")).await.is("MISS", "ORIGIN");
    vouched(larder.url("/y"), "{\"a\":1}").await.is("MISS", "ORIGIN");
    vouched(larder.url("/y"), "{ \"a\" : 1 }").await.is("HIT", "L1");
    // Neither a lookup nor one that passes is a write.
    passed(&vouched(larder.url("/y"), "{\"a\":1,\"a\":2}").await, "body-ambiguous");
    get(larder.url("/y")).await.is("HIT", "L1");
    ask("PUT", larder.url("/y")).body("{}").await.is("BYPASS", "ORIGIN");
    get(larder.url("/y")).await.is("MISS", "ORIGIN");
    vouched(larder.url("/y"), "{\"a\":1}").await.is("MISS", "ORIGIN");
}

#[tokio::test]
async fn a_post_is_kept_only_where_somebody_states_how_long() {
    let origin = Origin::start().await;
    origin.on("/x", ok("x").field("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"));
    let guessed = all_to(&origin).route(VOUCHED).start().await;
    for _ in 0..2 {
        let reply = vouched(guessed.url("/x"), "{}").await;
        assert!(reply.is("MISS", "ORIGIN").field("cache-status").contains("no-lifetime"));
    }
    let timed = all_to(&origin).route(VOUCHED).route("ttl: 1m").start().await;
    vouched(timed.url("/x"), "{}").await.is("MISS", "ORIGIN");
    vouched(timed.url("/x"), "{}").await.is("HIT", "L1");
}

#[tokio::test]
async fn what_cannot_be_keyed_passes_with_the_reason_and_every_byte() {
    let origin = Origin::start().await;
    origin.on("*", echo().field("Cache-Control", "max-age=60"));
    let yaml = all_to(&origin).route("key: { body: { of: [POST], format: json, limit: 1KiB } }");
    let larder = yaml.start().await;
    let (url, deep) = (larder.url("/x"), "[".repeat(100) + &"]".repeat(100));
    let untyped = || post(&url).body("{}");
    let large = Bytes::from(format!("\"{}\"", "x".repeat(1023)));
    for _ in 0..2 {
        for (asked, sent, why) in [
            (untyped(), &b"{}"[..], "body-untyped"),
            (untyped().with("Content-Type", "text/plain"), b"{}", "body-type"),
            (vouched(&url, "{}").with("Content-Encoding", "gzip"), b"{}", "body-coded"),
            (vouched(&url, "{"), b"{", "body-malformed"),
            (vouched(&url, "{ \"a\":1, \"a\":1 }"), b"{ \"a\":1, \"a\":1 }", "body-ambiguous"),
            (vouched(&url, deep.clone()), deep.as_bytes(), "body-too-deep"),
            (vouched(&url, large.clone()), &large[..], "body-too-large"),
            (query(&url, large.clone()), &large[..], "body-too-large"),
        ] {
            let reply = asked.await;
            passed(reply.has_status(200), why);
            assert_eq!(reply.body, sent);
        }
    }
    assert_eq!(origin.count("/x"), 16, "each was one request");
}

#[tokio::test]
async fn content_in_pieces_is_keyed_whole_and_what_grows_too_large_streams_on() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("x"));
    origin.on("/echo", echo());
    let larder = all_to(&origin).start().await;
    let pieces = async |path: &str, pieces: Vec<Bytes>| {
        let asked = ask("QUERY", larder.url(path)).with("Content-Type", JSON);
        let (asked, sender) = asked.streaming();
        let reply = async { asked.await };
        let send = async {
            for piece in pieces {
                sender.send(piece).await.unwrap();
            }
            drop(sender);
        };
        tokio::join!(reply, send).0
    };
    let parts = || ["{\"a\"", ":", "1}"].map(|part| Bytes::from(part.to_owned())).to_vec();
    pieces("/x", parts()).await.is("MISS", "ORIGIN");
    query(larder.url("/x"), "{\"a\":1}").await.is("HIT", "L1");
    pieces("/x", parts()).await.is("HIT", "L1");
    let asked = &origin.requests("/x")[0];
    assert_eq!((asked.body(), asked.field("content-length")), (b"{\"a\":1}".to_vec(), "7"));

    let large: Vec<Bytes> = (0..=255_u8).map(|byte| Bytes::from(vec![byte; 1000])).collect();
    let reply = pieces("/echo", large.clone()).await;
    passed(&reply, "body-too-large");
    assert_eq!(reply.body, large.concat());
}

#[tokio::test]
async fn an_upload_that_stops_is_told_so_and_the_origin_hears_nothing() {
    let origin = counting().await;
    let larder = all_to(&origin).top("limits: { body_timeout: 300ms }").start().await;
    let head = "QUERY /x HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{\"a\"";
    let said = raw::converse(larder.authority(), head.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    assert!(said.to_ascii_lowercase().contains("connection: close"), "{said}");
    assert_eq!(origin.count("/x"), 0);
    query(larder.url("/x"), "{\"a\":1}").await.is("MISS", "ORIGIN");
}

#[tokio::test]
async fn who_waits_for_word_to_send_gets_it_from_us() {
    let origin = counting().await;
    let larder = all_to(&origin).start().await;
    let mut socket = TcpStream::connect(larder.authority()).await.unwrap();
    let head = "QUERY /x HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
                Expect: 100-continue\r\nConnection: close\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    assert!(raw::head(&mut socket).await.starts_with("HTTP/1.1 100 "));
    socket.write_all(b"{}").await.unwrap();
    let mut said = String::new();
    within("the answer", socket.read_to_string(&mut said)).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("QUERY v1"), "{said}");
    assert_eq!(origin.requests("/x")[0].field("expect"), "");
}

#[tokio::test]
async fn two_hundred_equal_queries_are_one_fetch() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("found").after(Duration::from_millis(500)));
    let larder = all_to(&origin).start().await;
    let mut clients = JoinSet::new();
    for client in 0..200 {
        let asked = if client % 2 == 0 { "{\"a\":1,\"b\":2}" } else { "{ \"b\": 2, \"a\": 1 }" };
        let asked = query(larder.url("/x"), asked);
        clients.spawn(async move { asked.await });
    }
    for reply in clients.join_all().await {
        reply.has_status(200).says("found");
    }
    assert_eq!(origin.count("/x"), 1);
    assert_eq!(origin.requests("/x")[0].body(), b"{\"a\":1,\"b\":2}");
}

#[tokio::test]
async fn a_purge_of_the_url_takes_every_answer_of_it() {
    let origin = counting().await;
    let larder = all_to(&origin).route(VOUCHED).start().await;
    let (url, other) = (larder.url("/x"), larder.url("/y"));
    let all = || [get(&url), query(&url, "1"), query(&url, "2"), vouched(&url, "1")];
    for scope in [json!({"urls": [url]}), json!({"prefixes": [url]}), json!({"routes": ["all"]})] {
        query(&other, "1").await;
        for asked in all() {
            asked.await.is("MISS", "ORIGIN");
        }
        for asked in all() {
            asked.await.is("HIT", "L1");
        }
        larder.purges(scope).await;
    }
    for asked in all() {
        asked.await.is("MISS", "ORIGIN");
    }
}

#[tokio::test]
async fn a_refresh_asks_with_the_same_content() {
    let origin = Origin::start().await;
    origin.script("/x", [ok("old"), fresh("new")]);
    let yaml = all_to(&origin).route("ttl: 300ms").route("stale_while_revalidate: 1m");
    let larder = yaml.start().await;
    let asked = || query(larder.url("/x"), "{ \"a\": 1 }");
    asked().await.is("MISS", "ORIGIN");
    until("it is stale", async || {
        let reply = asked().await;
        (reply.outcome() == "STALE").then(|| reply.says("old").clone())
    })
    .await;
    until("it is new", async || (asked().await.text() == "new").then_some(())).await;
    let requests = origin.requests("/x");
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!((request.method.as_str(), request.body()), ("QUERY", b"{\"a\":1}".to_vec()));
        assert_eq!(request.field("content-type"), JSON);
    }
}

#[tokio::test]
async fn a_query_is_validated_with_its_content_and_a_post_is_asked_anew() {
    let origin = Origin::start().await;
    for path in ["/query", "/post"] {
        let tagged = ok("hello").field("ETag", "\"v1\"").field("Cache-Control", "max-age=0");
        origin.with(path, move |asked| {
            if asked.field("if-none-match").is_empty() { tagged.clone() } else { status(304) }
        });
    }
    let larder = all_to(&origin).route(VOUCHED).start().await;
    query(larder.url("/query"), "1").await.is("MISS", "ORIGIN");
    query(larder.url("/query"), "1").await.is("REVALIDATED", "ORIGIN").says("hello");
    assert_eq!(origin.requests("/query")[1].body(), b"1");
    for _ in 0..2 {
        vouched(larder.url("/post"), "1").await.is("MISS", "ORIGIN").says("hello");
    }
}

#[tokio::test]
async fn conditions_of_a_query_work_as_those_of_a_get_and_ranges_do_not() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello").field("ETag", "\"v1\""));
    let larder = all_to(&origin).route(VOUCHED).start().await;
    query(larder.url("/x"), "1").await.is("MISS", "ORIGIN");
    let asked = || query(larder.url("/x"), "1");
    asked().with("If-None-Match", "\"v1\"").await.is("HIT", "L1").has_status(304);
    asked().with("If-None-Match", "\"v2\"").await.is("HIT", "L1").has_status(200);
    asked().with("Range", "bytes=0-1").await.is("HIT", "L1").has_status(200).says("hello");
    vouched(larder.url("/x"), "1").await.is("MISS", "ORIGIN");
    let conditional = vouched(larder.url("/x"), "1").with("If-None-Match", "\"v1\"");
    conditional.await.is("HIT", "L1").has_status(200).says("hello");
}

#[tokio::test]
async fn only_the_fields_that_count_are_keyed_and_sent() {
    let origin = counting().await;
    let yaml =
        all_to(&origin).route("key: { body: { of: [POST], format: json, fields: [query, page] } }");
    let larder = yaml.start().await;
    let asked = |content: &'static str| vouched(larder.url("/x"), content);
    asked("{\"trace\":1,\"query\":\"a\"}").await.is("MISS", "ORIGIN");
    asked("{\"query\":\"a\",\"trace\":2}").await.is("HIT", "L1");
    asked("{\"query\":\"a\",\"page\":2}").await.is("MISS", "ORIGIN");
    assert_eq!(origin.requests("/x")[0].body(), b"{\"query\":\"a\"}");
    passed(&asked("[1]").await, "body-malformed");
}

/// What a client frames as one request is one at the origin, however it looks.
#[tokio::test]
async fn content_that_looks_like_a_request_is_content() {
    let origin = counting().await;
    let larder = all_to(&origin).start().await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let chunks = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    let length = hidden.len();
    for framed in [
        format!("Content-Length: {length}\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: chunked\r\n\r\n{chunks}"),
    ] {
        let head =
            "QUERY /x HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nConnection: close\r\n";
        let said = raw::converse(larder.authority(), format!("{head}{framed}").as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    }
    // The same content in another framing is the same request.
    assert_eq!((origin.count("/x"), origin.count("/hidden")), (1, 0));
    assert_eq!(origin.requests("/x")[0].body(), hidden.as_bytes());
}

#[tokio::test]
async fn fields_that_go_no_further_are_not_keyed() {
    let origin = Origin::start().await;
    origin.with("*", |asked| {
        let seen = format!("{}|{}", asked.field("content-type"), asked.field("x-lang"));
        fresh(seen).field("Vary", "X-Lang")
    });
    let larder = all_to(&origin).start().await;
    let stripped = query(larder.url("/x"), "1").with("Connection", "content-type");
    stripped.await.is("MISS", "ORIGIN").says("|");
    query(larder.url("/x"), "1").await.is("MISS", "ORIGIN").says("application/json|");
    let german = || get(larder.url("/y")).with("X-Lang", "de");
    german().with("Connection", "x-lang").await.is("MISS", "ORIGIN").says("|");
    german().await.is("MISS", "ORIGIN").says("|de");
    german().await.is("HIT", "L1").says("|de");
}

#[tokio::test]
async fn a_connection_that_the_origin_closed_costs_a_query_nothing() {
    let mut origin = counting().await;
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    origin.leave().await;
    origin.come_back().await;
    query(larder.url("/y"), "{\"a\":1}").await.is("MISS", "ORIGIN").has_status(200);
    assert_eq!(origin.requests("/y")[0].body(), b"{\"a\":1}");
}

#[tokio::test]
async fn a_fleet_shares_what_was_asked_with_content() {
    let redis = RedisServer::start().await;
    let origin = counting().await;
    let yaml = all_to(&origin).redis(redis.port());
    let (one, two) = (yaml.start().await, yaml.start().await);
    let asked = |larder: &Larder| query(larder.url("/x"), "{\"a\":1}").with("Host", "shop.example");
    asked(&one).await.is("MISS", "ORIGIN");
    until("the entry is in Redis", async || {
        (!redis.keys("cache:*").await.is_empty()).then_some(())
    })
    .await;
    asked(&two).await.is("HIT", "L2").says("QUERY v1");
    assert_eq!(origin.count("/x"), 1);
}

#[tokio::test]
async fn over_http2_it_is_the_same() {
    let origin = counting().await;
    let larder = all_to(&origin).start().await;
    query(larder.url("/x"), "{\"a\": 1}").over_h2c().await.is("MISS", "ORIGIN");
    query(larder.url("/x"), "{\"a\":1}").over_h2c().await.is("HIT", "L1");
}

#[tokio::test]
async fn the_log_says_why_content_was_not_keyed() {
    let origin = counting().await;
    let larder = all_to(&origin).top("log: { format: json, access: true }").start().await;
    query(larder.url("/x"), "{").await.is("BYPASS", "ORIGIN");
    let line = larder
        .output()
        .find("the line", |line| line.contains("\"QUERY\"").then(|| line.to_owned()));
    let line = line.await.expect("larder still runs");
    assert!(line.contains("body-malformed"), "{line}");
}
