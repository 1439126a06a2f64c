//! The stores under test, each with what it needs around it.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::HeaderMap;
use larder::breaker;
use larder::entry::seal::Seal;
use larder::key::vary::{Selector, VaryRules};
use larder::store::disk::{self, Disk};
use larder::store::memory::{self, Memory};
use larder::store::redis::entries::Entries;
use larder::store::redis::{self, Account, Arrangement, Certificates, Redis};
use larder::store::{Store, StoreError};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::OnceCell;

use crate::entries::Recipe;
use crate::support::redis::RedisServer;
use crate::support::redis_groups::{RedisCluster, SecureRedis, SentinelGroup, Tether};
use crate::support::{PATIENCE, until};

/// The largest object of every store under test.
pub(crate) const MAX_OBJECT: usize = 10_000;

/// Where the stores do their work; the calls come from the tests' own runtimes.
pub(crate) static BACKGROUND: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

/// A store and what it needs.
pub(crate) trait Bench: Sized {
    type Store: Store;

    async fn start() -> Self;

    fn store(&self) -> &Self::Store;

    /// Returns when all that was put is where it is to stay.
    async fn settle(&self);

    async fn put(&self, recipe: &Recipe) {
        self.store().put(&recipe.place(), recipe.entry()).await.unwrap();
        self.settle().await;
    }

    /// The body that a request gets.
    async fn body(&self, recipe: &Recipe, request: &HeaderMap) -> Option<String> {
        body(self.store(), recipe, request).await.unwrap()
    }
}

pub(crate) async fn body(
    store: &impl Store,
    recipe: &Recipe,
    request: &HeaderMap,
) -> Result<Option<String>, StoreError> {
    let rules = VaryRules::default();
    let selector = Selector { fields: request, rules: &rules };
    let found = store.get(&recipe.place(), &selector).await?;
    Ok(found.map(|entry| String::from_utf8(entry.bytes().unwrap().to_vec()).unwrap()))
}

pub(crate) struct InMemory(Memory);

impl Bench for InMemory {
    type Store = Memory;

    async fn start() -> Self {
        Self(Memory::new(memory::Settings { capacity: 16 << 20, max_object: MAX_OBJECT as u64 }))
    }

    fn store(&self) -> &Memory {
        &self.0
    }

    async fn settle(&self) {}
}

pub(crate) struct OnDisk {
    pub(crate) disk: Disk,
    pub(crate) directory: TempDir,
}

pub(crate) fn disk_settings(directory: &TempDir) -> disk::Settings {
    disk::Settings {
        directory: directory.path().to_owned(),
        capacity: 32 << 20,
        max_object: MAX_OBJECT as u64,
        timeout: PATIENCE,
        write_queue: 1000,
        seal: Seal::default(),
    }
}

impl Bench for OnDisk {
    type Store = Disk;

    async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let disk = Disk::open(disk_settings(&directory), BACKGROUND.handle()).await.unwrap();
        Self { disk, directory }
    }

    fn store(&self) -> &Disk {
        &self.disk
    }

    async fn settle(&self) {
        self.disk.flush(PATIENCE).await;
    }
}

pub(crate) struct InRedis {
    pub(crate) server: RedisServer,
    pub(crate) redis: Redis,
    pub(crate) entries: Entries,
}

/// As it is shipped but for a deadline that a busy machine can keep.
pub(crate) fn redis_settings(server: &RedisServer, instance: &str) -> redis::Settings {
    redis::Settings {
        servers: Arrangement::Single(server.url()),
        certificates: Certificates::default(),
        read_from_replicas: false,
        service: "Shop".into(),
        instance: instance.into(),
        timeout: Duration::from_secs(5),
        breaker: breaker::Settings::default(),
        write_queue: 1000,
        max_object: MAX_OBJECT as u64,
        seal: Seal::default(),
        retention: 100_000,
        keep_for: Duration::from_hours(1),
        lease: Duration::from_secs(10),
    }
}

pub(crate) fn redis(settings: &redis::Settings) -> Redis {
    Redis::new(settings, BACKGROUND.handle()).unwrap()
}

impl Bench for InRedis {
    type Store = Entries;

    async fn start() -> Self {
        let server = RedisServer::start().await;
        let redis = redis(&redis_settings(&server, "a"));
        Self { entries: redis.entries(), redis, server }
    }

    fn store(&self) -> &Entries {
        &self.entries
    }

    async fn settle(&self) {
        self.entries.flush(PATIENCE).await;
        // Whatever a test writes, no key is ever without an end.
        for key in self.server.keys("*").await {
            let left = self.server.seconds_left(&key).await;
            assert!(left >= 0 || left == -2, "{key} has no end");
        }
    }
}

/// Long enough for the busiest machine not to take a living server for a dead one.
const NEVER: u32 = 60_000;

/// Servers that all tests of this binary share, and what ends them with it.
type Shared<T> = OnceCell<(T, Tether)>;

pub(crate) async fn cluster() -> &'static RedisCluster {
    static SHARED: Shared<RedisCluster> = OnceCell::const_new();
    let start = async || {
        let cluster = RedisCluster::start(NEVER).await;
        let tether = Tether::of(cluster.pids());
        (cluster, tether)
    };
    &SHARED.get_or_init(start).await.0
}

pub(crate) async fn sentinels() -> &'static SentinelGroup {
    static SHARED: Shared<SentinelGroup> = OnceCell::const_new();
    let start = async || {
        let group = SentinelGroup::start(NEVER).await;
        let tether = Tether::of(group.pids());
        (group, tether)
    };
    &SHARED.get_or_init(start).await.0
}

/// A service of its own for each test, where tests share servers.
pub(crate) fn another_service() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("shop-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn settings(servers: Arrangement, service: String) -> redis::Settings {
    redis::Settings {
        servers,
        certificates: Certificates::default(),
        read_from_replicas: false,
        service,
        instance: "a".into(),
        timeout: Duration::from_secs(5),
        breaker: breaker::Settings::default(),
        write_queue: 1000,
        max_object: MAX_OBJECT as u64,
        seal: Seal::default(),
        retention: 100_000,
        keep_for: Duration::from_hours(1),
        lease: Duration::from_secs(10),
    }
}

pub(crate) async fn cluster_settings() -> redis::Settings {
    settings(Arrangement::Cluster(cluster().await.urls()[..1].to_vec()), another_service())
}

pub(crate) async fn sentinel_settings() -> redis::Settings {
    let (master, account) = ("mymaster".to_owned(), Account::default());
    let sentinels = sentinels().await.urls();
    settings(Arrangement::Sentinel { master, sentinels, account }, another_service())
}

pub(crate) fn secure_settings(server: &SecureRedis) -> redis::Settings {
    let certificates = Certificates {
        authority: Some(server.papers.file("ca.pem")),
        client: Some((server.papers.file("client.pem"), server.papers.file("client.key"))),
    };
    let settings = settings(Arrangement::Single(server.url()), "shop".into());
    redis::Settings { certificates, ..settings }
}

/// No key of the service is ever without an end.
async fn every_key_ends(servers: &[RedisServer], service: &str) {
    for server in servers {
        for key in server.keys(&format!("*{service}*")).await {
            // The keys of a service whose name only begins alike are looked at by their own test.
            let left = server.seconds_left(&key).await;
            assert!(left >= 0 || left == -2, "{key} has no end");
        }
    }
}

macro_rules! remote {
    ($($(#[$doc:meta])* $name:ident: $settings:expr, $servers:expr);+ $(;)?) => { $(
        $(#[$doc])*
        pub(crate) struct $name {
            settings: redis::Settings,
            redis: Redis,
            entries: Entries,
        }

        impl Bench for $name {
            type Store = Entries;

            async fn start() -> Self {
                let settings: redis::Settings = $settings;
                let redis = redis(&settings);
                Self { entries: redis.entries(), redis, settings }
            }

            fn store(&self) -> &Entries {
                &self.entries
            }

            async fn settle(&self) {
                self.entries.flush(PATIENCE).await;
                until("all servers are up", async || self.redis.is_up().then_some(())).await;
                every_key_ends($servers, &self.settings.service).await;
            }
        }
    )+ };
}

remote! {
    /// In a Cluster of six, of which one is named.
    InCluster: cluster_settings().await, &cluster().await.nodes[..3];
    /// Behind Sentinel.
    BehindSentinel: sentinel_settings().await, &sentinels().await.servers[..1];
}

/// Over TLS with certificates on both sides, with the rights that the manual gives.
pub(crate) struct Secured {
    server: SecureRedis,
    _redis: Redis,
    entries: Entries,
}

impl Bench for Secured {
    type Store = Entries;

    async fn start() -> Self {
        let server = SecureRedis::start().await;
        let redis = redis(&secure_settings(&server));
        Self { entries: redis.entries(), _redis: redis, server }
    }

    fn store(&self) -> &Entries {
        &self.entries
    }

    async fn settle(&self) {
        self.entries.flush(PATIENCE).await;
        every_key_ends(std::slice::from_ref(&self.server.server), "shop").await;
    }
}
