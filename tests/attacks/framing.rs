//! Request smuggling: where a request ends is told in one way only.

use super::row::{MARK, Row, Threat, refused, refused_with, request, row, send, threat};

const ONE: &str = "one length, or `chunked` and nothing else, or 400 and a close (`server::framing`, hyper); every request is written anew for the origin";
const LETTER: &str = "chunks are read by RFC 9112 §7.1 to the letter, and written anew without extensions and trailers";

/// What is to be taken for a request of its own.
fn hidden() -> String {
    request("GET", "/hidden", "")
}

fn post(fields: &str, body: &str) -> String {
    request("POST", "/x", fields) + body
}

pub(crate) fn threats() -> Vec<Threat> {
    vec![
        threat("CL.TE and TE.CL: both Content-Length and Transfer-Encoding", ONE, both()),
        threat("TE.TE: a Transfer-Encoding that one side does not recognise", ONE, odd_codings()),
        threat("Lengths that are read in two ways", ONE, lengths()),
        threat(
            "CL.0 and 0.CL, TE.0: a body where none is expected",
            "a body that nobody reads is drained within a bound, or the connection closes; it is never the next request",
            unread(),
        ),
        threat("Chunks that are read in two ways", LETTER, chunks()),
        threat("Trailers that become fields", LETTER, trailers()),
    ]
}

fn both() -> Vec<Row> {
    let length = format!("Content-Length: 5\r\n{}", "Transfer-Encoding: chunked\r\n");
    let coding = "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n";
    let body = format!("0\r\n\r\n{}", hidden());
    let mut rows = vec![
        refused("CL.TE: a length before chunked", post(&length, &body)),
        refused("TE.CL: a length after chunked", post(coding, &body)),
        refused(
            "a length of 0 beside chunked",
            post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", &body),
        ),
        refused("both, in a GET", request("GET", "/x", &length) + &body),
        refused(
            "both, in HTTP/1.0",
            post(&length, &body).replace("HTTP/1.1\r\nHost", "HTTP/1.0\r\nHost"),
        ),
        refused(
            "chunked that Connection names, beside a length",
            post(&format!("Connection: Transfer-Encoding\r\n{length}"), &body),
        ),
        refused(
            "both in the second request of a connection",
            request("GET", "/x", "") + &post(&length, &body),
        ),
    ];
    // The first of the two is answered.
    if let Some(second) = rows.pop() {
        rows.push(
            Row { steps: vec![], ..second }
                .step(
                    send(request("GET", "/x", "") + &post(&length, &body))
                        .answered(&[200, 400])
                        .closes(),
                )
                .reaches(&["GET /x"]),
        );
    }
    rows
}

fn odd_codings() -> Vec<Row> {
    let spellings: [(&str, &str); 19] = [
        ("a space before its colon", "Transfer-Encoding : chunked"),
        ("a tab before its colon", "Transfer-Encoding\t: chunked"),
        ("a vertical tab before its value", "Transfer-Encoding:\u{b}chunked"),
        ("a form feed before its value", "Transfer-Encoding: \u{c}chunked"),
        ("in quotes", "Transfer-Encoding: \"chunked\""),
        ("in single quotes", "Transfer-Encoding: 'chunked'"),
        ("a parameter", "Transfer-Encoding: chunked;q=1"),
        ("an unknown coding", "Transfer-Encoding: xchunked"),
        ("identity", "Transfer-Encoding: identity"),
        ("chunked and identity", "Transfer-Encoding: chunked, identity"),
        (
            "chunked and identity on two lines",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        ),
        (
            "an unknown coding on a line before chunked",
            "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
        ),
        ("nothing", "Transfer-Encoding:"),
        ("a NUL at its end", "Transfer-Encoding: chunked\0"),
        ("a folded line", "Transfer-Encoding:\r\n chunked"),
        ("a line that begins with a space", " Transfer-Encoding: chunked"),
        ("behind a bare LF", "X: y\nTransfer-Encoding: chunked"),
        ("behind a bare CR", "X: y\rTransfer-Encoding: chunked"),
        ("capitals", "TRANSFER-ENCODING: CHUNKED"),
    ];
    let mut rows = Vec::new();
    for (name, field) in spellings {
        let body = format!("0\r\n\r\n{}", hidden());
        let fields = format!("Content-Length: 5\r\n{field}\r\n");
        rows.push(refused(
            format!("beside a length, Transfer-Encoding is {name}"),
            post(&fields, &body),
        ));
    }
    for coding in ["gzip, chunked", "identity, chunked", "chunked, chunked", ",chunked"] {
        let bytes = post(&format!("Transfer-Encoding: {coding}\r\n"), "5\r\nhello\r\n0\r\n\r\n");
        rows.push(refused_with(
            501,
            format!("Transfer-Encoding: {coding}, of which only chunked is understood"),
            bytes,
        ));
    }
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    rows.push(refused_with(501, "Transfer-Encoding: chunked twice", post(twice, "0\r\n\r\n")));
    for coding in ["chunked,", "\"chunked\"", "identity", ""] {
        let bytes = post(&format!("Transfer-Encoding: {coding}\r\n"), "5\r\nhello\r\n0\r\n\r\n");
        rows.push(refused(format!("Transfer-Encoding: {coding:?} alone"), bytes));
    }
    rows.push(
        row("Transfer_Encoding is not sent on, and frames nothing")
            .step(send(post("Content-Length: 5\r\nTransfer_Encoding: chunked\r\n", "0\r\n\r\n")))
            .reaches(&["POST /x"])
            .keeps_back("transfer_encoding"),
    );
    rows
}

fn lengths() -> Vec<Row> {
    let mut rows = Vec::new();
    for value in [
        "+5",
        "-5",
        "0x5",
        "5 5",
        "5,5",
        "5, 6",
        "5;",
        "",
        "5a",
        "1e1",
        "5.0",
        "\"5\"",
        "18446744073709551621",
        "5\0",
        "\u{b}5",
    ] {
        let bytes = post(&format!("Content-Length: {value}\r\n"), &format!("hello{}", hidden()));
        rows.push(refused(format!("Content-Length: {value:?}"), bytes));
    }
    for second in ["5", "05", "6", "0"] {
        let fields = format!("Content-Length: 5\r\nX: y\r\ncontent-length: {second}\r\n");
        let bytes = post(&fields, &format!("hello{}", hidden()));
        rows.push(refused(format!("a second Content-Length: {second}"), bytes));
    }
    rows.push(refused(
        "a space before the colon of Content-Length",
        post("Content-Length : 5\r\n", "hello"),
    ));
    rows.push(
        row("Connection cannot take a length away")
            .step(send(post("Connection: Content-Length\r\nContent-Length: 5\r\n", "hello")))
            .reaches(&["POST /x"]),
    );
    rows.push(
        row("Content_Length is not sent on, and frames nothing")
            .step(send(post("Content-Length: 5\r\nContent_Length: 0\r\n", "hello")))
            .reaches(&["POST /x"])
            .keeps_back("content_length"),
    );
    rows
}

fn unread() -> Vec<Row> {
    let hidden = hidden();
    let length = format!("Content-Length: {}\r\n", hidden.len());
    let with = |method: &str, target: &str| request(method, target, &length) + &hidden;
    let chunked = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    vec![
        row("the body of a GET that is looked up")
            .step(send(with("GET", "/x")))
            .reaches(&["GET /x"])
            .keeps_back("/hidden"),
        row("the body of a GET that is answered from store")
            .step(send(request("GET", "/x", "")))
            .step(send(with("GET", "/x")).says("X-Cache: HIT"))
            .reaches(&["GET /x"]),
        row("the body of a HEAD")
            .step(send(with("HEAD", "/x")))
            .reaches(&["HEAD /x"])
            .keeps_back("/hidden"),
        row("the body of an OPTIONS is its own")
            .step(send(with("OPTIONS", "/x")))
            .reaches(&["OPTIONS /x"]),
        row("the body of a DELETE is its own")
            .step(send(with("DELETE", "/x")))
            .reaches(&["DELETE /x"]),
        row("the chunked body of a GET")
            .step(send(request("GET", "/x", "Transfer-Encoding: chunked\r\n") + &chunked).closes())
            .reaches(&["GET /x"])
            .keeps_back("/hidden"),
        row("the body of a request that is refused")
            .step(send(request("TRACE", "/x", &length) + &hidden).answered(&[405]).closes())
            .reaches(&[]),
        row("a body after a request without a length is the next request, once")
            .step(send(request("POST", "/x", "") + &hidden).answered(&[200, 200]))
            .reaches(&["POST /x", "GET /hidden"]),
        row("an HTTP/1.0 request without a length has no body")
            .step(
                send(format!("POST /x HTTP/1.0\r\nHost: r{MARK}.example\r\n\r\n{hidden}")).closes(),
            )
            .reaches(&["POST /x"])
            .keeps_back("/hidden"),
    ]
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

fn chunks() -> Vec<Row> {
    let bad = [
        ("a size in C's spelling", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("a size with a plus", "+5\r\nhello\r\n0\r\n\r\n"),
        ("a size with a minus", "-5\r\nhello\r\n0\r\n\r\n"),
        ("a blank before a size", " 5\r\nhello\r\n0\r\n\r\n"),
        ("a blank after a size", "5 \r\nhello\r\n0\r\n\r\n"),
        ("a tab after a size", "5\t\r\nhello\r\n0\r\n\r\n"),
        ("a form feed after a size", "5\u{c}\r\nhello\r\n0\r\n\r\n"),
        ("a NUL after a size", "5\0\r\nhello\r\n0\r\n\r\n"),
        ("a size in quotes", "\"5\"\r\nhello\r\n0\r\n\r\n"),
        ("two sizes", "5,5\r\nhello\r\n0\r\n\r\n"),
        ("a size with an underscore", "0_5\r\nhello\r\n0\r\n\r\n"),
        ("a size of more than 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("a size of more than 16 digits", "00000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("no size", "\r\nhello\r\n0\r\n\r\n"),
        ("a size behind LF alone", "5\nhello\r\n0\r\n\r\n"),
        ("a size behind CR alone", "5\rhello\r\n0\r\n\r\n"),
        ("an extension behind LF alone", "5;a\nhello\r\n0\r\n\r\n"),
        ("an extension behind CR alone", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        ("an extension with a NUL", "5;a\0b\r\nhello\r\n0\r\n\r\n"),
        ("an extension with a line end in quotes", "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n"),
        ("data behind LF alone", "5\r\nhello\n0\r\n\r\n"),
        ("data behind CR and another byte", "5\r\nhello\rX0\r\n\r\n"),
        ("data with two other bytes for a line end", "5\r\nhelloXX0\r\n\r\n"),
        ("data without a line end", "5\r\nhello0\r\n\r\n"),
        ("an empty line more than there is", "5\r\nhello\r\n\r\n0\r\n\r\n"),
        ("a last chunk behind LF alone", "5\r\nhello\r\n0\n\r\n"),
        ("an end behind LF alone", "5\r\nhello\r\n0\r\n\n"),
        ("an end behind two LFs", "5\r\nhello\r\n0\n\n"),
    ];
    let mut rows: Vec<Row> = bad
        .into_iter()
        .map(|(name, body)| {
            row(name)
                .step(send(post(CHUNKED, &(body.to_owned() + &hidden()))).answered(&[400]).closes())
                .reaches(&[])
        })
        .collect();
    let good = [
        ("an extension, which is not sent on", "5;a=b\r\nhello\r\n0\r\n\r\n"),
        ("an extension in quotes, which is not sent on", "5 ; a=\"b;c\"\r\nhello\r\n0\r\n\r\n"),
        ("zeros before a size", "0005\r\nhello\r\n000\r\n\r\n"),
    ];
    rows.extend(good.into_iter().map(|(name, body)| {
        row(name)
            .step(send(post(CHUNKED, &(body.to_owned() + &hidden()))).answered(&[200, 200]))
            .reaches(&["POST /x", "GET /hidden"])
            .keeps_back("a=")
    }));
    rows.push(
        row("a bad chunk that comes when the upload has begun")
            .step(
                send(post("Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n", ""))
                    .continued(format!("5 \r\nhello\r\n0\r\n\r\n{}", hidden()))
                    .answered(&[400])
                    .closes(),
            )
            .reaches(&[]),
    );
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(100_000));
    rows.push(
        row("an extension without an end")
            .step(send(post(CHUNKED, &long)).answered_with_any_of(&[400]))
            .reaches(&[]),
    );
    rows
}

fn trailers() -> Vec<Row> {
    let with = |trailer: &str| post(CHUNKED, &format!("5\r\nhello\r\n0\r\n{trailer}\r\n\r\n"));
    let mut rows: Vec<Row> = [
        "Content-Length: 3",
        "Transfer-Encoding: chunked",
        "Host: evil.example",
        "Authorization: Basic evil",
        "X-Forwarded-For: 192.0.2.66",
    ]
    .into_iter()
    .map(|trailer| {
        let (name, value) = trailer.split_once(": ").unwrap_or_default();
        let back = if name.ends_with('g') || name.ends_with('h') { "evil" } else { value };
        row(format!("a trailer {name} is not sent on"))
            .step(send(with(trailer)))
            .reaches(&["POST /x"])
            .keeps_back(&format!("{name}: {back}\r\n0"))
            .keeps_back("evil")
            .keeps_back("192.0.2.66")
    })
    .collect();
    for (name, trailer) in [
        ("a trailer without a colon", "GET /hidden HTTP/1.1"),
        ("a folded trailer", "X: y\r\n z"),
        ("a trailer with a NUL", "X: y\0"),
        ("a trailer with a space before its colon", "X : y"),
        ("a trailer behind LF alone", "X: y\nY: z"),
    ] {
        rows.push(row(name).step(send(with(trailer)).answered(&[400]).closes()).reaches(&[]));
    }
    let many = post(CHUNKED, &format!("5\r\nhello\r\n0\r\n{}\r\n", "X: y\r\n".repeat(20_000)));
    rows.push(
        row("trailers without an end").step(send(many).answered_with_any_of(&[400])).reaches(&[]),
    );
    rows
}
