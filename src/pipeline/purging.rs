//! The method PURGE, where a route takes it: purges the URL and answers the receipt.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tracing::debug;

use crate::lookup::cache_status::Status;
use crate::lookup::outcome::{Outcome, WhyRefused};
use crate::message::body::Body;
use crate::message::problem;
use crate::pipeline::crossing::{Departure, Passage};
use crate::pipeline::onward::Trusted;
use crate::purge::log::PurgeLog;
use crate::purge::purger::{Purger, Wait};
use crate::purge::receipt::shown;
use crate::purge::{Cause, Effect, Purge, Record};
use crate::route::table::RouteTable;
use crate::time::Timestamp;

/// How long the fleet is waited for.
const LONGEST: Duration = Duration::from_secs(5);

/// Answers a PURGE request. Who may not purge is told so, and nothing is forwarded.
pub(crate) async fn purge<L: PurgeLog>(
    purger: &Purger<L>,
    routes: &RouteTable,
    trusted: &Trusted,
    passage: Passage,
) -> Departure {
    let Passage { route, target, request, client, .. } = passage;
    let address = trusted.client(client, &request.headers);
    let rule = route.purge_method.as_ref();
    let depart = |response: Response<Body>, outcome| Departure {
        response: response.into(),
        outcome,
        route: Some(route.clone()),
        status: Status::default(),
    };
    let Some(by) = rule.and_then(|rule| rule.admit(address, &request.headers)) else {
        let text = "this route takes PURGE from chosen addresses and tokens only";
        let refused = Outcome::Refused(WhyRefused::PurgeForbidden);
        return depart(problem::response(StatusCode::FORBIDDEN, text), refused);
    };
    let effect = if is_soft(&request.headers) { Effect::MarkStale } else { Effect::Remove };
    let scopes = routes.url_scopes(&target).into_iter().map(|scope| Purge { scope, effect });
    let cause = Cause {
        by,
        from: Some(address.unwrap_or(client).to_canonical().to_string()),
        reason: Some("the method PURGE".into()),
        urls: vec![target.url()],
        ..Cause::default()
    };
    let record = Record { purges: scopes.collect(), cause, at: Timestamp::now() };
    let record = match routes.complete(record) {
        Ok(record) => record,
        Err(cut) => {
            let response = problem::response(StatusCode::UNPROCESSABLE_ENTITY, &cut.to_string());
            return depart(response, Outcome::Purged);
        }
    };
    let response = match purger.submit(record, Wait::All, LONGEST).await {
        Ok(receipt) => json(shown(&receipt).to_string()),
        Err(detached) => {
            debug!(error = %detached, "a PURGE is not in the log yet");
            problem::response(StatusCode::SERVICE_UNAVAILABLE, &detached.to_string())
        }
    };
    depart(response, Outcome::Purged)
}

/// Whether the client asks for staleness instead of removal, in either of the usual spellings.
fn is_soft(fields: &HeaderMap) -> bool {
    let says_so = |name: &str| {
        let value = fields.get(name).map(|value| value.as_bytes().trim_ascii());
        value.is_some_and(|value| value == b"1" || value.eq_ignore_ascii_case(b"true"))
    };
    says_so("fastly-soft-purge") || says_so("soft-purge")
}

fn json(text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from(text)));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
