//! `docs/conformance.md` says what the tables of conformance say.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the document fails")]

#[path = "conformance/mod.rs"]
mod conformance;
#[path = "support/mod.rs"]
mod support;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/conformance.md");

#[test]
fn the_document_says_what_the_tables_say() {
    let made = conformance::document::document();
    if std::env::var_os("LARDER_WRITE").is_some() {
        std::fs::write(FILE, &made).unwrap();
    }
    let kept = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        kept == made,
        "docs/conformance.md is not what the tables say; LARDER_WRITE=1 cargo test --test conformance writes it anew"
    );
}

#[test]
fn no_two_rows_of_a_clause_have_one_name() {
    let twins = conformance::document::twins();
    assert!(twins.is_empty(), "{twins:#?}");
}
