//! Cache deception and leaks: what was meant for one client is not kept for another.

use super::origin::{answer, ok, silent, status};
use super::row::{Row, Threat, get, request, row, send, threat};
use super::wire::Message;

pub(crate) fn threats() -> Vec<Threat> {
    vec![
        threat(
            "Web cache deception: a page that is named like a file",
            "an answer whose media type contradicts its path's extension is not stored (`policy::deception::contradicts`); no rule goes by extension",
            named_like_files(),
        ),
        threat(
            "Paths that the origin reads as another route's",
            "a path with another reading that another route takes passes (`policy::deception::readings`)",
            other_readings(),
        ),
        threat(
            "private and no-store in odd spellings",
            "every line, quoted and badly quoted, in any order; what is not understood takes nothing back (`message::cache_control`)",
            spellings(),
        ),
        threat(
            "Answers for one identity",
            "RFC 9111 §3.5 for Authorization; Set-Cookie is not shared unless the route says so",
            identities(),
        ),
        threat(
            "Origins that show each their own page and say that everybody may have it",
            "with `tripwire: 100%` (1% by default) nobody gets another identity's entry before their own answer was compared with it; a difference ends sharing (`policy::tripwire`, `pipeline::tripwire`)",
            leaking_origins(),
        ),
    ]
}

/// An origin that ignores the end of paths and shows whoever asks its own account.
fn account(message: &Message) -> Vec<u8> {
    let who = message.field("cookie").unwrap_or("nobody");
    ok("Content-Type: text/html\r\n", &format!("account of {who}"))
}

/// The same, from an origin that says of everything that it may be kept.
fn careless(message: &Message) -> Vec<u8> {
    let who = message.field("cookie").unwrap_or("nobody");
    ok("Content-Type: text/html\r\nCache-Control: max-age=60\r\n", &format!("account of {who}"))
}

/// A victim is led to the URL; then the attacker asks for it.
fn deceive(row: Row, path: &str) -> Row {
    row.step(get(path, "Cookie: secret\r\n").says("account of secret"))
        .step(get(path, "").lacks("secret"))
        .step(get(path, "Cookie: mine\r\n").lacks("secret"))
}

/// An origin that shows whoever asks their own page, whatever field they are known by.
fn everybodys(message: &Message) -> Vec<u8> {
    let who = ["cookie", "authorization", "x-api-key", "x-session-id"]
        .iter()
        .find_map(|name| message.field(name))
        .unwrap_or("nobody");
    let fields = "Content-Type: text/html\r\nCache-Control: public, max-age=60\r\nETag: \"a\"\r\n";
    ok(fields, &format!("account of {who}"))
}

fn leaking_origins() -> Vec<Row> {
    let mut rows = Vec::new();
    // Rows with one configuration share a process, and a tripwire that has sprung once would answer for all.
    let watched = |name: String| {
        let own = name.bytes().map(u32::from).sum::<u32>();
        row(name).route(&format!("    tripwire: 100%\n    ttl: {own}s\n")).origin(everybodys)
    };
    for field in ["Cookie", "Authorization", "X-Api-Key", "X-Session-Id"] {
        let (one, other) = (format!("{field}: secret\r\n"), format!("{field}: other\r\n"));
        rows.push(
            watched(format!("{field}: neither another nor nobody gets the page"))
                .step(get("/x", &one).says("account of secret"))
                .step(get("/x", &other).says("account of other").lacks("secret"))
                .step(get("/x", "").says("account of nobody").lacks("secret"))
                .step(get("/x", &one).says("account of secret").lacks("other")),
        );
    }
    for (name, fields) in [
        ("a part of the page", "Range: bytes=0-16\r\n"),
        ("the page if it is new", "If-None-Match: \"b\"\r\n"),
        ("the page in a range of its tag", "Range: bytes=0-16\r\nIf-Range: \"a\"\r\n"),
        ("the page even if it is old", "Cache-Control: max-stale=100\r\n"),
    ] {
        rows.push(
            watched(format!("nobody who asks for {name} gets another's"))
                .step(get("/x", "Cookie: secret\r\n").says("account of secret"))
                .step(
                    get("/x", &format!("Cookie: other!\r\n{fields}"))
                        .answered_by_one_of(&[200, 206])
                        .says("account of other!")
                        .lacks("secret"),
                ),
        );
    }
    rows.push(
        watched("only-if-cached gets nothing of another's".into())
            .step(get("/x", "Cookie: secret\r\n").says("account of secret"))
            .step(
                get("/x", "Cookie: other\r\nCache-Control: only-if-cached\r\n")
                    .answered(&[504])
                    .lacks("secret"),
            ),
    );
    rows
}

fn named_like_files() -> Vec<Row> {
    let mut rows = Vec::new();
    for path in [
        "/account/x.css",
        "/account/x.JS",
        "/account/a/b/c.png",
        "/account;x.css",
        "/account%3bx.css",
        "/account%2fx.css",
        "/account%5cx.css",
        "/account%252fx.css",
        "/account%23x.css",
        "/account%3fx.css",
        "/account%00x.css",
        "/account%0ax.css",
        "/account%0d%0ax.css",
        "/account\\x.css",
        "/account//x.css",
        "/account/..x.css",
        "/account/.css",
        "/account.css",
        "/account/x.css?y",
        "/account/x.css?.html",
        "/account/%2e%2e%2fx.css",
        "/account/x.css;y",
        "/account/x.css%3fy",
        "/account/x.css%00",
        "/account/x.css%23y",
        "/account/x.css.",
        "/account/x.css/",
        "/account/x.svg",
        "/account/x.woff2",
        "/account/x.pdf",
        "/account/x%2ecss",
        "/account/x.%63ss",
    ] {
        rows.push(deceive(
            row(format!("{path}, by an origin that says max-age")).origin(careless),
            path,
        ));
    }
    rows.push(deceive(
        row("/account/x.css, where the route has a ttl").route("    ttl: 1h\n").origin(account),
        "/account/x.css",
    ));
    rows.push(
        row("a stylesheet that is one is stored")
            .origin(|message| {
                answer(message, "Content-Type: text/css\r\nCache-Control: max-age=60\r\n")
            })
            .step(get("/x.css", ""))
            .step(get("/x.css", "").says("X-Cache: HIT"))
            .reaches(&["GET /x.css"]),
    );
    rows
}

const ROUTES: &str = "routes:
  - name: static
    match: { path: \"/static/**\" }
    ttl: 1h
    respect_origin: false
  - name: account
    match: { path: \"/account/**\" }
    cache: false
  - name: rest
    match: { path: \"/**\" }
    ttl: 1h";

fn other_readings() -> Vec<Row> {
    let mut rows = Vec::new();
    for path in [
        "/static/..%2faccount",
        "/static/..%2Faccount",
        "/static/%2e%2e%2faccount",
        "/static/..%252faccount",
        "/static/..%25252faccount",
        "/static/..%5caccount",
        "/static\\..\\account",
        "/static/..\\account",
        "/static/..;/account",
        "/static/..;x=y/account",
        "/static/%2e%2e;/account",
        "/static/x%2f..%2f..%2faccount",
        "/account;x",
        "/account;/x",
        "/account%3bx",
        "/account%00",
        "/account%00.html",
        "/account%0a",
        "/account%0d%0a",
        "/account%3fx",
        "/account%23x",
        "//account",
        "///account",
        "//account/x",
        "/account%2f",
        "/account%2fx",
        "/account%5cx",
        "/account\\x",
        "/%61ccount",
        "/%2561ccount",
        "/x//..%2faccount",
        "/x/..%2faccount/",
        "/%2faccount",
        "/;/account",
        "/./%2e/account%2e%2f..%2faccount",
    ] {
        rows.push(deceive(
            row(format!("{path} may be /account")).configured(ROUTES).origin(account),
            path,
        ));
    }
    rows.push(
        row("a path that no other route takes in any reading is stored")
            .configured(ROUTES)
            .step(get("/static/a%20b%2fc;d", ""))
            .step(get("/static/a%20b%2fc;d", "").says("X-Cache: HIT"))
            .reaches(&["GET /static/a%20b%2fc;d"]),
    );
    rows.push(
        row("a path with dots belongs to the route that it means")
            .configured(ROUTES)
            .origin(account)
            .step(get("/static/../account", "Cookie: secret\r\n").says("account of secret"))
            .step(get("/account", "").lacks("secret"))
            .step(get("/static/../account", "").lacks("secret"))
            .reaches(&["GET /account", "GET /account", "GET /account"]),
    );
    rows
}

fn spellings() -> Vec<Row> {
    fn said(message: &Message) -> Vec<u8> {
        // The row's own request says what its origin answers, so that one script does for all.
        let wanted =
            message.field("x-says").unwrap_or_default().replace('|', "\r\nCache-Control: ");
        let who = message.field("cookie").unwrap_or("nobody");
        ok(&format!("Cache-Control: {wanted}\r\n"), &format!("for {who}"))
    }
    let mut rows = Vec::new();
    for spelling in [
        "private",
        "PRIVATE",
        "Private, max-age=60",
        "max-age=60,private",
        "max-age=60 ;private, private",
        "max-age=60,\tprivate",
        "no-store",
        "No-Store",
        "max-age=60|private",
        "private|max-age=60, public",
        "public, private, s-maxage=60",
        "max-age=60, no-store=\"\"",
        "no-store=1, max-age=60",
        "private=\"\", max-age=60",
        "private=\"set-cookie, max-age=60",
        "x=\"a, b\", private",
        "x=\"a\\\", b\", no-store",
        "x=\"private, max-age=60\", private",
        "unknown, private, max-age=60",
        "unknown=1, no-store",
        "a b, private",
        ",,private,,",
        "private,",
        " private ",
        "max-age=60, max-age=0, private",
        "max-age=60, \"private\", no-store",
        "max-age = 60, private",
        "=, private",
        "max-age=60, private=",
    ] {
        let fields = |who: &str| format!("X-Says: {spelling}\r\nCookie: {who}\r\n");
        rows.push(
            row(format!("Cache-Control: {spelling}"))
                .route("    ttl: 1h\n    respect_origin: false\n")
                .origin(said)
                .step(get("/x", &fields("secret")).says("for secret"))
                .step(get("/x", &fields("other")).says("for other"))
                .reaches(&["GET /x", "GET /x"]),
        );
    }
    rows
}

fn identities() -> Vec<Row> {
    let twice = |row: Row, one: &str, other: &str| {
        row.step(get("/x", one).says("secret"))
            .step(get("/x", other).lacks("secret"))
            .step(get("/x", "").lacks("secret"))
    };
    let mut rows = vec![
        twice(
            row("an answer to Authorization is not another's")
                .origin(|message| answer(message, "Cache-Control: max-age=60\r\n")),
            "Authorization: Bearer secret\r\n",
            "Authorization: Bearer other\r\n",
        ),
        twice(
            row("an answer to Authorization is not another's where the route has a ttl")
                .route("    ttl: 1h\n")
                .origin(silent),
            "Authorization: Bearer secret\r\n",
            "Authorization: Bearer other\r\n",
        ),
        twice(
            row("Authorization in small letters is Authorization")
                .origin(|message| answer(message, "Cache-Control: max-age=60\r\n")),
            "authorization: Bearer secret\r\n",
            "AUTHORIZATION: Bearer other\r\n",
        ),
        row("an answer that sets a cookie is not another's")
            .origin(|message| {
                let own = message.field("x-own").unwrap_or("nobody");
                ok(&format!("Cache-Control: max-age=60\r\nSet-Cookie: id={own}\r\n"), "page")
            })
            .step(get("/x", "X-Own: secret\r\n").says("id=secret"))
            .step(get("/x", "").lacks("secret"))
            .reaches(&["GET /x", "GET /x"]),
        row("an answer that sets a cookie is not another's where the route has a ttl")
            .route("    ttl: 1h\n    respect_origin: false\n")
            .origin(|message| {
                let own = message.field("x-own").unwrap_or("nobody");
                ok(&format!("set-COOKIE: id={own}\r\n"), "page")
            })
            .step(get("/x", "X-Own: secret\r\n").says("id=secret"))
            .step(get("/x", "").lacks("secret"))
            .reaches(&["GET /x", "GET /x"]),
        row("no-cache is asked about before each use")
            .origin(|message| {
                let own = message.field("cookie").unwrap_or("nobody");
                ok("Cache-Control: no-cache, max-age=60\r\nETag: \"a\"\r\n", &format!("for {own}"))
            })
            .step(get("/x", "Cookie: secret\r\n").says("for secret"))
            .step(get("/x", "Cookie: other\r\n").says("for other"))
            .reaches(&["GET /x", "GET /x"]),
        row("a login that fails is not stored")
            .route("    ttl: 1h\n")
            .origin(|message| {
                if message.field("authorization").is_some() {
                    return ok("", "secret");
                }
                status("401 Unauthorized", "WWW-Authenticate: Basic\r\n", "log in")
            })
            .step(get("/x", "").answered(&[401]))
            .step(get("/x", "Authorization: Basic a\r\n").says("secret"))
            .step(get("/x", "").answered(&[401])),
        row("keyed: an identity that is not keyed is not sent, and gets what all get")
            .route("    ttl: 1h\n    forward: keyed\n")
            .origin(silent)
            .step(get("/x", "Authorization: Bearer secret\r\nCookie: secret\r\n").lacks("secret"))
            .step(get("/x", "").says("X-Cache: HIT").lacks("secret"))
            .keeps_back("secret"),
        row("an identity that is keyed has answers of its own")
            .route("    ttl: 1h\n    layers: [l1]\n    key: { cookies: [session] }\n")
            .origin(silent)
            .step(get("/x", "Cookie: session=secret\r\n").says("secret"))
            .step(get("/x", "Cookie: session=other\r\n").lacks("secret"))
            .step(get("/x", "Cookie: session=other; session=secret\r\n").says("X-Cache: MISS"))
            .step(get("/x", "Cookie: session=secret\r\n").says("X-Cache: HIT")),
    ];
    for field in [
        "CDN-Cache-Control: no-store",
        "Surrogate-Control: no-store",
        "Larder-Cache-Control: private",
    ] {
        rows.push(
            row(format!("{field}, beside a Cache-Control that allows it"))
                .origin(|message| {
                    let said = message.field("x-says").unwrap_or_default();
                    let own = message.field("cookie").unwrap_or("nobody");
                    ok(&format!("Cache-Control: max-age=60\r\n{said}\r\n"), &format!("for {own}"))
                })
                .step(
                    send(request("GET", "/x", &format!("X-Says: {field}\r\nCookie: secret\r\n")))
                        .says("for secret"),
                )
                .step(
                    send(request("GET", "/x", &format!("X-Says: {field}\r\nCookie: other\r\n")))
                        .says("for other"),
                ),
        );
    }
    rows
}
