//! Which variants a slot holds outside this process, told without reading them.

use std::time::Duration;

use http::header::HeaderName;

use crate::entry::Entry;
use crate::entry::facts::{Epoch, Mark};
use crate::entry::pack::Reader;
#[cfg(feature = "disk")]
use crate::entry::pack::Writer;
use crate::entry::seal::{Seal, Spot};
use crate::entry::wire::Unreadable;
use crate::key::Key;
use crate::key::vary::{Selector, Variant};
use crate::time::Timestamp;

/// The greatest number that every reader of an index takes exactly, Redis' scripts among them.
const EXACT: u64 = (1 << 53) - 1;

/// A slot under its name, and how what lies in it is hidden.
#[derive(Clone, Copy)]
pub(crate) struct Slot<'a> {
    pub seal: &'a Seal,
    pub name: &'a str,
    pub key: Key,
}

impl<'a> Slot<'a> {
    pub(crate) fn spot(&self, field: &'a str) -> Spot<'a> {
        Spot { slot: self.name, field, key: self.key }
    }
}

/// One variant, as an index tells of it. Written as a `MessagePack` array, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// [`Variant::digest`] as [`Seal::field`] writes it; names the variant within its slot.
    pub digest: String,
    /// The names of the fields that select it, with commas between them, as [`Seal::hide`] writes them.
    pub names: String,
    /// Its last use, in milliseconds since the epoch.
    pub expires: u64,
    as_of: (u64, u64),
    received: u64,
    /// The epoch of `as_of`, where it was written with one.
    epoch: u64,
}

impl Listed {
    /// The entry in `slot`, which counts as fresh for no longer than `cap` since it arrived.
    pub(crate) fn of(entry: &Entry, slot: &Slot<'_>, cap: Option<Duration>) -> Self {
        let names: Vec<_> = entry.variant.names().map(HeaderName::as_str).collect();
        let as_of = entry.facts.as_of;
        let digest = slot.seal.field(slot.name, entry.variant.digest());
        Self {
            names: slot.seal.hide(slot.name, &digest, names.join(",")),
            digest,
            expires: entry.freshness().capped(cap).last_use().as_millis().min(EXACT),
            as_of: (as_of.millis.min(EXACT), as_of.number.min(EXACT)),
            received: entry.freshness().received.as_millis().min(EXACT),
            epoch: as_of.epoch.number().min(EXACT),
        }
    }

    /// All variants of an index; nothing where it makes no sense.
    pub(crate) fn all(index: &[u8]) -> Option<Vec<Self>> {
        let mut index = Reader::new(index);
        let variants = index.array()?;
        (0..variants).map(|_| Self::read(&mut index)).collect()
    }

    pub(crate) fn read(index: &mut Reader<'_>) -> Option<Self> {
        let values = index.array_of(5..=6)?;
        let (digest, names) = (index.text()?.to_owned(), index.text()?.to_owned());
        let expires = index.number()?;
        index.array_of(2..=2)?;
        let as_of = (index.number()?, index.number()?);
        let received = index.number()?;
        let epoch = if values == 6 { index.number()? } else { 0 };
        Some(Self { digest, names, expires, as_of, received, epoch })
    }

    #[cfg(feature = "disk")]
    pub(crate) fn write(&self, index: &mut Writer) {
        index.array(6);
        index.text(&self.digest);
        index.text(&self.names);
        index.number(self.expires);
        index.array(2);
        index.number(self.as_of.0);
        index.number(self.as_of.1);
        index.number(self.received);
        index.number(self.epoch);
    }

    pub(crate) fn as_of(&self) -> Mark {
        Mark::new(self.as_of.0, self.as_of.1).of(Epoch::new(self.epoch))
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Whether the request selects this variant. Says no where a name makes no sense.
    fn is_selected_by(&self, selector: &Selector<'_>, slot: &Slot<'_>) -> Result<bool, Unreadable> {
        let (names, field) = slot.seal.reveal(slot.name, &self.digest, &self.names)?;
        if names.is_empty() {
            // Every request selects a response without `Vary`.
            return Ok(true);
        }
        let names: Result<Vec<HeaderName>, _> = names.split(',').map(str::parse).collect();
        let selected =
            names.is_ok_and(|names| field(Variant::digest_for(&names, selector)) == self.digest);
        Ok(selected)
    }
}

/// The newest of the variants that the request selects. Where there is none, and one cannot be read: why not.
pub(crate) fn newest<'a>(
    variants: &'a [Listed],
    selector: &Selector<'_>,
    slot: &Slot<'_>,
    now: Timestamp,
) -> Result<Option<&'a Listed>, Unreadable> {
    let (mut newest, mut unreadable) = (None::<&Listed>, None);
    for listed in variants.iter().filter(|listed| listed.expires > now.as_millis()) {
        match listed.is_selected_by(selector, slot) {
            Ok(true) if newest.is_none_or(|newest| newest.received <= listed.received) => {
                newest = Some(listed);
            }
            Ok(_) => {}
            Err(why) => unreadable = Some(why),
        }
    }
    match (newest, unreadable) {
        (None, Some(why)) => Err(why),
        (newest, _) => Ok(newest),
    }
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
