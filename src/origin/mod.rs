//! Origins.
pub mod failure;

/// An origin.
pub struct Origin {}
