//! Counts that many threads add to at once, without locks.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The upper bounds of the latency buckets, in nanoseconds; one more bucket has no bound.
pub(super) const BOUNDS: [u64; 19] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// A count that only grows. Adding costs one relaxed atomic addition.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn one(&self) {
        self.add(1);
    }

    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(super) fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long something took, as a histogram. Observing costs two relaxed atomic additions.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [Count; BOUNDS.len() + 1],
    nanos: Count,
}

/// What a histogram held at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) buckets: [u64; BOUNDS.len() + 1],
    pub(super) nanos: u64,
}

impl Latency {
    pub fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // A bucket's bound belongs to it ("le").
        let bucket = BOUNDS.partition_point(|bound| *bound < nanos);
        self.buckets[bucket].one();
        self.nanos.add(nanos);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot { nanos: self.nanos.get(), ..Snapshot::default() };
        for (sum, bucket) in snapshot.buckets.iter_mut().zip(&self.buckets) {
            *sum = bucket.get();
        }
        snapshot
    }
}

impl Snapshot {
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.nanos += other.nanos;
        for (sum, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += more;
        }
    }
}

/// A value per group of threads, so that threads that add at once do not fight for one cache line.
#[derive(Debug)]
pub(super) struct Spread<T>(Box<[Padded<T>]>);

/// Two cache lines apart, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> Default for Spread<T> {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = threads.next_power_of_two().min(16);
        Self((0..shards).map(|_| Padded::default()).collect())
    }
}

impl<T> Spread<T> {
    /// This thread's value.
    pub(super) fn here(&self) -> &T {
        // The number of shards is a power of two.
        &self.0[place() & (self.0.len() - 1)].0
    }

    pub(super) fn each(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
    }
}

/// A number for this thread: the first is 0, the next 1, and so on.
fn place() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    PLACE.with(|place| *place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_whose_bound_it_does_not_exceed() {
        let latency = Latency::default();
        latency.observe(Duration::from_micros(10));
        latency.observe(Duration::from_nanos(10_001));
        latency.observe(Duration::from_mins(1));
        let snapshot = latency.snapshot();
        assert_eq!(snapshot.buckets[0], 1);
        assert_eq!(snapshot.buckets[1], 1);
        assert_eq!(snapshot.buckets[BOUNDS.len()], 1);
        assert_eq!(snapshot.count(), 3);
        assert_eq!(snapshot.nanos, 60_000_020_001);
    }

    #[test]
    fn what_several_threads_add_is_summed() {
        let spread = Spread::<Count>::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| spread.here().one()));
            }
        });
        assert_eq!(spread.each().map(Count::get).sum::<u64>(), 4000);
    }
}
