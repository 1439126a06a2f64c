//! Whether answers differ by who asks although nothing of the key says so: what two fetches, and two more, show.

use std::collections::HashSet;

use bytes::Bytes;
use http::StatusCode;

use crate::entry::sharing::Asker;

/// What one fetch brought, or what is stored. Dates, ages and ids stand in fields, which are not compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub status: StatusCode,
    /// Nothing where it was not read.
    pub body: Option<Bytes>,
    /// Whether the body is coded: then one changed word changes all of it.
    pub coding: Coding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Plain,
    Coded,
}

/// What a first look at the second answer shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// It is what is stored.
    Same,
    /// It differs; time, chance or identity may be why.
    Differs,
    /// It shows nothing.
    Unclear(WhyUnclear),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyUnclear {
    /// The origin failed, or asks to be left alone for a while.
    Failed,
    /// The answer may not be kept, and was not read.
    Unread,
    /// Another comparison of the route is under way.
    Busy,
}

/// What is known after the other fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Both get the same.
    Same,
    /// The content changed since it was stored, for everybody alike as far as can be told.
    Changed,
    /// Each answer differs from the one before, whoever asks, in nothing that stays with the asker.
    Volatile,
    Unclear(WhyUnclear),
    /// It differs by who asks.
    Leaks(WhyLeaks),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyLeaks {
    /// What one asker gets, each time, another does not.
    Depends,
    /// The origin denies others what is stored.
    Denied,
}

/// The fetches that tell why a second answer differs: in this order one without anything personal (where the asker bears
/// any) and one more for the asker.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    pub asker: Asker,
    pub stored: &'a Seen,
    pub own: &'a Seen,
    pub without: Option<&'a Seen>,
    pub again: Option<&'a Seen>,
}

/// How much of two bodies is compared word by word, in bytes.
const WORDS_IN: usize = 256 << 10;

/// Compares what is stored with what somebody else gets. Costs a comparison of two bodies.
pub fn first(stored: &Seen, own: &Seen) -> First {
    match own.status.as_u16() {
        408 | 425 | 429 | 500..=599 => First::Unclear(WhyUnclear::Failed),
        _ if own.status != stored.status => First::Differs,
        _ if own.body.is_none() => First::Unclear(WhyUnclear::Unread),
        _ if own.body == stored.body => First::Same,
        _ => First::Differs,
    }
}

/// Judges a difference. Costs a pass over at most 256 KiB of each body.
pub fn verdict(question: &Question<'_>) -> Verdict {
    let Question { asker, stored, own, without, again } = *question;
    let failed = Verdict::Unclear(WhyUnclear::Failed);
    let Some(again) = again.filter(|again| !has_failed(again)) else { return failed };
    if is_denied(own) && stored.status.is_success() && again.status == own.status {
        return Verdict::Leaks(WhyLeaks::Denied);
    }
    if asker == Asker::Nobody {
        // Whether others still get what is stored nobody can ask for them. What nobody in particular gets takes its
        // place, and whoever bears an identity is compared with that.
        return if is_alike(own, again) { Verdict::Changed } else { Verdict::Volatile };
    }
    let Some(without) = without.filter(|without| !has_failed(without)) else { return failed };
    if is_alike(own, without) {
        return Verdict::Changed;
    }
    if is_denied(without) && own.status.is_success() {
        return Verdict::Leaks(WhyLeaks::Denied);
    }
    if is_alike(own, again) {
        return Verdict::Leaks(WhyLeaks::Depends);
    }
    match [own, again, without].map(words) {
        [Some(own), Some(again), Some(without)]
            if own.intersection(&again).any(|word| !without.contains(word)) =>
        {
            Verdict::Leaks(WhyLeaks::Depends)
        }
        _ => Verdict::Volatile,
    }
}

/// Whether the `nth` entry of a route (from 0) that comes to be shared is drawn: evenly, so many of a hundred, and never
/// the first ones of a few.
#[expect(clippy::cast_precision_loss, reason = "a count; a part of one is lost beyond 2^52")]
pub fn is_drawn(nth: u64, sample: f64) -> bool {
    let drawn = |number: u64| (number as f64 * sample).floor();
    drawn(nth.saturating_add(1)) > drawn(nth)
}

fn has_failed(seen: &Seen) -> bool {
    matches!(seen.status.as_u16(), 408 | 425 | 429 | 500..=599)
}

/// Whether the origin lets an asker have nothing, or sends them to where they say who they are.
fn is_denied(seen: &Seen) -> bool {
    matches!(seen.status.as_u16(), 401 | 403 | 302 | 303 | 307)
}

fn is_alike(one: &Seen, other: &Seen) -> bool {
    let bodies = one.body.is_none() || other.body.is_none() || one.body == other.body;
    one.status == other.status && bodies
}

/// The words of a body that is no code.
fn words(seen: &Seen) -> Option<HashSet<&[u8]>> {
    let body = seen.body.as_ref().filter(|_| seen.coding == Coding::Plain)?;
    let body = &body[..body.len().min(WORDS_IN)];
    let words = body.split(|byte| !byte.is_ascii_alphanumeric() && byte.is_ascii());
    Some(words.filter(|word| !word.is_empty()).collect())
}

impl WhyLeaks {
    pub const fn token(self) -> &'static str {
        match self {
            Self::Depends => "depends-on-identity",
            Self::Denied => "denied-to-others",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(status: u16, body: &'static str) -> Seen {
        let status = StatusCode::from_u16(status).unwrap();
        Seen { status, body: Some(Bytes::from_static(body.as_bytes())), coding: Coding::Plain }
    }

    #[test]
    fn a_first_look_tells_the_same_from_what_differs_and_from_what_shows_nothing() {
        let stored = seen(200, "a");
        let unread = Seen { body: None, ..seen(200, "") };
        assert_eq!(first(&stored, &seen(200, "a")), First::Same);
        assert_eq!(first(&stored, &seen(200, "b")), First::Differs);
        assert_eq!(first(&stored, &seen(403, "a")), First::Differs);
        assert_eq!(first(&stored, &seen(503, "a")), First::Unclear(WhyUnclear::Failed));
        assert_eq!(first(&stored, &unread), First::Unclear(WhyUnclear::Unread));
    }

    #[test]
    fn time_chance_and_identity_are_told_apart() {
        let (depends, denied) =
            (Verdict::Leaks(WhyLeaks::Depends), Verdict::Leaks(WhyLeaks::Denied));
        let bob = Asker::Somebody(7);
        let old = seen(200, "news of monday");
        let rows = [
            // Newer news, for everybody.
            (bob, "news of friday", 200, "news of friday", "news of friday", Verdict::Changed),
            // One's own page.
            (bob, "for bob", 200, "for nobody", "for bob", depends),
            // A page with a token, which changes, and a name, which stays.
            (bob, "for bob t=1", 200, "for nobody t=2", "for bob t=3", depends),
            // A page with the time on it.
            (bob, "at 10:00:01", 200, "at 10:00:02", "at 10:00:03", Verdict::Volatile),
            // Who does not say who they are has to.
            (bob, "for members", 401, "who are you?", "for members", denied),
            (bob, "for members", 503, "", "for members", Verdict::Unclear(WhyUnclear::Failed)),
            (Asker::Nobody, "for nobody", 200, "", "for nobody", Verdict::Changed),
            (Asker::Nobody, "at 10:00:01", 200, "", "at 10:00:02", Verdict::Volatile),
        ];
        for (asker, own, status, without, again, expected) in rows {
            let (own, without, again) = (seen(200, own), seen(status, without), seen(200, again));
            let question = Question {
                asker,
                stored: &old,
                own: &own,
                without: Some(&without),
                again: Some(&again),
            };
            assert_eq!(verdict(&question), expected, "{question:?}");
        }
        let no = seen(403, "no");
        let question = Question {
            asker: Asker::Nobody,
            stored: &old,
            own: &no,
            without: None,
            again: Some(&no),
        };
        assert_eq!(verdict(&question), denied);
    }

    #[test]
    fn coded_bodies_are_not_compared_by_their_words() {
        let coded = |body| Seen { coding: Coding::Coded, ..seen(200, body) };
        let (own, without, again) = (coded("x bob 1"), coded("y 2"), coded("x bob 3"));
        let question = Question {
            asker: Asker::Somebody(1),
            stored: &own,
            own: &own,
            without: Some(&without),
            again: Some(&again),
        };
        assert_eq!(verdict(&question), Verdict::Volatile);
    }

    #[test]
    fn the_hundredth_of_a_hundred_is_drawn_and_all_or_none_where_it_says_so() {
        let drawn = |sample| (0..1000).filter(|nth| is_drawn(*nth, sample)).count();
        assert_eq!([drawn(0.0), drawn(0.01), drawn(0.5), drawn(1.0)], [0, 10, 500, 1000]);
        assert!((0..98).all(|nth| !is_drawn(nth, 0.01)));
    }
}
