//! An origin that refuses, breaks off, stalls or talks nonsense is told as such, and nothing broken is stored.

use std::time::Duration;

use crate::support::answer::{Gate, close, fresh, ok};
use crate::support::client::{get, post};
use crate::support::origin::Origin;
use crate::support::raw::{Afterwards, RawOrigin};
use crate::support::redis::RedisServer;
use crate::support::yaml::{all_to, all_to_url};

#[tokio::test]
async fn a_body_that_is_cut_off_is_cut_off_for_the_client_and_not_stored() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    origin.script(
        "/sized",
        [
            ok("half").field("Content-Length", "8").field("Cache-Control", "max-age=60").cut(),
            fresh("complete"),
        ],
    );
    origin.script("/chunked", [fresh("half").chunk(" ").cut(), fresh("complete")]);
    let mut larder = all_to(&origin).redis(redis.port()).start().await;
    for path in ["/sized", "/chunked"] {
        let broken = get(larder.url(path)).attempt().await;
        assert!(broken.is_err(), "{path}: {broken:?}");
        get(larder.url(path)).await.is("MISS", "ORIGIN").says("complete");
        get(larder.url(path)).await.is("HIT", "L1").says("complete");
    }
    larder.restart().await;
    for path in ["/sized", "/chunked"] {
        get(larder.url(path)).await.is("HIT", "L2").says("complete");
    }
}

#[tokio::test]
async fn followers_of_a_cut_off_body_are_cut_off_too() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/x", fresh("half").pause(&gate).cut());
    let larder = all_to(&origin).start().await;
    let leader = get(larder.url("/x")).open().await;
    let follower = get(larder.url("/x")).open().await;
    gate.open();
    assert!(leader.rest().await.is_err());
    assert!(follower.rest().await.is_err());
}

#[tokio::test]
async fn an_origin_that_is_down_is_502_and_its_return_is_noticed() {
    let mut origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let larder = all_to(&origin).origin("breaker: { failures: 5, open_for: 1h }").start().await;
    origin.leave().await;
    for _ in 0..3 {
        get(larder.url("/x")).await.is("MISS", "ORIGIN").is_problem(502);
        post(larder.url("/x")).body("{}").await.is("BYPASS", "ORIGIN").is_problem(502);
    }
    origin.come_back().await;
    crate::support::until("the origin is asked again", async || {
        (get(larder.url("/x")).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn stored_entries_are_served_while_the_origin_is_down() {
    let mut origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    origin.leave().await;
    get(larder.url("/y")).await.has_status(502);
    get(larder.url("/x")).await.is("HIT", "L1").says("hello");
}

#[tokio::test]
async fn an_origin_that_is_too_slow_is_504() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/x", ok("late").held(&gate));
    let yaml = all_to(&origin)
        .origin("timeouts: { connect: 1s, first_byte: 300ms }")
        .origin("retries: { attempts: 0 }");
    let larder = yaml.start().await;
    let reply = get(larder.url("/x")).await;
    reply.is_problem(504);
    assert!(
        reply.took >= Duration::from_millis(300) && reply.took < Duration::from_secs(5),
        "{reply:?}"
    );
    post(larder.url("/x")).body("{}").await.is_problem(504);
    gate.open();
}

#[tokio::test]
async fn an_origin_that_stalls_within_the_body_is_cut_off() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/x", fresh("half").pause(&gate).chunk("never"));
    let larder = all_to(&origin).origin("timeouts: { idle: 300ms }").start().await;
    assert!(get(larder.url("/x")).attempt().await.is_err());
    gate.open();
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    let origin = Origin::start().await;
    origin.on("/x", close());
    let larder = all_to(&origin).origin("retries: { attempts: 3 }").start().await;
    for n in 1..4 {
        post(larder.url("/x")).body("{}").await.is_problem(502);
        assert_eq!(origin.count("/x"), n);
    }
}

#[tokio::test]
async fn nonsense_from_the_origin_is_502_and_not_stored() {
    let nonsense: [&[u8]; 11] = [
        b"nonsense\r\n\r\n",
        b"",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nhi!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ];
    for bytes in nonsense {
        let origin = RawOrigin::start(bytes, Afterwards::Close).await;
        let larder = all_to_url(&origin.url()).route("ttl: 1m").start().await;
        for _ in 0..2 {
            let reply = get(larder.url("/x")).await;
            assert_eq!(reply.status, 502, "{:?} became {reply:?}", String::from_utf8_lossy(bytes));
        }
    }
}

#[tokio::test]
async fn an_answer_without_a_length_is_whole_only_when_chunked() {
    // Its end cannot be told from a cut; it may be passed on, but what it says must arrive.
    let origin = RawOrigin::start(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\r\nhello",
        Afterwards::Close,
    )
    .await;
    let larder = all_to_url(&origin.url()).start().await;
    get(larder.url("/x")).await.has_status(200).says("hello");
    get(larder.url("/x")).await.has_status(200).says("hello");
}

#[tokio::test]
async fn an_interim_answer_before_the_answer_is_understood() {
    let bytes = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=60\r\n\r\nhi";
    let origin = RawOrigin::start(bytes, Afterwards::StayOpen).await;
    let larder = all_to_url(&origin.url()).start().await;
    get(larder.url("/x")).await.has_status(200).says("hi");
    get(larder.url("/x")).await.is("HIT", "L1").says("hi");
}

#[tokio::test]
async fn bytes_after_the_answer_never_belong_to_the_next_one() {
    let smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let origin = RawOrigin::start(smuggled, Afterwards::StayOpen).await;
    let larder = all_to_url(&origin.url()).start().await;
    for n in 0..5 {
        get(larder.url(&format!("/{n}"))).await.has_status(200).says("hi");
    }
}

#[tokio::test]
async fn an_endless_answer_streams_in_bounded_memory() {
    let origin = Origin::start().await;
    let mut answer = ok("");
    for _ in 0..200 {
        answer = answer.chunk(vec![b'x'; 1_000_000]);
    }
    origin.on("/x", answer.field("Cache-Control", "max-age=60"));
    let larder = all_to(&origin).top("l1: { capacity: 16MiB, max_object: 1MiB }").start().await;
    let mut opened = get(larder.url("/x")).open().await;
    let mut length = 0;
    while let Some(chunk) = opened.chunk().await {
        length += chunk.len();
    }
    assert_eq!(length, 200_000_000);
    let peak = larder.peak_memory();
    assert!(peak < 120_000, "{peak} KiB were used at the peak");
}

/// RFC 9112 §6.3, RFC 9111 §3.1.
#[tokio::test]
async fn a_transfer_coding_that_nobody_knows_is_stored_without_it_and_one_that_is_known_is_refused()
{
    let answer = |coding: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: {coding}\r\n\r\nhello"
        )
    };
    let unknown = RawOrigin::start(answer("foo"), Afterwards::Close).await;
    let larder = all_to_url(&unknown.url()).start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN").says("hello");
    get(larder.url("/x")).await.is("HIT", "L1").says("hello").lacks("transfer-encoding");
    let known = RawOrigin::start(answer("gzip"), Afterwards::Close).await;
    let larder = all_to_url(&known.url()).start().await;
    get(larder.url("/x")).await.is_problem(502);
}
