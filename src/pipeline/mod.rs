//! The whole stack, in the order in which a request meets it.
//!
//! ```text
//! observe - gate ------------- pass ------------------------------- origin
//!             |                  ' answers to POST that are kept enter below the peek
//!             |- deliver - peek - coalesce - tier(L1) - tier(L2) - lease - tripwire - fetch - origin
//!                                ^ refreshes enter here
//! ```

mod board;
pub mod coalesce;
mod content;
mod crossing;
mod deliver;
pub mod fetch;
mod gate;
mod glance;
mod inflow;
mod inspect;
mod judge;
mod lease;
pub mod observe;
pub mod onward;
mod pass;
mod peek;
mod posted;
mod purging;
mod ration;
mod tier;
pub mod tripwire;
mod unshared;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::uri::Scheme;
use tower::ServiceBuilder;

use crate::lookup::cache_status::CacheId;
use crate::lookup::outcome::Layer;
use crate::message::air::Air;
use crate::message::interim::Outbox;
use crate::message::plain::Shortcut;
use crate::pipeline::coalesce::{Coalesce, Flights};
use crate::pipeline::deliver::Deliver;
use crate::pipeline::fetch::{Fetch, Limits};
use crate::pipeline::gate::Gate;
use crate::pipeline::glance::Glance;
use crate::pipeline::judge::Judge;
use crate::pipeline::lease::Lease;
use crate::pipeline::observe::{Observatory, Observe};
use crate::pipeline::onward::Trusted;
use crate::pipeline::pass::Pass;
use crate::pipeline::peek::Peek;
use crate::pipeline::tier::Tier;
use crate::pipeline::tripwire::{Alarms, Tripwire};
use crate::pipeline::unshared::Unshared;
use crate::purge::ledger::Ledger;
use crate::purge::log::PurgeLog;
use crate::purge::purger::Purger;
use crate::rate::Rates;
use crate::refresh::Refresher;
use crate::route::switches::Switches;
use crate::route::table::RouteTable;
use crate::store::memory::Memory;
use crate::store::{Leases, Store};
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Metrics;

/// Everything that the stack is built from; each part lives longer than a stack.
pub(crate) struct Parts<St, Le, Lo> {
    pub service: String,
    /// What `Cache-Status` calls this cache.
    pub cache_name: String,
    pub routes: Arc<ArcSwap<RouteTable>>,
    pub rates: Rates,
    pub ledger: Arc<Ledger>,
    pub purger: Purger<Lo>,
    pub memory: Memory,
    pub second: St,
    pub leases: Le,
    pub flights: Flights,
    pub refresher: Refresher,
    pub trusted: Trusted,
    pub limits: Limits,
    /// The room for bodies in the air.
    pub air: Air,
    pub alarms: Alarms,
    pub switches: Switches,
    /// How long a copy in memory is served before the second level is asked for a newer one; nothing without one.
    pub compare_after: Option<Duration>,
    pub metrics: Metrics,
    pub access: AccessLog,
}

/// The stack: what answers clients, and what answers refreshes.
pub(crate) fn build<St, Le, Lo>(parts: Parts<St, Le, Lo>) -> (Front<St, Le, Lo>, Below<St, Le>)
where
    St: Store,
    Le: Leases,
    Lo: PurgeLog,
{
    let Parts { ledger, metrics, memory, second, flights, leases, .. } = &parts;
    let judge = Arc::new(Judge {
        ledger: ledger.clone(),
        refresher: parts.refresher.clone(),
        metrics: metrics.clone(),
        switches: parts.switches.clone(),
        compare_after: parts.compare_after,
        undrawn: Unshared::new(),
    });
    let below = ServiceBuilder::new()
        // One flight per URL and variant: whatever is slow below is done once.
        .layer(Coalesce::layer(judge.clone(), flights.clone(), metrics.clone()))
        // Memory again, since somebody may have landed since the peek.
        .layer(Tier::layer(judge.clone(), memory.clone(), Layer::L1, metrics.clone()))
        .layer(Tier::layer(judge.clone(), second.clone(), Layer::L2, metrics.clone()))
        // The fleet is asked only when neither level has it.
        .layer(Lease::layer(judge.clone(), leases.clone(), second.clone()))
        // What was fetched for another identity is compared before it answers.
        .layer(Tripwire::layer(parts.alarms.clone(), metrics.clone()))
        .service(Fetch::new(
            ledger.clone(),
            parts.trusted.clone(),
            parts.limits,
            parts.switches.clone(),
            parts.air.clone(),
        ));
    let cache = CacheId::new(&parts.cache_name);
    let glances = Arc::new(glance::Parts {
        service: parts.service.as_str().into(),
        cache: cache.clone(),
        routes: parts.routes.clone(),
        rates: parts.rates.clone(),
        trusted: parts.trusted.clone(),
        judge: judge.clone(),
        memory: memory.clone(),
        metrics: metrics.clone(),
        log: parts.access.clone(),
    });
    let lookups = Deliver::new(
        // Before everything that awaits: a hit ends here.
        ServiceBuilder::new()
            .layer(Peek::layer(judge, memory.clone(), metrics.clone()))
            .service(below.clone()),
    );
    let tasks = flights.tasks.clone();
    let trusted = parts.trusted.clone();
    let passages = Pass::new(pass::Needs {
        purger: parts.purger,
        below: below.clone(),
        routes: parts.routes.clone(),
        trusted: parts.trusted,
        tasks,
        service: parts.service.as_str().into(),
        refresher: parts.refresher,
    });
    let needs = gate::Needs {
        service: &parts.service,
        routes: parts.routes,
        rates: parts.rates,
        switches: parts.switches,
        trusted,
        air: parts.air,
    };
    let gate = Gate::new(needs, lookups, passages);
    let observatory = Observatory::new(parts.metrics, parts.access, cache);
    (Front { observatory, gate, glances }, below)
}

/// What stands before clients.
#[derive(Clone)]
pub(crate) struct Front<St, Le, Lo> {
    observatory: Observatory,
    gate: Entrance<St, Le, Lo>,
    glances: Arc<glance::Parts>,
}

impl<St, Le, Lo> Front<St, Le, Lo> {
    /// What answers the requests of one connection, which is spoken to by `scheme`; interim responses to them go into
    /// its `outbox`.
    pub(crate) fn welcome(
        &self,
        client: IpAddr,
        scheme: Scheme,
        outbox: &Arc<Outbox>,
    ) -> Clients<St, Le, Lo> {
        self.observatory.observe(client, scheme, outbox.clone(), self.gate.clone())
    }

    /// What answers the plain requests of one connection where it can, before the stack is asked.
    pub(crate) fn shortcut(&self, client: IpAddr, scheme: Scheme) -> Box<dyn Shortcut> {
        Box::new(Glance::new(self.glances.clone(), client, scheme))
    }
}

/// What answers refreshes, and keeps what is answered elsewhere: everything below the peek.
pub(crate) type Below<St, Le> = Coalesce<Tier<Memory, Tier<St, Lease<Le, St, Tripwire<Fetch>>>>>;

/// What answers one connection's requests.
pub(crate) type Clients<St, Le, Lo> = Observe<Entrance<St, Le, Lo>>;

/// The gate, and both ways behind it.
type Entrance<St, Le, Lo> = Gate<Deliver<Peek<Below<St, Le>>>, Pass<Lo, Below<St, Le>>>;

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;
    use crate::store::shared::{FleetLeases, FleetLog, SecondLevel};

    /// Layers that clone what they hold make a hit three times as dear.
    #[test]
    fn every_layer_is_one_arc_deep() {
        type Inner = Below<SecondLevel, FleetLeases>;
        type Leased = Lease<FleetLeases, SecondLevel, Tripwire<Fetch>>;
        let pointer = size_of::<usize>();
        assert_eq!(size_of::<Fetch>(), pointer);
        assert_eq!(size_of::<Tripwire<Fetch>>(), pointer);
        assert_eq!(size_of::<Leased>(), pointer);
        assert_eq!(size_of::<Tier<SecondLevel, Leased>>(), pointer);
        assert_eq!(size_of::<Inner>(), pointer);
        assert_eq!(size_of::<Deliver<Peek<Inner>>>(), pointer);
        assert_eq!(size_of::<Gate<Deliver<Peek<Inner>>, Pass<FleetLog, Inner>>>(), pointer);
    }
}
