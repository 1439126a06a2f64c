//! Who purged what, when and why: the latest purges of the whole fleet, as the log told them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::entry::facts::{Listed, Mark, Tag};
use crate::purge::{Effect, Purge, Record, Scope};

/// Purges that are remembered.
const MOST: usize = 10_000;
/// Bytes that they may take together.
const BYTES: usize = 16 << 20;
/// What one costs beyond its texts.
const OVERHEAD: usize = 256;

/// The latest purges, by their place in the log.
#[derive(Default)]
pub struct Audit(Mutex<Latest>);

#[derive(Default)]
struct Latest {
    records: BTreeMap<Listed, Arc<Record>>,
    bytes: usize,
}

impl Audit {
    /// Remembers a purge; again is harmless. The oldest are forgotten when there are too many.
    pub fn note(&self, mark: Mark, record: &Record) {
        let mut latest = self.0.lock();
        if latest.records.contains_key(&mark.into()) {
            return;
        }
        latest.bytes += weight(record);
        latest.records.insert(mark.into(), Arc::new(record.clone()));
        while latest.records.len() > MOST || latest.bytes > BYTES {
            let Some((_, oldest)) = latest.records.pop_first() else { return };
            latest.bytes -= weight(&oldest);
        }
    }

    /// The purges, the latest first.
    pub fn latest(&self) -> Vec<(Mark, Arc<Record>)> {
        let latest = self.0.lock();
        latest
            .records
            .iter()
            .rev()
            .map(|(mark, record)| (Mark::from(*mark), record.clone()))
            .collect()
    }
}

fn weight(record: &Record) -> usize {
    let cause = &record.cause;
    let texts = [&cause.reason, &cause.event, &cause.from].into_iter().flatten();
    let texts = texts.chain([&cause.by]).chain(&cause.urls).map(|text| text.len() + 24);
    let purges = record.purges.iter().map(|purge| match &purge.scope {
        Scope::Tag(tag) => tag.as_str().len(),
        Scope::AllTags(tags) => tags.iter().map(|tag| tag.as_str().len() + 16).sum(),
        Scope::Group { origin, tag } => origin.len() + tag.as_str().len(),
        Scope::Prefix(text) | Scope::Path(text) => text.len(),
        Scope::Glob(glob) => glob.to_string().len(),
        Scope::Host(host) => host.to_string().len(),
        Scope::Route(_) | Scope::Url(_) | Scope::Everything => 0,
    });
    OVERHEAD + texts.sum::<usize>() + purges.map(|length| length + 48).sum::<usize>()
}

/// What a record purges, in words, each once: URLs as they were named, then the rest.
pub fn told(record: &Record) -> Vec<String> {
    let urls = record.cause.urls.iter().map(|url| format!("url {url}"));
    let is_named = !record.cause.urls.is_empty();
    let others = record.purges.iter().filter_map(|Purge { scope, .. }| match scope {
        // Its digest says nothing beside its name.
        Scope::Url(_) if is_named => None,
        Scope::Url(key) => Some(format!("url {key}")),
        Scope::Path(path) => Some(format!("url {path}")),
        Scope::Tag(tag) => Some(format!("tag {}", tag.as_str())),
        Scope::AllTags(tags) => {
            let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
            Some(format!("tags {}", tags.join(" and ")))
        }
        Scope::Group { origin, tag } => Some(format!("group {} of {origin}", tag.as_str())),
        Scope::Prefix(prefix) => Some(format!("prefix {prefix}")),
        Scope::Glob(glob) => Some(format!("glob {glob}")),
        Scope::Host(host) => Some(format!("host {host}")),
        Scope::Route(route) => Some(format!("route {route}")),
        Scope::Everything => Some("everything".to_owned()),
    });
    // A path that was named is a scope too.
    let mut known = HashSet::new();
    urls.chain(others).filter(|told| known.insert(told.clone())).collect()
}

/// The harshest effect of a record.
pub fn effect(record: &Record) -> Effect {
    record.purges.iter().map(|purge| purge.effect).max().unwrap_or(Effect::MarkStale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purge::Cause;
    use crate::time::Timestamp;

    fn record(reason: &str) -> Record {
        let purges = vec![Purge { scope: Scope::Everything, effect: Effect::Remove }];
        let cause = Cause { reason: Some(reason.to_owned()), ..Cause::default() };
        Record { purges, cause, at: Timestamp::default() }
    }

    #[test]
    fn the_latest_purges_are_remembered_each_once_within_their_bounds() {
        let audit = Audit::default();
        for number in 0..(MOST as u64 + 5) {
            audit.note(Mark::new(number, 0), &record("x"));
            audit.note(Mark::new(number, 0), &record("again"));
        }
        let latest = audit.latest();
        assert_eq!(latest.len(), MOST);
        assert_eq!(latest[0].0, Mark::new(MOST as u64 + 4, 0));
        assert_eq!(latest[0].1.cause.reason.as_deref(), Some("x"));
        for number in 0..20 {
            audit.note(Mark::new(1 << 40, number), &record(&"x".repeat(1 << 20)));
        }
        assert!(audit.0.lock().bytes <= BYTES);
        assert_eq!(audit.latest().len(), 15);
    }

    #[test]
    fn urls_are_told_as_they_were_named() {
        let mut record = record("x");
        record.purges[0].scope = Scope::Url(crate::key::Key::from_bits(1));
        record.cause.urls = vec!["http://h/a".into()];
        assert_eq!(told(&record), ["url http://h/a"]);
        record.purges[0].scope = Scope::Path("/a".into());
        record.cause.urls = vec!["/a".into()];
        assert_eq!(told(&record), ["url /a"]);
        record.purges[0].scope = Scope::Url(crate::key::Key::from_bits(1));
        record.cause.urls.clear();
        assert_eq!(told(&record), ["url 00000000000000000000000000000001"]);
    }
}
