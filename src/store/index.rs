//! Which variants a slot holds outside this process, told without reading them.

use http::header::HeaderName;
use serde::{Deserialize, Serialize};

use crate::entry::Entry;
use crate::entry::facts::{Epoch, Mark};
use crate::key::vary::{Selector, Variant};
use crate::time::Timestamp;

/// The greatest number that every reader of an index takes exactly, Redis' scripts among them.
const EXACT: u64 = (1 << 53) - 1;

/// One variant, as an index tells of it. Written as a `MessagePack` array, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    /// [`Variant::digest`] in hexadecimal digits; names the variant within its slot.
    pub digest: String,
    /// The names of the fields that select it, with commas between them.
    pub names: String,
    /// Its last use, in milliseconds since the epoch.
    pub expires: u64,
    as_of: (u64, u64),
    received: u64,
    /// The epoch of `as_of`, where it was written with one.
    #[serde(default)]
    epoch: u64,
}

impl Listed {
    pub(crate) fn of(entry: &Entry) -> Self {
        let names: Vec<_> = entry.variant.names().map(HeaderName::as_str).collect();
        let as_of = entry.facts.as_of;
        Self {
            digest: digest(&entry.variant),
            names: names.join(","),
            expires: entry.freshness().last_use().as_millis().min(EXACT),
            as_of: (as_of.millis.min(EXACT), as_of.number.min(EXACT)),
            received: entry.freshness().received.as_millis().min(EXACT),
            epoch: as_of.epoch.number().min(EXACT),
        }
    }

    pub(crate) fn as_of(&self) -> Mark {
        Mark::new(self.as_of.0, self.as_of.1).of(Epoch::new(self.epoch))
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Whether this is the variant of a response without `Vary`, which every request selects.
    pub(crate) fn is_plain(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether the request selects this variant. Says no where a name makes no sense.
    fn is_selected_by(&self, selector: &Selector<'_>) -> bool {
        if self.is_plain() {
            return true;
        }
        let names: Result<Vec<HeaderName>, _> = self.names.split(',').map(str::parse).collect();
        names.is_ok_and(|names| {
            format!("{:x}", Variant::digest_for(&names, selector)) == self.digest
        })
    }
}

/// How an index names a variant.
pub(crate) fn digest(variant: &Variant) -> String {
    format!("{:x}", variant.digest())
}

/// The newest of the variants that the request selects.
pub(crate) fn newest<'a>(
    variants: &'a [Listed],
    selector: &Selector<'_>,
    now: Timestamp,
) -> Option<&'a Listed> {
    variants
        .iter()
        .filter(|listed| listed.expires > now.as_millis() && listed.is_selected_by(selector))
        .max_by_key(|listed| listed.received)
}

/// The index with `new` in the place of what it replaces, at most `cap` variants and none that is of no more use;
/// nothing when a younger fetch is there already.
#[cfg(feature = "disk")]
pub(crate) fn with(
    variants: Vec<Listed>,
    new: Listed,
    cap: usize,
    now: Timestamp,
) -> Option<Vec<Listed>> {
    if variants.iter().any(|old| old.digest == new.digest && old.as_of() > new.as_of()) {
        return None;
    }
    let mut kept = variants;
    kept.retain(|old| old.digest != new.digest && old.expires > now.as_millis());
    kept.sort_by_key(|old| std::cmp::Reverse(old.received));
    kept.truncate(cap.saturating_sub(1));
    kept.insert(0, new);
    Some(kept)
}
