//! A circuit breaker: after several failures in a row nothing is tried for a while, then one probe decides.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When a breaker opens and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Failures in a row that open it; at least one.
    pub failures: u32,
    /// How long it stays open before one probe is let through, unless somebody finds out earlier that it may be.
    pub open_for: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { failures: 5, open_for: Duration::from_secs(30) }
    }
}

/// A circuit breaker. The clock is an argument of every question, so it can be tested without waiting.
///
/// While closed, `admit` is one relaxed load and `succeeded` another. It may be shared by any number of threads.
///
/// ```text
/// closed --(`failures` in a row)--> open --(`open_for` later)--> half open: one probe
///    ^                               ^                                |       |
///    |                               +-----------(it failed)----------+       |
///    +----------------------(it succeeded)------------------------------------+
/// ```
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    /// The origin of the microseconds below.
    born: Instant,
    /// Failures in a row while closed.
    failures: AtomicU32,
    /// Zero while closed, else when a probe may be made.
    open_until: AtomicU64,
    /// Zero while nobody probes, else when the probe counts as lost; it also tells one probe from another.
    probe_until: AtomicU64,
}

/// What a breaker is doing, for metrics and explanations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything passes.
    Closed,
    /// Nothing passes.
    Open,
    /// One probe passes, or is on its way.
    HalfOpen,
}

/// The answer of an open breaker: do not try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// When asking again may help.
    pub retry_after: Duration,
}

/// Leave to try once.
///
/// Tell it how the attempt ended. Dropped untold, the attempt counts neither way, and the place of a
/// probe is free at once, so an attempt that is cancelled cannot wedge the breaker.
#[derive(Debug)]
#[must_use = "an attempt whose end is not told counts neither way"]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ordinary,
    /// With the value that it put into `probe_until`.
    Probe(u64),
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            born: Instant::now(),
            failures: AtomicU32::new(0),
            open_until: AtomicU64::new(0),
            probe_until: AtomicU64::new(0),
        }
    }

    /// What it was made with.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// May an attempt begin now?
    pub fn admit(&self, now: Instant) -> Result<Permit<'_>, Open> {
        let open_until = self.open_until.load(Ordering::Acquire);
        if open_until == 0 {
            return Ok(Permit { breaker: self, kind: Kind::Ordinary });
        }
        let now = self.micros(now);
        if now < open_until {
            return Err(Open { retry_after: Duration::from_micros(open_until - now) });
        }
        self.admit_probe(now)
    }

    /// Leave to try before the time is over, for who tries in the background, so that no request has to. None
    /// while it is closed, or another probe is on its way.
    pub fn probe(&self, now: Instant) -> Option<Permit<'_>> {
        match self.state(now) {
            State::Closed => None,
            State::Open | State::HalfOpen => self.admit_probe(self.micros(now)).ok(),
        }
    }

    /// Ends the time of an open breaker: the next attempt is its probe.
    pub fn let_probe(&self, now: Instant) {
        let now = self.micros(now);
        let _ = self.open_until.fetch_update(Ordering::AcqRel, Ordering::Acquire, |until| {
            // One that has been closed meanwhile stays so.
            (until > now).then_some(now)
        });
    }

    /// What it would say now.
    pub fn state(&self, now: Instant) -> State {
        match self.open_until.load(Ordering::Acquire) {
            0 => State::Closed,
            until if self.micros(now) < until => State::Open,
            _ => State::HalfOpen,
        }
    }

    /// One probe at a time. One that is neither told nor dropped for `open_for` counts as lost.
    fn admit_probe(&self, now: u64) -> Result<Permit<'_>, Open> {
        let busy_until = self.probe_until.load(Ordering::Acquire);
        if now < busy_until {
            return Err(Open { retry_after: Duration::from_micros(busy_until - now) });
        }
        let mine = now + self.open_for();
        match self.probe_until.compare_exchange(
            busy_until,
            mine,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => Ok(Permit { breaker: self, kind: Kind::Probe(mine) }),
            Err(theirs) => {
                Err(Open { retry_after: Duration::from_micros(theirs.saturating_sub(now)) })
            }
        }
    }

    fn open(&self, now: Instant) {
        self.failures.store(0, Ordering::Relaxed);
        self.open_until.store(self.micros(now) + self.open_for(), Ordering::Release);
    }

    /// Never zero, because zero means closed.
    fn micros(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.born);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX / 2) + 1
    }

    fn open_for(&self) -> u64 {
        u64::try_from(self.settings.open_for.as_micros()).unwrap_or(u64::MAX / 4).max(1)
    }
}

impl Permit<'_> {
    /// The attempt did what it should. A probe closes the breaker.
    pub fn succeeded(self) {
        match self.kind {
            Kind::Ordinary => {
                if self.breaker.failures.load(Ordering::Relaxed) != 0 {
                    self.breaker.failures.store(0, Ordering::Relaxed);
                }
            }
            Kind::Probe(_) => {
                self.breaker.failures.store(0, Ordering::Relaxed);
                self.breaker.open_until.store(0, Ordering::Release);
            }
        }
    }

    /// The attempt failed. The last of several in a row, or a probe, opens the breaker.
    pub fn failed(self, now: Instant) {
        match self.kind {
            Kind::Ordinary => {
                // What began before the breaker opened says nothing new when it fails after.
                if self.breaker.open_until.load(Ordering::Acquire) != 0 {
                    return;
                }
                let failures = self.breaker.failures.fetch_add(1, Ordering::Relaxed) + 1;
                if failures >= self.breaker.settings.failures {
                    self.breaker.open(now);
                }
            }
            Kind::Probe(_) => self.breaker.open(now),
        }
    }

    /// Whether the breaker's next state hangs on this attempt.
    pub fn is_probe(&self) -> bool {
        matches!(self.kind, Kind::Probe(_))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Kind::Probe(mine) = self.kind {
            // A probe that was lost and replaced must not free its successor's place.
            let _ = self.breaker.probe_until.compare_exchange(
                mine,
                0,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(30);

    fn breaker() -> (Breaker, Instant) {
        let breaker = Breaker::new(Settings { failures: 3, open_for: OPEN_FOR });
        let now = breaker.born;
        (breaker, now)
    }

    fn trip(breaker: &Breaker, now: Instant) {
        for _ in 0..3 {
            breaker.admit(now).unwrap().failed(now);
        }
    }

    #[test]
    fn it_opens_at_the_last_of_the_failures_in_a_row() {
        let (breaker, now) = breaker();
        for _ in 0..2 {
            breaker.admit(now).unwrap().failed(now);
        }
        assert_eq!(breaker.state(now), State::Closed);
        breaker.admit(now).unwrap().failed(now);
        assert_eq!(breaker.state(now), State::Open);
        assert_eq!(breaker.admit(now).unwrap_err().retry_after, OPEN_FOR);
    }

    #[test]
    fn a_success_between_failures_begins_the_count_anew() {
        let (breaker, now) = breaker();
        for _ in 0..10 {
            breaker.admit(now).unwrap().failed(now);
            breaker.admit(now).unwrap().failed(now);
            breaker.admit(now).unwrap().succeeded();
        }
        assert_eq!(breaker.state(now), State::Closed);
    }

    #[test]
    fn one_probe_passes_when_the_time_is_over_and_its_success_closes() {
        let (breaker, now) = breaker();
        trip(&breaker, now);
        let later = now + OPEN_FOR;
        assert_eq!(breaker.state(later), State::HalfOpen);
        let probe = breaker.admit(later).unwrap();
        assert!(probe.is_probe());
        assert!(breaker.admit(later).is_err(), "a second probe passed beside the first");
        probe.succeeded();
        assert_eq!(breaker.state(later), State::Closed);
        assert!(!breaker.admit(later).unwrap().is_probe());
    }

    #[test]
    fn a_probe_that_fails_opens_it_for_the_whole_time_again() {
        let (breaker, now) = breaker();
        trip(&breaker, now);
        let later = now + OPEN_FOR;
        breaker.admit(later).unwrap().failed(later);
        assert!(breaker.admit(later + OPEN_FOR / 2).is_err());
        assert!(breaker.admit(later + OPEN_FOR).unwrap().is_probe());
    }

    #[test]
    fn a_probe_in_the_background_decides_before_the_time_is_over() {
        let (breaker, now) = breaker();
        assert!(breaker.probe(now).is_none(), "a closed breaker needs no probe");
        trip(&breaker, now);
        let probe = breaker.probe(now).unwrap();
        assert!(breaker.probe(now).is_none(), "a second probe passed beside the first");
        probe.failed(now + OPEN_FOR / 2);
        assert!(breaker.admit(now + OPEN_FOR).is_err(), "it opens again for the whole time");
        breaker.probe(now).unwrap().succeeded();
        assert_eq!(breaker.state(now), State::Closed);
    }

    #[test]
    fn its_time_can_be_ended_and_the_next_attempt_is_the_probe() {
        let (breaker, now) = breaker();
        breaker.let_probe(now);
        assert_eq!(breaker.state(now), State::Closed);
        trip(&breaker, now);
        breaker.let_probe(now);
        assert_eq!(breaker.state(now), State::HalfOpen);
        let probe = breaker.admit(now).unwrap();
        assert!(probe.is_probe());
        assert!(breaker.admit(now).is_err());
        probe.failed(now);
        assert_eq!(breaker.admit(now).unwrap_err().retry_after, OPEN_FOR);
    }

    #[test]
    fn a_probe_that_is_dropped_frees_its_place_at_once() {
        let (breaker, now) = breaker();
        trip(&breaker, now);
        let later = now + OPEN_FOR;
        drop(breaker.admit(later).unwrap());
        assert!(breaker.admit(later).unwrap().is_probe());
    }

    #[test]
    fn a_probe_that_is_never_heard_of_again_is_replaced_and_harms_nobody_when_it_returns() {
        let (breaker, now) = breaker();
        trip(&breaker, now);
        let later = now + OPEN_FOR;
        let lost = breaker.admit(later).unwrap();
        let much_later = later + OPEN_FOR;
        let second = breaker.admit(much_later).unwrap();
        drop(lost);
        assert!(breaker.admit(much_later).is_err(), "the lost probe freed the place of the second");
        drop(second);
    }

    #[test]
    fn a_failure_of_an_attempt_from_before_does_not_keep_it_open_longer() {
        let (breaker, now) = breaker();
        let old = breaker.admit(now).unwrap();
        trip(&breaker, now);
        old.failed(now + OPEN_FOR / 2);
        assert!(breaker.admit(now + OPEN_FOR).is_ok());
    }

    #[test]
    fn many_threads_at_once_get_one_probe_between_them() {
        let (breaker, now) = breaker();
        trip(&breaker, now);
        let later = now + OPEN_FOR;
        let admitted = AtomicU32::new(0);
        let all_asked = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let permit = breaker.admit(later);
                    if permit.is_ok() {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                    all_asked.wait();
                });
            }
        });
        assert_eq!(admitted.load(Ordering::Relaxed), 1);
    }
}
