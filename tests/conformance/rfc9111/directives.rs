//! §5.2 and §5.4: directives of requests and of responses; and RFC 8246.

use crate::conformance::answer::{brief, closes, controlled, fresh, not_modified, ok};
use crate::conformance::row::Level::{Defined, May, Must, Should};
use crate::conformance::row::{Clause, clause, get, head};

const TAG: &str = "\"abcdef\"";
const MODIFIED: &str = "Tue, 15 Nov 1994 12:45:26 GMT";

pub(crate) fn clauses() -> Vec<Clause> {
    [syntax(), ages(), requests(), responses(), pragma()].into_iter().flatten().collect()
}

fn syntax() -> Vec<Clause> {
    vec![
        clause("5.2", Must, "A proxy, whether or not it implements a cache, MUST pass cache directives through in forwarded messages, regardless of their significance to that application")
            .row("directives of a request are passed on", [
                get().with("Cache-Control", "nothing-to-see-here, max-age=600").origin_saw("Cache-Control", "nothing-to-see-here, max-age=600"),
            ])
            .row("directives of a response are passed on", [
                get().origin(controlled("s-maxage=3600, extension=\"a, b\", max-age=1, private=\"x\"")),
                get().reuses(1),
            ]),
        clause("5.2", Defined, "Cache directives are identified by a token, to be compared case-insensitively, and have an optional argument that can use both token and quoted-string syntax.")
            .each("{} is fresh", &["MaX-aGe=3600", "S-MAXAGE=3600", "max-age=\"3600\"", "s-maxage=\"3600\"", ",, max-age=3600 ,"], |directives| {
                [get().origin(controlled(directives)), get().reuses(1)]
            })
            .each("{} is fresh for a second only", &["foo=\"max-age=3600\", max-age=1", "max-age=1, foo=\"max-age=3600\"", "foo=\"a, max-age=3600, b\", max-age=1", "foo=\"\\\", max-age=3600, \\\"\", max-age=1", "s-maxage=1, max-age=3600, foo=\"s-maxage=3600\""], |directives| {
                [get().origin(controlled(directives)), get().after(2)]
            })
            .row("a directive in a quoted string forbids nothing", [get().origin(controlled("max-age=3600, foo=\"no-store, private\"")), get().reuses(1)]),
        clause("5.2.3", Must, "A cache MUST ignore unrecognized cache directives.")
            .each("{} is fresh", &["max-age=3600, foo", "foo, max-age=3600", "foo=bar, max-age=3600", "foo=\"a b\", max-age=3600", "max-age=3600, max-agee=1", "xno-store, max-age=3600"], |directives| {
                [get().origin(controlled(directives)), get().reuses(1)]
            })
            .row("an unknown directive is no lifetime", [get().origin(controlled("foo=3600")), get()]),
    ]
}

fn ages() -> Vec<Clause> {
    vec![
        clause("5.2.1.1", May, "The max-age request directive indicates that the client prefers a response whose age is less than or equal to the specified number of seconds.")
            .row("max-age=0 goes to the origin", [get().origin(fresh()), get().with("Cache-Control", "max-age=0")])
            .row("max-age=0 validates what can be validated", [
                get().origin(fresh().with("ETag", TAG)),
                get().with("Cache-Control", "max-age=0").origin(not_modified()).validates(1, [("If-None-Match", TAG)]),
            ])
            .row("max-age=1 does not take what is 3 s old", [get().origin(fresh()), get().after(3).with("Cache-Control", "max-age=1")])
            .row("max-age=600 does not take what arrived 1800 s old", [
                get().origin(fresh().with("Age", "1800")),
                get().with("Cache-Control", "max-age=600"),
            ])
            .row("max-age=600 takes what is young", [get().origin(fresh()), get().with("Cache-Control", "max-age=600").reuses(1)])
            .row("max-age does not make what is stale fresh", [get().origin(brief()), get().after(2).with("Cache-Control", "max-age=600")]),
        clause("5.2.1.2", May, "the client is willing to accept a response that has exceeded its freshness lifetime by no more than the specified number of seconds")
            .row("max-stale=1000 takes what became stale", [
                get().origin(brief()),
                get().after(2).with("Cache-Control", "max-stale=1000").reuses_and_refreshes(1).age(2..=3),
            ])
            .row("max-stale without a number takes what became stale", [
                get().origin(brief()),
                get().after(2).with("Cache-Control", "max-stale").reuses_and_refreshes(1).age(2..=3),
            ])
            .row("max-stale=1000 takes what arrived 500 s stale", [
                get().origin(controlled("max-age=1500").with("Age", "2000")),
                get().with("Cache-Control", "max-stale=1000").reuses_and_refreshes(1).age(2000..=2001),
            ])
            .row("max-stale=1 does not take what is stale for longer", [
                get().origin(brief()),
                get().after(3).with("Cache-Control", "max-stale=1"),
            ]),
        clause("5.2.1.3", May, "the client wants a response that will still be fresh for at least the specified number of seconds")
            .row("min-fresh=2000 does not take what is fresh for 1500 s", [
                get().origin(controlled("max-age=1500")),
                get().with("Cache-Control", "min-fresh=2000"),
            ])
            .row("min-fresh=1000 does not take what is fresh for 500 s more", [
                get().origin(controlled("max-age=1500").with("Age", "1000")),
                get().with("Cache-Control", "min-fresh=1000"),
            ])
            .row("min-fresh=1000 takes what is fresh for longer", [get().origin(fresh()), get().with("Cache-Control", "min-fresh=1000").reuses(1)]),
    ]
}

fn requests() -> Vec<Clause> {
    vec![
        clause("5.2.1.4", May, "The no-cache request directive indicates that the client prefers a stored response not be used to satisfy the request without successful validation on the origin server.")
            .row("no-cache goes to the origin", [get().origin(fresh()), get().with("Cache-Control", "no-cache")])
            .row("no-cache validates by ETag", [
                get().origin(fresh().with("ETag", TAG)),
                get().with("Cache-Control", "no-cache").origin(not_modified()).validates(1, [("If-None-Match", TAG)]),
            ])
            .row("no-cache validates by Last-Modified", [
                get().origin(fresh().with("Last-Modified", MODIFIED)),
                get().with("Cache-Control", "no-cache").origin(not_modified()).validates(1, [("If-Modified-Since", MODIFIED)]),
            ])
            .row("no-cache counts beside other directives and in any case", [
                get().origin(fresh()),
                get().with("Cache-Control", "nothing-to-see-here, No-Cache"),
            ]),
        clause("5.2.1.5", Must, "The no-store request directive indicates that a cache MUST NOT store any part of either this request or any response to it.")
            .row("the answer to a request with no-store is not stored", [get().with("Cache-Control", "no-store").origin(fresh()), get()])
            .row("a request with no-store goes to the origin", [get().origin(fresh()), get().with("Cache-Control", "no-store")])
            .row("the answer to a request with no-store does not take the place of what is stored", [
                get().origin(fresh()),
                get().with("Cache-Control", "no-store").origin(fresh()),
                get().reuses(1),
            ]),
        clause("5.2.1.6", Must, "The no-transform request directive indicates that the client is asking for intermediaries to avoid transforming the content")
            .row("content is not transformed", [
                get().with("Cache-Control", "no-transform").with("Accept-Encoding", "gzip").origin(fresh().content("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")).lacks("Content-Encoding"),
            ]),
        clause("5.2.1.7", Should, "Caches that honor this request directive SHOULD, upon receiving it, respond with either a stored response consistent with the other constraints of the request or a 504 (Gateway Timeout) status code.")
            .row("nothing is stored: 504", [get().with("Cache-Control", "only-if-cached").asked(0).is_refused(504)])
            .row("something fresh is stored", [get().origin(fresh()), get().with("Cache-Control", "only-if-cached").reuses(1)])
            .row("what is stored is stale: 504", [
                get().origin(controlled("max-age=1, must-revalidate").with("ETag", TAG)),
                get().after(2).with("Cache-Control", "only-if-cached").asked(0).is_refused(504),
            ])
            .row("a HEAD gets what is stored too", [get().origin(fresh()), head().with("Cache-Control", "only-if-cached").reuses(1)]),
        clause("5.2.3", Must, "A cache MUST ignore unrecognized cache directives.")
            .row("unknown directives in a request change nothing", [
                get().with("Cache-Control", "nothing-to-see-here").origin(fresh()),
                get().with("Cache-Control", "nothing-to-see-here").with("Pragma", "foo").reuses(1),
            ]),
    ]
}

fn responses() -> Vec<Clause> {
    vec![
        clause("5.2.2.2", Must, "once the response has become stale, a cache MUST NOT reuse that response to satisfy another request until it has been successfully validated by the origin")
            .row("must-revalidate is reused while fresh, and validated then", [
                get().origin(controlled("max-age=2, must-revalidate").with("ETag", TAG)),
                get().reuses(1),
                get().after(3).origin(not_modified()).validates(1, [("If-None-Match", TAG)]),
            ])
            .row("fresh must-revalidate is reused without asking", [get().origin(controlled("max-age=3600, must-revalidate")), get().reuses(1)]),
        clause("5.2.2.2", Must, "if a cache is disconnected, the cache MUST generate an error response rather than reuse the stale response")
            .row("the origin closes: an error without a field of what is stored", [
                get().origin(controlled("max-age=1, must-revalidate").with("ETag", TAG).with("Foo", "bar").with("Content-Type", "text/x-foo")),
                get().after(2).origin(closes()).is_refused(502).lacks("ETag").lacks("Foo").lacks("Age"),
            ]),
        clause("5.2.2.8", Must, "once the response has become stale, a shared cache MUST NOT reuse that response to satisfy another request until it has been successfully validated by the origin")
            .row("proxy-revalidate is reused while fresh, and validated then", [
                get().origin(controlled("max-age=2, proxy-revalidate").with("ETag", TAG)),
                get().reuses(1),
                get().after(3).origin(not_modified()).validates(1, [("If-None-Match", TAG)]),
            ]),
        clause("5.2.2.10", Must, "A shared cache MUST NOT reuse a stale response with s-maxage to satisfy another request until it has been successfully validated by the origin")
            .row("s-maxage is reused while fresh, and validated then", [
                get().origin(controlled("s-maxage=2").with("ETag", TAG)),
                get().reuses(1),
                get().after(3).origin(not_modified()).validates(1, [("If-None-Match", TAG)]),
            ]),
        clause("5.2.2.4", Must, "the response MUST NOT be used to satisfy any other request without forwarding it for validation and receiving a successful response")
            .each("{} is not reused", &["no-cache", "No-CaChE", "no-cache, max-age=3600", "max-age=3600, no-cache", "no-cache, s-maxage=3600", "no-cache, public", "no-cache="], |directives| {
                [get().origin(controlled(directives)), get()]
            })
            .row("no-cache is not reused, whatever Expires says", [get().origin(controlled("no-cache").dated("Expires", 3600)), get()])
            .each("{} is stored, and validated by ETag each time", &["no-cache", "no-cache, max-age=3600", "max-age=0, no-cache"], |directives| {
                [
                    get().origin(controlled(directives).with("ETag", TAG)),
                    get().origin(not_modified()).validates(1, [("If-None-Match", TAG)]),
                    get().origin(not_modified()).validates(1, [("If-None-Match", TAG)]),
                ]
            })
            .row("no-cache is stored, and validated by ETag, whatever Expires says", [
                get().origin(controlled("no-cache").dated("Expires", 3600).with("ETag", TAG)),
                get().origin(not_modified()).validates(1, [("If-None-Match", TAG)]),
            ])
            .row("no-cache beats the client's max-stale", [
                get().origin(controlled("no-cache, max-age=3600")),
                get().with("Cache-Control", "max-stale=1000"),
            ]),
        clause("5.2.2.5", Must, "a cache MUST NOT store any part of either the immediate request or the response and MUST NOT use the response to satisfy any other request")
            .row("what a request would have got does not touch what is stored: no-store", [
                get().origin(fresh()),
                get().origin(controlled("no-store")).reuses(1),
                get().reuses(1),
            ])
            .row("what a request would have got does not touch what is stored: no-store, max-age=0", [
                get().origin(fresh()),
                get().origin(controlled("no-store, max-age=0")).reuses(1),
                get().reuses(1),
            ]),
        clause("5.2.2.6", Must, "The no-transform response directive indicates that an intermediary (regardless of whether it implements a cache) MUST NOT transform the content")
            .row("content and its fields stay as they are", [
                get().with("Accept-Encoding", "gzip").origin(controlled("max-age=3600, no-transform").with("Content-Type", "text/html").content("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")).lacks("Content-Encoding"),
                get().with("Accept-Encoding", "gzip").reuses(1).lacks("Content-Encoding"),
            ]),
        clause("5.2.2.9", May, "If a response with the public directive has no explicit freshness information, it is heuristically cacheable.")
            .row("public with an old Last-Modified is reused", [
                get().origin(controlled("public").dated("Last-Modified", -86_400)),
                get().reuses(1),
            ])
            .row("public alone is no lifetime", [get().origin(controlled("public")), get()]),
        clause("8246 §2", May, "When present in an HTTP response, the immutable Cache-Control extension indicates that the origin server will not update the representation of that resource during the freshness lifetime of the response.")
            .row("immutable is reused while fresh", [get().origin(controlled("max-age=3600, immutable")), get().reuses(1)])
            .row("immutable is no lifetime", [get().origin(controlled("immutable")), get()]),
        clause("8246 §2", Defined, "The immutable extension only applies during the freshness lifetime of the stored response. Stale responses SHOULD be revalidated as they normally would be in the absence of the immutable extension.")
            .row("a stale immutable response is validated", [
                get().origin(controlled("max-age=1, immutable").with("ETag", TAG)),
                get().after(2).origin(not_modified()).validates(1, [("If-None-Match", TAG)]),
            ]),
    ]
}

fn pragma() -> Vec<Clause> {
    vec![
        clause("5.4", Defined, "The \"Pragma\" request header field was defined for HTTP/1.0 caches, so that clients could specify a \"no-cache\" request [...] this specification deprecates Pragma")
            .row("Pragma: no-cache has no effect beside Cache-Control", [
                get().origin(fresh()),
                get().with("Cache-Control", "nothing-to-see-here").with("Pragma", "no-cache").reuses(1),
            ])
            .each("Pragma: {} in a response has no effect", &["no-cache", "foo", "no-store"], |value| {
                [get().origin(fresh().with("Pragma", value)), get().reuses(1)]
            })
            .row("Pragma is no lifetime", [get().origin(ok().with("Pragma", "max-age=3600")), get()])
            .row("an unknown Pragma in a request has no effect", [get().origin(fresh()), get().with("Pragma", "foo").reuses(1)]),
    ]
}
