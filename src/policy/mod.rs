//! What HTTP allows and a route may override: pure functions of values, whose verdicts carry reasons.

pub mod deception;
pub mod graphql;
pub mod head;
mod lifetime;
pub mod reuse;
pub mod revalidate;
pub mod storable;
pub mod tripwire;
mod veto;

use std::time::Duration;

use http::StatusCode;

/// What a route says about freshness and sharing. Built once, when the configuration is compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The lifetime when the origin states none.
    pub ttl: Option<Duration>,
    pub origin_lifetime: OriginLifetime,
    /// The stale windows when the origin states none.
    pub stale_while_revalidate: Option<Duration>,
    pub stale_if_error: Option<Duration>,
    /// Refresh when less than this part of the lifetime is left, from 0 to 1.
    pub refresh_ahead: Option<f64>,
    /// The beta of `XFetch` (Vattani et al., "Optimal Probabilistic Cache Stampede Prevention", 2015).
    pub early_refresh: Option<f64>,
    /// Lifetimes that the route sets are shortened by up to this part, from 0 to 1.
    pub jitter: f64,
    /// Statuses and their lifetimes when the origin states none.
    pub negative: Vec<(StatusCode, Duration)>,
    pub client_directives: ClientDirectives,
    pub post: Post,
    /// What may be shared although HTTP says no.
    pub share: Vec<Share>,
    /// The longest heuristic lifetime (RFC 9111 §4.2.2).
    pub heuristic_cap: Duration,
    /// How long an entry that can be validated is kept after its last window.
    pub keep: Duration,
}

/// Whether the origin's lifetime counts before the route's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginLifetime {
    Respected,
    /// The route's `ttl` replaces it; privacy is never overridden by this.
    Replaced,
}

/// Whether clients may steer the cache with request directives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientDirectives {
    Honoured,
    Ignored,
}

/// What a route says of its POST requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Post {
    /// Nothing: they may change something.
    Unsafe,
    /// They may change something, and an answer that is what a GET of the URL would get is kept for it (RFC 9110
    /// §9.3.3).
    Answering,
    /// They only ask, and are told apart by their content; their answers are kept where they state how long.
    Vouched,
}

/// What a route may share although HTTP says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Answers to requests with `Authorization`, without the directives of RFC 9111 §3.5.
    Authorization,
    /// Answers with `Set-Cookie`.
    SetCookie,
    /// Answers marked `private`.
    Private,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            ttl: None,
            origin_lifetime: OriginLifetime::Respected,
            stale_while_revalidate: None,
            stale_if_error: None,
            refresh_ahead: None,
            early_refresh: None,
            jitter: 0.0,
            negative: Vec::new(),
            client_directives: ClientDirectives::Honoured,
            post: Post::Unsafe,
            share: Vec::new(),
            heuristic_cap: Duration::from_hours(24),
            keep: Duration::from_mins(10),
        }
    }
}

impl Policy {
    pub fn may_share(&self, what: Share) -> bool {
        self.share.contains(&what)
    }
}
