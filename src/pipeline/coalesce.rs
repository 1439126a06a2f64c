//! One flight per URL, variant and part in this process, which goes on whoever leaves; clients subscribe to it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tower::layer::layer_fn;
use tower::{Layer, Service};

use crate::entry::Entry;
use crate::key::vary::Variant;
use crate::lookup::answer::{Answer, Content, Landing};
use crate::lookup::outcome::{Forwarded, Kept, Layer as CacheLayer, Outcome, Source};
use crate::lookup::{Company, Held, Lookup, Until};
use crate::message::fill::Fill;
use crate::origin::failure::OriginFailure;
use crate::pipeline::board::{Board, Captain, Flight, News, Part, may_be_shared};
use crate::pipeline::judge::{Judge, stand_in};
use crate::pipeline::peek::Descent;
use crate::pipeline::unshared::Unshared;
use crate::purge::ledger::Ledger;
use crate::route::Coalescing;
use crate::telemetry::metrics::Metrics;

/// How long a follower waits for a head before it goes by itself; the flight's own deadlines are shorter.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How often a follower changes over to the flight of its own variant before it goes by itself.
const CHANGES: usize = 2;

/// Shares fetches among the requests of one process.
pub(crate) struct Coalesce<S>(Arc<Parts<S>>);

struct Parts<S> {
    judge: Arc<Judge>,
    board: Arc<Board>,
    unshared: Arc<Unshared>,
    tasks: TaskTracker,
    metrics: Metrics,
    inner: S,
}

/// What coalescing knows, for as long as the process lives: a reload keeps it.
#[derive(Clone)]
pub struct Flights {
    board: Arc<Board>,
    unshared: Arc<Unshared>,
    /// What flights leave to do, which a drain waits for.
    pub tasks: TaskTracker,
}

impl Flights {
    pub fn new(tasks: TaskTracker) -> Self {
        Self { board: Arc::new(Board::new()), unshared: Arc::new(Unshared::new()), tasks }
    }

    /// How many flights are under way.
    pub fn aloft(&self) -> usize {
        self.board.len()
    }
}

impl<S> Coalesce<S>
where
    S: Service<Box<Lookup>, Response = Answer, Error = OriginFailure, Future = Descent>,
    S: Clone + Send + Sync + 'static,
{
    pub(crate) fn layer(
        judge: Arc<Judge>,
        flights: Flights,
        metrics: Metrics,
    ) -> impl Layer<S, Service = Self> + Clone {
        layer_fn(move |inner| {
            let Flights { board, unshared, tasks } = flights.clone();
            let (judge, metrics) = (judge.clone(), metrics.clone());
            Self(Arc::new(Parts { judge, board, unshared, tasks, metrics, inner }))
        })
    }

    async fn answer(self, mut lookup: Box<Lookup>) -> Result<Answer, OriginFailure> {
        let parts = &self.0;
        if lookup.company == Company::Shared && parts.unshared.knows(lookup.key, lookup.now) {
            parts.metrics.counts().hits_for_miss.one();
            lookup.company = Company::Unshared;
        }
        if awaits_clearance(&lookup) {
            // Its own answer is compared with what is held; no store has another.
            lookup.company = Company::Unshared;
        }
        if lookup.company != Company::Shared || lookup.route.coalescing == Coalescing::Off {
            return self.alone(lookup).await;
        }
        for _ in 0..=CHANGES {
            let flight = match parts.board.board(&lookup, &parts.judge.ledger) {
                Part::Lead(captain) => {
                    parts.metrics.counts().flights.one();
                    let flight = Box::pin(self.clone().fly(captain, lookup));
                    return Leading { flight: Some(flight), tasks: &parts.tasks }.await;
                }
                Part::Follow(flight) => {
                    parts.metrics.counts().followers.one();
                    flight
                }
            };
            match hear(&flight).await {
                News::Landed(entry, outcome, wanted) => {
                    if !is_for_all(&outcome) && wanted != lookup.directives {
                        break;
                    }
                    if !entry.variant.is_selected_by(&lookup.selector()) {
                        lookup.variant =
                            Variant::digest_for(entry.variant.names(), &lookup.selector());
                        lookup.forwarded = Forwarded::VaryMiss;
                        continue;
                    }
                    if !lookup.is_answered_by_entry(&entry) {
                        break;
                    }
                    if !parts.judge.is_cleared(&lookup, &entry) {
                        let (layer, until) = (CacheLayer::L1, Until::Cleared);
                        lookup.held = Some(Held { entry, layer, until });
                        break;
                    }
                    if let Some(content) = along(entry) {
                        return Ok(Answer {
                            content,
                            outcome: followed(outcome),
                            forwarded: lookup.forwarded,
                            landing: Landing::done(),
                            own: None,
                        });
                    }
                    break;
                }
                News::Failed(failure) => {
                    return Self::or_stale(failure, &lookup, &parts.judge.ledger);
                }
                News::Released => break,
            }
        }
        let company = if awaits_clearance(&lookup) { Company::Unshared } else { Company::Alone };
        lookup.company = company;
        self.alone(lookup).await
    }

    /// What the leader could not serve a follower may hold itself: a refresh's failure hides nothing that is
    /// servable on error.
    fn or_stale(
        failure: OriginFailure,
        lookup: &Lookup,
        ledger: &Ledger,
    ) -> Result<Answer, OriginFailure> {
        match stand_in(lookup.held.clone(), ledger) {
            Some((entry, layer)) => {
                let answer = Answer::stored(entry, Outcome::StaleOnError(layer, failure));
                Ok(Answer { forwarded: lookup.forwarded, ..answer })
            }
            None => Err(failure),
        }
    }

    /// Descends, and tells everybody aboard.
    async fn fly(self, captain: Captain, lookup: Box<Lookup>) -> Result<Answer, OriginFailure> {
        let (key, now, wanted) = (lookup.key, lookup.now, lookup.directives);
        let answer = match self.0.inner.clone().call(lookup).await {
            Ok(answer) => answer,
            Err(failure) => {
                captain.tell(News::Failed(failure.clone()));
                return Err(failure);
            }
        };
        let Answer { content, outcome, forwarded, landing, own } = answer;
        match &content {
            Content::Stored(entry) | Content::Arriving(entry, _) => {
                captain.tell(if may_be_shared(entry, &outcome) {
                    News::Landed(entry.clone(), outcome.clone(), wanted)
                } else {
                    News::Released
                });
            }
            Content::Once(reply) => {
                // Failures pass by themselves: the next herd shares one fetch again.
                if !reply.status.is_server_error() && is_lasting(&outcome) {
                    self.0.unshared.remember(key, now);
                }
                captain.tell(News::Released);
            }
        }
        let arriving = arriving(&content);
        if !landing.is_done() {
            let unshared = self.0.unshared.clone();
            self.end(async move {
                landing.run().await;
                if arriving.is_some_and(|fill| fill.is_too_large()) {
                    // Too large to be kept, as it turned out: nobody should wait for the next one.
                    unshared.remember(key, now);
                }
                // Struck only now: who comes between the last byte and the store finds either the flight or the entry.
                drop(captain);
            });
        }
        Ok(Answer { content, outcome, forwarded, landing: Landing::done(), own })
    }

    /// Does what is left to do: at once, if it need not wait, as what is whole is mostly stored; else in a task of its own.
    fn end(&self, end: impl Future<Output = ()> + Send + 'static) {
        let mut end = Box::pin(end);
        if end.as_mut().now_or_never().is_none() {
            self.0.tasks.spawn(end);
        }
    }

    /// Descends for this request only. Should the answer turn out to be one to keep, it is kept all the same.
    async fn alone(self, lookup: Box<Lookup>) -> Result<Answer, OriginFailure> {
        let (key, company) = (lookup.key, lookup.company);
        let answer = self.0.inner.clone().call(lookup).await?;
        let Answer { content, outcome, forwarded, landing, own } = answer;
        let is_kept = !matches!(content, Content::Once(_));
        if !landing.is_done() {
            let unshared = self.0.unshared.clone();
            self.end(async move {
                // Only what was really kept shows that the URL may be shared again; a part may be one of what is too
                // large as a whole.
                let whole = landing.run().await.is_some_and(|entry| entry.part().is_none());
                if whole && is_kept && company == Company::Unshared {
                    unshared.forget(key);
                }
            });
        }
        Ok(Answer { content, outcome, forwarded, landing: Landing::done(), own })
    }
}

/// A flight that its leader's own task drives: most answers cross no other task so. A leader that leaves changes nothing
/// for the others, since a task of its own then flies on.
struct Leading<'a> {
    flight: Option<Descent>,
    tasks: &'a TaskTracker,
}

impl Future for Leading<'_> {
    type Output = Result<Answer, OriginFailure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(flight) = &mut self.flight else {
            return Poll::Ready(Err(OriginFailure::Abandoned));
        };
        let landed = ready!(flight.as_mut().poll(context));
        self.flight = None;
        Poll::Ready(landed)
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        let Some(flight) = self.flight.take() else { return };
        // After a panic it cannot go on, and without a runtime nobody waits.
        if !std::thread::panicking() && Handle::try_current().is_ok() {
            self.tasks.spawn(flight);
        }
    }
}

/// Whether what is held was fetched for another identity, and is to be compared.
fn awaits_clearance(lookup: &Lookup) -> bool {
    lookup.held.as_ref().is_some_and(|held| held.until == Until::Cleared)
}

/// Waits for the news of a flight.
async fn hear(flight: &Flight) -> News {
    timeout(LONGEST_WAIT, flight.news()).await.unwrap_or(News::Released)
}

/// The body that still arrives, if one does.
fn arriving(content: &Content) -> Option<Fill> {
    let Content::Arriving(entry, _) = content else { return None };
    entry.arriving().map(|(fill, _)| fill.clone())
}

/// Whether an answer has the origin's word of now. What was found in a store is right for what its leader asked of
/// stored responses (RFC 9111 §5.2.1), and for nobody who asks for less or for more.
fn is_for_all(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Hit(_) | Outcome::Stale(_) => false,
        Outcome::StaleOnError(..)
        | Outcome::Revalidated(_)
        | Outcome::Miss(_)
        | Outcome::Followed(_)
        | Outcome::Passed(_)
        | Outcome::Purged
        | Outcome::Failed(..)
        | Outcome::Refused(_) => true,
    }
}

/// The content for somebody who reads along; nothing when the body has outgrown what is kept of it.
fn along(entry: Arc<Entry>) -> Option<Content> {
    match entry.arriving() {
        None => Some(Content::Stored(entry)),
        Some((fill, _)) => {
            let reader = fill.read(0..u64::MAX).ok()?;
            Some(Content::Arriving(entry, reader))
        }
    }
}

fn followed(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Hit(layer @ CacheLayer::L2) => Outcome::Followed(Source::Layer(layer)),
        Outcome::Revalidated(_) | Outcome::Miss(_) | Outcome::Followed(_) => {
            Outcome::Followed(Source::Origin)
        }
        Outcome::Hit(_)
        | Outcome::Stale(_)
        | Outcome::StaleOnError(..)
        | Outcome::Passed(_)
        | Outcome::Purged
        | Outcome::Failed(..)
        | Outcome::Refused(_) => outcome,
    }
}

/// Whether the next answer for the URL will probably be for one client alone as well.
fn is_lasting(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Miss(Kept::Left(why)) => why.is_lasting(),
        Outcome::Hit(_)
        | Outcome::Stale(_)
        | Outcome::StaleOnError(..)
        | Outcome::Revalidated(_)
        | Outcome::Miss(Kept::Stored)
        | Outcome::Followed(_)
        | Outcome::Passed(_)
        | Outcome::Purged
        | Outcome::Failed(..)
        | Outcome::Refused(_) => false,
    }
}

impl<S> Clone for Coalesce<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> Service<Box<Lookup>> for Coalesce<S>
where
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
        Box::pin(self.clone().answer(lookup))
    }
}
