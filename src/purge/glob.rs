//! Patterns of whole URLs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::key::host::HostPattern;
use crate::key::pattern::{BadPattern, PathPattern};

/// A pattern of URLs, such as `/api/*/reviews/**`, `//*.shop.example/img/**` or `/search?*q=shoes*`.
///
/// The path is a [`PathPattern`]: `*` stands for any bytes within a segment, `**` for any number of segments. Without a
/// host it speaks of every host; where a URL is the same on every host, its host does not count. Without a `?` the
/// query does not count either; behind one, `*` stands for any bytes of the query as it is keyed. The scheme never
/// counts. Matching is linear in the URL but for `**` in the middle, and never exponential.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UrlGlob {
    host: Option<HostPattern>,
    path: PathPattern,
    query: Option<Box<str>>,
}

/// Why a text is no pattern of URLs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadGlob {
    #[error(
        "it must begin with a slash, or with `//`, a host and a slash, as `//*.shop.example/api/**`"
    )]
    Start,
    #[error("its host is none")]
    Host,
    #[error("its path is no pattern: {0}")]
    Path(#[from] BadPattern),
    #[error("its query holds what no URL does")]
    Query,
}

impl UrlGlob {
    pub fn parse(text: &str) -> Result<Self, BadGlob> {
        let (host, rest) = split_host(text)?;
        let host = host.map(HostPattern::parse).transpose().map_err(|_| BadGlob::Host)?;
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let is_sound =
            |query: &str| query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if !query.is_none_or(is_sound) {
            return Err(BadGlob::Query);
        }
        let host = host.filter(|host| !host.is_every());
        Ok(Self { host, path: PathPattern::parse(path)?, query: query.map(Into::into) })
    }

    /// Whether every URL is one of the pattern's.
    pub fn is_every(&self) -> bool {
        self.host.is_none() && self.query.is_none() && self.path == PathPattern::every()
    }

    /// Whether a canonical URL, with its scheme and host or from its path on, is one of the pattern's.
    pub fn is_match(&self, url: &str) -> bool {
        let (host, rest) = parts(url);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let host_fits = match (&self.host, host) {
            (Some(pattern), Some(host)) => pattern.is_match(host),
            (None, _) | (_, None) => true,
        };
        host_fits
            && self.path.is_match(path)
            && self.query.as_ref().is_none_or(|pattern| is_like(pattern, query))
    }
}

/// A canonical URL's host, where it has one, and the rest from its path on.
pub(super) fn parts(url: &str) -> (Option<&str>, &str) {
    let Some((_, behind)) = url.split_once("://").filter(|_| !url.starts_with('/')) else {
        return (None, url);
    };
    let at = behind.find('/').unwrap_or(behind.len());
    (Some(&behind[..at]), &behind[at..])
}

fn split_host(text: &str) -> Result<(Option<&str>, &str), BadGlob> {
    let start = ["http://", "https://", "//"].into_iter().find(|start| {
        text.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
    });
    let Some(start) = start else {
        return if text.starts_with('/') { Ok((None, text)) } else { Err(BadGlob::Start) };
    };
    let rest = &text[start.len()..];
    let at = rest.find('/').ok_or(BadGlob::Start)?;
    Ok((Some(&rest[..at]), &rest[at..]))
}

/// Whether `text` is `pattern`, where each `*` stands for any bytes.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let (between, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    for literal in between.split('*') {
        // The leftmost place leaves the most for what follows.
        let Some(at) = text.find(literal) else { return false };
        text = &text[at + literal.len()..];
    }
    text.ends_with(tail)
}

impl fmt::Display for UrlGlob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => write!(formatter, "//{host}")?,
            // A path that begins like a host is none: the log's other readers have to see that too.
            None if self.path.as_str().starts_with("//") => formatter.write_str("//*")?,
            None => {}
        }
        formatter.write_str(self.path.as_str())?;
        self.query.as_ref().map_or(Ok(()), |query| write!(formatter, "?{query}"))
    }
}

impl TryFrom<String> for UrlGlob {
    type Error = BadGlob;

    fn try_from(text: String) -> Result<Self, BadGlob> {
        Self::parse(&text)
    }
}

impl From<UrlGlob> for String {
    fn from(glob: UrlGlob) -> Self {
        glob.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_begins_with_two_slashes_is_read_back_as_a_path() {
        for text in ["http://*//a.example/b", "//*//a.example/b?c=*", "//b.example//a/b", "/a//b"] {
            let glob = UrlGlob::parse(text).unwrap();
            assert_eq!(UrlGlob::parse(&glob.to_string()).as_ref(), Ok(&glob), "{text}");
        }
        let glob = UrlGlob::parse("http://*//a.example/b").unwrap();
        assert!(glob.is_match("http://h//a.example/b") && !glob.is_match("http://a.example/b"));
    }

    #[test]
    fn globs_match_by_host_path_and_query() {
        let rows = [
            ("/api/*", "http://h/api/7", true),
            ("/api/*", "http://h/api/7?x=1", true),
            ("/api/*", "http://h/api/7/x", false),
            ("/api/*", "http://h/api/", false),
            ("/api/**", "/api/7/x?y", true),
            ("/api/**/x", "http://h:81/api/7/8/x", true),
            ("/img/*.jpg", "https://h/img/a.jpg", true),
            ("/img/*.jpg", "https://h/img/a.png", false),
            ("/a?x=1", "http://h/a?x=1", true),
            ("/a?x=1", "http://h/a?x=12", false),
            ("/a?*x=1*", "http://h/a?y=2&x=1&z", true),
            ("/a?*", "http://h/a", true),
            ("/a?", "http://h/a", true),
            ("/a?", "http://h/a?b", false),
            ("/a?a*b*c", "http://h/a?abbc", true),
            ("/a?ab*ba", "http://h/a?aba", false),
            ("//*.shop.example/**", "http://www.shop.example/a", true),
            ("//*.shop.example/**", "http://shop.example/a", false),
            ("HTTPS://Shop.Example/**", "http://shop.example:81/a", true),
            ("//shop.example:80/**", "http://shop.example:81/a", false),
            ("//shop.example:80/**", "http://shop.example/a", true),
            ("//other.example/a", "/a", true),
            ("//*/a", "http://h/a", true),
            ("/a", "http://h/a?u=http://b/a", true),
        ];
        for (text, url, expected) in rows {
            let glob = UrlGlob::parse(text).unwrap();
            assert_eq!(glob.is_match(url), expected, "{text} on {url}");
            assert_eq!(UrlGlob::parse(&glob.to_string()), Ok(glob), "{text}");
        }
        for bad in
            ["", "a", "*", "http://h", "//h", "//a b/", "/a b", "/**x", "/a?#", "ftp://h/", "//"]
        {
            assert!(UrlGlob::parse(bad).is_err(), "{bad}");
        }
        assert!(UrlGlob::parse("http://*/**").unwrap().is_every());
    }
}
