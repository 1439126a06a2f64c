//! Conditions and ranges of clients are answered from the stored entry, whatever it was that filled the store.

use crate::support::answer::{Answer, fresh};
use crate::support::client::get;
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::yaml::all_to;

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn document() -> Answer {
    fresh("0123456789")
        .field("ETag", "\"v1\"")
        .field("Last-Modified", MODIFIED)
        .field("Content-Type", "text/plain")
}

async fn with_document_stored() -> (Origin, Larder) {
    let origin = Origin::start().await;
    origin.on("/x", document());
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    (origin, larder)
}

#[tokio::test]
async fn a_matching_tag_gets_304_without_a_body() {
    let (origin, larder) = with_document_stored().await;
    for tag in ["\"v1\"", "W/\"v1\"", "\"a\", \"v1\"", "*"] {
        let reply = get(larder.url("/x")).with("If-None-Match", tag).await;
        reply.has_status(304).is("HIT", "L1").has("etag", "\"v1\"").says("");
        assert!(reply.field("cache-control").contains("max-age=60"), "{reply:?}");
    }
    get(larder.url("/x"))
        .with("If-None-Match", "\"v2\"")
        .await
        .has_status(200)
        .is("HIT", "L1")
        .says("0123456789");
    assert_eq!(origin.count("/x"), 1);
}

#[tokio::test]
async fn dates_are_compared_only_where_there_is_no_tag() {
    let (origin, larder) = with_document_stored().await;
    let earlier = "Sat, 05 Nov 1994 08:49:37 GMT";
    get(larder.url("/x")).with("If-Modified-Since", MODIFIED).await.has_status(304).says("");
    get(larder.url("/x"))
        .with("If-Modified-Since", earlier)
        .await
        .has_status(200)
        .says("0123456789");
    get(larder.url("/x")).with("If-Modified-Since", "yesterday").await.has_status(200);
    get(larder.url("/x"))
        .with("If-Modified-Since", MODIFIED)
        .with("If-None-Match", "\"v2\"")
        .await
        .has_status(200);
    assert_eq!(origin.count("/x"), 1);
}

#[tokio::test]
async fn a_failed_precondition_gets_412() {
    let (_origin, larder) = with_document_stored().await;
    get(larder.url("/x")).with("If-Match", "\"v2\"").await.has_status(412);
    get(larder.url("/x"))
        .with("If-Unmodified-Since", "Sat, 05 Nov 1994 08:49:37 GMT")
        .await
        .has_status(412);
    get(larder.url("/x")).with("If-Match", "\"v1\"").await.has_status(200).says("0123456789");
    get(larder.url("/x")).await.is("HIT", "L1").has_status(200).says("0123456789");
}

#[tokio::test]
async fn a_range_gets_its_part() {
    let (origin, larder) = with_document_stored().await;
    let parts = [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
    ];
    for (range, text, place) in parts {
        let reply = get(larder.url("/x")).with("Range", range).await;
        reply
            .has_status(206)
            .is("HIT", "L1")
            .says(text)
            .has("content-range", place)
            .has("etag", "\"v1\"");
        reply.has("content-length", &text.len().to_string());
    }
    get(larder.url("/x")).with("Range", "bytes=4-999").await.has_status(206).says("456789");
    assert_eq!(origin.count("/x"), 1);
}

#[tokio::test]
async fn a_range_beyond_the_end_gets_416_with_the_length() {
    let (_origin, larder) = with_document_stored().await;
    get(larder.url("/x"))
        .with("Range", "bytes=10-")
        .await
        .has_status(416)
        .has("content-range", "bytes */10");
    get(larder.url("/x")).with("Range", "bytes=-0").await.has_status(416);
    get(larder.url("/x")).await.is("HIT", "L1").has_status(200).says("0123456789");
}

#[tokio::test]
async fn a_range_that_makes_no_sense_is_as_if_absent() {
    let (_origin, larder) = with_document_stored().await;
    for range in
        ["bytes=5-2", "bytes=a-b", "lines=1-2", "bytes=", "bytes=99999999999999999999999-1"]
    {
        get(larder.url("/x")).with("Range", range).await.has_status(200).says("0123456789");
    }
}

#[tokio::test]
async fn if_range_asks_for_the_part_only_of_the_same_representation() {
    let (_origin, larder) = with_document_stored().await;
    let part = |condition: &str| {
        get(larder.url("/x")).with("Range", "bytes=0-0").with("If-Range", condition)
    };
    part("\"v1\"").await.has_status(206).says("0");
    part("\"v2\"").await.has_status(200).says("0123456789");
    part("W/\"v1\"").await.has_status(200);
}

#[tokio::test]
async fn many_ranges_are_answered_whole_or_in_parts_but_never_amplified() {
    let (_origin, larder) = with_document_stored().await;
    let reply = get(larder.url("/x")).with("Range", "bytes=0-1,4-5").await;
    assert!([200, 206].contains(&reply.status), "{reply:?}");
    let many = format!("bytes={}", vec!["0-"; 1000].join(","));
    let reply = get(larder.url("/x")).with("Range", many).await;
    assert!(reply.body.len() < 1000, "{reply:?}");
}

#[tokio::test]
async fn the_first_clients_range_and_conditions_do_not_shape_what_is_stored() {
    let origin = Origin::start().await;
    origin.on("/range", document());
    origin.on("/tag", document());
    let larder = all_to(&origin).start().await;
    get(larder.url("/range")).with("Range", "bytes=2-3").await.has_status(206).says("23");
    get(larder.url("/tag")).with("If-None-Match", "\"v1\"").await.has_status(304).says("");
    for path in ["/range", "/tag"] {
        let asked = &origin.requests(path)[0];
        assert_eq!((asked.field("range"), asked.field("if-none-match")), ("", ""), "{path}");
        get(larder.url(path)).await.is("HIT", "L1").has_status(200).says("0123456789");
    }
}

#[tokio::test]
async fn a_206_that_nobody_asked_for_is_never_the_entry() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("0123").with_status(206).field("Content-Range", "bytes 0-3/10"));
    let larder = all_to(&origin).start().await;
    for _ in 0..2 {
        get(larder.url("/x")).await.is_not("HIT");
    }
}
