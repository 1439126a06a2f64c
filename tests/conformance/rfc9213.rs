//! RFC 9213: `CDN-Cache-Control`.

use super::answer::{Answer, ok};
use super::row::Level::{Defined, Must};
use super::row::{Clause, clause, get};

fn targeted(directives: &str) -> Answer {
    ok().with("CDN-Cache-Control", directives)
}

pub(crate) fn clauses() -> Vec<Clause> {
    vec![
        clause("2.2", Must, "the cache MUST select the first (in target-list order) field with a valid, non-empty value and use its value to determine the caching policy for the response, and it MUST ignore the Cache-Control and Expires header fields in that response")
            .each("{} alone is fresh", &["max-age=3600", "max-age=2147483648", "max-age=99999999999", "max-age=3600, foo", "foo=bar, max-age=3600", "s-maxage=3600"], |directives| {
                [get().origin(targeted(directives)), get().reuses(1)]
            })
            .each("fresh, whatever Expires: {} says", &["Thu, 18 Aug 1994 02:01:18 GMT", "0", "foo"], |date| {
                [get().origin(targeted("max-age=3600").with("Expires", date)), get().reuses(1)]
            })
            .row("long beats a short max-age", [get().origin(targeted("max-age=3600").with("Cache-Control", "max-age=1")), get().after(2).reuses(1)])
            .row("short beats a long max-age", [get().origin(targeted("max-age=1").with("Cache-Control", "max-age=3600")), get().after(2)])
            .row("it runs out", [get().origin(targeted("max-age=1")), get().after(2)])
            .row("max-age=0 is never fresh", [get().origin(targeted("max-age=0")), get()])
            .row("max-age=0 is not fresh, whatever Expires says", [get().origin(targeted("max-age=0").dated("Expires", 3600)), get()])
            .row("Age counts", [get().origin(targeted("max-age=3600").with("Age", "7200")), get()])
            .each("{} beats a fresh Cache-Control", &["private", "no-cache", "no-store", "private, max-age=3600", "no-store, max-age=3600"], |directives| {
                [get().origin(targeted(directives).with("Cache-Control", "max-age=3600")), get()]
            })
            .each("max-age beats Cache-Control: {}", &["no-store", "private", "no-cache", "max-age=0"], |directives| {
                [get().origin(targeted("max-age=3600").with("Cache-Control", directives)), get().reuses(1)]
            })
            .row("Larder-Cache-Control comes before CDN-Cache-Control", [
                get().origin(targeted("max-age=1").with("Larder-Cache-Control", "max-age=3600")),
                get().after(2).reuses(1),
            ])
            .row("must-revalidate of Cache-Control does not count", [
                get().origin(targeted("max-age=1, stale-while-revalidate=60").with("Cache-Control", "must-revalidate")),
                get().after(2).reuses_and_refreshes(1),
            ]),
        clause("2.1", Must, "If a targeted field in a given response is empty, or a parsing error is encountered, that field MUST be ignored by the cache (i.e., it behaves as if the field were not present, likely falling back to other cache-control mechanisms present).")
            .each("{} is ignored: no-store rules", &["max-age=10000, &&&&&", "max-age=\"10000\"", "max-age =10000", "max-age= 10000", "MaX-aGe=10000", "max-age=10000.5", "max-age=10000,", "", "&"], |directives| {
                [get().origin(targeted(directives).with("Cache-Control", "no-store")), get()]
            })
            .each("{} is ignored: max-age rules", &["max-age=1, &&&&&", "max-age=\"1\"", "no-store, &", ""], |directives| {
                [get().origin(targeted(directives).with("Cache-Control", "max-age=3600")), get().after(2).reuses(1)]
            }),
        clause("2.1", Defined, "Targeted fields are Dictionary Structured Fields")
            .row("of a key that comes twice the last counts", [get().origin(targeted("max-age=1, max-age=3600")), get().after(2).reuses(1)])
            .row("members on two lines are one Dictionary", [get().origin(targeted("foo").with("CDN-Cache-Control", "max-age=3600")), get().reuses(1)])
            .row("parameters of members are ignored", [get().origin(targeted("max-age=3600;a=b")), get().reuses(1)])
            .row("?0 is as good as absent", [get().origin(targeted("no-store=?0, max-age=3600")), get().reuses(1)]),
        clause("2.2", Must, "Targeted fields that are not on a cache's target list MUST NOT change that cache's behavior and MUST be passed through.")
            .row("another cache's field changes nothing and is passed on", [
                get().origin(ok().with("Cache-Control", "max-age=3600").with("Other-Cache-Control", "no-store")),
                get().reuses(1).has("Other-Cache-Control", "no-store"),
            ]),
        clause("3.1", Defined, "The CDN-Cache-Control response header field is a targeted field that allows origin servers to control the behavior of CDN caches interposed between them and clients separately from other caches that might handle the response.")
            .row("the field is passed on to the client, on the miss and on the hit", [
                get().origin(targeted("max-age=3600").with("Cache-Control", "max-age=60")).has("CDN-Cache-Control", "max-age=3600"),
                get().reuses(1).has("CDN-Cache-Control", "max-age=3600").has("Cache-Control", "max-age=60"),
            ])
            .row("Age, Date and Expires are sent on a hit that outlives Cache-Control", [
                get().origin(targeted("max-age=3600").with("Cache-Control", "max-age=1").dated("Date", 0).dated("Expires", 1)),
                get().after(3).reuses(1).age(3..=4).has_date("Date", -3).has_date("Expires", -2),
            ]),
    ]
}
