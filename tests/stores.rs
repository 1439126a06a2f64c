//! What every store, every purge log and every lease promises, shown on the real ones: memory, disk, Redis.
#![cfg(feature = "disk")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops, and says where")]

#[path = "support/mod.rs"]
mod support;

#[path = "stores/answers.rs"]
mod answers;
#[path = "stores/arrangements.rs"]
mod arrangements;
#[path = "stores/benches.rs"]
mod benches;
#[path = "stores/disk.rs"]
mod disk;
#[path = "stores/entries.rs"]
mod entries;
#[path = "stores/leases.rs"]
mod leases;
#[path = "stores/logs.rs"]
mod logs;
#[path = "stores/redis.rs"]
mod redis_server;
#[path = "stores/sealed.rs"]
mod sealed;
#[path = "stores/suite.rs"]
mod suite;
#[path = "stores/sweeps.rs"]
mod sweeps;
