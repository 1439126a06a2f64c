//! What is said of one request, and the words for how it ended.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, StatusCode};

use crate::lookup::outcome::{Errand, Kept, Layer, Outcome, Source, WhyPassed, WhyRefused};
use crate::message::fields::X_REQUEST_ID;
use crate::policy::storable::WhyNot;
use crate::route::Route;
use crate::telemetry::access::{AccessLog, Line};
use crate::telemetry::labels::Ending;
use crate::telemetry::metrics::Metrics;
use crate::time::Timestamp;

/// What is said of one request. Made from parts that are shared with the request: nothing is copied.
pub struct Record {
    pub started: Instant,
    pub at: Timestamp,
    pub client: Option<IpAddr>,
    pub method: Method,
    /// As the client sent it; empty where it sent none.
    pub host: Option<HeaderValue>,
    pub path: Option<PathAndQuery>,
    pub request_id: Option<HeaderValue>,
    /// Known once the request was answered.
    pub route: Option<Arc<Route>>,
    pub status: StatusCode,
    pub outcome: Outcome,
}

/// How a response's body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// All of it was handed to the connection.
    Complete,
    /// What was read from ended before its end; the client's response ends as cut off.
    CutOff,
    /// The client left before the end.
    ClientLeft,
}

/// How a response's body ended, and how many of its bytes were handed to the connection.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub how: BodyEnd,
    pub bytes: u64,
}

impl BodyEnd {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::CutOff => "cut-off",
            Self::ClientLeft => "client-left",
        }
    }
}

impl Record {
    /// Opens the record of a request that began now; until it is answered it counts as malformed.
    pub fn open(client: Option<IpAddr>, at: Timestamp) -> Self {
        Self {
            started: Instant::now(),
            at,
            client,
            method: Method::GET,
            host: None,
            path: None,
            request_id: None,
            route: None,
            status: StatusCode::BAD_REQUEST,
            outcome: Outcome::Refused(WhyRefused::Malformed),
        }
    }

    /// Notes what only a line of the log tells of the request.
    pub fn note<B>(&mut self, request: &Request<B>) {
        let authority = request.uri().authority();
        let host = authority.and_then(|it| HeaderValue::from_str(it.as_str()).ok());
        self.method = request.method().clone();
        self.host = host.or_else(|| request.headers().get(HOST).cloned());
        self.path = request.uri().path_and_query().cloned();
        self.request_id = request.headers().get(X_REQUEST_ID).cloned();
    }

    /// Tells the metrics and the access log that the response is over. Costs five relaxed additions, and what one
    /// line costs where the log is on.
    pub fn tell(&self, ended: Ended, metrics: &Metrics, log: &AccessLog) {
        self.tell_on(self.route.as_deref(), ended, metrics, log);
    }

    /// As [`Record::tell`], for a request whose route the record does not hold.
    pub fn tell_on(&self, route: Option<&Route>, ended: Ended, metrics: &Metrics, log: &AccessLog) {
        let took = self.started.elapsed();
        let counts = route.map_or(metrics.unrouted(), |route| &route.metrics);
        counts.record(words(&self.outcome).ending, ended.bytes, took);
        match ended.how {
            BodyEnd::Complete => {}
            BodyEnd::CutOff => metrics.counts().bodies_cut_off.one(),
            BodyEnd::ClientLeft => metrics.counts().clients_left.one(),
        }
        if matches!(self.outcome, Outcome::Passed(WhyPassed::Rollout)) {
            metrics.counts().rollout_passed.one();
        }
        if matches!(self.outcome, Outcome::Passed(WhyPassed::LayersOff)) {
            metrics.counts().layers_off_passed.one();
        }
        if matches!(self.outcome, Outcome::Refused(WhyRefused::RateLimited)) {
            metrics.counts().rate_limited.one();
        }
        if matches!(self.outcome, Outcome::Miss(Kept::Left(WhyNot::TooManyKeys))) {
            metrics.counts().too_many_keys.one();
        }
        if matches!(self.outcome, Outcome::Passed(WhyPassed::Tripwire)) {
            metrics.counts().tripwire_passed.one();
        }
        if log.is_on() {
            log.write(&self.line(route, ended, took));
        }
    }

    fn line<'a>(&'a self, route: Option<&'a Route>, ended: Ended, took: Duration) -> Line<'a> {
        let words = words(&self.outcome);
        Line {
            at: self.at.as_millis(),
            client: self.client,
            method: self.method.as_str(),
            host: self.host.as_ref().map_or(&[], HeaderValue::as_bytes),
            path: self.path.as_ref().map_or("", PathAndQuery::as_str),
            status: self.status.as_u16(),
            bytes: ended.bytes,
            took,
            cache: words.cache,
            layer: words.layer,
            outcome: words.ending.label(),
            detail: detail(&self.outcome),
            route: route.map_or("", |route| route.id.as_str()),
            ended: ended.how.word(),
            request_id: self.request_id.as_ref().map_or(&[], HeaderValue::as_bytes),
        }
    }
}

/// An outcome's words, wherever it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// `X-Cache`.
    pub cache: &'static str,
    /// `X-Cache-Layer`.
    pub layer: &'static str,
    /// The metrics' label, which is also the log's field.
    pub ending: Ending,
}

/// The table of outcomes and their words.
///
/// | outcome | `X-Cache` | `X-Cache-Layer` | label |
/// |---|---|---|---|
/// | hit | HIT | L1, L2 | `hit_l1`, `hit_l2` |
/// | stale while a refresh runs | STALE | L1, L2 | `stale_l1`, `stale_l2` |
/// | stale, because the origin failed | STALE | L1, L2 | `stale_on_error` |
/// | a 304 was merged | REVALIDATED | ORIGIN | `revalidated` |
/// | fetched and kept | MISS | ORIGIN | `miss` |
/// | fetched and not kept | MISS | ORIGIN | `uncacheable` |
/// | shared another's fetch | COALESCED | where that ended | `coalesced` |
/// | passed | BYPASS | ORIGIN | `bypass` |
/// | the origin failed | MISS, or BYPASS where the request was passed | ORIGIN | `failed` |
/// | `only-if-cached`, and nothing to serve | MISS | ORIGIN | `refused` |
/// | a PURGE that the route takes | BYPASS | ORIGIN | `purge` |
/// | refused before anything was looked up | BYPASS | ORIGIN | `refused` |
pub const fn words(outcome: &Outcome) -> Words {
    let (cache, layer, ending) = match outcome {
        Outcome::Hit(Layer::L1) => ("HIT", "L1", Ending::HitL1),
        Outcome::Hit(Layer::L2) => ("HIT", "L2", Ending::HitL2),
        Outcome::Stale(Layer::L1) => ("STALE", "L1", Ending::StaleL1),
        Outcome::Stale(Layer::L2) => ("STALE", "L2", Ending::StaleL2),
        Outcome::StaleOnError(layer, _) => ("STALE", layer.word(), Ending::StaleOnError),
        Outcome::Revalidated(_) => ("REVALIDATED", "ORIGIN", Ending::Revalidated),
        Outcome::Miss(Kept::Stored) => ("MISS", "ORIGIN", Ending::Miss),
        Outcome::Miss(Kept::Left(_)) => ("MISS", "ORIGIN", Ending::Uncacheable),
        Outcome::Followed(Source::Layer(layer)) => ("COALESCED", layer.word(), Ending::Coalesced),
        Outcome::Followed(Source::Origin) => ("COALESCED", "ORIGIN", Ending::Coalesced),
        Outcome::Passed(_) => ("BYPASS", "ORIGIN", Ending::Bypass),
        Outcome::Failed(Errand::Lookup, _) => ("MISS", "ORIGIN", Ending::Failed),
        Outcome::Failed(Errand::Passage(_), _) => ("BYPASS", "ORIGIN", Ending::Failed),
        Outcome::Purged => ("BYPASS", "ORIGIN", Ending::Purge),
        Outcome::Refused(WhyRefused::OnlyIfCached) => ("MISS", "ORIGIN", Ending::Refused),
        Outcome::Refused(
            WhyRefused::Malformed
            | WhyRefused::TooLarge
            | WhyRefused::Overloaded
            | WhyRefused::NoRoute
            | WhyRefused::MethodNotAllowed
            | WhyRefused::RateLimited
            | WhyRefused::PurgeForbidden
            | WhyRefused::LastRecipient
            | WhyRefused::RequestSilent
            | WhyRefused::RequestBody,
        ) => ("BYPASS", "ORIGIN", Ending::Refused),
    };
    Words { cache, layer, ending }
}

impl Layer {
    /// `X-Cache-Layer`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::L1 => "L1",
            Self::L2 => "L2",
        }
    }
}

impl WhyPassed {
    const fn word(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Route => "route",
            Self::Upgrade => "upgrade",
            Self::Path => "path",
            Self::Purge => "purge",
            Self::Rollout => "rollout",
            Self::LayersOff => "layers-off",
            Self::Tripwire => "tripwire",
            Self::Content(why) => why.token(),
        }
    }
}

impl WhyRefused {
    /// The reason as a token, for `Cache-Status`, logs and problems.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too-large",
            Self::OnlyIfCached => "only-if-cached",
            Self::Overloaded => "overloaded",
            Self::NoRoute => "no-route",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::RateLimited => "rate-limited",
            Self::PurgeForbidden => "purge-forbidden",
            Self::LastRecipient => "max-forwards",
            Self::RequestSilent => "request-silent",
            Self::RequestBody => "request-body",
        }
    }
}

/// Why it ended so, for the log; empty where the outcome says it all.
fn detail(outcome: &Outcome) -> Cow<'static, str> {
    match outcome {
        Outcome::Hit(_)
        | Outcome::Stale(_)
        | Outcome::Revalidated(Kept::Stored)
        | Outcome::Miss(Kept::Stored)
        | Outcome::Purged
        | Outcome::Followed(_) => Cow::Borrowed(""),
        Outcome::Revalidated(Kept::Left(why)) | Outcome::Miss(Kept::Left(why)) => {
            why.token().into()
        }
        Outcome::Passed(why) => why.word().into(),
        Outcome::Refused(why) => why.token().into(),
        Outcome::StaleOnError(_, failure) | Outcome::Failed(_, failure) => {
            failure.to_string().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_told_once_to_metrics_and_log() {
        let request = Request::get("/a?b=1").header(HOST, "shop.example").body(()).unwrap();
        let mut record = Record::open(None, Timestamp::from_seconds(1));
        record.note(&request);
        let metrics = Metrics::new("shop");
        let (log, guard) = AccessLog::start(None, std::io::sink()).unwrap();
        record.tell(Ended { how: BodyEnd::ClientLeft, bytes: 7 }, &metrics, &log);
        drop(guard);
        assert_eq!(metrics.unrouted().count(Ending::Refused), 1);
        assert_eq!(metrics.counts().clients_left.get(), 1);
        let line = record.line(None, Ended { how: BodyEnd::ClientLeft, bytes: 7 }, Duration::ZERO);
        assert_eq!((line.host, line.path), (&b"shop.example"[..], "/a?b=1"));
        assert_eq!((line.detail.as_ref(), line.ended), ("malformed", "client-left"));
    }
}
