//! Floods, endless bodies and crowds of large ones: memory stays within written bounds, nobody fails, and hits go on.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::support::answer::{Gate, fresh, status};
use crate::support::client::{Opened, ask, get};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::yaml::{Yaml, all_to, all_to_url};
use crate::support::{beside, raw, until, within};

const MIB: usize = 1 << 20;
const QUIET: &str = "log: { access: false }";

/// No Larder of these tests may use more than this beside what it was given, in KiB: connections and their buffers, code.
const BESIDE: u64 = 64 << 10;

/// An origin each of whose connections is served by `serve` once the head of a request has come.
async fn origin<F>(
    serve: impl Fn(TcpStream) -> F + Send + Sync + 'static,
) -> (String, AbortOnDropHandle<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = Arc::new(serve);
    let serving = beside(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let serve = Arc::clone(&serve);
            connections.spawn(async move {
                raw::head(&mut socket).await;
                serve(socket).await;
            });
        }
    });
    (url, AbortOnDropHandle::new(serving))
}

async fn in_the_air(larder: &Larder) -> u64 {
    larder.metric("larder_bodies_in_the_air_bytes", &[]).await
}

async fn until_nothing_is_in_the_air(larder: &Larder) {
    until("nothing is in the air", async || (in_the_air(larder).await == 0).then_some(())).await;
}

#[track_caller]
fn has_no_room(opened: &Opened) -> bool {
    let told = opened.field("cache-status");
    assert!(told.ends_with("; detail=no-room") || told.contains("; stored"), "{told}");
    told.ends_with("; detail=no-room")
}

/// What of a socket ends with `end` so many times; less where the other side has closed.
async fn count_to(socket: &mut TcpStream, most: usize, end: u8) -> usize {
    let (mut seen, mut buffer) = (0, vec![0; 0x10000]);
    while seen < most {
        let Ok(read @ 1..) = within("more of a flood", socket.read(&mut buffer)).await else {
            break;
        };
        seen += memchr::memchr_iter(end, &buffer[..read]).count();
    }
    seen
}

/// An answer to keep, of 16 KiB, with one byte that stands in no head.
const SMALL_END: u8 = 0;

fn small() -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 16384\r\n\r\n";
    [head.as_bytes(), &[b'x'; 16383], &[SMALL_END]].concat()
}

/// One client that asks for many paths, some at a time; how many answers it got.
async fn flood(authority: String, client: usize, paths: usize) -> usize {
    const AT_ONCE: usize = 50;
    let mut socket = TcpStream::connect(&authority).await.unwrap();
    let mut answers = 0;
    for begin in (0..paths).step_by(AT_ONCE) {
        let mut requests = String::new();
        for n in begin..begin + AT_ONCE {
            let target = format!("/made-up/{client}/{n}?{n}");
            requests.extend(["GET ", &target, " HTTP/1.1\r\nHost: ", &authority, "\r\n\r\n"]);
        }
        socket.write_all(requests.as_bytes()).await.unwrap();
        answers += count_to(&mut socket, AT_ONCE, SMALL_END).await;
    }
    answers
}

#[tokio::test]
async fn a_flood_of_made_up_urls_costs_no_more_memory_than_l1_has_and_hits_go_on() {
    const CLIENTS: usize = 4;
    const PATHS: usize = 1500;
    let (url, _serving) = origin(|mut socket| async move {
        let (answer, mut asked) = (small(), vec![0; 0x1000]);
        // A request fits into one piece, and the next comes only after its answer.
        while socket.write_all(&answer).await.is_ok() {
            if !matches!(socket.read(&mut asked).await, Ok(1..)) {
                break;
            }
        }
    })
    .await;
    let larder = all_to_url(&url).top("l1: { capacity: 4MiB }").top(QUIET).start().await;
    get(larder.url("/hot")).await.is("MISS", "ORIGIN");
    let before = larder.memory();
    let is_over = Arc::new(AtomicBool::new(false));
    let hits = async {
        let (mut asked, mut hits) = (0, 0);
        while !is_over.load(Ordering::Relaxed) {
            let reply = get(larder.url("/hot")).await;
            asked += 1;
            hits += usize::from(reply.has_status(200).outcome() == "HIT");
        }
        (asked, hits)
    };
    let flood = async {
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(flood(larder.authority().to_owned(), client, PATHS));
        }
        let answers: usize = clients.join_all().await.into_iter().sum();
        assert_eq!(answers, CLIENTS * PATHS);
        is_over.store(true, Ordering::Relaxed);
    };
    let ((asked, hits), ()) = tokio::join!(hits, flood);
    assert!(asked > 20 && hits * 10 >= asked * 9, "{hits} hits of {asked}");
    // All of it would be more than 90 MiB.
    let more = larder.peak_memory().saturating_sub(before);
    assert!(more < 32 << 10, "{more} KiB more");
    until_nothing_is_in_the_air(&larder).await;
}

/// Bodies of up to 16 MiB are kept, and 8 MiB are for all that are in the air.
fn large_objects(yaml: Yaml) -> Yaml {
    yaml.top("l1: { capacity: 64MiB, max_object: 16MiB }\nlimits: { bodies_in_the_air: 8MiB }")
        .top(QUIET)
}

#[tokio::test]
async fn endless_answers_to_many_clients_hold_no_more_than_the_room_for_bodies() {
    const CLIENTS: usize = 24;
    let (url, _serving) = origin(|mut socket| async move {
        let head =
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut sent = socket.write_all(head.as_bytes()).await;
        let piece = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
        while sent.is_ok() {
            sent = socket.write_all(piece.as_bytes()).await;
        }
    })
    .await;
    let larder = large_objects(all_to_url(&url)).start().await;
    let before = larder.memory();
    let mut slow = Vec::new();
    let mut fast = JoinSet::new();
    for client in 0..CLIENTS {
        let url = larder.url(&format!("/{client}"));
        if client % 3 == 0 {
            // It reads no further than the head.
            slow.push(get(url).open().await);
        } else {
            fast.spawn(async move { get(url).open().await.at_least(20 * MIB).await.len() });
        }
    }
    let mut most = 0;
    while let Some(length) = within("a fast client", async {
        loop {
            most = most.max(in_the_air(&larder).await);
            if let Some(ended) = fast.try_join_next() {
                break Some(ended.unwrap());
            }
            if fast.is_empty() {
                break None;
            }
            assert!(larder.memory() < before + (8 << 10) + BESIDE, "{} KiB", larder.memory());
        }
    })
    .await
    {
        assert!(length >= 20 * MIB);
    }
    assert!((4 * MIB as u64..=8 * MIB as u64).contains(&most), "{most} bytes in the air");
    assert!(larder.metric("larder_no_room_total", &[]).await > 0);
    let peak = larder.peak_memory();
    assert!(peak < before + (8 << 10) + BESIDE, "{before} KiB, and {peak} KiB at the peak");
    drop(slow);
    until_nothing_is_in_the_air(&larder).await;
}

#[tokio::test]
async fn endless_request_bodies_hold_no_memory_whether_they_pass_or_are_read_for_a_key() {
    const CLIENTS: usize = 16;
    const ENOUGH: u64 = CLIENTS as u64 * 16 * MIB as u64;
    let came = Arc::new(AtomicU64::new(0));
    let (url, _serving) = {
        let came = Arc::clone(&came);
        origin(move |mut socket| {
            let came = Arc::clone(&came);
            async move {
                let mut buffer = vec![0; 0x10000];
                while let Ok(read @ 1..) = socket.read(&mut buffer).await {
                    came.fetch_add(read as u64, Ordering::Relaxed);
                }
            }
        })
        .await
    };
    let larder = large_objects(all_to_url(&url)).start().await;
    let before = larder.memory();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let authority = larder.authority().to_owned();
        let method = if client % 2 == 0 { "QUERY" } else { "POST" };
        clients.spawn(async move {
            let mut socket = TcpStream::connect(&authority).await.unwrap();
            let head = format!(
                "{method} /{client} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: text/plain\r\n\
                 Transfer-Encoding: chunked\r\n\r\n"
            );
            let mut sent = socket.write_all(head.as_bytes()).await;
            let piece = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
            while sent.is_ok() {
                sent = socket.write_all(piece.as_bytes()).await;
            }
        });
    }
    until("enough has come to the origin", async || {
        assert!(in_the_air(&larder).await <= 4 * MIB as u64);
        assert!(larder.memory() < before + BESIDE, "{} KiB", larder.memory());
        (came.load(Ordering::Relaxed) >= ENOUGH).then_some(())
    })
    .await;
    let peak = larder.peak_memory();
    assert!(peak < before + BESIDE, "{before} KiB, and {peak} KiB at the peak");
    clients.shutdown().await;
    until_nothing_is_in_the_air(&larder).await;
}

/// A megabyte that is like no other.
fn large(number: usize) -> Bytes {
    (0..MIB).map(|at| (at * 31 + number * 7 + at / 251).to_le_bytes()[0]).collect()
}

#[tokio::test]
async fn more_large_bodies_at_once_than_there_is_room_for_are_all_answered_rightly() {
    const CLIENTS: usize = 32;
    let (origin, gate) = (Origin::start().await, Gate::closed());
    for number in 0..CLIENTS {
        let mut whole = large(number);
        let first = whole.split_to(MIB / 2);
        let answer = fresh(first).pause(&gate).chunk(whole);
        // Every fourth does not tell its length.
        let length = MIB.to_string();
        let told = if number % 4 == 0 { answer } else { answer.field("Content-Length", length) };
        origin.on(&format!("/{number}"), told);
    }
    let larder = large_objects(all_to(&origin)).start().await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(get(larder.url(&format!("/{number}"))).open().await);
    }
    let left = clients.iter().filter(|client| has_no_room(client)).count();
    assert!((16..CLIENTS - 4).contains(&left), "{left} are not stored");
    let held = in_the_air(&larder).await;
    assert!((6 * MIB as u64..=8 * MIB as u64).contains(&held), "{held} bytes in the air");
    gate.open();
    let mut reading = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        reading.spawn(async move { (number, client.rest().await) });
    }
    for (number, body) in reading.join_all().await {
        assert!(body.unwrap() == large(number), "the body of /{number}");
    }
    until_nothing_is_in_the_air(&larder).await;
    assert!(larder.metric("larder_no_room_total", &[]).await >= left as u64);
    // There is room again, and what is not stored says why no more.
    for number in 0..CLIENTS {
        let reply = get(larder.url(&format!("/{number}"))).await;
        assert!(reply.body == large(number) && !reply.field("cache-status").contains("no-room"));
        until_nothing_is_in_the_air(&larder).await;
        get(larder.url(&format!("/{number}"))).await.is("HIT", "L1");
    }
}

#[tokio::test]
async fn content_that_finds_no_room_passes_and_neither_it_nor_a_hit_fails() {
    let (origin, gate) = (Origin::start().await, Gate::closed());
    origin.on("*", fresh("hello"));
    let body = large(0);
    let held = status(200).chunk(body.slice(..1)).pause(&gate).chunk(body.slice(1..));
    let held = held.field("Cache-Control", "max-age=60").field("Content-Length", MIB.to_string());
    origin.on("/large", held);
    let yaml = all_to(&origin).top("limits: { bodies_in_the_air: 2MiB }");
    let larder = yaml.top("l1: { capacity: 64MiB, max_object: 1MiB }").start().await;
    get(larder.url("/hit")).await.is("MISS", "ORIGIN");
    let query = || ask("QUERY", larder.url("/x")).with("Content-Type", "text/plain").body("q");
    let first = get(larder.url("/large")).open().await;
    let reply = query().await;
    reply.is("BYPASS", "ORIGIN").has_status(200).says("hello");
    assert!(reply.field("cache-status").ends_with("; detail=body-no-room"), "{reply:?}");
    assert_eq!(origin.last().body(), b"q");
    get(larder.url("/hit")).await.is("HIT", "L1");
    gate.open();
    assert!(first.rest().await.unwrap() == body);
    until_nothing_is_in_the_air(&larder).await;
    query().await.is("MISS", "ORIGIN").says("hello");
    query().await.is("HIT", "L1");
}

/// Of what is stored everybody is given the same bytes; of what has to be copied for a client, no more than it can be sent.
#[tokio::test]
async fn large_hits_that_nobody_reads_hold_no_more_than_a_piece_for_each() {
    const CONNECTIONS: usize = 30;
    const STREAMS: usize = 100;
    const PIECE: usize = 16 << 10;
    let origin = Origin::start().await;
    origin.on("/large", fresh(vec![b'x'; 4 * MIB]));
    let larder = large_objects(all_to(&origin)).start().await;
    get(larder.url("/large")).await.is("MISS", "ORIGIN");
    // Asked for on a connection that goes on, it is put where the system sends it from.
    let mut client = TcpStream::connect(larder.authority()).await.unwrap();
    for _ in 0..2 {
        let asked = format!("GET /large HTTP/1.1\r\nHost: {}\r\n\r\n", larder.authority());
        client.write_all(asked.as_bytes()).await.unwrap();
        assert!(raw::head(&mut client).await.contains("x-cache: HIT"));
        let mut body = vec![0; 4 * MIB];
        within("a body", client.read_exact(&mut body)).await.unwrap();
    }
    let before = larder.memory();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(larder.authority()).await.unwrap();
        // One byte of each answer is sent, and then the client takes no more.
        let shaken = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = shaken.unwrap();
        let driven = AbortOnDropHandle::new(beside(async move {
            let _ended = connection.await;
        }));
        let mut asking = JoinSet::new();
        for _ in 0..STREAMS {
            let mut sender = sender.clone();
            let request = Request::get(larder.url("/large")).body(Empty::<Bytes>::new()).unwrap();
            asking.spawn(async move { sender.send_request(request).await.unwrap() });
        }
        let answers = within("heads", asking.join_all()).await;
        assert!(answers.iter().all(|answer| answer.headers()["x-cache"] == "HIT"));
        held.push((driven, answers));
    }
    let (peak, pieces) = (larder.peak_memory(), (CONNECTIONS * STREAMS * PIECE / 1024) as u64);
    assert!(peak < before + pieces + BESIDE, "{before} KiB, and {peak} KiB at the peak");
    get(larder.url("/large")).await.is("HIT", "L1");
}
