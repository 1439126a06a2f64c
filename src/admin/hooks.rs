//! Webhooks: events that others tell, signed with a secret instead of carrying a token.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::admin::auth::Caller;
use crate::admin::events::Told;
use crate::admin::problem::Problem;
use crate::admin::purges::{Purging, Waiting};
use crate::purge::events::{Unclear, find};
use crate::purge::template::Template;
use crate::time::Timestamp;

/// Requests of one hook that are remembered, so that each is taken once.
const SEEN: usize = 10_000;
/// The longest that somebody who sends a hook waits for the fleet.
const LONGEST: Duration = Duration::from_secs(5);

/// A webhook: how it is signed, and which event it tells of.
pub struct Hook {
    name: Arc<str>,
    key: hmac::Key,
    signature: HeaderName,
    /// Where the time is signed too.
    time: Option<(HeaderName, Duration)>,
    event: Template,
    data: Option<Arc<str>>,
    seen: Mutex<VecDeque<(Timestamp, Vec<u8>)>>,
}

/// What a hook is made of.
pub struct Settings<'a> {
    pub name: Arc<str>,
    pub secret: &'a str,
    pub signature: HeaderName,
    /// The field that holds the time, and how far that may be from now.
    pub time: Option<(HeaderName, Duration)>,
    pub event: Template,
    /// Where in the payload the event's data is.
    pub data: Option<Arc<str>>,
}

impl Hook {
    pub fn new(settings: Settings<'_>) -> Self {
        let Settings { name, secret, signature, time, event, data } = settings;
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        Self { name, key, signature, time, event, data, seen: Mutex::default() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The request's signature, if it is right and new: in time, and not seen before.
    pub(crate) fn verify(
        &self,
        fields: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Vec<u8>, Problem> {
        let wrong = || Problem::unauthorized("the signature is missing or wrong");
        let sent = fields.get(&self.signature).and_then(|value| value.to_str().ok());
        let sent = sent.and_then(decoded).ok_or_else(wrong)?;
        let Some((field, tolerance)) = &self.time else {
            hmac::verify(&self.key, body, &sent).map_err(|_| wrong())?;
            return Ok(sent);
        };
        let text = fields.get(field).and_then(|value| value.to_str().ok()).ok_or_else(wrong)?;
        let signed = [text.as_bytes(), b".", body].concat();
        hmac::verify(&self.key, &signed, &sent).map_err(|_| wrong())?;
        let then = text.trim().parse().ok().map(Timestamp::from_seconds).ok_or_else(wrong)?;
        if now.since(then).max(then.since(now)) > *tolerance {
            return Err(Problem::unauthorized("the request was signed too long ago, or ahead"));
        }
        let mut seen = self.seen.lock();
        while seen.front().is_some_and(|(then, _)| now.since(*then) > *tolerance * 2) {
            seen.pop_front();
        }
        if seen.iter().any(|(_, known)| *known == sent) {
            let detail = "this very request was taken already";
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        Ok(sent)
    }

    /// Has the event happen that the payload tells of. One that nobody configured is told to be ignored: who sends
    /// hooks sends all sorts of them.
    pub(crate) async fn take(
        &self,
        purging: &impl Purging,
        body: &[u8],
        from: Option<String>,
    ) -> Result<Value, Problem> {
        let payload: Value = serde_json::from_slice(body)
            .map_err(|error| Problem::malformed(format!("the payload is not JSON: {error}")))?;
        let event = self.event(&payload)?;
        let data = self.data(payload)?;
        if matches!(purging.meaning(&event, &data), Err(Unclear::Unknown)) {
            return Ok(json!({ "event": event, "ignored": true }));
        }
        let reason = Some(format!("the hook `{}`", self.name));
        let waiting = Waiting::all(LONGEST);
        let caller = Caller { name: format!("hook:{}", self.name), from };
        Told { event, data, waiting, reason }.purge(purging, caller).await
    }

    /// Remembers a request that was taken.
    pub(crate) fn taken(&self, signature: Vec<u8>, now: Timestamp) {
        if self.time.is_none() {
            return;
        }
        let mut seen = self.seen.lock();
        if seen.len() >= SEEN {
            seen.pop_front();
        }
        seen.push_back((now, signature));
    }

    fn event(&self, payload: &Value) -> Result<String, Problem> {
        let refused = |why: String| Problem::unprocessable(format!("the event's name: {why}"));
        let name = self.event.only(&|hole| find(payload, hole));
        let name = name.map_err(|why| refused(why.to_string()))?;
        name.ok_or_else(|| refused("the payload has no or several values for it".into()))
    }

    fn data(&self, mut payload: Value) -> Result<Value, Problem> {
        let Some(path) = &self.data else { return Ok(payload) };
        for name in path.split('.') {
            let inner = payload.get_mut(name).map(Value::take);
            payload = inner
                .ok_or_else(|| Problem::unprocessable(format!("the payload has no `{path}`")))?;
        }
        Ok(payload)
    }
}

/// The bytes of a signature in hexadecimal or base64, with or without the algorithm's name before it.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let text = text.strip_prefix("sha256=").unwrap_or(text);
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let pairs = (0..32).map(|at| u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok());
        return pairs.collect();
    }
    STANDARD.decode(text).ok().filter(|bytes| bytes.len() == 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purge::template::Holes;

    const TIME: HeaderName = HeaderName::from_static("x-time");
    const SIGNATURE: HeaderName = HeaderName::from_static("x-signature");

    fn hook(time: Option<(HeaderName, Duration)>) -> Hook {
        Hook::new(Settings {
            name: "shop".into(),
            secret: "key",
            signature: SIGNATURE,
            time,
            event: Template::parse("shop.{type}", Holes::OfData).unwrap(),
            data: Some("data.object".into()),
        })
    }

    fn fields(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    /// HMAC-SHA256 with the key `key`, a well-known example.
    const FOX: &[u8] = b"The quick brown fox jumps over the lazy dog";
    const OF_FOX: &str = "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";

    #[test]
    fn a_body_is_taken_with_its_own_signature_in_any_spelling_and_with_no_other() {
        let hook = hook(None);
        let base64 = "97yD9DBThCSxMpjmqm+xQ+9NWaFJRhdZl0edvC0aPNg=";
        let upper = OF_FOX.to_uppercase();
        for right in [OF_FOX, &format!("sha256={OF_FOX}"), base64, &upper] {
            let sent = fields(&[(SIGNATURE, right)]);
            assert!(hook.verify(&sent, FOX, Timestamp::default()).is_ok(), "{right}");
            assert!(hook.verify(&sent, b"another body", Timestamp::default()).is_err());
        }
        for wrong in ["", "sha256=", &OF_FOX[..62], &format!("sha1={OF_FOX}"), "é"] {
            let sent = fields(&[(SIGNATURE, wrong)]);
            assert!(hook.verify(&sent, FOX, Timestamp::default()).is_err(), "{wrong}");
        }
        assert!(hook.verify(&HeaderMap::new(), FOX, Timestamp::default()).is_err());
    }

    #[test]
    fn with_a_time_a_request_is_taken_within_the_tolerance_and_once() {
        let hook = hook(Some((TIME, Duration::from_mins(1))));
        let sign = |text: &str| {
            let tag = hmac::sign(&hook.key, &[text.as_bytes(), b".", FOX].concat());
            STANDARD.encode(tag)
        };
        let sent = fields(&[(TIME, "1000"), (SIGNATURE, &sign("1000"))]);
        let at = Timestamp::from_seconds;
        for (now, taken) in [(1000, true), (1059, true), (941, true), (1061, false), (900, false)] {
            assert_eq!(hook.verify(&sent, FOX, at(now)).is_ok(), taken, "{now}");
        }
        let moved = fields(&[(TIME, "1050"), (SIGNATURE, &sign("1000"))]);
        assert!(hook.verify(&moved, FOX, at(1050)).is_err());
        let signature = hook.verify(&sent, FOX, at(1000)).unwrap();
        hook.taken(signature, at(1000));
        assert!(hook.verify(&sent, FOX, at(1001)).is_err());
    }

    #[test]
    fn the_event_and_its_data_are_found_in_the_payload() {
        let hook = hook(None);
        let payload = json!({"type": "paid", "data": {"object": {"id": 7}}});
        assert_eq!(hook.event(&payload).unwrap(), "shop.paid");
        assert_eq!(hook.data(payload).unwrap(), json!({"id": 7}));
        assert!(hook.event(&json!({"type": ["a", "b"]})).is_err());
        assert!(hook.event(&json!({})).is_err());
        assert!(hook.data(json!({"data": 7})).is_err());
    }
}
