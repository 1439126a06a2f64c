//! May a response be kept.

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyNot {
    NoStore,
}

impl WhyNot {
    /// The reason as a token.
    pub const fn token(self) -> &'static str {
        match self {
            Self::NoStore => "no-store",
        }
    }
}
