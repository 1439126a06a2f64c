//! A YAML text as a tree of keys and values that know their places in the file.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};

use crate::config::fault::{Fault, Faults, Place, Severity};
use crate::config::variables::{self, Variables};

/// No configuration is larger.
pub(crate) const MOST_BYTES: usize = 1 << 20;
/// Nor has it more values, those behind aliases counted each time.
const MOST_NODES: usize = 100_000;
const MOST_DEPTH: usize = 32;

/// One value and where it begins. Not `Debug`: it may hold secrets.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) content: Content,
}

#[derive(Clone)]
pub(crate) enum Content {
    /// A key without a value, or `null`.
    Nothing,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
    /// What stands here was told as a fault already.
    Faulty,
}

#[derive(Clone)]
pub(crate) struct Scalar {
    /// With its variables replaced.
    pub(crate) text: String,
    pub(crate) source: Source,
    pub(crate) style: Style,
}

/// Where a scalar's text is from, which decides whether it may be shown.
#[derive(Clone)]
pub(crate) enum Source {
    Literal,
    /// As it was written, with the variables' names in it.
    Variables(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Quoted,
}

#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) place: Place,
}

impl Node {
    /// The value of a key.
    pub(crate) fn get(&self, name: &str) -> Option<&(Key, Self)> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|(key, _)| key.name == name),
            Content::Nothing | Content::Scalar(_) | Content::List(_) | Content::Faulty => None,
        }
    }

    /// An element of a list.
    pub(crate) fn at(&self, index: usize) -> Option<&Self> {
        match &self.content {
            Content::List(elements) => elements.get(index),
            Content::Nothing | Content::Scalar(_) | Content::Map(_) | Content::Faulty => None,
        }
    }
}

/// Reads one document. What is wrong goes to `faults`; nothing is returned when the text cannot be read on.
pub(crate) fn read(text: &str, variables: &dyn Variables, faults: &mut Faults) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        variables,
        faults,
        anchors: HashMap::new(),
        nodes: 0,
    };
    match reader.document() {
        Ok(node) => Some(node),
        Err(stop) => {
            let fault = stop.told(text);
            reader.faults.add(fault);
            None
        }
    }
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    variables: &'a dyn Variables,
    faults: &'a mut Faults,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

/// Why reading cannot go on.
enum Stop {
    Syntax(ScanError),
    SeveralDocuments(Place),
    TooDeep(Place),
    TooMany(Place),
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Node, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::Nothing | Event::DocumentEnd => {}
                Event::DocumentStart(_) if root.is_some() => {
                    return Err(Stop::SeveralDocuments(place(span.start)));
                }
                Event::DocumentStart(_) => {
                    let (first, span) = self.next()?;
                    root = Some(self.node(first, span, 0)?);
                }
                Event::StreamEnd
                | Event::Alias(_)
                | Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..)
                | Event::MappingEnd => break,
            }
        }
        Ok(root.unwrap_or(Node { place: Place::START, content: Content::Nothing }))
    }

    /// The next event; behind the last one the end of the stream, again and again.
    fn next(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.events.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(Stop::Syntax(error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Stop> {
        let place = place(span.start);
        self.count(1, place)?;
        if depth > MOST_DEPTH {
            return Err(Stop::TooDeep(place));
        }
        let (anchor, tagged, content) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, tag.is_some(), self.scalar(&text, style, place))
            }
            Event::SequenceStart(anchor, tag) => (anchor, tag.is_some(), self.list(depth)?),
            Event::MappingStart(anchor, tag) => (anchor, tag.is_some(), self.map(depth)?),
            Event::Alias(anchor) => (0, false, self.alias(anchor, place)?),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => (0, false, Content::Nothing),
        };
        if tagged {
            self.fault(place, "tags such as `!!str` mean nothing here".into(), "remove the tag");
        }
        let node = Node { place, content };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, place: Place) -> Content {
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted
            | ScalarStyle::DoubleQuoted
            | ScalarStyle::Literal
            | ScalarStyle::Folded => Style::Quoted,
        };
        if style == Style::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
            return Content::Nothing;
        }
        match variables::complete(text, self.variables) {
            Ok(complete) => {
                let source = if complete == text {
                    Source::Literal
                } else {
                    Source::Variables(text.to_owned())
                };
                Content::Scalar(Scalar { text: complete.into_owned(), source, style })
            }
            Err(errors) => {
                for error in errors {
                    self.fault(place, error.to_string(), &error.right());
                }
                Content::Faulty
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Content, Stop> {
        let mut elements = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                return Ok(Content::List(elements));
            }
            elements.push(self.node(event, span, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Content, Stop> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                return Ok(Content::Map(entries));
            }
            let at = place(span.start);
            let key = self.key(event, span, depth)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            // A value that is not there has no place of its own.
            let value = match value.content {
                Content::Nothing => Node { place: at, ..value },
                Content::Scalar(_) | Content::List(_) | Content::Map(_) | Content::Faulty => value,
            };
            let Some(name) = key else { continue };
            match entries.iter().find(|(known, _)| known.name == name) {
                Some((first, _)) => {
                    let line = first.place.line;
                    let what = format!("the key `{name}` appears twice, first in line {line}");
                    self.fault(at, what, "keep one of the two");
                }
                None => entries.push((Key { name, place: at }, value)),
            }
        }
    }

    /// A key's name; nothing, and a fault, when it has none that could be known.
    fn key(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Option<String>, Stop> {
        let at = place(span.start);
        let anchored = matches!(&event, Event::Scalar(_, _, anchor, _) if *anchor != 0);
        match event {
            Event::Scalar(text, _, _, None) if text == "<<" => {
                let right = "put what routes share under `defaults`, or repeat it";
                self.fault(at, "merge keys (`<<`) are not known".into(), right);
                Ok(None)
            }
            Event::Scalar(text, _, _, None) if !anchored => Ok(Some(text.into_owned())),
            other => {
                self.node(other, span, depth + 1)?;
                self.fault(at, "a key is a plain word".into(), "write it without anchors and tags");
                Ok(None)
            }
        }
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<Content, Stop> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            let what = "an alias within its own anchor has no end".to_owned();
            self.fault(place, what, "repeat what is meant");
            return Ok(Content::Faulty);
        };
        self.count(size(&node), place)?;
        Ok(node.content)
    }

    fn count(&mut self, more: usize, place: Place) -> Result<(), Stop> {
        self.nodes += more;
        if self.nodes > MOST_NODES { Err(Stop::TooMany(place)) } else { Ok(()) }
    }

    fn fault(&mut self, place: Place, what: String, right: &str) {
        let severity = Severity::Fault;
        self.faults.add(Fault { place, path: String::new(), what, right: right.into(), severity });
    }
}

impl Stop {
    fn told(self, text: &str) -> Fault {
        let (place, what, right) = match self {
            Self::Syntax(error) => {
                let place = place(*error.marker());
                (
                    place,
                    format!("this is no YAML: {}", error.info()),
                    hint(text, error.info(), place),
                )
            }
            Self::SeveralDocuments(place) => {
                (place, "a second document begins here".into(), "keep one document in a file")
            }
            Self::TooDeep(place) => {
                (place, format!("this is nested more than {MOST_DEPTH} deep"), "nest less")
            }
            Self::TooMany(place) => {
                (place, format!("there are more than {MOST_NODES} values"), "write less")
            }
        };
        let severity = Severity::Fault;
        Fault { place, path: String::new(), what, right: right.into(), severity }
    }
}

fn hint(text: &str, error: &str, place: Place) -> &'static str {
    let near = text.lines().skip(place.line.saturating_sub(2)).take(2);
    let mut indents = near.map(|line| &line[..line.len() - line.trim_start().len()]);
    if indents.any(|indent| indent.contains('\t')) {
        "indent with spaces, never with tabs"
    } else if error.contains("flow") {
        "within `{ }` and `[ ]`, quote every text that holds `{`, `}`, `[`, `]`, `,` or `:`"
    } else {
        "look at the quotes, brackets, colons and indentation here and in the line above"
    }
}

fn size(node: &Node) -> usize {
    match &node.content {
        Content::Nothing | Content::Scalar(_) | Content::Faulty => 1,
        Content::List(elements) => 1 + elements.iter().map(size).sum::<usize>(),
        Content::Map(entries) => 1 + entries.iter().map(|(_, value)| size(value)).sum::<usize>(),
    }
}

fn place(marker: Marker) -> Place {
    Place { line: marker.line().max(1), column: marker.col() + 1 }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    struct Nobody;

    impl Variables for Nobody {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }

        fn file(&self, _: &str) -> Option<String> {
            None
        }
    }

    fn parsed(text: &str) -> (Option<Node>, String) {
        let mut faults = Faults::new(Path::new("f"));
        let node = read(text, &Nobody, &mut faults);
        (node, faults.to_string())
    }

    #[test]
    fn keys_and_values_know_their_places() {
        let (node, faults) = parsed("a: 1\nb:\n  - c: 'x'\n    ä: [ y,  z ]\n");
        let node = node.unwrap();
        assert_eq!(faults, "");
        let (_, b) = node.get("b").unwrap();
        let (key, value) = b.at(0).unwrap().get("ä").unwrap();
        assert_eq!(key.place, Place { line: 4, column: 5 });
        assert_eq!(value.at(1).unwrap().place, Place { line: 4, column: 14 });
    }

    #[test]
    fn what_yaml_allows_and_we_do_not_is_told_with_its_place() {
        let rows = [
            ("a: 1\nb: 2\na: 3\n", "f:3:1: the key `a` appears twice, first in line 1; "),
            ("a: &x {b: 1}\nc:\n  <<: *x\n", "f:3:3: merge keys (`<<`) are not known; "),
            ("a: 1\n---\nb: 1\n", "f:2:1: a second document begins here; "),
            ("a: !!str 1\n", "f:1:4: tags such as `!!str` mean nothing here; "),
            ("? [a]\n: 1\n", "f:1:3: a key is a plain word; "),
            ("a: ${X_NOT_SET}\n", "f:1:4: the environment has no `X_NOT_SET`; "),
            ("a: &x [*x]\n", "f:1:8: an alias within its own anchor has no end; "),
            ("a:\n\tb: 1\n", "f:2:"),
        ];
        for (text, expected) in rows {
            let (_, faults) = parsed(text);
            assert!(faults.starts_with(expected), "{text:?} gave {faults}");
        }
    }

    #[test]
    fn aliases_stand_for_their_anchors() {
        let (node, faults) = parsed("a: &x [1, 2]\nb: *x\n");
        assert_eq!(faults, "");
        assert!(node.unwrap().get("b").unwrap().1.at(1).is_some());
    }

    #[test]
    fn texts_made_to_grow_are_stopped() {
        let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let before = format!("*a{}, ", level - 1).repeat(9);
            laughs = format!("{laughs}a{level}: &a{level} [{before} x]\n");
        }
        assert!(parsed(&laughs).1.contains("more than 100000 values"));
        let deep = "- ".repeat(100);
        assert!(parsed(&deep).1.contains("nested more than"), "{}", parsed(&deep).1);
    }
}
