//! The lookup for a URL that nobody is asking for at the moment.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request};

use crate::entry::Entry;
use crate::key::canonical::Target;
use crate::key::vary::Selector;
use crate::key::{HostRule, Identity, Key};
use crate::lookup::outcome::Forwarded;
use crate::lookup::{Accepts, Company, Fleet, Lookup};
use crate::message::cache_control::RequestDirectives;
use crate::route::table::RouteTable;
use crate::route::{Route, Sought};
use crate::time::Timestamp;

/// Asks for `target` as a client would that sends nothing but these fields; nothing where its route stores nothing, or not
/// this key.
pub fn seed(
    service: &str,
    routes: &RouteTable,
    target: Target,
    fields: HeaderMap,
    now: Timestamp,
) -> Option<Lookup> {
    let route = routes.find(target.host_str(), target.path()).clone();
    // What speaks GraphQL is asked in ways that a URL alone does not tell.
    if route.seeks(&Method::GET) != Sought::ByUrl || route.graphql().is_some() {
        return None;
    }
    let target = target.under(&route.key.query);
    let (mut request, ()) = Request::get(target.url()).body(()).ok()?.into_parts();
    request.headers = fields;
    request.headers.insert(HOST, target.host().clone());
    let key = key(service, &route, &target, &request.headers);
    if !route.rollout.takes(key) {
        return None;
    }
    Some(Lookup {
        route,
        key,
        variant: 0,
        target,
        request,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        directives: RequestDirectives::default(),
        accepts: Accepts::OnlyFresh,
        company: Company::Shared,
        fleet: Fleet::default(),
        range: None,
        held: None,
        in_hand: None,
        interim: None,
        content: None,
        forwarded: Forwarded::UriMiss,
        now,
    })
}

/// Asks for what `entry` was the answer to; nothing where that cannot be told from the entry, because its key holds
/// values of fields that are kept nowhere, or because its route is gone.
pub fn again(service: &str, routes: &RouteTable, entry: &Entry, now: Timestamp) -> Option<Lookup> {
    let route = routes.by_id(&entry.facts.route)?;
    let url = match route.key.host {
        HostRule::Keyed => entry.facts.url.to_string(),
        // No host is sent, whichever it is; but it has to select the same route.
        HostRule::Ignored => format!("http://larder{}", entry.facts.url),
    };
    if entry.variant.names().any(|name| *name == COOKIE || *name == AUTHORIZATION) {
        // It is a client's own, and not for us to send again.
        return None;
    }
    let parts = entry.variant.parts();
    let fields = parts
        .filter_map(|(name, value)| Some((name.clone(), HeaderValue::from_bytes(value?).ok()?)));
    let fields = fields.collect();
    let lookup = seed(service, routes, Target::parse(&url).ok()?, fields, now)?;
    let selector = Selector { fields: &lookup.request.headers, rules: &lookup.route.vary };
    let is_same = lookup.key == entry.facts.key && entry.variant.is_selected_by(&selector);
    is_same.then(|| Lookup { variant: entry.variant.digest(), ..lookup })
}

fn key(service: &str, route: &Arc<Route>, target: &Target, fields: &HeaderMap) -> Key {
    let (route, rules) = (route.id.as_str(), &route.key);
    Key::of(&Identity { service, route, target, rules, fields, question: None })
}
