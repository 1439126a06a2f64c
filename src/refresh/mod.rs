//! Lookups without a client: what is asked for in the background, once and within bounds.

pub mod seed;
pub mod worker;

use std::collections::HashSet;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, PRAGMA};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::entry::Entry;
use crate::key::Key;
use crate::lookup::outcome::{Forwarded, Layer};
use crate::lookup::{Accepts, Company, Fleet, Held, Lookup, Until};
use crate::message::cache_control::RequestDirectives;
use crate::message::fields::CONDITIONS;
use crate::policy::reuse::OnError;
use crate::telemetry::metrics::Metrics;

/// Asks for refreshes. Never blocks: what is queued already is not queued again, what does not fit is counted and
/// dropped; the next hit asks again.
#[derive(Clone)]
pub struct Refresher {
    sender: mpsc::Sender<Asked>,
    queued: Arc<Queued>,
    metrics: Metrics,
}

#[derive(Default)]
struct Queued {
    names: Mutex<HashSet<(Key, u128)>>,
}

/// The receiving side, for the worker.
pub struct Queue {
    receiver: mpsc::Receiver<Asked>,
    pub(crate) metrics: Metrics,
}

/// A refresh that is wanted; as long as it lives, no other is queued for the same variant.
pub struct Asked {
    pub lookup: Lookup,
    _name: Name,
}

struct Name {
    queued: Arc<Queued>,
    name: (Key, u128),
}

/// A queue of at most `capacity` refreshes.
pub fn queue(capacity: usize, metrics: Metrics) -> (Refresher, Queue) {
    let (sender, receiver) = mpsc::channel(capacity);
    let queue = Queue { receiver, metrics: metrics.clone() };
    (Refresher { sender, queued: Arc::default(), metrics }, queue)
}

impl Refresher {
    /// Asks for a newer `entry` than the one that `lookup` was just answered with.
    pub fn ask(&self, lookup: &Lookup, entry: &Arc<Entry>, layer: Layer) {
        self.queue((lookup.key, entry.variant.digest()), || refreshing(lookup, entry, layer));
    }

    /// Asks for what nobody asks for at the moment; see [`seed`].
    pub fn fetch(&self, lookup: Lookup) {
        self.queue((lookup.key, lookup.variant), || lookup);
    }

    fn queue(&self, name: (Key, u128), lookup: impl FnOnce() -> Lookup) {
        if !self.queued.names.lock().insert(name) {
            return;
        }
        let name = Name { queued: self.queued.clone(), name };
        let asked = Asked { lookup: lookup(), _name: name };
        let counts = self.metrics.counts();
        counts.refreshes_asked.one();
        if self.sender.try_send(asked).is_err() {
            counts.refreshes_dropped.one();
        }
    }

    /// How many are queued or under way.
    pub fn len(&self) -> usize {
        self.queued.names.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The lookup that brings a newer one: shared with every client that asks meanwhile, and free of what this
/// client's directives asked for.
fn refreshing(lookup: &Lookup, entry: &Arc<Entry>, layer: Layer) -> Lookup {
    Lookup {
        request: shared_request(lookup),
        interim: None,
        variant: entry.variant.digest(),
        range: entry.part().map(|part| part.range().into()),
        directives: RequestDirectives::default(),
        accepts: Accepts::OnlyFresh,
        company: Company::Shared,
        fleet: Fleet::default(),
        held: Some(Held { entry: entry.clone(), layer, until: Until::Validated(OnError::Fail) }),
        forwarded: Forwarded::Refresh,
        ..lookup.clone()
    }
}

/// The client's request, as a GET where it was a HEAD, since a refresh must bring the body; and without what the
/// client has already or wants for itself, since a refresh may go alone, and nobody is there to take a 304.
fn shared_request(lookup: &Lookup) -> http::request::Parts {
    let mut request = lookup.request.clone();
    if lookup.content.is_none() {
        request.method = http::Method::GET;
    }
    for name in CONDITIONS.iter().chain(&[CACHE_CONTROL, PRAGMA]) {
        request.headers.remove(name);
    }
    request
}

impl Queue {
    /// The next refresh; nothing when nobody can ask any more.
    pub async fn next(&mut self) -> Option<Asked> {
        self.receiver.recv().await
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        self.queued.names.lock().remove(&self.name);
    }
}
