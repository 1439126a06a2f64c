//! Why a body ended before its end.

/// Why a body ended before its end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BodyError {
    /// The sender's connection ended, stalled or broke its framing.
    #[error("the body was cut off: {0}")]
    Cut(String),
    /// The sender sent nothing for longer than it may: its error has a `TimedOut` among its causes.
    #[error("the sender of the body fell silent")]
    Silent,
    /// The fetch that wrote the body was given up.
    #[error("the fetch of the body was given up")]
    Abandoned,
}
