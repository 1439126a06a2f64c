//! RFC 9111, HTTP Caching; and RFC 8246, which adds a directive to it.

mod directives;
mod lifetime;
mod storing;
mod using;
mod validation;

use super::row::Clause;

pub(crate) fn clauses() -> Vec<Clause> {
    [
        storing::clauses(),
        using::clauses(),
        lifetime::clauses(),
        validation::clauses(),
        directives::clauses(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
