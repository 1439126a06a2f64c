//! The room for bodies in the air: one bound for all of them, and what each takes given back by its drop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// What all bodies on their way through this process may hold together, in bytes. Cloning shares it.
///
/// To take and to give back are one atomic operation each; nobody waits for room.
#[derive(Clone, Debug)]
pub struct Air(Arc<Account>);

#[derive(Debug)]
struct Account {
    bound: u64,
    held: AtomicU64,
    refusals: AtomicU64,
}

/// What one body may hold. Dropped, it gives its room back.
#[derive(Debug)]
pub struct Share {
    air: Air,
    bytes: u64,
}

/// There is not so much room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl Air {
    pub fn bounded(bound: u64) -> Self {
        Self(Arc::new(Account { bound, held: AtomicU64::new(0), refusals: AtomicU64::new(0) }))
    }

    /// A share of so many bytes.
    pub fn take(&self, bytes: u64) -> Result<Share, NoRoom> {
        self.take_below(self.0.bound, bytes)
    }

    /// A share that leaves half of the room to others: for what strangers send, so that they alone cannot fill it.
    pub fn take_of_half(&self, bytes: u64) -> Result<Share, NoRoom> {
        self.take_below(self.0.bound / 2, bytes)
    }

    /// How many bytes are held now.
    pub fn held(&self) -> u64 {
        self.0.held.load(Ordering::Relaxed)
    }

    /// How often there was no room.
    pub fn refusals(&self) -> u64 {
        self.0.refusals.load(Ordering::Relaxed)
    }

    fn take_below(&self, bound: u64, bytes: u64) -> Result<Share, NoRoom> {
        self.add(bound, bytes)?;
        Ok(Share { air: self.clone(), bytes })
    }

    fn add(&self, bound: u64, bytes: u64) -> Result<(), NoRoom> {
        let Account { held, refusals, .. } = &*self.0;
        let sum = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= bound);
        let added = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum);
        added.map(|_| ()).map_err(|_| {
            refusals.fetch_add(1, Ordering::Relaxed);
            NoRoom
        })
    }

    fn give_back(&self, bytes: u64) {
        self.0.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Share {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Grows to `bytes`, if there is room for what is missing; otherwise it stays as it is.
    pub fn grow_to(&mut self, bytes: u64) -> Result<(), NoRoom> {
        let missing = bytes.saturating_sub(self.bytes);
        if missing > 0 {
            self.air.add(self.air.0.bound, missing)?;
            self.bytes = bytes;
        }
        Ok(())
    }

    /// Gives back what is beyond `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        let spare = self.bytes.saturating_sub(bytes);
        if spare > 0 {
            self.bytes = bytes;
            self.air.give_back(spare);
        }
    }

    /// The same bytes, which hold this share for as long as anybody has them. Allocates once.
    pub fn around(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Counted { bytes, _share: self })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.air.give_back(self.bytes);
    }
}

/// Bytes and their share, which end together.
struct Counted {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_given_back_and_never_more_than_there_is() {
        let air = Air::bounded(10);
        let mut one = air.take(4).unwrap();
        assert_eq!(one.grow_to(11), Err(NoRoom));
        let other = air.take(6).unwrap();
        assert_eq!((air.held(), one.grow_to(5)), (10, Err(NoRoom)));
        drop(other);
        one.grow_to(10).unwrap();
        one.grow_to(3).unwrap();
        assert_eq!((air.held(), air.take(1).is_err()), (10, true));
        one.shrink_to(3);
        one.shrink_to(7);
        assert_eq!(air.held(), 3);
        drop(one);
        assert_eq!((air.held(), air.refusals()), (0, 3));
    }

    #[test]
    fn what_strangers_send_takes_half_of_it_at_most() {
        let air = Air::bounded(10);
        let half = air.take_of_half(5).unwrap();
        assert!(air.take_of_half(1).is_err());
        let rest = air.take(5).unwrap();
        drop((half, rest));
        assert_eq!(air.held(), 0);
    }

    #[test]
    fn a_share_lives_as_long_as_any_of_its_bytes() {
        let air = Air::bounded(10);
        let whole = air.take(5).unwrap().around(Bytes::from_static(b"hello"));
        let part = whole.slice(1..2);
        drop(whole);
        assert_eq!((&part[..], air.held()), (&b"e"[..], 5));
        drop(part);
        assert_eq!(air.held(), 0);
    }

    #[test]
    fn threads_that_take_and_give_back_at_once_leave_nothing_behind() {
        let air = Air::bounded(64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for bytes in 0..10_000 {
                        let Ok(mut share) = air.take(bytes % 40) else { continue };
                        let _ = share.grow_to(bytes % 60);
                        assert!(air.held() <= 64);
                    }
                });
            }
        });
        assert_eq!(air.held(), 0);
    }
}
