//! Whose `PURGE` requests purge, where a route takes any.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;

use crate::message::bearer::{Digest, known};
use crate::message::network::Network;

/// Who may send PURGE: whoever comes from one of these networks, or with one of these tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct PurgeMethod {
    pub from: Vec<Network>,
    /// By name, for the audit.
    pub tokens: Vec<(Arc<str>, Digest)>,
}

impl PurgeMethod {
    /// The name of who asks, if it may purge: that of its token, or its address. The address is not given where it
    /// is not known.
    pub fn admit(&self, client: Option<IpAddr>, fields: &HeaderMap) -> Option<String> {
        if let Some(sent) = Digest::sent(fields)
            && let Some((name, _)) = known(&self.tokens, sent, |(_, digest)| *digest)
        {
            return Some(name.to_string());
        }
        let client = client?.to_canonical();
        let is_near = self.from.iter().any(|network| network.contains(client));
        is_near.then(|| client.to_string())
    }
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;

    #[test]
    fn a_known_token_or_a_near_address_is_admitted_and_nobody_else() {
        let rule = PurgeMethod {
            from: vec![Network { address: "10.0.0.0".parse().unwrap(), bits: 8 }],
            tokens: vec![("ci".into(), Digest::of(b"secret"))],
        };
        let ask = |client: Option<&str>, token: Option<&str>| {
            let mut fields = HeaderMap::new();
            if let Some(token) = token {
                fields.insert(AUTHORIZATION, token.parse().unwrap());
            }
            rule.admit(client.map(|client| client.parse().unwrap()), &fields)
        };
        assert_eq!(ask(Some("10.1.2.3"), None).as_deref(), Some("10.1.2.3"));
        assert_eq!(ask(Some("::ffff:10.1.2.3"), Some("Bearer no")).as_deref(), Some("10.1.2.3"));
        assert_eq!(ask(Some("192.0.2.1"), Some("Bearer secret")).as_deref(), Some("ci"));
        assert_eq!(ask(None, Some("Bearer secret")).as_deref(), Some("ci"));
        for (client, token) in [
            (Some("192.0.2.1"), None),
            (None, None),
            (Some("11.0.0.1"), Some("Bearer secrets")),
            (Some("11.0.0.1"), Some("Basic secret")),
        ] {
            assert_eq!(ask(client, token), None, "{client:?} {token:?}");
        }
    }
}
