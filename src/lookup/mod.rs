//! What descends through the layers, and what ascends.

pub mod answer;
pub mod outcome;
pub mod record;

use std::sync::Arc;

use http::request::Parts;

use crate::entry::Entry;
use crate::entry::facts::Mark;
use crate::key::Key;
use crate::key::canonical::Target;
use crate::key::vary::Selector;
use crate::lookup::outcome::Forwarded;
use crate::message::cache_control::RequestDirectives;
use crate::route::Route;
use crate::time::Timestamp;

/// A question to the cache, on its way down.
pub struct Lookup {
    pub route: Arc<Route>,
    pub key: Key,
    pub target: Target,
    /// The client's request without its body; in a shared fetch only what every client would send is passed on.
    pub request: Parts,
    pub directives: RequestDirectives,
    pub accepts: Accepts,
    pub company: Company,
    /// What a layer above holds but may not serve yet: the origin is asked conditionally about it.
    pub held: Option<Held>,
    /// Why no layer so far could answer.
    pub forwarded: Forwarded,
    /// When the request was taken up.
    pub now: Timestamp,
    /// The purge log's mark when the request was taken up.
    pub as_of: Mark,
}

/// A stored response that may not be served without asking the origin.
#[derive(Clone)]
pub struct Held {
    pub entry: Arc<Entry>,
    pub on_error: OnError,
}

/// Whether a held response may be served when the origin fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    Serve,
    Fail,
}

/// What the asker is content with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// A client: stale answers as far as their windows allow.
    StaleInWindow,
    /// A refresh: only what is fresh, and not about to end.
    OnlyFresh,
}

/// With whom a lookup's answer may be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// With everybody who asks for the same: the fetch is canonical.
    Shared,
    /// With nobody: the fetch is the client's own request (hit-for-miss, HEAD).
    Alone,
}

impl Lookup {
    /// What of this request selects a variant.
    pub fn selector(&self) -> Selector<'_> {
        Selector { fields: &self.request.headers, rules: &self.route.vary }
    }
}
