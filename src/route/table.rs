//! All routes in their order, and which of them a URL selects.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::uri::{PathAndQuery, Scheme};

use crate::entry::facts::{RouteId, Tag};
use crate::key::Key;
use crate::key::canonical::Target;
use crate::key::host::HostPattern;
use crate::key::pattern::PathPattern;
use crate::policy::deception::readings;
use crate::purge::events::Events;
use crate::purge::template::Named;
use crate::purge::{Effect, Purge, Record, Scope};
use crate::route::Route;
use crate::route::depends::{Cut, Depends};

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
    events: Events,
    depends: Depends,
}

/// What goes when a write succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AfterWrite {
    pub purges: Vec<Purge>,
    /// The URLs among them.
    pub urls: Vec<Target>,
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
        let (events, depends) = (Events::default(), Depends::default());
        Self { routes: routes.into(), last_resort, events, depends }
    }

    /// The same table with what events purge, and what purges take along.
    #[must_use]
    pub fn with(self, events: Events, depends: Depends) -> Self {
        Self { events, depends, ..self }
    }

    pub fn events(&self) -> &Events {
        &self.events
    }

    /// The first route whose host and path match.
    ///
    /// Host and path alone decide, so that a write to a URL, a purge of it and a read of it meet the same rules;
    /// whether the route looks the method up is [`Route::seeks`].
    pub fn find(&self, host: &str, path: &str) -> &Arc<Route> {
        let found = self.routes.iter().find(|route| route.matches.is_match(host, path));
        found.unwrap_or(&self.last_resort)
    }

    /// Whether an origin may read the path as one that belongs to another route than `route`, which was found by it:
    /// then nobody knows whose rules it needs.
    pub fn is_ambiguous(&self, route: &Arc<Route>, host: &str, path: &str) -> bool {
        readings(path).any(|path| !Arc::ptr_eq(self.find(host, &path), route))
    }

    pub fn by_id(&self, id: &RouteId) -> Option<&Arc<Route>> {
        self.all().find(|route| route.id == *id)
    }

    /// Every route in its order, the last resort last.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter().chain([&self.last_resort])
    }

    /// What a purge of one path, with its query, on every host names. It may be keyed in several ways, by the routes
    /// that take it on some host.
    pub fn path_scopes(&self, path: &str) -> Vec<Scope> {
        // The host is left out again.
        let Ok(target) = Target::parse(&format!("http://larder{path}")) else { return Vec::new() };
        let mut paths = BTreeSet::new();
        for route in self.all().filter(|route| route.matches.path.is_match(target.path())) {
            let keyed = target.clone().under(&route.key.query);
            paths.insert(keyed.path_and_query().as_str().to_owned());
            if route.matches.hosts.is_empty() {
                break;
            }
        }
        paths.into_iter().map(|path| Scope::Path(path.into())).collect()
    }

    /// What a purge of one URL names: the URL as the route that it selects keys it.
    pub fn url_scope(&self, url: &Target) -> Scope {
        let rules = &self.find(url.host_str(), url.path()).key;
        Scope::Url(Key::of_url(&url.clone().under(&rules.query), rules.host))
    }

    /// What a purge of one URL names, under `http` and under `https`: what is behind them is the same, and clients may
    /// come by both.
    pub fn url_scopes(&self, url: &Target) -> Vec<Scope> {
        let mut scopes = vec![self.url_scope(url)];
        let other = if *url.scheme() == Scheme::HTTPS { "http" } else { "https" };
        let other = format!("{other}://{}{}", url.host_str(), url.path_and_query());
        scopes.extend(Target::parse(&other).ok().map(|other| self.url_scope(&other)));
        scopes
    }

    /// The scopes of what a rule names. A path may be keyed in several ways, by the routes that take it on some host.
    pub fn scopes(&self, named: &Named) -> Vec<Scope> {
        match named {
            Named::Tag(tag) => vec![Scope::Tag(Tag::new(tag))],
            Named::Prefix(prefix) => vec![Scope::Prefix(prefix.as_str().into())],
            Named::Route(id) => vec![Scope::Route(id.clone())],
            Named::Everything => vec![Scope::Everything],
            Named::Path(path) => self.path_scopes(path),
        }
    }

    /// The record with everything that depends on what it purges, as one purge; or nothing of it.
    pub fn complete(&self, mut record: Record) -> Result<Record, Cut> {
        if self.depends.is_empty() {
            return Ok(record);
        }
        for effect in [Effect::Remove, Effect::MarkStale] {
            for named in self.depends.along(&named(&record, effect))? {
                for scope in self.scopes(&named) {
                    let purge = Purge { scope, effect };
                    if !record.purges.contains(&purge) {
                        record.purges.push(purge);
                    }
                }
            }
        }
        Ok(record)
    }

    /// What `route` purges when an unsafe request to `target` succeeded, besides the target itself.
    pub fn after_write(&self, route: &Route, target: &Target) -> AfterWrite {
        let mut after = AfterWrite::default();
        if route.on_write.is_empty() {
            return after;
        }
        let captures = route.matches.path.captures(target.path()).unwrap_or_default();
        for rule in &route.on_write {
            let scope = rule.scope(&captures, |path| {
                let url = sibling(target, path)?;
                let scope = self.url_scope(&url);
                after.urls.push(url);
                Some(scope)
            });
            after.purges.extend(scope.map(|scope| Purge { scope, effect: Effect::Remove }));
        }
        after
    }
}

/// What of a record may have dependents.
fn named(record: &Record, effect: Effect) -> BTreeSet<Named> {
    let purges = || record.purges.iter().filter(|purge| purge.effect == effect);
    let names = purges().filter_map(|purge| match &purge.scope {
        Scope::Tag(tag) => Some(Named::Tag(tag.as_str().to_owned())),
        Scope::Path(path) => Some(Named::Path(path.to_string())),
        Scope::Route(id) => Some(Named::Route(id.clone())),
        Scope::Url(_)
        | Scope::AllTags(_)
        | Scope::Group { .. }
        | Scope::Prefix(_)
        | Scope::Glob(_)
        | Scope::Host(_)
        | Scope::Everything => None,
    });
    let mut names: BTreeSet<Named> = names.collect();
    if purges().any(|purge| matches!(purge.scope, Scope::Url(_))) {
        let urls = record.cause.urls.iter().filter_map(|url| Target::parse(url).ok());
        names.extend(urls.map(|url| Named::Path(url.path_and_query().as_str().to_owned())));
    }
    names
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
