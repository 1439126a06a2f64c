//! The stores under test, each with what it needs around it.

use std::sync::LazyLock;
use std::time::Duration;

use http::HeaderMap;
use larder::breaker;
use larder::key::vary::{Selector, VaryRules};
use larder::store::disk::{self, Disk};
use larder::store::memory::{self, Memory};
use larder::store::redis::entries::Entries;
use larder::store::redis::{self, Redis};
use larder::store::{Store, StoreError};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::entries::Recipe;
use crate::support::PATIENCE;
use crate::support::redis::RedisServer;

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
    Ok(found.map(|entry| String::from_utf8(entry.whole().unwrap().to_vec()).unwrap()))
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
        url: server.url(),
        service: "Shop".into(),
        instance: instance.into(),
        timeout: Duration::from_secs(5),
        breaker: breaker::Settings::default(),
        write_queue: 1000,
        max_object: MAX_OBJECT as u64,
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
