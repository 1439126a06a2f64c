//! The threats of `SECURITY.md`, played on the wire against the binary with raw clients and a raw origin.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the document fails")]

#[path = "attacks/mod.rs"]
mod attacks;
#[path = "support/mod.rs"]
mod support;

use attacks::document::{document, stories, twins};
use attacks::play::play;
use attacks::row::Story;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/SECURITY.md");

#[tokio::test]
async fn a_body_has_one_length_or_the_request_is_refused() {
    play(&attacks::framing::threats()).await;
}

#[tokio::test]
async fn a_head_has_one_meaning_or_the_request_is_refused() {
    play(&attacks::parsing::threats()).await;
}

#[tokio::test]
async fn a_connection_cannot_be_led_astray() {
    play(&attacks::connection::threats()).await;
}

#[tokio::test]
async fn http2_is_held_to_the_same() {
    play(&attacks::http2::threats()).await;
}

#[tokio::test]
async fn what_is_not_keyed_does_not_steer_what_is_shared() {
    play(&attacks::poisoning::threats()).await;
}

#[tokio::test]
async fn nobody_gets_what_was_meant_for_another() {
    play(&attacks::deception::threats()).await;
}

#[tokio::test]
async fn nothing_that_a_stranger_sends_keeps_others_from_being_served() {
    play(&attacks::floods::threats()).await;
}

#[test]
fn the_document_says_what_the_tables_say() {
    let kept = std::fs::read_to_string(FILE).unwrap_or_default();
    let made = document(&kept);
    if std::env::var_os("LARDER_WRITE").is_some() {
        std::fs::write(FILE, &made).unwrap();
        return;
    }
    assert!(
        kept == made,
        "SECURITY.md is not what the tables say; LARDER_WRITE=1 cargo test --test attacks writes it anew"
    );
}

#[test]
fn no_two_rows_have_one_name() {
    let twins = twins();
    assert!(twins.is_empty(), "{twins:#?}");
}

#[test]
fn every_story_is_a_test() {
    for Story { file, test } in stories() {
        let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap();
        let marked = ["#[tokio::test]\nasync fn", "#[test]\nfn"];
        assert!(
            marked.iter().any(|mark| text.contains(&format!("{mark} {test}("))),
            "{test} is no test of {file}"
        );
    }
}
