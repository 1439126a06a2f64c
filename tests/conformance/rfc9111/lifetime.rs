//! §4.2: how long a response is fresh, and how old it is.

use crate::conformance::answer::{brief, controlled, fresh, ok, status};
use crate::conformance::row::Level::{Defined, May, Must, Should};
use crate::conformance::row::{Clause, clause, get};

/// Dates that are read, however they are written.
const GOOD_DATES: [&str; 8] = [
    "Thu, 18 Aug 2050 02:01:18 GMT",
    "Mon, 14 Mar 2286 12:00:00 GMT",
    "Thursday, 18-Aug-50 02:01:18 GMT",
    "Thu Aug  8 02:01:18 2050",
    "thu, 18 aug 2050 02:01:18 GMT",
    "THU, 18 AUG 2050 02:01:18 GMT",
    "Thu, 18 Aug 2050 02:01:18 gmt",
    "Tue, 19 Jan 2038 03:14:08 GMT",
];

/// Dates that are none.
const BAD_DATES: [&str; 12] = [
    "0",
    "foo",
    "-1",
    "Thu, 18 Aug 50 02:01:18 GMT",
    "Thu 18 Aug 2050 02:01:18 GMT",
    "Thu, 18  Aug  2050 02:01:18 GMT",
    "Thu, 18-Aug-2050 02:01:18 GMT",
    "Thu, 18 Aug 2050 02.01.18 GMT",
    "Thu, 18 Aug 2050 2:01:18 GMT",
    "Thu, 18 Aug 2050 02:01:18 +0000",
    "2050-08-18T02:01:18Z",
    "Thu, 18 Aug 2050",
];

/// How long a slow origin takes.
const SLOW: std::time::Duration = std::time::Duration::from_secs(2);

pub(crate) fn clauses() -> Vec<Clause> {
    [freshness(), calculated(), expires(), dates(), heuristic(), age()]
        .into_iter()
        .flatten()
        .collect()
}

fn freshness() -> Vec<Clause> {
    vec![
        clause("4.2", Defined, "When a response is fresh, it can be used to satisfy subsequent requests without contacting the origin server, thereby improving efficiency.")
            .row("a fresh response is reused", [get().origin(fresh()), get().reuses(1)])
            .row("a fresh response is reused again and again", [get().origin(fresh()), get().reuses(1), get().reuses(1)])
            .row("two seconds of freshness are not lost to the whole seconds of Date", [
                get().origin(controlled("max-age=2")),
                get().reuses(1),
            ]),
        clause("4.2", Must, "response_is_fresh = (freshness_lifetime > current_age)")
            .row("a response is not reused when its lifetime is over", [get().origin(brief()), get().after(2)])
            .row("max-age=0 is never fresh", [get().origin(controlled("max-age=0")), get()])
            .row("max-age=0 is not fresh beside an Expires in the future", [
                get().origin(controlled("max-age=0").dated("Expires", 3600)),
                get(),
            ]),
        clause("1.2.2", Must, "If a cache receives a delta-seconds value greater than the greatest integer it can represent, or if any of its subsequent calculations overflows, the cache MUST consider the value to be 2147483648 (2^31) or the greatest positive integer it can conveniently represent.")
            .each("max-age={} is very long", &["2147483647", "2147483648", "2147483649", "99999999999", "99999999999999999999999"], |number| [
                get().origin(controlled(&format!("max-age={number}"))),
                get().reuses(1),
            ])
            .each("Age: {} is very old", &["2147483647", "2147483648", "2147483649", "99999999999999999999999"], |number| [
                get().origin(fresh().with("Age", number)),
                get(),
            ]),
        clause("1.2.2", Defined, "The delta-seconds rule specifies a non-negative integer, representing time in seconds.")
            .row("a number may have leading zeros", [get().origin(controlled("max-age=003600")), get().reuses(1)])
            .row("a negative number is no lifetime", [get().origin(controlled("max-age=-3600")), get()]),
    ]
}

fn calculated() -> Vec<Clause> {
    vec![
        clause("4.2.1", Must, "If the cache is shared and the s-maxage response directive is present, use its value")
            .row("s-maxage alone is a lifetime", [get().origin(controlled("s-maxage=3600")), get().reuses(1)])
            .row("a short s-maxage beats a long max-age behind it", [get().origin(controlled("s-maxage=1, max-age=3600")), get().after(2)])
            .row("a short s-maxage beats a long max-age before it", [get().origin(controlled("max-age=3600, s-maxage=1")), get().after(2)])
            .row("a short s-maxage beats a long max-age on another line", [
                get().origin(controlled("max-age=3600").with("Cache-Control", "s-maxage=1")),
                get().after(2),
            ])
            .row("a long s-maxage beats a short max-age", [get().origin(controlled("max-age=1, s-maxage=3600")), get().after(2).reuses(1)])
            .row("a long s-maxage beats max-age=0 and an Expires in the past", [
                get().origin(controlled("s-maxage=3600, max-age=0").dated("Expires", -10)),
                get().reuses(1),
            ]),
        clause("4.2.1", Defined, "If the max-age response directive is present, use its value")
            .row("max-age beats an Expires in the past", [get().origin(fresh().dated("Expires", -10)), get().reuses(1)])
            .row("max-age beats an Expires that is no date", [get().origin(fresh().with("Expires", "0")), get().reuses(1)])
            .row("a short max-age beats a far Expires", [get().origin(brief().dated("Expires", 3600)), get().after(2)]),
        clause("4.2.1", Defined, "either the first occurrence should be used or the response should be considered stale")
            .row("of two max-age the first counts: fresh first, on one line", [
                get().origin(controlled("max-age=3600, max-age=1")),
                get().after(2).reuses(1),
            ])
            .row("of two max-age the first counts: stale first, on one line", [
                get().origin(controlled("max-age=1, max-age=3600")),
                get().after(2),
            ])
            .row("of two max-age the first counts: fresh first, on two lines", [
                get().origin(fresh().with("Cache-Control", "max-age=1")),
                get().after(2).reuses(1),
            ])
            .row("of two max-age the first counts: stale first, on two lines", [
                get().origin(brief().with("Cache-Control", "max-age=3600")),
                get().after(2),
            ])
            .row("two Expires are stale", [get().origin(ok().dated("Expires", 3600).dated("Expires", 7200)), get()]),
        clause("4.2.1", Defined, "Caches are encouraged to consider responses that have invalid freshness information (e.g., a max-age directive with non-integer content) to be stale.")
            .each("max-age={} is stale", &["3600.0", "3600.5", "a3600", "3600a", "'3600'", "", "\"3600"], |value| [
                get().origin(controlled(&format!("max-age={value}"))),
                get(),
            ])
            .row("a blank before = is stale", [get().origin(controlled("max-age =3600")), get()])
            .row("a blank behind = is stale", [get().origin(controlled("max-age= 3600")), get()])
            .row("a bare max-age is stale", [get().origin(controlled("max-age")), get()]),
        clause("4.2.1", Should, "If directives conflict (e.g., both max-age and no-cache are present), the most restrictive directive should be honored.")
            .row("no-cache counts beside max-age", [get().origin(controlled("max-age=3600, no-cache")), get()])
            .row("no-store counts beside max-age and public", [get().origin(controlled("public, max-age=3600, no-store")), get()])
            .row("private counts beside public", [get().origin(controlled("public, private, max-age=3600")), get()]),
    ]
}

fn expires() -> Vec<Clause> {
    vec![
        clause("4.2.1", Defined, "If the Expires response header field is present, use its value minus the value of the Date response header field (using the time the message was received if it is not present)")
            .row("an Expires in the future is fresh", [get().origin(ok().dated("Expires", 3600)), get().reuses(1)])
            .row("an Expires in the past is stale", [get().origin(ok().dated("Expires", -3600)), get()])
            .row("an Expires equal to Date is stale", [get().origin(ok().dated("Date", 0).dated("Expires", 0)), get()])
            .row("an Expires before a Date is stale though both are in the future", [
                get().origin(ok().dated("Date", 7200).dated("Expires", 3600)),
                get(),
            ])
            .row("an Expires is over when the clock says so", [get().origin(ok().dated("Expires", 1)), get().after(2)])
            .row("the lifetime counts from Date, the age from Age: Date 10 s ago", [
                get().origin(ok().dated("Date", -10).dated("Expires", 10).with("Age", "25")),
                get(),
            ])
            .row("the lifetime counts from Date, the age from Age: Date in 10 s", [
                get().origin(ok().dated("Date", 10).dated("Expires", 20).with("Age", "15")),
                get(),
            ])
            .row("without Date it counts from the time of receipt", [
                get().origin(ok().undated().dated("Expires", 10)),
                get().reuses(1),
            ])
            .row("with a Date that is none it counts from the time of receipt", [
                get().origin(ok().with("Date", "foo").dated("Expires", 10)),
                get().reuses(1),
            ]),
        clause("5.3", Must, "A cache recipient MUST interpret invalid date formats, especially the value \"0\", as representing a time in the past (i.e., \"already expired\").")
            .each("Expires: {} is in the past", &BAD_DATES, |date| [get().origin(ok().with("Expires", date)), get()])
            .each("Expires: {} is in the past, whatever could validate it", &["0", "foo"], |date| [
                get().origin(ok().with("Expires", date).with("ETag", "\"a\"")),
                get().offers([("If-None-Match", "\"a\"")]),
            ]),
    ]
}

fn dates() -> Vec<Clause> {
    vec![
        clause("4.2", Should, "Although all date formats are specified to be case-sensitive, a cache recipient SHOULD match the field value case-insensitively.")
            .each("Expires: {} is in the future", &GOOD_DATES, |date| [get().origin(ok().with("Expires", date)), get().reuses(1)]),
        clause("4.2", Should, "A cache recipient SHOULD consider a date with a zone abbreviation other than \"GMT\" to be invalid for calculating expiration.")
            .each("Expires with {} is in the past", &["UTC", "AEST", "EST", "Z"], |zone| [
                get().origin(ok().with("Expires", format!("Thu, 18 Aug 2050 02:01:18 {zone}"))),
                get(),
            ]),
    ]
}

const DAY: i64 = 86_400;

fn heuristic() -> Vec<Clause> {
    let modified = |code: u16| status(code).dated("Last-Modified", -DAY);
    vec![
        clause("4.2.2", May, "a cache MAY assign a heuristic expiration time when an explicit time is not specified")
            .each("a {} with an old Last-Modified is reused", &[200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501], |code: u16| [
                get().origin(modified(code)),
                get().reuses(1),
            ])
            .row("a 599 that is public and has an old Last-Modified is reused", [
                get().origin(modified(599).with("Cache-Control", "public")),
                get().reuses(1),
            ])
            .row("a URL with a query is no exception", [get().to("?a=b").origin(modified(200)), get().to("?a=b").reuses(1)]),
        clause("4.2.2", Must, "heuristics can only be used on responses without explicit freshness whose status codes are defined as heuristically cacheable")
            .each("a {} with an old Last-Modified is not reused", &[201, 202, 302, 303, 307, 400, 403, 409, 500, 502, 503, 504, 599], |code: u16| [
                get().origin(modified(code)),
                get(),
            ]),
        clause("4.2.2", Must, "A cache MUST NOT use heuristics to determine freshness when an explicit expiration time is present in the stored response.")
            .row("not beside max-age", [get().origin(brief().dated("Last-Modified", -DAY * 100)), get().after(2)])
            .row("not beside s-maxage", [get().origin(controlled("s-maxage=1").dated("Last-Modified", -DAY * 100)), get().after(2)])
            .row("not beside Expires", [get().origin(ok().dated("Expires", -1).dated("Last-Modified", -DAY * 100)), get()])
            .row("not beside an Expires that is no date", [get().origin(ok().with("Expires", "0").dated("Last-Modified", -DAY * 100)), get()]),
        clause("4.2.2", Defined, "caches are encouraged to use a heuristic expiration value that is no more than some fraction of the interval since that time. A typical setting of this fraction might be 10%.")
            .each("modified {} s ago is stale after 3 s", &[5, 10, 20], |ago| [
                get().origin(ok().dated("Last-Modified", -i64::from(ago))),
                get().after(3),
            ])
            .each("modified {} s ago is fresh after 3 s", &[60, 600, 3600, 86_400], |ago| [
                get().origin(ok().dated("Last-Modified", -i64::from(ago))),
                get().after(3).reuses(1),
            ])
            .row("modified in the future is stale", [get().origin(ok().dated("Last-Modified", 3600)), get()])
            .row("modified at no date is stale", [get().origin(ok().with("Last-Modified", "foo")), get()]),
        clause("3", Defined, "some caches will not store a response that has neither a cache validator nor an explicit expiration time")
            .row("a 200 that says nothing is not reused", [get().origin(ok()), get()])
            .row("a 200 that says nothing is not reused though it has content fields", [
                get().origin(ok().with("Content-Type", "text/plain").with("Content-Disposition", "attachment")),
                get(),
            ]),
    ]
}

fn age() -> Vec<Clause> {
    vec![
        clause("4.2.3", Must, "corrected_age_value = age_value + response_delay")
            .row("an Age above the lifetime is stale at once", [get().origin(fresh().with("Age", "7200")), get()])
            .row("an Age below the lifetime is fresh", [get().origin(fresh().with("Age", "1800")), get().reuses(1).age(1800..=1801)])
            .row("an Age near the lifetime runs out", [get().origin(fresh().with("Age", "3599")), get().after(2)]),
        clause("4.2.3", Defined, "response_delay = response_time - request_time")
            .row("what the origin took is an age", [get().origin(fresh().after(SLOW)), get().after(3).reuses(1).age(3..=5)])
            .row("what the origin took comes on top of an Age", [
                get().origin(fresh().with("Age", "100").after(SLOW)).says_of_itself(),
                get().after(3).reuses(1).age(103..=105),
            ])
            .row("what took longer than it is fresh for is not reused", [get().origin(controlled("max-age=1").after(SLOW)), get()])
            .row("a quick answer has no such age", [get().origin(fresh()), get().reuses(1).age(0..=1)]),
        clause("4.2.3", Defined, "apparent_age = max(0, response_time - date_value)")
            .row("a Date of two hours ago is an age", [get().origin(fresh().dated("Date", -7200)), get()])
            .row("a Date of half an hour ago is an age", [get().origin(fresh().dated("Date", -1800)), get().reuses(1).age(1800..=1801)])
            .row("a Date in the future is no age", [get().origin(fresh().dated("Date", 7200)), get().reuses(1).age(0..=1)]),
        clause("4.2.3", Must, "A cache MUST interpret this value relative to the time the request was initiated, not the time that the response was received.")
            .row("the time that the origin took is part of the age", [
                get().origin(fresh().undated().after(std::time::Duration::from_secs(2))),
                get().reuses(1).age(2..=3),
            ])
            .row("the time that the origin took is part of the lifetime", [
                get().origin(brief().undated().after(std::time::Duration::from_secs(2))),
                get(),
            ]),
        clause("4", Must, "When a stored response is used to satisfy a request without validation, a cache MUST generate an Age header field, replacing any present in the response with a value equal to the stored response's current_age")
            .row("a hit after 3 s is 3 s old", [get().origin(fresh()), get().after(3).reuses(1).age(3..=4)])
            .row("a hit by Expires after 3 s is 3 s old", [get().origin(ok().dated("Expires", 3600)), get().after(3).reuses(1).age(3..=4)])
            .row("a hit goes on from the origin's Age, by max-age", [get().origin(fresh().with("Age", "30")), get().after(3).reuses(1).age(33..=34)])
            .row("a hit goes on from the origin's Age, by Expires", [
                get().origin(ok().dated("Expires", 3600).with("Age", "30")),
                get().after(3).reuses(1).age(33..=34),
            ])
            .row("a miss carries the origin's Age as it came", [get().origin(fresh().with("Age", "30")).has("Age", "30")])
            .row("a miss has no Age of its own", [get().origin(fresh()).lacks("Age")]),
        clause("5.1", Should, "a cache encountering a message with a list-based Age field value SHOULD use the first member of the field value, discarding subsequent ones")
            .row("7200, 0 is stale", [get().origin(fresh().with("Age", "7200, 0")), get()])
            .row("7200 and 0 on two lines are stale", [get().origin(fresh().with("Age", "7200").with("Age", "0")), get()])
            .row("0, 7200 is fresh", [get().origin(fresh().with("Age", "0, 7200")), get().reuses(1).age(0..=1)])
            .row("0 and 7200 on two lines are fresh", [get().origin(fresh().with("Age", "0").with("Age", "7200")), get().reuses(1).age(0..=1)])
            .row("0, 0 is fresh", [get().origin(fresh().with("Age", "0, 0")), get().reuses(1)])
            .row("0 and 0 on two lines are fresh", [get().origin(fresh().with("Age", "0").with("Age", "0")), get().reuses(1)])
            .row("3600 twice is 3600", [
                get().origin(controlled("max-age=10000").with("Age", "3600").with("Age", "3600")),
                get().reuses(1).age(3600..=3601),
            ]),
        clause("5.1", Should, "If the field value is invalid (e.g., it contains something other than a non-negative integer), a cache SHOULD ignore the field.")
            .each("Age: {} is ignored", &["abc", "-7200", "7200.0", "7200;foo=bar", "7200;foo=111", "7200a", "\"7200\""], |age| [
                get().origin(fresh().with("Age", age)),
                get().reuses(1).age(0..=1),
            ]),
    ]
}
