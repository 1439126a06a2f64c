//! What an instance tells about itself: health, figures, and a page for people.

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use crate::admin::problem::Problem;
use crate::admin::readiness::{Readiness, State};
use crate::telemetry::labels::{Ending, Reading};
use crate::telemetry::metrics::{LayerMetrics, Metrics};

/// Whether requests are wanted.
pub(crate) fn ready(readiness: &Readiness) -> Result<Value, Problem> {
    let state = readiness.state();
    match state {
        State::Ready => Ok(json!({ "status": state.word() })),
        State::Starting | State::Draining => {
            let detail = format!("larder is {}", state.word());
            Err(Problem::unavailable(detail).with("state", state.word()))
        }
    }
}

/// All metrics, for a scraper.
pub(crate) fn metrics(metrics: &Metrics) -> Response {
    text(Metrics::MEDIA_TYPE, metrics.render())
}

/// The figures that people ask for, as JSON. What is not known is left out.
pub(crate) fn stats(metrics: &Metrics) -> Value {
    let requests: Map<String, Value> = Ending::ALL
        .iter()
        .map(|ending| (ending.label().to_owned(), metrics.requests(*ending).into()))
        .collect();
    let whole = |reading| metrics.value(reading).map(rounded);
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": metrics.uptime().as_secs(),
        "hit_rate": metrics.hit_rate(),
        "requests": requests,
        "layers": {
            "l1": layer(metrics.l1(), [Reading::L1On, Reading::L1Bytes, Reading::L1Keys].map(whole)),
            "l2": layer(metrics.l2(), [Reading::L2On, Reading::L2Bytes, Reading::L2Keys].map(whole)),
        },
        "flights": whole(Reading::Flights),
        "refresh_queue": whole(Reading::Refreshes),
        "l2_write_queue": whole(Reading::L2Writes),
        "ledger_purges": whole(Reading::LedgerPurges),
        "purge_lag_seconds": metrics.value(Reading::PurgeLag),
        "tripwire_sprung_routes": whole(Reading::SprungRoutes),
        "connections": whole(Reading::Connections),
    })
}

fn layer(layer: &LayerMetrics, [on, bytes, keys]: [Option<u64>; 3]) -> Value {
    json!({
        "on": on.map(|on| on == 1),
        "hits": layer.hits(),
        "misses": layer.misses(),
        "errors": layer.errors(),
        "evictions": layer.evictions(),
        "invalidations": layer.invalidations(),
        "bytes": bytes,
        "keys": keys,
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count that was read as a float; a negative one becomes nought"
)]
fn rounded(value: f64) -> u64 {
    value as u64
}

/// A page for people; whoever may not read the figures sees where they are.
pub(crate) fn page(metrics: &Metrics, readiness: &Readiness, may_read: Result<(), ()>) -> Response {
    let figures = match may_read {
        Ok(()) => table(metrics),
        Err(()) => "<p>The figures need a token with the scope <code>read</code>: \
            <code>GET /admin/cache/stats</code>, <code>GET /metrics</code>.</p>"
            .to_owned(),
    };
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"refresh\" content=\"5\"><title>Larder</title><style>{STYLE}</style></head>\
         <body><h1>Larder {version}</h1><p class=\"{state}\">{state}</p>{figures}\
         <p><a href=\"/admin/openapi.json\">admin API</a> · <a href=\"/metrics\">metrics</a> · \
         <a href=\"/admin/instances\">instances</a></p></body></html>",
        version = env!("CARGO_PKG_VERSION"),
        state = readiness.state().word(),
    );
    let mut response = text("text/html; charset=utf-8", html);
    // The page loads nothing and runs nothing.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    let policy = HeaderValue::from_static(policy);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem}\
    table{border-collapse:collapse;width:100%}td,th{padding:.2rem .5rem;text-align:right;\
    border-bottom:1px solid #8884}td:first-child,th:first-child{text-align:left}\
    .ready{color:#087f23}.starting,.draining{color:#b00020}@media(prefers-color-scheme:dark)\
    {body{background:#111;color:#eee}a{color:#8cf}.ready{color:#7c7}.starting,.draining{color:#f88}}";

fn table(metrics: &Metrics) -> String {
    let endings =
        Ending::ALL.map(|ending| row(&[ending.label(), &metrics.requests(ending).to_string()]));
    let layers = [
        ("L1", metrics.l1(), [Reading::L1On, Reading::L1Keys, Reading::L1Bytes]),
        ("L2", metrics.l2(), [Reading::L2On, Reading::L2Keys, Reading::L2Bytes]),
    ];
    let of =
        |reading| metrics.value(reading).map_or("–".to_owned(), |it| rounded(it).to_string());
    let switch =
        |reading| metrics.value(reading).map_or("–", |on| if on > 0.0 { "on" } else { "off" });
    let layers = layers.map(|(name, layer, [on, keys, bytes])| {
        let counts = [layer.hits(), layer.misses(), layer.errors()].map(|it| it.to_string());
        let [hits, misses, errors] = &counts;
        row(&[name, switch(on), hits, misses, errors, &of(keys), &of(bytes)])
    });
    let sprung = metrics.value(Reading::SprungRoutes).map_or(0, rounded);
    let alarm = match sprung {
        0 => String::new(),
        number => format!(
            "<p class=\"draining\"><strong>Routes that share no more, because their answers differ by who asks: \
             {number}</strong> (<a href=\"/admin/tripwire\">which, since when and why</a>)</p>"
        ),
    };
    format!(
        "{alarm}<p>Hit rate since the start: <strong>{:.1} %</strong></p><table><tr><th>layer</th>\
         <th>is</th><th>hits</th><th>misses</th><th>errors</th><th>keys</th><th>bytes</th></tr>{}</table>\
         <h2>Requests</h2><table><tr><th>outcome</th><th>requests</th></tr>{}</table>",
        metrics.hit_rate() * 100.0,
        layers.concat(),
        endings.concat(),
    )
}

/// A row of words and numbers of our own, none of which needs escaping.
fn row(cells: &[&str]) -> String {
    format!("<tr><td>{}</td></tr>", cells.join("</td><td>"))
}

/// A text that no cache keeps.
pub(crate) fn text(media_type: &'static str, text: String) -> Response {
    let fields: [(HeaderName, HeaderValue); 2] = [
        (CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::OK, fields, text).into_response()
}
