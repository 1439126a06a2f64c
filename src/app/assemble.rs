//! Builds every part from the configuration; starts nothing that serves.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::app::StartError;
use crate::app::routes::{Origins, table};
use crate::breaker;
use crate::config::settings::{self, L2, Settings};
use crate::message::air::Air;
use crate::message::network::Network;
use crate::pipeline::Parts;
use crate::pipeline::coalesce::Flights;
use crate::pipeline::fetch::Limits;
use crate::pipeline::onward::Trusted;
use crate::pipeline::tripwire::{Alarm, Alarms};
use crate::purge::ledger::Ledger;
use crate::purge::purger::{self, Purger, WhenDetached};
use crate::rate::Rates;
use crate::refresh::{self, Queue, Refresher};
use crate::route::switches::Switches;
use crate::route::table::RouteTable;
use crate::server::limits::{self, Crowding};
use crate::store::local_log::{LocalLog, Retention};
use crate::store::memory::{self, Memory};
use crate::store::redis::{self, Account, Arrangement, Certificates, Redis};
use crate::store::shared::{FleetLeases, FleetLog, SecondLevel};
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Metrics;

/// Refreshes that may wait.
const REFRESHES: usize = 4096;

/// Every part of a Larder: what a reload leaves alone, and the routes, which it replaces.
pub(crate) struct House {
    pub(crate) service: Arc<str>,
    cache_name: Arc<str>,
    pub(crate) metrics: Metrics,
    pub(crate) access: AccessLog,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) purger: Purger<FleetLog>,
    pub(crate) memory: Memory,
    pub(crate) second: SecondLevel,
    leases: FleetLeases,
    pub(crate) flights: Flights,
    pub(crate) refresher: Refresher,
    pub(crate) routes: Arc<ArcSwap<RouteTable>>,
    pub(crate) rates: Rates,
    limits: Limits,
    pub(crate) air: Air,
    pub(crate) trusted: Trusted,
    pub(crate) switches: Switches,
    compare_after: Option<Duration>,
    alarms: Alarms,
    /// Redis, where there is one.
    pub(crate) redis: Option<Redis>,
}

/// What only one may have: the queue of refreshes for its worker, the origins for the next reload.
pub(crate) struct Loose {
    pub(crate) refreshes: Queue,
    pub(crate) origins: Origins,
    pub(crate) alarms: UnboundedReceiver<Alarm>,
}

/// Where that runs which has no worker.
pub(crate) struct Threads {
    pub(crate) background: Handle,
    /// The connections to Redis.
    pub(crate) redis: Handle,
}

/// The stores of a fleet, or of a lone instance.
struct Stores {
    second: SecondLevel,
    leases: FleetLeases,
    log: FleetLog,
    redis: Option<Redis>,
}

impl House {
    /// Builds it. What lives in the background (connections to Redis, the disk's threads) lives on `threads`.
    pub(crate) async fn build(
        settings: &Settings,
        instance: &str,
        access: AccessLog,
        threads: &Threads,
    ) -> Result<(Self, Loose), StartError> {
        let metrics = Metrics::new(&settings.service);
        let rates = Rates::default();
        rates.set(settings.rate.as_ref());
        let (routes, origins) = table(settings, &metrics, &Origins::new(), &rates)?;
        let stores = stores(settings, instance, threads).await?;
        let ledger = Arc::new(Ledger::default());
        let purger = Purger::new(ledger.clone(), stores.log, purging(&settings.purge, instance));
        let (refresher, waiting) = refresh::queue(REFRESHES, metrics.clone());
        let memory = Memory::new(memory::Settings {
            capacity: settings.l1.capacity,
            max_object: settings.l1.max_object,
        });
        // Not bounded: each route raises one before somebody resets it.
        let (alarms, raised) = unbounded_channel();
        let limits = Limits { l1: memory.max_object(), l2: largest(&settings.l2) };
        let house = Self {
            service: settings.service.clone(),
            cache_name: settings.cache_name.clone(),
            metrics,
            access,
            ledger,
            purger,
            memory,
            second: stores.second,
            leases: stores.leases,
            flights: Flights::new(TaskTracker::new()),
            refresher,
            routes: Arc::new(ArcSwap::from_pointee(routes)),
            rates,
            limits,
            air: Air::bounded(settings.limits.bodies_in_the_air),
            trusted: Trusted::new(&networks(settings)),
            switches: Switches::default(),
            compare_after: compare_after(settings),
            alarms,
            redis: stores.redis,
        };
        Ok((house, Loose { refreshes: waiting, origins, alarms: raised }))
    }

    /// The parts of the request's stack.
    pub(crate) fn stack(&self) -> Parts<SecondLevel, FleetLeases, FleetLog> {
        Parts {
            service: self.service.to_string(),
            routes: self.routes.clone(),
            rates: self.rates.clone(),
            ledger: self.ledger.clone(),
            purger: self.purger.clone(),
            memory: self.memory.clone(),
            second: self.second.clone(),
            leases: self.leases.clone(),
            flights: self.flights.clone(),
            refresher: self.refresher.clone(),
            trusted: self.trusted.clone(),
            limits: self.limits,
            air: self.air.clone(),
            switches: self.switches.clone(),
            compare_after: self.compare_after,
            alarms: self.alarms.clone(),
            metrics: self.metrics.clone(),
            access: self.access.clone(),
            cache_name: self.cache_name.to_string(),
        }
    }

    /// Writes what is queued, and lets go of what is held elsewhere. Purges that the log has not taken have until `grace`.
    pub(crate) async fn close(&self, grace: Instant, patience: Duration) {
        self.purger.leave(grace).await;
        self.second.close(patience).await;
        if let Some(redis) = &self.redis {
            redis.close(patience).await;
        }
    }
}

/// The server's bounds.
pub(crate) fn limits(settings: &Settings) -> limits::Limits {
    let exempt = networks(settings).into();
    let settings = &settings.limits;
    limits::Limits {
        connections: settings.connections,
        crowding: Crowding { most: settings.connections_per_client, exempt },
        handshake_timeout: settings.handshake_timeout,
        header_timeout: settings.header_timeout,
        idle_timeout: settings.idle_timeout,
        body_timeout: settings.body_timeout,
        stall_timeout: settings.stall_timeout,
        header_bytes: settings.header_bytes,
        header_fields: settings.header_fields,
        target_bytes: settings.target_bytes,
        ..limits::Limits::default()
    }
}

fn purging(settings: &settings::Purge, instance: &str) -> purger::Settings {
    let when_detached = match settings.when_detached {
        settings::WhenDetached::Validate => WhenDetached::Validate,
        settings::WhenDetached::Serve => WhenDetached::Serve,
    };
    purger::Settings { instance: instance.to_owned(), lease: settings.lease, when_detached }
}

/// The networks whose proxies are believed.
pub(crate) fn networks(settings: &Settings) -> Vec<Network> {
    let networks = settings.trusted_proxies.iter();
    networks.map(|network| Network { address: network.address, bits: network.bits }).collect()
}

fn largest(l2: &L2) -> u64 {
    match l2 {
        L2::None => 0,
        L2::Disk(disk) => disk.max_object,
        L2::Redis(redis) => redis.max_object,
    }
}

/// A fleet's store may have something newer than memory; a store of our own has not.
fn compare_after(settings: &Settings) -> Option<Duration> {
    match &settings.l2 {
        L2::None | L2::Disk(_) => None,
        L2::Redis(_) => Some(settings.l1.max_ttl),
    }
}

async fn stores(
    settings: &Settings,
    instance: &str,
    threads: &Threads,
) -> Result<Stores, StartError> {
    let retention = Retention {
        most: usize::try_from(settings.purge.retention).unwrap_or(usize::MAX),
        longest: settings.purge.keep_for,
    };
    match &settings.l2 {
        L2::None => Ok(Stores::alone(SecondLevel::None, LocalLog::in_memory(instance, retention))),
        L2::Disk(disk) => {
            let second = open_disk(disk, &threads.background).await?;
            let log = LocalLog::open(&disk.path.join("purges.log"), instance, retention)
                .map_err(|why| StartError::Failed(why.to_string()))?;
            Ok(Stores::alone(second, log))
        }
        L2::Redis(redis) => {
            let redis = redis::Settings {
                servers: arrangement(&redis.servers),
                certificates: Certificates {
                    authority: redis.tls.authority.clone(),
                    client: redis.tls.client.clone(),
                },
                read_from_replicas: redis.read_from_replicas,
                service: settings.service.to_string(),
                instance: instance.to_owned(),
                timeout: redis.timeout,
                breaker: breaker::Settings {
                    failures: redis.breaker.failures,
                    open_for: redis.breaker.open_for,
                },
                write_queue: redis.write_queue,
                max_object: redis.max_object,
                seal: redis.seal.clone(),
                retention: settings.purge.retention,
                keep_for: settings.purge.keep_for,
                lease: settings.purge.lease,
            };
            let redis = Redis::new(&redis, &threads.redis)
                .map_err(|why| StartError::Configuration(why.to_string()))?;
            Ok(Stores::shared(redis))
        }
    }
}

fn arrangement(servers: &settings::RedisServers) -> Arrangement {
    let text = |secret: &SecretString| secret.expose_secret().to_owned();
    match servers {
        settings::RedisServers::Single(url) => Arrangement::Single(text(url)),
        settings::RedisServers::Cluster(urls) => {
            Arrangement::Cluster(urls.iter().map(text).collect())
        }
        settings::RedisServers::Sentinel(sentinel) => Arrangement::Sentinel {
            master: sentinel.master.clone(),
            sentinels: sentinel.urls.iter().map(text).collect(),
            account: Account {
                username: sentinel.username.clone(),
                password: sentinel.password.as_ref().map(text),
                database: sentinel.database.into(),
            },
        },
    }
}

impl Stores {
    fn alone(second: SecondLevel, log: LocalLog) -> Self {
        Self { second, leases: FleetLeases::Alone, log: FleetLog::Local(log), redis: None }
    }

    fn shared(redis: Redis) -> Self {
        Self {
            second: SecondLevel::Redis(redis.entries()),
            leases: FleetLeases::Redis(redis.leases()),
            log: FleetLog::Redis(redis.log()),
            redis: Some(redis),
        }
    }
}

#[cfg(feature = "disk")]
async fn open_disk(
    settings: &settings::Disk,
    background: &Handle,
) -> Result<SecondLevel, StartError> {
    use crate::store::disk::{self, Disk, OpenError};

    let settings = disk::Settings {
        directory: settings.path.clone(),
        capacity: settings.capacity,
        max_object: settings.max_object,
        timeout: settings.timeout,
        write_queue: settings.write_queue,
        seal: settings.seal.clone(),
    };
    let disk = Disk::open(settings, background).await;
    disk.map(SecondLevel::Disk).map_err(|why| {
        let remedy = match &why {
            OpenError::InUse { .. } => "end that one, or give this one a directory of its own",
            OpenError::Unusable { .. } => "make it usable, or name another",
            OpenError::TooSmall { .. } => return StartError::Failed(why.to_string()),
        };
        StartError::Failed(format!(
            "{why}; {remedy} with --disk DIRECTORY or `l2.disk.path`, or keep entries in memory only with --l2 none"
        ))
    })
}

#[cfg(not(feature = "disk"))]
async fn open_disk(_: &settings::Disk, _: &Handle) -> Result<SecondLevel, StartError> {
    Err(StartError::Configuration(
        "this Larder was built without the feature `disk`; name a Redis, or write `l2: none`"
            .into(),
    ))
}
