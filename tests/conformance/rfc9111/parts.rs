//! §3.3 and §3.4: parts of a representation, stored, reused and combined.

use crate::conformance::answer::{Answer, controlled, fresh, status};
use crate::conformance::row::Level::{May, Must};
use crate::conformance::row::{Clause, Exchange, clause, get, head};

const TAG: &str = "\"abcdef\"";
const WEAK: &str = "W/\"abcdef\"";
const WHOLE: &str = "0123456789";

pub(crate) fn clauses() -> Vec<Clause> {
    [within(), unmarked(), storing(), completing(), combining()].into_iter().flatten().collect()
}

/// The bytes from `first` to `last` of ten, as an origin sends them.
fn part(first: usize, last: usize) -> Answer {
    status(206)
        .with("Content-Range", format!("bytes {first}-{last}/10"))
        .content(&WHOLE[first..=last])
}

fn lasting(first: usize, last: usize) -> Answer {
    part(first, last).with("Cache-Control", "max-age=3600")
}

fn tagged(first: usize, last: usize) -> Answer {
    lasting(first, last).with("ETag", TAG)
}

fn whole() -> Answer {
    fresh().with("ETag", TAG).content(WHOLE)
}

fn range(range: &str) -> Exchange {
    get().with("Range", format!("bytes={range}"))
}

/// The client has all ten bytes.
fn is_whole(exchange: Exchange) -> Exchange {
    exchange
        .says_of_itself()
        .status(200)
        .content(WHOLE)
        .has("Content-Length", "10")
        .lacks("Content-Range")
}

fn within() -> Vec<Clause> {
    let reuses = |stored: &'static str| {
        move |wanted: &'static str, text: &'static str, place: &'static str| {
            let first = match stored {
                "" => lasting(4, 9),
                tag => lasting(4, 9).with("ETag", tag),
            };
            [
                range("4-9").origin(first.with("Foo", "bar")),
                range(wanted)
                    .after(1)
                    .reuses(1)
                    .status(206)
                    .content(text)
                    .has("Content-Range", place)
                    .has("Content-Length", text.len().to_string())
                    .has("Foo", "bar"),
            ]
        }
    };
    let (strong, weak, none) = (reuses(TAG), reuses(WEAK), reuses(""));
    vec![
        clause("3.3", Must, "A cache MUST NOT use an incomplete response to answer requests unless the response has been made complete, or the request is partial and specifies a range wholly within the incomplete response.")
            .row("the same range", strong("4-9", "456789", "bytes 4-9/10"))
            .row("a smaller range", strong("5-6", "56", "bytes 5-6/10"))
            .row("an open range that ends where the part does", strong("7-", "789", "bytes 7-9/10"))
            .row("a range beyond the end of the whole", strong("8-99", "89", "bytes 8-9/10"))
            .row("a suffix", strong("-2", "89", "bytes 8-9/10"))
            .row("a range in a part with a weak tag", weak("5-6", "56", "bytes 5-6/10"))
            .row("a range in a part without a tag", none("5-6", "56", "bytes 5-6/10"))
            .each("stored is 4 to 6: bytes={} is the origin's", &["3-6", "4-7", "0-1", "8-9", "5-", "-5"], |wanted| {
                [
                    range("4-6").origin(lasting(4, 6)),
                    range(wanted).after(1).offers([("Range", &*format!("bytes={wanted}"))]).origin(part(1, 2).with("Cache-Control", "no-store")).says_of_itself().status(206),
                ]
            })
            .row("a part in the middle: who wants all gets all from the origin", [
                range("3-6").origin(tagged(3, 6)),
                is_whole(get().after(1).offers([]).origin(whole())),
                get().after(1).reuses(2),
            ])
            .row("a part without a tag: who wants all gets all from the origin", [
                range("0-4").origin(lasting(0, 4)),
                is_whole(get().after(1).offers([]).origin(whole())),
            ]),
    ]
}

fn unmarked() -> Vec<Clause> {
    vec![
        clause("3.3", Must, "A cache MUST NOT send a partial response to a client without explicitly marking it using the 206 (Partial Content) status code.")
            .row("a HEAD is not answered from a part", [
                range("0-4").origin(tagged(0, 4)),
                head().after(1).origin(whole()).lacks("Content-Range").has("Content-Length", "10"),
            ])
            .row("a condition without a range is not answered from a part", [
                range("3-6").origin(tagged(3, 6)),
                get().after(1).with("If-None-Match", "\"other\"").origin(whole()).status(200).content(WHOLE),
            ]),
    ]
}

fn storing() -> Vec<Clause> {
    vec![
        clause("3.3", May, "Likewise, a 206 (Partial Content) response MAY be stored as if it were an incomplete 200 (OK) response.")
            .each("not with {}", &["no-store", "private", "no-cache", "max-age=0", "foo"], |directives| {
                [
                    range("0-1").origin(part(0, 1).with("Cache-Control", directives)),
                    range("0-1").after(1).origin(part(0, 1).with("Cache-Control", directives)),
                ]
            })
            .row("what is stale is validated by its tag", [
                range("0-1").origin(part(0, 1).with("Cache-Control", "max-age=1").with("ETag", TAG)),
                range("0-1").after(3).origin(status(304).with("ETag", TAG).with("Cache-Control", "max-age=3600")).says_of_itself()
                    .origin_saw("If-None-Match", TAG).status(206).content("01").has("Content-Range", "bytes 0-1/10"),
                range("0-1").after(1).says_of_itself().asked(0).status(206).content("01"),
            ])
            .row("Vary counts", [
                range("0-1").with("Foo", "1").origin(tagged(0, 1).with("Vary", "Foo")),
                range("0-1").after(1).with("Foo", "1").reuses(1),
                range("0-1").with("Foo", "2").origin(part(0, 1).with("Cache-Control", "no-store")),
            ]),
        clause("3.3", Must, "a cache MUST NOT store incomplete or partial-content responses if it does not support the Range and Content-Range header fields or if it does not understand the range units used in those fields.")
            .each("Content-Range: {} is passed on and not reused", &["bytes 0-1/*", "lines 0-1/10", "foo", "bytes 0-1"], |place| {
                let answer = status(206).with("Cache-Control", "max-age=3600").with("ETag", TAG).with("Content-Range", place).content("01");
                [range("0-1").origin(answer.clone()), range("0-1").after(1).origin(answer)]
            })
            .row("a 206 without Content-Range is passed on and not reused", [
                range("0-1").origin(fresh_206()),
                range("0-1").after(1).origin(fresh_206()),
            ])
            .row("several ranges in one answer are passed on and not reused", [
                range("0-1,4-5").origin(fresh_206().with("Content-Type", "multipart/byteranges; boundary=x")),
                range("0-1,4-5").after(1).origin(fresh_206().with("Content-Type", "multipart/byteranges; boundary=x")),
            ]),
    ]
}

fn fresh_206() -> Answer {
    status(206).with("Cache-Control", "max-age=3600").content("01")
}

fn completing() -> Vec<Clause> {
    vec![
        clause("3.3", May, "A cache MAY complete a stored incomplete response by making a subsequent range request and combining the successful response with the stored response, as defined in Section 3.4.")
            .row("a beginning is completed with the rest alone, and then whole", [
                range("0-4").origin(tagged(0, 4)),
                is_whole(get().after(1).offers([("Range", "bytes=5-"), ("If-Range", TAG)]).origin(tagged(5, 9))),
                is_whole(get().after(1).asked(0)),
            ])
            .row("an end is completed with the beginning alone, and then whole", [
                range("5-9").origin(tagged(5, 9)),
                is_whole(get().after(1).offers([("Range", "bytes=0-4"), ("If-Range", TAG)]).origin(tagged(0, 4))),
                is_whole(get().after(1).asked(0)),
            ])
            .row("the origin has changed: its 200 is the answer, and is stored", [
                range("0-4").origin(tagged(0, 4)),
                get().after(1).origin(fresh().with("ETag", "\"b\"").content("abcdefghij")),
                get().after(1).reuses(2),
            ])
            .row("the rest has another tag: all of it is asked for", [
                range("0-4").origin(tagged(0, 4)),
                is_whole(get().after(1).origin(lasting(5, 9).with("ETag", "\"b\"")).origin_again(fresh().with("ETag", "\"b\"").content(WHOLE))),
            ])
            .row("the rest is refused: all of it is asked for", [
                range("0-4").origin(tagged(0, 4)),
                is_whole(get().after(1).origin(status(416)).origin_again(whole())),
            ]),
    ]
}

fn combining() -> Vec<Clause> {
    let two = |first: Answer, second: Answer| {
        [range("0-4").origin(first), range("5-9").after(1).origin(second)]
    };
    let asked_once = |first: Answer, second: Answer| {
        let [one, two] = two(first, second);
        [
            one,
            two,
            is_whole(get().after(1).offers([]).origin(controlled("no-store").content(WHOLE))),
        ]
    };
    vec![
        clause("3.4", May, "A cache MAY combine these ranges into a single stored response, and reuse that response to satisfy later requests, if they all share the same strong validator")
            .row("two parts that touch are the whole", {
                let [one, two] = two(tagged(0, 4), tagged(5, 9));
                [one, two, is_whole(get().after(1).asked(0))]
            })
            .row("two parts that overlap are the whole", [
                range("0-5").origin(tagged(0, 5)),
                range("4-9").after(1).origin(tagged(4, 9)),
                is_whole(get().after(1).asked(0)),
            ])
            .row("two parts that touch are one part", [
                range("1-3").origin(tagged(1, 3)),
                range("4-6").after(1).origin(tagged(4, 6)),
                range("2-5").after(1).asked(0).says_of_itself().status(206).content("2345").has("Content-Range", "bytes 2-5/10"),
            ])
            .row("the whole answers any range", {
                let [one, two] = two(tagged(0, 4), tagged(5, 9));
                [one, two, range("3-6").after(1).asked(0).says_of_itself().status(206).content("3456").has("Content-Range", "bytes 3-6/10")]
            })
            .row("not under a weak tag", asked_once(lasting(0, 4).with("ETag", WEAK), lasting(5, 9).with("ETag", WEAK)))
            .row("not without a tag", asked_once(lasting(0, 4), lasting(5, 9)))
            .row("not under Last-Modified alone", {
                let modified = "Tue, 15 Nov 1994 12:45:26 GMT";
                asked_once(lasting(0, 4).with("Last-Modified", modified), lasting(5, 9).with("Last-Modified", modified))
            })
            .row("not under two tags: the newer part is completed", {
                let [one, two] = two(tagged(0, 4), lasting(5, 9).with("ETag", "\"b\""));
                [
                    one,
                    two,
                    is_whole(get().after(1).offers([("Range", "bytes=0-4"), ("If-Range", "\"b\"")]).origin(lasting(0, 4).with("ETag", "\"b\""))),
                    is_whole(get().after(1).asked(0)),
                ]
            }),
        clause("3.4", Must, "When combining the new response with one or more stored responses, a cache MUST update the stored response header fields using the header fields provided in the new response, as per Section 3.2.")
            .row("fields of the rest replace those of the part; others stay", [
                range("0-4").origin(tagged(0, 4).with("Foo", "1").with("Bar", "1")),
                is_whole(get().after(1).origin(tagged(5, 9).with("Foo", "2"))).has("Foo", "2").has("Bar", "1"),
                is_whole(get().after(1).asked(0)).has("Foo", "2").has("Bar", "1"),
            ]),
    ]
}
