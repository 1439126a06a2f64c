#![doc = include_str!("architecture.md")]

pub mod breaker;
pub mod certificate;
pub mod message;
pub mod per_runtime;
pub mod rate;
pub mod server;
pub mod telemetry;
pub mod time;

pub mod key;
pub mod origin;

pub mod entry;

pub mod policy;
pub mod purge;

pub mod route;
pub mod store;

pub mod lookup;

pub mod refresh;

pub mod admin;
pub mod pipeline;

pub mod config;

pub mod app;

pub mod cli;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
