//! An answer as a client got it, with the assertions that tests make of it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

/// A whole answer.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
    /// From the first byte sent, connecting included, to the last byte received.
    pub(crate) took: Duration,
}

impl Reply {
    /// The field's first value, or nothing.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.to_str().unwrap_or("(not text)"))
    }

    /// The values of all lines of the field.
    pub(crate) fn lines(&self, name: &str) -> Vec<&str> {
        self.fields
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap_or("(not text)"))
            .collect()
    }

    pub(crate) fn outcome(&self) -> &str {
        self.field("x-cache")
    }

    pub(crate) fn layer(&self) -> &str {
        self.field("x-cache-layer")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or("(not text)")
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in the JSON of {self:?}"))
    }

    #[track_caller]
    pub(crate) fn age(&self) -> u64 {
        self.field("age").parse().unwrap_or_else(|_| panic!("no whole Age in {self:?}"))
    }

    /// `X-Cache` and `X-Cache-Layer` say this.
    #[track_caller]
    pub(crate) fn is(&self, outcome: &str, layer: &str) -> &Self {
        assert_eq!((self.outcome(), self.layer()), (outcome, layer), "{self:?}");
        self
    }

    /// `X-Cache` says anything but this.
    #[track_caller]
    pub(crate) fn is_not(&self, outcome: &str) -> &Self {
        assert_ne!(self.outcome(), outcome, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn has_status(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn has(&self, name: &str, value: &str) -> &Self {
        assert_eq!(self.field(name), value, "{name} in {self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn lacks(&self, name: &str) -> &Self {
        assert!(!self.fields.contains_key(name), "{name} in {self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> &Self {
        assert_eq!(self.text(), text, "{self:?}");
        self
    }

    /// An error that Larder made itself (RFC 9457).
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16) -> &Self {
        self.has_status(status).has("content-type", "application/problem+json");
        assert!(self.json().is_object(), "{self:?}");
        self
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n  {} after {:?}", self.status, self.took)?;
        for (name, value) in &self.fields {
            writeln!(f, "  {name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        let start = &self.body[..self.body.len().min(500)];
        write!(f, "  [{} bytes] {}", self.body.len(), String::from_utf8_lossy(start))
    }
}
