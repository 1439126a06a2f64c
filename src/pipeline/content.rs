//! Content that is part of a key: read within bounds, or passed on as if nobody had looked.

use std::time::Duration;

use bytes::Bytes;
use http::header::{EXPECT, HeaderMap};
use http_body::Body as HttpBody;
use tokio::time::timeout;

use crate::key::content::{ContentRules, Unkeyable};
use crate::message::air::Air;
use crate::message::body::Body;
use crate::message::failure::BodyError;
use crate::message::reading::{Extent, Reading};
use crate::origin::failure::OriginFailure;

/// How long content may take to arrive as a whole; what takes longer passes, and streams.
const IN_TIME: Duration = Duration::from_secs(10);

/// What became of a request's content.
pub(crate) enum Taken {
    /// It is keyed, and sent to the origin, as this, which holds the room that it takes.
    Keyed(Bytes),
    /// It is not; it passes as it came.
    Left(Body, Unkeyable),
    /// It did not come to its end.
    Broken(OriginFailure),
}

/// Takes a request's content by the rules of its route; what finds no room passes, and streams.
pub(crate) async fn take(
    air: &Air,
    rules: &ContentRules,
    fields: &mut HeaderMap,
    body: Body,
) -> Taken {
    if let Some(why) = rules.refusal(fields) {
        return Taken::Left(body, why);
    }
    let announced = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok());
    let most = announced.map_or(rules.limit, |bytes| bytes.min(rules.limit));
    let Ok(share) = air.take_of_half(most as u64) else {
        return Taken::Left(body, Unkeyable::NoRoom);
    };
    let mut reading = Reading::within(share, body);
    let extent = timeout(IN_TIME, reading.up_to(rules.limit)).await;
    if !reading.read().is_empty() {
        // Who waited for word that it may send has had it (RFC 9110 §10.1.1): the origin need not give it.
        fields.remove(EXPECT);
    }
    let left = match extent {
        Ok(Ok(Extent::Whole)) => match rules.content(fields, reading.read()) {
            Ok(content) => {
                return Taken::Keyed(match reading.take_share() {
                    Some(mut share) => {
                        // What was kept free for more than came is free again.
                        share.shrink_to(content.len() as u64);
                        share.around(content)
                    }
                    None => content,
                });
            }
            Err(why) => why,
        },
        Ok(Ok(Extent::Longer)) => Unkeyable::TooLarge,
        Ok(Ok(Extent::NoRoom)) => Unkeyable::NoRoom,
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
        let (air, mut fields, begun) = (Air::bounded(1 << 20), json(), Instant::now());
        fields.insert(EXPECT, HeaderValue::from_static("100-continue"));
        let taken = take(&air, &ContentRules::default(), &mut fields, body).await;
        let Taken::Left(body, Unkeyable::Slow) = taken else { panic!("it is keyed, or broken") };
        assert_eq!(begun.elapsed(), IN_TIME);
        assert!(!fields.contains_key(EXPECT));
        assert_eq!(air.held(), 64 << 10);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "[1,2]");
        assert_eq!(air.held(), 0);
    }

    #[tokio::test]
    async fn content_that_finds_no_room_passes_and_room_is_for_what_came() {
        let (air, rules) = (Air::bounded(8), ContentRules::default());
        let held = take(&air, &rules, &mut json(), whole("[1]")).await;
        assert!(matches!(held, Taken::Keyed(..)));
        assert_eq!(air.held(), 3);
        // Half of the air is for what others send.
        let left = take(&air, &rules, &mut json(), whole("[1]")).await;
        assert!(matches!(left, Taken::Left(_, Unkeyable::NoRoom)));
        drop(held);
        assert!(matches!(take(&air, &rules, &mut json(), whole("1")).await, Taken::Keyed(..)));
        assert_eq!(air.held(), 0);
    }

    #[tokio::test]
    async fn a_client_that_falls_silent_or_leaves_is_told_from_a_slow_one() {
        for (error, silent) in [(BodyError::Silent, true), (BodyError::Cut("x".into()), false)] {
            let body = Body::live(StreamBody::new(stream::iter([Err::<Frame<Bytes>, _>(error)])));
            let air = Air::bounded(1 << 20);
            let taken = take(&air, &ContentRules::default(), &mut json(), body).await;
            let Taken::Broken(failure) = taken else { panic!("it did not break") };
            let word = failure == OriginFailure::RequestSilent;
            assert!(
                word == silent || matches!(failure, OriginFailure::RequestBody(_)),
                "{failure}"
            );
        }
    }
}
