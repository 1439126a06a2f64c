//! Every purge still in force, asked on each hit.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use smallvec::SmallVec;

use crate::entry::Entry;
use crate::entry::facts::{Epoch, Facts, Mark, RouteId, Standing, Tag};
use crate::key::Key;
use crate::purge::patterns::{Conditions, Patterns};
use crate::purge::{Effect, Purge, Record, Scope};
use crate::time::Timestamp;

/// Every purge still in force, and how far the log has been followed.
///
/// An entry is judged once per change of the ledger: the entry remembers the ledger's version under which nothing
/// stood against it, so that a hit costs two comparisons while nothing new is purged. A judgement costs one look-up
/// for the URL, one for its path, one for the route, one for each tag, and one comparison for each prefix, glob and
/// host that was purged since the entry was judged last.
///
/// Purges are forgotten when the log forgets them: entries older than the log's beginning are unvouched for, and so
/// are those of another epoch. So the ledger is little larger than the log's retention.
///
/// A purge that has no mark yet, because the log has not taken it, is held against everything whose fetch did not
/// begin here after it. The version in which it was struck is its turn; see [`Entry::in_turn`].
pub struct Ledger {
    /// Counts the changes; zero is never a version, so that a new entry is judged.
    version: AtomicU64,
    /// The moment from which the fleet may not count on this instance any more, in milliseconds.
    trusted_until: AtomicU64,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    /// The greatest mark that is known to have been given: what a fetch that begins now is `as_of`.
    known: Mark,
    beginning: Mark,
    contact: Contact,
    struck: Strikes,
    /// What the log has not taken yet. Its marks are turns.
    pending: Strikes,
    pending_turns: BTreeSet<u64>,
}

/// Purges by what they speak of, under marks of one log.
#[derive(Default)]
struct Strikes {
    urls: HashMap<Key, Struck>,
    tags: HashMap<Tag, Struck>,
    paths: HashMap<Arc<str>, Struck>,
    routes: HashMap<RouteId, Struck>,
    conditions: Conditions,
    patterns: Patterns,
    everything: Struck,
    /// The harshest that was said of any tag: what may be said of a response whose tags are not known yet.
    any_tag: Struck,
    /// How many purges came since the last were forgotten.
    since_forgotten: usize,
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
pub(super) struct Struck {
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
    /// The ledger's turn in which it began.
    pub turn: u64,
}

/// When a fetch began: under which mark of the log, and in which turn of this ledger.
#[derive(Clone, Copy)]
struct Began {
    as_of: Mark,
    turn: u64,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            version: AtomicU64::new(1),
            trusted_until: AtomicU64::new(u64::MAX),
            state: RwLock::default(),
        }
    }
}

impl Ledger {
    /// What the log has to say about `entry`, to a request that came at `now`.
    pub fn standing(&self, entry: &Entry, now: Timestamp) -> Standing {
        let trusted = self.is_trusted(now);
        // Read before the state: a change in between only makes the next hit judge again.
        let version = self.version.load(Ordering::Acquire);
        if trusted && entry.is_verified_at(version) {
            return Standing::Good;
        }
        let began = Began { as_of: entry.facts.as_of, turn: entry.turn() };
        let state = self.state.read();
        let mut standing = state.judge(&entry.facts, began, entry.verified_at());
        if entry.awaits_tags() {
            standing = standing.max(state.judge_unknown_tags(began));
        }
        drop(state);
        if standing == Standing::Good {
            entry.verify_at(version);
        }
        if trusted { standing } else { standing.max(Standing::Unvouched) }
    }

    /// Whether a request that came at `now` may share a fetch that began earlier and has no head yet. Its tags are
    /// not known, so a purge of any tag meanwhile counts as one of its own.
    pub fn may_join(&self, expected: &Expected<'_>, now: Timestamp) -> bool {
        self.is_trusted(now) && self.state.read().judge_expected(expected) == Standing::Good
    }

    /// The mark under which a fetch that begins now begins.
    pub fn known(&self) -> Mark {
        self.state.read().known
    }

    /// The turn in which a fetch that begins now begins.
    pub fn turn(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Applies a record of the log that is being followed; again is harmless. `now` is the moment from which what it
    /// marks stale is stale.
    pub fn apply(&self, mark: Mark, record: &Record, now: Timestamp) {
        let mut state = self.state.write();
        let version = self.next_version();
        state.apply(mark, record, now, version);
        self.changed();
    }

    /// Applies a record that the log has not taken yet: what is stored or in the air here, and what comes from
    /// elsewhere, is beaten; what is fetched here from now on is not. Returns the record's turn.
    pub fn apply_pending(&self, record: &Record, now: Timestamp) -> u64 {
        let mut state = self.state.write();
        let turn = self.changed();
        for purge in &record.purges {
            state.pending.strike(purge, Mark::new(turn, 0), now, turn);
        }
        state.pending_turns.insert(turn);
        turn
    }

    /// Applies the record of a turn under the mark that the log gave it. A mark of a log that is not being followed
    /// (it was lost meanwhile, or has not been read yet) is no use: then this says no, and the record stays pending.
    #[must_use]
    pub fn appended(&self, turn: u64, mark: Mark, record: &Record, now: Timestamp) -> bool {
        let mut state = self.state.write();
        if mark.epoch != state.known.epoch {
            return false;
        }
        state.apply(mark, record, now, self.next_version());
        state.settle(turn);
        self.changed();
        true
    }

    /// Forgets the record of a turn, because a later one says as much.
    pub fn replaced(&self, turn: u64) {
        let mut state = self.state.write();
        state.settle(turn);
        self.changed();
    }

    /// Says that the log goes up to `end` and back to `beginning`; purges before that are forgotten. A log of another
    /// epoch vouches for nothing that was fetched before it.
    pub fn follow(&self, beginning: Mark, end: Mark) {
        let mut state = self.state.write();
        if beginning.epoch != state.known.epoch {
            state.known = end;
            state.beginning = beginning;
            state.struck = Strikes::default();
            self.changed();
            return;
        }
        state.known = state.known.or_later(end);
        if beginning > state.beginning {
            state.beginning = beginning;
            state.struck.forget_by_and_by(beginning);
            self.changed();
        }
    }

    /// Says that nothing whose fetch began before `mark` is stored any more: purges before that are forgotten.
    pub fn forget(&self, mark: Mark) {
        let mut state = self.state.write();
        if mark > state.beginning {
            state.beginning = mark;
            state.struck.forget(mark);
            self.changed();
        }
    }

    /// Says that the fleet counts on this instance until then.
    pub fn trust(&self, until: Timestamp) {
        self.trusted_until.store(until.as_millis(), Ordering::Release);
        self.set_contact(Contact::Kept);
    }

    /// Says that the fleet does not count on this instance any more, until it is trusted again.
    pub fn distrust(&self) {
        self.set_contact(Contact::Lost);
    }

    fn set_contact(&self, contact: Contact) {
        if self.contact() == contact {
            return;
        }
        let mut state = self.state.write();
        state.contact = contact;
        self.changed();
    }

    pub fn contact(&self) -> Contact {
        self.state.read().contact
    }

    /// How many scopes are struck.
    pub fn len(&self) -> usize {
        let state = self.state.read();
        state.struck.len() + state.pending.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether what is stored is vouched for at this moment.
    ///
    /// Kept in every request's way, since a task that is to notice the end may itself be late: a process that was
    /// stopped for a while answers the first requests before it.
    pub fn is_trusted(&self, now: Timestamp) -> bool {
        now.as_millis() < self.trusted_until.load(Ordering::Acquire)
    }

    /// The version that the next change makes, greater than any that an entry is verified at. Called with the state
    /// locked.
    fn next_version(&self) -> u64 {
        self.version.load(Ordering::Acquire) + 1
    }

    /// Counts a change and returns the new version. Called with the state locked, so that no entry that was judged
    /// before is verified after.
    fn changed(&self) -> u64 {
        self.version.fetch_add(1, Ordering::AcqRel) + 1
    }
}

impl State {
    /// What is said of an entry; of the patterns only what came after version `since`, under which nothing stood
    /// against it.
    fn judge(&self, facts: &Facts, began: Began, since: u64) -> Standing {
        let standing = self.vouch(began).max(self.struck.judge(facts, began.as_of, since));
        if self.pending_turns.is_empty() {
            return standing;
        }
        standing.max(self.pending.judge(facts, Mark::new(began.turn, 0), since))
    }

    fn judge_expected(&self, expected: &Expected<'_>) -> Standing {
        let Expected { as_of, turn, .. } = *expected;
        let standing = self.vouch(Began { as_of, turn });
        let standing = standing.max(self.struck.judge_expected(expected, as_of));
        standing.max(self.pending.judge_expected(expected, Mark::new(turn, 0)))
    }

    /// What may be said of a response whose tags are not known yet.
    fn judge_unknown_tags(&self, began: Began) -> Standing {
        let pending = self.pending.any_tag.judge(Mark::new(began.turn, 0));
        self.struck.any_tag.judge(began.as_of).max(pending)
    }

    /// Whether the log speaks of what began then at all.
    fn vouch(&self, Began { as_of, turn }: Began) -> Standing {
        let known = if self.known.epoch == Epoch::NONE {
            // Before the log was read for the first time, only what was fetched here is known not to be older.
            turn > 0
        } else {
            as_of.epoch == self.known.epoch
        };
        if known && as_of >= self.beginning && self.contact == Contact::Kept {
            Standing::Good
        } else {
            Standing::Unvouched
        }
    }

    fn apply(&mut self, mark: Mark, record: &Record, now: Timestamp, version: u64) {
        for purge in &record.purges {
            self.struck.strike(purge, mark, now, version);
        }
        self.known = self.known.or_later(mark);
    }

    fn settle(&mut self, turn: u64) {
        self.pending_turns.remove(&turn);
        match self.pending_turns.first() {
            None => self.pending = Strikes::default(),
            Some(first) => self.pending.forget_by_and_by(Mark::new(first - 1, 0)),
        }
    }
}

impl Strikes {
    fn judge(&self, facts: &Facts, as_of: Mark, since: u64) -> Standing {
        let scoped = self.judge_scopes(facts.url_key, &facts.url, &facts.route, as_of);
        let scoped = scoped
            .max(self.patterns.judge(&facts.url, as_of, since))
            .max(self.conditions.judge(facts, as_of));
        if self.tags.is_empty() {
            return scoped;
        }
        let tagged = facts.tags.iter().filter_map(|tag| self.tags.get(tag));
        tagged.map(|struck| struck.judge(as_of)).fold(scoped, Standing::max)
    }

    fn judge_expected(&self, expected: &Expected<'_>, as_of: Mark) -> Standing {
        let scoped = self.judge_scopes(expected.url_key, expected.url, expected.route, as_of);
        let scoped = scoped.max(self.patterns.judge(expected.url, as_of, 0));
        scoped.max(self.any_tag.judge(as_of))
    }

    fn judge_scopes(&self, url_key: Key, url: &str, route: &RouteId, as_of: Mark) -> Standing {
        let mut standing = self.everything.judge(as_of);
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
        standing
    }

    fn strike(&mut self, purge: &Purge, mark: Mark, now: Timestamp, version: u64) {
        self.since_forgotten += 1;
        let struck = match &purge.scope {
            Scope::Url(key) => self.urls.entry(*key).or_default(),
            Scope::Tag(tag) => {
                self.any_tag.add(purge.effect, mark, now);
                self.tags.entry(tag.clone()).or_default()
            }
            Scope::Route(route) => self.routes.entry(route.clone()).or_default(),
            Scope::Everything => &mut self.everything,
            Scope::Path(path) => self.paths.entry(path.clone()).or_default(),
            scope @ (Scope::AllTags(_) | Scope::Group { .. }) => {
                self.any_tag.add(purge.effect, mark, now);
                self.conditions.entry(scope)
            }
            scope @ (Scope::Prefix(_) | Scope::Glob(_) | Scope::Host(_)) => {
                self.patterns.entry(scope, version)
            }
        };
        struck.add(purge.effect, mark, now);
    }

    fn len(&self) -> usize {
        self.urls.len()
            + self.tags.len()
            + self.paths.len()
            + self.routes.len()
            + self.conditions.len()
            + self.patterns.len()
    }

    /// Forgets when there may be much to forget, so that it costs each purge the same however many there are.
    fn forget_by_and_by(&mut self, beginning: Mark) {
        if self.since_forgotten >= self.len() / 2 {
            self.forget(beginning);
        }
    }

    /// Forgets what speaks only of entries that began before `beginning`.
    fn forget(&mut self, beginning: Mark) {
        self.urls.retain(|_, struck| struck.outlives(beginning));
        self.paths.retain(|_, struck| struck.outlives(beginning));
        self.tags.retain(|_, struck| struck.outlives(beginning));
        self.routes.retain(|_, struck| struck.outlives(beginning));
        self.conditions.forget(beginning);
        self.patterns.forget(beginning);
        for struck in [&mut self.everything, &mut self.any_tag] {
            if !struck.outlives(beginning) {
                *struck = Struck::default();
            }
        }
        self.since_forgotten = 0;
    }
}

impl Struck {
    pub(super) fn add(&mut self, effect: Effect, mark: Mark, now: Timestamp) {
        match effect {
            Effect::Remove => {
                self.removed = Some(self.removed.map_or(mark, |old| old.or_later(mark)));
            }
            Effect::MarkStale => self.mark_stale(mark, now),
        }
    }

    fn mark_stale(&mut self, mark: Mark, now: Timestamp) {
        if self.staled.iter().any(|(known, _)| *known == mark) {
            return;
        }
        self.staled.push((mark, now));
        self.staled.sort_unstable_by_key(|(mark, _)| (mark.millis, mark.number));
        if self.staled.len() > SOFT_PURGES {
            // Taken together, the older entries are stale for longer than they were: the safe side.
            let (_, since) = self.staled.remove(0);
            self.staled[0].1 = self.staled[0].1.min(since);
        }
    }

    pub(super) fn judge(&self, as_of: Mark) -> Standing {
        if self.removed.is_some_and(|mark| as_of < mark) {
            return Standing::Gone;
        }
        let staled = self.staled.iter().find(|(mark, _)| as_of < *mark);
        staled.map_or(Standing::Good, |(_, since)| Standing::MarkedStale(*since))
    }

    pub(super) fn outlives(&self, beginning: Mark) -> bool {
        self.removed.is_some_and(|mark| mark > beginning)
            || self.staled.iter().any(|(mark, _)| *mark > beginning)
    }
}

/// Whether a URL begins with a prefix. Where one of them names no host, their paths are compared: such a prefix
/// speaks of every host, such a URL is the same on every host.
pub(super) fn begins_with(url: &str, prefix: &str) -> bool {
    match (url.starts_with('/'), prefix.starts_with('/')) {
        (true, true) | (false, false) => url.starts_with(prefix),
        (false, true) => path(url).starts_with(prefix),
        (true, false) => url.starts_with(path(prefix)),
    }
}

/// A URL from its path on; empty where it has none.
pub(super) fn path(url: &str) -> &str {
    if url.starts_with('/') {
        return url;
    }
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    rest.find('/').map_or("", |at| &rest[at..])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::entry::freshness::{Freshness, UseWithoutAsking};
    use crate::entry::{Head, Stored};
    use crate::key::vary::Variant;
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
        judge_in(ledger, facts, ledger.turn())
    }

    fn judge_in(ledger: &Ledger, facts: &Facts, turn: u64) -> Standing {
        ledger.state.read().judge(facts, Began { as_of: facts.as_of, turn }, 0)
    }

    fn entry(as_of: u64) -> Entry {
        let head = Head { status: http::StatusCode::OK, fields: http::HeaderMap::new() };
        let freshness = Freshness {
            received: Timestamp::default(),
            initial_age: Duration::ZERO,
            lifetime: Duration::ZERO,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            keep: Duration::ZERO,
            fetch_time: Duration::ZERO,
            use_without_asking: UseWithoutAsking::Allowed,
        };
        let body = Stored::Whole(bytes::Bytes::new());
        Entry::new(facts(&[], as_of), &head, freshness, Variant::default(), body).in_turn(1)
    }

    fn record(scope: Scope) -> Record {
        let purges = vec![Purge { scope, effect: Effect::Remove }];
        Record { purges, cause: Cause::default(), at: Timestamp::default() }
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
        ledger.distrust();
        assert_eq!(judge(&ledger, &facts(&[], 7)), Standing::Unvouched);
        ledger.trust(Timestamp::from_millis(u64::MAX));
        assert_eq!(judge(&ledger, &facts(&[], 7)), Standing::Good);
    }

    #[test]
    fn a_request_that_comes_when_the_trust_is_over_is_refused_though_nobody_noticed_yet() {
        let (ledger, entry) = (Ledger::default(), entry(7));
        let at = Timestamp::from_millis;
        ledger.trust(at(100));
        assert_eq!(ledger.standing(&entry, at(99)), Standing::Good);
        assert!(entry.is_verified_at(ledger.turn()));
        assert_eq!(ledger.standing(&entry, at(100)), Standing::Unvouched);
        let route = RouteId::new("products");
        let url_key = Key::from_bits(2);
        let flight =
            Expected { url_key, url: "/", route: &route, as_of: Mark::ZERO, turn: ledger.turn() };
        assert!(ledger.may_join(&flight, at(99)) && !ledger.may_join(&flight, at(100)));
        ledger.trust(at(200));
        assert_eq!(ledger.standing(&entry, at(100)), Standing::Good);
    }

    #[test]
    fn what_another_life_of_the_log_dated_is_unvouched_for_whatever_its_numbers_say() {
        let (one, other) = (Epoch::new(1), Epoch::new(2));
        let ledger = Ledger::default();
        let dated = |mark: u64, epoch| {
            let facts = facts(&[], 0);
            Facts { as_of: Mark::new(mark, 0).of(epoch), ..facts }
        };
        assert_eq!(
            judge_in(&ledger, &dated(9, one), 0),
            Standing::Unvouched,
            "no log was read yet"
        );
        ledger.follow(Mark::new(3, 0).of(one), Mark::new(5, 0).of(one));
        ledger.apply(Mark::new(6, 0).of(one), &record(Scope::Everything), Timestamp::default());
        assert_eq!(judge(&ledger, &dated(5, one)), Standing::Gone);
        assert_eq!(judge(&ledger, &dated(6, one)), Standing::Good);
        // The log was lost, and its clock was set back.
        ledger.follow(Mark::new(2, 0).of(other), Mark::new(2, 0).of(other));
        assert!(ledger.is_empty());
        assert_eq!(ledger.known(), Mark::new(2, 0).of(other));
        for mark in [1, 2, 5, 6, 7] {
            assert_eq!(judge(&ledger, &dated(mark, one)), Standing::Unvouched, "{mark}");
        }
        assert_eq!(judge(&ledger, &dated(2, other)), Standing::Good);
        assert_eq!(
            judge(&ledger, &dated(2, Epoch::NONE)),
            Standing::Unvouched,
            "of an old release"
        );
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
            turn: ledger.turn(),
        };
        let may_join = |mark| ledger.may_join(&flight(Mark::new(mark, 0)), Timestamp::default());
        assert!(may_join(4));
        strike(&ledger, Scope::Tag(Tag::new("anything")), Effect::Remove, 5);
        assert!(!may_join(4));
        assert!(may_join(5));
    }

    #[test]
    fn a_purge_that_the_log_has_not_taken_beats_all_but_what_begins_here_after_it() {
        let ledger = Ledger::default();
        let epoch = Epoch::new(1);
        let at = |mark| Mark::new(mark, 0).of(epoch);
        ledger.follow(at(1), at(3));
        let before = ledger.turn();
        let purge = record(Scope::Everything);
        let turn = ledger.apply_pending(&purge, Timestamp::default());
        let dated = |mark| Facts { as_of: at(mark), ..facts(&[], 0) };
        assert_eq!(judge_in(&ledger, &dated(3), before), Standing::Gone);
        assert_eq!(judge_in(&ledger, &dated(9), 0), Standing::Gone, "from elsewhere");
        assert_eq!(judge_in(&ledger, &dated(3), ledger.turn()), Standing::Good);
        // Another's purge has the very mark that is next.
        ledger.apply(at(3).next(), &record(Scope::Everything), Timestamp::default());
        assert_eq!(judge_in(&ledger, &dated(3), ledger.turn()), Standing::Gone);
        assert!(!ledger.appended(turn, Mark::new(9, 0), &purge, Timestamp::default()));
        assert_eq!(judge_in(&ledger, &dated(9), 0), Standing::Gone, "it is still pending");
        assert!(ledger.appended(turn, at(5), &purge, Timestamp::default()));
        assert_eq!(judge_in(&ledger, &dated(4), ledger.turn()), Standing::Gone);
        assert_eq!(judge_in(&ledger, &dated(5), 0), Standing::Good);
    }

    #[test]
    fn pending_purges_are_settled_one_by_one() {
        let ledger = Ledger::default();
        let at = |mark| Mark::new(mark, 0).of(Epoch::new(1));
        ledger.follow(at(1), at(1));
        let purge = |number| record(Scope::Url(Key::from_bits(number)));
        let turns = [2, 3].map(|number| ledger.apply_pending(&purge(number), Timestamp::default()));
        let elsewhere = Facts { as_of: at(9), ..facts(&[], 0) };
        let other = Facts { url_key: Key::from_bits(3), ..elsewhere.clone() };
        assert!(ledger.appended(turns[0], at(5), &purge(2), Timestamp::default()));
        assert_eq!(judge_in(&ledger, &elsewhere, 0), Standing::Good);
        assert_eq!(judge_in(&ledger, &other, 0), Standing::Gone);
        ledger.replaced(turns[1]);
        assert_eq!(judge_in(&ledger, &other, 0), Standing::Good);
    }

    #[test]
    fn what_speaks_only_of_entries_that_are_gone_is_forgotten() {
        let ledger = Ledger::default();
        for mark in 1..=10 {
            let scope = Scope::Tag(Tag::new(&mark.to_string()));
            strike(&ledger, scope, Effect::Remove, mark);
        }
        strike(&ledger, Scope::Everything, Effect::Remove, 3);
        ledger.forget(Mark::new(7, 0));
        assert_eq!(ledger.len(), 3);
        assert_eq!(judge(&ledger, &facts(&[], 6)), Standing::Unvouched);
        assert_eq!(judge(&ledger, &facts(&["8"], 7)), Standing::Gone);
        ledger.forget(Mark::new(2, 0));
        assert_eq!(
            judge(&ledger, &facts(&[], 6)),
            Standing::Unvouched,
            "what is forgotten stays so"
        );
    }
}
