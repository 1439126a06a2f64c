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
            let old = std::mem::replace(old, entry);
            state.bytes = state.bytes + weight - old.weight();
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
