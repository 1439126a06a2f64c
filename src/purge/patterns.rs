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
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof};
    use proptest::proptest;

    use super::*;
    use crate::entry::facts::RouteId;
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
        Purge(Vec<Purge>),
        /// A fetch begins.
        Store(Facts),
        /// All that is stored is asked for.
        Ask,
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
        prop_oneof![
            2 => prop::collection::vec(purge, 1..3).prop_map(Event::Purge),
            2 => facts().prop_map(Event::Store),
            1 => any::<()>().prop_map(|()| Event::Ask),
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
            .in_turn(1)
    }

    /// The harshest effect of any later purge that speaks of the entry.
    fn naive(facts: &Facts, log: &[(Mark, Purge)]) -> Option<Effect> {
        let later = log.iter().filter(|(mark, _)| *mark > facts.as_of);
        later.filter(|(_, purge)| purge.scope.speaks_of(facts)).map(|(_, purge)| purge.effect).max()
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
            let (mut log, mut stored) = (Vec::new(), Vec::new());
            for event in history.into_iter().chain([Event::Ask]) {
                match event {
                    Event::Store(facts) => {
                        stored.push(entry(Facts { as_of: ledger.known(), ..facts }));
                    }
                    Event::Purge(purges) => {
                        let mark = ledger.known().next();
                        log.extend(purges.iter().map(|purge| (mark, purge.clone())));
                        let record = Record { purges, cause: Cause::default(), at: Timestamp::default() };
                        ledger.apply(mark, &record, Timestamp::from_millis(mark.number));
                    }
                    Event::Ask => {
                        for entry in &stored {
                            let told = effect(ledger.standing(entry, Timestamp::default()));
                            prop_assert_eq!(told, naive(&entry.facts, &log), "{:?}", entry.facts);
                        }
                    }
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
        let (whole, awaiting) = (entry(facts.clone()), entry(facts).awaiting_tags());
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
