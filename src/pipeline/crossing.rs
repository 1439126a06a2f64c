//! What crosses the gate: a request that arrives, one that passes on, and a response that departs.

use std::net::IpAddr;
use std::sync::Arc;

use http::Request;
use http::header::{CONNECTION, HeaderValue};
use http::request::Parts;
use http::uri::Scheme;

use crate::key::canonical::Target;
use crate::lookup::Lookup;
use crate::lookup::cache_status::Status;
use crate::lookup::outcome::{Errand, Outcome, WhyPassed, WhyRefused};
use crate::message::body::Body;
use crate::message::interim::Interim;
use crate::message::lead::Prefaced;
use crate::message::problem;
use crate::origin::failure::OriginFailure;
use crate::route::Route;
use crate::time::Timestamp;

/// A request as it came in.
pub(crate) struct Arrival {
    pub(crate) request: Request<Body>,
    pub(crate) client: IpAddr,
    /// How it connected; a trusted proxy says how its own client did.
    pub(crate) scheme: Scheme,
    /// Where the client hears what precedes the response.
    pub(crate) interim: Interim,
    pub(crate) now: Timestamp,
}

/// A request that is passed on.
pub(crate) struct Passage {
    pub(crate) route: Arc<Route>,
    pub(crate) target: Target,
    pub(crate) request: Parts,
    pub(crate) body: Body,
    pub(crate) client: IpAddr,
    pub(crate) interim: Interim,
    pub(crate) why: WhyPassed,
    /// What its answer may be kept for: the GET of its URL.
    pub(crate) get: Option<Box<Lookup>>,
}

/// A response, and what is to be said of its request.
pub(crate) struct Departure {
    pub(crate) response: Prefaced<Body>,
    pub(crate) outcome: Outcome,
    pub(crate) route: Option<Arc<Route>>,
    /// What `Cache-Status` tells besides the outcome.
    pub(crate) status: Status,
}

impl Departure {
    /// The answer to a request whose origin failed when it was asked on `errand`.
    pub(crate) fn failed(errand: Errand, failure: OriginFailure, route: Arc<Route>) -> Self {
        let mut response = problem::response(failure.status(), &failure.to_string());
        let outcome = if failure.is_the_clients() {
            // RFC 9110 §15.5.9, of 408: the rest of the body may still come, so the server SHOULD send "close".
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            let silent = failure == OriginFailure::RequestSilent;
            let why = if silent { WhyRefused::RequestSilent } else { WhyRefused::RequestBody };
            Outcome::Refused(why)
        } else {
            Outcome::Failed(errand, failure)
        };
        Self { response: response.into(), outcome, route: Some(route), status: Status::default() }
    }
}
