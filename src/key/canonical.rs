//! The URL as the cache sees it, which is also the URL that the origin gets.

use std::borrow::Cow;

use http::header::{COOKIE, HOST, HeaderMap, HeaderValue};
use http::uri::{PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version};

use crate::key::HostRule;
use crate::key::authority;
use crate::key::content::graphql;

/// A request's URL in its canonical form. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    scheme: Scheme,
    /// Lower case, without the scheme's own port.
    host: HeaderValue,
    path: PathAndQuery,
}

/// The URL of a request whose host and path are canonical as they were sent: the same as its [`Target`], of borrowed
/// bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainTarget<'a> {
    scheme: &'a Scheme,
    host: &'a str,
    path_and_query: &'a str,
    path: &'a str,
}

/// Which parts of a query tell two URLs apart; what does not is not sent to the origin either.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryRules {
    /// If given, only parameters of these names are kept.
    pub allow: Option<Vec<String>>,
    /// Parameters of these names are removed.
    pub deny: Vec<String>,
    pub order: QueryOrder,
    pub language: QueryLanguage,
}

/// What the parameters of a query say, as far as it is understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueryLanguage {
    #[default]
    Unknown,
    /// A GraphQL request, whose parameters have a canonical form.
    GraphQl,
}

/// Whether the order of parameters tells two URLs apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueryOrder {
    #[default]
    AsSent,
    /// Parameters are sorted by their bytes, so that their order does not count.
    Sorted,
}

/// Why a request names no URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the request has no host")]
    NoHost,
    #[error("the request has more than one Host field")]
    SeveralHosts,
    #[error("the host is not a valid authority")]
    Host,
    #[error("the Host field names another host than the target")]
    OtherHost,
    #[error("the target is neither a path nor an http or https URL")]
    Form,
    #[error("the path does not begin with a slash")]
    Path,
}

impl Target {
    /// The canonical form of a request's URL. An absolute target wins over `Host` (RFC 9112 §3.2.2).
    ///
    /// Dot segments are removed (RFC 3986 §6.2.2.3), so that a route is chosen by the path that the origin will
    /// see; nothing is decoded. Allocates only when something had to be rewritten.
    pub fn of<B>(request: &Request<B>, scheme: Scheme) -> Result<Self, Malformed> {
        let host = authority(request.uri(), request.headers())?;
        let host = authority::canonical(host, &scheme).ok_or(Malformed::Host)?;
        let path = request.uri().path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self { scheme, host, path: without_dot_segments(path)? })
    }

    /// The canonical form of an absolute URL as a client writes it, for purges.
    pub fn parse(url: &str) -> Result<Self, Malformed> {
        let uri: Uri = url.parse().map_err(|_| Malformed::Host)?;
        let scheme = uri.scheme().cloned().ok_or(Malformed::NoHost)?;
        let request = Request::get(uri).body(()).map_err(|_| Malformed::Host)?;
        Self::of(&request, scheme)
    }

    /// The URL that a reference in a message about this one means (RFC 3986 §5.2.2), without its fragment.
    pub fn resolve(&self, reference: &str) -> Result<Self, Malformed> {
        let text = reference.trim_ascii();
        let text = text.split_once('#').map_or(text, |(text, _)| text);
        let base = format!("{}://{}", self.scheme, self.host_str());
        if has_scheme(text) {
            Self::parse(text)
        } else if text.is_empty() {
            Ok(self.clone())
        } else if text.starts_with("//") {
            Self::parse(&format!("{}:{text}", self.scheme))
        } else if text.starts_with('/') {
            Self::parse(&format!("{base}{text}"))
        } else if text.starts_with('?') {
            Self::parse(&format!("{base}{}{text}", self.path()))
        } else {
            let folder = self.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            Self::parse(&format!("{base}{folder}/{text}"))
        }
    }

    /// The same target with the query as `rules` keep it.
    #[must_use]
    pub fn under(mut self, rules: &QueryRules) -> Self {
        if let Some(query) = self.path.query()
            && let Some(kept) = rules.keep(query)
        {
            let path = self.path.path();
            let text = if kept.is_empty() { path.to_owned() } else { format!("{path}?{kept}") };
            // A selection of valid parameters is valid; were it not, the URL as sent is always right.
            if let Ok(rewritten) = PathAndQuery::try_from(text) {
                self.path = rewritten;
            }
        }
        self
    }

    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    pub fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// The host as text; it was checked to be ASCII.
    pub fn host_str(&self) -> &str {
        self.host.to_str().unwrap_or_default()
    }

    pub fn path(&self) -> &str {
        self.path.path()
    }

    pub fn path_and_query(&self) -> &PathAndQuery {
        &self.path
    }

    /// What purges by prefix compare: the URL, without its beginning where the host does not tell URLs apart.
    pub(crate) fn url_under(&self, host: HostRule) -> String {
        match host {
            HostRule::Keyed => self.url(),
            HostRule::Ignored => self.path.as_str().to_owned(),
        }
    }

    /// The URL written out, as purges, logs and people know it.
    pub fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.host_str(), self.path)
    }
}

impl<'a> PlainTarget<'a> {
    /// Nothing where [`Target::of`] would rewrite or refuse something, or might.
    pub fn of(host: &'a str, path_and_query: &'a str, scheme: &'a Scheme) -> Option<Self> {
        let canonical = authority::is_canonical(host.as_bytes(), scheme)
            && path_and_query.starts_with('/')
            && path_and_query.bytes().all(|byte| PATH[usize::from(byte)]);
        if !canonical {
            return None;
        }
        let path = path_and_query.split_once('?').map_or(path_and_query, |(path, _)| path);
        (!may_have_dots(path)).then_some(Self { scheme, host, path_and_query, path })
    }

    pub fn scheme(&self) -> &'a Scheme {
        self.scheme
    }

    pub fn host(&self) -> &'a str {
        self.host
    }

    pub fn path(&self) -> &'a str {
        self.path
    }

    pub fn path_and_query(&self) -> &'a str {
        self.path_and_query
    }
}

impl QueryRules {
    /// The query that is kept, or nothing when it stays as it is.
    fn keep(&self, query: &str) -> Option<String> {
        if self == &Self::default() {
            return None;
        }
        let mut parameters: Vec<&str> =
            query.split('&').filter(|parameter| self.keeps(name(parameter))).collect();
        match self.order {
            QueryOrder::AsSent => {}
            QueryOrder::Sorted => parameters.sort_unstable(),
        }
        Some(match self.language {
            QueryLanguage::Unknown => parameters.join("&"),
            QueryLanguage::GraphQl => graphql::canonical_query(&parameters),
        })
    }

    fn keeps(&self, name: &str) -> bool {
        let allowed =
            self.allow.as_ref().is_none_or(|names| names.iter().any(|known| known == name));
        allowed && !self.deny.iter().any(|known| known == name)
    }
}

/// RFC 3986 §3.1: `scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )`.
fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else { return false };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn name(parameter: &str) -> &str {
    parameter.split_once('=').map_or(parameter, |(name, _)| name)
}

/// Whether a request names one URL in a form that its method has (RFC 9112 §3.2): what is refused here, [`Target::of`]
/// would read in one of several ways.
pub fn is_sound<B>(request: &Request<B>) -> Result<(), Malformed> {
    let uri = request.uri();
    let known = uri.scheme().is_none_or(|it| [Scheme::HTTP, Scheme::HTTPS].contains(it));
    // `host:port` alone is for CONNECT, `*` for OPTIONS.
    let authority_form = uri.scheme().is_none() && uri.authority().is_some();
    if !known || authority_form || uri.path() == "*" && request.method() != Method::OPTIONS {
        return Err(Malformed::Form);
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), uri.authority()) {
        (Some(_), _) if hosts.next().is_some() => Err(Malformed::SeveralHosts),
        // RFC 9112 §3.2.2: HTTP/1 has both, and the target's counts; §3.2: what the field says must be valid all the same.
        (Some(host), Some(_)) if request.version() < Version::HTTP_2 => {
            authority::canonical(host.clone(), &Scheme::HTTP).map(drop).ok_or(Malformed::Host)
        }
        // RFC 9113 §8.3.1: "a server SHOULD treat a request as malformed if it contains a Host header field that
        // identifies an entity that differs from the entity in the ":authority" pseudo-header field".
        (Some(host), Some(authority)) => {
            let same = host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
            same.then_some(()).ok_or(Malformed::OtherHost)
        }
        // RFC 9112 §3.2: 400 "to any HTTP/1.1 request message that lacks a Host header field".
        (None, _) if request.version() == Version::HTTP_11 => Err(Malformed::NoHost),
        (Some(_), None) | (None, _) => Ok(()),
    }
}

/// The authority that a request names, as it was sent.
fn authority(uri: &Uri, fields: &HeaderMap) -> Result<HeaderValue, Malformed> {
    if let Some(authority) = uri.authority() {
        // RFC 9110 §4.2.4: user information has no place in a request.
        if authority.as_str().contains('@') {
            return Err(Malformed::Host);
        }
        return HeaderValue::from_str(authority.as_str()).map_err(|_| Malformed::Host);
    }
    let mut hosts = fields.get_all(HOST).iter();
    let host = hosts.next().ok_or(Malformed::NoHost)?;
    if hosts.next().is_some() {
        return Err(Malformed::SeveralHosts);
    }
    Ok(host.clone())
}

/// What RFC 3986 §3.3 and §3.4 allow in a path and a query; what else parsers forgive is theirs to judge.
const PATH: [bool; 256] = among(b"-._~!$&'()*+,;=:@%/?");

/// Letters, digits and `others`, by a look-up: every byte of every plain target passes here.
const fn among(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

fn without_dot_segments(path: PathAndQuery) -> Result<PathAndQuery, Malformed> {
    if path.path() == "*" {
        return Ok(path);
    }
    if !path.path().starts_with('/') {
        return Err(Malformed::Path);
    }
    let clean = match clean(path.path()) {
        Some(clean) => clean,
        // `http://h?x=1`: RFC 9110 §4.2.3 gives an empty path the same meaning as `/`.
        None if !path.as_str().starts_with('/') => "/".to_owned(),
        None => return Ok(path),
    };
    let text = path.query().map_or_else(|| clean.clone(), |query| format!("{clean}?{query}"));
    PathAndQuery::try_from(text).map_err(|_| Malformed::Path)
}

/// The path without `.` and `..`, or nothing when it has none (RFC 3986 §5.2.4; `%2e` is a dot, §6.2.2.2).
fn clean(path: &str) -> Option<String> {
    if !may_have_dots(path) {
        return None;
    }
    if !path.split('/').any(|segment| dots(segment).is_some()) {
        return None;
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in path.split('/').skip(1) {
        ends_open = true;
        match dots(segment) {
            Some(1) => {}
            Some(_) => {
                kept.pop();
            }
            None => {
                kept.push(segment);
                ends_open = false;
            }
        }
    }
    let mut clean = String::with_capacity(path.len());
    for segment in kept {
        clean.push('/');
        clean.push_str(segment);
    }
    if ends_open {
        clean.push('/');
    }
    Some(clean)
}

/// Whether a segment begins like a dot segment.
fn may_have_dots(path: &str) -> bool {
    let path = path.as_bytes();
    memchr::memchr2_iter(b'.', b'%', path).any(|at| {
        at > 0 && path[at - 1] == b'/' && (path[at] == b'.' || path.get(at + 1) == Some(&b'2'))
    })
}

/// One for `.`, two for `..`, in any spelling.
fn dots(segment: &str) -> Option<usize> {
    let plain: Cow<'_, str> = if segment.contains('%') {
        segment.replace("%2e", ".").replace("%2E", ".").into()
    } else {
        segment.into()
    };
    match &*plain {
        "." => Some(1),
        ".." => Some(2),
        _ => None,
    }
}

/// The values of a request's cookies of this name, over all `Cookie` lines: of several, some origins take the first
/// and some the last.
pub fn cookies<'a>(fields: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .get_all(COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .filter_map(move |pair| {
            let at = pair.iter().position(|byte| *byte == b'=')?;
            let is_named = pair[..at].trim_ascii() == name.as_bytes();
            is_named.then(|| pair[at + 1..].trim_ascii())
        })
}

#[cfg(test)]
mod tests {
    use proptest::proptest;

    use super::*;
    use crate::key::{Identity, Key};

    fn target(url: &str) -> Target {
        Target::parse(url).unwrap()
    }

    /// RFC 3986 §5.4.
    #[test]
    fn references_mean_what_they_mean_in_a_message_about_the_target() {
        let rows = [
            ("/c", "http://h/c"),
            ("c", "http://h/a/c"),
            ("c/d?x=http://y", "http://h/a/c/d?x=http://y"),
            ("./c#part", "http://h/a/c"),
            ("../c", "http://h/c"),
            ("?y=2", "http://h/a/b?y=2"),
            ("", "http://h/a/b?x=1"),
            ("#part", "http://h/a/b?x=1"),
            ("//g/c", "http://g/c"),
            ("http://H:80/c", "http://h/c"),
            ("https://h/c", "https://h/c"),
        ];
        for (reference, meant) in rows {
            let found = target("http://h/a/b?x=1").resolve(reference).unwrap();
            assert_eq!(found.url(), meant, "{reference}");
        }
        assert!(target("http://h/a").resolve("urn:isbn:1").is_err());
        assert!(target("http://h/a").resolve("::nonsense").is_ok_and(|url| url.host() == "h"));
    }

    #[test]
    fn hosts_lose_case_and_default_port() {
        assert_eq!(target("http://Shop.Example:80/a").url(), "http://shop.example/a");
        assert_eq!(target("http://Shop.Example/a").url(), "http://shop.example/a");
        assert_eq!(target("http://shop.example:80/a").url(), "http://shop.example/a");
        assert_eq!(target("http://shop.example:443/a").url(), "http://shop.example:443/a");
    }

    #[test]
    fn a_url_begins_with_its_path_where_its_host_does_not_count() {
        let url = target("http://shop.example/a/b?c");
        assert_eq!((url.path(), url.path_and_query().as_str()), ("/a/b", "/a/b?c"));
        assert_eq!(url.url_under(HostRule::Keyed), "http://shop.example/a/b?c");
        assert_eq!(url.url_under(HostRule::Ignored), "/a/b?c");
    }

    #[test]
    fn dot_segments_are_removed_in_every_spelling_and_nothing_else_is() {
        let rows = [
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b?x=..", "/b?x=.."),
            ("/a/./b/.", "/a/b/"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("/a//b/%2F..%2f", "/a//b/%2F..%2f"),
            ("/.well-known/x", "/.well-known/x"),
        ];
        for (sent, kept) in rows {
            assert_eq!(
                target(&format!("http://h{sent}")).path_and_query().as_str(),
                kept,
                "{sent}"
            );
        }
    }

    #[test]
    fn an_empty_path_is_a_slash() {
        assert_eq!(target("http://h?x=1").path_and_query().as_str(), "/?x=1");
        assert_eq!(target("http://h").path_and_query().as_str(), "/");
    }

    #[test]
    fn query_rules_select_and_sort() {
        let rules = QueryRules {
            allow: Some(vec!["page".into(), "sort".into()]),
            deny: vec!["sort".into()],
            order: QueryOrder::Sorted,
            ..QueryRules::default()
        };
        assert_eq!(
            target("http://h/?sort=a&page=2&x=1&page=1").under(&rules).url(),
            "http://h/?page=1&page=2"
        );
        assert_eq!(target("http://h/a?x=1").under(&rules).url(), "http://h/a");
    }

    #[test]
    fn a_request_without_or_with_two_hosts_or_with_an_odd_one_names_no_url() {
        let none = Request::get("/a").body(()).unwrap();
        assert_eq!(Target::of(&none, Scheme::HTTP), Err(Malformed::NoHost));
        let two = Request::get("/a").header(HOST, "a").header(HOST, "b").body(()).unwrap();
        assert_eq!(Target::of(&two, Scheme::HTTP), Err(Malformed::SeveralHosts));
        let odd = Request::get("/a").header(HOST, "a/b").body(()).unwrap();
        assert_eq!(Target::of(&odd, Scheme::HTTP), Err(Malformed::Host));
        let bare = Request::get("/a").header(HOST, ":80").body(()).unwrap();
        assert_eq!(Target::of(&bare, Scheme::HTTP), Err(Malformed::Host));
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut fields = HeaderMap::new();
        fields.append(COOKIE, HeaderValue::from_static("aid=1; id=2"));
        fields.append(COOKIE, HeaderValue::from_static("id=3=4"));
        assert_eq!(cookies(&fields, "id").collect::<Vec<_>>(), [&b"2"[..], b"3=4"]);
        assert_eq!(cookies(&fields, "d").count(), 0);
    }

    proptest! {
        /// What is plain is canonical, and keyed alike.
        #[test]
        fn a_plain_target_is_the_target_that_the_request_has(
            host in "[a-zA-Z0-9.:%_-]{0,12}(:80|:443)?",
            path in "/?[a-zA-Z0-9./%2eE?#&=+ \\[\\]{}|^\"<>\\\\`~-]{0,24}",
        ) {
            let Some(plain) = PlainTarget::of(&host, &path, &Scheme::HTTP) else { return Ok(()) };
            let request = Request::get(path.as_str()).header(HOST, host.as_str()).body(()).unwrap();
            let target = Target::of(&request, Scheme::HTTP).unwrap();
            assert_eq!((plain.host(), plain.path()), (target.host_str(), target.path()));
            assert_eq!(plain.path_and_query(), target.path_and_query().as_str());
            let (rules, fields) = (crate::key::KeyRules::default(), HeaderMap::new());
            let (service, route, question) = ("s", "r", None);
            let identity =
                Identity { service, route, target: &target, rules: &rules, fields: &fields, question };
            assert_eq!(Key::of_plain(service, route, &plain, rules.host), Key::of(&identity));
        }
    }
}
