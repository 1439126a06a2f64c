//! RFC 10008 on the wire: every row of its table, against the strict configuration.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops, and says where")]

#[path = "conformance/mod.rs"]
mod conformance;
#[path = "support/mod.rs"]
mod support;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_of_the_table_of_rfc_10008_passes() {
    conformance::play::play(10008, &conformance::rfc10008::clauses()).await;
}
