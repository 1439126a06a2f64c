//! What an entry costs to write to L2 and to read from it: in clear, compressed, encrypted, and both.
//!
//! Single thread, no network; CPU time is the kernel's (`/proc/thread-self/schedstat`), so other work on the machine
//! counts little. The bodies are JSON of a catalogue, with numbers that differ. Read the ratios, not the figures.

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};
use larder::entry::facts::{Facts, Mark, RouteId, Tag};
use larder::entry::freshness::{Freshness, UseWithoutAsking};
use larder::entry::seal::{Compression, Seal, SealKey, Settings, Spot};
use larder::entry::{Entry, Head, Stored, wire};
use larder::key::Key;
use larder::key::vary::Variant;
use larder::time::Timestamp;

/// Bytes of body that go through each form: the kernel counts CPU time in milliseconds, about.
const BYTES: usize = 300 << 20;
const KEY: Key = Key::from_bits(7);
const SPOT: Spot<'static> = Spot { slot: "cache:shop:products:7", field: "0", key: KEY };

fn main() -> io::Result<()> {
    let mut out = io::stdout();
    let zstd = Some(Compression { over: 1024, level: 3 });
    let keys = || vec![SealKey::new("2026a", blake3::hash(b"measured").as_bytes())];
    let forms = [
        ("in clear", None, Vec::new()),
        ("zstd", zstd, Vec::new()),
        ("encrypted", None, keys()),
        ("both", zstd, keys()),
    ];
    writeln!(out, "| body | form | bytes | encode | decode |")?;
    writeln!(out, "|---|---|---:|---:|---:|")?;
    for size in [1 << 10, 100 << 10] {
        let entry = entry(size);
        for (name, compression, keys) in forms.clone() {
            let seal = Seal::new(Settings { compression, keys, max_object: 1 << 20 });
            let rounds = BYTES / size;
            let (bytes, encode) = measure(rounds, || {
                let nonce = [0; 12];
                wire::encode(&entry, &seal, &SPOT, nonce).map(|encoded| encoded.bytes)
            })?;
            let bytes = bytes.ok_or_else(|| io::Error::other("the entry is whole"))?;
            let (back, decode) = measure(rounds, || wire::decode(&bytes, &seal, &SPOT))?;
            back.map_err(io::Error::other)?;
            let length = bytes.len();
            writeln!(
                out,
                "| {} KiB | {name} | {length} | {encode} ns | {decode} ns |",
                size >> 10
            )?;
        }
    }
    Ok(())
}

/// The last of what `work` gives, and CPU nanoseconds for each time.
fn measure<T>(rounds: usize, mut work: impl FnMut() -> T) -> io::Result<(T, u64)> {
    let mut last = work();
    let begun = cpu()?;
    for _ in 0..rounds {
        last = black_box(work());
    }
    Ok((last, (cpu()? - begun) / rounds as u64))
}

fn entry(size: usize) -> Entry {
    let mut body = String::from("[");
    let mut number: u64 = 1;
    while body.len() < size {
        number =
            number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (id, price) = (number >> 40, (number >> 20) % 100_000);
        let _never_fails = write!(
            body,
            "{{\"id\":{id},\"name\":\"Product {id}\",\"price\":{price},\"currency\":\"EUR\",\"stock\":true}},"
        );
    }
    body.truncate(size);
    let facts = Facts {
        key: KEY,
        url_key: KEY,
        url: "http://shop.example/api/products?page=2".into(),
        route: RouteId::new("products"),
        tags: [Tag::new("product:7"), Tag::new("shop")].into(),
        as_of: Mark::ZERO,
    };
    let freshness = Freshness {
        received: Timestamp::default(),
        initial_age: Duration::ZERO,
        lifetime: Duration::from_mins(1),
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        keep: Duration::ZERO,
        fetch_time: Duration::ZERO,
        use_without_asking: UseWithoutAsking::Allowed,
    };
    let mut fields = HeaderMap::new();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    let head = Head { status: StatusCode::OK, fields };
    Entry::new(facts, &head, freshness, Variant::default(), Stored::Whole(Bytes::from(body)))
}

fn cpu() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let number = text.split_whitespace().next().and_then(|number| number.parse().ok());
    number.ok_or_else(|| io::Error::other("/proc/thread-self/schedstat has no number"))
}
