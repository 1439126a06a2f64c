//! The end of serving: first no new connections, then the requests in hand, then a cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::server::crowd::Crowd;

/// How long connections that were cut may take to fall.
const FALL: Duration = Duration::from_secs(1);

/// Shared by every `serve` that ends together; clones are the same drain.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    begun: CancellationToken,
    cut: CancellationToken,
    serving: TaskTracker,
    open: Arc<AtomicUsize>,
    crowd: Arc<Crowd>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every request in hand was answered.
    Clean,
    /// The grace was over; so many connections were cut.
    Cut(usize),
}

impl Drain {
    /// Nothing is being served yet, and nothing drained.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins: listeners close, connections finish the request in hand (HTTP/2: GOAWAY), and those that rest answer one more, or
    /// close within two seconds. Returns at once; a second call changes nothing.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// Whether it has begun, which is when readiness ends.
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Returns when it begins. May be dropped at any time.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Begins, waits until every `serve` has returned, and after `grace` cuts what is left.
    ///
    /// Dropped while it waits, the drain goes on but nothing will be cut.
    pub async fn finish(&self, grace: Duration) -> Ending {
        self.begin();
        self.serving.close();
        if timeout(grace, self.serving.wait()).await.is_ok() {
            return Ending::Clean;
        }
        let left = self.connections();
        self.cut.cancel();
        let _ = timeout(FALL, self.serving.wait()).await;
        Ending::Cut(left)
    }

    /// Connections open now, tunnels among them.
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn open(&self) -> &Arc<AtomicUsize> {
        &self.open
    }

    pub(crate) fn crowd(&self) -> &Arc<Crowd> {
        &self.crowd
    }

    /// Returns when the grace is over.
    pub(crate) async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// The drain is not finished while this lives.
    pub(crate) fn serving(&self) -> TaskTrackerToken {
        self.serving.token()
    }
}
