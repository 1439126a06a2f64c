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

use crate::entry::facts::Mark;
use crate::purge::Record;
use crate::purge::log::{Appended, Instance, LogError, Page, PurgeLog};
use crate::time::Timestamp;

/// What stands before a frame's text.
const PREFIX: usize = 16;

/// The purge log of a lone instance. Cloning shares it.
#[derive(Clone)]
pub struct LocalLog(Arc<Parts>);

struct Parts {
    instance: String,
    retention: usize,
    lasts: Lasts,
    /// Held by one writer at a time, while it waits for the disk.
    file: Mutex<Option<LogFile>>,
    state: Mutex<State>,
    appended: Notify,
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
#[error("the purge log {} cannot be opened: {cause}", path.display())]
pub struct OpenError {
    pub path: PathBuf,
    pub cause: io::Error,
}

impl LocalLog {
    /// A log that ends with the process.
    pub fn in_memory(instance: &str, retention: usize) -> Self {
        Self::new(instance, retention, None, State::beginning_at(next(Mark::ZERO)))
    }

    /// The log in the file `path`, which is made where there is none. Reads the whole file.
    ///
    /// A record that was being written when the process ended is ignored; any other damage means that purges may be
    /// missing, so the log then begins anew after all that it told, and older entries are not vouched for.
    pub fn open(path: &Path, instance: &str, retention: usize) -> Result<Self, OpenError> {
        let retention = retention.max(1);
        let opened = read(path).and_then(|state| {
            let state = state.trimmed(retention);
            // Written anew: without what was torn, damaged or trimmed.
            Ok((LogFile::write(path, &state)?, state))
        });
        let (file, state) = opened.map_err(|cause| OpenError { path: path.to_owned(), cause })?;
        Ok(Self::new(instance, retention, Some(file), state))
    }

    fn new(instance: &str, retention: usize, file: Option<LogFile>, state: State) -> Self {
        Self(Arc::new(Parts {
            instance: instance.to_owned(),
            retention: retention.max(1),
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
        let is_long = |file: &LogFile| file.frames > self.retention.saturating_mul(2);
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
    Mark::new(Timestamp::now().as_millis(), 0).max(last.next())
}

impl State {
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
        let from = self.records.partition_point(|(mark, _)| *mark <= after);
        Page {
            records: self.records.range(from..).cloned().collect(),
            beginning: self.beginning,
            end: self.end,
        }
    }

    /// Forgets the oldest records but for `retention`, and begins after them.
    fn trim(&mut self, retention: usize) {
        while self.records.len() > retention
            && let Some((mark, _)) = self.records.pop_front()
        {
            self.beginning = mark;
        }
    }

    fn trimmed(mut self, retention: usize) -> Self {
        self.trim(retention);
        self
    }

    fn push(&mut self, frame: Frame) {
        match frame.record {
            Some(record) => self.records.push_back((frame.mark, record)),
            None => self.beginning = frame.mark,
        }
        self.end = self.end.max(frame.mark);
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

/// What the file holds; a new log where there is none.
fn read(path: &Path) -> io::Result<State> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let mut state = State::beginning_at(Mark::ZERO);
    let mut rest = &bytes[..];
    let damaged = loop {
        match frame(rest) {
            Next::Frame(frame, taken) => {
                state.push(frame);
                rest = &rest[taken..];
            }
            Next::End | Next::Torn => break state.beginning == Mark::ZERO,
            Next::Damaged => break true,
        }
    };
    if damaged {
        state = State::beginning_at(later_than_lost(state.end));
    }
    Ok(state)
}

/// A mark later than any that was given before now, by a log that got as far as `known` at least.
///
/// It lies one millisecond ahead of the clock, and the clock is waited for: so no mark is ever given ahead of it, and
/// the next log that begins anew begins later than this one's marks.
fn later_than_lost(known: Mark) -> Mark {
    let millis = Timestamp::now().as_millis().max(known.millis).saturating_add(1);
    // A clock that was set back far is not waited for.
    for _ in 0..10 {
        if Timestamp::now().as_millis() >= millis {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Mark::new(millis, 0)
}

impl LogFile {
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

    fn record(tag: &str) -> Record {
        let purge = Purge { scope: Scope::Tag(Tag::new(tag)), effect: Effect::Remove };
        Record { purges: vec![purge], cause: Cause::default(), at: Timestamp::from_millis(1) }
    }

    fn path(directory: &tempfile::TempDir) -> PathBuf {
        directory.path().join("purges")
    }

    fn open(path: &Path) -> LocalLog {
        LocalLog::open(path, "me", 10).unwrap()
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
        assert!(whole(&open(&path(&directory))).beginning > marks[2]);
    }

    #[test]
    fn a_log_that_was_removed_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (marks, _) = three(&directory);
        fs::remove_file(path(&directory)).unwrap();
        let page = whole(&open(&path(&directory)));
        assert!(page.beginning > marks[2] && page.records.is_empty());
    }

    #[test]
    fn only_the_retained_records_are_kept_and_the_beginning_is_the_last_that_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let log = LocalLog::open(&path(&directory), "me", 2).unwrap();
        let marks: Vec<_> =
            (0..9).map(|number| log.0.append(record(&number.to_string())).unwrap().mark).collect();
        let page = whole(&log);
        assert_eq!((page.records.len(), page.beginning), (2, marks[6]));
        assert_eq!(page, whole(&LocalLog::open(&path(&directory), "me", 2).unwrap()));
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_one_clear_sentence() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let path = directory.path().join("file").join("purges");
        let error = LocalLog::open(&path, "me", 2).err().unwrap().to_string();
        assert!(
            error.starts_with("the purge log ") && error.contains("cannot be opened"),
            "{error}"
        );
    }

    #[test]
    fn damage_in_the_very_millisecond_of_the_last_purge_loses_none() {
        for round in 0..100 {
            let directory = tempfile::tempdir().unwrap();
            let (marks, mut bytes) = three(&directory);
            let at = (round * 7919) % bytes.len();
            bytes[at] ^= 1;
            fs::write(path(&directory), &bytes).unwrap();
            let beginning = whole(&open(&path(&directory))).beginning;
            assert!(beginning > marks[2], "byte {at}: {beginning} after {marks:?}");
        }
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_always_noticed(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let directory = tempfile::tempdir().unwrap();
            let (marks, mut bytes) = three(&directory);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            fs::write(path(&directory), &bytes).unwrap();
            assert!(whole(&open(&path(&directory))).beginning > marks[2]);
        }

        #[test]
        fn random_bytes_are_a_new_log(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let directory = tempfile::tempdir().unwrap();
            fs::write(path(&directory), bytes).unwrap();
            assert!(whole(&open(&path(&directory))).beginning > Mark::ZERO);
        }
    }
}
