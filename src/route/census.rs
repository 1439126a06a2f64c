//! How many keys of one route are stored, and whether one more may be.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use parking_lot::Mutex;

use crate::key::Key;
use crate::time::Timestamp;

/// How long a key counts at most: a flood of keys that nobody asks for again does not keep new ones out for longer.
const LONGEST: Duration = Duration::from_hours(1);
/// Keys that count no more are looked for this often, however many new ones come.
const SWEEPS: Duration = Duration::from_secs(1);

/// The keys of a route that this instance has had stored.
///
/// A key counts from when it is stored until its entry is of no use any more, an hour at most. What memory or a purge takes
/// before is counted on, so that the count errs to the side of fewer keys. Costs a lock for each answer that is to be
/// stored, and 64 bytes for each key.
#[derive(Debug)]
pub struct Census {
    most: NonZeroUsize,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    /// Until when each counts.
    keys: HashMap<Key, Timestamp>,
    swept: Option<Timestamp>,
}

impl Census {
    pub fn new(most: NonZeroUsize) -> Self {
        Self { most, counted: Mutex::default() }
    }

    /// Counts a key whose entry is of use until `last_use`; false where there are too many already.
    pub fn counts(&self, key: Key, last_use: Timestamp, now: Timestamp) -> bool {
        let until = last_use.min(now.plus(LONGEST));
        let mut counted = self.counted.lock();
        if let Some(known) = counted.keys.get_mut(&key) {
            *known = until;
            return true;
        }
        if counted.keys.len() >= self.most.get() {
            if counted.swept.is_some_and(|swept| now.since(swept) < SWEEPS) {
                return false;
            }
            counted.swept = Some(now);
            counted.keys.retain(|_, until| *until > now);
            if counted.keys.len() >= self.most.get() {
                return false;
            }
        }
        counted.keys.insert(key, until);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_counts_as_long_as_its_entry_is_of_use_and_an_hour_at_most() {
        let census = Census::new(NonZeroUsize::new(2).unwrap());
        let at = Timestamp::from_seconds;
        assert!(census.counts(Key::from_bits(0), at(10), at(1)));
        assert!(census.counts(Key::from_bits(1), at(1_000_000), at(1)));
        assert!(!census.counts(Key::from_bits(2), at(100), at(2)), "there is room for two");
        assert!(census.counts(Key::from_bits(0), at(10), at(3)), "it is known");
        assert!(census.counts(Key::from_bits(2), at(100_000), at(11)), "one is of no use any more");
        assert!(!census.counts(Key::from_bits(3), at(100), at(12)));
        assert!(census.counts(Key::from_bits(3), at(100_000), at(4000)), "an hour is over");
    }
}
