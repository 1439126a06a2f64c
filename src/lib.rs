//! Larder: an HTTP read-through caching reverse proxy.
pub mod breaker;
pub mod origin;
pub mod server;
