//! Which URLs gave answers that nobody else may have, so that their requests need not wait for each other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::key::Key;
use crate::time::Timestamp;

/// How long a URL is remembered.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(30);

/// How many URLs can be remembered at a time; each has one place, and takes it from whoever had it.
const PLACES: usize = 1 << 14;

/// A bounded memory that may forget: forgetting costs one shared wait, never a wrong answer.
///
/// Each place is one atomic word: 40 bits of the key, 24 bits of the second (modulo 194 days) until which it
/// counts. No locks, 128 KiB.
pub(crate) struct Unshared {
    places: Box<[AtomicU64]>,
}

const SECONDS: u64 = (1 << 24) - 1;

impl Unshared {
    pub(crate) fn new() -> Self {
        Self { places: (0..PLACES).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Remembers that `key` gave an answer for one request alone.
    pub(crate) fn remember(&self, key: Key, now: Timestamp) {
        let until = now.plus(REMEMBERED).as_seconds() & SECONDS;
        self.place(key).store(name(key) | until, Ordering::Relaxed);
    }

    /// Forgets `key`: it gave an answer that may be shared.
    pub(crate) fn forget(&self, key: Key) {
        let place = self.place(key);
        let known = place.load(Ordering::Relaxed);
        if known & !SECONDS == name(key) {
            place.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn knows(&self, key: Key, now: Timestamp) -> bool {
        let known = self.place(key).load(Ordering::Relaxed);
        if known & !SECONDS != name(key) {
            return false;
        }
        let left = (known & SECONDS).wrapping_sub(now.as_seconds() & SECONDS) & SECONDS;
        (1..=REMEMBERED.as_secs()).contains(&left)
    }

    fn place(&self, key: Key) -> &AtomicU64 {
        let index = usize::try_from(key.bits() % PLACES as u128).unwrap_or_default();
        &self.places[index]
    }
}

/// The upper bits of a key; never zero where a key is remembered, since an empty place is all zeroes.
fn name(key: Key) -> u64 {
    ((key.bits() >> 64) as u64 & !SECONDS) | (1 << 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_remembered_for_a_while_and_forgotten_when_asked() {
        let unshared = Unshared::new();
        let (key, other) = (Key::from_bits(7 << 100), Key::from_bits(9 << 100));
        let now = Timestamp::from_seconds(1_700_000_000);
        assert!(!unshared.knows(key, now));
        unshared.remember(key, now);
        assert!(unshared.knows(key, now) && !unshared.knows(other, now));
        assert!(unshared.knows(key, now.plus(REMEMBERED).minus(Duration::from_secs(1))));
        assert!(!unshared.knows(key, now.plus(REMEMBERED)));
        unshared.forget(other);
        assert!(unshared.knows(key, now));
        unshared.forget(key);
        assert!(!unshared.knows(key, now));
    }
}
