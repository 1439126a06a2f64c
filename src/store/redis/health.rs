//! The breaker of one server, and who closes it early: a background probe that is answered quickly.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::breaker::{Breaker, State};

/// Between two proofs that the server still answers.
pub(super) const PROBE: Duration = Duration::from_secs(1);
/// The same while the breaker is not closed.
const PROBE_WHEN_OPEN: Duration = Duration::from_millis(500);

/// Closes the breaker when the server answers quickly again, so that nobody has to wait until it would let a request
/// through. A breaker that opens again soon is left alone for twice as long each time.
pub(super) struct Healer {
    breaker: Arc<Breaker>,
    timeout: Duration,
    open_since: Option<Instant>,
    /// When it was closed last, and how long it had been left open.
    last: Option<(Instant, Duration)>,
}

impl Healer {
    pub(super) fn new(breaker: Arc<Breaker>, timeout: Duration) -> Self {
        Self { breaker, timeout, open_since: None, last: None }
    }

    pub(super) fn pause(&self) -> Duration {
        if self.open_since.is_some() { PROBE_WHEN_OPEN } else { PROBE }
    }

    pub(super) fn answered_after(&mut self, elapsed: Duration) {
        let now = Instant::now();
        if self.breaker.state(now) == State::Closed {
            self.open_since = None;
            return;
        }
        let since = *self.open_since.get_or_insert(now);
        let patience = match self.last {
            Some((closed, patience)) if now - closed < patience * 10 => patience * 2,
            Some(_) | None => PROBE,
        };
        if elapsed > self.timeout || now - since < patience.min(self.breaker.settings().open_for) {
            return;
        }
        if let Some(probe) = self.breaker.probe(now) {
            probe.succeeded();
            self.last = Some((now, patience));
            self.open_since = None;
        }
    }
}
