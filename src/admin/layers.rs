//! The layers of this instance, switched on and off while it runs: a rollback without a restart.

use serde::Deserialize;
use serde_json::{Value, json};
use tracing::info;

use crate::admin::auth::Caller;
use crate::admin::problem::Problem;
use crate::route::switches::{Switch, Switches};
use crate::store::memory::Memory;

/// What of the layers is acted on.
#[derive(Clone)]
pub struct Panel {
    pub switches: Switches,
    pub memory: Memory,
    pub behind: Behind,
}

/// The store behind memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    None,
    Disk,
    Redis,
}

/// What is asked for; a layer that is not named stays as it is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    l1: Option<Wanted>,
    l2: Option<Wanted>,
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    On,
    Off,
}

/// For how long what is told holds.
const UNTIL: &str = "this instance only, until it is told otherwise or restarts";

impl Panel {
    /// How the layers are.
    pub(crate) fn shown(&self) -> Value {
        let mut shown = json!({
            "l1": { "switch": self.switches.l1().word(), "store": "memory" },
            "scope": UNTIL,
        });
        if let Some(store) = self.behind.word() {
            shown["l2"] = json!({ "switch": self.switches.l2().word(), "store": store });
        }
        shown
    }

    /// Turns them as a body of JSON asks; all of it or, with a reason, nothing.
    pub(crate) fn turn(&self, body: &[u8], caller: &Caller) -> Result<Value, Problem> {
        let asked: Asked = serde_json::from_slice(body).map_err(|error| {
            Problem::unprocessable(format!(
                "the body is not what this takes, such as {{\"l2\": \"off\"}}: {error}"
            ))
        })?;
        if asked.l1.is_none() && asked.l2.is_none() {
            let detail = "name a layer: {\"l1\": \"on\"}, {\"l2\": \"off\"}, or both";
            return Err(Problem::unprocessable(detail));
        }
        if asked.l2.is_some() && self.behind == Behind::None {
            let detail = "this instance has no l2 to turn on or off: its configuration names none";
            return Err(Problem::unprocessable(detail));
        }
        let reason = asked.reason.as_deref().unwrap_or_default();
        if let Some(to) = asked.l1 {
            let before = self.turn_memory(to.switch());
            tell("l1", before, to.switch(), (caller, reason));
        }
        if let Some(to) = asked.l2 {
            let before = self.switches.turn_l2(to.switch());
            tell("l2", before, to.switch(), (caller, reason));
        }
        Ok(self.shown())
    }
}

impl Panel {
    /// Memory that is turned off gives back its room, and what was newer elsewhere meanwhile is not forgotten for it.
    fn turn_memory(&self, to: Switch) -> Switch {
        let before = self.switches.l1();
        if before == Switch::Off && to == Switch::On {
            // What was being kept at the very moment of turning it off.
            self.memory.clear();
        }
        self.switches.turn_l1(to);
        if before == Switch::On && to == Switch::Off {
            self.memory.clear();
        }
        before
    }
}

impl Wanted {
    const fn switch(self) -> Switch {
        match self {
            Self::On => Switch::On,
            Self::Off => Switch::Off,
        }
    }
}

impl Behind {
    const fn word(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Disk => Some("disk"),
            Self::Redis => Some("redis"),
        }
    }
}

/// The audit's line.
fn tell(layer: &str, before: Switch, now: Switch, (caller, reason): (&Caller, &str)) {
    info!(
        target: "larder::audit",
        { layer.name = layer, layer.before = before.word(), layer.now = now.word(),
          layer.by = %caller.name, layer.from = caller.from.as_deref().unwrap_or_default(),
          layer.reason = reason },
        "a layer was turned {}", now.word()
    );
}
