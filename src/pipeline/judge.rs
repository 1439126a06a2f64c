//! One judgement of a stored response for all layers: its standing in the purge log, then its freshness.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use rand::Rng;

use crate::entry::Entry;
use crate::entry::facts::Standing;
use crate::entry::freshness::Freshness;
use crate::entry::sharing::Asker;
use crate::lookup::answer::Answer;
use crate::lookup::outcome::{Forwarded, Layer, Outcome};
use crate::lookup::{Accepts, Held, Lookup, Until};
use crate::message::cache_control::RequestDirectives;
use crate::message::plain::Bears;
use crate::pipeline::unshared::Unshared;
use crate::policy::reuse::{OnError, Question, Reuse, WhyRefresh, reuse};
use crate::purge::ledger::Ledger;
use crate::refresh::Refresher;
use crate::route::switches::{Switch, Switches};
use crate::route::tripwire::asker;
use crate::route::{Layers, Route};
use crate::telemetry::labels::Invalidation;
use crate::telemetry::metrics::Metrics;
use crate::time::Timestamp;

/// What every layer that finds a stored response asks.
pub(crate) struct Judge {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) refresher: Refresher,
    pub(crate) metrics: Metrics,
    pub(crate) switches: Switches,
    /// How long a copy in memory is served before the fleet's store is asked for a newer one, where its route does not
    /// say.
    pub(crate) compare_after: Option<Duration>,
    /// URLs of which a copy from elsewhere was not drawn lately: it is not drawn again each time it is read.
    pub(crate) undrawn: Unshared,
}

/// What a layer does with what it found.
pub(crate) enum Verdict {
    /// It answers.
    Answer(Answer),
    /// It is noted in the lookup, and the layers below are asked.
    Hold,
    /// It does not exist any more.
    Gone,
}

impl Judge {
    /// Whether `entry`, which memory found for a request without directives, is a hit that needs nothing done besides
    /// being sent. What is not may still answer; that is for [`Judge::judge`] to say, which counts it.
    pub(crate) fn lets_pass(
        &self,
        route: &Route,
        entry: &Entry,
        bears: Bears,
        now: Timestamp,
    ) -> bool {
        self.uses(route, Layer::L1)
            && is_plainly_cleared(route, entry, bears)
            && entry.part().is_none()
            && entry.status == StatusCode::OK
            && !self.is_due_for_comparison(route, entry, now)
            && reuse(&Question {
                freshness: &self.freshness(route, entry, Layer::L1),
                status: entry.status,
                standing: self.ledger.standing(entry, now),
                directives: RequestDirectives::default(),
                policy: &route.policy,
                now,
                dice: NEVER_EARLY,
            }) == Reuse::Serve
    }

    /// Judges `entry`, which `layer` found for `lookup`; what holds it back is noted there.
    pub(crate) fn judge(&self, lookup: &mut Lookup, entry: &Arc<Entry>, layer: Layer) -> Verdict {
        let reuse = self.ask(lookup, entry, layer);
        let outcome = match reuse {
            Reuse::Refuse(_) => return Verdict::Gone,
            _ if !lookup.is_answered_by_entry(entry) => {
                return hold(lookup, entry, layer, Until::Completed);
            }
            Reuse::Serve | Reuse::ServeAndRefresh(_) if !self.is_cleared(lookup, entry) => {
                return hold(lookup, entry, layer, Until::Cleared);
            }
            Reuse::Serve if is_known(lookup, entry) => {
                return hold(lookup, entry, layer, Until::Validated(OnError::Fail));
            }
            Reuse::Serve
                if layer == Layer::L1
                    && self.is_due_for_comparison(&lookup.route, entry, lookup.now) =>
            {
                return hold(lookup, entry, layer, Until::Compared);
            }
            Reuse::Serve => Outcome::Hit(layer),
            Reuse::ServeAndRefresh(why) => match lookup.accepts {
                Accepts::OnlyFresh => {
                    return hold(lookup, entry, layer, Until::Validated(OnError::Fail));
                }
                Accepts::StaleInWindow => {
                    self.refresher.ask(lookup, entry, layer);
                    outcome_while_refreshing(why, layer)
                }
            },
            Reuse::Hold { on_error, why } => {
                if why.is_by_client() {
                    lookup.forwarded = Forwarded::Request;
                }
                let on_error = match on_error {
                    OnError::Serve if self.is_cleared(lookup, entry) => OnError::Serve,
                    OnError::Serve | OnError::Fail => OnError::Fail,
                };
                return hold(lookup, entry, layer, Until::Validated(on_error));
            }
        };
        Verdict::Answer(Answer::stored(entry.clone(), outcome))
    }

    /// Whether the tripwire lets `entry` answer `lookup`. The first time that an entry meets another identity it is drawn,
    /// or shared with everybody from then on.
    pub(crate) fn is_cleared(&self, lookup: &Lookup, entry: &Entry) -> bool {
        let (route, sharing) = (&lookup.route, entry.sharing());
        if route.tripwire.is_off()
            || sharing.is_with_everybody()
            || lookup.accepts == Accepts::OnlyFresh
            || sharing.is_with(asker(&lookup.request.headers, &route.key))
        {
            return true;
        }
        if sharing.is_watched() {
            return false;
        }
        let is_copy = sharing.is_unknown();
        if !(is_copy && self.undrawn.knows(lookup.key, lookup.now)) && route.tripwire.draws() {
            sharing.watch();
            return false;
        }
        if is_copy {
            self.undrawn.remember(lookup.key, lookup.now);
        }
        sharing.open();
        true
    }

    /// Whether a layer is part of what the route uses at the moment.
    pub(crate) fn uses(&self, route: &Route, layer: Layer) -> bool {
        match (self.switches.left_of(route.layers), layer) {
            (Some(Layers::Both), _)
            | (Some(Layers::OnlyL1), Layer::L1)
            | (Some(Layers::OnlyL2), Layer::L2) => true,
            (Some(Layers::OnlyL1), Layer::L2) | (Some(Layers::OnlyL2), Layer::L1) | (None, _) => {
                false
            }
        }
    }

    /// Whether a layer may be written at the moment, by whoever used it a moment ago.
    pub(crate) fn may_write(&self, layer: Layer) -> bool {
        let switch = match layer {
            Layer::L1 => self.switches.l1(),
            Layer::L2 => self.switches.l2(),
        };
        switch == Switch::On
    }

    fn ask(&self, lookup: &Lookup, entry: &Entry, layer: Layer) -> Reuse {
        let standing = self.ledger.standing(entry, lookup.now);
        self.count(standing, layer);
        reuse(&Question {
            freshness: &self.freshness(&lookup.route, entry, layer),
            status: entry.status,
            standing,
            directives: lookup.directives,
            policy: &lookup.route.policy,
            now: lookup.now,
            dice: dice(lookup, standing),
        })
    }

    /// Counts what the purge log says of an entry that was found.
    fn count(&self, standing: Standing, layer: Layer) {
        let reason = match standing {
            Standing::Good => return,
            Standing::MarkedStale(_) => Invalidation::MarkedStale,
            Standing::Unvouched => Invalidation::Unvouched,
            Standing::Gone => Invalidation::Purged,
        };
        match layer {
            Layer::L1 => self.metrics.l1(),
            Layer::L2 => self.metrics.l2(),
        }
        .invalidated(reason);
    }

    /// An entry's freshness as the layer that holds it lets it be.
    fn freshness(&self, route: &Route, entry: &Entry, layer: Layer) -> Freshness {
        let cap = match layer {
            // Its copy is compared instead, where there is something to compare it with.
            Layer::L1 if self.has_layer_below(route) => None,
            Layer::L1 => route.caps.l1,
            Layer::L2 => route.caps.l2,
        };
        entry.freshness().capped(cap)
    }

    /// Whether a copy in memory is old enough for the layer below to have a newer one.
    fn is_due_for_comparison(&self, route: &Route, entry: &Entry, now: Timestamp) -> bool {
        let longest = || route.caps.l1.or(self.compare_after);
        longest().is_some_and(|longest| entry.taken_since(now) > longest)
            && self.has_layer_below(route)
    }

    fn has_layer_below(&self, route: &Route) -> bool {
        self.switches.left_of(route.layers) == Some(Layers::Both)
    }
}

/// Whether the tripwire lets `entry` answer a plain request without another look.
fn is_plainly_cleared(route: &Route, entry: &Entry, bears: Bears) -> bool {
    let sharing = entry.sharing();
    !route.tripwire.has_sprung()
        && (route.tripwire.is_off()
            || sharing.is_with_everybody()
            || bears == Bears::Nothing && sharing.is_with(Asker::Nobody))
}

/// A refresh is not content with what it was asked to replace, nor with another copy of it.
fn is_known(lookup: &Lookup, entry: &Entry) -> bool {
    match (lookup.accepts, &lookup.held) {
        (Accepts::OnlyFresh, Some(held)) => {
            entry.freshness().received <= held.entry.freshness().received
        }
        (Accepts::OnlyFresh, None) | (Accepts::StaleInWindow, _) => false,
    }
}

/// Notes what is held. A newer one takes the place of an older one, and what could answer that of a part that could not.
fn hold(lookup: &mut Lookup, entry: &Arc<Entry>, layer: Layer, until: Until) -> Verdict {
    let rank = |until, entry: &Entry| (until != Until::Completed, entry.freshness().received);
    let known = lookup.held.as_ref().map(|held| rank(held.until, &held.entry));
    if known.is_none_or(|known| known <= rank(until, entry)) {
        lookup.held = Some(Held { entry: entry.clone(), layer, until });
    }
    if lookup.forwarded == Forwarded::UriMiss {
        lookup.forwarded = match until {
            Until::Completed => Forwarded::Partial,
            Until::Validated(_) | Until::Compared => Forwarded::Stale,
            Until::Cleared => Forwarded::Unshared,
        };
    }
    Verdict::Hold
}

/// What is held, where it may stand in for an origin that failed (RFC 5861 §4). Asking took its time: what was purged
/// meanwhile does not exist any more, and a window that is over is over.
pub(crate) fn stand_in(held: Option<Held>, ledger: &Ledger) -> Option<(Arc<Entry>, Layer)> {
    let Held { entry, layer, until: Until::Validated(OnError::Serve) } = held? else { return None };
    let now = Timestamp::now();
    let natural = entry.freshness().staleness(now);
    let staleness = match ledger.standing(&entry, now) {
        Standing::Good => natural,
        Standing::MarkedStale(since) => natural.max(now.since(since)),
        Standing::Unvouched | Standing::Gone => return None,
    };
    (staleness < entry.freshness().stale_if_error).then_some((entry, layer))
}

fn outcome_while_refreshing(why: WhyRefresh, layer: Layer) -> Outcome {
    match why {
        WhyRefresh::Stale | WhyRefresh::ClientAcceptsStale => Outcome::Stale(layer),
        WhyRefresh::RefreshAhead | WhyRefresh::Early => Outcome::Hit(layer),
    }
}

/// A throw between 0 and 1, only where the route may need one.
fn dice(lookup: &Lookup, standing: Standing) -> f64 {
    if lookup.route.policy.early_refresh.is_some() && standing == Standing::Good {
        rand::rng().random()
    } else {
        NEVER_EARLY
    }
}

/// The throw of the dice that asks for no early refresh.
const NEVER_EARLY: f64 = 1.0;
