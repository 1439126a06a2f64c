//! What a configured rule purges: a text with holes, filled with values that come from outside.

use std::collections::BTreeSet;

use crate::entry::facts::RouteId;
use crate::key::canonical::Target;

/// What is purged, by the name under which people know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Named {
    Tag(String),
    /// A path, with a query if need be, on every host.
    Path(String),
    /// What a path begins with, on every host.
    Prefix(String),
    Route(RouteId),
    Everything,
}

/// One thing that a configured rule purges, with holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    Tag(Template),
    Path(Template),
    Prefix(Template),
    Route(RouteId),
    Everything,
}

/// A text with holes in it, such as `user:{userId}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Hole(Box<str>),
}

/// Which holes a rule may have.
#[derive(Clone, Copy, Debug)]
pub enum Holes<'a> {
    /// Names of values in an event's data, with dots between levels.
    OfData,
    /// These. Clients may choose what fills them, so that they have no place in prefixes: every hit is held against
    /// every prefix.
    Of(&'a [&'a str]),
}

/// What fills a hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text that means itself; in a URL it is percent-encoded.
    Plain(String),
    /// A piece of a URL as it was sent.
    Sent(String),
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    #[error("it is empty")]
    Empty,
    #[error("a `{{` or `}}` without its partner")]
    Brace,
    #[error("`{{{0}}}` names no value")]
    Hole(String),
    #[error("a tag holds no white space and no comma")]
    Separator,
    #[error("a path holds no white space, no `#` and no dot segments")]
    Path,
    #[error("a prefix of `/` is everything")]
    Everywhere,
    #[error("a prefix holds no captures")]
    Prefix,
    #[error("`{0}` is not known here")]
    Kind(String),
}

/// Why a rule cannot be filled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadValue {
    #[error("there is no value for `{0}`")]
    Missing(String),
    #[error("the value of `{0}` is neither a text nor a whole number nor true or false")]
    Kind(String),
    #[error("the value of `{0}` is empty")]
    Empty(String),
    #[error("the value of `{0}` is longer than {LONGEST_VALUE} bytes or holds control characters")]
    Odd(String),
    #[error("with these values `{0}` is another path")]
    Path(String),
    #[error("the values name more than {MOST} things")]
    TooMany,
}

/// The longest value that fills a hole.
pub const LONGEST_VALUE: usize = 512;
/// How many things one event, or one purge with all that depends on it, may name.
pub const MOST: usize = 1000;

impl Rule {
    /// Reads `tag:user:{id}`, `/api/users/{id}`, `prefix:/api/users/`, `route:users` and `everything`.
    pub fn parse(text: &str, holes: Holes<'_>) -> Result<Self, BadRule> {
        if let Some(tag) = text.strip_prefix("tag:") {
            if tag.bytes().any(|byte| byte == b',' || byte.is_ascii_whitespace()) {
                return Err(BadRule::Separator);
            }
            return Template::parse(tag, holes).map(Self::Tag);
        }
        if let Some(prefix) = text.strip_prefix("prefix:").filter(|rest| rest.starts_with('/')) {
            let template = path(prefix, holes)?;
            return match holes {
                _ if prefix == "/" => Err(BadRule::Everywhere),
                Holes::Of(_) if template.holes().next().is_some() => Err(BadRule::Prefix),
                Holes::Of(_) | Holes::OfData => Ok(Self::Prefix(template)),
            };
        }
        if let Some(name) = text.strip_prefix("route:").filter(|name| !name.is_empty()) {
            return Ok(Self::Route(RouteId::new(name)));
        }
        if text.starts_with('/') {
            return path(text, holes).map(Self::Path);
        }
        match text {
            "" => Err(BadRule::Empty),
            "everything" => Ok(Self::Everything),
            _ => Err(BadRule::Kind(text.to_owned())),
        }
    }

    /// Everything that the rule names with these values: one thing for each value, and for each spelling of a URL
    /// that the values may have. No value makes a rule name more than the same rule with the value in its text.
    pub fn fill(
        &self,
        values: &impl Fn(&str) -> Result<Vec<Value>, BadValue>,
    ) -> Result<BTreeSet<Named>, BadValue> {
        let mut named = BTreeSet::new();
        match self {
            Self::Route(id) => drop(named.insert(Named::Route(id.clone()))),
            Self::Everything => drop(named.insert(Named::Everything)),
            Self::Tag(template) => {
                for filling in template.fillings(values)? {
                    named.insert(Named::Tag(template.plain(&filling)));
                }
            }
            Self::Path(template) => {
                for filling in template.fillings(values)? {
                    named.extend(template.urls(&filling)?.map(Named::Path));
                }
            }
            Self::Prefix(template) => {
                for filling in template.fillings(values)? {
                    named.extend(template.urls(&filling)?.map(Named::Prefix));
                }
            }
        }
        if named.len() > MOST { Err(BadValue::TooMany) } else { Ok(named) }
    }
}

fn path(text: &str, holes: Holes<'_>) -> Result<Template, BadRule> {
    if text.chars().any(|character| !character.is_ascii_graphic() || character == '#') {
        return Err(BadRule::Path);
    }
    let template = Template::parse(text, holes)?;
    let sample = |_: &str| "x".to_owned();
    if is_canonical(&template.render(sample)) { Ok(template) } else { Err(BadRule::Path) }
}

/// Whether a path stays as it is when a request for it is taken up.
fn is_canonical(path: &str) -> bool {
    let target = Target::parse(&format!("http://larder{path}"));
    target.is_ok_and(|target| target.path_and_query().as_str() == path)
}

/// One value for each hole.
type Filling<'a> = Vec<(&'a str, Value)>;

impl Template {
    /// Reads a text with names in braces.
    pub fn parse(text: &str, holes: Holes<'_>) -> Result<Self, BadRule> {
        if text.is_empty() {
            return Err(BadRule::Empty);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            let inner = brace.strip_prefix('{').ok_or(BadRule::Brace)?;
            let (name, behind) = inner.split_once('}').ok_or(BadRule::Brace)?;
            let is_known = match holes {
                Holes::OfData => name.split('.').all(is_name),
                Holes::Of(names) => names.contains(&name),
            };
            if !is_known {
                return Err(BadRule::Hole(name.to_owned()));
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            parts.push(Part::Hole(name.into()));
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Self { parts: parts.into() })
    }

    fn holes(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Hole(name) => Some(&**name),
        })
    }

    fn render(&self, mut value: impl FnMut(&str) -> String) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.to_string(),
            Part::Hole(name) => value(name),
        });
        parts.collect()
    }

    /// The text with one value for each hole; nothing where a hole has none or several.
    pub fn only(
        &self,
        values: &impl Fn(&str) -> Result<Vec<Value>, BadValue>,
    ) -> Result<Option<String>, BadValue> {
        let fillings = self.fillings(values)?;
        Ok(match fillings.as_slice() {
            [only] => Some(self.plain(only)),
            _ => None,
        })
    }

    /// Every way to choose one value for each hole.
    fn fillings(
        &self,
        values: &impl Fn(&str) -> Result<Vec<Value>, BadValue>,
    ) -> Result<Vec<Filling<'_>>, BadValue> {
        let names: BTreeSet<&str> = self.holes().collect();
        let mut fillings: Vec<Filling<'_>> = vec![Vec::new()];
        for name in names {
            let values = values(name)?;
            for value in &values {
                value.check(name)?;
            }
            if fillings.len().saturating_mul(values.len()) > MOST {
                return Err(BadValue::TooMany);
            }
            fillings = fillings
                .iter()
                .flat_map(|filling| {
                    let with = |value: &Value| [&filling[..], &[(name, value.clone())]].concat();
                    values.iter().map(with).collect::<Vec<_>>()
                })
                .collect();
        }
        Ok(fillings)
    }

    fn plain(&self, filling: &Filling<'_>) -> String {
        self.render(|name| of(filling, name).map_or_else(String::new, |value| value.text().into()))
    }

    /// The path in every spelling that clients may use for it; each is one URL, whatever the values are.
    fn urls(
        &self,
        filling: &Filling<'_>,
    ) -> Result<impl Iterator<Item = String> + use<>, BadValue> {
        let mut urls = BTreeSet::new();
        for spelling in [Spelling::Strict, Spelling::Component, Spelling::Loose] {
            let url = self.url(filling, spelling);
            if !is_canonical(&url) {
                return Err(BadValue::Path(self.render(|name| format!("{{{name}}}"))));
            }
            urls.insert(url);
        }
        Ok(urls.into_iter())
    }

    fn url(&self, filling: &Filling<'_>, spelling: Spelling) -> String {
        let mut url = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => url.push_str(text),
                Part::Hole(name) => match of(filling, name) {
                    Some(Value::Sent(text)) => url.push_str(text),
                    Some(Value::Plain(text)) => {
                        let place = if url.contains('?') { Place::Query } else { Place::Path };
                        spelling.write(&mut url, text, place);
                    }
                    None => {}
                },
            }
        }
        url
    }
}

fn of<'a>(filling: &'a Filling<'_>, name: &str) -> Option<&'a Value> {
    filling.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

impl Value {
    fn text(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Sent(text) => text,
        }
    }

    fn check(&self, name: &str) -> Result<(), BadValue> {
        let text = self.text();
        if text.is_empty() {
            return Err(BadValue::Empty(name.to_owned()));
        }
        if text.len() > LONGEST_VALUE || text.chars().any(char::is_control) {
            return Err(BadValue::Odd(name.to_owned()));
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Place {
    Path,
    Query,
}

/// How clients write a value into a URL.
#[derive(Clone, Copy)]
enum Spelling {
    /// RFC 3986 §2.3: nothing but unreserved characters stands for itself.
    Strict,
    /// As `encodeURIComponent` does.
    Component,
    /// In a path, whatever may stand in a segment stands for itself (RFC 3986 §3.3); in a query, as forms do.
    Loose,
}

impl Spelling {
    fn write(self, url: &mut String, text: &str, place: Place) {
        for byte in text.bytes() {
            match (self, place, byte) {
                (Self::Loose, Place::Query, b' ') => url.push('+'),
                _ if self.keeps(byte, place) => url.push(char::from(byte)),
                _ => {
                    let hex = |digit: u8| char::from(b"0123456789ABCDEF"[usize::from(digit)]);
                    url.extend(['%', hex(byte >> 4), hex(byte & 15)]);
                }
            }
        }
    }

    fn keeps(self, byte: u8, place: Place) -> bool {
        let more: &[u8] = match (self, place) {
            (Self::Strict, _) => b"-._~",
            (Self::Component, _) => b"-._~!'()*",
            (Self::Loose, Place::Path) => b"-._~!$&'()*+,;=:@",
            (Self::Loose, Place::Query) => b"-._*",
        };
        byte.is_ascii_alphanumeric() || more.contains(&byte)
    }
}

/// Whether a text can name a value.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn filled(rule: &str, value: &str) -> Result<Vec<Named>, BadValue> {
        let rule = Rule::parse(rule, Holes::OfData).unwrap();
        let values = |_: &str| Ok(vec![Value::Plain(value.to_owned())]);
        rule.fill(&values).map(|named| named.into_iter().collect())
    }

    fn path(text: &str) -> Named {
        Named::Path(text.to_owned())
    }

    #[test]
    fn values_stand_in_urls_in_every_spelling_that_clients_use() {
        assert_eq!(filled("/users/{id}", "7"), Ok(vec![path("/users/7")]));
        assert_eq!(filled("/u/{id}", "a@b"), Ok(vec![path("/u/a%40b"), path("/u/a@b")]));
        assert_eq!(
            filled("/u?q={id}", "a b!"),
            Ok(vec![path("/u?q=a%20b!"), path("/u?q=a%20b%21"), path("/u?q=a+b%21")])
        );
        assert_eq!(filled("/u/{id}", "é"), Ok(vec![path("/u/%C3%A9")]));
    }

    #[test]
    fn a_value_never_becomes_more_than_one_segment() {
        assert_eq!(filled("/u/{id}", "a/b?c#d"), Ok(vec![path("/u/a%2Fb%3Fc%23d")]));
        assert_eq!(filled("/u/{id}", "*"), Ok(vec![path("/u/%2A"), path("/u/*")]));
        for dots in [".", ".."] {
            assert_eq!(filled("/u/{id}", dots), Err(BadValue::Path("/u/{id}".into())));
        }
        assert_eq!(filled("tag:u:{id}", "a,b *"), Ok(vec![Named::Tag("u:a,b *".into())]));
    }

    #[test]
    fn values_that_say_nothing_are_refused() {
        assert_eq!(filled("tag:u:{id}", ""), Err(BadValue::Empty("id".into())));
        assert_eq!(filled("tag:u:{id}", "a\nb"), Err(BadValue::Odd("id".into())));
        let long = "x".repeat(LONGEST_VALUE + 1);
        assert_eq!(filled("tag:u:{id}", &long), Err(BadValue::Odd("id".into())));
    }

    #[test]
    fn several_values_name_several_things_and_too_many_are_refused() {
        let rule = Rule::parse("tag:{a}-{b}-{a}", Holes::OfData).unwrap();
        let values = |name: &str| {
            let number = if name == "a" { 2 } else { 3 };
            Ok((0..number).map(|value| Value::Plain(format!("{value}"))).collect())
        };
        let named = rule.fill(&values).unwrap();
        assert_eq!(named.len(), 6);
        assert!(named.contains(&Named::Tag("1-2-1".into())));
        let many = |_: &str| Ok(vec![Value::Plain("x".into()); 40]);
        assert_eq!(rule.fill(&many), Err(BadValue::TooMany));
    }

    #[test]
    fn texts_that_are_no_rules_say_why() {
        let captured = ["id"];
        let rows = [
            ("", BadRule::Empty),
            ("tag:", BadRule::Empty),
            ("tag:a b", BadRule::Separator),
            ("tag:{id", BadRule::Brace),
            ("tag:{other}", BadRule::Hole("other".into())),
            ("/a b", BadRule::Path),
            ("/a/../b", BadRule::Path),
            ("prefix:/", BadRule::Everywhere),
            ("prefix:/a/{id}", BadRule::Prefix),
            ("product", BadRule::Kind("product".into())),
        ];
        for (text, expected) in rows {
            assert_eq!(Rule::parse(text, Holes::Of(&captured)), Err(expected), "{text}");
        }
        assert_eq!(Rule::parse("tag:{a..b}", Holes::OfData), Err(BadRule::Hole("a..b".into())));
    }

    fn decoded(url: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = url.as_bytes();
        while let [first, behind @ ..] = rest {
            if let (b'%', [high, low, after @ ..]) = (*first, behind) {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                rest = after;
            } else {
                bytes.push(*first);
                rest = behind;
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn no_value_makes_a_rule_name_more_than_the_rule_with_the_value_in_its_text(
            value in any::<String>()
        ) {
            if let Ok(named) = filled("tag:u:{id}:x", &value) {
                prop_assert_eq!(named, vec![Named::Tag(format!("u:{value}:x"))]);
            }
            for rule in ["/u/{id}/x", "prefix:/u/{id}/x"] {
                let Ok(named) = filled(rule, &value) else { continue };
                prop_assert!(named.len() <= 3);
                for named in named {
                    let (Named::Path(url) | Named::Prefix(url)) = named else { panic!("no URL") };
                    prop_assert_eq!(decoded(&url), format!("/u/{value}/x").into_bytes());
                    prop_assert_eq!(url.matches('/').count(), 3);
                    prop_assert!(!url.contains(['?', '#']));
                    prop_assert!(is_canonical(&url));
                }
            }
        }
    }
}
