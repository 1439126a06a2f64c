//! nginx serving files with `ETag` and `Last-Modified`: the same files through Larder, from the origin and from the cache.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::json;
use tempfile::TempDir;

use crate::compare::{fields, same};
use crate::support::client::{Ask, ask, get};
use crate::support::larder::Larder;
use crate::support::redis::RedisServer;
use crate::support::reply::Reply;
use crate::support::yaml::{Yaml, all_to_url};
use crate::support::{free_port, until};

const FIVE_MIB: usize = 5 << 20;

/// A running nginx with three files, below `/` as they are and below `/cached/` with a lifetime.
struct Nginx {
    port: u16,
    child: Child,
    directory: TempDir,
}

impl Nginx {
    async fn start() -> Self {
        // Somebody else may take the free port in between; then nginx ends at once and another port is tried.
        for _ in 0..5 {
            let directory = TempDir::new().unwrap();
            let port = free_port();
            fs::write(directory.path().join("nginx.conf"), configuration(port)).unwrap();
            write_files(&directory);
            let mut nginx = Self { port, child: launch(&directory), directory };
            let up = until("nginx answers", async || {
                if nginx.child.try_wait().unwrap().is_some() {
                    return Some(false);
                }
                get(nginx.url("/small.txt")).attempt().await.is_ok().then_some(true)
            });
            if up.await {
                return nginx;
            }
        }
        panic!("nginx found no free port in five attempts");
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn before(&self) -> Yaml {
        all_to_url(&self.url("")).top("l1: { capacity: 64MiB, max_object: 8MiB }")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join("files").join(name), text).unwrap();
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ended_before = self.child.kill();
        let _status = self.child.wait();
    }
}

/// One process, nothing outside its own directory: it runs for any user.
fn configuration(port: u16) -> String {
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr;\n\
         events {{}}\n\
         http {{\n\
           access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;\n\
           types {{ text/plain txt; text/html html; application/octet-stream bin; }}\n\
           server {{\n\
             listen 127.0.0.1:{port}; root files;\n\
             location /cached/ {{ rewrite ^/cached(/.*)$ $1 break; add_header Cache-Control max-age=60; }}\n\
           }}\n\
         }}\n"
    )
}

fn write_files(directory: &TempDir) {
    let files = directory.path().join("files");
    fs::create_dir(&files).unwrap();
    let large: Vec<u8> = (0..FIVE_MIB).map(|n| (n % 251).to_le_bytes()[0]).collect();
    let page = "<!doctype html><title>t</title>".repeat(40);
    for (name, bytes) in
        [("small.txt", b"hello\n".to_vec()), ("page.html", page.into_bytes()), ("large.bin", large)]
    {
        fs::write(files.join(name), bytes).unwrap();
        // Long ago, so that the heuristic lifetime is long too.
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        File::options().write(true).open(files.join(name)).unwrap().set_modified(modified).unwrap();
    }
}

/// An nginx with the configuration in this directory.
pub(crate) fn launch(directory: &TempDir) -> Child {
    let prefix = format!("{}/", directory.path().display());
    Command::new("nginx")
        .args(["-p", &prefix, "-c", "nginx.conf", "-e", "stderr"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("nginx cannot be started ({error}): apt-get install nginx, or run tests/run, which does"))
}

async fn both(
    nginx: &Nginx,
    larder: &Larder,
    path: &str,
    shape: impl Fn(Ask) -> Ask,
) -> (Reply, Reply) {
    (shape(get(nginx.url(path))).await, shape(get(larder.url(path))).await)
}

#[tokio::test]
async fn files_are_the_same_from_the_origin_and_from_the_cache() {
    let nginx = Nginx::start().await;
    let larder = nginx.before().start().await;
    for path in [
        "/small.txt",
        "/page.html",
        "/large.bin",
        "/cached/small.txt",
        "/cached/large.bin",
        "/absent.txt",
    ] {
        for round in 0..3 {
            let (direct, through) = both(&nginx, &larder, path, |ask| ask).await;
            same(path, &direct, &through);
            // An absent file has neither validator nor lifetime; every other has at least the heuristic one.
            assert_eq!(
                through.outcome() == "HIT",
                round > 0 && path != "/absent.txt",
                "{path}, round {round}: {through:?}"
            );
        }
    }
}

#[tokio::test]
async fn conditions_and_ranges_mean_the_same_whether_stored_or_not() {
    let nginx = Nginx::start().await;
    let tag = get(nginx.url("/small.txt")).await.field("etag").to_owned();
    let modified = get(nginx.url("/small.txt")).await.field("last-modified").to_owned();
    let conditions = [
        ("If-None-Match", tag.clone()),
        ("If-None-Match", "\"other\"".to_owned()),
        ("If-Modified-Since", modified.clone()),
        ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
        ("If-Match", "\"other\"".to_owned()),
        ("If-Match", tag),
        ("If-Unmodified-Since", modified),
        ("Range", "bytes=1-3".to_owned()),
        ("Range", "bytes=-2".to_owned()),
        ("Range", "bytes=2-".to_owned()),
        ("Range", "bytes=100-".to_owned()),
    ];
    for (name, value) in conditions {
        let larder = nginx.before().start().await;
        let what = format!("{name}: {value}");
        for path in ["/small.txt", "/cached/small.txt"] {
            for round in 0..2 {
                let (direct, through) =
                    both(&nginx, &larder, path, |ask| ask.with(name, value.clone())).await;
                let what = format!("{what} for {path}, round {round}");
                assert_eq!(direct.status, through.status, "{what}:{direct:?}{through:?}");
                // The page that tells of an error is the origin's or ours.
                if direct.status < 400 {
                    assert!(direct.body == through.body, "{what}:{direct:?}{through:?}");
                }
                for field in ["etag", "content-range"] {
                    if direct.status != 412 && !(direct.status == 416 && field == "etag") {
                        assert_eq!(direct.field(field), through.field(field), "{what}");
                    }
                }
                get(larder.url(path)).await.has_status(200).says("hello\n");
            }
        }
    }
}

#[tokio::test]
async fn a_head_request_tells_what_a_get_would() {
    let nginx = Nginx::start().await;
    let larder = nginx.before().start().await;
    for _ in 0..2 {
        let direct = ask("HEAD", nginx.url("/cached/large.bin")).await;
        let through = ask("HEAD", larder.url("/cached/large.bin")).await;
        same("HEAD", &direct, &through);
        assert_eq!(get(larder.url("/cached/large.bin")).await.body.len(), FIVE_MIB);
    }
}

#[tokio::test]
async fn a_file_is_a_hit_then_survives_a_restart_and_falls_to_a_purge() {
    let redis = RedisServer::start().await;
    let nginx = Nginx::start().await;
    let mut larder = nginx.before().redis(redis.port()).start().await;
    let path = "/cached/small.txt";
    let first = get(larder.url(path)).await;
    first.is("MISS", "ORIGIN").says("hello\n");
    get(larder.url(path)).await.is("HIT", "L1");
    nginx.write("small.txt", "changed\n");
    larder.restart().await;
    let hit = get(larder.url(path)).await;
    hit.is("HIT", "L2").says("hello\n");
    assert_eq!(fields(&hit), fields(&first));
    get(larder.url(path)).await.is("HIT", "L1").says("hello\n");
    larder.purges(json!({"urls": [larder.url(path)]})).await;
    get(larder.url(path)).await.is("MISS", "ORIGIN").says("changed\n");
}

#[tokio::test]
async fn an_unchanged_file_is_revalidated_with_nginxs_own_304() {
    let nginx = Nginx::start().await;
    let larder = nginx.before().start().await;
    let path = "/cached/page.html";
    get(larder.url(path)).await.is("MISS", "ORIGIN");
    larder.purges(json!({"urls": [larder.url(path)], "soft": true})).await;
    let (direct, through) = both(&nginx, &larder, path, |ask| ask).await;
    through.is("REVALIDATED", "ORIGIN");
    same(path, &direct, &through);
    get(larder.url(path)).await.is("HIT", "L1");
}
