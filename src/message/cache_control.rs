//! Directives of requests and responses, parsed once.

use std::time::Duration;

/// What a client's `Cache-Control` (or `Pragma`) asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    pub max_age: Option<Duration>,
}
