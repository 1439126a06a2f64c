//! What becomes of a tripwire that has sprung: an alarm in the log, and a purge of the route on every instance.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tracing::{error, warn};

use crate::app::assemble::House;
use crate::pipeline::tripwire::Alarm;
use crate::purge::purger::Wait;
use crate::purge::{Cause, Effect, Purge, Record, Scope};
use crate::time::Timestamp;

/// How long the log may take; what it does not take then it is given later.
const LONGEST: Duration = Duration::from_secs(2);

/// Raises every alarm, for ever. What is purged is the whole route: which of its answers differ nobody has asked.
pub(crate) async fn raise(house: Arc<House>, mut alarms: UnboundedReceiver<Alarm>) {
    while let Some(Alarm { route, why }) = alarms.recv().await {
        error!(
            { route.name = %route, tripwire.why = why.token() },
            "what this route shares differs by who asks: its requests pass from now on, and what is stored of it is \
             purged; have the origin say `Vary` or `private`, or put what it depends on into `key`, then reload or reset"
        );
        let scope = Scope::Route(route);
        let reason = Some(format!("answers differ by identity: {}", why.token()));
        let record = Record {
            purges: vec![Purge { scope, effect: Effect::Remove }],
            cause: Cause { by: "tripwire".into(), reason, ..Cause::default() },
            at: Timestamp::now(),
        };
        if let Err(why) = house.purger.submit(record, Wait::Local, LONGEST).await {
            warn!(error = %why, "the purge of a route whose tripwire has sprung waits for the log");
        }
    }
}
