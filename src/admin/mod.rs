//! The admin API, on a listener of its own.

mod audit;
pub mod auth;
pub mod downstream;
mod endpoints;
pub mod estimate;
mod events;
pub mod hooks;
pub mod layers;
mod problem;
pub mod purges;
pub mod readiness;
pub mod reload;
mod status;
pub mod tripwire;

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, MatchedPath, Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Json, Router};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::admin::auth::{Caller, Guard, Peer, Permission};
use crate::admin::downstream::Board;
use crate::admin::endpoints::{Access, Does, ENDPOINTS};
use crate::admin::events::Told;
use crate::admin::hooks::Hook;
use crate::admin::layers::Panel;
use crate::admin::problem::Problem;
use crate::admin::purges::{Asked, Purging};
use crate::admin::readiness::Readiness;
use crate::admin::reload::Reload;
use crate::entry::facts::{Epoch, Mark, NoMark};
use crate::message::lead::Led;
use crate::message::problem::Refusal;
use crate::purge::receipt::shown;
use crate::telemetry::metrics::{Counts, Metrics};
use crate::time::Timestamp;

/// What the admin API acts on. Cloning shares it.
#[derive(Clone)]
pub struct Admin<P> {
    pub purging: P,
    pub guard: Arc<Guard>,
    pub metrics: Metrics,
    pub readiness: Arc<Readiness>,
    /// To whoever loads the configuration.
    pub loader: mpsc::Sender<Reload>,
    /// The configuration in force as YAML, secrets hidden.
    pub config: Arc<ArcSwap<String>>,
    pub hooks: Arc<ArcSwap<Vec<Hook>>>,
    /// What became of telling purges downstream.
    pub board: Arc<Board>,
    pub panel: Panel,
}

/// The largest body that is read.
const BODY: usize = 256 * 1024;

/// The API as a service; each connection takes its own by [`for_peer`].
pub fn router<P: Purging>(admin: Admin<P>) -> Router {
    let mut router = Router::new();
    for endpoint in &ENDPOINTS {
        router = router.route(endpoint.path, handler(endpoint.does));
    }
    router
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn_with_state(admin.clone(), admit))
        .with_state(admin)
}

impl Led for Body {}

/// The API for one connection, from `peer`.
pub fn for_peer(router: &Router, peer: IpAddr) -> Router {
    router.clone().layer(Extension(Peer(peer)))
}

fn handler<P: Purging>(does: Does) -> MethodRouter<Admin<P>> {
    match does {
        Does::Page => get(page),
        Does::Live => get(live),
        Does::Ready => get(ready),
        Does::Metrics => get(metrics),
        Does::Purge => post(purge),
        Does::Receipt => get(receipt),
        Does::Events => get(events),
        Does::Event => post(event),
        Does::Hook => post(hook),
        Does::Audit => get(audit),
        Does::Instances => get(instances),
        Does::Reload => post(reload),
        Does::Layers => get(layers),
        Does::Turn => post(turn),
        Does::Tripwires => get(tripwires),
        Does::Reset => post(reset),
        Does::Config => get(config),
        Does::Stats => get(stats),
        Does::OpenApi => get(openapi),
    }
}

/// Lets a request in or refuses it, before anything of it is read.
async fn admit<P: Purging>(
    State(admin): State<Admin<P>>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(&Refusal { status, detail }) = request.extensions().get() {
        return Problem::new(status, detail).into_response();
    }
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let Some(endpoint) = path.and_then(|path| endpoints::reached(request.method(), path)) else {
        // Nothing is there, or nothing that takes this method; the fallbacks say so.
        return next.run(request).await;
    };
    match endpoint.access {
        Access::Open | Access::Signed => next.run(request).await,
        Access::Needs(permission) => match caller(&admin, permission, &request) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                next.run(request).await
            }
            Err(problem) => {
                admin.metrics.counts().admin_refusals.one();
                admin.guard.refuse(problem).await.into_response()
            }
        },
    }
}

fn caller<P>(admin: &Admin<P>, needs: Permission, request: &Request) -> Result<Caller, Problem> {
    let peer = request.extensions().get::<Peer>().copied();
    let caller = admin.guard.admit(needs, peer, request.headers())?;
    if request.method() == Method::POST && !is_json(request.headers()) {
        // A form that another site's page posts is never JSON.
        let detail = "send the body as JSON, with `Content-Type: application/json`";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    Ok(caller)
}

/// Whether a body is JSON, or nothing is said of it.
fn is_json(fields: &HeaderMap) -> bool {
    fields.get_all(CONTENT_TYPE).iter().all(|value| {
        let media_type = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        media_type.trim_ascii().eq_ignore_ascii_case(b"application/json")
    })
}

async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such path; see /admin/openapi.json")
}

async fn method_not_allowed(path: Option<MatchedPath>) -> Problem {
    let allowed = path.map_or("", |path| endpoints::allowed(path.as_str()));
    Problem::method_not_allowed(allowed)
}

async fn page<P: Purging>(State(admin): State<Admin<P>>, request: Request) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    let may_read = match admin.guard.admit(Permission::Read, peer, request.headers()) {
        Ok(_) => Ok(()),
        // A guess at a token costs here what it costs elsewhere.
        Err(problem) if request.headers().contains_key(AUTHORIZATION) => {
            return admin.guard.refuse(problem).await.into_response();
        }
        Err(_) => Err(()),
    };
    status::page(&admin.metrics, &admin.readiness, may_read)
}

async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

async fn ready<P: Purging>(State(admin): State<Admin<P>>) -> Result<Json<Value>, Problem> {
    status::ready(&admin.readiness).map(Json)
}

async fn metrics<P: Purging>(State(admin): State<Admin<P>>) -> Response {
    status::metrics(&admin.metrics)
}

async fn stats<P: Purging>(State(admin): State<Admin<P>>) -> Json<Value> {
    Json(status::stats(&admin.metrics))
}

async fn purge<P: Purging>(
    State(admin): State<Admin<P>>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let body = body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let asked = Asked::read(&body, &admin.purging)?;
    if asked.is_dry() {
        return purges::estimate(&admin.purging, asked).await.map(Json);
    }
    let counts = admin.metrics.counts();
    counts.purges_asked.one();
    let purged = purges::purge(&admin.purging, asked, caller).await;
    purged.map(Json).inspect_err(|problem| count(counts, problem))
}

/// Counts a purge that the log did not take.
fn count(counts: &Counts, problem: &Problem) {
    if problem.status() == StatusCode::SERVICE_UNAVAILABLE {
        counts.purges_detached.one();
    }
}

async fn events<P: Purging>(State(admin): State<Admin<P>>) -> Json<Value> {
    Json(events::listed(&admin.purging))
}

async fn event<P: Purging>(
    State(admin): State<Admin<P>>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let body = body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let told = Told::read(&body)?;
    let counts = admin.metrics.counts();
    counts.events.one();
    let purged = told.purge(&admin.purging, caller).await;
    purged.map(Json).inspect_err(|problem| count(counts, problem))
}

async fn hook<P: Purging>(
    State(admin): State<Admin<P>>,
    Path(name): Path<String>,
    peer: Option<Extension<Peer>>,
    fields: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let body = body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let hooks = admin.hooks.load_full();
    let counts = admin.metrics.counts();
    // Whether there is such a hook is nobody's business who cannot sign for it.
    let unknown = || Problem::unauthorized("the signature is missing or wrong");
    let hook = hooks.iter().find(|hook| hook.name() == name).ok_or_else(unknown);
    let now = Timestamp::now();
    let verified = hook.and_then(|hook| Ok((hook, hook.verify(&fields, &body, now)?)));
    let (hook, signature) = match verified {
        Ok(verified) => verified,
        Err(problem) => {
            counts.admin_refusals.one();
            return Err(admin.guard.refuse(problem).await);
        }
    };
    counts.events.one();
    let from = peer.map(|Extension(peer)| peer.address());
    let answer = hook.take(&admin.purging, &body, from).await;
    let answer = answer.inspect_err(|problem| count(counts, problem))?;
    hook.taken(signature, now);
    Ok(Json(answer))
}

async fn audit<P: Purging>(
    State(admin): State<Admin<P>>,
    query: Result<Query<audit::Query>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(query) = query.map_err(|rejection| Problem::unprocessable(rejection.body_text()))?;
    query.answer(&admin.purging.audit()).map(Json)
}

async fn receipt<P: Purging>(
    State(admin): State<Admin<P>>,
    Path(mark): Path<String>,
) -> Result<Json<Value>, Problem> {
    let mark: Mark = mark
        .parse()
        .map_err(|error| Problem::unprocessable(format!("`{mark}` is no mark: {error}")))?;
    if mark.epoch == Epoch::NONE {
        // It would be of a log that is lost, and so be told to be past.
        return Err(Problem::unprocessable(format!("`{mark}` has no epoch: {NoMark}")));
    }
    let receipt = admin.purging.receipt(mark).await;
    let receipt = receipt.map_err(|error| Problem::unavailable(error.to_string()))?;
    let mut shown = shown(&receipt);
    if let Some(states) = admin.board.shown(mark) {
        shown["downstream"] = states;
    }
    Ok(Json(shown))
}

async fn instances<P: Purging>(State(admin): State<Admin<P>>) -> Result<Json<Value>, Problem> {
    let instances = admin.purging.instances().await;
    let instances = instances.map_err(|error| Problem::unavailable(error.to_string()))?;
    Ok(Json(purges::shown_instances(&instances)))
}

async fn layers<P: Purging>(State(admin): State<Admin<P>>) -> Json<Value> {
    Json(admin.panel.shown())
}

async fn turn<P: Purging>(
    State(admin): State<Admin<P>>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let body = body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    admin.panel.turn(&body, &caller).map(Json)
}

async fn tripwires<P: Purging>(State(admin): State<Admin<P>>) -> Json<Value> {
    Json(tripwire::shown(&admin.purging))
}

async fn reset<P: Purging>(
    State(admin): State<Admin<P>>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let body = body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    tripwire::reset(&body, &admin.purging, &caller).map(Json)
}

async fn reload<P: Purging>(State(admin): State<Admin<P>>) -> Result<Json<Value>, Problem> {
    reload::reload(&admin.loader).await.map(Json)
}

async fn config<P: Purging>(State(admin): State<Admin<P>>) -> Response {
    status::text("application/yaml", String::clone(&admin.config.load()))
}

async fn openapi() -> Json<Value> {
    Json(endpoints::openapi())
}

#[cfg(test)]
mod tests;
