//! A body still arriving: one writer, many readers, one shared copy.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::message::air::Share;
use crate::message::failure::BodyError;

/// How far the writer may be ahead of the slowest reader once it is known that the body is not kept.
const WINDOW: u64 = 256 * 1024;
/// What a piece costs beside its bytes.
const PIECE: u64 = size_of::<(u64, Bytes)>() as u64;
/// A shorter piece is copied next to the one before: by itself it would keep the buffer that a connection reads into.
const SHORT: usize = 4 << 10;
/// The largest block into which such pieces are copied.
const BLOCK: usize = 64 << 10;
/// The room that a body begins with whose length is not known.
const BEGINNING: u64 = 16 << 10;

/// The readable side of a body that arrives; clones read the same bytes.
///
/// Up to its limit, and while its share of the air grows, a fill keeps every byte, so that a reader who comes late
/// starts from the beginning. Past that it *overflows*: it is not joinable any more, frees what everybody has read, and
/// the writer waits for the slowest reader, so that memory stays bounded by the share: then the writer is ahead by that
/// or by the window, whichever is less, and by one piece at least. The share is given back with the last reader.
#[derive(Clone)]
pub struct Fill(Arc<Mutex<State>>);

struct State {
    /// What is kept of the body, each chunk with its offset.
    chunks: VecDeque<(u64, Bytes)>,
    /// What the chunks cost.
    kept: u64,
    share: Share,
    /// Where short pieces are copied to.
    block: BytesMut,
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

/// The room to take for a body of this length, or for one whose length is not told: with what its pieces cost.
pub fn room_for(length: Option<u64>) -> u64 {
    length.map_or(BEGINNING, |length| length.saturating_add(length / 64).saturating_add(PIECE))
}

impl Fill {
    /// An empty fill that keeps up to `limit` bytes for whoever comes later, while its share of the air grows.
    pub fn open(limit: u64, share: Share) -> (Writer, Fill) {
        let fill = Fill(Arc::new(Mutex::new(State {
            chunks: VecDeque::new(),
            kept: 0,
            share,
            block: BytesMut::new(),
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

    /// Whether the body outgrew its limit or its share; then it is nobody's to join or to keep.
    pub fn has_overflowed(&self) -> bool {
        self.0.lock().overflowed
    }

    /// Whether the body outgrew its limit, as the next one for its URL will.
    pub fn is_too_large(&self) -> bool {
        let state = self.0.lock();
        state.written > state.limit
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
        let chunk = self.compact(chunk);
        self.written += chunk.len() as u64;
        self.kept += cost(&chunk);
        self.chunks.push_back((offset, chunk));
        if !self.overflowed {
            if self.written > self.limit {
                self.overflowed = true;
                // If it cannot, the writer is ahead by less.
                let _ = self.share.grow_to(WINDOW);
            } else {
                self.overflowed = self.share.grow_to(self.kept).is_err();
            }
        }
        if self.overflowed {
            self.release();
        }
        self.wake_readers();
    }

    /// The chunk in memory that it does not waste.
    fn compact(&mut self, chunk: Bytes) -> Bytes {
        if self.overflowed || self.chunks.is_empty() || chunk.len() >= SHORT {
            return chunk;
        }
        if self.block.capacity() < chunk.len() {
            let written = usize::try_from(self.written).unwrap_or(usize::MAX);
            self.block = BytesMut::with_capacity(written.clamp(SHORT, BLOCK));
        }
        self.block.extend_from_slice(&chunk);
        self.block.split().freeze()
    }

    /// Frees the chunks that every reader has passed, and the room that is not needed any more.
    fn release(&mut self) {
        let slowest = self.slowest();
        while self.chunks.front().is_some_and(|chunk| end(chunk) <= slowest) {
            self.kept -= self.chunks.pop_front().map_or(0, |(_, bytes)| cost(&bytes));
        }
        self.share.shrink_to(self.kept.max(WINDOW));
    }

    fn slowest(&self) -> u64 {
        self.readers.iter().flatten().map(|place| place.at).min().unwrap_or(self.written)
    }

    fn poll_room(&mut self, context: &Context<'_>) -> Poll<()> {
        if !self.overflowed || self.end.is_some() {
            return Poll::Ready(());
        }
        self.release();
        if self.chunks.is_empty() || self.kept <= self.share.bytes().min(WINDOW) {
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
        // Each is freed as soon as it is copied.
        for (_, chunk) in self.chunks.drain(..) {
            whole.extend_from_slice(&chunk);
        }
        let whole = whole.freeze();
        self.block = BytesMut::new();
        self.kept = cost(&whole);
        self.share.shrink_to(self.kept);
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

fn cost(chunk: &Bytes) -> u64 {
    chunk.len() as u64 + PIECE
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
    use crate::message::air::Air;

    fn plenty() -> Share {
        Air::bounded(u64::MAX).take(0).unwrap()
    }

    async fn all(mut reader: Reader) -> Result<Vec<u8>, BodyError> {
        let mut seen = Vec::new();
        while let Some(chunk) = poll_fn(|context| reader.poll_next(context)).await {
            seen.extend_from_slice(&chunk?);
        }
        Ok(seen)
    }

    #[tokio::test]
    async fn a_late_reader_gets_every_byte_from_the_beginning() {
        let (writer, fill) = Fill::open(100, plenty());
        writer.push(Bytes::from_static(b"abc")).await;
        writer.push(Bytes::from_static(b"def")).await;
        let late = fill.read(0..u64::MAX).unwrap();
        assert_eq!(writer.finish().unwrap(), &b"abcdef"[..]);
        assert_eq!(all(late).await.unwrap(), b"abcdef");
    }

    #[tokio::test]
    async fn a_body_in_very_many_chunks_is_read_without_walking_over_them_each_time() {
        let (writer, fill) = Fill::open(u64::MAX, plenty());
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
        let (writer, fill) = Fill::open(100, plenty());
        let reader = fill.read(2..5).unwrap();
        writer.push(Bytes::from_static(b"abc")).await;
        writer.push(Bytes::from_static(b"def")).await;
        drop(writer);
        assert_eq!(all(reader).await.unwrap(), b"cde");
    }

    #[tokio::test]
    async fn a_writer_dropped_before_the_end_cuts_its_readers_off() {
        let (writer, fill) = Fill::open(100, plenty());
        let reader = fill.read(0..u64::MAX).unwrap();
        writer.push(Bytes::from_static(b"abc")).await;
        drop(writer);
        assert!(matches!(all(reader).await, Err(BodyError::Abandoned)));
    }

    #[tokio::test]
    async fn an_overflowing_body_is_read_whole_but_neither_joined_nor_kept() {
        let (writer, fill) = Fill::open(10, plenty());
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
        let (writer, fill) = Fill::open(0, plenty());
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

    #[tokio::test]
    async fn a_body_that_finds_no_more_room_streams_on_and_gives_back_what_it_had() {
        let air = Air::bounded(100_000);
        let (writer, fill) = Fill::open(u64::MAX, air.take(room_for(None)).unwrap());
        let mut reader = fill.read(0..u64::MAX).unwrap();
        for _ in 0..9 {
            writer.push(Bytes::from(vec![7; 10_000])).await;
        }
        assert_eq!((air.held(), fill.has_overflowed()), (9 * (10_000 + PIECE), false));
        let tasks = tokio_util::task::TaskTracker::new();
        let writing = tasks.spawn(async move {
            for _ in 0..20 {
                writer.push(Bytes::from(vec![7; 10_000])).await;
            }
            writer.finish()
        });
        tokio::task::yield_now().await;
        assert!(fill.has_overflowed() && !fill.is_too_large() && fill.read(0..1).is_err());
        let mut length = 0;
        while let Some(chunk) = poll_fn(|context| reader.poll_next(context)).await {
            length += chunk.unwrap().len();
            assert!(air.held() <= 100_000);
        }
        assert_eq!((length, writing.await.unwrap()), (290_000, None));
        drop((reader, fill));
        assert_eq!((air.held(), air.refusals()), (0, 1));
    }

    #[tokio::test]
    async fn a_body_without_any_share_is_read_piece_by_piece() {
        let air = Air::bounded(0);
        let (writer, fill) = Fill::open(u64::MAX, air.take(0).unwrap());
        let reader = fill.read(0..u64::MAX).unwrap();
        let reading = tokio_util::task::TaskTracker::new().spawn(all(reader));
        for _ in 0..50 {
            writer.push(Bytes::from_static(b"piece")).await;
            assert!(fill.0.lock().chunks.len() <= 1);
        }
        assert!(writer.finish().is_none());
        assert_eq!(reading.await.unwrap().unwrap().len(), 250);
    }

    #[tokio::test]
    async fn short_pieces_do_not_keep_the_buffers_that_they_came_in() {
        let air = Air::bounded(u64::MAX);
        let (writer, fill) = Fill::open(u64::MAX, air.take(0).unwrap());
        for _ in 0..1000 {
            let piece = Bytes::from(vec![b'x'; 8192]).slice(0..10);
            writer.push(piece).await;
        }
        let begins = |index: usize| fill.0.lock().chunks[index].1.as_ptr() as usize;
        assert_eq!(begins(2) - begins(1), 10, "they lie side by side");
        assert_eq!(air.held(), 1000 * (10 + PIECE));
        let late = fill.read(0..u64::MAX).unwrap();
        assert_eq!(writer.finish().unwrap().len(), 10_000);
        assert_eq!(air.held(), 10_000 + PIECE);
        drop(fill);
        assert_eq!(all(late).await.unwrap(), vec![b'x'; 10_000]);
        assert_eq!(air.held(), 0);
    }
}
