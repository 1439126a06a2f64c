//! The servers that Larder stands before.

use std::num::{NonZeroU32, NonZeroUsize};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::file::{count, seconds};
use crate::config::scalar::address::{Endpoint, HostField};
use crate::config::scalar::amount::{Part, Span};

/// A server that Larder stands before.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Origin {
    /// Where it is; with several, requests are spread over them.
    #[schemars(length(min = 1))]
    pub endpoints: Vec<Endpoint>,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// What is tried again.
    pub retries: Retries,
    /// When it is left alone for a while.
    pub breaker: Breaker,
    /// Connections that may be open to it at once, from this instance.
    pub max_connections: NonZeroUsize,
    /// What it gets as `Host`: `preserve`, what the client sent, or a fixed host.
    pub host: HostField,
}

/// How long an origin may take.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Until the connection stands, TLS included.
    pub connect: Span,
    /// From the end of the request to the head of the answer.
    pub first_byte: Span,
    /// Between two pieces of the body.
    pub idle: Span,
}

/// What is tried again: idempotent requests that surely never reached the origin.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retries {
    /// Further attempts for one request; 0 for none.
    #[schemars(range(max = 10))]
    pub attempts: u32,
    /// Retries, as a part of all requests, at most.
    pub budget: Part,
}

/// When something that fails is left alone for a while.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// Failures in a row that open it.
    pub failures: NonZeroU32,
    /// How long nothing is asked then, before one request may try.
    pub open_for: Span,
}

impl Default for Origin {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            timeouts: Timeouts::default(),
            retries: Retries::default(),
            breaker: Breaker::default(),
            max_connections: count(256),
            host: HostField::Preserve,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: seconds(1), first_byte: seconds(8), idle: seconds(30) }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 1, budget: Part(0.1) }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: NonZeroU32::MIN.saturating_add(4), open_for: seconds(30) }
    }
}
