//! Finds out in the background when an origin that is left alone can be reached again, so that no request has to.

use std::sync::Weak;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::breaker::State;
use crate::origin::Origin;
use crate::origin::endpoint::Endpoint;
use crate::telemetry::labels::BreakerState;

/// From trouble to the first try to connect; twice as long before each one after it.
const FIRST: Duration = Duration::from_millis(250);

/// Between two tries at most, so that a client is told of an outage hardly longer than it lasts.
const LAST: Duration = Duration::from_secs(2);

/// Connects to the endpoints of `origin` that are passed over, and to all while its breaker is open, at a pace of their
/// own until they can be reached: then an endpoint gets requests again, and the breaker lets one through, whose
/// answer decides. Ends when the origin is gone. May be dropped at any time.
pub async fn watch(origin: Weak<Origin>) {
    let Some(trouble) = origin.upgrade().map(|origin| origin.trouble.clone()) else { return };
    loop {
        trouble.notified().await;
        let mut pause = FIRST;
        loop {
            match origin.upgrade() {
                None => return,
                Some(origin) if is_well(&origin) => break,
                Some(_) => sleep(pause).await,
            }
            pause = (pause * 2).min(LAST);
            let Some(origin) = origin.upgrade() else { return };
            try_to_reach(&origin).await;
        }
    }
}

fn is_well(origin: &Origin) -> bool {
    let now = Instant::now();
    origin.breaker.state(now) == State::Closed
        && !origin.endpoints.iter().any(|endpoint| endpoint.is_ejected(now))
}

async fn try_to_reach(origin: &Origin) {
    let now = Instant::now();
    let is_open = origin.breaker.state(now) == State::Open;
    let lost = origin.endpoints.iter().filter(|endpoint| is_open || endpoint.is_ejected(now));
    let reached = join_all(lost.map(Endpoint::can_be_reached)).await;
    // To be connected to is not to answer, so a request has the last word.
    if is_open && reached.contains(&true) {
        origin.breaker.let_probe(Instant::now());
        origin.metrics.breaker(BreakerState::HalfOpen);
    }
}
