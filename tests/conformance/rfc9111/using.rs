//! §4, §4.1, §4.2.4 and §4.4: what is reused for whom, what is served stale, and what writes make of it.

use crate::conformance::answer::{Answer, brief, closes, controlled, fresh, ok, status};
use crate::conformance::row::Level::{Defined, May, Must};
use crate::conformance::row::{Clause, Exchange, ask, clause, get, head, post};

pub(crate) fn clauses() -> Vec<Clause> {
    [vary(), stars(), normalised(), stale(), written_through(), invalidated()]
        .into_iter()
        .flatten()
        .collect()
}

fn on(vary: &str) -> Answer {
    fresh().with("Vary", vary)
}

fn vary() -> Vec<Clause> {
    vec![
        clause("4.1", Must, "the cache MUST NOT use that stored response without revalidation unless all the presented request header fields nominated by that Vary field value match those fields in the original request")
            .row("one field that matches", [get().with("Foo", "1").origin(on("Foo")), get().with("Foo", "1").reuses(1)])
            .row("one field that differs", [get().with("Foo", "1").origin(on("Foo")), get().with("Foo", "2")])
            .row("two fields that match", [
                get().with("Foo", "1").with("Bar", "a").origin(on("Foo, Bar")),
                get().with("Foo", "1").with("Bar", "a").reuses(1),
            ])
            .row("two fields, of which one differs", [
                get().with("Foo", "1").with("Bar", "a").origin(on("Foo, Bar")),
                get().with("Foo", "1").with("Bar", "b"),
            ])
            .row("three fields that match, in another order", [
                get().with("Foo", "1").with("Bar", "a").with("Baz", "x").origin(on("Foo, Bar, Baz")),
                get().with("Baz", "x").with("Bar", "a").with("Foo", "1").reuses(1),
            ])
            .row("three fields, of which the last differs", [
                get().with("Foo", "1").with("Bar", "a").with("Baz", "x").origin(on("Foo, Bar, Baz")),
                get().with("Foo", "1").with("Bar", "a").with("Baz", "y"),
            ])
            .row("fields named on two lines of Vary", [
                get().with("Foo", "1").with("Bar", "a").origin(on("Foo").with("Vary", "Bar")),
                get().with("Foo", "1").with("Bar", "b"),
                get().with("Foo", "1").with("Bar", "a").reuses(1),
            ])
            .row("values of two fields are not exchanged", [
                get().with("Foo", "1").with("Bar", "2").origin(on("Foo, Bar")),
                get().with("Foo", "2").with("Bar", "1"),
            ])
            .row("two variants are kept side by side", [
                get().with("Foo", "1").origin(on("Foo")),
                get().with("Foo", "2").origin(on("Foo")),
                get().with("Foo", "1").reuses(1),
                get().with("Foo", "2").reuses(2),
            ])
            .row("a field that Vary does not name has no influence", [
                get().with("Foo", "1").with("Other", "2").origin(on("Foo")),
                get().with("Foo", "1").with("Other", "3").reuses(1),
            ])
            .row("an empty Vary names nothing", [get().with("Foo", "1").origin(on("")), get().with("Foo", "2").reuses(1)])
            .row("a HEAD is selected like a GET", [
                get().with("Foo", "1").origin(on("Foo")),
                head().with("Foo", "2"),
                head().with("Foo", "1").reuses(1),
            ]),
        clause("4.1", Must, "If (after any normalization that might take place) a header field is absent from a request, it can only match another request if it is also absent there.")
            .row("absent both times", [get().origin(on("Foo")), get().reuses(1)])
            .row("absent now", [get().with("Foo", "1").origin(on("Foo")), get()])
            .row("absent then", [get().origin(on("Foo")), get().with("Foo", "1")])
            .row("empty is not absent", [get().origin(on("Foo")), get().with("Foo", "")])
            .row("one of two absent both times", [
                get().with("Foo", "1").origin(on("Foo, Bar")),
                get().with("Foo", "1").reuses(1),
                get().with("Foo", "1").with("Bar", "2"),
            ]),
    ]
}

fn stars() -> Vec<Clause> {
    let two = |first: &str, second: &str| {
        [get().with("Foo", "1").origin(on(first).with("Vary", second)), get().with("Foo", "1")]
    };
    vec![
        clause("4.1", Defined, "If no stored response matches, the cache cannot satisfy the presented request.")
            .each("`vary.content_language`, which goes beyond the clause: a stored de answers {}", &["de", "fr;q=0.5, de", "de, en;q=0.9"], |wanted| {
                [in_german("de"), get().with("Accept-Language", wanted).reuses(1)]
            })
            .each("but not {}", &["en", "fr, de", "de-AT", "*", "de;q=0"], |wanted| [in_german("de"), get().with("Accept-Language", wanted)])
            .row("but not where two languages are in it", [in_german("de, en"), get().with("Accept-Language", "de")])
            .row("but not where another field differs", [
                get().with("Accept-Language", "en, de").with("Foo", "1").origin(fresh().with("Vary", "Accept-Language, Foo").with("Content-Language", "de")),
                get().with("Accept-Language", "de").with("Foo", "2"),
            ])
            .row("but not without a wish", [in_german("de"), get()]),
        clause("4.1", Must, "A stored response with a Vary header field value containing a member \"*\" always fails to match.")
            .each("Vary: {}", &["*", "*, *", ", *", "*, Foo", "Foo, *", "Foo,*,Bar"], |vary| {
                [get().with("Foo", "1").origin(on(vary)), get().with("Foo", "1")]
            })
            .row("two lines, both *", two("*", "*"))
            .row("an empty line and *", two("", "*"))
            .row("a name and * on a line of its own", two("Foo", "*")),
    ]
}

fn normalised() -> Vec<Clause> {
    let language = |first: &str, second: &str| {
        [
            get().with("Accept-Language", first).origin(on("Accept-Language")),
            get().with("Accept-Language", second).reuses(1),
        ]
    };
    vec![
        clause("4.1", Defined, "adding or removing whitespace, where allowed in the header field's syntax")
            .row("1,2 matches 1, 2", [get().with("Foo", "1,2").origin(on("Foo")), get().with("Foo", "1, 2").reuses(1)])
            .row("1, 2 matches 1,2", [get().with("Foo", "1, 2").origin(on("Foo")), get().with("Foo", "1,2").reuses(1)])
            .row("blanks in a quoted string count", [get().with("Foo", "\"1,2\"").origin(on("Foo")), get().with("Foo", "\"1, 2\"")])
            .row("blanks in a member count", [get().with("Foo", "a b").origin(on("Foo")), get().with("Foo", "ab")]),
        clause("4.1", Defined, "combining multiple header field lines with the same field name")
            .row("two lines match one combined", [
                get().with("Foo", "1").with("Foo", "2").origin(on("Foo")),
                get().with("Foo", "1, 2").reuses(1),
            ])
            .row("the order of lines counts", [
                get().with("Foo", "1").with("Foo", "2").origin(on("Foo")),
                get().with("Foo", "2").with("Foo", "1"),
            ]),
        clause("4.1", Defined, "normalizing both header field values in a way that is known to have identical semantics, according to the header field's specification")
            .row("languages in another order", language("en, de", "de, en"))
            .row("languages in another case", language("en, de", "EN, De"))
            .row("languages with other blanks", language("en, de", "en,de"))
            .row("languages with weights spelt otherwise", language("en;q=0.5, de;q=1.0", "de, en;q=0.500"))
            .row("other languages do not match", [
                get().with("Accept-Language", "en, de").origin(on("Accept-Language")),
                get().with("Accept-Language", "en, fr"),
            ])
            .row("weights that say something else do not match", [
                get().with("Accept-Language", "en;q=0.5, de").origin(on("Accept-Language")),
                get().with("Accept-Language", "en, de;q=0.5"),
            ])
            .row("the case of an unknown field counts", [get().with("Foo", "a").origin(on("Foo")), get().with("Foo", "A")])
            .row("the order of an unknown field's members counts", [get().with("Foo", "1, 2").origin(on("Foo")), get().with("Foo", "2, 1")]),
    ]
}

fn stale() -> Vec<Clause> {
    vec![
        clause("4.2.4", May, "A cache MUST NOT generate a stale response unless it is disconnected or doing so is explicitly permitted by the client or origin server")
            .row("the origin closes without a word: what is stale is served", [
                get().origin(brief()),
                get().after(2).origin(closes()).falls_back_to(1).age(2..=4),
            ])
            .each("the origin says {}: what is stale is served", &[500, 502, 503, 504], |code| {
                [get().origin(brief()), get().after(2).origin(status(code)).falls_back_to(1).age(2..=4)]
            })
            .each("the origin says {}: that is the answer", &[200, 400, 404, 410, 501], |code| {
                [get().origin(brief()), get().after(2).origin(status(code))]
            })
            .row("nothing is stored and the origin closes: 502", [get().origin(closes()).is_refused(502)])
            .row("a stored error does not hide the error of now", [
                get().origin(status(503).with("Cache-Control", "max-age=1").with("ETag", "\"a\"")),
                get().after(2).origin(status(503).with("Retry-After", "7")),
            ])
            .row("a stale response does not become fresh by being served", [
                get().origin(brief()),
                get().after(2).origin(closes()).falls_back_to(1),
                get().origin(fresh()),
                get().reuses(3),
            ]),
        clause("4.2.4", Must, "A cache MUST NOT generate a stale response if it is prohibited by an explicit in-protocol directive (e.g., by a no-cache response directive, a must-revalidate response directive, or an applicable s-maxage or proxy-revalidate response directive)")
            .each("{} and the origin closes: an error", &["max-age=1, must-revalidate", "max-age=1, proxy-revalidate", "max-age=1, no-cache", "s-maxage=1", "max-age=3600, s-maxage=1"], |directives| {
                [
                    get().origin(controlled(directives).with("ETag", "\"a\"").with("Foo", "bar")),
                    get().after(2).origin(closes()).is_refused(502),
                ]
            })
            .each("{} and the origin says 503: its 503", &["max-age=1, must-revalidate", "max-age=1, proxy-revalidate", "max-age=1, no-cache", "s-maxage=1"], |directives| {
                [
                    get().origin(controlled(directives).with("ETag", "\"a\"")),
                    get().after(2).origin(status(503).content("no")).content("no").lacks("Age"),
                ]
            })
            .row("must-revalidate beats the client's max-stale", [
                get().origin(controlled("max-age=1, must-revalidate")),
                get().after(2).with("Cache-Control", "max-stale=1000"),
            ])
            .row("must-revalidate beats stale-if-error", [
                get().origin(controlled("max-age=1, must-revalidate, stale-if-error=3600")),
                get().after(2).origin(closes()).is_refused(502),
            ])
            .row("must-revalidate beats stale-while-revalidate", [
                get().origin(controlled("max-age=1, must-revalidate, stale-while-revalidate=3600")),
                get().after(2),
            ]),
        clause("5.5", Defined, "The \"Warning\" header field was used to carry additional information about the status or transformation of a message [...] This specification obsoletes it")
            .row("what is served stale has no Warning", [
                get().origin(brief()),
                get().after(2).origin(closes()).falls_back_to(1).lacks("Warning"),
            ])
            .row("a Warning of the origin is a field like any other", [
                get().origin(fresh().with("Warning", "299 - \"a\"")),
                get().reuses(1),
            ]),
    ]
}

fn written_through() -> Vec<Clause> {
    vec![
        clause("4", Must, "A cache MUST write through requests with methods that are unsafe to the origin server; i.e., a cache is not allowed to generate a reply to such a request before having forwarded the request and having received a corresponding response.")
            .each("{} goes to the origin with its content, whatever is stored", &["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"], |method| {
                [
                    get().origin(fresh()),
                    ask(method).sending("something").origin_saw_method(method).origin_saw_content("something"),
                ]
            })
            .row("only-if-cached does not hold a POST back", [
                get().origin(fresh()),
                post().with("Cache-Control", "only-if-cached").origin_saw_method("POST"),
            ])
            .row("the origin closes on a POST: 502, and what is stale is no answer", [
                get().origin(fresh()),
                post().origin(closes()).is_refused(502),
            ]),
        clause("4", Must, "When more than one suitable response is stored, a cache MUST use the most recent one")
            .row("the newer response takes the place of the older", [
                get().origin(brief()),
                get().after(2).origin(fresh()),
                get().reuses(2),
            ])
            .row("a fetch that the client asked for takes the place of what was fresh", [
                get().origin(fresh()),
                get().with("Cache-Control", "no-cache").origin(fresh()),
                get().reuses(2),
            ]),
    ]
}

const UNSAFE: [&str; 5] = ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"];

fn invalidated() -> Vec<Clause> {
    // What is stored at `place`, a write that names it in `name`, and the same again.
    let by = |name: &'static str, value: &'static str, again: fn(Exchange) -> Exchange| {
        [
            get().to("/other").origin(fresh()),
            post().origin(ok().with("Cache-Control", "no-store").with(name, value)),
            again(get().to("/other")),
        ]
    };
    let asks: fn(Exchange) -> Exchange = |exchange| exchange;
    let hits: fn(Exchange) -> Exchange = |exchange| exchange.reuses(1);
    vec![
        clause("4.4", Must, "A cache MUST invalidate the target URI when it receives a non-error status code in response to an unsafe request method (including methods whose safety is unknown).")
            .each("a {} that succeeds", &UNSAFE, |method| {
                [get().origin(fresh()), ask(method).sending("a"), get().origin(fresh()), get().reuses(3)]
            })
            .each("a POST that is answered {}", &[201, 202, 204, 301, 303], |code| {
                [get().origin(fresh()), post().origin(status(code)), get()]
            })
            .row("all variants", [
                get().with("Foo", "1").origin(on("Foo")),
                get().with("Foo", "2").origin(on("Foo")),
                post(),
                get().with("Foo", "1"),
                get().with("Foo", "2"),
            ]),
        clause("4.4", Defined, "A \"non-error response\" is one with a 2xx (Successful) or 3xx (Redirection) status code.")
            .each("a POST that is answered {} invalidates nothing", &[400, 404, 409, 500, 503], |code| {
                [get().origin(fresh()), post().origin(status(code)), get().reuses(1)]
            })
            .each("{} is safe and invalidates nothing", &["HEAD", "OPTIONS"], |method| {
                [get().origin(fresh()), ask(method).with("Cache-Control", "no-cache").origin(fresh()), get().reuses(1)]
            })
            .row("a POST to another query invalidates nothing here", [
                get().origin(fresh()),
                post().to("?a=b"),
                get().reuses(1),
            ]),
        clause("4.4", May, "In particular, the URI(s) in the Location and Content-Location response header fields (if present) are candidates for invalidation")
            .row("Location, absolute path", by("Location", "{path}/other", asks))
            .row("Content-Location, absolute path", by("Content-Location", "{path}/other", asks))
            .row("Location, whole URL", by("Location", "http://{host}{path}/other", asks))
            .row("Content-Location, whole URL", by("Content-Location", "http://{host}{path}/other", asks)),
        clause("4.4", Must, "a cache MUST NOT trigger an invalidation under these conditions if the origin of the URI to be invalidated differs from that of the target URI")
            .row("Location of another host", [
                get().to("/other").with("Host", "a.example").origin(fresh()),
                post().with("Host", "b.example").origin(ok().with("Location", "http://a.example{path}/other")),
                get().to("/other").with("Host", "a.example").reuses(1),
            ])
            .row("Content-Location of another host", [
                get().to("/other").with("Host", "a.example").origin(fresh()),
                post().with("Host", "b.example").origin(ok().with("Content-Location", "http://a.example{path}/other")),
                get().to("/other").with("Host", "a.example").reuses(1),
            ])
            .row("Location with another scheme", by("Location", "https://{host}{path}/other", hits)),
    ]
}

/// What an origin chose in these languages for a client that takes two.
fn in_german(languages: &str) -> Exchange {
    get()
        .with("Accept-Language", "en, de")
        .origin(fresh().with("Vary", "Accept-Language").with("Content-Language", languages))
}
