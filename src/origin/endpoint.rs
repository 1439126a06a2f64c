//! One endpoint of an origin: its address, its health, its connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Uri, Version};

use crate::breaker::{self, Breaker, Permit, State};
use crate::message::authority::is_reachable;
use crate::message::call::Call;
use crate::message::fields::{Named, Removable};
use crate::message::reply::Reply;
use crate::origin::body::{Feed, Outgoing};
use crate::origin::client::{Blueprint, Clients, Trouble};
use crate::origin::health::Vitals;
use crate::origin::plain::Lines;
use crate::origin::{HostRule, Protocol};

/// How long an endpoint that could not be connected to is passed over, if the background does not reach it earlier.
const EJECTION: Duration = Duration::from_secs(5);

pub(crate) struct Endpoint {
    uri: Uri,
    scheme: Scheme,
    authority: Authority,
    naming: Naming,
    /// Whether it could be connected to lately.
    health: Breaker,
    /// What its checks say, where there are any.
    vitals: Vitals,
    clients: Clients,
    /// What speaks to it plainly, where it is spoken to so.
    lines: Option<Lines>,
}

/// Which authority the request's URI has, and so what shares connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naming {
    /// The endpoint's. `Host` says the rest.
    Endpoint,
    /// That of `Host`, because HTTP/2 sends no other.
    Host,
}

/// What makes a URI unfit to be an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointFault {
    /// Neither http nor https.
    #[error("scheme must be http or https")]
    Scheme,
    /// No host, no port that could be reached, or a user and password.
    #[error("needs a host and a port from 1 to 65535 or none, without user or password")]
    Authority,
    /// A path or query, which requests bring themselves.
    #[error("must have no path and no query")]
    Path,
}

/// Whether the URI can be an endpoint: scheme, host, perhaps a port, nothing else.
pub fn check(uri: &Uri) -> Result<(), EndpointFault> {
    parts_of(uri).map(|_| ())
}

fn parts_of(uri: &Uri) -> Result<(Scheme, Authority), EndpointFault> {
    let scheme = uri
        .scheme()
        .filter(|scheme| **scheme == Scheme::HTTP || **scheme == Scheme::HTTPS)
        .ok_or(EndpointFault::Scheme)?;
    let authority = uri
        .authority()
        .filter(|authority| !authority.as_str().contains('@') && !authority.host().is_empty())
        .filter(|authority| is_reachable(authority))
        .ok_or(EndpointFault::Authority)?;
    match uri.path_and_query().map_or("/", PathAndQuery::as_str) {
        "/" | "" => Ok((scheme.clone(), authority.clone())),
        _ => Err(EndpointFault::Path),
    }
}

impl Endpoint {
    pub(crate) fn new(uri: Uri, blueprint: Blueprint) -> Result<Self, EndpointFault> {
        let (scheme, authority) = parts_of(&uri)?;
        let naming = if scheme == Scheme::HTTPS || blueprint.protocol == Protocol::Http2 {
            Naming::Host
        } else {
            Naming::Endpoint
        };
        let health = Breaker::new(breaker::Settings { failures: 1, open_for: EJECTION });
        let lines = (naming == Naming::Endpoint).then(|| Lines::new(uri.clone(), &blueprint));
        let clients = Clients::new(uri.clone(), blueprint);
        let vitals = Vitals::new();
        Ok(Self { uri, scheme, authority, naming, health, vitals, clients, lines })
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(super) fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    pub(crate) fn lines(&self) -> Option<&Lines> {
        self.lines.as_ref()
    }

    /// Leave to use the endpoint, unless it is ejected.
    pub(crate) fn admit(&self, now: Instant) -> Option<Permit<'_>> {
        self.health.admit(now).ok()
    }

    /// Whether it gets requests: its checks speak for it, and it could be connected to lately.
    pub(crate) fn is_used(&self, now: Instant) -> bool {
        self.vitals.is_up() && !self.is_ejected(now)
    }

    /// Whether a connection to it can be made, which ends its ejection.
    pub(super) async fn can_be_reached(&self) -> bool {
        let ejected = self.health.probe(Instant::now());
        let is_reached = self.clients.connect().await;
        match ejected {
            Some(permit) if is_reached => permit.succeeded(),
            Some(permit) => permit.failed(Instant::now()),
            None => {}
        }
        is_reached
    }

    /// Whether it is passed over because it could not be connected to.
    pub(super) fn is_ejected(&self, now: Instant) -> bool {
        self.health.state(now) != State::Closed
    }

    /// Sends one request and waits for the head of its response. `permit` hears whether there was a connection.
    pub(crate) async fn exchange(
        &self,
        request: Request<Outgoing>,
        feed: Option<Arc<Feed>>,
        permit: Option<Permit<'_>>,
    ) -> Result<Reply<hyper::body::Incoming>, Trouble> {
        let (mut parts, body) = request.into_parts();
        self.address(&mut parts);
        let answer = self.clients.exchange(Request::from_parts(parts, body), feed).await;
        learn(&answer, permit);
        answer
    }

    /// Turns the request to this endpoint; path and query keep every byte.
    fn address(&self, parts: &mut Parts) {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(self.scheme.clone());
        uri.authority = Some(match self.naming {
            Naming::Endpoint => self.authority.clone(),
            Naming::Host => take_name(parts).unwrap_or_else(|| self.authority.clone()),
        });
        uri.path_and_query = Some(
            parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
        );
        parts.uri = Uri::from_parts(uri).expect("scheme, authority and path are all there");
        parts.version = Version::HTTP_11;
    }
}

/// Tells `permit` whether there was a connection.
pub(crate) fn learn<T>(answer: &Result<T, Trouble>, permit: Option<Permit<'_>>) {
    match (answer, permit) {
        // Ejected, and used because all are.
        (_, None) => {}
        (Err(Trouble::NoConnection(_)), Some(permit)) => permit.failed(Instant::now()),
        // A pooled connection says nothing of whether another could be made.
        (Err(Trouble::Unsent), Some(permit)) => drop(permit),
        (Ok(_) | Err(Trouble::Failed(_)), Some(permit)) => permit.succeeded(),
    }
}

/// Moves the name from the field to the URI: HTTP/2 servers refuse a request that says it twice (RFC 9113
/// §8.3.1), and for HTTP/1.1 the client makes the field from the URI again.
fn take_name(parts: &mut Parts) -> Option<Authority> {
    let name = Authority::try_from(parts.headers.get(HOST)?.as_bytes()).ok()?;
    parts.headers.remove(HOST);
    Some(name)
}

/// Sets `Host` as the rule says.
pub(crate) fn name_host<B>(rule: &HostRule, call: &mut Call<B>) {
    match rule {
        HostRule::Fixed(authority) => {
            call.fields.remove_all(&HOST);
            call.fields.push(&HOST, authority.as_str().as_bytes());
        }
        HostRule::Preserve => {
            // HTTP/2 clients name it in the URI alone.
            if let Some(authority) = call.uri.authority()
                && !call.fields.has(&HOST)
            {
                let named = authority.as_str();
                let host = named.rsplit_once('@').map_or(named, |(_, host)| host);
                call.fields.push(&HOST, host.as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_scheme_and_a_host_and_nothing_else() {
        let fault = |uri: &'static str| check(&Uri::from_static(uri)).err();
        assert_eq!(fault("http://10.0.0.1:3000"), None);
        assert_eq!(fault("https://api.example/"), None);
        assert_eq!(fault("/api"), Some(EndpointFault::Scheme));
        assert_eq!(fault("ftp://a"), Some(EndpointFault::Scheme));
        assert_eq!(fault("http://me:secret@a"), Some(EndpointFault::Authority));
        assert_eq!(fault("http://a:99999"), Some(EndpointFault::Authority));
        assert_eq!(fault("http://a/api"), Some(EndpointFault::Path));
        assert_eq!(fault("http://a/?q"), Some(EndpointFault::Path));
    }

    #[test]
    fn the_host_of_an_h2_client_is_preserved_too() {
        let mut call = Call::from(Request::get("http://me@shop.example:81/x").body(()).unwrap());
        for (rule, expected) in [
            (HostRule::Preserve, "shop.example:81"),
            (HostRule::Fixed(Authority::from_static("api")), "api"),
            (HostRule::Preserve, "api"),
        ] {
            name_host(&rule, &mut call);
            assert!(call.fields.named(&HOST).eq([expected.as_bytes()]));
        }
    }
}
