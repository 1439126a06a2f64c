//! What is said of a purge to somebody downstream: texts with names in double braces.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::entry::facts::Mark;
use crate::key::canonical::Target;
use crate::purge::{Effect, Record, Scope, audit};

/// What can be said of a purge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    pub tags: BTreeSet<String>,
    /// Absolute URLs.
    pub urls: BTreeSet<String>,
    /// Paths that are purged on every host.
    pub paths: BTreeSet<String>,
    pub prefixes: BTreeSet<String>,
    pub routes: BTreeSet<String>,
    pub everything: bool,
    /// Whether anything is purged that no name says: tags together, groups, globs, hosts.
    pub others: bool,
    pub soft: bool,
    pub mark: Mark,
}

/// A text with names in double braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Arc<str>),
    Name(&'static str),
}

/// Why a text cannot be filled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWords {
    #[error("`{{{{{0}}}}}` is not known here")]
    Unknown(String),
    #[error("a `{{{{` without its partner")]
    Brace,
}

impl Announced {
    /// Everything that can be said.
    pub const NAMES: [&'static str; 8] =
        ["tags", "urls", "paths", "prefixes", "routes", "everything", "soft", "mark"];

    /// What `record` purges. With a `site` (a scheme and a host), paths on every host are URLs of that site, and so are
    /// URLs of its host under another scheme.
    pub fn of(mark: Mark, record: &Record, site: Option<&str>) -> Self {
        let soft = audit::effect(record) == Effect::MarkStale;
        let mut said = Self { soft, mark, ..Self::default() };
        said.urls = record.cause.urls.iter().map(|url| of_site(url, site)).collect();
        for purge in &record.purges {
            match &purge.scope {
                Scope::Url(_) => {}
                Scope::Tag(tag) => drop(said.tags.insert(tag.as_str().to_owned())),
                Scope::Prefix(prefix) => drop(said.prefixes.insert(prefix.to_string())),
                Scope::Route(id) => drop(said.routes.insert(id.to_string())),
                Scope::Everything => said.everything = true,
                Scope::AllTags(_) | Scope::Group { .. } | Scope::Glob(_) | Scope::Host(_) => {
                    said.others = true;
                }
                Scope::Path(path) => match site {
                    Some(site) => drop(said.urls.insert(format!("{site}{path}"))),
                    None => drop(said.paths.insert(path.to_string())),
                },
            }
        }
        said
    }

    /// The kinds of things that are purged.
    pub fn kinds(&self) -> BTreeSet<&'static str> {
        let lists = ["tags", "urls", "paths", "prefixes", "routes"];
        let full = lists.into_iter().filter(|name| !self.list(name).is_empty());
        let full = full.chain(self.everything.then_some("everything"));
        full.chain(self.others.then_some("others")).collect()
    }

    fn list(&self, name: &str) -> &BTreeSet<String> {
        const NONE: &BTreeSet<String> = &BTreeSet::new();
        match name {
            "tags" => &self.tags,
            "urls" => &self.urls,
            "paths" => &self.paths,
            "prefixes" => &self.prefixes,
            "routes" => &self.routes,
            _ => NONE,
        }
    }

    fn json(&self, name: &str) -> Value {
        match name {
            "everything" => self.everything.into(),
            "soft" => self.soft.into(),
            "mark" => self.mark.to_string().into(),
            _ => json!(self.list(name)),
        }
    }

    fn plain(&self, name: &str) -> String {
        match name {
            "everything" => self.everything.to_string(),
            "soft" => self.soft.to_string(),
            "mark" => self.mark.to_string(),
            _ => self.list(name).iter().map(String::as_str).collect::<Vec<_>>().join(" "),
        }
    }
}

fn of_site(url: &str, site: Option<&str>) -> String {
    let same = |site: &str| {
        let (_, host) = site.split_once("://")?;
        let target = Target::parse(url).ok()?;
        (target.host_str() == host).then(|| format!("{site}{}", target.path_and_query()))
    };
    site.and_then(same).unwrap_or_else(|| url.to_owned())
}

impl Words {
    pub fn parse(text: &str) -> Result<Self, BadWords> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("{{") {
            let (name, behind) = behind.split_once("}}").ok_or(BadWords::Brace)?;
            let known = Announced::NAMES.into_iter().find(|known| *known == name.trim());
            let known = known.ok_or_else(|| BadWords::Unknown(name.trim().to_owned()))?;
            parts.extend((!before.is_empty()).then(|| Part::Text(before.into())));
            parts.push(Part::Name(known));
            rest = behind;
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.into())));
        Ok(Self { parts })
    }

    /// The names in it that say what is purged.
    pub fn named(&self) -> impl Iterator<Item = &'static str> {
        let names = self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Name(name) => Some(*name),
        });
        names.filter(|name| !matches!(*name, "soft" | "mark"))
    }

    /// With values as JSON.
    pub fn json(&self, said: &Announced) -> String {
        self.fill(|name| said.json(name).to_string())
    }

    /// With lists as words with spaces between them.
    pub fn plain(&self, said: &Announced) -> String {
        self.fill(|name| said.plain(name))
    }

    fn fill(&self, value: impl Fn(&str) -> String) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.to_string(),
            Part::Name(name) => value(name),
        });
        parts.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::facts::Tag;
    use crate::key::Key;
    use crate::purge::{Cause, Purge};
    use crate::time::Timestamp;

    fn record() -> Record {
        let scopes = [
            Scope::Tag(Tag::new("a\"b")),
            Scope::Tag(Tag::new("c")),
            Scope::Url(Key::from_bits(1)),
            Scope::Path("/p?q=1".into()),
        ];
        let purge = |scope| Purge { scope, effect: Effect::Remove };
        let cause = Cause { urls: vec!["http://shop.example/x".into()], ..Cause::default() };
        let purges = scopes.into_iter().map(purge).collect();
        Record { purges, cause, at: Timestamp::default() }
    }

    #[test]
    fn bodies_are_json_and_fields_are_words() {
        let said = Announced::of(Mark::new(1, 2), &record(), None);
        let words = Words::parse("{\"t\":{{tags}},\"u\":{{ urls }},\"s\":{{soft}}}").unwrap();
        assert_eq!(
            words.json(&said),
            r#"{"t":["a\"b","c"],"u":["http://shop.example/x"],"s":false}"#
        );
        assert_eq!(Words::parse("{{tags}} {{mark}}").unwrap().plain(&said), "a\"b c 1-2");
        assert_eq!(said.kinds(), BTreeSet::from(["paths", "tags", "urls"]));
    }

    #[test]
    fn with_a_site_paths_are_its_urls_and_its_urls_have_its_scheme() {
        let said = Announced::of(Mark::ZERO, &record(), Some("https://shop.example"));
        let urls: Vec<_> = said.urls.iter().map(String::as_str).collect();
        assert_eq!(urls, ["https://shop.example/p?q=1", "https://shop.example/x"]);
        let said = Announced::of(Mark::ZERO, &record(), Some("https://other.example"));
        assert!(said.urls.contains("http://shop.example/x"));
    }

    #[test]
    fn names_that_nobody_knows_are_told() {
        assert_eq!(Words::parse("{{tag}}"), Err(BadWords::Unknown("tag".into())));
        assert_eq!(Words::parse("{{tags}"), Err(BadWords::Brace));
        let words = Words::parse("{{tags}}{{soft}}").unwrap();
        assert_eq!(words.named().collect::<Vec<_>>(), ["tags"]);
    }
}
