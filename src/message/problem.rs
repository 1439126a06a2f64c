//! Errors that Larder itself answers, as RFC 9457 problems.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::message::body::Body;

pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Why a request is to be refused, whatever it asks for: among its extensions, where who serves it finds it, so that it is
/// counted and logged like all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub detail: &'static str,
}

/// The answer of this status that tells `detail`; nobody may keep it.
pub fn response(status: StatusCode, detail: &str) -> Response<Body> {
    let title = status.canonical_reason().unwrap_or("Error");
    let text = json!({ "title": title, "status": status.as_u16(), "detail": detail }).to_string();
    let mut response = Response::new(Body::from(Bytes::from(text)));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, PROBLEM_JSON);
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        fields.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Puts the id that a client gave its request into the problem that answers it, if it is one.
pub fn identify(response: &mut Response<Body>, id: &HeaderValue) {
    if response.headers().get(CONTENT_TYPE) != Some(&PROBLEM_JSON) {
        return;
    }
    let Body::Whole(text) = response.body() else { return };
    let Ok(Value::Object(mut problem)) = serde_json::from_slice(text) else { return };
    problem.insert("request_id".into(), String::from_utf8_lossy(id.as_bytes()).into());
    *response.body_mut() = Body::from(Bytes::from(Value::Object(problem).to_string()));
}
