//! The identity of a URL in the cache.

pub mod canonical;
pub mod vary;

use std::fmt;

use http::header::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use crate::key::canonical::Target;

/// Names one URL as one route sees it: service, route, scheme, host, path, query, and what the route adds.
///
/// The first 128 bits of a BLAKE3 digest over length-prefixed parts: equal on every machine, so that a fleet
/// shares it, and not forgeable, so that nobody can aim one URL at another's entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u128);

/// What a route adds to the URL, and what of the URL it leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRules {
    pub query: canonical::QueryRules,
    /// Request fields whose values are part of the key.
    pub headers: Vec<HeaderName>,
    /// Cookies whose values are part of the key.
    pub cookies: Vec<String>,
    pub host: HostRule,
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
}

impl Key {
    /// The key of a request. Costs one digest over about a hundred bytes and allocates only for long URLs.
    pub fn of(identity: &Identity<'_>) -> Self {
        let mut text = Text::new();
        text.part(b"key").part(identity.service.as_bytes()).part(identity.route.as_bytes());
        text.target(identity.target, identity.rules.host);
        for name in &identity.rules.headers {
            text.part(name.as_str().as_bytes());
            for value in identity.fields.get_all(name) {
                text.part(value.as_bytes());
            }
        }
        for name in &identity.rules.cookies {
            text.part(name.as_bytes());
            text.part(canonical::cookie(identity.fields, name).unwrap_or_default());
        }
        text.digest()
    }

    /// The key of a URL alone, whatever its route adds: what a purge by URL names.
    pub fn of_url(target: &Target, host: HostRule) -> Self {
        let mut text = Text::new();
        text.part(b"url").target(target, host);
        text.digest()
    }

    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    pub const fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Key({self})")
    }
}

/// Parts with their lengths before them, so that no two lists of parts read the same.
struct Text(SmallVec<[u8; 384]>);

impl Text {
    fn new() -> Self {
        Self(SmallVec::new())
    }

    fn part(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    fn target(&mut self, target: &Target, host: HostRule) -> &mut Self {
        self.part(target.scheme().as_str().as_bytes());
        match host {
            HostRule::Keyed => self.part(target.host().as_bytes()),
            HostRule::Ignored => self.part(b""),
        };
        self.part(target.path_and_query().as_str().as_bytes())
    }

    fn digest(&self) -> Key {
        let digest = blake3::hash(&self.0);
        let mut bits = [0; 16];
        bits.copy_from_slice(&digest.as_bytes()[..16]);
        Key(u128::from_be_bytes(bits))
    }
}
