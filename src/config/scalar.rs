//! The kinds of text that a configuration is made of: spans, sizes, addresses, patterns, secrets.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use http::header::HeaderName;
use http::uri::{Authority, Scheme, Uri};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::route::pattern::{HostPattern, PathPattern};

/// The schema keyword that names a text's kind.
pub(crate) const KEYWORD: &str = "x-kind";

/// What stands in the place of a secret wherever one would be shown.
pub(crate) const HIDDEN: &str = "***";

/// The longest span: RFC 9111 §1.2.2 lets caches take 2^31 seconds for the greatest age there is.
const LONGEST: Duration = Duration::from_secs(1 << 31);

/// Why a text is not of its kind. For literal texts only: `right` may repeat them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Behind "is not a size: "; empty when there is nothing to say.
    pub why: String,
    pub right: String,
}

impl Wrong {
    fn new(why: impl Into<String>, right: impl Into<String>) -> Self {
        Self { why: why.into(), right: right.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = if self.why.is_empty() { "" } else { "; " };
        write!(formatter, "{}{gap}{}", self.why, self.right)
    }
}

impl std::error::Error for Wrong {}

/// A kind of text, as the schema names it and as faults speak of it.
pub(crate) struct Kind {
    pub(crate) keyword: &'static str,
    /// With its article.
    pub(crate) noun: &'static str,
    pub(crate) example: &'static str,
    pub(crate) is_secret: fn() -> bool,
    pub(crate) check: fn(&str) -> Result<(), Wrong>,
}

fn check<T: FromStr<Err = Wrong>>(text: &str) -> Result<(), Wrong> {
    text.parse::<T>().map(drop)
}

/// Makes a type a scalar of the file: its line in the table of kinds, its schema, and how it is read and written.
macro_rules! scalars {
    ($($type:ident $keyword:literal $noun:literal $example:literal $secret:ident)*) => {
        /// Every kind of text that a configuration may hold.
        pub(crate) const KINDS: &[Kind] = &[$(Kind {
            keyword: $keyword,
            noun: $noun,
            example: $example,
            is_secret: || stringify!($secret) == "hidden",
            check: check::<$type>,
        }),*];

        $(
            impl JsonSchema for $type {
                fn schema_name() -> Cow<'static, str> {
                    stringify!($type).into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!({
                        "type": "string",
                        "x-kind": $keyword,
                        "examples": [$example],
                    })
                }

                fn inline_schema() -> bool {
                    true
                }
            }

            impl<'de> Deserialize<'de> for $type {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(|_| serde::de::Error::custom(concat!("no ", $keyword)))
                }
            }

            impl Serialize for $type {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.collect_str(self)
                }
            }
        )*
    };
}

scalars! {
    Span "duration" "a duration" "30s" shown
    Size "size" "a size" "64MiB" shown
    Part "percent" "a percentage" "20%" shown
    Address "socket-address" "an address with a port" "127.0.0.1:8080" shown
    Endpoint "origin-url" "the URL of an origin" "http://10.0.0.1:3000" shown
    HostField "host-field" "`preserve` or a host" "preserve" shown
    RedisUrl "redis-url" "the URL of a Redis server" "redis://127.0.0.1:6379/0" hidden
    Secret "secret" "a secret" "${TOKEN}" hidden
    Name "name" "a name" "shop" shown
    FieldName "field-name" "the name of a field" "Accept-Language" shown
    Network "network" "a network or an address" "10.0.0.0/8" shown
    Path "path-pattern" "a pattern of paths" "/api/products/**" shown
    Host "host-pattern" "a pattern of hosts" "*.shop.example" shown
    Status "status" "a status" "404" shown
    Word "word" "a word" "page" shown
}

/// A duration such as `250ms`, `30s`, `5m`, `1h`, `1d`, at most 68 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            let right = format!("write the unit too, such as {text}s, {text}m or {text}ms");
            return Err(Wrong::new("it has no unit", right));
        }
        let wrong = || Wrong::new("", "write a number and a unit: 250ms, 30s, 5m, 1h or 1d");
        let span = humantime::parse_duration(text).map_err(|_| wrong())?;
        if span > LONGEST {
            return Err(Wrong::new("it is longer than 68 years", "write less"));
        }
        Ok(Self(span))
    }
}

impl fmt::Display for Span {
    /// In the largest unit that gives a whole number, so that nothing is lost.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let units = [
            ("d", 86_400_000_000_000),
            ("h", 3_600_000_000_000),
            ("m", 60_000_000_000),
            ("s", 1_000_000_000),
            ("ms", 1_000_000),
            ("us", 1000),
        ];
        let whole = units.iter().find(|(_, unit)| nanos != 0 && nanos.is_multiple_of(*unit));
        match whole {
            Some((name, unit)) => write!(formatter, "{}{name}", nanos / unit),
            None if nanos == 0 => formatter.write_str("0s"),
            None => write!(formatter, "{nanos}ns"),
        }
    }
}

/// A size such as `64KiB` or `1MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let right = format!("write the unit too, such as {text}B, {text}KiB or {text}MiB");
            return Err(Wrong::new("it has no unit", right));
        }
        let right = "write a number and a unit: 512B, 64KiB, 1MB or 10GiB";
        let size: ByteSize = text.parse().map_err(|_| Wrong::new("", right))?;
        Ok(Self(size.as_u64()))
    }
}

impl fmt::Display for Size {
    /// In the largest unit that gives a whole number, so that nothing is lost.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let whole = units.iter().find(|(_, bits)| self.0 != 0 && self.0.is_multiple_of(1 << bits));
        match whole {
            Some((unit, bits)) => write!(formatter, "{}{unit}", self.0 >> bits),
            None => write!(formatter, "{}B", self.0),
        }
    }
}

/// A part of the whole such as `20%`, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part(pub f64);

impl FromStr for Part {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let Some(number) = text.strip_suffix('%') else {
            let right = match text.parse::<f64>() {
                Ok(part) if part > 0.0 && part < 1.0 => format!("write {}%", part * 100.0),
                Ok(_) | Err(_) => "write a number and a percent sign, such as 20%".to_owned(),
            };
            return Err(Wrong::new("it has no percent sign", right));
        };
        let number: f64 =
            number.trim().parse().map_err(|_| Wrong::new("", "write a number, such as 20%"))?;
        if !(0.0..=100.0).contains(&number) {
            return Err(Wrong::new("it is out of range", "write 0% to 100%"));
        }
        Ok(Self(number / 100.0))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded to a millionth, so that 7% is not shown as 7.000000000000001%.
        write!(formatter, "{}%", (self.0 * 1e8).round() / 1e6)
    }
}

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
            return Err(Wrong::new("it has no scheme", format!("write http://{text}")));
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
        if authority.host().is_empty() || authority.port().is_some_and(|port| port.as_u16() == 0) {
            return Err(Wrong::new("it names no host or no port that could be reached", example));
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
            Ok(host) if !text.contains('@') => Ok(Self::Fixed(host)),
            Ok(_) | Err(_) => Err(Wrong::new("", right)),
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
        if authority.parse::<Authority>().map_or(true, |host| host.host().is_empty()) {
            return Err(Wrong::new("it names no host", right));
        }
        if !database.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Wrong::new("its database is no number", right));
        }
        Ok(Self(text.into()))
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

/// A text that is never shown.
#[derive(Clone)]
pub struct Secret(pub SecretString);

impl FromStr for Secret {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.is_empty() || !is_printable {
            let why = "it is empty, or holds what a field cannot carry";
            return Err(Wrong::new(why, "name a variable that is set: ${TOKEN}"));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(HIDDEN)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(HIDDEN)
    }
}

/// A name of ours: in keys of Redis, labels of metrics, and fields of responses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub String);

impl FromStr for Name {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(fits) {
            return Err(Wrong::new("", "write 1 to 64 letters, digits, `-`, `_` and `.`"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A field's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldName(pub String);

impl FieldName {
    pub(crate) fn name(&self) -> HeaderName {
        self.0.parse().expect("it was parsed when this was made")
    }
}

impl FromStr for FieldName {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        match text.parse::<HeaderName>() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(Wrong::new("", "write a name such as Accept-Language")),
        }
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
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

/// See [`PathPattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(pub PathPattern);

impl FromStr for Path {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let right = "write a path such as /api/products/**, /images/*.jpg or /users/{id}";
        PathPattern::parse(text).map(Self).map_err(|error| Wrong::new(error.to_string(), right))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// See [`HostPattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host(pub HostPattern);

impl FromStr for Host {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let right = "write a host such as shop.example, *.shop.example or 127.0.0.1:8080";
        HostPattern::parse(text).map(Self).map_err(|_| Wrong::new("", right))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The status of a final answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Status(pub u16);

impl FromStr for Status {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        // RFC 9110 §15: "valid status codes range from 100 to 599"; some servers go on to 999. 1xx are not final.
        let status = text.parse().ok().filter(|status| (200..=999).contains(status));
        status
            .map(Self)
            .ok_or_else(|| Wrong::new("", "write a number from 200 to 999, such as 404"))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A name that clients use, of a parameter, a cookie, or a value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word(pub String);

impl FromStr for Word {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let fits = |character: char| character.is_ascii_graphic() && !"&=;,#".contains(character);
        if text.is_empty() || !text.chars().all(fits) {
            let right = "write it as it is sent, percent-encoded, without `&`, `=`, `;` and `,`";
            return Err(Wrong::new("", right));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Word {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_takes_its_own_example_and_shows_it_alike() {
        for kind in KINDS {
            assert_eq!((kind.check)(kind.example), Ok(()), "{}", kind.keyword);
        }
        for text in ["0s", "250ms", "30s", "5m", "90m", "1d", "365d", "7us", "1ns"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for text in ["0B", "513B", "64KiB", "1MiB", "10GiB"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        for text in ["7%", "12.5%", "0%", "100%"] {
            assert_eq!(text.parse::<Part>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_meant_is_told_where_it_can_be_guessed() {
        let rows = [
            ("duration", "30", "write the unit too, such as 30s, 30m or 30ms"),
            ("size", "64", "write the unit too, such as 64B, 64KiB or 64MiB"),
            ("percent", "0.2", "write 20%"),
            ("percent", "120%", "write 0% to 100%"),
            ("socket-address", "8080", "0.0.0.0:8080"),
            ("socket-address", ":8080", "0.0.0.0:8080"),
            ("socket-address", "::1", "[::1]:8080"),
            ("origin-url", "api:3000", "write http://api:3000"),
            ("origin-url", "http://api:3000/v1", "write http://api:3000;"),
            ("network", "10.0.0.0/33", "write 10.0.0.0/32"),
            ("duration", "99999999999years", "write"),
            ("duration", "", "write a number"),
            ("status", "103", "200 to 999"),
        ];
        for (keyword, text, right) in rows {
            let kind = KINDS.iter().find(|kind| kind.keyword == keyword).unwrap();
            let wrong = (kind.check)(text).unwrap_err();
            assert!(wrong.right.contains(right), "{text}: {wrong}");
        }
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

    #[test]
    fn secrets_show_nothing_of_themselves() {
        let url: RedisUrl = "rediss://user:hunter2@redis:6379/0".parse().unwrap();
        let secret: Secret = "hunter2".parse().unwrap();
        let shown = format!("{url} {url:?} {secret} {secret:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("rediss://***@redis:6379/0"), "{shown}");
    }
}
