//! Whether a scope speaks of an entry, asked one by one.

use crate::entry::facts::Facts;
use crate::purge::Scope;
use crate::purge::glob::parts;
use crate::purge::ledger::{begins_with, path};

impl Scope {
    /// Whether an entry with these facts is among those that the scope speaks of. The ledger says the same of many
    /// scopes at once; this is for estimates.
    pub fn speaks_of(&self, facts: &Facts) -> bool {
        match self {
            Self::Url(key) => *key == facts.url_key,
            Self::Tag(tag) => facts.tags.contains(tag),
            Self::AllTags(tags) => tags.iter().all(|tag| facts.tags.contains(tag)),
            Self::Group { origin, tag } => {
                facts.tags.contains(tag) && is_of_origin(&facts.url, origin)
            }
            Self::Path(wanted) => **wanted == *path(&facts.url),
            Self::Route(route) => *route == facts.route,
            Self::Everything => true,
            Self::Prefix(_) | Self::Glob(_) | Self::Host(_) => self.matches(&facts.url),
        }
    }

    /// Whether a pattern matches a canonical URL; no other scope does.
    pub(super) fn matches(&self, url: &str) -> bool {
        match self {
            Self::Prefix(prefix) => begins_with(url, prefix),
            Self::Glob(glob) => glob.is_match(url),
            Self::Host(pattern) => parts(url).0.is_none_or(|host| pattern.is_match(host)),
            Self::Url(_)
            | Self::Tag(_)
            | Self::AllTags(_)
            | Self::Group { .. }
            | Self::Path(_)
            | Self::Route(_)
            | Self::Everything => false,
        }
    }
}

/// Whether a canonical URL is of this origin (RFC 9110 §4.3.1); one that is the same on every host is of each.
pub(super) fn is_of_origin(url: &str, origin: &str) -> bool {
    url.starts_with('/') || url.strip_prefix(origin).is_some_and(|rest| rest.starts_with('/'))
}
