//! The servers that Larder stands before.

use std::num::{NonZeroU32, NonZeroUsize};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::file::{count, seconds};
use crate::config::scalar::address::{Endpoint, HostField, ServerName, Target};
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
    /// Requests that wait for one of them, or for one that their route may have; more are answered 503.
    pub queue: Queue,
    /// What it gets as `Host`: `preserve`, what the client sent, or a fixed host.
    pub host: HostField,
    /// What is spoken to it.
    pub protocol: Protocol,
    /// How its endpoints are asked whether they are well; without it, only what requests meet counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// How long it takes until an endpoint that is well again gets its full share of the requests.
    pub slow_start: Span,
    /// Whom it has to be where it is https, and what Larder shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// What is spoken to an origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Protocol {
    /// HTTP/1.1; over TLS, HTTP/2 where the origin agrees.
    #[default]
    Auto,
    /// HTTP/2 without asking, over plain TCP too.
    H2,
}

/// How the endpoints of an origin are asked whether they are well.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// What is asked for by GET; 2xx and 3xx say that the endpoint is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Target>,
    /// From one check to the next.
    pub every: Span,
    /// How long an answer may take.
    pub timeout: Span,
    /// Checks in a row that fail before an endpoint gets no more requests.
    pub unhealthy_after: NonZeroU32,
    /// Checks in a row that succeed before it gets requests again.
    pub healthy_after: NonZeroU32,
}

/// Whom an https origin has to be, and what Larder shows it. Files in PEM format.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Who signed its certificate; without, whom this machine trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Larder's own certificate, for origins that want one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The key of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The name that it is asked for, and that its certificate must bear; without, the host of the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<ServerName>,
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

/// Who waits for a connection.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// So many at once; 0 for none.
    pub length: usize,
    /// And each for no longer than this.
    pub timeout: Span,
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
    /// How long nothing is asked then at most, before one request may try: earlier where the background finds out
    /// that it can be reached again.
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
            queue: Queue::default(),
            host: HostField::Preserve,
            protocol: Protocol::default(),
            health: None,
            slow_start: seconds(0),
            tls: None,
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { length: 1024, timeout: seconds(1) }
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

impl Default for Health {
    fn default() -> Self {
        Self {
            path: None,
            every: seconds(5),
            timeout: seconds(1),
            unhealthy_after: NonZeroU32::MIN.saturating_add(2),
            healthy_after: NonZeroU32::MIN.saturating_add(1),
        }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: NonZeroU32::MIN.saturating_add(4), open_for: seconds(30) }
    }
}
