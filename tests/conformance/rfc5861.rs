//! RFC 5861: stale content on purpose.

use super::answer::{closes, controlled, fresh, not_modified, ok, status};
use super::row::Level::{Defined, May, Must, Should};
use super::row::{Clause, clause, get};

const TAG: &str = "\"a\"";

pub(crate) fn clauses() -> Vec<Clause> {
    [while_revalidate(), if_error()].into_iter().flatten().collect()
}

fn while_revalidate() -> Vec<Clause> {
    let window = || controlled("max-age=1, stale-while-revalidate=3600").with("ETag", TAG);
    vec![
        clause("3", May, "caches MAY serve the response it appears in after it becomes stale, up to the indicated number of seconds")
            .row("stale after 3 s, inside the window: served", [get().origin(window()), get().after(3).origin(not_modified()).reuses_and_refreshes(1).age(3..=4)])
            .row("fresh: served without a refresh", [get().origin(controlled("max-age=3600, stale-while-revalidate=3600")), get().reuses(1)])
            .row("the client's max-age is not content with it", [get().origin(window()), get().after(2).with("Cache-Control", "max-age=600")])
            .row("a window of no seconds is none", [get().origin(controlled("max-age=1, stale-while-revalidate=0")), get().after(2)])
            .row("a window that is no number is none", [get().origin(controlled("max-age=1, stale-while-revalidate=x")), get().after(2)])
            .row("without a window it is asked for", [get().origin(controlled("max-age=1")), get().after(2)]),
        clause("3", Should, "If a cached response is served stale due to the presence of this extension, the cache SHOULD attempt to revalidate it while still serving stale responses (i.e., without blocking).")
            .row("the refresh is conditional", [
                get().origin(window()),
                get().after(2).origin(not_modified()).reuses_and_refreshes(1).offers([("If-None-Match", TAG)]),
            ])
            .row("the refresh is not waited for", [
                get().origin(window()),
                get().after(2).origin(fresh().after(std::time::Duration::from_secs(1))).reuses_and_refreshes(1),
                get().after(2).reuses(2),
            ])
            .row("the refresh carries the client's fields", [
                get().origin(window().with("Vary", "Foo")),
                get().after(2).with("Test-ID", "7").origin(not_modified()).reuses_and_refreshes(1).origin_saw("Test-ID", "7"),
            ])
            .row("what the refresh brings answers from then on", [
                get().origin(window()),
                get().after(2).origin(fresh().with("ETag", "\"b\"")).reuses_and_refreshes(1),
                get().after(1).reuses(2).has("ETag", "\"b\""),
            ])
            .row("what the refresh confirms is fresh again", [
                get().origin(window()),
                get().after(2).origin(not_modified().with("Cache-Control", "max-age=3600")).reuses_and_refreshes(1),
                get().after(1).reuses(1).has("Cache-Control", "max-age=3600").has_date("Date", -1),
            ])
            .row("a refresh that may not be kept at all ends what was served", [
                get().origin(window()),
                get().after(2).origin(controlled("private")).reuses_and_refreshes(1),
                get().after(1),
            ])
            .row("a refresh that may not be kept ends what was served", [
                get().origin(controlled("max-age=1, stale-while-revalidate=4").with("ETag", TAG)),
                get().after(3).origin(controlled("no-cache").with("ETag", "\"b\"")).reuses_and_refreshes(1),
                get().after(3),
            ]),
        clause("3", Should, "If delta-seconds passes without the cached entity being revalidated, it SHOULD NOT continue to be served stale, absent other information.")
            .row("after the window the client waits", [
                get().origin(controlled("max-age=1, stale-while-revalidate=1").with("ETag", TAG)),
                get().after(3).origin(not_modified()).validates(1, [("If-None-Match", TAG)]),
            ])
            .row("a refresh that fails does not lengthen the window", [
                get().origin(controlled("max-age=1, stale-while-revalidate=2")),
                get().after(2).origin(closes()).reuses_and_refreshes(1),
                get().after(2),
            ]),
    ]
}

fn if_error() -> Vec<Clause> {
    let window = || controlled("max-age=1, stale-if-error=60");
    vec![
        clause("4", May, "when an error is encountered, a cached stale response MAY be used to satisfy the request, regardless of other freshness information")
            .row("the origin closes: what is stale is served", [get().origin(window()), get().after(2).origin(closes()).falls_back_to(1).age(2..=4)]),
        clause("4", Defined, "In this context, an error is any situation which would result in a 500, 502, 503 or 504 HTTP response status code being returned.")
            .each("a {} is an error", &[500, 502, 503, 504], |code| {
                [get().origin(window()), get().after(2).origin(status(code)).falls_back_to(1).age(2..=4)]
            })
            .each("a {} is none", &[400, 403, 404, 410, 429, 501, 505], |code| [get().origin(window()), get().after(2).origin(status(code))]),
        clause("4", Should, "when the cached response is more stale than the indicated amount, the cached response SHOULD NOT be used to satisfy the request, absent other information")
            .row("beyond the window, an origin that closes: 502", [
                get().origin(controlled("max-age=1, stale-if-error=1").with("ETag", TAG)),
                get().after(3).origin(closes()).is_refused(502),
            ])
            .row("beyond the window, an origin that says 503: its 503", [
                get().origin(controlled("max-age=1, stale-if-error=1")),
                get().after(3).origin(status(503)),
            ]),
        clause("4", Should, "Note that this directive does not affect freshness; stale cached responses that are used SHOULD still be visibly stale when sent (i.e., have a non-zero Age header and a warning header, as per HTTP's requirements.)")
            .row("the directive makes nothing fresh", [get().origin(window()), get().after(2)])
            .row("the directive alone is no lifetime", [get().origin(controlled("stale-if-error=60")), get()])
            .row("what is served is visibly stale, but for the obsolete Warning", [
                get().origin(window()),
                get().after(2).origin(closes()).falls_back_to(1).age(2..=4).lacks("Warning"),
            ]),
        clause("4", Must, "After the age is greater than 1800 seconds (i.e., it has been stale for 1200 seconds), the cache must write the error message through.")
            .row("the error goes through with its fields and content", [
                get().origin(controlled("max-age=600, stale-if-error=1200").with("Age", "1801")),
                get().origin(status(500).with("Foo", "bar").content("failure")).lacks("Age"),
            ])
            .row("before, the successful response is returned instead", [
                get().origin(controlled("max-age=600, stale-if-error=1200").with("Age", "900")),
                get().origin(status(500).content("failure")).falls_back_to(1).age(900..=902),
            ])
            .row("an origin that is well again is heard", [
                get().origin(window()),
                get().after(2).origin(status(503)).falls_back_to(1),
                get().origin(ok().with("Cache-Control", "max-age=60")),
                get().reuses(3),
            ]),
    ]
}
