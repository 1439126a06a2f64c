//! Purges that no single look-up finds: patterns of URLs, and tags that count only with something else.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::entry::facts::{Facts, Mark, Standing, Tag};
use crate::purge::Scope;
use crate::purge::ledger::Struck;
use crate::purge::scope::is_of_origin;

/// Prefixes, globs and hosts. Each is held once against each entry: in the order in which they came, so that an entry
/// is held only against those that came since it was judged last.
#[derive(Default)]
pub(super) struct Patterns {
    by_place: BTreeMap<Place, (Arc<Scope>, Struck)>,
    places: HashMap<Arc<Scope>, Place>,
    /// Counts what came, to tell apart what came in one version of the ledger.
    arrivals: u64,
}

/// The ledger's version in which a pattern was purged last, and its number.
type Place = (u64, u64);

impl Patterns {
    /// What has been said of a pattern, to which `version` of the ledger adds something.
    pub(super) fn entry(&mut self, scope: &Scope, version: u64) -> &mut Struck {
        self.arrivals += 1;
        let place = (version, self.arrivals);
        let before = self.places.get(scope).and_then(|place| self.by_place.remove(place));
        let (scope, struck) =
            before.unwrap_or_else(|| (Arc::new(scope.clone()), Struck::default()));
        self.places.insert(scope.clone(), place);
        &mut self.by_place.entry(place).or_insert((scope, struck)).1
    }

    /// What is said of a URL by the patterns that were purged after version `since`.
    pub(super) fn judge(&self, url: &str, as_of: Mark, since: u64) -> Standing {
        let newer = self.by_place.range((since.saturating_add(1), 0)..);
        let matching = newer.filter(|(_, (scope, _))| scope.matches(url));
        matching.map(|(_, (_, struck))| struck.judge(as_of)).fold(Standing::Good, Standing::max)
    }

    pub(super) fn forget(&mut self, beginning: Mark) {
        self.by_place.retain(|_, (_, struck)| struck.outlives(beginning));
        let kept = &self.by_place;
        self.places.retain(|_, place| kept.contains_key(place));
    }

    pub(super) fn len(&self) -> usize {
        self.by_place.len()
    }
}

/// Tags that count only together, or only on one origin; found by one of the tags.
#[derive(Default)]
pub(super) struct Conditions {
    by_tag: HashMap<Tag, HashMap<Also, Struck>>,
}

/// What else an entry must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Also {
    Tagged(Box<[Tag]>),
    Of(Arc<str>),
}

impl Conditions {
    /// What has been said of a conjunction or a group; the longest tag is taken for the one that says most.
    pub(super) fn entry(&mut self, scope: &Scope) -> &mut Struck {
        let (tag, also) = match scope {
            Scope::Group { origin, tag } => (tag.clone(), Also::Of(origin.clone())),
            Scope::AllTags(tags) => {
                let mut tags = tags.to_vec();
                tags.sort_unstable_by(|one, other| {
                    (one.as_str().len(), one).cmp(&(other.as_str().len(), other))
                });
                tags.dedup();
                let tag = tags.pop().unwrap_or_else(|| Tag::new(""));
                (tag, Also::Tagged(tags.into()))
            }
            Scope::Url(_)
            | Scope::Tag(_)
            | Scope::Path(_)
            | Scope::Prefix(_)
            | Scope::Glob(_)
            | Scope::Host(_)
            | Scope::Route(_)
            | Scope::Everything => (Tag::new(""), Also::Tagged(Box::default())),
        };
        self.by_tag.entry(tag).or_default().entry(also).or_default()
    }

    pub(super) fn judge(&self, facts: &Facts, as_of: Mark) -> Standing {
        if self.by_tag.is_empty() {
            return Standing::Good;
        }
        let met = facts.tags.iter().filter_map(|tag| self.by_tag.get(tag)).flatten();
        let met = met.filter(|(also, _)| also.is_met_by(facts));
        met.map(|(_, struck)| struck.judge(as_of)).fold(Standing::Good, Standing::max)
    }

    pub(super) fn forget(&mut self, beginning: Mark) {
        self.by_tag.retain(|_, conditions| {
            conditions.retain(|_, struck| struck.outlives(beginning));
            !conditions.is_empty()
        });
    }

    pub(super) fn len(&self) -> usize {
        self.by_tag.values().map(HashMap::len).sum()
    }
}

impl Also {
    fn is_met_by(&self, facts: &Facts) -> bool {
        match self {
            Self::Tagged(tags) => tags.iter().all(|tag| facts.tags.contains(tag)),
            Self::Of(origin) => is_of_origin(&facts.url, origin),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};
    use proptest::prelude::{Just, Strategy, prop, prop_assert, prop_oneof};
    use proptest::proptest;

    use super::*;
    use crate::entry::facts::{Epoch, RouteId};
    use crate::entry::freshness::{Freshness, UseWithoutAsking};
    use crate::entry::{Entry, Head, Stored};
    use crate::key::Key;
    use crate::key::host::HostPattern;
    use crate::key::vary::Variant;
    use crate::purge::glob::UrlGlob;
    use crate::purge::ledger::Ledger;
    use crate::purge::{Cause, Effect, Purge, Record};
    use crate::time::Timestamp;

    /// What may happen to a ledger.
    #[derive(Clone, Debug)]
    enum Event {
        /// The log takes a record of somebody's.
        Purge(Vec<Purge>),
        /// This instance is asked for a purge, and the log is away.
        Pend(Vec<Purge>),
        /// The log takes the oldest record that waits for it.
        Append,
        /// Too many wait: they become one purge of everything.
        Overflow,
        Store(Facts, Whose),
        /// All that is stored is asked for.
        Ask,
    }

    /// Who began a fetch.
    #[derive(Clone, Copy, Debug)]
    enum Whose {
        Ours,
        Theirs,
    }

    /// What was purged, told one by one.
    #[derive(Default)]
    struct History {
        log: Vec<(Mark, Purge)>,
        /// What waits for the log, the oldest first.
        pending: VecDeque<(u64, Record)>,
        /// What waited since something always did: it may hold for as long as that goes on.
        lingering: Vec<(u64, Purge)>,
    }

    const URLS: [&str; 6] = [
        "http://a.example/x",
        "http://a.example/x/1?q=1",
        "http://b.a.example/x/2",
        "https://a.example/y",
        "/x/1?q=2",
        "/y",
    ];
    const TAGS: [&str; 4] = ["a", "b", "cc", "dd"];

    fn tags(least: usize) -> impl Strategy<Value = Box<[Tag]>> {
        prop::sample::subsequence(&TAGS[..], least..=3)
            .prop_map(|tags| tags.into_iter().map(Tag::new).collect())
    }

    fn facts() -> impl Strategy<Value = Facts> {
        (0..URLS.len(), tags(0), 0..3_u8).prop_map(|(url, tags, route)| Facts {
            key: Key::from_bits(1),
            url_key: Key::from_bits(url as u128),
            url: URLS[url].into(),
            route: RouteId::new(&route.to_string()),
            tags,
            as_of: Mark::ZERO,
        })
    }

    fn scope() -> impl Strategy<Value = Scope> {
        let tag = || prop::sample::select(&TAGS[..]).prop_map(Tag::new);
        let text = |texts: &'static [&'static str]| prop::sample::select(texts);
        let prefixes = text(&["/x", "/x/", "http://a.example/", "https://a.example/y", "/z"]);
        let globs = text(&["/x/*", "/x/**", "//*.a.example/**", "/x/1?q=*", "//a.example/y", "/*"]);
        prop_oneof![
            (0..7_u128).prop_map(|key| Scope::Url(Key::from_bits(key))),
            tag().prop_map(Scope::Tag),
            tags(1).prop_map(Scope::AllTags),
            (text(&["http://a.example", "https://a.example"]), tag())
                .prop_map(|(origin, tag)| Scope::Group { origin: origin.into(), tag }),
            text(&["/x", "/x/1?q=1", "/x/1?q=2"]).prop_map(|path| Scope::Path(path.into())),
            prefixes.prop_map(|prefix| Scope::Prefix(prefix.into())),
            globs.prop_map(|glob| Scope::Glob(UrlGlob::parse(glob).unwrap())),
            text(&["a.example", "*.a.example", "c.example"])
                .prop_map(|host| Scope::Host(HostPattern::parse(host).unwrap())),
            (0..4_u8).prop_map(|route| Scope::Route(RouteId::new(&route.to_string()))),
            Just(Scope::Everything),
        ]
    }

    fn event() -> impl Strategy<Value = Event> {
        let effect = prop_oneof![Just(Effect::Remove), Just(Effect::MarkStale)];
        let purge = (scope(), effect).prop_map(|(scope, effect)| Purge { scope, effect });
        let purges = prop::collection::vec(purge, 1..3).boxed();
        prop_oneof![
            4 => purges.clone().prop_map(Event::Purge),
            2 => purges.prop_map(Event::Pend),
            2 => Just(Event::Append),
            1 => Just(Event::Overflow),
            4 => (facts(), prop_oneof![Just(Whose::Ours), Just(Whose::Theirs)])
                .prop_map(|(facts, whose)| Event::Store(facts, whose)),
            2 => Just(Event::Ask),
        ]
    }

    fn entry(facts: Facts) -> Entry {
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
        let head = Head { status: StatusCode::OK, fields: HeaderMap::new() };
        Entry::new(facts, &head, freshness, Variant::default(), Stored::Whole(Bytes::new()))
    }

    fn record(purges: Vec<Purge>) -> Record {
        Record { purges, cause: Cause::default(), at: Timestamp::default() }
    }

    impl History {
        /// The next mark takes these purges.
        fn take(&mut self, ledger: &Ledger, purges: &[Purge]) -> Mark {
            let mark = ledger.known().next();
            self.log.extend(purges.iter().map(|purge| (mark, purge.clone())));
            mark
        }

        fn pend(&mut self, ledger: &Ledger, purges: Vec<Purge>) {
            let record = record(purges.clone());
            let turn = ledger.apply_pending(&record, Timestamp::default());
            self.lingering.extend(purges.into_iter().map(|purge| (turn, purge)));
            self.pending.push_back((turn, record));
        }

        /// Nothing waits any more: nothing lingers.
        fn settled(&mut self) {
            if self.pending.is_empty() {
                self.lingering.clear();
            }
        }

        fn happens(&mut self, ledger: &Ledger, event: Event) {
            match event {
                Event::Purge(purges) => {
                    let mark = self.take(ledger, &purges);
                    ledger.apply(mark, &record(purges), Timestamp::from_millis(mark.number));
                }
                Event::Pend(purges) => self.pend(ledger, purges),
                Event::Append => {
                    let Some((turn, record)) = self.pending.pop_front() else { return };
                    let mark = self.take(ledger, &record.purges);
                    assert!(ledger.appended(turn, mark, &record, Timestamp::default()));
                    self.settled();
                }
                Event::Overflow => {
                    let old = self.pending.len();
                    let scope = Scope::Everything;
                    self.pend(ledger, vec![Purge { scope, effect: Effect::Remove }]);
                    for (turn, _) in self.pending.drain(..old) {
                        ledger.replaced(turn);
                    }
                }
                Event::Store(..) | Event::Ask => {}
            }
        }

        /// The least and the most that may be said of an entry: the harshest effect of any purge that speaks of it
        /// and came after its fetch began; at most also what waited for the log a while ago.
        fn bounds(&self, entry: &Entry) -> [Option<Effect>; 2] {
            let speaking =
                |purge: &Purge| purge.scope.speaks_of(&entry.facts).then_some(purge.effect);
            let later = self.log.iter().filter(|(mark, _)| *mark > entry.facts.as_of);
            let logged = later.filter_map(|(_, purge)| speaking(purge)).max();
            let waiting = self.pending.iter().filter(|(turn, _)| *turn > entry.turn());
            let waiting = waiting.flat_map(|(_, record)| &record.purges).filter_map(speaking).max();
            let lingering = self.lingering.iter().filter(|(turn, _)| *turn > entry.turn());
            let lingering = lingering.filter_map(|(_, purge)| speaking(purge)).max();
            [logged.max(waiting), logged.max(lingering)]
        }
    }

    fn effect(standing: Standing) -> Option<Effect> {
        match standing {
            Standing::Good => None,
            Standing::MarkedStale(_) => Some(Effect::MarkStale),
            Standing::Gone | Standing::Unvouched => Some(Effect::Remove),
        }
    }

    proptest! {
        /// A failure prints the seed and the smallest history.
        #[test]
        fn the_ledger_says_what_a_look_at_every_later_purge_says(
            history in prop::collection::vec(event(), 1..60)
        ) {
            let ledger = Ledger::default();
            let beginning = Mark::new(1, 0).of(Epoch::new(1));
            ledger.follow(beginning, beginning);
            let (mut told, mut stored) = (History::default(), Vec::new());
            for event in history.into_iter().chain([Event::Ask]) {
                match event {
                    Event::Store(facts, whose) => {
                        let entry = entry(Facts { as_of: ledger.known(), ..facts });
                        stored.push(match whose {
                            Whose::Ours => entry.in_turn(ledger.turn()),
                            Whose::Theirs => entry,
                        });
                    }
                    Event::Ask => {
                        for entry in &stored {
                            let says = effect(ledger.standing(entry, Timestamp::default()));
                            let [least, most] = told.bounds(entry);
                            prop_assert!(least <= says && says <= most, "{:?} of {:?}", says, entry.facts);
                        }
                    }
                    event => told.happens(&ledger, event),
                }
            }
        }
    }

    #[test]
    fn an_entry_that_awaits_its_tags_is_beaten_by_a_purge_of_any_tag() {
        let ledger = Ledger::default();
        let facts = Facts {
            key: Key::from_bits(1),
            url_key: Key::from_bits(1),
            url: "/x".into(),
            route: RouteId::new("r"),
            tags: Box::default(),
            as_of: Mark::ZERO,
        };
        let (whole, awaiting) =
            (entry(facts.clone()).in_turn(1), entry(facts).awaiting_tags().in_turn(1));
        assert_eq!(ledger.standing(&awaiting, Timestamp::default()), Standing::Good);
        let scope = Scope::AllTags(["t", "u"].map(Tag::new).into());
        let purges = vec![Purge { scope, effect: Effect::Remove }];
        let record = Record { purges, cause: Cause::default(), at: Timestamp::default() };
        ledger.apply(Mark::new(1, 0), &record, Timestamp::default());
        assert_eq!(ledger.standing(&awaiting, Timestamp::default()), Standing::Gone);
        assert_eq!(ledger.standing(&whole, Timestamp::default()), Standing::Good);
    }

    #[test]
    fn a_pattern_is_held_once_against_an_entry_and_kept_once_however_often_it_is_purged() {
        let mut patterns = Patterns::default();
        let scope = Scope::Prefix("/x".into());
        for version in 2..9 {
            let mark = Mark::new(version, 0);
            patterns.entry(&scope, version).add(Effect::Remove, mark, Timestamp::default());
        }
        assert_eq!(patterns.len(), 1);
        assert_eq!(patterns.judge("/x/1", Mark::new(5, 0), 7), Standing::Gone);
        assert_eq!(patterns.judge("/x/1", Mark::new(5, 0), 8), Standing::Good);
        patterns.forget(Mark::new(8, 0));
        assert_eq!((patterns.len(), patterns.places.len()), (0, 0));
    }
}
