//! Gives back the room of purged entries in Redis: a slow walk over all of them, by one instance of the fleet.

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, FromRedisValue, ToRedisArgs};
use tokio::time::sleep;

use crate::entry::facts::Mark;
use crate::entry::seal::{Seal, Spot};
use crate::entry::{Entry, wire};
use crate::key::Key;
use crate::store::index::Listed;
use crate::store::redis::link::{Deadline, Link, Preface, Use};
use crate::store::redis::script::{Call, Script};
use crate::store::redis::servers::Servers;
use crate::store::{Counts, StoreError};

/// URLs that one step looks at, about.
const STEP: usize = 100;
/// Between two steps: with [`STEP`], no more than 400 URLs each second.
const REST: Duration = Duration::from_millis(250);
/// Bytes that a walk reads each millisecond at most, so that requests find the server free: 4 MB each second.
const BYTES_PER_MILLI: usize = 4000;
/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the fleet leaves a walk to an instance that was not heard of.
const TURN: Duration = Duration::from_secs(15);
/// How long it is remembered up to which purge all was walked over.
const MEMORY: Duration = Duration::from_hours(24);

/// Removes a variant, if it still is the one that was judged.
static REMOVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("sweep.lua")));

/// Takes the walk, or goes on with it. ARGV: token, turn in ms. Returns whether it is the caller's.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local holder = redis.call('GET', KEYS[1])
         if holder and holder ~= ARGV[1] then return 0 end
         redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
         return 1",
    )
});

/// Walks over the entries in Redis. Cloning shares the connections.
#[derive(Clone)]
pub struct Sweeper {
    pub(super) servers: Arc<Servers>,
    pub(super) counts: Arc<Counts>,
    /// `cache:{service}:`
    pub(super) prefix: Arc<str>,
    /// `larder:{service}:`, with the braces: one slot of a Cluster, which is the log's.
    pub(super) own: Arc<str>,
    pub(super) seal: Seal,
}

/// What became of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// It came to its end; so many entries were removed.
    Done(u64),
    /// Nothing was purged since the last one, which may have been another instance's.
    Needless,
    /// Another instance walks.
    Theirs,
}

/// One variant that was read.
struct Found {
    key: String,
    listed: Listed,
    entry: Entry,
}

impl Sweeper {
    /// Walks over every entry once, and removes those that are not kept. `known` is the last purge that `is_kept`
    /// knows of. Dropped, it leaves the rest to the next walk.
    pub async fn walk(
        &self,
        known: Mark,
        is_kept: impl Fn(&Entry) -> bool + Send + Sync,
    ) -> Result<Walk, StoreError> {
        let swept = format!("{}swept", self.own);
        let up_to = known.to_string();
        let last: Option<String> = self.ask(&swept, &command("GET", &swept)).await?;
        if last.as_ref() == Some(&up_to) {
            return Ok(Walk::Needless);
        }
        let token = format!("{:032x}", rand::random::<u128>());
        let mut removed = 0;
        for master in self.servers.masters() {
            let mut cursor = 0;
            loop {
                if !self.takes_turn(&token).await? {
                    return Ok(Walk::Theirs);
                }
                let (next, keys) = self.scan(&master, cursor).await?;
                let mut read = 0;
                for key in keys {
                    let (found, bytes) = self.read(key).await?;
                    read += bytes;
                    for gone in found.iter().filter(|found| !is_kept(&found.entry)) {
                        removed += self.remove(gone).await?;
                    }
                }
                cursor = next;
                if cursor == 0 {
                    break;
                }
                let due = Duration::from_millis((read / BYTES_PER_MILLI) as u64);
                sleep(REST.max(due)).await;
            }
        }
        let mut done = command("SET", &swept);
        done.arg(&up_to).arg("PX").arg(millis(MEMORY));
        self.ask::<()>(&swept, &done).await?;
        let turn = self.turn();
        self.ask::<()>(&turn, &command("DEL", &turn)).await?;
        Ok(Walk::Done(removed))
    }

    fn turn(&self) -> String {
        format!("{}sweep", self.own)
    }

    async fn takes_turn(&self, token: &str) -> Result<bool, StoreError> {
        let turn = self.turn();
        let mut take = TAKE.call();
        take.key(&turn).arg(token).arg(millis(TURN));
        self.call(&turn, &take).await
    }

    /// Some of the keys of a server's slots, and where to go on; zero at the end.
    async fn scan(&self, master: &Link, cursor: u64) -> Result<(u64, Vec<String>), StoreError> {
        let mut scan = command("SCAN", cursor);
        scan.arg("MATCH").arg(format!("{}*", self.prefix));
        scan.arg("COUNT").arg(STEP).arg("TYPE").arg("hash");
        let scanned = master
            .ask(&scan, Preface::Nothing, Use::Background, Deadline::within(PATIENCE))
            .await?;
        redis::from_redis_value(scanned).map_err(|error| StoreError::Failed(error.to_string()))
    }

    /// All variants of a slot that can be read, and how many bytes that took. What cannot be read is left to those
    /// who look for it.
    async fn read(&self, key: String) -> Result<(Vec<Found>, usize), StoreError> {
        let Some(expected) =
            key.rsplit(':').next().and_then(|bits| u128::from_str_radix(bits, 16).ok())
        else {
            return Ok((Vec::new(), 0));
        };
        let index = self.field(&key, super::entries::INDEX).await?;
        let listed = index.and_then(|index| Listed::all(&index));
        let (mut found, mut read) = (Vec::new(), 0);
        for listed in listed.unwrap_or_default() {
            let Some(bytes) = self.field(&key, &listed.digest).await? else { continue };
            read += bytes.len();
            let spot = Spot { slot: &key, field: &listed.digest, key: Key::from_bits(expected) };
            if let Ok(entry) = wire::decode(&bytes, &self.seal, &spot) {
                found.push(Found { key: key.clone(), listed, entry });
            }
        }
        Ok((found, read))
    }

    async fn field(&self, key: &str, field: &str) -> Result<Option<Bytes>, StoreError> {
        let mut get = command("HGET", key);
        get.arg(field);
        self.ask(key, &get).await
    }

    async fn remove(&self, gone: &Found) -> Result<u64, StoreError> {
        let Found { key, listed, .. } = gone;
        let as_of = listed.as_of();
        let mut remove = REMOVE.call();
        remove.key(key).arg(&listed.digest).arg(as_of.millis).arg(as_of.number);
        remove.arg(as_of.epoch.number()).arg(listed.received());
        let removed = self.call(key, &remove).await?;
        self.counts.swept.fetch_add(removed, Ordering::Relaxed);
        Ok(removed)
    }

    async fn ask<T: FromRedisValue>(&self, key: &str, command: &Cmd) -> Result<T, StoreError> {
        self.servers.in_background(key, PATIENCE).ask(command).await
    }

    async fn call<T: FromRedisValue>(&self, key: &str, call: &Call) -> Result<T, StoreError> {
        self.servers.in_background(key, PATIENCE).call(call).await
    }
}

fn command(name: &str, argument: impl ToRedisArgs) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(argument);
    command
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
