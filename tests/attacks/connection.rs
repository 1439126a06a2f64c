//! Tricks with the connection itself: expectations, upgrades, pipelines, answers that were not asked for.

use super::origin::{ok, status};
use super::row::{MARK, Row, Threat, get, refused_with, request, row, send, threat};
use super::wire::Message;

pub(crate) fn threats() -> Vec<Threat> {
    vec![
        threat(
            "Expect: an answer that is another request's",
            "one `100-continue` or none; all else is 417 and a close (`pipeline::gate`)",
            expectations(),
        ),
        threat(
            "Tunnels past the cache: h2c, WebSocket",
            "a tunnel begins after the origin's 101 to the one protocol that was asked for, and never to another HTTP or TLS (`pipeline::gate`, `pipeline::pass`)",
            tunnels(),
        ),
        threat(
            "Pipelines and what follows a close",
            "answers come in order, one for each request; nothing is read after a close or a refusal",
            pipelines(),
        ),
        threat(
            "Answers of the origin that are read in two ways",
            "an answer of doubtful framing is a 502 and its connection is not used again (`origin::client`); a body that is cut off is cut off for its client and not stored",
            answers(),
        ),
    ]
}

fn expectations() -> Vec<Row> {
    let post =
        |expect: &str| request("POST", "/x", &format!("{expect}Content-Length: 5\r\n")) + "hello";
    vec![
        refused_with(417, "an unknown expectation", post("Expect: 200-ok\r\n")),
        refused_with(417, "a 100-continue behind another word", post("Expect: y 100-continue\r\n")),
        refused_with(417, "a 100-continue in a list", post("Expect: 100-continue, y\r\n")),
        refused_with(417, "an empty expectation", post("Expect:\r\n")),
        refused_with(
            417,
            "two expectations",
            post("Expect: 100-continue\r\nExpect: 100-continue\r\n"),
        ),
        row("a 100-continue is answered once, and the body is its request's")
            .step(send(post("Expect: 100-continue\r\n")))
            .reaches(&["POST /x"]),
        row("a GET that expects leaves its body behind")
            .step(send(
                request("GET", "/x", "Expect: 100-continue\r\nContent-Length: 5\r\n") + "hello",
            ))
            .reaches(&["GET /x"])
            .keeps_back("hello")
            .keeps_back("expect"),
    ]
}

fn switching(upgrade: &str) -> Vec<u8> {
    format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n")
        .into_bytes()
}

fn as_asked(message: &Message) -> Vec<u8> {
    message.field("upgrade").map_or_else(|| ok("", "plain"), switching)
}

fn to_h2c(_: &Message) -> Vec<u8> {
    switching("h2c")
}

fn refusing(_: &Message) -> Vec<u8> {
    status("426 Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", "no")
}

fn tunnels() -> Vec<Row> {
    let wish = |protocol: &str| {
        request(
            "GET",
            "/x",
            &format!(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
            ),
        )
    };
    let mut rows = Vec::new();
    for protocol in ["h2c", "H2C", "h2", "HTTP/2.0", "TLS/1.3", "websocket, h2c", "h2c, websocket"]
    {
        rows.push(
            row(format!("an upgrade to {protocol} is no upgrade"))
                .origin(as_asked)
                .step(send(wish(protocol)).says("plain"))
                .keeps_back("upgrade:")
                .keeps_back("http2-settings"),
        );
    }
    let websocket = request(
        "GET",
        "/x",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 1337\r\n",
    );
    let hidden = request("GET", "/hidden", "");
    rows.extend([
        row("an upgrade on two lines is no upgrade")
            .origin(as_asked)
            .step(send(wish("websocket\r\nUpgrade: h2c")).says("plain"))
            .keeps_back("upgrade:"),
        row("a WebSocket that the origin refuses opens no tunnel: what follows is the next request")
            .origin(refusing)
            .step(send(websocket.clone() + &hidden).answered(&[426, 426]))
            .reaches(&["GET /x", "GET /hidden"]),
        row("a 101 to another protocol than was asked for is a 502")
            .origin(to_h2c)
            .step(send(websocket).answered(&[502]))
            .reaches(&["GET /x"]),
        row("a 101 that nobody asked for is a 502")
            .origin(to_h2c)
            .step(get("/x", "").answered(&[502]))
            .step(get("/y", "").answered(&[502]))
            .reaches(&["GET /x", "GET /y"]),
        row("an upgrade that Connection does not name is no upgrade")
            .origin(as_asked)
            .step(get("/x", "Upgrade: websocket\r\n").says("plain")),
        row("an upgrade in HTTP/1.0 is no upgrade")
            .origin(as_asked)
            .step(send(format!("GET /x HTTP/1.0\r\nHost: r{MARK}.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")).says("plain").closes()),
    ]);
    rows
}

fn pipelines() -> Vec<Row> {
    let (one, two) = (request("GET", "/one", ""), request("GET", "/two", ""));
    vec![
        row("two requests at once get two answers in their order")
            .step(send(one.clone() + &two).answered(&[200, 200]).says("GET /two"))
            .reaches(&["GET /one", "GET /two"]),
        row("what follows Connection: close is not read")
            .step(send(request("GET", "/one", "Connection: close\r\n") + &two).closes())
            .reaches(&["GET /one"]),
        row("what follows an HTTP/1.0 request is not read")
            .step(send(format!("GET /one HTTP/1.0\r\nHost: r{MARK}.example\r\n\r\n{two}")).closes())
            .reaches(&["GET /one"]),
        row("garbage after a request is refused, and the request answered")
            .step(send(one.clone() + "\u{1}garbage\r\n\r\n").answered(&[200, 400]).closes())
            .reaches(&["GET /one"]),
        row("what follows a refused request is not read")
            .step(send(request("TRACE", "/x", "") + &two).answered(&[405]).closes())
            .reaches(&[]),
        row("what follows a body that is not what it says is not read")
            .step(
                send(
                    request("POST", "/x", "Transfer-Encoding: chunked\r\n")
                        + "5 \r\nhello\r\n0\r\n\r\n"
                        + &two,
                )
                .answered(&[400])
                .closes(),
            )
            .reaches(&[]),
        refused_with(
            400,
            "chunked in HTTP/1.0",
            format!(
                "POST /x HTTP/1.0\r\nHost: r{MARK}.example\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{two}"
            ),
        ),
    ]
}

fn two_lengths(_: &Message) -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nevil!".to_vec()
}

fn both(_: &Message) -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n".to_vec()
}

fn injected(_: &Message) -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nX: a\0evil\r\nContent-Length: 2\r\n\r\nok"
        .to_vec()
}

fn bare_cr(_: &Message) -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nX: a\revil: b\r\nContent-Length: 2\r\n\r\nok"
        .to_vec()
}

fn and_more(message: &Message) -> Vec<u8> {
    let mut said = ok("Cache-Control: max-age=60\r\n", message.target());
    said.extend(ok("Cache-Control: max-age=60\r\n", "evil"));
    said
}

fn part_unasked(_: &Message) -> Vec<u8> {
    status(
        "206 Partial Content",
        "Cache-Control: max-age=60\r\nContent-Range: bytes 0-3/9\r\n",
        "evil",
    )
}

fn not_modified_unasked(_: &Message) -> Vec<u8> {
    b"HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\n\r\n".to_vec()
}

fn interims(message: &Message) -> Vec<u8> {
    let mut said =
        b"HTTP/1.1 103 Early Hints\r\nLink: </evil>\r\nCache-Control: max-age=60\r\n\r\n".to_vec();
    said.extend(ok("Cache-Control: max-age=60\r\n", message.target()));
    said
}

fn endless_interims(_: &Message) -> Vec<u8> {
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(10_000)
}

fn answers() -> Vec<Row> {
    let twice = |row: Row, wanted: u16| {
        row.step(get("/x", "").answered(&[wanted]).lacks("evil"))
            .step(get("/x", "").answered(&[wanted]).lacks("evil"))
            .reaches(&["GET /x", "GET /x"])
    };
    vec![
        twice(row("an answer with two lengths").origin(two_lengths), 502),
        twice(row("an answer with a NUL in a field").origin(injected), 502),
        twice(row("an answer with a bare CR in a field").origin(bare_cr), 502),
        twice(row("a 206 that nobody asked for").origin(part_unasked), 502),
        twice(row("a 304 that nobody asked for").origin(not_modified_unasked), 502),
        row("interim answers without end are given up")
            .origin(endless_interims)
            .step(get("/x", "").answered(&[504]))
            .reaches(&["GET /x"]),
        row("an answer with both framings is never two")
            .origin(both)
            .step(get("/x", "").answered_by_one_of(&[200, 502]))
            .step(get("/y", "").answered_by_one_of(&[200, 502])),
        row("a second answer that nobody asked for is nobody's")
            .origin(and_more)
            .step(get("/x", "").says("/x").lacks("evil"))
            .step(get("/y", "").says("/y").lacks("evil"))
            .step(get("/z", "").says("/z").lacks("evil"))
            .reaches(&["GET /x", "GET /y", "GET /z"]),
        row("an interim answer is not the answer that is stored")
            .origin(interims)
            .step(get("/x", "").says("200 OK"))
            .step(get("/x", "").says("X-Cache: HIT").says("200 OK").lacks("evil"))
            .reaches(&["GET /x"]),
    ]
}
