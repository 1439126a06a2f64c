//! Field names, hop-by-hop removal and list parsing.

use http::header::{
    AUTHORIZATION, CONNECTION, COOKIE, HeaderMap, HeaderName, HeaderValue, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, PROXY_AUTHORIZATION, RANGE,
};
use smallvec::SmallVec;

pub const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
pub const X_CACHE_LAYER: HeaderName = HeaderName::from_static("x-cache-layer");
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
pub const LARDER_CACHE_CONTROL: HeaderName = HeaderName::from_static("larder-cache-control");
pub const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");
pub const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
pub const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
pub const XKEY: HeaderName = HeaderName::from_static("xkey");
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
pub const CACHE_GROUP_INVALIDATION: HeaderName =
    HeaderName::from_static("cache-group-invalidation");
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The fields that make an answer depend on what one client has already. A static, since a constant is made anew
/// wherever it is named.
pub static CONDITIONS: [HeaderName; 6] =
    [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE, RANGE];

/// Makes one line of several `Cookie` lines, as HTTP/2 clients send them.
///
/// RFC 9113 §8.2.3: they "MUST be concatenated into a single octet string using the two-octet delimiter of 0x3B, 0x20 (the
/// ASCII string "; ") before being passed into a non-HTTP/2 context".
pub fn join_cookies(fields: &mut HeaderMap) {
    let mut lines = fields.get_all(COOKIE).iter();
    if lines.next().is_none() || lines.next().is_none() {
        return;
    }
    let lines: Vec<_> = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        fields.insert(COOKIE, joined);
    }
}

/// Fields that are asked for by their names.
pub trait Named {
    /// The value of each line with this name, in their order.
    fn named(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]>;

    /// The value of the first line with this name.
    fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        self.named(name).next()
    }

    /// Whether there is a line with this name.
    fn has(&self, name: &HeaderName) -> bool {
        self.first(name).is_some()
    }
}

/// Fields of which some can be taken out.
pub trait Removable: Named {
    /// Takes out all lines with such a name. Names come in any case.
    fn remove_each(&mut self, is_one: impl Fn(&[u8]) -> bool);

    /// Takes out all lines with this name.
    fn remove_all(&mut self, name: &HeaderName) {
        self.remove_each(|known| known.eq_ignore_ascii_case(name.as_str().as_bytes()));
    }
}

impl Named for HeaderMap {
    fn named(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        self.get_all(name).iter().map(HeaderValue::as_bytes)
    }

    fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        self.get(name).map(HeaderValue::as_bytes)
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.contains_key(name)
    }
}

impl Removable for HeaderMap {
    // One look over all fields, since mostly there is one such name or none: to look one up costs 45 instructions or, where it
    // is no standard name, 150.
    fn remove_each(&mut self, is_one: impl Fn(&[u8]) -> bool) {
        let found = self.keys().filter(|name| is_one(name.as_str().as_bytes())).cloned();
        let found: SmallVec<[HeaderName; 2]> = found.collect();
        for name in found {
            self.remove(name);
        }
    }

    fn remove_all(&mut self, name: &HeaderName) {
        self.remove(name);
    }
}

/// Whether a name, in any case, is one of these.
pub fn is_among(name: &[u8], known: &[&str]) -> bool {
    known.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// Whether a field with this name, in any case, is of one hop.
pub fn is_of_one_hop(name: &[u8]) -> bool {
    const OF_ONE_HOP: [&str; 6] =
        ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];
    is_among(name, &OF_ONE_HOP)
}

/// Whether a field with this name, in any case, is of one proxy.
fn is_of_one_proxy(name: &[u8]) -> bool {
    const OF_ONE_PROXY: [&str; 4] =
        ["proxy-authenticate", "proxy-authorization", "proxy-authentication-info", "trailer"];
    is_among(name, &OF_ONE_PROXY)
}

/// What says something else than the request line, the connection and the key, to some origin or framework, and is
/// therefore not passed on (DESIGN: what is not in the key must not steer the origin).
const STEERING: [&str; 34] = [
    "base-url",
    "cf-connecting-ip",
    "client-ip",
    "destination-url",
    "fastly-client-ip",
    "forwarded",
    "front-end-https",
    // `HTTP_PROXY`, to what runs by CGI.
    "proxy",
    "proxy-host",
    "real-ip",
    "request-uri",
    "true-client-ip",
    "url",
    "x-base-url",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-host",
    "x-http-destinationurl",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-invoke-path",
    "x-method-override",
    "x-middleware-subrequest",
    "x-originating-ip",
    "x-override-url",
    "x-proxy-host",
    "x-proxy-url",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-requested-url",
    "x-url-scheme",
];

/// Fields of a request that say who asks.
pub static PERSONAL: [HeaderName; 9] = [
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    COOKIE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-auth-token"),
    HeaderName::from_static("x-access-token"),
    HeaderName::from_static("x-session-id"),
    HeaderName::from_static("x-user"),
    HeaderName::from_static("x-user-id"),
];

/// Beginnings of the names of such fields.
const STEERING_FAMILIES: [&str; 4] = ["x-forwarded-", "forwarded-", "x-original-", "x-rewrite-"];

/// Whether a field with this name, in lower case, says something of the URL, the method, the host or the client beside the request
/// itself.
pub fn is_steering(name: &str) -> bool {
    // The most usual fields begin with none of these: accept, host, if-none-match, sec-fetch-mode.
    matches!(
        name.as_bytes().first(),
        Some(b'b' | b'c' | b'd' | b'f' | b'p' | b'r' | b't' | b'u' | b'x')
    ) && (STEERING.binary_search(&name).is_ok()
        || STEERING_FAMILIES.iter().any(|family| name.starts_with(family)))
}

/// Whether a name has `_` and reads like a field which counts: one that frames, that belongs to one hop, that steers, that we
/// may say ourselves, that is among these, or that is part of the key. To an origin that speaks CGI or WSGI `X_User` and
/// `X-User` are one.
pub fn is_alias(name: &HeaderName, fields: &HeaderMap, keyed: &[HeaderName]) -> bool {
    use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST};
    const OWN: [HeaderName; 6] =
        [ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST];
    if !name.as_str().contains('_') {
        return false;
    }
    let plain = name.as_str().replace('_', "-");
    is_steering(&plain)
        || is_of_one_hop(plain.as_bytes())
        || fields.contains_key(&plain)
        || OWN.iter().chain(&CONDITIONS).chain(keyed).any(|name| *name == *plain)
}

/// Removes the fields that speak of one connection only, and those that `Connection` names.
///
/// RFC 9110 §7.6.1: "Intermediaries MUST parse a received Connection header field before a message is forwarded
/// and, for each connection-option in this field, remove any header or trailer field(s) from the message with the
/// same name as the connection-option, and then remove the Connection header field itself".
pub fn remove_hop_by_hop(fields: &mut impl Removable) {
    remove_named_by_connection(fields);
    fields.remove_each(is_of_one_hop);
}

/// Removes the fields that `Connection` names, and leaves it itself. What goes no further must not be keyed or
/// select a variant either. Costs one look-up where a client names nothing but the usual.
pub fn remove_named_by_connection(fields: &mut impl Removable) {
    let named: Vec<Box<[u8]>> = named_by_connection(fields).into_iter().map(Box::from).collect();
    if !named.is_empty() {
        fields.remove_each(|name| named.iter().any(|option| name.eq_ignore_ascii_case(option)));
    }
}

/// The fields that `Connection` names, in any case; without those that it cannot take away.
fn named_by_connection(fields: &impl Named) -> Vec<&[u8]> {
    let is_usual = |line: &[u8]| line.eq_ignore_ascii_case(b"keep-alive") || line == b"close";
    if fields.named(&CONNECTION).all(is_usual) {
        return Vec::new();
    }
    let options = members(fields, &CONNECTION);
    options.filter(|option| may_be_named_by_connection(option)).collect()
}

/// A `Connection` that names an end-to-end field which we rely on is an attack or a mistake, not an option
/// (RFC 9110 §7.6.1: "A sender MUST NOT send a connection option corresponding to a field that is intended for all
/// recipients of the content. For example, Cache-Control is never appropriate as a connection option").
fn may_be_named_by_connection(option: &[u8]) -> bool {
    const RELIED_UPON: [&str; 13] = [
        "age",
        "authorization",
        "cache-control",
        "content-length",
        "cookie",
        "expires",
        "forwarded",
        "host",
        "set-cookie",
        "vary",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    ];
    !is_among(option, &RELIED_UPON)
}

/// Removes what a cache does not keep though it may arrive (RFC 9111 §3.1): fields of one hop and of one proxy.
pub fn remove_unstorable(fields: &mut HeaderMap) {
    remove_hop_by_hop(fields);
    fields.remove_each(is_of_one_proxy);
}

/// The members of a comma-separated list, trimmed, without the empty ones; commas in quoted strings do not
/// separate (RFC 9110 §5.6.1).
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    List { rest: Some(value) }.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// The members of all lines of a field.
pub fn members<'a>(fields: &'a impl Named, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
    fields.named(name).flat_map(list)
}

struct List<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for List<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let (mut quoted, mut escaped) = (false, false);
        for (index, byte) in rest.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b',' if !quoted => {
                    self.rest = Some(&rest[index + 1..]);
                    return Some(&rest[..index]);
                }
                _ => {}
            }
        }
        self.rest = None;
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_quoted_strings_do_not_separate() {
        let seen: Vec<&[u8]> = list(br#" a, "b,\"c" ,, d="e,f""#).collect();
        assert_eq!(seen, [&b"a"[..], br#""b,\"c""#, br#"d="e,f""#]);
    }

    #[test]
    fn what_steers_is_found_by_its_name() {
        assert!(STEERING.is_sorted());
        assert!(STEERING.into_iter().all(is_steering));
        assert!(STEERING_FAMILIES.into_iter().all(is_steering));
        for name in
            ["x-forwarded-anything", "x-original-url", "x-rewrite-uri", "forwarded", "proxy"]
        {
            assert!(is_steering(name), "{name}");
        }
        for name in ["host", "x-forwarding", "originally", "accept", "x-requested-with", "origin"] {
            assert!(!is_steering(name), "{name}");
        }
    }

    #[test]
    fn names_that_read_like_others_go() {
        let mut fields = HeaderMap::new();
        let names = [
            "transfer_encoding",
            "x_forwarded_host",
            "x_tenant",
            "x_own",
            "x-own",
            "api_key",
            "content_length",
            "x_original-url",
            "if_none_match",
            "accept_encoding",
        ];
        for name in names {
            fields.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        let keyed = [HeaderName::from_static("x-tenant")];
        let left = fields.keys().filter(|name| !is_alias(name, &fields, &keyed));
        let mut left: Vec<_> = left.map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["api_key", "x-own"]);
    }

    #[test]
    fn fields_of_one_hop_and_of_one_proxy_go_in_any_case() {
        for name in
            ["Connection", "KEEP-alive", "Proxy-Connection", "te", "Transfer-Encoding", "UPGRADE"]
        {
            assert!(is_of_one_hop(name.as_bytes()), "{name}");
        }
        let of_one_proxy =
            ["Proxy-Authenticate", "proxy-AUTHORIZATION", "Proxy-Authentication-Info", "Trailer"];
        for name in of_one_proxy {
            assert!(is_of_one_proxy(name.as_bytes()) && !is_of_one_hop(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn fields_named_by_connection_go_and_their_neighbours_stay() {
        let mut fields = HeaderMap::new();
        fields.append(CONNECTION, HeaderValue::from_static("a, B"));
        fields.append(CONNECTION, HeaderValue::from_static("Cache-Control, x-forwarded-for"));
        for name in ["a", "b", "c", "cache-control", "keep-alive", "te", "x-forwarded-for"] {
            fields.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        remove_hop_by_hop(&mut fields);
        let mut left: Vec<_> = fields.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["c", "cache-control", "x-forwarded-for"]);
    }
}
