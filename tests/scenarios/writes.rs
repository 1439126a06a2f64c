//! A successful unsafe request makes what is stored for its target invalid, and what it names beside it.

use serde_json::json;

use crate::support::answer::{Gate, fresh, status};
use crate::support::client::{ask, get, post};
use crate::support::larder::Larder;
use crate::support::origin::{Asked, Origin};
use crate::support::yaml::all_to;
use crate::support::{beside, until};

/// Reads are fresh; writes are answered as `written` says.
fn reads_and(
    written: impl Fn(&Asked) -> crate::support::answer::Answer + Send + 'static,
) -> impl FnMut(&Asked) -> crate::support::answer::Answer + Send {
    let mut version = 0;
    move |asked| {
        if asked.method == "GET" {
            version += 1;
            fresh(format!("{} v{version}", asked.path))
        } else {
            written(asked)
        }
    }
}

async fn store(larder: &Larder, path: &str) {
    get(larder.url(path)).await.is("MISS", "ORIGIN");
    get(larder.url(path)).await.is("HIT", "L1");
}

#[tokio::test]
async fn every_unsafe_method_invalidates_its_target() {
    let origin = Origin::start().await;
    origin.with("*", reads_and(|_| status(204)));
    let larder = all_to(&origin).start().await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "REBUILD", "M-SEARCH"] {
        let path = format!("/{method}");
        store(&larder, &path).await;
        ask(method, larder.url(&path)).body("{}").await.is("BYPASS", "ORIGIN").has_status(204);
        get(larder.url(&path)).await.is("MISS", "ORIGIN");
    }
}

#[tokio::test]
async fn safe_methods_invalidate_nothing() {
    let origin = Origin::start().await;
    origin.with("*", reads_and(|_| status(204)));
    let larder = all_to(&origin).start().await;
    store(&larder, "/x").await;
    ask("OPTIONS", larder.url("/x")).await.has_status(204);
    get(larder.url("/x")).await.is("HIT", "L1");
}

#[tokio::test]
async fn a_write_that_fails_invalidates_nothing() {
    let origin = Origin::start().await;
    origin.with("*", reads_and(|asked| status(asked.path[1..].parse().unwrap())));
    let larder = all_to(&origin).start().await;
    for path in ["/400", "/409", "/500"] {
        store(&larder, path).await;
        post(larder.url(path)).body("{}").await;
        get(larder.url(path)).await.is("HIT", "L1");
    }
    store(&larder, "/303").await;
    post(larder.url("/303")).body("{}").await.has_status(303);
    get(larder.url("/303")).await.is("MISS", "ORIGIN");
}

#[tokio::test]
async fn location_and_content_location_are_invalidated_on_the_same_host_only() {
    let origin = Origin::start().await;
    origin.with(
        "*",
        reads_and(|asked| {
            status(201)
                .field("Location", asked.field("x-to"))
                .field("Content-Location", asked.field("x-at"))
        }),
    );
    let larder = all_to(&origin).start().await;
    for path in ["/made", "/at", "/other"] {
        store(&larder, path).await;
    }
    post(larder.url("/new"))
        .with("X-To", "/made")
        .with("X-At", larder.url("/at"))
        .body("{}")
        .await
        .has_status(201);
    get(larder.url("/made")).await.is("MISS", "ORIGIN");
    get(larder.url("/at")).await.is("MISS", "ORIGIN");
    post(larder.url("/new"))
        .with("X-To", "http://elsewhere.example/other")
        .with("X-At", "::nonsense")
        .body("{}")
        .await;
    get(larder.url("/other")).await.is("HIT", "L1");
}

#[tokio::test]
async fn a_route_names_what_else_goes_after_a_write() {
    let origin = Origin::start().await;
    let mut version = 0;
    origin.with("*", move |asked| {
        version += 1;
        let answer = fresh(format!("v{version}"));
        match asked.method.as_str() {
            "GET" if asked.path == "/report/7" => answer.field("Surrogate-Key", "product:7"),
            "GET" => answer,
            _ => status(200),
        }
    });
    let url = origin.url();
    let larder = Larder::start(&format!(
        "origins: {{ api: {{ endpoints: [ \"{url}\" ] }} }}\n\
         routes:\n  \
           - {{ name: product, match: {{ path: \"/products/{{id}}\" }}, origin: api, tags: [ \"product:{{id}}\" ], on_write: {{ purge: [ \"tag:product:{{id}}\", \"/products\" ] }} }}\n  \
           - {{ name: rest, match: {{ path: \"/**\" }}, origin: api }}\n"
    ))
    .await;
    for path in ["/products/7", "/products/8", "/products", "/report/7"] {
        store(&larder, path).await;
    }
    ask("PUT", larder.url("/products/7")).body("{}").await.has_status(200);
    for path in ["/products/7", "/products", "/report/7"] {
        get(larder.url(path)).await.is("MISS", "ORIGIN");
    }
    get(larder.url("/products/8")).await.is("HIT", "L1");
}

#[tokio::test]
async fn tags_of_a_route_are_purged_like_those_of_the_origin() {
    let origin = Origin::start().await;
    origin.on("*", fresh("x").field("X-Tags", "blue green"));
    let yaml = all_to(&origin).route("tags: [ \"everything:all\", \"header:X-Tags\" ]");
    let larder = yaml.start().await;
    for tag in ["everything:all", "green"] {
        store(&larder, "/x").await;
        larder.purges(json!({"tags": [tag]})).await;
    }
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
}

#[tokio::test]
async fn a_write_whose_client_left_invalidates_all_the_same() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let written = gate.clone();
    origin.with("/x", reads_and(move |_| status(204).held(&written)));
    let larder = all_to(&origin).start().await;
    store(&larder, "/x").await;
    let writer = beside(post(larder.url("/x")).body("{}").open());
    origin.seen("/x", 2).await;
    writer.abort();
    let _left = writer.await;
    gate.open();
    until("the write has invalidated", async || {
        (get(larder.url("/x")).await.outcome() == "MISS").then_some(())
    })
    .await;
}

#[tokio::test]
async fn references_are_resolved_against_the_target_before_they_are_invalidated() {
    let origin = Origin::start().await;
    origin.with("*", reads_and(|asked| status(201).field("Location", asked.field("x-to"))));
    let larder = all_to(&origin).start().await;
    for (reference, meant) in [
        ("c", "/a/c"),
        ("../d", "/d"),
        ("?y=2", "/a/b?y=2"),
        ("#part", "/a/b"),
        ("e?u=http://h/", "/a/e?u=http://h/"),
    ] {
        store(&larder, meant).await;
        post(larder.url("/a/b")).with("X-To", reference).body("{}").await.has_status(201);
        get(larder.url(meant)).await.is("MISS", "ORIGIN");
    }
}
