//! What of a client's fields the origin gets on requests whose answers may be shared.

use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, COOKIE, HeaderMap, HeaderName, HeaderValue, PRAGMA,
};

use crate::key::KeyRules;
use crate::key::canonical::cookies;
use crate::key::content::metadata;
use crate::key::vary::VaryRules;
use crate::message::fields::{CONDITIONS, X_FORWARDED_FOR, X_REQUEST_ID};

/// Which fields go on to the origin when a request is looked up. What passes is sent whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Forward {
    /// All but those of one hop and those that would steer it: HTTP trusts the origin to name in `Vary` what it heeds.
    #[default]
    All,
    /// What the key or the variant is made of, and these.
    Keyed(Vec<HeaderName>),
}

impl Forward {
    /// Leaves of a client's fields what may go on, and what is heard here: conditions and `Cache-Control`.
    ///
    /// What is left decides the key, the variant and whether the answer may be kept, as if no more had been sent.
    pub fn narrow(&self, fields: &mut HeaderMap, key: &KeyRules, vary: &VaryRules) {
        let Self::Keyed(named) = self else { return };
        let content = metadata(fields).into_iter().cloned().collect::<Vec<_>>();
        let heard = [CACHE_CONTROL, PRAGMA, X_REQUEST_ID];
        let kept = named
            .iter()
            .chain(&key.headers)
            .chain(vary.normalize.iter().map(|(name, _)| name))
            .chain(&content)
            .chain(&CONDITIONS)
            .chain(&heard);
        let mut left = HeaderMap::new();
        for name in kept {
            if !left.contains_key(name) {
                for value in fields.get_all(name) {
                    left.append(name.clone(), value.clone());
                }
            }
        }
        if let Some(cookie) = keyed_cookies(fields, key)
            && !left.contains_key(COOKIE)
        {
            left.insert(COOKIE, cookie);
        }
        // Without the field an origin may choose any coding (RFC 9110 §12.5.3), and clients differ in what they take.
        if !left.contains_key(ACCEPT_ENCODING) {
            left.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        *fields = left;
    }

    /// Whether a field that was left goes on to the origin: not what is heard here alone, and what tells the client's address.
    pub fn sends(&self, name: &HeaderName) -> bool {
        let Self::Keyed(named) = self else { return true };
        ![CACHE_CONTROL, PRAGMA, X_REQUEST_ID, X_FORWARDED_FOR].contains(name)
            || named.contains(name)
    }
}

/// The cookies that are part of the key, as one field.
pub(super) fn keyed_cookies(fields: &HeaderMap, key: &KeyRules) -> Option<HeaderValue> {
    let mut text = Vec::new();
    for name in &key.cookies {
        for value in cookies(fields, name) {
            if !text.is_empty() {
                text.extend_from_slice(b"; ");
            }
            text.extend_from_slice(name.as_bytes());
            text.push(b'=');
            text.extend_from_slice(value);
        }
    }
    (!text.is_empty()).then(|| HeaderValue::from_bytes(&text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrowed(forward: &Forward, sent: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
        let mut fields = HeaderMap::new();
        for (name, value) in sent {
            fields.append(*name, HeaderValue::from_static(value));
        }
        let headers = vec![HeaderName::from_static("x-tenant")];
        let key = KeyRules { headers, cookies: vec!["currency".into()], ..KeyRules::default() };
        forward.narrow(&mut fields, &key, &VaryRules::default());
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let mut left: Vec<_> =
            fields.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        left.sort();
        left
    }

    #[test]
    fn what_is_neither_keyed_nor_named_stays_behind() {
        let sent = [
            ("x-tenant", "a"),
            ("x-tenant", "b"),
            ("x-evil", "1"),
            ("authorization", "secret"),
            ("cookie", "session=1; currency=EUR"),
            ("cookie", "currency=USD"),
            ("user-agent", "me"),
            ("accept-encoding", "gzip"),
            ("if-none-match", "\"a\""),
        ];
        let left = narrowed(&Forward::Keyed(vec![http::header::USER_AGENT]), &sent);
        let expected = [
            ("accept-encoding", "identity"),
            ("cookie", "currency=EUR; currency=USD"),
            ("if-none-match", "\"a\""),
            ("user-agent", "me"),
            ("x-tenant", "a"),
            ("x-tenant", "b"),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(left, expected);
        assert_eq!(narrowed(&Forward::All, &sent).len(), sent.len());
    }
}
