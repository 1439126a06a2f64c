//! One fetch per key in the fleet.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower::layer::layer_fn;
use tower::{Layer, Service};

use crate::lookup::answer::{Answer, Landing};
use crate::lookup::outcome::Layer as CacheLayer;
use crate::lookup::{Company, Fleet, Lookup};
use crate::origin::failure::OriginFailure;
use crate::pipeline::judge::{Judge, Verdict};
use crate::pipeline::peek::Descent;
use crate::route::Coalescing;
use crate::store::{Lease as Right, Leases, Store, Waited};

/// Asks the fleet for the right to fetch. Who does not get it waits, bounded, for what the holder brings; a lost
/// lease or a dead holder costs one more fetch, never a request.
pub(crate) struct Lease<Le, St, S>(Arc<Parts<Le, St, S>>);

struct Parts<Le, St, S> {
    judge: Arc<Judge>,
    leases: Le,
    store: St,
    inner: S,
}

/// How long a lease lasts where the fetch time is not known: the longest that others wait for a dead holder.
const SPAN: Duration = Duration::from_secs(3);
/// The shortest lease: what is fetched in less may still be on its way into the store.
const SHORTEST: Duration = Duration::from_millis(200);

impl<Le, St, S> Lease<Le, St, S>
where
    Le: Leases,
    St: Store,
    S: Service<Box<Lookup>, Response = Answer, Error = OriginFailure, Future = Descent>,
    S: Clone + Send + Sync + 'static,
{
    pub(crate) fn layer(
        judge: Arc<Judge>,
        leases: Le,
        store: St,
    ) -> impl Layer<S, Service = Self> + Clone {
        layer_fn(move |inner| {
            let (judge, leases, store) = (judge.clone(), leases.clone(), store.clone());
            Self(Arc::new(Parts { judge, leases, store, inner }))
        })
    }

    /// Whether the fetch is the fleet's business.
    fn is_shared(&self, lookup: &Lookup) -> bool {
        lookup.company == Company::Shared
            && lookup.fleet == Fleet::InReach
            // What is asked for a part may bring one, which the others would not find in the fleet's store.
            && lookup.range.is_none()
            && lookup.route.coalescing == Coalescing::Fleet
            // Whoever waited would look for it there.
            && self.0.judge.uses(&lookup.route, CacheLayer::L2)
    }

    async fn answer(self, mut lookup: Box<Lookup>) -> Result<Answer, OriginFailure> {
        let parts = &self.0;
        let span = expected(&lookup);
        let counts = parts.judge.metrics.counts();
        match parts.leases.acquire(lookup.key, span).await {
            Right::Mine(held) => {
                counts.leases_taken.one();
                let answer = parts.inner.clone().call(lookup).await?;
                let landing = match held {
                    Some(held) => answer.landing.holding(held),
                    None => answer.landing,
                };
                Ok(Answer { landing, ..answer })
            }
            Right::Theirs => {
                counts.leases_waited.one();
                let brought = match parts.leases.released(lookup.key, span).await {
                    Waited::Over => self.brought(&mut lookup).await,
                    // Asked again, it would cost a second deadline.
                    Waited::OutOfReach => None,
                };
                if let Some(answer) = brought {
                    return Ok(answer);
                }
                counts.leases_missed.one();
                parts.inner.clone().call(lookup).await
            }
        }
    }

    /// What the holder of the lease brought into the fleet's store.
    async fn brought(&self, lookup: &mut Lookup) -> Option<Answer> {
        let parts = &self.0;
        lookup.now = crate::time::Timestamp::now();
        let found = parts.store.get(&lookup.place(), &lookup.selector()).await;
        let entry = found.ok().flatten()?;
        match parts.judge.judge(lookup, &entry, CacheLayer::L2) {
            Verdict::Answer(answer) => Some(Answer { landing: Landing::whole(entry), ..answer }),
            Verdict::Hold | Verdict::Gone => None,
        }
    }
}

/// How long the fetch may take: twice what it took the last time, where that is known.
fn expected(lookup: &Lookup) -> Duration {
    let known = lookup.held.as_ref().map(|held| held.entry.freshness().fetch_time * 2);
    known.unwrap_or(SPAN).clamp(SHORTEST, SPAN)
}

impl<Le, St, S> Clone for Lease<Le, St, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Le, St, S> Service<Box<Lookup>> for Lease<Le, St, S>
where
    Le: Leases,
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

    fn call(&mut self, lookup: Box<Lookup>) -> Descent {
        if !self.is_shared(&lookup) {
            return self.0.inner.clone().call(lookup);
        }
        Box::pin(self.clone().answer(lookup))
    }
}
