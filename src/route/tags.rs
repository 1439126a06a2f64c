//! The tags of a response, and what a successful write purges.

use std::collections::HashSet;
use std::sync::Arc;

use http::HeaderMap;
use http::header::HeaderName;

use crate::entry::facts::{RouteId, Tag};
use crate::message::fields::{CACHE_TAG, SURROGATE_KEY, XKEY};
use crate::purge::Scope;
use crate::route::pattern::{Captures, PathPattern, is_name};

/// No response carries more tags than this.
const MOST_TAGS: usize = 1024;
/// Nor more bytes of them.
const MOST_BYTES: usize = 64 * 1024;

/// Which tags a route's entries carry beside those that the origin names in `Surrogate-Key`, `Cache-Tag` and
/// `xkey`, which are always read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagRules {
    templates: Vec<Template>,
    /// Fields whose values are tags, separated by commas or white space.
    fields: Vec<HeaderName>,
}

/// A purge that a successful write causes, with captures of the path in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnWrite {
    Tag(Template),
    /// A path, with a query if need be, on the host that was written to.
    Url(Template),
    /// A path that every purged URL begins with, on every host. Without captures: every hit is held against every
    /// prefix, so clients must not be able to make new ones.
    Prefix(Arc<str>),
    Route(RouteId),
}

/// A text with captures of the path in it, such as `product:{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Capture(Box<str>),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    #[error("it is empty")]
    Empty,
    #[error("a `{{` or `}}` without its partner")]
    Brace,
    #[error("`{{{0}}}` is not captured by the route's path")]
    NotCaptured(String),
    #[error("`{0}` is no field name")]
    Field(String),
    #[error("`{0}` is not known here")]
    Kind(String),
    #[error("a tag holds no white space and no comma")]
    Separator,
    #[error("a path holds no white space and no `#`")]
    Path,
    #[error("a prefix holds no captures")]
    Prefix,
}

/// The response carries more tags than can be kept; without all of them it could not be purged, so it is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the response carries more than {MOST_TAGS} tags or {MOST_BYTES} bytes of them")]
pub struct TooMany;

impl TagRules {
    /// Reads `product:{id}` and `header:X-Tags`; what stands in braces must be a capture of `path`.
    pub fn parse(texts: &[String], path: &PathPattern) -> Result<Self, BadTemplate> {
        let mut rules = Self::default();
        for text in texts {
            rules.add(text, path)?;
        }
        Ok(rules)
    }

    /// Adds one rule; see [`TagRules::parse`].
    pub fn add(&mut self, text: &str, path: &PathPattern) -> Result<(), BadTemplate> {
        if let Some(name) = text.strip_prefix("header:") {
            let name = name.trim();
            self.fields.push(name.parse().map_err(|_| BadTemplate::Field(name.to_owned()))?);
        } else if text.starts_with("json:") {
            return Err(BadTemplate::Kind("json:".to_owned()));
        } else {
            self.templates.push(Template::tag(text, path)?);
        }
        Ok(())
    }

    /// Every tag of a response to `path`, each once.
    pub fn tags(
        &self,
        path: &str,
        pattern: &PathPattern,
        response: &HeaderMap,
    ) -> Result<Box<[Tag]>, TooMany> {
        let mut tags = Collected::default();
        tags.read(response, &SURROGATE_KEY, |byte| byte.is_ascii_whitespace())?;
        tags.read(response, &XKEY, |byte| byte.is_ascii_whitespace())?;
        tags.read(response, &CACHE_TAG, |byte| byte == b',')?;
        for name in &self.fields {
            tags.read(response, name, |byte| byte == b',' || byte.is_ascii_whitespace())?;
        }
        if !self.templates.is_empty() {
            let captures = pattern.captures(path).unwrap_or_default();
            for text in self.templates.iter().filter_map(|template| template.render(&captures)) {
                tags.add(&text)?;
            }
        }
        Ok(tags.tags.into_boxed_slice())
    }
}

/// Tags in the order in which they were met.
#[derive(Default)]
struct Collected {
    tags: Vec<Tag>,
    seen: HashSet<Tag>,
    bytes: usize,
}

impl Collected {
    fn read(
        &mut self,
        fields: &HeaderMap,
        name: &HeaderName,
        separates: impl Fn(u8) -> bool,
    ) -> Result<(), TooMany> {
        for line in fields.get_all(name) {
            for tag in line.as_bytes().split(|byte| separates(*byte)).map(<[u8]>::trim_ascii) {
                // What is not text could never be named by a purge; its bytes are kept as far as they are text.
                self.add(&String::from_utf8_lossy(tag))?;
            }
        }
        Ok(())
    }

    fn add(&mut self, text: &str) -> Result<(), TooMany> {
        if text.is_empty() {
            return Ok(());
        }
        let tag = Tag::new(text);
        if self.seen.contains(&tag) {
            return Ok(());
        }
        self.bytes += text.len();
        if self.tags.len() == MOST_TAGS || self.bytes > MOST_BYTES {
            return Err(TooMany);
        }
        self.seen.insert(tag.clone());
        self.tags.push(tag);
        Ok(())
    }
}

impl OnWrite {
    /// Reads `tag:product:{id}`, `/api/products`, `prefix:/api/products/` and `route:products`.
    pub fn parse(text: &str, path: &PathPattern) -> Result<Self, BadTemplate> {
        if let Some(tag) = text.strip_prefix("tag:") {
            return Ok(Self::Tag(Template::tag(tag, path)?));
        }
        if let Some(prefix) = text.strip_prefix("prefix:").filter(|rest| rest.starts_with('/')) {
            if prefix.contains(['{', '}']) {
                return Err(BadTemplate::Prefix);
            }
            Template::path(prefix, path)?;
            return Ok(Self::Prefix(prefix.into()));
        }
        if let Some(name) = text.strip_prefix("route:").filter(|name| !name.is_empty()) {
            return Ok(Self::Route(RouteId::new(name)));
        }
        if text.starts_with('/') {
            return Ok(Self::Url(Template::path(text, path)?));
        }
        Err(if text.is_empty() { BadTemplate::Empty } else { BadTemplate::Kind(text.to_owned()) })
    }

    /// What is purged; `url` finds the scope of a path on the written host.
    pub(super) fn scope(
        &self,
        captures: &Captures<'_>,
        url: impl FnOnce(&str) -> Option<Scope>,
    ) -> Option<Scope> {
        match self {
            Self::Tag(template) => Some(Scope::Tag(Tag::new(&template.render(captures)?))),
            Self::Url(template) => url(&template.render(captures)?),
            Self::Prefix(prefix) => Some(Scope::Prefix(prefix.clone())),
            Self::Route(id) => Some(Scope::Route(id.clone())),
        }
    }
}

impl Template {
    fn tag(text: &str, path: &PathPattern) -> Result<Self, BadTemplate> {
        if text.bytes().any(|byte| byte == b',' || byte.is_ascii_whitespace()) {
            return Err(BadTemplate::Separator);
        }
        Self::parse(text, path)
    }

    fn path(text: &str, path: &PathPattern) -> Result<Self, BadTemplate> {
        if text.chars().any(|character| !character.is_ascii_graphic() || character == '#') {
            return Err(BadTemplate::Path);
        }
        Self::parse(text, path)
    }

    fn parse(text: &str, path: &PathPattern) -> Result<Self, BadTemplate> {
        if text.is_empty() {
            return Err(BadTemplate::Empty);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            let inner = brace.strip_prefix('{').ok_or(BadTemplate::Brace)?;
            let (name, behind) = inner.split_once('}').ok_or(BadTemplate::Brace)?;
            if !is_name(name) || path.names().all(|known| known != name) {
                return Err(BadTemplate::NotCaptured(name.to_owned()));
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            parts.push(Part::Capture(name.into()));
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Self { parts: parts.into() })
    }

    /// The text with the captures in it; nothing when one is not there.
    fn render(&self, captures: &Captures<'_>) -> Option<String> {
        let mut text = String::new();
        for part in &self.parts {
            text.push_str(match part {
                Part::Text(literal) => literal,
                Part::Capture(name) => captures.get(name)?,
            });
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(*name, HeaderValue::from_static(value));
        }
        fields
    }

    fn tags(rules: &[&str], pattern: &str, path: &str, response: &HeaderMap) -> Vec<String> {
        let pattern = PathPattern::parse(pattern).unwrap();
        let rules: Vec<String> = rules.iter().map(|rule| (*rule).to_owned()).collect();
        let rules = TagRules::parse(&rules, &pattern).unwrap();
        let tags = rules.tags(path, &pattern, response).unwrap();
        tags.iter().map(|tag| tag.as_str().to_owned()).collect()
    }

    #[test]
    fn tags_come_from_every_line_of_the_three_fields_each_once() {
        let response = fields(&[
            ("surrogate-key", "a  b"),
            ("surrogate-key", "c\ta"),
            ("xkey", "d"),
            ("xkey", "e f"),
            ("cache-tag", "g h, i ,,b"),
        ]);
        assert_eq!(tags(&[], "/**", "/x", &response), ["a", "b", "c", "d", "e", "f", "g h", "i"]);
    }

    #[test]
    fn routes_add_tags_from_their_captures_and_from_fields_of_their_own() {
        let response = fields(&[("x-tags", "one,two three")]);
        let rules = ["product:{id}", "shop", "header:X-Tags"];
        assert_eq!(
            tags(&rules, "/p/{id}", "/p/7", &response),
            ["one", "two", "three", "product:7", "shop"]
        );
    }

    #[test]
    fn too_many_tags_are_told_and_not_cut_off() {
        let many: Vec<String> = (0..=MOST_TAGS).map(|number| number.to_string()).collect();
        let mut response = HeaderMap::new();
        response.insert(XKEY, HeaderValue::from_str(&many[1..].join(" ")).unwrap());
        let every = PathPattern::every();
        let kept = TagRules::default().tags("/", &every, &response).unwrap();
        assert_eq!(kept.len(), MOST_TAGS);
        response.insert(XKEY, HeaderValue::from_str(&many.join(" ")).unwrap());
        assert_eq!(TagRules::default().tags("/", &every, &response), Err(TooMany));
        response.insert(XKEY, HeaderValue::from_str(&"x".repeat(MOST_BYTES + 1)).unwrap());
        assert_eq!(TagRules::default().tags("/", &every, &response), Err(TooMany));
    }

    #[test]
    fn templates_that_cannot_be_rendered_say_why() {
        let path = PathPattern::parse("/p/{id}").unwrap();
        let rows = [
            ("", BadTemplate::Empty),
            ("a:{name}", BadTemplate::NotCaptured("name".into())),
            ("a:{id", BadTemplate::Brace),
            ("a:id}", BadTemplate::Brace),
            ("a b", BadTemplate::Separator),
            ("header:a b", BadTemplate::Field("a b".into())),
            ("json:$.id", BadTemplate::Kind("json:".into())),
        ];
        for (text, expected) in rows {
            assert_eq!(TagRules::default().add(text, &path), Err(expected), "{text}");
        }
        let rows = [
            ("", BadTemplate::Empty),
            ("tag:", BadTemplate::Empty),
            ("product", BadTemplate::Kind("product".into())),
            ("prefix:a", BadTemplate::Kind("prefix:a".into())),
            ("prefix:/p/{id}/", BadTemplate::Prefix),
            ("/a b", BadTemplate::Path),
            ("/a/{x}", BadTemplate::NotCaptured("x".into())),
        ];
        for (text, expected) in rows {
            assert_eq!(OnWrite::parse(text, &path), Err(expected), "{text}");
        }
    }

    #[test]
    fn writes_purge_what_their_rules_name_with_the_captures_of_the_written_path() {
        let path = PathPattern::parse("/p/{id}").unwrap();
        let captures = path.captures("/p/7").unwrap();
        let scope = |text: &str| {
            OnWrite::parse(text, &path)
                .unwrap()
                .scope(&captures, |url| Some(Scope::Prefix(format!("url {url}").into())))
                .unwrap()
        };
        assert_eq!(scope("tag:product:{id}"), Scope::Tag(Tag::new("product:7")));
        assert_eq!(scope("/list?of={id}"), Scope::Prefix("url /list?of=7".into()));
        assert_eq!(scope("prefix:/p/"), Scope::Prefix("/p/".into()));
        assert_eq!(scope("route:all"), Scope::Route(RouteId::new("all")));
    }
}
