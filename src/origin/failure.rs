//! Why no answer came from the origin.

/// Why no answer came.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OriginFailure {
    #[error("x")]
    Overloaded,
}
