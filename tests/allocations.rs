//! How many allocations a hit costs: written numbers, which only fall.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops, and says where")]

use std::alloc::System;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use larder::app::{self, Plan};
use larder::config::{Config, Loaded, Overrides};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Counted at a time, and how often: background tasks disturb one count or another, not all.
const HITS: usize = 200;
const COUNTS: usize = 20;

/// What else the process allocates meanwhile, for a thousand hits: its background tasks tick some times a second.
const TICKS: usize = 100;

const BODY: &[u8] = &[b'x'; 1024];

/// A keep-alive connection that allocates nothing.
struct Client {
    socket: TcpStream,
    room: Box<[u8]>,
}

impl Client {
    /// The first request of a connection is the parser's, whatever it asks.
    fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        let mut client = Self { socket, room: vec![0; 64 * 1024].into() };
        client.ask(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
        client
    }

    /// Asks, and reads the whole answer: all have the same body, or none. The head that came.
    fn ask(&mut self, request: &[u8]) -> &str {
        self.socket.write_all(request).unwrap();
        let mut came = 0;
        loop {
            came += self.socket.read(&mut self.room[came..]).unwrap();
            let said = &self.room[..came];
            let head = said.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
            let Some(head) = head else { continue };
            let body = if said.starts_with(b"HTTP/1.1 304") { 0 } else { BODY.len() };
            if came == head + body {
                return str::from_utf8(&self.room[..head]).unwrap();
            }
        }
    }

    /// Allocations for a thousand hits, by the count that the background disturbed least.
    fn allocations(&mut self, request: &[u8]) -> usize {
        self.ask(request);
        for _ in 0..200 {
            assert!(self.ask(request).contains("x-cache: HIT"));
        }
        let counted = || {
            let counted = INSTRUMENTED_SYSTEM.stats();
            counted.allocations + counted.reallocations
        };
        let mut least = usize::MAX;
        for _ in 0..COUNTS {
            let before = counted();
            for _ in 0..HITS {
                self.ask(request);
            }
            least = least.min((counted() - before) * 1000 / HITS);
        }
        least
    }
}

/// Answers every head with the same, and says that what is asked for under one path varies.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut room = [0; 4096];
            while let Ok(came @ 1..) = socket.read(&mut room) {
                let varies = room[..came].starts_with(b"GET /varied ");
                let vary = if varies { "Vary: Accept-Encoding\r\n" } else { "" };
                let fields = format!(
                    "{vary}Cache-Control: max-age=3600\r\nETag: \"a\"\r\nContent-Type: text/plain"
                );
                let head = format!(
                    "HTTP/1.1 200 OK\r\n{fields}\r\nContent-Length: {}\r\n\r\n",
                    BODY.len()
                );
                socket.write_all(&[head.as_bytes(), BODY].concat()).unwrap();
            }
        }
    });
    address
}

fn larder(origin: SocketAddr) -> SocketAddr {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("larder.yaml");
    let text = format!(
        "listen: 127.0.0.1:0\nworkers: 1\nadmin: {{ listen: 127.0.0.1:0 }}\nl2: none\nlog: {{ access: false }}\n\
         origins: {{ api: {{ endpoints: [ \"http://{origin}\" ] }} }}\n\
         routes: [ {{ name: all, match: {{ path: \"/**\" }}, origin: api }} ]\n"
    );
    fs::write(&file, text).unwrap();
    let (config, overrides) = (Config::File(file), Overrides::default());
    let Loaded { settings, .. } = config.load(&overrides).unwrap();
    let (tell, told) = mpsc::channel();
    let ready = Box::new(move |bound: &app::Bound| tell.send(bound.listen[0].address).unwrap());
    // It runs until the process ends, and its file is watched as long.
    thread::spawn(move || {
        let _held = directory;
        app::run(Plan { settings, config, overrides, ready }).unwrap();
    });
    told.recv().unwrap()
}

#[test]
fn a_hit_allocates_no_more_than_is_written_here() {
    // As `main` does; it fails where somebody was faster, with the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut client = Client::connect(larder(origin()));
    let rows = [
        ("plain", "/x", "", 0),
        ("a browser's", "/x", "Accept: */*\r\nCookie: a=b\r\nConnection: keep-alive\r\n", 0),
        ("one of several variants", "/varied", "Accept-Encoding: gzip, br\r\n", 3),
        ("not plain", "/x", "TE: trailers\r\n", 14),
        ("confirmed", "/x", "If-None-Match: \"a\"\r\n", 18),
    ];
    for (name, path, fields, most) in rows {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let counted = client.allocations(request.as_bytes());
        let what = format!("{name}: {counted} allocations for a thousand hits");
        assert!(counted <= most * 1000 + TICKS, "{what}, where {most} for each are written");
    }
}
