//! Patterns of paths: which a route speaks of, and what it captures of them.

use std::fmt;

use smallvec::SmallVec;

/// A pattern of paths, such as `/api/products/**` or `/api/products/{id}`.
///
/// `*` stands for any bytes within one segment, `{name}` for at least one byte of a segment, which it captures, and
/// `**`, alone in its segment, for any number of segments, none included: `/a/**` matches `/a`, `/a/` and `/a/b/c`.
/// A `*` alone in its segment needs at least one byte. Everything else matches itself, byte by byte and undecoded.
/// Matching is linear in the path for exact and prefix patterns, never exponential, and allocates nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: Box<str>,
    names: Box<[Box<str>]>,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    /// `/**`
    Every,
    /// No wildcard at all.
    Exact(Box<str>),
    /// Literal segments, then `/**`.
    Under(Box<str>),
    Segments(Segments),
}

/// Runs of segments with `**` between them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Segments {
    /// What every match begins with: the cheap first question.
    prefix: Box<str>,
    first: Box<[Segment]>,
    /// The runs behind each `**`; none, and the path ends with `first`.
    rest: Box<[Box<[Segment]>]>,
}

/// One segment: literals with wildcards between them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    head: Box<str>,
    /// Each wildcard with the literal behind it.
    wild: Box<[(Wild, Box<str>)]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wild {
    Any,
    Some,
    Capture(usize),
}

/// What a pattern captured of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captures<'a> {
    found: SmallVec<[(&'a str, &'a str); 4]>,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    #[error("a path pattern begins with a slash")]
    NoSlash,
    #[error("`**` stands alone between two slashes")]
    NotAlone,
    #[error("`**` behind `**` says nothing")]
    Twice,
    #[error("two wildcards touch each other, so that nobody can tell where one ends")]
    Touching,
    #[error("a `{{` or `}}` without its partner")]
    Brace,
    #[error("`{0}` is no name for a capture: letters, digits and `_`, a letter first")]
    Name(String),
    #[error("the capture `{0}` appears twice")]
    SameName(String),
    #[error("`{0}` never stands in a path; write it percent-encoded")]
    Character(char),
    #[error("dot segments are removed before a route is chosen, so this matches nothing")]
    DotSegment,
}

impl PathPattern {
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let inner = text.strip_prefix('/').ok_or(BadPattern::NoSlash)?;
        if let Some(bad) = text.chars().find(|character| !may_stand_in_a_path(*character)) {
            return Err(BadPattern::Character(bad));
        }
        let mut names = Vec::new();
        let mut runs: Vec<Vec<Segment>> = vec![Vec::new()];
        for segment in inner.split('/') {
            if segment == "**" {
                let twice = runs.len() > 1 && runs.last().is_some_and(Vec::is_empty);
                if twice {
                    return Err(BadPattern::Twice);
                }
                runs.push(Vec::new());
            } else if let Some(run) = runs.last_mut() {
                run.push(Segment::parse(segment, &mut names)?);
            }
        }
        Ok(Self { text: text.into(), names: names.into(), shape: Shape::of(text, runs) })
    }

    /// The pattern that matches every path.
    pub fn every() -> Self {
        Self { text: "/**".into(), names: Box::default(), shape: Shape::Every }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names that a match captures, in the order of the pattern.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// Whether `path`, undecoded and without a query, is one of the pattern's.
    pub fn is_match(&self, path: &str) -> bool {
        match &self.shape {
            Shape::Every => true,
            Shape::Exact(literal) => **literal == *path,
            Shape::Under(prefix) => path
                .strip_prefix(&**prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Shape::Segments(segments) => segments.find(path).is_some(),
        }
    }

    /// What the pattern captures of `path`; nothing when it does not match.
    pub fn captures<'a>(&'a self, path: &'a str) -> Option<Captures<'a>> {
        let found = match &self.shape {
            Shape::Segments(segments) => segments.find(path)?,
            Shape::Every | Shape::Exact(_) | Shape::Under(_) => {
                return self.is_match(path).then(Captures::default);
            }
        };
        let named = found
            .into_iter()
            .filter_map(|(index, value)| self.names.get(index).map(|name| (&**name, value)));
        Some(Captures { found: named.collect() })
    }

    /// Whether every path that `other` matches is surely matched by this one too. `false` may be caution.
    pub fn covers(&self, other: &Self) -> bool {
        match (&self.shape, &other.shape) {
            (Shape::Every, _) => true,
            (_, Shape::Exact(path)) => self.is_match(path),
            (Shape::Under(prefix), Shape::Under(inner)) => self.is_match(inner) || prefix == inner,
            (Shape::Under(prefix), Shape::Segments(segments)) => {
                segments.prefix.strip_prefix(&**prefix).is_some_and(|rest| rest.starts_with('/'))
            }
            (Shape::Segments(mine), Shape::Segments(other)) => mine.says_the_same_as(other),
            (Shape::Exact(_), Shape::Every | Shape::Under(_) | Shape::Segments(_))
            | (Shape::Under(_), Shape::Every)
            | (Shape::Segments(_), Shape::Every | Shape::Under(_)) => false,
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl<'a> Captures<'a> {
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.found.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

impl Shape {
    fn of(text: &str, mut runs: Vec<Vec<Segment>>) -> Self {
        let first = runs.remove(0);
        let literal = first.iter().all(|segment| segment.wild.is_empty());
        match runs.as_slice() {
            [] if literal => return Self::Exact(text.into()),
            [rest] if literal && rest.is_empty() => {
                let prefix = text.trim_end_matches("/**");
                return if prefix.is_empty() { Self::Every } else { Self::Under(prefix.into()) };
            }
            _ => {}
        }
        let rest = runs.into_iter().map(Vec::into_boxed_slice).collect();
        Self::Segments(Segments { prefix: prefix(&first), first: first.into(), rest })
    }
}

/// The bytes that every match of a run begins with.
fn prefix(run: &[Segment]) -> Box<str> {
    let mut prefix = String::new();
    for segment in run {
        prefix.push('/');
        prefix.push_str(&segment.head);
        if !segment.wild.is_empty() {
            return prefix.into();
        }
    }
    prefix.into()
}

type Found<'a> = SmallVec<[(usize, &'a str); 4]>;

impl Segments {
    fn find<'a>(&self, path: &'a str) -> Option<Found<'a>> {
        if !path.starts_with(&*self.prefix) {
            return None;
        }
        let path: SmallVec<[&str; 16]> = path.strip_prefix('/')?.split('/').collect();
        let mut found = Found::new();
        let Some((last, between)) = self.rest.split_last() else {
            let matches = path.len() == self.first.len() && run(&self.first, &path, &mut found);
            return matches.then_some(found);
        };
        if !run(&self.first, path.get(..self.first.len())?, &mut found) {
            return None;
        }
        let mut from = self.first.len();
        // The leftmost place is always good enough: what it leaves over is the longest.
        for wanted in between {
            from = leftmost(wanted, &path, from, &mut found)?;
        }
        let tail = path.len().checked_sub(last.len()).filter(|tail| *tail >= from)?;
        run(last, path.get(tail..)?, &mut found).then_some(found)
    }

    /// Equal but for the names of the captures.
    fn says_the_same_as(&self, other: &Self) -> bool {
        let same = |mine: &[Segment], other: &[Segment]| {
            mine.len() == other.len()
                && mine.iter().zip(other).all(|(mine, other)| mine.says_the_same_as(other))
        };
        same(&self.first, &other.first)
            && self.rest.len() == other.rest.len()
            && self.rest.iter().zip(&other.rest).all(|(mine, other)| same(mine, other))
    }
}

/// The end of the first place from `from` on where the whole run matches.
fn leftmost<'a>(
    wanted: &[Segment],
    path: &[&'a str],
    from: usize,
    found: &mut Found<'a>,
) -> Option<usize> {
    let kept = found.len();
    for start in from..=path.len().checked_sub(wanted.len())? {
        if run(wanted, path.get(start..start + wanted.len())?, found) {
            return Some(start + wanted.len());
        }
        found.truncate(kept);
    }
    None
}

/// Whether each segment matches its own; `path` is as long as `wanted`.
fn run<'a>(wanted: &[Segment], path: &[&'a str], found: &mut Found<'a>) -> bool {
    wanted.iter().zip(path).all(|(segment, text)| segment.matches(text, found))
}

impl Segment {
    fn parse(text: &str, names: &mut Vec<Box<str>>) -> Result<Self, BadPattern> {
        if matches!(text, "." | "..") {
            return Err(BadPattern::DotSegment);
        }
        if text.contains("**") {
            return Err(BadPattern::NotAlone);
        }
        if text == "*" {
            return Ok(Self { head: "".into(), wild: [(Wild::Some, "".into())].into() });
        }
        let (head, mut rest) = literal(text);
        let mut wild = Vec::new();
        while !rest.is_empty() {
            let (kind, behind) = wildcard(rest, names)?;
            let (text, next) = literal(behind);
            if text.is_empty() && !next.is_empty() && !next.starts_with('}') {
                return Err(BadPattern::Touching);
            }
            wild.push((kind, text.into()));
            rest = next;
        }
        Ok(Self { head: head.into(), wild: wild.into() })
    }

    fn matches<'a>(&self, text: &'a str, found: &mut Found<'a>) -> bool {
        let Some(mut rest) = text.strip_prefix(&*self.head) else { return false };
        let Some(((last, tail), between)) = self.wild.split_last() else { return rest.is_empty() };
        for (wild, literal) in between {
            let skip = wild.least();
            let Some(at) = rest.get(skip..).and_then(|text| text.find(&**literal)) else {
                return false;
            };
            let (taken, next) = rest.split_at(at + skip);
            wild.take(taken, found);
            rest = &next[literal.len()..];
        }
        let Some(taken) = rest.strip_suffix(&**tail) else { return false };
        last.take(taken, found);
        taken.len() >= last.least()
    }

    fn says_the_same_as(&self, other: &Self) -> bool {
        let same = |(mine, behind): &(Wild, Box<str>), (other, tail): &(Wild, Box<str>)| {
            mine.least() == other.least() && behind == tail
        };
        self.head == other.head
            && self.wild.len() == other.wild.len()
            && self.wild.iter().zip(&other.wild).all(|(mine, other)| same(mine, other))
    }
}

impl Wild {
    const fn least(self) -> usize {
        match self {
            Self::Any => 0,
            Self::Some | Self::Capture(_) => 1,
        }
    }

    fn take<'a>(self, text: &'a str, found: &mut Found<'a>) {
        match self {
            Self::Any | Self::Some => {}
            Self::Capture(index) => found.push((index, text)),
        }
    }
}

/// The text up to the next wildcard, and the rest.
fn literal(text: &str) -> (&str, &str) {
    text.split_at(text.find(['*', '{', '}']).unwrap_or(text.len()))
}

/// The wildcard that `text` begins with, and what stands behind it.
fn wildcard<'a>(text: &'a str, names: &mut Vec<Box<str>>) -> Result<(Wild, &'a str), BadPattern> {
    if let Some(rest) = text.strip_prefix('*') {
        return Ok((Wild::Any, rest));
    }
    let inner = text.strip_prefix('{').ok_or(BadPattern::Brace)?;
    let (name, rest) = inner.split_once('}').ok_or(BadPattern::Brace)?;
    if !is_name(name) {
        return Err(BadPattern::Name(name.to_owned()));
    }
    if names.iter().any(|known| **known == *name) {
        return Err(BadPattern::SameName(name.to_owned()));
    }
    names.push(name.into());
    Ok((Wild::Capture(names.len() - 1), rest))
}

/// Whether a text can name a capture.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|other| other.is_ascii_alphanumeric() || other == '_')
}

/// RFC 3986 §3.3, and what clients send beside it.
fn may_stand_in_a_path(character: char) -> bool {
    character.is_ascii_graphic() && !matches!(character, '?' | '#' | '\\' | '"' | '<' | '>')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn patterns_match_what_their_letters_say() {
        let rows = [
            ("/**", "/", true),
            ("/**", "/a/b", true),
            ("/", "/", true),
            ("/", "/a", false),
            ("/a/**", "/a", true),
            ("/a/**", "/a/", true),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/ab", false),
            ("/a", "/a/", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/", false),
            ("/a/*", "/a/b/c", false),
            ("/a/*.jpg", "/a/x.jpg", true),
            ("/a/*.jpg", "/a/.jpg", true),
            ("/a/*.jpg", "/a/x.jpg.exe", false),
            ("/a/x*y*z", "/a/xyz", true),
            ("/a/x*y*z", "/a/x11y22y33z", true),
            ("/a/x*y*z", "/a/xzy", false),
            ("/**/*.css", "/style.css", true),
            ("/**/*.css", "/a/b/style.css", true),
            ("/**/*.css", "/a/b/style.js", false),
            ("/a/**/b/**/c", "/a/b/c", true),
            ("/a/**/b/**/c", "/a/x/b/b/y/c", true),
            ("/a/**/b/**/c", "/a/x/c", false),
            ("/a/**/b", "/a", false),
            ("/a/{id}", "/a/7", true),
            ("/a/{id}", "/a/", false),
            ("/a/{id}/b", "/a//b", false),
            ("/a/{id}/**", "/a/7", true),
            ("/a/{id}/**", "/a/7/x", true),
        ];
        for (text, path, expected) in rows {
            assert_eq!(pattern(text).is_match(path), expected, "{text} on {path}");
            assert_eq!(pattern(text).captures(path).is_some(), expected, "{text} captures {path}");
        }
    }

    #[test]
    fn captures_hold_the_bytes_as_they_were_sent() {
        let shop = pattern("/shops/{shop}/**/{id}-{lang}.json");
        let captures = shop.captures("/shops/a%20b/x/y/7-en-gb.json").unwrap();
        assert_eq!(captures.get("shop"), Some("a%20b"));
        assert_eq!(captures.get("id"), Some("7"));
        assert_eq!(captures.get("lang"), Some("en-gb"));
        assert_eq!(captures.get("other"), None);
    }

    #[test]
    fn texts_that_are_no_patterns_say_why() {
        let rows = [
            ("a", BadPattern::NoSlash),
            ("", BadPattern::NoSlash),
            ("/a**", BadPattern::NotAlone),
            ("/**/**", BadPattern::Twice),
            ("/{a}{b}", BadPattern::Touching),
            ("/{a}*", BadPattern::Touching),
            ("/{a", BadPattern::Brace),
            ("/a}", BadPattern::Brace),
            ("/{a}}", BadPattern::Brace),
            ("/{1}", BadPattern::Name("1".into())),
            ("/{}", BadPattern::Name(String::new())),
            ("/{a}/{a}", BadPattern::SameName("a".into())),
            ("/a b", BadPattern::Character(' ')),
            ("/a?b", BadPattern::Character('?')),
            ("/a/../b", BadPattern::DotSegment),
        ];
        for (text, expected) in rows {
            assert_eq!(PathPattern::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_long_path_of_near_misses_is_judged_in_a_moment() {
        let hard = pattern("/**/a/**/a/**/a/**/a/**/a/**/b");
        let path = "/a".repeat(2000);
        assert!(!hard.is_match(&path));
    }

    #[test]
    fn a_pattern_covers_what_it_surely_matches_whole() {
        let rows = [
            ("/**", "/a/{id}", true),
            ("/a/**", "/a/b/**", true),
            ("/a/**", "/a/**", true),
            ("/a/**", "/a", true),
            ("/a/**", "/ab/**", false),
            ("/a/**", "/a/{id}", true),
            ("/a/**", "/{id}/b", false),
            ("/a/{id}", "/a/{name}", true),
            ("/a/{id}", "/a/7", true),
            ("/a/7", "/a/{id}", false),
            ("/a/{id}", "/a/**", false),
        ];
        for (earlier, later, expected) in rows {
            assert_eq!(pattern(earlier).covers(&pattern(later)), expected, "{earlier} {later}");
        }
    }
}
