//! L2 on this machine's disk: one value per URL, with an index of its variants before them.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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
    cache: Cache,
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
        let queue = Arc::new(Queue::new(settings.write_queue));
        let counts = Arc::new(Counts::default());
        let writer = Writer {
            cache: cache.clone(),
            queue: queue.clone(),
            counts: counts.clone(),
            most: most(block),
            seal: settings.seal.clone(),
            _lock: lock.clone(),
        };
        let writer = background.spawn(writer.write_all());
        Ok(Self(Arc::new(Parts {
            cache,
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
        let cache = self.0.cache.clone();
        let written = async {
            self.0.queue.drained().await;
            cache.storage().wait().await;
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
        let (cache, writer) = (self.0.cache.clone(), self.0.writer.lock().take());
        let closing = self.0.background.spawn(async move {
            if let Some(writer) = writer {
                // One that ended badly has nothing left to write either.
                let _ended = writer.await;
            }
            cache.close().await
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
        match timeout(limit, self.0.cache.get(&place.key.bits())).await {
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
    fs::create_dir_all(path).map_err(unusable)?;
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
    cache: Cache,
    queue: Arc<Queue>,
    counts: Arc<Counts>,
    /// The most bytes that a slot may have.
    most: usize,
    seal: Seal,
    /// The directory stays taken until the last write.
    _lock: Arc<File>,
}

impl Writer {
    async fn write_all(self) {
        let mut written = 0;
        while let Some(job) = self.queue.next().await {
            written += self.write(&job.work).await;
            if written > BREATH {
                self.cache.storage().wait().await;
                written = 0;
            }
        }
    }

    /// Returns how many bytes were written.
    async fn write(&self, work: &Work) -> usize {
        let key = work.place.key.bits();
        let old = match work.before {
            Before::Remove => None,
            // A slot that cannot be read is replaced.
            Before::Nothing => self.cache.get(&key).await.ok().flatten(),
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
            return 0;
        }
        // An update that is dropped under load would leave the old value readable, so the old one goes first.
        self.cache.remove(&key);
        let bytes = bundle.bytes(self.most);
        if let Some(bytes) = &bytes {
            self.cache.insert(key, Blob(bytes.clone()));
            self.counts.written.fetch_add(added as u64, Ordering::Relaxed);
        } else {
            self.counts.lose(&StoreError::TooLarge);
        }
        bytes.map_or(0, |bytes| bytes.len())
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
