//! What no schema can say: whether the parts of a configuration fit each other. Every fault at its place.

mod certificates;
mod listeners;
mod parts;
mod purging;
pub(crate) mod routes;
mod stores;

use crate::config::fault::{Fault, Faults, Place, Severity};
use crate::config::file::File;
use crate::config::scalar::amount::Span;
use crate::config::schema::Told;
use crate::config::tree::{Content, Node, Scalar, Source};

/// A place in the tree, found by its path; what is not written is at the place of what it would be a part of.
#[derive(Clone)]
pub(crate) struct At<'a> {
    node: Option<&'a Node>,
    place: Place,
    path: String,
}

impl<'a> At<'a> {
    pub(crate) fn root(node: &'a Node) -> Self {
        Self { node: Some(node), place: Place::START, path: String::new() }
    }

    /// The value of a key.
    fn key(&self, name: &str) -> Self {
        let path = if self.path.is_empty() { name.into() } else { format!("{}.{name}", self.path) };
        let found = self.node.and_then(|node| node.get(name));
        let place = found.map_or(self.place, |(key, value)| match value.content {
            // A map or a list begins where its first key does, which is not what is spoken of.
            Content::Map(_) | Content::List(_) => key.place,
            Content::Nothing | Content::Scalar(_) | Content::Faulty => value.place,
        });
        Self { node: found.map(|(_, value)| value), place, path }
    }

    fn index(&self, index: usize) -> Self {
        let found = self.node.and_then(|node| node.at(index));
        let place = found.map_or(self.place, |value| value.place);
        Self { node: found, place, path: format!("{}[{index}]", self.path) }
    }

    const fn is_written(&self) -> bool {
        self.node.is_some()
    }

    /// The text without the value that stands here, if that came from outside: its variable is named instead.
    fn without_value(&self, text: &str) -> String {
        match self.node.map(|node| &node.content) {
            Some(Content::Scalar(Scalar {
                text: value,
                source: Source::Variables(written),
                ..
            })) => text.replace(&format!("`{value}`"), &format!("`{written}`")),
            Some(_) | None => text.to_owned(),
        }
    }

    /// This if it is written, otherwise the other.
    fn or(self, other: Self) -> Self {
        if self.is_written() { self } else { other }
    }
}

/// Checks a whole file whose routes hold their defaults already (`File::effective`).
pub(crate) fn check(file: &File, root: At<'_>, told: &Told, faults: &mut Faults) {
    let mut check = Check { file, root, told, faults };
    check.parts();
    check.routes();
    check.purging();
}

struct Check<'a> {
    file: &'a File,
    root: At<'a>,
    told: &'a Told,
    faults: &'a mut Faults,
}

impl Check<'_> {
    fn say(&mut self, severity: Severity, at: &At<'_>, what: &str, right: &str) {
        if !self.told.covers(&at.path) {
            let (path, what, right) = (at.path.clone(), at.without_value(what), right.to_owned());
            self.faults.add(Fault { place: at.place, path, what, right, severity });
        }
    }

    fn fault(&mut self, at: &At<'_>, what: impl Into<String>, right: &str) {
        self.say(Severity::Fault, at, &what.into(), right);
    }

    fn warn(&mut self, at: &At<'_>, what: impl Into<String>, right: &str) {
        self.say(Severity::Warning, at, &what.into(), right);
    }

    /// Whether something below was told, so that what seems to be missing may only be faulty.
    fn is_partly_faulty(&self, at: &At<'_>) -> bool {
        let Some(Node { content: Content::Map(entries), .. }) = at.node else { return false };
        entries.iter().any(|(key, _)| self.told.covers(&at.key(&key.name).path))
    }

    fn positive(&mut self, at: &At<'_>, span: Span) {
        if span.0.is_zero() {
            let key = at.path.rsplit('.').next().unwrap_or_default();
            let what = format!("`{key}` of 0s lets nothing succeed");
            self.fault(at, what, "write a duration such as 1s");
        }
    }
}
