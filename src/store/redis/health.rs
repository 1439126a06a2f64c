//! The breaker of one server, and who closes it early: a background probe that is answered quickly.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::breaker::{self, Breaker};

/// Between two proofs that the server still answers.
pub(super) const PROBE: Duration = Duration::from_secs(1);
/// The same while the breaker is not closed.
const PROBE_WHEN_OPEN: Duration = Duration::from_millis(500);

/// The breaker, which a background probe can replace by a closed one.
pub(super) struct Health {
    settings: breaker::Settings,
    breaker: ArcSwap<Breaker>,
}

impl Health {
    pub(super) fn new(settings: breaker::Settings) -> Self {
        Self { settings, breaker: ArcSwap::from_pointee(Breaker::new(settings)) }
    }

    pub(super) fn breaker(&self) -> Arc<Breaker> {
        self.breaker.load_full()
    }

    pub(super) fn state(&self) -> breaker::State {
        self.breaker.load().state(Instant::now())
    }
}

/// Closes the breaker when the server answers quickly again, so that nobody has to wait until it would let a request
/// through. A breaker that opens again soon is left alone for twice as long each time.
pub(super) struct Healer {
    health: Arc<Health>,
    timeout: Duration,
    open_since: Option<Instant>,
    /// When it was closed last, and how long it had been left open.
    last: Option<(Instant, Duration)>,
}

impl Healer {
    pub(super) fn new(health: Arc<Health>, timeout: Duration) -> Self {
        Self { health, timeout, open_since: None, last: None }
    }

    pub(super) fn pause(&self) -> Duration {
        if self.open_since.is_some() { PROBE_WHEN_OPEN } else { PROBE }
    }

    pub(super) fn answered_after(&mut self, elapsed: Duration) {
        let now = Instant::now();
        if self.health.breaker.load().state(now) == breaker::State::Closed {
            self.open_since = None;
            return;
        }
        let since = *self.open_since.get_or_insert(now);
        let settings = self.health.settings;
        let patience = match self.last {
            Some((closed, patience)) if now - closed < patience * 10 => patience * 2,
            Some(_) | None => PROBE,
        };
        if elapsed <= self.timeout && now - since >= patience.min(settings.open_for) {
            self.health.breaker.store(Arc::new(Breaker::new(settings)));
            self.last = Some((now, patience));
            self.open_since = None;
        }
    }
}
