//! Plain requests on a connection that goes on are answered where they are read, and nobody can tell.

use std::collections::BTreeSet;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::answer::{fresh, ok, status};
use crate::support::client::{ask, get, post};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::raw::{Afterwards, RawOrigin, head};
use crate::support::tls::Authority;
use crate::support::within;
use crate::support::yaml::{all_to, all_to_url};

/// A keep-alive connection whose first request is over: from now on the lane is open.
struct Client<S = TcpStream>(S);

/// An answer's status line, its fields without what counts seconds, and its body.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    status: String,
    fields: BTreeSet<String>,
    body: Vec<u8>,
}

impl Client {
    async fn of(larder: &Larder) -> Self {
        Self::over(TcpStream::connect(larder.authority()).await.unwrap()).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn over(stream: S) -> Self {
        let mut client = Self(stream);
        client.ask("/first", "").await;
        client
    }

    async fn send(&mut self, requests: &str) {
        self.0.write_all(requests.as_bytes()).await.unwrap();
    }

    async fn read(&mut self) -> Said {
        let head = head(&mut self.0).await;
        let (status, fields) = head.split_once("\r\n").expect("an answer has a status line");
        let length = fields.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        within("a body", self.0.read_exact(&mut body)).await.unwrap();
        let counted = |line: &&str| !line.is_empty() && !line.starts_with("age: ");
        let fields = fields.lines().filter(counted);
        // A second may pass between two requests.
        let fields = fields.map(|line| line.split("; ttl=").next().unwrap_or(line).to_owned());
        Said { status: status.to_owned(), fields: fields.collect(), body }
    }

    /// All lines of the answer's fields, as they came.
    async fn ask_whole(&mut self, path: &str, fields: &str) -> Vec<String> {
        self.send(&request(path, fields)).await;
        let head = head(&mut self.0).await;
        let mut body = [0; 5];
        within("a body", self.0.read_exact(&mut body)).await.unwrap();
        head.trim_end().lines().skip(1).map(str::to_owned).collect()
    }

    async fn ask(&mut self, path: &str, fields: &str) -> Said {
        self.send(&request(path, fields)).await;
        self.read().await
    }
}

fn request(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n")
}

/// A field that means nothing here, but that no plain request has.
const NOT_PLAIN: &str = "TE: trailers\r\n";

#[tokio::test]
async fn what_the_lane_says_of_a_hit_the_stack_says_too() {
    let origin = Origin::start().await;
    origin.on("/first", ok("first"));
    origin.on(
        "/plain",
        fresh("hello").field("ETag", "\"a\"").field("X-Own", "1").field("X-Own", "2"),
    );
    origin.on(
        "/from-a-cache",
        fresh("old")
            .field("Age", "7")
            .field("X-Cache", "HIT")
            .field("X-Cache-Layer", "DISK")
            .field("Cache-Status", "far; hit"),
    );
    origin.on("/varies", fresh("some").field("Vary", "Accept-Language"));
    origin.on("/empty", fresh(""));
    origin.on("/gone", status(410).field("Cache-Control", "max-age=60"));
    origin.on("/a", fresh("query"));
    let larder = all_to(&origin).start().await;
    are_told_as_by_the_stack(&mut Client::of(&larder).await).await;

    let authority = Authority::new();
    authority.issue("shop", &["shop.example"]);
    let larder =
        all_to(&origin).top(&format!("tls: {{ {} }}", authority.pair("shop"))).start().await;
    let tls = authority.client("shop.example").offering(&["http/1.1"]);
    let stream = tls.connect(larder.authority()).await.unwrap();
    are_told_as_by_the_stack(&mut Client::over(stream).await).await;
}

async fn are_told_as_by_the_stack(client: &mut Client<impl AsyncRead + AsyncWrite + Unpin>) {
    for path in [
        "/plain",
        "/from-a-cache",
        "/varies",
        "/empty",
        "/gone",
        "/a?b=c&d",
        "/./plain",
        "/%2e/plain",
    ] {
        client.ask(path, NOT_PLAIN).await;
        let stack = client.ask(path, NOT_PLAIN).await;
        assert!(stack.fields.contains("x-cache: HIT"), "{path}: {stack:?}");
        for fields in ["", "Connection: keep-alive\r\nUser-Agent: a\r\nCookie: a=b\r\n"] {
            assert_eq!(client.ask(path, fields).await, stack, "{path}");
        }
    }
}

/// By which scheme a client asked is a part of the key; a proxy says it, and is believed where it is trusted.
#[tokio::test]
async fn what_is_not_kept_is_told_alike_on_every_way() {
    let head = "HTTP/1.1 200 OK\r\nX-Cache: HIT\r\nx-CACHE-layer: DISK\r\nAge: 7\r\nConnection: X-Own\r\nX-Own: 1\r\n\
        Keep-Alive: 5\r\nVary: A\r\nSurrogate-Key: a\r\nCache-Control: no-store\r\nvary: B\r\nX-Empty:\r\nX-Odd:\t two \r\n\
        Via: 1.0 far\r\nCache-Status: far; hit\r\nContent-Length: 5\r\n\r\nhello";
    let told = [
        "x-cache: MISS",
        "x-cache-layer: ORIGIN",
        "age: 7",
        "vary: A",
        "cache-control: no-store",
        "vary: B",
        "surrogate-key: a",
        "x-empty: ",
        "x-odd: two",
        "via: 1.0 far",
        "via: 1.1 larder",
        "cache-status: far; hit",
        "cache-status: larder; fwd=uri-miss; detail=no-store",
        "content-length: 5",
    ];
    let told: BTreeSet<_> = told.map(str::to_owned).into();
    let origin = RawOrigin::start(head, Afterwards::Close).await;
    let larder = all_to_url(&origin.url()).start().await;
    let mut client = Client(TcpStream::connect(larder.authority()).await.unwrap());
    let unfolded = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        format!("{}: {value}", name.to_ascii_lowercase())
    };
    // First by the parser, then in the lane, then by the parser again.
    for fields in ["", "", NOT_PLAIN] {
        let said = client.ask_whole("/x", fields).await;
        let lines: BTreeSet<_> = said.iter().map(|line| unfolded(line)).collect();
        assert_eq!((lines.len(), said.len()), (told.len() + 1, told.len() + 1), "{said:?}");
        let date: Vec<_> = lines.difference(&told).collect();
        assert!(date.len() == 1 && date[0].starts_with("date: "), "{said:?}");
    }
    for asked in [get(larder.url("/x")).over_h2c(), ask("HEAD", larder.url("/x"))] {
        let reply = asked.await;
        let lines = reply.fields.iter();
        let lines = lines.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        let lines: BTreeSet<_> =
            lines.map(|line| line.replace("2.0 larder", "1.1 larder")).collect();
        // Why it went forward is another thing for a HEAD.
        for line in told.iter().filter(|line| !line.starts_with("cache-status: larder")) {
            assert!(lines.contains(line), "{line} in {reply:?}");
        }
        assert_eq!(
            (lines.len(), reply.fields.len()),
            (told.len() + 1, told.len() + 1),
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn the_lane_believes_proxies_of_the_scheme_as_the_stack_does() {
    let origin = Origin::start().await;
    origin.on("/first", ok("first"));
    origin.with("/x", |asked| fresh(asked.field("x-forwarded-proto").to_owned()));
    let asked = [
        ("", "http"),
        ("X-Forwarded-Proto: https\r\n", "https"),
        ("x-forwarded-proto: HTTPS\r\n", "https"),
        ("X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", "http"),
        ("X-Forwarded-Proto: http , https\r\n", "https"),
        ("X-Forwarded-Proto: ftp\r\nForwarded: proto=https\r\n", "http"),
        ("Forwarded: for=192.0.2.60;proto=\"https\";by=203.0.113.43\r\n", "https"),
        ("Forwarded: proto=https, for=192.0.2.60\r\n", "http"),
        ("X-Forwarded-Proto: \r\n", "http"),
    ];
    for (trusted, believes) in [("trusted_proxies: [127.0.0.1]", true), ("", false)] {
        let larder = all_to(&origin).top(trusted).start().await;
        let mut client = Client::of(&larder).await;
        for fields in [asked[0].0, asked[1].0] {
            client.ask("/x", &format!("{NOT_PLAIN}{fields}")).await;
        }
        for (fields, says) in asked {
            let stack = client.ask("/x", &format!("{NOT_PLAIN}{fields}")).await;
            assert!(stack.fields.contains("x-cache: HIT"), "{fields}: {stack:?}");
            let expected = if believes { says } else { "http" };
            assert_eq!(stack.body, expected.as_bytes(), "{fields}");
            assert_eq!(client.ask("/x", fields).await, stack, "{fields}");
        }
    }
}

/// Which variant a request selects is the same whether it is read from its lines or from a map.
#[tokio::test]
async fn the_lane_chooses_among_variants_as_the_stack_does() {
    let origin = Origin::start().await;
    origin.on("/first", ok("first"));
    let varying = [
        "Accept-Encoding",
        "Accept-Language, X-Tenant",
        "Keep-Alive",
        "X-Forwarded-Host",
        "Cookie",
        "User-Agent, X-Tenant",
    ];
    for (number, names) in varying.into_iter().enumerate() {
        let mut answers = 0;
        origin.with(&format!("/{number}"), move |_| {
            answers += 1;
            fresh(answers.to_string()).field("Vary", names)
        });
    }
    let asked = [
        "",
        "Accept-Encoding: gzip, br\r\n",
        "accept-encoding: br;q=0.5\r\nAccept-Encoding:gzip\r\n",
        "Accept-Encoding: identity\r\n",
        "Accept-Encoding: \r\n",
        "Accept-Language: de, en;q=0.5\r\nX-Tenant: a\r\n",
        "X-Tenant: a\r\nAccept-Language: en; q=0.5 , de\r\n",
        "Accept-Language: de\r\nX-Tenant: a\r\nX-Tenant: b\r\n",
        "Connection: keep-alive\r\nKeep-Alive: 5\r\n",
        "Connection: keep-alive\r\nConnection: keep-alive\r\nKeep-Alive: 5\r\n",
        "X-Forwarded-Host: a\r\n",
        "Cookie: a=b\r\n",
        "Cookie: a=b\r\nCookie: c=d\r\n",
        "User-Agent: me\r\nX-Tenant: a\r\n",
        "User-Agent: \u{e4}\r\nX-Tenant: a\r\n",
    ];
    let rules = [
        "",
        "vary: { normalize: { Accept-Encoding: [br, gzip], Accept-Language: [en] } }",
        "forward: [User-Agent]",
    ];
    for rule in rules {
        // What other rules stored is there as well: a coding that this one would not let through.
        let larder = all_to(&origin).start().await;
        let mut client = Client::of(&larder).await;
        for fields in asked {
            client.ask("/0", &format!("{NOT_PLAIN}{fields}")).await;
        }
        larder.rewrite(&all_to(&origin).route(rule).text());
        post(larder.admin("/admin/config/reload")).await.has_status(200);
        for (number, names) in varying.into_iter().enumerate() {
            let path = format!("/{number}");
            for fields in asked {
                client.ask(&path, &format!("{NOT_PLAIN}{fields}")).await;
            }
            for fields in asked {
                let stack = client.ask(&path, &format!("{NOT_PLAIN}{fields}")).await;
                assert!(
                    stack.fields.contains("x-cache: HIT"),
                    "{rule} {names} {fields}: {stack:?}"
                );
                assert_eq!(client.ask(&path, fields).await, stack, "{rule} {names} {fields}");
            }
        }
    }
}

#[tokio::test]
async fn what_the_lane_answers_is_counted_and_logged_like_anything_else() {
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let mut larder = all_to(&origin).top("log: { format: json, access: true }").start().await;
    let mut client = Client::of(&larder).await;
    let asked = "X-Request-Id: 7\r\n";
    for _ in 0..2 {
        client.ask("/x?a", &format!("{NOT_PLAIN}{asked}")).await;
    }
    let hits = larder.metric("cache_hits_total", &[("cache_layer", "L1")]).await;
    client.ask("/x?a", asked).await;
    assert_eq!(larder.metric("cache_hits_total", &[("cache_layer", "L1")]).await, hits + 1);
    drop(client);
    larder.stop().await;
    let said = larder.output().whole().await;
    let lines = said.lines().map(|line| {
        let mut line: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        line.retain(|key, _| !key.contains("time") && !key.contains("duration"));
        line
    });
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), 4, "{said}");
    assert_eq!(lines[2], lines[3]);
    assert!(said.contains("/x?a") && lines[3].values().any(|value| value == "7"), "{said}");
}

#[tokio::test]
async fn answers_come_in_the_order_of_requests_whoever_gives_them() {
    let origin = Origin::start().await;
    origin.with("*", |asked| fresh(asked.target.clone()).field("ETag", "\"a\""));
    let larder = all_to(&origin).start().await;
    let mut client = Client::of(&larder).await;
    for path in ["/a", "/b"] {
        client.ask(path, "").await;
    }
    let all = [
        request("/a", ""),
        request("/b", ""),
        request("/a", "If-None-Match: \"a\"\r\n"),
        request("/b", ""),
        request("/new", ""),
        request("/a", "Range: bytes=0-0\r\n"),
        request("/a", ""),
        request("/b", NOT_PLAIN),
        request("/a", ""),
    ];
    // Whole, and cut at every place of what follows the first.
    let text = all.concat();
    for cut in (0..text.len()).step_by(7) {
        let (first, second) = text.split_at(cut);
        client.send(first).await;
        tokio::task::yield_now().await;
        client.send(second).await;
        let mut said = Vec::new();
        for _ in &all {
            let Said { status, body, .. } = client.read().await;
            said.push(format!("{} {}", &status[9..12], String::from_utf8_lossy(&body)));
        }
        let expected = [
            "200 /a", "200 /b", "304 ", "200 /b", "200 /new", "206 /", "200 /a", "200 /b", "200 /a",
        ];
        assert_eq!(said, expected, "cut at {cut}");
    }
}

/// Many at once are answered in lots; what is not plain, a piece of a head and the end may lie anywhere between them.
#[tokio::test]
async fn many_requests_at_once_are_answered_one_by_one() {
    let origin = Origin::start().await;
    origin.with("*", |asked| fresh(asked.target.clone()));
    let larder = all_to(&origin).start().await;
    let mut client = Client::of(&larder).await;
    for path in ["/a", "/b"] {
        client.ask(path, "").await;
    }
    let asked: Vec<_> = (0..500).map(|number| if number % 3 == 0 { "/a" } else { "/b" }).collect();
    let fields = |number| if number % 41 == 40 { NOT_PLAIN } else { "" };
    let text: String =
        asked.iter().enumerate().map(|(number, path)| request(path, fields(number))).collect();
    client.send(&text).await;
    for path in asked {
        assert_eq!(client.read().await.body, path.as_bytes());
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_all_of_it_and_then_its_next_answer() {
    let origin = Origin::start().await;
    let large: Vec<u8> = (0..=250).cycle().take(12_000_000).collect();
    origin.on("/first", fresh("first"));
    origin.on("/large", fresh(large.clone()));
    let room = "l1: { capacity: 256MiB, max_object: 16MiB }";
    let larder = all_to(&origin).top(room).start().await;
    reads_slowly(&mut Client::of(&larder).await, &large).await;

    let authority = Authority::new();
    authority.issue("shop", &["shop.example"]);
    let tls = format!("tls: {{ {} }}", authority.pair("shop"));
    let larder = all_to(&origin).top(room).top(&tls).start().await;
    let tls = authority.client("shop.example").offering(&["http/1.1"]);
    let stream = tls.connect(larder.authority()).await.unwrap();
    reads_slowly(&mut Client::over(stream).await, &large).await;
}

async fn reads_slowly(client: &mut Client<impl AsyncRead + AsyncWrite + Unpin>, large: &[u8]) {
    client.ask("/large", "").await;
    let requests = [
        request("/large", ""),
        request("/first", ""),
        request("/large", NOT_PLAIN),
        request("/large", ""),
    ];
    client.send(&requests.concat()).await;
    for expected in [large, b"first", large, large] {
        let said = client.read().await;
        assert!(said.fields.contains("x-cache: HIT"), "{:?}", said.fields);
        assert!(said.body == expected, "{} bytes", said.body.len());
    }
}

#[tokio::test]
async fn a_purge_and_a_new_configuration_are_heeded_by_the_next_plain_request() {
    let origin = Origin::start().await;
    origin.on("*", fresh("old"));
    let larder = all_to(&origin).start().await;
    let mut client = Client::of(&larder).await;
    client.ask("/x", "").await;
    assert_eq!(client.ask("/x", "").await.body, b"old");
    origin.on("*", fresh("new"));
    let purge = post(larder.admin("/admin/purges"));
    purge
        .with("Content-Type", "application/json")
        .body(r#"{"everything": true}"#)
        .await
        .has_status(200);
    let said = client.ask("/x", "").await;
    assert!(said.fields.contains("x-cache: MISS"), "{said:?}");
    assert_eq!(client.ask("/x", "").await.body, b"new");
}
