//! Stories on the wire: the real binary between real clients and a scripted origin, one story per file.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops, and says where")]

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod coalescing;
mod command_line;
mod company;
mod directives;
mod fleet;
mod framing;
mod graphql;
mod hits;
mod http2;
mod interim;
mod origin_trouble;
mod pass_through;
mod posts;
mod preconditions;
mod privacy;
mod purge_in_the_air;
mod purges;
mod redis_trouble;
mod reload;
mod shutdown;
mod staleness;
mod telling;
mod tiers;
mod tools;
mod validation;
mod variants;
mod writes;
