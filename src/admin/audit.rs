//! The audit: who purged what, when and why, on any instance of the fleet.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::problem::Problem;
use crate::entry::facts::Mark;
use crate::purge::receipt::moment;
use crate::purge::{Effect, Record, audit};
use crate::time::Timestamp;

/// What of the audit is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Query {
    /// A moment (`2026-01-01T12:00:00Z`), or how long ago (`1h`).
    since: Option<String>,
    /// A text in what was purged.
    scope: Option<String>,
    limit: Option<usize>,
}

/// How many are shown unless more are asked for, and at most.
const LIMIT: usize = 100;
const LARGEST: usize = 10_000;
/// How many scopes of one purge are shown.
const SHOWN: usize = 100;

impl Query {
    /// The purges that were asked for, the latest first.
    pub(crate) fn answer(&self, latest: &[(Mark, Arc<Record>)]) -> Result<Value, Problem> {
        let since = self.since.as_deref().map(moment_of).transpose()?;
        let limit = self.limit.unwrap_or(LIMIT).min(LARGEST);
        let wanted = latest
            .iter()
            .filter(|(_, record)| since.is_none_or(|since| record.at.as_millis() >= since));
        let told = wanted.map(|(mark, record)| (mark, record, audit::told(record)));
        let told = told.filter(|(_, _, told)| {
            let scope = self.scope.as_deref();
            scope.is_none_or(|scope| told.iter().any(|told| told.contains(scope)))
        });
        let purges = told.take(limit).map(|(mark, record, told)| shown(*mark, record, &told));
        Ok(json!({ "purges": purges.collect::<Vec<_>>() }))
    }
}

fn shown(mark: Mark, record: &Record, told: &[String]) -> Value {
    let cause = &record.cause;
    json!({
        "mark": mark.to_string(),
        "at": moment(record.at),
        "by": cause.by,
        "from": cause.from,
        "event": cause.event,
        "reason": cause.reason,
        "soft": audit::effect(record) == Effect::MarkStale,
        "number": told.len(),
        "purged": &told[..told.len().min(SHOWN)],
    })
}

/// Milliseconds since 1970.
fn moment_of(text: &str) -> Result<u64, Problem> {
    let since = match humantime::parse_duration(text) {
        Ok(ago) => u64::try_from(ago.as_millis())
            .ok()
            .map(|ago| Timestamp::now().as_millis().saturating_sub(ago)),
        Err(_) => humantime::parse_rfc3339_weak(text)
            .ok()
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            .and_then(|at| u64::try_from(at.as_millis()).ok()),
    };
    since.ok_or_else(|| {
        Problem::unprocessable("`since` takes a moment such as 2026-01-01T12:00:00Z, or 1h")
    })
}
