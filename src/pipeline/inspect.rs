//! Answers that must be looked into before anybody is told that they are kept.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::timeout;

use crate::message::air::Air;
use crate::message::body::Body;
use crate::message::failure::BodyError;
use crate::message::reading::{Extent, Reading};
use crate::origin::failure::OriginFailure;
use crate::policy::graphql;
use crate::policy::storable::WhyNot;

/// How long a head waits for its content; what takes longer streams on, and is not kept.
const IN_TIME: Duration = Duration::from_secs(30);

/// What became of an answer's content.
pub(crate) enum Inspected {
    /// All of it is here, and nothing in it forbids to keep it.
    Good(Bytes),
    /// It is not kept; it goes on as it came.
    Objected(Body, WhyNot),
}

/// Looks into the answer to a GraphQL request, of which at most `limit` bytes could be kept, while there is `air`.
pub(crate) async fn inspect(
    fields: &HeaderMap,
    body: Body,
    limit: u64,
    air: &Air,
) -> Result<Inspected, OriginFailure> {
    if let Some(why) = graphql::unread(fields) {
        return Ok(Inspected::Objected(body, why));
    }
    let Ok(share) = air.take(0) else { return Ok(Inspected::Objected(body, WhyNot::NoRoom)) };
    let mut reading = Reading::within(share, body);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let why = match timeout(IN_TIME, reading.up_to(limit)).await {
        Ok(Ok(Extent::Whole)) => graphql::objection(reading.read()),
        Ok(Ok(Extent::Longer)) => Some(WhyNot::TooLarge),
        Ok(Ok(Extent::NoRoom)) => Some(WhyNot::NoRoom),
        Ok(Err(error)) => return Err(failure(&error)),
        Err(_) => Some(WhyNot::GraphQlUnread),
    };
    Ok(match why {
        None => Inspected::Good(Bytes::copy_from_slice(reading.read())),
        Some(why) => Inspected::Objected(reading.into_body(), why),
    })
}

fn failure(error: &BodyError) -> OriginFailure {
    match error {
        BodyError::Silent => OriginFailure::Stalled,
        BodyError::Cut(_) | BodyError::Abandoned => OriginFailure::Cut(error.to_string().into()),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::{self, StreamExt};
    use http::header::{CONTENT_TYPE, HeaderValue};
    use http_body::Frame;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_takes_long_streams_on_and_is_not_kept() {
        let piece = |text: &'static str| Ok::<_, BodyError>(Frame::data(Bytes::from(text)));
        let late = stream::once(async move {
            tokio::time::sleep(IN_TIME * 2).await;
            piece("{}}")
        });
        let begun = stream::iter([piece("{\"data\":")]);
        let body = Body::live(StreamBody::new(Box::pin(begun.chain(late))));
        let json = HeaderValue::from_static("application/json");
        let fields = HeaderMap::from_iter([(CONTENT_TYPE, json)]);
        let inspected = inspect(&fields, body, 1000, &Air::bounded(1000)).await;
        let Ok(Inspected::Objected(body, why)) = inspected else { panic!("it is kept") };
        assert_eq!(why, WhyNot::GraphQlUnread);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "{\"data\":{}}");
    }
}
