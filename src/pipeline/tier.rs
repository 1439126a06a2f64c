//! Find, judge, descend, keep: one layer, used for memory and for the fleet's store.

use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tower::layer::layer_fn;
use tower::{Layer, Service};
use tracing::debug;

use crate::entry::Entry;
use crate::lookup::answer::{Answer, Content, Landing};
use crate::lookup::outcome::{Forwarded, Layer as CacheLayer, Outcome};
use crate::lookup::{Company, Fleet, Held, Lookup, Until};
use crate::origin::failure::OriginFailure;
use crate::pipeline::judge::{Judge, Verdict, stand_in};
use crate::pipeline::peek::Descent;
use crate::store::{Place, Store, StoreError};
use crate::telemetry::labels::Operation;
use crate::telemetry::metrics::{LayerMetrics, Metrics};
use crate::time::Timestamp;

/// One level of the cache. A store's failure is a miss, at one line.
pub(crate) struct Tier<St, S>(Arc<Parts<St, S>>);

struct Parts<St, S> {
    judge: Arc<Judge>,
    store: St,
    layer: CacheLayer,
    metrics: Metrics,
    inner: S,
}

/// What a look into a store brought.
enum Found {
    Answer(Answer),
    /// It has nothing, and may be given something.
    Nothing,
    /// It was not asked, did not say, or has something that may not be served as it is.
    Unknown,
}

impl<St, S> Tier<St, S>
where
    St: Store,
    S: Service<Box<Lookup>, Response = Answer, Error = OriginFailure, Future = Descent>,
    S: Clone + Send + Sync + 'static,
{
    pub(crate) fn layer(
        judge: Arc<Judge>,
        store: St,
        layer: CacheLayer,
        metrics: Metrics,
    ) -> impl Layer<S, Service = Self> + Clone {
        layer_fn(move |inner| {
            let (judge, store, metrics) = (judge.clone(), store.clone(), metrics.clone());
            Self(Arc::new(Parts { judge, store, layer, metrics, inner }))
        })
    }

    async fn answer(self, mut lookup: Box<Lookup>) -> Result<Answer, OriginFailure> {
        let parts = &self.0;
        let place = lookup.place();
        let found = match lookup.company {
            Company::Shared | Company::Alone => self.find(&mut lookup, &place).await,
            Company::Unshared => Found::Unknown,
        };
        if let Found::Answer(answer) = found {
            return Ok(answer);
        }
        if let Some(answer) = self.compared(&mut lookup) {
            return Ok(match found {
                // The fleet lost it, or never got it: it has it again.
                Found::Nothing => self.keeping(answer, place),
                Found::Answer(_) | Found::Unknown => answer,
            });
        }
        let (held, forwarded) = (lookup.held.clone(), lookup.forwarded);
        let answer = parts.inner.clone().call(lookup).await;
        Ok(self.keeping(self.or_stale(answer, held, forwarded)?, place))
    }

    /// The answer, whose landing ends in this store as well.
    fn keeping(&self, answer: Answer, place: Place) -> Answer {
        let tier = self.clone();
        let landing = answer.landing.then(move |entry: Arc<Entry>| async move {
            if entry.part().is_some() && tier.0.layer == CacheLayer::L2 {
                // Parts are combined where they can be compared and replaced at once: in memory.
                return;
            }
            if !tier.0.judge.may_write(tier.0.layer) {
                return;
            }
            let begun = Instant::now();
            entry.take_at(Timestamp::now());
            let kept = tier.0.store.put(&place, entry).await;
            tier.note(Operation::Put, begun, kept.as_ref().err());
        });
        Answer { landing, ..answer }
    }

    /// What the store has, if it may be served.
    async fn find(&self, lookup: &mut Lookup, place: &Place) -> Found {
        let parts = &self.0;
        let begun = Instant::now();
        let found = parts.store.get(place, &lookup.selector()).await;
        self.note(Operation::Get, begun, found.as_ref().err());
        let found = match found {
            // It was lost on its way down: what memory holds takes its place.
            Ok(Some(entry)) if is_older(&entry, lookup) => Found::Nothing,
            Ok(Some(entry)) => self.judge(lookup, entry, place).await,
            Ok(None) => Found::Nothing,
            // A store never fails a request: its errors are misses from here on.
            Err(_) => {
                lookup.fleet = Fleet::OutOfReach;
                Found::Unknown
            }
        };
        self.count(&found);
        found
    }

    async fn judge(&self, lookup: &mut Lookup, entry: Arc<Entry>, place: &Place) -> Found {
        let parts = &self.0;
        match parts.judge.judge(lookup, &entry, parts.layer) {
            // Handed up, it is kept above as well; it keeps its age.
            Verdict::Answer(answer) => {
                Found::Answer(Answer { landing: Landing::whole(entry), ..answer })
            }
            Verdict::Hold => Found::Unknown,
            Verdict::Gone => {
                let begun = Instant::now();
                let removed = parts.store.remove(place).await;
                self.note(Operation::Remove, begun, removed.as_ref().err());
                Found::Nothing
            }
        }
    }

    /// What memory held back for a comparison, once the fleet's store turned out to have nothing newer; unless it could
    /// not be served from there either.
    fn compared(&self, lookup: &mut Lookup) -> Option<Answer> {
        if self.0.layer != CacheLayer::L2 {
            return None;
        }
        let held = lookup.held.take_if(|held| held.until == Until::Compared)?;
        match self.0.judge.judge(lookup, &held.entry, CacheLayer::L2) {
            Verdict::Answer(answer) => {
                held.entry.take_at(Timestamp::now());
                let outcome = in_memory(answer.outcome);
                Some(Answer { landing: Landing::whole(held.entry), outcome, ..answer })
            }
            Verdict::Hold | Verdict::Gone => None,
        }
    }

    /// A held response in the place of an origin's failure, where its windows allow (RFC 5861 §4, RFC 9111 §4.2.4).
    fn or_stale(
        &self,
        answer: Result<Answer, OriginFailure>,
        held: Option<Held>,
        forwarded: Forwarded,
    ) -> Result<Answer, OriginFailure> {
        let failure = match &answer {
            Err(failure) => Some(failure.clone()),
            Ok(answer) => failure_in(answer),
        };
        let Some(failure) = failure else { return answer };
        let Some((entry, layer)) = stand_in(held, &self.0.judge.ledger) else { return answer };
        debug!(error = %failure, "a stale response stands in for the origin's");
        let answer = Answer::stored(entry, Outcome::StaleOnError(layer, failure));
        Ok(Answer { forwarded, ..answer })
    }

    fn metrics(&self) -> &LayerMetrics {
        match self.0.layer {
            CacheLayer::L1 => self.0.metrics.l1(),
            CacheLayer::L2 => self.0.metrics.l2(),
        }
    }

    /// Counts a look into the fleet's store; memory was counted when it was peeked at.
    fn count(&self, found: &Found) {
        match (self.0.layer, found) {
            (CacheLayer::L1, _) => {}
            (CacheLayer::L2, Found::Answer(_)) => self.metrics().hit(),
            (CacheLayer::L2, Found::Nothing | Found::Unknown) => self.metrics().miss(),
        }
    }

    fn note(&self, operation: Operation, begun: Instant, error: Option<&StoreError>) {
        let metrics = self.metrics();
        metrics.took(operation, begun.elapsed());
        if let Some(error) = error {
            metrics.failed(operation, error.label());
        }
    }
}

/// The failure that an origin's answer tells of, if it is one that a stale response may hide.
fn failure_in(answer: &Answer) -> Option<OriginFailure> {
    let Content::Once(reply) = &answer.content else { return None };
    if matches!(answer.outcome, Outcome::Refused(_)) {
        return None;
    }
    // RFC 5861 §4: "an error is any situation that would result in a 500, 502, 503, or 504 HTTP response".
    let status = reply.status;
    matches!(status.as_u16(), 500 | 502 | 503 | 504).then_some(OriginFailure::Status(status))
}

/// Whether memory holds a younger one than this, which it may serve.
fn is_older(entry: &Entry, lookup: &Lookup) -> bool {
    lookup.held.as_ref().is_some_and(|held| {
        held.until == Until::Compared
            && entry.freshness().received < held.entry.freshness().received
    })
}

/// The outcome of what memory held, judged by what the layer below allows.
fn in_memory(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Hit(_) => Outcome::Hit(CacheLayer::L1),
        Outcome::Stale(_) => Outcome::Stale(CacheLayer::L1),
        Outcome::StaleOnError(..)
        | Outcome::Revalidated(_)
        | Outcome::Miss(_)
        | Outcome::Followed(_)
        | Outcome::Passed(_)
        | Outcome::Purged
        | Outcome::Failed(..)
        | Outcome::Refused(_) => outcome,
    }
}

impl<St, S> Clone for Tier<St, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<St, S> Service<Box<Lookup>> for Tier<St, S>
where
    St: Store,
    S: Service<Box<Lookup>, Response = Answer, Error = OriginFailure, Future = Descent>,
    S: Clone + Send + Sync + 'static,
{
    type Response = Answer;
    type Error = OriginFailure;
    type Future = Descent;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OriginFailure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut lookup: Box<Lookup>) -> Descent {
        if !self.0.judge.uses(&lookup.route, self.0.layer) {
            // Switched off since memory held it back.
            return match self.compared(&mut lookup) {
                Some(answer) => Box::pin(ready(Ok(answer))),
                None => self.0.inner.clone().call(lookup),
            };
        }
        Box::pin(self.clone().answer(lookup))
    }
}
