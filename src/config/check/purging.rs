//! Whether events, dependencies, webhooks and whom purges are told can be what they say.

use std::collections::BTreeSet;

use crate::config::check::{At, Check};
use crate::config::fault::{listed, nearest};
use crate::config::file::purging::{Downstream, Hook, PurgeMethod};
use crate::config::file::service::TokenScope;
use crate::config::file::store::{L2, Without};
use crate::config::scalar::HIDDEN;
use crate::entry::facts::RouteId;
use crate::purge::announce::{Announced, Words};
use crate::purge::template::{BadRule, Holes, Rule, Template};
use crate::route::depends::{Dependency, Depends, Left};

impl Check<'_> {
    pub(super) fn purging(&mut self) {
        self.events();
        self.intake();
        self.depends();
        for (name, hook) in &self.file.hooks {
            let at = self.root.key("hooks").key(&name.0);
            self.hook(hook, &at);
        }
        for (name, downstream) in &self.file.downstream {
            let at = self.root.key("downstream").key(&name.0);
            self.downstream(downstream, &at);
        }
    }

    fn events(&mut self) {
        for (name, event) in &self.file.events {
            let at = self.root.key("events").key(&name.0).key("purge");
            if event.purge.is_empty() {
                let right = "list what it purges: purge: [ \"tag:user:{userId}\" ]";
                self.fault(&at, format!("the event `{name}` purges nothing"), right);
            }
            for (index, text) in event.purge.iter().enumerate() {
                self.rule(&at.index(index), text, Rule::parse(text, Holes::OfData), None);
            }
        }
    }

    fn intake(&mut self) {
        let Some(intake) = &self.file.intake else { return };
        let at = self.root.key("intake");
        if intake.stream.is_none() {
            let right = "name its key: stream: app:events";
            self.fault(&at.key("stream"), "`intake` names no `stream`", right);
        }
        let has_redis = match &self.file.l2 {
            L2::Without(Without::None) => false,
            L2::Stores(stores) => stores.redis.is_some(),
        };
        if !has_redis && !self.told.covers("l2") {
            let what = "there is no Redis that the stream could be on";
            self.fault(&at, what, "configure `l2.redis`, or remove it");
        }
    }

    fn depends(&mut self) {
        let mut rules = Vec::new();
        let mut places = Vec::new();
        for (left, right) in &self.file.depends {
            let at = self.root.key("depends").key(left);
            let side = match Left::parse(left) {
                Ok(side) => side,
                Err(bad) => {
                    let known = "write tag:user:{id}, /api/users/{id} or route:NAME before it";
                    self.fault(&at, format!("`{left}` cannot be used: {bad}"), known);
                    continue;
                }
            };
            if let Some(id) = side.route() {
                self.route_id(&at, id);
            }
            let mut parsed = Vec::new();
            for (index, text) in right.as_slice().iter().enumerate() {
                let rule = Dependency::right(text, &side);
                self.rule(&at.index(index), text, rule.clone(), Some(&side.names()));
                parsed.extend(rule.ok());
            }
            rules.push(Dependency::new(side, parsed));
            places.push(at);
        }
        if let Err((index, cut)) = Depends::new(rules).trial()
            && let Some(at) = places.get(index)
        {
            self.fault(at, format!("this cannot be followed: {cut}"), "let it end somewhere");
        }
    }

    /// A rule of an event, or of what depends on something with `captured` names.
    fn rule(
        &mut self,
        at: &At<'_>,
        text: &str,
        rule: Result<Rule, BadRule>,
        captured: Option<&[&str]>,
    ) {
        let bad = match rule {
            Ok(Rule::Route(id)) => return self.route_id(at, &id),
            Ok(Rule::Tag(_) | Rule::Path(_) | Rule::Prefix(_) | Rule::Everything) => return,
            Err(bad) => bad,
        };
        let right = match &bad {
            BadRule::Empty => "write a text, or remove it".to_owned(),
            BadRule::Brace => "write {name}".to_owned(),
            BadRule::Hole(_) => match captured {
                Some([]) => "capture it on the left, as in tag:user:{id}".to_owned(),
                Some(names) => format!("the left captures {}", listed(names.iter().copied())),
                None => "write names of the event's data, as in {user.id}".to_owned(),
            },
            BadRule::Separator => "write several tags as several elements".to_owned(),
            BadRule::Path => "write it percent-encoded, and without dot segments".to_owned(),
            BadRule::Everywhere => "write everything".to_owned(),
            BadRule::Prefix => "use a tag, or a shorter prefix".to_owned(),
            BadRule::Kind(_) => {
                "write tag:…, /path, prefix:/path, route:NAME or everything".to_owned()
            }
        };
        self.fault(at, format!("`{text}` cannot be used: {bad}"), &right);
    }

    /// Whether there is such a route.
    pub(super) fn route_id(&mut self, at: &At<'_>, id: &RouteId) {
        let names = || self.file.routes.iter().filter_map(|route| route.name.as_ref());
        if names().any(|name| name.0 == id.as_str()) {
            return;
        }
        let right = nearest(id.as_str(), names().map(|name| name.0.as_str()))
            .map_or_else(|| "name one".to_owned(), |near| format!("did you mean `{near}`?"));
        self.fault(at, format!("there is no route `{id}`"), &right);
    }

    fn hook(&mut self, hook: &Hook, at: &At<'_>) {
        if hook.secret.is_none() {
            let right = "take it from the environment: ${HOOK_SECRET}";
            self.fault(&at.key("secret"), "this hook has no `secret`", right);
        }
        match &hook.event {
            None => {
                let right = "name one, as in event: user.updated, or event: \"shop.{type}\"";
                self.fault(&at.key("event"), "this hook has no `event`", right);
            }
            Some(text) => {
                if let Err(bad) = Template::parse(text, Holes::OfData) {
                    let right = "write a name, with values of the payload in braces";
                    self.fault(&at.key("event"), format!("`{text}` cannot be used: {bad}"), right);
                }
            }
        }
        self.positive(&at.key("tolerance"), hook.tolerance);
    }

    fn downstream(&mut self, downstream: &Downstream, at: &At<'_>) {
        if downstream.url.is_none() {
            let right = "add url: https://HOST/PATH";
            self.fault(&at.key("url"), "it is not said where purges are told", right);
        }
        if downstream.method.0.parse::<http::Method>().is_err() {
            let what = format!("`{}` is no method", downstream.method);
            self.fault(&at.key("method"), what, "write POST, PUT or PURGE");
        }
        let fields =
            downstream.fields.iter().map(|(name, value)| (at.key("fields").key(&name.0), value));
        let body = downstream.body.iter().map(|body| (at.key("body"), body));
        let texts: Vec<_> = fields.chain(body).collect();
        let mut named = BTreeSet::new();
        for (at, text) in &texts {
            match Words::parse(text.text()) {
                Ok(words) => named.extend(words.named()),
                Err(bad) => {
                    let right =
                        format!("write {{{{NAME}}}} with one of {}", listed(Announced::NAMES));
                    self.fault(at, format!("this cannot be filled: {bad}"), &right);
                    return;
                }
            }
        }
        // What is hidden in a printed configuration may name anything.
        if named.is_empty() && texts.iter().all(|(_, text)| text.text() != HIDDEN) {
            let right = "write {{tags}} or {{urls}} in `body` or in a field";
            self.fault(&at.key("body"), "nothing says what is purged", right);
        }
        self.positive(&at.key("timeout"), downstream.timeout);
    }

    /// Whether those who may send PURGE are known.
    pub(super) fn purge_method(&mut self, method: &PurgeMethod, at: &At<'_>) {
        if method.from.is_empty() && method.tokens.is_empty() {
            let right = "list networks in `from`, names of tokens in `tokens`, or remove it";
            self.fault(at, "`purge_method` lets nobody purge", right);
        }
        for (index, network) in method.from.iter().enumerate() {
            if network.bits == 0 {
                let what = format!("`{network}` lets everybody purge");
                self.warn(&at.key("from").index(index), what, "name your own networks");
            }
        }
        for (index, name) in method.tokens.iter().enumerate() {
            let at = at.key("tokens").index(index);
            let tokens = || self.file.admin.tokens.iter();
            let found = tokens().find(|token| token.name.as_ref() == Some(name));
            match found.map(|token| token.scopes.as_deref().unwrap_or_default()) {
                Some(scopes) if scopes.contains(&TokenScope::Purge) => {}
                Some(_) => {
                    let what = format!("the token `{name}` has not the scope `purge`");
                    self.fault(&at, what, "add it to `admin.tokens`");
                }
                None => {
                    let names =
                        listed(tokens().filter_map(|it| Some(it.name.as_ref()?.0.as_str())));
                    let right = format!("`admin.tokens` has {names}");
                    self.fault(&at, format!("there is no token `{name}`"), &right);
                }
            }
        }
    }
}
