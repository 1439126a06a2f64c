//! How often each client may ask: a bucket for each, of a bounded number of clients.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use governor::clock::{Clock, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use http::HeaderName;
use http::header::HeaderMap;
use parking_lot::Mutex;

use crate::message::network::household;

/// The longest that an empty bucket may take to be full again.
pub const LONGEST: Duration = Duration::from_hours(24);

/// What the rate of the whole service is called in `RateLimit`; no route can be called so.
const OF_ALL: &str = "*";

/// How many clients one limiter knows, in parts that are locked each by itself. They take 2 MiB at most.
const CLIENTS: usize = 1 << 16;
const PARTS: usize = 16;

/// How often a client may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run, so many in each `per`.
    pub requests: NonZeroU32,
    pub per: Duration,
    /// So many at once, by who has not asked for a while.
    pub burst: NonZeroU32,
    pub by: By,
    pub fields: Fields,
}

/// What tells two clients apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// Where they ask from; an IPv6 client is its /64.
    Address,
    /// What they say in this field; those who say nothing, where they ask from.
    Field(HeaderName),
}

/// Whether clients are told in `RateLimit` and `RateLimit-Policy` where they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fields {
    Told,
    Untold,
}

impl Rate {
    /// From one request to the next, in the long run.
    pub fn pause(&self) -> Duration {
        (self.per.min(LONGEST) / self.requests.get()).max(Duration::from_nanos(1))
    }

    /// How long an empty bucket takes to be full again.
    pub fn window(&self) -> Duration {
        self.pause().saturating_mul(self.burst.get())
    }
}

/// Counts the requests of each client against one rate.
///
/// What tells a client apart is kept as a digest under a key of this process, so that a token can neither be read from
/// memory nor made to fall together with another's. Costs a hash and a lock of a sixteenth of the clients.
pub struct Limiter {
    name: Box<str>,
    rate: Rate,
    secret: [u8; blake3::KEY_LEN],
    buckets: RateLimiter<Ask, Clients, MonotonicClock, StateInformationMiddleware>,
}

/// Where a client stands after a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub name: Box<str>,
    /// Requests at once, when the bucket is full.
    pub quota: u32,
    /// Seconds in which an empty bucket is full again.
    pub window: u64,
    /// Requests that are left now.
    pub left: u32,
    /// Seconds until the bucket is full again.
    pub full_in: u64,
    pub fields: Fields,
}

/// A request too many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooOften {
    /// When there is room for one.
    pub wait: Duration,
    pub standing: Standing,
}

impl Limiter {
    pub fn new(name: &str, rate: Rate) -> Self {
        let pause = rate.pause();
        let most = u32::try_from(LONGEST.as_nanos() / pause.as_nanos()).unwrap_or(u32::MAX);
        let burst = rate.burst.min(NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN));
        let quota = Quota::with_period(pause).unwrap_or_else(|| Quota::per_second(rate.requests));
        let buckets =
            RateLimiter::new(quota.allow_burst(burst), Clients::default(), MonotonicClock);
        Self { name: name.into(), rate: Rate { burst, ..rate }, secret: rand::random(), buckets }
    }

    /// Counts a request of `client`, which has these fields; not if it is one too many.
    pub fn take(&self, client: IpAddr, fields: &HeaderMap) -> Result<Standing, TooOften> {
        self.ask(Ask { client: self.digest(client, fields), counts: Counts::Yes })
    }

    /// Whether a request of `client` would be one too many; it is not counted.
    pub fn look(&self, client: IpAddr, fields: &HeaderMap) -> Result<Standing, TooOften> {
        self.ask(Ask { client: self.digest(client, fields), counts: Counts::No })
    }

    fn ask(&self, ask: Ask) -> Result<Standing, TooOften> {
        match self.buckets.check_key(&ask) {
            Ok(state) => Ok(self.standing(state.remaining_burst_capacity())),
            Err(until) => Err(TooOften {
                wait: until.wait_time_from(self.buckets.clock().now()),
                standing: self.standing(0),
            }),
        }
    }

    fn standing(&self, left: u32) -> Standing {
        let quota = self.rate.burst.get();
        let gone = self.rate.pause().saturating_mul(quota.saturating_sub(left));
        Standing {
            name: self.name.clone(),
            quota,
            window: whole_seconds(self.rate.window()),
            left,
            full_in: whole_seconds(gone),
            fields: self.rate.fields,
        }
    }

    fn digest(&self, client: IpAddr, fields: &HeaderMap) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        let said = match &self.rate.by {
            By::Address => None,
            By::Field(name) => fields.contains_key(name).then(|| fields.get_all(name)),
        };
        match said {
            Some(lines) => {
                for line in lines {
                    hasher.update(&line.len().to_le_bytes()).update(line.as_bytes());
                }
            }
            None => match household(client) {
                IpAddr::V4(address) => drop(hasher.update(b"v4").update(&address.octets())),
                IpAddr::V6(address) => drop(hasher.update(b"v6").update(&address.octets())),
            },
        }
        let digest = hasher.finalize();
        digest.as_bytes().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Limiter")
            .field("name", &self.name)
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}

/// A part of a second counts as one.
pub fn whole_seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Ask {
    client: u64,
    counts: Counts,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Counts {
    Yes,
    No,
}

/// When each client's bucket will be full, in nanoseconds of the limiter; one that is not here has a full one.
#[derive(Default)]
struct Clients([Mutex<HashMap<u64, u64>>; PARTS]);

impl StateStore for Clients {
    type Key = Ask;

    fn measure_and_replace<T, F, E>(&self, ask: &Ask, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let part = usize::try_from(ask.client % PARTS as u64).unwrap_or_default();
        let mut part = self.0[part].lock();
        let before = part.get(&ask.client).copied();
        let (answer, full_at) = measure(before.map(Nanos::from))?;
        if ask.counts == Counts::Yes {
            let full_at = full_at.as_u64();
            if before.is_none() && part.len() >= CLIENTS / PARTS {
                make_room(&mut part, full_at);
            }
            part.insert(ask.client, full_at);
        }
        Ok(answer)
    }
}

/// Forgets whose buckets are full when a newcomer's is: they are as good as newcomers. Where that is not enough, the
/// quarter goes that has asked least: a flood of addresses may get a little more than its due, but takes no memory, and
/// those who ask most are not forgotten.
fn make_room(part: &mut HashMap<u64, u64>, full_at: u64) {
    part.retain(|_, other| *other > full_at);
    let bound = CLIENTS / PARTS;
    if part.len() > bound - bound / 4 {
        let mut all: Vec<u64> = part.values().copied().collect();
        let (_, least, _) = all.select_nth_unstable(bound / 4);
        let least = *least;
        part.retain(|_, other| *other > least);
    }
}

/// The limiters in use. Clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Rates(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    of_all: ArcSwapOption<Limiter>,
    known: Mutex<Vec<Weak<Limiter>>>,
}

impl Rates {
    /// The limiter of this name and rate; the one that is in use if there is one, with what it has counted.
    pub fn limiter(&self, name: &str, rate: &Rate) -> Arc<Limiter> {
        let mut known = self.0.known.lock();
        known.retain(|limiter| limiter.strong_count() > 0);
        let same = |limiter: &Arc<Limiter>| &*limiter.name == name && limiter.rate == *rate;
        let found = known.iter().filter_map(Weak::upgrade).find(same);
        found.unwrap_or_else(|| {
            let limiter = Arc::new(Limiter::new(name, rate.clone()));
            known.push(Arc::downgrade(&limiter));
            limiter
        })
    }

    /// From now on this holds for all requests.
    pub fn set(&self, rate: Option<&Rate>) {
        self.0.of_all.store(rate.map(|rate| self.limiter(OF_ALL, rate)));
    }

    /// What holds for all requests.
    pub fn of_all(&self) -> Option<Arc<Limiter>> {
        self.0.of_all.load_full()
    }

    pub fn is_on(&self) -> bool {
        self.0.of_all.load().is_some()
    }
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, HeaderValue};

    use super::*;

    fn rate(requests: u32, by: By) -> Rate {
        let requests = NonZeroU32::new(requests).unwrap();
        Rate { requests, per: Duration::from_hours(1), burst: requests, by, fields: Fields::Told }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn token(text: &str) -> HeaderMap {
        [(AUTHORIZATION, HeaderValue::from_str(text).unwrap())].into_iter().collect()
    }

    #[test]
    fn a_client_has_its_burst_and_then_waits_for_its_pause() {
        let limiter = Limiter::new("api", rate(2, By::Address));
        let none = HeaderMap::new();
        let first = limiter.take(address("192.0.2.1"), &none).unwrap();
        assert_eq!((first.quota, first.window, first.left, first.full_in), (2, 3600, 1, 1800));
        assert_eq!(limiter.take(address("192.0.2.1"), &none).unwrap().left, 0);
        let refused = limiter.take(address("192.0.2.1"), &none).unwrap_err();
        assert_eq!(whole_seconds(refused.wait), 1800);
        assert!(limiter.take(address("192.0.2.2"), &none).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_so_is_an_address_in_either_dress() {
        let limiter = Limiter::new("api", rate(1, By::Address));
        let none = HeaderMap::new();
        assert!(limiter.take(address("2001:db8::1"), &none).is_ok());
        assert!(limiter.take(address("2001:db8::2"), &none).is_err());
        assert!(limiter.take(address("2001:db8:0:1::1"), &none).is_ok());
        assert!(limiter.take(address("192.0.2.1"), &none).is_ok());
        assert!(limiter.take(address("::ffff:192.0.2.1"), &none).is_err());
    }

    #[test]
    fn a_token_is_a_client_wherever_it_is_used_and_nowhere_to_be_seen() {
        let limiter = Limiter::new("api", rate(1, By::Field(AUTHORIZATION)));
        assert!(limiter.take(address("192.0.2.1"), &token("Bearer hunter2")).is_ok());
        assert!(limiter.take(address("192.0.2.2"), &token("Bearer hunter2")).is_err());
        assert!(limiter.take(address("192.0.2.1"), &token("Bearer other")).is_ok());
        assert!(limiter.take(address("192.0.2.1"), &HeaderMap::new()).is_ok());
        assert!(limiter.take(address("192.0.2.1"), &HeaderMap::new()).is_err());
        assert!(!format!("{limiter:?}").contains("hunter2"));
    }

    #[test]
    fn who_looks_is_not_counted() {
        let limiter = Limiter::new("api", rate(1, By::Address));
        let (client, none) = (address("192.0.2.1"), HeaderMap::new());
        assert!(limiter.look(client, &none).is_ok() && limiter.look(client, &none).is_ok());
        assert!(limiter.take(client, &none).is_ok());
        assert!(limiter.look(client, &none).is_err());
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_memory_and_does_not_free_who_asks_much() {
        let limiter = Limiter::new("api", rate(10, By::Address));
        let (much, none) = (address("192.0.2.1"), HeaderMap::new());
        while limiter.take(much, &none).is_ok() {}
        let mut clients = Clients::default();
        for number in 0..200_000u32 {
            let client = IpAddr::from(number.to_be_bytes());
            assert!(limiter.take(client, &none).is_ok());
            let ask = Ask { client: limiter.digest(client, &none), counts: Counts::Yes };
            let measured: Result<(), ()> =
                clients.measure_and_replace(&ask, |_| Ok(((), Nanos::from(u64::from(!number)))));
            assert_eq!(measured, Ok(()));
        }
        let kept: usize = clients.0.iter_mut().map(|part| part.get_mut().len()).sum();
        assert!((CLIENTS / 2..=CLIENTS).contains(&kept), "{kept}");
        assert!(limiter.take(much, &none).is_err());
    }

    #[test]
    fn rates_that_cannot_be_are_made_ones_that_can() {
        for (requests, per, burst) in
            [(u32::MAX, 1, u32::MAX), (1, u64::MAX, u32::MAX), (1, 0, 1), (u32::MAX, 0, 1)]
        {
            let rate = Rate {
                requests: NonZeroU32::new(requests).unwrap(),
                per: Duration::from_nanos(per),
                burst: NonZeroU32::new(burst).unwrap(),
                by: By::Address,
                fields: Fields::Told,
            };
            let limiter = Limiter::new("api", rate);
            assert!(limiter.take(address("192.0.2.1"), &HeaderMap::new()).is_ok());
        }
    }

    #[test]
    fn a_limiter_stays_as_long_as_its_rate_does() {
        let rates = Rates::default();
        let before = rates.limiter("api", &rate(1, By::Address));
        let same = rates.limiter("api", &rate(1, By::Address));
        assert!(Arc::ptr_eq(&before, &same));
        assert!(!Arc::ptr_eq(&before, &rates.limiter("api", &rate(2, By::Address))));
        assert!(!Arc::ptr_eq(&before, &rates.limiter("web", &rate(1, By::Address))));
    }
}
