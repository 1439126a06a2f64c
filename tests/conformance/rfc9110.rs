//! RFC 9110, HTTP Semantics: what it asks of an intermediary, of conditional requests and of ranges.

use super::answer::{Answer, closes, controlled, fresh, ok, raw, status};
use super::row::Level::{Defined, Must, Should};
use super::row::{Clause, Exchange, ask, clause, get, head, post};

const TAG: &str = "\"abcdef\"";
const MODIFIED: &str = "Tue, 15 Nov 1994 12:45:26 GMT";

pub(crate) fn clauses() -> Vec<Clause> {
    [messages(), fields(), hops(), methods(), conditions(), ranges(), statuses(), interim()]
        .into_iter()
        .flatten()
        .collect()
}

fn messages() -> Vec<Clause> {
    vec![
        clause("5.1", Must, "A proxy MUST forward unrecognized header fields unless the field name is listed in the Connection header field or the proxy is specifically configured to block, or otherwise transform, such fields.")
            .row("unknown fields of a request reach the origin", [get().with("Foo", "1").with("Test-ID", "a b").origin_saw("Foo", "1").origin_saw("Test-ID", "a b")])
            .row("unknown fields of a response reach the client", [get().origin(ok().with("Foo", "1").with("Server-Now", "2"))])
            .row("bytes above 0x7F pass in a request", [get().with("Foo", b"caf\xe9").origin_saw("Foo", b"caf\xe9")])
            .row("bytes above 0x7F pass in a response", [get().origin(ok().with("Foo", b"caf\xe9\xff"))])
            .row("unknown fields of a POST reach the origin", [post().with("Foo", "1").origin_saw("Foo", "1").origin_saw_content("something")]),
        clause("5.3", Must, "a proxy MUST NOT change the order of these field line values when forwarding a message")
            .row("lines of a request keep their order", [get().with("Foo", "b").with("Bar", "x").with("Foo", "a").origin_saw("Foo", "b, a")])
            .row("lines of a response keep their order", [get().origin(ok().with("Foo", "b").with("Bar", "x").with("Foo", "a")).has("Foo", "b, a")]),
        clause("7.7", Must, "A proxy MUST NOT modify the \"absolute-path\" and \"query\" parts of the received target URI when forwarding it to the next inbound server except as required by that forwarding protocol.")
            .each("{} arrives as it is", &["/a/b", "?a=b&a=c", "?b=1&a=2", "/a;b=c", "?a", "/a%20b", "?q=%2F"], |suffix| [get().to(suffix).origin_saw_target(suffix)])
            .row("the target of a POST arrives as it is", [post().to("/a?b=c").origin_saw_target("/a?b=c")]),
        clause("7.7", Must, "A proxy MUST NOT transform the content of a response message that contains a no-transform cache directive")
            .row("content stays as it is", [get().with("Accept-Encoding", "gzip").origin(controlled("no-transform").content("aaaaaaaaaaaaaaaaaaaaaaaa")).lacks("Content-Encoding")]),
        clause("7.6.2", Must, "an intermediary that receives an OPTIONS request with a Max-Forwards header field MUST check and update its value prior to forwarding the request")
            .row("a step is counted", [ask("OPTIONS").with("Max-Forwards", "5").origin_saw("Max-Forwards", "4")])
            .row("at none left the intermediary answers", [ask("OPTIONS").with("Max-Forwards", "0").asked(0).says_of_itself().status(204).has_some("Allow")]),
        clause("8.6", Must, "A server MUST NOT send a Content-Length header field in any response with a status code of 1xx (Informational) or 204 (No Content).")
            .row("a 204 has none, on the miss and on the hit", [
                get().origin(status(204).with("Cache-Control", "max-age=3600")).lacks("Content-Length"),
                get().reuses(1).lacks("Content-Length"),
            ]),
        clause("6.6.1", Must, "A recipient with a clock that receives a response message without a Date header field MUST record the time it was received and append a corresponding Date header field to the message's header section if it is cached or forwarded downstream.")
            .row("a Date is added to what is stored, and stays", [get().origin(fresh().undated()).has_some("Date"), get().reuses(1).has_some("Date")])
.row("a Date is added to what is not stored", [get().origin(ok().undated()).has_some("Date")])
.row("a Date that is there stays as it is", [get().origin(fresh().dated("Date", -30)), get().reuses(1).has_date("Date", -30)])
            .row("a Date that is none stays as it is", [get().origin(fresh().with("Date", "foo")), get().reuses(1)]),
        clause("9112 §6.3", Defined, "If a valid Content-Length header field is present without Transfer-Encoding, its decimal value defines the expected message body length in octets.")
            .row("surplus bytes behind Content-Length are nobody's", [
                get().origin(fresh().then_more(b"surplus")).content("answer 1"),
                get().reuses(1).content("answer 1"),
                get().with("Cache-Control", "no-cache"),
            ]),
    ]
}

fn fields() -> Vec<Clause> {
    vec![
        clause("7.2", Defined, "The \"Host\" header field in a request provides the host and port information from the target URI, enabling the origin server to distinguish among resources while servicing requests for multiple host names.")
            .row("the client's Host reaches the origin", [get().with("Host", "a.example").origin_saw("Host", "a.example")]),
        clause("7.6.3", Must, "A proxy MUST send an appropriate Via header field, as described below, in each message that it forwards.")
            .row("a request has it", [get().origin_saw("Via", "1.1 larder")])
            .row("a passed request has it", [post().origin_saw("Via", "1.1 larder")])
            .row("what others wrote stays before it", [get().with("Via", "1.0 fred").origin_saw("Via", "1.0 fred, 1.1 larder")])
            .row("a passed response has it", [post().has("Via", "1.1 larder")])
            .row("a response that is not stored has it", [get().has("Via", "1.1 larder")])
            .row("a stored response has it, with what others wrote before it", [
                get().origin(fresh().with("Via", "1.0 fred")).has("Via", "1.0 fred, 1.1 larder"),
                get().reuses(1).has("Via", "1.0 fred, 1.1 larder"),
            ]),
        clause("11.6.2", Must, "A proxy forwarding a request MUST NOT modify any Authorization header fields in that request.")
            .row("Authorization arrives as it is", [get().with("Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==").origin_saw("Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")])
            .row("of a POST as well", [post().with("Authorization", "Bearer a").origin_saw("Authorization", "Bearer a")]),
        clause("11.6.1", Must, "A proxy forwarding a response MUST NOT modify any WWW-Authenticate header fields in that response.")
            .row("WWW-Authenticate arrives as it is", [get().origin(status(401).with("WWW-Authenticate", "Newauth realm=\"apps\", type=1, Basic realm=\"simple\""))]),
        clause("12.5.5", Defined, "A list containing the member \"*\" signals that other aspects of the request might have played a role in selecting the response representation")
            .row("the field reaches the client as it came", [get().origin(fresh().with("Vary", "*").with("Vary", "")).has("Vary", "*, ")]),
    ]
}

fn hops() -> Vec<Clause> {
    vec![
        clause("7.6.1", Must, "Intermediaries MUST parse a received Connection header field before a message is forwarded and, for each connection-option in this field, remove any header or trailer field(s) from the message with the same name as the connection-option, and then remove the Connection header field itself")
            .row("from a request", [get().with("Connection", "a, b").with("a", "1").with("b", "2").with("c", "3").origin_saw_no("a").origin_saw_no("b").origin_saw("c", "3")])
            .row("from a passed request", [post().with("Connection", "a").with("a", "1").origin_saw_no("a").origin_saw_content("something")])
            .row("from a response", [get().origin(ok().with("Connection", "a").with("a", "1").with("c", "3")).lacks("a").has("c", "3")])
            .row("from a passed response", [post().origin(ok().with("Connection", "a").with("a", "1").with("c", "3")).lacks("a").has("c", "3")]),
        clause("7.6.1", Should, "intermediaries SHOULD remove or replace fields that are known to require removal before forwarding, whether or not they appear as a connection-option")
            .each("{} of a request does not reach the origin", &["Proxy-Connection", "Keep-Alive", "TE", "Upgrade"], |name| [get().with(name, "foo").origin_saw_no(name)])
            .each("{} of a response does not reach the client", &["Proxy-Connection", "Keep-Alive", "TE", "Upgrade"], |name| [get().origin(ok().with(name, "foo")).lacks(name)]),
        clause("7.6.1", Must, "A sender MUST NOT send a connection option corresponding to a field that is intended for all recipients of the content. For example, Cache-Control is never appropriate as a connection option")
            .row("Cache-Control stays, whatever Connection says", [get().origin(fresh().with("Connection", "cache-control")).has("Cache-Control", "max-age=3600"), get().says_of_itself().asked(0).content("answer 1").has("Cache-Control", "max-age=3600")])
            .row("Authorization stays, whatever Connection says", [get().with("Connection", "authorization").with("Authorization", "Basic YTpi").origin_saw("Authorization", "Basic YTpi")]),
    ]
}

fn methods() -> Vec<Clause> {
    vec![
        clause("9.1", Defined, "Additional methods, outside the scope of this specification, have been specified for use in HTTP.")
            .each("{} reaches the origin as it is", &["M-SEARCH", "PROPFIND", "PATCH", "REPORT", "FOO"], |method| {
                [ask(method).sending("x").origin_saw_method(method).origin_saw_content("x")]
            }),
        clause("9.2.2", Must, "A proxy MUST NOT automatically retry non-idempotent requests.")
            .row("a POST that was not answered is not sent again", [post().origin(closes()).asked(1).is_refused(502)])
            .row("a GET that was not answered is not sent again either", [get().origin(closes()).asked(1).is_refused(502)]),
        clause("9.3.2", Must, "The HEAD method is identical to GET except that the server MUST NOT send content in the response.")
            .row("a HEAD goes to the origin as HEAD, and has the fields of a GET", [head().origin(ok().with("Content-Length", "1234").with("Foo", "1")).origin_saw_method("HEAD").has("Content-Length", "1234")])
            .row("from a stored GET, with its length", [get().origin(fresh()), head().reuses(1).has("Content-Length", "8")]),
        clause("9.3.4", Defined, "The PUT method requests that the state of the target resource be created or replaced with the state defined by the representation enclosed in the request message content.")
            .row("a PUT and its 201 pass as they are", [ask("PUT").sending("{\"a\": 1}").origin(status(201).with("Location", "/a")).origin_saw_content("{\"a\": 1}")]),
    ]
}

fn stored() -> Answer {
    fresh()
        .with("ETag", TAG)
        .with("Last-Modified", MODIFIED)
        .with("Content-Type", "text/plain")
        .content("0123456789")
}

fn conditions() -> Vec<Clause> {
    vec![
        clause("13.1.2", Must, "A recipient MUST use the weak comparison function when comparing entity tags for If-None-Match")
            .each("If-None-Match: {} is a 304", &["\"abcdef\"", "W/\"abcdef\"", "\"x\", W/\"abcdef\""], |tags| [get().origin(stored()), get().with("If-None-Match", tags).is_not_modified(1)]),
        clause("13.1.3", Must, "A recipient MUST ignore If-Modified-Since if the request contains an If-None-Match header field")
            .row("the date alone would be a 304", [get().origin(stored()), get().with("If-Modified-Since", MODIFIED).with("If-None-Match", "\"x\"").reuses(1)]),
        clause("13.1.3", Must, "A recipient MUST ignore the If-Modified-Since header field if the received field value is not a valid HTTP-date")
            .each("If-Modified-Since: {} is ignored", &["foo", "0", "Tue, 15 Nov 94 12:45:26 GMT", "15 Nov 1994"], |date| [get().origin(stored()), get().with("If-Modified-Since", date).reuses(1)]),
        clause("13.2.1", Must, "A server MUST ignore all received preconditions if its response to the same request without those conditions, prior to processing the request content, would have been a status code other than a 2xx (Successful) or 412 (Precondition Failed).")
            .each("a stored {} is no 304", &[404, 410, 301], |code: u16| {
                [get().origin(status(code).with("Cache-Control", "max-age=3600").with("ETag", TAG)), get().with("If-None-Match", TAG).reuses(1)]
            }),
        clause("15.4.5", Must, "The server generating a 304 response MUST generate any of the following header fields that would have been sent in a 200 (OK) response to the same request: Content-Location, Date, ETag, and Vary; Cache-Control and Expires")
            .row("all of them", [
                get().with("Foo", "1").origin(stored().with("Content-Location", "/a").with("Vary", "Foo").with("Expires", "Fri, 01 Jan 2038 00:00:00 GMT")),
                get().with("Foo", "1").with("If-None-Match", TAG).is_not_modified(1),
            ]),
        clause("15.4.5", Should, "a sender SHOULD NOT generate representation metadata other than the above listed fields unless said metadata exists for the purpose of guiding cache updates")
            .row("no Content-Type and no Content-Length", [get().origin(stored()), get().with("If-None-Match", TAG).is_not_modified(1).lacks("Content-Type").lacks("Content-Length")]),
    ]
}

fn ranges() -> Vec<Clause> {
    let part = |range: &'static str, content_range: &'static str, content: &'static str| {
        [
            get().origin(stored().with("Foo", "bar")),
            get()
                .with("Range", range)
                .reuses(1)
                .status(206)
                .content(content)
                .has("Content-Range", content_range)
                .has("Content-Length", content.len().to_string())
                .has("Foo", "bar"),
        ]
    };
    vec![
        clause("15.3.7.1", Must, "If a single part is being transferred, the server generating the 206 response MUST generate a Content-Range header field, describing what range of the selected representation is enclosed, and a content consisting of the range.")
            .row("bytes=0-1", part("bytes=0-1", "bytes 0-1/10", "01"))
            .row("bytes=1-", part("bytes=1-", "bytes 1-9/10", "123456789"))
            .row("bytes=-1", part("bytes=-1", "bytes 9-9/10", "9"))
            .row("bytes=3-5", part("bytes=3-5", "bytes 3-5/10", "345"))
            .row("a range beyond the end is cut", part("bytes=5-100", "bytes 5-9/10", "56789"))
            .row("a suffix longer than all is all", part("bytes=-100", "bytes 0-9/10", "0123456789")),
        clause("15.3.7", Must, "the server MUST generate the following header fields, in addition to those required in the subsections below, if the field would have been sent in a 200 (OK) response to the same request: Date, Cache-Control, ETag, Expires, Content-Location, and Vary")
            .row("all of them", [
                get().origin(stored().with("Content-Location", "/a").with("Vary", "Foo").with("Expires", "Fri, 01 Jan 2038 00:00:00 GMT")),
                get().with("Range", "bytes=0-1").reuses(1).status(206).content("01").has("Content-Range", "bytes 0-1/10"),
            ]),
        clause("15.5.17", Should, "A server that generates a 416 response to a byte-range request SHOULD generate a Content-Range header field specifying the current length of the selected representation")
            .row("a range behind the end", [get().origin(stored()), get().with("Range", "bytes=10-").asked(0).says_of_itself().status(416).content("").has("Content-Range", "bytes */10")]),
        clause("14.2", Must, "A server MUST ignore a Range header field received with a request method that is unrecognized or for which range handling is not defined. For this specification, GET is the only method for which range handling is defined.")
            .row("a HEAD with Range gets the fields of the whole", [get().origin(stored()), head().with("Range", "bytes=0-1").reuses(1).lacks("Content-Range").has("Content-Length", "10")]),
        clause("14.2", Must, "An origin server MUST ignore a Range header field that contains a range unit it does not understand.")
            .each("Range: {} is ignored", &["lines=0-1", "foo", "bytes", "bytes=a-b", "bytes=5-3"], |range| [get().origin(stored()), get().with("Range", range).reuses(1).lacks("Content-Range")]),
        clause("13.1.5", Must, "A recipient of an If-Range header field MUST ignore the Range header field if the If-Range condition evaluates as false. Otherwise, the recipient SHOULD process the Range header field as requested.")
            .row("the same strong tag: a part", [get().origin(stored()), get().with("Range", "bytes=0-1").with("If-Range", TAG).reuses(1).status(206).content("01").has("Content-Range", "bytes 0-1/10")])
            .row("another tag: the whole", [get().origin(stored()), get().with("Range", "bytes=0-1").with("If-Range", "\"x\"").reuses(1).lacks("Content-Range")])
            .row("a weak tag: the whole", [get().origin(stored()), get().with("Range", "bytes=0-1").with("If-Range", "W/\"abcdef\"").reuses(1).lacks("Content-Range")])
            .row("another date: the whole", [get().origin(stored()), get().with("Range", "bytes=0-1").with("If-Range", "Tue, 15 Nov 1994 12:45:27 GMT").reuses(1).lacks("Content-Range")]),
        clause("15.3.7", Must, "When a 206 response is generated, the server MUST generate the following header fields, in addition to those required in the subsections below, if the field would have been sent in a 200 (OK) response to the same request: Date, Cache-Control, ETag, Expires, Content-Location, and Vary")
            .row("all of them, from a stored part", [
                get().with("Range", "bytes=0-4").origin(beginning().with("Content-Location", "/a").with("Vary", "Foo").with("Expires", "Fri, 01 Jan 2038 00:00:00 GMT")),
                get().after(1).with("Range", "bytes=0-1").reuses(1).content("01").has("Content-Range", "bytes 0-1/10"),
            ]),
        clause("14.4", Must, "The recipient of an invalid Content-Range MUST NOT attempt to recombine the received content with a stored representation.")
            .each("Content-Range: {} on the rest: all of it is asked for", &["bytes 9-5/10", "bytes 5-9/9", "bytes 5-9/5"], not_recombined),
        clause("14.4", Must, "If a 206 (Partial Content) response contains a Content-Range header field with a range unit that the recipient does not understand, the recipient MUST NOT attempt to recombine it with a stored representation.")
            .each("Content-Range: {} on the rest: all of it is asked for", &["lines 5-9/10", "foo"], not_recombined),
        clause("15.3.7.3", Defined, "These ranges can only be safely combined if they all have in common the same strong validator")
            .each("ETag: {} on the rest: all of it is asked for", &["\"x\"", "W/\"abcdef\""], |tag| {
                [
                    get().with("Range", "bytes=0-4").origin(beginning()),
                    get().after(1).origin(rest("bytes 5-9/10", tag)).origin_again(stored()).says_of_itself().status(200).content("0123456789"),
                ]
            }),
        clause("13.2.2", Defined, "if false for GET/HEAD, respond 304 (Not Modified)")
            .row("a tag that matches is a 304, whatever the range", [get().origin(stored()), get().with("Range", "bytes=0-1").with("If-None-Match", TAG).is_not_modified(1)]),
    ]
}

fn statuses() -> Vec<Clause> {
    vec![
        clause("15", Must, "a client MUST understand the class of any status code, as indicated by the first digit, and treat an unrecognized status code as being equivalent to the x00 status code of that class")
            .each("a {} passes with its fields and content", &[200, 201, 299, 300, 399, 400, 418, 499, 500, 599], |code| [get().origin(status(code).with("Foo", "1").content("said"))])
            .row("a 999 passes", [get().origin(status(999).with("Foo", "1").content("said"))]),
        clause("15.6.3", Defined, "The 502 (Bad Gateway) status code indicates that the server, while acting as a gateway or proxy, received an invalid response from an inbound server it accessed while attempting to fulfill the request.")
            .row("the origin closes without a word", [get().origin(closes()).is_refused(502)])
            .row("the origin says what is no HTTP", [get().origin(raw(b"no such thing\r\n\r\n")).is_refused(502)])
            .row("the connection lives on after a 502", [get().origin(closes()).is_refused(502), get()]),
        clause("9112 §8", Must, "A client that receives an incomplete response message, which can occur when a connection is closed prematurely or when decoding a supposedly chunked transfer coding fails, MUST record the message as incomplete.")
            .row("the client sees that it was cut off", [get().origin(ok().cut_off()).is_cut_off()]),
    ]
}

fn interim() -> Vec<Clause> {
    vec![
        clause("15.2", Must, "A proxy MUST forward 1xx responses unless the proxy itself requested the generation of the 1xx response.")
            .each("a {} reaches the client before the final response, once", &[102, 103], |code| {
                [
                    get().origin(fresh().first(code, "Link", "</a.css>; rel=preload")).interim(&[code]).lacks("Link"),
                    get().reuses(1).interim(&[]).lacks("Link"),
                ]
            })
            .row("a passed request gets it too", [post().origin(ok().first(103, "Link", "</a.css>; rel=preload")).interim(&[103]).lacks("Link")]),
        clause("15.2", Must, "A client MUST be able to parse one or more 1xx responses received prior to a final response, even if the client does not expect one.")
            .row("two of them, and then the final response", [get().origin(fresh().first(102, "A", "1").first(103, "B", "2")).interim(&[102, 103]).lacks("A").lacks("B"), get().reuses(1).interim(&[])]),
    ]
}

fn beginning() -> Answer {
    status(206)
        .with("Cache-Control", "max-age=3600")
        .with("ETag", TAG)
        .with("Content-Range", "bytes 0-4/10")
        .content("01234")
}

fn rest(place: &str, tag: &str) -> Answer {
    status(206)
        .with("Cache-Control", "max-age=3600")
        .with("ETag", tag)
        .with("Content-Range", place)
        .content("56789")
}

/// A stored beginning, and a rest whose place is none: the client has the whole, asked for anew.
fn not_recombined(place: &str) -> [Exchange; 2] {
    [
        get().with("Range", "bytes=0-4").origin(beginning()),
        get()
            .after(1)
            .origin(rest(place, TAG))
            .origin_again(stored())
            .says_of_itself()
            .status(200)
            .content("0123456789"),
    ]
}
