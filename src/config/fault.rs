//! What is wrong with a configuration: where, what, and what would be right.

use std::fmt;
use std::path::{Path, PathBuf};

/// A place in the file, both counted from one; columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// One thing that is wrong. Holds no value that came from the environment, and no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub place: Place,
    /// The key, as in `routes[0].match.path`; empty for the whole file.
    pub path: String,
    pub what: String,
    /// What would be right.
    pub right: String,
    pub severity: Severity,
}

/// Whether a configuration can be used all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Fault,
    /// It can; it hardly does what its writer wants.
    Warning,
}

/// Everything that is wrong with one configuration, in the order of the file. Displayed one line each:
/// `FILE:LINE:COLUMN: what is wrong; what would be right`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    file: PathBuf,
    text: Text,
    list: Vec<Fault>,
}

/// Whether there is a text in which a fault can have a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Text {
    #[default]
    Read,
    Unread,
}

impl Place {
    pub const START: Self = Self { line: 1, column: 1 };
}

impl Faults {
    pub(crate) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), text: Text::Read, list: Vec::new() }
    }

    /// Adds a fault; the same one at the same place is told once.
    pub(crate) fn add(&mut self, mut fault: Fault) {
        for text in [&mut fault.what, &mut fault.right] {
            if text.contains(char::is_control) {
                *text = text.replace(char::is_control, " ");
            }
        }
        let known = |other: &Fault| other.place == fault.place && other.what == fault.what;
        if !self.list.iter().any(known) {
            self.list.push(fault);
        }
    }

    /// A fault of a file whose text was not read.
    pub(crate) fn of_file(file: &Path, what: String, right: &str) -> Self {
        let mut faults = Self { text: Text::Unread, ..Self::new(file) };
        faults.add(Fault {
            place: Place::START,
            path: String::new(),
            what,
            right: right.to_owned(),
            severity: Severity::Fault,
        });
        faults
    }

    /// Why the text could not even be read: there are no places in it to tell.
    pub(crate) fn unread(&self) -> Option<&Fault> {
        match self.text {
            Text::Read => None,
            Text::Unread => self.list.first(),
        }
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.list.iter()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether the configuration must be refused.
    pub fn is_fatal(&self) -> bool {
        self.list.iter().any(|fault| fault.severity == Severity::Fault)
    }

    pub(crate) fn sort(&mut self) {
        self.list.sort_by_key(|fault| fault.place);
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.list.iter().enumerate() {
            let line = if index == 0 { "" } else { "\n" };
            let Place { line: row, column } = fault.place;
            write!(formatter, "{line}{}:{row}:{column}: {fault}", self.file.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.severity {
            Severity::Fault => {}
            Severity::Warning => formatter.write_str("warning: ")?,
        }
        write!(formatter, "{}; {}", self.what, self.right)
    }
}

/// The one of `known` that `text` was probably meant to be.
pub(crate) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_lowercase();
    let rated = known.into_iter().map(|other| {
        let begins = text.len() > 2 && other.starts_with(&text);
        let near = strsim::normalized_damerau_levenshtein(&text, other)
            .max(0.9 * strsim::jaro_winkler(&text, other));
        (if begins { near.max(0.8) } else { near }, other)
    });
    let best = rated.max_by(|(mine, _), (other, _)| mine.total_cmp(other));
    best.filter(|(near, _)| *near >= 0.6).map(|(_, other)| other)
}

/// `a`, `b` and `c`.
pub(crate) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        None => "none".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_for_typing_errors_and_beginnings_but_not_for_anything() {
        let known = ["ttl", "stale_if_error", "origin", "early_refresh", "key"];
        let rows = [
            ("tl", Some("ttl")),
            ("TTL", Some("ttl")),
            ("stale_on_error", Some("stale_if_error")),
            ("orgin", Some("origin")),
            ("early", Some("early_refresh")),
            ("zzzz", None),
        ];
        for (text, expected) in rows {
            assert_eq!(nearest(text, known), expected, "{text}");
        }
    }
}
