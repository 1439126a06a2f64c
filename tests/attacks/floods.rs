//! What is large, slow or endless: one client's share of memory, connections and time is bounded.

use super::origin::ok;
use super::row::{MARK, Row, Threat, get, request, row, send, threat};

const BOUNDS: &str = "bounds with defaults on heads, targets, fields, bodies that nobody reads, silence and connections (`server::limits`)";

const MEMORY: &str = "tests/scenarios/memory.rs";

pub(crate) fn threats() -> Vec<Threat> {
    vec![
        threat("Heads that are large", BOUNDS, large()),
        threat("Slowloris and its like: clients that are slow", BOUNDS, slow()),
        threat(
            "Bodies without an end",
            "bodies stream with back-pressure; what nobody reads is drained within a bound, or the connection closes",
            endless(),
        )
        .told_in(
            MEMORY,
            &["endless_request_bodies_hold_no_memory_whether_they_pass_or_are_read_for_a_key"],
        ),
        threat(
            "Answers without an end, and many large ones at once",
            "what bodies in the air hold together is bounded; what finds no room is streamed and not stored, and nobody fails \
             (`limits.bodies_in_the_air`, `message::air`, `message::fill`)",
            crowded(),
        )
        .told_in(
            MEMORY,
            &[
                "endless_answers_to_many_clients_hold_no_more_than_the_room_for_bodies",
                "more_large_bodies_at_once_than_there_is_room_for_are_all_answered_rightly",
                "content_that_finds_no_room_passes_and_neither_it_nor_a_hit_fails",
            ],
        ),
        threat(
            "More misses than the origin bears",
            "requests to an origin, and those of a route, are bounded; beyond a short queue they are shed with 503 and \
             Retry-After, or answered stale, and hits go on (`origin::places`, `max_fetches`, `queue`)",
            Vec::new(),
        )
        .told_in(
            "tests/scenarios/overload.rs",
            &[
                "a_route_has_so_many_fetches_at_once_and_hits_go_on",
                "one_route_does_not_take_the_places_of_another",
                "who_waits_gets_the_place_that_becomes_free_and_no_more_wait_than_may",
                "what_is_stale_stands_in_where_it_may",
            ],
        ),
        threat(
            "One client that asks on and on",
            "rates per client, of a bounded number of clients, for hits as for misses (`rate`, `pipeline::ration`)",
            incessant(),
        ),
        threat(
            "Queries that nobody asks for twice, to drive out what is stored",
            "keys of a route that are stored are bounded; answers for more are served alone (`max_keys`, `route::census`)",
            queries(),
        )
        .told_in(
            "tests/scenarios/floods.rs",
            &["a_flood_of_queries_is_served_and_not_stored_beyond_the_keys_of_its_route"],
        )
        .told_in(
            MEMORY,
            &["a_flood_of_made_up_urls_costs_no_more_memory_than_l1_has_and_hits_go_on"],
        ),
    ]
}

fn large() -> Vec<Row> {
    let long = format!("X: {}\r\n", "y".repeat(100_000));
    let many = "X: y\r\n".repeat(500);
    let endless = format!("GET /{} HTTP/1.1\r\nHost: r{MARK}.example\r\n\r\n", "x".repeat(20_000));
    let giant = format!("GET /{} HTTP/1.1\r\nHost: r{MARK}.example\r\n\r\n", "x".repeat(1_000_000));
    let name = format!("{}: y\r\n", "x".repeat(100_000));
    let query = format!("/x?{}", "a=b&".repeat(10_000));
    vec![
        row("a field of 100,000 bytes")
            .step(get("/x", &long).answered(&[431]).closes())
            .reaches(&[]),
        row("500 fields").step(get("/x", &many).answered(&[431]).closes()).reaches(&[]),
        row("a name of 100,000 bytes")
            .step(get("/x", &name).answered_with_any_of(&[400, 431]))
            .reaches(&[]),
        row("a target of 20,000 bytes").step(send(endless).answered(&[414]).closes()).reaches(&[]),
        row("a target of a megabyte")
            .step(send(giant).answered_with_any_of(&[414, 431]))
            .reaches(&[]),
        row("a query of 40,000 bytes").step(get(&query, "").answered(&[414]).closes()).reaches(&[]),
        row("a line that never ends")
            .step(send("G".repeat(300_000)).answered_with_any_of(&[400, 414, 431]))
            .reaches(&[]),
        row("fields that never end")
            .step(
                send(format!(
                    "GET /x HTTP/1.1\r\nHost: r{MARK}.example\r\n{}",
                    "X: y\r\n".repeat(100_000)
                ))
                .answered_with_any_of(&[400, 431]),
            )
            .reaches(&[]),
    ]
}

fn slow() -> Vec<Row> {
    const SOON: &str =
        "limits: { header_timeout: 300ms, body_timeout: 300ms, idle_timeout: 300ms }";
    let half = format!("GET /x HTTP/1.1\r\nHost: r{MARK}.example\r\nX: ");
    vec![
        row("300 connections with half a head each keep nobody waiting")
            .hold(300, &half)
            .step(get("/y", ""))
            .reaches(&["GET /y"]),
        row("300 connections that say nothing keep nobody waiting")
            .hold(300, "")
            .step(get("/y", ""))
            .reaches(&["GET /y"]),
        row("300 connections with half a body each keep nobody waiting")
            .hold(300, request("GET", "/x", "Content-Length: 10\r\n") + "half")
            .step(get("/y", "")),
        row("half a head is given up")
            .configured(SOON)
            .step(send(&half).answered_with_any_of(&[408]))
            .reaches(&[]),
        row("half a body is given up")
            .configured(SOON)
            .step(
                send(request("POST", "/x", "Content-Length: 10\r\n") + "half")
                    .answered(&[408])
                    .closes(),
            )
            .reaches(&[]),
        row("half a chunk is given up")
            .configured(SOON)
            .step(
                send(request("POST", "/x", "Transfer-Encoding: chunked\r\n") + "a\r\nhalf")
                    .answered(&[408])
                    .closes(),
            )
            .reaches(&[]),
        row("half a preface of HTTP/2 is given up")
            .configured(SOON)
            .step(send("PR").answered_with_any_of(&[400, 408]))
            .reaches(&[]),
    ]
}

fn queries() -> Vec<Row> {
    vec![
        row("queries without end, on a route that may store one key")
            .route("    max_keys: 1\n")
            .step(get("/x?a=1", ""))
            .step(get("/x?a=2", "").says("detail=too-many-keys"))
            .step(get("/x?a=3", "").says("detail=too-many-keys"))
            .step(get("/x?a=1", "").says("x-cache: hit"))
            .reaches(&["GET /x?a=1", "GET /x?a=2", "GET /x?a=3"]),
    ]
}

fn incessant() -> Vec<Row> {
    let limited = |name: &str, by: &str| {
        row(name).configured(&format!(
            "routes:\n  - {{ name: limited, match: {{ path: \"/limited/**\" }}, rate: {{ requests: 2, per: 1h, by: \"{by}\" }} }}\n  - {{ name: all }}"
        ))
    };
    let refused = || get("/limited/x", "X-Client: a\r\n").answered(&[429]).says("retry-after:");
    vec![
        limited("a third request of two in an hour", "address")
            .step(get("/limited/x", ""))
            .step(get("/limited/y", ""))
            .step(refused())
            .step(get("/y", ""))
            .reaches(&["GET /limited/x", "GET /limited/y", "GET /y"]),
        limited("a third request of one who calls itself something else", "header:X-Client")
            .step(get("/limited/x", "X-Client: a\r\n"))
            .step(get("/limited/x", "X-Client: a\r\n"))
            .step(refused())
            .step(get("/limited/x", "X-Client: b\r\n"))
            .reaches(&["GET /limited/x"]),
    ]
}

fn endless() -> Vec<Row> {
    let chunks = "8000\r\n".to_owned() + &"x".repeat(0x8000) + "\r\n";
    let body = chunks.repeat(64);
    vec![
        row("a chunked body without an end, to a GET that is looked up")
            .step(send(request("GET", "/x", "Transfer-Encoding: chunked\r\n") + &body).closes())
            .reaches(&["GET /x"]),
        row("two megabytes of content of a GET that is looked up")
            .step(
                send(request("GET", "/x", "Content-Length: 2097152\r\n") + &"x".repeat(2_097_152))
                    .closes(),
            )
            .reaches(&["GET /x"]),
        row("an upload that stops half way is none to the origin")
            .configured("limits: { body_timeout: 300ms }")
            .step(
                send(request("POST", "/x", "Content-Length: 3000000\r\n") + &body)
                    .answered(&[408])
                    .closes(),
            )
            .reaches(&[]),
    ]
}

fn crowded() -> Vec<Row> {
    vec![
        row("an answer for which there is no room in the air")
            .configured("limits: { bodies_in_the_air: 16B }")
            // What comes with its head needs none.
            .origin(|_| ok("Cache-Control: max-age=60\r\n", &"x".repeat(64 << 10)))
            .step(get("/x", "").says("detail=no-room"))
            .step(get("/x", "").says("detail=no-room"))
            .reaches(&["GET /x", "GET /x"]),
    ]
}
