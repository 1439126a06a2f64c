//! Runs a Larder: starts its parts in order, supervises them, drains them.

mod admin;
mod assemble;
mod downstream;
mod handover;
mod intake;
mod reloading;
mod remedy;
mod rewarm;
mod routes;
mod sweeping;
mod threshold;
mod tripwire;
mod workers;

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::admin::readiness::{Readiness, State};
use crate::app::admin::Changing;
use crate::app::assemble::{House, Loose, Threads, limits};
use crate::app::downstream::Desk;
use crate::app::handover::Inherited;
use crate::app::reloading::{Outside, Reloading};
use crate::app::routes::Origins;
use crate::app::threshold::Thresholds;
use crate::app::workers::Workers;
use crate::breaker;
use crate::config::settings::{self, Settings, Speaks};
use crate::config::{Config, Overrides};
use crate::pipeline;
use crate::purge::ledger::Contact;
use crate::refresh::worker::work;
use crate::route::switches::{Switch, Switches};
use crate::server::introduction::Counts;
use crate::server::shutdown::{Drain, Ending};
use crate::store::redis::Server;
use crate::store::{self, memory};
use crate::telemetry::access::AccessLog;
use crate::telemetry::labels::{BreakerState, Eviction, Reading};
use crate::telemetry::logs;
use crate::telemetry::metrics::{Metrics, ServerState};
use crate::time::Timestamp;

/// How long a start waits for the purge log before it goes on, trusting nothing that is stored.
const CATCH_UP: Duration = Duration::from_secs(3);
/// How long queued writes may take at the end.
const FLUSH: Duration = Duration::from_secs(5);
/// Refreshes under way at a time.
const REFRESHING: usize = 64;
/// Threads for what no client waits on: disk, refreshes, the purge log, the admin API.
const BACKGROUND_THREADS: usize = 2;
/// The one for connections to Redis, on which clients do wait: nothing else holds up its answers, and a single thread
/// need not wake another for each of them.
const REDIS_THREADS: usize = 1;

/// Why a Larder did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is to be mended: exit code 2.
    #[error("{0}")]
    Configuration(String),
    /// The machine or the network is to be mended: exit code 1.
    #[error("{0}")]
    Failed(String),
}

/// What is run.
pub struct Plan {
    pub settings: Settings,
    /// Where the settings came from, to be read again on a reload.
    pub config: Config,
    pub overrides: Overrides,
    /// Called with the addresses when everything listens.
    pub ready: Box<dyn FnOnce(&Bound) + Send>,
}

/// Where a Larder listens.
#[derive(Clone, Debug)]
pub struct Bound {
    pub listen: Vec<Public>,
    pub admin: SocketAddr,
}

/// Where clients ask, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Public {
    pub address: SocketAddr,
    pub speaks: Speaks,
}

impl fmt::Display for Public {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.speaks {
            Speaks::Plain => "http",
            Speaks::Tls => "https",
        };
        write!(formatter, "{scheme}://{}", self.address)
    }
}

/// Tells on stderr where it listens.
pub fn tell(bound: &Bound) {
    let mut stderr = io::stderr().lock();
    // Nobody reads: then nobody misses it.
    for public in &bound.listen {
        let _ = writeln!(stderr, "larder: listening on {public}");
    }
    let _ = writeln!(stderr, "larder: admin on http://{}", bound.admin);
}

/// Runs until SIGTERM or SIGINT, and drains then.
pub fn run(plan: Plan) -> Result<(), StartError> {
    let inherited = Inherited::take()?;
    let background = runtime("larder-background", BACKGROUND_THREADS)?;
    let redis = runtime("larder-redis", REDIS_THREADS)?;
    let threads =
        Threads { background: background.handle().clone(), redis: redis.handle().clone() };
    let ended = background.block_on(serve(plan, inherited, threads));
    stop(background);
    stop(redis);
    ended
}

fn runtime(name: &str, threads: usize) -> Result<Runtime, StartError> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .enable_all()
        .build()
        .map_err(|why| remedy::failed("cannot start threads", &why))
}

fn stop(runtime: Runtime) {
    runtime.shutdown_timeout(Duration::from_secs(1));
}

async fn serve(plan: Plan, mut inherited: Inherited, threads: Threads) -> Result<(), StartError> {
    let Plan { settings, config, overrides, ready } = plan;
    let level = logs::install(log_format(settings.log), settings.log.level.as_str())
        .map_err(|why| StartError::Failed(why.to_string()))?;
    let outside = Outside::listen(&config, &settings);
    let (access, _flushed_at_the_end) = access_log(settings.log)?;
    // Bound before anything is opened: a port that is taken is told at once.
    let thresholds = Thresholds::new(&settings)?;
    let sockets = workers::sockets(&settings, &thresholds, &mut inherited)?;
    let admin_socket = admin::socket(settings.admin.listen, &mut inherited)?;
    inherited.close();
    let bound = Bound {
        listen: sockets.iter().map(|socket| socket.public).collect(),
        admin: admin_socket.address,
    };
    let instance = format!("{}-{:08x}", std::process::id(), rand::random::<u32>());
    let (house, loose) = House::build(&settings, &instance, access, &threads).await?;
    let house = Arc::new(house);
    let Loose { refreshes, origins, alarms } = loose;
    let tasks = TaskTracker::new();
    let readiness = Arc::new(Readiness::default());
    let drain = Drain::new();
    readings(&house, &drain);
    thresholds_told(&house.metrics, &thresholds);

    let follower = house.purger.join(Instant::now() + CATCH_UP).await;
    if house.ledger.contact() == Contact::Lost {
        warn!("the purge log is away; what is stored is validated before it is served");
    }
    tasks.spawn(follower.follow());

    tasks.spawn(sweeping::sweep(house.clone()));
    if let Some(redis) = &house.redis {
        tasks.spawn(sweeping::sweep_redis(house.clone(), redis.entries().sweeper()));
    }
    let (front, below) = pipeline::build(house.stack());
    if let (Some(redis), Some(stream)) = (&house.redis, &settings.intake) {
        let intake = redis.intake(&house.service, stream);
        tasks.spawn(intake::take(house.clone(), intake));
    }
    let (finder, found) = rewarm::queue();
    let (submissions, pace) = (house.purger.submissions(), settings.purge.rewarm);
    tasks.spawn(rewarm::find(house.clone(), pace, submissions, finder));
    tasks.spawn(rewarm::fetch(house.clone(), pace, below.clone(), found));
    tasks.spawn(tripwire::raise(house.clone(), alarms));
    tasks.spawn(work(refreshes, below, REFRESHING, house.flights.tasks.clone()));
    let grace = settings.limits.drain;
    // Before anybody is served or told that this serves: from now on a signal drains, and does not kill.
    let termination = Termination::listen()?;
    let workers = Workers::start(sockets, &front, &Arc::new(limits(&settings)), &drain)?;
    let changing = Changing::new(&settings);
    let desk = Desk {
        targets: changing.targets.clone(),
        board: changing.board.clone(),
        metrics: house.metrics.clone(),
    };
    tasks.spawn(downstream::tell(desk, house.purger.submissions()));
    routes::watch(&origins, &Origins::new(), &tasks);
    let (reloading, loader) = Reloading::new(reloading::Start {
        house: house.clone(),
        tasks: tasks.clone(),
        running: settings,
        origins,
        level,
        terms: thresholds.terms,
        changing: changing.clone(),
        config,
        overrides,
        outside,
    });
    let serving = admin::start(admin_socket, &house, changing, readiness.clone(), loader)?;
    let reloading = tasks.spawn(reloading.run());

    // Whoever reads where it listens may ask at once whether it is ready.
    readiness.set(State::Ready);
    ready(&bound);
    handover::ready();
    termination.asked().await;

    info!("draining");
    handover::stopping();
    readiness.set(State::Draining);
    let end = Instant::now() + grace;
    match drain.finish(grace).await {
        Ending::Clean => {}
        Ending::Cut(connections) => warn!(connections, "the grace is over; connections were cut"),
    }
    reloading.abort();
    finish_flights(&house).await;
    house.close(end, FLUSH).await;
    workers.stop();
    serving.stop().await;
    Ok(())
}

/// Lets flights land that clients have left, for a short while: what they bring is worth keeping, not waiting for.
async fn finish_flights(house: &House) {
    house.flights.tasks.close();
    let _ = tokio::time::timeout(Duration::from_secs(2), house.flights.tasks.wait()).await;
}

/// The signals by which a process is asked to end.
struct Termination {
    terminate: Signal,
    interrupt: Signal,
}

impl Termination {
    /// Listens from now on; before, they end the process.
    fn listen() -> Result<Self, StartError> {
        let listen =
            |kind| signal(kind).map_err(|why| remedy::failed("cannot listen for signals", &why));
        let terminate = listen(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Returns when one has come since [`Termination::listen`].
    async fn asked(mut self) {
        self.next().await;
        // A second signal ends at once, as an impatient operator expects.
        Handle::current().spawn(async move {
            self.next().await;
            std::process::exit(1);
        });
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn log_format(log: settings::Log) -> logs::Format {
    match log.format {
        settings::LogFormat::Text => logs::Format::Text,
        settings::LogFormat::Json => logs::Format::Json,
    }
}

fn access_log(
    log: settings::Log,
) -> Result<(AccessLog, crate::telemetry::access::AccessGuard), StartError> {
    let started = AccessLog::start(access_format(log), io::stdout());
    started.map_err(|why| remedy::failed("cannot start the access log", &why))
}

fn access_format(log: settings::Log) -> Option<logs::Format> {
    use crate::telemetry::logs::Format;
    match (log.access, log.format) {
        (settings::AccessLog::Off, _) => None,
        (settings::AccessLog::On, settings::LogFormat::Text) => Some(Format::Text),
        (settings::AccessLog::On, settings::LogFormat::Json) => Some(Format::Json),
    }
}

/// What is read when the metrics are asked for.
fn readings(house: &Arc<House>, drain: &Drain) {
    let House { metrics, memory, second, .. } = &**house;
    let read = |reading, value: Box<dyn Fn() -> u64 + Send + Sync>| {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        metrics.read(reading, move || value() as f64);
    };
    let own = |value: fn(&House) -> usize| -> Box<dyn Fn() -> u64 + Send + Sync> {
        let house = house.clone();
        Box::new(move || value(&house) as u64)
    };
    let on = |switch: fn(&Switches) -> Switch| -> Box<dyn Fn() -> u64 + Send + Sync> {
        let switches = house.switches.clone();
        Box::new(move || u64::from(switch(&switches) == Switch::On))
    };
    read(Reading::L1On, on(Switches::l1));
    if second.counts().is_some() {
        read(Reading::L2On, on(Switches::l2));
    }
    read(Reading::L1Keys, own(|house| house.memory.len()));
    read(Reading::L2Writes, own(|house| house.second.queued()));
    read(Reading::Flights, own(|house| house.flights.aloft()));
    let (air, refusing) = (house.air.clone(), house.air.clone());
    read(Reading::AirBytes, Box::new(move || air.held()));
    read(Reading::AirRefused, Box::new(move || refusing.refusals()));
    read(Reading::Refreshes, own(|house| house.refresher.len()));
    read(Reading::LedgerPurges, own(|house| house.ledger.len()));
    read(
        Reading::SprungRoutes,
        own(|house| house.routes.load().all().filter(|route| route.tripwire.has_sprung()).count()),
    );
    read(Reading::PurgesPending, own(|house| house.purger.pending()));
    let (purger, born) = (house.purger.clone(), Instant::now());
    metrics.read(Reading::PurgeLag, move || {
        purger.lag().unwrap_or_else(|| born.elapsed()).as_secs_f64()
    });
    let ledger = house.ledger.clone();
    read(Reading::PurgeTrust, Box::new(move || u64::from(ledger.is_trusted(Timestamp::now()))));
    let (bytes, drain, access) = (memory.clone(), drain.clone(), house.access.clone());
    read(Reading::L1Bytes, Box::new(move || bytes.bytes()));
    read(Reading::Connections, Box::new(move || drain.connections() as u64));
    read(Reading::AccessLogDropped, Box::new(move || access.dropped()));
    for (reason, count) in [
        (Eviction::Capacity, (|counts| &counts.capacity) as fn(&memory::Counts) -> &AtomicU64),
        (Eviction::Variants, |counts| &counts.variants),
        (Eviction::Swept, |counts| &counts.swept),
    ] {
        let memory = memory.clone();
        let number = move || count(memory.counts()).load(Ordering::Relaxed);
        metrics.l1().read_evictions(reason, number);
    }
    let corrupt = second.clone();
    metrics.l2().read_evictions(Eviction::Corrupt, move || {
        let counts = corrupt.counts().into_iter();
        counts.flat_map(store::Counts::unreadable).map(|(_, number)| number).sum()
    });
    let swept = second.clone();
    metrics.l2().read_evictions(Eviction::Swept, move || {
        swept.counts().map_or(0, |counts| counts.swept.load(Ordering::Relaxed))
    });
    if let Some(counts) = second.counts() {
        counts.report_to(metrics);
    }
    if let Some(redis) = house.redis.clone() {
        let servers = redis.clone();
        read(Reading::L2Breaker, Box::new(move || breaker(redis.breaker_state()) as u64));
        metrics.read_servers(move || servers.servers().into_iter().map(server).collect());
    }
}

/// What is read of certificates, and of connections that never came to a request.
fn thresholds_told(metrics: &Metrics, thresholds: &Thresholds) {
    let Thresholds { terms, counts } = thresholds;
    if let Some(terms) = terms.clone() {
        #[expect(clippy::cast_precision_loss, reason = "a reading is a float")]
        metrics.read(Reading::CertificateUntil, move || terms.until() as f64);
    }
    for (reading, count) in [
        (
            Reading::HandshakesFailed,
            (|counts| &counts.handshakes_failed) as fn(&Counts) -> &AtomicU64,
        ),
        (Reading::ProxyHeadersRefused, |counts| &counts.proxy_headers_refused),
        (Reading::ClientsCrowding, |counts| &counts.crowding),
        (Reading::UnreadableRequests, |counts| &counts.unreadable),
    ] {
        let counts = counts.clone();
        #[expect(clippy::cast_precision_loss, reason = "a reading is a float")]
        metrics.read(reading, move || count(&counts).load(Ordering::Relaxed) as f64);
    }
}

fn server(server: Server) -> ServerState {
    let Server { name, is_up, breaker: state } = server;
    ServerState { name, is_up, breaker: breaker(state) }
}

fn breaker(state: breaker::State) -> BreakerState {
    match state {
        breaker::State::Closed => BreakerState::Closed,
        breaker::State::HalfOpen => BreakerState::HalfOpen,
        breaker::State::Open => BreakerState::Open,
    }
}
