//! An entry's numbers: how old it is, how long it is fresh, and for how long it is of use afterwards.

use std::time::Duration;

use crate::time::Timestamp;

/// How long what is known to be outdated is kept at least: long enough that a store takes it in the place of what
/// it outdates.
pub const SHORTLY: Duration = Duration::from_secs(1);

/// The freshness of a stored response, computed once when it is stored and asked on every hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// When the response's head arrived (RFC 9111 §4.2.3, `response_time`).
    pub received: Timestamp,
    /// `corrected_initial_age` of RFC 9111 §4.2.3.
    pub initial_age: Duration,
    /// `freshness_lifetime` of RFC 9111 §4.2.1, as the route let it be.
    pub lifetime: Duration,
    /// How long after that it may be served while a refresh runs (RFC 5861 §3).
    pub stale_while_revalidate: Duration,
    /// How long after that it may be served when the origin fails (RFC 5861 §4).
    pub stale_if_error: Duration,
    /// How long after all that it is still worth keeping, because it can be validated.
    pub keep: Duration,
    /// How long the origin took to answer, for early refreshes and bounded waiting.
    pub fetch_time: Duration,
    pub use_without_asking: UseWithoutAsking,
}

/// A freshness as an entry keeps it: 33 bytes instead of 112, and none for alignment. What is told and measured has no
/// parts finer than a millisecond.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    /// Milliseconds since the epoch.
    received: [u8; 8],
    initial_age: Short,
    lifetime: Short,
    stale_while_revalidate: Short,
    stale_if_error: Short,
    keep: Short,
    fetch_time: Short,
    use_without_asking: UseWithoutAsking,
}

/// A span of at most 68 years: in milliseconds below 24 days, in seconds from there on, which the highest bit tells.
#[derive(Clone, Copy, Debug)]
struct Short([u8; 4]);

impl Short {
    const IN_SECONDS: u32 = 1 << 31;

    /// Rounded down.
    fn of(span: Duration) -> Self {
        let number = match u32::try_from(span.as_millis()) {
            Ok(millis) if millis < Self::IN_SECONDS => millis,
            _ => {
                let seconds = u32::try_from(span.as_secs()).unwrap_or(u32::MAX);
                Self::IN_SECONDS | seconds.min(Self::IN_SECONDS - 1)
            }
        };
        Self(number.to_le_bytes())
    }

    fn span(self) -> Duration {
        let number = u32::from_le_bytes(self.0);
        match number & Self::IN_SECONDS {
            0 => Duration::from_millis(number.into()),
            _ => Duration::from_secs((number & !Self::IN_SECONDS).into()),
        }
    }
}

impl Packed {
    pub(super) fn of(freshness: &Freshness) -> Self {
        Self {
            received: freshness.received.as_millis().to_le_bytes(),
            initial_age: Short::of(freshness.initial_age),
            lifetime: Short::of(freshness.lifetime),
            stale_while_revalidate: Short::of(freshness.stale_while_revalidate),
            stale_if_error: Short::of(freshness.stale_if_error),
            keep: Short::of(freshness.keep),
            fetch_time: Short::of(freshness.fetch_time),
            use_without_asking: freshness.use_without_asking,
        }
    }

    pub(super) fn open(&self) -> Freshness {
        Freshness {
            received: Timestamp::from_millis(u64::from_le_bytes(self.received)),
            initial_age: self.initial_age.span(),
            lifetime: self.lifetime.span(),
            stale_while_revalidate: self.stale_while_revalidate.span(),
            stale_if_error: self.stale_if_error.span(),
            keep: self.keep.span(),
            fetch_time: self.fetch_time.span(),
            use_without_asking: self.use_without_asking,
        }
    }
}

/// What the response's own directives say about using it without asking the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseWithoutAsking {
    /// While fresh, and stale as far as the windows and the client allow.
    Allowed,
    /// While fresh only: `must-revalidate`, `proxy-revalidate`, `s-maxage` (RFC 9111 §5.2.2.2, .8, .10).
    OnlyFresh,
    /// Never: `no-cache` (RFC 9111 §5.2.2.4).
    Never,
}

impl Freshness {
    /// `current_age` of RFC 9111 §4.2.3.
    pub fn age(&self, now: Timestamp) -> Duration {
        self.initial_age + now.since(self.received)
    }

    /// How long it stays fresh from `now`; zero when it is stale.
    pub fn remaining(&self, now: Timestamp) -> Duration {
        self.lifetime.saturating_sub(self.age(now))
    }

    pub fn is_fresh(&self, now: Timestamp) -> bool {
        // RFC 9111 §4.2: "response_is_fresh = (freshness_lifetime > current_age)".
        self.lifetime > self.age(now)
    }

    /// Whether it answers nobody without the origin's word, and is about to be dropped.
    pub fn is_spent(&self, now: Timestamp) -> bool {
        let window = self.stale_while_revalidate.max(self.stale_if_error);
        self.use_without_asking == UseWithoutAsking::Never
            && !self.is_fresh(now)
            && window.is_zero()
            && self.last_use() <= now.plus(SHORTLY)
    }

    /// How many seconds it stays fresh, negative when it is stale, as `Cache-Status` counts them: whole seconds of life
    /// less whole seconds of age.
    pub fn ttl(&self, now: Timestamp) -> i64 {
        let signed = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        signed(self.lifetime).saturating_sub(signed(self.age(now)))
    }

    /// How long it has been stale.
    pub fn staleness(&self, now: Timestamp) -> Duration {
        self.age(now).saturating_sub(self.lifetime)
    }

    /// The same, but fresh for no longer than `cap` since the response arrived. Nothing is extended.
    #[must_use]
    pub fn capped(&self, cap: Option<Duration>) -> Self {
        let Some(cap) = cap else { return *self };
        Self { lifetime: self.lifetime.min(self.initial_age + cap), ..*self }
    }

    /// The last moment at which it could be of any use; every store forgets it after that.
    pub fn last_use(&self) -> Timestamp {
        let stale = self.stale_while_revalidate.max(self.stale_if_error).max(self.keep);
        self.received.plus((self.lifetime + stale).saturating_sub(self.initial_age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn spans_are_kept_to_the_millisecond_below_24_days_and_to_the_second_beyond() {
        let days = |days: u64| Duration::from_hours(24 * days);
        let rows = [
            (Duration::ZERO, Duration::ZERO),
            (millis(1), millis(1)),
            (days(24) + millis(999), days(24) + millis(999)),
            (days(365) + millis(999), days(365)),
            (Duration::from_secs((1 << 31) - 1), Duration::from_secs((1 << 31) - 1)),
            (Duration::MAX, Duration::from_secs((1 << 31) - 1)),
        ];
        for (span, kept) in rows {
            assert_eq!(Short::of(span).span(), kept, "{span:?}");
        }
    }

    fn sample() -> Freshness {
        Freshness {
            received: Timestamp::from_millis(100_000),
            initial_age: millis(500),
            lifetime: millis(2000),
            stale_while_revalidate: millis(300),
            stale_if_error: millis(700),
            keep: millis(400),
            fetch_time: millis(50),
            use_without_asking: UseWithoutAsking::Allowed,
        }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(100_000 + millis)
    }

    /// RFC 9111 §4.2.3: "`resident_time = now - response_time`; `current_age = corrected_initial_age + resident_time`".
    #[test]
    fn age_goes_on_from_the_initial_age_in_milliseconds() {
        let freshness = sample();
        assert_eq!(freshness.age(at(0)), millis(500));
        assert_eq!(freshness.age(at(1)), millis(501));
        // A clock that was set back makes nothing younger than it arrived.
        assert_eq!(freshness.age(Timestamp::from_millis(0)), millis(500));
    }

    /// RFC 9111 §4.2: "`response_is_fresh = (freshness_lifetime > current_age)`".
    #[test]
    fn it_is_fresh_until_its_age_reaches_its_lifetime() {
        let freshness = sample();
        assert!(freshness.is_fresh(at(1499)) && !freshness.is_fresh(at(1500)));
        assert_eq!(freshness.remaining(at(1400)), millis(100));
        assert_eq!(freshness.remaining(at(1600)), Duration::ZERO);
        assert_eq!(freshness.staleness(at(1400)), Duration::ZERO);
        assert_eq!(freshness.staleness(at(1600)), millis(100));
    }

    #[test]
    fn its_last_use_is_the_end_of_the_longest_window() {
        let mut freshness = sample();
        assert_eq!(freshness.last_use(), at(1500 + 700));
        freshness.keep = millis(900);
        assert_eq!(freshness.last_use(), at(1500 + 900));
        freshness.stale_while_revalidate = millis(1000);
        assert_eq!(freshness.last_use(), at(1500 + 1000));
    }

    #[test]
    fn a_cap_counts_from_the_arrival_and_extends_nothing() {
        let freshness = sample();
        assert_eq!(freshness.capped(None), freshness);
        assert_eq!(freshness.capped(Some(millis(1500))), freshness);
        assert_eq!(freshness.capped(Some(millis(99_999))), freshness);
        let capped = freshness.capped(Some(millis(200)));
        assert!(capped.is_fresh(at(199)) && !capped.is_fresh(at(200)));
        assert_eq!((capped.age(at(200)), capped.staleness(at(300))), (millis(700), millis(100)));
        assert_eq!(capped.last_use(), at(200 + 700));
        let old = Freshness { initial_age: millis(5000), ..freshness };
        assert_eq!(old.capped(Some(millis(10))), old);
    }

    #[test]
    fn what_arrived_older_than_all_its_windows_is_of_no_use_from_the_start() {
        let freshness = Freshness { initial_age: millis(99_999), ..sample() };
        assert_eq!(freshness.last_use(), at(0));
    }
}
