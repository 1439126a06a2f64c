//! `httpbin` of the Python package index, under gunicorn: what it says directly it says through Larder.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::compare::{same, same_head};
use crate::support::client::{Ask, ask, get, post};
use crate::support::larder::Larder;
use crate::support::lines::Lines;
use crate::support::redis::RedisServer;
use crate::support::reply::Reply;
use crate::support::until;
use crate::support::yaml::all_to_url;

/// httpbin repeats the host that it was asked for; both ways must ask for the same.
const HOST: &str = "api.example";

/// A running httpbin; dropping it ends it.
struct Httpbin {
    url: String,
    child: Child,
    _said: Lines,
}

impl Httpbin {
    async fn start() -> Self {
        let gunicorn = tools().join("gunicorn");
        let mut child = Command::new(&gunicorn)
            .args(["--bind", "127.0.0.1:0", "--worker-class", "gthread", "--threads", "16", "--keep-alive", "30", "httpbin:app"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started ({error}): tests/run makes it, a Python venv with `pip install httpbin gunicorn`; LARDER_PYTOOLS names another", gunicorn.display()));
        let said = Lines::of(child.stderr.take().unwrap());
        let at = |line: &str| {
            line.split_once("Listening at: ")?.1.split_whitespace().next().map(ToOwned::to_owned)
        };
        let url = said.find("gunicorn's listening line", at).await;
        let url = url.unwrap_or_else(|| {
            panic!("gunicorn ended before it was ready; it said:\n{}", said.text())
        });
        Self { url, child, _said: said }
    }

    /// The request as it goes straight to httpbin, and as it goes through Larder.
    async fn both(
        &self,
        larder: &Larder,
        path: &str,
        shape: impl Fn(Ask) -> Ask,
    ) -> (Reply, Reply) {
        let direct = shape(get(format!("{}{path}", self.url)).with("Host", HOST)).await;
        let through = shape(get(larder.url(path)).with("Host", HOST)).await;
        (direct, through)
    }
}

impl Drop for Httpbin {
    fn drop(&mut self) {
        // Asked to end, gunicorn takes its workers along; killed, it would leave them.
        crate::support::signal("TERM", self.child.id());
        let _status = self.child.wait();
    }
}

/// Where the Python programs of the tests are.
fn tools() -> PathBuf {
    let venv = std::env::var_os("LARDER_PYTOOLS").map(PathBuf::from);
    let venv =
        venv.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/pytools"));
    std::path::absolute(venv).unwrap().join("bin")
}

/// A body of httpbin without what it repeats of the request.
fn without_echo(body: &[u8]) -> Value {
    let mut body: Value = serde_json::from_slice(body)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)));
    for echo in ["headers", "origin"] {
        body.as_object_mut().unwrap().remove(echo);
    }
    body
}

/// What Python makes of gzip: an independent reader of the coded body.
fn gunzip(body: &[u8]) -> Vec<u8> {
    let program =
        "import gzip, sys; sys.stdout.buffer.write(gzip.decompress(sys.stdin.buffer.read()))";
    let mut child = Command::new(tools().join("python"))
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("the venv's python cannot be started ({error}): run tests/run, which makes it")
        });
    child.stdin.take().unwrap().write_all(body).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the body is not gzip");
    output.stdout
}

async fn larder_before(httpbin: &Httpbin) -> Larder {
    all_to_url(&httpbin.url).origin("host: preserve").start().await
}

#[tokio::test]
async fn bodies_that_do_not_repeat_the_request_are_the_same_to_the_byte() {
    let httpbin = Httpbin::start().await;
    let larder = larder_before(&httpbin).await;
    let paths = [
        "/response-headers?Cache-Control=max-age%3D60",
        "/response-headers?X-One=1&X-One=2&Vary=Accept",
        "/drip?duration=1&numbytes=5&code=200",
        "/range/1024",
        "/status/503",
        "/status/404",
        "/status/418",
        "/bytes/2000?seed=7",
        "/stream-bytes/5000?seed=7&chunk_size=100",
        "/robots.txt",
        "/html",
        "/xml",
        "/json",
        "/encoding/utf8",
        "/image/png",
        "/base64/bGFyZGVy",
        "/redirect-to?url=%2Fget&status_code=307",
        "/cookies/set?a=1",
        "/links/10/3",
    ];
    for path in paths {
        for _ in 0..2 {
            let (direct, through) = httpbin.both(&larder, path, |ask| ask).await;
            same(path, &direct, &through);
        }
    }
}

#[tokio::test]
async fn bodies_that_repeat_the_request_are_the_same_but_for_that() {
    let httpbin = Httpbin::start().await;
    let larder = larder_before(&httpbin).await;
    for path in
        ["/cache/60", "/cache", "/etag/x", "/get?a=1&b=%20c&a=2", "/anything/a%2Fb?c=d", "/deny"]
    {
        for _ in 0..2 {
            let (direct, through) = httpbin.both(&larder, path, |ask| ask).await;
            // `/cache` makes up a tag and a date for each answer.
            if path == "/cache" {
                assert_eq!((direct.status, through.status), (200, 200));
            } else {
                same_head(path, &direct, &through);
            }
            if path != "/deny" {
                assert_eq!(without_echo(&direct.body), without_echo(&through.body), "{path}");
            }
        }
    }
    let (direct, through) =
        httpbin.both(&larder, "/gzip", |ask| ask.with("Accept-Encoding", "gzip")).await;
    same_head("/gzip", &direct, &through);
    through.has("content-encoding", "gzip");
    assert_eq!(without_echo(&gunzip(&direct.body)), without_echo(&gunzip(&through.body)));
}

#[tokio::test]
async fn streams_arrive_line_by_line_and_whole() {
    let httpbin = Httpbin::start().await;
    let larder = larder_before(&httpbin).await;
    let (direct, through) = httpbin.both(&larder, "/stream/20", |ask| ask).await;
    same_head("/stream/20", &direct, &through);
    let lines = |reply: &Reply| {
        reply.text().lines().map(|line| without_echo(line.as_bytes())).collect::<Vec<_>>()
    };
    assert_eq!(lines(&direct), lines(&through));
    assert_eq!(lines(&through).len(), 20);

    let mut drip =
        get(larder.url("/drip?duration=2&numbytes=2&delay=0")).with("Host", HOST).open().await;
    let since = std::time::Instant::now();
    assert_eq!(drip.at_least(1).await, b"*");
    let first = since.elapsed();
    assert_eq!(drip.rest().await.unwrap(), "*");
    assert!(
        since.elapsed() > first + std::time::Duration::from_millis(500),
        "the first drop came with the last"
    );
}

#[tokio::test]
async fn conditions_ranges_and_methods_mean_the_same() {
    let httpbin = Httpbin::start().await;
    let larder = larder_before(&httpbin).await;
    let part = |range: &'static str| move |ask: Ask| ask.with("Range", range);
    for range in ["bytes=0-9", "bytes=1000-", "bytes=-24"] {
        let (direct, through) = httpbin.both(&larder, "/range/1024", part(range)).await;
        same(range, &direct, &through);
        through.has_status(206);
    }
    // httpbin's own tag is not one by the rules (it has no quotes); to answer as if nothing was asked is right too.
    for (name, value) in [("If-None-Match", "\"x\""), ("If-Match", "\"y\"")] {
        let (direct, through) = httpbin.both(&larder, "/etag/x", |ask| ask.with(name, value)).await;
        assert!([direct.status, 200].contains(&through.status), "{name}:{direct:?}{through:?}");
    }
    for method in ["HEAD", "OPTIONS"] {
        let direct = ask(method, format!("{}/get", httpbin.url)).with("Host", HOST).await;
        let through = ask(method, larder.url("/get")).with("Host", HOST).await;
        assert_eq!(
            (direct.status, direct.field("allow")),
            (through.status, through.field("allow")),
            "{method}"
        );
    }
}

#[tokio::test]
async fn bodies_of_requests_arrive() {
    let httpbin = Httpbin::start().await;
    let larder = larder_before(&httpbin).await;
    let large = "0123456789".repeat(50_000);
    for (method, path) in
        [("POST", "/post"), ("PUT", "/put"), ("PATCH", "/patch"), ("DELETE", "/delete")]
    {
        for body in [json!({"a": [1, 2, "ü"]}).to_string(), large.clone(), String::new()] {
            let shape = |ask: Ask| {
                ask.with("Host", HOST).with("Content-Type", "application/json").body(body.clone())
            };
            let direct = shape(ask(method, format!("{}{path}?q=1", httpbin.url))).await;
            let through = shape(ask(method, larder.url(&format!("{path}?q=1")))).await;
            same_head(path, &direct, &through);
            assert_eq!(without_echo(&direct.body), without_echo(&through.body), "{method}");
            through.is("BYPASS", "ORIGIN");
        }
    }
    let form = post(larder.url("/post"))
        .with("Content-Type", "application/x-www-form-urlencoded")
        .body("a=1&b=two")
        .await;
    assert_eq!(form.json()["form"], json!({"a": "1", "b": "two"}));
}

#[tokio::test]
async fn a_cacheable_answer_is_a_hit_then_survives_a_restart_and_falls_to_a_purge() {
    let redis = RedisServer::start().await;
    let httpbin = Httpbin::start().await;
    let mut larder =
        all_to_url(&httpbin.url).origin("host: preserve").redis(redis.port()).start().await;
    for path in ["/cache/60", "/response-headers?Cache-Control=max-age%3D60"] {
        let ask = |larder: &Larder| get(larder.url(path)).with("Host", HOST);
        let first = ask(&larder).await;
        first.is("MISS", "ORIGIN").has_status(200);
        let hit = ask(&larder).await;
        assert_eq!(hit.is("HIT", "L1").body, first.body);
        assert_eq!(crate::compare::fields(&hit), crate::compare::fields(&first));
    }
    larder.restart().await;
    for path in ["/cache/60", "/response-headers?Cache-Control=max-age%3D60"] {
        get(larder.url(path)).with("Host", HOST).await.is("HIT", "L2").has_status(200);
        get(larder.url(path)).with("Host", HOST).await.is("HIT", "L1").has_status(200);
        larder.purges(json!({"urls": [format!("http://{HOST}{path}")]})).await;
        get(larder.url(path)).with("Host", HOST).await.is("MISS", "ORIGIN").has_status(200);
    }
    until("the new entries are in Redis", async || {
        (redis.keys("cache:*").await.len() == 2).then_some(())
    })
    .await;
}
