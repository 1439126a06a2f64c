//! RFC 9111, HTTP Caching; and RFC 8246, which adds a directive to it.

mod directives;
mod heads;
mod lifetime;
mod parts;
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
        heads::clauses(),
        parts::clauses(),
        directives::clauses(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
