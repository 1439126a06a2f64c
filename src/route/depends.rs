//! What a purge takes along: purging the left of a rule also purges its right, and what depends on that.

use std::collections::BTreeSet;

use crate::entry::facts::RouteId;
use crate::key::pattern::{BadPattern, PathPattern, is_name};
use crate::purge::template::{BadRule, BadValue, Holes, MOST, Named, Rule, Value};

/// How many steps one purge is followed.
const DEEPEST: usize = 16;

/// All rules of `depends`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Depends {
    rules: Vec<Dependency>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Dependency {
    left: Left,
    right: Vec<Rule>,
}

/// What takes something along when it is purged.
#[derive(Clone, Debug, PartialEq)]
pub struct Left(Kind);

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Tag(TagPattern),
    Path(PathPattern),
    Route(RouteId),
}

/// A tag with captures, each of at least one character.
#[derive(Clone, Debug, PartialEq)]
struct TagPattern {
    head: Box<str>,
    /// The captures, each with the text behind it.
    captures: Box<[(Box<str>, Box<str>)]>,
}

/// Why a text is no left side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLeft {
    #[error("`{0}` is not known here")]
    Kind(String),
    #[error("a `{{` or `}}` without its partner")]
    Brace,
    #[error("`{0}` is no name of a capture, or names two")]
    Name(String),
    #[error("nothing separates two captures")]
    Touching,
    #[error("{0}")]
    Path(BadPattern),
}

/// What depends on a purge goes on for too long, or is too much; nothing was purged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cut {
    #[error("what depends on it goes on for more than {DEEPEST} steps, last by `{0}`")]
    Deep(String),
    #[error("more than {MOST} things depend on it")]
    Many,
    #[error("what depends on it cannot be named: {0}")]
    Value(BadValue),
}

impl Left {
    /// Reads `tag:user:{id}`, `/api/users/{id}` and `route:users`.
    pub fn parse(text: &str) -> Result<Self, BadLeft> {
        if let Some(tag) = text.strip_prefix("tag:").filter(|tag| !tag.is_empty()) {
            return TagPattern::parse(tag).map(Kind::Tag).map(Self);
        }
        if let Some(name) = text.strip_prefix("route:").filter(|name| !name.is_empty()) {
            return Ok(Self(Kind::Route(RouteId::new(name))));
        }
        if text.starts_with('/') {
            return PathPattern::parse(text).map(Kind::Path).map(Self).map_err(BadLeft::Path);
        }
        Err(BadLeft::Kind(text.to_owned()))
    }

    /// The names that its right side may use.
    pub fn names(&self) -> Vec<&str> {
        match &self.0 {
            Kind::Tag(pattern) => pattern.captures.iter().map(|(name, _)| &**name).collect(),
            Kind::Path(pattern) => pattern.names().collect(),
            Kind::Route(_) => Vec::new(),
        }
    }

    pub fn route(&self) -> Option<&RouteId> {
        match &self.0 {
            Kind::Route(id) => Some(id),
            Kind::Tag(_) | Kind::Path(_) => None,
        }
    }

    /// What the captures hold, if this is what is purged.
    fn captures(&self, named: &Named) -> Option<Vec<(&str, Value)>> {
        match (&self.0, named) {
            (Kind::Tag(pattern), Named::Tag(tag)) => pattern.captures(tag),
            (Kind::Path(pattern), Named::Path(path)) => {
                let path = path.split_once('?').map_or(path.as_str(), |(path, _)| path);
                let captures = pattern.captures(path)?;
                let values = pattern
                    .names()
                    .filter_map(|name| Some((name, Value::Sent(captures.get(name)?.to_owned()))));
                Some(values.collect())
            }
            (Kind::Route(mine), Named::Route(id)) => (mine == id).then(Vec::new),
            (Kind::Tag(_) | Kind::Path(_) | Kind::Route(_), _) => None,
        }
    }

    /// Something that this is the left side of, to try a rule with.
    fn sample(&self) -> Named {
        match &self.0 {
            Kind::Tag(pattern) => {
                let captures = pattern.captures.iter().map(|(_, behind)| format!("x{behind}"));
                Named::Tag(format!("{}{}", pattern.head, captures.collect::<String>()))
            }
            Kind::Path(pattern) => {
                let mut path = pattern.as_str().replace("**", "x").replace('*', "x");
                for name in pattern.names() {
                    path = path.replace(&format!("{{{name}}}"), "x");
                }
                Named::Path(path)
            }
            Kind::Route(id) => Named::Route(id.clone()),
        }
    }
}

impl TagPattern {
    fn parse(text: &str) -> Result<Self, BadLeft> {
        let (head, mut rest) = literal(text);
        let mut captures: Vec<(Box<str>, Box<str>)> = Vec::new();
        while !rest.is_empty() {
            let inner = rest.strip_prefix('{').ok_or(BadLeft::Brace)?;
            let (name, behind) = inner.split_once('}').ok_or(BadLeft::Brace)?;
            if !is_name(name) || captures.iter().any(|(known, _)| **known == *name) {
                return Err(BadLeft::Name(name.to_owned()));
            }
            let (text, next) = literal(behind);
            if text.is_empty() && !next.is_empty() {
                return Err(BadLeft::Touching);
            }
            captures.push((name.into(), text.into()));
            rest = next;
        }
        Ok(Self { head: head.into(), captures: captures.into() })
    }

    fn captures(&self, tag: &str) -> Option<Vec<(&str, Value)>> {
        let mut rest = tag.strip_prefix(&*self.head)?;
        let Some((last, between)) = self.captures.split_last() else {
            return rest.is_empty().then(Vec::new);
        };
        let mut captured = Vec::new();
        for (name, behind) in between {
            let first = rest.chars().next()?.len_utf8();
            let at = first + rest[first..].find(&**behind)?;
            captured.push((&**name, Value::Plain(rest[..at].to_owned())));
            rest = &rest[at + behind.len()..];
        }
        let (name, tail) = last;
        let value = rest.strip_suffix(&**tail).filter(|value| !value.is_empty())?;
        captured.push((&**name, Value::Plain(value.to_owned())));
        Some(captured)
    }
}

/// The text up to the next brace, and the rest.
fn literal(text: &str) -> (&str, &str) {
    text.split_at(text.find(['{', '}']).unwrap_or(text.len()))
}

impl Dependency {
    /// Reads one thing that depends on `left`.
    pub fn right(text: &str, left: &Left) -> Result<Rule, BadRule> {
        Rule::parse(text, Holes::Of(&left.names()))
    }

    pub fn new(left: Left, right: Vec<Rule>) -> Self {
        Self { left, right }
    }
}

impl Depends {
    pub fn new(rules: Vec<Dependency>) -> Self {
        Self { rules }
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What is purged along with `named`, without `named` itself. Each thing is met once, so that circles end.
    pub fn along(&self, named: &BTreeSet<Named>) -> Result<BTreeSet<Named>, Cut> {
        let mut met = named.clone();
        let mut new = named.clone();
        for _ in 0..DEEPEST {
            new = self.step(&new)?.into_iter().filter(|named| !met.contains(named)).collect();
            if new.is_empty() {
                return Ok(met.difference(named).cloned().collect());
            }
            met.extend(new.iter().cloned());
            if met.len() - named.len() > MOST {
                return Err(Cut::Many);
            }
        }
        // The last step may have been the end.
        let beyond = self.step(&new)?;
        match beyond.into_iter().find(|named| !met.contains(named)) {
            None => Ok(met.difference(named).cloned().collect()),
            Some(next) => Err(Cut::Deep(shown(&next))),
        }
    }

    fn step(&self, from: &BTreeSet<Named>) -> Result<BTreeSet<Named>, Cut> {
        let mut next = BTreeSet::new();
        for named in from {
            for rule in &self.rules {
                let Some(captures) = rule.left.captures(named) else { continue };
                let values = |name: &str| {
                    let found = captures.iter().find(|(known, _)| *known == name);
                    let missing = || BadValue::Missing(name.to_owned());
                    found.map(|(_, value)| vec![value.clone()]).ok_or_else(missing)
                };
                for right in &rule.right {
                    next.extend(right.fill(&values).map_err(Cut::Value)?);
                    if next.len() > MOST {
                        return Err(Cut::Many);
                    }
                }
            }
        }
        Ok(next)
    }

    /// Tries each rule with a sample, to find those that never end before somebody depends on them.
    pub fn trial(&self) -> Result<(), (usize, Cut)> {
        self.rules.iter().enumerate().try_for_each(|(index, rule)| {
            let sample = BTreeSet::from([rule.left.sample()]);
            self.along(&sample).map(drop).map_err(|cut| (index, cut))
        })
    }
}

fn shown(named: &Named) -> String {
    match named {
        Named::Tag(tag) => format!("tag:{tag}"),
        Named::Path(path) => path.clone(),
        Named::Prefix(prefix) => format!("prefix:{prefix}"),
        Named::Route(id) => format!("route:{id}"),
        Named::Everything => "everything".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depends(rules: &[(&str, &[&str])]) -> Depends {
        let rule = |(left, right): &(&str, &[&str])| {
            let left = Left::parse(left).unwrap();
            let right = right.iter().map(|text| Dependency::right(text, &left).unwrap()).collect();
            Dependency::new(left, right)
        };
        Depends::new(rules.iter().map(rule).collect())
    }

    fn along(depends: &Depends, from: Named) -> Result<Vec<String>, Cut> {
        let along = depends.along(&BTreeSet::from([from]))?;
        Ok(along.iter().map(shown).collect())
    }

    fn tag(text: &str) -> Named {
        Named::Tag(text.to_owned())
    }

    #[test]
    fn the_right_goes_with_the_left_and_what_depends_on_it_too() {
        let depends = depends(&[
            ("tag:user:{id}", &["tag:feed:{id}", "/users/{id}"]),
            ("tag:feed:{id}", &["tag:home"]),
            ("/users/{id}", &["tag:page:{id}", "route:users"]),
            ("route:users", &["prefix:/lists/"]),
        ]);
        assert_eq!(
            along(&depends, tag("user:7")).unwrap(),
            ["tag:feed:7", "tag:home", "tag:page:7", "/users/7", "prefix:/lists/", "route:users"]
        );
        assert_eq!(along(&depends, tag("other:7")).unwrap(), [""; 0]);
        assert_eq!(
            along(&depends, Named::Path("/users/a%20b?x=1".into())).unwrap(),
            ["tag:page:a%20b", "prefix:/lists/", "route:users"]
        );
    }

    #[test]
    fn circles_are_harmless() {
        let depends = depends(&[
            ("tag:a:{id}", &["tag:b:{id}"]),
            ("tag:b:{id}", &["tag:c:{id}", "tag:a:{id}"]),
            ("tag:c:{id}", &["tag:a:{id}"]),
        ]);
        assert_eq!(along(&depends, tag("a:1")).unwrap(), ["tag:b:1", "tag:c:1"]);
        assert_eq!(depends.trial(), Ok(()));
    }

    #[test]
    fn what_never_ends_is_an_error_and_is_found_by_a_trial() {
        let depends = depends(&[("tag:z", &["tag:y"]), ("tag:a{x}", &["tag:aa{x}"])]);
        assert!(matches!(along(&depends, tag("a1")), Err(Cut::Deep(_))));
        assert!(matches!(depends.trial(), Err((1, Cut::Deep(_)))));
    }

    #[test]
    fn too_much_is_an_error() {
        let many: Vec<String> = (0..=MOST).map(|number| format!("tag:b{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(along(&depends(&[("tag:a", &many)]), tag("a")), Err(Cut::Many));
    }

    #[test]
    fn tags_are_captured_whole() {
        let pattern = TagPattern::parse("u:{a}-{b}:x").unwrap();
        let rows = [
            ("u:1-2:x", Some(["1", "2"])),
            ("u:1-2-3:x", Some(["1", "2-3"])),
            ("u:é-ß:x", Some(["é", "ß"])),
            ("u:-2:x", None),
            ("u:1-:x", None),
            ("u:1-2:y", None),
        ];
        for (tag, expected) in rows {
            let found = pattern.captures(tag);
            let expected = expected.map(|[a, b]| {
                vec![("a", Value::Plain(a.to_owned())), ("b", Value::Plain(b.to_owned()))]
            });
            assert_eq!(found, expected, "{tag}");
        }
    }

    #[test]
    fn texts_that_are_no_left_side_say_why() {
        let rows = [
            ("user", BadLeft::Kind("user".into())),
            ("tag:", BadLeft::Kind("tag:".into())),
            ("tag:{a", BadLeft::Brace),
            ("tag:a}", BadLeft::Brace),
            ("tag:{a}{b}", BadLeft::Touching),
            ("tag:{a}-{a}", BadLeft::Name("a".into())),
            ("/a b", BadLeft::Path(BadPattern::Character(' '))),
        ];
        for (text, expected) in rows {
            assert_eq!(Left::parse(text), Err(expected), "{text}");
        }
    }
}
