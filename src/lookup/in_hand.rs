//! An answer that the origin has given already, on its way down to where answers are kept.

use std::sync::Arc;

use http::Response;
use parking_lot::Mutex;

use crate::entry::facts::Mark;
use crate::message::body::Body;
use crate::time::Timestamp;

/// An answer of the origin, and when and under which mark of the purge log it was asked for.
pub struct Brought {
    pub response: Response<Body>,
    pub as_of: Mark,
    /// The ledger's turn in which it was asked for.
    pub turn: u64,
    /// When the request was sent.
    pub requested: Timestamp,
    /// When the response's head arrived.
    pub received: Timestamp,
}

/// An answer that takes the place of the one that a lookup would fetch. A body is read once, so it is given out once,
/// whichever clone is asked.
#[derive(Clone)]
pub struct InHand(Arc<Mutex<Option<Brought>>>);

impl InHand {
    pub fn new(brought: Brought) -> Self {
        Self(Arc::new(Mutex::new(Some(brought))))
    }

    pub(crate) fn take(&self) -> Option<Brought> {
        self.0.lock().take()
    }
}
