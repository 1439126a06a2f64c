//! Takes events from a Redis stream: one instance of the fleet takes each, and forgets it only when its purge is in the log.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::app::assemble::House;
use crate::purge::events::{Meaning, Unclear};
use crate::purge::purger::Wait;
use crate::purge::{Cause, Purge, Record};
use crate::store::redis::intake::{Intake, Message};
use crate::time::Timestamp;

/// How long a purge may take to be in the log.
const LONGEST: Duration = Duration::from_secs(2);
/// Between two attempts to ask a stream that cannot be asked, at first and at last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What becomes of a message.
enum Fate {
    /// It need not come again.
    Done,
    /// It comes again later, here or elsewhere.
    Again,
}

/// Takes events for ever.
pub(crate) async fn take(house: Arc<House>, intake: Intake) {
    let mut pause = PAUSES.0;
    loop {
        let messages = match intake.next().await {
            Ok(messages) => messages,
            Err(why) => {
                if pause == PAUSES.0 {
                    warn!(error = %why, stream = intake.stream(), "events cannot be read");
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
                continue;
            }
        };
        pause = PAUSES.0;
        for message in messages {
            match purge(&house, &intake, &message).await {
                Fate::Again => {}
                Fate::Done => {
                    // One that is not forgotten comes again, which purges again and harms nothing.
                    if let Err(why) = intake.done(&message.id).await {
                        debug!(error = %why, "an event is not forgotten yet");
                    }
                }
            }
        }
    }
}

async fn purge(house: &House, intake: &Intake, message: &Message) -> Fate {
    let counts = house.metrics.counts();
    counts.events.one();
    let record = match record(house, intake, message) {
        Ok(Some(record)) => record,
        Ok(None) => return Fate::Done,
        Err(why) => {
            counts.events_refused.one();
            warn!(
                stream = intake.stream(),
                id = message.id,
                error = why,
                "an event purges nothing"
            );
            return Fate::Done;
        }
    };
    match house.purger.submit(record, Wait::Local, LONGEST).await {
        Ok(_) => Fate::Done,
        Err(_) => Fate::Again,
    }
}

/// What a message purges; nothing where nobody configured its event.
fn record(house: &House, intake: &Intake, message: &Message) -> Result<Option<Record>, String> {
    let event = message.event.clone().ok_or("it has no field `event`")?;
    let data = message.data.as_deref().map_or(Ok(Value::Null), serde_json::from_str);
    let data: Value = data.map_err(|error| format!("its `data` is not JSON: {error}"))?;
    let routes = house.routes.load();
    let Meaning { named, rewarm } = match routes.events().meaning(&event, &data) {
        Ok(meaning) => meaning,
        Err(Unclear::Unknown) => return Ok(None),
        Err(why @ (Unclear::Value(_) | Unclear::Nothing)) => {
            return Err(format!("the event `{event}`: {why}"));
        }
    };
    let purges = named.iter().flat_map(|(named, effect)| {
        routes.scopes(named).into_iter().map(|scope| Purge { scope, effect: *effect })
    });
    let cause = Cause {
        by: "stream".into(),
        reason: Some(format!("the stream `{}`, {}", intake.stream(), message.id)),
        event: Some(event),
        rewarm,
        ..Cause::default()
    };
    let record = Record { purges: purges.collect(), cause, at: Timestamp::now() };
    routes.complete(record).map(Some).map_err(|cut| cut.to_string())
}
