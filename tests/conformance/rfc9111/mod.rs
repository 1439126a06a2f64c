//! RFC 9111, HTTP Caching; and RFC 8246, which adds a directive to it.

mod lifetime;

use super::row::Clause;

pub(crate) fn clauses() -> Vec<Clause> {
    [lifetime::clauses()].into_iter().flatten().collect()
}
