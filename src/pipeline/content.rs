//! Content that is part of a key: read within bounds, or passed on as if nobody had looked.

use std::time::Duration;

use bytes::Bytes;
use http::header::{EXPECT, HeaderMap};
use http_body::Body as HttpBody;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::key::content::{ContentRules, Unkeyable};
use crate::message::body::Body;
use crate::message::failure::BodyError;
use crate::message::reading::{Extent, Reading};
use crate::origin::failure::OriginFailure;

/// How long content may take to arrive as a whole; what takes longer passes, and streams.
const IN_TIME: Duration = Duration::from_secs(10);

/// How much content of clients may be held at a time, in KiB: what finds no room passes, and streams.
const ROOM: usize = 64 << 10;

/// The room for content that is being read, or whose answer is awaited.
pub(crate) struct Room(Semaphore);

impl Room {
    pub(crate) fn new() -> Self {
        Self(Semaphore::new(ROOM))
    }

    fn take(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        self.0.try_acquire_many(u32::try_from(kib(bytes)).ok()?).ok()
    }
}

fn kib(bytes: usize) -> usize {
    bytes.div_ceil(1024).max(1)
}

/// What became of a request's content.
pub(crate) enum Taken<'a> {
    /// It is keyed, and sent to the origin, as this; with the room that it takes.
    Keyed(Bytes, SemaphorePermit<'a>),
    /// It is not; it passes as it came.
    Left(Body, Unkeyable),
    /// It did not come to its end.
    Broken(OriginFailure),
}

/// Takes a request's content by the rules of its route.
pub(crate) async fn take<'a>(
    room: &'a Room,
    rules: &ContentRules,
    fields: &mut HeaderMap,
    body: Body,
) -> Taken<'a> {
    if let Some(why) = rules.refusal(fields) {
        return Taken::Left(body, why);
    }
    let announced = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok());
    let Some(mut taken) = room.take(announced.map_or(rules.limit, |bytes| bytes.min(rules.limit)))
    else {
        return Taken::Left(body, Unkeyable::NoRoom);
    };
    let mut reading = Reading::new(body);
    let extent = timeout(IN_TIME, reading.up_to(rules.limit)).await;
    if !reading.read().is_empty() {
        // Who waited for word that it may send has had it (RFC 9110 §10.1.1): the origin need not give it.
        fields.remove(EXPECT);
    }
    let left = match extent {
        Ok(Ok(Extent::Whole)) => match rules.content(fields, reading.read()) {
            Ok(content) => {
                // What was kept free for more than came is free again.
                let spare = taken.num_permits().saturating_sub(kib(content.len()));
                drop(taken.split(spare));
                return Taken::Keyed(content, taken);
            }
            Err(why) => why,
        },
        Ok(Ok(Extent::Longer)) => Unkeyable::TooLarge,
        Ok(Err(error)) => return Taken::Broken(failure(&error)),
        Err(_) => Unkeyable::Slow,
    };
    Taken::Left(reading.into_body(), left)
}

fn failure(error: &BodyError) -> OriginFailure {
    match error {
        BodyError::Silent => OriginFailure::RequestSilent,
        BodyError::Cut(_) | BodyError::Abandoned => {
            OriginFailure::RequestBody(error.to_string().into())
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::{self, StreamExt};
    use http::header::{CONTENT_TYPE, HeaderValue};
    use http_body::Frame;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::time::Instant;

    use super::*;

    fn json() -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))])
    }

    fn whole(text: &'static str) -> Body {
        Body::from(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_too_slowly_streams_on_and_nothing_of_it_is_lost() {
        let piece = |text: &'static str| Ok::<_, BodyError>(Frame::data(Bytes::from(text)));
        let late = stream::once(async move {
            tokio::time::sleep(IN_TIME * 2).await;
            piece("2]")
        });
        let body = Body::live(StreamBody::new(Box::pin(stream::iter([piece("[1,")]).chain(late))));
        let (room, mut fields, begun) = (Room::new(), json(), Instant::now());
        fields.insert(EXPECT, HeaderValue::from_static("100-continue"));
        let taken = take(&room, &ContentRules::default(), &mut fields, body).await;
        let Taken::Left(body, Unkeyable::Slow) = taken else { panic!("it is keyed, or broken") };
        assert_eq!(begun.elapsed(), IN_TIME);
        assert!(!fields.contains_key(EXPECT));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "[1,2]");
        assert_eq!(room.0.available_permits(), ROOM);
    }

    #[tokio::test]
    async fn content_that_finds_no_room_passes_and_room_is_for_what_came() {
        let (room, rules) = (Room::new(), ContentRules::default());
        let held = take(&room, &rules, &mut json(), whole("[1]")).await;
        assert!(matches!(held, Taken::Keyed(..)));
        assert_eq!(room.0.available_permits(), ROOM - 1);
        let all = room.0.try_acquire_many(u32::try_from(ROOM - 1).unwrap()).unwrap();
        let left = take(&room, &rules, &mut json(), whole("[1]")).await;
        assert!(matches!(left, Taken::Left(_, Unkeyable::NoRoom)));
        drop((held, all));
        assert!(matches!(take(&room, &rules, &mut json(), whole("1")).await, Taken::Keyed(..)));
        assert_eq!(room.0.available_permits(), ROOM);
    }

    #[tokio::test]
    async fn a_client_that_falls_silent_or_leaves_is_told_from_a_slow_one() {
        for (error, silent) in [(BodyError::Silent, true), (BodyError::Cut("x".into()), false)] {
            let body = Body::live(StreamBody::new(stream::iter([Err::<Frame<Bytes>, _>(error)])));
            let room = Room::new();
            let taken = take(&room, &ContentRules::default(), &mut json(), body).await;
            let Taken::Broken(failure) = taken else { panic!("it did not break") };
            let word = failure == OriginFailure::RequestSilent;
            assert!(
                word == silent || matches!(failure, OriginFailure::RequestBody(_)),
                "{failure}"
            );
        }
    }
}
