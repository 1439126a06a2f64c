//! A body still arriving: one writer, many readers, one shared copy.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::message::failure::BodyError;

/// How far the writer may be ahead of the slowest reader once the body is known to be too large to keep.
const WINDOW: u64 = 256 * 1024;

/// The readable side of a body that arrives; clones read the same bytes.
///
/// Up to its limit a fill keeps every byte, so that a reader who comes late starts from the beginning.
/// Past the limit it *overflows*: it is not joinable any more, frees what everybody has read, and the
/// writer waits for the slowest reader, so that memory stays bounded by the limit or the window.
#[derive(Clone)]
pub struct Fill(Arc<Mutex<State>>);

struct State {
    /// What is kept of the body, each chunk with its offset.
    chunks: VecDeque<(u64, Bytes)>,
    /// Bytes written so far.
    written: u64,
    limit: u64,
    overflowed: bool,
    end: Option<Result<(), BodyError>>,
    readers: Vec<Option<Place>>,
    writer: Option<Waker>,
}

/// Where one reader stands, and whom to wake when there is more for it.
struct Place {
    at: u64,
    waker: Option<Waker>,
}

/// The writable side. Dropped before [`Writer::finish`], it fails the body for every reader.
pub struct Writer(Fill);

/// One reader's way through a [`Fill`]; dropping it frees its place.
pub struct Reader {
    fill: Fill,
    place: usize,
    until: u64,
}

/// Why a fill cannot be read from its beginning any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflowed;

impl Fill {
    /// An empty fill that keeps up to `limit` bytes for whoever comes later.
    pub fn open(limit: u64) -> (Writer, Fill) {
        let fill = Fill(Arc::new(Mutex::new(State {
            chunks: VecDeque::new(),
            written: 0,
            limit,
            overflowed: false,
            end: None,
            readers: Vec::new(),
            writer: None,
        })));
        (Writer(fill.clone()), fill)
    }

    /// A reader of the bytes in `range` (to the end of the body when its end lies beyond).
    pub fn read(&self, range: Range<u64>) -> Result<Reader, Overflowed> {
        let mut state = self.0.lock();
        if state.overflowed {
            return Err(Overflowed);
        }
        let place = Place { at: range.start, waker: None };
        let free = state.readers.iter().position(Option::is_none);
        let place = if let Some(index) = free {
            state.readers[index] = Some(place);
            index
        } else {
            state.readers.push(Some(place));
            state.readers.len() - 1
        };
        Ok(Reader { fill: self.clone(), place, until: range.end })
    }

    /// Whether somebody is still reading.
    pub fn has_readers(&self) -> bool {
        self.0.lock().readers.iter().any(Option::is_some)
    }

    /// Whether the body outgrew the limit; then it is nobody's to join or to keep.
    pub fn has_overflowed(&self) -> bool {
        self.0.lock().overflowed
    }
}

impl Writer {
    /// Adds `chunk`. Waits only after an overflow, for the slowest reader; dropping the wait loses nothing
    /// but the wait, the chunk is already in.
    pub async fn push(&self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        self.0.0.lock().append(chunk);
        poll_fn(|context| self.0.0.lock().poll_room(context)).await;
    }

    /// Ends the body well and returns it whole, or nothing when it overflowed.
    pub fn finish(self) -> Option<Bytes> {
        let mut state = self.0.0.lock();
        state.finish(Ok(()));
        (!state.overflowed).then(|| state.join())
    }

    /// Ends the body as cut off, for every reader alike.
    pub fn fail(self, error: BodyError) {
        self.0.0.lock().finish(Err(error));
    }

    /// Whether anybody still reads; a body that nobody reads is worth fetching only if it can be kept.
    pub fn is_read(&self) -> bool {
        self.0.has_readers()
    }

    /// Whether the body has outgrown what may be kept.
    pub fn has_overflowed(&self) -> bool {
        self.0.has_overflowed()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.0.lock().finish(Err(BodyError::Abandoned));
    }
}

impl State {
    fn append(&mut self, chunk: Bytes) {
        let offset = self.written;
        self.written += chunk.len() as u64;
        self.chunks.push_back((offset, chunk));
        if self.written > self.limit {
            self.overflowed = true;
            self.release();
        }
        self.wake_readers();
    }

    /// Frees the chunks that every reader has passed.
    fn release(&mut self) {
        let slowest = self.slowest();
        while self.chunks.front().is_some_and(|chunk| end(chunk) <= slowest) {
            self.chunks.pop_front();
        }
    }

    fn slowest(&self) -> u64 {
        self.readers.iter().flatten().map(|place| place.at).min().unwrap_or(self.written)
    }

    fn poll_room(&mut self, context: &Context<'_>) -> Poll<()> {
        if !self.overflowed || self.end.is_some() {
            return Poll::Ready(());
        }
        self.release();
        if self.written.saturating_sub(self.slowest()) <= WINDOW {
            return Poll::Ready(());
        }
        self.writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// The first end counts; a later one says nothing new.
    fn finish(&mut self, end: Result<(), BodyError>) {
        if self.end.is_none() {
            self.end = Some(end);
            self.wake_readers();
        }
    }

    fn wake_readers(&mut self) {
        for place in self.readers.iter_mut().flatten() {
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
    }

    /// All bytes as one, in memory of their own: a chunk is a piece of the buffer that a connection reads into, and
    /// would keep the whole of it.
    fn join(&mut self) -> Bytes {
        let length = usize::try_from(self.written).unwrap_or_default();
        let mut whole = BytesMut::with_capacity(length);
        for (_, chunk) in &self.chunks {
            whole.extend_from_slice(chunk);
        }
        let whole = whole.freeze();
        self.chunks.clear();
        self.chunks.push_back((0, whole.clone()));
        whole
    }

    /// The bytes at `at`, up to the end of their chunk; found by halving, since chunks may be small and many.
    fn bytes_at(&self, at: u64) -> Option<Bytes> {
        let index = self.chunks.partition_point(|chunk| end(chunk) <= at);
        let (offset, chunk) = self.chunks.get(index)?;
        let skipped = usize::try_from(at.saturating_sub(*offset)).unwrap_or_default();
        Some(chunk.slice(skipped..))
    }

    fn move_reader(&mut self, place: usize, at: u64) {
        if let Some(Some(place)) = self.readers.get_mut(place) {
            place.at = at;
        }
        if self.overflowed
            && let Some(writer) = self.writer.take()
        {
            writer.wake();
        }
    }
}

/// The offset after a chunk's last byte.
fn end((offset, chunk): &(u64, Bytes)) -> u64 {
    offset + chunk.len() as u64
}

impl Reader {
    /// The same reader for the bytes in `range` only; it must not have read anything yet.
    #[must_use]
    pub fn narrow(mut self, range: Range<u64>) -> Self {
        self.until = self.until.min(range.end);
        self.fill.0.lock().move_reader(self.place, range.start);
        self
    }

    /// The next bytes, `None` at the end, an error when the body was cut off.
    pub fn poll_next(&mut self, context: &Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut state = self.fill.0.lock();
        let Some(Some(place)) = state.readers.get(self.place) else { return Poll::Ready(None) };
        let at = place.at;
        if at >= self.until {
            return Poll::Ready(None);
        }
        if let Some(mut chunk) = state.bytes_at(at) {
            let wanted = usize::try_from(self.until - at).unwrap_or(usize::MAX);
            chunk.truncate(wanted);
            state.move_reader(self.place, at + chunk.len() as u64);
            return Poll::Ready(Some(Ok(chunk)));
        }
        if let Some(end) = &state.end {
            return Poll::Ready(end.clone().err().map(Err));
        }
        if let Some(Some(place)) = state.readers.get_mut(self.place) {
            place.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.fill.0.lock();
        if let Some(place) = state.readers.get_mut(self.place) {
            *place = None;
        }
        if let Some(writer) = state.writer.take() {
            writer.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(mut reader: Reader) -> Result<Vec<u8>, BodyError> {
        let mut seen = Vec::new();
        while let Some(chunk) = poll_fn(|context| reader.poll_next(context)).await {
            seen.extend_from_slice(&chunk?);
        }
        Ok(seen)
    }

    #[tokio::test]
    async fn a_late_reader_gets_every_byte_from_the_beginning() {
        let (writer, fill) = Fill::open(100);
        writer.push(Bytes::from_static(b"abc")).await;
        writer.push(Bytes::from_static(b"def")).await;
        let late = fill.read(0..u64::MAX).unwrap();
        assert_eq!(writer.finish().unwrap(), &b"abcdef"[..]);
        assert_eq!(all(late).await.unwrap(), b"abcdef");
    }

    #[tokio::test]
    async fn a_body_in_very_many_chunks_is_read_without_walking_over_them_each_time() {
        let (writer, fill) = Fill::open(u64::MAX);
        for _ in 0..60_000 {
            writer.push(Bytes::from_static(b"x")).await;
        }
        let late = fill.read(0..u64::MAX).unwrap();
        drop(writer);
        let begun = std::time::Instant::now();
        assert!(all(late).await.is_err());
        assert!(begun.elapsed().as_secs() < 3, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_range_of_an_arriving_body_is_cut_across_chunks() {
        let (writer, fill) = Fill::open(100);
        let reader = fill.read(2..5).unwrap();
        writer.push(Bytes::from_static(b"abc")).await;
        writer.push(Bytes::from_static(b"def")).await;
        drop(writer);
        assert_eq!(all(reader).await.unwrap(), b"cde");
    }

    #[tokio::test]
    async fn a_writer_dropped_before_the_end_cuts_its_readers_off() {
        let (writer, fill) = Fill::open(100);
        let reader = fill.read(0..u64::MAX).unwrap();
        writer.push(Bytes::from_static(b"abc")).await;
        drop(writer);
        assert!(matches!(all(reader).await, Err(BodyError::Abandoned)));
    }

    #[tokio::test]
    async fn an_overflowing_body_is_read_whole_but_neither_joined_nor_kept() {
        let (writer, fill) = Fill::open(10);
        let reader = fill.read(0..u64::MAX).unwrap();
        let tasks = tokio_util::task::TaskTracker::new();
        let reading = tasks.spawn(all(reader));
        let chunk = Bytes::from(vec![7; 200 * 1024]);
        for _ in 0..20 {
            writer.push(chunk.clone()).await;
            let state = fill.0.lock();
            let start = state.chunks.front().map_or(state.written, |(offset, _)| *offset);
            assert!(state.written - start <= WINDOW + 2 * chunk.len() as u64);
        }
        assert!(fill.read(0..1).is_err());
        assert!(writer.finish().is_none());
        assert_eq!(reading.await.unwrap().unwrap().len(), 20 * chunk.len());
    }

    #[tokio::test]
    async fn a_reader_that_leaves_frees_a_writer_that_waits_for_it() {
        let (writer, fill) = Fill::open(0);
        let reader = fill.read(0..u64::MAX).unwrap();
        let pushing = tokio_util::task::TaskTracker::new().spawn(async move {
            for _ in 0..4 {
                writer.push(Bytes::from(vec![0; 200 * 1024])).await;
            }
        });
        tokio::task::yield_now().await;
        drop(reader);
        pushing.await.unwrap();
        assert!(!fill.has_readers());
    }
}
