//! The configuration from outside: files that are right, faults with their exact places, secrets, reloads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use larder::config::fault::Faults;
use larder::config::reload::carry_over;
use larder::config::schema::schema;
use larder::config::settings::{L2, RedisServers, Settings};
use larder::config::variables::Variables;
use larder::config::{Config, L2Override, Loaded, Overrides, load};
use larder::key::canonical::Target;
use larder::key::content::{ContentRules, Form, Writes};
use larder::key::pattern::PathPattern;
use larder::policy::{ClientDirectives, OriginLifetime, Post, Share};
use larder::route::rollout::Rollout;
use larder::route::table::Match;
use larder::route::{Caps, Coalescing, Layers, Methods, Mode, RangeFetch};
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop, prop_assert, prop_oneof, proptest,
};
use secrecy::ExposeSecret;
use serde_json::Value;

/// An environment that no test shares with another.
struct Fixed;

impl Variables for Fixed {
    fn variable(&self, name: &str) -> Option<String> {
        let value = match name {
            "SECRET" | "REDIS_PASSWORD" => "hunter2",
            "CI_TOKEN" => "hunter2-ci",
            "PURGE_TOKEN" => "hunter2-purge",
            "READ_TOKEN" => "hunter2-read",
            "REDIS_HOST" => "redis.internal",
            "SIX" => "6",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn file(&self, path: &str) -> Option<String> {
        (path == "ci.token").then(|| "hunter2-file".to_owned())
    }
}

fn try_load(text: &str) -> Result<Loaded, Faults> {
    load(Path::new("f.yaml"), text, &Fixed, &Overrides::default())
}

fn settings(text: &str) -> Settings {
    let loaded = try_load(text).unwrap_or_else(|faults| panic!("{faults}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    loaded.settings
}

/// What is wrong with a text, one line each; warnings too.
fn told(text: &str) -> Vec<String> {
    let faults = try_load(text).map_or_else(|faults| faults, |loaded| loaded.warnings);
    faults.to_string().lines().map(str::to_owned).collect()
}

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

const ORIGIN: &str = "origins: { api: { endpoints: [ http://127.0.0.1:3000 ] } }\n";

#[test]
fn every_shipped_file_has_neither_faults_nor_warnings() {
    for name in ["minimal.yaml", "example.yaml", "production.yaml", "strict.yaml"] {
        let loaded = try_load(&shipped(name)).unwrap_or_else(|faults| panic!("{name}: {faults}"));
        assert!(loaded.warnings.is_empty(), "{name}: {}", loaded.warnings);
    }
}

#[test]
fn the_example_names_every_key_of_the_schema() {
    let example = shipped("example.yaml");
    let mut keys = BTreeSet::new();
    collect_keys(&schema(), &mut keys);
    assert!(keys.len() > 60, "the schema has lost its keys");
    let missing: Vec<&String> =
        keys.iter().filter(|key| !example.contains(&format!("{key}:"))).collect();
    assert!(missing.is_empty(), "config/example.yaml says nothing of {missing:?}");
}

fn collect_keys(schema: &Value, keys: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                keys.extend(properties.keys().cloned());
            }
            map.values().for_each(|value| collect_keys(value, keys));
        }
        Value::Array(list) => list.iter().for_each(|value| collect_keys(value, keys)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn five_faults_of_five_kinds_are_all_told_with_their_places() {
    let text = "\
service: shop
origins:
  api:
    endpoints: [ http://127.0.0.1:3000 ]
    timeouts: { connect: 1 }
routes:
  - name: products
    match: { path: \"/api/products/{id}\" }
    tl: 5m
    tags: [ \"product:{name}\" ]
    cache: maybe
  - name: users
    origin: apy
";
    assert_eq!(
        told(text),
        [
            "f.yaml:5:26: `connect` takes a duration, not `1` (it has no unit); \
             write the unit too, such as 1s, 1m or 1ms",
            "f.yaml:9:5: unknown key `tl`; did you mean `ttl`?",
            "f.yaml:10:13: `product:{name}` cannot be used: `{name}` is not captured by the route's path; \
             `/api/products/{id}` captures `id`",
            "f.yaml:11:12: `cache` takes `true` or `false`, not `maybe`; write true or false",
            "f.yaml:13:13: there is no origin `apy`; did you mean `api`?",
        ]
    );
}

/// Texts behind [`ORIGIN`], whose first line is therefore line 2, and the one line that is told of them.
const FAULTS: &[(&str, &str)] = &[
    // What no schema allows.
    ("listn: 127.0.0.1:1", "2:1: unknown key `listn`; did you mean `listen`?"),
    ("ttl: 5m", "2:1: unknown key `ttl`; it stands under `defaults` and `routes[]`"),
    ("qqqq: 1", "2:1: unknown key `qqqq`; known here are `admin`, `cache_name`, `defaults`, "),
    (
        "l1: { capacity: 64 }",
        "2:17: `capacity` takes a size, not `64` (it has no unit); write the unit too",
    ),
    (
        "l1: { capacity: lots }",
        "2:17: `capacity` takes a size, not `lots`; write a number and a unit",
    ),
    ("l1: 256MiB", "2:5: `l1` takes a map, not a single value; "),
    ("l1:", "2:1: `l1` has no value; "),
    ("workers: 0", "2:10: `workers` takes a whole number, not `0`; write 1 or more"),
    ("workers: two", "2:10: `workers` takes a whole number, not `two`; "),
    ("workers: -1", "2:10: `workers` takes a whole number, not `-1`; "),
    (
        "listen: 8080",
        "2:9: `listen` takes an address with a port, not `8080`; write 127.0.0.1:8080",
    ),
    ("listen: []", "2:9: `listen` is an empty list; "),
    (
        "listen: [ 127.0.0.1:1, nowhere ]",
        "2:24: `listen[1]` takes an address with a port, not `nowhere`; ",
    ),
    ("routes: { name: a }", "2:9: `routes` takes a list, not a map; "),
    ("routes: [ a ]", "2:11: `routes[0]` takes a map, not a single value; "),
    (
        "log: { level: verbose }",
        "2:15: `level` takes `error`, `warn`, `info`, `debug` or `trace`, not `verbose`; ",
    ),
    (
        "log: { level: trase }",
        "2:15: `level` takes `error`, `warn`, `info`, `debug` or `trace`, not `trase`; did you mean `trace`?",
    ),
    ("log: { access: yes }", "2:16: `access` takes `true` or `false`, not `yes`; write true"),
    ("service: a b", "2:10: `service` takes a name, not `a b`; "),
    ("l2: redis", "2:5: `l2` takes `none`, not `redis`; write `none`"),
    ("l2: [ redis ]", "2:5: `l2` takes `none` or a map, not a list; "),
    (
        "defaults: { jitter: 0.1 }",
        "2:21: `jitter` takes a percentage, not `0.1` (it has no percent sign); write 10%",
    ),
    (
        "defaults: { jitter: 101% }",
        "2:21: `jitter` takes a percentage, not `101%` (it is out of range); write 0% to 100%",
    ),
    (
        "defaults: { early_refresh: { beta: 0 } }",
        "2:36: `beta` takes a number, not `0`; write more than 0",
    ),
    ("defaults: { early_refresh: { beta: .inf } }", "2:36: `beta` takes a number, not `.inf`; "),
    (
        "defaults: { negative: { 99: 1s } }",
        "2:25: `99` is not a status; write a number from 200 to 999",
    ),
    (
        "defaults: { negative: { 404: 30 } }",
        "2:30: `404` takes a duration, not `30` (it has no unit); ",
    ),
    (
        "defaults: { negative: { 304: 1s } }",
        "2:30: 304 answers one client's question only and is never stored; ",
    ),
    ("defaults: { vary: { normalize: { a b: [x] } } }", "2:34: `a b` is not the name of a field; "),
    (
        "defaults: { vary: { max_variants: 5000 } }",
        "2:35: `max_variants` takes a whole number, not `5000`; write 1024 or less",
    ),
    ("cache_name: \"\"", "2:13: `cache_name` takes the name of a cache, not ``; write 1 to 64 "),
    (
        "cache_name: café",
        "2:13: `cache_name` takes the name of a cache, not `café`; write 1 to 64 ",
    ),
    ("defaults: { layers: [] }", "2:21: `layers` is an empty list; "),
    ("defaults: { layers: l1 }", "2:21: `layers` takes a list or a map, not a single value; "),
    ("defaults: { layers: {} }", "2:13: `layers` names no layer; name one, as in [l1] or "),
    ("defaults: { layers: { l3: {} } }", "2:23: unknown key `l3`; "),
    ("defaults: { layers: { l1: } }", "2:23: `l1` has no value; "),
    ("defaults: { layers: { l1: { ttl: 1s } } }", "2:29: unknown key `ttl`; "),
    (
        "defaults: { layers: { l1: { max_ttl: 10 } } }",
        "2:38: `max_ttl` takes a duration, not `10` (it has no unit); write the unit too, such as 10s",
    ),
    (
        "defaults: { layers: { l1: { max_ttl: 0s } } }",
        "2:38: `max_ttl` of 0s lets nothing be fresh in l1; write a duration such as 10s, or leave l1 out",
    ),
    (
        "defaults: { layers: { l2: { max_ttl: 1h } } }",
        "2:13: `layers` names l2, and there is none; ",
    ),
    (
        "l2: { redis: { url: redis://h } }\ndefaults: { layers: { l1: { max_ttl: 2h }, l2: { max_ttl: 1h } } }",
        "3:38: warning: memory holds copies for 2h, longer than l2 lets them be fresh; write at most 1h",
    ),
    (
        "defaults: { rollout: 0.5 }",
        "2:22: `rollout` takes a percentage, not `0.5` (it has no percent sign); write 50%",
    ),
    (
        "routes: [ { name: a, cache: false, rollout: 5% } ]",
        "2:45: `rollout` says nothing where `cache: false` stores nothing; ",
    ),
    (
        "defaults: { coalesce: proces }",
        "2:23: `coalesce` takes `on`, `process`, `off`, `true` or `false`, not `proces`; did you mean `process`?",
    ),
    ("defaults: { layers: [l3] }", "2:22: `layers[0]` takes `l1` or `l2`, not `l3`; "),
    (
        "routes: [ { name: a, match: { path: api } } ]",
        "2:37: `path` takes a pattern of paths, not `api` (a path pattern begins with a slash); ",
    ),
    (
        "routes: [ { name: a, match: { host: a/b } } ]",
        "2:37: `host` takes a pattern of hosts, not `a/b`; ",
    ),
    (
        "routes: [ { name: a, match: { methods: [POST] } } ]",
        "2:41: `methods[0]` takes `GET`, `HEAD` or `QUERY`, not `POST`; ",
    ),
    (
        "routes: [ { name: a, match: { methods: [GET] }, key: { body: { limit: 1KiB } } } ]",
        "2:56: `key.body` keys no content: what `methods` lists has none; add QUERY",
    ),
    (
        "routes: [ { name: a, key: { body: { of: [POST], limit: 0KiB } } } ]",
        "2:56: `limit` is nothing, so that no content is keyed; ",
    ),
    (
        "routes: [ { name: a, key: { body: { limit: 2MiB } } } ]",
        "2:44: `limit` of 2MiB is more than each request may hold in memory; write at most 1MiB",
    ),
    (
        "routes: [ { name: a, graphql: { limit: 0B } } ]",
        "2:40: `limit` is nothing, so that no content is keyed; ",
    ),
    (
        "routes: [ { name: a, key: { body: { of: [PUT] } } } ]",
        "2:42: `of[0]` takes `POST`, not `PUT`; ",
    ),
    (
        "routes: [ { name: a, key: { body: { fields: [q] } } } ]",
        "2:37: `fields` are members of JSON, and `format` takes other content too; add format: json",
    ),
    (
        "routes: [ { name: a, graphql: { }, key: { body: { format: json } } } ]",
        "2:43: `key.body` and `graphql` both say how content is keyed; ",
    ),
    (
        "routes: [ { name: a, cache: false, key: { body: { of: [POST] } } } ]",
        "2:43: `key.body` says nothing where `cache: false` stores nothing; ",
    ),
    (
        "routes: [ { name: a, graphql: { }, keep_posts: true } ]",
        "2:48: `keep_posts` is for POST requests that write, and here they are answered by their content; ",
    ),
    (
        "routes: [ { name: a, key: { body: { of: [POST] } }, keep_posts: true } ]",
        "2:65: `keep_posts` is for POST requests that write, and here they are answered by their content; ",
    ),
    (
        "routes: [ { name: a, match: { methods: [HEAD] }, keep_posts: true } ]",
        "2:62: `keep_posts` keeps answers for GET, which `match.methods` does not list; add GET",
    ),
    (
        "routes: [ { name: a, keep_posts: true, forward: keyed } ]",
        "2:49: `keep_posts` keeps answers to requests that were sent whole, which `forward` is to keep out; remove",
    ),
    (
        "routes: [ { name: a, forward: some } ]",
        "2:31: `forward` takes `all` or `keyed`, not `some`; write one of",
    ),
    ("routes: [ { name: a, forward: [] } ]", "2:31: "),
    (
        "routes: [ { name: a, cache: false, keep_posts: true } ]",
        "2:48: `keep_posts` says nothing where `cache: false` stores nothing; ",
    ),
    (
        "routes: [ { name: a, cache: false, graphql: { } } ]",
        "2:36: `graphql` says nothing where `cache: false` stores nothing; ",
    ),
    (
        "defaults: { key: { body: { of: [POST] } } }",
        "2:28: `of` declares every POST of every route to change nothing; ",
    ),
    (
        "trusted_proxies: [ 10.0.0.0/33 ]",
        "2:20: `trusted_proxies[0]` takes a network or an address, not `10.0.0.0/33` (it has only 32 bits); ",
    ),
    ("service: ${NOBODY_SET_THIS}", "2:10: the environment has no `NOBODY_SET_THIS`; set it, "),
    ("service: ${file:nothing}", "2:10: the file `nothing` cannot be read; "),
    ("workers: ${SECRET}", "2:10: `workers` takes a whole number, not the value of `${SECRET}`; "),
    (
        "l1: { max_ttl: \"${SIX}\" }",
        "2:16: `max_ttl` takes a duration, not the value of `${SIX}`; write one such as 30s",
    ),
    ("service: a\nservice: b", "3:1: the key `service` appears twice, first in line 2; "),
    ("l1: { capacity: [ }", "2:19: this is no YAML: "),
    // What the parts do to each other.
    ("listen: [ 127.0.0.1:81, 127.0.0.1:81 ]", "2:25: `127.0.0.1:81` is listed twice; "),
    (
        "listen: 127.0.0.1:9090",
        "2:9: `127.0.0.1:9090` is both for clients and for the admin side; ",
    ),
    (
        "admin: { listen: 0.0.0.0:9090 }",
        "2:18: `0.0.0.0:9090` can be reached by others, and there is no token; ",
    ),
    ("admin: { tokens: [ { name: a, scopes: [read] } ] }", "2:20: this token has no `secret`; "),
    ("admin: { tokens: [ { secret: a, scopes: [read] } ] }", "2:20: this token has no `name`; "),
    ("admin: { tokens: [ { name: a, secret: b } ] }", "2:20: this token has no `scopes`; "),
    (
        "admin: { tokens: [ { name: a, secret: b, scopes: [write] } ] }",
        "2:51: `scopes[0]` takes `read`, `purge` or `config`, not `write`; ",
    ),
    (
        "admin: { tokens: [ { name: a, secret: x, scopes: [read] }, { name: b, secret: x, scopes: [purge] } ] }",
        "2:79: the token `a` has this secret already, so that it is not known who calls; give each its own secret",
    ),
    (
        "workers: 100000",
        "2:10: 100000 workers are more than any machine has cores for; write the number of cores, at most 4096, or",
    ),
    (
        "downstream: { cdn: { url: \"http://u:p@h/x\", body: \"{{tags}}\" } }",
        "2:27: `url` takes a URL (it holds a user or a password); write it without, and add fields: ",
    ),
    (
        "downstream: { cdn: { url: \"https://h:99999/x\", body: \"{{tags}}\" } }",
        "2:27: `url` takes a URL (its port is no number from 1 to 65535); ",
    ),
    (
        "trusted_proxies: [ 0.0.0.0/0 ]",
        "2:20: warning: `0.0.0.0/0` believes everybody about who they are; ",
    ),
    ("l1: { capacity: 0B }", "2:17: `capacity` is nothing, so that nothing is kept in memory; "),
    (
        "l1: { capacity: 1kb }",
        "2:17: `1000B` is too little for memory to keep anything in; give it at least 1MiB, better 256MiB",
    ),
    (
        "l1: { capacity: 9999TiB }",
        "2:17: `9999TiB` is more memory than any machine has; write what this one can spare, at most 1024TiB",
    ),
    (
        "l1: { capacity: 4MiB, max_object: 2MiB }",
        "2:35: `2MiB` is more than a quarter of `l1.capacity` (4MiB); write 1MiB or less",
    ),
    (
        "limits: { bodies_in_the_air: 0B }",
        "2:30: `bodies_in_the_air` is nothing, so that nothing can be stored; write a size such as 256MiB",
    ),
    (
        "limits: { bodies_in_the_air: 1MiB }",
        "2:30: warning: in 1MiB there is no room for a body of `l1.max_object` (1MiB); ",
    ),
    (
        "l2: { redis: { url: redis://h }, disk: { path: /x } }",
        "2:34: `l2` names both `redis` and `disk`; ",
    ),
    ("l2: { max_object: 1MiB }", "2:1: `l2` names no store; "),
    ("l2: { redis: { timeout: 1s } }", "2:7: `redis` has no `url`; "),
    (
        "l2: { redis: { url: h } }",
        "2:21: `url` takes the URL of a Redis server (it begins with no redis://); ",
    ),
    (
        "l2: { redis: { url: redis://h, cluster: [ redis://a ] } }",
        "2:32: `redis` names both `url` and `cluster`; keep `url` for one server, ",
    ),
    ("l2: { redis: { cluster: [ ] } }", "2:25: `cluster` is an empty list; "),
    (
        "l2: { redis: { cluster: [ redis://a:1, redis://:x@a:1 ] } }",
        "2:40: this server is listed already; ",
    ),
    (
        "l2: { redis: { cluster: [ redis://a, rediss://b ] } }",
        "2:38: some of these are reached by TLS and some are not; ",
    ),
    (
        "l2: { redis: { cluster: [ redis://a/1 ] } }",
        "2:27: this URL names a database, and there is none here; ",
    ),
    (
        "l2: { redis: { sentinel: { urls: [ redis://a ] } } }",
        "2:16: `sentinel` names no `master`; add what the sentinels call it, ",
    ),
    (
        "l2: { redis: { sentinel: { master: m } } }",
        "2:16: `sentinel` names no sentinel; add urls: [ redis://HOST:26379 ]",
    ),
    (
        "l2: { redis: { sentinel: { master: m, urls: [ redis://a ], username: u } } }",
        "2:70: there is a `username` and no `password`; ",
    ),
    (
        "l2: { redis: { url: redis://h, read_from_replicas: true } }",
        "2:52: `read_from_replicas` wants replicas, and one server has none; ",
    ),
    (
        "l2: { redis: { url: redis://h, tls: {} } }",
        "2:32: `tls` is for servers that are reached by TLS; write rediss:// ",
    ),
    (
        "l2: { redis: { url: rediss://h, tls: { certificate: /x } } }",
        "2:33: this certificate has no `key`; add key: FILE",
    ),
    (
        "l2: { redis: { url: rediss://h, tls: { ca: /x } } }",
        "2:44: /x: it cannot be read: there is none; name a file that Larder may read",
    ),
    ("l2: { disk: { capacity: 1GiB } }", "2:7: `disk` has no `path`; "),
    (
        "l2: { disk: { path: /x, capacity: 1MiB } }",
        "2:35: `1MiB` is too little for the disk store; ",
    ),
    ("l2: { disk: { path: /x }, encrypt: { keys: [] } }", "2:44: `keys` is an empty list; "),
    ("l2: { disk: { path: /x }, encrypt: {} }", "2:27: `encrypt` has no key; add keys: "),
    (
        "l2: { disk: { path: /x }, encrypt: { keys: [ { id: a, secret: hunter2 } ] } }",
        "2:63: `secret` takes a key of 32 bytes (it is not 32 bytes in hexadecimal or base64); make one with `openssl rand",
    ),
    (
        "l2: { disk: { path: /x }, encrypt: { keys: [ { secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY= } ] } }",
        "2:46: this key has no `id`; ",
    ),
    (
        "l2: { disk: { path: /x }, encrypt: { keys: [ { id: a, secret: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= } ] } }",
        "2:63: `secret` takes a key of 32 bytes (its bytes repeat, so that it is not random); ",
    ),
    ("l2: { disk: { path: /x }, compress: { level: 10 } }", "2:46: `level` takes "),
    (
        "l2: { redis: { url: redis://h } }\nroutes: [ { name: a, key: { headers: [Authorization] } } ]",
        "3:22: `Authorization` tells persons apart, and `l2` keeps what is theirs unsealed; add `l2.encrypt`; or ",
    ),
    (
        "l2: { disk: { path: /x } }\ndefaults: { key: { cookies: [session] } }",
        "3:13: `session` tells persons apart, and `l2` keeps what is theirs unsealed; ",
    ),
    (
        "routes: [ { name: a, key: { cookies: [session] } } ]",
        "2:22: warning: `session` tells persons apart, and what is personal is not kept in memory unless it is said; ",
    ),
    ("purge: { lease: 1ms }", "2:17: a lease of 1ms ends before the log can be heard; "),
    ("limits: { header_timeout: 0s }", "2:27: `header_timeout` of 0s lets nothing succeed; "),
    ("limits: { rate: { per: 0s } }", "2:24: `per` of 0s lets nothing succeed; "),
    (
        "limits: { rate: { requests: 4294967295, per: 1s } }",
        "2:29: 4294967295 requests in 1s are more than can be counted; ",
    ),
    (
        "limits: { rate: { requests: 1, per: 2d } }",
        "2:37: a client that has used it up waits for more than a day to have all of it again; ",
    ),
    (
        "routes: [ { name: a, rate: { requests: 1, per: 1h, burst: 25 } } ]",
        "2:59: a client that has used it up waits for more than a day to have all of it again; ",
    ),
    (
        "routes: [ { name: a, rate: { by: cookie } } ]",
        "2:34: `by` takes what tells clients apart, not `cookie`; write address, authorization, or header:NAME",
    ),
    ("limits: { header_bytes: 1B }", "2:25: `header_bytes` of 1B is out of range; "),
    ("routes: [ { match: { path: /a } } ]", "2:11: this route has no `name`; "),
    (
        "routes: [ { name: a, match: { path: /a } }, { name: a } ]",
        "2:53: there is a route `a` already; ",
    ),
    (
        "routes: [ { name: last-resort } ]",
        "2:19: `last-resort` is the name of what no route matches; ",
    ),
    (
        "routes: [ { name: none } ]",
        "2:19: `none` is the name of what is refused before it comes to a route; take another",
    ),
    (
        "routes: [ { name: a, match: { path: /a/** } }, { name: b, match: { path: \"/a/{x}\" } } ]",
        "2:74: `a` takes everything before `b` is asked; ",
    ),
    ("routes: [ { name: a }, { name: b } ]", "2:24: `a` takes everything before `b` is asked; "),
    (
        "routes: [ { name: a, cache: false, ttl: 5m } ]",
        "2:41: `ttl` says nothing where `cache: false` stores nothing; ",
    ),
    (
        "defaults: { respect_origin: false }",
        "2:29: `respect_origin: false` puts `ttl` in the place of lifetimes, and there is none; ",
    ),
    (
        "defaults: { refresh_ahead: 100% }",
        "2:28: `refresh_ahead` of 100% fetches on every request; ",
    ),
    ("defaults: { layers: [l1, l2] }", "2:13: `layers` names l2, and there is none; "),
    (
        "defaults: { share: [private] }",
        "2:13: warning: `private` answers are shared between all clients; ",
    ),
    (
        "defaults: { tags: [ \"a:{id}\" ] }",
        "2:21: `a:{id}` cannot be used: `{id}` is not captured by the route's path; `/**` captures nothing",
    ),
    (
        "defaults: { tags: [ \"json:id\" ] }",
        "2:21: `json:id` cannot be used: a path into JSON is `$` with ",
    ),
    (
        "defaults: { on_write: { purge: [ products ] } }",
        "2:34: `products` cannot be used: `products` is not known here; ",
    ),
    (
        "routes: [ { name: a, match: { path: \"/a/{id}\" }, on_write: { purge: [ \"prefix:/a/{id}\" ] } } ]",
        "2:71: `prefix:/a/{id}` cannot be used: a prefix holds no captures; ",
    ),
    (
        "routes: [ { name: a, on_write: { purge: [ \"route:b\" ] } } ]",
        "2:43: there is no route `b`; ",
    ),
    ("defaults: { origin: apis }", "2:21: there is no origin `apis`; did you mean `api`?"),
    (
        "defaults: { origin: \"${SECRET}\" }",
        "2:21: there is no origin `${SECRET}`; there are `api`",
    ),
];

#[test]
fn every_kind_of_fault_is_told_once_at_its_place() {
    for (text, expected) in FAULTS {
        let lines = told(&format!("{ORIGIN}{text}\n"));
        let expected = format!("f.yaml:{expected}");
        assert!(
            lines.len() == 1 && lines[0].starts_with(&expected),
            "{text}\nexpected {expected}\n     got {}",
            lines.join("\n         ")
        );
    }
}

#[test]
fn faults_of_origins_are_told_at_their_places() {
    let rows = [
        ("", "1:1: there is no origin; name one: "),
        ("origins: {}", "1:1: there is no origin; "),
        (
            "orgins: { a: { endpoints: [ http://h ] } }",
            "1:1: unknown key `orgins`; did you mean `origins`?",
        ),
        (
            "origins: { a: { max_connections: 1 } }",
            "1:12: the origin `a` has no endpoint; add endpoints",
        ),
        ("origins: { a: { endpoints: [] } }", "1:28: `endpoints` is an empty list; "),
        (
            "origins: { a: { endpoints: [ api:80 ] } }",
            "1:30: `endpoints[0]` takes the URL of an origin, not `api:80` (it has no scheme); write http://api:80",
        ),
        (
            "origins: { a: { endpoints: [ http://h/v1 ] } }",
            "1:30: `endpoints[0]` takes the URL of an origin, not `http://h/v1` (it has a path); ",
        ),
        (
            "origins: { a: { endpoints: [ \"http://127.0.0.1:99999\" ] } }",
            "1:30: `endpoints[0]` takes the URL of an origin, not `http://127.0.0.1:99999` (its port is no number from 1 to 65535); write a scheme, ",
        ),
        (
            "origins: { a: { endpoints: [ \"http://127.0.0.1:13000x\" ] } }",
            "1:30: `endpoints[0]` takes the URL of an origin, not `http://127.0.0.1:13000x` (its port is no number ",
        ),
        (
            "origins: { a: { endpoints: [ http://h ], host: \"api.internal:99999\" } }",
            "1:48: `host` takes `preserve` or a host, not `api.internal:99999` (its port is no number from 1 to 65535); write `preserve`, or ",
        ),
        (
            "origins: { a: { endpoints: [ \"http://u:p@h\" ] } }",
            "1:30: `endpoints[0]` takes the URL of an origin, not `http://***@h` (it holds a user or a password); ",
        ),
        (
            "origins: { a: { endpoints: [ ftp://h ] } }",
            "1:30: `endpoints[0]` takes the URL of an origin, not `ftp://h` (its scheme is neither http nor https); ",
        ),
        (
            "origins: { a: { endpoints: [ http://h, http://h ] } }",
            "1:40: `http://h` is listed twice; ",
        ),
        ("origins: { a b: { endpoints: [ http://h ] } }", "1:12: `a b` is not a name; "),
        (
            "origins: { a: { endpoints: [ http://h ], timeouts: { idle: 0s } } }",
            "1:60: `idle` of 0s lets nothing succeed; ",
        ),
        (
            "origins: { a: { endpoints: [ http://h ] }, b: { endpoints: [ http://i ] } }",
            "1:1: this route names no `origin`, and there are several; add one of `a` and `b`",
        ),
        (
            "origins: { a: { endpoints: [ http://h ] }, b: { endpoints: [ http://i ] } }\nroutes: [ { name: x, match: { path: /x }, origin: b } ]",
            "2:1: warning: what no route matches passes to the origin `a`, the first by name; ",
        ),
    ];
    for (text, expected) in rows {
        let lines = told(text);
        let expected = format!("f.yaml:{expected}");
        assert!(
            lines.len() == 1 && lines[0].starts_with(&expected),
            "{text}\nexpected {expected}\n     got {lines:#?}"
        );
    }
}

#[test]
fn answers_to_posts_are_kept_where_the_route_or_the_defaults_say_so_and_no_route_vouches() {
    let settings = settings(
        "defaults: { keep_posts: true }\n\
         origins: { api: { endpoints: [ \"http://h\" ] } }\n\
         routes:\n  \
           - { name: a, match: { path: /a } }\n  \
           - { name: b, match: { path: /b }, keep_posts: false }\n  \
           - { name: c, match: { path: /c }, graphql: { } }\n  \
           - { name: d, match: { path: /d }, cache: false }\n",
    );
    let posts: Vec<Post> = settings.routes.iter().map(|route| route.policy.post).collect();
    assert_eq!(posts, [Post::Answering, Post::Unsafe, Post::Vouched, Post::Unsafe]);
}

#[test]
fn what_is_written_is_what_is_meant() {
    let settings = settings(&shipped("example.yaml").replace("10.0.0.1", "h"));
    assert_eq!(&*settings.service, "shop");
    assert_eq!(settings.workers, 2);
    assert_eq!(settings.listen[0].address, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(settings.origins[0].endpoints[0].to_string(), "http://h:3000");
    assert!((settings.origins[0].retry_budget - 0.1).abs() < 1e-9);
    let L2::Redis(redis) = &settings.l2 else { panic!("{:?}", settings.l2) };
    assert_eq!(redis.timeout, Duration::from_millis(50));
    assert_eq!(redis.max_object, 100 << 10);
    let [route, search, graphql] = settings.routes.as_slice() else { panic!("three routes") };
    assert_eq!((search.policy.post, route.policy.post), (Post::Vouched, Post::Unsafe));
    let members = Some(vec!["query".to_owned(), "page".to_owned()]);
    assert_eq!(search.key.content, ContentRules { form: Form::Json { members }, limit: 64 << 10 });
    let writes = Writes::Invalidate;
    assert_eq!(
        graphql.key.content,
        ContentRules { form: Form::GraphQl { writes }, limit: 64 << 10 }
    );
    assert_eq!((graphql.policy.post, graphql.methods), (Post::Vouched, Methods::default()));
    assert_eq!(route.id.as_str(), "product");
    assert_eq!(&*route.origin, "api");
    assert_eq!((route.mode, route.methods), (Mode::Cache, Methods::default()));
    assert_eq!(route.layers, Layers::Both);
    let cap = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(route.caps, Caps { l1: cap(10), l2: cap(3600) });
    assert_eq!((route.rollout, route.coalescing), (Rollout::ALL, Coalescing::Fleet));
    assert_eq!(route.policy.ttl, Some(Duration::from_mins(5)));
    assert_eq!(route.policy.stale_if_error, Some(Duration::from_hours(1)));
    assert_eq!(route.policy.refresh_ahead, Some(0.2));
    assert_eq!(route.policy.negative.len(), 2);
    assert_eq!(route.key.query.allow.as_ref().unwrap(), &["page", "sort"]);
    assert_eq!(route.vary.normalize[1].1, ["en", "de"]);
    assert_eq!(route.on_write.len(), 2);
    let path = "/api/products/7";
    assert!(route.matches.is_match("www.shop.example", path));
    let tags = route.tags.tags(path, &route.matches.path, &http::HeaderMap::new()).unwrap();
    assert_eq!(tags[0].as_str(), "product:7");
}

#[test]
fn routes_take_from_the_defaults_what_they_do_not_say() {
    let text = format!(
        "{ORIGIN}defaults: {{ ttl: 1m, stale_if_error: 1h, share: [set-cookie], respect_origin: false }}
routes:
  - {{ name: a, match: {{ path: /a }}, ttl: 2m, share: [], ranges: as_asked, coalesce: process, rollout: 5%, layers: {{ l1: {{}} }} }}
  - {{ name: b, match: {{ path: /b, methods: [GET] }}, cache: false, client_directives: ignore }}
"
    );
    let settings = settings(&text);
    let [a, b] = settings.routes.as_slice() else { panic!("{:?}", settings.routes) };
    assert_eq!(a.policy.ttl, Some(Duration::from_mins(2)));
    assert_eq!(a.policy.origin_lifetime, OriginLifetime::Replaced);
    assert_eq!(a.policy.share, []);
    assert_eq!(b.policy.ttl, None);
    assert_eq!(b.policy.share, [Share::SetCookie]);
    assert_eq!(b.policy.client_directives, ClientDirectives::Ignored);
    let only_get = Methods { get: true, head: false, query: false };
    assert_eq!((b.mode, b.methods), (Mode::Pass, only_get));
    assert_eq!((a.coalescing, a.rollout), (Coalescing::Process, Rollout::of(0.05)));
    assert_eq!((a.layers, a.caps), (Layers::OnlyL1, Caps::default()));
    assert_eq!((a.ranges, b.ranges), (RangeFetch::AsAsked, RangeFetch::Whole));
    assert_eq!((settings.last_resort.mode, &*settings.last_resort.origin), (Mode::Pass, "api"));
}

#[test]
fn one_origin_without_routes_gets_everything_under_the_route_default() {
    let settings = settings(ORIGIN);
    let [route] = settings.routes.as_slice() else { panic!("{:?}", settings.routes) };
    assert_eq!(route.id.as_str(), "default");
    assert_eq!(route.matches, Match { path: PathPattern::every(), hosts: Vec::new() });
    assert!(matches!(settings.l2, L2::None));
    assert_eq!(route.layers, Layers::OnlyL1);
    assert!(
        Target::parse("http://h/any")
            .is_ok_and(|url| route.matches.is_match(url.host_str(), url.path()))
    );
}

#[test]
fn the_strict_file_sets_no_lifetime_and_keeps_what_http_lets_it() {
    let settings = settings(&shipped("strict.yaml"));
    let policy = &settings.routes[0].policy;
    assert_eq!((policy.ttl, policy.stale_while_revalidate), (None, None));
    assert_eq!(policy.stale_if_error, Some(Duration::from_hours(24)));
    assert_eq!(policy.share, [Share::SetCookie]);
    assert_eq!(policy.client_directives, ClientDirectives::Honoured);
    assert!(!policy.heuristic_cap.is_zero());
    assert_eq!(settings.origins[0].endpoints[0].to_string(), "http://127.0.0.1:8000");
    assert!(matches!(settings.l2, L2::None));
}

#[test]
fn tokens_that_are_hidden_in_a_printed_configuration_are_not_taken_for_one() {
    let token = |name: &str| format!("{{ name: {name}, secret: \"***\", scopes: [read] }}");
    let text = format!("{ORIGIN}admin: {{ tokens: [ {}, {} ] }}\n", token("a"), token("b"));
    assert_eq!(settings(&text).admin.tokens.len(), 2);
}

const SECRETS: &str = "\
origins: { api: { endpoints: [ http://127.0.0.1:3000 ] } }
admin: { tokens: [ { name: a, secret: \"${SECRET}\", scopes: [read] }, { name: b, secret: hunter2-b, scopes: [read] },
  { name: c, secret: \"${file:ci.token}\", scopes: [read] } ] }
l2: { redis: { url: \"redis://:${SECRET}@h:6379/0\" } }
";

#[test]
fn secrets_are_nowhere_to_be_seen() {
    let loaded = try_load(SECRETS).unwrap();
    let settings = &loaded.settings;
    let is_secret = |text: &str| text.starts_with("hunter2");
    assert!(settings.admin.tokens.iter().all(|token| is_secret(token.secret.expose_secret())));
    let shown = format!("{loaded:?} {settings:#?} {} {}", settings.print(), settings.to_json());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(settings.print().contains("redis://***@h:6379/0"), "{}", settings.print());
}

#[test]
fn secrets_are_not_in_faults_either() {
    let rows = [
        "admin: { tokens: [ { name: a, secret: \"hunter2 hunter2\", scopes: [read] } ] }",
        "admin: { tokens: [ { name: a, secret: [ hunter2 ], scopes: [read] } ] }",
        "l2: { redis: { url: \"redis://:hunter2@\" } }",
        "l2: { redis: { url: \"http://:hunter2@h\" } }",
        "l2: { redis: { url: \"redis://:${SECRET}@h/x\" } }",
        "defaults: { tags: [ \"${SECRET} x\" ] }",
        "defaults: { on_write: { purge: [ \"${SECRET}\" ] } }",
        "routes: [ { name: a, match: { path: \"${SECRET}\" } } ]",
        "listen: ${SECRET}",
        "log: { level: \"${SECRET}\" }",
        "origins: { api: { endpoints: [ \"http://:hunter2@h\" ] } }",
        "origins: { api: { endpoints: [ \"user:hunter2@h\" ] } }",
        "origins: { api: { endpoints: [ http://h ], host: \"user:hunter2@h\" } }",
        "downstream: { cdn: { url: \"http://user:hunter2@h/x\", body: \"{{tags}}\" } }",
        "downstream: { cdn: { url: \"http://h:hunter2/x\", body: \"{{tags}}\" } }",
        "admin: { tokens: [ { name: a, secret: hunter2, scopes: [read] }, { name: b, secret: \"${SECRET}\", scopes: [purge] } ] }",
    ];
    for text in rows {
        let text =
            if text.starts_with("origins") { text.to_owned() } else { format!("{ORIGIN}{text}") };
        let faults = try_load(&text).expect_err(&text);
        let shown = format!("{faults} {faults:?}");
        assert!(!shown.contains("hunter2"), "{text}: {shown}");
    }
}

#[test]
fn the_printed_configuration_says_the_same_when_it_is_read_again() {
    for name in ["minimal.yaml", "example.yaml", "production.yaml", "strict.yaml"] {
        let settings = settings(&shipped(name));
        let printed = settings.print();
        // What is hidden is no key; and no two tokens may have one secret.
        let quoted = printed.replace("secret: \"***\"", "secret: '***'");
        let mut pieces = quoted.split("secret: '***'");
        let first = pieces.next().unwrap_or_default().to_owned();
        let readable = pieces.zip('A'..).fold(first, |before, (piece, letter)| {
            format!("{before}secret: {letter}DEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY={piece}")
        });
        let again =
            try_load(&readable).unwrap_or_else(|faults| panic!("{name}: {faults}\n{printed}"));
        // Tokens are hidden there, and their digests are of what hides them.
        let routes = |settings: &Settings| format!("{:?}", settings.routes);
        assert_eq!(routes(&again.settings), routes(&settings), "{name}");
        assert_eq!(again.settings.print(), printed, "{name}");
    }
}

#[test]
fn the_command_line_wins_over_the_file() {
    let text =
        format!("{ORIGIN}l2: {{ redis: {{ url: redis://h, timeout: 20ms }}, max_object: 1MiB }}\n");
    let with = |l2: L2Override| {
        let listen = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
        let admin = Some("127.0.0.1:0".parse().unwrap());
        let overrides = Overrides { listen, admin, l2, ..Overrides::default() };
        load(Path::new("f.yaml"), &text, &Fixed, &overrides).unwrap().settings
    };
    let settings = with(L2Override::None);
    assert_eq!(settings.listen.len(), 2);
    assert_eq!(settings.admin.listen.port(), 0);
    assert!(matches!(settings.l2, L2::None));
    let L2::Redis(redis) = with(L2Override::Redis("redis://other".parse().unwrap())).l2 else {
        panic!("not Redis")
    };
    let RedisServers::Single(url) = redis.servers else { panic!("not one server") };
    assert_eq!(url.expose_secret(), "redis://other");
    assert_eq!((redis.timeout, redis.max_object), (Duration::from_millis(20), 1 << 20));
    let L2::Disk(disk) = with(L2Override::Disk(PathBuf::from("/x"))).l2 else { panic!("not disk") };
    assert_eq!((disk.path, disk.max_object), (PathBuf::from("/x"), 1 << 20));
}

#[test]
fn an_origin_alone_is_a_configuration() {
    let config = Config::Origin("http://localhost:3000".parse().unwrap());
    let overrides = Overrides { l2: L2Override::None, ..Overrides::default() };
    let settings = config.load(&overrides).unwrap().settings;
    assert_eq!(settings.routes[0].id.as_str(), "default");
    assert_eq!(settings.listen[0].address, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(settings.admin.listen, "127.0.0.1:9090".parse().unwrap());
}

#[test]
fn files_that_cannot_be_read_are_told_in_one_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("larder.yaml");
    let told = || {
        let faults = Config::File(path.clone()).load(&Overrides::default()).unwrap_err();
        faults.to_string().replace(&*path.to_string_lossy(), "F")
    };
    assert_eq!(
        told(),
        "F:1:1: the file cannot be read: there is none; name a YAML file that can be read"
    );
    std::fs::write(&path, b"a: 1\nb: \xff\n").unwrap();
    assert_eq!(told(), "F:2:4: this is no UTF-8; save the file as UTF-8");
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(told().contains("larger than 1MiB"));
}

#[test]
fn a_reload_keeps_what_only_a_start_can_change_and_says_so() {
    let old = settings(&format!("{ORIGIN}log: {{ level: info }}\nl1: {{ capacity: 64MiB }}\n"));
    let new = settings(
        "
service: other
cache_name: other
listen: 127.0.0.1:81
origins: { api: { endpoints: [ http://127.0.0.1:4000 ] } }
l1: { capacity: 128MiB }
l2: { redis: { url: redis://h } }
log: { level: debug }
routes: [ { name: a, ttl: 1m } ]
admin: { tokens: [ { name: t, secret: \"${SECRET}\", scopes: [read] } ] }
",
    );
    let (carried, waiting) = carry_over(&old, &new);
    assert_eq!(waiting, ["service", "cache_name", "listen", "l1", "l2"]);
    let runbook = include_str!("../docs/operations.md").split("**A reload**").nth(1).unwrap();
    let told = runbook.split("\n\n").next().unwrap();
    assert!(waiting.iter().all(|key| told.contains(&format!("`{key}`"))), "{told}");
    assert_eq!((&*carried.service, carried.l1.capacity), ("default", 64 << 20));
    assert_eq!(carried.listen, old.listen);
    assert!(matches!(carried.l2, L2::None));
    assert_eq!(carried.routes[0].id.as_str(), "a");
    assert_eq!(carried.origins[0].endpoints[0].to_string(), "http://127.0.0.1:4000");
    assert_eq!(carried.log.level.as_str(), "debug");
    assert_eq!(carried.admin.tokens.len(), 1);
    assert!(carried.print().contains("service: default"), "{}", carried.print());
    assert!(carry_over(&old, &old).1.is_empty());
}

#[test]
fn another_password_alone_is_a_change_that_waits() {
    let with = |password: &str| {
        settings(&format!("{ORIGIN}l2: {{ redis: {{ url: \"redis://:{password}@h\" }} }}\n"))
    };
    assert_eq!(carry_over(&with("one"), &with("two")).1, ["l2"]);
    let with = |password: &str| {
        let sentinel = format!("{{ master: m, urls: [ redis://h ], password: {password} }}");
        settings(&format!("{ORIGIN}l2: {{ redis: {{ sentinel: {sentinel} }} }}\n"))
    };
    let (one, two) = (with("one"), with("two"));
    assert_eq!(carry_over(&one, &two).1, ["l2"]);
    assert!(carry_over(&one, &with("one")).1.is_empty());
    assert!(!format!("{} {one:?}", one.print()).contains("password: one"), "{}", one.print());
}

#[test]
fn what_tells_persons_apart_is_kept_in_l2_alone_and_sealed_unless_the_file_says_otherwise() {
    let key =
        "encrypt: { keys: [ { id: a, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY= } ] }";
    let layers = |l2: &str, route: &str| {
        let text = format!(
            "{ORIGIN}l2: {{ redis: {{ url: redis://h }}, {l2} }}\nroutes: [ {{ name: a, {route} }} ]\n"
        );
        settings(&text).routes[0].layers
    };
    assert_eq!(layers(key, "key: { cookies: [session] }"), Layers::OnlyL2);
    assert_eq!(layers(key, "key: { headers: [authorization] }"), Layers::OnlyL2);
    assert_eq!(layers(key, "key: { personal: true }"), Layers::OnlyL2);
    assert_eq!(layers(key, "key: { headers: [Accept-Language] }"), Layers::Both);
    assert_eq!(layers(key, "key: { cookies: [currency], personal: false }"), Layers::Both);
    assert_eq!(layers(key, "key: { cookies: [session] }, layers: [l1, l2]"), Layers::Both);
    let clear = "personal_in_clear: true";
    assert_eq!(layers(clear, "key: { cookies: [session] }"), Layers::OnlyL2);
    assert_eq!(layers("", "key: { cookies: [session] }, layers: [l1]"), Layers::OnlyL1);
}

#[test]
fn another_key_alone_is_a_change_that_waits() {
    let with = |secret: &str| {
        let key = format!("{{ id: a, secret: {secret} }}");
        settings(&format!(
            "{ORIGIN}l2: {{ disk: {{ path: /x }}, encrypt: {{ keys: [ {key} ] }} }}\n"
        ))
    };
    let one = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let other = "303132333435363738396162636465663031323334353637383961626364656e";
    assert_eq!(carry_over(&with(one), &with(other)).1, ["l2"]);
    assert!(carry_over(&with(one), &with(one)).1.is_empty());
    let shown = format!("{:?} {} {}", with(other), with(other).print(), with(other).to_json());
    assert!(!shown.contains("3031"), "{shown}");
}

#[test]
fn redis_is_one_server_a_cluster_or_behind_sentinel() {
    let servers = |redis: &str| {
        let settings = settings(&format!("{ORIGIN}l2: {{ redis: {{ {redis} }} }}\n"));
        let L2::Redis(redis) = settings.l2 else { panic!("not Redis") };
        redis
    };
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["redis".to_owned()]).unwrap();
    let file = |name: &str, text: String| {
        let file = directory.path().join(name).display().to_string();
        std::fs::write(&file, text).unwrap();
        file
    };
    let certificate = file("c.pem", made.cert.pem());
    let key = file("c.key", made.signing_key.serialize_pem());
    let cluster = servers(&format!(
        "cluster: [ rediss://:x@a, rediss://b:7 ], read_from_replicas: true, \
         tls: {{ ca: \"{certificate}\", certificate: \"{certificate}\", key: \"{key}\" }}",
    ));
    assert!(cluster.read_from_replicas);
    assert_eq!(cluster.tls.authority, Some(certificate.clone().into()));
    assert_eq!(cluster.tls.client, Some((certificate.into(), key.into())));
    let RedisServers::Cluster(urls) = cluster.servers else { panic!("no Cluster") };
    assert_eq!(urls[1].expose_secret(), "rediss://b:7");
    let watched = servers(
        "sentinel: { master: m, urls: [ redis://:s@a ], username: u, password: hunter2, database: 3 }",
    );
    let RedisServers::Sentinel(sentinel) = watched.servers else { panic!("no Sentinel") };
    assert_eq!((&*sentinel.master, sentinel.urls.len(), sentinel.database), ("m", 1, 3));
    assert_eq!(sentinel.username.as_deref(), Some("u"));
    assert_eq!(sentinel.password.unwrap().expose_secret(), "hunter2");
}

/// Pieces that configurations are made of, put together at random.
fn scribble() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "origins",
        "api",
        "endpoints",
        "routes",
        "name",
        "match",
        "path",
        "ttl",
        "l1",
        "l2",
        "redis",
        "url",
        "key",
        "tags",
        "- ",
        ": ",
        ":\n  ",
        "\n",
        "\n  ",
        "\n    ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "\"",
        "'",
        "&a ",
        "*a",
        "<<: ",
        "!!str ",
        "? ",
        "| ",
        "> ",
        "---\n",
        "...\n",
        "# ",
        "${",
        "${SECRET}",
        "}",
        "/a/{id}/**",
        "{id}",
        "5m",
        "30",
        "20%",
        "1e999",
        "-1",
        "http://h:1",
        "\t",
        "\u{feff}",
        "ä",
        "\u{0}",
        "\r\n",
        "%YAML 1.2\n",
        "null",
        "~",
        "none",
    ]);
    prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_reader_panic_or_show_a_secret(
        text in prop_oneof![scribble(), scribble().prop_map(|text| format!("{ORIGIN}{text}")), any::<String>()],
    ) {
        match try_load(&text) {
            Ok(_) => {}
            Err(faults) => {
                let shown = faults.to_string();
                prop_assert!(!shown.contains("hunter2"), "{shown}");
                prop_assert!(!shown.contains("cannot be read"), "schema and types differ: {shown}");
                prop_assert!(shown.lines().count() == faults.len(), "a fault of several lines: {shown}");
            }
        }
    }

    #[test]
    fn a_good_file_with_one_line_changed_never_panics(
        line in any::<prop::sample::Index>(),
        change in prop_oneof![Just(String::new()), scribble(), "[ -~]{0,20}"],
    ) {
        let example = shipped("example.yaml");
        let mut lines: Vec<&str> = example.lines().collect();
        let index = line.index(lines.len());
        lines[index] = &change;
        if let Err(faults) = try_load(&lines.join("\n")) {
            prop_assert!(!faults.to_string().contains("schema and cannot be read"), "{faults}");
        }
    }
}

#[test]
fn faults_of_what_purges_are_told_with_their_places() {
    let text = format!(
        "{ORIGIN}admin: {{ tokens: [ {{ name: eye, secret: s, scopes: [read] }} ] }}
intake: {{ stream: a }}
events:
  user.updated: {{ purge: [ \"tag:user {{id}}\", \"/a/../b\", \"rote:x\", \"route:nowhere\" ] }}
  nothing: {{}}
  \"b d\": {{ purge: [ everything ] }}
depends:
  \"tag:a:{{id}}\": [ \"tag:b:{{ident}}\", \"prefix:/x/{{id}}\" ]
  \"users\": [ \"tag:x\" ]
  \"tag:grow{{x}}\": [ \"tag:growx{{x}}\" ]
hooks:
  shop: {{ event: \"a.{{b\" }}
downstream:
  cdn: {{ method: \"P(\", body: '{{{{tag}}}}' }}
  mute: {{ url: http://cdn.example/ }}
routes:
  - name: default
    purge_method: {{ from: [ 0.0.0.0/0 ], tokens: [ eye, ci ] }}
  "
    );
    let told = told(&text);
    let expected = [
        "there is no Redis that the stream could be on",
        "`tag:user {id}` cannot be used: a tag holds no white space and no comma",
        "`/a/../b` cannot be used: a path holds no white space",
        "`rote:x` cannot be used: `rote:x` is not known here",
        "there is no route `nowhere`",
        "the event `nothing` purges nothing",
        "`b d` is not the name of an event",
        "`tag:b:{ident}` cannot be used: `{ident}` names no value; the left captures `id`",
        "`prefix:/x/{id}` cannot be used: a prefix holds no captures",
        "`users` cannot be used: `users` is not known here",
        "this cannot be followed: what depends on it goes on for more than 16 steps",
        "this hook has no `secret`",
        "`a.{b` cannot be used",
        "it is not said where purges are told",
        "`P(` is no method",
        "this cannot be filled: `{{tag}}` is not known here",
        "nothing says what is purged",
        "`0.0.0.0/0` lets everybody purge",
        "the token `eye` has not the scope `purge`",
        "there is no token `ci`",
    ];
    for expected in expected {
        assert!(told.iter().any(|line| line.contains(expected)), "{expected}: {told:#?}");
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
}
