//! Larder: an HTTP read-through caching reverse proxy.

pub mod config;
pub mod entry;
pub mod key;
pub mod lookup;
pub mod message;
pub mod origin;
pub mod policy;
pub mod purge;
pub mod route;
pub mod store;
pub mod telemetry;
pub mod time;
