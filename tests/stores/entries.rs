//! Entries to put into stores.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue, SET_COOKIE, VARY};
use larder::entry::facts::{Facts, Mark, RouteId, Tag};
use larder::entry::freshness::{Freshness, UseWithoutAsking};
use larder::entry::{Entry, Head, Stored};
use larder::key::Key;
use larder::key::vary::{Selector, Variant, VaryRules};
use larder::store::Place;
use larder::time::Timestamp;

/// An entry in the making.
#[derive(Clone)]
pub(crate) struct Recipe {
    url: String,
    body: Vec<u8>,
    as_of: u64,
    age: Duration,
    lifetime: Duration,
    request: HeaderMap,
    vary: Option<HeaderName>,
    max_variants: usize,
    max_ttl: Option<Duration>,
}

/// The entry of a URL, whose body is the URL.
pub(crate) fn of(url: &str) -> Recipe {
    Recipe {
        url: url.to_owned(),
        body: url.as_bytes().to_vec(),
        as_of: 1,
        age: Duration::ZERO,
        lifetime: Duration::from_mins(1),
        request: HeaderMap::new(),
        vary: None,
        max_variants: 4,
        max_ttl: None,
    }
}

impl Recipe {
    pub(crate) fn says(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    pub(crate) fn fetched_at(mut self, millis: u64) -> Self {
        self.as_of = millis;
        self
    }

    pub(crate) fn received_before(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    pub(crate) fn lives(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// The request has the field, and the response varies by it.
    pub(crate) fn varies(mut self, name: &'static str, value: &str) -> Self {
        self.request = request(name, value);
        self.vary = Some(HeaderName::from_static(name));
        self
    }

    pub(crate) fn among(mut self, max_variants: usize) -> Self {
        self.max_variants = max_variants;
        self
    }

    /// Its store lets it count as fresh for no longer.
    pub(crate) fn capped_at(mut self, cap: Duration) -> Self {
        self.max_ttl = Some(cap);
        self
    }

    pub(crate) fn place(&self) -> Place {
        Place {
            key: key(&self.url),
            route: RouteId::new("Products"),
            max_variants: self.max_variants,
            max_ttl: self.max_ttl,
        }
    }

    pub(crate) fn entry(&self) -> Arc<Entry> {
        self.entry_with(Stored::Whole(Bytes::from(self.body.clone())))
    }

    pub(crate) fn entry_with(&self, body: Stored) -> Arc<Entry> {
        let mut fields = HeaderMap::new();
        fields.append(SET_COOKIE, HeaderValue::from_static("a=1"));
        fields.append(SET_COOKIE, HeaderValue::from_bytes(b"b=\xe4").unwrap());
        if let Some(name) = &self.vary {
            fields.insert(VARY, name.clone().into());
        }
        let rules = VaryRules::default();
        let selector = Selector { fields: &self.request, rules: &rules };
        let variant = Variant::of(&fields, &selector).unwrap();
        let head = Head { status: StatusCode::OK, fields };
        Arc::new(Entry::new(self.facts(), &head, self.freshness(), variant, body))
    }

    fn facts(&self) -> Facts {
        Facts {
            key: key(&self.url),
            url_key: key("url"),
            url: self.url.as_str().into(),
            route: RouteId::new("Products"),
            tags: [Tag::new("t")].into(),
            as_of: Mark::new(self.as_of, 0),
        }
    }

    fn freshness(&self) -> Freshness {
        Freshness {
            received: Timestamp::now().minus(self.age),
            initial_age: Duration::ZERO,
            lifetime: self.lifetime,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            keep: Duration::ZERO,
            fetch_time: Duration::from_millis(7),
            use_without_asking: UseWithoutAsking::Allowed,
        }
    }
}

pub(crate) fn key(url: &str) -> Key {
    let digest = blake3::hash(url.as_bytes());
    Key::from_bits(u128::from_be_bytes(digest.as_bytes()[..16].try_into().unwrap()))
}

/// A request with one field.
pub(crate) fn request(name: &'static str, value: &str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert(name, value.parse().unwrap());
    fields
}
