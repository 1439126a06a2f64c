//! What waits to be written to L2: bounded, and one place per URL.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::entry::Entry;
use crate::key::Key;
use crate::store::{Place, StoreError};

/// Bytes that queued entries may keep in memory.
const MOST_BYTES: usize = 64 << 20;

/// A bounded queue of writes. Repeated writes of a variant take one place; the youngest fetch wins.
pub(crate) struct Queue {
    state: Mutex<State>,
    capacity: usize,
    arrived: Notify,
    /// Told when nothing waits and nothing is being written.
    idle: Notify,
}

#[derive(Default)]
struct State {
    order: VecDeque<Key>,
    waiting: HashMap<Key, Work>,
    /// Entries that wait, and what they cost.
    entries: usize,
    bytes: usize,
    /// Jobs that were taken and are not done.
    busy: usize,
    closed: bool,
}

/// What is to be written for one URL.
pub(crate) struct Work {
    pub place: Place,
    pub before: Before,
    /// One entry per variant.
    pub entries: Vec<Arc<Entry>>,
}

/// What happens before the entries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    Nothing,
    /// All that is stored under the URL is removed.
    Remove,
}

/// Work that was taken from the queue; the queue knows that it is done when this is dropped.
pub(crate) struct Job<'a> {
    pub work: Work,
    queue: &'a Queue,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::default(),
            capacity: capacity.max(1),
            arrived: Notify::new(),
            idle: Notify::new(),
        }
    }

    /// Queues an entry, or says that there is no room for it.
    pub(crate) fn put(&self, place: &Place, entry: Arc<Entry>) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let weight = entry.weight();
        let full = state.entries >= self.capacity || state.bytes + weight > MOST_BYTES;
        let work = state.waiting.get_mut(&place.key);
        if let Some(work) = work
            && let Some(old) = work.entries.iter_mut().find(|old| old.variant == entry.variant)
        {
            // Marks of two logs are in no order: the last one that came stays.
            if old.facts.as_of > entry.facts.as_of {
                return Ok(());
            }
            let old = std::mem::replace(old, entry.clone());
            let bytes = state.bytes + weight - old.weight();
            if bytes > MOST_BYTES {
                // The one before is not written in its place: whoever read it would be behind those who read memory.
                return Err(state.give_up(place.key, &entry, &old));
            }
            state.bytes = bytes;
            return Ok(());
        }
        if full {
            return Err(StoreError::QueueFull);
        }
        state.work(place).entries.push(entry);
        state.entries += 1;
        state.bytes += weight;
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Queues the removal of all that is stored under `place`, and forgets what waits to be written there.
    pub(crate) fn remove(&self, place: &Place) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let known = state.waiting.contains_key(&place.key);
        if !known && state.waiting.len() >= self.capacity.saturating_mul(2) {
            return Err(StoreError::QueueFull);
        }
        let work = state.work(place);
        work.before = Before::Remove;
        let entries = std::mem::take(&mut work.entries);
        state.forget(&entries);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// The next job, when there is one; nothing when the queue is closed and empty. One taker at a time.
    pub(crate) async fn next(&self) -> Option<Job<'_>> {
        loop {
            {
                let mut state = self.state.lock();
                if let Some(work) = state.pop() {
                    state.busy += 1;
                    return Some(Job { work, queue: self });
                }
                if state.closed {
                    return None;
                }
            }
            self.arrived.notified().await;
        }
    }

    /// Returns when nothing waits and nothing is being written.
    pub(crate) async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            {
                let state = self.state.lock();
                if state.waiting.is_empty() && state.busy == 0 {
                    return;
                }
            }
            idle.await;
        }
    }

    /// Lets the taker end when all is written. What is put later is still written if the taker is still there.
    #[cfg(feature = "disk")]
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.arrived.notify_one();
    }

    /// How many entries wait.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().entries
    }
}

impl State {
    fn work(&mut self, place: &Place) -> &mut Work {
        let order = &mut self.order;
        self.waiting.entry(place.key).or_insert_with(|| {
            order.push_back(place.key);
            Work { place: place.clone(), before: Before::Nothing, entries: Vec::new() }
        })
    }

    /// Forgets `entry`, which had taken the place of `old` and is too much.
    fn give_up(&mut self, key: Key, entry: &Arc<Entry>, old: &Entry) -> StoreError {
        if let Some(work) = self.waiting.get_mut(&key) {
            work.entries.retain(|kept| !Arc::ptr_eq(kept, entry));
        }
        self.entries -= 1;
        self.bytes -= old.weight();
        StoreError::QueueFull
    }

    fn pop(&mut self) -> Option<Work> {
        let key = self.order.pop_front()?;
        let work = self.waiting.remove(&key)?;
        self.forget(&work.entries);
        Some(work)
    }

    fn forget(&mut self, entries: &[Arc<Entry>]) {
        self.entries -= entries.len();
        self.bytes -= entries.iter().map(|entry| entry.weight()).sum::<usize>();
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        state.busy -= 1;
        if state.busy == 0 && state.waiting.is_empty() {
            self.queue.idle.notify_waiters();
        }
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
    use crate::key::vary::Variant;
    use crate::time::Timestamp;

    fn place(number: u128) -> Place {
        let (key, route) = (Key::from_bits(number), RouteId::new("r"));
        Place { key, route, max_variants: 4, max_ttl: None }
    }

    fn entry(number: u128, as_of: u64, length: usize) -> Arc<Entry> {
        let key = Key::from_bits(number);
        let facts = Facts {
            key,
            url_key: key,
            url: "http://h/".into(),
            route: RouteId::new("r"),
            tags: Box::default(),
            as_of: Mark::new(as_of, 0),
        };
        let head = Head { status: StatusCode::OK, fields: HeaderMap::new() };
        let freshness = Freshness {
            received: Timestamp::from_millis(as_of),
            initial_age: Duration::ZERO,
            lifetime: Duration::from_mins(1),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            keep: Duration::ZERO,
            fetch_time: Duration::ZERO,
            use_without_asking: UseWithoutAsking::Allowed,
        };
        let body = Stored::Whole(Bytes::from(vec![b'x'; length]));
        Arc::new(Entry::new(facts, &head, freshness, Variant::default(), body))
    }

    fn counted(queue: &Queue) -> (usize, usize) {
        let state = queue.state.lock();
        let waiting = || state.waiting.values().flat_map(|work| &work.entries);
        assert_eq!(state.entries, waiting().count());
        assert_eq!(state.bytes, waiting().map(|entry| entry.weight()).sum::<usize>());
        (state.entries, state.bytes)
    }

    #[test]
    fn it_takes_as_many_entries_as_it_may_and_says_when_it_is_full() {
        let queue = Queue::new(3);
        for number in 0..3 {
            queue.put(&place(number), entry(number, 1, 10)).unwrap();
        }
        assert!(matches!(queue.put(&place(9), entry(9, 1, 10)), Err(StoreError::QueueFull)));
        // What waits already takes no place of its own.
        queue.put(&place(1), entry(1, 2, 20)).unwrap();
        assert_eq!(counted(&queue).0, 3);
    }

    #[test]
    fn of_repeated_writes_the_youngest_fetch_is_written_and_no_other() {
        let queue = Queue::new(100);
        for as_of in [1, 3, 2, 5, 4] {
            queue.put(&place(1), entry(1, as_of, 10)).unwrap();
        }
        let work = queue.state.lock().pop().unwrap();
        let marks: Vec<_> = work.entries.iter().map(|entry| entry.facts.as_of.millis).collect();
        assert_eq!((marks, counted(&queue)), (vec![5], (0, 0)));
    }

    #[test]
    fn its_bytes_are_bounded_also_where_what_waits_grows() {
        let queue = Queue::new(1000);
        // Room for what the allocator rounds up.
        let piece = MOST_BYTES / 4 - (2 << 20) - 4096;
        for number in 0..4 {
            queue.put(&place(number), entry(number, 1, piece)).unwrap();
        }
        assert!(matches!(queue.put(&place(9), entry(9, 1, piece)), Err(StoreError::QueueFull)));
        let larger = queue.put(&place(2), entry(2, 2, piece * 2));
        assert!(matches!(larger, Err(StoreError::QueueFull)));
        // Neither it nor the one before it is written.
        assert_eq!(counted(&queue).0, 3);
        assert!(queue.state.lock().waiting[&Key::from_bits(2)].entries.is_empty());
        queue.put(&place(2), entry(2, 3, piece)).unwrap();
        assert_eq!(counted(&queue).0, 4);
        assert!(counted(&queue).1 <= MOST_BYTES);
    }

    #[test]
    fn a_removal_forgets_what_waits_and_comes_before_what_is_put_later() {
        let queue = Queue::new(100);
        queue.put(&place(1), entry(1, 1, 10)).unwrap();
        queue.remove(&place(1)).unwrap();
        assert_eq!(counted(&queue), (0, 0));
        queue.put(&place(1), entry(1, 2, 10)).unwrap();
        let work = queue.state.lock().pop().unwrap();
        assert_eq!((work.before, work.entries.len()), (Before::Remove, 1));
    }

    #[tokio::test]
    async fn it_is_drained_when_nothing_waits_and_nothing_is_being_written() {
        use futures_util::FutureExt;
        let queue = Queue::new(100);
        assert_eq!(queue.drained().now_or_never(), Some(()));
        queue.put(&place(1), entry(1, 1, 10)).unwrap();
        assert_eq!(queue.drained().now_or_never(), None);
        let job = queue.next().await.unwrap();
        assert_eq!((queue.len(), queue.drained().now_or_never()), (0, None), "it is being written");
        drop(job);
        assert_eq!(queue.drained().now_or_never(), Some(()));
    }
}
