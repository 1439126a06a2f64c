//! A route's tripwire: which of its entries are compared before they are shared, and whether it has sprung.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use http::header::{COOKIE, HeaderMap};

use crate::entry::sharing::Asker;
use crate::key::KeyRules;
use crate::message::fields::PERSONAL;
use crate::policy::tripwire::{WhyLeaks, is_drawn};
use crate::route::forward::keyed_cookies;
use crate::time::Timestamp;

/// The tripwire of one route. It lives as long as the route: a reload draws it anew.
#[derive(Debug)]
pub struct Tripwire {
    sample: f64,
    /// How many entries came to be shared with another identity.
    met: AtomicU64,
    /// Whether a comparison is under way: one at a time costs the origin little, whatever comes.
    busy: AtomicBool,
    state: AtomicU8,
    /// When it sprang, in milliseconds.
    sprung: AtomicU64,
}

const SET: u8 = 0;
const DEPENDS: u8 = 1;
const DENIED: u8 = 2;

/// The right to compare. Dropped, somebody else may.
pub struct Turn<'a>(&'a Tripwire);

impl Tripwire {
    /// Compares this part of the entries that come to be shared, from 0 to 1.
    pub fn new(sample: f64) -> Self {
        let (met, sprung) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { sample, met, busy: AtomicBool::new(false), state: AtomicU8::new(SET), sprung }
    }

    pub fn is_off(&self) -> bool {
        self.sample <= 0.0
    }

    pub fn sample(&self) -> f64 {
        self.sample
    }

    /// Whether the next entry that comes to be shared is compared.
    pub fn draws(&self) -> bool {
        is_drawn(self.met.fetch_add(1, Ordering::Relaxed), self.sample)
    }

    /// The turn to compare, if nobody has it.
    pub fn turn(&self) -> Option<Turn<'_>> {
        (!self.busy.swap(true, Ordering::AcqRel)).then_some(Turn(self))
    }

    /// Nothing of the route is shared from now on; whether that is news.
    pub fn spring(&self, why: WhyLeaks, now: Timestamp) -> bool {
        let state = match why {
            WhyLeaks::Depends => DEPENDS,
            WhyLeaks::Denied => DENIED,
        };
        self.sprung.store(now.as_millis(), Ordering::Relaxed);
        self.state.swap(state, Ordering::AcqRel) == SET
    }

    /// Shares again; whether it had sprung.
    pub fn reset(&self) -> bool {
        self.state.swap(SET, Ordering::AcqRel) != SET
    }

    pub fn has_sprung(&self) -> bool {
        self.state.load(Ordering::Acquire) != SET
    }

    /// Why it sprang, and when.
    pub fn cause(&self) -> Option<(WhyLeaks, Timestamp)> {
        let why = match self.state.load(Ordering::Acquire) {
            SET => return None,
            DEPENDS => WhyLeaks::Depends,
            _ => WhyLeaks::Denied,
        };
        Some((why, Timestamp::from_millis(self.sprung.load(Ordering::Relaxed))))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

/// Who asks, by the personal fields that the key does not count. Costs a digest where there are any.
pub fn asker(fields: &HeaderMap, key: &KeyRules) -> Asker {
    // Most bear none: to look at the few names that there are costs a tenth of 1,500 instructions.
    if !fields.keys().any(|name| PERSONAL.contains(name)) {
        return Asker::Nobody;
    }
    let mut digest = blake3::Hasher::new();
    let mut bears = false;
    for name in PERSONAL.iter().filter(|name| !key.headers.contains(name)) {
        for value in fields.get_all(name) {
            for part in value.as_bytes().split(|byte| *name == COOKIE && *byte == b';') {
                let part = part.trim_ascii();
                if part.is_empty() || *name == COOKIE && is_keyed(part, key) {
                    continue;
                }
                bears = true;
                digest.update(name.as_str().as_bytes()).update(b":");
                digest.update(&part.len().to_le_bytes()).update(part);
            }
        }
    }
    if !bears {
        return Asker::Nobody;
    }
    let digest = digest.finalize();
    let first = digest.as_bytes().first_chunk().copied().unwrap_or_default();
    Asker::Somebody(u64::from_le_bytes(first))
}

fn is_keyed(cookie: &[u8], key: &KeyRules) -> bool {
    let name = cookie.split(|byte| *byte == b'=').next().unwrap_or_default();
    key.cookies.iter().any(|keyed| keyed.as_bytes() == name)
}

/// Takes out of a request what says who asks, but for what the key counts.
pub fn remove_identity(fields: &mut HeaderMap, key: &KeyRules) {
    let cookies = keyed_cookies(fields, key);
    for name in PERSONAL.iter().filter(|name| !key.headers.contains(name)) {
        fields.remove(name);
    }
    if let Some(cookies) = cookies {
        fields.entry(COOKIE).or_insert(cookies);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::{ACCEPT, AUTHORIZATION, HeaderName};

    use super::*;

    fn fields(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        let lines = lines.iter();
        lines.map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn who_asks_is_told_by_what_the_key_does_not_count() {
        let plain = KeyRules::default();
        let keyed = KeyRules {
            cookies: vec!["currency".into()],
            headers: vec![AUTHORIZATION],
            ..KeyRules::default()
        };
        let ann = fields(&[(COOKIE, "s=ann; currency=EUR"), (ACCEPT, "*/*")]);
        let bob = fields(&[(COOKIE, "s=bob;currency=EUR")]);
        let only = fields(&[(COOKIE, "currency=EUR"), (AUTHORIZATION, "x")]);
        assert_eq!(asker(&fields(&[(ACCEPT, "a")]), &plain), Asker::Nobody);
        assert_eq!(asker(&only, &keyed), Asker::Nobody);
        assert_ne!(asker(&only, &plain), Asker::Nobody);
        assert_ne!(asker(&ann, &keyed), asker(&bob, &keyed));
        let dollars = fields(&[(COOKIE, "currency=USD; s=ann")]);
        assert_eq!(asker(&ann, &keyed), asker(&dollars, &keyed));
        let mut stripped = ann.clone();
        remove_identity(&mut stripped, &keyed);
        assert_eq!(stripped, fields(&[(COOKIE, "currency=EUR"), (ACCEPT, "*/*")]));
        assert_eq!(asker(&stripped, &keyed), Asker::Nobody);
    }

    #[test]
    fn it_springs_once_and_compares_one_at_a_time() {
        let wire = Tripwire::new(1.0);
        let turn = wire.turn();
        assert!(turn.is_some() && wire.turn().is_none() && wire.draws());
        drop(turn);
        assert!(wire.turn().is_some());
        let now = Timestamp::from_seconds(9);
        assert!(wire.spring(WhyLeaks::Denied, now) && !wire.spring(WhyLeaks::Denied, now));
        assert_eq!(wire.cause(), Some((WhyLeaks::Denied, now)));
        assert!(wire.reset() && !wire.reset() && !wire.has_sprung());
    }
}
