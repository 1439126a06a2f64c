//! Forwards what is not ours, as it is; and purges what a successful unsafe request has made old.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::{CONNECTION, CONTENT_LOCATION, HeaderMap, HeaderName, LOCATION, TE, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::{debug, warn};

use crate::key::canonical::Target;
use crate::key::content::{Unkeyable, Writes};
use crate::lookup::cache_status::Status;
use crate::lookup::outcome::{Errand, Outcome, WhyPassed};
use crate::message::body::Body;
use crate::message::fields::{members, remove_hop_by_hop};
use crate::origin::body::Incoming;
use crate::origin::failure::OriginFailure;
use crate::origin::tunnel::tunnel;
use crate::pipeline::crossing::{Departure, Passage};
use crate::pipeline::onward::{Sender, Trusted, sent_by_us, via};
use crate::pipeline::purging;
use crate::policy::Post;
use crate::purge::log::PurgeLog;
use crate::purge::purger::{Purger, Wait};
use crate::purge::{Cause, Effect, Purge, Record, Scope};
use crate::refresh::Refresher;
use crate::refresh::seed::seed;
use crate::route::table::RouteTable;
use crate::route::{AfterWrite, Route};
use crate::time::Timestamp;

/// How long a write waits for its purge to be in the log; applied here it is at once.
const PURGE_TIME: Duration = Duration::from_secs(1);

/// How long a tunnel may be silent both ways.
const TUNNEL_IDLE: Duration = Duration::from_mins(10);

/// Passes requests on, streaming both ways.
pub(crate) struct Pass<L>(Arc<Shared<L>>);

struct Shared<L> {
    purger: Purger<L>,
    routes: Arc<arc_swap::ArcSwap<RouteTable>>,
    trusted: Trusted,
    tasks: TaskTracker,
    service: Box<str>,
    refresher: Refresher,
}

/// What passages need.
pub(crate) struct Needs<L> {
    pub(crate) purger: Purger<L>,
    pub(crate) routes: Arc<arc_swap::ArcSwap<RouteTable>>,
    pub(crate) trusted: Trusted,
    pub(crate) tasks: TaskTracker,
    pub(crate) service: Box<str>,
    pub(crate) refresher: Refresher,
}

impl<L: PurgeLog> Pass<L> {
    pub(crate) fn new(needs: Needs<L>) -> Self {
        let Needs { purger, routes, trusted, tasks, service, refresher } = needs;
        Self(Arc::new(Shared { purger, routes, trusted, tasks, service, refresher }))
    }

    async fn pass(self, passage: Passage) -> Departure {
        let Passage { route, target, mut request, body, client, interim, why } = passage;
        let writes = may_write(&route, &request.method, why);
        let upgrade = (why == WhyPassed::Upgrade).then(|| Upgrade::of(&mut request));
        let trailers = accepts_trailers(&request.headers);
        let sender = Sender { address: client, trust: self.0.trusted.trust(client) };
        sent_by_us(&mut request, &route, &target, sender);
        if trailers {
            request.headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if let Some(upgrade) = &upgrade {
            request.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            request.headers.insert(UPGRADE, upgrade.protocol.clone());
        }
        request.extensions.insert(interim);
        let answer = route.origin.send(Request::from_parts(request, body)).await;
        let outcome = Outcome::Passed(why);
        let response = match answer {
            Ok(response) => response,
            Err(failure) => return Departure::failed(Errand::Passage(why), failure, route),
        };
        if writes && is_successful(response.status()) {
            let from = sender.address.to_canonical().to_string();
            self.invalidate(&route, &target, response.headers(), from).await;
        }
        let response = match upgrade {
            Some(upgrade) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                self.switch(upgrade, response)
            }
            Some(_) | None => plain(response.map(Body::live)),
        };
        let status = Status { forwarded_status: Some(response.status()), ..Status::default() };
        Departure { response, outcome, route: Some(route), status }
    }

    /// RFC 9111 §4.4: "A cache MUST invalidate the target URI when it receives a non-error status code in response
    /// to an unsafe request method"; `Location` and `Content-Location` of the same origin too, and what the route
    /// says.
    async fn invalidate(&self, route: &Route, target: &Target, response: &HeaderMap, from: String) {
        let routes = self.0.routes.load_full();
        let named = [LOCATION, CONTENT_LOCATION];
        let named = named.iter().filter_map(|name| reference(target, response, name));
        let mut urls: Vec<Target> = [target.clone()].into_iter().chain(named).collect();
        let scopes = urls.iter().map(|url| routes.url_scope(url));
        let mut purges: Vec<Purge> =
            scopes.map(|scope| Purge { scope, effect: Effect::Remove }).collect();
        let after = routes.after_write(route, target);
        purges.extend(after.purges);
        urls.extend(after.urls);
        let cause = Cause {
            by: "public".into(),
            reason: Some("a write through the proxy".into()),
            from: Some(from),
            urls: urls.iter().map(Target::url).collect(),
            // Clients must not have memory walked through.
            rewarm: Some(0),
            event: None,
        };
        let record = Record { purges, cause, at: Timestamp::now() };
        let record = routes.complete(record.clone()).unwrap_or_else(|why| {
            // The write has been done: what depends on it is old, whatever it is.
            warn!(error = %why, url = target.url(), "a write purges everything");
            let purges = vec![Purge { scope: Scope::Everything, effect: Effect::Remove }];
            Record { purges, ..record }
        });
        if let Err(why) = self.0.purger.submit(record, Wait::Local, PURGE_TIME).await {
            warn!(error = %why, url = target.url(), "a write's purge is not in the log yet");
        }
        match route.after_write {
            AfterWrite::Wait => {}
            AfterWrite::Refresh => self.refresh(&routes, urls),
        }
    }

    /// Fetches what was purged for whoever reads next; as plain clients would ask for it.
    fn refresh(&self, routes: &RouteTable, urls: Vec<Target>) {
        let now = Timestamp::now();
        for url in urls {
            if let Some(lookup) = seed(&self.0.service, routes, url, HeaderMap::new(), now) {
                self.0.refresher.fetch(lookup);
            }
        }
    }

    /// Joins the two connections in a task of their own, and tells the client that it may go on.
    fn switch(&self, upgrade: Upgrade, origin: Response<Incoming>) -> Response<Body> {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = origin.status();
        *response.headers_mut() = origin.headers().clone();
        let protocol = origin.headers().get(UPGRADE).cloned();
        let mut response = plain(response);
        let fields = response.headers_mut();
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol {
            fields.insert(UPGRADE, protocol);
        }
        self.0.tasks.spawn(async move {
            if let Err(why) = tunnel(upgrade.client, origin, TUNNEL_IDLE).await {
                debug!(error = %why, "a tunnel ended");
            }
        });
        response
    }
}

/// A client's wish for another protocol.
struct Upgrade {
    client: OnUpgrade,
    protocol: HeaderValue,
}

impl Upgrade {
    fn of(request: &mut Parts) -> Self {
        let client = request.extensions.remove::<OnUpgrade>();
        let protocol = request.headers.get(UPGRADE).cloned();
        Self {
            client: client.unwrap_or_else(|| hyper::upgrade::on(Request::new(()))),
            protocol: protocol.unwrap_or(HeaderValue::from_static("unknown")),
        }
    }
}

/// A response without the fields of the last hop.
fn plain(mut response: Response<Body>) -> Response<Body> {
    let via = via(response.version());
    let fields = response.headers_mut();
    remove_hop_by_hop(fields);
    fields.append(http::header::VIA, via);
    response
}

/// Whether the client takes trailers; then the origin may send them (gRPC insists on it).
fn accepts_trailers(fields: &HeaderMap) -> bool {
    members(fields, &TE).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// Whether a request may change something (RFC 9110 §9.2.1, RFC 10008 §2); a method that nobody knows is not known
/// to be safe.
fn may_write(route: &Route, method: &Method, why: WhyPassed) -> bool {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::QUERY => false,
        Method::POST => match (why, route.graphql()) {
            (WhyPassed::Content(Unkeyable::Subscription), _) | (_, Some(Writes::Keep)) => false,
            // What it asks for is not known, or it is a mutation.
            (_, Some(Writes::Invalidate)) => true,
            (_, None) => route.policy.post == Post::Unsafe,
        },
        _ => true,
    }
}

/// RFC 9111 §4.4: "A 'non-error response' is one with a 2xx (Successful) or 3xx (Redirection) status code."
fn is_successful(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// The URL that a response field names, if it is of the same origin as the target (RFC 9111 §4.4: "A cache MUST
/// NOT invalidate a URI under these conditions if the origin … differs").
fn reference(target: &Target, response: &HeaderMap, name: &HeaderName) -> Option<Target> {
    let text = response.get(name)?.to_str().ok()?;
    let named = target.resolve(text).ok()?;
    (named.scheme() == target.scheme() && named.host() == target.host()).then_some(named)
}

impl<L> Clone for Pass<L> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<L: PurgeLog> Service<Passage> for Pass<L> {
    type Response = Departure;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Departure, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, passage: Passage) -> Self::Future {
        let pass = self.clone();
        if !may_write(&passage.route, &passage.request.method, passage.why) {
            return Box::pin(async move { Ok(pass.pass(passage).await) });
        }
        // In a task of its own: the origin may have done what a client asked for that did not stay for the answer,
        // and then what is stored is as old as if it had stayed.
        let route = passage.route.clone();
        let errand = Errand::Passage(passage.why);
        let written = self.0.tasks.spawn(async move {
            match passage.why {
                WhyPassed::Purge => {
                    let Shared { purger, routes, trusted, .. } = &*pass.0;
                    purging::purge(purger, &routes.load_full(), trusted, passage).await
                }
                WhyPassed::Method
                | WhyPassed::Route
                | WhyPassed::Upgrade
                | WhyPassed::Content(_) => pass.pass(passage).await,
            }
        });
        Box::pin(async move {
            let departure = written.await;
            let failed = |_| Departure::failed(errand, OriginFailure::Abandoned, route);
            Ok(departure.unwrap_or_else(failed))
        })
    }
}
