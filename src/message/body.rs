//! The one body type: whole, live from a connection, or read from a fill.

use std::error::Error;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::message::failure::BodyError;
use crate::message::fill::Reader;
use crate::message::shelf::{Extent, Whole};

/// How much is read from a shelf at once, and so held for a client that does not read on: what one frame of HTTP/2
/// (RFC 9113 §4.2) and one record of TLS hold at most.
const PIECE: usize = 16 << 10;

/// A message body. Dropping it ends the reading: a live one closes its connection's stream.
pub enum Body {
    Empty,
    /// All of it, shared; given out once.
    Whole(Bytes),
    /// What is left to be read of a body on a shelf: copied as it is asked for.
    Shelved(Arc<Extent>, Range<usize>),
    /// What a client or an origin sends, or any other stream.
    Live(Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError> + Send>>),
    /// What a fetch shared by many has brought so far, and goes on to bring.
    Arriving {
        reader: Reader,
        length: Option<u64>,
    },
}

impl Body {
    /// Wraps any stream of bytes; allocates once.
    pub fn live<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        Self::Live(Box::pin(body.map_err(|error| cut(&*error.into()))))
    }

    /// A part of a body that is all there, as much of it as there is.
    pub fn part(whole: Whole<'_>, range: Range<usize>) -> Self {
        let end = range.end.min(whole.len());
        let range = range.start.min(end)..end;
        match whole {
            _ if range.is_empty() => Self::Empty,
            Whole::Bytes(bytes) => Self::Whole(bytes.slice(range)),
            Whole::Shelved(extent) => Self::Shelved(extent.clone(), range),
        }
    }

    /// Whether nothing will come.
    pub fn is_empty(&self) -> bool {
        self.is_end_stream()
    }
}

impl From<Whole<'_>> for Body {
    fn from(whole: Whole<'_>) -> Self {
        Self::part(whole, 0..whole.len())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Whole(bytes) }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Shelved(_, range) if Range::is_empty(range) => Poll::Ready(None),
            Self::Shelved(extent, range) => {
                let read = extent.read(range.start, range.len().min(PIECE));
                range.start += read.as_ref().map_or(range.len(), Bytes::len);
                Poll::Ready(Some(read.map(Frame::data).map_err(|error| cut(&error))))
            }
            Self::Live(body) => body.as_mut().poll_frame(context),
            Self::Arriving { reader, .. } => {
                reader.poll_next(context).map(|next| next.map(|chunk| chunk.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Shelved(_, range) => Range::is_empty(range),
            Self::Live(body) => body.is_end_stream(),
            Self::Arriving { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Shelved(_, range) => SizeHint::with_exact(range.len() as u64),
            Self::Live(body) => body.size_hint(),
            Self::Arriving { length, .. } => {
                length.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
        }
    }
}

/// Says an error with its causes: hyper's own text names only the outermost.
fn cut(error: &(dyn Error + 'static)) -> BodyError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::TimedOut)
        {
            return BodyError::Silent;
        }
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    BodyError::Cut(text)
}
