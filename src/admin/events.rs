//! Events over HTTP: what happened elsewhere, and the receipt of what was purged because of it.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::auth::Caller;
use crate::admin::problem::Problem;
use crate::admin::purges::{self, Purging, Waiting, WrittenWait, parse};
use crate::purge::events::{Meaning, Unclear};
use crate::purge::{Cause, Purge, Record};
use crate::time::Timestamp;

/// The body of an event, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    event: String,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    wait: WrittenWait,
    timeout: Option<String>,
    reason: Option<String>,
}

/// An event that was told.
pub(crate) struct Told {
    pub(crate) event: String,
    pub(crate) data: Value,
    pub(crate) waiting: Waiting,
    pub(crate) reason: Option<String>,
}

impl Told {
    /// Reads a body.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Problem> {
        let Written { event, data, wait, timeout, reason } = parse(body)?;
        let waiting = Waiting::read(wait, timeout.as_deref())?;
        let reason = reason.map(|text| purges::plain("reason", text)).transpose()?;
        Ok(Self { event, data, waiting, reason })
    }

    /// Has the fleet purge what the event says; all of it or nothing.
    pub(crate) async fn purge(
        self,
        purging: &impl Purging,
        Caller { name: by, from }: Caller,
    ) -> Result<Value, Problem> {
        let Self { event, data, waiting, reason } = self;
        let meaning = purging.meaning(&event, &data);
        let meaning = meaning.map_err(|why| unclear(&event, &why, &purging.events()))?;
        let Meaning { named, rewarm } = meaning;
        let number = named.len();
        let purges = named.iter().flat_map(|(named, effect)| {
            purging.scopes(named).into_iter().map(|scope| Purge { scope, effect: *effect })
        });
        let purges = purges.collect();
        let event = Some(event);
        let cause = Cause { by, from, reason, event: event.clone(), rewarm, ..Cause::default() };
        let record = Record { purges, cause, at: Timestamp::now() };
        let mut receipt = purges::submit(purging, record, waiting).await?;
        receipt["event"] = json!(event);
        receipt["named"] = json!(number);
        Ok(receipt)
    }
}

fn unclear(event: &str, why: &Unclear, known: &[String]) -> Problem {
    match why {
        Unclear::Unknown => {
            let near = near(event, known)
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            Problem::not_found(format!("no event `{}` is configured{near}", shortened(event)))
        }
        Unclear::Value(_) | Unclear::Nothing => Problem::unprocessable(format!(
            "the event `{}` purges nothing: {why}",
            shortened(event)
        )),
    }
}

/// Not more of a text than a sentence can hold.
fn shortened(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(64).collect()
}

/// The configured name that was probably meant.
fn near<'a>(event: &str, known: &'a [String]) -> Option<&'a str> {
    let rated = known.iter().map(|name| (strsim::jaro_winkler(event, name), name.as_str()));
    let best = rated.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(near, _)| *near >= 0.7).map(|(_, name)| name)
}

/// The names of all events, as they are answered.
pub(crate) fn listed(purging: &impl Purging) -> Value {
    json!({ "events": purging.events() })
}
