//! All routes in their order, and which of them a URL selects.

use std::sync::Arc;

use http::uri::PathAndQuery;

use crate::entry::facts::RouteId;
use crate::key::Key;
use crate::key::canonical::Target;
use crate::purge::{Effect, Purge, Scope};
use crate::route::Route;
use crate::route::host::HostPattern;
use crate::route::pattern::PathPattern;

/// Which URLs select a route. The method has no say in it: see [`RouteTable::find`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    pub path: PathPattern,
    /// None: every host.
    pub hosts: Vec<HostPattern>,
}

/// All routes, in the order in which they are asked.
pub struct RouteTable {
    routes: Box<[Arc<Route>]>,
    last_resort: Arc<Route>,
}

impl Match {
    pub fn everything() -> Self {
        Self { path: PathPattern::every(), hosts: Vec::new() }
    }

    pub fn is_match(&self, host: &str, path: &str) -> bool {
        self.path.is_match(path)
            && (self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.is_match(host)))
    }

    /// Whether nothing that `other` matches gets past this one.
    pub fn covers(&self, other: &Self) -> bool {
        let hosts = self.hosts.is_empty()
            || !other.hosts.is_empty()
                && other.hosts.iter().all(|host| self.hosts.iter().any(|mine| mine.covers(host)));
        hosts && self.path.covers(&other.path)
    }
}

impl RouteTable {
    /// The `last_resort` takes what no route matches; what it matches itself is not asked.
    pub fn new(routes: Vec<Arc<Route>>, last_resort: Arc<Route>) -> Self {
        Self { routes: routes.into(), last_resort }
    }

    /// The first route whose host and path match.
    ///
    /// Host and path alone decide, so that a write to a URL, a purge of it and a read of it meet the same rules;
    /// whether the route looks the method up is [`Route::seeks`].
    pub fn find(&self, host: &str, path: &str) -> &Arc<Route> {
        let found = self.routes.iter().find(|route| route.matches.is_match(host, path));
        found.unwrap_or(&self.last_resort)
    }

    pub fn by_id(&self, id: &RouteId) -> Option<&Arc<Route>> {
        self.all().find(|route| route.id == *id)
    }

    /// Every route in its order, the last resort last.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter().chain([&self.last_resort])
    }

    /// What a purge of one URL names: the URL as the route that it selects keys it.
    pub fn url_scope(&self, url: &Target) -> Scope {
        let rules = &self.find(url.host_str(), url.path()).key;
        Scope::Url(Key::of_url(&url.clone().under(&rules.query), rules.host))
    }

    /// What `route` purges when an unsafe request to `target` succeeded, besides the target itself.
    pub fn purges_after(&self, route: &Route, target: &Target) -> Vec<Purge> {
        if route.on_write.is_empty() {
            return Vec::new();
        }
        let captures = route.matches.path.captures(target.path()).unwrap_or_default();
        let scopes = route.on_write.iter();
        let scopes = scopes.filter_map(|rule| {
            rule.scope(&captures, |path| Some(self.url_scope(&sibling(target, path)?)))
        });
        scopes.map(|scope| Purge { scope, effect: Effect::Remove }).collect()
    }
}

/// Another path on the same host.
fn sibling(target: &Target, path: &str) -> Option<Target> {
    let path: PathAndQuery = path.parse().ok()?;
    Target::parse(&format!("{}://{}{path}", target.scheme(), target.host_str())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(path: &str, hosts: &[&str]) -> Match {
        let hosts = hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect();
        Match { path: PathPattern::parse(path).unwrap(), hosts }
    }

    #[test]
    fn a_match_needs_the_path_and_one_of_the_hosts() {
        let shop = matches("/a/**", &["shop.example", "*.shop.example"]);
        assert!(shop.is_match("www.shop.example", "/a/b"));
        assert!(!shop.is_match("other.example", "/a/b"));
        assert!(!shop.is_match("shop.example", "/b"));
        assert!(Match::everything().is_match("any:81", "/"));
    }

    #[test]
    fn a_match_covers_another_only_on_all_of_its_hosts() {
        let (any, some) = (matches("/a/**", &[]), matches("/a/b", &["a.example", "b.example"]));
        assert!(any.covers(&some));
        assert!(!matches("/a/**", &["a.example"]).covers(&some));
        assert!(matches("/a/**", &["b.example", "a.example"]).covers(&some));
        assert!(!some.covers(&any));
    }

    #[test]
    fn a_sibling_keeps_scheme_host_and_port() {
        let target = Target::parse("https://shop.example:8443/a/b?x=1").unwrap();
        assert_eq!(sibling(&target, "/c?d=1").unwrap().url(), "https://shop.example:8443/c?d=1");
    }
}
