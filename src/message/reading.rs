//! A body that is read ahead of its use: whole within bounds, or handed on as if nobody had looked.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::message::air::Share;
use crate::message::body::Body;
use crate::message::failure::BodyError;

/// What was read of a body, and what is still to come. As a body it is the whole of it again.
pub struct Reading {
    read: BytesMut,
    /// Of the air, for what was read; nothing where that is accounted for elsewhere.
    share: Option<Share>,
    trailers: Option<HeaderMap>,
    /// Nothing when it came to its end.
    rest: Option<Body>,
}

/// How far a body was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// To its end.
    Whole,
    /// It is longer than what was asked for.
    Longer,
    /// There is no room in the air for more of it.
    NoRoom,
}

impl Reading {
    pub fn new(body: Body) -> Self {
        Self { read: BytesMut::new(), share: None, trailers: None, rest: Some(body) }
    }

    /// A body of which no more is read than there is room for beyond `share`, which is given back when what was read is
    /// handed on.
    pub fn within(share: Share, body: Body) -> Self {
        Self { share: Some(share), ..Self::new(body) }
    }

    /// The share, for what becomes of what was read.
    pub fn take_share(&mut self) -> Option<Share> {
        self.share.take()
    }

    /// Reads on until the end, or until there is more than `limit`. Dropped while it waits, it has lost nothing.
    pub async fn up_to(&mut self, limit: usize) -> Result<Extent, BodyError> {
        while let Some(rest) = &mut self.rest {
            // Told before the first byte where the length is: then nobody need be asked to send it.
            let announced = usize::try_from(rest.size_hint().lower()).unwrap_or(usize::MAX);
            if self.read.len().saturating_add(announced) > limit {
                return Ok(Extent::Longer);
            }
            match rest.frame().await {
                None => self.rest = None,
                Some(frame) => match frame?.into_data() {
                    Ok(data) => {
                        self.read.extend_from_slice(&data);
                        if self.read.len() <= limit && !self.has_room() {
                            return Ok(Extent::NoRoom);
                        }
                    }
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
            }
        }
        Ok(if self.read.len() > limit { Extent::Longer } else { Extent::Whole })
    }

    fn has_room(&mut self) -> bool {
        let read = self.read.len() as u64;
        self.share.as_mut().is_none_or(|share| share.grow_to(read).is_ok())
    }

    /// What was read so far.
    pub fn read(&self) -> &[u8] {
        &self.read
    }

    /// The whole body, what was read of it first.
    pub fn into_body(self) -> Body {
        Body::Live(Box::pin(self))
    }
}

impl HttpBody for Reading {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if !this.read.is_empty() {
            this.share = None;
            return Poll::Ready(Some(Ok(Frame::data(this.read.split().freeze()))));
        }
        if let Some(trailers) = this.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        match &mut this.rest {
            Some(rest) => Pin::new(rest).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty()
            && self.trailers.is_none()
            && self.rest.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint);
        let read = self.read.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::StreamBody;

    use super::*;
    use crate::message::air::Air;

    fn pieces(pieces: &[&'static str]) -> Body {
        let frames: Vec<Result<_, BodyError>> = pieces
            .iter()
            .map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))))
            .collect();
        Body::live(StreamBody::new(stream::iter(frames)))
    }

    async fn text(body: Body) -> String {
        let bytes = body.collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_end_or_handed_on_whole() {
        for (limit, extent) in [(6, Extent::Whole), (5, Extent::Longer), (0, Extent::Longer)] {
            let mut reading = Reading::new(pieces(&["ab", "", "cd", "ef"]));
            assert_eq!(reading.up_to(limit).await.unwrap(), extent);
            assert_eq!(text(reading.into_body()).await, "abcdef");
        }
    }

    #[tokio::test]
    async fn a_length_that_is_announced_is_believed_before_it_comes() {
        let mut reading = Reading::new(Body::from(Bytes::from_static(b"abc")));
        assert_eq!(reading.up_to(2).await.unwrap(), Extent::Longer);
        assert!(reading.read().is_empty());
        let body = reading.into_body();
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(text(body).await, "abc");
    }

    #[tokio::test]
    async fn trailers_are_handed_on() {
        let trailers = || HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())]);
        let frames: Vec<Result<_, BodyError>> =
            vec![Ok(Frame::data(Bytes::from_static(b"a"))), Ok(Frame::trailers(trailers()))];
        let mut reading = Reading::new(Body::live(StreamBody::new(stream::iter(frames))));
        assert_eq!(reading.up_to(9).await.unwrap(), Extent::Whole);
        assert_eq!(reading.read(), b"a");
        let whole = reading.into_body().collect().await.unwrap();
        assert_eq!(whole.trailers(), Some(&trailers()));
    }

    #[tokio::test]
    async fn no_more_is_read_than_there_is_room_for_and_nothing_is_lost() {
        let air = Air::bounded(3);
        let mut reading = Reading::within(air.take(0).unwrap(), pieces(&["ab", "cd", "ef"]));
        assert_eq!(reading.up_to(9).await.unwrap(), Extent::NoRoom);
        assert_eq!(air.held(), 2);
        assert_eq!(text(reading.into_body()).await, "abcdef");
        assert_eq!((air.held(), air.refusals()), (0, 1));
    }
}
