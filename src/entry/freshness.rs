//! An entry's numbers: how old it is, how long it is fresh, and for how long it is of use afterwards.

use std::time::Duration;

use crate::time::Timestamp;

/// The freshness of a stored response, computed once when it is stored and asked on every hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// When the response's head arrived (RFC 9111 §4.2.3, `response_time`).
    pub received: Timestamp,
    /// `corrected_initial_age` of RFC 9111 §4.2.3.
    pub initial_age: Duration,
    /// `freshness_lifetime` of RFC 9111 §4.2.1, as the route let it be.
    pub lifetime: Duration,
    /// How long after that it may be served while a refresh runs (RFC 5861 §3).
    pub stale_while_revalidate: Duration,
    /// How long after that it may be served when the origin fails (RFC 5861 §4).
    pub stale_if_error: Duration,
    /// How long after all that it is still worth keeping, because it can be validated.
    pub keep: Duration,
    /// How long the origin took to answer, for early refreshes and bounded waiting.
    pub fetch_time: Duration,
    pub use_without_asking: UseWithoutAsking,
}

/// What the response's own directives say about using it without asking the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseWithoutAsking {
    /// While fresh, and stale as far as the windows and the client allow.
    Allowed,
    /// While fresh only: `must-revalidate`, `proxy-revalidate`, `s-maxage` (RFC 9111 §5.2.2.2, .8, .10).
    OnlyFresh,
    /// Never: `no-cache` (RFC 9111 §5.2.2.4).
    Never,
}

impl Freshness {
    /// `current_age` of RFC 9111 §4.2.3.
    pub fn age(&self, now: Timestamp) -> Duration {
        self.initial_age + now.since(self.received)
    }

    /// How long it stays fresh from `now`; zero when it is stale.
    pub fn remaining(&self, now: Timestamp) -> Duration {
        self.lifetime.saturating_sub(self.age(now))
    }

    pub fn is_fresh(&self, now: Timestamp) -> bool {
        // RFC 9111 §4.2: "response_is_fresh = (freshness_lifetime > current_age)".
        self.lifetime > self.age(now)
    }

    /// How long it has been stale.
    pub fn staleness(&self, now: Timestamp) -> Duration {
        self.age(now).saturating_sub(self.lifetime)
    }

    /// The last moment at which it could be of any use; every store forgets it after that.
    pub fn last_use(&self) -> Timestamp {
        let stale = self.stale_while_revalidate.max(self.stale_if_error).max(self.keep);
        self.received.plus((self.lifetime + stale).saturating_sub(self.initial_age))
    }
}
