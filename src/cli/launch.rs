//! What the command line starts: the proxy, the check of a file, the schema.

use std::net::SocketAddr;

use crate::cli::{Check, Failure, Serve};

/// Runs the proxy until it is ended.
pub(super) fn serve(_asked: Serve) -> Result<(), Failure> {
    Err(Failure::Failed("not wired".into()))
}

/// Runs the proxy of the demo: memory only, the access log on.
pub(super) fn demo(
    _api: SocketAddr,
    _proxy: SocketAddr,
    _admin: SocketAddr,
) -> Result<(), Failure> {
    Err(Failure::Failed("not wired".into()))
}

/// Tells all faults of a file.
pub(super) fn check(_asked: &Check) -> Result<(), Failure> {
    Err(Failure::Failed("not wired".into()))
}

/// Prints the schema of the file.
pub(super) fn schema() -> Result<(), Failure> {
    Err(Failure::Failed("not wired".into()))
}
