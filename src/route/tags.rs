//! The tags of a response, and what a successful write purges.

use std::collections::HashSet;
use std::sync::Arc;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use serde_json::Value;

use crate::entry::facts::{RouteId, Tag};
use crate::key::pattern::{Captures, PathPattern, is_name};
use crate::message::dictionary::strings;
use crate::message::fields::{CACHE_GROUPS, CACHE_TAG, Removable, SURROGATE_KEY, XKEY, is_among};
use crate::purge::Scope;
use crate::route::json::{BadPath, JsonPath};

/// No response carries more tags than this.
const MOST_TAGS: usize = 1024;
/// Nor more bytes of them.
const MOST_BYTES: usize = 64 * 1024;
/// The longest body that is read for tags.
pub const MOST_BODY: u64 = 1 << 20;

/// Which tags a route's entries carry beside those that the origin names in `Surrogate-Key`, `Cache-Tag`, `xkey` and
/// `Cache-Groups` (RFC 9875), which are always read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagRules {
    templates: Vec<Template>,
    /// Fields whose values are tags, separated by commas or white space.
    fields: Vec<HeaderName>,
    values: Vec<JsonRule>,
    shown: TagFields,
}

/// Whether clients get the fields that are addressed to caches like this one alone: `Surrogate-Key`, `Cache-Tag` and
/// `xkey`. `Cache-Groups` is for every cache on the way and always stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TagFields {
    #[default]
    Stripped,
    Kept,
}

/// Values in the body that are tags: `json:$.vendor.id -> vendor:{}`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct JsonRule {
    path: JsonPath,
    before: Box<str>,
    behind: Box<str>,
}

/// Why a response's tags are not known, so that it is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untagged {
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error("its body says that it is JSON, and cannot be read for tags")]
    Unreadable,
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
    #[error(transparent)]
    Json(#[from] BadPath),
    #[error("the tag of a JSON value holds `{{}}` once, for the value")]
    Value,
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
        } else if let Some(rule) = text.strip_prefix("json:") {
            self.values.push(JsonRule::parse(rule)?);
        } else {
            self.templates.push(Template::tag(text, path)?);
        }
        Ok(())
    }

    /// The same rules, which show clients the fields of tags as told.
    #[must_use]
    pub fn showing(self, shown: TagFields) -> Self {
        Self { shown, ..self }
    }

    /// Takes out the fields that clients do not get.
    pub fn strip(&self, fields: &mut impl Removable) {
        match self.shown {
            TagFields::Kept => {}
            TagFields::Stripped => {
                fields.remove_each(|name| is_among(name, &["surrogate-key", "cache-tag", "xkey"]));
            }
        }
    }

    /// Whether tags stand in bodies.
    pub fn read_bodies(&self) -> bool {
        !self.values.is_empty()
    }

    /// Whether some of an entry's tags cannot be told from its stored fields.
    pub fn outlive_fields(&self) -> bool {
        self.read_bodies() || self.shown == TagFields::Stripped
    }

    /// Whether the body of a response with these fields is to be read for tags; an error where it cannot be.
    pub fn await_body(&self, fields: &HeaderMap, length: Option<u64>) -> Result<bool, Untagged> {
        if !self.read_bodies() || !is_json(fields) {
            return Ok(false);
        }
        let is_encoded = fields
            .get_all(CONTENT_ENCODING)
            .iter()
            .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
        if is_encoded || length.is_some_and(|length| length > MOST_BODY) {
            return Err(Untagged::Unreadable);
        }
        Ok(length != Some(0))
    }

    /// Those tags, and those in the body, each once. Takes time in the size of the body.
    pub fn with_body(&self, tags: &[Tag], body: &[u8]) -> Result<Box<[Tag]>, Untagged> {
        let mut all = Collected::of(tags)?;
        if body.is_empty() {
            return Ok(all.tags.into_boxed_slice());
        }
        if body.len() as u64 > MOST_BODY {
            return Err(Untagged::Unreadable);
        }
        let value: Value = serde_json::from_slice(body).map_err(|_| Untagged::Unreadable)?;
        for JsonRule { path, before, behind } in &self.values {
            path.each(&value, &mut |text| match text {
                "" => Ok(()),
                text => all.add(&format!("{before}{text}{behind}")),
            })?;
        }
        Ok(all.tags.into_boxed_slice())
    }

    /// Every tag of a response to `path` that its fields and its URL tell, each once.
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
        for group in strings(response, &CACHE_GROUPS).unwrap_or_default() {
            tags.add(&group)?;
        }
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
    fn of(tags: &[Tag]) -> Result<Self, TooMany> {
        let mut collected = Self::default();
        tags.iter().try_for_each(|tag| collected.add(tag.as_str()))?;
        Ok(collected)
    }

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

/// Both lists, each tag once.
pub fn union(one: &[Tag], other: &[Tag]) -> Result<Box<[Tag]>, TooMany> {
    let mut all = Collected::of(one)?;
    other.iter().try_for_each(|tag| all.add(tag.as_str()))?;
    Ok(all.tags.into_boxed_slice())
}

/// RFC 8259 §11 and the `+json` of RFC 6839 §3.1.
fn is_json(fields: &HeaderMap) -> bool {
    let Some(value) = fields.get(CONTENT_TYPE) else { return false };
    let media_type = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    let media_type = media_type.trim_ascii().to_ascii_lowercase();
    media_type == b"application/json" || media_type.ends_with(b"+json")
}

impl JsonRule {
    /// Reads `$.vendor.id -> vendor:{}`; without an arrow the value itself is the tag.
    fn parse(text: &str) -> Result<Self, BadTemplate> {
        let (path, tag) = text.split_once("->").unwrap_or((text, "{}"));
        let (before, behind) = tag.trim().split_once("{}").ok_or(BadTemplate::Value)?;
        let is_literal = |text: &str| !text.contains(['{', '}', ',', ' ', '\t']);
        if !is_literal(before) || !is_literal(behind) {
            return Err(BadTemplate::Value);
        }
        let path = JsonPath::parse(path.trim())?;
        Ok(Self { path, before: before.into(), behind: behind.into() })
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

    /// RFC 9875 §2: a list of strings, whose parameters say nothing.
    #[test]
    fn groups_are_tags_unless_the_field_is_no_list_of_strings() {
        let response = fields(&[("cache-groups", r#""a b";x, "c""#), ("cache-groups", r#""d""#)]);
        assert_eq!(tags(&[], "/**", "/x", &response), ["a b", "c", "d"]);
        assert!(tags(&[], "/**", "/x", &fields(&[("cache-groups", r#""a", b"#)])).is_empty());
    }

    #[test]
    fn values_of_a_json_body_become_tags_within_bounds() {
        let every = PathPattern::every();
        let texts = ["json:$.vendor.id -> vendor:{}".into(), "json:$.items[*].id".into()];
        let rules = TagRules::parse(&texts, &every).unwrap();
        let body = br#"{"vendor": {"id": 7}, "items": [{"id": "a"}, {"id": "b"}, {"id": ""}, {"id": "a"}]}"#;
        let known = [Tag::new("b"), Tag::new("c")];
        let found = rules.with_body(&known, body).unwrap();
        assert_eq!(found, ["b", "c", "vendor:7", "a"].map(Tag::new).into());
        assert_eq!(rules.with_body(&[], b"{"), Err(Untagged::Unreadable));
        assert_eq!(rules.with_body(&known, b"").as_deref(), Ok(&known[..]));
        let many: Vec<_> = (0..=MOST_TAGS).map(|id| serde_json::json!({"id": id})).collect();
        let many = serde_json::json!({"items": many}).to_string();
        assert_eq!(rules.with_body(&[], many.as_bytes()), Err(Untagged::TooMany(TooMany)));
        let large = format!("\"{}\"", "x".repeat(1 << 20));
        assert_eq!(rules.with_body(&[], large.as_bytes()), Err(Untagged::Unreadable));
    }

    #[test]
    fn a_body_is_read_only_where_it_is_json_and_can_be() {
        let rules = TagRules::parse(&["json:$.id".into()], &PathPattern::every()).unwrap();
        let json = ("content-type", "Application/JSON; charset=utf-8");
        let awaits = |lines: &[_], length| rules.await_body(&fields(lines), length);
        assert_eq!(awaits(&[json], None), Ok(true));
        assert_eq!(awaits(&[("content-type", "application/hal+json")], Some(9)), Ok(true));
        assert_eq!(awaits(&[("content-type", "text/html")], None), Ok(false));
        assert_eq!(awaits(&[json, ("content-encoding", "gzip")], None), Err(Untagged::Unreadable));
        assert_eq!(awaits(&[json], Some(MOST_BODY + 1)), Err(Untagged::Unreadable));
        assert_eq!(TagRules::default().await_body(&fields(&[json]), None), Ok(false));
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
            ("json:id", BadTemplate::Json(BadPath)),
            ("json:$.id -> vendor", BadTemplate::Value),
            ("json:$.id -> {}{}", BadTemplate::Value),
            ("json:$.id -> a {}", BadTemplate::Value),
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
