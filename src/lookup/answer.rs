//! What ascends through the layers: an answer, how it came about, and what is left to do for it.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::HeaderMap;

use crate::entry::Entry;
use crate::lookup::outcome::{Forwarded, Outcome};
use crate::message::body::Body;
use crate::message::fill::Reader;
use crate::message::reply::Reply;

/// An answer on its way up.
pub struct Answer {
    pub content: Content,
    pub outcome: Outcome,
    /// Why the origin was asked, where it was.
    pub forwarded: Forwarded,
    pub landing: Landing,
    /// Fields of the origin's answer that are not stored, and that whoever caused the fetch gets all the same: those
    /// that `private` or `no-cache` list.
    pub own: Option<Box<HeaderMap>>,
}

impl Answer {
    /// An answer from what is stored.
    pub fn stored(entry: Arc<Entry>, outcome: Outcome) -> Self {
        let content = Content::Stored(entry);
        Self {
            content,
            outcome,
            forwarded: Forwarded::UriMiss,
            landing: Landing::done(),
            own: None,
        }
    }

    /// An answer for one request alone.
    pub fn once(reply: impl Into<Reply<Body>>, outcome: Outcome) -> Self {
        let content = Content::Once(Box::new(reply.into()));
        Self {
            content,
            outcome,
            forwarded: Forwarded::UriMiss,
            landing: Landing::done(),
            own: None,
        }
    }
}

/// What is answered.
pub enum Content {
    /// A stored response, whole; others are given the same.
    Stored(Arc<Entry>),
    /// A response that will be stored, whose body still arrives; others may read along.
    Arriving(Arc<Entry>, Reader),
    /// The origin's response for this request alone.
    Once(Box<Reply<Body>>),
}

/// What is left to do before an answer is stored; whoever leads the flight does it.
///
/// This is the one path by which an entry comes to be stored: the fetch begins a landing, each tier on the way up
/// adds its own `put` to it, and the flight (or whoever stands in for it) runs it to its end. Dropped, nothing is
/// stored and readers of the body are cut off.
pub struct Landing {
    stage: Stage,
    /// What is let go of when the landing is over: the fleet's lease.
    held: Option<Box<dyn Any + Send>>,
}

enum Stage {
    Done,
    Whole(Arc<Entry>),
    Arriving(Arriving),
}

/// Resolves when a body is whole and stored below, or to nothing when it cannot be kept.
type Arriving = Pin<Box<dyn Future<Output = Option<Arc<Entry>>> + Send>>;

impl Landing {
    /// Nothing is to be stored.
    pub fn done() -> Self {
        Self { stage: Stage::Done, held: None }
    }

    /// An entry that is whole already is to be stored by the tiers above.
    pub fn whole(entry: Arc<Entry>) -> Self {
        Self { stage: Stage::Whole(entry), held: None }
    }

    /// A body is to be brought in first.
    pub fn arriving(arriving: impl Future<Output = Option<Arc<Entry>>> + Send + 'static) -> Self {
        Self { stage: Stage::Arriving(Box::pin(arriving)), held: None }
    }

    /// Adds `keep`, which gets the whole entry once the layers below have kept it.
    #[must_use]
    pub fn then<K, F>(self, keep: K) -> Self
    where
        K: FnOnce(Arc<Entry>) -> F + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let stage = match self.stage {
            Stage::Done => Stage::Done,
            Stage::Whole(entry) => Stage::Arriving(Box::pin(async move {
                keep(entry.clone()).await;
                Some(entry)
            })),
            Stage::Arriving(arriving) => Stage::Arriving(Box::pin(async move {
                let entry = arriving.await?;
                keep(entry.clone()).await;
                Some(entry)
            })),
        };
        Self { stage, held: self.held }
    }

    /// Stores what `judge` makes of the whole entry, if anything; whoever reads along is not held up by it.
    #[must_use]
    pub fn only_if<J, F>(self, judge: J) -> Self
    where
        J: FnOnce(Arc<Entry>) -> F + Send + 'static,
        F: Future<Output = Option<Arc<Entry>>> + Send,
    {
        let arriving: Arriving = match self.stage {
            Stage::Done => return self,
            Stage::Whole(entry) => Box::pin(async move { judge(entry).await }),
            Stage::Arriving(arriving) => Box::pin(async move { judge(arriving.await?).await }),
        };
        Self { stage: Stage::Arriving(arriving), held: self.held }
    }

    /// Holds on to `lease` until the landing is over, however it ends.
    #[must_use]
    pub fn holding(self, lease: impl Send + 'static) -> Self {
        Self { stage: self.stage, held: Some(Box::new(lease)) }
    }

    /// Whether there is nothing left to do.
    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Runs the landing to its end; returns what was stored.
    pub async fn run(self) -> Option<Arc<Entry>> {
        // Bound to the whole of this function: what is held falls when the landing is over.
        let _held = self.held;
        match self.stage {
            Stage::Done => None,
            Stage::Whole(entry) => Some(entry),
            Stage::Arriving(arriving) => arriving.await,
        }
    }
}
