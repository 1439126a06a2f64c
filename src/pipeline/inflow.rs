//! Brings a body in: readers read along, and only what came to its end is kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use tracing::info;

use crate::entry::{Entry, Stored};
use crate::lookup::answer::{Answer, Content, Landing};
use crate::lookup::outcome::{Forwarded, Kept, Outcome};
use crate::message::body::Body;
use crate::message::failure::BodyError;
use crate::message::fill::Writer;
use crate::route::Route;

/// How long a body is brought in that nobody reads any more.
const WITHOUT_READERS: Duration = Duration::from_secs(30);

/// A body on its way in.
pub(crate) struct Inflow {
    /// What of it is there already, before and after what comes.
    pub(crate) before: Bytes,
    pub(crate) after: Bytes,
    /// What comes.
    pub(crate) body: Body,
    /// How many bytes must come, where a `Content-Range` says so.
    pub(crate) expected: Option<u64>,
    /// The route by whose rules it is read for tags, where it has any.
    pub(crate) tagging: Option<Arc<Route>>,
}

/// An entry whose body still arrives; whoever runs the landing brings it in.
pub(crate) fn arrive(entry: Entry, writer: Writer, inflow: Inflow) -> Answer {
    let entry = Arc::new(entry);
    let outcome = Outcome::Miss(Kept::Stored);
    let Some((fill, _)) = entry.arriving() else {
        return Answer { landing: Landing::whole(entry.clone()), ..Answer::stored(entry, outcome) };
    };
    // Taken before the first byte, so that the first reader can never come too late.
    let Ok(reader) = fill.read(0..u64::MAX) else {
        return Answer::once(Response::new(inflow.body), outcome);
    };
    let landing = Landing::arriving(bring(entry.clone(), writer, inflow));
    let content = Content::Arriving(entry, reader);
    Answer { content, outcome, forwarded: Forwarded::UriMiss, landing, own: None }
}

/// Brings the body in. Only one that came to its end is kept; one that is cut off is cut off for its readers.
async fn bring(entry: Arc<Entry>, writer: Writer, inflow: Inflow) -> Option<Arc<Entry>> {
    let Inflow { before, after, mut body, expected, tagging } = inflow;
    writer.push(before).await;
    let (mut came, mut unread_since) = (0_u64, None);
    while let Some(frame) = body.frame().await {
        let chunk = match frame {
            Ok(frame) => frame.into_data().unwrap_or_default(),
            Err(error) => {
                writer.fail(error);
                return None;
            }
        };
        came += chunk.len() as u64;
        if expected.is_some_and(|expected| came > expected) {
            break;
        }
        if writer.is_read() {
            unread_since = None;
        } else if writer.has_overflowed()
            || unread_since.get_or_insert_with(Instant::now).elapsed() > WITHOUT_READERS
        {
            writer.fail(BodyError::Abandoned);
            return None;
        }
        writer.push(chunk).await;
    }
    if expected.is_some_and(|expected| came != expected) {
        writer.fail(BodyError::Cut("its length is not what its Content-Range says".into()));
        return None;
    }
    writer.push(after).await;
    let whole = writer.finish()?;
    complete(&entry, whole, tagging)
}

/// The entry with its whole body and all its tags; nothing when they cannot be told, since it could not be purged.
pub(crate) fn complete(
    entry: &Entry,
    body: Bytes,
    tagging: Option<Arc<Route>>,
) -> Option<Arc<Entry>> {
    let tags = tagging.map(|route| route.tags.with_body(&entry.facts.tags, &body)).transpose();
    match tags {
        Ok(tags) => {
            let mut whole = entry.with_body(Stored::Whole(body));
            if let Some(tags) = tags {
                whole.facts.tags = tags;
            }
            Some(Arc::new(whole))
        }
        Err(why) => {
            info!({ route.name = %entry.facts.route, url = %entry.facts.url }, "not stored: {why}");
            None
        }
    }
}
