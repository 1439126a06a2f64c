//! Answer out: HEAD, 304, 206, `Age` and what is said of how it came about.

use std::convert::Infallible;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{
    AGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, EXPIRES, HeaderMap,
    HeaderValue, VIA,
};
use http::{Method, Response, StatusCode};
use pin_project_lite::pin_project;
use tower::Service;

use crate::entry::Entry;
use crate::lookup::Lookup;
use crate::lookup::answer::{Answer, Content};
use crate::lookup::cache_status::Status;
use crate::lookup::outcome::{Errand, Kept, Outcome};
use crate::message::body::Body;
use crate::message::conditional::{Condition, evaluate, is_left_out, not_modified};
use crate::message::date;
use crate::message::fields::{CONDITIONS, remove_hop_by_hop};
use crate::message::fill::Reader;
use crate::message::lead::{Lead, Prefaced};
use crate::message::problem;
use crate::message::range::{self, Ranges};
use crate::message::reply::{Fields, Reply};
use crate::origin::failure::OriginFailure;
use crate::pipeline::crossing::Departure;
use crate::pipeline::onward::{is_conditional, via};
use crate::route::{Route, ServerFields};
use crate::time::Timestamp;

/// Turns answers into responses for the one client who asked.
#[derive(Clone)]
pub(crate) struct Deliver<S> {
    inner: S,
}

/// What of the request shapes the response.
struct Asked {
    route: Arc<Route>,
    method: Method,
    /// What of the request's fields asks for a part or only for what is new.
    conditions: Option<Box<HeaderMap>>,
    /// What the request is looked up by, where the route shows it.
    key: Option<Box<str>>,
    now: Timestamp,
}

pin_project! {
    /// Resolves to the response.
    pub(crate) struct Delivering<F> {
        #[pin]
        answer: F,
        asked: Option<Asked>,
    }
}

impl<S> Deliver<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S> Service<Box<Lookup>> for Deliver<S>
where
    S: Service<Box<Lookup>, Response = Answer, Error = OriginFailure>,
{
    type Response = Departure;
    type Error = Infallible;
    type Future = Delivering<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, lookup: Box<Lookup>) -> Self::Future {
        let asked = Asked {
            route: lookup.route.clone(),
            method: lookup.request.method.clone(),
            // A POST has none here: RFC 9110 §13.1.2 answers its `If-None-Match` with 412, which is for writers.
            conditions: (is_conditional(&lookup.request.headers)
                && lookup.request.method != Method::POST)
                .then(|| Box::new(conditions_of(&lookup.request.headers))),
            key: (lookup.route.server_fields == ServerFields::Debug).then(|| key(&lookup)),
            now: lookup.now,
        };
        Delivering { answer: self.inner.call(lookup), asked: Some(asked) }
    }
}

impl<F> Future for Delivering<F>
where
    F: Future<Output = Result<Answer, OriginFailure>>,
{
    type Output = Result<Departure, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(context));
        let asked = this.asked.take().expect("polled again after it was ready");
        Poll::Ready(Ok(match answer {
            Ok(answer) => asked.deliver(answer),
            Err(failure) => {
                let mut departure = Departure::failed(Errand::Lookup, failure, asked.route);
                departure.status.key = asked.key;
                departure
            }
        }))
    }
}

impl Asked {
    fn deliver(mut self, answer: Answer) -> Departure {
        let Answer { content, outcome, forwarded, landing: _, own } = answer;
        let mut status = Status { forwarded, key: self.key.take(), ..Status::default() };
        let mut response = match content {
            Content::Stored(entry) => {
                self.describe(&entry, &outcome, &mut status);
                self.stored(&entry, None, &outcome)
            }
            Content::Arriving(entry, reader) => {
                self.describe(&entry, &outcome, &mut status);
                self.stored(&entry, Some(reader), &outcome)
            }
            Content::Once(reply) => {
                status.forwarded_status = Some(reply.status);
                self.once(*reply, &outcome)
            }
        };
        if let Some(own) = own {
            // They stand in the place of what is stored under their names.
            response.folded().headers_mut().extend(*own);
        }
        Departure { response, outcome, route: Some(self.route), status }
    }

    fn describe(&self, entry: &Entry, outcome: &Outcome, status: &mut Status) {
        let rest = entry.freshness().ttl(self.now);
        let is_stale = matches!(outcome, Outcome::Stale(_) | Outcome::StaleOnError(..));
        // RFC 9211 §2.4: "May be negative, to indicate staleness"; a part of a second, and a soft purge, are stale.
        status.ttl = match outcome {
            Outcome::Revalidated(Kept::Left(_)) => None,
            _ if is_stale => Some(rest.min(-1)),
            _ => Some(rest),
        };
        status.forwarded_status = match outcome {
            Outcome::StaleOnError(_, OriginFailure::Status(answered)) => Some(*answered),
            Outcome::StaleOnError(..) => None,
            // A HEAD asks without conditions, and is answered in full.
            Outcome::Revalidated(_) if self.method != Method::HEAD => {
                Some(StatusCode::NOT_MODIFIED)
            }
            _ if entry.part().is_some() => Some(StatusCode::PARTIAL_CONTENT),
            _ => Some(entry.status),
        };
    }

    /// A response from an entry: whole, a part of it, or word that the client has it already. Where its lines go out as they
    /// are stored, no map is made of them.
    fn stored(
        &self,
        entry: &Arc<Entry>,
        reader: Option<Reader>,
        outcome: &Outcome,
    ) -> Prefaced<Body> {
        let shape = match &self.conditions {
            None => Shape::Whole,
            Some(conditions) => self.shape(conditions, entry),
        };
        let shape = if is_there(&shape, entry) { shape } else { Shape::Missing };
        // RFC 9111 §5.1: Age "implies that the response was not generated or validated by the origin server for
        // this request"; what was fetched for it keeps the Age that it came with. One without is told how old it
        // was when it came, where that is a second or more: the time that the origin took counts (§4.2.3).
        let fetched = is_fetched(outcome);
        let age = entry.freshness().age(self.now).as_secs();
        let lead = self.lead(&shape, entry, outcome);
        let fields = || if lead.is_some() { HeaderMap::new() } else { entry.fields() };
        let mut response = match shape {
            // Whoever sends the whole body tells its length.
            Shape::Whole if lead.is_some() => unmeasured(entry, fields(), reader),
            Shape::Whole => whole(entry, fields(), reader),
            Shape::Part(range, length) => part(entry, fields(), reader, (range, length)),
            Shape::Several(ranges) => several(entry, fields(), reader, &ranges),
            Shape::NotModified => bare(StatusCode::NOT_MODIFIED, not_modified(fields())),
            Shape::Failed => bare(StatusCode::PRECONDITION_FAILED, HeaderMap::new()),
            Shape::Unsatisfiable(length) => {
                let mut fields = HeaderMap::new();
                fields.insert(CONTENT_RANGE, range::unsatisfied(length));
                bare(StatusCode::RANGE_NOT_SATISFIABLE, fields)
            }
            Shape::Missing => {
                let text = "the answer has not all that the request asks for";
                return problem::response(StatusCode::BAD_GATEWAY, text).into();
            }
        };
        if self.method == Method::HEAD {
            *response.body_mut() = Body::Empty;
        }
        let is_aged = response.headers().contains_key(AGE);
        let mut response = Prefaced::new(response, lead);
        if !fetched || age > 0 && !is_aged {
            response.set(AGE, HeaderValue::from(age.min(1 << 31)));
        }
        self.tell_lifetime(&mut response);
        response
    }

    /// What of an entry goes out line by line as it is stored; nothing where something of it is changed or is not sent. What
    /// each answer says for itself stands in the place of what was stored under its name, unless that is this very answer's.
    fn lead(&self, shape: &Shape, entry: &Entry, outcome: &Outcome) -> Option<Lead> {
        let is_changed = self.route.client_ttl.is_some() || !self.sends_lines();
        if is_changed || is_fetched(outcome) && !entry.lines.are_common() {
            return None;
        }
        match shape {
            Shape::Whole => Some(Lead::of_parts(entry.lines.common())),
            Shape::NotModified => {
                let lines = entry.lines.common_lines();
                Some(Lead::of_lines(lines.filter(|(name, _)| !is_left_out(name))))
            }
            Shape::Part(..)
            | Shape::Several(_)
            | Shape::Failed
            | Shape::Unsatisfiable(_)
            | Shape::Missing => None,
        }
    }

    fn shape(&self, conditions: &HeaderMap, entry: &Entry) -> Shape {
        let (status, fields) = (entry.status, &entry.lines);
        match evaluate(conditions, &self.method, status, fields) {
            Condition::NotModified => return Shape::NotModified,
            Condition::Failed => return Shape::Failed,
            Condition::Send => {}
        }
        // RFC 9110 §14.2: "A server MUST ignore a Range header field received with a request method that is
        // unrecognized or for which range handling is not defined. For this specification, GET is the only method".
        let (true, Some(length)) = (self.method == Method::GET, entry.length()) else {
            return Shape::Whole;
        };
        match range::select(conditions, fields, status, length) {
            Ranges::Whole => Shape::Whole,
            Ranges::One(range) => Shape::Part(range, length),
            Ranges::Several(ranges) => Shape::Several(ranges),
            Ranges::Unsatisfiable => Shape::Unsatisfiable(length),
        }
    }

    /// Whether lines may go out as they are. Not where something of them is taken back; and what asks otherwise than by GET is
    /// not answered in the lane, and a HEAD is told the length of what is not sent.
    fn sends_lines(&self) -> bool {
        self.method == Method::GET && self.route.server_fields != ServerFields::Minimal
    }

    /// The origin's response to this request, or to the canonical one that was sent in its place.
    fn once(&self, mut reply: Reply<Body>, outcome: &Outcome) -> Prefaced<Body> {
        remove_hop_by_hop(&mut reply.fields);
        self.route.tags.strip(&mut reply.fields);
        let via = via(reply.version);
        let is_known = reply.status == StatusCode::OK
            && self.conditions.as_ref().is_some_and(|conditions| {
                evaluate(conditions, &self.method, reply.status, &reply.fields)
                    == Condition::NotModified
            });
        // Without content the length is not that of the body.
        let is_measured = has_content(reply.status) && reply.status != StatusCode::NOT_MODIFIED;
        let mut lead = None;
        if self.sends_lines() && is_measured && !is_known {
            let now = || date::format(Timestamp::now().as_seconds());
            lead = reply.fields.lines().map(|lines| Lead::of_reply(lines, now));
        }
        if lead.is_some() {
            reply.fields = Fields::default();
        }
        let mut response = reply.into_response();
        if is_known {
            let fields = not_modified(std::mem::take(response.headers_mut()));
            response = bare(StatusCode::NOT_MODIFIED, fields);
        }
        let mut response = Prefaced::new(response, lead);
        if !matches!(outcome, Outcome::Refused(_)) {
            response.add(VIA, via);
        }
        response
    }

    /// What the route tells clients about the lifetime, in the place of what the origin said.
    fn tell_lifetime(&self, response: &mut Prefaced<Body>) {
        if let Some(ttl) = self.route.client_ttl
            && let Ok(value) = HeaderValue::try_from(format!("max-age={}", ttl.as_secs()))
        {
            let fields = response.folded().headers_mut();
            fields.insert(CACHE_CONTROL, value);
            fields.remove(EXPIRES);
            // The client's own clock begins now: an age from before would end its lifetime early.
            fields.remove(AGE);
        }
    }
}

/// The URL as it is keyed, and the digest of the whole key. What else is keyed (fields, cookies, content) may be
/// secret, and is seen in the digest alone.
fn key(lookup: &Lookup) -> Box<str> {
    let url = lookup.target.url_under(lookup.route.key.host);
    format!("{url} {}", lookup.key).into()
}

/// Whether the origin was asked for this very answer.
fn is_fetched(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Miss(_) | Outcome::Revalidated(_))
}

/// The fields that ask for a part or for what is new, of all that a client sent.
fn conditions_of(fields: &HeaderMap) -> HeaderMap {
    let conditions = fields.iter().filter(|(name, _)| CONDITIONS.contains(name));
    let mut kept = HeaderMap::with_capacity(2);
    for (name, value) in conditions {
        kept.append(name, value.clone());
    }
    kept
}

/// How much of an entry a client gets.
enum Shape {
    Whole,
    Part(Range<u64>, u64),
    Several(Vec<Range<u64>>),
    NotModified,
    Failed,
    Unsatisfiable(u64),
    /// What is there is a part that does not hold it. No layer answers so; what no client may be sent is not sent, whoever
    /// errs (RFC 9111 §3.3).
    Missing,
}

/// Whether an entry has all that the shape needs.
fn is_there(shape: &Shape, entry: &Entry) -> bool {
    entry.part().is_none_or(|part| match shape {
        Shape::Part(range, _) => part.holds(range),
        Shape::NotModified | Shape::Failed => true,
        Shape::Whole | Shape::Several(_) | Shape::Unsatisfiable(_) | Shape::Missing => false,
    })
}

fn bare(status: StatusCode, fields: HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}

fn whole(entry: &Entry, fields: HeaderMap, reader: Option<Reader>) -> Response<Body> {
    let mut response = unmeasured(entry, fields, reader);
    if let Some(length) = entry.length()
        && has_content(entry.status)
    {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// All of it without a word of its length.
fn unmeasured(entry: &Entry, fields: HeaderMap, reader: Option<Reader>) -> Response<Body> {
    let mut response = bare(entry.status, fields);
    *response.body_mut() = match (entry.whole(), reader) {
        (Some(whole), _) => Body::from(whole),
        (None, Some(reader)) => {
            Body::Arriving { reader, length: entry.arriving().and_then(|(_, length)| length) }
        }
        // Nobody reads: only the head was asked for.
        (None, None) => Body::Empty,
    };
    response
}

/// RFC 9110 §8.6: "A server MUST NOT send a Content-Length header field in any response with a status code of 1xx
/// (Informational) or 204 (No Content)".
fn has_content(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NO_CONTENT
}

fn part(
    entry: &Entry,
    fields: HeaderMap,
    reader: Option<Reader>,
    (range, length): (Range<u64>, u64),
) -> Response<Body> {
    let mut response = bare(StatusCode::PARTIAL_CONTENT, fields);
    let fields = response.headers_mut();
    fields.insert(CONTENT_RANGE, range::content_range(&range, length));
    fields.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    let range = entry.part().and_then(|part| part.within(&range)).unwrap_or(range);
    *response.body_mut() = match (entry.whole(), reader) {
        (Some(whole), _) => {
            let [start, end] =
                [range.start, range.end].map(|at| usize::try_from(at).unwrap_or(usize::MAX));
            Body::part(whole, start..end)
        }
        (None, Some(reader)) => {
            let length = Some(range.end - range.start);
            Body::Arriving { reader: reader.narrow(range), length }
        }
        (None, None) => Body::Empty,
    };
    response
}

/// Several parts as one `multipart/byteranges`; of a body that still arrives the whole is sent instead.
fn several(
    entry: &Entry,
    fields: HeaderMap,
    reader: Option<Reader>,
    ranges: &[Range<u64>],
) -> Response<Body> {
    let Some(bytes) = entry.bytes() else { return whole(entry, fields, reader) };
    let multipart = range::multipart(&bytes, ranges, &fields);
    let mut response = bare(StatusCode::PARTIAL_CONTENT, fields);
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, multipart.content_type);
    // RFC 9110 §15.3.7.2: "MUST NOT generate a Content-Range header field in the HTTP header section of a multiple part
    // response".
    fields.remove(CONTENT_RANGE);
    fields.insert(CONTENT_LENGTH, HeaderValue::from(multipart.body.len()));
    *response.body_mut() = Body::from(multipart.body);
    response
}
