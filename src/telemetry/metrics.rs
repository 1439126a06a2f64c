//! Every metric's handles: what may be counted, measured and read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::telemetry::exposition;
use crate::telemetry::labels::{BreakerState, Ending, Eviction, Invalidation, Operation, Reading};
use crate::telemetry::tally::{Count, Latency, Snapshot, Spread};

/// All metrics of one Larder. Cloning shares them.
#[derive(Clone)]
pub struct Metrics(Arc<All>);

/// Everything that is rendered.
pub(super) struct All {
    pub(super) service: String,
    pub(super) born: Instant,
    pub(super) routes: Mutex<BTreeMap<String, RouteMetrics>>,
    unrouted: RouteMetrics,
    pub(super) origins: Mutex<BTreeMap<String, OriginMetrics>>,
    pub(super) l1: LayerMetrics,
    pub(super) l2: LayerMetrics,
    pub(super) counts: Counts,
    pub(super) readings: Mutex<BTreeMap<Reading, Read>>,
    pub(super) servers: Mutex<Option<ReadServers>>,
}

/// The state of one server of a store, as it is seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// Host and port.
    pub name: String,
    pub is_up: bool,
    pub breaker: BreakerState,
}

/// An endpoint of an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointState {
    /// Its URL.
    pub name: String,
    /// Whether it gets requests.
    pub is_used: bool,
}

/// Reads the states of an origin's endpoints when they are asked for.
pub(super) type ReadEndpoints = Box<dyn Fn() -> Vec<EndpointState> + Send + Sync>;

/// Reads the states of a store's servers when they are asked for.
pub(super) type ReadServers = Box<dyn Fn() -> Vec<ServerState> + Send + Sync>;

/// Reads a value when it is asked for.
pub(super) type Read = Box<dyn Fn() -> f64 + Send + Sync>;

/// The route under which requests are counted that were refused before a route was asked.
pub(crate) const UNROUTED: &str = "none";

impl Metrics {
    /// The media type of what [`Metrics::render`] writes.
    pub const MEDIA_TYPE: &'static str =
        "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// Metrics of the service of this name, all at nought.
    pub fn new(service: &str) -> Self {
        let unrouted = RouteMetrics::default();
        let routes = BTreeMap::from([(UNROUTED.to_owned(), unrouted.clone())]);
        Self(Arc::new(All {
            service: service.to_owned(),
            born: Instant::now(),
            routes: Mutex::new(routes),
            unrouted,
            origins: Mutex::default(),
            l1: LayerMetrics::default(),
            l2: LayerMetrics::default(),
            counts: Counts::default(),
            readings: Mutex::default(),
            servers: Mutex::default(),
        }))
    }

    /// The handles of the route of this name; the same ones each time, so that a reload goes on counting.
    pub fn route(&self, name: &(impl fmt::Display + ?Sized)) -> RouteMetrics {
        self.0.routes.lock().entry(name.to_string()).or_default().clone()
    }

    /// The handles for requests that no route took.
    pub fn unrouted(&self) -> &RouteMetrics {
        &self.0.unrouted
    }

    /// The handles of the origin of this name; the same ones each time.
    pub fn origin(&self, name: &(impl fmt::Display + ?Sized)) -> OriginMetrics {
        self.0.origins.lock().entry(name.to_string()).or_default().clone()
    }

    pub fn l1(&self) -> &LayerMetrics {
        &self.0.l1
    }

    pub fn l2(&self) -> &LayerMetrics {
        &self.0.l2
    }

    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// Has `value` read at every scrape, in the place of what was read for `reading` before. It must not block.
    pub fn read(&self, reading: Reading, value: impl Fn() -> f64 + Send + Sync + 'static) {
        self.0.readings.lock().insert(reading, Box::new(value));
    }

    /// Has the states of the L2's servers read at every scrape. It must not block.
    pub fn read_servers(&self, states: impl Fn() -> Vec<ServerState> + Send + Sync + 'static) {
        *self.0.servers.lock() = Some(Box::new(states));
    }

    /// The value of a reading, where one was given.
    pub fn value(&self, reading: Reading) -> Option<f64> {
        self.0.readings.lock().get(&reading).map(|read| read())
    }

    /// How long these metrics have been counting.
    pub fn uptime(&self) -> Duration {
        self.0.born.elapsed()
    }

    /// How often requests ended so, over all routes.
    pub fn requests(&self, ending: Ending) -> u64 {
        self.0.routes.lock().values().map(|route| route.count(ending)).sum()
    }

    /// The part of the looked-up requests that the cache answered since the start, from 0 to 1.
    pub fn hit_rate(&self) -> f64 {
        let sum = |endings: &[Ending]| endings.iter().map(|ending| self.requests(*ending)).sum();
        let (answered, asked): (u64, u64) = (sum(&Ending::ANSWERED), sum(&Ending::ASKED));
        exposition::ratio(answered, answered + asked)
    }

    /// Everything, as `OpenMetrics` text, which scrapers of the older Prometheus format read as well.
    pub fn render(&self) -> String {
        exposition::render(self)
    }

    pub(super) fn all(&self) -> &Arc<All> {
        &self.0
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Metrics").field(&self.0.service).finish()
    }
}

/// The handles of one route's metrics. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct RouteMetrics(Arc<Spread<RouteCells>>);

#[derive(Debug, Default)]
struct RouteCells {
    durations: [Latency; Ending::ALL.len()],
    bytes: Count,
}

impl RouteMetrics {
    /// Counts one request. Costs three relaxed atomic additions to memory that other threads rarely touch.
    pub fn record(&self, ending: Ending, bytes: u64, took: Duration) {
        let cells = self.0.here();
        cells.durations[ending as usize].observe(took);
        cells.bytes.add(bytes);
    }

    /// How many requests ended so.
    pub fn count(&self, ending: Ending) -> u64 {
        self.durations(ending).count()
    }

    pub(super) fn durations(&self, ending: Ending) -> Snapshot {
        let mut sum = Snapshot::default();
        for cells in self.0.each() {
            sum.add(&cells.durations[ending as usize].snapshot());
        }
        sum
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.each().map(|cells| cells.bytes.get()).sum()
    }
}

/// Tells a number that somebody else counts.
struct Tell(Box<dyn Fn() -> u64 + Send + Sync>);

impl fmt::Debug for Tell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Tell").field(&(self.0)()).finish()
    }
}

/// The handles of one layer's metrics.
#[derive(Debug, Default)]
pub struct LayerMetrics {
    hits: Spread<Count>,
    misses: Spread<Count>,
    durations: [Latency; Operation::ALL.len()],
    errors: [Count; Operation::ALL.len()],
    failures: Mutex<BTreeMap<&'static str, u64>>,
    evictions: Mutex<BTreeMap<Eviction, Tell>>,
    invalidations: [Count; Invalidation::ALL.len()],
}

impl LayerMetrics {
    /// The layer held what could answer.
    pub fn hit(&self) {
        self.hits.here().one();
    }

    /// The layer held nothing that could answer.
    pub fn miss(&self) {
        self.misses.here().one();
    }

    pub fn took(&self, operation: Operation, duration: Duration) {
        self.durations[operation as usize].observe(duration);
    }

    /// An operation failed; `reason` is one of a few fixed words.
    pub fn failed(&self, operation: Operation, reason: &'static str) {
        self.errors[operation as usize].one();
        *self.failures.lock().entry(reason).or_default() += 1;
    }

    /// Has `number` read at every scrape: how often the layer let go of an entry for this reason.
    pub fn read_evictions(
        &self,
        reason: Eviction,
        number: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        self.evictions.lock().insert(reason, Tell(Box::new(number)));
    }

    /// An entry was found that a purge spoke of.
    pub fn invalidated(&self, reason: Invalidation) {
        self.invalidations[reason as usize].one();
    }

    pub fn hits(&self) -> u64 {
        self.hits.each().map(Count::get).sum()
    }

    pub fn misses(&self) -> u64 {
        self.misses.each().map(Count::get).sum()
    }

    pub fn errors(&self) -> u64 {
        self.errors.iter().map(Count::get).sum()
    }

    pub fn evictions(&self) -> u64 {
        Eviction::ALL.iter().map(|reason| self.evictions_by(*reason)).sum()
    }

    pub fn invalidations(&self) -> u64 {
        self.invalidations.iter().map(Count::get).sum()
    }

    pub(super) fn durations(&self, operation: Operation) -> Snapshot {
        self.durations[operation as usize].snapshot()
    }

    pub(super) fn errors_of(&self, operation: Operation) -> u64 {
        self.errors[operation as usize].get()
    }

    pub(super) fn evictions_by(&self, reason: Eviction) -> u64 {
        self.evictions.lock().get(&reason).map_or(0, |Tell(number)| number())
    }

    pub(super) fn invalidations_by(&self, reason: Invalidation) -> u64 {
        self.invalidations[reason as usize].get()
    }

    pub(super) fn failures(&self) -> BTreeMap<&'static str, u64> {
        self.failures.lock().clone()
    }
}

/// The handles of one origin's metrics. Cloning shares them.
#[derive(Clone, Default)]
pub struct OriginMetrics(Arc<OriginCells>);

#[derive(Default)]
pub(super) struct OriginCells {
    /// From the request's first byte to the response's head.
    pub(super) durations: Latency,
    pub(super) retries: Count,
    pub(super) failures: Mutex<BTreeMap<&'static str, u64>>,
    breaker: Count,
    endpoints: Mutex<Option<ReadEndpoints>>,
}

impl fmt::Debug for OriginMetrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OriginMetrics").finish_non_exhaustive()
    }
}

impl OriginMetrics {
    /// Has the states of the endpoints read at every scrape, in the place of those of before. It must not block.
    pub fn read_endpoints(&self, states: impl Fn() -> Vec<EndpointState> + Send + Sync + 'static) {
        *self.0.endpoints.lock() = Some(Box::new(states));
    }

    /// The origin's answer began after this long.
    pub fn answered(&self, took: Duration) {
        self.0.durations.observe(took);
    }

    pub fn retried(&self) {
        self.0.retries.one();
    }

    /// No answer came; `reason` is one of a few fixed words.
    pub fn failed(&self, reason: &'static str) {
        *self.0.failures.lock().entry(reason).or_default() += 1;
    }

    /// Tells the state that the breaker is in from now on.
    pub fn breaker(&self, state: BreakerState) {
        self.0.breaker.set(state as u64);
    }

    pub(super) fn cells(&self) -> &OriginCells {
        &self.0
    }
}

impl OriginCells {
    pub(super) fn endpoints(&self) -> Vec<EndpointState> {
        self.endpoints.lock().as_ref().map(|read| read()).unwrap_or_default()
    }

    pub(super) fn breaker(&self) -> u64 {
        self.breaker.get()
    }
}

/// What is counted for all of Larder. Every count is rendered, also at nought.
#[derive(Debug, Default)]
pub struct Counts {
    /// Flights that began: fetches that requests may share.
    pub flights: Count,
    /// Requests that joined another's flight.
    pub followers: Count,
    /// Requests that went straight to the origin, because their URL was uncacheable lately.
    pub hits_for_miss: Count,
    /// Requests that passed because their key is not rolled out yet, or because every layer of their route is off.
    pub rollout_passed: Count,
    pub layers_off_passed: Count,
    pub rate_limited: Count,
    pub too_many_keys: Count,
    /// Comparisons of an entry with another identity's answer, routes found to share what differs, and requests that passed for it.
    pub tripwire_probes: Count,
    pub tripwire_alarms: Count,
    pub tripwire_passed: Count,
    pub refreshes_asked: Count,
    pub refreshes_dropped: Count,
    pub refreshes_failed: Count,
    /// Leases had, leases waited for, and waits that ended without an answer.
    pub leases_taken: Count,
    pub leases_waited: Count,
    pub leases_missed: Count,
    /// Purges asked of this instance over its admin API.
    pub purges_asked: Count,
    /// Events that were told to this instance, webhooks among them.
    pub events: Count,
    /// Events from a stream that purged nothing, because they were not understood.
    pub events_refused: Count,
    /// Entries asked for again after a purge, those that were fetched, such fetches that brought nothing, and entries that could not be asked
    /// for again.
    pub rewarms_asked: Count,
    pub rewarmed: Count,
    pub rewarms_failed: Count,
    pub rewarms_skipped: Count,
    /// Purges told downstream, attempts that failed, and purges that were given up or not told whole.
    pub downstream_told: Count,
    pub downstream_retried: Count,
    pub downstream_failed: Count,
    /// Purges asked of this instance that the log did not take.
    pub purges_detached: Count,
    pub reloads: Count,
    pub reloads_refused: Count,
    /// Responses whose body ended before its end because of the origin, or because the client left.
    pub bodies_cut_off: Count,
    /// Bytes of the bodies that were written to L2, as they are served and as they are stored.
    pub bodies_put: Count,
    pub bodies_stored: Count,
    pub clients_left: Count,
    pub admin_refusals: Count,
}
