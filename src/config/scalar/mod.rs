//! The kinds of text that a configuration is made of: spans, sizes, addresses, patterns, secrets.

pub mod address;
pub mod amount;
pub mod name;

pub(crate) mod kind;

use std::fmt;

/// What stands in the place of a secret wherever one would be shown.
pub(crate) const HIDDEN: &str = "***";

/// Why a text is not of its kind. For literal texts only: `right` may repeat them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Behind "is not a size: "; empty when there is nothing to say.
    pub why: String,
    pub right: String,
}

impl Wrong {
    fn new(why: impl Into<String>, right: impl Into<String>) -> Self {
        Self { why: why.into(), right: right.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = if self.why.is_empty() { "" } else { "; " };
        write!(formatter, "{}{gap}{}", self.why, self.right)
    }
}

impl std::error::Error for Wrong {}
