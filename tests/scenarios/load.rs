//! Clients that go on asking while something fails behind Larder.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::support::client::get;
use crate::support::larder::Larder;
use crate::support::until;

/// What a busy machine may add to any latency.
pub(crate) const NOISE: Duration = Duration::from_millis(1500);

/// Clients that ask without pause, for hot and for new paths, until they are told to end.
pub(crate) struct Load {
    running: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: JoinSet<Vec<Duration>>,
}

impl Load {
    pub(crate) fn on(larder: &Larder) -> Self {
        let running = Arc::new(AtomicBool::new(true));
        let done = Arc::new(AtomicU64::new(0));
        let mut clients = JoinSet::new();
        for client in 0..4 {
            let (running, done, base) = (Arc::clone(&running), Arc::clone(&done), larder.url(""));
            clients.spawn(async move {
                let mut latencies = Vec::new();
                for n in 0_u32.. {
                    if !running.load(Ordering::Relaxed) {
                        break;
                    }
                    let path =
                        if n % 2 == 0 { "/hot".to_owned() } else { format!("/cold/{client}/{n}") };
                    let reply = get(format!("{base}{path}")).await;
                    reply.has_status(200).says("hello");
                    latencies.push(reply.took);
                    done.fetch_add(1, Ordering::Relaxed);
                }
                latencies
            });
        }
        Self { running, done, clients }
    }

    /// Waits until so many more requests have been answered.
    pub(crate) async fn goes_on_for(&self, more: u64) {
        let until_done = self.done.load(Ordering::Relaxed) + more;
        until("the load has gone on", async || {
            (self.done.load(Ordering::Relaxed) >= until_done).then_some(())
        })
        .await;
    }

    /// Ends it; a client whose request failed fails the test here.
    pub(crate) async fn latencies(self) -> Vec<Duration> {
        self.running.store(false, Ordering::Relaxed);
        let mut all = self.clients.join_all().await.concat();
        all.sort();
        all
    }

    /// Ends it; the slowest request took no longer than this, and half of them less than a deadline of Redis.
    pub(crate) async fn ends_within(self, longest: Duration) {
        let latencies = self.latencies().await;
        let (median, worst) = (latencies[latencies.len() / 2], latencies[latencies.len() - 1]);
        assert!(worst < longest, "the slowest took {worst:?}");
        assert!(median < Duration::from_millis(100), "half took {median:?} and more");
    }
}

/// Waits until Redis answers for a path; returns how long that took.
pub(crate) async fn until_redis_serves(larder: &Larder, path: &str) -> Duration {
    let since = Instant::now();
    until("Redis serves again", async || {
        let reply = get(larder.url(path)).await;
        reply.has_status(200);
        (reply.outcome() == "HIT" && reply.layer() == "L2").then_some(())
    })
    .await;
    since.elapsed()
}
