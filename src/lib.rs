//! Larder: an HTTP read-through caching reverse proxy.

pub mod admin;
pub mod app;
pub mod breaker;
pub mod config;
pub mod entry;
pub mod key;
pub mod lookup;
pub mod message;
pub mod origin;
pub mod pipeline;
pub mod policy;
pub mod purge;
pub mod refresh;
pub mod route;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod time;
