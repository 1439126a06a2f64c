//! What differs between what a row says and what happened.

use super::answer::Place;
use super::origin::Seen;
use super::row::{Asked, Check, Exchange, Source};
use super::wire::{Fields, text};

/// A client's answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) content: Vec<u8>,
    pub(crate) interim: Vec<(u16, Fields)>,
    /// The connection ended before the content did.
    pub(crate) cut_off: bool,
}

/// One exchange that was played, with all that the origin saw for its row.
pub(crate) struct Played<'a> {
    pub(crate) number: usize,
    pub(crate) exchange: &'a Exchange,
    pub(crate) reply: &'a Reply,
    pub(crate) seen: &'a [Seen],
    pub(crate) place: Place<'a>,
}

/// Fields of one connection, or changed by every proxy.
const OF_ONE_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];
/// Fields that a cache does not keep, or makes anew.
const NOT_REPLAYED: [&str; 4] =
    ["age", "proxy-authenticate", "proxy-authentication-info", "proxy-authorization"];
/// What a 304 does not update, because it describes the stored content.
const NOT_UPDATED: [&str; 3] = ["content-length", "content-encoding", "content-range"];
/// RFC 9110 §15.4.5.
const IN_A_304: [&str; 6] =
    ["content-location", "date", "etag", "vary", "cache-control", "expires"];

impl Played<'_> {
    /// Every difference, in words.
    pub(crate) fn differences(&self) -> Vec<String> {
        let mut told = Vec::new();
        self.asked(&mut told);
        match self.exchange.source {
            Source::Origin => {
                if let Some(seen) = self.own().last() {
                    self.comes_from(seen, &[], None, &mut told);
                }
            }
            Source::Stored(number) => match self.said(number) {
                Some(seen) => {
                    self.comes_from(seen, &NOT_REPLAYED, None, &mut told);
                    if !self.reply.fields.has("age") && !self.is_spoken_of("age") {
                        told.push("Age is absent from a stored answer".to_owned());
                    }
                }
                None => told.push(format!("exchange {number} left nothing to compare with")),
            },
            Source::Updated(number) => match self.said(number) {
                Some(seen) => self.comes_from(seen, &NOT_REPLAYED, self.own().last(), &mut told),
                None => told.push(format!("exchange {number} left nothing to compare with")),
            },
            Source::NotModified(number) => self.not_modified(number, &mut told),
            Source::Larder(status) => self.refused(status, &mut told),
            Source::Unsaid => {}
        }
        for check in &self.exchange.checks {
            self.check(check, &mut told);
        }
        told
    }

    fn own(&self) -> impl DoubleEndedIterator<Item = &Seen> {
        self.seen.iter().filter(|seen| seen.exchange == self.number)
    }

    /// What the origin said last in exchange `number`, from 1.
    fn said(&self, number: usize) -> Option<&Seen> {
        self.seen.iter().rfind(|seen| seen.exchange + 1 == number)
    }

    fn asked(&self, told: &mut Vec<String>) {
        let times = self.own().count();
        let expected = match self.exchange.asked {
            Asked::Times(expected) => expected,
            Asked::Beside => 1,
        };
        if times != expected {
            told.push(format!("the origin was asked {times} times instead of {expected}"));
        }
    }

    /// Whether a check speaks of the field, so that the source does not.
    fn is_spoken_of(&self, name: &str) -> bool {
        self.exchange.checks.iter().any(|check| match check {
            Check::Has(own, _) | Check::Lacks(own) => own.eq_ignore_ascii_case(name),
            Check::Age(_) => name.eq_ignore_ascii_case("age"),
            _ => false,
        })
    }

    fn comes_from(
        &self,
        seen: &Seen,
        without: &[&str],
        update: Option<&Seen>,
        told: &mut Vec<String>,
    ) {
        let mut status = seen.status;
        for check in &self.exchange.checks {
            if let Check::Status(own) = check {
                status = *own;
            }
        }
        self.has_status(status, told);
        let speaks = self.exchange.checks.iter().any(|check| matches!(check, Check::Content(_)));
        if !speaks {
            let content: &[u8] =
                if self.exchange.request.method == "HEAD" { b"" } else { &seen.said_content };
            self.has_content(content, told);
        }
        let dropped: Vec<String> = seen
            .said
            .joined("connection")
            .map(|line| text(&line).split(',').map(|name| name.trim().to_lowercase()).collect())
            .unwrap_or_default();
        let mut names: Vec<&str> = seen.said.0.iter().map(|(name, _)| name.as_str()).collect();
        names.extend(
            update.iter().flat_map(|update| update.said.0.iter().map(|(name, _)| name.as_str())),
        );
        names.sort_unstable();
        names.dedup();
        for name in names {
            let lower = name.to_lowercase();
            let skip = OF_ONE_HOP.contains(&lower.as_str())
                || without.contains(&lower.as_str())
                || dropped.contains(&lower)
                || self.is_spoken_of(name)
                || (lower == "content-length"
                    && (status != seen.status || status == 304 || status == 204));
            if skip {
                continue;
            }
            let update = update.filter(|_| !NOT_UPDATED.contains(&lower.as_str()));
            let expected = update
                .and_then(|update| update.said.joined(name))
                .or_else(|| seen.said.joined(name));
            if let Some(expected) = expected {
                self.has(name, &expected, told);
            }
        }
    }

    fn not_modified(&self, number: usize, told: &mut Vec<String>) {
        let Some(seen) = self.said(number) else {
            told.push(format!("exchange {number} left nothing to compare with"));
            return;
        };
        self.has_status(304, told);
        self.has_content(b"", told);
        for name in IN_A_304 {
            if let Some(expected) = seen.said.joined(name) {
                self.has(name, &expected, told);
            }
        }
    }

    fn refused(&self, status: u16, told: &mut Vec<String>) {
        self.has_status(status, told);
        self.has("Content-Type", b"application/problem+json", told);
        let says = format!("\"status\":{status}");
        if !text(&self.reply.content).contains(&says) {
            told.push(format!("the problem does not say {says}: {}", text(&self.reply.content)));
        }
        for (name, value) in self.seen.iter().flat_map(|seen| &seen.said.0) {
            let general = ["cache-control", "date", "content-length"];
            let leaked = self.reply.fields.lines(name).any(|line| line == value);
            if leaked && !general.contains(&name.to_lowercase().as_str()) {
                told.push(format!("{name} of the origin is in Larder's own answer"));
            }
        }
    }

    fn check(&self, check: &Check, told: &mut Vec<String>) {
        match check {
            Check::Status(status) => self.has_status(*status, told),
            Check::Content(content) => self.has_content(content, told),
            Check::Has(name, value) => self.has(name, &value.at(&self.place), told),
            Check::HasSome(name) => {
                if !self.reply.fields.has(name) {
                    told.push(format!("{name} is absent"));
                }
            }
            Check::Lacks(name) => {
                if let Some(value) = self.reply.fields.joined(name) {
                    told.push(format!("{name} is there: {}", text(&value)));
                }
            }
            Check::Says(name, expected) => {
                let found =
                    self.reply.fields.joined(name).map(|value| text(&value)).unwrap_or_default();
                if !found.split([',', ';']).any(|part| part.trim() == expected) {
                    told.push(format!("{name} does not say {expected}: {found}"));
                }
            }
            Check::Age(expected) => {
                let found = self.reply.fields.joined("age").map(|value| text(&value));
                let age = found.as_deref().and_then(|text| text.parse().ok());
                if !age.is_some_and(|age: u64| expected.contains(&age)) {
                    told.push(format!("Age is {found:?} instead of {expected:?}"));
                }
            }
            Check::Interim(expected) => {
                let found: Vec<u16> =
                    self.reply.interim.iter().map(|(status, _)| *status).collect();
                if found != *expected {
                    told.push(format!("interim responses {found:?} instead of {expected:?}"));
                }
            }
            Check::CutOff => {
                if !self.reply.cut_off {
                    told.push("the content was not seen as cut off".to_owned());
                }
            }
            Check::OriginSaw(..)
            | Check::OriginSawNo(_)
            | Check::OriginSawMethod(_)
            | Check::OriginSawTarget(_)
            | Check::OriginSawContent(_) => self.origin_saw(check, told),
        }
    }

    fn origin_saw(&self, check: &Check, told: &mut Vec<String>) {
        let Some(seen) = self.own().next() else {
            told.push("the origin saw nothing".to_owned());
            return;
        };
        let mut differs = |what: &str, found: &str, expected: &str| {
            if found != expected {
                told.push(format!("the origin saw {what} «{found}» instead of «{expected}»"));
            }
        };
        match check {
            Check::OriginSaw(name, value) => {
                let found =
                    seen.fields.joined(name).map_or("(absent)".to_owned(), |value| text(&value));
                differs(name, &found, &text(&value.at(&self.place)));
            }
            Check::OriginSawNo(name) => {
                let found =
                    seen.fields.joined(name).map_or("(absent)".to_owned(), |value| text(&value));
                differs(name, &found, "(absent)");
            }
            Check::OriginSawMethod(method) => differs("the method", &seen.method, method),
            Check::OriginSawTarget(suffix) => {
                differs("the target", &seen.target, &format!("{}{suffix}", self.place.path));
            }
            Check::OriginSawContent(content) => {
                differs("the content", &text(&seen.content), &text(content));
            }
            _ => {}
        }
    }

    fn has_status(&self, expected: u16, told: &mut Vec<String>) {
        if self.reply.status != expected {
            told.push(format!("status {} instead of {expected}", self.reply.status));
        }
    }

    fn has_content(&self, expected: &[u8], told: &mut Vec<String>) {
        if self.reply.content != expected {
            let found = text(&self.reply.content);
            told.push(format!("content «{found}» instead of «{}»", text(expected)));
        }
    }

    fn has(&self, name: &str, expected: &[u8], told: &mut Vec<String>) {
        let found = self.reply.fields.joined(name);
        if found.as_deref() != Some(expected) {
            let found = found.map_or("absent".to_owned(), |value| format!("«{}»", text(&value)));
            told.push(format!("{name} is {found} instead of «{}»", text(expected)));
        }
    }
}
