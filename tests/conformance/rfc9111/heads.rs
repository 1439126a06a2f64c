//! §4.3.5: what an answer to a HEAD does to a stored GET.

use crate::conformance::answer::{brief, controlled, fresh, ok, status};
use crate::conformance::row::Level::{Must, Should};
use crate::conformance::row::{Clause, clause, get, head};

const TAG: &str = "\"abcdef\"";
const MODIFIED: &str = "Tue, 15 Nov 1994 12:45:26 GMT";

pub(crate) fn clauses() -> Vec<Clause> {
    let contradicted = |stored: &'static str, told: &'static str, name: &'static str| {
        [
            get().origin(fresh().with(name, stored)),
            head()
                .with("Cache-Control", "no-cache")
                .origin(fresh().with(name, told))
                .origin_saw_method("HEAD"),
            get().after(1).origin(fresh()),
        ]
    };
    vec![
        clause("4.3.5", Must, "If a cache updates a stored response with the metadata provided in a HEAD response, the cache MUST use the header fields provided in the HEAD response to update the stored response")
            .row("by the same ETag: lifetime and age begin anew", [
                get().origin(brief().with("ETag", TAG)),
                head().after(2).origin(fresh().with("ETag", TAG)).origin_saw_method("HEAD"),
                get().after(1).reuses(1).has("Cache-Control", "max-age=3600").has_date("Date", -1).age(1..=2),
            ])
            .row("by the same Last-Modified: lifetime and age begin anew", [
                get().origin(brief().with("Last-Modified", MODIFIED)),
                head().after(2).origin(fresh().with("Last-Modified", MODIFIED)).origin_saw_method("HEAD"),
                get().after(1).reuses(1).has("Cache-Control", "max-age=3600").has_date("Date", -1).age(1..=2),
            ])
            .each("{} of the HEAD replaces the stored one", &["Foo", "Content-Type", "Content-Language", "Link"], |name| {
                [
                    get().origin(brief().with("ETag", TAG).with(name, "first")),
                    head().after(2).origin(fresh().with("ETag", TAG).with(name, "second")),
                    get().after(1).reuses(1).has(name, "second").has("Cache-Control", "max-age=3600").has_date("Date", -1),
                ]
            })
            .row("fields that the HEAD does not have stay", [
                get().origin(brief().with("ETag", TAG).with("Foo", "1")),
                head().after(2).origin(fresh().with("ETag", TAG)),
                get().after(1).reuses(1).has("Foo", "1").has("Cache-Control", "max-age=3600").has_date("Date", -1),
            ]),
        clause("4.3.5", Should, "otherwise, the cache SHOULD consider the stored response to be stale.")
            .row("another ETag", contradicted(TAG, "\"b\"", "ETag"))
            .row("another Last-Modified", contradicted(MODIFIED, "Tue, 15 Nov 1994 12:45:27 GMT", "Last-Modified"))
            .row("another Content-Length", [
                get().origin(fresh().with("ETag", TAG)),
                head().with("Cache-Control", "no-cache").origin(fresh().with("ETag", TAG).content("longer than the other")),
                get().after(1).origin(fresh()),
            ]),
        clause("4.3.5", Should, "When a cache makes an inbound HEAD request for a target URI and receives a 200 (OK) response, the cache SHOULD update or invalidate each of its stored GET responses that could have been chosen for that request")
            .each("a {} to a HEAD changes nothing", &[404, 410, 500, 503], |code: u16| {
                [
                    get().origin(fresh().with("ETag", TAG)),
                    head().with("Cache-Control", "no-cache").origin(status(code).with("Cache-Control", "no-store")).says_of_itself(),
                    get().after(1).reuses(1),
                ]
            })
            .row("a HEAD without a stored GET stores none", [
                head().origin(fresh().with("ETag", TAG)),
                get().after(1).origin(ok()),
            ])
            .row("a HEAD of another variant changes nothing", [
                get().with("Foo", "1").origin(fresh().with("ETag", TAG).with("Vary", "Foo")),
                head().with("Foo", "2").origin(controlled("max-age=3600").with("ETag", "\"b\"").with("Vary", "Foo")),
                get().after(1).with("Foo", "1").reuses(1),
            ]),
    ]
}
