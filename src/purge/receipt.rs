//! A receipt as it is answered.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::purge::purger::{Applied, Receipt};
use crate::time::Timestamp;

/// A receipt as JSON.
pub fn shown(receipt: &Receipt) -> Value {
    let instance = |it: &Applied| {
        json!({
            "id": it.id,
            "applied": it.applied,
            "at": it.at.to_string(),
            "until": moment(it.until),
        })
    };
    json!({
        "mark": receipt.mark.to_string(),
        "complete": receipt.complete,
        "instances": receipt.instances.iter().map(instance).collect::<Vec<_>>(),
    })
}

/// A moment as RFC 3339 writes it.
pub fn moment(at: Timestamp) -> String {
    /// The last second of the year 9999.
    const LAST: u64 = 253_402_300_799_000;
    let since = Duration::from_millis(at.as_millis().min(LAST));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}
