//! L2 on this machine's disk: one value per URL, with an index of its variants before them.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use foyer::{
    BlockEngineConfig, Code, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, PsyncIoEngineConfig, RecoverMode, Spawner,
};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::entry::seal::Seal;
use crate::entry::{Entry, wire};
use crate::key::vary::Selector;
use crate::store::bundle::Bundle;
use crate::store::index::{Listed, Slot};
use crate::store::queue::{Before, Queue, Work};
use crate::store::room::has_room;
use crate::store::{Counts, Place, Store, StoreError, nonce};
use crate::time::Timestamp;

/// Bytes of the newest values in memory; L1 is the cache in memory, this only bridges the time to the disk.
const IN_MEMORY: usize = 4 << 20;
/// Bytes that wait to be written to the disk; what does not fit is dropped.
const BUFFER: usize = 32 << 20;
/// Bytes after which the writer waits until the disk has them, so that nothing is dropped.
const BREATH: usize = 8 << 20;
/// The space on the disk that is freed at a time; no value is larger.
const BLOCK: u64 = 16 << 20;
/// How long nothing is tried again after a write went wrong.
const PAUSE: Duration = Duration::from_secs(5);
/// How long an engine that is given up may take to close.
const LAST: Duration = Duration::from_secs(5);
/// The disk works with whole pages.
const PAGE: u64 = 4096;
/// Nobody with the name of this file in the directory but who holds its lock uses the directory.
const LOCK: &str = "lock";

#[derive(Clone, Debug)]
pub struct Settings {
    /// Made where there is none; nobody else may use it.
    pub directory: PathBuf,
    /// Bytes on the disk.
    pub capacity: u64,
    /// The longest body that is kept.
    pub max_object: u64,
    /// How long a request waits for a read.
    pub timeout: Duration,
    /// Entries that may wait to be written.
    pub write_queue: usize,
    /// How entries lie there.
    pub seal: Seal,
}

/// Entries on the disk. Cloning shares them.
#[derive(Clone)]
pub struct Disk(Arc<Parts>);

struct Parts {
    engine: Arc<Engine>,
    queue: Arc<Queue>,
    counts: Arc<Counts>,
    timeout: Duration,
    max_object: u64,
    seal: Seal,
    closed: AtomicBool,
    /// Ends when the queue is closed.
    writer: Mutex<Option<JoinHandle<()>>>,
    lock: Mutex<Option<Arc<File>>>,
    background: Handle,
}

type Cache = HybridCache<u128, Blob>;

/// The engine that has the files, and how to begin another one with them: one whose write failed writes no more.
struct Engine {
    current: ArcSwap<Cache>,
    settings: Settings,
    block: u64,
    background: Handle,
}

impl Engine {
    fn cache(&self) -> Arc<Cache> {
        self.current.load_full()
    }

    /// Begins anew with what lies on the disk. On the background's runtime, where recovery is to stay.
    async fn reopen(&self) -> foyer::Result<()> {
        // So that no two write to one file. One that has died may never say that it is closed; what it wrote even so would match
        // no checksum, and be absent.
        let _closed = timeout(LAST, self.cache().close()).await;
        let new = cache(self.settings.clone(), self.block, self.background.clone()).await?;
        self.current.store(Arc::new(new));
        Ok(())
    }
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the cache directory {} is used by another process", path.display())]
    InUse { path: PathBuf },
    #[error("the cache directory {} cannot be used: {cause}", path.display())]
    Unusable { path: PathBuf, cause: String },
    #[error("a disk cache needs at least {least} bytes, not {given}")]
    TooSmall { given: u64, least: u64 },
}

impl Disk {
    /// Opens the directory and recovers what it holds; all its work is done on `background`, and calls may come from
    /// any runtime. Where a block cannot hold `max_object`, smaller objects only are kept.
    pub async fn open(settings: Settings, background: &Handle) -> Result<Self, OpenError> {
        let path = settings.directory.clone();
        let lock = Arc::new(lock(&path)?);
        let block = block(&settings)?;
        let unusable = |cause: String| OpenError::Unusable { path: path.clone(), cause };
        // Recovery is spawned from within, so it must begin on the runtime where it is to stay.
        let opening = background.spawn(cache(settings.clone(), block, background.clone()));
        let cache = opening.await.map_err(|ended| unusable(ended.to_string()))?;
        let cache = cache.map_err(|error| unusable(error.to_string()))?;
        let engine = Arc::new(Engine {
            current: ArcSwap::from_pointee(cache),
            settings: settings.clone(),
            block,
            background: background.clone(),
        });
        let queue = Arc::new(Queue::new(settings.write_queue));
        let counts = Arc::new(Counts::default());
        let writer = Writer {
            engine: engine.clone(),
            queue: queue.clone(),
            counts: counts.clone(),
            most: most(block),
            seal: settings.seal.clone(),
            unsettled: Unsettled::default(),
            failed: None,
            _lock: lock.clone(),
        };
        let writer = background.spawn(writer.write_all());
        Ok(Self(Arc::new(Parts {
            engine,
            queue,
            counts,
            timeout: settings.timeout,
            max_object: settings.max_object.min(most(block) as u64),
            seal: settings.seal,
            closed: AtomicBool::new(false),
            writer: Mutex::new(Some(writer)),
            lock: Mutex::new(Some(lock)),
            background: background.clone(),
        })))
    }

    /// The longest body that is kept.
    pub fn max_object(&self) -> u64 {
        self.0.max_object
    }

    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// How many entries wait to be written.
    pub fn queued(&self) -> usize {
        self.0.queue.len()
    }

    /// Returns when all that is queued is on the disk or lost, at most when `patience` is over.
    pub async fn flush(&self, patience: Duration) {
        let written = async {
            self.0.queue.drained().await;
            self.0.engine.cache().storage().wait().await;
        };
        // What is not written by then is lost, which costs misses.
        let _late = timeout(patience, written).await;
    }

    /// Writes what is queued, at most until `patience` is over, closes the files and lets the directory go. After
    /// that every call fails.
    pub async fn close(&self, patience: Duration) {
        if self.0.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.flush(patience).await;
        self.0.queue.close();
        let (engine, writer) = (self.0.engine.clone(), self.0.writer.lock().take());
        let closing = self.0.background.spawn(async move {
            if let Some(writer) = writer {
                // One that ended badly has nothing left to write either.
                let _ended = writer.await;
            }
            engine.cache().close().await
        });
        match timeout(patience, closing).await {
            Ok(Ok(Ok(()))) => {}
            unclean => {
                tracing::warn!(disk.cause = ?unclean, "the cache directory was not closed cleanly");
            }
        }
        self.0.lock.lock().take();
    }

    fn discard(&self, place: &Place, why: &str) {
        tracing::debug!(cache.key = %place.key, cache.reason = why, "an entry on the disk is unreadable");
        // A full queue leaves it there: it is found unreadable again, or overwritten.
        let _full = self.0.queue.remove(place);
    }

    async fn read(&self, place: &Place) -> Result<Option<Bytes>, StoreError> {
        let limit = self.0.timeout;
        match timeout(limit, self.0.engine.cache().get(&place.key.bits())).await {
            Err(_) => Err(StoreError::Late(limit)),
            Ok(Err(error)) => Err(StoreError::Failed(error.to_string())),
            Ok(Ok(found)) => Ok(found.map(|found| found.value().0.clone())),
        }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Store for Disk {
    async fn get(
        &self,
        place: &Place,
        selector: &Selector<'_>,
    ) -> Result<Option<Arc<Entry>>, StoreError> {
        if self.0.closed.load(Ordering::Acquire) {
            return Err(StoreError::Away("closed".into()));
        }
        let Some(bytes) = self.read(place).await? else { return Ok(None) };
        let Some(bundle) = Bundle::parse(&bytes) else {
            self.0.counts.unread_index();
            self.discard(place, "index");
            return Ok(None);
        };
        let name = name(place);
        let slot = Slot { seal: &self.0.seal, name: &name, key: place.key };
        let entry = match bundle.newest(selector, &slot) {
            Ok(Some((field, bytes))) => wire::decode(&bytes, slot.seal, &slot.spot(field)),
            Ok(None) => return Ok(None),
            Err(why) => Err(why),
        };
        match entry {
            Ok(entry) if entry.variant.is_selected_by(selector) => Ok(Some(Arc::new(entry))),
            Ok(_) => Ok(None),
            Err(why) => {
                self.0.counts.unread(why);
                self.discard(place, &why.to_string());
                Ok(None)
            }
        }
    }

    async fn put(&self, place: &Place, entry: Arc<Entry>) -> Result<(), StoreError> {
        let body = entry.whole();
        let body = body.ok_or_else(|| StoreError::Failed("the body is still arriving".into()))?;
        if body.len() as u64 > self.0.max_object {
            Counts::one(&self.0.counts.too_large);
            return Err(StoreError::TooLarge);
        }
        if self.0.closed.load(Ordering::Acquire) {
            return Err(StoreError::Away("closed".into()));
        }
        self.0.queue.put(place, entry).inspect_err(|_| Counts::one(&self.0.counts.queue_full))
    }

    async fn remove(&self, place: &Place) -> Result<(), StoreError> {
        self.0.queue.remove(place)
    }
}

/// Names a slot to what is encrypted for it.
fn name(place: &Place) -> String {
    format!("disk:{}", place.key)
}

/// Makes the directory and takes it for this process.
fn lock(path: &Path) -> Result<File, OpenError> {
    let unusable = |cause: std::io::Error| OpenError::Unusable {
        path: path.to_owned(),
        cause: cause.to_string(),
    };
    // What clients were sent is nobody else's on this machine.
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
    let file = File::options().create(true).append(true).open(path.join(LOCK)).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// The size of a block: room for the largest object, and at least eight of them on the disk.
fn block(settings: &Settings) -> Result<u64, OpenError> {
    let wanted = BLOCK.max(settings.max_object.saturating_mul(2).next_multiple_of(PAGE));
    let most = settings.capacity / 8 / PAGE * PAGE;
    // The engine's own records take the first pages.
    let least = 16 * PAGE;
    if most < least {
        return Err(OpenError::TooSmall { given: settings.capacity, least: least * 8 });
    }
    Ok(wanted.min(most))
}

/// The most bytes that a value may have to fit into a block.
fn most(block: u64) -> usize {
    usize::try_from(block - 4 * PAGE).unwrap_or(usize::MAX)
}

async fn cache(settings: Settings, block: u64, background: Handle) -> foyer::Result<Cache> {
    let capacity = usize::try_from(settings.capacity).unwrap_or(usize::MAX);
    let block = usize::try_from(block).unwrap_or(usize::MAX);
    let device = FsDeviceBuilder::new(&settings.directory).with_capacity(capacity).build()?;
    // Without its log of deletions, what was removed would come back after a restart.
    let engine = BlockEngineConfig::new(device)
        .with_block_size(block)
        .with_tombstone_log(true)
        .with_buffer_pool_size(BUFFER.max(2 * block));
    HybridCacheBuilder::new()
        .with_name("larder")
        .with_policy(HybridCachePolicy::WriteOnInsertion)
        .memory(IN_MEMORY)
        .with_weighter(|_: &u128, value: &Blob| value.0.len() + 64)
        .storage()
        .with_io_engine_config(PsyncIoEngineConfig::new())
        .with_engine_config(engine)
        .with_recover_mode(RecoverMode::Quiet)
        .with_spawner(Spawner::from(background))
        .build()
        .await
}

/// The one writer, so that reading, changing and writing a slot needs no lock.
struct Writer {
    engine: Arc<Engine>,
    queue: Arc<Queue>,
    counts: Arc<Counts>,
    /// The most bytes that a slot may have.
    most: usize,
    seal: Seal,
    unsettled: Unsettled,
    /// When a write last went wrong, until one goes right again.
    failed: Option<Instant>,
    /// The directory stays taken until the last write.
    _lock: Arc<File>,
}

/// What the engine was given and may not have on the disk yet.
#[derive(Default)]
struct Unsettled {
    bytes: usize,
    entries: u64,
    /// The last one.
    key: Option<u128>,
}

impl Writer {
    async fn write_all(mut self) {
        let queue = self.queue.clone();
        while let Some(job) = queue.next().await {
            // An engine ends with its first write that fails, and so it is given none that would.
            if self.may_write() {
                self.write(&job.work).await;
            } else {
                // What lay there before stays readable; purges and its age hold against it.
                self.lose(job.work.entries.len() as u64, "the disk is full, or cannot be written");
            }
            if self.unsettled.bytes > BREATH || queue.len() == 0 {
                self.settle().await;
            }
        }
    }

    /// Whether a batch may begin, or go on.
    fn may_write(&mut self) -> bool {
        if self.unsettled.bytes > 0 {
            return true;
        }
        if self.failed.is_some_and(|failed| failed.elapsed() < PAUSE) {
            return false;
        }
        let has_room = has_room(&self.engine.settings.directory);
        if !has_room {
            self.fail("there is no room left for its files");
        }
        has_room
    }

    /// Waits until the disk has what was written. The engine drops what it cannot write, and tells nobody: whether it has
    /// the last one is how it is known.
    async fn settle(&mut self) {
        let Unsettled { bytes, entries, key } = std::mem::take(&mut self.unsettled);
        if bytes == 0 {
            return;
        }
        let cache = self.engine.cache();
        cache.storage().wait().await;
        // Of a batch whose last one was removed again, nothing speaks against the others.
        if key.is_none_or(|key| cache.storage().may_contains(&key)) {
            self.counts.written.fetch_add(entries, Ordering::Relaxed);
            if key.is_some() && self.failed.take().is_some() {
                tracing::info!("the cache directory is written to again");
            }
            return;
        }
        self.lose(entries, "the disk could not be written");
        self.fail("what was written is not there");
        if let Err(error) = self.engine.reopen().await {
            tracing::warn!(
                disk.cause = error.message(),
                "the cache directory cannot be opened anew"
            );
        }
    }

    /// Counts entries that were queued and are not kept.
    fn lose(&self, entries: u64, why: &str) {
        for _ in 0..entries {
            self.counts.lose(&StoreError::Failed(why.into()));
        }
    }

    /// Leaves the disk alone for a while.
    fn fail(&mut self, cause: &str) {
        if self.failed.replace(Instant::now()).is_none() {
            tracing::warn!(disk.cause = cause, "nothing is written to the cache directory for now");
        }
    }

    async fn write(&mut self, work: &Work) {
        let cache = self.engine.cache();
        let key = work.place.key.bits();
        let old = match work.before {
            Before::Remove => None,
            // A slot that cannot be read is replaced.
            Before::Nothing => cache.get(&key).await.ok().flatten(),
        };
        let old = old.map(|old| old.value().0.clone());
        let mut bundle = old.as_ref().and_then(Bundle::parse).unwrap_or_default();
        let now = Timestamp::now();
        let name = name(&work.place);
        let slot = Slot { seal: &self.seal, name: &name, key: work.place.key };
        let mut added = 0;
        for entry in &work.entries {
            let listed = Listed::of(entry, &slot, work.place.max_ttl);
            let there = slot.spot(&listed.digest);
            // Only whole entries are queued.
            let Some(encoded) = wire::encode(entry, slot.seal, &there, nonce()) else { continue };
            self.counts.encoded(&encoded);
            added += usize::from(bundle.add(listed, &encoded, work.place.max_variants, now));
        }
        if added == 0 && work.before == Before::Nothing {
            return;
        }
        // An update that is dropped under load would leave the old value readable, so the old one goes first.
        cache.remove(&key);
        if self.unsettled.key == Some(key) {
            // Whether it was written cannot be seen any more.
            self.unsettled.key = None;
        }
        if work.entries.is_empty() && work.before == Before::Remove {
            return;
        }
        let Some(bytes) = bundle.bytes(self.most) else {
            self.counts.lose(&StoreError::TooLarge);
            return;
        };
        self.unsettled.bytes += bytes.len();
        self.unsettled.entries += added as u64;
        self.unsettled.key = Some(key);
        cache.insert(key, Blob(bytes));
    }
}

/// A value on the disk: its length and its bytes.
struct Blob(Bytes);

impl Code for Blob {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        let length = (self.0.len() as u64).to_le_bytes();
        writer.write_all(&length).map_err(foyer::Error::io_error)?;
        writer.write_all(&self.0).map_err(foyer::Error::io_error)
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        let mut length = [0; 8];
        reader.read_exact(&mut length).map_err(foyer::Error::io_error)?;
        // Grows with what is there, so that a length that is wrong cannot take all memory.
        let mut bytes = Vec::new();
        let read = reader.take(u64::from_le_bytes(length)).read_to_end(&mut bytes);
        read.map_err(foyer::Error::io_error)?;
        Ok(Self(bytes.into()))
    }

    fn estimated_size(&self) -> usize {
        8 + self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::entry::facts::{Facts, Mark, RouteId};
    use crate::entry::freshness::{Freshness, UseWithoutAsking};
    use crate::entry::{Head, Stored};
    use crate::key::Key;
    use crate::key::vary::{Variant, VaryRules};

    fn place(number: u128) -> Place {
        let (key, route) = (Key::from_bits(number), RouteId::new("r"));
        Place { key, route, max_variants: 4, max_ttl: None }
    }

    fn entry(number: u128) -> Arc<Entry> {
        let facts = Facts {
            key: Key::from_bits(number),
            url_key: Key::from_bits(number),
            url: "http://h/".into(),
            route: RouteId::new("r"),
            tags: [].into(),
            as_of: Mark::new(1, 0),
        };
        let freshness = Freshness {
            received: Timestamp::now(),
            initial_age: Duration::ZERO,
            lifetime: Duration::from_hours(1),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            keep: Duration::ZERO,
            fetch_time: Duration::ZERO,
            use_without_asking: UseWithoutAsking::Allowed,
        };
        let head = Head { status: StatusCode::OK, fields: HeaderMap::new() };
        let body = Stored::Whole(Bytes::from_static(b"hello"));
        Arc::new(Entry::new(facts, &head, freshness, Variant::default(), body))
    }

    async fn has(disk: &Disk, number: u128) -> bool {
        let (fields, rules) = (HeaderMap::new(), VaryRules::default());
        let selector = Selector { fields: &fields, rules: &rules };
        disk.get(&place(number), &selector).await.is_ok_and(|found| found.is_some())
    }

    #[tokio::test]
    async fn an_engine_that_writes_no_more_loses_what_it_was_given_and_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            directory: directory.path().to_owned(),
            capacity: 16 << 20,
            max_object: 1 << 20,
            timeout: Duration::from_secs(10),
            write_queue: 100,
            seal: Seal::default(),
        };
        let disk = Disk::open(settings.clone(), &Handle::current()).await.unwrap();
        let put = async |number| {
            disk.put(&place(number), entry(number)).await.unwrap();
            disk.flush(LAST).await;
        };
        put(1).await;
        let lost = || disk.counts().lost.load(Ordering::Relaxed);
        assert_eq!(lost(), 0);
        disk.0.engine.cache().close().await.unwrap();
        put(2).await;
        assert_eq!(lost(), 1, "it is known that it is not there");
        assert!(has(&disk, 1).await, "what was there is there");
        let begun = Instant::now();
        while !has(&disk, 3).await {
            assert!(begun.elapsed() < 4 * PAUSE, "nothing is written any more");
            put(3).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        disk.close(LAST).await;
        let disk = Disk::open(settings, &Handle::current()).await.unwrap();
        assert!(has(&disk, 1).await && has(&disk, 3).await);
        disk.close(LAST).await;
    }
}
