//! The share of a route's keys that is cached at all: the same keys on every instance and after every restart.

use crate::key::Key;

/// Which keys are rolled out. A greater share only adds keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// Of the keys' places, those below this one.
    below: u64,
}

/// How many places there are.
const PLACES: u64 = 1 << 32;

impl Rollout {
    /// Every key.
    pub const ALL: Self = Self { below: PLACES };

    /// This part of all keys, from 0 to 1.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a part from 0 to 1 of 2^32 places is a whole number of them, rounded"
    )]
    pub fn of(part: f64) -> Self {
        Self { below: (part.clamp(0.0, 1.0) * PLACES as f64).round() as u64 }
    }

    /// Whether no key is left out.
    pub const fn is_whole(self) -> bool {
        self.below == PLACES
    }

    /// Whether the key is one of those that are cached. A key is a digest: its bits are as good as any hash of them.
    pub const fn takes(self, key: Key) -> bool {
        // Memory shards by the low half and stripes by the highest bits: a share of these would crowd some of them.
        let place = (key.bits() >> 64) as u64 & (PLACES - 1);
        place < self.below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> impl Iterator<Item = Key> {
        (0_u64..10_000).map(|number| {
            let digest = blake3::hash(&number.to_le_bytes());
            Key::from_bits(u128::from_be_bytes(digest.as_bytes()[..16].try_into().unwrap()))
        })
    }

    #[test]
    fn a_share_takes_that_part_of_all_keys_and_a_greater_one_only_adds_to_them() {
        let mut before = Rollout::of(0.0);
        assert_eq!(keys().filter(|key| before.takes(*key)).count(), 0);
        for percent in [1_u32, 5, 10, 25, 50, 75, 99, 100] {
            let now = Rollout::of(f64::from(percent) / 100.0);
            let taken = keys().filter(|key| now.takes(*key)).count();
            let wanted = percent as usize * 100;
            assert!(taken.abs_diff(wanted) < 200, "{taken} at {percent} %");
            assert!(keys().all(|key| now.takes(key) || !before.takes(key)), "{percent} %");
            before = now;
        }
        assert_eq!((before, before.is_whole()), (Rollout::ALL, true));
    }

    /// What one version takes the next one has to take, or a rollout begins anew with every release.
    #[test]
    fn the_same_keys_are_taken_by_every_version() {
        let half = Rollout::of(0.5);
        let at = |place: u128| half.takes(Key::from_bits(place << 64));
        assert_eq!([0, (1 << 31) - 1, 1 << 31, (1 << 32) - 1].map(at), [true, true, false, false]);
        assert!(at(1 << 32), "bits above do not count");
    }
}
