//! The admin API as a client meets it, over a purger that remembers.

use std::time::Duration;

use http::Request as HttpRequest;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tower::ServiceExt;

use super::*;
use crate::admin::auth::Token;
use crate::admin::estimate::Estimate;
use crate::admin::layers::Behind;
use crate::admin::reload::{Refusal, Reloaded};
use crate::admin::tripwire::Wire;
use crate::entry::facts::{RouteId, Tag};
use crate::key::canonical::Target;
use crate::key::{HostRule, Key};
use crate::purge::events::{EventRule, Events, Meaning, NamePattern, Unclear};
use crate::purge::log::{Instance, LogError};
use crate::purge::purger::{Applied, Detached, Receipt, Wait};
use crate::purge::template::{Holes, Named, Rule};
use crate::purge::{Effect, Record, Scope};
use crate::route::depends::Cut;
use crate::route::switches::Switches;
use crate::store::memory::{self, Memory};
use crate::time::Timestamp;

/// Remembers what was submitted; fails as it is told.
#[derive(Clone, Default)]
struct Remembered {
    submitted: Arc<Mutex<Vec<(Record, Wait, Duration)>>>,
    away: Option<&'static str>,
}

impl Remembered {
    fn error(&self) -> Option<LogError> {
        self.away.map(|why| LogError::Away(why.into()))
    }
}

impl Purging for Remembered {
    fn tripwires(&self) -> Vec<Wire> {
        vec![Wire { route: RouteId::new("products"), sample: 0.01, sprung: None }]
    }

    fn reset_tripwire(&self, route: &RouteId) -> bool {
        route.as_str() == "products"
    }

    async fn submit(
        &self,
        record: Record,
        wait: Wait,
        longest: Duration,
    ) -> Result<Receipt, Detached> {
        self.submitted.lock().push((record, wait, longest));
        self.receipt(Mark::new(17, 0)).await.map_err(|why| Detached { why })
    }

    async fn receipt(&self, mark: Mark) -> Result<Receipt, LogError> {
        let until = Timestamp::from_seconds(1);
        let instance = Applied { id: "a".into(), applied: true, at: mark, until };
        let receipt = Receipt { mark, complete: true, instances: vec![instance] };
        self.error().map_or(Ok(receipt), Err)
    }

    async fn instances(&self) -> Result<Vec<Instance>, LogError> {
        self.error().map_or(Ok(Vec::new()), Err)
    }

    fn url_scope(&self, url: &Target) -> Scope {
        Scope::Url(Key::of_url(url, HostRule::Keyed))
    }

    fn path_scopes(&self, path: &str) -> Vec<Scope> {
        vec![Scope::Path(path.into())]
    }

    async fn estimate(&self, _: Vec<Scope>) -> Estimate {
        Estimate::default()
    }

    fn routes(&self) -> Vec<RouteId> {
        vec![RouteId::new("products"), RouteId::new("default")]
    }

    fn meaning(&self, event: &str, data: &Value) -> Result<Meaning, Unclear> {
        user_updated().meaning(event, data)
    }

    fn events(&self) -> Vec<String> {
        vec!["user.updated".into()]
    }

    fn scopes(&self, named: &Named) -> Vec<Scope> {
        match named {
            Named::Tag(tag) => vec![Scope::Tag(Tag::new(tag))],
            other => panic!("{other:?}"),
        }
    }

    fn complete(&self, record: Record) -> Result<Record, Cut> {
        Ok(record)
    }

    fn audit(&self) -> Vec<(Mark, Arc<Record>)> {
        let submitted = self.submitted.lock();
        let record = |(record, ..): &(Record, Wait, Duration)| Arc::new(record.clone());
        submitted.iter().rev().map(|it| (Mark::new(17, 0), record(it))).collect()
    }
}

fn user_updated() -> Events {
    let rule = Rule::parse("tag:user:{userId}", Holes::OfData).unwrap();
    let name = NamePattern("user.updated".into());
    let rule = EventRule { name, purge: vec![rule], effect: Effect::Remove, rewarm: None };
    Events { rules: vec![rule] }
}

struct Api {
    router: Router,
    purging: Remembered,
    metrics: Metrics,
    readiness: Arc<Readiness>,
    reloads: mpsc::Receiver<Reload>,
}

fn api(purging: Remembered, tokens: Vec<Token>) -> Api {
    let (loader, reloads) = mpsc::channel(1);
    let admin = Admin {
        purging: purging.clone(),
        guard: Arc::new(Guard::new(tokens)),
        metrics: Metrics::new("shop"),
        readiness: Arc::default(),
        loader,
        config: Arc::new(ArcSwap::from_pointee("service: shop\n".to_owned())),
        hooks: Arc::default(),
        board: Arc::default(),
        panel: Panel {
            switches: Switches::default(),
            memory: Memory::new(memory::Settings { capacity: 1 << 20, max_object: 1 << 10 }),
            behind: Behind::Redis,
        },
    };
    let (metrics, readiness) = (admin.metrics.clone(), admin.readiness.clone());
    Api { router: router(admin), purging, metrics, readiness, reloads }
}

fn open() -> Api {
    api(Remembered::default(), Vec::new())
}

struct Answer {
    status: StatusCode,
    fields: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// The detail of a problem, which this must be.
    fn detail(&self) -> String {
        assert_eq!(self.fields[CONTENT_TYPE], "application/problem+json", "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        problem["detail"].as_str().unwrap().to_owned()
    }
}

impl Api {
    async fn send(&self, request: HttpRequest<String>) -> Answer {
        let service = for_peer(&self.router, "127.0.0.1".parse().unwrap());
        let (head, body) = service.oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: head.status, fields: head.headers, text }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(HttpRequest::get(path).body(String::new()).unwrap()).await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        let request = HttpRequest::post(path).header(CONTENT_TYPE, "application/json");
        self.send(request.body(body.to_owned()).unwrap()).await
    }

    fn scopes(&self) -> Vec<Scope> {
        let submitted = self.purging.submitted.lock();
        let purges = submitted.iter().flat_map(|(record, ..)| record.purges.clone());
        purges.map(|purge| purge.scope).collect()
    }
}

#[tokio::test]
async fn a_purge_is_submitted_as_asked_and_its_receipt_is_answered() {
    let api = open();
    let body = r#"{"tags": ["t1"], "routes": ["products"], "soft": true, "wait": "local",
        "timeout": "2s", "reason": "price change"}"#;
    let answer = api.post("/admin/purges", body).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.json(),
        json!({
            "mark": "17-0",
            "complete": true,
            "instances": [
                {"id": "a", "applied": true, "at": "17-0", "until": "1970-01-01T00:00:01.000Z"},
            ],
        })
    );
    let (record, wait, longest) = api.purging.submitted.lock()[0].clone();
    assert_eq!((wait, longest), (Wait::Local, Duration::from_secs(2)));
    assert_eq!(record.cause.by, "127.0.0.1");
    assert_eq!(record.cause.reason.as_deref(), Some("price change"));
    assert!(record.purges.iter().all(|purge| purge.effect == Effect::MarkStale));
    assert_eq!(api.scopes(), [Scope::Tag(Tag::new("t1")), Scope::Route(RouteId::new("products"))]);
}

#[tokio::test]
async fn a_url_is_purged_under_both_schemes() {
    let api = open();
    let body = r#"{"urls": ["https://Shop.Example:443/a?b=1"]}"#;
    assert_eq!(api.post("/admin/purges", body).await.status, StatusCode::OK);
    let scope = |url| Scope::Url(Key::of_url(&Target::parse(url).unwrap(), HostRule::Keyed));
    assert_eq!(
        api.scopes(),
        [scope("https://shop.example/a?b=1"), scope("http://shop.example/a?b=1")]
    );
}

#[tokio::test]
async fn a_prefix_is_taken_in_the_form_in_which_urls_are_stored() {
    let api = open();
    let body = r#"{"prefixes": ["HTTP://Shop.Example:80/api/", "/img/"]}"#;
    assert_eq!(api.post("/admin/purges", body).await.status, StatusCode::OK);
    let prefix = |text: &str| Scope::Prefix(text.into());
    assert_eq!(
        api.scopes(),
        [prefix("http://shop.example/api/"), prefix("https://shop.example/api/"), prefix("/img/")]
    );
}

#[tokio::test]
async fn odd_or_empty_input_never_purges_and_says_what_is_wrong() {
    let rows = [
        ("{}", 422, "nothing is named"),
        (r#"{"everything": false}"#, 422, "nothing is named"),
        (r#"{"tags": []}"#, 422, "nothing is named"),
        (r#"{"everything": "true"}"#, 422, "invalid type"),
        (r#"{"tgas": ["a"]}"#, 422, "unknown field `tgas`"),
        (r#"{"tags": ["a"], "tags": ["b"]}"#, 422, "duplicate field `tags`"),
        (r#"{"tags": "a"}"#, 422, "invalid type"),
        (r#"{"tags": null, "everything": true}"#, 422, "invalid type"),
        (r#"{"tags": [""]}"#, 422, "empty"),
        (r#"{"tags": ["a\nb"]}"#, 422, "control"),
        (r#"{"prefixes": ["/"]}"#, 422, "everything: true"),
        (r#"{"prefixes": ["http://shop.example"]}"#, 422, "a slash"),
        (r#"{"prefixes": ["shop"]}"#, 422, "must begin"),
        (r#"{"urls": ["api/products"]}"#, 422, "http://shop.example/api/products"),
        (r#"{"urls": ["//shop.example/"]}"#, 422, "no path"),
        (r#"{"all_tags": [[]]}"#, 422, "in `all_tags`: each list names 1 to 16"),
        (r#"{"all_tags": []}"#, 422, "nothing is named"),
        (r#"{"all_tags": ["a"]}"#, 422, "in `all_tags`: invalid type"),
        (r#"{"all_tags": [["a", ""]]}"#, 422, "in `all_tags`: an empty"),
        (r#"{"globs": [""]}"#, 422, "in `globs`: an empty"),
        (r#"{"globs": ["/**"]}"#, 422, "everything: true"),
        (r#"{"globs": ["http://*/**"]}"#, 422, "everything: true"),
        (r#"{"globs": ["api/*"]}"#, 422, "in `globs`: `api/*`"),
        (r#"{"hosts": ["*"]}"#, 422, "everything: true"),
        (r#"{"hosts": ["a/b"]}"#, 422, "in `hosts`: `a/b`"),
        (r#"{"tags": [7]}"#, 422, "in `tags`: "),
        (r#"{"tags": ["a"], "dry_run": "yes"}"#, 422, "in `dry_run`: "),
        (r#"{"urls": ["ftp://shop.example/"]}"#, 422, "absolute"),
        (r#"{"urls": ["http://a b/"]}"#, 422, "names no URL"),
        (r#"{"routes": ["product"]}"#, 422, "there are: default, products"),
        (r#"{"tags": ["a"], "timeout": "5"}"#, 422, "duration"),
        (r#"{"tags": ["a"], "timeout": "10000d"}"#, 422, "in `timeout`: `10000d` is longer than"),
        (r#"{"tags": ["a"], "timeout": "61s"}"#, 422, "write 1m or less"),
        (r#"{"urls": ["http://u:hunter2@h/"]}"#, 422, "in `urls`: `http://***@h/` names no URL"),
        (r#"{"tags": ["a"], "wait": "forever"}"#, 422, "unknown variant `forever`"),
        ("[[], [\"a\"]]", 400, "one JSON object"),
        ("", 400, "one JSON object"),
        ("{", 400, "not JSON"),
    ];
    for (body, status, said) in rows {
        let api = open();
        let answer = api.post("/admin/purges", body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}");
        let detail = answer.detail();
        assert!(detail.contains(said), "{body}: {detail}");
        assert!(api.scopes().is_empty(), "{body}");
    }
}

#[tokio::test]
async fn many_scopes_are_one_record() {
    let api = open();
    let body = r#"{"all_tags": [["a", "b"]], "globs": ["//*.Shop.example/a/*?x"], "hosts": ["*.Shop.example"],
        "urls": ["/x?y"]}"#;
    assert_eq!(api.post("/admin/purges", body).await.status, StatusCode::OK);
    assert_eq!(api.purging.submitted.lock().len(), 1);
    assert_eq!(
        api.scopes(),
        [
            Scope::Path("/x?y".into()),
            Scope::AllTags(["a", "b"].map(Tag::new).into()),
            Scope::Glob(crate::purge::glob::UrlGlob::parse("//*.shop.example/a/*?x").unwrap()),
            Scope::Host(crate::key::host::HostPattern::parse("*.shop.example").unwrap()),
        ]
    );
}

#[tokio::test]
async fn a_dry_run_submits_nothing() {
    let api = open();
    let answer = api.post("/admin/purges", r#"{"everything": true, "dry_run": true}"#).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["dry_run"], true);
    assert!(api.scopes().is_empty());
}

#[tokio::test]
async fn more_scopes_than_one_purge_may_name_are_refused() {
    let api = open();
    let body = json!({ "tags": vec!["t"; 1001] }).to_string();
    let answer = api.post("/admin/purges", &body).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.detail().contains("1001"));
}

#[tokio::test]
async fn a_large_body_is_refused() {
    let api = open();
    let answer = api.post("/admin/purges", &" ".repeat(BODY + 1)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    answer.detail();
}

#[tokio::test(start_paused = true)]
async fn a_form_of_another_site_cannot_purge() {
    let api = open();
    let form = HttpRequest::post("/admin/purges")
        .header(CONTENT_TYPE, "text/plain")
        .body(r#"{"everything": true}"#.to_owned());
    let answer = api.send(form.unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    answer.detail();
    assert!(api.scopes().is_empty());
}

#[tokio::test]
async fn a_purge_that_the_log_does_not_take_is_a_503_that_says_what_holds() {
    let api = api(Remembered { away: Some("refused"), ..Remembered::default() }, Vec::new());
    let answer = api.post("/admin/purges", r#"{"everything": true}"#).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.detail().contains("applied on this instance only"));
    assert_eq!(answer.json()["applied"], "here");
    assert_eq!(api.scopes(), [Scope::Everything]);
    for path in ["/admin/instances", "/admin/purges/17-0-1f"] {
        let answer = api.get(path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        answer.detail();
    }
}

#[tokio::test]
async fn a_receipt_is_asked_for_by_its_mark() {
    let api = open();
    assert_eq!(api.get("/admin/purges/9-1-1f").await.json()["mark"], "9-1-1f");
    for (odd, why) in [("latest", "`latest` is no mark"), ("9-1", "`9-1` has no epoch")] {
        let odd = api.get(&format!("/admin/purges/{odd}")).await;
        assert_eq!(odd.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(odd.detail().contains(why), "{}", odd.detail());
    }
}

#[tokio::test(start_paused = true)]
async fn with_tokens_each_path_needs_its_own_scope_and_health_none() {
    let tokens = vec![
        Token::new("r", "r", vec![Permission::Read]),
        Token::new("p", "p", vec![Permission::Purge]),
        Token::new("c", "c", vec![Permission::Config]),
    ];
    let api = api(Remembered::default(), tokens);
    api.readiness.set(readiness::State::Ready);
    for endpoint in &ENDPOINTS {
        for token in [None, Some("r"), Some("p"), Some("c"), Some("x")] {
            let path = endpoint.path.replace("{mark}", "1-1-1f");
            let mut request = HttpRequest::builder().uri(path);
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let method = endpoint.method.name().to_uppercase();
            let body = match endpoint.does {
                Does::Event => r#"{"event": "user.updated", "data": {"userId": 7}}"#,
                Does::Turn => r#"{"l2": "off"}"#,
                Does::Reset => r#"{"reset": ["products"]}"#,
                _ => r#"{"tags": ["a"]}"#,
            };
            let request = request.method(method.as_str()).body(body.to_owned());
            if endpoint.does == Does::Reload && token == Some("c") {
                continue; // Nobody answers here.
            }
            let status = api.send(request.unwrap()).await.status;
            let expected = match (endpoint.access, token) {
                // The page tells more to those who may read; guessing is no easier there.
                (Access::Open, Some("p" | "c")) if endpoint.does == Does::Page => {
                    StatusCode::FORBIDDEN
                }
                (Access::Open, Some("x")) if endpoint.does == Does::Page => {
                    StatusCode::UNAUTHORIZED
                }
                (Access::Open, _) => StatusCode::OK,
                (Access::Signed, _) | (Access::Needs(_), None | Some("x")) => {
                    StatusCode::UNAUTHORIZED
                }
                (Access::Needs(it), Some(name)) if it.name().starts_with(name) => StatusCode::OK,
                (Access::Needs(_), Some(_)) => StatusCode::FORBIDDEN,
            };
            assert_eq!(status, expected, "{endpoint:?} {token:?}");
        }
    }
    assert!(api.metrics.counts().admin_refusals.get() > 0);
}

#[tokio::test]
async fn layers_are_turned_as_asked_and_what_is_wrong_turns_nothing() {
    let api = open();
    let switch = |answer: &Answer, layer: &str| answer.json()[layer]["switch"].clone();
    for (body, wrong) in [
        ("", "EOF"),
        ("{}", "name a layer"),
        (r#"{"reason": "x"}"#, "name a layer"),
        (r#"{"l1": "off", "l2": "ON"}"#, "unknown variant `ON`"),
        (r#"{"l1": true}"#, "such as {\"l2\": \"off\"}"),
        (r#"{"l1": "off", "l1": "on"}"#, "duplicate field `l1`"),
    ] {
        let answer = api.post("/admin/layers", body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert!(answer.detail().contains(wrong), "{body}: {}", answer.detail());
    }
    let shown = api.get("/admin/layers").await;
    assert_eq!((switch(&shown, "l1"), switch(&shown, "l2")), (json!("on"), json!("on")));
    let turned = api.post("/admin/layers", r#"{"l1": "off", "reason": "x"}"#).await;
    assert_eq!((switch(&turned, "l1"), switch(&turned, "l2")), (json!("off"), json!("on")));
    assert_eq!(api.get("/admin/layers").await.json(), turned.json());
}

#[tokio::test]
async fn readiness_follows_its_state_and_liveness_does_not() {
    let api = open();
    assert_eq!(api.get("/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
    api.readiness.set(readiness::State::Ready);
    assert_eq!(api.get("/ready").await.status, StatusCode::OK);
    api.readiness.set(readiness::State::Draining);
    assert!(api.get("/ready").await.detail().contains("draining"));
    assert_eq!(api.get("/live").await.status, StatusCode::OK);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let api = open();
    let answer = api.get("/admin/nothing").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    answer.detail();
    let answer = api.get("/admin/purges").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.fields["allow"], "POST");
    assert!(answer.detail().contains("POST"));
    let answer = api.post("/ready", "{}").await;
    assert_eq!(answer.fields["allow"], "GET, HEAD");
}

#[tokio::test]
async fn a_reload_is_answered_by_whoever_loads() {
    let mut api = open();
    let mut reloads = std::mem::replace(&mut api.reloads, mpsc::channel(1).1);
    let rows: [(Result<Reloaded, Refusal>, u16, &str); 3] = [
        (Ok(Reloaded { needs_restart: vec!["listen".into()] }), 200, "listen"),
        (Err(Refusal::Faulty(vec!["larder.yaml:1:1: odd".into()])), 422, "larder.yaml:1:1: odd"),
        (Err(Refusal::NoFile), 422, "without a configuration file"),
    ];
    for (result, status, said) in rows {
        let (answer, ()) = tokio::join!(api.post("/admin/config/reload", ""), async {
            reloads.recv().await.unwrap().answer(result);
        });
        assert_eq!(answer.status.as_u16(), status);
        assert!(answer.text.contains(said), "{}", answer.text);
    }
}

#[tokio::test]
async fn figures_and_documents_are_told() {
    let api = open();
    api.metrics.l1().hit();
    assert_eq!(api.get("/admin/cache/stats").await.json()["layers"]["l1"]["hits"], 1);
    assert_eq!(api.get("/admin/config").await.text, "service: shop\n");
    let metrics = api.get("/metrics").await;
    assert_eq!(metrics.fields[CONTENT_TYPE], Metrics::MEDIA_TYPE);
    assert!(metrics.text.contains("cache_hits_total{cache_layer=\"L1\"} 1"));
    let document = api.get("/admin/openapi.json").await.json();
    for endpoint in &ENDPOINTS {
        assert!(document["paths"][endpoint.path][endpoint.method.name()].is_object());
    }
    assert!(api.get("/").await.text.contains("hit_l1"));
}
