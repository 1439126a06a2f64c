//! RFC 10008: QUERY, whose content is part of the question.

use super::answer::{Answer, brief, controlled, fresh, not_modified, status};
use super::row::Level::{Defined, May, Must};
use super::row::{Clause, Exchange, ask, clause, get, head, post};

const TAG: &str = "\"abcdef\"";

fn query(content: &str) -> Exchange {
    ask("QUERY").with("Content-Type", "text/plain").sending(content)
}

fn stored() -> Answer {
    fresh().with("ETag", TAG)
}

pub(crate) fn clauses() -> Vec<Clause> {
    vec![
        clause("2.7", May, "The response to a QUERY method is cacheable; a cache MAY use it to satisfy subsequent QUERY requests")
            .row("the same question is answered from what is stored", [
                query("a").origin(stored()).origin_saw_method("QUERY").origin_saw_content("a"),
                query("a").reuses(1),
                query("a").reuses(1),
            ])
            .row("a stored error is reused too", [query("a").origin(status(404).with("Cache-Control", "max-age=3600")), query("a").reuses(1)])
            .each("{} is not reused", &["no-store", "private", "max-age=0"], |directives| [query("a").origin(controlled(directives)), query("a")])
            .row("what is stale is validated, with the content", [
                query("a").origin(brief().with("ETag", TAG)),
                query("a").after(2).origin(not_modified()).validates(1, [("If-None-Match", TAG)]).origin_saw_method("QUERY").origin_saw_content("a"),
            ])
            .row("Vary counts", [
                query("a").with("Foo", "1").origin(stored().with("Vary", "Foo")),
                query("a").with("Foo", "1").reuses(1),
                query("a").with("Foo", "2"),
            ])
            .row("a condition of the client is evaluated", [query("a").origin(stored()), query("a").with("If-None-Match", TAG).is_not_modified(1)])
            .row("the client's no-cache goes to the origin", [query("a").origin(fresh()), query("a").with("Cache-Control", "no-cache")]),
        clause("2.7", Must, "The cache key for a QUERY request MUST incorporate the request content and related metadata.")
            .row("other content, other answer; both stay", [
                query("a").origin(fresh()),
                query("b").origin(fresh()),
                query("a").reuses(1),
                query("b").reuses(2),
            ])
            .row("other Content-Type, other answer", [query("a").origin(fresh()), ask("QUERY").with("Content-Type", "text/html").sending("a")])
            .row("other Content-Language, other answer", [query("a").with("Content-Language", "de").origin(fresh()), query("a").with("Content-Language", "en")])
            .row("other Content-Encoding, other answer", [query("a").with("Content-Encoding", "gzip").origin(fresh()), query("a").with("Content-Encoding", "br")])
            .row("other URI, other answer", [query("a").to("?1").origin(fresh()), query("a").to("?2")])
            .row("content that only begins alike, other answer", [query("ab").origin(fresh()), query("a")])
            .row("a GET has another answer", [query("a").origin(fresh()), get()])
            .row("a HEAD has another answer", [query("a").origin(fresh()), head()])
            .row("a QUERY has not the answer of a GET", [get().origin(fresh()), query("a")]),
        clause("2", Defined, "QUERY requests are safe with regard to the target resource")
            .row("a QUERY makes nothing invalid", [get().origin(fresh()), query("a").origin(fresh()), get().reuses(1)])
            .row("a POST makes the answers to QUERY invalid", [query("a").origin(fresh()), post().origin(controlled("no-store")), query("a")]),
    ]
}
