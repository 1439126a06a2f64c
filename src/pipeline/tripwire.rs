//! The tripwire: before an entry that was drawn answers another identity, that identity's own answer is compared with it.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::Method;
use http::header::CONTENT_ENCODING;
use tokio::sync::mpsc::UnboundedSender;
use tower::layer::layer_fn;
use tower::{Layer, Service};

use crate::entry::Entry;
use crate::entry::facts::RouteId;
use crate::entry::sharing::Asker;
use crate::lookup::answer::{Answer, Content, Landing};
use crate::lookup::outcome::{Forwarded, Kept, Outcome};
use crate::lookup::{Company, Lookup, Until};
use crate::message::body::Body;
use crate::message::fields::Named;
use crate::message::reading::{Extent, Reading};
use crate::message::reply::Reply;
use crate::origin::failure::OriginFailure;
use crate::pipeline::peek::Descent;
use crate::policy::storable::WhyNot;
use crate::policy::tripwire::{
    Coding, First, Question, Seen, Verdict, WhyLeaks, WhyUnclear, first, verdict,
};
use crate::route::tripwire::{asker, remove_identity};
use crate::telemetry::metrics::Metrics;
use crate::time::Timestamp;

/// The longest body of an answer that is not kept which is read for a comparison, in bytes.
const LONGEST: usize = 1 << 20;

/// A route that shares what differs by identity.
pub struct Alarm {
    pub route: RouteId,
    pub why: WhyLeaks,
}

/// To whoever purges and tells.
pub type Alarms = UnboundedSender<Alarm>;

/// Has a client whom a layer above would not answer with what it holds fetch its own, and compares: the client waits for
/// nothing else, and nothing is stored before it is clear.
pub(crate) struct Tripwire<S>(Arc<Parts<S>>);

struct Parts<S> {
    alarms: Alarms,
    metrics: Metrics,
    inner: S,
}

impl<S> Tripwire<S>
where
    S: Service<Box<Lookup>, Response = Answer, Error = OriginFailure, Future = Descent>,
    S: Clone + Send + Sync + 'static,
{
    pub(crate) fn layer(alarms: Alarms, metrics: Metrics) -> impl Layer<S, Service = Self> + Clone {
        layer_fn(move |inner| {
            let (alarms, metrics) = (alarms.clone(), metrics.clone());
            Self(Arc::new(Parts { alarms, metrics, inner }))
        })
    }

    async fn answer(self, mut lookup: Box<Lookup>) -> Result<Answer, OriginFailure> {
        let mut inner = self.0.inner.clone();
        let held = lookup.held.take_if(|held| held.until == Until::Cleared);
        let Some(held) = held else { return inner.call(lookup).await };
        let is_comparable = lookup.request.method == Method::GET
            && !lookup.directives.no_store
            && held.entry.part().is_none()
            && held.entry.whole().is_some();
        let mut inquiry = None;
        if is_comparable {
            self.0.metrics.counts().tripwire_probes.one();
            // What everybody else would ask for, so that it can be compared; the client's conditions are met from it.
            lookup.company = Company::Shared;
            lookup.range = None;
            let asker = asker(&lookup.request.headers, &lookup.route.key);
            let held = held.entry;
            inquiry = Some(Inquiry { wire: self, lookup: lookup.clone(), held, asker });
        }
        let answer = inner.call(lookup).await?;
        if let Content::Stored(own) | Content::Arriving(own, _) = &answer.content {
            // Who joins it has to be its asker too.
            own.sharing().watch();
        }
        let Answer { content, outcome, landing, own, .. } = answer;
        let landing = match (inquiry, &content) {
            (None, _) => landing,
            (Some(inquiry), Content::Once(reply)) => {
                let own = unread(reply);
                Landing::arriving(async move {
                    inquiry.judge(own, None).await;
                    None
                })
            }
            (Some(inquiry), Content::Stored(_) | Content::Arriving(..)) => {
                landing.only_if(move |own| async move {
                    let seen = seen(&own);
                    inquiry.judge(seen, Some(own)).await
                })
            }
        };
        let outcome = match outcome {
            Outcome::Miss(Kept::Stored) => Outcome::Miss(Kept::Left(WhyNot::Tripwire)),
            other => other,
        };
        Ok(Answer { content, outcome, forwarded: Forwarded::Unshared, landing, own })
    }

    /// What the origin answers to this; nothing where it fails. Nothing of it is stored.
    async fn fetch(&self, lookup: Box<Lookup>) -> Option<Seen> {
        let Answer { content, landing, .. } = self.0.inner.clone().call(lookup).await.ok()?;
        match content {
            Content::Stored(entry) => Some(seen(&entry)),
            Content::Arriving(_, reader) => {
                // Nobody reads: what does not fit is given up.
                drop(reader);
                landing.run().await.map(|entry| seen(&entry))
            }
            Content::Once(reply) => {
                let head = unread(&reply);
                let mut reading = Reading::new(reply.body);
                let whole = reading.up_to(LONGEST).await.is_ok_and(|it| it == Extent::Whole);
                let body = whole.then(|| reading.read().to_vec().into());
                Some(Seen { body, ..head })
            }
        }
    }
}

/// One comparison.
struct Inquiry<S> {
    wire: Tripwire<S>,
    /// The canonical request of whoever asked.
    lookup: Box<Lookup>,
    held: Arc<Entry>,
    asker: Asker,
}

impl<S> Inquiry<S>
where
    S: Service<Box<Lookup>, Response = Answer, Error = OriginFailure, Future = Descent>,
    S: Clone + Send + Sync + 'static,
{
    /// Compares, asks again where there is a difference, and returns what may be stored in the place of what was held.
    async fn judge(self, own: Seen, entry: Option<Arc<Entry>>) -> Option<Arc<Entry>> {
        let stored = seen(&self.held);
        let verdict = match first(&stored, &own) {
            First::Same => Verdict::Same,
            First::Unclear(why) => Verdict::Unclear(why),
            First::Differs => self.ask(&stored, &own).await,
        };
        self.settle(verdict, entry)
    }

    /// Why the two differ.
    async fn ask(&self, stored: &Seen, own: &Seen) -> Verdict {
        let Some(_turn) = self.lookup.route.tripwire.turn() else {
            return Verdict::Unclear(WhyUnclear::Busy);
        };
        let without = match self.asker {
            Asker::Nobody => None,
            Asker::Somebody(_) => {
                let mut lookup = self.lookup.clone();
                remove_identity(&mut lookup.request.headers, &lookup.route.key);
                self.wire.fetch(lookup).await
            }
        };
        // Between the two of the asker: what stays in both does not go by time.
        let again = self.wire.fetch(self.lookup.clone()).await;
        let (without, again) = (without.as_ref(), again.as_ref());
        verdict(&Question { asker: self.asker, stored, own, without, again })
    }

    fn settle(self, verdict: Verdict, entry: Option<Arc<Entry>>) -> Option<Arc<Entry>> {
        let Self { wire, lookup, held, asker } = self;
        let counts = wire.0.metrics.counts();
        let copies = || [Some(&held), entry.as_ref()].into_iter().flatten();
        match verdict {
            // For whom it was fetched is not known: it may have been this very asker.
            Verdict::Same if held.sharing().is_unknown() => {
                copies().for_each(|copy| copy.sharing().confirm(asker));
                entry
            }
            Verdict::Same => {
                copies().for_each(|copy| copy.sharing().open());
                entry
            }
            Verdict::Changed => {
                // What nobody in particular gets is watched on: it takes the place of somebody's.
                if asker != Asker::Nobody {
                    copies().skip(1).for_each(|own| own.sharing().open());
                }
                entry
            }
            Verdict::Volatile => {
                held.sharing().open();
                None
            }
            Verdict::Unclear(_) => None,
            Verdict::Leaks(why) => {
                if lookup.route.tripwire.spring(why, Timestamp::now()) {
                    counts.tripwire_alarms.one();
                    // At the end of the process nobody listens any more.
                    let _ = wire.0.alarms.send(Alarm { route: lookup.route.id.clone(), why });
                }
                None
            }
        }
    }
}

fn seen(entry: &Entry) -> Seen {
    Seen { status: entry.status, body: entry.bytes(), coding: coding(&entry.lines) }
}

fn unread(reply: &Reply<Body>) -> Seen {
    Seen { status: reply.status, body: None, coding: coding(&reply.fields) }
}

fn coding(fields: &impl Named) -> Coding {
    if fields.has(&CONTENT_ENCODING) { Coding::Coded } else { Coding::Plain }
}

impl<S> Clone for Tripwire<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> Service<Box<Lookup>> for Tripwire<S>
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
        if lookup.held.as_ref().is_none_or(|held| held.until != Until::Cleared) {
            return self.0.inner.clone().call(lookup);
        }
        Box::pin(self.clone().answer(lookup))
    }
}
