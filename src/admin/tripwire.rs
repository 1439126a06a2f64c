//! The tripwires of this instance: which have sprung, and setting them again.

use serde::Deserialize;
use serde_json::{Value, json};
use tracing::info;

use crate::admin::auth::Caller;
use crate::admin::problem::Problem;
use crate::admin::purges::{Purging, parse};
use crate::entry::facts::RouteId;
use crate::time::Timestamp;

/// One route's tripwire.
#[derive(Clone, Debug, PartialEq)]
pub struct Wire {
    pub route: RouteId,
    /// The part of its entries that are compared, from 0 to 1.
    pub sample: f64,
    /// Why it sprang, and when.
    pub sprung: Option<(&'static str, Timestamp)>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// The routes to share again.
    reset: Vec<String>,
    #[serde(default)]
    reason: String,
}

/// How the tripwires are.
pub(crate) fn shown(purging: &impl Purging) -> Value {
    let wires = purging.tripwires().into_iter().map(|Wire { route, sample, sprung }| {
        json!({
            "route": route.as_str(),
            "sample": sample,
            "sprung": sprung.is_some(),
            "why": sprung.map(|(why, _)| why),
            "since_ms": sprung.map(|(_, since)| since.as_millis()),
        })
    });
    let wires: Vec<Value> = wires.collect();
    json!({ "routes": wires, "scope": "this instance only, until it is reset or the configuration is loaded again" })
}

/// Sets again what a body of JSON names; all of it or, with a reason, nothing.
pub(crate) fn reset(
    body: &[u8],
    purging: &impl Purging,
    caller: &Caller,
) -> Result<Value, Problem> {
    let Asked { reset, reason } = parse(body)?;
    if reset.is_empty() {
        return Err(Problem::unprocessable("name a route: {\"reset\": [\"products\"]}"));
    }
    let known = purging.tripwires();
    let unknown = reset.iter().find(|name| !known.iter().any(|wire| wire.route.as_str() == *name));
    if let Some(name) = unknown {
        return Err(Problem::unprocessable(format!("there is no route `{name}`")));
    }
    for name in &reset {
        purging.reset_tripwire(&RouteId::new(name));
        info!(
            target: "larder::audit",
            { route.name = %name, tripwire.by = %caller.name,
              tripwire.from = caller.from.as_deref().unwrap_or_default(), tripwire.reason = %reason },
            "a tripwire was reset: the route shares again"
        );
    }
    Ok(shown(purging))
}
