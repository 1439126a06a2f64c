//! May a response be kept.

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyNot {
    NoStore,
}
