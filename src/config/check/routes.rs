//! Whether routes can be told apart, can be reached, and name what there is.

use std::collections::HashSet;

use crate::config::check::{At, Check};
use crate::config::fault::{listed, nearest};
use crate::config::file::OneOrMany;
use crate::config::file::route::{
    BodyFormat, Forward, ForwardWord, Keys, LayerRule, Method, Rated, Route, Share,
};
use crate::config::file::store::{L2, Without};
use crate::config::scalar::amount::Size;
use crate::config::tree::Content;
use crate::key::content::ContentRules;
use crate::key::pattern::PathPattern;
use crate::route::table::Match;
use crate::route::tags::{BadTemplate, OnWrite, TagRules};
use crate::telemetry::metrics::UNROUTED;

/// The name of the route that takes what no other does.
pub(crate) const LAST_RESORT: &str = "last-resort";

impl<'a> Check<'a> {
    pub(super) fn routes(&mut self) {
        self.names();
        self.reachable();
        self.vouched_for_all();
        for (index, route) in self.file.routes.iter().enumerate() {
            let at = self.root.key("routes").index(index);
            self.route(route, &at);
        }
        self.last_resort();
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
            let ours = match name.0.as_str() {
                LAST_RESORT => "what no route matches",
                UNROUTED => "what is refused before it comes to a route",
                _ => continue,
            };
            self.fault(&at.key("name"), format!("`{name}` is the name of {ours}"), "take another");
        }
    }

    /// That a POST changes nothing is for a route to say that knows its own.
    fn vouched_for_all(&mut self) {
        let body = self.file.defaults.key.as_ref().and_then(|key| key.body.as_ref());
        if body.is_some_and(|body| !body.of.is_empty()) {
            let what = "`of` declares every POST of every route to change nothing";
            let at = self.root.key("defaults").key("key").key("body").key("of");
            self.fault(&at, what, "say it on the routes whose POST requests only ask");
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
        self.content(route, at);
        self.kept_posts(route, at);
        self.narrowed(route, at);
    }

    /// Whether there is content to key, and one way of keying it.
    fn content(&mut self, route: &Route, at: &At<'_>) {
        let defaults = self.root.key("defaults");
        let find = |key: &str| at.key(key).or(defaults.key(key));
        let keys = &route.keys;
        if let Some(graphql) = &keys.graphql {
            self.content_limit(graphql.limit, &find("graphql").key("limit"));
        }
        let Some(body) = keys.key.as_ref().and_then(|key| key.body.as_ref()) else { return };
        let written = find("key").key("body");
        self.content_limit(body.limit, &written.key("limit"));
        let methods = route.matches.methods.as_deref();
        if keys.graphql.is_some() {
            let what = "`key.body` and `graphql` both say how content is keyed";
            self.fault(&written, what, "remove one of the two");
        } else if body.of.is_empty()
            && methods.is_some_and(|methods| !methods.contains(&Method::Query))
        {
            let what = "`key.body` keys no content: what `methods` lists has none";
            self.fault(&written, what, "add QUERY to `match.methods`, or `of: [POST]` here");
        }
        if body.fields.is_some() && body.format != BodyFormat::Json {
            let what = "`fields` are members of JSON, and `format` takes other content too";
            self.fault(&written.key("fields"), what, "add format: json");
        }
    }

    /// Whether an answer to a POST could answer a GET. What `defaults` say is for the routes where it can.
    fn kept_posts(&mut self, route: &Route, at: &At<'_>) {
        let written = at.key("keep_posts");
        if route.keys.keep_posts != Some(true) || !written.is_written() {
            return;
        }
        let keys = &route.keys;
        let body = keys.key.as_ref().and_then(|key| key.body.as_ref());
        if keys.graphql.is_some() || body.is_some_and(|body| !body.of.is_empty()) {
            let what = "`keep_posts` is for POST requests that write, and here they are answered by their content";
            self.fault(&written, what, "remove it");
        }
        let methods = route.matches.methods.as_deref();
        if methods.is_some_and(|methods| !methods.contains(&Method::Get)) {
            let what = "`keep_posts` keeps answers for GET, which `match.methods` does not list";
            self.fault(&written, what, "add GET, or remove it");
        }
    }

    /// An answer to a POST that was sent whole would be kept where nothing is that is not keyed.
    fn narrowed(&mut self, route: &Route, at: &At<'_>) {
        let narrow = !matches!(&route.keys.forward, None | Some(Forward::Word(ForwardWord::All)));
        if narrow && route.keys.keep_posts == Some(true) {
            let defaults = self.root.key("defaults");
            let what = "`keep_posts` keeps answers to requests that were sent whole, which `forward` is to keep out";
            self.fault(
                &at.key("forward").or(defaults.key("forward")),
                what,
                "remove one of the two",
            );
        }
    }

    fn content_limit(&mut self, limit: Size, at: &At<'_>) {
        if limit.0 == 0 {
            let what = "`limit` is nothing, so that no content is keyed";
            self.fault(at, what, "write a size such as 64KiB");
        } else if limit.0 > ContentRules::MOST as u64 {
            let what = format!("`limit` of {limit} is more than each request may hold in memory");
            self.fault(at, what, &format!("write at most {}", Size(ContentRules::MOST as u64)));
        }
    }

    /// What says nothing on a route that stores nothing; only what the route says itself.
    fn passing(&mut self, route: &Route, at: &At<'_>) {
        if route.keys.cache != Some(false) {
            return;
        }
        for key in Keys::STORING {
            if at.key(key).is_written() {
                let what = format!("`{key}` says nothing where `cache: false` stores nothing");
                self.fault(&at.key(key), what, "remove one of the two");
            }
        }
        let body = at.key("key").key("body");
        if body.is_written() {
            let what = "`key.body` says nothing where `cache: false` stores nothing";
            self.fault(&body, what, "remove one of the two");
        }
    }

    /// What a route says, `defaults` included.
    fn keys(&mut self, keys: &Keys, path: &PathPattern, at: &At<'a>) {
        let defaults = self.root.key("defaults");
        let find = |key: &str| at.key(key).or(defaults.key(key));
        self.origin_of(keys, at);
        let stores = keys.cache != Some(false);
        if stores && keys.respect_origin == Some(false) && keys.ttl.is_none() {
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
        self.personal(keys, &find("key"));
        self.shares(keys, &find("share"));
        for (index, text) in keys.tags.iter().flatten().enumerate() {
            if let Err(bad) = TagRules::default().add(text, path) {
                self.template(&find("tags").index(index), text, &bad, path);
            }
        }
        if let Some(Rated::With(rate)) = &keys.rate {
            self.rate(rate, &find("rate"));
        }
        if let Some(method) = &keys.purge_method {
            self.purge_method(method, &find("purge_method"));
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
        let Some(layers) = &keys.layers else { return };
        let without = matches!(self.file.l2, L2::Without(Without::None));
        if at.is_written() && without && layers.l2().is_some() && !self.told.covers("l2") {
            self.fault(at, "`layers` names l2, and there is none", "configure `l2`, or write [l1]");
        }
        // What is written there and not known was told already.
        let is_empty = matches!(at.node.map(|node| &node.content), Some(Content::Map(keys)) if keys.is_empty());
        if is_empty {
            let right = "name one, as in [l1] or { l1: { max_ttl: 10s } }, or write cache: false";
            self.fault(at, "`layers` names no layer", right);
        }
        let cap = |rule: Option<LayerRule>| rule.and_then(|rule| rule.max_ttl);
        let (l1, l2) = (cap(layers.l1()), cap(layers.l2()));
        for (name, cap) in [("l1", l1), ("l2", l2)] {
            if cap.is_some_and(|cap| cap.0.is_zero()) {
                let what = format!("`max_ttl` of 0s lets nothing be fresh in {name}");
                let right = format!("write a duration such as 10s, or leave {name} out");
                self.fault(&at.key(name).key("max_ttl"), what, &right);
            }
        }
        if let (Some(above), Some(below)) = (l1, l2)
            && above.0 > below.0
        {
            let what =
                format!("memory holds copies for {above}, longer than l2 lets them be fresh");
            let right = format!("write at most {below}, the `max_ttl` of l2");
            self.warn(&at.key("l1").key("max_ttl"), what, &right);
        }
    }

    /// Whether what is one person's is kept as it should be.
    fn personal(&mut self, keys: &Keys, at: &At<'_>) {
        let Some(key) = keys.key.as_ref().filter(|key| key.is_personal()) else { return };
        if keys.cache == Some(false) {
            return;
        }
        let layers = keys.layers.as_ref();
        let in_memory = layers.is_some_and(|layers| layers.l1().is_some());
        let behind = layers.is_some_and(|layers| layers.l2().is_some());
        let identity = key.identity().unwrap_or("the key");
        let is_faulty = self.told.covers("l2") || self.is_partly_faulty(&self.root.key("l2"));
        match &self.file.l2 {
            L2::Without(Without::None) if !in_memory => {
                let what = format!(
                    "`{identity}` tells persons apart, and what is personal is not kept in memory unless it is said"
                );
                let right = "write layers: [l1], configure `l2`, or say that it is nobody's in particular: personal: false";
                self.warn(at, what, right);
            }
            L2::Stores(stores)
                if behind
                    && stores.encrypt.is_none()
                    && !stores.personal_in_clear
                    && !is_faulty =>
            {
                let what = format!(
                    "`{identity}` tells persons apart, and `l2` keeps what is theirs unsealed"
                );
                let right = "add `l2.encrypt`; or write personal: false here where it is nobody's in particular, \
                             layers: [l1] for memory alone, or l2.personal_in_clear: true";
                self.fault(at, what, right);
            }
            L2::Without(Without::None) | L2::Stores(_) => {}
        }
    }

    fn shares(&mut self, keys: &Keys, at: &At<'_>) {
        let shared = keys.share.iter().flatten().any(|share| *share == Share::Private);
        let key = keys.key.as_ref();
        if shared && key.is_none_or(|key| key.headers.is_empty() && key.cookies.is_empty()) {
            let what = "`private` answers are shared between all clients";
            let right = "make the client's identity part of the `key`, or remove it";
            self.warn(at, what, right);
        }
    }

    fn write(&mut self, at: &At<'_>, text: &str, path: &PathPattern) {
        match OnWrite::parse(text, path) {
            Err(bad) => self.template(at, text, &bad, path),
            Ok(OnWrite::Route(id)) => self.route_id(at, &id),
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
                "write header:NAME, json:$.PATH or a tag here, or, in `on_write`, tag:…, /path, prefix:/path or route:NAME"
                    .to_owned()
            }
            BadTemplate::Json(_) => "write json:$.vendor.id or json:$.items[*].id".to_owned(),
            BadTemplate::Value => "write json:$.vendor.id -> vendor:{}".to_owned(),
            BadTemplate::Separator => "write several tags as several elements".to_owned(),
            BadTemplate::Path => "write it percent-encoded".to_owned(),
            BadTemplate::Prefix => "use a tag, tag:…:{id}, or a shorter prefix".to_owned(),
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
