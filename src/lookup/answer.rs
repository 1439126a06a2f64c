//! What ascends through the layers: an answer, how it came about, and what is left to do for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::Response;

use crate::entry::Entry;
use crate::lookup::outcome::Outcome;
use crate::message::body::Body;

/// An answer on its way up.
pub struct Answer {
    pub content: Content,
    pub outcome: Outcome,
    pub landing: Landing,
}

/// What is answered.
pub enum Content {
    /// From an entry, which others may be given as well.
    Stored(Arc<Entry>),
    /// From the origin for this request alone.
    Once(Box<Response<Body>>),
}

/// What is left to do before an answer is stored; whoever leads the flight does it.
///
/// This is the one path by which an entry comes to be stored: the fetch begins a landing, each tier on the way up
/// adds its own `put` to it, and the flight (or whoever took its place) runs it to its end. Dropped, nothing is
/// stored and readers of the body are cut off.
pub enum Landing {
    /// Nothing is to be stored.
    Done,
    /// An entry that is whole already, for the tiers above.
    Whole(Arc<Entry>),
    /// A body that arrives: resolves when it is whole and stored below, or to nothing when it cannot be kept.
    Arriving(Pin<Box<dyn Future<Output = Option<Arc<Entry>>> + Send>>),
}

impl Landing {
    /// Adds `keep`, which is called with the whole entry once the layers below have kept it.
    #[must_use]
    pub fn then<K, F>(self, keep: K) -> Self
    where
        K: FnOnce(Arc<Entry>) -> F + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        match self {
            Self::Done => Self::Done,
            Self::Whole(entry) => Self::Arriving(Box::pin(async move {
                keep(entry.clone()).await;
                Some(entry)
            })),
            Self::Arriving(arriving) => Self::Arriving(Box::pin(async move {
                let entry = arriving.await?;
                keep(entry.clone()).await;
                Some(entry)
            })),
        }
    }

    /// Runs the landing to its end.
    pub async fn run(self) -> Option<Arc<Entry>> {
        match self {
            Self::Done => None,
            Self::Whole(entry) => Some(entry),
            Self::Arriving(arriving) => arriving.await,
        }
    }
}
