//! Stories on the wire: the real binary between real clients and a scripted origin, one story per file.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops, and says where")]

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod bodies;
mod caps;
mod coalescing;
mod command_line;
mod company;
mod depends;
mod directives;
mod endpoints;
mod events;
mod fleet;
mod forgetting;
mod framing;
mod graphql;
mod hits;
mod hooks;
mod http2;
mod intake;
mod interim;
mod lane;
mod lease;
mod load;
mod origin_trouble;
mod partial;
mod pass_through;
mod posts;
mod preconditions;
mod privacy;
mod proxy_protocol;
mod purge_in_the_air;
mod purge_method;
mod purges;
mod redis_fleet;
mod redis_keys;
mod redis_trouble;
mod reload;
mod rollout;
mod scopes;
mod sealed;
mod shutdown;
mod staleness;
mod switches;
mod tags;
mod telling;
mod tiers;
mod tls;
mod tools;
mod tripwire;
mod validation;
mod variants;
mod writes;
