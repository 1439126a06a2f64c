//! Hosts of requests: what is one, and its one canonical form.

use std::net::Ipv6Addr;

use http::header::HeaderValue;
use http::uri::Scheme;

/// The longest name that can be resolved (RFC 1035 §2.3.4).
const LONGEST: usize = 253;

/// The host in lower case, without the scheme's own port, an empty one and the dot that ends a full name: all of them
/// name the same host, and some origins tell them apart. Nothing where it names none. Allocates only when something had to
/// be rewritten.
pub(crate) fn canonical(host: HeaderValue, scheme: &Scheme) -> Option<HeaderValue> {
    if is_canonical(host.as_bytes(), scheme) {
        return Some(host);
    }
    let (name, port) = parts(host.as_bytes(), scheme)?;
    let mut canonical = name.to_ascii_lowercase();
    if let Some(port) = port {
        canonical.push(b':');
        canonical.extend_from_slice(port);
    }
    HeaderValue::from_bytes(&canonical).ok()
}

/// Whether this is a host in its canonical form. Plain names, with a port or without, are known after one pass.
pub(crate) fn is_canonical(host: &[u8], scheme: &Scheme) -> bool {
    let mut label = 0;
    for (at, byte) in host.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
            b'.' if label > 0 => label = 0,
            b':' if label > 0 => {
                let port = &host[at + 1..];
                return at <= LONGEST && is_port(port) && port != port_of(scheme);
            }
            _ => {
                let parts = parts(host, scheme);
                return parts.is_some_and(|(name, port)| is_written_so(host, name, port));
            }
        }
    }
    label > 0 && host.len() <= LONGEST
}

/// Whether there is nothing to be rewritten.
fn is_written_so(host: &[u8], name: &[u8], port: Option<&[u8]>) -> bool {
    let length = name.len() + port.map_or(0, |port| 1 + port.len());
    length == host.len() && !host.iter().any(u8::is_ascii_uppercase)
}

/// The name without the dot that ends it, and the port where it is not the scheme's own; nothing where they are none.
fn parts<'a>(host: &'a [u8], scheme: &Scheme) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let (name, port) = split_port(host)?;
    let port = port.filter(|port| !port.is_empty());
    if !port.is_none_or(is_port) {
        return None;
    }
    let name = if name.starts_with(b"[") {
        Some(name).filter(|name| is_address(name))
    } else {
        Some(name.strip_suffix(b".").unwrap_or(name)).filter(|name| is_name(name))
    };
    Some((name?, port.filter(|port| *port != port_of(scheme))))
}

/// The scheme's own port, which is not written.
fn port_of(scheme: &Scheme) -> &'static [u8] {
    if *scheme == Scheme::HTTPS { b"443" } else { b"80" }
}

/// A host and what is behind its colon; nothing where there are several colons outside of brackets.
fn split_port(host: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let from = host.iter().position(|byte| *byte == b']').unwrap_or(0);
    let mut colons = (from..host.len()).filter(|at| host[*at] == b':');
    match (colons.next(), colons.next()) {
        (None, _) => Some((host, None)),
        (Some(colon), None) => Some((&host[..colon], Some(&host[colon + 1..]))),
        (Some(_), Some(_)) => None,
    }
}

/// A number from 1 to 65535 in its one plain form.
fn is_port(text: &[u8]) -> bool {
    let text = str::from_utf8(text).unwrap_or_default();
    text.starts_with(|first: char| ('1'..='9').contains(&first))
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u16>().is_ok()
}

/// An IPv6 address in brackets.
fn is_address(name: &[u8]) -> bool {
    let inner = name.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    inner
        .and_then(|address| str::from_utf8(address).ok())
        .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// What can be resolved: letters, digits, `-` and `_` in labels. RFC 3986 §3.2.2 allows more, which
/// names no host, and could end a line, a path or a key somewhere.
fn is_name(name: &[u8]) -> bool {
    (1..=LONGEST).contains(&name.len())
        && name.split(|byte| *byte == b'.').all(|label| !label.is_empty())
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_form_and_what_is_none_is_refused() {
        let long = format!("{}.example", "a".repeat(250));
        let rows = [
            ("a", Some("a")),
            ("A.Example", Some("a.example")),
            ("a.example.", Some("a.example")),
            ("a:80", Some("a")),
            ("a.:80", Some("a")),
            ("a:", Some("a")),
            ("a:443", Some("a:443")),
            ("a:65535", Some("a:65535")),
            ("a_b-c.d", Some("a_b-c.d")),
            ("127.0.0.1:8080", Some("127.0.0.1:8080")),
            ("a.b:8080", Some("a.b:8080")),
            ("a.b:", Some("a.b")),
            ("a.:8080", Some("a:8080")),
            ("[::1]", Some("[::1]")),
            ("[::AB]:81", Some("[::ab]:81")),
            ("", None),
            (".", None),
            ("..", None),
            ("a..b", None),
            (".a", None),
            (":80", None),
            ("a:0", None),
            ("a:080", None),
            ("a:65536", None),
            ("a:+80", None),
            ("a:8x", None),
            ("a:80:80", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[x]", None),
            ("::1", None),
            ("a b", None),
            ("a,b", None),
            ("a%0d%0a", None),
            ("u@a", None),
            ("a/b", None),
            ("a\\b", None),
            ("<a>", None),
            (long.as_str(), None),
        ];
        for (written, expected) in rows {
            let host = HeaderValue::from_str(written).unwrap();
            let found = canonical(host, &Scheme::HTTP);
            let found = found.as_ref().map(HeaderValue::as_bytes);
            assert_eq!(found, expected.map(str::as_bytes), "{written}");
            let same = expected == Some(written);
            assert_eq!(is_canonical(written.as_bytes(), &Scheme::HTTP), same, "{written}");
        }
    }
}
