//! The purge log of a lone instance: in a file, or in memory where nothing outlives the process anyway.
//!
//! The file is a row of frames: the length of the text, the same inverted, eight bytes of the text's BLAKE3 digest,
//! the text. The first frame tells where the log begins.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::entry::facts::{Epoch, Mark};
use crate::purge::Record;
use crate::purge::log::{Appended, Instance, LogError, Page, PurgeLog};
use crate::store::fresh_epoch;
use crate::time::Timestamp;

/// What stands before a frame's text.
const PREFIX: usize = 16;

/// The purge log of a lone instance. Cloning shares it.
#[derive(Clone)]
pub struct LocalLog(Arc<Parts>);

struct Parts {
    instance: String,
    retention: Retention,
    lasts: Lasts,
    /// Held by one writer at a time, while it waits for the disk.
    file: Mutex<Option<LogFile>>,
    state: Mutex<State>,
    appended: Notify,
}

/// What a log keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At most so many purges, the youngest.
    pub most: usize,
    /// None that is older, but for the last.
    pub longest: Duration,
}

/// What a log outlives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasts {
    /// Nothing: it ends with the process, and an append waits for nothing.
    InMemory,
    /// The process: an append waits for the disk.
    OnDisk,
}

#[derive(Clone)]
struct State {
    records: VecDeque<(Mark, Record)>,
    beginning: Mark,
    /// The last mark that was given.
    end: Mark,
    /// The beginning that the last page told.
    told: Option<Mark>,
    acknowledged: Option<(Mark, Timestamp)>,
}

struct LogFile {
    path: PathBuf,
    file: File,
    frames: usize,
}

/// Why a log's file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the purge log {} cannot be opened: {cause}; make room or choose another directory, or do without (`l2: none`)", path.display())]
pub struct OpenError {
    pub path: PathBuf,
    pub cause: io::Error,
}

impl LocalLog {
    /// A log that ends with the process.
    pub fn in_memory(instance: &str, retention: Retention) -> Self {
        Self::new(instance, retention, None, State::beginning_now())
    }

    /// The log in the file `path`, which is made where there is none. Reads the whole file.
    ///
    /// A record that was being written when the process ended is ignored; any other damage means that purges may be
    /// missing, so the log then begins anew in an epoch of its own, and older entries are not vouched for. A file that is
    /// sound is gone on with as it is, so that a full disk holds up no start.
    pub fn open(path: &Path, instance: &str, retention: Retention) -> Result<Self, OpenError> {
        let opened = read(path).and_then(|(state, sound)| {
            let state = state.trimmed(retention);
            let file = match sound {
                Some(sound) => LogFile::go_on(path, &sound),
                None => LogFile::write(path, &state),
            };
            Ok((file?, state))
        });
        let (file, state) = opened.map_err(|cause| OpenError { path: path.to_owned(), cause })?;
        Ok(Self::new(instance, retention, Some(file), state))
    }

    fn new(instance: &str, retention: Retention, file: Option<LogFile>, state: State) -> Self {
        Self(Arc::new(Parts {
            instance: instance.to_owned(),
            retention,
            lasts: if file.is_some() { Lasts::OnDisk } else { Lasts::InMemory },
            file: Mutex::new(file),
            state: Mutex::new(state),
            appended: Notify::new(),
        }))
    }
}

impl Parts {
    /// Blocks until the record is on the disk.
    fn append(&self, record: Record) -> io::Result<Appended> {
        let mut file = self.file.lock();
        let after = self.state.lock().end;
        let mark = next(after);
        if let Some(file) = &mut *file {
            file.append(&Frame { mark, record: Some(record.clone()) })?;
        }
        let mut state = self.state.lock();
        state.records.push_back((mark, record));
        state.end = mark;
        state.trim(self.retention);
        let is_long = |file: &LogFile| file.frames > self.retention.most.max(1).saturating_mul(2);
        let kept = file.as_ref().is_some_and(is_long).then(|| state.clone());
        drop(state);
        self.appended.notify_waiters();
        if let Some((file, kept)) = file.as_mut().zip(kept) {
            // The record is safe already; a file that cannot be shortened is only long.
            match LogFile::write(&file.path, &kept) {
                Ok(shorter) => *file = shorter,
                Err(error) => {
                    tracing::warn!(log.cause = %error, "the purge log cannot be compacted");
                }
            }
        }
        Ok(Appended { mark, after })
    }

    /// The page after `after`, or nothing when it would say no more than the last one.
    fn news(&self, after: Mark) -> Option<Page> {
        let mut state = self.state.lock();
        let page = state.page(after);
        if page.records.is_empty() && state.told == Some(page.beginning) {
            return None;
        }
        state.told = Some(page.beginning);
        Some(page)
    }
}

impl PurgeLog for LocalLog {
    async fn append(&self, record: &Record) -> Result<Appended, LogError> {
        let (parts, record) = (self.0.clone(), record.clone());
        let appended = match parts.lasts {
            Lasts::InMemory => Ok(parts.append(record)),
            Lasts::OnDisk => tokio::task::spawn_blocking(move || parts.append(record)).await,
        };
        appended.map_err(|ended| LogError::Unwritable(ended.to_string()))?.map_err(unwritable)
    }

    async fn read(&self, after: Mark, patience: Duration) -> Result<Page, LogError> {
        let end = Instant::now() + patience;
        loop {
            let appended = self.0.appended.notified();
            if let Some(page) = self.0.news(after) {
                return Ok(page);
            }
            if timeout_at(end, appended).await.is_err() {
                return Ok(self.0.state.lock().page(after));
            }
        }
    }

    async fn acknowledge(&self, applied: Mark, lease: Duration) -> Result<(), LogError> {
        let until = Timestamp::now().plus(lease);
        self.0.state.lock().acknowledged = (!lease.is_zero()).then_some((applied, until));
        Ok(())
    }

    async fn instances(&self) -> Result<Vec<Instance>, LogError> {
        let acknowledged = self.0.state.lock().acknowledged;
        let id = &self.0.instance;
        Ok(acknowledged
            .filter(|(_, until)| *until > Timestamp::now())
            .map(|(applied, until)| Instance { id: id.clone(), applied, until })
            .into_iter()
            .collect())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn unwritable(error: io::Error) -> LogError {
    LogError::Unwritable(error.to_string())
}

/// A mark after `last`, by the clock where the clock is after it.
fn next(last: Mark) -> Mark {
    let clock = Mark::new(Timestamp::now().as_millis(), 0).of(last.epoch);
    last.next().or_later(clock)
}

impl State {
    /// A log in an epoch of its own: no entry from before it is ever taken for one of it.
    fn beginning_now() -> Self {
        let epoch = Epoch::new(fresh_epoch());
        Self::beginning_at(Mark::new(Timestamp::now().as_millis(), 0).of(epoch))
    }

    fn beginning_at(mark: Mark) -> Self {
        Self {
            records: VecDeque::new(),
            beginning: mark,
            end: mark,
            told: None,
            acknowledged: None,
        }
    }

    fn page(&self, after: Mark) -> Page {
        // All of them where `after` is another log's.
        let from = self.records.partition_point(|(mark, _)| *mark <= after);
        Page {
            records: self.records.range(from..).cloned().collect(),
            beginning: self.beginning,
            end: self.end,
        }
    }

    /// Forgets the oldest records, too many or too old, but never the last; and begins at what is gone.
    fn trim(&mut self, retention: Retention) {
        let longest = u64::try_from(retention.longest.as_millis()).unwrap_or(u64::MAX);
        let limit = Timestamp::now().as_millis().saturating_sub(longest);
        while self.records.len() > 1
            && let Some((mark, _)) = self.records.front()
            && (self.records.len() > retention.most || mark.millis < limit)
        {
            self.beginning = *mark;
            self.records.pop_front();
        }
    }

    fn trimmed(mut self, retention: Retention) -> Self {
        self.trim(retention);
        self
    }

    fn push(&mut self, frame: Frame) {
        match frame.record {
            Some(record) => self.records.push_back((frame.mark, record)),
            None => self.beginning = frame.mark,
        }
        self.end = frame.mark;
    }
}

/// One frame's text. Without a record it tells where the log begins.
#[derive(Serialize, Deserialize)]
struct Frame {
    mark: Mark,
    record: Option<Record>,
}

impl Frame {
    fn bytes(&self) -> io::Result<Vec<u8>> {
        let text = serde_json::to_vec(self)?;
        let length = u32::try_from(text.len()).map_err(io::Error::other)?;
        let mut bytes = Vec::with_capacity(PREFIX + text.len());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&(!length).to_be_bytes());
        bytes.extend_from_slice(&blake3::hash(&text).as_bytes()[..8]);
        bytes.extend_from_slice(&text);
        Ok(bytes)
    }
}

/// How the frames of a file go on at some place.
enum Next {
    /// A frame, and how many bytes it took.
    Frame(Frame, usize),
    End,
    /// A frame that ends after the file: the process ended while it was written.
    Torn,
    Damaged,
}

fn frame(bytes: &[u8]) -> Next {
    if bytes.is_empty() {
        return Next::End;
    }
    let Some((prefix, rest)) = bytes.split_at_checked(PREFIX) else { return Next::Torn };
    let number = |at: usize| {
        u32::from_be_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]])
    };
    let length = number(0);
    if number(4) != !length {
        return Next::Damaged;
    }
    let Some(text) = rest.get(..length as usize) else { return Next::Torn };
    if blake3::hash(text).as_bytes()[..8] != prefix[8..] {
        return Next::Damaged;
    }
    match serde_json::from_slice(text) {
        Ok(frame) => Next::Frame(frame, PREFIX + text.len()),
        // A later version's, perhaps: what it purges is not known.
        Err(_) => Next::Damaged,
    }
}

/// How much of a file is sound, where it can be gone on with.
struct Sound {
    bytes: u64,
    frames: usize,
}

/// What the file holds; a new log where there is none, or where it is damaged.
fn read(path: &Path) -> io::Result<(State, Option<Sound>)> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let mut state = State::beginning_at(Mark::ZERO);
    let (mut rest, mut frames) = (&bytes[..], 0);
    let damaged = loop {
        match frame(rest) {
            Next::Frame(frame, taken) => {
                state.push(frame);
                rest = &rest[taken..];
                frames += 1;
            }
            // A log without an epoch was written before there were any.
            Next::End | Next::Torn => break state.beginning.epoch == Epoch::NONE,
            Next::Damaged => break true,
        }
    };
    if damaged {
        if !bytes.is_empty() {
            let log = path.display();
            tracing::warn!(%log, "the purge log is damaged: what was stored before is validated");
        }
        return Ok((State::beginning_now(), None));
    }
    let bytes = (bytes.len() - rest.len()) as u64;
    Ok((state, Some(Sound { bytes, frames })))
}

impl LogFile {
    /// The file as it is, without what was torn off at its end.
    fn go_on(path: &Path, sound: &Sound) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        if file.metadata()?.len() > sound.bytes {
            file.set_len(sound.bytes)?;
        }
        // What is relied on is to be there after the next crash too.
        file.sync_all()?;
        file.seek(io::SeekFrom::End(0))?;
        Ok(Self { path: path.to_owned(), file, frames: sound.frames })
    }

    /// Writes the whole log in the place of what is there, all or nothing.
    fn write(path: &Path, state: &State) -> io::Result<Self> {
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let fresh = path.with_extension("new");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(&fresh)?;
        file.write_all(&Frame { mark: state.beginning, record: None }.bytes()?)?;
        for (mark, record) in &state.records {
            file.write_all(&Frame { mark: *mark, record: Some(record.clone()) }.bytes()?)?;
        }
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        // The name, too, must be on the disk.
        File::open(directory)?.sync_all()?;
        Ok(Self { path: path.to_owned(), file, frames: state.records.len() + 1 })
    }

    /// Returns when the frame is on the disk. A frame that was written in part is taken back.
    fn append(&mut self, frame: &Frame) -> io::Result<()> {
        let bytes = frame.bytes()?;
        let end = self.file.stream_position()?;
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.file.set_len(end)?;
            self.file.seek(io::SeekFrom::Start(end))?;
            return Err(error);
        }
        self.frames += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop};
    use proptest::proptest;

    use super::*;
    use crate::entry::facts::Tag;
    use crate::purge::{Cause, Effect, Purge, Scope};

    const KEEP: Retention = Retention { most: 10, longest: Duration::from_hours(1) };

    fn record(tag: &str) -> Record {
        let purge = Purge { scope: Scope::Tag(Tag::new(tag)), effect: Effect::Remove };
        Record { purges: vec![purge], cause: Cause::default(), at: Timestamp::from_millis(1) }
    }

    fn path(directory: &tempfile::TempDir) -> PathBuf {
        directory.path().join("purges")
    }

    fn open(path: &Path) -> LocalLog {
        LocalLog::open(path, "me", KEEP).unwrap()
    }

    /// A log of three records, and the bytes of its file.
    fn three(directory: &tempfile::TempDir) -> (Vec<Mark>, Vec<u8>) {
        let log = open(&path(directory));
        let marks = ["a", "b", "c"].map(|tag| log.0.append(record(tag)).unwrap().mark);
        (marks.to_vec(), fs::read(path(directory)).unwrap())
    }

    fn whole(log: &LocalLog) -> Page {
        log.0.state.lock().page(Mark::ZERO)
    }

    /// Where there is no room, nothing can be written that is not there.
    #[test]
    fn a_sound_file_is_opened_without_writing_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let (_, bytes) = three(&directory);
        let inode = |path: &Path| {
            let file = fs::metadata(path).unwrap();
            std::os::unix::fs::MetadataExt::ino(&file)
        };
        let before = inode(&path(&directory));
        // Too many records to be kept, and one that was being written.
        fs::write(path(&directory), [&bytes[..], &bytes[..=PREFIX]].concat()).unwrap();
        let few = Retention { most: 1, ..KEEP };
        let log = LocalLog::open(&path(&directory), "me", few).unwrap();
        assert_eq!(inode(&path(&directory)), before);
        assert_eq!(fs::read(path(&directory)).unwrap(), bytes);
        assert_eq!(whole(&log).records.len(), 1);
        let mark = log.0.append(record("d")).unwrap().mark;
        let page = whole(&open(&path(&directory)));
        assert_eq!(page.records.last().unwrap().0, mark);
    }

    #[test]
    fn records_survive_and_new_marks_follow_the_old_ones() {
        let directory = tempfile::tempdir().unwrap();
        let (marks, _) = three(&directory);
        let log = open(&path(&directory));
        let page = whole(&log);
        let read: Vec<_> = page.records.iter().map(|(mark, _)| *mark).collect();
        assert_eq!(read, marks);
        assert_eq!(page.end, marks[2]);
        assert!(page.beginning < marks[0]);
        assert!(log.0.append(record("d")).unwrap().mark > marks[2]);
    }

    #[test]
    fn a_torn_record_at_the_end_is_ignored_and_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let (marks, bytes) = three(&directory);
        fs::write(path(&directory), &bytes[..bytes.len() - 3]).unwrap();
        let page = whole(&open(&path(&directory)));
        assert_eq!((page.records.len(), page.end), (2, marks[1]));
        assert!(page.beginning < marks[0]);
        open(&path(&directory)).0.append(record("d")).unwrap();
        assert_eq!(whole(&open(&path(&directory))).records.len(), 3);
    }

    #[test]
    fn a_damaged_log_begins_anew_after_all_that_it_told() {
        let directory = tempfile::tempdir().unwrap();
        let (marks, mut bytes) = three(&directory);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(path(&directory), &bytes).unwrap();
        is_new(&whole(&open(&path(&directory))), marks[2]);
    }

    /// Nothing that `old` dates is taken for a part of this log.
    fn is_new(page: &Page, old: Mark) {
        assert!(page.records.is_empty());
        assert!(
            page.beginning.epoch != old.epoch && page.beginning.epoch != Epoch::NONE,
            "{page:?}"
        );
    }

    #[test]
    fn a_log_that_was_removed_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (marks, _) = three(&directory);
        fs::remove_file(path(&directory)).unwrap();
        is_new(&whole(&open(&path(&directory))), marks[2]);
    }

    #[test]
    fn only_the_retained_records_are_kept_and_the_beginning_is_the_last_that_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let keep = Retention { most: 2, ..KEEP };
        let log = LocalLog::open(&path(&directory), "me", keep).unwrap();
        let marks: Vec<_> =
            (0..9).map(|number| log.0.append(record(&number.to_string())).unwrap().mark).collect();
        let page = whole(&log);
        assert_eq!((page.records.len(), page.beginning), (2, marks[6]));
        assert_eq!(page, whole(&LocalLog::open(&path(&directory), "me", keep).unwrap()));
    }

    #[test]
    fn what_is_too_old_is_forgotten_but_for_the_last() {
        let keep = Retention { most: 100, longest: Duration::from_millis(20) };
        let log = LocalLog::in_memory("me", keep);
        let old = log.0.append(record("a")).unwrap().mark;
        assert_eq!(whole(&log).records.len(), 1);
        while Timestamp::now().as_millis() <= old.millis + 30 {
            std::thread::sleep(Duration::from_millis(5));
        }
        log.0.append(record("b")).unwrap();
        let page = whole(&log);
        assert_eq!((page.records.len(), page.beginning), (1, old));
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_one_clear_sentence() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let path = directory.path().join("file").join("purges");
        let error = LocalLog::open(&path, "me", KEEP).err().unwrap().to_string();
        assert!(
            error.starts_with("the purge log ") && error.contains("cannot be opened"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_always_noticed(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let directory = tempfile::tempdir().unwrap();
            let (marks, mut bytes) = three(&directory);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            fs::write(path(&directory), &bytes).unwrap();
            is_new(&whole(&open(&path(&directory))), marks[2]);
        }

        #[test]
        fn random_bytes_are_a_new_log(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let directory = tempfile::tempdir().unwrap();
            fs::write(path(&directory), bytes).unwrap();
            is_new(&whole(&open(&path(&directory))), Mark::ZERO);
        }
    }
}
