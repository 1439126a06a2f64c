//! Addresses of listeners, origins, stores and networks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use secrecy::{ExposeSecret, SecretString};

use crate::config::scalar::{HIDDEN, Wrong};
use crate::message::authority::is_reachable;

/// What is wrong where [`is_reachable`] is false.
const NO_PORT: &str = "its port is no number from 1 to 65535";

/// Where to listen: an address and a port. `localhost` is 127.0.0.1; port 0 lets the system choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub SocketAddr);

impl FromStr for Address {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
            return Ok(Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)));
        }
        let right = if text.parse::<IpAddr>().is_ok() {
            let host = if text.contains(':') { format!("[{text}]") } else { text.to_owned() };
            format!("write the port too, such as {host}:8080")
        } else if let Ok(port) = text.trim_start_matches(['*', ':']).parse::<u16>() {
            format!("write 127.0.0.1:{port} for this machine alone, 0.0.0.0:{port} for all")
        } else {
            "write an address and a port, such as 127.0.0.1:8080".to_owned()
        };
        Err(Wrong::new("", right))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// An origin's address: scheme, host and port, nothing behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub scheme: Scheme,
    pub authority: Authority,
}

impl FromStr for Endpoint {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let example = "write a scheme, a host and a port, such as http://10.0.0.1:3000";
        if !text.contains("://") {
            // What is written may be shown, but for a password.
            let right =
                if text.contains('@') { example.into() } else { format!("write http://{text}") };
            return Err(Wrong::new("it has no scheme", right));
        }
        let uri: Uri = text.parse().map_err(|_| Wrong::new("", example))?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(Wrong::new("", example));
        };
        if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS {
            return Err(Wrong::new("its scheme is neither http nor https", example));
        }
        if authority.as_str().contains('@') {
            return Err(Wrong::new("it holds a user or a password", example));
        }
        if authority.host().is_empty() {
            return Err(Wrong::new("it names no host", example));
        }
        if !is_reachable(authority) {
            return Err(Wrong::new(NO_PORT, example));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            let right =
                format!("write {scheme}://{authority}; paths go through as clients send them");
            return Err(Wrong::new("it has a path", right));
        }
        Ok(Self { scheme: scheme.clone(), authority: authority.clone() })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.scheme, self.authority)
    }
}

/// What the origin gets as `Host`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostField {
    /// What the client sent.
    #[default]
    Preserve,
    Fixed(Authority),
}

impl FromStr for HostField {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        if text == "preserve" {
            return Ok(Self::Preserve);
        }
        let right = "write `preserve`, or a host such as api.internal or api.internal:8080";
        match text.parse::<Authority>() {
            Ok(host) if host.host().is_empty() || text.contains('@') => Err(Wrong::new("", right)),
            Ok(host) if !is_reachable(&host) => Err(Wrong::new(NO_PORT, right)),
            Ok(host) => Ok(Self::Fixed(host)),
            Err(_) => Err(Wrong::new("", right)),
        }
    }
}

impl fmt::Display for HostField {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preserve => formatter.write_str("preserve"),
            Self::Fixed(host) => formatter.write_str(host.as_str()),
        }
    }
}

/// A path, perhaps with a query, that an origin is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(pub PathAndQuery);

impl FromStr for Target {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let right = "write a path such as /healthz";
        if !text.starts_with('/') {
            return Err(Wrong::new("it does not begin with a slash", right));
        }
        if text.contains('#') {
            return Err(Wrong::new("it has a fragment, which is never sent", right));
        }
        text.parse().map(Self).map_err(|_| Wrong::new("", right))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The name of a server as TLS knows it: a host name or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerName(pub rustls::pki_types::ServerName<'static>);

impl FromStr for ServerName {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let right = "write a host name without a port, such as api.internal";
        rustls::pki_types::ServerName::try_from(text.to_owned())
            .map(Self)
            .map_err(|_| Wrong::new("", right))
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.to_str())
    }
}

/// Where Redis is; the whole of it is a secret, for it may hold a password.
#[derive(Clone)]
pub struct RedisUrl(pub SecretString);

impl FromStr for RedisUrl {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let right =
            "write redis://HOST:PORT/0, or rediss:// for TLS, with :PASSWORD@ before the host";
        let rest = text.strip_prefix("redis://").or_else(|| text.strip_prefix("rediss://"));
        let rest = rest.ok_or_else(|| Wrong::new("it begins with no redis://", right))?;
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        let (authority, database) = host.split_once('/').unwrap_or((host, ""));
        let database = database.split('?').next().unwrap_or_default();
        let server = authority.parse::<Authority>().ok().filter(|it| !it.host().is_empty());
        let server = server.ok_or_else(|| Wrong::new("it names no host", right))?;
        if !is_reachable(&server) {
            return Err(Wrong::new(NO_PORT, right));
        }
        if !database.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Wrong::new("its database is no number", right));
        }
        Ok(Self(text.into()))
    }
}

impl RedisUrl {
    pub(crate) fn is_tls(&self) -> bool {
        self.0.expose_secret().starts_with("rediss://")
    }

    /// Host, and port where there is one.
    pub(crate) fn server(&self) -> &str {
        self.parts().0
    }

    /// The number of the database; 0 where none is named.
    pub(crate) fn database(&self) -> u32 {
        self.parts().1.parse().unwrap_or_default()
    }

    /// Server and database, without the user and the password.
    fn parts(&self) -> (&str, &str) {
        let url = self.0.expose_secret();
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        let (server, database) = host.split_once('/').unwrap_or((host, ""));
        (server, database.split('?').next().unwrap_or_default())
    }
}

impl fmt::Display for RedisUrl {
    /// Without the user and the password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.0.expose_secret();
        let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
        match rest.rsplit_once('@') {
            Some((_, host)) => write!(formatter, "{scheme}://{HIDDEN}@{host}"),
            None => formatter.write_str(url),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// An `http` or `https` URL; what stands behind the host may hold a secret, and is not shown.
#[derive(Clone)]
pub struct WebUrl(pub SecretString);

impl WebUrl {
    /// What may be shown: scheme and host.
    pub fn place(&self) -> String {
        let uri = self.0.expose_secret().parse::<Uri>().unwrap_or_default();
        match (uri.scheme(), uri.authority()) {
            (Some(scheme), Some(host)) => format!("{scheme}://{host}"),
            _ => HIDDEN.to_owned(),
        }
    }
}

impl FromStr for WebUrl {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let right = "write http:// or https://, a host and a path";
        let uri: Uri = text.parse().map_err(|_| Wrong::new("", right))?;
        let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
        let Some(authority) = uri.authority().filter(|it| is_web && !it.as_str().is_empty()) else {
            return Err(Wrong::new("", right));
        };
        if authority.as_str().contains('@') {
            let right = "write it without, and add fields: { Authorization: \"Basic ${CDN_LOGIN}\" }, \
                         a variable with USER:PASSWORD in base64";
            return Err(Wrong::new("it holds a user or a password", right));
        }
        if authority.host().is_empty() {
            return Err(Wrong::new("it names no host", right));
        }
        if !is_reachable(authority) {
            return Err(Wrong::new(NO_PORT, right));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{HIDDEN}", self.place())
    }
}

impl fmt::Debug for WebUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub address: IpAddr,
    pub bits: u8,
}

impl Network {
    /// Whether `address` is of this network; an IPv4 address in IPv6 dress is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let differs = match (self.address, address.to_canonical()) {
            (IpAddr::V4(mine), IpAddr::V4(other)) => {
                let differs = u128::from(mine.to_bits() ^ other.to_bits()) << 96;
                (self.bits, differs)
            }
            (IpAddr::V6(mine), IpAddr::V6(other)) => (self.bits, mine.to_bits() ^ other.to_bits()),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        let (bits, differs) = differs;
        differs.leading_zeros() >= u32::from(bits)
    }
}

impl FromStr for Network {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let wrong = || Wrong::new("", "write an address, or a network such as 10.0.0.0/8");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most {
            return Err(Wrong::new(
                format!("it has only {most} bits"),
                format!("write {address}/{most}"),
            ));
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_has_a_host_a_port_that_is_a_number_and_a_database_that_is_one() {
        for right in ["redis://h", "rediss://:p:w@h:6379/0", "redis://[::1]:6379", "redis://[::1]"]
        {
            assert!(right.parse::<RedisUrl>().is_ok(), "{right}");
        }
        for (wrong, what) in [
            ("redis://:hunter2@h:port/0", "port"),
            ("redis://h:70000", "port"),
            ("redis://h:", "port"),
            ("redis://:hunter2@", "host"),
            ("redis://h/x", "database"),
        ] {
            let told = wrong.parse::<RedisUrl>().unwrap_err().to_string();
            assert!(told.contains(what) && !told.contains("hunter2"), "{wrong}: {told}");
        }
    }

    #[test]
    fn a_port_that_nothing_can_be_at_is_no_port() {
        let wrong = |text: &str| {
            let endpoint = format!("http://{text}").parse::<Endpoint>().err();
            let host = text.parse::<HostField>().err();
            let redis = format!("redis://:x@{text}/0").parse::<RedisUrl>().err();
            let url = format!("https://{text}/purge").parse::<WebUrl>().err();
            [endpoint, host, redis, url]
        };
        for text in ["h:0", "h:65536", "h:99999", "h:13000x", "h:", "[::1]:99999", "127.0.0.1:port"]
        {
            for told in wrong(text) {
                let told = told.map(|told| told.to_string()).unwrap_or_default();
                assert!(told.contains("no number from 1 to 65535; write "), "{text}: {told}");
            }
        }
        for text in ["h", "h:1", "h:65535", "127.0.0.1:80", "[::1]", "[::1]:8080"] {
            assert_eq!(wrong(text), [None, None, None, None], "{text}");
        }
        assert!("http://:80".parse::<Endpoint>().is_err() && ":80".parse::<HostField>().is_err());
    }

    #[test]
    fn a_url_of_downstream_that_holds_a_password_is_told_where_it_goes_instead() {
        let told = "http://user:hunter2@cdn.example/x".parse::<WebUrl>().unwrap_err().to_string();
        assert!(told.contains("a user or a password") && told.contains("fields: "), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }

    #[test]
    fn networks_contain_what_begins_alike() {
        let rows = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("192.168.1.7", "192.168.1.7", true),
            ("192.168.1.7", "192.168.1.6", false),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
        ];
        for (network, address, expected) in rows {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network} {address}");
        }
    }
}
