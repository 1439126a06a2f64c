//! Tags that a route adds.

/// Which tags a route's entries carry beside those that the origin names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagRules {}

/// A purge that a successful write causes, with captures of the path in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnWrite {}
