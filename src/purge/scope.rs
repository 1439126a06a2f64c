//! Whether a scope speaks of an entry, asked one by one.

use crate::entry::facts::Facts;
use crate::purge::Scope;
use crate::purge::ledger::{begins_with, path};

impl Scope {
    /// Whether an entry with these facts is among those that the scope speaks of. The ledger says the same of many
    /// scopes at once; this is for estimates.
    pub fn speaks_of(&self, facts: &Facts) -> bool {
        match self {
            Self::Url(key) => *key == facts.url_key,
            Self::Tag(tag) => facts.tags.contains(tag),
            Self::Path(wanted) => **wanted == *path(&facts.url),
            Self::Route(route) => *route == facts.route,
            Self::Everything => true,
            Self::Prefix(prefix) => begins_with(&facts.url, prefix),
        }
    }
}
