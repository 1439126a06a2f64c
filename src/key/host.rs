//! Patterns of hosts.

use std::fmt;
use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

/// A pattern of hosts: any, one, or all below a name. Ports count only where the pattern has one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    text: Box<str>,
    name: HostName,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum HostName {
    Any,
    Exact(Box<str>),
    /// With the dot in front: `.shop.example`.
    Below(Box<str>),
}

/// A text that is no pattern of hosts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no host: a name, an address, or a name behind `*.`, and a port if need be")]
pub struct BadHost(String);

impl HostPattern {
    /// `shop.example`, `*.shop.example` (one or more labels before it), `127.0.0.1`, `[::1]`, `*`; each with a
    /// port or without. Case does not count.
    pub fn parse(text: &str) -> Result<Self, BadHost> {
        let bad = || BadHost(text.to_owned());
        let lower = text.to_ascii_lowercase();
        let (host, port) = split_port(&lower);
        let port = port.map(str::parse).transpose().map_err(|_| bad())?;
        let name = if host == "*" {
            HostName::Any
        } else if let Some(parent) = host.strip_prefix('*') {
            let is_below = parent.starts_with('.') && is_host(&parent[1..]);
            HostName::Below(is_below.then(|| parent.into()).ok_or_else(bad)?)
        } else {
            HostName::Exact(is_host(host).then(|| host.into()).ok_or_else(bad)?)
        };
        Ok(Self { text: lower.as_str().into(), name, port })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a canonical host (lower case, without its scheme's own port) is one of the pattern's.
    pub fn is_match(&self, host: &str) -> bool {
        if self.name == HostName::Any && self.port.is_none() {
            return true;
        }
        let (name, port) = split_port(host);
        let port_fits = self.port.is_none_or(|wanted| match port {
            Some(port) => port.parse() == Ok(wanted),
            // A canonical host is without its scheme's own port.
            None => matches!(wanted, 80 | 443),
        });
        port_fits
            && match &self.name {
                HostName::Any => true,
                HostName::Exact(wanted) => **wanted == *name,
                HostName::Below(parent) => name.len() > parent.len() && name.ends_with(&**parent),
            }
    }

    /// Whether it is `*`, on every port.
    pub fn is_every(&self) -> bool {
        self.name == HostName::Any && self.port.is_none()
    }

    /// Whether every host that `other` matches is surely matched by this one too.
    pub fn covers(&self, other: &Self) -> bool {
        let name = match (&self.name, &other.name) {
            (HostName::Any, _) => true,
            (HostName::Below(parent), HostName::Exact(name) | HostName::Below(name)) => {
                name.ends_with(&**parent)
            }
            (HostName::Exact(mine), HostName::Exact(other)) => mine == other,
            (HostName::Exact(_) | HostName::Below(_), HostName::Any)
            | (HostName::Exact(_), HostName::Below(_)) => false,
        };
        name && (self.port.is_none() || self.port == other.port)
    }
}

impl TryFrom<String> for HostPattern {
    type Error = BadHost;

    fn try_from(text: String) -> Result<Self, BadHost> {
        Self::parse(&text)
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.text.into()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// A host and its port; a colon within brackets is the address's own.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        Some(_) | None => (host, None),
    }
}

fn is_host(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = inner {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    !text.is_empty()
        && !text.starts_with('.')
        && !text.contains("..")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_match_by_name_and_by_port_only_where_one_is_given() {
        let rows = [
            ("*", "anything:81", true),
            ("*:81", "anything", false),
            ("Shop.Example", "shop.example", true),
            ("shop.example", "shop.example:8080", true),
            ("shop.example:8080", "shop.example:8080", true),
            ("shop.example:8080", "shop.example", false),
            ("shop.example:80", "shop.example", true),
            ("shop.example:80", "shop.example:81", false),
            ("*.shop.example", "www.shop.example", true),
            ("*.shop.example", "a.b.shop.example:81", true),
            ("*.shop.example", "shop.example", false),
            ("*.shop.example", "evilshop.example", false),
            ("[::1]", "[::1]:8080", true),
            ("[::1]", "[::1]", true),
            ("127.0.0.1", "127.0.0.1:3000", true),
        ];
        for (text, host, expected) in rows {
            let pattern = HostPattern::parse(text).unwrap();
            assert_eq!(pattern.is_match(host), expected, "{text} on {host}");
        }
        for bad in ["", "*shop", "shop.*", "a/b", "http://a", "a:b", "[x]", ".a", "a..b", "*."] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
