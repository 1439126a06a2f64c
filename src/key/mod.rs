//! The identity of a URL in the cache.

pub mod authority;
pub mod canonical;
pub mod content;
pub mod host;
pub mod pattern;
pub mod vary;

use std::cell::RefCell;
use std::fmt;
use std::hash::{Hash, Hasher};

use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::key::canonical::{PlainTarget, Target};
use crate::key::content::{ContentRules, metadata};

/// Names one URL as one route sees it: service, route, scheme, host, path, query, and what the route adds; or one
/// question that is asked of it with content.
///
/// The first 128 bits of a BLAKE3 digest over length-prefixed parts: equal on every machine, so that a fleet
/// shares it, and not forgeable, so that nobody can aim one URL at another's entry.
///
/// Kept as bytes, in the order of the number: a number of 128 bits would have all that holds a key aligned to 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key([u8; 16]);

/// What a route adds to the URL, and what of the URL it leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRules {
    pub query: canonical::QueryRules,
    /// Request fields whose values are part of the key.
    pub headers: Vec<HeaderName>,
    /// Cookies whose values are part of the key.
    pub cookies: Vec<String>,
    pub host: HostRule,
    /// For requests that are told apart by their content too.
    pub content: ContentRules,
}

/// Whether the host tells two URLs apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostRule {
    #[default]
    Keyed,
    /// The host is not part of the key, and the origin's own is sent instead of it.
    Ignored,
}

/// Everything that a key is made from.
pub struct Identity<'a> {
    pub service: &'a str,
    pub route: &'a str,
    pub target: &'a Target,
    pub rules: &'a KeyRules,
    pub fields: &'a HeaderMap,
    /// What is asked with content, where it is.
    pub question: Option<Question<'a>>,
}

/// A method whose requests are told apart by their content, and the content as it is sent to the origin.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    pub method: &'a Method,
    pub content: &'a [u8],
}

impl KeyRules {
    /// Whether the URL as it was sent is the whole key of a GET, but for its host.
    pub fn is_plain(&self) -> bool {
        self.headers.is_empty()
            && self.cookies.is_empty()
            && self.query == canonical::QueryRules::default()
    }
}

impl Key {
    /// The key of a request. Costs one digest over about a hundred bytes and allocates only for long URLs.
    pub fn of(identity: &Identity<'_>) -> Self {
        key_of(|text| {
            match &identity.question {
                None => text.part(b"key"),
                Some(question) => text.part(b"question").question(question, identity.fields),
            };
            text.part(identity.service.as_bytes()).part(identity.route.as_bytes());
            text.target(identity.target, identity.rules.host);
            for name in &identity.rules.headers {
                let values = identity.fields.get_all(name).iter();
                text.values(name.as_str(), values.map(HeaderValue::as_bytes));
            }
            for name in &identity.rules.cookies {
                text.values(name, canonical::cookies(identity.fields, name));
            }
        })
    }

    /// The key of a GET for `target` on a route whose rules are plain ([`KeyRules::is_plain`]).
    pub fn of_plain(service: &str, route: &str, target: &PlainTarget<'_>, host: HostRule) -> Self {
        let (scheme, name) = (target.scheme().as_str(), target.host().as_bytes());
        key_of(|text| {
            text.part(b"key").part(service.as_bytes()).part(route.as_bytes());
            text.url(scheme, name, target.path_and_query(), host);
        })
    }

    /// The key of a URL alone, whatever its route adds: what a purge by URL names.
    pub fn of_url(target: &Target, host: HostRule) -> Self {
        key_of(|text| {
            text.part(b"url").target(target, host);
        })
    }

    pub const fn from_bits(bits: u128) -> Self {
        Self(bits.to_be_bytes())
    }

    pub const fn bits(self) -> u128 {
        u128::from_be_bytes(self.0)
    }
}

/// One number for a hasher, as a digest is one.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.bits());
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit =
            |at: usize| b"0123456789abcdef"[usize::from(self.0[at / 2] >> (4 * (1 - at % 2)) & 15)];
        let digits: [u8; 32] = std::array::from_fn(digit);
        formatter.write_str(str::from_utf8(&digits).unwrap_or_default())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Key({self})")
    }
}

/// Parts with their lengths before them, so that no two lists of parts read the same.
struct Text<'a>(&'a mut Vec<u8>);

impl Text<'_> {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn part(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len());
        self.push(bytes);
        self
    }

    /// A number in one byte, where it has room: the digest costs 300 instructions for each 64 bytes.
    fn number(&mut self, number: usize) -> &mut Self {
        match u8::try_from(number) {
            Ok(short) if short < u8::MAX => self.push(&[short]),
            Ok(_) | Err(_) => {
                self.push(&[u8::MAX]);
                self.push(&(number as u64).to_le_bytes());
            }
        }
        self
    }

    /// A name and its values, with their number before them: a value may read like the next name.
    fn values<'a>(&mut self, name: &str, values: impl Iterator<Item = &'a [u8]>) {
        let values: SmallVec<[&[u8]; 4]> = values.collect();
        self.part(name.as_bytes()).number(values.len());
        for value in values {
            self.part(value);
        }
    }

    /// The method, the content by its digest, and the fields that belong to it with their number before them.
    fn question(&mut self, question: &Question<'_>, fields: &HeaderMap) -> &mut Self {
        self.part(question.method.as_str().as_bytes());
        self.part(blake3::hash(question.content).as_bytes());
        let names = metadata(fields);
        self.number(names.len());
        for name in names {
            self.values(name.as_str(), fields.get_all(name).iter().map(HeaderValue::as_bytes));
        }
        self
    }

    fn target(&mut self, target: &Target, rule: HostRule) -> &mut Self {
        let (scheme, path) = (target.scheme().as_str(), target.path_and_query().as_str());
        self.url(scheme, target.host().as_bytes(), path, rule)
    }

    fn url(&mut self, scheme: &str, host: &[u8], path: &str, rule: HostRule) -> &mut Self {
        self.part(scheme.as_bytes());
        match rule {
            HostRule::Keyed => self.part(host),
            HostRule::Ignored => self.part(b""),
        };
        self.part(path.as_bytes())
    }
}

/// The key of the text that `write` writes.
fn key_of(write: impl FnOnce(&mut Text<'_>)) -> Key {
    TEXTS.with_borrow_mut(|texts| {
        texts.next.clear();
        write(&mut Text(&mut texts.next));
        texts.digest()
    })
}

thread_local! {
    /// No two threads wait for each other here, and a key depends on nothing but its text.
    static TEXTS: RefCell<Texts> = RefCell::default();
}

/// The text that this thread digested last, and room for the next: what memory was asked for and did not have is digested
/// once more by the stack, at once. To digest it costs 600 instructions.
#[derive(Default)]
struct Texts {
    last: Vec<u8>,
    key: Option<Key>,
    next: Vec<u8>,
}

impl Texts {
    fn digest(&mut self) -> Key {
        let Self { last, key, next } = self;
        let known = key.filter(|_| last == next);
        let digested = known.unwrap_or_else(|| {
            let digest = blake3::hash(next);
            let mut bits = [0; 16];
            bits.copy_from_slice(&digest.as_bytes()[..16]);
            Key(bits)
        });
        *key = Some(digested);
        std::mem::swap(last, next);
        next.clear();
        next.shrink_to(ROOM);
        digested
    }
}

/// What the room for a text may keep.
const ROOM: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(rules: &KeyRules, fields: &[(&'static str, &'static str)]) -> Key {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let target = &Target::parse("http://h/a").unwrap();
        let question = None;
        Key::of(&Identity { service: "s", route: "r", target, rules, fields: &map, question })
    }

    fn asked(method: &Method, fields: &[(&'static str, &'static str)], content: &[u8]) -> Key {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let (target, rules) = (&Target::parse("http://h/a").unwrap(), &KeyRules::default());
        let question = Some(Question { method, content });
        Key::of(&Identity { service: "s", route: "r", target, rules, fields: &map, question })
    }

    #[test]
    fn a_question_is_its_method_its_content_and_the_fields_of_that() {
        let json = &[("content-type", "application/json"), ("content-length", "2")][..];
        let plain = asked(&Method::QUERY, json, b"{}");
        let others = [
            asked(&Method::POST, json, b"{}"),
            asked(&Method::QUERY, json, b"[]"),
            asked(&Method::QUERY, json, b""),
            asked(&Method::QUERY, &[("content-type", "text/plain")], b"{}"),
            asked(&Method::QUERY, &[json[0], ("content-encoding", "gzip")], b"{}"),
            asked(&Method::QUERY, &[json[0], ("content-language", "en")], b"{}"),
            key(&KeyRules::default(), json),
        ];
        assert!(others.iter().all(|other| *other != plain));
        let shorter = &[("content-length", "3"), ("accept", "*/*"), json[0]];
        assert_eq!(asked(&Method::QUERY, shorter, b"{}"), plain);
    }

    #[test]
    fn a_key_is_the_digest_of_its_text_however_often_it_is_asked_for() {
        for length in [0, 1, 189, 190, 191, 254, 255, 256, 376, 384, 5000] {
            let piece = vec![b'x'; length];
            let mut whole = Vec::new();
            for piece in [&piece[..], b"y", &piece] {
                match u8::try_from(piece.len()) {
                    Ok(short) if short < 255 => whole.push(short),
                    _ => whole.extend([&[255][..], &(piece.len() as u64).to_le_bytes()].concat()),
                }
                whole.extend_from_slice(piece);
            }
            let digest = blake3::hash(&whole);
            for _ in 0..2 {
                let key = key_of(|text| _ = text.part(&piece).part(b"y").part(&piece));
                assert_eq!(key.bits().to_be_bytes(), digest.as_bytes()[..16], "{length}");
            }
        }
    }

    #[test]
    fn a_value_that_reads_like_the_next_name_is_no_other_request() {
        let headers = vec![HeaderName::from_static("x-a"), HeaderName::from_static("x-b")];
        let rules = KeyRules { headers, ..KeyRules::default() };
        let honest = key(&rules, &[("x-a", "1"), ("x-b", "x-b")]);
        assert_ne!(key(&rules, &[("x-a", "1"), ("x-a", "x-b")]), honest);
        assert_eq!(key(&rules, &[("x-b", "x-b"), ("x-a", "1")]), honest);
    }

    #[test]
    fn every_cookie_of_a_name_counts_and_none_is_not_an_empty_one() {
        let rules = KeyRules { cookies: vec!["c".into()], ..KeyRules::default() };
        let plain = key(&rules, &[("cookie", "c=EUR")]);
        assert_eq!(key(&rules, &[("cookie", "x=1; c=EUR")]), plain);
        for other in ["c=EUR; c=USD", "c=EUR; c =USD", "c=USD", "c=", "x=1"] {
            assert_ne!(key(&rules, &[("cookie", other)]), plain, "{other}");
        }
        assert_ne!(key(&rules, &[("cookie", "c=")]), key(&rules, &[]));
    }
}
