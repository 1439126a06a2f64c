//! Why no answer came from the origin, or not the whole of it.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

/// How an exchange with an origin failed. Cheap to clone: a herd that waits for one fetch fails together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginFailure {
    /// No connection: refused, no route, no such name, no trust.
    #[error("origin unreachable: {0}")]
    Unreachable(Arc<str>),
    /// No connection within its time.
    #[error("origin unreachable: connecting took too long")]
    ConnectTimeout,
    /// The request was sent, and no response head came in time.
    #[error("origin did not answer in time")]
    NoAnswer,
    /// The connection ended before the response head was whole.
    #[error("origin connection lost: {0}")]
    Reset(Arc<str>),
    /// What came is not HTTP, or not an answer to what was asked.
    #[error("origin broke the protocol: {0}")]
    Protocol(Arc<str>),
    /// No room for another request to this origin, and none became free.
    #[error("too many requests to this origin")]
    Overloaded,
    /// The breaker is open.
    #[error("origin left alone after repeated failures")]
    BreakerOpen {
        /// When it will be tried again.
        retry_after: Duration,
    },
    /// The client's request body failed; the origin has no part in it.
    #[error("request body failed: {0}")]
    RequestBody(Arc<str>),
    /// The client stopped sending its request body.
    #[error("request body stopped coming")]
    RequestSilent,
    /// It answered, with a status that says that it failed.
    #[error("origin answered {0}")]
    Status(StatusCode),
    /// The fetch was given up by us.
    #[error("the fetch was given up")]
    Abandoned,
    /// In a response body: nothing came for too long.
    #[error("origin stopped sending")]
    Stalled,
    /// In a response body: it ended before its end.
    #[error("origin response cut off: {0}")]
    Cut(Arc<str>),
}

impl OriginFailure {
    /// What the client is told, if there is nothing better to give it (RFC 9110 §15.6).
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unreachable(_)
            | Self::Reset(_)
            | Self::Protocol(_)
            | Self::Status(_)
            | Self::Abandoned
            // What was out of reach a moment ago still is, as far as the client is concerned.
            | Self::BreakerOpen { .. }
            | Self::Cut(_) => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout | Self::NoAnswer | Self::Stalled => StatusCode::GATEWAY_TIMEOUT,
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::RequestBody(_) => StatusCode::BAD_REQUEST,
            Self::RequestSilent => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// One word for `Cache-Status` and metric labels.
    pub fn token(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::ConnectTimeout => "connect-timeout",
            Self::NoAnswer => "no-answer",
            Self::Reset(_) => "reset",
            Self::Protocol(_) => "protocol",
            Self::Overloaded => "overloaded",
            Self::BreakerOpen { .. } => "breaker-open",
            Self::RequestBody(_) => "request-body",
            Self::RequestSilent => "request-silent",
            Self::Status(_) => "status",
            Self::Abandoned => "abandoned",
            Self::Stalled => "stalled",
            Self::Cut(_) => "cut",
        }
    }

    /// When asking again may help, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::BreakerOpen { retry_after } => Some(*retry_after),
            Self::Overloaded => Some(Duration::from_secs(1)),
            Self::Unreachable(_)
            | Self::ConnectTimeout
            | Self::NoAnswer
            | Self::Reset(_)
            | Self::Protocol(_)
            | Self::RequestBody(_)
            | Self::RequestSilent
            | Self::Status(_)
            | Self::Abandoned
            | Self::Stalled
            | Self::Cut(_) => None,
        }
    }

    /// Whether it is the client's, whose request did not come to its end.
    pub fn is_the_clients(&self) -> bool {
        matches!(self, Self::RequestBody(_) | Self::RequestSilent)
    }

    /// Whether it speaks against the origin, and so counts for its breaker.
    pub(crate) fn is_the_origins(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::ConnectTimeout
            | Self::NoAnswer
            | Self::Reset(_)
            | Self::Protocol(_)
            | Self::Stalled
            | Self::Cut(_) => true,
            Self::Overloaded
            | Self::BreakerOpen { .. }
            | Self::RequestBody(_)
            | Self::RequestSilent
            | Self::Status(_)
            | Self::Abandoned => false,
        }
    }
}
