//! What purges besides a call: events, dependencies, webhooks, the method PURGE; and whom purges are told.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::file::{count, seconds};
use crate::config::scalar::address::{Endpoint, Network, WebUrl};
use crate::config::scalar::amount::Span;
use crate::config::scalar::name::{FieldName, FieldValue, Name, Secret, Word};

/// What an event purges.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Event {
    /// `tag:user:{userId}`, `/api/users/{userId}` on every host, `prefix:/api/users/{userId}/`, `route:NAME` or
    /// `everything`. What stands in braces is a value of the event's data: `{user.id}` goes one level down, a list
    /// gives several.
    pub purge: Vec<String>,
    /// Whether entries become stale instead of being removed.
    pub soft: bool,
    /// How many of the hottest entries that go are fetched again at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewarm: Option<u32>,
}

/// A webhook that is taken at `POST /admin/hooks/NAME`, with a signature instead of a token.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hook {
    /// What the sender signs with.
    pub secret: Option<Secret>,
    /// The field with the HMAC-SHA256 of the body, in hexadecimal or base64, with or without `sha256=` before it.
    pub signature: FieldName,
    /// The field with the seconds since 1970. Where it is given, `TIMESTAMP.BODY` is what is signed, and a request is
    /// taken once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<FieldName>,
    /// How far that may be from now.
    pub tolerance: Span,
    /// The event that it tells of: a name, with values of the payload in braces: `shop.{type}`.
    pub event: Option<String>,
    /// Where in the payload the event's data is, such as `data.object`; all of it where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// Somebody downstream who is told of purges: a CDN before Larder.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Downstream {
    /// Where it is told.
    pub url: Option<WebUrl>,
    /// How.
    pub method: Word,
    /// Fields of the request; `{{tags}}`, `{{urls}}`, `{{paths}}`, `{{prefixes}}` and `{{routes}}` stand for a list
    /// with spaces, `{{mark}}`, `{{soft}}` and `{{everything}}` for one word.
    #[schemars(extend("x-keys" = "field-name"))]
    pub fields: BTreeMap<FieldName, FieldValue>,
    /// Its body; the same names stand for their value in JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<FieldValue>,
    /// The public scheme and host, such as `https://shop.example`: paths that are purged become URLs of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<Endpoint>,
    /// How long one attempt may take.
    pub timeout: Span,
    /// How often a purge is tried to be told.
    #[schemars(range(min = 1, max = 20))]
    pub attempts: u32,
    /// Purges that may wait.
    pub queue: NonZeroUsize,
}

/// A Redis stream with events.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Intake {
    /// Its key. A message has the fields `event` and `data`, which is JSON; one instance of the fleet takes it.
    pub stream: Option<Word>,
}

/// Whose `PURGE` requests purge.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PurgeMethod {
    /// Clients of these networks.
    pub from: Vec<Network>,
    /// Who sends one of these tokens of `admin.tokens`, which need the scope `purge`.
    pub tokens: Vec<Name>,
}

/// How the hottest purged entries are fetched again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rewarm {
    /// How many after a purge that does not say itself; 0: none.
    #[schemars(range(max = 10000))]
    pub keys: u32,
    /// Fetches begun in a second.
    pub per_second: NonZeroUsize,
    /// Fetches under way.
    pub at_once: NonZeroUsize,
}

impl Default for Hook {
    fn default() -> Self {
        Self {
            secret: None,
            signature: FieldName("X-Signature".into()),
            timestamp: None,
            tolerance: seconds(300),
            event: None,
            data: None,
        }
    }
}

impl Default for Downstream {
    fn default() -> Self {
        Self {
            url: None,
            method: Word("POST".into()),
            fields: BTreeMap::new(),
            body: None,
            site: None,
            timeout: seconds(5),
            attempts: 6,
            queue: count(1000),
        }
    }
}

impl Default for Rewarm {
    fn default() -> Self {
        Self { keys: 0, per_second: count(20), at_once: count(4) }
    }
}
