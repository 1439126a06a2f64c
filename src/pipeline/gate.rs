//! Request in: which route, which key, and whether to look it up or to pass it on.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::Either;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderValue,
    MAX_FORWARDS, UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Version};
use tower::Service;

use crate::key::canonical::{Target, is_sound};
use crate::key::content::{Unkeyable, graphql};
use crate::key::{Identity, Key, Question};
use crate::lookup::cache_status::Status;
use crate::lookup::outcome::{Errand, Forwarded, Outcome, WhyPassed, WhyRefused};
use crate::lookup::{Accepts, Company, Fleet, Lookup};
use crate::message::air::Air;
use crate::message::body::Body;
use crate::message::cache_control::RequestDirectives;
use crate::message::fields::{members, remove_named_by_connection};
use crate::message::interim::Interim;
use crate::message::problem::{self, Refusal};
use crate::message::range::{self, Asked};
use crate::pipeline::content::{Taken, take};
use crate::pipeline::crossing::{Arrival, Departure, Passage};
use crate::pipeline::onward::Trusted;
use crate::pipeline::ration::{self, Asker, Told};
use crate::policy::ClientDirectives;
use crate::rate::Rates;
use crate::route::switches::Switches;
use crate::route::table::RouteTable;
use crate::route::{RangeFetch, Route, Sought};
use crate::time::Timestamp;

/// Decides; holds nothing back.
pub(crate) struct Gate<L, P>(Arc<Parts<L, P>>);

struct Parts<L, P> {
    service: Box<str>,
    routes: Arc<ArcSwap<RouteTable>>,
    rates: Rates,
    switches: Switches,
    trusted: Trusted,
    lookups: L,
    passages: P,
    air: Air,
}

/// What the gate decides by.
pub(crate) struct Needs<'a> {
    pub(crate) service: &'a str,
    pub(crate) routes: Arc<ArcSwap<RouteTable>>,
    pub(crate) rates: Rates,
    pub(crate) switches: Switches,
    pub(crate) trusted: Trusted,
    /// The room for content that is read.
    pub(crate) air: Air,
}

/// What the gate decides.
enum Decision {
    Look(Box<Lookup>, Body),
    /// What is asked for is told by the content, which is still to come.
    Read(Box<Look>, Body),
    Pass(Passage),
    Refuse(Departure),
}

impl<L, P> Gate<L, P> {
    /// The gate before `lookups`, which answers what is looked up, and `passages`, which forwards the rest.
    pub(crate) fn new(needs: Needs<'_>, lookups: L, passages: P) -> Self {
        let Needs { service, routes, rates, switches, trusted, air } = needs;
        let service = service.into();
        Self(Arc::new(Parts { service, routes, rates, switches, trusted, lookups, passages, air }))
    }

    fn decide(&self, arrival: Arrival) -> (Decision, Told) {
        let Arrival { mut request, client, scheme, interim, now } = arrival;
        let refused = |departure| (Decision::Refuse(departure), Told::default());
        if let Some(refusal) = refusal(&request) {
            return refused(refusal);
        }
        if request.method() == Method::OPTIONS
            && let Some(answer) = step(request.headers_mut())
        {
            return refused(answer);
        }
        let scheme = self.0.trusted.scheme(client, scheme, request.headers());
        let target = match Target::of(&request, scheme) {
            Ok(target) => target,
            Err(why) => return refused(malformed(&why.to_string())),
        };
        let routes = self.0.routes.load();
        let route = routes.find(target.host_str(), target.path()).clone();
        let fields = request.headers();
        let asker = Asker { peer: client, trusted: &self.0.trusted, fields };
        let told = match ration::take(&self.0.rates, &route, &asker) {
            Ok(told) => told,
            Err(departure) => return refused(*departure),
        };
        let (request, body) = request.into_parts();
        let look = Look { route, target, request, client, interim, now };
        (self.direct(&routes, look, body), told)
    }

    /// Where a request goes that is answered.
    fn direct(&self, routes: &RouteTable, look: Look, body: Body) -> Decision {
        let Look { route, target, request, client, interim, now } = look;
        let target = target.under(&route.key.query);
        let why = if request.headers.contains_key(UPGRADE) && is_upgrade(&request) {
            WhyPassed::Upgrade
        } else if request.method.as_str() == "PURGE" && route.purge_method.is_some() {
            WhyPassed::Purge
        } else if route.seeks(&request.method) != Sought::Nowhere
            && routes.is_ambiguous(&route, target.host_str(), target.path())
        {
            WhyPassed::Path
        } else {
            match (route.seeks(&request.method), why_unnamed(&route, &request.method, &target)) {
                (Sought::ByUrl, None) => {
                    let look = Look { route, target, request, client, interim, now };
                    return match self.admit(look, None) {
                        Ok(lookup) => Decision::Look(lookup, body),
                        Err((look, why)) => Decision::Pass(look.passing(body, why)),
                    };
                }
                (Sought::ByContent, None) => {
                    let look = Look { route, target, request, client, interim, now };
                    return Decision::Read(Box::new(look), body);
                }
                (Sought::ByUrl | Sought::ByContent, Some(why)) => WhyPassed::Content(why),
                (Sought::Nowhere, _) => match request.method {
                    Method::GET | Method::HEAD | Method::QUERY => WhyPassed::Route,
                    _ => WhyPassed::Method,
                },
            }
        };
        let get = (why == WhyPassed::Method && route.keeps_for_get(&request.method)).then(|| {
            let (route, target) = (route.clone(), target.clone());
            let (request, interim) = (request.clone(), interim.clone());
            let look = Look { route, target, request, client, interim, now };
            let lookup = self.admit(look, None).ok()?;
            Some(Box::new(Lookup { company: Company::Unshared, ..*lookup }))
        });
        let get = get.flatten();
        Decision::Pass(Passage { route, target, request, body, client, interim, why, get })
    }

    /// The lookup; or why there is none, because no layer is on or the key is not rolled out: then the request passes as
    /// if no cache were there.
    fn admit(
        &self,
        look: Look,
        content: Option<Bytes>,
    ) -> Result<Box<Lookup>, (Box<Look>, WhyPassed)> {
        let (layers, rollout) = (look.route.layers, look.route.rollout);
        if self.0.switches.left_of(layers).is_none() {
            return Err((Box::new(look), WhyPassed::LayersOff));
        }
        if look.route.tripwire.has_sprung() {
            return Err((Box::new(look), WhyPassed::Tripwire));
        }
        // Only where it may pass, what came is needed once more.
        let came = (!rollout.is_whole()).then(|| Box::new(look.clone()));
        let lookup = self.lookup(look, content);
        match came {
            Some(look) if !rollout.takes(lookup.key) => Err((look, WhyPassed::Rollout)),
            Some(_) | None => Ok(lookup),
        }
    }

    fn lookup(&self, look: Look, content: Option<Bytes>) -> Box<Lookup> {
        let Look { route, target, mut request, client, interim, now } = look;
        remove_named_by_connection(&mut request.headers);
        if route.graphql().is_some() {
            // A coded answer could not be looked into.
            request.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let question = content.as_deref();
        let question = question.map(|content| Question { method: &request.method, content });
        let key = Key::of(&Identity {
            service: &self.0.service,
            route: route.id.as_str(),
            target: &target,
            rules: &route.key,
            fields: &request.headers,
            question,
        });
        let directives = match route.policy.client_directives {
            ClientDirectives::Honoured => RequestDirectives::of(&request.headers),
            ClientDirectives::Ignored => RequestDirectives::default(),
        };
        route.forward.narrow(&mut request.headers, &route.key, &route.vary);
        let asked = match route.ranges {
            RangeFetch::AsAsked if request.method == Method::GET => range::asked(&request.headers),
            RangeFetch::AsAsked | RangeFetch::Whole => Asked::Whole,
        };
        let alone = request.method == Method::HEAD
            || directives.no_store
            || directives.only_if_cached
            || asked == Asked::Own;
        Box::new(Lookup {
            route,
            key,
            variant: 0,
            range: match asked {
                Asked::One(range) => Some(range),
                Asked::Whole | Asked::Own => None,
            },
            target,
            request,
            content: content.map(Arc::new),
            client,
            interim: Some(interim),
            directives,
            accepts: Accepts::StaleInWindow,
            company: if alone { Company::Alone } else { Company::Shared },
            fleet: Fleet::default(),
            held: None,
            in_hand: None,
            forwarded: Forwarded::UriMiss,
            now,
        })
    }
}

/// A request that is to be looked up.
#[derive(Clone)]
struct Look {
    route: Arc<Route>,
    target: Target,
    request: http::request::Parts,
    client: IpAddr,
    interim: Interim,
    now: Timestamp,
}

impl Look {
    /// The request on its way past the cache, with this body.
    fn passing(self, body: Body, why: WhyPassed) -> Passage {
        let Self { route, target, request, client, interim, .. } = self;
        Passage { route, target, request, body, client, interim, why, get: None }
    }
}

/// Why a URL does not say what is asked for, on a route that speaks GraphQL.
fn why_unnamed(route: &Route, method: &Method, target: &Target) -> Option<Unkeyable> {
    route.graphql()?;
    let query = target.path_and_query().query();
    match *method {
        Method::GET | Method::HEAD => graphql::asked_by_url(query).err(),
        // Some origins run what the URL says before what the content says.
        _ => graphql::speaks_in_url(query).then_some(Unkeyable::NotGraphQl),
    }
}

/// RFC 9110 §7.8: "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0 request"; in
/// HTTP/2 there is none (RFC 9113 §8.2.2). It counts only where `Connection` names it.
///
/// One protocol, and not another HTTP or TLS: through such a tunnel requests would get to the origin that nobody has
/// looked at. RFC 9110 §7.8: "A server MAY ignore a received Upgrade header field".
fn is_upgrade(request: &http::request::Parts) -> bool {
    let mut wanted = members(&request.headers, &UPGRADE);
    let is_tunnel = |protocol: &[u8]| {
        let protocol = protocol.to_ascii_lowercase();
        !["h2", "h3", "http", "tls"].iter().any(|own| protocol.starts_with(own.as_bytes()))
    };
    request.version == Version::HTTP_11
        && wanted.next().is_some_and(is_tunnel)
        && wanted.next().is_none()
        && members(&request.headers, &CONNECTION)
            .any(|option| option.eq_ignore_ascii_case(b"upgrade"))
}

/// What is refused before anything is looked up.
fn refusal(request: &Request<Body>) -> Option<Departure> {
    if let Some(&Refusal { status, detail }) = request.extensions().get() {
        let why = match status {
            StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                WhyRefused::TooLarge
            }
            _ => WhyRefused::Malformed,
        };
        return Some(refuse(status, detail, why));
    }
    let text = match request.method().as_str() {
        "CONNECT" => "Larder opens no tunnels",
        // RFC 9110 §9.3.8: what comes back is what was sent, and so what nobody should read who made a browser send it.
        "TRACE" | "TRACK" => "Larder sends no requests back to those who made them",
        _ => return expectation(request.headers()).or_else(|| unsound(request)),
    };
    Some(refuse(StatusCode::METHOD_NOT_ALLOWED, text, WhyRefused::MethodNotAllowed))
}

/// RFC 9110 §10.1.1: a server "that receives an Expect field value containing a member other than 100-continue MAY
/// respond with a 417 (Expectation Failed)". Who reads such a field otherwise than the origin does waits for an answer
/// that another request gets.
fn expectation(fields: &HeaderMap) -> Option<Departure> {
    let mut lines = fields.get_all(EXPECT).iter();
    let known = |line: &HeaderValue| line.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if lines.next().is_none_or(known) && lines.next().is_none() {
        return None;
    }
    let text = "nothing but one 100-continue can be expected";
    Some(refuse(StatusCode::EXPECTATION_FAILED, text, WhyRefused::Malformed))
}

/// Counts one step of a request that may take so many, and answers one that may take none.
///
/// RFC 9110 §7.6.2: "If the received value is zero (0), the intermediary MUST NOT forward the request; instead, the
/// intermediary MUST respond as the final recipient." Of the two methods it is for, the other is refused whatever it says.
fn step(fields: &mut HeaderMap) -> Option<Departure> {
    let left: u64 = fields.get(MAX_FORWARDS)?.to_str().ok()?.trim().parse().ok()?;
    if let Some(left) = left.checked_sub(1) {
        fields.insert(MAX_FORWARDS, HeaderValue::from(left));
        return None;
    }
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(ALLOWED));
    let outcome = Outcome::Refused(WhyRefused::LastRecipient);
    let response = response.into();
    Some(Departure { response, outcome, route: None, status: Status::default() })
}

/// What Larder takes of anybody, wherever it forwards it.
const ALLOWED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, QUERY";

fn unsound(request: &Request<Body>) -> Option<Departure> {
    is_sound(request).err().map(|why| malformed(&why.to_string()))
}

fn malformed(detail: &str) -> Departure {
    refuse(StatusCode::BAD_REQUEST, detail, WhyRefused::Malformed)
}

/// A refusal that ends the connection: what follows on it cannot be trusted to begin where we think.
fn refuse(status: StatusCode, detail: &str, why: WhyRefused) -> Departure {
    let mut response = problem::response(status, detail);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let outcome = Outcome::Refused(why);
    Departure { response: response.into(), outcome, route: None, status: Status::default() }
}

impl<L, P> Clone for Gate<L, P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<L, P> Gate<L, P>
where
    L: Service<Box<Lookup>, Response = Departure, Error = Infallible> + Clone + Send + Sync,
    L::Future: Send,
    P: Service<Passage, Response = Departure, Error = Infallible> + Clone + Send + Sync,
    P::Future: Send,
{
    /// Reads the content, by which the request is then looked up, or passes it on.
    async fn read(self, mut look: Box<Look>, body: Body) -> Result<Departure, Infallible> {
        let rules = &look.route.key.content;
        match take(&self.0.air, rules, &mut look.request.headers, body).await {
            Taken::Keyed(content) => {
                look.now = Timestamp::now();
                match self.admit(*look, Some(content.clone())) {
                    Ok(lookup) => self.0.lookups.clone().call(lookup).await,
                    Err((mut look, why)) => {
                        // It is sent in the form in which it would be keyed.
                        let length = HeaderValue::from(content.len());
                        look.request.headers.insert(CONTENT_LENGTH, length);
                        self.0.passages.clone().call(look.passing(content.into(), why)).await
                    }
                }
            }
            Taken::Left(body, why) => {
                let passage = look.passing(body, WhyPassed::Content(why));
                self.0.passages.clone().call(passage).await
            }
            Taken::Broken(failure) => {
                let errand = Errand::Passage(WhyPassed::Content(Unkeyable::Unread));
                Ok(Departure::failed(errand, failure, look.route))
            }
        }
    }
}

impl<L, P> Service<Arrival> for Gate<L, P>
where
    L: Service<Box<Lookup>, Response = Departure, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    L::Future: Send,
    P: Service<Passage, Response = Departure, Error = Infallible> + Clone + Send + Sync + 'static,
    P::Future: Send + 'static,
{
    type Response = Departure;
    type Error = Infallible;
    type Future = Either<
        L::Future,
        Either<
            Pin<Box<dyn Future<Output = Result<Departure, Infallible>> + Send>>,
            Ready<Result<Departure, Infallible>>,
        >,
    >;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, arrival: Arrival) -> Self::Future {
        let (decision, told) = self.decide(arrival);
        if !told.is_nothing() {
            let gate = self.clone();
            return Either::Right(Either::Left(Box::pin(async move {
                let mut departure = gate.go(decision).await?;
                told.tell(departure.response.folded());
                Ok(departure)
            })));
        }
        self.go(decision)
    }
}

impl<L, P> Gate<L, P>
where
    L: Service<Box<Lookup>, Response = Departure, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    L::Future: Send,
    P: Service<Passage, Response = Departure, Error = Infallible> + Clone + Send + Sync + 'static,
    P::Future: Send + 'static,
{
    fn go(&self, decision: Decision) -> <Self as Service<Arrival>>::Future {
        match decision {
            // A body of a request that is looked up by its URL is nobody's: dropped, the server drains or closes.
            Decision::Look(lookup, _body) => Either::Left(self.0.lookups.clone().call(lookup)),
            Decision::Read(look, body) => {
                Either::Right(Either::Left(Box::pin(self.clone().read(look, body))))
            }
            Decision::Pass(passage) => {
                let passed = self.0.passages.clone().call(passage);
                Either::Right(Either::Left(Box::pin(passed)))
            }
            Decision::Refuse(departure) => Either::Right(Either::Right(ready(Ok(departure)))),
        }
    }
}
