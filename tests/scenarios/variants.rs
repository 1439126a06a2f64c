//! Vary: each representation is kept and found by the fields that selected it, and never given to anybody else.

use crate::support::answer::{fresh, ok};
use crate::support::client::get;
use crate::support::origin::Origin;
use crate::support::yaml::all_to;

#[tokio::test]
async fn each_language_has_its_own_variant() {
    let origin = Origin::start().await;
    origin.with("/x", |asked| {
        fresh(asked.field("accept-language").to_owned()).field("Vary", "Accept-Language")
    });
    let larder = all_to(&origin).start().await;
    for language in ["en", "de", ""] {
        get(larder.url("/x"))
            .with("Accept-Language", language)
            .await
            .is("MISS", "ORIGIN")
            .says(language);
    }
    for language in ["de", "", "en"] {
        get(larder.url("/x"))
            .with("Accept-Language", language)
            .await
            .is("HIT", "L1")
            .says(language);
    }
    assert_eq!(origin.count("/x"), 3);
}

#[tokio::test]
async fn all_lines_of_vary_and_all_lines_of_the_request_count() {
    let origin = Origin::start().await;
    origin.with("/x", |asked| {
        let all = |name| {
            asked
                .fields
                .get_all(name)
                .iter()
                .map(|v| v.to_str().unwrap())
                .collect::<Vec<_>>()
                .join(",")
        };
        fresh(format!("{}/{}", all("x-a"), all("x-b"))).field("Vary", "X-A").field("vary", "x-b")
    });
    let larder = all_to(&origin).start().await;
    get(larder.url("/x"))
        .with("X-A", "1")
        .with("X-A", "2")
        .with("X-B", "3")
        .await
        .is("MISS", "ORIGIN")
        .says("1,2/3");
    get(larder.url("/x")).with("X-A", "1").with("X-B", "3").await.is("MISS", "ORIGIN").says("1/3");
    get(larder.url("/x"))
        .with("X-A", "1")
        .with("X-A", "2")
        .with("X-B", "4")
        .await
        .is("MISS", "ORIGIN")
        .says("1,2/4");
    get(larder.url("/x"))
        .with("X-A", "1")
        .with("X-A", "2")
        .with("X-B", "3")
        .await
        .is("HIT", "L1")
        .says("1,2/3");
}

#[tokio::test]
async fn a_star_anywhere_in_vary_is_never_kept() {
    let origin = Origin::start().await;
    origin.on("/alone", fresh("x").field("Vary", "*"));
    origin.on("/in-a-list", fresh("x").field("Vary", "Accept, *"));
    origin.on("/on-a-second-line", fresh("x").field("Vary", "Accept").field("Vary", "*"));
    let larder = all_to(&origin).start().await;
    for path in ["/alone", "/in-a-list", "/on-a-second-line"] {
        for _ in 0..2 {
            get(larder.url(path)).await.is_not("HIT").says("x");
        }
        assert_eq!(origin.count(path), 2, "{path}");
    }
}

#[tokio::test]
async fn normalised_fields_share_a_variant_and_the_origin_sees_the_normal_form() {
    let origin = Origin::start().await;
    origin.with("/x", |asked| {
        fresh(asked.field("accept-language").to_owned()).field("Vary", "Accept-Language")
    });
    let larder =
        all_to(&origin).route("vary: { normalize: { Accept-Language: [en, de] } }").start().await;
    get(larder.url("/x"))
        .with("Accept-Language", "de-AT,de;q=0.9,en;q=0.2")
        .await
        .is("MISS", "ORIGIN")
        .says("de");
    get(larder.url("/x")).with("Accept-Language", "de").await.is("HIT", "L1").says("de");
    get(larder.url("/x"))
        .with("Accept-Language", "en;q=0.3, de;q=0.8")
        .await
        .is("HIT", "L1")
        .says("de");
    get(larder.url("/x")).with("Accept-Language", "en-GB").await.is("MISS", "ORIGIN").says("en");
}

#[tokio::test]
async fn variants_of_one_url_are_bounded() {
    let origin = Origin::start().await;
    origin.with("/x", |asked| fresh(asked.field("x-kind").to_owned()).field("Vary", "X-Kind"));
    let larder = all_to(&origin).route("vary: { max_variants: 4 }").start().await;
    for kind in 0..20 {
        get(larder.url("/x")).with("X-Kind", kind.to_string()).await.says(&kind.to_string());
    }
    let mut hits = 0;
    for kind in 0..20 {
        let reply = get(larder.url("/x")).with("X-Kind", kind.to_string()).await;
        hits += usize::from(reply.says(&kind.to_string()).outcome() == "HIT");
    }
    assert!(hits <= 4, "{hits} variants were kept");
}

#[tokio::test]
async fn a_request_field_may_be_part_of_the_key_without_vary() {
    let origin = Origin::start().await;
    origin.with("/x", |asked| fresh(asked.field("x-tenant").to_owned()));
    let larder = all_to(&origin).route("key: { headers: [X-Tenant] }").start().await;
    for tenant in ["a", "b"] {
        get(larder.url("/x")).with("X-Tenant", tenant).await.is("MISS", "ORIGIN").says(tenant);
        get(larder.url("/x")).with("X-Tenant", tenant).await.is("HIT", "L1").says(tenant);
    }
}

#[tokio::test]
async fn an_answer_that_begins_to_vary_is_not_given_to_those_it_does_not_suit() {
    let origin = Origin::start().await;
    origin.with("/x", |asked| match asked.field("x-kind") {
        "" => ok("plain").field("Cache-Control", "max-age=60"),
        kind => fresh(kind.to_owned()).field("Vary", "X-Kind"),
    });
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).with("X-Kind", "special").await.is("MISS", "ORIGIN").says("special");
    get(larder.url("/x")).with("X-Kind", "other").await.is("MISS", "ORIGIN").says("other");
    get(larder.url("/x")).with("X-Kind", "special").await.is("HIT", "L1").says("special");
}

#[tokio::test]
async fn a_stored_language_answers_who_wants_it_most_and_nobody_whose_choice_is_open() {
    let redis = crate::support::redis::RedisServer::start().await;
    let origin = Origin::start().await;
    origin
        .on("/x", fresh("hallo").field("Vary", "Accept-Language").field("Content-Language", "de"));
    origin.on(
        "/y",
        fresh("nein")
            .field("Vary", "Accept-Language")
            .field("Content-Language", "de")
            .with_status(404),
    );
    let larder =
        all_to(&origin).redis(redis.port()).route("vary: { content_language: true }").start().await;
    let ask = async |path, languages| {
        get(larder.url(path)).with("Accept-Language", languages).await.outcome().to_owned()
    };
    for path in ["/x", "/y"] {
        assert_eq!(ask(path, "en, de").await, "MISS");
        assert_eq!(ask(path, "DE ,EN").await, "HIT");
    }
    assert_eq!(ask("/x", "fr;q=0.5, de;q=1.0").await, "HIT");
    assert_eq!(ask("/y", "fr;q=0.5, de;q=1.0").await, "MISS", "an error chooses no language");
    assert_eq!(ask("/x", "fr, de").await, "MISS");
}

#[tokio::test]
async fn by_default_a_stored_language_answers_nobody_who_asked_for_others_too() {
    let origin = Origin::start().await;
    origin
        .on("/x", fresh("hallo").field("Vary", "Accept-Language").field("Content-Language", "de"));
    let larder = all_to(&origin).start().await;
    let ask = async |languages| {
        get(larder.url("/x")).with("Accept-Language", languages).await.outcome().to_owned()
    };
    assert_eq!(ask("en, de").await, "MISS");
    assert_eq!(ask("DE ,EN").await, "HIT");
    assert_eq!(ask("de").await, "MISS");
    assert_eq!(ask("fr;q=0.5, de;q=1.0").await, "MISS");
}

#[tokio::test]
async fn what_varies_by_a_field_that_is_written_for_each_client_is_shared_with_nobody() {
    let origin = Origin::start().await;
    for (path, name) in [("/a", "X-Forwarded-For"), ("/b", "Accept, via")] {
        origin.on(path, fresh("hello").field("Vary", name));
    }
    let larder = all_to(&origin).start().await;
    for path in ["/a", "/b"] {
        for _ in 0..2 {
            get(larder.url(path)).await.is("MISS", "ORIGIN");
        }
    }
}

#[tokio::test]
async fn a_coding_that_is_refused_is_not_sent() {
    let origin = Origin::start().await;
    origin.with("/x", |asked| {
        let coding = if asked.field("accept-encoding") == "*" { "gzip" } else { "identity" };
        fresh(coding).field("Vary", "Accept-Encoding").field("Content-Encoding", coding)
    });
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).with("Accept-Encoding", "*").await.says("gzip");
    let refuses = get(larder.url("/x")).with("Accept-Encoding", "*, gzip;q=0").await;
    refuses.is("MISS", "ORIGIN").says("identity");
}
