//! Whether a client asks too often, and what it is told of how often it may.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use smallvec::SmallVec;

use crate::lookup::cache_status::Status;
use crate::lookup::outcome::{Outcome, WhyRefused};
use crate::message::body::Body;
use crate::message::fields::{RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::message::problem;
use crate::pipeline::crossing::Departure;
use crate::pipeline::onward::Trusted;
use crate::rate::{Fields, Rates, Standing, TooOften, whole_seconds};
use crate::route::Route;

/// Where a client stands with each rate that it is told of.
#[derive(Debug, Default)]
pub(crate) struct Told(SmallVec<[Standing; 2]>);

/// Who asks, and what is believed of what it says about that.
pub(crate) struct Asker<'a> {
    pub(crate) peer: IpAddr,
    pub(crate) trusted: &'a Trusted,
    pub(crate) fields: &'a HeaderMap,
}

/// Counts a request against what holds for all of them and for those of its route; or the answer to one too many. What
/// the first refuses does not count for the second.
pub(crate) fn take(
    rates: &Rates,
    route: &Arc<Route>,
    asker: &Asker<'_>,
) -> Result<Told, Box<Departure>> {
    let mut told = Told::default();
    let of_all = rates.of_all();
    if of_all.is_none() && route.rate.is_none() {
        return Ok(told);
    }
    // A proxy that does not say for whom in a way that is understood is the client itself.
    let client = asker.trusted.client(asker.peer, asker.fields).unwrap_or(asker.peer);
    for limiter in of_all.iter().chain(&route.rate) {
        match limiter.take(client, asker.fields) {
            Ok(standing) => told.add(standing),
            Err(TooOften { wait, standing }) => {
                told.add(standing);
                return Err(Box::new(refusal(whole_seconds(wait), &told, route.clone())));
            }
        }
    }
    Ok(told)
}

/// RFC 6585 §4: "MAY include a Retry-After header indicating how long to wait before making a new request".
fn refusal(wait: u64, told: &Told, route: Arc<Route>) -> Departure {
    let text = "this client asks more often than it may";
    let mut response = problem::response(StatusCode::TOO_MANY_REQUESTS, text);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.max(1)));
    told.tell(&mut response);
    Departure {
        response: response.into(),
        outcome: Outcome::Refused(WhyRefused::RateLimited),
        route: Some(route),
        status: Status::default(),
    }
}

impl Told {
    fn add(&mut self, standing: Standing) {
        if standing.fields == Fields::Told {
            self.0.push(standing);
        }
    }

    /// Whether there is nothing to be told.
    pub(crate) fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers) in the place of what an origin may
    /// have said to somebody else: a quota of requests at once, and the seconds in which it is whole again.
    pub(crate) fn tell(&self, response: &mut Response<Body>) {
        let list = |member: fn(&mut String, &Standing)| {
            let mut text = String::new();
            for standing in &self.0 {
                if !text.is_empty() {
                    text.push_str(", ");
                }
                member(&mut text, standing);
            }
            HeaderValue::try_from(text).ok().filter(|value| !value.is_empty())
        };
        let policies = list(|text, standing| {
            let Standing { name, quota, window, .. } = standing;
            let _ = write!(text, "\"{name}\";q={quota};w={window}");
        });
        let limits = list(|text, standing| {
            let Standing { name, left, full_in, .. } = standing;
            let _ = write!(text, "\"{name}\";r={left};t={full_in}");
        });
        for (name, value) in [(RATE_LIMIT_POLICY, policies), (RATE_LIMIT, limits)] {
            if let Some(value) = value {
                response.headers_mut().insert(name, value);
            }
        }
    }
}
