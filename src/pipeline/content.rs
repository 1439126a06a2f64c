//! Content that is part of a key: read within bounds, or passed on as if nobody had looked.

use std::time::Duration;

use bytes::Bytes;
use http::header::{EXPECT, HeaderMap};
use tokio::time::timeout;

use crate::key::content::{ContentRules, Unkeyable};
use crate::message::body::Body;
use crate::message::failure::BodyError;
use crate::message::reading::{Extent, Reading};
use crate::origin::failure::OriginFailure;

/// How long content may take to arrive as a whole; what takes longer passes, and streams.
const IN_TIME: Duration = Duration::from_secs(10);

/// What became of a request's content.
pub(crate) enum Taken {
    /// It is keyed, and sent to the origin, as this.
    Keyed(Bytes),
    /// It is not; it passes as it came.
    Left(Body, Unkeyable),
    /// It did not come to its end.
    Broken(OriginFailure),
}

/// Takes a request's content by the rules of its route.
pub(crate) async fn take(rules: &ContentRules, fields: &mut HeaderMap, body: Body) -> Taken {
    if let Some(why) = rules.refusal(fields) {
        return Taken::Left(body, why);
    }
    let mut reading = Reading::new(body);
    let extent = timeout(IN_TIME, reading.up_to(rules.limit)).await;
    if !reading.read().is_empty() {
        // Who waited for word that it may send has had it (RFC 9110 §10.1.1): the origin need not give it.
        fields.remove(EXPECT);
    }
    let left = match extent {
        Ok(Ok(Extent::Whole)) => match rules.content(fields, reading.read()) {
            Ok(content) => return Taken::Keyed(content),
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
