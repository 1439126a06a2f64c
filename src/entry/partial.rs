//! Parts of one representation: which may be combined, and into what (RFC 9111 §3.4).

use bytes::Bytes;
use http::StatusCode;

use crate::entry::facts::{Facts, Tag};
use crate::entry::{Entry, Head, Stored};
use crate::message::conditional::{EntityTag, share_strong_tag};
use crate::message::content_range::ContentRange;
use crate::message::update::merge;
use crate::time::Timestamp;

/// What the stored `old` and the `new` part are together; nothing where they may not be combined, where the new one
/// has all that the old one has, or where both together have more than `longest` bytes.
///
/// RFC 9111 §3.4: "A cache MAY combine these ranges into a single stored response, and reuse that response to satisfy
/// later requests, if they all share the same strong validator"; "When combining the new response with one or more
/// stored responses, a cache MUST update the stored response header fields using the header fields provided in the new
/// response, as per Section 3.2". The result is purged by whatever purges either of the two. Copies the bytes.
pub fn combined(old: &Entry, new: &Entry, longest: u64) -> Option<Entry> {
    let (kept, came) = (extent(old)?, new.part()?);
    let union = kept.union(came)?;
    let same = old.variant == new.variant && is_one_representation(old, new);
    if !same || came.holds(kept.range()) || union.length() > longest {
        return None;
    }
    let (old_bytes, new_bytes) = (old.bytes()?, new.bytes()?);
    let place = |at: u64| usize::try_from(at.saturating_sub(kept.range().start)).ok();
    let before = old_bytes.get(..place(came.range().start)?)?;
    let after = old_bytes.get(place(came.range().end)?..).unwrap_or_default();
    let bytes = Bytes::from([before, &new_bytes, after].concat());
    if bytes.len() as u64 != union.length() {
        return None;
    }
    let head = Head { status: new.status, fields: merge(&old.fields(), &new.fields()) };
    let facts = facts(&old.facts, &new.facts)?;
    let variant = new.variant.clone();
    let entry = Entry::new(facts, &head, new.freshness(), variant, Stored::Whole(bytes));
    let turn = old.turn().min(new.turn());
    Some(entry.of_part((!union.is_whole()).then_some(union)).in_turn(turn))
}

/// Whether `new` may take the place of `old`: a part does not take that of a whole and fresh response, unless it shows
/// that there is another representation now.
pub fn displaces(old: &Entry, new: &Entry, now: Timestamp) -> bool {
    let stays = new.part().is_some() && old.part().is_none() && old.freshness().is_fresh(now);
    !stays || is_another(old, new)
}

/// Which part of its representation an entry has, be it all of it.
fn extent(entry: &Entry) -> Option<ContentRange> {
    let whole = || ContentRange::new(0..entry.length()?, entry.length()?);
    entry.part().cloned().or_else(whole)
}

fn is_one_representation(old: &Entry, new: &Entry) -> bool {
    let both = old.status == StatusCode::OK && new.status == StatusCode::OK;
    both && share_strong_tag(&old.fields(), &new.fields())
}

fn is_another(old: &Entry, new: &Entry) -> bool {
    let (old, new) = (old.fields(), new.fields());
    let tags = (EntityTag::of_response(&old), EntityTag::of_response(&new));
    matches!(tags, (Some(old), Some(new)) if !old.is_weakly(&new))
}

/// The tags of both, and the mark of the older fetch; nothing where the marks are not of one log.
fn facts(old: &Facts, new: &Facts) -> Option<Facts> {
    let as_of = if old.as_of.partial_cmp(&new.as_of)?.is_lt() { old.as_of } else { new.as_of };
    let added = old.tags.iter().filter(|tag| !new.tags.contains(tag));
    let tags: Vec<Tag> = new.tags.iter().chain(added).cloned().collect();
    Some(Facts { tags: tags.into(), as_of, ..new.clone() })
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::Arc;
    use std::time::Duration;

    use http::HeaderMap;
    use http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED};
    use proptest::prelude::{Strategy, any, prop};
    use proptest::{prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::entry::facts::{Mark, RouteId};
    use crate::entry::freshness::{Freshness, UseWithoutAsking};
    use crate::entry::slot::{Found, Slot};
    use crate::key::Key;
    use crate::key::vary::{Selector, Variant, VaryRules};

    const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

    fn entry(tag: &str, body: &[u8], range: Range<usize>) -> Entry {
        let facts = Facts {
            key: Key::from_bits(1),
            url_key: Key::from_bits(1),
            url: "http://h/".into(),
            route: RouteId::new("r"),
            tags: Box::default(),
            as_of: Mark::ZERO,
        };
        let mut fields = HeaderMap::new();
        if !tag.is_empty() {
            fields.insert(ETAG, HeaderValue::from_str(tag).unwrap());
        }
        let freshness = Freshness {
            received: NOW,
            initial_age: Duration::ZERO,
            lifetime: Duration::from_mins(1),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            keep: Duration::ZERO,
            fetch_time: Duration::ZERO,
            use_without_asking: UseWithoutAsking::Allowed,
        };
        let part = ContentRange::new(range.start as u64..range.end as u64, body.len() as u64);
        let bytes = Stored::Whole(Bytes::copy_from_slice(&body[range]));
        let head = Head { status: StatusCode::OK, fields };
        Entry::new(facts, &head, freshness, Variant::default(), bytes)
            .of_part(part.filter(|part| !part.is_whole()))
    }

    fn with(entry: &Entry, name: HeaderName, value: HeaderValue) -> Entry {
        let mut head = entry.head();
        head.fields.insert(name, value);
        entry.with_head(&head).of_part(entry.part().cloned())
    }

    const BODY: &[u8] = b"0123456789";

    fn part(range: Range<usize>) -> Entry {
        entry("\"a\"", BODY, range)
    }

    /// What the two are together: the first byte that is held, and the bytes.
    fn both(old: &Entry, new: &Entry) -> Option<(u64, String)> {
        let both = combined(old, new, u64::MAX)?;
        let begin = both.part().map_or(0, |part| part.range().start);
        Some((begin, String::from_utf8(both.bytes()?.to_vec()).unwrap()))
    }

    #[test]
    fn parts_that_touch_are_combined_from_either_side() {
        let rows = [
            (0..5, 5..10, 0, "0123456789"),
            (5..10, 0..5, 0, "0123456789"),
            (2..5, 4..8, 2, "234567"),
            (4..8, 2..5, 2, "234567"),
            (2..8, 3..5, 2, "234567"),
            (0..10, 3..5, 0, "0123456789"),
        ];
        for (old, new, begin, text) in rows {
            let found = both(&part(old.clone()), &part(new.clone()));
            assert_eq!(found, Some((begin, text.into())), "{old:?} and {new:?}");
        }
    }

    #[test]
    fn a_combination_of_all_bytes_is_whole() {
        let whole = combined(&part(0..5), &part(5..10), 10).unwrap();
        assert_eq!((whole.part(), whole.length()), (None, Some(10)));
        let most = combined(&part(0..5), &part(5..9), 10).unwrap();
        assert_eq!(most.part().cloned(), ContentRange::new(0..9, 10));
    }

    #[test]
    fn what_does_not_touch_adds_nothing_or_is_too_long_is_not_combined() {
        assert_eq!(both(&part(0..3), &part(4..6)), None);
        assert_eq!(both(&part(2..5), &part(1..6)), None);
        assert_eq!(both(&part(2..5), &part(0..10)), None);
        assert!(combined(&part(0..5), &part(5..10), 9).is_none());
    }

    /// RFC 9111 §3.4: "if they all share the same strong validator".
    #[test]
    fn only_a_shared_strong_tag_allows_to_combine() {
        let modified = |range| {
            let date = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
            with(&entry("", BODY, range), LAST_MODIFIED, date)
        };
        assert_eq!(both(&modified(0..5), &modified(5..10)), None);
        for (old, new) in [
            ("\"a\"", "\"b\""),
            ("W/\"a\"", "W/\"a\""),
            ("W/\"a\"", "\"a\""),
            ("", "\"a\""),
            ("\"a\"", ""),
            ("", ""),
        ] {
            let found = both(&entry(old, BODY, 0..5), &entry(new, BODY, 5..10));
            assert_eq!(found, None, "{old} and {new}");
        }
        assert_eq!(both(&part(0..5), &entry("\"a\"", b"01234567890", 5..10)), None);
    }

    #[test]
    fn a_combination_has_the_newer_fields_the_tags_of_both_and_the_older_mark() {
        let (mut old, mut new) = (part(0..5), part(5..10));
        let name = HeaderName::from_static("x-a");
        old = with(&old, CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        old = with(&old, name.clone(), HeaderValue::from_static("old"));
        new = with(&new, name, HeaderValue::from_static("new"));
        old.facts.tags = [Tag::new("one"), Tag::new("both")].into();
        new.facts.tags = [Tag::new("both"), Tag::new("two")].into();
        (old.facts.as_of, new.facts.as_of) = (Mark::new(1, 0), Mark::new(2, 0));
        let both = combined(&old, &new, 10).unwrap();
        assert_eq!(both.fields()[CONTENT_TYPE], "text/plain");
        assert_eq!(both.fields()["x-a"], "new");
        let tags: Vec<_> = both.facts.tags.iter().map(Tag::as_str).collect();
        assert_eq!((tags, both.facts.as_of), (vec!["both", "two", "one"], Mark::new(1, 0)));
    }

    #[test]
    fn a_part_displaces_what_is_whole_only_when_that_is_stale_or_another() {
        let whole = part(0..10);
        let later = NOW.plus(Duration::from_mins(2));
        assert!(!displaces(&whole, &part(0..5), NOW));
        assert!(!displaces(&whole, &entry("", BODY, 0..5), NOW));
        assert!(displaces(&whole, &part(0..5), later));
        assert!(displaces(&whole, &entry("\"b\"", BODY, 0..5), NOW));
        assert!(displaces(&whole, &entry("\"b\"", BODY, 0..10), NOW));
        assert!(displaces(&part(0..5), &whole, NOW));
        assert!(displaces(&part(0..5), &part(7..9), NOW));
    }

    /// A step of a story: which of two versions of the body gives which range.
    fn steps() -> impl Strategy<Value = Vec<(bool, prop::sample::Index, prop::sample::Index)>> {
        let place = any::<prop::sample::Index>;
        let step = (prop::bool::weighted(0.9), place(), place());
        prop::collection::vec(step, 1..40)
    }

    proptest! {
        /// Whatever parts come in whatever order, and though the body changes between them: what is held is bytes of
        /// one version, at their places. proptest prints the seed of a failure.
        #[test]
        fn any_sequence_of_parts_yields_exactly_the_bytes_of_one_body_or_a_miss(
            length in 1..60_usize, longest in 1..70_u64, steps in steps(),
        ) {
            let bodies = [(0..u8::MAX).take(length).collect::<Vec<_>>(), vec![200; length]];
            let mut slot = Slot::default();
            for (first, one, other) in steps {
                let (one, other) = (one.index(length), other.index(length));
                let (tag, body) = if first { ("\"a\"", &bodies[0]) } else { ("\"b\"", &bodies[1]) };
                let new = entry(tag, body, one.min(other)..one.max(other) + 1);
                let old = slot.variants().first().cloned();
                let both = old.and_then(|old| combined(&old, &new, longest));
                prop_assert!(both.as_ref().is_none_or(|both| both.whole().unwrap().len() as u64 <= longest));
                slot = slot.with(Arc::new(both.unwrap_or(new)), 4, NOW);
                let (fields, rules) = (HeaderMap::new(), VaryRules::default());
                let found = slot.find(&Selector { fields: &fields, rules: &rules });
                let Some(Found::Entry(held)) = found else { panic!("nothing is held") };
                let body = if held.fields()[ETAG] == "\"a\"" { &bodies[0] } else { &bodies[1] };
                let range = extent(&held).unwrap().range().clone();
                let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
                prop_assert_eq!(&held.bytes().unwrap()[..], &body[range]);
                prop_assert_eq!(held.length(), Some(length as u64));
            }
        }
    }
}
