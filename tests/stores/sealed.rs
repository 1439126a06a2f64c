//! What lies in L2 when it is compressed and encrypted: nothing that anybody said, and nothing that was tampered with.

use std::fs;

use http::HeaderMap;
use larder::entry::facts::Mark;
use larder::entry::seal::{self, Compression, Seal, SealKey};
use larder::store::disk::{self, Disk};
use larder::store::redis::entries::Entries;
use larder::store::redis::sweep::Walk;
use larder::store::redis::{self, Redis};
use tempfile::TempDir;

use crate::benches::{BACKGROUND, MAX_OBJECT, body, disk_settings, redis, redis_settings};
use crate::entries::{Recipe, of, request};
use crate::support::PATIENCE;
use crate::support::redis::RedisServer;

/// A ring of keys with these ids, and compression from 100 bytes on.
fn ring(ids: &[&str]) -> Seal {
    let key = |id: &&str| SealKey::new(id, blake3::hash(id.as_bytes()).as_bytes());
    Seal::new(seal::Settings {
        compression: Some(Compression { over: 100, level: 1 }),
        keys: ids.iter().map(key).collect(),
        max_object: MAX_OBJECT as u64,
    })
}

fn with(server: &RedisServer, ids: &[&str]) -> Redis {
    redis(&redis::Settings { seal: ring(ids), ..redis_settings(server, "a") })
}

async fn put(entries: &Entries, recipe: &Recipe) {
    use larder::store::Store;
    entries.put(&recipe.place(), recipe.entry()).await.unwrap();
    entries.flush(PATIENCE).await;
}

async fn get(entries: &Entries, recipe: &Recipe, request: &HeaderMap) -> Option<String> {
    body(entries, recipe, request).await.unwrap()
}

fn nothing() -> HeaderMap {
    HeaderMap::new()
}

fn unreadable(redis: &Redis, reason: &str) -> u64 {
    redis.counts().unreadable().find(|(label, _)| *label == reason).unwrap().1
}

fn slot(recipe: &Recipe) -> String {
    format!("cache:shop:products:{}", recipe.place().key)
}

/// A page of a client, in two languages, and one for all.
fn pages() -> [(Recipe, HeaderMap); 3] {
    let url = of("http://h/Secret?user=alice").says("balance ".repeat(100));
    [
        (url.clone().varies("x-tongue", "klingon"), request("x-tongue", "klingon")),
        (url.clone().varies("x-tongue", "latin"), request("x-tongue", "latin")),
        (of("http://h/Plain").says("balance ".repeat(100)), nothing()),
    ]
}

/// What the URL, the body, the fields and the request said; and the digest of an empty variant.
const SAID: [&str; 7] =
    ["Secret", "alice", "balance", "set-cookie", "x-tongue", "klingon", "Products"];

#[tokio::test]
async fn nothing_that_a_client_or_an_origin_said_lies_in_redis_in_clear() {
    let server = RedisServer::start().await;
    let redis = with(&server, &["2026a"]);
    let entries = redis.entries();
    for (recipe, _) in pages() {
        put(&entries, &recipe).await;
    }
    for (recipe, request) in pages() {
        assert_eq!(get(&entries, &recipe, &request).await.unwrap(), "balance ".repeat(100));
    }
    let mut dump = Vec::new();
    for key in server.keys("cache:*").await {
        dump.extend(key.as_bytes());
        dump.extend(raw_hash(&server, &key).await.concat());
    }
    assert!(dump.len() > 500, "there is something to look at");
    for said in SAID {
        let found = dump.windows(said.len()).any(|window| window == said.as_bytes());
        assert!(!found, "{said} lies there in clear");
    }
    assert!(dump.len() < 2400, "the bodies are compressed: {}", dump.len());
}

/// All fields and values of a hash, as they are.
async fn raw_hash(server: &RedisServer, key: &str) -> Vec<Vec<u8>> {
    let client = ::redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    ::redis::cmd("HGETALL").arg(key).query_async(&mut connection).await.unwrap()
}

async fn set(server: &RedisServer, key: &str, field: &[u8], value: &[u8]) {
    let client = ::redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut set = ::redis::cmd("HSET");
    let _: i64 = set.arg(key).arg(field).arg(value).query_async(&mut connection).await.unwrap();
}

#[tokio::test]
async fn a_new_first_key_reads_what_the_old_one_wrote_and_without_the_old_one_it_is_deleted() {
    let server = RedisServer::start().await;
    let old = with(&server, &["2026a"]).entries();
    for (recipe, _) in pages() {
        put(&old, &recipe).await;
    }
    let both = with(&server, &["2026b", "2026a"]).entries();
    for (recipe, request) in pages() {
        assert!(get(&both, &recipe, &request).await.is_some(), "the old key decrypts");
    }
    let [(one, request), _, (plain, _)] = pages();
    put(&both, &one.clone().says("new").fetched_at(9)).await;
    assert_eq!(get(&both, &one, &request).await.as_deref(), Some("new"));
    let new = with(&server, &["2026b"]);
    assert_eq!(get(&new.entries(), &one, &request).await.as_deref(), Some("new"));
    assert_eq!(get(&new.entries(), &plain, &nothing()).await, None);
    new.entries().flush(PATIENCE).await;
    assert_eq!(unreadable(&new, "unknown_key"), 1);
    assert_eq!(server.keys("cache:*").await, [slot(&one)], "it is deleted");
}

#[tokio::test]
async fn what_lies_in_clear_is_not_trusted_once_there_is_a_key() {
    let server = RedisServer::start().await;
    let clear = with(&server, &[]).entries();
    let url = of("http://h/a").says("forged");
    put(&clear, &url).await;
    assert_eq!(get(&clear, &url, &nothing()).await.as_deref(), Some("forged"));
    let sealed = with(&server, &["2026a"]);
    assert_eq!(get(&sealed.entries(), &url, &nothing()).await, None);
    sealed.entries().flush(PATIENCE).await;
    assert_eq!(unreadable(&sealed, "unsealed"), 1);
    assert_eq!(server.keys("cache:*").await, [""; 0]);
}

#[tokio::test]
async fn what_is_moved_to_another_key_is_a_miss_and_deleted() {
    let server = RedisServer::start().await;
    let redis = with(&server, &["2026a"]);
    let (entries, one, other) = (redis.entries(), of("http://h/a"), of("http://h/b"));
    put(&entries, &one).await;
    put(&entries, &other).await;
    let whole = |hash: Vec<Vec<u8>>| {
        let entry = hash.chunks(2).find(|pair| pair[0] != b"v").unwrap().to_vec();
        (entry[0].clone(), entry[1].clone())
    };
    let (_, stolen) = whole(raw_hash(&server, &slot(&one)).await);
    let (field, _) = whole(raw_hash(&server, &slot(&other)).await);
    set(&server, &slot(&other), &field, &stolen).await;
    assert_eq!(get(&entries, &other, &nothing()).await, None);
    // With its index and all.
    server.run(&["COPY", &slot(&one), "cache:shop:products:copy"]).await;
    server.run(&["RENAME", "cache:shop:products:copy", &slot(&other)]).await;
    assert_eq!(get(&entries, &other, &nothing()).await, None);
    entries.flush(PATIENCE).await;
    assert_eq!(unreadable(&redis, "seal"), 2);
    assert_eq!(server.keys("cache:*").await, [slot(&one)]);
    assert!(get(&entries, &one, &nothing()).await.is_some());
}

#[tokio::test]
async fn a_walk_removes_what_is_purged_among_what_is_encrypted() {
    let server = RedisServer::start().await;
    let entries = with(&server, &["2026a"]).entries();
    for (recipe, _) in pages() {
        put(&entries, &recipe).await;
    }
    let [(one, request), (other, asks), _] = pages();
    put(&entries, &other.fetched_at(10)).await;
    let is_young = |entry: &larder::entry::Entry| entry.facts.as_of >= Mark::new(10, 0);
    let walk = entries.sweeper().walk(Mark::new(10, 0), is_young).await.unwrap();
    assert_eq!(walk, Walk::Done(2));
    assert_eq!(get(&entries, &one, &request).await, None);
    assert!(get(&entries, &one, &asks).await.is_some());
}

#[tokio::test]
async fn the_disk_keeps_its_entries_encrypted_over_a_restart() {
    use larder::store::Store;
    let directory = TempDir::new().unwrap();
    let open = async |ids: &[&str]| {
        let settings = disk::Settings { seal: ring(ids), ..disk_settings(&directory) };
        Disk::open(settings, BACKGROUND.handle()).await.unwrap()
    };
    let disk = open(&["2026a"]).await;
    for (recipe, _) in pages() {
        disk.put(&recipe.place(), recipe.entry()).await.unwrap();
    }
    disk.close(PATIENCE).await;
    for file in fs::read_dir(directory.path()).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        for said in SAID {
            let found = bytes.windows(said.len()).any(|window| window == said.as_bytes());
            assert!(!found, "{said} lies there in clear");
        }
    }
    let disk = open(&["2026b", "2026a"]).await;
    for (recipe, request) in pages() {
        assert!(body(&disk, &recipe, &request).await.unwrap().is_some());
    }
    disk.close(PATIENCE).await;
    let disk = open(&["2026b"]).await;
    for (recipe, request) in pages() {
        assert_eq!(body(&disk, &recipe, &request).await.unwrap(), None);
    }
    disk.close(PATIENCE).await;
}
