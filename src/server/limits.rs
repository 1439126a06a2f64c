//! What one connection, and all of them together, may take of time and room.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::message::network::Network;

/// Bounds on everything that a stranger can make large or slow; `Default` has the values that a public
/// listener wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once, over all listeners that share a `Drain`; those beyond are answered 503.
    pub connections: usize,
    /// Those of one client. More are answered 429, or closed where TLS is spoken.
    pub crowding: Crowding,
    /// From the connection to the end of what precedes HTTP on it: a PROXY header, a TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request head to its last.
    pub header_timeout: Duration,
    /// Without a request in progress and without a byte written.
    pub idle_timeout: Duration,
    /// Between two pieces of a request body that somebody waits for.
    pub body_timeout: Duration,
    /// Without progress while the client does not read what is there for it.
    pub stall_timeout: Duration,
    /// A whole request head. More is 431.
    pub header_bytes: usize,
    /// Field lines of a request. More is 431. Up to 100 are parsed without an allocation (0.1 µs).
    pub header_fields: usize,
    /// The request target. More is 414.
    pub target_bytes: usize,
    /// HTTP/2 only.
    pub h2: H2Limits,
}

/// How many connections one client may have open, over all listeners that share a `Drain`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crowding {
    /// Nothing: as many as there are.
    pub most: Option<NonZeroUsize>,
    /// Addresses that connect for many, and are not counted.
    pub exempt: Arc<[Network]>,
}

impl Crowding {
    pub(crate) fn is_exempt(&self, address: IpAddr) -> bool {
        self.exempt.iter().any(|network| network.contains(address))
    }
}

/// Bounds that only HTTP/2 knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct H2Limits {
    /// Requests in progress at once on one connection.
    pub streams: u32,
    /// Streams that the client reset before they were handed to the service; more ends the connection.
    pub pending_resets: usize,
    /// Streams that were reset here because of the client's faults; more ends the connection.
    pub faulty_streams: usize,
    /// How often a busy connection is asked whether its peer is still there.
    pub ping_every: Duration,
    /// How long the peer may take to say so.
    pub ping_timeout: Duration,
    /// Bytes of one response held for a client that does not take them.
    pub send_buffer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            crowding: Crowding::default(),
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_mins(1),
            header_bytes: 64 * 1024,
            header_fields: 128,
            target_bytes: 16 * 1024,
            h2: H2Limits::default(),
        }
    }
}

impl Default for H2Limits {
    fn default() -> Self {
        Self {
            streams: 128,
            pending_resets: 20,
            faulty_streams: 64,
            ping_every: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(10),
            send_buffer: 256 * 1024,
        }
    }
}
