//! Nobody gets what was meant for somebody else: private answers, cookies and authorised requests.

use crate::support::answer::{fresh, ok};
use crate::support::client::get;
use crate::support::origin::Origin;
use crate::support::redis::RedisServer;
use crate::support::yaml::all_to;

const SPELLINGS: [&[&str]; 15] = [
    &["private"],
    &["no-store"],
    &["PRIVATE, max-age=60"],
    &["No-Store"],
    &["max-age=60,private"],
    &["max-age=60 ,  no-store"],
    &["max-age=60,\tprivate"],
    &["max-age=60", "private"],
    &["max-age=60", "s-maxage=60", "No-STORE"],
    &["public, no-store, max-age=60"],
    &[",,private,,max-age=60"],
    &["ext=\"a, b\", private, max-age=60"],
    &["ext=\"a\\\", b\", no-store, max-age=60"],
    &["private=\"x-secret\", max-age=60, no-store"],
    &["max-age=60, private=\"\""],
];

#[tokio::test]
async fn private_and_no_store_are_never_kept_in_any_spelling() {
    let redis = RedisServer::start().await;
    let origin = Origin::start().await;
    let yaml = all_to(&origin).redis(redis.port()).route("ttl: 1h").route("respect_origin: false");
    let larder = yaml.start().await;
    for (n, spelling) in SPELLINGS.iter().enumerate() {
        let path = format!("/{n}");
        origin.with(&path, move |asked| {
            let mut answer = ok(asked.field("x-who").to_owned());
            for line in *spelling {
                answer = answer.field("Cache-Control", *line);
            }
            answer
        });
        for who in ["ann", "bob"] {
            let reply = get(larder.url(&path)).with("X-Who", who).await;
            reply.is_not("HIT");
            assert_eq!(reply.text(), who, "{spelling:?}");
        }
    }
    assert!(redis.keys("cache:*").await.is_empty(), "nothing of it is in Redis either");
}

#[tokio::test]
async fn an_answer_that_sets_a_cookie_is_not_shared() {
    let origin = Origin::start().await;
    let mut n = 0;
    origin.with("*", move |_| {
        n += 1;
        fresh("page").field("Set-Cookie", format!("id={n}"))
    });
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).await.is_not("HIT").has("set-cookie", "id=1");
    get(larder.url("/x")).await.is_not("HIT").has("set-cookie", "id=2");
    let sharing = all_to(&origin).route("share: [set-cookie]").start().await;
    get(sharing.url("/x")).await.is("MISS", "ORIGIN");
    get(sharing.url("/x")).await.is("HIT", "L1");
}

#[tokio::test]
async fn an_authorised_answer_is_shared_only_when_it_says_so() {
    let origin = Origin::start().await;
    let larder = all_to(&origin).start().await;
    let who = |asked: &crate::support::origin::Asked| asked.field("authorization").to_owned();
    for (path, directive, shared) in [
        ("/silent", "max-age=60", false),
        ("/public", "public, max-age=60", true),
        ("/s-maxage", "s-maxage=60", true),
        ("/must-revalidate", "must-revalidate, max-age=60", true),
    ] {
        origin.with(path, move |asked| ok(who(asked)).field("Cache-Control", directive));
        get(larder.url(path)).with("Authorization", "ann").await.is_not("HIT").says("ann");
        let second = get(larder.url(path)).with("Authorization", "bob").await;
        assert_eq!(second.outcome() == "HIT", shared, "{path} {second:?}");
        assert_eq!(second.text(), if shared { "ann" } else { "bob" }, "{path}");
    }
}

#[tokio::test]
async fn an_authorised_answer_is_not_found_by_those_without() {
    let origin = Origin::start().await;
    origin.with("/x", |asked| fresh(format!("for {}", asked.field("authorization"))));
    let larder = all_to(&origin).route("ttl: 1m").start().await;
    get(larder.url("/x")).with("Authorization", "ann").await.says("for ann");
    get(larder.url("/x")).await.is_not("HIT").says("for ");
}

#[tokio::test]
async fn a_route_may_share_what_is_authorised() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("all"));
    let larder = all_to(&origin).route("share: [authorization]").start().await;
    get(larder.url("/x")).with("Authorization", "ann").await.is("MISS", "ORIGIN");
    get(larder.url("/x")).with("Authorization", "bob").await.is("HIT", "L1");
}

#[tokio::test]
async fn concurrent_users_of_a_private_url_each_get_their_own() {
    let origin = Origin::start().await;
    // Until the first answer has come nobody knows that it is private; from then on nobody waits for another.
    let crowd = crate::support::answer::Crowd::of(9);
    let asked_before = std::sync::atomic::AtomicBool::new(false);
    origin.with("/me", move |asked| {
        let answer =
            ok(asked.field("cookie").to_owned()).field("Cache-Control", "private, max-age=60");
        if asked_before.swap(true, std::sync::atomic::Ordering::SeqCst) {
            answer.with_crowd(&crowd)
        } else {
            answer
        }
    });
    let larder = all_to(&origin).start().await;
    let mut users = tokio::task::JoinSet::new();
    for n in 0..10 {
        let url = larder.url("/me");
        users.spawn(async move {
            let cookie = format!("user={n}");
            get(url)
                .with("Cookie", cookie.clone())
                .await
                .says(&cookie)
                .is_not("HIT")
                .is_not("COALESCED");
        });
    }
    while let Some(user) = users.join_next().await {
        user.unwrap();
    }
}

#[tokio::test]
async fn a_request_that_says_no_store_leaves_nothing_behind() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let larder = all_to(&origin).start().await;
    get(larder.url("/x")).with("Cache-Control", "no-store").await.is_not("HIT").says("hello");
    get(larder.url("/x")).await.is_not("HIT").says("hello");
    get(larder.url("/x")).await.is("HIT", "L1");
}

#[tokio::test]
async fn a_page_named_like_a_picture_is_not_kept() {
    let origin = Origin::start().await;
    origin.on("/account/x.jpg", fresh("secret").field("Content-Type", "text/html"));
    let larder = all_to(&origin).start().await;
    for _ in 0..2 {
        get(larder.url("/account/x.jpg")).await.is_not("HIT");
    }
}

/// RFC 9111 §5.2.2.7 and §5.2.2.4: the listed fields are not stored; they still are part of the answer to the request
/// that the origin answered.
#[tokio::test]
async fn listed_fields_reach_the_client_whose_request_was_answered_and_no_other() {
    let origin = Origin::start().await;
    let answer = ok("x")
        .field("Cache-Control", "max-age=60, private=\"Set-Cookie\", no-cache=\"X-Once\"")
        .field("Set-Cookie", "id=1")
        .field("Set-Cookie", "more=2")
        .field("X-Once", "1")
        .field("X-All", "1");
    origin.on("/x", answer);
    let larder = all_to(&origin).start().await;
    let first = get(larder.url("/x")).await;
    assert_eq!(first.lines("set-cookie"), ["id=1", "more=2"]);
    assert_eq!((first.field("x-once"), first.field("x-all")), ("1", "1"));
    let second = get(larder.url("/x")).await;
    second.is("HIT", "L1").says("x");
    assert!(second.lines("set-cookie").is_empty() && second.lines("x-once").is_empty());
    assert_eq!(second.field("x-all"), "1");
}
