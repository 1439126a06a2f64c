//! The layers of a running Larder from the command line: shown, or turned on and off.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::client::{endpoint, get, post, unlike};
use crate::cli::{Failure, Layers, Turn, runtime, tell};

/// Turns the layers that are named, and shows how all are then.
pub(super) fn layers(asked: &Layers) -> Result<(), Failure> {
    let url = endpoint(&asked.api.admin, "admin/layers")?;
    let body = body(asked);
    let runtime = runtime()?;
    let shown = if asked.l1.is_some() || asked.l2.is_some() {
        runtime.block_on(post(url.clone(), body, Duration::ZERO))?
    } else {
        runtime.block_on(get(url.clone()))?
    };
    if asked.api.json {
        return tell(&shown.to_string());
    }
    match in_words(&shown) {
        Some(words) => tell(&words),
        None => Err(unlike(&url)),
    }
}

fn body(asked: &Layers) -> Value {
    let mut body = json!({});
    for (layer, turn) in [("l1", asked.l1), ("l2", asked.l2)] {
        if let Some(turn) = turn {
            body[layer] = turn.word().into();
        }
    }
    if let Some(reason) = &asked.reason {
        body["reason"] = reason.as_str().into();
    }
    body
}

/// One line for each layer, and for how long it holds.
fn in_words(shown: &Value) -> Option<String> {
    let line = |layer: &str| {
        let (switch, store) = (shown[layer]["switch"].as_str()?, shown[layer]["store"].as_str()?);
        Some(format!("{layer} ({store}): {switch}"))
    };
    let lines = [Some(line("l1")?), line("l2"), Some(format!("on {}", shown["scope"].as_str()?))];
    Some(lines.into_iter().flatten().collect::<Vec<_>>().join("\n"))
}

impl Turn {
    /// As the API writes it.
    const fn word(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}
