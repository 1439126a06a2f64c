//! With whom a stored response may be shared, as far as the tripwire knows.

use std::sync::atomic::{AtomicU64, Ordering};

/// For whom something was asked, as far as fields tell that are not in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The request bore nothing personal.
    Nobody,
    /// A digest of what it bore; nothing can be read from it, and it is never stored outside this process.
    Somebody(u64),
}

/// Who may be answered with one copy of an entry. One atomic word; asking costs one relaxed load.
#[derive(Debug, Default)]
pub struct Sharing(AtomicU64);

/// It came from elsewhere, and nobody knows for whom it was fetched.
const UNKNOWN: u64 = 0;
const EVERYBODY: u64 = 1;
const NOBODY: u64 = 2;
/// It was drawn: nobody else is answered with it before a comparison.
const WATCHED: u64 = 1 << 63;

impl Asker {
    fn code(self) -> u64 {
        match self {
            Self::Nobody => NOBODY,
            // Not one of the words above.
            Self::Somebody(digest) => digest & !WATCHED | 4,
        }
    }
}

impl Sharing {
    /// For whoever it was fetched, and nobody else so far.
    pub fn with(asker: Asker) -> Self {
        Self(AtomicU64::new(asker.code()))
    }

    pub fn is_with_everybody(&self) -> bool {
        self.load() == EVERYBODY
    }

    /// Whether it was fetched for this very asker.
    pub fn is_with(&self, asker: Asker) -> bool {
        self.load() & !WATCHED == asker.code()
    }

    pub fn is_unknown(&self) -> bool {
        self.load() & !WATCHED == UNKNOWN
    }

    pub fn is_watched(&self) -> bool {
        self.load() & WATCHED != 0
    }

    /// From now on nobody else is answered with it before a comparison.
    pub fn watch(&self) {
        self.0.fetch_or(WATCHED, Ordering::Relaxed);
    }

    pub fn open(&self) {
        self.0.store(EVERYBODY, Ordering::Relaxed);
    }

    /// It turned out to be what this asker gets too; who else does is not known.
    pub fn confirm(&self, asker: Asker) {
        self.0.store(asker.code() | WATCHED, Ordering::Relaxed);
    }

    fn load(&self) -> u64 {
        // Nothing else is read by what is seen here.
        self.0.load(Ordering::Relaxed)
    }
}

impl Clone for Sharing {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.load()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_with_whom_it_was_fetched_for_until_it_is_opened() {
        let (ann, bob) = (Asker::Somebody(0), Asker::Somebody(u64::MAX));
        for one in [Asker::Nobody, ann, bob] {
            let sharing = Sharing::with(one);
            for other in [Asker::Nobody, ann, bob] {
                assert_eq!(sharing.is_with(other), one == other, "{one:?} {other:?}");
            }
            sharing.watch();
            assert!(sharing.is_with(one) && sharing.is_watched() && !sharing.is_with_everybody());
            sharing.open();
            assert!(sharing.is_with_everybody() && !sharing.is_watched());
        }
        let unknown = Sharing::default();
        assert!(unknown.is_unknown() && !unknown.is_with(Asker::Nobody));
        unknown.confirm(ann);
        assert!(unknown.is_with(ann) && unknown.is_watched() && !unknown.is_unknown());
    }
}
