//! The tripwires of a running Larder from the command line: shown, or set again.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::client::{endpoint, get, post, unlike};
use crate::cli::{Failure, Tripwire, runtime, tell};

/// Sets the routes that are named again, and shows how all are then.
pub(super) fn tripwire(asked: &Tripwire) -> Result<(), Failure> {
    let url = endpoint(&asked.api.admin, "admin/tripwire")?;
    let runtime = runtime()?;
    let shown = if asked.reset.is_empty() {
        runtime.block_on(get(url.clone()))?
    } else {
        let reason = asked.reason.as_deref().unwrap_or_default();
        let body = json!({ "reset": asked.reset, "reason": reason });
        runtime.block_on(post(url.clone(), body, Duration::ZERO))?
    };
    if asked.api.json {
        return tell(&shown.to_string());
    }
    match in_words(&shown) {
        Some(words) => tell(&words),
        None => Err(unlike(&url)),
    }
}

/// One line for each route, and for how long it holds.
fn in_words(shown: &Value) -> Option<String> {
    let line = |wire: &Value| {
        let (route, sample) = (wire["route"].as_str()?, wire["sample"].as_f64()? * 100.0);
        let state = match wire["why"].as_str() {
            None => "set".to_owned(),
            Some(why) => format!("sprung: {why}"),
        };
        Some(format!("{route} ({sample}%): {state}"))
    };
    let mut lines = shown["routes"].as_array()?.iter().map(line).collect::<Option<Vec<_>>>()?;
    lines.push(format!("on {}", shown["scope"].as_str()?));
    Some(lines.join("\n"))
}
