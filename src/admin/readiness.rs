//! Whether a load balancer should send requests here.

use std::sync::atomic::{AtomicU8, Ordering};

/// Whether requests are wanted; shared by whoever knows and whoever is asked.
#[derive(Debug, Default)]
pub struct Readiness(AtomicU8);

/// What keeps requests away, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not everything that must be there is there yet.
    Starting,
    Ready,
    /// It is about to end.
    Draining,
}

impl Readiness {
    /// Tells the state from now on. Draining is never left again.
    pub fn set(&self, state: State) {
        self.0.fetch_max(number(state), Ordering::AcqRel);
    }

    pub fn state(&self) -> State {
        match self.0.load(Ordering::Acquire) {
            0 => State::Starting,
            1 => State::Ready,
            _ => State::Draining,
        }
    }
}

impl State {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

const fn number(state: State) -> u8 {
    match state {
        State::Starting => 0,
        State::Ready => 1,
        State::Draining => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drains_is_never_ready_again() {
        let readiness = Readiness::default();
        assert_eq!(readiness.state(), State::Starting);
        readiness.set(State::Ready);
        readiness.set(State::Draining);
        readiness.set(State::Ready);
        assert_eq!(readiness.state(), State::Draining);
    }
}
