//! L1: entries in memory, bounded in bytes with their overhead.

use std::future::{Future, ready};
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use quick_cache::sync::{Cache, Iter};
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use smallvec::SmallVec;
use tracing::debug;

use crate::entry::Entry;
use crate::entry::partial::combined;
use crate::entry::slot::{Found, Slot};
use crate::key::Key;
use crate::key::vary::Selector;
use crate::message::shelf::{Shelf, Whole};
use crate::store::{Place, Store, StoreError};
use crate::time::Timestamp;

/// What a slot costs beyond its entries: its place in the cache and in the cache's index (measured).
const SLOT_OVERHEAD: u64 = 96;
/// What an entry costs on average, for the size of the cache's memory of what it evicted.
const USUAL_ENTRY: u64 = 4096;
/// Writers of one key exclude each other; more stripes than cores so that strangers seldom meet.
const STRIPES: usize = 64;

/// From this length on a body may be shelved. 10,000 URLs of 16 KiB take 9.1 µs each from there and 10.4 from the process's
/// memory; of what is shorter, more would be lost in half-empty pages.
const SHELVED: usize = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes that all entries together may cost, overhead included.
    pub capacity: u64,
    /// The longest body that is kept. What does not fit into a shard is never kept either, see
    /// [`Memory::max_object`].
    pub max_object: u64,
}

/// Entries in memory. Cloning shares them.
#[derive(Clone)]
pub struct Memory(Arc<Parts>);

struct Parts {
    slots: Slots,
    stripes: [Mutex<()>; STRIPES],
    /// For large bodies, where the system has one.
    large: Option<Shelf>,
    max_object: u64,
    /// The heaviest slot that the cache does not refuse.
    max_slot: u64,
    counts: Counts,
}

type Slots = Cache<Key, Slot, SlotWeight, BuildHasherDefault<KeyBits>, Fall>;

/// How often entries went, by cause, and how often one was refused.
#[derive(Default)]
pub struct Counts {
    /// Evicted, because others needed the room.
    pub capacity: AtomicU64,
    /// Dropped by a sweep: expired or purged.
    pub swept: AtomicU64,
    /// Dropped, because its URL had too many variants, or the variant was of no more use.
    pub variants: AtomicU64,
    /// Refused, because its body or its slot is too large.
    pub too_large: AtomicU64,
}

impl Counts {
    fn evict(&self, entries: usize) {
        self.capacity.fetch_add(entries as u64, Ordering::Relaxed);
    }
}

/// A walk over everything, in steps, for sweeping. What is stored meanwhile may or may not be met.
pub struct Sweep<'a> {
    memory: &'a Memory,
    slots: Iter<'a, Key, Slot, SlotWeight, BuildHasherDefault<KeyBits>, Fall>,
}

/// Whether a [`Sweep`] has more to walk over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    More,
    Done,
}

impl Memory {
    /// An empty memory. Where one shard cannot hold `max_object`, smaller objects only are kept.
    pub fn new(settings: Settings) -> Self {
        let slots = slots(&settings);
        // The cache refuses what is heavier than 97 % of a shard.
        let max_slot = slots.shard_capacity() / 10 * 9;
        Self(Arc::new(Parts {
            slots,
            stripes: [const { Mutex::new(()) }; STRIPES],
            large: Shelf::open()
                .inspect_err(
                    |error| debug!(%error, "large bodies stay in the memory of the process"),
                )
                .ok(),
            max_object: settings.max_object.min(max_slot),
            max_slot,
            counts: Counts::default(),
        }))
    }

    /// The hit path: one look-up, no allocation, no waiting. `None` when nothing is stored under `key`.
    pub fn find(&self, key: Key, selector: &Selector<'_>) -> Option<Found> {
        self.0.slots.get(&key)?.find(selector)
    }

    /// All variants under `key`.
    pub fn slot(&self, key: Key) -> Option<Slot> {
        self.0.slots.get(&key)
    }

    /// Keeps an entry in the place of what it replaces, a part together with what it can be combined with; readers see
    /// the slot before or after, never between.
    pub fn keep(&self, place: &Place, entry: Arc<Entry>) -> Result<(), StoreError> {
        let Some(body) = entry.whole() else {
            return Err(StoreError::Failed("the body is still arriving".into()));
        };
        if body.len() as u64 > self.0.max_object {
            return Err(self.refuse());
        }
        let _turn = self.turn(place.key);
        let old = self.0.slots.peek(&place.key).unwrap_or_default();
        let known = old.variants().iter().find(|kept| kept.variant == entry.variant);
        let both = known.and_then(|known| combined(known, &entry, self.0.max_object));
        let (added, entry) = (usize::from(known.is_none()), both.map_or(entry, Arc::new));
        if let Some(known) = known.filter(|known| !Arc::ptr_eq(known, &entry)) {
            entry.succeed(known);
        }
        let new = old.with(entry, place.max_variants, Timestamp::now());
        let Some(new) = self.fitting(&new) else { return Err(self.refuse()) };
        let dropped = old.variants().len() + added - new.variants().len();
        self.0.counts.variants.fetch_add(dropped as u64, Ordering::Relaxed);
        self.insert(place.key, &new);
        Ok(())
    }

    /// Puts the body of this very entry on the shelf, where it is large and whole, and returns what took its place; nothing
    /// where all stays as it is. Copies the body, once, which takes 1.5 ms for 4 MiB: for who is sent it from
    /// there, and not all are.
    pub fn put_on_shelf(&self, key: Key, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
        let (Some(large), Some(Whole::Bytes(body))) = (&self.0.large, entry.whole()) else {
            return None;
        };
        // Parts are joined to others, which copies them.
        if body.len() < SHELVED || entry.part().is_some() {
            return None;
        }
        let put = large.put(body);
        let extent = put
            .inspect_err(|error| debug!(%error, "a large body stays in the memory of the process"))
            .ok()?;
        let shelved = Arc::new(entry.shelved(extent));
        let _turn = self.turn(key);
        let slot = self.0.slots.peek(&key)?.replaced(entry, &shelved)?;
        let mut fallen = Fallen::default();
        // Soft: it was used already.
        self.0.slots.replace_with_lifecycle(key, slot, true, &mut fallen).ok()?;
        let others = fallen.iter().filter(|(other, _)| *other != key);
        self.0.counts.evict(others.map(|(_, old)| old.variants().len()).sum());
        // The tripwire may have drawn the old one since it was copied.
        if entry.sharing().is_watched() {
            shelved.sharing().watch();
        }
        Some(shelved)
    }

    /// Forgets this very entry; one that replaced it meanwhile stays.
    pub fn forget(&self, key: Key, entry: &Arc<Entry>) {
        let _turn = self.turn(key);
        if let Some(slot) = self.0.slots.peek(&key) {
            self.shrink(key, &slot, slot.without(entry));
        }
    }

    /// Forgets everything, at once. What is being kept meanwhile may stay.
    pub fn clear(&self) {
        self.0.slots.clear();
    }

    /// How many URLs are stored.
    pub fn len(&self) -> usize {
        self.0.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.slots.is_empty()
    }

    /// What all entries cost, overhead included.
    pub fn bytes(&self) -> u64 {
        self.0.slots.weight()
    }

    pub fn capacity(&self) -> u64 {
        self.0.slots.capacity()
    }

    /// The longest body that is kept.
    pub fn max_object(&self) -> u64 {
        self.0.max_object
    }

    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// Begins a walk over everything.
    pub fn sweep(&self) -> Sweep<'_> {
        Sweep { memory: self, slots: self.0.slots.iter() }
    }

    fn turn(&self, key: Key) -> parking_lot::MutexGuard<'_, ()> {
        // The cache chooses its shard by the low half of the key; this takes its highest bits.
        let stripe = usize::try_from(key.bits() >> (128 - STRIPES.ilog2()));
        self.0.stripes[stripe.unwrap_or_default() % STRIPES].lock()
    }

    fn refuse(&self) -> StoreError {
        self.0.counts.too_large.fetch_add(1, Ordering::Relaxed);
        StoreError::TooLarge
    }

    /// The slot without as many of its oldest variants as do not fit; nothing if not even one does.
    fn fitting(&self, slot: &Slot) -> Option<Slot> {
        let mut variants = slot.variants();
        let mut slot = slot.clone();
        while slot.weight() as u64 + SLOT_OVERHEAD > self.0.max_slot {
            variants = &variants[..variants.len().saturating_sub(1)];
            slot = Slot::of(variants.iter().cloned());
            if slot.is_empty() {
                return None;
            }
        }
        Some(slot)
    }

    fn insert(&self, key: Key, slot: &Slot) {
        let mut fallen = Fallen::default();
        self.0.slots.insert_with_lifecycle(key, slot.clone(), &mut fallen);
        // A replaced slot falls like an evicted one, but is none.
        let evicted: usize = fallen
            .iter()
            .filter(|(other, old)| *other != key || old.is_same(slot))
            .map(|(_, old)| old.variants().len())
            .sum();
        self.0.counts.evict(evicted);
    }

    /// Puts `new`, which has fewer variants, in the place of `old`.
    fn shrink(&self, key: Key, old: &Slot, new: Slot) {
        if new.is_empty() {
            self.0.slots.remove(&key);
        } else if new.variants().len() < old.variants().len() {
            // Only where it still is: an eviction meanwhile is not undone. Soft: it was not used.
            let _ = self.0.slots.replace(key, new, true);
        }
    }

    /// Drops from a slot what is not kept; how many that were.
    fn sweep_slot(&self, key: Key, is_kept: impl Fn(&Entry) -> bool) -> usize {
        let _turn = self.turn(key);
        let Some(slot) = self.0.slots.peek(&key) else { return 0 };
        let new = Slot::of(slot.variants().iter().filter(|entry| is_kept(entry)).cloned());
        let dropped = slot.variants().len() - new.variants().len();
        self.shrink(key, &slot, new);
        dropped
    }
}

impl Sweep<'_> {
    /// Walks over at most `slots` URLs and drops the entries that are not kept. Blocks nobody for longer than one
    /// URL takes.
    pub fn step(&mut self, slots: usize, is_kept: impl Fn(&Entry) -> bool) -> Progress {
        for _ in 0..slots {
            let Some((key, slot)) = self.slots.next() else { return Progress::Done };
            if slot.variants().iter().all(|entry| is_kept(entry)) {
                continue;
            }
            let dropped = self.memory.sweep_slot(key, &is_kept) as u64;
            self.memory.0.counts.swept.fetch_add(dropped, Ordering::Relaxed);
        }
        Progress::More
    }
}

impl Store for Memory {
    fn get(
        &self,
        place: &Place,
        selector: &Selector<'_>,
    ) -> impl Future<Output = Result<Option<Arc<Entry>>, StoreError>> + Send {
        ready(Ok(match self.find(place.key, selector) {
            Some(Found::Entry(entry)) => Some(entry),
            Some(Found::OtherVariant(_)) | None => None,
        }))
    }

    fn put(
        &self,
        place: &Place,
        entry: Arc<Entry>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        ready(self.keep(place, entry))
    }

    fn remove(&self, place: &Place) -> impl Future<Output = Result<(), StoreError>> + Send {
        let _turn = self.turn(place.key);
        self.0.slots.remove(&place.key);
        ready(Ok(()))
    }
}

/// Capacity counts per shard, so there are as many as the cores can use and the largest object allows.
fn slots(settings: &Settings) -> Slots {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let useful = (4 * cores as u64).next_power_of_two();
    let allowed = settings.capacity / settings.max_object.saturating_mul(4).max(1);
    let shards = useful.min(previous_power_of_two(allowed));
    let items = (settings.capacity / USUAL_ENTRY).max(32 * shards);
    let options = OptionsBuilder::new()
        .shards(usize::try_from(shards).unwrap_or(1))
        .estimated_items_capacity(usize::try_from(items).unwrap_or(usize::MAX))
        .weight_capacity(settings.capacity)
        .build()
        .expect("both capacities are given");
    Cache::with_options(options, SlotWeight, BuildHasherDefault::default(), Fall)
}

fn previous_power_of_two(number: u64) -> u64 {
    number.checked_ilog2().map_or(1, |power| 1 << power)
}

#[derive(Clone)]
struct SlotWeight;

impl Weighter<Key, Slot> for SlotWeight {
    fn weight(&self, _: &Key, slot: &Slot) -> u64 {
        slot.weight() as u64 + SLOT_OVERHEAD
    }
}

/// Collects what falls out, so that it is freed after the shard's lock and can be told from what was replaced.
#[derive(Clone)]
struct Fall;

type Fallen = SmallVec<[(Key, Slot); 2]>;

impl Lifecycle<Key, Slot> for Fall {
    type RequestState = Fallen;

    fn on_evict(&self, fallen: &mut Fallen, key: Key, slot: Slot) {
        fallen.push((key, slot));
    }
}

/// A key is a digest: its bits are as good as any hash of them.
#[derive(Default)]
struct KeyBits(u64);

impl Hasher for KeyBits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of a digest is a digest")]
    fn write_u128(&mut self, bits: u128) {
        self.0 = bits as u64;
    }
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
    use crate::key::vary::{Variant, VaryRules};
    use crate::message::air::Air;
    use crate::message::fill::Fill;

    const MIB: u64 = 1 << 20;

    fn memory(capacity: u64, max_object: u64) -> Memory {
        Memory::new(Settings { capacity, max_object })
    }

    /// Spread like the digests that real keys are.
    fn key(number: u64) -> Key {
        let digest = blake3::hash(&number.to_le_bytes());
        Key::from_bits(u128::from_be_bytes(digest.as_bytes()[..16].try_into().unwrap()))
    }

    fn place(number: u64) -> Place {
        Place { key: key(number), route: RouteId::new("r"), max_variants: 4, max_ttl: None }
    }

    fn entry(number: u64, as_of: u64, body: Stored) -> Arc<Entry> {
        let facts = Facts {
            key: key(number),
            url_key: key(number),
            url: "http://h/".into(),
            route: RouteId::new("r"),
            tags: Box::default(),
            as_of: Mark::new(as_of, 0),
        };
        let head = Head { status: StatusCode::OK, fields: HeaderMap::new() };
        let freshness = Freshness {
            received: Timestamp::now(),
            initial_age: Duration::ZERO,
            lifetime: Duration::from_mins(1),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            keep: Duration::ZERO,
            fetch_time: Duration::ZERO,
            use_without_asking: UseWithoutAsking::Allowed,
        };
        Arc::new(Entry::new(facts, &head, freshness, Variant::default(), body))
    }

    fn whole(length: usize) -> Stored {
        Stored::Whole(Bytes::from(vec![b'x'; length]))
    }

    fn found(memory: &Memory, number: u64) -> Option<Arc<Entry>> {
        let (fields, rules) = (HeaderMap::new(), VaryRules::default());
        match memory.find(key(number), &Selector { fields: &fields, rules: &rules }) {
            Some(Found::Entry(entry)) => Some(entry),
            Some(Found::OtherVariant(_)) | None => None,
        }
    }

    fn count(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    #[test]
    fn it_never_costs_more_than_its_capacity_and_counts_what_it_evicts() {
        let memory = memory(MIB, 64 << 10);
        for number in 0..1000 {
            memory.keep(&place(number), entry(number, 0, whole(4096))).unwrap();
            assert!(memory.bytes() <= memory.capacity());
        }
        let evicted = count(&memory.counts().capacity);
        assert_eq!(evicted, 1000 - memory.len() as u64);
        assert!(evicted > 700);
    }

    #[test]
    fn a_large_body_goes_to_the_shelf_with_all_that_is_known_of_its_entry() {
        let memory = memory(64 * MIB, MIB);
        for (number, length, is_large) in [(1, SHELVED, true), (2, SHELVED - 1, false)] {
            let kept = entry(number, 0, whole(length));
            kept.hit();
            kept.verify_at(7);
            kept.take_at(Timestamp::from_millis(5));
            memory.keep(&place(number), kept.clone()).unwrap();
            let shelved = memory.put_on_shelf(key(number), &kept);
            assert_eq!(shelved.is_some(), is_large && memory.0.large.is_some(), "{length}");
            let held = found(&memory, number).unwrap();
            let Some(shelved) = shelved else { continue };
            assert!(
                Arc::ptr_eq(&held, &shelved) && matches!(held.whole(), Some(Whole::Shelved(_)))
            );
            assert_eq!(held.bytes(), kept.bytes());
            assert_eq!((held.hits(), held.verified_at()), (1, 7));
            assert_eq!(held.taken_since(Timestamp::from_millis(9)), Duration::from_millis(4));
            assert!(memory.put_on_shelf(key(number), &held).is_none(), "it is there already");
        }
        assert_eq!((memory.len(), count(&memory.counts().capacity)), (2, 0));
    }

    #[test]
    fn what_was_replaced_meanwhile_does_not_come_back_from_the_shelf() {
        let memory = memory(64 * MIB, MIB);
        let (old, new) = (entry(1, 1, whole(SHELVED)), entry(1, 2, whole(10)));
        memory.keep(&place(1), old.clone()).unwrap();
        memory.keep(&place(1), new.clone()).unwrap();
        assert!(memory.put_on_shelf(key(1), &old).is_none());
        assert!(Arc::ptr_eq(&found(&memory, 1).unwrap(), &new));
        memory.forget(key(1), &new);
        assert!(memory.put_on_shelf(key(1), &new).is_none() && memory.is_empty());
    }

    #[test]
    fn a_replacement_is_not_counted_as_an_eviction() {
        let memory = memory(MIB, 64 << 10);
        for round in 0..10 {
            memory.keep(&place(1), entry(1, round, whole(10))).unwrap();
        }
        assert_eq!((memory.len(), count(&memory.counts().capacity)), (1, 0));
        assert_eq!(count(&memory.counts().variants), 0);
    }

    #[test]
    fn an_older_fetch_never_replaces_a_younger_one() {
        let memory = memory(MIB, 64 << 10);
        memory.keep(&place(1), entry(1, 2, whole(2))).unwrap();
        memory.keep(&place(1), entry(1, 1, whole(1))).unwrap();
        assert_eq!(found(&memory, 1).unwrap().length(), Some(2));
    }

    #[test]
    fn an_object_that_fits_no_shard_is_refused_and_not_silently_lost() {
        let memory = memory(MIB, 2 * MIB);
        let largest = usize::try_from(memory.max_object()).unwrap();
        assert!(largest < 1 << 20);
        let refused = memory.keep(&place(1), entry(1, 0, whole(largest + 1)));
        assert!(matches!(refused, Err(StoreError::TooLarge)));
        memory.keep(&place(1), entry(1, 0, whole(largest / 2))).unwrap();
        assert!(found(&memory, 1).is_some());
        assert_eq!(count(&memory.counts().too_large), 1);
    }

    #[test]
    fn a_body_that_still_arrives_is_refused() {
        let memory = memory(MIB, 64 << 10);
        let (_writer, fill) = Fill::open(10, Air::bounded(10).take(0).unwrap());
        let arriving = entry(1, 0, Stored::arriving(fill, None));
        assert!(memory.keep(&place(1), arriving).is_err());
        assert!(memory.is_empty());
    }

    #[test]
    fn forgetting_an_entry_spares_the_one_that_replaced_it() {
        let memory = memory(MIB, 64 << 10);
        let (old, new) = (entry(1, 1, whole(1)), entry(1, 2, whole(2)));
        memory.keep(&place(1), old.clone()).unwrap();
        memory.keep(&place(1), new.clone()).unwrap();
        memory.forget(key(1), &old);
        assert!(found(&memory, 1).is_some());
        memory.forget(key(1), &new);
        assert!(found(&memory, 1).is_none() && memory.is_empty());
        assert_eq!(count(&memory.counts().capacity), 0);
    }

    #[test]
    fn a_sweep_in_steps_drops_what_is_not_kept_and_counts_it() {
        let memory = memory(16 * MIB, 64 << 10);
        for number in 0..100 {
            memory.keep(&place(number), entry(number, number, whole(10))).unwrap();
        }
        let mut sweep = memory.sweep();
        let mut steps = 0;
        while sweep.step(7, |entry| entry.facts.as_of.millis % 2 == 0) == Progress::More {
            steps += 1;
        }
        assert!(steps >= 100 / 7);
        assert_eq!((memory.len(), count(&memory.counts().swept)), (50, 50));
        assert!(found(&memory, 2).is_some() && found(&memory, 3).is_none());
    }

    #[test]
    fn writers_of_one_key_at_once_lose_no_newer_entry() {
        let memory = memory(16 * MIB, 64 << 10);
        std::thread::scope(|scope| {
            for writer in 0..4_u64 {
                let memory = &memory;
                scope.spawn(move || {
                    for round in 0..500 {
                        memory.keep(&place(1), entry(1, round * 4 + writer, whole(1))).unwrap();
                    }
                });
            }
        });
        assert_eq!(found(&memory, 1).unwrap().facts.as_of, Mark::new(499 * 4 + 3, 0));
    }

    #[test]
    fn keys_spread_over_all_shards() {
        let memory = memory(256 * MIB, 64 << 10);
        let shards = memory.0.slots.num_shards();
        let mut met = vec![0; shards];
        for number in 0..4096 {
            met[memory.0.slots.shard_index(&key(number))] += 1;
        }
        assert!(shards > 1 && met.iter().all(|times| *times > 4096 / shards / 2));
    }
}
