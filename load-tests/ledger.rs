//! What purges cost: memory for each, and the CPU time of the first and of the next judgement of an entry.
//!
//! Single thread, no network; CPU time is the kernel's (`/proc/thread-self/schedstat`), so other work on the machine
//! counts little. Read the ratios, not the figures.

use std::fs;
use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use larder::entry::facts::{Facts, Mark, RouteId, Tag};
use larder::entry::freshness::{Freshness, UseWithoutAsking};
use larder::entry::{Entry, Head, Stored};
use larder::key::Key;
use larder::key::host::HostPattern;
use larder::key::vary::Variant;
use larder::purge::glob::UrlGlob;
use larder::purge::ledger::Ledger;
use larder::purge::{Cause, Effect, Purge, Record, Scope};
use larder::time::Timestamp;

const PURGES: u64 = 20_000;
const ENTRIES: u64 = 500;

/// Makes the scope with this number.
type Make = fn(u64) -> Option<Scope>;

const KINDS: [(&str, Make); 8] = [
    ("none", |_| None),
    ("url", |number| Some(Scope::Url(Key::from_bits((1 << 64) + u128::from(number))))),
    ("tag", |number| Some(Scope::Tag(tag("product", number)))),
    ("all tags", |number| Some(Scope::AllTags([tag("product", number), Tag::new("en")].into()))),
    ("path", |number| Some(Scope::Path(format!("/api/gone/{number}").into()))),
    ("prefix", |number| Some(Scope::Prefix(format!("/api/gone/{number}/").into()))),
    ("glob", |number| UrlGlob::parse(&format!("/api/gone/*/{number}")).ok().map(Scope::Glob)),
    ("host", |number| HostPattern::parse(&format!("*.h{number}.example")).ok().map(Scope::Host)),
];

fn main() -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(
        out,
        "| {PURGES} purges by | bytes each | first judgement | after one more purge | when nothing is new |"
    )?;
    writeln!(out, "|---|---:|---:|---:|---:|")?;
    for (name, make) in KINDS {
        let entries: Vec<Entry> = (0..ENTRIES).map(entry).collect();
        let before = resident()?;
        let ledger = Ledger::default();
        (0..PURGES).filter_map(make).for_each(|scope| apply(&ledger, scope));
        let bytes = resident()?.saturating_sub(before) / PURGES;
        let first = judge(&ledger, &entries)?;
        if let Some(scope) = make(PURGES) {
            apply(&ledger, scope);
        }
        let next = judge(&ledger, &entries)?;
        let again = judge(&ledger, &entries)?;
        writeln!(out, "| {name} | {bytes} | {first} ns | {next} ns | {again} ns |")?;
    }
    Ok(())
}

fn tag(kind: &str, number: u64) -> Tag {
    Tag::new(&format!("{kind}:{number}"))
}

fn apply(ledger: &Ledger, scope: Scope) {
    let purges = vec![Purge { scope, effect: Effect::Remove }];
    let record = Record { purges, cause: Cause::default(), at: Timestamp::default() };
    ledger.apply(ledger.known().next(), &record, Timestamp::default());
}

/// CPU nanoseconds for each entry.
fn judge(ledger: &Ledger, entries: &[Entry]) -> io::Result<u64> {
    let begun = cpu()?;
    for entry in entries {
        std::hint::black_box(ledger.standing(entry, Timestamp::default()));
    }
    Ok((cpu()? - begun) / entries.len() as u64)
}

fn entry(number: u64) -> Entry {
    let facts = Facts {
        key: Key::from_bits(u128::from(number)),
        url_key: Key::from_bits(u128::from(number)),
        url: format!("http://shop.example/api/products/{number}?page=2").into(),
        route: RouteId::new("products"),
        tags: [tag("item", number), Tag::new("en"), Tag::new("shop")].into(),
        as_of: Mark::ZERO,
    };
    let freshness = Freshness {
        received: Timestamp::default(),
        initial_age: Duration::ZERO,
        lifetime: Duration::ZERO,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        keep: Duration::ZERO,
        fetch_time: Duration::ZERO,
        use_without_asking: UseWithoutAsking::Allowed,
    };
    let head = Head { status: StatusCode::OK, fields: HeaderMap::new() };
    Entry::new(facts, &head, freshness, Variant::default(), Stored::Whole(Bytes::new())).in_turn(1)
}

fn cpu() -> io::Result<u64> {
    first_number("/proc/thread-self/schedstat", 0)
}

fn resident() -> io::Result<u64> {
    Ok(first_number("/proc/self/statm", 1)? * 4096)
}

fn first_number(path: &str, place: usize) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    let number = text.split_whitespace().nth(place).and_then(|number| number.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("{path} has no number at {place}")))
}
