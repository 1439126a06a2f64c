//! Turns the command's result into an exit code.

use std::process::ExitCode;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // One TLS provider for all clients; it can only be installed already if somebody was faster, with the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    larder::cli::run(std::env::args_os())
}
