//! L2 in Redis: one hash per URL, with an index of its variants and one field per variant.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use redis::{Cmd, Value};
use tokio::time::timeout;

use crate::entry::Entry;
use crate::entry::seal::Seal;
use crate::entry::wire::{self, Unreadable};
use crate::key::vary::Selector;
use crate::store::index::{self, Listed, Slot};
use crate::store::queue::{Before, Job, Queue};
use crate::store::redis::link::Trouble;
use crate::store::redis::script::Script;
use crate::store::redis::servers::Servers;
use crate::store::redis::sweep::Sweeper;
use crate::store::redis::{Settings, name, push_name};
use crate::store::{Counts, Place, Store, StoreError, nonce};
use crate::time::Timestamp;

/// The field that holds the index.
pub(super) const INDEX: &str = "v";
/// How long one write may take; nobody waits for it.
const WRITE_PATIENCE: Duration = Duration::from_secs(1);
/// Writes on their way at a time.
const WRITES_AT_ONCE: usize = 32;
/// No key lives longer, whatever its entries say.
const LONGEST: Duration = Duration::from_hours(8760);

/// Writes one variant and its index, prunes what is of no more use, and sets the key's end.
///
/// An entry whose fetch began earlier never replaces one whose fetch began later.
static PUT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("put.lua")));

/// Entries in Redis. Cloning shares the connections and the queue.
#[derive(Clone)]
pub struct Entries(Arc<Parts>);

struct Parts {
    servers: Arc<Servers>,
    queue: Arc<Queue>,
    counts: Arc<Counts>,
    /// `cache:{service}:`
    prefix: Arc<str>,
    /// `larder:{service}:`, with the braces.
    own: Arc<str>,
    max_object: u64,
    seal: Seal,
}

impl Entries {
    pub(super) fn new(servers: &Arc<Servers>, settings: &Settings) -> Self {
        let queue = Arc::new(Queue::new(settings.write_queue));
        let counts = Arc::new(Counts::default());
        let prefix: Arc<str> = format!("cache:{}:", name(&settings.service)).into();
        servers.spawn(write_all(Writer {
            // Not the servers themselves: they own this task.
            servers: Arc::downgrade(servers),
            queue: queue.clone(),
            counts: counts.clone(),
            prefix: prefix.clone(),
            seal: settings.seal.clone(),
        }));
        Self(Arc::new(Parts {
            servers: servers.clone(),
            queue,
            counts,
            prefix,
            own: format!("larder:{{{}}}:", name(&settings.service)).into(),
            max_object: settings.max_object,
            seal: settings.seal.clone(),
        }))
    }

    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// What walks over all of them.
    pub fn sweeper(&self) -> Sweeper {
        Sweeper {
            servers: self.0.servers.clone(),
            counts: self.0.counts.clone(),
            prefix: self.0.prefix.clone(),
            own: self.0.own.clone(),
            seal: self.0.seal.clone(),
        }
    }

    /// How many entries wait to be written.
    pub fn queued(&self) -> usize {
        self.0.queue.len()
    }

    /// Returns when all that is queued is written or lost, at most when `patience` is over.
    pub async fn flush(&self, patience: Duration) {
        // What is not written by then is lost, which costs misses.
        let _late = timeout(patience, self.0.queue.drained()).await;
    }

    /// The newest variant under a key that the request selects, in at most two questions: its field and its bytes.
    async fn find(
        &self,
        slot: &Slot<'_>,
        selector: &Selector<'_>,
    ) -> Result<Result<Option<(Cow<'static, str>, Bytes)>, Lost>, StoreError> {
        let key = slot.name;
        let asking = self.0.servers.for_request(key).of_entries();
        let plain = slot.seal.plain(key);
        // With room for all of it: growing costs 400 instructions.
        let mut fields = Cmd::with_capacity(4, key.len() + 64);
        fields.arg("HMGET").arg(key).arg(INDEX).arg(&*plain);
        let (index, body) = match asking.try_ask(&fields).await {
            Ok(answer) => two(answer)?,
            // Another type of value under our key: nobody but us can set it right.
            Err(Trouble::Refused(error)) if error.code() == Some("WRONGTYPE") => {
                return Ok(Err(Lost::NoIndex));
            }
            Err(trouble) => return Err(trouble.into()),
        };
        let Some(index) = index else {
            return Ok(if body.is_some() { Err(Lost::NoIndex) } else { Ok(None) });
        };
        let Some(variants) = Listed::all(&index) else { return Ok(Err(Lost::NoIndex)) };
        match index::newest(&variants, selector, slot, Timestamp::now()) {
            Err(why) => Ok(Err(Lost::Unreadable(why))),
            Ok(None) => Ok(Ok(None)),
            Ok(Some(listed)) if listed.digest == plain => Ok(Ok(body.map(|body| (plain, body)))),
            Ok(Some(listed)) => {
                let mut field = redis::cmd("HGET");
                let body: Option<Bytes> = asking.ask(field.arg(key).arg(&listed.digest)).await?;
                Ok(Ok(body.map(|body| (listed.digest.clone().into(), body))))
            }
        }
    }

    fn slot<'a>(&'a self, name: &'a str, place: &Place) -> Slot<'a> {
        Slot { seal: &self.0.seal, name, key: place.key }
    }

    /// Deletes in the background what cannot be used.
    fn discard(&self, place: &Place, why: &str) {
        tracing::debug!(cache.key = %place.key, cache.reason = why, "an entry in Redis is unreadable");
        // A full queue leaves it there: it is found unreadable again, or ends by itself.
        let _full = self.0.queue.remove(place);
    }
}

impl Store for Entries {
    async fn get(
        &self,
        place: &Place,
        selector: &Selector<'_>,
    ) -> Result<Option<Arc<Entry>>, StoreError> {
        let key = key(&self.0.prefix, place);
        let slot = self.slot(&key, place);
        let found = match self.find(&slot, selector).await? {
            Ok(Some((field, bytes))) => {
                wire::decode(&bytes, slot.seal, &slot.spot(&field)).map_err(Lost::Unreadable)
            }
            Ok(None) => return Ok(None),
            Err(lost) => Err(lost),
        };
        match found {
            Ok(entry) if entry.variant.is_selected_by(selector) => Ok(Some(Arc::new(entry))),
            Ok(_) => Ok(None),
            Err(Lost::NoIndex) => {
                self.0.counts.unread_index();
                self.discard(place, "index");
                Ok(None)
            }
            Err(Lost::Unreadable(why)) => {
                self.0.counts.unread(why);
                self.discard(place, &why.to_string());
                Ok(None)
            }
        }
    }

    async fn put(&self, place: &Place, entry: Arc<Entry>) -> Result<(), StoreError> {
        let counts = &self.0.counts;
        let length = entry
            .whole()
            .ok_or_else(|| StoreError::Failed("the body is still arriving".into()))?
            .len();
        if length as u64 > self.0.max_object {
            Counts::one(&counts.too_large);
            return Err(StoreError::TooLarge);
        }
        if self.0.servers.is_open(&key(&self.0.prefix, place)) {
            return Err(StoreError::Open);
        }
        self.0.queue.put(place, entry).inspect_err(|_| Counts::one(&counts.queue_full))
    }

    async fn remove(&self, place: &Place) -> Result<(), StoreError> {
        self.0.queue.remove(place)
    }
}

/// `cache:{service}:{route}:{digest}`: at most 6 + 64 + 1 + 64 + 1 + 32 bytes.
fn key(prefix: &str, place: &Place) -> String {
    // One allocation where a format makes several: each look into Redis needs one.
    let mut text = String::with_capacity(prefix.len() + 64 + 1 + 32);
    text.push_str(prefix);
    push_name(&mut text, place.route.as_str());
    text.push(':');
    // Writing to a text does not fail.
    let _ = write!(text, "{}", place.key);
    text
}

/// The values of two fields.
fn two(answer: Value) -> Result<(Option<Bytes>, Option<Bytes>), StoreError> {
    let strange = || StoreError::Failed("an answer to another question".into());
    let bytes = |value| match value {
        Value::BulkString(bytes) => Ok(Some(Bytes::from(bytes))),
        Value::Nil => Ok(None),
        _ => Err(strange()),
    };
    let Value::Array(values) = answer else { return Err(strange()) };
    let [one, other] = <[Value; 2]>::try_from(values).map_err(|_| strange())?;
    Ok((bytes(one)?, bytes(other)?))
}

/// Why there is nothing to be had where something lies.
enum Lost {
    /// The index of a slot cannot be read.
    NoIndex,
    Unreadable(Unreadable),
}

struct Writer {
    servers: std::sync::Weak<Servers>,
    queue: Arc<Queue>,
    counts: Arc<Counts>,
    prefix: Arc<str>,
    seal: Seal,
}

/// Writes what the queue holds, several URLs at a time over one connection, until the queue is closed.
async fn write_all(writer: Writer) {
    let jobs = futures_util::stream::unfold(&writer.queue, |queue| async move {
        Some((queue.next().await?, queue))
    });
    jobs.for_each_concurrent(WRITES_AT_ONCE, |job| writer.write(job)).await;
}

impl Writer {
    async fn write(&self, job: Job<'_>) {
        let Some(servers) = self.servers.upgrade() else { return };
        let key = key(&self.prefix, &job.work.place);
        // A server that hangs must not hold up what is for the others.
        if servers.is_open(&key) {
            job.work.entries.iter().for_each(|_| self.counts.lose(&StoreError::Open));
            return;
        }
        if job.work.before == Before::Remove {
            let mut unlink = redis::cmd("UNLINK");
            let asking = servers.in_background(&key, WRITE_PATIENCE);
            if let Err(error) = asking.ask::<i64>(unlink.arg(&key)).await {
                tracing::debug!(redis.cause = %error, "an entry could not be removed from Redis");
            }
        }
        for entry in &job.work.entries {
            match self.put(&servers, &key, entry, &job.work.place).await {
                Ok(()) => Counts::one(&self.counts.written),
                Err(error) => {
                    tracing::debug!(redis.cause = %error, "an entry could not be written to Redis");
                    self.counts.lose(&error);
                }
            }
        }
    }

    async fn put(
        &self,
        servers: &Servers,
        key: &str,
        entry: &Entry,
        place: &Place,
    ) -> Result<(), StoreError> {
        let now = Timestamp::now();
        let slot = Slot { seal: &self.seal, name: key, key: place.key };
        let listed = Listed::of(entry, &slot, place.max_ttl);
        if listed.expires <= now.as_millis() {
            return Ok(());
        }
        let there = slot.spot(&listed.digest);
        // Only whole entries are queued.
        let encoded = wire::encode(entry, slot.seal, &there, nonce());
        let Some(encoded) = encoded else { return Ok(()) };
        self.counts.encoded(&encoded);
        let as_of = listed.as_of();
        let mut put = PUT.call();
        put.key(key)
            .arg(&listed.digest)
            .arg(&*encoded.bytes)
            .arg(&listed.names)
            .arg(listed.expires)
            .arg(as_of.millis)
            .arg(as_of.number)
            .arg(listed.received())
            .arg(place.max_variants.max(1))
            .arg(now.as_millis())
            .arg(u64::try_from(LONGEST.as_millis()).unwrap_or(u64::MAX))
            .arg(as_of.epoch.number());
        servers.in_background(key, WRITE_PATIENCE).call::<i64>(&put).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::facts::RouteId;
    use crate::key::Key;

    #[test]
    fn a_key_is_short_and_lower_case_whatever_the_names_are() {
        let route = RouteId::new(&"Ä B".repeat(500));
        let place = Place { key: Key::from_bits(u128::MAX), route, max_variants: 1, max_ttl: None };
        let key = key(&format!("cache:{}:", name(&"X".repeat(500))), &place);
        assert!(
            key.len() < 250 && key.is_ascii() && !key.bytes().any(|byte| byte.is_ascii_uppercase())
        );
        assert!(key.ends_with(&format!(":{:032x}", u128::MAX)));
    }
}
