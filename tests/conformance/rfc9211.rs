//! RFC 9211: what `Cache-Status` says.

use super::answer::{brief, closes, controlled, fresh, not_modified, ok, status};
use super::row::Level::{Defined, Should};
use super::row::{Clause, ask, clause, get, head, post};

const NAME: &str = "Cache-Status";

pub(crate) fn clauses() -> Vec<Clause> {
    vec![
        clause("2", Defined, "The Cache-Status HTTP response header field indicates how caches have handled that response and its corresponding request.")
            .row("a miss names the cache", [get().origin(fresh()).says(NAME, "larder")])
            .row("a hit names the cache", [get().origin(fresh()), get().reuses(1).says(NAME, "larder")])
            .row("what is passed names the cache", [post().says(NAME, "larder")])
            .row("an answer of the cache's own names the cache", [get().with("Cache-Control", "only-if-cached").asked(0).is_refused(504).says(NAME, "larder")]),
        clause("2", Should, "When adding a value to the Cache-Status header field, caches SHOULD preserve the existing field value, to allow debugging of the entire chain of caches handling the request.")
            .row("the member of a cache nearer to the origin stays before ours, on a miss", [
                get().origin(fresh().with(NAME, "Inner; hit")).has(NAME, "Inner; hit, larder; fwd=uri-miss; stored; ttl=3600"),
            ])
            .row("and on a hit", [
                get().origin(fresh().with(NAME, "Inner; hit")).says_of_itself(),
                get().reuses(1).says(NAME, "Inner").has(NAME, "Inner; hit, larder; hit; ttl=3600"),
            ]),
        clause("2.1", Defined, "The value of \"hit\" is a Boolean that, when true, indicates that the request was satisfied by the cache; that is, it was not forwarded, and the response was obtained from the cache.")
            .row("a fresh hit", [get().origin(fresh()), get().reuses(1).has(NAME, "larder; hit; ttl=3600")])
            .row("a HEAD from a stored GET", [get().origin(fresh()), head().reuses(1).has(NAME, "larder; hit; ttl=3600")])
            .row("a 304 of our own", [
                get().origin(fresh().with("ETag", "\"a\"")),
                get().with("If-None-Match", "\"a\"").is_not_modified(1).has(NAME, "larder; hit; ttl=3600"),
            ])
            .row("a stale hit has a negative ttl", [
                get().origin(controlled("max-age=1, stale-while-revalidate=60")),
                get().after(3).reuses_and_refreshes(1).says(NAME, "hit").says(NAME, "ttl=-2"),
            ]),
        clause("2.2", Defined, "The value of \"fwd\" is a Token that, when present, indicates that the request went forward towards the origin; its value indicates why.")
            .row("uri-miss: nothing is stored", [get().origin(fresh()).says(NAME, "fwd=uri-miss")])
            .row("vary-miss: what is stored is for other requests", [
                get().with("Foo", "1").origin(fresh().with("Vary", "Foo")),
                get().with("Foo", "2").says(NAME, "fwd=vary-miss"),
            ])
            .row("stale: what is stored is stale", [get().origin(brief()), get().after(2).says(NAME, "fwd=stale")])
            .row("request: the client's directives", [get().origin(fresh()), get().with("Cache-Control", "no-cache").says(NAME, "fwd=request")])
            .row("method: the method is not looked up", [post().says(NAME, "fwd=method"), ask("OPTIONS").says(NAME, "fwd=method")])
            .row("an answer never says hit and fwd", [get().origin(fresh()), get().reuses(1).has(NAME, "larder; hit; ttl=3600")]),
        clause("2.3", Defined, "The value of \"fwd-status\" is an Integer that indicates which status code the next-hop server returned in response to the forwarded request.")
            .each("a {} that the client gets as it is goes without saying", &[200, 299, 404, 503, 599], |code| [get().origin(status(code)).has(NAME, "larder; fwd=uri-miss; detail=no-lifetime")])
            .row("a validation that succeeded: 304 though the client gets 200", [
                get().origin(brief().with("ETag", "\"a\"")),
                get().after(2).origin(not_modified()).validates(1, [("If-None-Match", "\"a\"")]).has(NAME, "larder; fwd=stale; fwd-status=304; stored; ttl=1"),
            ])
            .row("a validation that succeeded goes without saying where the client gets a 304 too", [
                get().origin(brief().with("ETag", "\"a\"")),
                get().after(2).with("If-None-Match", "\"a\"").origin(not_modified()).says_of_itself().status(304).has(NAME, "larder; fwd=stale; stored; ttl=1"),
            ])
            .row("a validation that was answered in full goes without saying", [
                get().origin(brief().with("ETag", "\"a\"")),
                get().after(2).origin(fresh()).has(NAME, "larder; fwd=stale; stored; ttl=3600"),
            ])
            .row("stale after a 503: 503 though the client gets 200", [
                get().origin(brief()),
                get().after(2).origin(status(503)).falls_back_to(1).has(NAME, "larder; fwd=stale; fwd-status=503; ttl=-1; detail=stale-if-error"),
            ])
            .row("no answer, no fwd-status", [get().origin(closes()).is_refused(502).has(NAME, "larder; fwd=uri-miss; detail=origin-failed")]),
        clause("2.4", Defined, "The value of \"ttl\" is an Integer that indicates the response's remaining freshness lifetime, as calculated by the cache, as an integer number of seconds, measured as closely as possible to when the response header section is sent by the cache.")
            .row("after 2 s there are 2 s less", [get().origin(fresh()), get().after(2).reuses(1).has(NAME, "larder; hit; ttl=3598")])
            .row("an Age on arrival is taken off", [get().origin(fresh().with("Age", "600")).says(NAME, "ttl=3000"), get().reuses(1).says(NAME, "ttl=3000")]),
        clause("2.5", Defined, "The value of \"stored\" is a Boolean that indicates whether the cache stored the response; a true value indicates that it did.")
            .row("what is stored says so", [get().origin(fresh()).says(NAME, "stored")])
            .each("what is not stored says why: {}", &["no-store", "private"], |why| {
                [get().origin(controlled(why)).has(NAME, format!("larder; fwd=uri-miss; detail={why}"))]
            })
            .row("a 200 that says nothing", [get().origin(ok()).says(NAME, "detail=no-lifetime")]),
        clause("2.8", Defined, "The value of \"detail\" is either a String or a Token that allows implementations to convey additional information not captured in other parameters")
            .row("only-if-cached", [get().with("Cache-Control", "only-if-cached").asked(0).is_refused(504).says(NAME, "detail=only-if-cached")])
            .row("stale-if-error", [
                get().origin(brief()),
                get().after(2).origin(closes()).falls_back_to(1).says(NAME, "detail=stale-if-error"),
            ]),
    ]
}
