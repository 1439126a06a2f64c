//! What must be the same through a proxy, and what must not.

use std::collections::BTreeMap;

use crate::support::reply::Reply;

/// Fields that a proxy has to change, or that tell of the hop or the moment.
const OF_THE_HOP: [&str; 10] = [
    "date",
    "connection",
    "keep-alive",
    "transfer-encoding",
    "content-length",
    "via",
    "age",
    "x-cache",
    "x-cache-layer",
    "cache-status",
];

/// All fields of the message itself, by name, with their lines in order.
pub(crate) fn fields(reply: &Reply) -> BTreeMap<&str, Vec<&str>> {
    let names =
        reply.fields.keys().map(http::HeaderName::as_str).filter(|name| !OF_THE_HOP.contains(name));
    names.map(|name| (name, reply.lines(name))).collect()
}

/// Status, fields and body are those of the direct answer.
#[track_caller]
pub(crate) fn same(what: &str, direct: &Reply, through: &Reply) {
    same_head(what, direct, through);
    assert!(direct.body == through.body, "{what}: the bodies differ:{direct:?}{through:?}");
    if direct.fields.contains_key("content-length") {
        let length = |reply: &Reply| reply.field("content-length").to_owned();
        assert_eq!(length(direct), length(through), "{what}");
    }
}

/// Status and fields are those of the direct answer; the body repeats the request, which the proxy had to change.
#[track_caller]
pub(crate) fn same_head(what: &str, direct: &Reply, through: &Reply) {
    assert_eq!(direct.status, through.status, "{what}:{direct:?}{through:?}");
    assert_eq!(fields(direct), fields(through), "{what}");
    assert!(
        !through.field("via").is_empty() && !through.outcome().is_empty(),
        "{what} did not go through: {through:?}"
    );
}
