//! Every path of the admin API, in one table: the router, the guard and the `OpenAPI` document read it.

use http::Method;
use serde_json::{Map, Value, json};

use crate::admin::auth::Permission;

/// One method on one path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoint {
    pub(crate) method: Verb,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) does: Does,
    pub(crate) summary: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
}

/// Who may call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody who reaches the listener.
    Open,
    Needs(Permission),
    /// Whoever knows the secret that the request is signed with.
    Signed,
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    Page,
    Live,
    Ready,
    Metrics,
    Purge,
    Receipt,
    Events,
    Event,
    Hook,
    Audit,
    Instances,
    Reload,
    Layers,
    Turn,
    Tripwires,
    Reset,
    Config,
    Stats,
    OpenApi,
}

const READ: Access = Access::Needs(Permission::Read);
const PURGE: Access = Access::Needs(Permission::Purge);
const CONFIG: Access = Access::Needs(Permission::Config);

pub(crate) const ENDPOINTS: [Endpoint; 19] = [
    get("/", Access::Open, Does::Page, "A page for people"),
    get("/live", Access::Open, Does::Live, "Whether the process answers at all"),
    get(
        "/ready",
        Access::Open,
        Does::Ready,
        "Whether requests are wanted: 200, or 503 with the reason",
    ),
    get("/metrics", READ, Does::Metrics, "All metrics, as OpenMetrics text"),
    post(
        "/admin/purges",
        PURGE,
        Does::Purge,
        "Purges URLs, tags, prefixes, globs, hosts, routes or everything; or tells what would go",
    ),
    get("/admin/purges/{mark}", READ, Does::Receipt, "Which instances have applied a purge"),
    get("/admin/events", READ, Does::Events, "The names of the events that purge something"),
    post("/admin/events", PURGE, Does::Event, "Purges what an event says"),
    post("/admin/hooks/{name}", Access::Signed, Does::Hook, "Purges what a signed webhook says"),
    get("/admin/audit", READ, Does::Audit, "The latest purges: who, what, when and why"),
    get("/admin/instances", READ, Does::Instances, "The live instances of the fleet"),
    post("/admin/config/reload", CONFIG, Does::Reload, "Loads the configuration file again"),
    get("/admin/layers", READ, Does::Layers, "Which layers are on, on the instance that is asked"),
    post("/admin/layers", CONFIG, Does::Turn, "Turns layers of this instance on or off, at once"),
    get(
        "/admin/tripwire",
        READ,
        Does::Tripwires,
        "Which routes of this instance share no more, because their answers differ by identity",
    ),
    post(
        "/admin/tripwire",
        CONFIG,
        Does::Reset,
        "Has routes of this instance share again after their tripwire has sprung",
    ),
    get("/admin/config", READ, Does::Config, "The configuration in force, secrets hidden, as YAML"),
    get("/admin/cache/stats", READ, Does::Stats, "Hits, misses, errors and sizes since the start"),
    get("/admin/openapi.json", Access::Open, Does::OpenApi, "This document"),
];

const fn get(path: &'static str, access: Access, does: Does, summary: &'static str) -> Endpoint {
    Endpoint { method: Verb::Get, path, access, does, summary }
}

const fn post(path: &'static str, access: Access, does: Does, summary: &'static str) -> Endpoint {
    Endpoint { method: Verb::Post, path, access, does, summary }
}

impl Verb {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
        }
    }

    fn takes(self, method: &Method) -> bool {
        match self {
            // RFC 9110 §9.3.2: HEAD is GET without the content.
            Self::Get => method == Method::GET || method == Method::HEAD,
            Self::Post => method == Method::POST,
        }
    }
}

/// The endpoint that a request reached.
pub(crate) fn reached(method: &Method, path: &str) -> Option<&'static Endpoint> {
    ENDPOINTS.iter().find(|endpoint| endpoint.path == path && endpoint.method.takes(method))
}

/// The methods that a path takes, as `Allow` lists them.
pub(crate) fn allowed(path: &str) -> &'static str {
    let takes = |verb| ENDPOINTS.iter().any(|it| it.path == path && it.method == verb);
    match (takes(Verb::Get), takes(Verb::Post)) {
        (true, true) => "GET, HEAD, POST",
        (true, false) => "GET, HEAD",
        (false, true) => "POST",
        (false, false) => "",
    }
}

/// The API as `OpenAPI` describes it.
pub(crate) fn openapi() -> Value {
    let mut paths = Map::new();
    for endpoint in &ENDPOINTS {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.name()] = operation(endpoint);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Larder admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Errors are application/problem+json (RFC 9457).",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "signature": {
                    "type": "apiKey", "in": "header", "name": "X-Signature",
                    "description": "HMAC-SHA256 of the body; the field's name is the hook's `signature`",
                },
            },
            "schemas": {
                "Purge": purge(), "Event": event(), "Turn": turn(), "Layers": layers(),
                "Reset": reset(),
                "Receipt": receipt(), "Estimate": estimate(), "Problem": problem()
            },
        },
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let mut operation = json!({
        "summary": endpoint.summary,
        "responses": {
            "200": { "description": "done", "content": content(endpoint.does) },
            "default": {
                "description": "a problem",
                "content": { "application/problem+json": { "schema": schema("Problem") } },
            },
        },
    });
    match endpoint.access {
        Access::Open => {}
        Access::Signed => operation["security"] = json!([{ "signature": [] }]),
        Access::Needs(permission) => {
            operation["security"] = json!([{ "token": [permission.name()] }]);
        }
    }
    let body = match endpoint.does {
        Does::Purge => Some(schema("Purge")),
        Does::Event => Some(schema("Event")),
        Does::Turn => Some(schema("Turn")),
        Does::Reset => Some(schema("Reset")),
        Does::Hook => Some(json!({})),
        _ => None,
    };
    if let Some(schema) = body {
        let content = json!({ "application/json": { "schema": schema } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    if endpoint.does == Does::Receipt {
        operation["parameters"] = json!([{
            "name": "mark", "in": "path", "required": true,
            "schema": { "type": "string", "pattern": "^[0-9]+-[0-9]+-[0-9a-f]+$" },
        }]);
    }
    if endpoint.does == Does::Hook {
        operation["parameters"] = json!([{
            "name": "name", "in": "path", "required": true, "schema": { "type": "string" },
        }]);
    }
    if endpoint.does == Does::Audit {
        let query = |name: &str, about: &str, kind: &str| json!({ "name": name, "in": "query", "description": about, "schema": { "type": kind } });
        operation["parameters"] = json!([
            query("since", "a moment (RFC 3339), or how long ago, such as 1h", "string"),
            query("scope", "a text in what was purged", "string"),
            query("limit", "how many; 100 where it is not given", "integer"),
        ]);
    }
    operation
}

fn content(does: Does) -> Value {
    match does {
        Does::Page => json!({ "text/html": {} }),
        Does::Metrics => json!({ "application/openmetrics-text": {} }),
        Does::Config => json!({ "application/yaml": {} }),
        Does::Purge => {
            let schema = json!({ "oneOf": [schema("Receipt"), schema("Estimate")] });
            json!({ "application/json": { "schema": schema } })
        }
        Does::Receipt | Does::Event | Does::Hook => {
            json!({ "application/json": { "schema": schema("Receipt") } })
        }
        Does::Layers | Does::Turn => {
            json!({ "application/json": { "schema": schema("Layers") } })
        }
        Does::Events
        | Does::Audit
        | Does::Live
        | Does::Ready
        | Does::Instances
        | Does::Reload
        | Does::Tripwires
        | Does::Reset
        | Does::Stats
        | Does::OpenApi => {
            json!({ "application/json": {} })
        }
    }
}

fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn purge() -> Value {
    let texts = |about: &str| json!({ "type": "array", "items": { "type": "string", "minLength": 1 }, "description": about });
    json!({
        "type": "object",
        "additionalProperties": false,
        "description": "At least one of urls, tags, all_tags, prefixes, globs, hosts, routes, or everything: true. 1000 in all, of 2048 bytes each at most; all or nothing, as one purge.",
        "properties": {
            "urls": texts("absolute URLs, as clients write them, or from their path on for every host; all their variants"),
            "tags": texts("tags that responses carry, any of them"),
            "all_tags": {
                "type": "array", "description": "lists of tags; what carries all of a list",
                "items": {
                    "type": "array", "minItems": 1, "maxItems": 16,
                    "items": { "type": "string", "minLength": 1 },
                },
            },
            "prefixes": texts("beginnings of URLs: /path/… on every host, or http://host/path/…"),
            "globs": texts("/api/*/reviews/** on every host, or //*.shop.example/…; * within a segment, ** across; behind a ?, * is any bytes of the query"),
            "hosts": texts("shop.example, *.shop.example, shop.example:8080"),
            "routes": texts("names of routes"),
            "everything": { "type": "boolean", "default": false },
            "soft": {
                "type": "boolean", "default": false,
                "description": "stale from now on instead of gone",
            },
            "wait": { "enum": ["all", "local", "none"], "default": "all" },
            "timeout": { "type": "string", "default": "5s", "description": "for wait: all; 1m at most" },
            "dry_run": {
                "type": "boolean", "default": false,
                "description": "nothing goes; the answer is an estimate of what would",
            },
            "reason": { "type": "string", "description": "for the audit" },
            "rewarm": {
                "type": "integer", "minimum": 0, "maximum": 10000,
                "description": "how many of the hottest entries that go are fetched again",
            },
        },
    })
}

fn event() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["event"],
        "properties": {
            "event": { "type": "string", "description": "its name" },
            "data": { "description": "what its templates take their values from" },
            "wait": { "enum": ["all", "local", "none"], "default": "all" },
            "timeout": { "type": "string", "default": "5s", "description": "for wait: all; 1m at most" },
            "reason": { "type": "string", "description": "for the audit" },
        },
    })
}

fn turn() -> Value {
    let switch = |about: &str| json!({ "enum": ["on", "off"], "description": about });
    json!({
        "type": "object",
        "additionalProperties": false,
        "description": "At least one of l1 and l2; one that is not named stays as it is.",
        "properties": {
            "l1": switch("memory; emptied when it is turned"),
            "l2": switch("Redis or disk; 422 where there is none"),
            "reason": { "type": "string", "description": "for the audit log" },
        },
    })
}

fn reset() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["reset"],
        "properties": {
            "reset": {
                "type": "array", "minItems": 1, "items": { "type": "string" },
                "description": "names of routes",
            },
            "reason": { "type": "string", "description": "for the audit log" },
        },
    })
}

fn layers() -> Value {
    let layer = |store: &[&str]| {
        json!({ "type": "object", "properties": {
            "switch": { "enum": ["on", "off"] }, "store": { "enum": store },
        } })
    };
    json!({
        "type": "object",
        "properties": {
            "l1": layer(&["memory"]),
            "l2": layer(&["disk", "redis"]),
            "scope": { "type": "string", "description": "where and for how long it holds" },
        },
    })
}

fn receipt() -> Value {
    json!({
        "type": "object",
        "properties": {
            "mark": { "type": "string", "description": "the purge's place in the log" },
            "complete": {
                "type": "boolean",
                "description": "every live instance has applied it: none serves the old content",
            },
            "instances": { "type": "array", "items": { "type": "object", "properties": {
                "id": { "type": "string" },
                "applied": { "type": "boolean" },
                "at": { "type": "string", "description": "the mark up to which it has applied the log" },
                "until": { "type": "string", "format": "date-time", "description": "when its lease ends" },
            } } },
        },
    })
}

fn estimate() -> Value {
    let count = || {
        json!({ "type": "object", "properties": {
            "entries": { "type": "integer" }, "bytes": { "type": "integer" },
        } })
    };
    json!({
        "type": "object",
        "description": "What a purge would take, by a walk through the memory of the instance that was asked.",
        "properties": {
            "dry_run": { "const": true },
            "l1": count(),
            "complete": { "type": "boolean", "description": "all of memory was walked through" },
            "routes": { "type": "object", "additionalProperties": count() },
            "l2": { "type": "string", "description": "none, or why nothing is known of it" },
        },
    })
}

fn problem() -> Value {
    json!({
        "type": "object",
        "properties": {
            "type": { "type": "string" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" },
            "faults": { "type": "array", "items": { "type": "string" } },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_is_in_the_runbook() {
        let runbook = include_str!("../../docs/operations.md");
        for Endpoint { method, path, .. } in &ENDPOINTS {
            let endpoint = format!("`{} {path}`", method.name().to_uppercase());
            assert!(runbook.contains(&endpoint), "{endpoint}");
        }
    }

    #[test]
    fn a_mark_is_described_as_it_is_written() {
        use crate::entry::facts::Mark;

        let pattern = &openapi()["paths"]["/admin/purges/{mark}"]["get"]["parameters"][0];
        assert_eq!(pattern["schema"]["pattern"], "^[0-9]+-[0-9]+-[0-9a-f]+$");
        assert!("1700000000000-0-1f3a".parse::<Mark>().is_ok());
    }
}
