//! Every variant stored for one URL, capped.

use std::slice;
use std::sync::Arc;

use crate::entry::Entry;
use crate::entry::partial::displaces;
use crate::key::vary::Selector;
use crate::time::Timestamp;

/// The variants of one URL, the newest first. Immutable: a change makes a new slot. Cloning shares the entries; one
/// variant, which is what nearly all URLs have, costs no memory of its own.
#[derive(Clone, Debug, Default)]
pub struct Slot(Variants);

#[derive(Clone, Debug, Default)]
enum Variants {
    #[default]
    None,
    One(Arc<Entry>),
    /// Behind one thin pointer, so that a slot is not larger for it.
    Several(Arc<Vec<Arc<Entry>>>),
}

/// What a slot holds for a request.
#[derive(Debug)]
pub enum Found {
    Entry(Arc<Entry>),
    /// The URL is stored, but no variant that the request selects; this is the newest of the others.
    OtherVariant(Arc<Entry>),
}

impl Slot {
    /// A slot of the variants that `entries` are, the newest first.
    pub fn of(entries: impl IntoIterator<Item = Arc<Entry>>) -> Self {
        let mut variants: Vec<_> = entries.into_iter().collect();
        variants.sort_by_key(|entry| std::cmp::Reverse(entry.freshness().received));
        Self(match variants.len() {
            0 | 1 => variants.pop().map_or(Variants::None, Variants::One),
            _ => Variants::Several(Arc::new(variants)),
        })
    }

    /// The variant that the request selects; of several the newest (RFC 9111 §4.1).
    pub fn find(&self, selector: &Selector<'_>) -> Option<Found> {
        let variants = self.variants();
        let selected = variants.iter().find(|entry| entry.variant.is_selected_by(selector));
        if let Some(entry) = selected {
            return Some(Found::Entry(entry.clone()));
        }
        variants.first().map(|other| Found::OtherVariant(other.clone()))
    }

    /// This slot with `entry` in the place of what it replaces, at most `cap` variants, without those that are of
    /// no more use. An entry whose fetch began before a purge never replaces one whose fetch began after it, and a part
    /// never what is whole and fresh.
    #[must_use]
    pub fn with(&self, entry: Arc<Entry>, cap: usize, now: Timestamp) -> Self {
        let stays = |old: &Arc<Entry>| {
            old.variant == entry.variant
                && (old.facts.as_of > entry.facts.as_of
                    || is_younger(old, &entry, now)
                    || !displaces(old, &entry, now))
        };
        if self.variants().iter().any(stays) {
            return self.clone();
        }
        let others = self
            .variants()
            .iter()
            .filter(|old| old.variant != entry.variant && old.freshness().last_use() > now);
        let mut kept: Vec<_> = others.take(cap.saturating_sub(1)).cloned().collect();
        kept.push(entry);
        Self::of(kept)
    }

    /// This slot without `entry` (the very same, not one that replaced it meanwhile).
    #[must_use]
    pub fn without(&self, entry: &Arc<Entry>) -> Self {
        Self::of(self.variants().iter().filter(|kept| !Arc::ptr_eq(kept, entry)).cloned())
    }

    /// This slot with `new` in the place of `old`, of which it is a copy; nothing where `old` is not here any more.
    pub fn replaced(&self, old: &Arc<Entry>, new: &Arc<Entry>) -> Option<Self> {
        let is_old = |entry: &Arc<Entry>| Arc::ptr_eq(entry, old);
        self.variants().iter().any(is_old).then(|| {
            let variants = self.variants().iter();
            Self::of(variants.map(|entry| if is_old(entry) { new } else { entry }.clone()))
        })
    }

    /// What every request finds, where that is so: there is one variant, and it did not vary. The slot again where it is not.
    pub fn plain(self) -> Result<Arc<Entry>, Self> {
        match self.0 {
            Variants::One(entry) if entry.variant.is_plain() => Ok(entry),
            other => Err(Self(other)),
        }
    }

    pub fn variants(&self) -> &[Arc<Entry>] {
        match &self.0 {
            Variants::None => &[],
            Variants::One(entry) => slice::from_ref(entry),
            Variants::Several(entries) => entries,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.variants().is_empty()
    }

    /// Whether this is the very same slot, and not one like it.
    pub fn is_same(&self, other: &Self) -> bool {
        let (one, other) = (self.variants(), other.variants());
        one.len() == other.len()
            && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// What all variants cost in memory, in bytes. Never changes for one slot.
    pub fn weight(&self) -> usize {
        let entries: usize = self.variants().iter().map(|entry| entry.weight()).sum();
        match &self.0 {
            Variants::None | Variants::One(_) => entries,
            Variants::Several(several) => entries + 48 + 8 * several.capacity(),
        }
    }
}

/// Whether `old` came later than a response that is withdrawn, and so is another one than the origin spoke of.
fn is_younger(old: &Entry, new: &Entry, now: Timestamp) -> bool {
    let (old, new) = (old.freshness(), new.freshness());
    new.is_spent(now) && old.received > new.received
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::entry::facts::{Facts, Mark, RouteId};
    use crate::entry::freshness::{Freshness, UseWithoutAsking};
    use crate::entry::{Head, Stored};
    use crate::key::Key;
    use crate::key::vary::Variant;

    fn entry(
        received: u64,
        use_without_asking: UseWithoutAsking,
        body: &'static [u8],
    ) -> Arc<Entry> {
        let facts = Facts {
            key: Key::from_bits(1),
            url_key: Key::from_bits(1),
            url: "http://h/".into(),
            route: RouteId::new("r"),
            tags: [].into(),
            as_of: Mark::new(1, 0),
        };
        let lifetime = match use_without_asking {
            UseWithoutAsking::Never => Duration::ZERO,
            UseWithoutAsking::Allowed | UseWithoutAsking::OnlyFresh => Duration::from_mins(1),
        };
        let freshness = Freshness {
            received: Timestamp::from_seconds(received),
            initial_age: Duration::ZERO,
            lifetime,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            keep: Duration::ZERO,
            fetch_time: Duration::ZERO,
            use_without_asking,
        };
        let head = Head { status: StatusCode::OK, fields: HeaderMap::new() };
        let body = Stored::Whole(Bytes::from_static(body));
        Arc::new(Entry::new(facts, &head, freshness, Variant::default(), body))
    }

    #[test]
    fn what_is_withdrawn_takes_no_younger_one_with_it() {
        let now = Timestamp::from_seconds(110);
        let withdrawn = entry(100, UseWithoutAsking::Never, b"old");
        for (received, stays) in [(100, false), (99, false), (105, true)] {
            let there = entry(received, UseWithoutAsking::Allowed, b"there");
            let slot = Slot::of([there.clone()]).with(withdrawn.clone(), 4, now);
            assert_eq!(Arc::ptr_eq(&slot.variants()[0], &there), stays, "{received}");
        }
        // A clock that was set back keeps nothing from being stored.
        let late = Slot::of([entry(105, UseWithoutAsking::Allowed, b"there")]);
        let next = entry(100, UseWithoutAsking::Allowed, b"next");
        assert!(Arc::ptr_eq(&late.with(next.clone(), 4, now).variants()[0], &next));
    }
}
