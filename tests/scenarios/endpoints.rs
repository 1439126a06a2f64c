//! Several endpoints of one origin: who is not well gets no requests, and gets them again when it is.

use std::time::Duration;

use crate::support::answer::{ok, status};
use crate::support::client::{get, post};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::until;

/// Two that say who they are to whoever asks, before a Larder that checks them all the time.
struct Two {
    first: Origin,
    second: Origin,
    larder: Larder,
}

const CHECKS: &str = "every: 100ms, timeout: 300ms, unhealthy_after: 2, healthy_after: 2";

fn yaml(first: &Origin, second: &Origin, health: &str) -> String {
    let (first, second) = (first.url(), second.url());
    format!(
        "origins:\n  api:\n    endpoints: [ \"{first}\", \"{second}\" ]\n    host: api.internal\n    health: {{ {health} }}\n\
         routes:\n  - {{ name: all, match: {{ path: \"/**\" }}, origin: api, cache: false }}\n"
    )
}

async fn two() -> Two {
    let (first, second) = (Origin::start().await, Origin::start().await);
    for (origin, name) in [(&first, "first"), (&second, "second")] {
        origin.on("/healthz", ok("well"));
        origin.on("/x", ok(name));
    }
    let health = format!("path: /healthz, {CHECKS}");
    let larder = Larder::start(&yaml(&first, &second, &health)).await;
    Two { first, second, larder }
}

impl Two {
    /// Who answers the next requests, each once.
    async fn who(&self) -> Vec<String> {
        let mut who = Vec::new();
        for _ in 0..8 {
            who.push(get(self.larder.url("/x")).await.has_status(200).text().to_owned());
        }
        who.sort();
        who.dedup();
        who
    }

    async fn until_it_is(&self, expected: &[&str]) {
        let what = format!("requests go to {expected:?}");
        until(&what, async || (self.who().await == expected).then_some(())).await;
    }

    async fn is_up(&self, origin: &Origin) -> bool {
        let labels = [("origin", "api"), ("endpoint", &*origin.url())];
        self.larder.metric("larder_origin_endpoint_up", &labels).await == 1
    }
}

#[tokio::test]
async fn an_endpoint_whose_checks_fail_gets_no_requests_until_they_succeed() {
    let two = two().await;
    two.until_it_is(&["first", "second"]).await;
    two.first.on("/healthz", status(503));
    two.until_it_is(&["second"]).await;
    assert!(!two.is_up(&two.first).await && two.is_up(&two.second).await);
    two.first.on("/healthz", ok("well again"));
    two.until_it_is(&["first", "second"]).await;
    assert!(two.is_up(&two.first).await);
    let check = &two.first.requests("/healthz")[0];
    assert_eq!((check.method.as_str(), check.field("host")), ("GET", "api.internal"));
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_its_checks_in_time_is_not_well() {
    let two = two().await;
    two.second.on("/healthz", ok("late").after(Duration::from_secs(30)));
    two.until_it_is(&["first"]).await;
}

#[tokio::test]
async fn with_no_endpoint_left_that_is_well_all_are_asked_as_before() {
    let two = two().await;
    for origin in [&two.first, &two.second] {
        origin.on("/healthz", status(500));
    }
    until("both are not well", async || {
        (!two.is_up(&two.first).await && !two.is_up(&two.second).await).then_some(())
    })
    .await;
    assert_eq!(two.who().await, ["first", "second"]);
}

#[tokio::test]
async fn a_reload_checks_what_the_new_file_says_and_nothing_of_the_old_one() {
    let two = two().await;
    two.first.seen("/healthz", 1).await;
    let health = format!("path: \"/status?deep=1\", {CHECKS}");
    two.larder.rewrite(&yaml(&two.first, &two.second, &health));
    post(two.larder.admin("/admin/config/reload")).await.has_status(200);
    two.first.seen("/status", 1).await;
    let before = two.first.count("/healthz");
    two.first.seen("/status", 4).await;
    let after = two.first.count("/healthz");
    assert!(after <= before + 1, "{before} and then {after}: the old checks go on");
    assert_eq!(two.first.requests("/status")[0].target, "/status?deep=1");
}
