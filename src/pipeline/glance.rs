//! The hit path for plain requests: from the bytes of a request to those of an answer from memory, or nothing happens.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use smallvec::SmallVec;

use crate::entry::Entry;
use crate::entry::slot::{Found, Slot};
use crate::key::Key;
use crate::key::canonical::PlainTarget;
use crate::key::vary::Selector;
use crate::lookup::cache_status::{CacheId, push_hit};
use crate::lookup::outcome::{Layer, Outcome};
use crate::lookup::record::{BodyEnd, Ended, Record, words};
use crate::message::fields::is_of_one_hop;
use crate::message::plain::{Lines, Outlet, Plain, Remainder, Sent, Shortcut, Told};
use crate::message::shelf::Whole;
use crate::pipeline::judge::Judge;
use crate::pipeline::onward::Trusted;
use crate::rate::Rates;
use crate::route::Route;
use crate::route::forward::Forward;
use crate::route::table::RouteTable;
use crate::store::memory::Memory;
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::time::Timestamp;

/// What a glance needs; the same parts as the stack's.
pub(crate) struct Parts {
    pub(crate) service: Box<str>,
    pub(crate) cache: CacheId,
    pub(crate) routes: Arc<ArcSwap<RouteTable>>,
    pub(crate) rates: Rates,
    pub(crate) trusted: Trusted,
    pub(crate) judge: Arc<Judge>,
    pub(crate) memory: Memory,
    pub(crate) metrics: Metrics,
    pub(crate) log: AccessLog,
}

/// Answers the plain requests of one client as the stack would, where that is a hit in memory that needs no more than
/// to be sent: neither shortened, nor validated, nor refreshed. Whatever else it sees it leaves to the stack, which
/// then looks again.
pub(crate) struct Glance {
    parts: Arc<Parts>,
    client: IpAddr,
    /// Of the connection.
    scheme: Scheme,
}

impl Glance {
    pub(crate) fn new(parts: Arc<Parts>, client: IpAddr, scheme: Scheme) -> Self {
        Self { parts, client, scheme }
    }

    /// The entry that answers, with its key and its route.
    fn find<'r>(
        &self,
        (asked, fields): (&Plain<'_>, &dyn Lines),
        routes: &'r RouteTable,
        now: Timestamp,
    ) -> Option<(Key, Arc<Entry>, &'r Arc<Route>)> {
        let Parts { service, rates, trusted, judge, memory, .. } = &*self.parts;
        // Who asks is in fields that are not looked at here, and where it stands is in others that are not written.
        if rates.is_on() {
            return None;
        }
        let told;
        let scheme = if asked.is_forwarded {
            told = trusted.told_scheme(self.client, self.scheme.clone(), fields);
            &told
        } else {
            &self.scheme
        };
        let target = PlainTarget::of(asked.host, asked.target, scheme)?;
        let route = routes.find(target.host(), target.path());
        if !route.answers_plainly() || routes.is_ambiguous(route, target.host(), target.path()) {
            return None;
        }
        let key = Key::of_plain(service, route.id.as_str(), &target, route.key.host);
        let entry = match memory.slot(key)?.plain() {
            Ok(entry) => entry,
            Err(slot) => selected(&slot, fields, route)?,
        };
        judge.lets_pass(route, &entry, asked.bears, now).then_some((key, entry, route))
    }

    /// The record of a hit, but for its route.
    fn record(&self, asked: &Plain<'_>, now: Timestamp) -> Record {
        let mut record = Record::open(Some(self.client), now);
        (record.status, record.outcome) = (StatusCode::OK, HIT);
        // What only a line of the log tells.
        if self.parts.log.is_on() {
            record.host = HeaderValue::from_str(asked.host).ok();
            record.path = PathAndQuery::try_from(asked.target).ok();
            record.request_id =
                HeaderValue::from_bytes(asked.request_id).ok().filter(|id| !id.is_empty());
        }
        record
    }
}

const HIT: Outcome = Outcome::Hit(Layer::L1);

impl Shortcut for Glance {
    fn answer(
        &self,
        asked: &Plain<'_>,
        fields: &dyn Lines,
        head: &mut Vec<u8>,
        outlet: &mut dyn Outlet,
    ) -> Told {
        let now = Timestamp::now();
        let Parts { routes, memory, metrics, log, cache, .. } = &*self.parts;
        // What all workers share is lent, not counted: a count that every hit raises and lowers again goes from core to core.
        let routes = routes.load();
        let Some((key, mut entry, route)) = self.find((asked, fields), &routes, now) else {
            return Told::Left;
        };
        if outlet.sends_from_shelf()
            && let Some(shelved) = memory.put_on_shelf(key, &entry)
        {
            entry = shelved;
        }
        let Some(body) = entry.whole() else { return Told::Left };
        let mut record = self.record(asked, now);
        entry.hit();
        metrics.l1().hit();
        write_head(head, &entry, body.len(), cache, now);
        match outlet.send(head, body) {
            Sent::All => {
                let ended = Ended { how: BodyEnd::Complete, bytes: body.len() as u64 };
                record.tell_on(Some(route), ended, metrics, log);
                Told::All
            }
            Sent::Part(at) => {
                record.route = Some(route.clone());
                Told::Begun(Box::new(Rest { parts: self.parts.clone(), record, entry, at }))
            }
        }
    }
}

/// The variant that a request with these fields selects; nothing where the stack may see other fields than these.
fn selected(slot: &Slot, lines: &dyn Lines, route: &Route) -> Option<Arc<Entry>> {
    if route.forward != Forward::All {
        return None;
    }
    let mut known: SmallVec<[&HeaderName; 4]> = SmallVec::new();
    let (mut fields, mut is_sound) = (HeaderMap::new(), true);
    for name in slot.variants().iter().flat_map(|entry| entry.variant.names()) {
        if known.contains(&name) {
            continue;
        }
        known.push(name);
        // `Connection` may name it, and then it was never sent.
        is_sound &= !is_of_one_hop(name.as_str().as_bytes());
        lines.each(name.as_str(), &mut |value| match HeaderValue::from_bytes(value) {
            Ok(value) => _ = fields.append(name, value),
            Err(_) => is_sound = false,
        });
    }
    let found = slot.find(&Selector { fields: &fields, rules: &route.vary })?;
    match found {
        Found::Entry(entry) if is_sound => Some(entry),
        Found::Entry(_) | Found::OtherVariant(_) => None,
    }
}

/// What `deliver` and `observe` make of a hit, without a map in between.
fn write_head(head: &mut Vec<u8>, entry: &Entry, length: usize, cache: &CacheId, now: Timestamp) {
    let words = words(&HIT);
    let freshness = entry.freshness();
    let age = freshness.age(now).as_secs();
    head.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    let [alike, own] = entry.lines.common();
    let mut number = itoa::Buffer::new();
    for part in [
        alike,
        own,
        b"content-length: ",
        number.format(length).as_bytes(),
        b"\r\nage: ",
        itoa::Buffer::new().format(age.min(1 << 31)).as_bytes(),
        b"\r\nx-cache: ",
        words.cache.as_bytes(),
        b"\r\nx-cache-layer: ",
        words.layer.as_bytes(),
        b"\r\ncache-status: ",
    ] {
        head.extend_from_slice(part);
    }
    push_hit(head, cache, freshness.ttl(now));
    head.extend_from_slice(b"\r\n\r\n");
}

/// An answer on its way to the client; dropped, it tells the record.
struct Rest {
    parts: Arc<Parts>,
    record: Record,
    entry: Arc<Entry>,
    at: usize,
}

impl Remainder for Rest {
    fn body(&self) -> (Whole<'_>, usize) {
        (self.entry.whole().unwrap_or(Whole::empty()), self.at)
    }

    fn advance(&mut self, sent: usize) {
        self.at += sent;
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let (body, sent) = self.body();
        let how = if sent == body.len() { BodyEnd::Complete } else { BodyEnd::ClientLeft };
        self.record.tell(
            Ended { how, bytes: self.at as u64 },
            &self.parts.metrics,
            &self.parts.log,
        );
    }
}
