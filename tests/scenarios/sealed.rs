//! What lies in the second layer is sealed: nobody reads it there, nobody changes it, and keys are rotated without a miss.

use crate::support::answer::fresh;
use crate::support::client::get;
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::redis::RedisServer;
use crate::support::until;
use crate::support::yaml::{Yaml, all_to};

const OLD: &str = "{ id: old, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY= }";
const NEW: &str = "{ id: new, secret: ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA= }";

/// The text of a configuration whose second layer is sealed by these keys.
fn sealed(yaml: &Yaml, keys: &[&str]) -> String {
    let keys = format!("l2:\n  encrypt: {{ keys: [ {} ] }}\n", keys.join(", "));
    yaml.text().replacen("l2:\n", &keys, 1)
}

async fn in_redis(redis: &RedisServer) -> String {
    until("the entry is in Redis", async || redis.keys("cache:*").await.pop()).await
}

/// Whether this text stands in clear anywhere under a key.
async fn shows(redis: &RedisServer, key: &str, text: &str) -> bool {
    let script = "for _, part in ipairs(redis.call('HGETALL', KEYS[1])) do \
                  if string.find(part, ARGV[1], 1, true) then return 'yes' end end return 'no'";
    redis.text(&["EVAL", script, "1", key, text]).await == "yes"
}

async fn refused(larder: &Larder, reason: &str) {
    let labels = [("cache_layer", "L2"), ("reason", reason)];
    let what = format!("an entry is {reason}");
    until(&what, async || {
        (larder.metric("larder_store_failures_total", &labels).await > 0).then_some(())
    })
    .await;
}

async fn starts_anew_with(larder: &mut Larder, yaml: &str) {
    larder.stop().await;
    larder.rewrite(yaml);
    larder.start_again().await;
}

#[tokio::test]
async fn nothing_of_a_sealed_entry_can_be_read_in_redis() {
    let texts = ["whispered", "private-page", "x-secret-choice", "tag-of-mine", "x-said"];
    for (keys, is_shown) in [(&[OLD][..], false), (&[], true)] {
        let (origin, redis) = (Origin::start().await, RedisServer::start().await);
        let answer = fresh("whispered ".repeat(3)).field("Vary", "X-Secret-Choice");
        origin
            .on("/private-page", answer.field("Surrogate-Key", "tag-of-mine").field("X-Said", "a"));
        let yaml = all_to(&origin).redis(redis.port());
        let text = if keys.is_empty() { yaml.text() } else { sealed(&yaml, keys) };
        let larder = Larder::start(&text).await;
        get(larder.url("/private-page")).await.is("MISS", "ORIGIN");
        let key = in_redis(&redis).await;
        for text in texts {
            assert_eq!(shows(&redis, &key, text).await, is_shown, "{text} under {keys:?}");
        }
    }
}

#[tokio::test]
async fn keys_are_rotated_without_a_miss_and_what_a_lost_key_sealed_is_deleted() {
    let (origin, redis) = (Origin::start().await, RedisServer::start().await);
    origin.on("/x", fresh("hello"));
    let yaml = all_to(&origin).redis(redis.port());
    let mut larder = Larder::start(&sealed(&yaml, &[OLD])).await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    in_redis(&redis).await;
    starts_anew_with(&mut larder, &sealed(&yaml, &[NEW, OLD])).await;
    get(larder.url("/x")).await.is("HIT", "L2").says("hello");
    // Without the key it is as if it were not there.
    starts_anew_with(&mut larder, &sealed(&yaml, &[NEW])).await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN").says("hello");
    refused(&larder, "unreadable_unknown_key").await;
    // What took its place is sealed with the new one.
    starts_anew_with(&mut larder, &sealed(&yaml, &[NEW])).await;
    until("the new one is found", async || {
        (get(larder.url("/x")).await.says("hello").outcome() == "HIT").then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_in_clear_is_not_believed_once_there_is_a_key() {
    let (origin, redis) = (Origin::start().await, RedisServer::start().await);
    origin.on("/x", fresh("hello"));
    let yaml = all_to(&origin).redis(redis.port());
    let mut larder = Larder::start(&yaml.text()).await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    in_redis(&redis).await;
    starts_anew_with(&mut larder, &sealed(&yaml, &[OLD])).await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    refused(&larder, "unreadable_unsealed").await;
}

#[tokio::test]
async fn a_sealed_entry_that_is_moved_to_another_url_is_refused() {
    let (origin, redis) = (Origin::start().await, RedisServer::start().await);
    origin.on("/mine", fresh("mine"));
    origin.on("/yours", fresh("yours"));
    let yaml = all_to(&origin).redis(redis.port()).route("layers: [l2]");
    let larder = Larder::start(&sealed(&yaml, &[OLD])).await;
    get(larder.url("/mine")).await.is("MISS", "ORIGIN");
    let mine = in_redis(&redis).await;
    get(larder.url("/yours")).await.is("MISS", "ORIGIN");
    let yours = until("both are in Redis", async || {
        redis.keys("cache:*").await.into_iter().find(|key| *key != mine)
    })
    .await;
    get(larder.url("/yours")).await.is("HIT", "L2").says("yours");
    redis.run(&["COPY", &mine, &yours, "REPLACE"]).await;
    get(larder.url("/yours")).await.is("MISS", "ORIGIN").says("yours");
}

#[tokio::test]
async fn what_is_one_persons_is_kept_in_the_second_layer_alone_for_that_person() {
    let (origin, redis) = (Origin::start().await, RedisServer::start().await);
    origin.with("/account", |asked| fresh(format!("for {}", asked.field("cookie"))));
    let yaml = all_to(&origin).redis(redis.port()).route("key: { cookies: [session] }");
    let larder = Larder::start(&sealed(&yaml, &[OLD])).await;
    let as_of = async |who: &str| {
        let session = format!("session={who}");
        get(larder.url("/account")).with("Cookie", &*session).await
    };
    for who in ["ann", "bob"] {
        as_of(who).await.is("MISS", "ORIGIN").says(&format!("for session={who}"));
    }
    until("both are in Redis", async || (redis.keys("cache:*").await.len() == 2).then_some(()))
        .await;
    for who in ["ann", "bob", "ann"] {
        as_of(who).await.is("HIT", "L2").says(&format!("for session={who}"));
    }
    let labels = [("cache_layer", "L1")];
    assert_eq!(larder.metric("cache_keys_total", &labels).await, 0, "nothing is in memory");
}
