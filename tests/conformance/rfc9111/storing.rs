//! §2 and §3: what is stored, with which fields.

use crate::conformance::answer::{Answer, controlled, fresh, status};
use crate::conformance::row::Level::{Defined, May, Must, Should};
use crate::conformance::row::{Clause, ask, clause, get, head, post};

/// Fields that are kept as they came, and values that no cache would make.
const KEPT: [(&str, &str); 22] = [
    ("Test-Header", "\"something\", else; a=b"),
    ("X-Test-Header", "1"),
    ("Content-Foo", "bar"),
    ("X-Content-Foo", "bar"),
    ("Cache-Control", "max-age=3600, extension=\"a b\""),
    ("Content-Encoding", "unknown-coding"),
    ("Content-Language", "de-CH-1996"),
    ("Content-Location", "/elsewhere"),
    ("Content-MD5", "rL0Y20zC+Fzt72VPzMSk2A=="),
    ("Content-Range", "foo"),
    ("Content-Security-Policy", "default-src 'self' cdn.example.com"),
    ("Content-Type", "text/plain; charset=\"utf-8\""),
    ("Content-Disposition", "attachment; filename=\"a.bin\""),
    ("Clear-Site-Data", "cookies"),
    ("ETag", "\"abcdef\""),
    ("Expires", "Fri, 01 Jan 2038 00:00:00 GMT"),
    ("Public-Key-Pins", "pin-sha256=\"cUPcTAZWKaASuYWhhneDttWpY3oBAkE3h2+soZS7sWs=\"; max-age=5"),
    ("Set-Cookie", "a=b; Path=/"),
    ("Set-Cookie2", "a=c"),
    ("X-Frame-Options", "deny"),
    ("X-XSS-Protection", "1; mode=block"),
    ("Last-Modified", "Tue, 15 Nov 1994 12:45:26 GMT"),
];

/// Fields that are not kept, and that keep nothing from being stored.
const DROPPED: [(&str, &str); 8] = [
    ("Connection", "unknown-option"),
    ("Keep-Alive", "timeout=5, max=100"),
    ("Proxy-Authenticate", "Basic realm=\"a\""),
    ("Proxy-Authentication-Info", "nextnonce=\"a\""),
    ("Proxy-Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
    ("Proxy-Connection", "keep-alive"),
    ("TE", "trailers"),
    ("Upgrade", "foo/2"),
];

/// RFC 9111 §3 needs no status to be known where freshness is explicit.
const STATUSES: [u16; 18] =
    [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599];

pub(crate) fn clauses() -> Vec<Clause> {
    [keys(), statuses(), conditions(), fields(), incomplete(), authorized()]
        .into_iter()
        .flatten()
        .collect()
}

fn keys() -> Vec<Clause> {
    vec![
        clause("2", Defined, "The cache key is the information a cache uses to choose a response and is composed from, at a minimum, the request method and target URI used to retrieve the stored response")
            .row("the same query is the same entry", [get().to("?a=1&b=2").origin(fresh()), get().to("?a=1&b=2").reuses(1)])
            .row("another query is another entry", [get().to("?a=1").origin(fresh()), get().to("?a=2")])
            .row("a query is another entry than none", [get().origin(fresh()), get().to("?a=1")])
            .row("another path is another entry", [get().to("/a").origin(fresh()), get().to("/b")])
            .row("a path is compared with its case", [get().to("/a").origin(fresh()), get().to("/A")])
            .row("another host is another entry", [
                get().with("Host", "a.example").origin(fresh()).origin_saw("Host", "a.example"),
                get().with("Host", "b.example").origin_saw("Host", "b.example"),
                get().with("Host", "a.example").reuses(1),
            ]),
        clause("4", Must, "a cache MUST NOT reuse a stored response unless: the request method associated with the stored response allows it to be used for the presented request")
            .row("a stored GET answers a HEAD, without content", [get().origin(fresh()), head().reuses(1)])
            .row("a HEAD leaves nothing that answers a GET", [head().origin(fresh()), get()])
            .row("a stored GET does not answer OPTIONS", [get().origin(fresh()), ask("OPTIONS").origin_saw_method("OPTIONS")])
            .row("a stored GET does not answer an unknown method", [get().origin(fresh()), ask("M-SEARCH").origin_saw_method("M-SEARCH")])
            .row("the answer to a POST does not answer a GET", [post().origin(fresh()), get()])
            .row("the answer to a POST does not answer a POST", [post().origin(fresh()), post()])
            .row("the answer to a PUT does not answer a GET", [ask("PUT").sending("a").origin(fresh()), get()]),
        clause("7.3", Defined, "Note that the Set-Cookie response header field [COOKIE] does not inhibit caching")
            .row("a fresh response with Set-Cookie is reused with it", [get().origin(fresh().with("Set-Cookie", "a=b")), get().reuses(1)])
            .row("a Cookie does not prevent reuse", [
                get().with("Cookie", "a=b").origin(fresh()).origin_saw("Cookie", "a=b"),
                get().with("Cookie", "c=d").reuses(1),
            ]),
    ]
}

fn statuses() -> Vec<Clause> {
    let stale = |code: u16| {
        status(code).dated("Expires", -3600).with("Last-Modified", "Tue, 15 Nov 1994 12:45:26 GMT")
    };
    vec![
        clause("3", May, "the response contains at least one of the following: a max-age response directive")
            .each("a fresh {} is reused", &STATUSES, |code| {
                [get().origin(status(code).with("Cache-Control", "max-age=3600")), get().reuses(1)]
            })
            .row("content that is an attachment is reused", [
                get().origin(fresh().with("Content-Disposition", "attachment; filename=a")),
                get().reuses(1),
            ]),
        clause("4", Must, "the stored response is one of the following: fresh, or allowed to be served stale, or successfully validated")
            .each("a {} that arrived stale is not reused", &STATUSES, |code| [get().origin(stale(code)), get()]),
        clause("3", Must, "the response status code is final; if the response status code is 206 or 304 [...]: the cache understands the response status code")
            .each("a {} to one request is not the answer to the next", &[412, 416], |code| {
                [get().with("If-Match", "\"x\"").origin(status(code).with("Cache-Control", "max-age=3600")).asked(1), get()]
            }),
    ]
}

fn conditions() -> Vec<Clause> {
    vec![
        clause("3", Must, "the no-store cache directive is not present in the response")
            .each("{} is not stored", &["no-store", "No-StOrE", "no-store, max-age=3600", "max-age=3600, no-store", "public, no-store, s-maxage=3600"], |directives| {
                [get().origin(controlled(directives)), get()]
            })
            .row("no-store is not stored, whatever Expires says", [get().origin(controlled("no-store").dated("Expires", 3600)), get()])
            .row("no-store on a line of its own is not stored", [get().origin(fresh().with("Cache-Control", "no-store")), get()])
            .row("no-store is not validated either, since nothing is there", [
                get().origin(controlled("no-store").with("ETag", "\"a\"")),
                get().offers([]),
            ]),
        clause("3", Must, "if the cache is shared: the private response directive is either not present or allows a shared cache to store a modified response")
            .each("{} is not stored", &["private", "PRIVATE", "private, max-age=3600", "max-age=3600, private", "private, s-maxage=3600"], |directives| {
                [get().origin(controlled(directives)), get()]
            })
            .row("private is not validated either, since nothing is there", [
                get().origin(controlled("private, max-age=1").with("ETag", "\"a\"")),
                get().after(2).offers([]),
            ]),
        clause("3", Must, "the request method is understood by the cache")
            .each("the answer to {} is not stored", &["OPTIONS", "DELETE", "PATCH", "M-SEARCH"], |method| {
                [ask(method).origin(fresh()), ask(method), get()]
            }),
    ]
}

fn fields() -> Vec<Clause> {
    let mut kept = clause(
        "3.1",
        Must,
        "Caches MUST include all received response header fields — including unrecognized ones — when storing a response",
    );
    for (name, value) in KEPT {
        let answer = fresh_but(name).with(name, value);
        kept = kept.row(
            &format!("{name} is replayed as it came"),
            [get().origin(answer), get().reuses(1)],
        );
    }
    let mut dropped = clause(
        "3.1",
        Must,
        "some fields' semantics require them to be removed before forwarding the message, and this MAY be implemented by doing so before storage; Header fields that are specific to the proxy that a cache uses when forwarding a request MUST NOT be stored",
    );
    for (name, value) in DROPPED {
        let answer = fresh().with(name, value).with("Neighbour", "here");
        dropped = dropped.row(
            &format!("{name} is not stored, the response is"),
            [
                get()
                    .origin(answer)
                    .says_of_itself()
                    .status(200)
                    .content("answer 1")
                    .has("Neighbour", "here"),
                get().reuses(1).lacks(name).has("Neighbour", "here"),
            ],
        );
    }
    vec![
        kept.row("several lines stay several values in their order", [
                get().origin(fresh().with("Foo", "a").with("Bar", "x").with("Foo", "b, c")),
                get().reuses(1).has("Foo", "a, b, c"),
            ])
            .row("bytes above 0x7F are replayed as they came", [get().origin(fresh().with("Foo", b"caf\xe9 \xff")), get().reuses(1)])
            .row("an empty field is replayed empty", [get().origin(fresh().with("Foo", "")), get().reuses(1).has("Foo", "")])
            .row("Date stays the origin's", [get().origin(fresh().dated("Date", -60)), get().after(2).reuses(1).has_date("Date", -62)])
            .row("a Content-Length below what is sent is what counts", [
                get().origin(fresh().with("Content-Length", "10").content("0123456789 and more bytes")).content("0123456789"),
                get().reuses(1).content("0123456789").has("Content-Length", "10"),
            ]),
        dropped,
        clause("3.1", Must, "The Connection header field and fields whose names are listed in it are required by Section 7.6.1 of [HTTP] to be removed before forwarding the message.")
            .row("fields that Connection names are not stored, their neighbours are", [
                get().origin(fresh().with("Connection", "a, B").with("a", "1").with("b", "2").with("c", "3")).lacks("a").lacks("b").has("c", "3"),
                get().reuses(1).lacks("a").lacks("b").has("c", "3"),
            ])
            .row("fields named on several lines of Connection are not stored", [
                get().origin(fresh().with("Connection", "a").with("Connection", "b").with("a", "1").with("b", "2")).lacks("a").lacks("b"),
                get().reuses(1).lacks("a").lacks("b"),
            ]),
    ]
}

/// Fresh for long, unless `name` is what says so.
fn fresh_but(name: &str) -> Answer {
    match name {
        "Cache-Control" => status(200),
        _ => fresh(),
    }
}

fn incomplete() -> Vec<Clause> {
    vec![
        clause("3.3", Must, "A cache MUST NOT use an incomplete response to answer requests unless the response has been made complete")
            .row("what was cut off is not reused", [get().origin(fresh().cut_off()).is_cut_off(), get()])
            .row("what was cut off does not take the place of what is whole", [
                get().origin(controlled("max-age=1").with("ETag", "\"a\"")),
                get().after(2).origin(fresh().with("ETag", "\"b\"").cut_off()).is_cut_off(),
                get().origin(fresh()),
            ]),
    ]
}

fn authorized() -> Vec<Clause> {
    let with = |directives: &str| {
        [
            get()
                .with("Authorization", "Basic YTpi")
                .origin(controlled(directives))
                .origin_saw("Authorization", "Basic YTpi"),
            get().reuses(1),
        ]
    };
    vec![
        clause("3.5", Must, "A shared cache MUST NOT use a cached response to a request with an Authorization header field to satisfy any subsequent request unless the response contains a Cache-Control field with a response directive that allows it to be stored by a shared cache")
            .each("{} does not allow it", &["max-age=3600", "proxy-revalidate, max-age=3600", "no-transform, max-age=3600"], |directives| {
                [get().with("Authorization", "Basic YTpi").origin(controlled(directives)), get()]
            })
            .row("Expires does not allow it", [
                get().with("Authorization", "Basic YTpi").origin(status(200).dated("Expires", 3600)),
                get().with("Authorization", "Basic YTpi"),
            ])
            .row("a heuristic lifetime does not allow it", [
                get().with("Authorization", "Basic YTpi").origin(status(200).dated("Last-Modified", -86_400)),
                get().with("Authorization", "Basic YTpi"),
            ])
            .row("a response to a request without it answers one with it", [get().origin(fresh()), get().with("Authorization", "Basic YTpi").reuses(1)]),
        clause("3.5", Defined, "In this specification, the following response directives have such an effect: must-revalidate, public, and s-maxage.")
            .each("{} allows it", &["public, max-age=3600", "must-revalidate, max-age=3600", "s-maxage=3600"], with),
        clause("5.2.2.10", Must, "This directive also permits a shared cache to reuse a response to a request containing an Authorization header field, subject to the above requirements on maximum age and revalidation.")
            .row("what s-maxage allowed is not reused stale", [
                get().with("Authorization", "Basic YTpi").origin(controlled("s-maxage=1")),
                get().after(2),
            ]),
        clause("5.2.2.7", Must, "a shared cache MUST NOT store the listed header fields if they are present in the original response but MAY store the remainder of the response message without those header fields")
            .row("private=\"a, b\" is reused without the two", [
                get().origin(controlled("private=\"a, B\", max-age=3600").with("a", "1").with("b", "2").with("c", "3")).says_of_itself().status(200).content("answer 1"),
                get().reuses(1).lacks("a").lacks("b").has("c", "3"),
            ])
            .row("private=\"Set-Cookie\" is reused without the cookie", [
                get().origin(controlled("private=\"Set-Cookie\", max-age=3600").with("Set-Cookie", "a=b")).says_of_itself().status(200).content("answer 1"),
                get().reuses(1).lacks("Set-Cookie"),
            ]),
        clause("5.2.2.4", May, "a cache MAY use the response to satisfy a subsequent request, subject to any other restrictions on caching, if the listed header fields are excluded from the subsequent response")
            .row("no-cache=\"a\" is reused without the field", [
                get().origin(controlled("no-cache=\"a\", max-age=3600").with("a", "1").with("b", "2")).says_of_itself().status(200).content("answer 1"),
                get().reuses(1).lacks("a").has("b", "2"),
            ])
            .row("no-cache=\"a, b\" is reused without the two", [
                get().origin(controlled("max-age=3600, no-cache=\"a, b\"").with("a", "1").with("b", "2")).says_of_itself().status(200).content("answer 1"),
                get().reuses(1).lacks("a").lacks("b"),
            ]),
        clause("5.2.2.3", Should, "the cache SHOULD ignore the no-store directive if it understands and implements the status code's caching requirements")
            .each("a {} with must-understand and no-store is reused", &[200, 301, 404, 410], |code| {
                [get().origin(status(code).with("Cache-Control", "max-age=3600, no-store, must-understand")), get().reuses(1)]
            }),
        clause("5.2.2.3", Must, "The must-understand response directive limits caching of the response to a cache that understands and conforms to the requirements for that response's status code.")
            .each("a {} with must-understand is not stored", &[299, 499, 599], |code| {
                [get().origin(status(code).with("Cache-Control", "max-age=3600, no-store, must-understand")), get()]
            })
            .row("a 599 with must-understand is not stored without no-store either", [
                get().origin(status(599).with("Cache-Control", "max-age=3600, must-understand")),
                get(),
            ]),
    ]
}
