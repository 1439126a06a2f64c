//! The door of the fuzz targets: every parser of ours, with what must hold whatever the bytes are.
//!
//! `fuzz/run` drives them with libFuzzer; the tests of this file drive the same functions with their seeds and with
//! random bytes, so that they cannot rot. A target panics where something does not hold.

use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, COOKIE, ETAG, HeaderMap, HeaderName,
    HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE, VARY,
};
use http::uri::Scheme;
use http::{Method, Request, StatusCode, Uri};
use serde_json::Value as Json;

use crate::config::scalar::address::{Address, Endpoint, HostField, Network, RedisUrl};
use crate::config::scalar::amount::{Part, Size, Span};
use crate::config::variables::Variables;
use crate::config::{self, Overrides};
use crate::entry::facts::{Facts, Mark, RouteId, Tag};
use crate::entry::freshness::{Freshness, UseWithoutAsking};
use crate::entry::seal::{self, NONCE, Seal, SealKey, Spot};
use crate::entry::{Entry, Head, Stored, wire};
use crate::key::canonical::{PlainTarget, QueryRules, Target, cookies, is_sound};
use crate::key::content::{ContentRules, Form, Writes, graphql};
use crate::key::host::HostPattern;
use crate::key::pattern::PathPattern;
use crate::key::vary::{LanguageRule, Selector, Variant, VaryRules};
use crate::key::{HostRule, Identity, Key, KeyRules};
use crate::message::bearer::Digest;
use crate::message::cache_control::{RequestDirectives, ResponseDirectives, delta_seconds};
use crate::message::conditional::{Condition, evaluate, not_modified};
use crate::message::content_range::ContentRange;
use crate::message::fields::Named;
use crate::message::pieces::fields_of;
use crate::message::range::{self, Ranges};
use crate::message::reply::Fields;
use crate::message::{date, dictionary, fields, problem};
use crate::origin::framing::Framing as BodyFraming;
use crate::origin::head;
use crate::policy::deception::readings;
use crate::purge::Record;
use crate::purge::events;
use crate::purge::glob::UrlGlob;
use crate::purge::template::{Holes, Rule};
use crate::route::json::JsonPath;
use crate::route::tags::TagRules;
use crate::server::framing::Framing;
use crate::server::limits::Limits;
use crate::server::proxied::{self, Heard};
use crate::server::simple::{self, Simple};
use crate::time::Timestamp;

/// One parser, and texts that reach into it.
#[derive(Clone, Copy, Debug)]
pub struct Parser {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: &'static [&'static str],
}

/// Every target. `fuzz/run` makes the files of each seed from this table.
pub const PARSERS: [Parser; 25] = [
    target(
        "framing",
        framing,
        &[
            "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: x\r\n\r\nGET",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcPOST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n",
        ],
    ),
    target(
        "response",
        response,
        &[
            "GHTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\nhelloHTTP/1.1",
            "GHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0A \r\n0123456789\r\n0\r\nT: x\r\n\r\n",
            "GHTTP/1.0 404 \r\nConnection: keep-alive\r\n\r\nuntil the end",
            "HHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ],
    ),
    target(
        "plain_head",
        plain_head,
        &[
            "GET /a?b HTTP/1.1\r\nHost: h\r\nCookie: a=b\r\nX-Request-Id: 7\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h:80\r\nConnection: keep-alive\r\n\r\nGET",
        ],
    ),
    target(
        "proxy_header",
        proxy_header,
        &[
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\nGET",
            "PROXY UNKNOWN\r\n",
            "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\0\x50\0\x50",
        ],
    ),
    target(
        "canonical_target",
        canonical_target,
        &[
            "http://shop.example:80/a/../b//c;x?p=1&q=%41",
            "/a/%2e%2e/b?x",
            "https://[::1]:8443/%2F/",
            "*",
        ],
    ),
    target(
        "authority",
        authority,
        &["h\n/a?b", "Shop.Example:80\n/", "[::1]:1\n/a/./b", "1.2.3.4\n/?"],
    ),
    target(
        "cookies",
        cookie_lines,
        &["a=b; session=1", "session=\"x\"; session=2\nsession", "=;;="],
    ),
    target(
        "vary",
        vary,
        &[
            "Accept-Encoding, accept-language\ngzip;q=0.5, br, *;q=0\nde-AT, de;q=0.8, en;q=0.001",
            "*\n\n",
            "cookie\n\n\n",
        ],
    ),
    target(
        "cache_control",
        cache_control,
        &[
            "max-age=60, s-maxage=\"10\", private=\"set-cookie, x\", no-cache",
            "no-store\nmax-stale=5, min-fresh=3, only-if-cached",
            "max-age=99999999999999999999, stale-while-revalidate=1;public",
        ],
    ),
    target(
        "dates",
        dates,
        &[
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Thu, 29 Feb 2024 23:59:60 GMT",
            "Sun Nov  6 08:49:37 199411111111111111111111111111111111",
        ],
    ),
    target(
        "ranges",
        ranges,
        &[
            "bytes=0-4\n",
            "bytes=-5, 7-\n\"a\"",
            "bytes=18446744073709551615-18446744073709551615\n",
            "bytes=0-0,2-2,4-\nSun, 06 Nov 1994 08:49:37 GMT",
        ],
    ),
    target(
        "content_range",
        content_range,
        &[
            "bytes 0-4/10\nbytes 5-9/10",
            "bytes */10\n",
            "bytes 0-18446744073709551614/18446744073709551615\n",
        ],
    ),
    target(
        "structured_fields",
        structured_fields,
        &[
            "max-age=60;x, private, a=?1, b=\"q\\\"\", c=:YQ==:, d=-1.5",
            "\"a\", \"b\";q=1",
            "(a b), c",
        ],
    ),
    target(
        "conditions",
        conditions,
        &[
            "\"a\", W/\"b\"\n\"a\"\nSun, 06 Nov 1994 08:49:37 GMT",
            "*\nW/\"a\"\n",
            "\"a,b\"\n\"a,b\"\nSunday, 06-Nov-94 08:49:37 GMT",
        ],
    ),
    target("bearer", bearer, &["Bearer abc", "bearer  x", "Basic YTpi", "Bearer"]),
    target(
        "content",
        content,
        &[
            "{\"b\":1.0,\"a\":[true,null,\"\\u00e4\\ud83d\\ude00\"],\"b\":2}",
            "{\"query\":\"query($a:Int=1){ a(b:$a){ ...F } } fragment F on T { x }\",\"variables\":{\"a\":1}}",
            "{\"query\":\"mutation { a }\",\"operationName\":\"x\"}",
            "[{\"query\":\"{a}\"}]",
        ],
    ),
    target(
        "graphql_query",
        graphql_query,
        &["query=%7Ba%7D&variables=%7B%7D", "query=mutation+%7Ba%7D", "a=b&query"],
    ),
    target(
        "json_tags",
        json_tags,
        &[
            "json:$.items[*].id -> item:{}\n{\"items\":[{\"id\":1},{\"id\":\"x\"}]}",
            "json:$.a[0].b -> x\n{\"a\":[{\"b\":true}]}",
            "product:{id}\n{}",
        ],
    ),
    target(
        "patterns",
        patterns,
        &[
            "/api/*/{id}/**\n/api/v1/7/x/y",
            "/**/a/**/b\n/a/a/b/b",
            "/a*b{c}d\n/axbyd",
            "*.shop.example\nwww.shop.example",
        ],
    ),
    target(
        "globs",
        globs,
        &[
            "http://*.shop.example/a/**?x=*\nhttp://www.shop.example/a/b?x=1",
            "/a/*\nhttp://h/a/b",
            "**\nhttp://h/",
            "http://*//s./a//b\nhttp://h//s./a//b",
        ],
    ),
    target(
        "purge_records",
        purge_records,
        &[
            "{\"purges\":[{\"scope\":{\"Tag\":\"a\"},\"effect\":\"Remove\"}]}",
            "1690000000000-1",
            "{\"v\":1,\"purges\":[{\"scope\":\"Everything\",\"effect\":\"MarkStale\"}],\"cause\":{},\"at\":1}",
        ],
    ),
    target(
        "rules",
        rules,
        &[
            "tag:user:{user.id}\n{\"user\":{\"id\":[1,\"a/b\",true]}}",
            "/users/{id}/x?y={id}\n{\"id\":\"..\"}",
            "prefix:/users/{id}/\n{\"id\":\"*\"}",
            "everything\n{}",
        ],
    ),
    target(
        "configuration",
        configuration,
        &[
            "origins: { api: { endpoints: [ \"http://127.0.0.1:1\" ] } }\nroutes:\n  - name: a\n    match: { path: /a/** }\n    ttl: 5m\n",
            "origins: &a { api: { endpoints: http://h } }\nl1: { capacity: 1GB }\ndefaults: { key: { cookies: [a] } }\n",
            "service: ${NAME:-x}\nlisten: [ 0.0.0.0:1, { at: 1 } ]\nevents: { a: { purge: [ \"tag:{id}\" ] } }\n",
        ],
    ),
    target(
        "amounts",
        amounts,
        &[
            "250ms",
            "1d",
            "64KiB",
            "10%",
            "127.0.0.1:80",
            "http://h:1",
            "10.0.0.0/8",
            "rediss://:x@h:1/0",
        ],
    ),
    target(
        "envelope",
        envelope,
        &["", "a", "content-type: text/plain\nbody body body body body body body body body body"],
    ),
];

const fn target(name: &'static str, run: fn(&[u8]), seeds: &'static [&'static str]) -> Parser {
    Parser { name, run, seeds }
}

/// Runs the target of this name. The first time it writes its seeds to the folder that `LARDER_FUZZ_SEEDS` names.
pub fn run(name: &str, data: &[u8]) {
    static SEEDED: Once = Once::new();
    let parser = PARSERS.iter().find(|parser| parser.name == name);
    let Parser { run, seeds, .. } = parser.expect("a target of the table");
    SEEDED.call_once(|| {
        let Some(folder) = std::env::var_os("LARDER_FUZZ_SEEDS") else { return };
        for (number, seed) in seeds.iter().enumerate() {
            let file = Path::new(&folder).join(format!("seed-{number}"));
            std::fs::write(file, seed).expect("the folder of seeds can be written");
        }
    });
    run(data);
}

fn text(data: &[u8]) -> Option<&str> {
    str::from_utf8(data).ok()
}

/// The bytes up to the first line feed, and those behind it.
fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    let at = memchr::memchr(b'\n', data);
    at.map_or((data, &[]), |at| (&data[..at], &data[at + 1..]))
}

/// Each line as a value of the field; those that are none are left out.
fn lines(name: &HeaderName, data: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for value in data.split(|byte| *byte == b'\n').take(64) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            fields.append(name.clone(), value);
        }
    }
    fields
}

/// The lines as values of these fields, one each.
fn named(names: &[HeaderName], data: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in names.iter().zip(data.split(|byte| *byte == b'\n')) {
        if let Some(value) = HeaderValue::from_bytes(value).ok().filter(|value| !value.is_empty()) {
            fields.insert(name.clone(), value);
        }
    }
    fields
}

/// What the framing says of these pieces: what makes them doubtful, or how many requests ended.
fn scan(pieces: &[&[u8]]) -> (Option<(u64, &'static str)>, Option<u64>) {
    let mut framing = Framing::default();
    for piece in pieces {
        if let Some(doubt) = framing.pass(piece) {
            return (Some((doubt.head, doubt.why.detail())), None);
        }
    }
    (None, framing.between())
}

fn lane_head(data: &[u8]) -> Option<(String, String, usize)> {
    let mut room = simple::room();
    let Simple { plain, head, .. } = Simple::read(data, &mut room, &Limits::default())?;
    Some((plain.host.to_owned(), plain.target.to_owned(), head.len()))
}

fn header_length(data: &[u8]) -> Option<usize> {
    match proxied::read(data) {
        Heard::Whole(header) => Some(header.length),
        Heard::More | Heard::Malformed => None,
    }
}

/// What comes in pieces means what it means in one.
fn framing(data: &[u8]) {
    let whole = scan(&[data]);
    for at in [1, data.len() / 3, data.len() / 2, data.len().saturating_sub(1)] {
        let (one, other) = data.split_at(at.min(data.len()));
        assert_eq!(scan(&[one, other]), whole, "cut at {at}");
    }
    let bytes: Vec<&[u8]> = data.chunks(1).collect();
    assert_eq!(scan(&bytes), whole, "byte by byte");
}

/// What an origin says is the same answer however it was cut on its way. The first byte says by which method it was asked.
fn response(data: &[u8]) {
    let Some((first, said)) = data.split_first() else { return };
    let method = if *first == b'H' { Method::HEAD } else { Method::GET };
    let whole = heard(&method, said, said.len().max(1));
    for step in [1, 7] {
        assert_eq!(heard(&method, said, step), whole, "in pieces of {step}");
    }
}

/// An answer that came in pieces: its heads, its body, its trailers and what is left behind it, as far as they are sound.
#[derive(Debug, Default, PartialEq)]
struct HeardAnswer {
    heads: Vec<(StatusCode, HeaderMap)>,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    left: Option<Vec<u8>>,
}

fn heard(method: &Method, said: &[u8], step: usize) -> HeardAnswer {
    let mut heard = HeardAnswer::default();
    let (mut pieces, mut came, mut framing) = (said.chunks(step), BytesMut::new(), None);
    loop {
        match listen(method, &mut came, &mut framing, &mut heard) {
            Listened::Broken => return heard,
            Listened::Done => break,
            Listened::More => match pieces.next() {
                Some(piece) => came.extend_from_slice(piece),
                None if framing.as_mut().is_some_and(|body| body.end().is_ok()) => break,
                None => return heard,
            },
        }
    }
    pieces.for_each(|piece| came.extend_from_slice(piece));
    heard.left = Some(came.to_vec());
    heard
}

/// How far an answer can be read for now.
enum Listened {
    More,
    Done,
    Broken,
}

fn listen(
    method: &Method,
    came: &mut BytesMut,
    framing: &mut Option<BodyFraming>,
    heard: &mut HeardAnswer,
) -> Listened {
    loop {
        let Some(framing) = framing else {
            // As whoever asks does it: without bytes there is nothing to read.
            let read = if came.is_empty() { Ok(None) } else { head::read(came) };
            let Ok(read) = read else { return Listened::Broken };
            let Some(reply) = read else { return Listened::More };
            heard.heads.push((reply.status, mapped(&reply.fields)));
            if !reply.status.is_informational() {
                match head::framing(method, &reply) {
                    Ok(told) => *framing = Some(told),
                    Err(_) => return Listened::Broken,
                }
            }
            continue;
        };
        match framing.next(came) {
            Err(_) => return Listened::Broken,
            Ok(None) if framing.is_done() => return Listened::Done,
            Ok(None) => return Listened::More,
            Ok(Some(frame)) => match frame.into_data() {
                Ok(data) => heard.body.extend_from_slice(&data),
                Err(frame) => heard.trailers = frame.into_trailers().ok(),
            },
        }
    }
}

/// The map that is made of the lines of a head, which says the same.
fn mapped(lines: &Fields) -> HeaderMap {
    let map = lines.clone().into_map();
    assert_eq!(map.len(), lines.lines().map_or(0, |lines| lines.iter().count()));
    for name in map.keys() {
        assert!(map.named(name).eq(lines.named(name)), "{name} of {lines:?}");
    }
    let mut sent = Vec::new();
    lines.lines().inspect(|lines| lines.write_but(|_| false, &mut sent));
    assert_eq!(fields_of(&sent.into(), 0), map, "{lines:?} as they are sent");
    map
}

/// What the lane takes is one request without a doubt, and its key is that of the same request on the long way.
fn plain_head(data: &[u8]) {
    let Some((host, target, length)) = lane_head(data) else { return };
    assert!(length <= data.len());
    assert_eq!(scan(&[&data[..length]]), (None, Some(1)));
    same_key(&host, &target);
    same_request(&data[..length]);
}

/// What the lane makes of a plain head is a request that has each line of it, in its order among those of its name. A
/// target that is none is left to the parser.
fn same_request(head: &[u8]) {
    let mut room = simple::room();
    let Some(read) = Simple::read(head, &mut room, &Limits::default()) else { return };
    let target = read.plain.target.parse::<Uri>();
    let Some(request) = read.request() else {
        assert!(target.is_err(), "{target:?} is left");
        return;
    };
    assert_eq!(Some(request.uri()), target.ok().as_ref());
    let mut fields = HeaderMap::new();
    for line in read.fields.0 {
        let name = HeaderName::from_bytes(line.name.as_bytes()).expect("a name");
        fields.append(name, HeaderValue::from_bytes(line.value).expect("a value"));
    }
    assert_eq!(request.headers(), &fields);
}

fn same_key(host: &str, target: &str) {
    let Some(plain) = PlainTarget::of(host, target, &Scheme::HTTP) else { return };
    let request = Request::builder().uri(target).header("host", host).body(());
    let request = request.expect("what is plain is a request");
    is_sound(&request).expect("what is plain is sound");
    let long = Target::of(&request, Scheme::HTTP).expect("what is plain has a target");
    let (rules, fields) = (KeyRules::default(), HeaderMap::new());
    let (service, route, question) = ("s", "r", None);
    let identity =
        Identity { service, route, target: &long, rules: &rules, fields: &fields, question };
    assert_eq!(Key::of_plain(service, route, &plain, HostRule::Keyed), Key::of(&identity));
}

/// No header is longer than what came, and every beginning of one is one that needs more.
fn proxy_header(data: &[u8]) {
    let Some(length) = header_length(data) else { return };
    assert!(length > 0 && length <= data.len());
    for cut in [1, length / 2, length - 1] {
        assert_eq!(header_length(&data[..cut.min(length - 1)]), None);
    }
    assert_eq!(header_length(&data[..length]), Some(length));
}

/// What is canonical stays as it is, and is not read in many ways.
fn canonical_target(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ok(target) = Target::parse(text) else { return };
    let again = Target::parse(&target.url()).expect("a canonical URL is a URL");
    assert_eq!(again.url(), target.url());
    assert!(!target.path().split('/').any(|segment| matches!(segment, "." | "..")), "{target:?}");
    assert!(readings(target.path()).take(65).count() <= 64, "few readings");
    let rules = QueryRules::default();
    assert_eq!(target.clone().under(&rules).url(), target.url());
    if let Ok(resolved) = target.resolve("../x?y") {
        assert_eq!(resolved.host_str(), target.host_str());
    }
}

fn authority(data: &[u8]) {
    let (host, target) = halves(data);
    if let (Some(host), Some(target)) = (text(host), text(target)) {
        same_key(host, target);
    }
}

fn cookie_lines(data: &[u8]) {
    let fields = lines(&COOKIE, data);
    for value in cookies(&fields, "session") {
        assert!(value.len() <= data.len());
    }
    fields::members(&fields, &COOKIE).for_each(|member| assert!(!member.is_empty()));
}

/// A response's variant is the one that its own request selects.
fn vary(data: &[u8]) {
    let (names, rest) = halves(data);
    let accept = [http::header::ACCEPT_ENCODING, http::header::ACCEPT_LANGUAGE, COOKIE];
    let (response, request) = (lines(&VARY, names), named(&accept, rest));
    let offers = |offers: &[&str]| offers.iter().map(|offer| (*offer).to_owned()).collect();
    let normal = vec![
        (accept[0].clone(), offers(&["br", "gzip"])),
        (accept[1].clone(), offers(&["en", "de"])),
    ];
    for normalize in [Vec::new(), normal] {
        let rules = VaryRules { normalize, language: LanguageRule::Heard, ..VaryRules::default() };
        let selector = Selector { fields: &request, rules: &rules };
        let Ok(variant) = Variant::of(&response, &selector) else { continue };
        assert!(variant.is_selected_by(&selector));
        assert_eq!(variant.digest(), Variant::digest_for(variant.names(), &selector));
        let mut sent = request.clone();
        rules.rewrite(&mut sent);
        let again = Variant::of(&response, &Selector { fields: &sent, rules: &rules });
        assert!(
            again.is_ok_and(|again| again == variant),
            "what is sent selects what was asked for"
        );
    }
}

fn cache_control(data: &[u8]) {
    let fields = lines(&CACHE_CONTROL, data);
    let _ = RequestDirectives::of(&fields);
    let said = ResponseDirectives::of(&fields);
    let _ = delta_seconds(data);
    let _ =
        ResponseDirectives::targeted(&lines(&HeaderName::from_static("cdn-cache-control"), data));
    // A word that forbids is heard, whatever stands around it in members of its own.
    let mut more = fields.clone();
    more.append(CACHE_CONTROL, HeaderValue::from_static("no-store, private"));
    let more = ResponseDirectives::of(&more);
    assert!(more.no_store && more.private.is_whole(), "{said:?}");
}

/// A date that was understood is written so that it is understood alike.
fn dates(data: &[u8]) {
    let Some(seconds) = date::parse(data) else { return };
    assert_eq!(date::parse(date::format(seconds).as_bytes()), Some(seconds));
}

/// What is selected lies within the representation, and no multipart is longer than a whole with its frame.
fn ranges(data: &[u8]) {
    let request = named(&[RANGE, IF_RANGE], data);
    let stored = named(&[ETAG, LAST_MODIFIED], halves(data).1);
    let _ = range::asked(&request);
    let whole = Bytes::from_static(&[7; 100]);
    for length in [0, 1, 10, 100, u64::MAX] {
        let found = match range::select(&request, &stored, StatusCode::OK, length) {
            Ranges::Whole | Ranges::Unsatisfiable => Vec::new(),
            Ranges::One(range) => vec![range],
            Ranges::Several(ranges) => ranges,
        };
        assert!(
            found.iter().all(|range| range.start < range.end && range.end <= length),
            "{found:?}"
        );
        if length == 100 && found.len() > 1 {
            let _ = range::multipart(&whole, &found, &stored);
        }
        for range in &found {
            let _ = range::content_range(range, length);
        }
    }
}

fn content_range(data: &[u8]) {
    let (one, other) = halves(data);
    let read = |line| ContentRange::of(&named(std::slice::from_ref(&CONTENT_RANGE), line));
    let Some(part) = read(one) else { return };
    assert!(part.range().end <= part.complete() && part.length() > 0);
    assert!(part.holds(part.range()));
    let written = range::content_range(part.range(), part.complete());
    assert_eq!(read(written.as_bytes()).as_ref(), Some(&part));
    if let Some(both) = read(other).and_then(|other| part.union(&other)) {
        assert!(both.holds(part.range()));
    }
    if let Some(missing) = part.missing() {
        assert!(missing.start < missing.end && missing.end <= part.complete());
    }
}

fn structured_fields(data: &[u8]) {
    let name = HeaderName::from_static("cdn-cache-control");
    let fields = lines(&name, data);
    if let Some(members) = dictionary::parse(&fields, &name) {
        let mut keys: Vec<_> = members.iter().map(|(key, _)| key).collect();
        keys.sort_unstable();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "one value for each key");
    }
    let _ = dictionary::strings(&fields, &name);
}

/// A tag that a response states is matched by a condition that repeats it.
fn conditions(data: &[u8]) {
    let (wanted, stored) = halves(data);
    let stored = named(&[ETAG, LAST_MODIFIED], stored);
    for (name, method) in
        [(IF_NONE_MATCH, Method::GET), (IF_MATCH, Method::PUT), (IF_MODIFIED_SINCE, Method::HEAD)]
    {
        let request = named(&[name], wanted);
        let _ = evaluate(&request, &method, StatusCode::OK, &stored);
        assert_eq!(evaluate(&request, &method, StatusCode::NOT_FOUND, &stored), Condition::Send);
    }
    let _ = not_modified(stored.clone());
    let any = named(&[IF_NONE_MATCH], b"*");
    assert_eq!(evaluate(&any, &Method::GET, StatusCode::OK, &stored), Condition::NotModified);
}

fn bearer(data: &[u8]) {
    let sent = Digest::sent(&lines(&AUTHORIZATION, data));
    let known = Digest::of(b"a secret that is in no corpus: 7f3a9");
    assert!(sent.is_none_or(|sent| sent != known));
}

/// A canonical form is its own canonical form.
fn content(data: &[u8]) {
    let fields = named(&[CONTENT_TYPE], b"application/json");
    let members = Some(vec!["a".to_owned()]);
    let writes = Writes::default();
    for form in [
        Form::Auto,
        Form::Bytes,
        Form::Json { members: None },
        Form::Json { members },
        Form::GraphQl { writes },
    ] {
        let rules = ContentRules { form, ..ContentRules::default() };
        let Ok(canonical) = rules.content(&fields, data) else { continue };
        let again = rules.content(&fields, &canonical);
        assert_eq!(again.as_ref(), Ok(&canonical), "{:?}", rules.form);
    }
}

fn graphql_query(data: &[u8]) {
    let Some(query) = text(data) else { return };
    let _ = graphql::asked_by_url(Some(query));
    let _ = graphql::speaks_in_url(Some(query));
    let parameters: Vec<_> = query.split('&').collect();
    let canonical = graphql::canonical_query(&parameters);
    let again: Vec<_> = canonical.split('&').collect();
    assert_eq!(graphql::canonical_query(&again), canonical);
}

fn json_tags(data: &[u8]) {
    let (rule, body) = halves(data);
    let Some(rule) = text(rule) else { return };
    let _ = JsonPath::parse(rule);
    let path = PathPattern::parse("/a/{id}").expect("a pattern");
    let Ok(rules) = TagRules::parse(&[rule.to_owned()], &path) else { return };
    if let Ok(tags) = rules.with_body(&[], body) {
        assert!(tags.iter().all(|tag| !tag.as_str().is_empty()));
    }
    let _ = rules.tags("/a/7", &path, &lines(&HeaderName::from_static("surrogate-key"), body));
}

/// What a pattern matches it captures, and every pattern covers itself.
fn patterns(data: &[u8]) {
    let (pattern, path) = halves(data);
    let (Some(pattern), Some(path)) = (text(pattern), text(path)) else { return };
    if let Ok(pattern) = PathPattern::parse(pattern) {
        assert_eq!(pattern.is_match(path), pattern.captures(path).is_some());
        assert!(pattern.covers(&pattern));
        let again = PathPattern::parse(pattern.as_str()).expect("it was one");
        assert_eq!(again, pattern);
    }
    if let Ok(pattern) = HostPattern::parse(pattern) {
        let _ = pattern.is_match(path);
        assert!(pattern.covers(&pattern));
        assert!(HostPattern::parse(pattern.as_str()).is_ok());
    }
    let _ = events::NamePattern(pattern.into()).is_match(path);
}

fn globs(data: &[u8]) {
    let (glob, url) = halves(data);
    let (Some(glob), Some(url)) = (text(glob), text(url)) else { return };
    let Ok(glob) = UrlGlob::parse(glob) else { return };
    let _ = (glob.is_match(url), glob.is_every());
    let again = UrlGlob::parse(&glob.to_string());
    assert_eq!(again.as_ref(), Ok(&glob));
}

/// What is read from the log is written so that it is read alike.
fn purge_records(data: &[u8]) {
    if let Ok(record) = serde_json::from_slice::<Record>(data) {
        let written = serde_json::to_vec(&record).expect("a record is JSON");
        assert_eq!(serde_json::from_slice::<Record>(&written).ok().as_ref(), Some(&record));
    }
    if let Some(mark) = text(data).and_then(|text| text.parse::<Mark>().ok()) {
        assert_eq!(mark.to_string().parse::<Mark>().ok(), Some(mark));
    }
}

fn rules(data: &[u8]) {
    let (rule, values) = halves(data);
    let Some(rule) = text(rule) else { return };
    let values: Json = serde_json::from_slice(values).unwrap_or_default();
    if let Ok(rule) = Rule::parse(rule, Holes::OfData) {
        let _ = rule.fill(&|name| events::find(&values, name));
    }
    let _ = Rule::parse(rule, Holes::Of(&["id"]));
}

/// Variables that are all there, and short.
struct Fixed;

impl Variables for Fixed {
    fn variable(&self, name: &str) -> Option<String> {
        name.starts_with('N').then(|| "x".to_owned())
    }

    fn file(&self, _: &str) -> Option<String> {
        None
    }
}

/// A file that is understood is printed so that it is understood again.
fn configuration(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Ok(loaded) = config::load(Path::new("fuzz.yaml"), text, &Fixed, &Overrides::default()) {
        let _ = loaded.settings.print();
    }
}

/// What is written back is read alike.
fn amounts(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Ok(span) = text.parse::<Span>() {
        assert_eq!(span.to_string().parse::<Span>().ok().map(|again| again.0), Some(span.0));
    }
    if let Ok(size) = text.parse::<Size>() {
        assert_eq!(size.to_string().parse::<Size>().ok().map(|again| again.0), Some(size.0));
    }
    if let Ok(part) = text.parse::<Part>() {
        assert!((0.0..=1.0).contains(&part.0));
    }
    let _ = (text.parse::<Address>(), text.parse::<Endpoint>(), text.parse::<HostField>());
    let _ = text.parse::<Network>();
    if let Ok(url) = text.parse::<RedisUrl>() {
        let _ = (url.server(), url.database(), url.to_string());
    }
    let _ = (seal::secret(text), problem::response(StatusCode::BAD_REQUEST, text));
}

/// What was written is read back as it was, changed bytes are not, and no bytes do harm.
fn envelope(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let (fields, body) = halves(data);
    let key = Key::from_bits(7);
    let spot = Spot { slot: "s", field: "f", key };
    let compression = Some(seal::Compression { over: 16, level: 1 });
    let ring = vec![SealKey::new("k", &[3; 32])];
    for keys in [Vec::new(), ring] {
        let is_sealed = !keys.is_empty();
        let seal = Seal::new(seal::Settings { compression, keys, max_object: 1 << 16 });
        let _ = wire::decode(&bytes, &seal, &spot);
        let _ = seal.reveal("s", "f", "x");
        let entry = entry(key, fields, body);
        let Some(encoded) = wire::encode(&entry, &seal, &spot, [9; NONCE]) else { continue };
        let read = wire::decode(&encoded.bytes, &seal, &spot);
        if body.len() <= 1 << 16 {
            let read = read.expect("what was written is read");
            assert_eq!((read.bytes(), read.fields()), (entry.bytes(), entry.fields()));
        }
        let mut broken = encoded.bytes.to_vec();
        let at = data.len().wrapping_mul(31) % broken.len();
        broken[at] ^= 1 << (data.len() % 8);
        let broken = wire::decode(&broken.into(), &seal, &spot);
        assert!(broken.is_err(), "a bit was turned at {at}, sealed: {is_sealed}");
    }
}

fn entry(key: Key, line: &[u8], body: &[u8]) -> Entry {
    let fields = named(&[CONTENT_TYPE], line);
    let now = Timestamp::from_seconds(1_700_000_000);
    let facts = Facts {
        key,
        url_key: key,
        url: "http://h/".into(),
        route: RouteId::new("r"),
        tags: [Tag::new("a")].into(),
        as_of: Mark::new(1, 1),
    };
    let (none, minute) = (Duration::ZERO, Duration::from_mins(1));
    let freshness = Freshness {
        received: now,
        initial_age: none,
        lifetime: minute,
        stale_while_revalidate: none,
        stale_if_error: minute,
        keep: minute,
        fetch_time: none,
        use_without_asking: UseWithoutAsking::Allowed,
    };
    let head = Head { status: StatusCode::OK, fields };
    let body = Stored::Whole(Bytes::copy_from_slice(body));
    Entry::new(facts, &head, freshness, Variant::default(), body)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// How many random inputs each target gets.
    const ROUNDS: usize = 400;

    /// A seed that was changed here and there, or bytes that are nothing.
    fn input(random: &mut StdRng, seeds: &[&str]) -> Vec<u8> {
        let mut bytes = seeds[random.random_range(0..seeds.len())].as_bytes().to_vec();
        for _ in 0..random.random_range(0..6) {
            let at = random.random_range(0..=bytes.len());
            match random.random_range(0..4) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, random.random()),
                2 if at < bytes.len() => bytes[at] = random.random(),
                _ => {
                    let other = seeds[random.random_range(0..seeds.len())].as_bytes();
                    let from = random.random_range(0..=other.len());
                    bytes.splice(at..at, other[from..].iter().copied());
                }
            }
        }
        bytes
    }

    /// `LARDER_FUZZ_SEED=17 cargo test --lib fuzzing` repeats a run that printed that seed.
    #[test]
    fn no_bytes_make_a_parser_panic_or_contradict_itself() {
        let given = std::env::var("LARDER_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed: u64 = given.unwrap_or_else(|| rand::rng().random());
        for Parser { name, run, seeds } in PARSERS {
            for text in seeds {
                run(text.as_bytes());
            }
            let mut random = StdRng::seed_from_u64(seed);
            for round in 0..ROUNDS {
                let bytes = input(&mut random, seeds);
                let caught = std::panic::catch_unwind(|| run(&bytes));
                assert!(
                    caught.is_ok(),
                    "{name}, LARDER_FUZZ_SEED={seed}, round {round}: {}",
                    bytes.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn every_target_has_a_program_and_every_program_a_target() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
        let programs = std::fs::read_dir(folder).unwrap();
        let mut programs: Vec<String> = programs
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        let mut targets = PARSERS.map(|parser| parser.name.to_owned()).to_vec();
        programs.sort();
        targets.sort();
        assert_eq!(programs, targets);
    }
}
