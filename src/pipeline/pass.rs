//! Forwards what is not ours, as it is; and purges what a successful unsafe request has made old.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::{CONNECTION, CONTENT_LOCATION, HeaderMap, HeaderName, LOCATION, TE, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::upgrade::OnUpgrade;
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::{debug, warn};

use crate::entry::facts::{Mark, Tag};
use crate::key::canonical::Target;
use crate::key::content::{Unkeyable, Writes};
use crate::lookup::Lookup;
use crate::lookup::answer::Answer;
use crate::lookup::cache_status::Status;
use crate::lookup::in_hand::Brought;
use crate::lookup::outcome::{Errand, Outcome, WhyPassed};
use crate::message::body::Body;
use crate::message::call::Call;
use crate::message::dictionary::strings;
use crate::message::fields::{
    CACHE_GROUP_INVALIDATION, members, remove_hop_by_hop, remove_named_by_connection,
};
use crate::origin::Dispatch;
use crate::origin::body::Incoming;
use crate::origin::failure::OriginFailure;
use crate::origin::tunnel::tunnel;
use crate::pipeline::crossing::{Departure, Passage};
use crate::pipeline::onward::{Sender, Trusted, sent_by_us, via};
use crate::pipeline::posted::{is_of_target, keep};
use crate::pipeline::purging;
use crate::policy::Post;
use crate::purge::log::PurgeLog;
use crate::purge::purger::{Moment, Purger};
use crate::purge::{Cause, Effect, Purge, Record, Scope};
use crate::refresh::Refresher;
use crate::refresh::seed::seed;
use crate::route::table::RouteTable;
use crate::route::{AfterWrite, Route};
use crate::time::Timestamp;

/// How long a write waits for its purge to be in the log; applied here it is at once.
const PURGE_TIME: Duration = Duration::from_secs(1);

/// How many groups one response may name.
const MOST_GROUPS: usize = 256;

/// How long a tunnel may be silent both ways.
const TUNNEL_IDLE: Duration = Duration::from_mins(10);

/// Passes requests on, streaming both ways.
pub(crate) struct Pass<L, S>(Arc<Shared<L, S>>);

struct Shared<L, S> {
    purger: Purger<L>,
    /// What keeps an answer.
    below: S,
    routes: Arc<arc_swap::ArcSwap<RouteTable>>,
    trusted: Trusted,
    tasks: TaskTracker,
    service: Box<str>,
    refresher: Refresher,
}

/// What passages need.
pub(crate) struct Needs<L, S> {
    pub(crate) purger: Purger<L>,
    pub(crate) below: S,
    pub(crate) routes: Arc<arc_swap::ArcSwap<RouteTable>>,
    pub(crate) trusted: Trusted,
    pub(crate) tasks: TaskTracker,
    pub(crate) service: Box<str>,
    pub(crate) refresher: Refresher,
}

impl<L, S> Pass<L, S>
where
    L: PurgeLog,
    S: Service<Box<Lookup>, Response = Answer, Error = OriginFailure>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    pub(crate) fn new(needs: Needs<L, S>) -> Self {
        let Needs { purger, below, routes, trusted, tasks, service, refresher } = needs;
        Self(Arc::new(Shared { purger, below, routes, trusted, tasks, service, refresher }))
    }

    async fn pass(self, passage: Passage) -> Departure {
        let Passage { route, target, mut request, body, client, interim, why, get } = passage;
        let writes = may_write(&route, &request.method, why);
        let upgrade = (why == WhyPassed::Upgrade).then(|| Upgrade::of(&mut request));
        let trailers = accepts_trailers(&request.headers);
        if get.is_some() {
            // The origin must see no more than what the variant is named after.
            route.vary.rewrite(&mut request.headers);
        }
        remove_named_by_connection(&mut request.headers);
        let (address, trust) = (client, self.0.trusted.trust(client));
        let version = request.version;
        let sender = Sender { address, trust, version, route: &route, target: &target };
        let mut fields = sent_by_us(&request.headers, sender, |_| true);
        if trailers {
            fields.push(&TE, b"trailers");
        }
        if let Some(upgrade) = &upgrade {
            fields.push(&CONNECTION, b"upgrade");
            fields.push(&UPGRADE, upgrade.protocol.as_bytes());
        }
        let (method, uri) = (request.method, Uri::from(target.path_and_query().clone()));
        let extensions = request.extensions;
        let (since, requested) = (self.0.purger.moment(), Timestamp::now());
        let call = Call { method, uri, fields, extensions, body };
        let mut dispatch = Dispatch::streaming(call, Some(interim));
        let answer = route.origin.ask(&mut dispatch, route.places.as_ref()).await;
        let received = Timestamp::now();
        let response = match answer {
            Ok(reply) => reply.into_response(),
            Err(failure) => return Departure::failed(Errand::Passage(why), failure, route),
        };
        let mut as_of = None;
        if writes && is_successful(response.status()) {
            let write = Write { route: &route, target: &target, from: client, since };
            as_of = self.invalidate(write, response.headers()).await;
        }
        let mut status = Status { forwarded_status: Some(response.status()), ..Status::default() };
        let response = match (upgrade, get.zip(as_of)) {
            (Some(upgrade), _) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                if !upgrade.is_to(response.headers()) {
                    let failure = OriginFailure::Protocol("a 101 to what was not asked for".into());
                    return Departure::failed(Errand::Passage(why), failure, route);
                }
                self.switch(upgrade, response)
            }
            (_, Some((get, as_of))) if is_of_target(&target, &response) => {
                let response = response.map(Body::live);
                let turn = since.turn;
                let brought = Brought { response, as_of, turn, requested, received };
                match keep(self.0.below.clone(), get, brought).await {
                    Ok((response, stored)) => {
                        status.stored = stored;
                        plain(response)
                    }
                    Err(failure) => return Departure::failed(Errand::Passage(why), failure, route),
                }
            }
            _ => plain(response.map(Body::from)),
        };
        let mut response = response;
        route.tags.strip(response.headers_mut());
        let outcome = Outcome::Passed(why);
        Departure { response: response.into(), outcome, route: Some(route), status }
    }

    /// RFC 9111 §4.4: "A cache MUST invalidate the target URI when it receives a non-error status code in response
    /// to an unsafe request method"; `Location` and `Content-Location` of the same origin too, and what the route
    /// says; and the groups that the response names (RFC 9875 §3). Returns the purge's mark if nothing else was purged
    /// since the write was sent.
    async fn invalidate(&self, write: Write<'_>, response: &HeaderMap) -> Option<Mark> {
        let Write { route, target, from, since } = write;
        let routes = self.0.routes.load_full();
        let named = [LOCATION, CONTENT_LOCATION];
        let named = named.iter().filter_map(|name| reference(target, response, name));
        let mut urls: Vec<Target> = [target.clone()].into_iter().chain(named).collect();
        let scopes = urls.iter().flat_map(|url| routes.url_scopes(url));
        let mut purges: Vec<Purge> =
            scopes.map(|scope| Purge { scope, effect: Effect::Remove }).collect();
        let after = routes.after_write(route, target);
        purges.extend(after.purges);
        urls.extend(after.urls);
        let groups = groups(target, response).into_iter();
        purges.extend(groups.map(|scope| Purge { scope, effect: Effect::Remove }));
        let cause = Cause {
            by: "public".into(),
            reason: Some("a write through the proxy".into()),
            from: Some(from.to_canonical().to_string()),
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
        let submitted = self.0.purger.submit_next_after(since, record, PURGE_TIME).await;
        let mark = submitted.unwrap_or_else(|why| {
            warn!(error = %why, url = target.url(), "a write's purge is not in the log yet");
            None
        });
        match route.after_write {
            AfterWrite::Wait => {}
            AfterWrite::Refresh => self.refresh(&routes, urls),
        }
        mark
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

/// A write that the origin has taken.
#[derive(Clone, Copy)]
struct Write<'a> {
    route: &'a Route,
    target: &'a Target,
    from: IpAddr,
    /// When it was sent.
    since: Moment,
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

    /// RFC 9110 §7.8: "A server MUST NOT switch to a protocol that was not indicated by the client".
    fn is_to(&self, answer: &HeaderMap) -> bool {
        let wanted = self.protocol.as_bytes().trim_ascii();
        let mut chosen = members(answer, &UPGRADE);
        chosen.next().is_some_and(|chosen| chosen.eq_ignore_ascii_case(wanted))
            && chosen.next().is_none()
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
            (WhyPassed::Content(Unkeyable::Subscription), _)
            // It was keyed, so it only asks.
            | (WhyPassed::Rollout | WhyPassed::LayersOff | WhyPassed::Tripwire, Some(_))
            | (_, Some(Writes::Keep)) => false,
            // What it asks for is not known, or it is a mutation.
            (_, Some(Writes::Invalidate)) => true,
            (_, None) => route.policy.post != Post::Vouched,
        },
        _ => true,
    }
}

/// RFC 9111 §4.4: "A 'non-error response' is one with a 2xx (Successful) or 3xx (Redirection) status code."
fn is_successful(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// RFC 9875 §3: the field names groups whose members on the target's origin go. More of them than are reasonable mean
/// all that is of the origin.
fn groups(target: &Target, response: &HeaderMap) -> Vec<Scope> {
    let groups = strings(response, &CACHE_GROUP_INVALIDATION).unwrap_or_default();
    let origin: Arc<str> = format!("{}://{}", target.scheme(), target.host_str()).into();
    if groups.len() > MOST_GROUPS {
        return vec![Scope::Prefix(format!("{origin}/").into())];
    }
    let group = |name: &String| Scope::Group { origin: origin.clone(), tag: Tag::new(name) };
    groups.iter().filter(|name| !name.is_empty()).map(group).collect()
}

/// The URL that a response field names, if it is of the same origin as the target (RFC 9111 §4.4: "A cache MUST
/// NOT invalidate a URI under these conditions if the origin … differs").
fn reference(target: &Target, response: &HeaderMap, name: &HeaderName) -> Option<Target> {
    let text = response.get(name)?.to_str().ok()?;
    let named = target.resolve(text).ok()?;
    (named.scheme() == target.scheme() && named.host() == target.host()).then_some(named)
}

impl<L, S> Clone for Pass<L, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<L, S> Service<Passage> for Pass<L, S>
where
    L: PurgeLog,
    S: Service<Box<Lookup>, Response = Answer, Error = OriginFailure>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
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
                | WhyPassed::Rollout
                | WhyPassed::LayersOff
                | WhyPassed::Tripwire
                | WhyPassed::Path
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
