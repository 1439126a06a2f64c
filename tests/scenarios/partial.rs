//! Parts: stored as parts, given as parts, combined only under one strong validator, and never taken for the whole.

use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::support::answer::{Answer, Gate, fresh, ok, status};
use crate::support::client::{ask, get, post};
use crate::support::larder::Larder;
use crate::support::origin::{Asked, Origin};
use crate::support::reply::Reply;
use crate::support::yaml::{Yaml, all_to};
use crate::support::{beside, until};

const BODY: &str = "0123456789";
const V1: &str = "\"v1\"";

/// One range of `body` as an origin gives it.
fn part(body: &str, first: usize, last: usize) -> Answer {
    fresh(body[first..=last].to_owned())
        .with_status(206)
        .field("Content-Range", format!("bytes {first}-{last}/{}", body.len()))
}

/// What an origin makes of a request for `body`, by the letter of RFC 9110 §13 and §14.
fn by_the_letter(asked: &Asked, body: &'static str, tag: &'static str) -> Answer {
    let tagged = |answer: Answer| match tag {
        "" => answer,
        tag => answer.field("ETag", tag),
    };
    if !tag.is_empty() && asked.field("if-none-match") == tag {
        return tagged(status(304).field("Cache-Control", "max-age=60"));
    }
    let range = asked.field("range").strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let whole = || tagged(fresh(body)).field("Content-Type", "text/plain");
    let Some((first, last)) = range else { return whole() };
    if !asked.field("if-range").is_empty() && asked.field("if-range") != tag {
        return whole();
    }
    let length = body.len();
    let (first, last) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), last) => (first, last.unwrap_or(length).min(length - 1)),
        (Err(_), last) => (length - last.unwrap(), length - 1),
    };
    if first >= length {
        return status(416).field("Content-Range", format!("bytes */{length}"));
    }
    tagged(part(body, first, last)).field("Content-Type", "text/plain")
}

async fn with_document(tag: &'static str) -> (Origin, Larder) {
    let origin = Origin::start().await;
    origin.with("/x", move |asked| by_the_letter(asked, BODY, tag));
    let larder = as_asked(&origin).start().await;
    (origin, larder)
}

fn as_asked(origin: &Origin) -> Yaml {
    all_to(origin).route("ranges: as_asked")
}

/// The middle of the document, stale as soon as it comes.
fn stale_part(tag: &str) -> Answer {
    let part = ok("3456").with_status(206).field("Content-Range", "bytes 3-6/10");
    part.field("ETag", tag).field("Cache-Control", "max-age=0")
}

async fn range(larder: &Larder, range: &str) -> Reply {
    range_of(larder.url("/x"), range).await
}

async fn range_of(url: String, range: &str) -> Reply {
    get(url).with("Range", format!("bytes={range}")).await
}

/// Brings the part in, and waits until it is stored: the last byte reaches the client a little before the store.
async fn bring(larder: &Larder, wanted: &str) {
    until("the part is stored", async || {
        (range(larder, wanted).await.has_status(206).outcome() == "HIT").then_some(())
    })
    .await;
}

#[track_caller]
fn is_part(reply: &Reply, text: &str, place: &str) {
    reply.has_status(206).says(text).has("content-range", place);
    reply.has("content-length", &text.len().to_string());
}

/// The request that the origin got last.
fn last(origin: &Origin) -> Asked {
    origin.requests("/x").pop().unwrap()
}

#[tokio::test]
async fn a_part_answers_every_range_within_it() {
    for tag in [V1, "W/\"v1\"", ""] {
        let (origin, larder) = with_document(tag).await;
        let reply = range(&larder, "4-9").await;
        reply.is("MISS", "ORIGIN").has("content-type", "text/plain");
        is_part(&reply, "456789", "bytes 4-9/10");
        assert_eq!(last(&origin).field("range"), "bytes=4-9");
        bring(&larder, "4-9").await;
        for (wanted, text, place) in [
            ("4-9", "456789", "bytes 4-9/10"),
            ("5-6", "56", "bytes 5-6/10"),
            ("7-99", "789", "bytes 7-9/10"),
            ("4-", "456789", "bytes 4-9/10"),
            ("-2", "89", "bytes 8-9/10"),
            ("-6", "456789", "bytes 4-9/10"),
        ] {
            let reply = range(&larder, wanted).await;
            reply.is("HIT", "L1").has("etag", tag).has("content-type", "text/plain");
            is_part(&reply, text, place);
        }
        assert_eq!(origin.count("/x"), 1);
    }
}

#[tokio::test]
async fn a_range_beyond_the_part_is_asked_for_as_it_is() {
    let (origin, larder) = with_document("").await;
    for (n, (wanted, text)) in
        [("3-6", "3456"), ("0-", BODY), ("-8", "23456789"), ("7-8", "78")].into_iter().enumerate()
    {
        origin.with("/x", |asked| by_the_letter(asked, BODY, ""));
        let path = format!("/x?{n}");
        until("the first part is stored", async || {
            let reply = get(larder.url(&path)).with("Range", "bytes=4-6").await;
            (reply.outcome() == "HIT").then_some(())
        })
        .await;
        let before = origin.count("/x");
        let reply = get(larder.url(&path)).with("Range", format!("bytes={wanted}")).await;
        reply.has_status(206).is("MISS", "ORIGIN").says(text);
        let fwd = reply.field("cache-status").to_owned();
        assert!(fwd.contains("fwd=partial"), "{fwd}");
        assert_eq!(origin.count("/x"), before + 1);
        assert_eq!(last(&origin).field("range"), format!("bytes={wanted}"));
    }
}

#[tokio::test]
async fn a_stored_beginning_is_completed_with_the_rest_alone() {
    let (origin, larder) = with_document(V1).await;
    bring(&larder, "0-4").await;
    let reply = get(larder.url("/x")).await;
    reply.has_status(200).is("MISS", "ORIGIN").says(BODY).lacks("content-range");
    reply.has("content-length", "10").has("etag", V1).has("content-type", "text/plain");
    assert!(reply.field("cache-status").contains("fwd=partial"), "{reply:?}");
    let asked = last(&origin);
    assert_eq!((asked.field("range"), asked.field("if-range")), ("bytes=5-", V1));
    assert_eq!(origin.count("/x"), 2);
    until("the whole is stored", async || {
        (get(larder.url("/x")).await.says(BODY).outcome() == "HIT").then_some(())
    })
    .await;
    is_part(range(&larder, "3-6").await.is("HIT", "L1"), "3456", "bytes 3-6/10");
    assert_eq!(origin.count("/x"), 2);
}

#[tokio::test]
async fn a_stored_end_is_completed_with_the_beginning_alone() {
    let (origin, larder) = with_document(V1).await;
    bring(&larder, "-3").await;
    get(larder.url("/x")).await.has_status(200).says(BODY).has("content-length", "10");
    let asked = last(&origin);
    assert_eq!((asked.field("range"), asked.field("if-range")), ("bytes=0-6", V1));
    assert_eq!(origin.count("/x"), 2);
}

#[tokio::test]
async fn what_has_no_strong_tag_is_never_combined() {
    for tag in ["", "W/\"v1\""] {
        let (origin, larder) = with_document(tag).await;
        bring(&larder, "0-4").await;
        bring(&larder, "5-9").await;
        assert_eq!(origin.count("/x"), 2);
        get(larder.url("/x")).await.has_status(200).is("MISS", "ORIGIN").says(BODY);
        let asked = last(&origin);
        assert_eq!((asked.field("range"), asked.field("if-range")), ("", ""), "{tag}");
    }
}

#[tokio::test]
async fn a_part_in_the_middle_leads_to_a_request_for_the_whole() {
    let (origin, larder) = with_document(V1).await;
    bring(&larder, "3-6").await;
    get(larder.url("/x")).await.has_status(200).says(BODY);
    assert_eq!(last(&origin).field("range"), "");
}

#[tokio::test]
async fn parts_that_touch_are_combined_and_become_the_whole() {
    let (origin, larder) = with_document(V1).await;
    bring(&larder, "2-4").await;
    bring(&larder, "4-6").await;
    is_part(range(&larder, "2-6").await.is("HIT", "L1"), "23456", "bytes 2-6/10");
    bring(&larder, "7-").await;
    bring(&larder, "0-1").await;
    assert_eq!(origin.count("/x"), 4);
    get(larder.url("/x")).await.is("HIT", "L1").has_status(200).says(BODY).lacks("content-range");
    assert_eq!(origin.count("/x"), 4);
}

#[tokio::test]
async fn a_range_that_turns_out_to_be_all_is_stored_as_the_whole() {
    for tag in [V1, ""] {
        let (origin, larder) = with_document(tag).await;
        is_part(&range(&larder, "0-").await, BODY, "bytes 0-9/10");
        bring(&larder, "0-").await;
        get(larder.url("/x")).await.is("HIT", "L1").has_status(200).says(BODY);
        assert_eq!(origin.count("/x"), 1);
    }
}

#[tokio::test]
async fn what_changed_between_two_parts_is_never_mixed() {
    let (origin, larder) = with_document(V1).await;
    bring(&larder, "0-4").await;
    origin.with("/x", |asked| by_the_letter(asked, "abcdefghij", "\"v2\""));
    get(larder.url("/x")).await.has_status(200).says("abcdefghij").has("etag", "\"v2\"");
    assert_eq!(origin.count("/x"), 2);
    let (origin, larder) = with_document(V1).await;
    bring(&larder, "0-4").await;
    origin.with("/x", |asked| by_the_letter(asked, "abcdefghij", "\"v2\""));
    bring(&larder, "5-9").await;
    get(larder.url("/x")).await.has_status(200).says("abcdefghij");
    get(larder.url("/x")).await.has_status(200).says("abcdefghij").has("etag", "\"v2\"");
}

#[tokio::test]
async fn a_rest_that_does_not_fit_leads_to_one_request_for_the_whole() {
    let other_tag = part("abcdefghij", 5, 9).field("ETag", "\"v2\"");
    let no_tag = part("abcdefghij", 5, 9);
    let weak = part("abcdefghij", 5, 9).field("ETag", "W/\"v1\"");
    let longer = part("abcdefghijk", 5, 10).field("ETag", V1);
    let elsewhere = part("abcdefghij", 4, 9).field("ETag", V1);
    let unsound = part("abcdefghij", 5, 8).field("ETag", V1);
    let uncacheable = part(BODY, 5, 9).field("ETag", V1).field("Cache-Control", "no-store");
    let refused = status(416).field("Content-Range", "bytes */10");
    for rest in [other_tag, no_tag, weak, longer, elsewhere, unsound, uncacheable, refused] {
        let (origin, larder) = with_document(V1).await;
        bring(&larder, "0-4").await;
        let told = format!("{} {:?}", rest.status, rest.fields);
        origin.script("/x", [rest, fresh("abcdefghij").field("ETag", "\"v2\"")]);
        let reply = get(larder.url("/x")).await;
        reply.has_status(200).says("abcdefghij").has("etag", "\"v2\"");
        let asked = origin.requests("/x");
        let ranges: Vec<_> = asked.iter().map(|asked| asked.field("range")).collect();
        assert_eq!(ranges, ["bytes=0-4", "bytes=5-", ""], "{told}");
    }
}

#[tokio::test]
async fn a_206_that_is_not_soundly_one_part_is_passed_and_not_stored() {
    let of = |place: &str| fresh("01234").with_status(206).field("Content-Range", place);
    let bare = fresh("01234").with_status(206);
    let multipart = bare.clone().field("Content-Type", "multipart/byteranges; boundary=b");
    for answer in [
        of("bytes 0-5/10"),
        of("bytes 0-3/10"),
        of("bytes 0-4/*"),
        of("bytes 0-4"),
        of("bytes 4-0/10"),
        of("lines 0-4/10"),
        of("bytes 5-9/10"),
        of("bytes 0-4/4"),
        of("bytes 0-4/10").field("Content-Range", "bytes 0-4/10"),
        bare,
        multipart,
    ] {
        let origin = Origin::start().await;
        origin.on("/x", answer.clone());
        let larder = as_asked(&origin).start().await;
        for n in 1..=2 {
            let reply = range(&larder, "0-4").await;
            reply.has_status(206).is("MISS", "ORIGIN").says("01234");
            assert!(reply.field("cache-status").contains("detail=part"), "{reply:?}");
            assert_eq!(origin.count("/x"), n, "{:?}", answer.fields);
        }
    }
}

#[tokio::test]
async fn a_part_of_another_length_than_it_says_is_cut_off_and_not_stored() {
    for pieces in [["01", "2"], ["012", "34567"]] {
        let origin = Origin::start().await;
        let head = status(206)
            .field("Content-Range", "bytes 0-4/10")
            .field("Cache-Control", "max-age=60")
            .field("ETag", V1);
        origin.on("/x", head.chunk(pieces[0]).chunk(pieces[1]));
        let larder = as_asked(&origin).start().await;
        for n in 1..=2 {
            let asked = get(larder.url("/x")).with("Range", "bytes=0-4").open().await;
            assert_eq!((asked.status, asked.field("content-length")), (206, "5"));
            let rest = asked.rest().await;
            assert!(rest.is_err() || rest == Ok("01234".into()), "{rest:?}");
            assert_eq!(origin.count("/x"), n);
        }
    }
}

#[tokio::test]
async fn a_rest_that_is_cut_off_is_cut_off_for_the_client_and_the_part_stays() {
    let (origin, larder) = with_document(V1).await;
    bring(&larder, "0-4").await;
    let mut rest = part(BODY, 5, 9).field("ETag", V1).cut();
    rest.body.clear();
    origin.on("/x", rest.chunk("56"));
    assert!(get(larder.url("/x")).attempt().await.is_err());
    origin.with("/x", |asked| by_the_letter(asked, BODY, V1));
    is_part(range(&larder, "0-4").await.is("HIT", "L1"), "01234", "bytes 0-4/10");
    get(larder.url("/x")).await.has_status(200).says(BODY);
    assert_eq!(last(&origin).field("range"), "bytes=5-");
}

#[tokio::test]
async fn the_client_reads_along_while_the_rest_arrives() {
    let (origin, larder) = with_document(V1).await;
    bring(&larder, "0-4").await;
    let gate = Gate::closed();
    let mut rest = part(BODY, 5, 9).field("ETag", V1);
    rest.body.clear();
    origin.on("/x", rest.chunk("56").pause(&gate).chunk("789"));
    let mut first = get(larder.url("/x")).open().await;
    assert_eq!(first.at_least(7).await, b"0123456");
    let mut second = get(larder.url("/x")).open().await;
    assert_eq!(second.at_least(7).await, b"0123456");
    gate.open();
    assert_eq!(
        (first.rest().await.unwrap(), second.rest().await.unwrap()),
        ("789".into(), "789".into())
    );
    assert_eq!(origin.count("/x"), 2);
}

#[tokio::test]
async fn a_206_that_nobody_asked_for_is_a_failure_of_the_origin() {
    let origin = Origin::start().await;
    origin.on("/x", part(BODY, 0, 4).field("ETag", V1));
    let larder = as_asked(&origin).start().await;
    get(larder.url("/x")).await.is_problem(502);
    bring(&larder, "0-4").await;
    let larder = all_to(&origin).route("stale_if_error: 1h").start().await;
    origin.on("/x", ok(BODY).field("Cache-Control", "max-age=0").field("ETag", V1));
    get(larder.url("/x")).await.has_status(200).says(BODY);
    origin.on("/x", part(BODY, 0, 4).field("ETag", V1));
    get(larder.url("/x")).await.has_status(200).says(BODY).is("STALE", "L1");
}

#[tokio::test]
async fn fetches_are_shared_by_those_who_ask_for_the_same_part() {
    let (origin, larder) = with_document(V1).await;
    let gate = Gate::closed();
    let held = gate.clone();
    origin.with("/x", move |asked| by_the_letter(asked, BODY, V1).held(&held));
    let mut clients = JoinSet::new();
    let parts = [("bytes=0-4", "01234"), ("bytes=3-6", "3456"), ("bytes=-2", "89"), ("", BODY)];
    for n in 0..80 {
        let (wanted, text) = parts[n % 4];
        let url = larder.url("/x");
        clients.spawn(async move {
            let asked = get(url);
            let asked = if wanted.is_empty() { asked } else { asked.with("Range", wanted) };
            asked.await.has_status(if wanted.is_empty() { 200 } else { 206 }).says(text);
        });
    }
    origin.seen("/x", 4).await;
    // Who came later might find the part replaced by another one.
    until("all others follow", async || {
        (larder.metric("larder_flight_followers_total", &[]).await == 76).then_some(())
    })
    .await;
    gate.open();
    clients.join_all().await;
    let mut ranges: Vec<_> =
        origin.requests("/x").iter().map(|asked| asked.field("range").to_owned()).collect();
    ranges.sort_unstable();
    assert_eq!(ranges, ["", "bytes=-2", "bytes=0-4", "bytes=3-6"]);
}

#[tokio::test]
async fn who_wants_all_is_not_given_the_part_that_the_flight_brings() {
    let origin = Origin::start().await;
    origin.on("/x", stale_part("W/\"v1\""));
    let larder = as_asked(&origin).start().await;
    range(&larder, "3-6").await.is("MISS", "ORIGIN");
    until("the part is held", async || {
        let stale = get(larder.url("/x")).with("Range", "bytes=3-6");
        let stale = stale.with("Cache-Control", "only-if-cached, max-stale").await;
        (stale.status == 206).then_some(())
    })
    .await;
    // From now on a range and the whole share a flight, which asks whether the part that is held still holds.
    larder.rewrite(&all_to(&origin).text());
    post(larder.admin("/admin/config/reload")).await.has_status(200);
    let gate = Gate::closed();
    let held = gate.clone();
    origin.with("/x", move |asked| by_the_letter(asked, BODY, "W/\"v1\"").held(&held));
    let before = origin.count("/x");
    let part = beside(range_of(larder.url("/x"), "3-6"));
    origin.seen("/x", before + 1).await;
    let whole = beside(get(larder.url("/x")).into_future());
    until("the second has joined", async || {
        (larder.metric("larder_flight_followers_total", &[]).await > 0).then_some(())
    })
    .await;
    gate.open();
    is_part(&part.await.unwrap(), "3456", "bytes 3-6/10");
    whole.await.unwrap().has_status(200).says(BODY);
}

#[tokio::test]
async fn a_refused_range_of_one_client_changes_nothing_for_the_others() {
    let (origin, larder) = with_document(V1).await;
    range(&larder, "20-").await.has_status(416).has("content-range", "bytes */10");
    let gate = Gate::closed();
    let held = gate.clone();
    origin.with("/x", move |asked| by_the_letter(asked, BODY, V1).held(&held));
    let url = larder.url("/x");
    let clients: JoinSet<_> = (0..10).map(|_| get(&url).into_future()).collect();
    origin.seen("/x", 2).await;
    gate.open();
    for reply in clients.join_all().await {
        reply.has_status(200).says(BODY);
    }
    assert_eq!(origin.count("/x"), 2);
}

#[tokio::test]
async fn by_default_a_range_that_misses_fetches_the_whole_once() {
    let origin = Origin::start().await;
    origin.with("/x", |asked| by_the_letter(asked, BODY, V1));
    let larder = all_to(&origin).start().await;
    is_part(range(&larder, "2-3").await.is("MISS", "ORIGIN"), "23", "bytes 2-3/10");
    assert_eq!(last(&origin).field("range"), "");
    bring(&larder, "7-").await;
    get(larder.url("/x")).await.is("HIT", "L1").says(BODY);
    assert_eq!(origin.count("/x"), 1);
}

#[tokio::test]
async fn of_what_is_too_large_as_a_whole_parts_are_stored_all_the_same() {
    let origin = Origin::start().await;
    let large: &'static str = "x".repeat(100_000).leak();
    origin.with("/x", move |asked| by_the_letter(asked, large, V1));
    let larder = all_to(&origin).top("l1: { capacity: 16MiB, max_object: 64KiB }").start().await;
    get(larder.url("/x")).await.has_status(200).is("MISS", "ORIGIN");
    range(&larder, "0-9").await.has_status(206).says("xxxxxxxxxx");
    bring(&larder, "0-9").await;
    let before = origin.count("/x");
    range(&larder, "2-3").await.is("HIT", "L1").says("xx");
    assert_eq!(origin.count("/x"), before);
    // It is not completed, since it could not be kept.
    assert_eq!(get(larder.url("/x")).await.has_status(200).body.len(), large.len());
    assert_eq!(last(&origin).field("range"), "");
    // And a part that is too large itself is not stored.
    for _ in 0..2 {
        let before = origin.count("/x");
        assert_eq!(range(&larder, "0-70000").await.has_status(206).body.len(), 70_001);
        assert_eq!(origin.count("/x"), before + 1);
    }
}

#[tokio::test]
async fn a_purge_between_two_halves_leaves_nothing_to_combine() {
    for what in ["urls", "tags", "soft"] {
        let origin = Origin::start().await;
        let tagged =
            |asked: &Asked, body, tag| by_the_letter(asked, body, tag).field("Surrogate-Key", "t");
        origin.with("/x", move |asked| tagged(asked, BODY, V1));
        let larder = as_asked(&origin).start().await;
        bring(&larder, "0-4").await;
        // The origin errs, and says the same tag of other bytes: what was purged must not come back.
        origin.with("/x", move |asked| tagged(asked, "abcdefghij", V1));
        match what {
            "urls" => larder.purges(json!({"urls": [larder.url("/x")]})).await,
            "tags" => larder.purges(json!({"tags": ["t"]})).await,
            _ => larder.purges(json!({"tags": ["t"], "soft": true})).await,
        };
        let reply = get(larder.url("/x")).await;
        if what == "soft" {
            // Stale, and confirmed by its tag like any stale response.
            assert_eq!(last(&origin).field("if-range"), V1);
        } else {
            reply.has_status(200).says("abcdefghij");
            assert_eq!(last(&origin).field("range"), "", "{what}");
        }
    }
}

#[tokio::test]
async fn a_purge_while_the_rest_is_in_the_air_beats_the_combination() {
    let (origin, larder) = with_document(V1).await;
    bring(&larder, "0-4").await;
    let gate = Gate::closed();
    origin.on("/x", part(BODY, 5, 9).field("ETag", V1).held(&gate));
    let url = larder.url("/x");
    let waiting = beside(get(&url).into_future());
    origin.seen("/x", 2).await;
    larder.purges(json!({"urls": [url]})).await;
    origin.with("/x", |asked| by_the_letter(asked, "abcdefghij", "\"v2\""));
    get(larder.url("/x")).await.has_status(200).says("abcdefghij");
    gate.open();
    waiting.await.unwrap().has_status(200).says(BODY);
    for _ in 0..3 {
        get(larder.url("/x")).await.has_status(200).says("abcdefghij");
        range(&larder, "1-2").await.says("bc");
    }
}

#[tokio::test]
async fn a_write_invalidates_a_part() {
    let (origin, larder) = with_document(V1).await;
    bring(&larder, "0-4").await;
    origin.on("/x", ok("done"));
    post(larder.url("/x")).body("new").await.has_status(200);
    origin.with("/x", |asked| by_the_letter(asked, "abcdefghij", V1));
    range(&larder, "0-4").await.is("MISS", "ORIGIN").says("abcde");
}

#[tokio::test]
async fn a_stale_part_is_confirmed_by_its_tag_and_serves_on() {
    let origin = Origin::start().await;
    origin.on("/x", stale_part(V1));
    let larder = as_asked(&origin).start().await;
    range(&larder, "3-6").await.is("MISS", "ORIGIN");
    origin.with("/x", |asked| by_the_letter(asked, BODY, V1));
    until("the part is held", async || {
        let reply = range(&larder, "3-6").await;
        is_part(&reply, "3456", "bytes 3-6/10");
        (reply.outcome() == "HIT").then_some(())
    })
    .await;
    let asked = last(&origin);
    assert_eq!((asked.field("range"), asked.field("if-none-match")), ("bytes=3-6", V1));
    get(larder.url("/x")).await.has_status(200).says(BODY);
}

#[tokio::test]
async fn a_part_never_takes_the_place_of_what_is_whole_and_fresh() {
    for tag in [V1, ""] {
        let (origin, larder) = with_document(tag).await;
        get(larder.url("/x")).await.says(BODY);
        until("it is stored", async || {
            (get(larder.url("/x")).await.outcome() == "HIT").then_some(())
        })
        .await;
        origin.on(
            "/x",
            match tag {
                "" => part(BODY, 2, 3),
                tag => part(BODY, 2, 3).field("ETag", tag),
            },
        );
        let reply = get(larder.url("/x"))
            .with("Range", "bytes=2-3")
            .with("Cache-Control", "no-cache")
            .await;
        is_part(&reply, "23", "bytes 2-3/10");
        for _ in 0..3 {
            get(larder.url("/x")).await.is("HIT", "L1").has_status(200).says(BODY);
        }
        assert_eq!(origin.count("/x"), 2);
    }
}

#[tokio::test]
async fn a_part_is_only_for_requests_for_a_part() {
    let (origin, larder) = with_document(V1).await;
    bring(&larder, "0-4").await;
    let inside = || get(larder.url("/x")).with("Range", "bytes=1-2");
    inside().with("If-None-Match", V1).await.has_status(304).is("HIT", "L1").says("");
    inside().with("If-Match", "\"v2\"").await.has_status(412);
    is_part(inside().with("If-Range", V1).await.is("HIT", "L1"), "12", "bytes 1-2/10");
    assert_eq!(origin.count("/x"), 1);
    let only = get(larder.url("/x")).with("Cache-Control", "only-if-cached");
    only.await.is_problem(504);
    ask("HEAD", larder.url("/x")).await.has_status(200).is_not("HIT");
    assert_eq!(last(&origin).method, "HEAD");
    let reply = inside().with("If-Range", "\"v2\"").await;
    reply.has_status(200).says(BODY).is_not("HIT");
}

#[tokio::test]
async fn a_condition_without_a_range_is_not_answered_from_a_part() {
    let (origin, larder) = with_document(V1).await;
    bring(&larder, "0-4").await;
    let reply = get(larder.url("/x")).with("If-None-Match", V1).await;
    reply.has_status(304).is("MISS", "ORIGIN");
    assert_eq!(last(&origin).field("range"), "bytes=5-");
    get(larder.url("/x")).await.has_status(200).says(BODY);
}

#[tokio::test]
async fn a_206_to_a_condition_on_the_range_is_passed_and_not_stored() {
    let (origin, larder) = with_document(V1).await;
    for n in 1..=2 {
        let asked = get(larder.url("/x")).with("Range", "bytes=0-4").with("If-Range", V1);
        is_part(&asked.await, "01234", "bytes 0-4/10");
        assert_eq!(origin.count("/x"), n);
        assert_eq!(last(&origin).field("if-range"), V1);
    }
}

#[tokio::test]
async fn parts_of_different_variants_are_kept_apart() {
    let origin = Origin::start().await;
    origin.with("/x", |asked| {
        let body = if asked.field("accept-language") == "de" { "abcdefghij" } else { BODY };
        by_the_letter(asked, body, V1).field("Vary", "Accept-Language")
    });
    let larder = as_asked(&origin).start().await;
    let speaks = |language: &str| get(larder.url("/x")).with("Accept-Language", language);
    for (language, text) in [("de", "abcde"), ("en", "01234")] {
        until("it is stored", async || {
            let reply = speaks(language).with("Range", "bytes=0-4").await;
            (reply.says(text).outcome() == "HIT").then_some(())
        })
        .await;
    }
    speaks("de").with("Range", "bytes=1-2").await.is("HIT", "L1").says("bc");
    speaks("en").await.has_status(200).says(BODY);
    speaks("de").await.has_status(200).says("abcdefghij");
}

#[tokio::test]
async fn what_may_not_be_shared_is_not_stored_in_parts_either() {
    let origin = Origin::start().await;
    origin.with("/x", |asked| by_the_letter(asked, BODY, V1));
    let larder = as_asked(&origin).start().await;
    let with = get(larder.url("/x")).with("Range", "bytes=0-4").with("Authorization", "Basic eA==");
    is_part(&with.await, "01234", "bytes 0-4/10");
    range(&larder, "0-4").await.is("MISS", "ORIGIN");
    for (name, value) in [("Set-Cookie", "a=b"), ("Cache-Control", "private")] {
        let origin = Origin::start().await;
        origin.on("/x", part(BODY, 0, 4).field(name, value));
        let larder = as_asked(&origin).start().await;
        for n in 1..=2 {
            is_part(&range(&larder, "0-4").await, "01234", "bytes 0-4/10");
            assert_eq!(origin.count("/x"), n, "{name}");
        }
    }
}

#[tokio::test]
async fn parts_stay_in_memory_and_the_whole_goes_to_the_second_level() {
    let origin = Origin::start().await;
    origin.with("/x", |asked| by_the_letter(asked, BODY, V1));
    let directory = TempDir::new().unwrap();
    let yaml = as_asked(&origin).disk(directory.path());
    let mut larder = yaml.start().await;
    bring(&larder, "0-4").await;
    larder.restart().await;
    range(&larder, "0-4").await.is("MISS", "ORIGIN");
    bring(&larder, "0-4").await;
    get(larder.url("/x")).await.has_status(200).says(BODY);
    assert_eq!(last(&origin).field("range"), "bytes=5-");
    until("the whole is stored", async || {
        (get(larder.url("/x")).await.outcome() == "HIT").then_some(())
    })
    .await;
    larder.restart().await;
    is_part(range(&larder, "3-6").await.is("HIT", "L2"), "3456", "bytes 3-6/10");
    get(larder.url("/x")).await.is("HIT", "L1").says(BODY);
    assert_eq!(origin.count("/x"), 3);
}

/// RFC 9110 §15.3.7.2.
#[tokio::test]
async fn a_multipart_answer_has_no_content_range_whatever_the_origin_said() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("0123456789").field("Content-Range", "foo 1"));
    let larder = all_to(&origin).start().await;
    for _ in 0..2 {
        let parts = get(larder.url("/x")).with("Range", "bytes=0-1,5-6").await;
        parts.has_status(206).lacks("content-range");
        assert!(parts.field("content-type").starts_with("multipart/byteranges"), "{parts:?}");
    }
}
