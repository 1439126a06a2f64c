//! §4.3 and §3.2: conditional requests from clients and to the origin, and what a 304 changes.

use crate::conformance::answer::{Answer, brief, controlled, fresh, not_modified, ok, status};
use crate::conformance::row::Level::{Defined, Must, Should};
use crate::conformance::row::{Clause, clause, get, head};

const MODIFIED: &str = "Tue, 15 Nov 1994 12:45:26 GMT";
const TAG: &str = "\"abcdef\"";

/// Fields that a 304 replaces, with the value stored first and the one that the 304 has.
const REPLACED: [(&str, &str, &str); 16] = [
    ("Test-Header", "first", "second"),
    ("X-Test-Header", "first", "second"),
    ("Content-Foo", "first", "second"),
    ("X-Content-Foo", "first", "second"),
    ("Content-Location", "/first", "/second"),
    ("Content-MD5", "rL0Y20zC+Fzt72VPzMSk2A==", "N7UdGUp1E+RbVvZSTy1R8g=="),
    ("Content-Security-Policy", "default-src 'self'", "default-src 'none'"),
    ("Content-Type", "text/plain", "text/plain;charset=utf-8"),
    ("Clear-Site-Data", "cache", "cookies"),
    ("Expires", "Fri, 01 Jan 2038 00:00:00 GMT", "Sat, 02 Jan 2038 00:00:00 GMT"),
    ("Public-Key-Pins", "a", "b"),
    ("Set-Cookie", "a=b", "a=c"),
    ("Set-Cookie2", "a=b", "a=c"),
    ("X-Frame-Options", "deny", "sameorigin"),
    ("X-XSS-Protection", "1", "0"),
    ("Last-Modified", "Tue, 15 Nov 1994 12:45:26 GMT", "Tue, 15 Nov 1994 12:45:26 GMT"),
];

fn tagged() -> Answer {
    brief().with("ETag", TAG)
}

pub(crate) fn clauses() -> Vec<Clause> {
    [sent(), received(), answered(), freshened(), updated()].into_iter().flatten().collect()
}

fn sent() -> Vec<Clause> {
    vec![
        clause("4.3.1", Must, "MUST send the relevant entity tags (using If-Match, If-None-Match, or If-Range) if the entity tags were provided in the stored response(s) being validated")
            .each("the tag {} is sent as it is", &["\"abcdef\"", "W/\"abcdef\"", "\"\"", "\"a,b\"", "\"a\\b\""], |tag| {
                [
                    get().origin(brief().with("ETag", tag)),
                    get().after(2).origin(not_modified()).validates(1, [("If-None-Match", tag)]),
                ]
            })
            .row("a tag with bytes above 0x7F is sent as it is", [
                get().origin(brief().with("ETag", b"\"caf\xe9\"")),
                get().after(2).origin(fresh()).origin_saw("If-None-Match", b"\"caf\xe9\""),
            ])
            .row("a tag without quotes is sent in quotes", [
                get().origin(brief().with("ETag", "abcdef")),
                get().after(2).origin(not_modified()).validates(1, [("If-None-Match", "\"abcdef\"")]),
            ])
            .row("a client's condition is not sent in the place of the stored tag", [
                get().origin(tagged()),
                get().after(2).with("If-None-Match", "\"other\"").origin(not_modified()).validates(1, [("If-None-Match", TAG)]),
            ]),
        clause("4.3.1", Should, "SHOULD send the Last-Modified value (using If-Modified-Since) if the request is not for a subrange, a single stored response is being validated, and that response contains a Last-Modified value")
            .row("Last-Modified is sent as it is", [
                get().origin(brief().with("Last-Modified", MODIFIED)),
                get().after(2).origin(not_modified()).validates(1, [("If-Modified-Since", MODIFIED)]),
            ])
            .row("both validators are sent", [
                get().origin(tagged().with("Last-Modified", MODIFIED)),
                get().after(2).origin(not_modified()).validates(1, [("If-None-Match", TAG), ("If-Modified-Since", MODIFIED)]),
            ])
            .row("without a validator nothing is asked", [get().origin(brief()), get().after(2).offers([])]),
        clause("4.3.1", Defined, "a cache either starts with a request it is attempting to satisfy or [...] synthesizes a request using a stored response by copying the method, target URI, and request header fields identified by the Vary header field")
            .row("the validation has the fields that Vary names", [
                get().with("Foo", "1").origin(tagged().with("Vary", "Foo")),
                get().after(2).with("Foo", "1").with("Other", "2").origin(not_modified())
                    .validates(1, [("If-None-Match", TAG)]).origin_saw("Foo", "1").origin_saw("Other", "2"),
            ]),
    ]
}

fn received() -> Vec<Clause> {
    let stored = || {
        fresh()
            .with("ETag", TAG)
            .with("Last-Modified", MODIFIED)
            .with("Content-Location", "/a")
            .with("Vary", "Foo")
    };
    vec![
        clause("4.3.2", Should, "the cache SHOULD evaluate any applicable conditional header field preconditions received in that request with respect to the corresponding validators contained within the stored response")
            .each("If-None-Match: {} is a 304", &["\"abcdef\"", "W/\"abcdef\"", "\"abcdef\", \"a\"", "\"a\", \"abcdef\", \"b\"", "\"a\", \"b\",\"abcdef\"", "*"], |tags| {
                [get().origin(stored()), get().with("If-None-Match", tags).is_not_modified(1)]
            })
            .each("If-None-Match: {} is the whole response", &["\"abc\"", "\"a\", \"b\"", "\"ABCDEF\"", "w/\"abcdef\"", "W\\\"abcdef\"", "W\"abcdef\""], |tags| {
                [get().origin(stored()), get().with("If-None-Match", tags).reuses(1)]
            })
            .row("tags on two lines are one list", [
                get().origin(stored()),
                get().with("If-None-Match", "\"a\"").with("If-None-Match", TAG).is_not_modified(1),
            ])
            .row("a stored weak tag matches a strong one", [
                get().origin(fresh().with("ETag", "W/\"abcdef\"")),
                get().with("If-None-Match", TAG).is_not_modified(1),
            ])
            .row("tags are opaque bytes", [
                get().origin(fresh().with("ETag", b"\"caf\xe9\"")),
                get().with("If-None-Match", b"\"caf\xe8\"").reuses(1),
                get().with("If-None-Match", b"\"caf\xe9\"").is_not_modified(1),
            ])
            .row("a HEAD is a 304 too", [get().origin(stored()), head().with("If-None-Match", TAG).is_not_modified(1)])
            .row("the 304 has an Age", [get().origin(stored()), get().after(2).with("If-None-Match", TAG).is_not_modified(1).age(2..=3)]),
        clause("4.3.2", Defined, "If an If-None-Match header field is not present, a request containing an If-Modified-Since header field indicates that the client wants to validate one or more of its own stored responses by modification date.")
            .each("If-Modified-Since: {} is a 304", &["Tue, 15 Nov 1994 12:45:26 GMT", "Tue, 15 Nov 1994 12:45:27 GMT", "Tuesday, 15-Nov-94 12:45:26 GMT", "Tue Nov 15 12:45:26 1994"], |date| {
                [get().origin(stored()), get().with("If-Modified-Since", date).is_not_modified(1)]
            })
            .each("If-Modified-Since: {} is the whole response", &["Tue, 15 Nov 1994 12:45:25 GMT", "foo", "0"], |date| {
                [get().origin(stored()), get().with("If-Modified-Since", date).reuses(1)]
            }),
        clause("4.3.2", Defined, "If-None-Match takes precedence over If-Modified-Since")
            .row("a tag that does not match counts, whatever the date says", [
                get().origin(stored()),
                get().with("If-None-Match", "\"a\"").with("If-Modified-Since", MODIFIED).reuses(1),
            ])
            .row("a tag that matches counts, whatever the date says", [
                get().origin(stored()),
                get().with("If-None-Match", TAG).with("If-Modified-Since", "Tue, 15 Nov 1994 12:45:25 GMT").is_not_modified(1),
            ]),
        clause("4.3.2", Should, "If a request contains an If-Modified-Since header field and the Last-Modified header field is not present in a stored response, a cache SHOULD use the stored response's Date field value")
            .row("a date after Date is a 304", [
                get().origin(fresh().dated("Date", -60)),
                get().dated("If-Modified-Since", -30).is_not_modified(1),
            ])
            .row("a date before Date is the whole response", [
                get().origin(fresh().dated("Date", -60)),
                get().dated("If-Modified-Since", -90).reuses(1),
            ]),
        clause("4.3.2", Must, "A cache MUST NOT evaluate conditional header fields that [...] occur in a request with a target resource for which it has no stored responses")
            .row("the client's tag, where nothing is stored: the origin's 304 or 200 becomes the client's", [
                get().with("If-None-Match", "\"a\"").origin(fresh().with("ETag", TAG)),
            ]),
    ]
}

fn answered() -> Vec<Clause> {
    vec![
        clause("4.3.3", Must, "the cache MUST use the full response to satisfy the request")
            .each("a {} in answer to a validation is the answer", &[200, 203, 404, 410], |code: u16| {
                [
                    get().origin(tagged()),
                    get().after(2).origin(status(code).with("ETag", "\"b\"").with("Cache-Control", "max-age=3600")).offers([("If-None-Match", TAG)]),
                    get().reuses(2),
                ]
            })
            .each("what was replaced by a {} is gone, also from its stale window", &[404, 410, 403], |number| [
                get().origin(controlled("max-age=1, stale-while-revalidate=3600").with("ETag", TAG)),
                get().after(3).origin(status(number).with("Cache-Control", "no-store")).reuses_and_refreshes(1),
                get().after(1),
            ])
            .row("what was replaced is gone", [
                get().origin(tagged()),
                get().after(2).origin(ok().with("Cache-Control", "no-store")),
                get().origin(fresh()),
            ]),
        clause("4.3.3", Defined, "if a cache receives a 5xx (Server Error) response while attempting to validate a response, it can either forward this response to the requesting client or act as if the server failed to respond")
            .row("a 503 in answer to a validation leaves what is stored", [
                get().origin(tagged()),
                get().after(2).origin(status(503)).offers([("If-None-Match", TAG)]).falls_back_to(1),
                get().origin(not_modified()).validates(1, [("If-None-Match", TAG)]),
            ])
            .row("a 503 goes to the client where stale is not allowed, and leaves what is stored", [
                get().origin(controlled("max-age=1, must-revalidate").with("ETag", TAG)),
                get().after(2).origin(status(503)),
                get().origin(not_modified()).validates(1, [("If-None-Match", TAG)]),
            ]),
        clause("4.3.2", Must, "If the response to the forwarded request is 304 (Not Modified) and has an ETag field value with an entity tag that is not in the client's list, the cache MUST generate a 200 (OK) response for the client by reusing its corresponding stored response, as updated by the 304 response metadata")
            .row("a client with another tag gets the whole response after a 304", [
                get().origin(tagged()),
                get().after(2).with("If-None-Match", "\"other\"").origin(not_modified().with("ETag", TAG)).validates(1, [("If-None-Match", TAG)]).status(200),
            ])
            .row("a client with the same tag gets 304 after a 304", [
                get().origin(tagged()),
                get().after(2).with("If-None-Match", TAG).origin(not_modified().with("ETag", TAG).with("Cache-Control", "max-age=3600"))
                    .offers([("If-None-Match", TAG)]).status(304).content("").has("ETag", TAG),
            ])
            .row("a client with the same tag gets 304 after a 200 with that tag", [
                get().origin(tagged()),
                get().after(2).with("If-None-Match", TAG).origin(fresh().with("ETag", TAG)).says_of_itself().status(304).content("").has("ETag", TAG),
            ]),
    ]
}

fn freshened() -> Vec<Clause> {
    vec![
        clause("4.3.4", Must, "For each stored response identified, the cache MUST update its header fields with the header fields provided in the 304 (Not Modified) response")
            .row("a 304 restarts freshness, and age", [
                get().origin(controlled("max-age=2").with("ETag", TAG)),
                get().after(3).origin(not_modified()).validates(1, [("If-None-Match", TAG)]),
                get().after(1).reuses(1).has_date("Date", -1).age(1..=2),
            ])
            .row("a 304 lengthens a lifetime", [
                get().origin(tagged()),
                get().after(2).origin(not_modified().with("Cache-Control", "max-age=3600")).validates(1, [("If-None-Match", TAG)]),
                get().after(2).reuses(1).has("Cache-Control", "max-age=3600").has_date("Date", -2),
            ])
            .row("a 304 can end what was fresh for long", [
                get().origin(fresh().with("ETag", TAG)),
                get().with("Cache-Control", "no-cache").origin(not_modified().with("Cache-Control", "max-age=1")).validates(1, [("If-None-Match", TAG)]),
                get().after(2).offers([("If-None-Match", TAG)]),
            ])
            .row("a 304 can forbid what was stored", [
                get().origin(tagged()),
                get().after(2).origin(not_modified().with("Cache-Control", "no-store")).validates(1, [("If-None-Match", TAG)]),
                get(),
            ])
            .each("a 304 with {} ends what was fresh for long", &["private", "no-store"], |directive| [
                get().origin(fresh().with("ETag", TAG)),
                get().with("Cache-Control", "no-cache").origin(not_modified().with("Cache-Control", directive)).validates(1, [("If-None-Match", TAG)]),
                get().origin(fresh()),
            ]),
        clause("4.3.4", Must, "If none of the initial set contains at least one of the same strong validators, then the cache MUST NOT use the new response to update any stored responses.")
            .row("a 304 with another strong tag: the origin is asked without conditions", [
                get().origin(tagged().with("Foo", "first")),
                get().after(2).origin(not_modified().with("ETag", "\"other\"").with("Foo", "second"))
                    .origin_again(fresh().with("ETag", "\"other\"").with("Foo", "third")),
                get().reuses(2),
            ]),
    ]
}

fn updated() -> Vec<Clause> {
    let mut replaced = clause(
        "3.2",
        Must,
        "the cache MUST add each header field in the provided response to the stored response, replacing field values that are already present",
    );
    for (name, first, second) in REPLACED {
        replaced = replaced.row(
            &format!("{name} of the 304 replaces the stored one, now and in the next hit"),
            [
                get().origin(tagged().with(name, first)),
                get()
                    .after(2)
                    .origin(
                        not_modified()
                            .with("ETag", TAG)
                            .with("Cache-Control", "max-age=3600")
                            .with(name, second),
                    )
                    .says_of_itself()
                    .status(200)
                    .content("answer 1")
                    .has(name, second),
                get()
                    .says_of_itself()
                    .asked(0)
                    .status(200)
                    .content("answer 1")
                    .has(name, second)
                    .has("ETag", TAG),
            ],
        );
    }
    vec![
        replaced
            .row("fields that the 304 does not have stay", [
                get().origin(tagged().with("Foo", "1").with("Content-Bar", "2").with("Content-Type", "text/plain")),
                get().after(2).origin(not_modified().with("Cache-Control", "max-age=3600")).validates(1, [("If-None-Match", TAG)]),
                get().reuses(1).has("Foo", "1").has("Content-Bar", "2").has("Content-Type", "text/plain").has("Cache-Control", "max-age=3600").has_date("Date", 0),
            ])
            .row("fields that only the 304 has are added", [
                get().origin(tagged()),
                get().after(2).origin(not_modified().with("Cache-Control", "max-age=3600").with("New", "1")).validates(1, [("If-None-Match", TAG)]).has("New", "1"),
                get().reuses(1).has("New", "1").has("Cache-Control", "max-age=3600").has_date("Date", 0),
            ])
            .row("all lines are replaced", [
                get().origin(tagged().with("Foo", "1").with("Foo", "2")),
                get().after(2).origin(not_modified().with("Foo", "3")).validates(1, [("If-None-Match", TAG)]).has("Foo", "3"),
            ])
            .row("ETag of the 304 replaces an equal weak one's", [
                get().origin(brief().with("ETag", "W/\"a\"")),
                get().after(2).origin(not_modified().with("ETag", "W/\"a\"").with("Cache-Control", "max-age=3600")).validates(1, [("If-None-Match", "W/\"a\"")]),
                get().with("If-None-Match", "\"a\"").asked(0).says_of_itself().status(304).has("ETag", "W/\"a\""),
            ]),
        clause("3.2", Must, "with the following exceptions: [...] The Content-Length header field.")
            .row("a Content-Length on the 304 changes nothing and is no content", [
                get().origin(tagged()),
                get().after(2).origin(not_modified().with("Content-Length", "10").with("Cache-Control", "max-age=3600")).validates(1, [("If-None-Match", TAG)]).has("Content-Length", "8"),
                get().reuses(1).has("Content-Length", "8").has("Cache-Control", "max-age=3600").has_date("Date", 0),
            ]),
        clause("3.2", Defined, "SHOULD limit such omission to those fields necessary to assure integrity of the stored response")
            .row("Content-Encoding and Content-Range describe what is stored, and stay", [
                get().origin(tagged().with("Content-Encoding", "gzip")),
                get().after(2).origin(not_modified().with("Content-Encoding", "br").with("Content-Range", "foo").with("Cache-Control", "max-age=3600"))
                    .validates(1, [("If-None-Match", TAG)]).has("Content-Encoding", "gzip").lacks("Content-Range"),
            ]),
        clause("3.2", Must, "Header fields excepted from storage in Section 3.1")
            .row("fields of the 304's connection are not stored", [
                get().origin(tagged()),
                get().after(2).origin(not_modified().with("Connection", "a").with("a", "1").with("Keep-Alive", "timeout=5").with("Cache-Control", "max-age=3600"))
                    .validates(1, [("If-None-Match", TAG)]).lacks("a"),
                get().reuses(1).lacks("a").has("Cache-Control", "max-age=3600").has_date("Date", 0),
            ]),
    ]
}
