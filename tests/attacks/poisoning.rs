//! Cache poisoning: nothing outside the key changes an answer that others get.

use super::origin::{answer, ok, silent, status};
use super::row::{MARK, Row, Threat, get, request, row, send, threat};
use super::wire::Message;

pub(crate) fn threats() -> Vec<Threat> {
    vec![
        threat(
            "Fields that name another host, scheme, URL, method or client",
            "removed from what strangers send, in every spelling (`message::fields::is_steering`, `is_alias`); Larder writes its own",
            steering(),
        ),
        threat(
            "Any other field that the origin heeds and does not name in Vary",
            "`forward: keyed` sends only what is keyed, and what the route names (`route::forward`)",
            unkeyed(),
        ),
        threat(
            "Fields that Connection takes away",
            "what goes no further is not keyed either; what a cache relies on cannot be named (`message::fields`)",
            hop_by_hop(),
        ),
        threat(
            "Query cloaking: parameters that one side does not see",
            "what is keyed is what is sent, byte for byte; nothing is decoded (`key::canonical`)",
            queries(),
        ),
        threat(
            "Fat GET and override parameters",
            "the content of a GET that is looked up is not sent; the query is all keyed",
            contents(),
        ),
        threat(
            "Answers to parts, conditions and HEAD that others get",
            "a shared fetch has no conditions and no range of a client's (`pipeline::onward`); 206, 304, 412 and 416 are never the entry",
            parts(),
        ),
        threat(
            "Vary abuse",
            "variants are keyed by the raw values that the origin got, and are bounded; `Vary: *` is not stored",
            variants(),
        ),
        threat(
            "CPDoS: an error that one client provokes (HHO, HMC, HMO)",
            "errors are not stored unless the origin says how long they are fresh, or the route lists the status",
            errors(),
        ),
        threat(
            "A request directive that makes the origin work for others",
            "`client_directives: ignore` hears none",
            directives(),
        ),
    ]
}

/// One request with these lines, then a plain one; the origin would show each of them all that it got.
fn poison(name: impl Into<String>, lines: &str) -> Row {
    row(name)
        .step(get("/x", lines).lacks("evil"))
        .step(get("/x", "").lacks("evil"))
        .step(get("/x", "").says("X-Cache: HIT").lacks("evil"))
        .reaches(&["GET /x"])
        .keeps_back("evil")
}

fn steering() -> Vec<Row> {
    let mut rows: Vec<Row> = [
        "Forwarded: host=evil.example",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Scheme: evil",
        "X-Forwarded-Proto: evil",
        "X-Forwarded-Port: 666evil",
        "X-Forwarded-Prefix: /evil",
        "X-Forwarded-Server: evil.example",
        "X-Forwarded-For: evil",
        "X-Forwarded-Path: /evil",
        "X-Forwarded-Uri: /evil",
        "X-Forwarded-Ssl: evil",
        "X-Forwarded-User: evil",
        "X-Forwarded-Nobody-Knows: evil",
        "X-Forwarded: evil",
        "Forwarded-Server: evil.example",
        "Forwarded-Host: evil.example",
        "X-Host: evil.example",
        "X-Original-Host: evil.example",
        "X-Original-URL: /evil",
        "X-Original-URI: /evil",
        "X-Rewrite-URL: /evil",
        "X-Override-URL: /evil",
        "X-HTTP-Host-Override: evil.example",
        "X-HTTP-Method-Override: EVIL",
        "X-HTTP-Method: EVIL",
        "X-Method-Override: EVIL",
        "X-URL-Scheme: evil",
        "Front-End-Https: evil",
        "X-Real-IP: evil",
        "X-Client-IP: evil",
        "True-Client-IP: evil",
        "CF-Connecting-IP: evil",
        "Client-IP: evil",
        "Proxy: http://evil.example",
        "X-Middleware-Subrequest: evil",
        "X_Forwarded_Host: evil.example",
        "X_Original-URL: /evil",
        "X-HTTP_Method_Override: EVIL",
        "If_None_Match: \"evil\"",
        "If_Modified_Since: evil",
        "If_Range: \"evil\"",
        "Accept_Encoding: evil",
        "Proxy-Connection: evil",
        "Keep-Alive: evil",
    ]
    .into_iter()
    .map(|line| poison(line, &format!("{line}\r\n")))
    .collect();
    rows.extend([
        poison(
            "X-Forwarded-Host twice",
            "X-Forwarded-Host: a\r\nX-Forwarded-Host: evil.example\r\n",
        ),
        poison("X-Forwarded-Host in other cases", "x-FORWARDED-hOsT: evil.example\r\n"),
        row("a POST that passes is not steered either")
            .step(send(request(
                "POST",
                "/x",
                "X-Original-URL: /evil\r\nX_Forwarded_Host: evil\r\nContent-Length: 0\r\n",
            )))
            .reaches(&["POST /x"])
            .keeps_back("evil"),
        row("another host is another entry")
            .step(
                send(format!("GET /x HTTP/1.1\r\nHost: evil.r{MARK}.example\r\n\r\n")).says("evil"),
            )
            .step(get("/x", "").lacks("evil"))
            .reaches(&["GET /x", "GET /x"]),
        row("a host that is not keyed does not reach the origin")
            .route("    ttl: 1m\n    key: { host: false }\n")
            .step(
                send(format!("GET /r{MARK} HTTP/1.1\r\nHost: evil.example\r\n\r\n")).lacks("evil"),
            )
            .step(
                send(format!("GET /r{MARK} HTTP/1.1\r\nHost: a.example\r\n\r\n"))
                    .says("X-Cache: HIT")
                    .lacks("evil"),
            )
            .keeps_back("evil"),
    ]);
    rows
}

fn unkeyed() -> Vec<Row> {
    const KEYED: &str = "    ttl: 1m\n    forward: keyed\n";
    let mut rows: Vec<Row> = [
        "User-Agent: evil",
        "Accept: text/evil",
        "Accept-Language: evil",
        "Accept-Encoding: evil",
        "Origin: http://evil.example",
        "Referer: http://evil.example",
        "Cookie: session=evil",
        "Authorization: Basic evil",
        "X-Api-Version: evil",
        "X-Evil: 1",
        "Via: 1.1 evil",
        "Max-Forwards: 666evil",
        "X-Amz-Evil: 1",
        "Content-Type: text/evil",
        "Cache-Control: evil",
        "Pragma: evil",
    ]
    .into_iter()
    .map(|line| poison(format!("keyed: {line}"), &format!("{line}\r\n")).route(KEYED))
    .collect();
    rows.extend([
        row("keyed: the client's address is not sent")
            .route(KEYED)
            .step(get("/x", "").lacks("127.0.0.1:").lacks("x-forwarded-for"))
            .keeps_back("x-forwarded-for"),
        row("keyed: what is keyed is sent, and tells answers apart")
            .route("    ttl: 1m\n    forward: keyed\n    key: { headers: [X-Tenant], cookies: [currency], personal: false }\n")
            .step(get("/x", "X-Tenant: one\r\nCookie: session=evil; currency=EUR\r\n").says("X-Tenant: one").says("currency=EUR").lacks("evil"))
            .step(get("/x", "X-Tenant: two\r\n").says("X-Tenant: two").lacks("EUR"))
            .step(get("/x", "X-Tenant: one\r\nCookie: currency=EUR; session=other\r\n").says("X-Cache: HIT"))
            .reaches(&["GET /x", "GET /x"])
            .keeps_back("session"),
        row("keyed: X_Tenant is not X-Tenant")
            .route("    ttl: 1m\n    forward: keyed\n    key: { headers: [X-Tenant] }\n")
            .step(get("/x", "X_Tenant: evil\r\n").lacks("evil"))
            .step(get("/x", "").says("X-Cache: HIT").lacks("evil"))
            .keeps_back("evil"),
        row("keyed: what the route names is sent beside it")
            .route("    ttl: 1m\n    forward: [User-Agent]\n")
            .step(get("/x", "User-Agent: me\r\nX-Evil: 1\r\n").says("User-Agent: me").lacks("evil"))
            .lets_through("user-agent: me")
            .keeps_back("evil"),
        row("keyed: a value of vary.normalize is sent in its normal form")
            .route("    ttl: 1m\n    forward: keyed\n    vary: { normalize: { Accept-Language: [en, de] } }\n")
            .origin(|message| answer(message, "Vary: Accept-Language\r\n"))
            .step(get("/x", "Accept-Language: de;q=0.9, evil\r\n").says("Accept-Language: de").lacks("evil"))
            .step(get("/x", "Accept-Language: en\r\n").says("Accept-Language: en"))
            .step(get("/x", "Accept-Language: de\r\n").says("X-Cache: HIT"))
            .keeps_back("evil"),
        row("keyed: what passes is sent whole")
            .route(KEYED)
            .step(send(request("POST", "/x", "X-Own: mine\r\nAuthorization: Basic mine\r\nContent-Length: 0\r\n")))
            .lets_through("x-own: mine")
            .lets_through("authorization: basic mine"),
        row("keyed: conditions are answered, and not sent for others")
            .route(KEYED)
            .origin(|message| answer(message, "ETag: \"a\"\r\n"))
            .step(get("/x", "If-None-Match: \"evil\"\r\n").lacks("evil"))
            .step(get("/x", "If-None-Match: \"a\"\r\n").answered(&[304]))
            .step(get("/x", "Range: bytes=0-2\r\n").answered(&[206]).says("GET"))
            .reaches(&["GET /x"]),
        row("a keyed X_Tenant is not X-Tenant without strict forwarding either")
            .route("    ttl: 1m\n    key: { headers: [X-Tenant] }\n")
            .step(get("/x", "X_Tenant: evil\r\n").lacks("evil"))
            .step(get("/x", "").says("X-Cache: HIT").lacks("evil"))
            .keeps_back("evil"),
    ]);
    rows
}

fn hop_by_hop() -> Vec<Row> {
    let keyed = "    ttl: 1m\n    key: { headers: [X-Tenant] }\n";
    vec![
        row("a keyed field that Connection names is neither keyed nor sent")
            .route(keyed)
            .step(get("/x", "Connection: X-Tenant\r\nX-Tenant: evil\r\n").lacks("evil"))
            .step(get("/x", "").says("X-Cache: HIT").lacks("evil"))
            .step(get("/x", "X-Tenant: evil\r\n").says("X-Cache: MISS"))
            .reaches(&["GET /x", "GET /x"]),
        row("Connection cannot take Authorization away: the answer is not shared")
            .step(get("/x", "Connection: Authorization\r\nAuthorization: Basic secret\r\n").says("secret"))
            .step(get("/x", "").lacks("secret"))
            .reaches(&["GET /x", "GET /x"]),
        row("Connection cannot take Cookie away")
            .origin(|message| answer(message, "Cache-Control: max-age=60\r\nVary: Cookie\r\n"))
            .step(get("/x", "Connection: Cookie\r\nCookie: id=secret\r\n").says("secret"))
            .step(get("/x", "").lacks("secret"))
            .reaches(&["GET /x", "GET /x"]),
        row("Connection cannot take Cache-Control away from an answer")
            .origin(|message| answer(message, "Connection: cache-control\r\nCache-Control: no-store\r\n"))
            .step(get("/x", "X: secret\r\n"))
            .step(get("/x", "").lacks("secret"))
            .reaches(&["GET /x", "GET /x"]),
        row("Connection cannot take Set-Cookie and Vary away from an answer")
            .origin(|message| answer(message, "Connection: set-cookie, vary\r\nSet-Cookie: id=1\r\nVary: X\r\nCache-Control: max-age=60\r\n"))
            .step(get("/x", "X: secret\r\n").says("set-cookie"))
            .step(get("/x", "").lacks("secret"))
            .reaches(&["GET /x", "GET /x"]),
        row("Connection cannot take the host away")
            .step(get("/x", "Connection: Host, X-Forwarded-Host, Via\r\n").says(&format!("r{MARK}.example")))
            .lets_through(&format!("x-forwarded-host: r{MARK}.example"))
            .lets_through("via: "),
        row("a field that Connection names is not sent")
            .step(get("/x", "Connection: keep-alive, X-Evil\r\nX-Evil: 1\r\n").lacks("x-evil"))
            .keeps_back("x-evil"),
        row("a variant's field that Connection names is no variant's")
            .origin(|message| answer(message, "Cache-Control: max-age=60\r\nVary: X-Kind\r\n"))
            .step(get("/x", "Connection: X-Kind\r\nX-Kind: evil\r\n").lacks("evil"))
            .step(get("/x", "").says("X-Cache: HIT").lacks("evil"))
            .reaches(&["GET /x"]),
    ]
}

fn queries() -> Vec<Row> {
    let mut rows = Vec::new();
    for query in [
        "a=1;b=evil",
        "a=1&amp;b=evil",
        "a=1&a=evil",
        "a=evil&a=1",
        "a=1%26b=evil",
        "a=1%00b=evil",
        "a[]=evil",
        "a=1&&b=evil",
        "a=1?b=evil",
        "a=1%3Bb=evil",
        "%61=evil",
        "a=1&A=evil",
        "a=1%0d%0aX:evil",
        "a=1+evil",
        "a=1%20evil",
        "a=1&_method=evil",
        "a=1&callback=evil",
        "a=1&utm_source=evil",
    ] {
        let evil = format!("/x?{query}");
        rows.push(
            row(format!("?{query} is another URL than ?a=1"))
                .step(get(&evil, "").says(query))
                .step(get("/x?a=1", "").lacks("evil"))
                .step(get(&evil, "").says("X-Cache: HIT"))
                .reaches(&[&format!("GET {evil}"), "GET /x?a=1"]),
        );
    }
    let rules = "    ttl: 1m\n    key: { query: { deny: [utm_source], sort: true } }\n";
    let allow = "    ttl: 1m\n    key: { query: { allow: [a] } }\n";
    let clean = |name: &str, rules: &str, query: &str| {
        row(name)
            .route(rules)
            .step(get(&format!("/x?{query}"), "").lacks("evil"))
            .step(get("/x?a=1", "").says("X-Cache: HIT").lacks("evil"))
            .reaches(&["GET /x?a=1"])
            .keeps_back("evil")
    };
    rows.extend([
        clean("a parameter that is not keyed is not sent", rules, "a=1&utm_source=evil"),
        clean("a parameter that is not allowed is not sent", allow, "b=evil&a=1"),
        clean(
            "a parameter that is not allowed and looks like two is not sent",
            allow,
            "b=1;a=evil&a=1",
        ),
        row(
            "a keyed parameter with another one cloaked behind ; is another URL, and is sent whole",
        )
        .route(allow)
        .step(get("/x?a=1;b=evil", "").says("a=1;b=evil"))
        .step(get("/x?a=1", "").lacks("evil"))
        .reaches(&["GET /x?a=1;b=evil", "GET /x?a=1"]),
        row("a denied parameter that is spelled otherwise is keyed")
            .route(rules)
            .step(get("/x?a=1&utm%5fsource=evil", "").says("evil"))
            .step(get("/x?a=1", "").lacks("evil")),
        row("a keyed parameter twice is sent twice, and is another URL")
            .route(allow)
            .step(get("/x?a=1&a=evil", "").says("a=1&a=evil"))
            .step(get("/x?a=1", "").lacks("evil")),
        row("an empty query is another URL than none")
            .step(get("/x?", "X: evil\r\n"))
            .step(get("/x", "").lacks("evil")),
        row("a path with other capitals is another URL")
            .step(get("/X", ""))
            .step(get("/x", "").says("X-Cache: MISS"))
            .reaches(&["GET /X", "GET /x"]),
        row("a path with an encoded letter is another URL")
            .step(get("/%78", "").says("/%78"))
            .step(get("/x", "").lacks("/%78")),
        row("a path with dots is the path that it means, for the key and for the origin")
            .step(get("/a/../x", "").says("GET /x "))
            .step(get("/x", "").says("X-Cache: HIT"))
            .reaches(&["GET /x"]),
        row("a path with encoded dots is the path that it means, for the key and for the origin")
            .step(get("/a/%2e%2E/x", "").says("GET /x "))
            .step(get("/x", "").says("X-Cache: HIT"))
            .reaches(&["GET /x"]),
    ]);
    rows
}

fn contents() -> Vec<Row> {
    let fat = |fields: &str| {
        request("GET", "/x?a=1", &format!("{fields}Content-Length: 6\r\n")) + "a=evil"
    };
    let mut rows: Vec<Row> = [
        ("a form in a GET", "Content-Type: application/x-www-form-urlencoded\r\n"),
        ("JSON in a GET", "Content-Type: application/json\r\n"),
        (
            "a method override and a form in a GET",
            "X-HTTP-Method-Override: POST\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        ),
        ("content without a type in a GET", ""),
    ]
    .into_iter()
    .map(|(name, fields)| {
        row(name)
            .step(send(fat(fields)).lacks("evil"))
            .step(get("/x?a=1", "").says("X-Cache: HIT").lacks("evil"))
            .reaches(&["GET /x?a=1"])
            .keeps_back("evil")
            .keeps_back("content-type")
            .keeps_back("content-length")
    })
    .collect();
    rows.extend([
        row("a POST's answer is not a GET's")
            .step(send(request("POST", "/x", "Content-Length: 4\r\n") + "evil").says("evil"))
            .step(get("/x", "").lacks("evil"))
            .reaches(&["POST /x", "GET /x"]),
        row("a QUERY's answer is another content's")
            .step(
                send(
                    request("QUERY", "/x", "Content-Type: text/plain\r\nContent-Length: 4\r\n")
                        + "evil",
                )
                .says("evil"),
            )
            .step(
                send(
                    request("QUERY", "/x", "Content-Type: text/plain\r\nContent-Length: 4\r\n")
                        + "good",
                )
                .lacks("evil"),
            )
            .step(get("/x", "").lacks("evil"))
            .reaches(&["QUERY /x", "QUERY /x", "GET /x"]),
    ]);
    rows
}

fn by_the_letter(message: &Message) -> Vec<u8> {
    let fields = "Cache-Control: max-age=60\r\nETag: \"v\"\r\n";
    if message.field("range").is_some() {
        return status(
            "206 Partial Content",
            &format!("{fields}Content-Range: bytes 0-3/10\r\n"),
            "0123",
        );
    }
    if message.field("if-none-match").is_some() {
        return format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n").into();
    }
    if message.field("if-match").is_some() {
        return status("412 Precondition Failed", fields, "evil");
    }
    if message.method() == "HEAD" {
        return format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 10\r\n\r\n").into();
    }
    ok(fields, "0123456789")
}

fn cut(_: &Message) -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nConnection: close\r\nContent-Length: 10\r\n\r\n0123".to_vec()
}

fn parts() -> Vec<Row> {
    let whole = |row: Row| {
        row.origin(by_the_letter)
            .step(get("/x", "").says("200 OK").says("0123456789").lacks("evil"))
    };
    let mut rows = Vec::new();
    for (name, field, answered) in [
        ("a range", "Range: bytes=0-3", 206),
        ("a range that cannot be", "Range: bytes=99-", 416),
        ("a range that is nonsense", "Range: evil=0-3", 200),
        ("an overlapping range", "Range: bytes=0-5,0-5,0-5,0-5,0-5,0-5,0-5,0-5", 200),
        ("a condition that holds", "If-None-Match: \"v\"", 304),
        ("a condition of another's", "If-None-Match: \"w\"", 200),
        ("a condition that fails", "If-Match: \"w\"", 412),
        ("a range on a condition", "Range: bytes=0-3\r\nIf-Range: \"w\"", 200),
    ] {
        rows.push(whole(
            row(format!("{name} of one client is not the next one's answer"))
                .origin(by_the_letter)
                .step(get("/x", &format!("{field}\r\n")).answered_by_one_of(&[answered, 200, 206])),
        ));
    }
    rows.push(whole(
        row("a HEAD is not the next GET's answer")
            .origin(by_the_letter)
            .step(send(request("HEAD", "/x", ""))),
    ));
    rows.push(
        row("a body that is cut off is cut off, and not the next one's answer")
            .origin(cut)
            .step(get("/x", "").closes())
            .step(get("/x", "").closes())
            .reaches(&["GET /x", "GET /x"]),
    );
    rows
}

fn gzip(message: &Message) -> Vec<u8> {
    match message.field("accept-encoding") {
        Some(coding) => answer(
            message,
            &format!(
                "Cache-Control: max-age=60\r\nVary: Accept-Encoding\r\nContent-Encoding: {coding}\r\n"
            ),
        ),
        None => answer(message, "Cache-Control: max-age=60\r\nVary: Accept-Encoding\r\n"),
    }
}

fn variants() -> Vec<Row> {
    let vary = |text: &'static str| -> super::origin::Script {
        match text {
            "*" => |message| answer(message, "Cache-Control: max-age=60\r\nVary: *\r\n"),
            "X, *" => |message| answer(message, "Cache-Control: max-age=60\r\nVary: X, *\r\n"),
            "lines" => {
                |message| answer(message, "Cache-Control: max-age=60\r\nVary: X\r\nVary: *\r\n")
            }
            "bad" => |message| answer(message, "Cache-Control: max-age=60\r\nVary: X Y\r\n"),
            "Cookie" => |message| answer(message, "Cache-Control: max-age=60\r\nVary: Cookie\r\n"),
            _ => |message| answer(message, "Cache-Control: max-age=60\r\nVary: X, Y\r\n"),
        }
    };
    let mut rows = Vec::new();
    for (name, text) in [
        ("Vary: *", "*"),
        ("Vary: X, *", "X, *"),
        ("Vary: * on its second line", "lines"),
        ("a Vary that is none", "bad"),
    ] {
        rows.push(
            row(format!("{name} is not stored"))
                .origin(vary(text))
                .step(get("/x", "Cookie: secret\r\n"))
                .step(get("/x", "").lacks("secret"))
                .reaches(&["GET /x", "GET /x"]),
        );
    }
    rows.extend([
        row("Vary: Cookie keeps clients apart")
            .origin(vary("Cookie"))
            .step(get("/x", "Cookie: id=secret\r\n").says("secret"))
            .step(get("/x", "Cookie: id=other\r\n").lacks("secret"))
            .step(get("/x", "").lacks("secret"))
            .reaches(&["GET /x", "GET /x", "GET /x"]),
        row("two lines of a field are not one line of another client's")
            .origin(vary("X, Y"))
            .step(get("/x", "X: a\r\nX: evil\r\n").says("evil"))
            .step(get("/x", "X: a\r\n").lacks("evil"))
            .reaches(&["GET /x", "GET /x"]),
        row("values that read like the next field's are not mixed up")
            .origin(vary("X, Y"))
            .step(get("/x", "X: 1\r\nY: evil\r\n"))
            .step(get("/x", "X: 1,Y: evil\r\n").says("X-Cache: MISS"))
            .reaches(&["GET /x", "GET /x"]),
        row("a coding of one client's is not another's answer")
            .origin(gzip)
            .step(get("/x", "Accept-Encoding: evil\r\n").says("Content-Encoding: evil"))
            .step(get("/x", "").lacks("evil"))
            .reaches(&["GET /x", "GET /x"]),
        row("codings without end make no more variants than are kept, and others are served")
            .route("    ttl: 1m\n    vary: { normalize: { Accept-Encoding: [gzip] } }\n")
            .origin(gzip)
            .step(get("/x", "Accept-Encoding: a1, gzip\r\n"))
            .step(get("/x", "Accept-Encoding: gzip;q=0.5, a2\r\n").says("X-Cache: HIT"))
            .step(get("/x", "Accept-Encoding: evil\r\n").lacks("evil"))
            .reaches(&["GET /x", "GET /x"]),
    ]);
    rows
}

/// As origins do: large heads, odd bytes and other methods are errors of theirs.
fn touchy(message: &Message) -> Vec<u8> {
    if message.head.len() > 8000 {
        return status("400 Bad Request", "", "evil");
    }
    if message.field("x-odd").is_some() {
        return status("400 Bad Request", "", "evil");
    }
    if message.field("x-crash").is_some() {
        return status("500 Internal Server Error", "", "evil");
    }
    if message.head.to_ascii_lowercase().contains("method-override") {
        return status("405 Method Not Allowed", "", "evil");
    }
    if message.field("x-missing").is_some() {
        return status("404 Not Found", "", "evil");
    }
    if message.field("x-away").is_some() {
        return status("302 Found", "Location: http://evil.example/\r\n", "evil");
    }
    silent(message)
}

fn errors() -> Vec<Row> {
    let large = format!("X-Large: {}\r\n", "y".repeat(20_000));
    let mut rows = Vec::new();
    for (name, fields, answered) in [
        ("HHO: a head that is too large for the origin", large.as_str(), 400),
        ("HMC: bytes that the origin does not like", "X-Odd: \u{e9}\r\n", 400),
        ("a field that breaks the origin", "X-Crash: 1\r\n", 500),
        ("a field that hides what is asked for", "X-Missing: 1\r\n", 404),
        ("a field that leads elsewhere", "X-Away: 1\r\n", 302),
    ] {
        for (how, keys) in
            [("", "    heuristic_ttl: 1d\n"), (", where the route has a ttl", "    ttl: 1m\n")]
        {
            // A redirection is no error: it is what the route's ttl is for.
            if answered == 302 && keys.contains(" ttl") {
                continue;
            }
            rows.push(
                row(format!("{name}{how}"))
                    .route(keys)
                    .origin(touchy)
                    .step(get("/x", fields).answered(&[answered]))
                    .step(get("/x", "").answered(&[200]).lacks("evil")),
            );
        }
    }
    rows.push(
        row("HMO: a method that the origin does not like never gets there")
            .origin(touchy)
            .step(get("/x", "X-HTTP-Method-Override: POST\r\n"))
            .step(get("/x", "").lacks("evil")),
    );
    rows.push(
        row("keyed: a head that is too large for the origin is not too large any more")
            .route("    ttl: 1m\n    forward: keyed\n")
            .origin(touchy)
            .step(get("/x", &large))
            .step(get("/x", "").says("X-Cache: HIT"))
            .reaches(&["GET /x"]),
    );
    rows.push(
        row("a head that is too large for Larder is refused, and nobody else is")
            .step(
                get("/x", &format!("X-Large: {}\r\n", "y".repeat(70_000)))
                    .answered(&[431])
                    .closes(),
            )
            .step(get("/x", ""))
            .reaches(&["GET /x"]),
    );
    rows
}

fn directives() -> Vec<Row> {
    let mut rows = Vec::new();
    for directive in [
        "Cache-Control: no-cache",
        "Cache-Control: max-age=0",
        "Cache-Control: no-store",
        "Pragma: no-cache",
    ] {
        rows.push(
            row(format!("ignored: {directive}"))
                .route("    ttl: 1m\n    client_directives: ignore\n")
                .step(get("/x", ""))
                .step(get("/x", &format!("{directive}\r\n")).says("X-Cache: HIT"))
                .reaches(&["GET /x"]),
        );
    }
    rows.push(
        row("only-if-cached of one client is no error of others")
            .step(get("/x", "Cache-Control: only-if-cached\r\n").answered(&[504]))
            .step(get("/x", ""))
            .reaches(&["GET /x"]),
    );
    rows
}
