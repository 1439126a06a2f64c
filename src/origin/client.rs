//! One request to one endpoint: what goes on the wire, how long it may take, what its failure means.

use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use hyper::ext::on_informational;
use hyper_util::client::legacy::{self, Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, sleep_until, timeout};
use tower::ServiceExt as _;

use crate::message::fields::{Named, Removable, members};
use crate::message::interim::Interim;
use crate::message::reply::{Fields, Reply};
use crate::origin::body::{Feed, Outgoing, RequestBodyFailure};
use crate::origin::dial::{Dial, Unsent, cause};
use crate::origin::failure::OriginFailure;
use crate::origin::head::{FIELDS, LONGEST};
use crate::origin::tls::Tls;
use crate::origin::{Protocol, Timeouts};
use crate::per_runtime::{Ends, PerRuntime};

/// What an HTTP/2 origin may send ahead of its reader, per stream.
const WINDOW: u32 = 256 * 1024;

/// How often a busy HTTP/2 connection is asked whether its origin is still there.
const PING: Duration = Duration::from_secs(20);

/// How the clients of one endpoint are made.
#[derive(Clone)]
pub(crate) struct Blueprint {
    pub(crate) timeouts: Timeouts,
    pub(crate) protocol: Protocol,
    pub(crate) pool_idle: Duration,
    pub(crate) connections: usize,
    pub(crate) tls: Tls,
}

/// Upgrades exist in HTTP/1.1 only, so they must not share connections whose protocol was negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Usual,
    Upgrade,
}

/// Why an exchange brought no response.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// No connection could be made, so nothing was sent.
    NoConnection(OriginFailure),
    /// The pooled connection was dead, which showed before anything was sent.
    Unsent,
    /// The request may have been processed.
    Failed(OriginFailure),
}

/// The clients of one endpoint, one per runtime: a pooled connection is driven by a task of the runtime that
/// opened it, and a request must not wait for another thread.
pub(crate) struct Clients {
    endpoint: Uri,
    blueprint: Blueprint,
    usual: PerRuntime<Pooled>,
    upgrade: PerRuntime<Pooled>,
}

/// hyper's client, with its pool of connections.
struct Pooled(Client<Dial, Outgoing>);

/// Its connections end with their runtime, and a client without any takes next to nothing.
impl Ends for Pooled {}

impl Clients {
    pub(crate) fn new(endpoint: Uri, blueprint: Blueprint) -> Self {
        Self { endpoint, blueprint, usual: PerRuntime::default(), upgrade: PerRuntime::default() }
    }

    /// Sends the request and waits for the head of its response, within the time for the first byte.
    ///
    /// Dropped, the request is cancelled: an HTTP/1 connection is closed, an HTTP/2 stream reset.
    pub(crate) async fn exchange(
        &self,
        mut request: Request<Outgoing>,
        feed: Option<Arc<Feed>>,
    ) -> Result<Reply<hyper::body::Incoming>, Trouble> {
        if let Some(interim) = request.extensions_mut().remove::<Interim>() {
            on_informational(&mut request, move |response| {
                if response.status() != StatusCode::CONTINUE {
                    interim.say(response.status(), response.headers());
                }
            });
        }
        let asks_upgrade = request.headers().contains_key(UPGRADE);
        let way = if asks_upgrade { Way::Upgrade } else { Way::Usual };
        let patience = self.blueprint.timeouts.first_byte;
        let answering = self.request(way, request);
        let answer = match feed {
            None => timeout(patience, answering).await.ok(),
            Some(feed) => answered_after(answering, &feed, patience).await,
        };
        let response = answer
            .ok_or(Trouble::Failed(OriginFailure::NoAnswer))?
            .map_err(|error| trouble(&error))?;
        let mut reply = Reply::from(response);
        check(&mut reply, way).map_err(Trouble::Failed)?;
        Ok(reply)
    }

    fn request(&self, way: Way, request: Request<Outgoing>) -> ResponseFuture {
        let clients = match way {
            Way::Usual => &self.usual,
            Way::Upgrade => &self.upgrade,
        };
        clients.get(|_| Pooled(self.make(way))).0.request(request)
    }

    /// Whether a connection can be made, TLS included. It is closed at once.
    pub(crate) async fn connect(&self) -> bool {
        self.dial(Way::Usual).oneshot(self.endpoint.clone()).await.is_ok()
    }

    fn dial(&self, way: Way) -> Dial {
        let Blueprint { timeouts, tls, .. } = &self.blueprint;
        let config = match way {
            Way::Usual => &tls.usual,
            Way::Upgrade => &tls.upgrade,
        };
        let names = tls.server_name.clone();
        Dial::new(self.endpoint.clone(), timeouts.connect, Arc::clone(config), names)
    }

    fn make(&self, way: Way) -> Client<Dial, Outgoing> {
        let Blueprint { protocol, pool_idle, connections, .. } = &self.blueprint;
        let only_h2 = way == Way::Usual && *protocol == Protocol::Http2;
        // hyper-util's own retry stays on. It repeats a request in one case only: when hyper hands the whole
        // message back, body included, because the connection closed before its task took the message from the
        // queue (hyper's `TrySendError::take_message`: "If an error occurs after the message has been
        // serialized onto the connection, it will not be available here"), and only if the connection came from
        // the pool. So it never sends anything twice, and it is right for every method.
        Client::builder(TokioExecutor::new())
            .retry_canceled_requests(true)
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(*pool_idle)
            .pool_max_idle_per_host(*connections)
            .http1_max_buf_size(LONGEST)
            .http1_max_headers(FIELDS)
            .http2_only(only_h2)
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(PING)
            .http2_initial_stream_window_size(WINDOW)
            .http2_initial_connection_window_size(4 * WINDOW)
            .http2_max_header_list_size(u32::try_from(LONGEST).unwrap_or(u32::MAX))
            .build(self.dial(way))
    }
}

/// The answer, unless the origin takes no piece of the body and gives no head for `patience`.
async fn answered_after(
    answering: ResponseFuture,
    feed: &Feed,
    patience: Duration,
) -> Option<Result<Response<hyper::body::Incoming>, legacy::Error>> {
    let mut answering = pin!(answering);
    loop {
        let deadline = feed.deadline(patience);
        tokio::select! {
            biased;
            answer = &mut answering => return Some(answer),
            () = sleep_until(deadline) => {}
        }
        if feed.deadline(patience) <= Instant::now() {
            return None;
        }
    }
}

/// What an error of the client says about the request.
fn trouble(error: &legacy::Error) -> Trouble {
    if error.is_connect() {
        return unconnected(error);
    }
    if cause::<Unsent>(error).is_some() {
        return Trouble::Unsent;
    }
    if let Some(failure) = cause::<RequestBodyFailure>(error) {
        return Trouble::Failed(failure.failure());
    }
    match cause::<hyper::Error>(error) {
        Some(error) if error.is_parse() => {
            Trouble::Failed(OriginFailure::Protocol(Arc::from(error.to_string())))
        }
        Some(_) | None => Trouble::Failed(OriginFailure::Reset(innermost(error))),
    }
}

/// What an error of connecting says about the request.
pub(super) fn unconnected(error: &(dyn Error + 'static)) -> Trouble {
    let timed_out =
        cause::<io::Error>(error).is_some_and(|io| io.kind() == io::ErrorKind::TimedOut);
    Trouble::NoConnection(if timed_out {
        OriginFailure::ConnectTimeout
    } else {
        OriginFailure::Unreachable(innermost(error))
    })
}

/// The outer errors only say that there was one.
fn innermost(error: &(dyn Error + 'static)) -> Arc<str> {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    Arc::from(last.to_string())
}

/// Refuses what hyper lets pass, and leaves one statement of the body's length at most.
pub(super) fn check<B>(reply: &mut Reply<B>, way: Way) -> Result<(), OriginFailure> {
    let protocol = |why: &str| OriginFailure::Protocol(Arc::from(why));
    // RFC 9110 §15.2.2: only an Upgrade that was asked for is answered with 101.
    if reply.status == StatusCode::SWITCHING_PROTOCOLS && way == Way::Usual {
        return Err(protocol("101 without a request to upgrade"));
    }
    let fields = &mut reply.fields;
    if fields.has(&TRANSFER_ENCODING) {
        // A coding that is known would be taken off with the field, and the content would be something else. One
        // that nobody has registered cannot be undone by anybody: the content is what comes "until [the connection]
        // is closed by the server" (RFC 9112 §6.3), as hyper reads it.
        if !is_just_chunked(fields) && !are_unknown(fields) {
            return Err(protocol("transfer coding other than chunked"));
        }
        // RFC 9112 §6.3: "the Transfer-Encoding overrides the Content-Length". hyper reads the body so, but
        // leaves the field.
        fields.remove_all(&CONTENT_LENGTH);
        return Ok(());
    }
    match stated_length(fields) {
        Ok(None) => {}
        Ok(Some(length)) => {
            fields.map().insert(CONTENT_LENGTH, length);
        }
        Err(Ambiguous) => return Err(protocol("content-length invalid or contradictory")),
    }
    Ok(())
}

fn is_just_chunked(fields: &Fields) -> bool {
    let mut lines = fields.named(&TRANSFER_ENCODING);
    let is_chunked =
        lines.next().is_some_and(|line| line.trim_ascii().eq_ignore_ascii_case(b"chunked"));
    is_chunked && lines.next().is_none()
}

/// Whether no coding is one of RFC 9112 §7, or looks like the one that would end the body elsewhere.
fn are_unknown(fields: &Fields) -> bool {
    let known = |coding: &[u8]| {
        let coding = coding.to_ascii_lowercase();
        ["chunked", "compress", "deflate", "gzip"]
            .iter()
            .any(|known| coding.windows(known.len()).any(|part| part == known.as_bytes()))
    };
    let mut codings = members(fields, &TRANSFER_ENCODING).peekable();
    codings.peek().is_some() && !codings.any(known)
}

struct Ambiguous;

/// The one length that all lines and all members of them state, if it must be written anew.
///
/// RFC 9110 §8.6: a recipient of "multiple Content-Length header fields [...] with identical decimal values" may
/// replace them with one; anything else is invalid.
fn stated_length(fields: &Fields) -> Result<Option<HeaderValue>, Ambiguous> {
    let mut lines = fields.named(&CONTENT_LENGTH);
    let (Some(first), second) = (lines.next(), lines.next()) else {
        return Ok(None);
    };
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if second.is_none() && is_number(first) {
        return Ok(None);
    }
    let lines = fields.named(&CONTENT_LENGTH);
    let mut members = lines.flat_map(|line| line.split(|byte| *byte == b','));
    let stated = members.next().map_or(&b""[..], <[u8]>::trim_ascii);
    if !is_number(stated) {
        return Err(Ambiguous);
    }
    if members.any(|member| member.trim_ascii() != stated) {
        return Err(Ambiguous);
    }
    HeaderValue::from_bytes(stated).map(Some).map_err(|_| Ambiguous)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn checked(fields: &[(&'static str, &'static str)]) -> Result<HeaderMap, OriginFailure> {
        let mut response = Response::new(());
        for (name, value) in fields {
            response.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        let mut reply = Reply::from(response);
        check(&mut reply, Way::Usual).map(|()| reply.fields.into_map())
    }

    #[test]
    fn equal_lengths_become_one() {
        for lines in [&["7", "7"][..], &["7, 7"], &["7"], &["7 ,7", "7"]] {
            let fields: Vec<_> = lines.iter().map(|line| ("content-length", *line)).collect();
            let fields = checked(&fields).unwrap();
            let left: Vec<_> = fields.get_all(CONTENT_LENGTH).iter().collect();
            assert_eq!(left, ["7"], "from {lines:?}");
        }
    }

    #[test]
    fn lengths_that_differ_or_are_none_are_refused() {
        for lines in [&["7", "8"][..], &["7, 8"], &["+7"], &[""], &["7,"], &["0x7"], &["-1"]] {
            let fields: Vec<_> = lines.iter().map(|line| ("content-length", *line)).collect();
            assert!(matches!(checked(&fields), Err(OriginFailure::Protocol(_))), "{lines:?}");
        }
    }

    #[test]
    fn chunked_overrides_a_length_and_no_other_known_coding_passes() {
        let fields = checked(&[("content-length", "7"), ("transfer-encoding", "Chunked")]).unwrap();
        assert!(!fields.contains_key(CONTENT_LENGTH));
        for coding in
            ["gzip, chunked", "X-GZip", "chunked, chunked", "xchunked", "foo, chunked", ""]
        {
            assert!(checked(&[("transfer-encoding", coding)]).is_err(), "{coding}");
        }
    }

    #[test]
    fn a_coding_that_nobody_knows_passes_without_a_length() {
        for coding in ["foo", "identity", "foo;q=1, bar"] {
            let fields = [("content-length", "7"), ("transfer-encoding", coding)];
            let fields = checked(&fields).unwrap_or_else(|why| panic!("{coding}: {why}"));
            assert!(!fields.contains_key(CONTENT_LENGTH), "{coding}");
        }
    }
}
