//! Asks the origin, and decides what may be kept.

use std::future::{Future, ready};
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::Either;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, DATE, HeaderMap, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, RANGE, VIA,
};
use http::{Method, StatusCode};
use rand::Rng;
use tower::Service;

use crate::entry::facts::{Facts, Mark, Standing, Tag};
use crate::entry::freshness::{Freshness, UseWithoutAsking};
use crate::entry::{Entry, Head, Stored};
use crate::key::Key;
use crate::key::vary::Variant;
use crate::lookup::answer::{Answer, Landing};
use crate::lookup::in_hand::Brought;
use crate::lookup::outcome::{Kept, Outcome, WhyRefused};
use crate::lookup::{Accepts, Company, Held, Lookup, Until};
use crate::message::air::Air;
use crate::message::body::Body;
use crate::message::conditional::share_strong_tag;
use crate::message::content_range::ContentRange;
use crate::message::date;
use crate::message::fields::{Named, remove_unstorable};
use crate::message::fill::{Fill, room_for};
use crate::message::problem;
use crate::message::reply::Reply;
use crate::message::update::merge;
use crate::origin::Dispatch;
use crate::origin::failure::OriginFailure;
use crate::pipeline::inflow::{Inflow, arrive, complete};
use crate::pipeline::inspect::{Inspected, inspect};
use crate::pipeline::onward::{self, Rest, Trusted, via};
use crate::pipeline::peek::Descent;
use crate::policy::deception::contradicts;
use crate::policy::head::{Told, outdated, told};
use crate::policy::revalidate::{Validation, supersedes, validation, withdrawn};
use crate::policy::storable::{Exchange, Storable, WhyNot, storable, strip};
use crate::purge::ledger::Ledger;
use crate::route::switches::Switches;
use crate::route::tags::{Untagged, union};
use crate::route::tripwire::asker;
use crate::route::{Layers, Route};
use crate::time::Timestamp;

/// The innermost layer: one request to the origin, and the beginning of everything that is stored.
#[derive(Clone)]
pub(crate) struct Fetch(Arc<Parts>);

struct Parts {
    ledger: Arc<Ledger>,
    trusted: Trusted,
    limits: Limits,
    switches: Switches,
    air: Air,
}

/// The largest object that each layer takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub l1: u64,
    pub l2: u64,
}

impl Fetch {
    pub(crate) fn new(
        ledger: Arc<Ledger>,
        trusted: Trusted,
        limits: Limits,
        switches: Switches,
        air: Air,
    ) -> Self {
        Self(Arc::new(Parts { ledger, trusted, limits, switches, air }))
    }

    async fn answer(self, mut lookup: Box<Lookup>) -> Result<Answer, OriginFailure> {
        if let Some(in_hand) = &lookup.in_hand {
            let brought = in_hand.take().ok_or(OriginFailure::Abandoned)?;
            return self.keep(&lookup, brought.into()).await;
        }
        if lookup.directives.only_if_cached {
            // RFC 9111 §5.2.1.7: "SHOULD either respond using a stored response consistent with the other
            // constraints of the request or respond with a 504".
            let text = "nothing that may be served is stored, and the request says only-if-cached";
            let response = problem::response(StatusCode::GATEWAY_TIMEOUT, text);
            return Ok(Answer::once(response, Outcome::Refused(WhyRefused::OnlyIfCached)));
        }
        loop {
            let mut asked = self.ask(&mut lookup).await?;
            let status = asked.reply.status;
            if asked.rest.is_some() && matches!(status.as_u16(), 206 | 416) {
                if let Some(answer) = self.completed(&lookup, asked) {
                    return Ok(Answer { forwarded: lookup.forwarded, ..answer });
                }
                // What came is no rest of what is held, so the whole is asked for.
                lookup.held = None;
                continue;
            }
            if status == StatusCode::PARTIAL_CONTENT && asked.sent == RangeSent::None {
                return Err(OriginFailure::Protocol("a 206 that nobody asked for".into()));
            }
            if lookup.request.method == Method::HEAD && status != StatusCode::NOT_MODIFIED {
                // In a box, since it is rarer: each other fetch would have to have room for it.
                return Box::pin(self.head(&lookup, asked)).await;
            }
            if status != StatusCode::NOT_MODIFIED || has_own_conditions(&lookup) {
                let answer = self.keep(&lookup, asked).await?;
                return Ok(Answer { forwarded: lookup.forwarded, ..answer });
            }
            match lookup.held.take() {
                Some(Held { entry, until: Until::Validated(_), .. })
                    if asked.conditional && asked.confirms(&entry) =>
                {
                    let answer = self.confirmed(&lookup, &entry, &mut asked);
                    return Ok(Answer { forwarded: lookup.forwarded, ..answer });
                }
                // Asked without conditions, an origin that still says 304 speaks nonsense.
                None | Some(_) if !asked.conditional => {
                    return Err(OriginFailure::Protocol("a 304 that nobody asked for".into()));
                }
                // RFC 9111 §4.3.4: what the 304 speaks of is not what is held, so the whole is asked for.
                None | Some(_) => {}
            }
        }
    }

    /// Sends the request. The purge log's mark is taken before: whatever is purged from now on beats the answer.
    async fn ask(&self, lookup: &mut Lookup) -> Result<Asked, OriginFailure> {
        let ledger = &self.0.ledger;
        let (as_of, turn) = (ledger.known(), ledger.turn());
        // What was purged since it was found does not exist: a 304 would bring it back.
        let requested = Timestamp::now();
        lookup.held.take_if(|held| ledger.standing(&held.entry, requested) == Standing::Gone);
        let room = self.limit(&lookup.route);
        let rest = onward::rest(lookup)
            .filter(|rest| rest.complete <= room && !lookup.directives.no_store);
        let call = onward::request(lookup, rest.as_ref(), self.0.trusted.trust(lookup.client));
        // Most have none of these.
        let conditional = [IF_NONE_MATCH, IF_MODIFIED_SINCE].iter().any(|it| call.fields.has(it));
        let sent = RangeSent::of(&call.fields);
        let mut dispatch = Dispatch::whole(call, lookup.interim.clone());
        let route = &lookup.route;
        let reply = route.origin.ask(&mut dispatch, route.places.as_ref()).await?;
        let received = Timestamp::now();
        let reply = reply.map(Body::from);
        Ok(Asked { reply, as_of, turn, requested, received, conditional, sent, rest })
    }

    /// A HEAD's answer is the client's; what it says about the stored response that a GET would get is heard
    /// (RFC 9111 §4.3.5). What a purge marked stale is renewed only by a GET: a HEAD need not name a validator. So is
    /// a part, which could not answer the HEAD.
    async fn head(&self, lookup: &Lookup, mut asked: Asked) -> Result<Answer, OriginFailure> {
        let forwarded = lookup.forwarded;
        let known = lookup.held.as_ref().map(|held| &held.entry);
        let known = known.filter(|known| {
            known.part().is_none()
                && self.0.ledger.standing(known, asked.received) == Standing::Good
        });
        let Some(known) = known else {
            return Ok(Answer { forwarded, ..self.keep(lookup, asked).await? });
        };
        let Head { status, fields } = known.head();
        let reply = &mut asked.reply;
        Ok(match told(reply.status, reply.fields.map(), (status, &fields), known.length()) {
            Told::Same => Answer { forwarded, ..self.confirmed(lookup, known, &mut asked) },
            Told::Other => {
                let freshness = outdated(&known.freshness(), asked.received);
                let landing = Landing::whole(Arc::new(known.with_freshness(freshness)));
                Answer { forwarded, landing, ..self.keep(lookup, asked).await? }
            }
            Told::Nothing => Answer { forwarded, ..self.keep(lookup, asked).await? },
        })
    }

    /// What was held is confirmed (RFC 9111 §4.3.4 and §4.3.5): its fields are updated, its age begins anew.
    fn confirmed(&self, lookup: &Lookup, known: &Arc<Entry>, asked: &mut Asked) -> Answer {
        let fields = merge(&known.fields(), asked.reply.fields.map());
        let mut head = Head { status: known.status, fields };
        let own = Self::clean(&mut head, lookup, asked.received);
        let candidate = Candidate::get(&head, known.part());
        let keeping = self.verdict(lookup, asked, &candidate);
        let keeping = keeping.and_then(|keeping| keeping.like(known, lookup));
        lookup.route.tags.strip(&mut head.fields);
        match keeping {
            Ok(Keeping { facts, freshness, variant, .. }) => {
                let body = known.body.clone();
                let entry = Entry::new(facts, &head, freshness, variant, body);
                // The origin's word that what one was given is what another gets clears nothing, and takes nothing back.
                let entry = entry.of_part(known.part().cloned()).shared_like(known);
                let entry = Arc::new(entry.in_turn(asked.turn));
                let landing = Landing::whole(entry.clone());
                let outcome = Outcome::Revalidated(Kept::Stored);
                Answer { landing, own, ..Answer::stored(entry, outcome) }
            }
            // Confirmed, but not to be kept any longer: it answers this once, and nobody else.
            Err(why) => {
                let freshness =
                    Freshness { use_without_asking: UseWithoutAsking::Never, ..known.freshness() };
                let entry = known.with_head(&head).with_freshness(freshness);
                let outcome = Outcome::Revalidated(Kept::Left(why));
                // RFC 9111 §4.3.4: the cache "MUST update its header fields with the header fields provided in the 304": what is
                // stored is not to be kept either. Not so for a cookie, which is for who asked.
                let landing = if speaks_for_all(lookup, why) && why != WhyNot::SetCookie {
                    withdrawal(known, asked.received)
                } else {
                    Landing::done()
                };
                Answer { landing, own, ..Answer::stored(Arc::new(entry), outcome) }
            }
        }
    }

    /// The part that is held and its rest, which came, as the whole response (RFC 9111 §3.4); nothing where they do not
    /// fit, or where the whole may not be kept.
    fn completed(&self, lookup: &Lookup, mut asked: Asked) -> Option<Answer> {
        let known = &lookup.held.as_ref()?.entry;
        let (part, bytes, fields) = (known.part()?, known.bytes()?, asked.reply.fields.map());
        let came = ContentRange::of(fields)?;
        let fits =
            came.range() == &asked.rest.as_ref()?.range && came.complete() == part.complete();
        let stored = known.fields();
        if !fits || !share_strong_tag(&stored, fields) {
            return None;
        }
        let mut head = Head { status: StatusCode::OK, fields: merge(&stored, fields) };
        let own = Self::clean(&mut head, lookup, asked.received);
        let whole = part.union(&came).filter(ContentRange::is_whole)?;
        let candidate = Candidate::get(&head, Some(&whole));
        let keeping = self.verdict(lookup, &asked, &candidate).ok()?;
        let Keeping { facts, freshness, variant, tags } = keeping;
        lookup.route.tags.strip(&mut head.fields);
        let tagging = tagging(tags, lookup);
        let (before, after) = match part.range().start {
            0 => (bytes, Bytes::new()),
            _ => (Bytes::new(), bytes),
        };
        let share = self.0.air.take(room_for(Some(whole.complete()))).ok()?;
        let (writer, fill) = Fill::open(whole.complete(), share);
        let body = Stored::arriving(fill, Some(whole.complete()));
        let entry = Entry::new(facts, &head, freshness, variant, body).in_turn(asked.turn);
        let entry = asked_by(entry, lookup);
        let entry = if tagging.is_some() { entry.awaiting_tags() } else { entry };
        let expected = Some(came.length());
        let body = asked.reply.body;
        let inflow = Inflow { before, after, body, expected, tagging };
        Some(Answer { own, ..arrive(entry, writer, inflow) })
    }

    /// Keeps the response if it may be kept; otherwise it is this request's alone. What need not be looked into is kept at once.
    fn keep<'a>(
        &'a self,
        lookup: &'a Lookup,
        mut asked: Asked,
    ) -> impl Future<Output = Result<Answer, OriginFailure>> + Send + 'a {
        let part = part(lookup, &mut asked);
        let verdict = match &part {
            Some((head, part)) => {
                let method = &lookup.request.method;
                let candidate = Candidate { method, ..Candidate::get(head, Some(part)) };
                self.verdict(lookup, &asked, &candidate)
            }
            None => self.verdict_on_all(lookup, &mut asked),
        };
        let keeping = match verdict.and_then(|keeping| counted(lookup, keeping, asked.received)) {
            Ok(keeping) => keeping,
            Err(why) => {
                let landing = self.superseded(lookup, &asked, why);
                let outcome = Outcome::Miss(Kept::Left(why));
                let answer = Answer { landing, ..Answer::once(asked.reply, outcome) };
                return Either::Left(ready(Ok(answer)));
            }
        };
        let Asked { reply, turn, received, .. } = asked;
        let kept = ToKeep { reply, part, keeping, turn, received };
        if lookup.route.graphql().is_some() {
            return Either::Right(Box::pin(self.keep_inspected(lookup, kept)));
        }
        Either::Left(ready(Ok(self.store(lookup, kept))))
    }

    /// Keeps the answer to a GraphQL request if it tells of no errors.
    async fn keep_inspected(
        &self,
        lookup: &Lookup,
        mut kept: ToKeep,
    ) -> Result<Answer, OriginFailure> {
        let (limit, body) =
            (self.limit(&lookup.route), mem::replace(&mut kept.reply.body, Body::Empty));
        match inspect(kept.reply.fields.map(), body, limit, &self.0.air).await? {
            Inspected::Good(whole) => {
                kept.reply.body = whole.into();
                Ok(self.store(lookup, kept))
            }
            Inspected::Objected(body, why) => {
                kept.reply.body = body;
                Ok(Answer::once(kept.reply, Outcome::Miss(Kept::Left(why))))
            }
        }
    }

    /// The answer that is kept: all of it, where its body is here, and else as it arrives.
    fn store(&self, lookup: &Lookup, kept: ToKeep) -> Answer {
        let ToKeep { mut reply, part, keeping, turn, received } = kept;
        let Keeping { facts, freshness, variant, tags } = keeping;
        // Not before it is to be kept: of most that is not, nothing is copied.
        let (mut head, part) = match part {
            Some((head, part)) => (head, Some(part)),
            None => (Head { status: reply.status, fields: reply.fields.map().clone() }, None),
        };
        let own = Self::clean(&mut head, lookup, received);
        lookup.route.tags.strip(&mut head.fields);
        // Once for all who will be served from it.
        head.fields.append(VIA, via(reply.version));
        let expected = part.as_ref().map(ContentRange::length);
        let length = expected.or_else(|| content_length(&head.fields));
        let tagging = tagging(tags, lookup);
        let whole = match &reply.body {
            // In memory of its own: it may be a piece of the buffer that a connection is read into.
            Body::Whole(whole) if part.is_none() => Some(Bytes::copy_from_slice(whole)),
            body if length == Some(0) || body.is_empty() => Some(Bytes::new()),
            _ => None,
        };
        if let Some(whole) = whole.filter(|_| part.is_none()) {
            let entry = Entry::new(facts, &head, freshness, variant, Stored::Whole(whole.clone()));
            let entry = asked_by(entry.in_turn(turn), lookup);
            let Some(entry) = complete(&entry, whole, tagging) else {
                let outcome = Outcome::Miss(Kept::Left(WhyNot::TagsUnreadable));
                return Answer::once(reply, outcome);
            };
            let landing = Landing::whole(entry.clone());
            let stored = Answer::stored(entry, Outcome::Miss(Kept::Stored));
            return Answer { landing, own, ..stored };
        }
        let Ok(share) = self.0.air.take(room_for(length)) else {
            return Answer::once(reply, Outcome::Miss(Kept::Left(WhyNot::NoRoom)));
        };
        let (writer, fill) = Fill::open(self.limit(&lookup.route), share);
        let entry = Entry::new(facts, &head, freshness, variant, Stored::arriving(fill, length));
        let entry = entry.of_part(part.filter(|part| !part.is_whole())).in_turn(turn);
        let entry = asked_by(entry, lookup);
        let entry = if tagging.is_some() { entry.awaiting_tags() } else { entry };
        let (before, after) = (Bytes::new(), Bytes::new());
        let inflow = Inflow { before, after, body: reply.body, expected, tagging };
        Answer { own, ..arrive(entry, writer, inflow) }
    }

    /// What becomes of what is held when the answer in its place is not kept. What is fresh, and was asked about because the
    /// client wished so, stays.
    fn superseded(&self, lookup: &Lookup, asked: &Asked, why: WhyNot) -> Landing {
        let now = asked.received;
        match &lookup.held {
            Some(Held { entry, until: Until::Validated(_), .. })
                if speaks_for_all(lookup, why)
                    && supersedes(asked.reply.status)
                    && !(entry.freshness().is_fresh(now)
                        && self.0.ledger.standing(entry, now) == Standing::Good) =>
            {
                withdrawal(entry, now)
            }
            Some(_) | None => Landing::done(),
        }
    }

    /// Leaves what may be stored of a head, and dates it. Returns what is for this request alone.
    fn clean(head: &mut Head, lookup: &Lookup, received: Timestamp) -> Option<Box<HeaderMap>> {
        remove_unstorable(&mut head.fields);
        let own = strip(&mut head.fields, &lookup.route.policy);
        // RFC 9110 §6.6.1: "A recipient with a clock that receives a response message without a Date header field
        // MUST record the time it was received and append a corresponding Date header field to the message's
        // header section if it is cached or forwarded downstream."
        if !head.fields.contains_key(DATE) {
            head.fields.insert(DATE, date::format(received.as_seconds()));
        }
        (!own.is_empty()).then(|| Box::new(own))
    }

    /// Whether it may be kept.
    fn verdict(
        &self,
        lookup: &Lookup,
        asked: &Asked,
        candidate: &Candidate<'_>,
    ) -> Result<Keeping, WhyNot> {
        let freshness = asked.freshness(lookup, candidate)?;
        self.keeping(lookup, (asked.as_of, freshness), candidate)
    }

    /// The same of a response as it came: a map of its fields is made only where its lines do not forbid to keep it.
    fn verdict_on_all(&self, lookup: &Lookup, asked: &mut Asked) -> Result<Keeping, WhyNot> {
        let (method, status) = (&lookup.request.method, asked.reply.status);
        let candidate = Candidate { method, status, fields: &asked.reply.fields, part: None };
        let freshness = asked.freshness(lookup, &candidate)?;
        let fields = asked.reply.fields.map();
        let candidate = Candidate { method, status, fields, part: None };
        self.keeping(lookup, (asked.as_of, freshness), &candidate)
    }

    /// What is needed to keep what may be stored, unless something else than RFC 9111 forbids it.
    fn keeping(
        &self,
        lookup: &Lookup,
        (as_of, freshness): (Mark, Freshness),
        candidate: &Candidate<'_>,
    ) -> Result<Keeping, WhyNot> {
        let Candidate { fields, part, .. } = *candidate;
        let length = part.map(ContentRange::length).or_else(|| content_length(fields));
        match self.limit(&lookup.route) {
            0 => return Err(WhyNot::NoLayer),
            limit if length.is_some_and(|length| length > limit) => return Err(WhyNot::TooLarge),
            _ => {}
        }
        if part.is_some_and(|part| !self.has_room_for(part, &lookup.route)) {
            return Err(WhyNot::Part);
        }
        if contradicts(lookup.target.path(), fields) {
            return Err(WhyNot::Contradiction);
        }
        let tags = lookup.route.tags_of(lookup.target.path(), fields);
        let tags = tags.map_err(|_| WhyNot::TooManyTags)?;
        let awaited = lookup.route.tags.await_body(fields, length);
        let known = if awaited.map_err(untagged)? { Tags::InBody } else { Tags::Known };
        // A part of a document has not all of its tags: it could not be purged.
        if known == Tags::InBody && part.is_some_and(|part| !part.is_whole()) {
            return Err(WhyNot::Part);
        }
        let variant = Variant::of(fields, &lookup.selector()).map_err(|_| WhyNot::VaryStar)?;
        Ok(Keeping { facts: facts(lookup, as_of, tags), freshness, variant, tags: known })
    }

    /// The largest object that any of the route's layers takes.
    fn limit(&self, route: &Route) -> u64 {
        let Limits { l1, l2 } = self.0.limits;
        match self.0.switches.left_of(route.layers) {
            // Where all are off nothing is kept; those who ask at the same time share it all the same.
            Some(Layers::Both) | None => l1.max(l2),
            Some(Layers::OnlyL1) => l1,
            Some(Layers::OnlyL2) => l2,
        }
    }

    /// Whether a part may be kept: in memory, since only there it is compared and combined at once. What turned out to
    /// be all of its representation is not bound to that.
    fn has_room_for(&self, part: &ContentRange, route: &Route) -> bool {
        let in_memory = match self.0.switches.left_of(route.layers) {
            Some(Layers::Both | Layers::OnlyL1) => true,
            Some(Layers::OnlyL2) | None => false,
        };
        // Of a part of a GraphQL answer nobody can tell whether it has errors.
        let may_be_kept = in_memory && route.graphql().is_none();
        part.is_whole() || may_be_kept && part.length() <= self.0.limits.l1
    }
}

/// Leaves of a stored response what nobody gets without the origin's word.
fn withdrawal(known: &Entry, now: Timestamp) -> Landing {
    withdrawn(&known.freshness(), now).map_or_else(Landing::done, |freshness| {
        Landing::whole(Arc::new(known.with_freshness(freshness)))
    })
}

/// Whether an answer that is not kept says something of what others are given. Not where the request says who asks: one
/// client with a wrong token would end what all others are served.
fn speaks_for_all(lookup: &Lookup, why: WhyNot) -> bool {
    why.is_of_the_response() && !lookup.request.headers.contains_key(AUTHORIZATION)
}

/// What is to be kept, if its route may have its key stored.
fn counted(lookup: &Lookup, keeping: Keeping, now: Timestamp) -> Result<Keeping, WhyNot> {
    let last_use = keeping.freshness.last_use();
    match &lookup.route.census {
        Some(census) if !census.counts(lookup.key, last_use, now) => Err(WhyNot::TooManyKeys),
        Some(_) | None => Ok(keeping),
    }
}

/// The entry, and for whom it was fetched where the tripwire needs to know.
fn asked_by(entry: Entry, lookup: &Lookup) -> Entry {
    if lookup.route.tripwire.is_off() {
        return entry;
    }
    entry.asked_by(asker(&lookup.request.headers, &lookup.route.key))
}

/// The route by whose rules a body is read for tags, where it is.
fn tagging(tags: Tags, lookup: &Lookup) -> Option<Arc<Route>> {
    match tags {
        Tags::Known => None,
        Tags::InBody => Some(lookup.route.clone()),
    }
}

/// A response's head, and when and under which mark it was asked for.
struct Asked {
    reply: Reply<Body>,
    as_of: Mark,
    turn: u64,
    requested: Timestamp,
    received: Timestamp,
    conditional: bool,
    sent: RangeSent,
    /// The rest of what is held, where that was asked for.
    rest: Option<Rest>,
}

impl Asked {
    /// How long it may be of use, if it may be stored at all.
    fn freshness(
        &self,
        lookup: &Lookup,
        candidate: &Candidate<'_, impl Named>,
    ) -> Result<Freshness, WhyNot> {
        let exchange = Exchange {
            method: candidate.method,
            request: &lookup.request.headers,
            status: candidate.status,
            response: candidate.fields,
            requested: self.requested,
            received: self.received,
        };
        match storable(&lookup.route.policy, &exchange, rand::rng().random()) {
            Storable::Keep(freshness) => Ok(freshness),
            Storable::Leave(why) => Err(why),
        }
    }

    /// Whether a 304 speaks of what is held.
    fn confirms(&mut self, known: &Entry) -> bool {
        let Reply { status, fields, .. } = &mut self.reply;
        validation(*status, &known.fields(), fields.map()) == Validation::Confirmed
    }
}

/// Whether a request asked for a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RangeSent {
    None,
    Range,
    /// With `If-Range`: a 206 may lack fields of the representation then (RFC 9110 §15.3.7).
    IfRange,
}

impl RangeSent {
    fn of(request: &impl Named) -> Self {
        match (request.has(&RANGE), request.has(&IF_RANGE)) {
            (false, _) => Self::None,
            (true, false) => Self::Range,
            (true, true) => Self::IfRange,
        }
    }
}

/// What a 206 is of, whose one part holds what was asked for, and the head under which that is kept: that of the 200 of
/// which it is a part.
fn part(lookup: &Lookup, asked: &mut Asked) -> Option<(Head, ContentRange)> {
    if asked.reply.status != StatusCode::PARTIAL_CONTENT || asked.sent != RangeSent::Range {
        return None;
    }
    let fields = asked.reply.fields.map();
    let part = ContentRange::of(fields)?;
    let mut head = Head { status: StatusCode::OK, fields: fields.clone() };
    if !lookup.is_answered_by(&head, Some(&part)) {
        return None;
    }
    head.fields.remove(CONTENT_RANGE);
    head.fields.remove(CONTENT_LENGTH);
    Some((head, part))
}

/// A head that may be kept, the method that it answers, and the part that follows it.
struct Candidate<'a, F = HeaderMap> {
    method: &'a Method,
    status: StatusCode,
    fields: &'a F,
    part: Option<&'a ContentRange>,
}

impl<'a> Candidate<'a> {
    /// What answers a GET.
    fn get(head: &'a Head, part: Option<&'a ContentRange>) -> Self {
        Self { method: &Method::GET, status: head.status, fields: &head.fields, part }
    }
}

impl From<Brought> for Asked {
    fn from(brought: Brought) -> Self {
        let Brought { response, as_of, turn, requested, received } = brought;
        let (conditional, sent, rest) = (false, RangeSent::None, None);
        let reply = response.into();
        Self { reply, as_of, turn, requested, received, conditional, sent, rest }
    }
}

/// What is needed to keep a response.
struct Keeping {
    facts: Facts,
    freshness: Freshness,
    variant: Variant,
    tags: Tags,
}

/// A response that is to be kept.
struct ToKeep {
    reply: Reply<Body>,
    /// The head under which it is kept and what it is of, where it is a part.
    part: Option<(Head, ContentRange)>,
    keeping: Keeping,
    turn: u64,
    received: Timestamp,
}

/// Where the tags of a response stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tags {
    Known,
    InBody,
}

impl Keeping {
    /// The same with the tags of what a 304 confirmed: the stored fields need not tell them any more, nor does a 304
    /// tell what its body does.
    fn like(mut self, known: &Entry, lookup: &Lookup) -> Result<Self, WhyNot> {
        if lookup.route.tags.outlive_fields() {
            let tags = union(&self.facts.tags, &known.facts.tags);
            self.facts.tags = tags.map_err(|_| WhyNot::TooManyTags)?;
        }
        Ok(self)
    }
}

fn untagged(why: Untagged) -> WhyNot {
    match why {
        Untagged::TooMany(_) => WhyNot::TooManyTags,
        Untagged::Unreadable => WhyNot::TagsUnreadable,
    }
}

fn facts(lookup: &Lookup, as_of: Mark, tags: Box<[Tag]>) -> Facts {
    Facts {
        key: lookup.key,
        url_key: Key::of_url(&lookup.target, lookup.route.key.host),
        url: lookup.target.url_under(lookup.route.key.host).into(),
        route: lookup.route.id.clone(),
        tags,
        as_of,
    }
}

/// Whether the client's own conditions go to the origin, so that a 304 is the client's.
fn has_own_conditions(lookup: &Lookup) -> bool {
    lookup.company != Company::Shared
        && onward::is_conditional(&lookup.request.headers)
        && lookup.accepts == Accepts::StaleInWindow
}

fn content_length(fields: &HeaderMap) -> Option<u64> {
    fields.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

impl Service<Box<Lookup>> for Fetch {
    type Response = Answer;
    type Error = OriginFailure;
    type Future = Descent;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OriginFailure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, lookup: Box<Lookup>) -> Descent {
        Box::pin(self.clone().answer(lookup))
    }
}
