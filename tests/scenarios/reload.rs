//! A changed file is taken up while it runs, entries stay, and a faulty one changes nothing.

use crate::support::answer::fresh;
use crate::support::client::{get, post};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::yaml::all_to;
use crate::support::{signal, until};

/// Everything is cached; once `passing` is taken up, `/live` is not.
fn caching(origin: &Origin) -> String {
    all_to(origin).text()
}

fn passing(origin: &Origin) -> String {
    let live = "routes:\n  - { name: live, match: { path: /live }, origin: api, cache: false }\n";
    all_to(origin).text().replacen("routes:\n", live, 1)
}

fn faulty(origin: &Origin) -> String {
    passing(origin) + "    tll: 5m\n"
}

async fn started() -> (Origin, Larder) {
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let larder = Larder::start(&caching(&origin)).await;
    for path in ["/x", "/live"] {
        get(larder.url(path)).await.is("MISS", "ORIGIN");
        get(larder.url(path)).await.is("HIT", "L1");
    }
    (origin, larder)
}

async fn until_taken_up(larder: &Larder) {
    until("the new file is in force", async || {
        (get(larder.url("/live")).await.outcome() == "BYPASS").then_some(())
    })
    .await;
    get(larder.url("/x")).await.is("HIT", "L1").says("hello");
}

#[tokio::test]
async fn a_reload_by_signal_keeps_the_entries() {
    let (origin, larder) = started().await;
    larder.rewrite(&passing(&origin));
    signal("HUP", larder.pid());
    until_taken_up(&larder).await;
}

#[tokio::test]
async fn a_reload_by_request_keeps_the_entries() {
    let (origin, larder) = started().await;
    larder.rewrite(&passing(&origin));
    let reply = post(larder.admin("/admin/config/reload")).await;
    assert!((200..300).contains(&reply.status), "{reply:?}");
    get(larder.url("/live")).await.is("BYPASS", "ORIGIN");
    get(larder.url("/x")).await.is("HIT", "L1").says("hello");
}

#[tokio::test]
async fn a_changed_file_is_taken_up_by_itself() {
    let (origin, larder) = started().await;
    larder.rewrite(&passing(&origin));
    until_taken_up(&larder).await;
    // Also when it is written in place, and a second time.
    std::fs::write(larder.config_file(), caching(&origin)).unwrap();
    until("the old file is in force again", async || {
        (get(larder.url("/live")).await.outcome() == "HIT").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_faulty_file_is_refused_with_its_faults_and_the_old_one_stays() {
    let (origin, larder) = started().await;
    larder.rewrite(&faulty(&origin));
    let reply = post(larder.admin("/admin/config/reload")).await;
    assert!((400..500).contains(&reply.status), "{reply:?}");
    assert!(reply.text().contains("tll"), "the fault is told: {reply:?}");
    signal("HUP", larder.pid());
    larder
        .errors()
        .find("the fault on stderr", |line| line.contains("tll").then_some(()))
        .await
        .unwrap();
    for path in ["/x", "/live"] {
        get(larder.url(path)).await.is("HIT", "L1");
    }
    larder.rewrite(&passing(&origin));
    signal("HUP", larder.pid());
    until_taken_up(&larder).await;
}

#[tokio::test]
async fn requests_in_hand_are_not_disturbed_by_a_reload() {
    let (origin, larder) = started().await;
    let gate = crate::support::answer::Gate::closed();
    origin.on("/slow", fresh("first").pause(&gate).chunk("last"));
    let mut opened = get(larder.url("/slow")).open().await;
    assert_eq!(opened.at_least(5).await, b"first");
    larder.rewrite(&passing(&origin));
    signal("HUP", larder.pid());
    until_taken_up(&larder).await;
    gate.open();
    assert_eq!(opened.rest().await.unwrap(), "last");
}
