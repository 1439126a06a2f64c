//! Every purge still in force, asked on each hit.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use smallvec::SmallVec;

use crate::entry::Entry;
use crate::entry::facts::{Facts, Mark, RouteId, Standing, Tag};
use crate::key::Key;
use crate::purge::{Effect, Purge, Record, Scope};
use crate::time::Timestamp;

/// Every purge still in force, and how far the log has been followed.
///
/// An entry is judged once per change of the ledger: the entry remembers the ledger's version under which nothing
/// stood against it, so that a hit costs one comparison while nothing new is purged. A judgement costs one look-up
/// for the URL, one for the route, one for each tag, and one comparison for each prefix.
///
/// Purges are forgotten when the log forgets them: entries older than the log's beginning are unvouched for, so
/// the ledger is never larger than the log's retention.
pub struct Ledger {
    /// Counts the changes; zero is never a version, so that a new entry is judged.
    version: AtomicU64,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    /// The greatest mark that is known to have been given: what a fetch that begins now is `as_of`.
    known: Mark,
    beginning: Mark,
    contact: Contact,
    urls: HashMap<Key, Struck>,
    tags: HashMap<Tag, Struck>,
    paths: HashMap<Arc<str>, Struck>,
    routes: HashMap<RouteId, Struck>,
    prefixes: Vec<(Arc<str>, Struck)>,
    everything: Struck,
    /// The harshest that was said of any tag: what may be said of a response whose tags are not known yet.
    any_tag: Struck,
}

/// Whether the log is being followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Contact {
    /// Every purge reaches this instance in time.
    #[default]
    Kept,
    /// A purge may have been missed: nothing older can be vouched for.
    Lost,
}

/// What has been said of one scope.
#[derive(Clone, Debug, Default)]
struct Struck {
    removed: Option<Mark>,
    /// Soft purges by mark, with the moment from which their entries are stale.
    staled: SmallVec<[(Mark, Timestamp); 1]>,
}

/// How many soft purges of one scope are told apart; more are taken together, the earlier moment counts.
const SOFT_PURGES: usize = 4;

/// What is known of a fetch before its response's head has come.
pub struct Expected<'a> {
    pub url_key: Key,
    pub url: &'a str,
    pub route: &'a RouteId,
    pub as_of: Mark,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { version: AtomicU64::new(1), state: RwLock::default() }
    }
}

impl Ledger {
    /// What the log has to say about `entry`.
    pub fn standing(&self, entry: &Entry) -> Standing {
        // Read before the state: a change in between only makes the next hit judge again.
        let version = self.version.load(Ordering::Acquire);
        if entry.is_verified_at(version) {
            return Standing::Good;
        }
        let standing = self.state.read().judge(&entry.facts);
        if standing == Standing::Good {
            entry.verify_at(version);
        }
        standing
    }

    /// Whether a request that comes now may share a fetch that began earlier and has no head yet. Its tags are not
    /// known, so a purge of any tag meanwhile counts as one of its own.
    pub fn may_join(&self, expected: &Expected<'_>) -> bool {
        let state = self.state.read();
        let scoped =
            state.judge_scopes(expected.url_key, expected.url, expected.route, expected.as_of);
        scoped.max(state.any_tag.judge(expected.as_of)) == Standing::Good
    }

    /// What the log has to say about what these facts tell of, whatever is remembered.
    pub fn judge(&self, facts: &Facts) -> Standing {
        self.state.read().judge(facts)
    }

    /// The mark under which a fetch that begins now begins.
    pub fn known(&self) -> Mark {
        self.state.read().known
    }

    /// Applies a record of the log; again is harmless. `now` is the moment from which what it marks stale is stale.
    pub fn apply(&self, mark: Mark, record: &Record, now: Timestamp) {
        let mut state = self.state.write();
        for purge in &record.purges {
            state.strike(purge, mark, now);
        }
        state.known = state.known.max(mark);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Applies a record that could not be appended: everything that is stored or in the air here is beaten, what
    /// is fetched from now on is not. Returns the mark that stands in until the log gives one.
    pub fn apply_locally(&self, record: &Record, now: Timestamp) -> Mark {
        let mark = self.known().next();
        self.apply(mark, record, now);
        mark
    }

    /// Says that the log goes up to `end` and back to `beginning`; purges before that are forgotten.
    pub fn follow(&self, beginning: Mark, end: Mark) {
        let mut state = self.state.write();
        state.known = state.known.max(end);
        if beginning > state.beginning {
            state.beginning = beginning;
            state.forget(beginning);
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    /// Says whether the log is being followed.
    pub fn set_contact(&self, contact: Contact) {
        let mut state = self.state.write();
        if state.contact != contact {
            state.contact = contact;
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    pub fn contact(&self) -> Contact {
        self.state.read().contact
    }

    /// How many scopes are struck.
    pub fn len(&self) -> usize {
        let state = self.state.read();
        state.urls.len()
            + state.tags.len()
            + state.paths.len()
            + state.routes.len()
            + state.prefixes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl State {
    fn judge(&self, facts: &Facts) -> Standing {
        let scoped = self.judge_scopes(facts.url_key, &facts.url, &facts.route, facts.as_of);
        if self.tags.is_empty() {
            return scoped;
        }
        let tagged = facts.tags.iter().filter_map(|tag| self.tags.get(tag));
        tagged.map(|struck| struck.judge(facts.as_of)).fold(scoped, Standing::max)
    }

    fn judge_scopes(&self, url_key: Key, url: &str, route: &RouteId, as_of: Mark) -> Standing {
        let mut standing = self.everything.judge(as_of);
        if self.contact == Contact::Lost || as_of < self.beginning {
            standing = standing.max(Standing::Unvouched);
        }
        if let Some(struck) = self.urls.get(&url_key) {
            standing = standing.max(struck.judge(as_of));
        }
        if let Some(struck) = self.routes.get(route) {
            standing = standing.max(struck.judge(as_of));
        }
        if !self.paths.is_empty()
            && let Some(struck) = self.paths.get(path(url))
        {
            standing = standing.max(struck.judge(as_of));
        }
        for (prefix, struck) in &self.prefixes {
            if begins_with(url, prefix) {
                standing = standing.max(struck.judge(as_of));
            }
        }
        standing
    }

    fn strike(&mut self, purge: &Purge, mark: Mark, now: Timestamp) {
        let struck = match &purge.scope {
            Scope::Url(key) => self.urls.entry(*key).or_default(),
            Scope::Tag(tag) => {
                self.any_tag.add(purge.effect, mark, now);
                self.tags.entry(tag.clone()).or_default()
            }
            Scope::Route(route) => self.routes.entry(route.clone()).or_default(),
            Scope::Everything => &mut self.everything,
            Scope::Path(path) => self.paths.entry(path.clone()).or_default(),
            Scope::Prefix(prefix) => self.prefix(prefix),
        };
        struck.add(purge.effect, mark, now);
    }

    fn prefix(&mut self, prefix: &Arc<str>) -> &mut Struck {
        let place = self.prefixes.iter().position(|(known, _)| known == prefix);
        let place = place.unwrap_or_else(|| {
            self.prefixes.push((prefix.clone(), Struck::default()));
            self.prefixes.len() - 1
        });
        &mut self.prefixes[place].1
    }

    /// Forgets what speaks only of entries that are unvouched for anyway.
    fn forget(&mut self, beginning: Mark) {
        self.urls.retain(|_, struck| struck.outlives(beginning));
        self.paths.retain(|_, struck| struck.outlives(beginning));
        self.tags.retain(|_, struck| struck.outlives(beginning));
        self.routes.retain(|_, struck| struck.outlives(beginning));
        self.prefixes.retain(|(_, struck)| struck.outlives(beginning));
    }
}

impl Struck {
    fn add(&mut self, effect: Effect, mark: Mark, now: Timestamp) {
        match effect {
            Effect::Remove => self.removed = self.removed.max(Some(mark)),
            Effect::MarkStale => self.mark_stale(mark, now),
        }
    }

    fn mark_stale(&mut self, mark: Mark, now: Timestamp) {
        if self.staled.iter().any(|(known, _)| *known == mark) {
            return;
        }
        self.staled.push((mark, now));
        self.staled.sort_unstable();
        if self.staled.len() > SOFT_PURGES {
            // Taken together, the older entries are stale for longer than they were: the safe side.
            let (_, since) = self.staled.remove(0);
            self.staled[0].1 = self.staled[0].1.min(since);
        }
    }

    fn judge(&self, as_of: Mark) -> Standing {
        if self.removed.is_some_and(|mark| as_of < mark) {
            return Standing::Gone;
        }
        let staled = self.staled.iter().find(|(mark, _)| as_of < *mark);
        staled.map_or(Standing::Good, |(_, since)| Standing::MarkedStale(*since))
    }

    fn outlives(&self, beginning: Mark) -> bool {
        self.removed.is_some_and(|mark| mark > beginning)
            || self.staled.iter().any(|(mark, _)| *mark > beginning)
    }
}

/// Whether a URL begins with a prefix. Where one of them names no host, their paths are compared: such a prefix
/// speaks of every host, such a URL is the same on every host.
fn begins_with(url: &str, prefix: &str) -> bool {
    match (url.starts_with('/'), prefix.starts_with('/')) {
        (true, true) | (false, false) => url.starts_with(prefix),
        (false, true) => path(url).starts_with(prefix),
        (true, false) => url.starts_with(path(prefix)),
    }
}

/// A URL from its path on; empty where it has none.
fn path(url: &str) -> &str {
    if url.starts_with('/') {
        return url;
    }
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    rest.find('/').map_or("", |at| &rest[at..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purge::Cause;

    fn facts(tags: &[&str], as_of: u64) -> Facts {
        Facts {
            key: Key::from_bits(1),
            url_key: Key::from_bits(2),
            url: "http://shop.example/api/a".into(),
            route: RouteId::new("products"),
            tags: tags.iter().map(|tag| Tag::new(tag)).collect(),
            as_of: Mark::new(as_of, 0),
        }
    }

    fn strike(ledger: &Ledger, scope: Scope, effect: Effect, mark: u64) {
        let purges = vec![Purge { scope, effect }];
        let record = Record { purges, cause: Cause::default(), at: Timestamp::default() };
        ledger.apply(Mark::new(mark, 0), &record, Timestamp::from_millis(mark));
    }

    fn judge(ledger: &Ledger, facts: &Facts) -> Standing {
        ledger.state.read().judge(facts)
    }

    #[test]
    fn every_scope_beats_what_began_before_it_and_spares_what_began_after() {
        let scopes = [
            Scope::Url(Key::from_bits(2)),
            Scope::Tag(Tag::new("t")),
            Scope::Prefix("http://shop.example/api".into()),
            Scope::Prefix("/api/".into()),
            Scope::Path("/api/a".into()),
            Scope::Route(RouteId::new("products")),
            Scope::Everything,
        ];
        for scope in scopes {
            let ledger = Ledger::default();
            strike(&ledger, scope.clone(), Effect::Remove, 5);
            assert_eq!(judge(&ledger, &facts(&["t"], 4)), Standing::Gone, "{scope:?}");
            assert_eq!(judge(&ledger, &facts(&["t"], 5)), Standing::Good, "{scope:?}");
            assert_eq!(ledger.known(), Mark::new(5, 0));
        }
    }

    #[test]
    fn a_prefix_finds_a_url_that_is_the_same_on_every_host() {
        assert!(begins_with("/api/a", "http://shop.example/api/"));
        assert!(!begins_with("/api/a", "http://shop.example/b"));
        assert!(begins_with("/api/a", "/api"));
        assert!(!begins_with("http://shop.example/api/a", "http://other.example/api/"));
    }

    #[test]
    fn other_scopes_are_spared() {
        let ledger = Ledger::default();
        strike(&ledger, Scope::Url(Key::from_bits(1)), Effect::Remove, 5);
        strike(&ledger, Scope::Tag(Tag::new("u")), Effect::Remove, 6);
        strike(&ledger, Scope::Prefix("/apis".into()), Effect::Remove, 7);
        strike(&ledger, Scope::Path("/api".into()), Effect::Remove, 7);
        strike(&ledger, Scope::Route(RouteId::new("other")), Effect::Remove, 8);
        assert_eq!(judge(&ledger, &facts(&["t"], 0)), Standing::Good);
    }

    #[test]
    fn a_soft_purge_is_stale_since_the_first_that_matches() {
        let ledger = Ledger::default();
        for mark in [5, 9] {
            strike(&ledger, Scope::Everything, Effect::MarkStale, mark);
        }
        let stale = |since| Standing::MarkedStale(Timestamp::from_millis(since));
        assert_eq!(judge(&ledger, &facts(&[], 4)), stale(5));
        assert_eq!(judge(&ledger, &facts(&[], 7)), stale(9));
        assert_eq!(judge(&ledger, &facts(&[], 9)), Standing::Good);
        for mark in 10..20 {
            strike(&ledger, Scope::Everything, Effect::MarkStale, mark);
        }
        assert_eq!(judge(&ledger, &facts(&[], 4)), stale(5));
    }

    #[test]
    fn a_hard_purge_wins_over_a_soft_one() {
        let ledger = Ledger::default();
        strike(&ledger, Scope::Everything, Effect::Remove, 5);
        strike(&ledger, Scope::Everything, Effect::MarkStale, 6);
        assert_eq!(judge(&ledger, &facts(&[], 4)), Standing::Gone);
    }

    #[test]
    fn what_is_older_than_the_log_or_out_of_its_sight_is_unvouched_for() {
        let ledger = Ledger::default();
        strike(&ledger, Scope::Url(Key::from_bits(2)), Effect::Remove, 5);
        ledger.follow(Mark::new(7, 0), Mark::new(8, 0));
        assert!(ledger.is_empty());
        assert_eq!(judge(&ledger, &facts(&[], 6)), Standing::Unvouched);
        assert_eq!(judge(&ledger, &facts(&[], 7)), Standing::Good);
        ledger.set_contact(Contact::Lost);
        assert_eq!(judge(&ledger, &facts(&[], 7)), Standing::Unvouched);
        ledger.set_contact(Contact::Kept);
        assert_eq!(judge(&ledger, &facts(&[], 7)), Standing::Good);
    }

    #[test]
    fn a_flight_without_a_head_is_not_joined_after_any_tag_was_purged() {
        let ledger = Ledger::default();
        let route = RouteId::new("products");
        let flight = |as_of| Expected {
            url_key: Key::from_bits(2),
            url: "http://h/a",
            route: &route,
            as_of,
        };
        assert!(ledger.may_join(&flight(Mark::new(4, 0))));
        strike(&ledger, Scope::Tag(Tag::new("anything")), Effect::Remove, 5);
        assert!(!ledger.may_join(&flight(Mark::new(4, 0))));
        assert!(ledger.may_join(&flight(Mark::new(5, 0))));
    }

    #[test]
    fn a_local_purge_beats_what_began_before_it_and_not_what_begins_now() {
        let ledger = Ledger::default();
        ledger.follow(Mark::ZERO, Mark::new(3, 0));
        let purges = vec![Purge { scope: Scope::Everything, effect: Effect::Remove }];
        let record = Record { purges, cause: Cause::default(), at: Timestamp::default() };
        let before = facts(&[], 3);
        ledger.apply_locally(&record, Timestamp::default());
        assert_eq!(judge(&ledger, &before), Standing::Gone);
        let after = Facts { as_of: ledger.known(), ..before };
        assert_eq!(judge(&ledger, &after), Standing::Good);
    }
}
