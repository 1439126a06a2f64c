//! What no schema can say: whether the parts of a configuration fit each other. Every fault at its place.

use std::collections::HashSet;
use std::time::Duration;

use crate::config::fault::{Fault, Faults, Place, Severity, listed, nearest};
use crate::config::file::{File, Keys, L2, Layer, OneOrMany, Route, Share, Stores, Without};
use crate::config::scalar::Span;
use crate::config::schema::Told;
use crate::config::tree::{Content, Node, Scalar, Source};
use crate::route::pattern::PathPattern;
use crate::route::table::Match;
use crate::route::tags::{BadTemplate, OnWrite, TagRules};

/// The name of the route that takes what no other does.
pub(crate) const LAST_RESORT: &str = "last-resort";

/// A place in the tree, found by its path; what is not written is at the place of what it would be a part of.
#[derive(Clone)]
pub(crate) struct At<'a> {
    node: Option<&'a Node>,
    place: Place,
    path: String,
}

impl<'a> At<'a> {
    pub(crate) fn root(node: &'a Node) -> Self {
        Self { node: Some(node), place: Place::START, path: String::new() }
    }

    /// The value of a key.
    fn key(&self, name: &str) -> Self {
        let path = if self.path.is_empty() { name.into() } else { format!("{}.{name}", self.path) };
        let found = self.node.and_then(|node| node.get(name));
        let place = found.map_or(self.place, |(key, value)| match value.content {
            // A map or a list begins where its first key does, which is not what is spoken of.
            Content::Map(_) | Content::List(_) => key.place,
            Content::Nothing | Content::Scalar(_) | Content::Faulty => value.place,
        });
        Self { node: found.map(|(_, value)| value), place, path }
    }

    fn index(&self, index: usize) -> Self {
        let found = self.node.and_then(|node| node.at(index));
        let place = found.map_or(self.place, |value| value.place);
        Self { node: found, place, path: format!("{}[{index}]", self.path) }
    }

    const fn is_written(&self) -> bool {
        self.node.is_some()
    }

    /// The text without the value that stands here, if that came from outside: its variable is named instead.
    fn without_value(&self, text: &str) -> String {
        match self.node.map(|node| &node.content) {
            Some(Content::Scalar(Scalar {
                text: value,
                source: Source::Variables(written),
                ..
            })) => text.replace(&format!("`{value}`"), &format!("`{written}`")),
            Some(_) | None => text.to_owned(),
        }
    }

    /// This if it is written, otherwise the other.
    fn or(self, other: Self) -> Self {
        if self.is_written() { self } else { other }
    }
}

/// Checks a whole file whose routes hold their defaults already (`File::effective`).
pub(crate) fn check(file: &File, root: At<'_>, told: &Told, faults: &mut Faults) {
    let mut check = Check { file, root, told, faults };
    check.listeners();
    check.tokens();
    check.origins();
    check.l1();
    check.l2();
    check.spans();
    check.names();
    check.reachable();
    for (index, route) in file.routes.iter().enumerate() {
        let at = check.root.key("routes").index(index);
        check.route(route, &at);
    }
    check.last_resort();
}

struct Check<'a> {
    file: &'a File,
    root: At<'a>,
    told: &'a Told,
    faults: &'a mut Faults,
}

impl<'a> Check<'a> {
    fn say(&mut self, severity: Severity, at: &At<'_>, what: &str, right: &str) {
        if !self.told.covers(&at.path) {
            let (path, what, right) = (at.path.clone(), at.without_value(what), right.to_owned());
            self.faults.add(Fault { place: at.place, path, what, right, severity });
        }
    }

    fn fault(&mut self, at: &At<'_>, what: impl Into<String>, right: &str) {
        self.say(Severity::Fault, at, &what.into(), right);
    }

    fn warn(&mut self, at: &At<'_>, what: impl Into<String>, right: &str) {
        self.say(Severity::Warning, at, &what.into(), right);
    }

    fn listeners(&mut self) {
        let at = self.root.key("listen");
        let addresses = self.file.listen.as_slice();
        for (index, address) in addresses.iter().enumerate() {
            let place =
                if let OneOrMany::One(_) = self.file.listen { at.clone() } else { at.index(index) };
            if address.0.port() != 0 && addresses[..index].contains(address) {
                self.fault(&place, format!("`{address}` is listed twice"), "remove one of them");
            }
            if address.0.port() != 0 && *address == self.file.admin.listen {
                let admin = self.root.key("admin").key("listen").or(place);
                let what = format!("`{address}` is both for clients and for the admin side");
                self.fault(&admin, what, "give the admin side a port of its own, such as 9090");
            }
        }
        let admin = self.root.key("admin");
        let open = !self.file.admin.listen.0.ip().is_loopback();
        let tokens = admin.key("tokens");
        if open && self.file.admin.tokens.is_empty() && !self.told.covers(&tokens.path) {
            let what = format!(
                "`{}` can be reached by others, and there is no token",
                self.file.admin.listen
            );
            let right = "add `admin.tokens`, or listen on 127.0.0.1";
            self.fault(&admin.key("listen"), what, right);
        }
        for (index, network) in self.file.trusted_proxies.iter().enumerate() {
            if network.bits == 0 {
                let at = self.root.key("trusted_proxies").index(index);
                let what = format!("`{network}` believes everybody about who they are");
                self.warn(&at, what, "name the networks of your own proxies");
            }
        }
    }

    fn tokens(&mut self) {
        let mut names = HashSet::new();
        for (index, token) in self.file.admin.tokens.iter().enumerate() {
            let at = self.root.key("admin").key("tokens").index(index);
            let missing = [
                ("name", token.name.is_none(), "give it one, for the audit log"),
                ("secret", token.secret.is_none(), "take it from the environment: ${CI_TOKEN}"),
                ("scopes", token.scopes.is_none(), "list some of read, purge and config"),
            ];
            for (key, is_missing, right) in missing {
                if is_missing {
                    self.fault(&at.key(key), format!("this token has no `{key}`"), right);
                }
            }
            if let Some(name) = &token.name
                && !names.insert(name)
            {
                let what = format!("there is a token `{name}` already");
                self.fault(&at.key("name"), what, "give each its own name");
            }
        }
    }

    fn origins(&mut self) {
        let at = self.root.key("origins");
        if self.file.origins.is_empty() && !self.is_partly_faulty(&at) {
            let right = "name one: origins: { api: { endpoints: [ http://127.0.0.1:3000 ] } }";
            self.fault(&at, "there is no origin", right);
        }
        for (name, origin) in &self.file.origins {
            let at = at.key(&name.0);
            if origin.endpoints.is_empty() {
                let what = format!("the origin `{name}` has no endpoint");
                let endpoints = At { place: at.place, ..at.key("endpoints") };
                self.fault(&endpoints, what, "add endpoints: [ http://HOST:PORT ]");
            }
            let mut seen = HashSet::new();
            for (index, endpoint) in origin.endpoints.iter().enumerate() {
                if !seen.insert(endpoint.to_string()) {
                    let what = format!("`{endpoint}` is listed twice");
                    self.fault(&at.key("endpoints").index(index), what, "remove one of them");
                }
            }
            let timeouts = at.key("timeouts");
            let spans = &origin.timeouts;
            self.positive(&timeouts.key("connect"), spans.connect);
            self.positive(&timeouts.key("first_byte"), spans.first_byte);
            self.positive(&timeouts.key("idle"), spans.idle);
            self.positive(&at.key("breaker").key("open_for"), origin.breaker.open_for);
        }
    }

    /// Whether something below was told, so that what seems to be missing may only be told.
    fn is_partly_faulty(&self, at: &At<'_>) -> bool {
        let Some(Node { content: Content::Map(entries), .. }) = at.node else { return false };
        entries.iter().any(|(key, _)| self.told.covers(&at.key(&key.name).path))
    }

    fn l1(&mut self) {
        let at = self.root.key("l1");
        let l1 = &self.file.l1;
        if l1.capacity.0 == 0 {
            let what = "`capacity` is nothing, so that nothing is kept in memory";
            self.fault(&at.key("capacity"), what, "give it at least 1MiB, better 256MiB");
            return;
        }
        let Some(object) = l1.max_object else { return };
        let largest = crate::config::scalar::Size(l1.capacity.0 / 4);
        if object.0 > largest.0 {
            // Memory is kept in shards of equal size; one of a few must be able to hold the largest object.
            let what =
                format!("`{object}` is more than a quarter of `l1.capacity` ({})", l1.capacity);
            let right = format!("write {largest} or less, or raise the capacity");
            self.fault(&at.key("max_object"), what, &right);
        } else if object.0 == 0 {
            let what = "`max_object` is nothing, so that nothing is kept in memory";
            self.fault(&at.key("max_object"), what, "write a size such as 1MiB");
        }
    }

    fn l2(&mut self) {
        let at = self.root.key("l2");
        let stores = match &self.file.l2 {
            L2::Without(Without::None) => return,
            L2::Stores(stores) => stores,
        };
        let Stores { redis, disk, max_object } = &**stores;
        match (redis, disk) {
            (Some(_), Some(_)) => {
                let both = [at.key("redis"), at.key("disk")];
                let later =
                    both.into_iter().max_by_key(|at| at.place).unwrap_or_else(|| at.clone());
                self.fault(&later, "`l2` names both `redis` and `disk`", "keep one of the two");
            }
            (None, None) if !self.is_partly_faulty(&at) => {
                let right = "add `redis` or `disk`, or write l2: none";
                self.fault(&at, "`l2` names no store", right);
            }
            (Some(_) | None, None) | (None, Some(_)) => {}
        }
        if let Some(redis) = redis {
            let at = at.key("redis");
            if redis.url.is_none() {
                self.fault(&at.key("url"), "`redis` has no `url`", "add url: redis://HOST:6379/0");
            }
            self.positive(&at.key("timeout"), redis.timeout);
            self.positive(&at.key("breaker").key("open_for"), redis.breaker.open_for);
        }
        if let Some(disk) = disk {
            self.disk(disk, &at.key("disk"));
        }
        if max_object.0 == 0 {
            let what = "`max_object` is nothing, so that nothing is kept in L2";
            self.fault(&at.key("max_object"), what, "write a size such as 100KiB, or l2: none");
        }
    }

    fn disk(&mut self, disk: &crate::config::file::Disk, at: &At<'_>) {
        if !cfg!(feature = "disk") {
            let right = "build with the feature `disk`, use `redis`, or write l2: none";
            self.fault(at, "this Larder was built without the disk store", right);
        }
        if disk.path.as_ref().is_none_or(String::is_empty) {
            let right = "add path: /var/lib/larder";
            self.fault(&at.key("path"), "`disk` has no `path`", right);
        }
        if disk.capacity.0 < 64 << 20 {
            let what = format!("`{}` is too little for the disk store", disk.capacity);
            self.fault(&at.key("capacity"), what, "give it at least 64MiB");
        }
        self.positive(&at.key("timeout"), disk.timeout);
    }

    /// Spans that must not be zero, or not so short.
    fn spans(&mut self) {
        let at = self.root.key("limits");
        let limits = &self.file.limits;
        let spans = [
            ("header_timeout", limits.header_timeout),
            ("idle_timeout", limits.idle_timeout),
            ("body_timeout", limits.body_timeout),
            ("stall_timeout", limits.stall_timeout),
        ];
        for (key, span) in spans {
            self.positive(&at.key(key), span);
        }
        let sizes = [("header_bytes", limits.header_bytes), ("target_bytes", limits.target_bytes)];
        for (key, size) in sizes {
            if !((1 << 10)..=(16 << 20)).contains(&size.0) {
                let what = format!("`{key}` of {size} is out of range");
                self.fault(&at.key(key), what, "write 1KiB to 16MiB");
            }
        }
        let lease = self.file.purge.lease;
        if lease.0 < Duration::from_secs(1) {
            let at = self.root.key("purge").key("lease");
            let what = format!("a lease of {lease} ends before the log can be heard");
            self.fault(&at, what, "write 1s or more, better 10s");
        }
    }

    fn positive(&mut self, at: &At<'_>, span: Span) {
        if span.0.is_zero() {
            let key = at.path.rsplit('.').next().unwrap_or_default();
            let what = format!("`{key}` of 0s lets nothing succeed");
            self.fault(at, what, "write a duration such as 1s");
        }
    }

    /// Names of routes.
    fn names(&mut self) {
        let mut names = HashSet::new();
        for (index, route) in self.file.routes.iter().enumerate() {
            let at = self.root.key("routes").index(index);
            let Some(name) = &route.name else {
                let right = "give it one, for metrics, logs and purges";
                self.fault(&at.key("name"), "this route has no `name`", right);
                continue;
            };
            if !names.insert(name) {
                let what = format!("there is a route `{name}` already");
                self.fault(&at.key("name"), what, "give each its own name");
            }
            if name.0 == LAST_RESORT {
                let what = format!("`{name}` is the name of what no route matches");
                self.fault(&at.key("name"), what, "take another");
            }
        }
    }

    /// Routes that no request can get to.
    fn reachable(&mut self) {
        let mut earlier: Vec<(Match, String)> = Vec::new();
        for (index, route) in self.file.routes.iter().enumerate() {
            let at = self.root.key("routes").index(index);
            let unknown = self.told.covers(&at.path)
                || ["match", "match.path", "match.host"]
                    .iter()
                    .any(|key| self.told.covers(&format!("{}.{key}", at.path)));
            if unknown {
                continue;
            }
            let matches = matches(route);
            let name = route.name.as_ref().map_or_else(|| at.path.clone(), |name| name.0.clone());
            if let Some((_, before)) = earlier.iter().find(|(before, _)| before.covers(&matches)) {
                let what = format!("`{before}` takes everything before `{name}` is asked");
                let right = "put the narrower one first; methods do not tell routes apart";
                self.fault(&at.key("match").key("path").or(at.key("match")), what, right);
            }
            earlier.push((matches, name));
        }
    }

    fn route(&mut self, route: &Route, at: &At<'a>) {
        let path = route.matches.path.as_ref().map(|path| path.0.clone());
        let path = path.unwrap_or_else(PathPattern::every);
        if !self.told.covers(&format!("{}.match.path", at.path)) {
            self.keys(&route.keys, &path, at);
        }
        self.passing(route, at);
    }

    /// What says nothing on a route that stores nothing; only what the route says itself.
    fn passing(&mut self, route: &Route, at: &At<'_>) {
        if route.keys.cache != Some(false) {
            return;
        }
        let idle = [
            "ttl",
            "stale_while_revalidate",
            "stale_if_error",
            "heuristic_ttl",
            "refresh_ahead",
            "early_refresh",
            "negative",
            "layers",
        ];
        for key in idle {
            if at.key(key).is_written() {
                let what = format!("`{key}` says nothing where `cache: false` stores nothing");
                self.fault(&at.key(key), what, "remove one of the two");
            }
        }
    }

    /// What a route says, `defaults` included.
    fn keys(&mut self, keys: &Keys, path: &PathPattern, at: &At<'a>) {
        let defaults = self.root.key("defaults");
        let find = |key: &str| at.key(key).or(defaults.key(key));
        self.origin_of(keys, at);
        if keys.respect_origin == Some(false) && keys.ttl.is_none() {
            let what =
                "`respect_origin: false` puts `ttl` in the place of lifetimes, and there is none";
            self.fault(&find("respect_origin"), what, "add a `ttl`");
        }
        if keys.refresh_ahead.is_some_and(|part| part.0 >= 1.0) {
            let what = "`refresh_ahead` of 100% fetches on every request";
            self.fault(&find("refresh_ahead"), what, "write a part such as 20%");
        }
        for status in keys.negative.iter().flatten().map(|(status, _)| status) {
            if [206, 304, 412, 416].contains(&status.0) {
                let at = find("negative").key(&status.to_string());
                let what =
                    format!("{status} answers one client's question only and is never stored");
                self.fault(&at, what, "remove it");
            }
        }
        self.layers(keys, &find("layers"));
        self.shares(keys, &find("share"));
        for (index, text) in keys.tags.iter().flatten().enumerate() {
            if let Err(bad) = TagRules::default().add(text, path) {
                self.template(&find("tags").index(index), text, &bad, path);
            }
        }
        let writes = keys.on_write.iter().flat_map(|rule| &rule.purge);
        for (index, text) in writes.enumerate() {
            self.write(&find("on_write").key("purge").index(index), text, path);
        }
    }

    fn origin_of(&mut self, keys: &Keys, at: &At<'_>) {
        let known = &self.file.origins;
        if self.told.covers("origins") {
            return;
        }
        match &keys.origin {
            Some(origin) if !known.contains_key(origin) => {
                let at = at.key("origin").or(self.root.key("defaults").key("origin"));
                if self.told.covers(&format!("origins.{origin}")) {
                    return;
                }
                let names = || known.keys().map(|name| name.0.as_str());
                let right = nearest(&origin.0, names()).map_or_else(
                    || format!("there are {}", listed(names())),
                    |near| format!("did you mean `{near}`?"),
                );
                self.fault(&at, format!("there is no origin `{origin}`"), &right);
            }
            None if known.len() > 1 => {
                let what = "this route names no `origin`, and there are several";
                let names = listed(known.keys().map(|name| name.0.as_str()));
                self.fault(&at.key("origin"), what, &format!("add one of {names}"));
            }
            Some(_) | None => {}
        }
    }

    fn layers(&mut self, keys: &Keys, at: &At<'_>) {
        let layers = keys.layers.as_deref().unwrap_or_default();
        let without = matches!(self.file.l2, L2::Without(Without::None));
        if at.is_written() && without && layers.contains(&Layer::L2) && !self.told.covers("l2") {
            self.fault(at, "`layers` names l2, and there is none", "configure `l2`, or write [l1]");
        }
    }

    fn shares(&mut self, keys: &Keys, at: &At<'_>) {
        let told = keys.share.iter().flatten().any(|share| *share == Share::Private);
        let key = keys.key.as_ref();
        if told && key.is_none_or(|key| key.headers.is_empty() && key.cookies.is_empty()) {
            let what = "`private` answers are shared between all clients";
            let right = "make the client's identity part of the `key`, or remove it";
            self.warn(at, what, right);
        }
    }

    fn write(&mut self, at: &At<'_>, text: &str, path: &PathPattern) {
        match OnWrite::parse(text, path) {
            Err(bad) => self.template(at, text, &bad, path),
            Ok(OnWrite::Route(id)) => {
                let names = || self.file.routes.iter().filter_map(|route| route.name.as_ref());
                if names().all(|name| name.0 != id.as_str()) {
                    let names = names().map(|name| name.0.as_str());
                    let right = nearest(id.as_str(), names).map_or_else(
                        || "name one".to_owned(),
                        |near| format!("did you mean `{near}`?"),
                    );
                    self.fault(at, format!("there is no route `{id}`"), &right);
                }
            }
            Ok(OnWrite::Tag(_) | OnWrite::Url(_) | OnWrite::Prefix(_)) => {}
        }
    }

    fn template(&mut self, at: &At<'_>, text: &str, bad: &BadTemplate, path: &PathPattern) {
        let right = match bad {
            BadTemplate::Empty => "write a text, or remove it".to_owned(),
            BadTemplate::Brace => "write {name} with a name that `match.path` captures".to_owned(),
            BadTemplate::NotCaptured(_) if path.names().next().is_none() => {
                format!("`{path}` captures nothing; capture it, as in /api/products/{{id}}")
            }
            BadTemplate::NotCaptured(_) => format!("`{path}` captures {}", listed(path.names())),
            BadTemplate::Field(_) => "write header:NAME with a field's name".to_owned(),
            BadTemplate::Kind(_) => {
                "write header:NAME or a tag here, or, in `on_write`, tag:…, /path, prefix:/path or route:NAME"
                    .to_owned()
            }
            BadTemplate::Separator => "write several tags as several elements".to_owned(),
            BadTemplate::Path => "write it percent-encoded".to_owned(),
        };
        self.fault(at, format!("`{text}` cannot be used: {bad}"), &right);
    }

    /// Whether it is clear where requests go that no route matches.
    fn last_resort(&mut self) {
        let several = self.file.origins.len() > 1;
        let at = self.root.key("routes");
        let caught = self.file.routes.iter().any(|route| matches(route) == Match::everything());
        if several && !caught && self.file.defaults.origin.is_none() && at.is_written() {
            let first = self.file.origins.keys().next().map_or("", |name| name.0.as_str());
            let what =
                format!("what no route matches passes to the origin `{first}`, the first by name");
            let right = "say where it goes: defaults: { origin: … }, or a last route for /**";
            self.warn(&at, what, right);
        }
    }
}

/// What a route matches.
pub(crate) fn matches(route: &Route) -> Match {
    let path = route.matches.path.as_ref().map(|path| path.0.clone());
    let hosts = route.matches.host.as_ref().map_or(&[][..], OneOrMany::as_slice);
    Match {
        path: path.unwrap_or_else(PathPattern::every),
        hosts: hosts.iter().map(|host| host.0.clone()).collect(),
    }
}
