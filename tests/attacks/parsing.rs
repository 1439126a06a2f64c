//! Heads that are read in two ways: request lines, hosts, fields, methods.

use super::row::{MARK, Row, Threat, refused, refused_with, request, row, send, threat};

/// A head with this request line.
fn line(line: &str) -> String {
    format!("{line}\r\nHost: r{MARK}.example\r\n\r\n")
}

/// A head for this host.
fn host(host: &str) -> String {
    format!("GET /r{MARK} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

pub(crate) fn threats() -> Vec<Threat> {
    vec![
        threat(
            "Request lines that are read in two ways",
            "one grammar (hyper, `server::framing`, `key::canonical::is_sound`), 400 and a close for all else",
            lines(),
        ),
        threat(
            "Two hosts, or a host that is none",
            "one valid host, which is keyed and sent in one form (`key::authority`); an absolute target wins over `Host`",
            hosts(),
        ),
        threat(
            "Line ends, controls and blanks in fields",
            "CR LF and nothing else ends a line; controls and blanks around names are 400 and a close",
            fields(),
        ),
        threat(
            "Methods that answer for somebody else",
            "`CONNECT` and `TRACE` are refused; `*` is for `OPTIONS`; any other method is a request that passes",
            methods(),
        ),
    ]
}

fn lines() -> Vec<Row> {
    let mut rows = vec![
        refused("HTTP/0.9", format!("GET /r{MARK}\r\n")),
        refused("HTTP/0.9 with an empty line", format!("GET /r{MARK}\r\n\r\n")),
        refused("LF alone after an HTTP/0.9 line", format!("GET /r{MARK}\n")),
    ];
    for version in
        ["HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.1a", "HTTP/01.1", "HTTP/1.10", "HTTP /1.1"]
    {
        rows.push(refused(format!("the version {version}"), line(&format!("GET /x {version}"))));
    }
    for (name, text) in [
        ("two blanks after the method", "GET  /x HTTP/1.1"),
        ("a tab after the method", "GET\t/x HTTP/1.1"),
        ("a vertical tab after the method", "GET\u{b}/x HTTP/1.1"),
        ("a tab after the target", "GET /x\tHTTP/1.1"),
        ("a blank at the end of the line", "GET /x HTTP/1.1 "),
        ("a blank before the method", " GET /x HTTP/1.1"),
        ("a line without a method", "/x HTTP/1.1"),
        ("a control in the method", "G\u{1}T /x HTTP/1.1"),
        ("a colon in the method", "GE:T /x HTTP/1.1"),
        ("a NUL in the target", "GET /x\0y HTTP/1.1"),
        ("a CR in the target", "GET /x\ry HTTP/1.1"),
        ("a DEL in the target", "GET /x\u{7f}y HTTP/1.1"),
        ("a blank in the target", "GET /x y HTTP/1.1"),
        ("a target with quotes and brackets", "GET /<x>\"y\" HTTP/1.1"),
        ("a target with a fragment", "GET /x#/y HTTP/1.1"),
        ("a target without a slash", "GET x HTTP/1.1"),
        ("a target that begins with @", "GET @evil.example/x HTTP/1.1"),
        ("a host and port alone as a target", "GET evil.example:80 HTTP/1.1"),
        ("a script as a target", "GET javascript:alert(1) HTTP/1.1"),
        ("a file as a target", "GET file:///etc/passwd HTTP/1.1"),
        ("a target of another scheme", "GET ftp://evil.example/x HTTP/1.1"),
        ("an absolute target with user information", "GET http://user@evil.example/x HTTP/1.1"),
        ("an absolute target without a host", "GET http:///x HTTP/1.1"),
    ] {
        rows.push(refused(name, line(text)));
    }
    rows.push(refused(
        "an empty line of LF alone before the request",
        format!("\n{}", line("GET /x HTTP/1.1")),
    ));
    rows.push(
        row("an empty line before the request counts for nothing")
            .step(send(format!("\r\n\r\n{}", line("GET /x HTTP/1.1"))))
            .reaches(&["GET /x"]),
    );
    rows.push(
        row("a target with two slashes is a path, and no host")
            .step(send(line("GET //evil.example/x HTTP/1.1")))
            .reaches(&["GET //evil.example/x"]),
    );
    rows
}

fn hosts() -> Vec<Row> {
    let mut rows = vec![
        refused("no host", format!("GET /r{MARK} HTTP/1.1\r\nX: y\r\n\r\n")),
        refused("two hosts", host("a\r\nHost: b")),
        refused("one host twice", host("a\r\nHost: a")),
        refused("two hosts in two cases", host("a\r\nhost: b")),
        refused(
            "a host behind a blank",
            format!("GET /r{MARK} HTTP/1.1\r\n Host: a\r\nHost: b\r\n\r\n"),
        ),
        refused(
            "a host whose colon is behind a blank",
            format!("GET /r{MARK} HTTP/1.1\r\nHost : b\r\nHost: a\r\n\r\n"),
        ),
    ];
    for bad in [
        "",
        "a b",
        "a,b",
        "a, b",
        "user@a",
        "a:80@evil.example",
        "a/x",
        "a?x",
        "a#x",
        "a\\b",
        "http://a",
        "<a>",
        "a\"",
        "a%00",
        "a%0d%0a",
        "a%2fb",
        "a;b",
        "a(b",
        "*",
        "a..b",
        "..",
        ":80",
        "a:abc",
        "a:-1",
        "a:+80",
        "a:0",
        "a:080",
        "a:99999",
        "a:80:80",
        "[::1",
        "[::1]x",
        "[x]",
        "a\tb",
        "a\0",
    ] {
        rows.push(refused(format!("Host: {bad:?}"), host(bad)));
    }
    rows.push(refused("a host of 300 letters", host(&"a".repeat(300))));
    let absolute = |fields: &str| format!("GET http://r{MARK}.example/x HTTP/1.1\r\n{fields}\r\n");
    rows.push(refused("an absolute target without a Host", absolute("X: y\r\n")));
    rows.push(refused("an absolute target with two Hosts", absolute("Host: a\r\nHost: b\r\n")));
    rows.push(refused("an absolute target with a Host that is none", absolute("Host: a b\r\n")));
    rows.push(
        row("an absolute target wins over Host, for the key and for the origin")
            .step(send(absolute("Host: evil.example\r\n")))
            .step(send(request("GET", "/x", "")).says("X-Cache: HIT").lacks("evil"))
            .reaches(&["GET /x"])
            .keeps_back("evil"),
    );
    let odd = |host: &str| format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for (name, written) in [
        ("capitals in a host", format!("R{MARK}.EXAMPLE")),
        ("the scheme's own port", format!("r{MARK}.example:80")),
        ("an empty port", format!("r{MARK}.example:")),
        ("a dot at the end of a host", format!("r{MARK}.example.")),
    ] {
        rows.push(
            row(format!("{name} is not another host, for the key and for the origin"))
                .step(send(odd(&written)))
                .step(send(request("GET", "/x", "")).says("X-Cache: HIT"))
                .reaches(&["GET /x"])
                .keeps_back(&written.replacen('r', "R", 1))
                .keeps_back(&format!("r{MARK}.example:"))
                .keeps_back(&format!("r{MARK}.example.")),
        );
    }
    rows.retain(|row| !row.name.starts_with("capitals"));
    rows.push(
        row("capitals in a host are not another host")
            .step(send(odd(&format!("R{MARK}.EXAMPLE"))))
            .step(send(request("GET", "/x", "")).says("X-Cache: HIT"))
            .reaches(&["GET /x"]),
    );
    rows.push(
        row("another port is another URL")
            .step(send(odd(&format!("r{MARK}.example:81"))))
            .step(send(request("GET", "/x", "")).lacks("example:81"))
            .reaches(&["GET /x", "GET /x"]),
    );
    rows
}

fn fields() -> Vec<Row> {
    let with = |lines: &str| request("GET", "/x", lines);
    [
        (
            "LF alone after the request line",
            format!("GET /x HTTP/1.1\nHost: r{MARK}.example\r\n\r\n"),
        ),
        ("LF alone after a field", with("X: y\nZ: a\r\n")),
        ("LF alone for the empty line", format!("GET /x HTTP/1.1\r\nHost: r{MARK}.example\r\n\n")),
        ("CR alone between fields", with("X: y\rZ: a\r\n")),
        ("two CRs before LF", with("X: y\r\r\n")),
        (
            "two CRs in the empty line",
            format!("GET /x HTTP/1.1\r\nHost: r{MARK}.example\r\n\r\r\n"),
        ),
        ("a folded field", with("X: y\r\n z\r\n")),
        ("a field folded by a tab", with("X: y\r\n\tz\r\n")),
        (
            "a first field that begins with a blank",
            format!("GET /x HTTP/1.1\r\n X: y\r\nHost: r{MARK}.example\r\n\r\n"),
        ),
        ("a blank before a colon", with("X : y\r\n")),
        ("a blank in a name", with("X Y: z\r\n")),
        ("a field without a name", with(": y\r\n")),
        ("a line without a colon", with("foo\r\n")),
        ("a control in a name", with("X\u{1}: y\r\n")),
        ("a NUL in a name", with("X\0: y\r\n")),
        ("bytes above 0x7F in a name", with("X\u{e9}: y\r\n")),
        ("a bracket in a name", with("X(: y\r\n")),
        ("a NUL in a value", with("X: a\0b\r\n")),
        ("a bell in a value", with("X: a\u{7}b\r\n")),
        ("an escape in a value", with("X: a\u{1b}b\r\n")),
        ("a DEL in a value", with("X: a\u{7f}b\r\n")),
    ]
    .into_iter()
    .map(|(name, bytes)| refused(name, bytes))
    .collect()
}

fn methods() -> Vec<Row> {
    vec![
        refused_with(
            405,
            "TRACE shows nobody what proxies add",
            request("TRACE", "/x", "Cookie: secret\r\n"),
        ),
        refused_with(405, "TRACK is the same", request("TRACK", "/x", "")),
        refused_with(405, "CONNECT to a host", line("CONNECT evil.example:443 HTTP/1.1")),
        refused_with(405, "CONNECT to a path", line("CONNECT /x HTTP/1.1")),
        refused("GET of *", line("GET * HTTP/1.1")),
        refused("POST to *", line("POST * HTTP/1.1")),
        row("OPTIONS * passes as it is")
            .step(send(line("OPTIONS * HTTP/1.1")))
            .reaches(&["OPTIONS *"]),
        row("a method in small letters is another method, and is not stored")
            .step(send(request("get", "/x", "")))
            .step(send(request("GET", "/x", "")).says("X-Cache: MISS"))
            .reaches(&["get /x", "GET /x"]),
        row("an unknown method passes, and is not stored")
            .step(send(request("EVIL", "/x", "")))
            .step(send(request("GET", "/x", "")).lacks("EVIL /x"))
            .reaches(&["EVIL /x", "GET /x"]),
    ]
}
