//! Texts that many entries have alike, kept once for each thread that stores.

use std::cell::RefCell;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

/// A text that entries share. One pointer, since each entry has one.
pub(super) type Shared = Arc<Box<[u8]>>;

/// Longer texts are not shared: what is kept for the next who comes is bounded.
const LONGEST: usize = 1024;
/// How many sets of texts are kept; a text has one, by its hash.
const SETS: usize = 64;
const WAYS: usize = 4;
/// How many hashes are remembered of texts that came once.
const SEEN: usize = 1024;

thread_local! {
    /// No two threads wait for each other here, and nothing that is decided depends on it: only where bytes lie.
    static ALIKE: RefCell<Alike> = RefCell::new(Alike::new());
}

struct Alike {
    kept: Box<[[Option<Shared>; WAYS]]>,
    seen: Box<[u64]>,
}

/// The one copy of `text`, where it came before: a text that never comes again costs no copy beside that of its entry.
/// Takes 8 KiB for each thread, and at most 256 KiB of texts.
pub(super) fn shared(text: &[u8]) -> Option<Shared> {
    if text.is_empty() || text.len() > LONGEST {
        return None;
    }
    ALIKE.with_borrow_mut(|alike| alike.share(text))
}

impl Alike {
    fn new() -> Self {
        let kept = (0..SETS).map(|_| [const { None }; WAYS]).collect();
        Self { kept, seen: vec![0; SEEN].into() }
    }

    fn share(&mut self, text: &[u8]) -> Option<Shared> {
        let hash = xxh3_64(text);
        let set = &mut self.kept[place(hash, SETS)];
        if let Some(found) = set.iter().flatten().find(|kept| ****kept == *text) {
            return Some(found.clone());
        }
        let seen = &mut self.seen[place(hash.rotate_left(16), SEEN)];
        if *seen != hash {
            *seen = hash;
            return None;
        }
        let new: Shared = Arc::new(text.into());
        let way = set.iter().position(Option::is_none).unwrap_or(place(hash.rotate_left(32), WAYS));
        set[way] = Some(new.clone());
        Some(new)
    }
}

fn place(hash: u64, of: usize) -> usize {
    usize::try_from(hash % of as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_is_kept_once() {
        let mut alike = Alike::new();
        assert!(alike.share(b"a").is_none());
        let (second, third) = (alike.share(b"a").unwrap(), alike.share(b"a").unwrap());
        assert!(Arc::ptr_eq(&second, &third));
        assert_eq!(&**third, b"a");
    }

    #[test]
    fn a_flood_of_texts_is_bounded_and_does_not_mix_them_up() {
        let mut alike = Alike::new();
        for number in 0..10_000_u32 {
            let text = number.to_string();
            assert!(alike.share(text.as_bytes()).is_none_or(|found| **found == *text.as_bytes()));
            let again = alike.share(text.as_bytes());
            assert_eq!(again.as_ref().map(|found| &***found), Some(text.as_bytes()));
        }
        assert_eq!(alike.kept.iter().flatten().flatten().count(), SETS * WAYS);
        assert!(shared(&[b'a'; LONGEST + 1]).is_none());
    }
}
