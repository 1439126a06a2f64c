//! The tools of these tests are themselves as they say.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::answer::{Crowd, Gate, close, echo, fresh, ok, upgrade};
use crate::support::client::{ask, get, post};
use crate::support::faults::{FaultProxy, Weather};
use crate::support::origin::Origin;
use crate::support::raw::{Afterwards, RawOrigin, converse};
use crate::support::redis::RedisServer;
use crate::support::{PATIENCE, beside, within};

#[tokio::test]
async fn the_origin_answers_by_its_script_and_remembers_what_it_was_asked() {
    let origin = Origin::start().await;
    origin.script("/x", [fresh("one"), ok("two").with_status(203)]);
    let first = get(origin.url() + "/x?a=1").with("X-Mine", "yes").await;
    first.has_status(200).says("one").has("cache-control", "max-age=60").has("content-length", "3");
    get(origin.url() + "/x").await.has_status(203).says("two");
    get(origin.url() + "/x").await.says("two");
    post(origin.url() + "/x").body("sent").await.says("two");
    get(origin.url() + "/y").await.has_status(404);
    let asked = origin.requests("/x");
    assert_eq!(origin.count("/x"), 4);
    assert_eq!((asked[0].target.as_str(), asked[0].field("x-mine")), ("/x?a=1", "yes"));
    assert_eq!((asked[3].method.as_str(), asked[3].body()), ("POST", b"sent".to_vec()));
}

#[tokio::test]
async fn a_gate_holds_the_head_and_the_body() {
    let origin = Origin::start().await;
    let (head, body) = (Gate::closed(), Gate::closed());
    origin.on("/x", ok("first").held(&head).pause(&body).chunk("last"));
    let opening = beside(get(origin.url() + "/x").open());
    origin.seen("/x", 1).await;
    assert!(!opening.is_finished());
    head.open();
    let mut opened = opening.await.unwrap();
    assert_eq!(opened.chunk().await.unwrap(), "first");
    body.open();
    assert_eq!(opened.rest().await.unwrap(), "last");
}

#[tokio::test]
async fn a_crowd_goes_on_when_it_is_complete() {
    let origin = Origin::start().await;
    let crowd = Crowd::of(2);
    origin.on("/x", ok("both").with_crowd(&crowd));
    let first = beside(get(origin.url() + "/x").into_future());
    origin.seen("/x", 1).await;
    assert!(!first.is_finished());
    get(origin.url() + "/x").await.says("both");
    first.await.unwrap().says("both");
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_an_error_for_the_client() {
    let origin = Origin::start().await;
    origin.on("/chunked", ok("half").cut());
    origin.on("/sized", ok("half").field("Content-Length", "8").cut());
    origin.on("/none", close());
    for path in ["/chunked", "/sized"] {
        let mut opened = get(origin.url() + path).open().await;
        assert_eq!(opened.chunk().await.unwrap(), "half");
        assert!(opened.rest().await.is_err());
    }
    assert!(get(origin.url() + "/none").attempt().await.is_err());
}

#[tokio::test]
async fn an_origin_that_left_refuses_and_comes_back() {
    let mut origin = Origin::start().await;
    origin.on("/x", ok("here"));
    origin.leave().await;
    assert!(get(origin.url() + "/x").attempt().await.is_err());
    origin.come_back().await;
    get(origin.url() + "/x").await.says("here");
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let origin = Origin::start().await;
    origin.on("/echo", echo());
    let (asking, sender) = post(origin.url() + "/echo").streaming();
    let opening = beside(asking.open());
    sender.send("ping".into()).await.unwrap();
    let mut opened = opening.await.unwrap();
    assert_eq!(opened.at_least(4).await, b"ping");
    sender.send("pong".into()).await.unwrap();
    drop(sender);
    assert_eq!(opened.rest().await.unwrap(), "pong");
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel_that_echoes() {
    let origin = Origin::start().await;
    origin.on("/socket", upgrade());
    let asking =
        get(origin.url() + "/socket").with("Connection", "upgrade").with("Upgrade", "echo");
    let opened = asking.open().await;
    assert_eq!((opened.status, opened.field("upgrade")), (101, "echo"));
    let (mut tunnel, _open) = opened.tunnel().await;
    tunnel.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    within("the echo", tunnel.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"hello");
}

#[tokio::test]
async fn trailers_arrive() {
    let origin = Origin::start().await;
    origin.on("/x", ok("body").trailer("X-Sum", "4"));
    let reply = get(origin.url() + "/x").with("TE", "trailers").await;
    assert_eq!(reply.trailers["x-sum"], "4");
}

#[tokio::test]
async fn a_head_request_has_the_fields_and_no_body() {
    let origin = Origin::start().await;
    origin.on("/x", ok("body"));
    ask("HEAD", origin.url() + "/x").await.has_status(200).has("content-length", "4").says("");
}

#[tokio::test]
async fn raw_bytes_go_as_they_are_in_both_directions() {
    let origin =
        RawOrigin::start("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", Afterwards::Close)
            .await;
    assert!(get(origin.url() + "/x").attempt().await.is_err());
    let authority = origin.url().trim_start_matches("http://").to_owned();
    let said = converse(&authority, b"nonsense\r\n\r\n").await;
    assert!(said.ends_with("\r\n\r\nhalf"), "{said}");
}

#[tokio::test]
async fn a_redis_server_answers_hangs_ends_and_comes_back() {
    let mut redis = RedisServer::start().await;
    redis.run(&["SET", "larder:a", "1", "EX", "100"]).await;
    assert_eq!(redis.keys("larder:*").await, ["larder:a"]);
    assert!((1..=100).contains(&redis.seconds_left("larder:a").await));
    redis.pause();
    let hung = tokio::time::timeout(Duration::from_millis(200), redis.run(&["PING"])).await;
    assert!(hung.is_err(), "a stopped server does not answer");
    redis.resume();
    redis.run(&["PING"]).await;
    redis.restart().await;
    assert!(redis.keys("*").await.is_empty(), "nothing is kept on disk");
}

#[tokio::test]
async fn the_fault_proxy_slows_swallows_and_cuts() {
    let origin = Origin::start().await;
    origin.on("/x", ok("through"));
    let faults = FaultProxy::before(origin.port()).await;
    let url = format!("http://127.0.0.1:{}/x", faults.port());
    get(&url).await.says("through");
    faults.turns(Weather::Slow(Duration::from_millis(150)));
    let since = Instant::now();
    get(&url).await.says("through");
    assert!(since.elapsed() >= Duration::from_millis(300) && since.elapsed() < PATIENCE);
    faults.turns(Weather::BlackHole);
    let lost = beside(get(&url).attempt());
    assert!(tokio::time::timeout(Duration::from_millis(200), origin.seen("/x", 3)).await.is_err());
    faults.turns(Weather::Cut);
    assert!(lost.await.unwrap().is_err());
    assert!(get(&url).attempt().await.is_err());
    faults.turns(Weather::Fair);
    get(&url).await.says("through");
}
