//! What is told to somebody whose request cannot be answered (RFC 9457).

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

/// A problem: a status, one sentence, and what else helps.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    members: Map<String, Value>,
    field: Option<Box<(HeaderName, HeaderValue)>>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), members: Map::new(), field: None }
    }

    /// The request cannot be read.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// The request can be read, but says nothing that could be done.
    pub(crate) fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// What is named does not exist.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// The caller is unknown (RFC 9110 §15.5.2: with a challenge).
    pub(crate) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
            .field(WWW_AUTHENTICATE, "Bearer realm=\"larder\"")
    }

    /// Not now; perhaps in a second.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).field(RETRY_AFTER, "1")
    }

    pub(crate) fn too_many(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, detail).field(RETRY_AFTER, "1")
    }

    /// RFC 9110 §15.5.6: with the methods that are allowed.
    pub(crate) fn method_not_allowed(allowed: &'static str) -> Self {
        let detail = format!("this path takes {allowed}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, detail).field(ALLOW, allowed)
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    /// Adds a member of its own to the problem.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    fn field(mut self, name: HeaderName, value: &'static str) -> Self {
        self.field = Some(Box::new((name, HeaderValue::from_static(value))));
        self
    }

    /// With the seconds after which to come back.
    pub(crate) fn after(mut self, seconds: u64) -> Self {
        self.field = Some(Box::new((RETRY_AFTER, HeaderValue::from(seconds.max(1)))));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            // RFC 9457 §4.2.1: with "about:blank", the title is the status's phrase.
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Problem"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(object) = body.as_object_mut() {
            object.extend(self.members);
        }
        let mut response = (self.status, body.to_string()).into_response();
        let media_type = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, media_type);
        if let Some(field) = self.field {
            let (name, value) = *field;
            response.headers_mut().insert(name, value);
        }
        response
    }
}
