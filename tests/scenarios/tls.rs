//! TLS on the listeners: who is shown which certificate, what is agreed on, who is turned away, and what follows of it.

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::answer::{echo, fresh};
use crate::support::client::{get, post};
use crate::support::larder::{Larder, run};
use crate::support::origin::Origin;
use crate::support::raw::converse;
use crate::support::tls::Authority;
use crate::support::yaml::all_to;
use crate::support::{signal, until, within};

/// A Larder that speaks TLS with a certificate for `shop.test`, and `more` in its `tls`.
async fn shop(authority: &Authority, origin: &Origin, more: &str) -> Larder {
    authority.issue("shop", &["shop.test"]);
    let pair = authority.pair("shop");
    all_to(origin).top(&format!("tls: {{ {pair}{more} }}")).start().await
}

#[tokio::test]
async fn both_protocols_are_spoken_over_tls_and_share_the_cache() {
    let (authority, origin) = (Authority::new(), Origin::start().await);
    origin.on("/x", fresh("hello"));
    origin.on("/echo", echo());
    let larder = shop(&authority, &origin, "").await;
    assert!(larder.url("/").starts_with("https://"), "{}", larder.url("/"));
    let h2 = authority.client("shop.test");
    let h1 = h2.clone().offering(&["http/1.1"]);
    let silent = h2.clone().offering(&[]);
    get(larder.url("/x")).over_tls(&h2).await.is("MISS", "ORIGIN").says("hello");
    for client in [&h1, &h2, &silent] {
        get(larder.url("/x")).over_tls(client).await.is("HIT", "L1").says("hello");
    }
    let body = "x".repeat(300_000);
    for client in [&h1, &h2] {
        let reply = post(larder.url("/echo")).over_tls(client).body(body.clone()).await;
        reply.has_status(200).says(&body);
    }
    let stream = h2.connect(larder.authority()).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(origin.count("/x"), 1);
    let gopher = h2.offering(&["gopher"]).connect(larder.authority()).await;
    assert!(gopher.is_err(), "nothing is agreed on, and hands are shaken");
}

#[tokio::test]
async fn the_origin_is_told_by_which_scheme_its_client_asked() {
    let (authority, origin) = (Authority::new(), Origin::start().await);
    origin.on("/x", fresh("hello"));
    let larder = shop(&authority, &origin, "").await;
    let client = authority.client("shop.test");
    let lie = get(larder.url("/x")).over_tls(&client).with("X-Forwarded-Proto", "http");
    lie.await.is("MISS", "ORIGIN");
    assert_eq!(origin.last().field("x-forwarded-proto"), "https");
    assert_eq!(origin.last().field("host"), "shop.test");
}

#[tokio::test]
async fn each_host_is_shown_its_certificate_and_strangers_the_first() {
    let (authority, origin) = (Authority::new(), Origin::start().await);
    authority.issue("first", &["first.test"]);
    authority.issue("second", &["second.test", "exact.wild.test"]);
    authority.issue("wild", &["*.wild.test"]);
    let pairs = ["first", "second", "wild"].map(|name| format!("{{ {} }}", authority.pair(name)));
    let tls = format!("tls: {{ certificates: [ {} ] }}", pairs.join(", "));
    let larder = all_to(&origin).top(&tls).start().await;
    for (host, name) in [
        ("first.test", "first"),
        ("second.test", "second"),
        ("a.wild.test", "wild"),
        ("exact.wild.test", "second"),
    ] {
        let shown = authority.client(host).shown(larder.authority()).await;
        assert_eq!(shown, authority.certificate(name), "{host}");
    }
    let nameless = authority.client("first.test").nameless();
    assert_eq!(nameless.shown(larder.authority()).await, authority.certificate("first"));
    for stranger in ["other.test", "a.b.wild.test", "wild.test"] {
        // The first is shown, which is not the stranger's.
        let refused = authority.client(stranger).connect(larder.authority()).await.unwrap_err();
        assert!(refused.to_string().contains("first.test"), "{stranger}: {refused}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_at_once_and_open_connections_go_on() {
    let (authority, origin) = (Authority::new(), Origin::start().await);
    origin.on("/x", fresh("hello"));
    let larder = shop(&authority, &origin, "").await;
    let client = authority.client("shop.test").offering(&["http/1.1"]);
    let mut open = client.connect(larder.authority()).await.unwrap();
    let old = authority.certificate("shop");
    authority.issue("shop", &["shop.test"]);
    let new = authority.certificate("shop");
    assert_ne!(old, new);
    until("the new certificate is shown", async || {
        (client.shown(larder.authority()).await == new).then_some(())
    })
    .await;
    open.write_all(b"GET /x HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut said = String::new();
    within("the answer on the old connection", open.read_to_string(&mut said)).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("hello"), "{said}");
}

#[tokio::test]
async fn a_scrape_tells_when_the_first_certificate_is_over() {
    let (authority, origin) = (Authority::new(), Origin::start().await);
    authority.issue("new", &["new.test"]);
    authority.issue_old("old", "old.test");
    let pairs = ["new", "old"].map(|name| format!("{{ {} }}", authority.pair(name)));
    let tls = format!("tls: {{ certificates: [ {} ] }}", pairs.join(", "));
    let larder = all_to(&origin).top(&tls).start().await;
    let until = larder.metric("larder_certificate_expiry_timestamp_seconds", &[]).await;
    assert_eq!(until, 1_577_836_800, "the first day of 2020");
}

#[tokio::test]
async fn a_faulty_certificate_is_told_and_the_old_one_stays() {
    let (authority, origin) = (Authority::new(), Origin::start().await);
    let larder = shop(&authority, &origin, "").await;
    let old = authority.certificate("shop");
    authority.put("shop.pem", "no certificate\n");
    signal("HUP", larder.pid());
    let told = larder.errors().find("the fault", |line| {
        line.contains("there is no certificate in it").then(|| line.to_owned())
    });
    let told = told.await.unwrap();
    assert!(told.contains("shop.pem") && told.contains("the old one stays"), "{told}");
    let shown = authority.client("shop.test").shown(larder.authority()).await;
    assert_eq!(shown, old);
}

#[tokio::test]
async fn a_client_shows_a_certificate_where_one_is_required() {
    let (authority, origin) = (Authority::new(), Origin::start().await);
    origin.on("/x", fresh("hello"));
    authority.issue("client", &["client.test"]);
    let ca = authority.file("ca.pem").display().to_string();
    let larder = shop(&authority, &origin, &format!(", client: {{ ca: \"{ca}\" }}")).await;
    let known = authority.client_with("shop.test", "client");
    get(larder.url("/x")).over_tls(&known).await.says("hello");

    let nobody = authority.client("shop.test");
    let refused = get(larder.url("/x")).over_tls(&nobody).attempt().await;
    assert!(refused.is_err(), "a client without a certificate was let in");
    let other = Authority::new();
    other.issue("client", &["client.test"]);
    for file in ["client.pem", "client.key"] {
        let text = std::fs::read_to_string(other.file(file)).unwrap();
        authority.put(&file.replace("client", "forged"), &text);
    }
    let forged = authority.client_with("shop.test", "forged");
    let refused = get(larder.url("/x")).over_tls(&forged).attempt().await;
    assert!(refused.is_err(), "a client with somebody else's certificate was let in");
    let failed = async || larder.metric("larder_tls_handshakes_failed_total", &[]).await;
    until("both are counted", async || (failed().await == 2).then_some(())).await;
    assert_eq!(origin.count("/x"), 1);
}

#[tokio::test]
async fn a_client_without_a_certificate_is_let_in_where_none_is_required() {
    let (authority, origin) = (Authority::new(), Origin::start().await);
    origin.on("/x", fresh("hello"));
    let ca = authority.file("ca.pem").display().to_string();
    let more = format!(", client: {{ ca: \"{ca}\", required: false }}");
    let larder = shop(&authority, &origin, &more).await;
    get(larder.url("/x")).over_tls(&authority.client("shop.test")).await.says("hello");
    let other = Authority::new();
    other.issue("client", &["client.test"]);
    for file in ["client.pem", "client.key"] {
        authority.put(file, &std::fs::read_to_string(other.file(file)).unwrap());
    }
    let forged = authority.client_with("shop.test", "client");
    assert!(get(larder.url("/x")).over_tls(&forged).attempt().await.is_err());
}

#[tokio::test]
async fn an_old_version_is_not_spoken_where_a_newer_one_is_wanted() {
    let (authority, origin) = (Authority::new(), Origin::start().await);
    origin.on("/x", fresh("hello"));
    let old = authority.client_of("shop.test", &[&rustls::version::TLS12]);
    let larder = shop(&authority, &origin, "").await;
    get(larder.url("/x")).over_tls(&old).await.says("hello");
    let strict = shop(&authority, &origin, ", min_version: 1.3").await;
    let old = authority.client_of("shop.test", &[&rustls::version::TLS12]);
    assert!(old.connect(strict.authority()).await.is_err());
    get(strict.url("/x")).over_tls(&authority.client("shop.test")).await.says("hello");
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_told_so_and_noise_is_closed() {
    let (authority, origin) = (Authority::new(), Origin::start().await);
    let larder = shop(&authority, &origin, "").await;
    let told = converse(larder.authority(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 400 "), "{told}");
    let (head, body) = told.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}", body.len())), "{told}");
    assert!(body.contains("https://"), "{told}");
    assert_eq!(converse(larder.authority(), b"\0\0\0\0").await, "");
    let noise = converse(larder.authority(), &[22, 3, 1, 0, 5, 1, 2, 3, 4, 5]).await;
    assert!(noise.len() < 16, "an alert at most: {noise:?}");
    let failed = async || larder.metric("larder_tls_handshakes_failed_total", &[]).await;
    until("all three are counted", async || (failed().await == 3).then_some(())).await;
    assert!(!larder.errors().text().contains("WARN"), "{}", larder.errors().text());
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_cut() {
    let (authority, origin) = (Authority::new(), Origin::start().await);
    authority.issue("shop", &["shop.test"]);
    let top = format!(
        "tls: {{ {} }}\nlimits: {{ handshake_timeout: 300ms, idle_timeout: 1m }}",
        authority.pair("shop")
    );
    let larder = all_to(&origin).top(&top).start().await;
    for beginning in [&b""[..], &[22], &[22, 3, 1, 2, 0, 1, 0]] {
        let since = Instant::now();
        assert_eq!(converse(larder.authority(), beginning).await, "");
        assert!(since.elapsed() >= Duration::from_millis(300), "{beginning:?}");
    }
}

#[tokio::test]
async fn a_handshake_in_progress_does_not_hold_up_the_end() {
    let (authority, origin) = (Authority::new(), Origin::start().await);
    let mut larder = shop(&authority, &origin, "").await;
    let mut silent = TcpStream::connect(larder.authority()).await.unwrap();
    until("it is connected", async || {
        (larder.metric("larder_connections", &[]).await == 1).then_some(())
    })
    .await;
    let since = Instant::now();
    assert!(larder.stop().await.success());
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    assert!(matches!(silent.read(&mut [0; 8]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn plain_and_tls_listeners_stand_side_by_side_and_a_purge_of_a_url_is_of_both() {
    let (authority, origin) = (Authority::new(), Origin::start().await);
    origin.on("/x", fresh("hello"));
    authority.issue("shop", &["shop.test"]);
    let top = format!(
        "listen: [ \"127.0.0.1:0\", {{ address: \"127.0.0.1:0\", tls: true }} ]\ntls: {{ {} }}",
        authority.pair("shop")
    );
    let larder = Larder::start_as_written(&all_to(&origin).top(&top).text()).await;
    let listeners = larder.listeners();
    let [plain, secure] = listeners.as_slice() else { panic!("{listeners:?}") };
    assert!(plain.starts_with("http://") && secure.starts_with("https://"), "{listeners:?}");
    let client = authority.client("shop.test");
    let asked = async || {
        let one = get(format!("{plain}/x")).with("Host", "shop.test").await;
        let other = get(format!("{secure}/x")).over_tls(&client).await;
        [one.outcome().to_owned(), other.outcome().to_owned()]
    };
    // Two URLs: an origin may answer the one with a redirection to the other.
    assert_eq!(asked().await, ["MISS", "MISS"]);
    assert_eq!(asked().await, ["HIT", "HIT"]);
    for url in ["http://shop.test/x", "https://shop.test/x"] {
        larder.purges(serde_json::json!({ "urls": [url] })).await;
        assert_eq!(asked().await, ["MISS", "MISS"], "{url}");
    }
    let write = post(format!("{secure}/x")).over_tls(&client).body("new").await;
    write.has_status(200);
    assert_eq!(asked().await, ["MISS", "MISS"]);
}

#[tokio::test]
async fn a_trusted_proxy_that_ends_tls_says_so_and_the_two_schemes_are_two_urls() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let larder = all_to(&origin).top("trusted_proxies: [ 127.0.0.0/8 ]").start().await;
    let by = |scheme: &str| get(larder.url("/x")).with("X-Forwarded-Proto", scheme);
    by("http").await.is("MISS", "ORIGIN");
    by("https").await.is("MISS", "ORIGIN");
    assert_eq!(origin.last().field("x-forwarded-proto"), "https");
    by("https").await.is("HIT", "L1");
    get(larder.url("/x")).await.is("HIT", "L1");
}

/// What comes of `asked`, one after the other on one connection.
async fn in_turn<S>(stream: &mut S, asked: &[&str]) -> Vec<String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut bodies = Vec::new();
    for request in asked {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"\r\n\r\n") {
            said.push(within("a head", stream.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(said).unwrap().to_lowercase();
        let length = head.split_once("content-length: ").unwrap().1.lines().next().unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        within("a body", stream.read_exact(&mut body)).await.unwrap();
        bodies.push(String::from_utf8(body).unwrap());
    }
    bodies
}

#[tokio::test]
async fn on_a_connection_that_goes_on_no_answer_for_the_other_scheme_is_taken() {
    let (authority, origin) = (Authority::new(), Origin::start().await);
    origin.with("*", |asked| fresh(asked.field("x-forwarded-proto").to_owned()));
    authority.issue("shop", &["shop.test"]);
    let top = format!(
        "listen: [ \"127.0.0.1:0\", {{ address: \"127.0.0.1:0\", tls: true }} ]\n\
         tls: {{ {} }}\ntrusted_proxies: [ 127.0.0.0/8 ]",
        authority.pair("shop")
    );
    let larder = Larder::start_as_written(&all_to(&origin).top(&top).text()).await;
    let x = "GET /x HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    let proxied = "GET /x HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-Proto: https\r\n\r\n";
    let forwarded = "GET /x HTTP/1.1\r\nHost: shop.test\r\nForwarded: proto=https\r\n\r\n";
    let mut plain = TcpStream::connect(larder.listener("http")).await.unwrap();
    let asked = [x, x, proxied, x, forwarded, proxied, x];
    let bodies = in_turn(&mut plain, &asked).await;
    assert_eq!(bodies, ["http", "http", "https", "http", "https", "https", "http"]);
    let client = authority.client("shop.test").offering(&["http/1.1"]);
    let mut secure = client.connect(&larder.listener("https")).await.unwrap();
    let bodies = in_turn(&mut secure, &[x, x, x]).await;
    assert_eq!(bodies, ["https", "https", "https"]);
}

#[tokio::test]
async fn the_command_line_speaks_tls_and_renews_without_a_file() {
    let (authority, origin) = (Authority::new(), Origin::start().await);
    origin.on("/x", fresh("hello"));
    authority.issue("shop", &["shop.test"]);
    let file = |name: &str| authority.file(name).display().to_string();
    let (url, certificate, key) = (origin.url(), file("shop.pem"), file("shop.key"));
    let arguments =
        ["--origin", &url, "--l2", "none", "--tls-cert", &certificate, "--tls-key", &key];
    let larder = Larder::serve(&arguments).await;
    let client = authority.client("shop.test");
    get(larder.url("/x")).over_tls(&client).await.says("hello");
    authority.issue("shop", &["shop.test"]);
    signal("HUP", larder.pid());
    let new = authority.certificate("shop");
    until("the new certificate is shown", async || {
        (client.shown(larder.authority()).await == new).then_some(())
    })
    .await;
}

#[tokio::test]
async fn files_that_do_not_fit_are_told_with_their_place_and_what_would_be_right() {
    let authority = Authority::new();
    for name in ["shop", "other"] {
        authority.issue(name, &["shop.test"]);
    }
    authority.issue_old("old", "shop.test");
    let file = |name: &str| authority.file(name).display().to_string();
    let check = async |tls: &str| {
        let yaml = format!(
            "listen: 127.0.0.1:0\ntls:\n  {tls}\norigins: {{ a: {{ endpoints: [ http://h ] }} }}\n"
        );
        authority.put("larder.yaml", &yaml);
        let arguments = ["check", "--config", "larder.yaml"];
        let output = run(authority.file("").as_path(), &arguments).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), text.replace(&file(""), "DIR/"))
    };
    let pair = |certificate: &str, key: &str| {
        format!("{{ certificate: {}, key: {} }}", file(certificate), file(key))
    };
    let alone = |certificate: &str, key: &str| {
        format!("certificate: {}\n  key: {}", file(certificate), file(key))
    };
    let rows = [
        (
            alone("none.pem", "shop.key"),
            "larder.yaml:3:16: DIR/none.pem: it cannot be read: there is none; name a file",
        ),
        (
            alone("shop.key", "shop.key"),
            "larder.yaml:3:16: DIR/shop.key: there is no certificate in it; name a PEM",
        ),
        (
            alone("shop.pem", "shop.pem"),
            "larder.yaml:4:8: DIR/shop.pem: there is no private key in it; name a PEM",
        ),
        (
            alone("shop.pem", "other.key"),
            "larder.yaml:4:8: DIR/other.key: the key in it is not the certificate's; name",
        ),
        (
            format!("certificate: {}", file("shop.pem")),
            "this certificate has no `key`; add key: FILE",
        ),
        ("min_version: 1.3".to_owned(), "`tls` has no certificate; add certificate: FILE"),
        ("min_version: 1.1".to_owned(), "`min_version` takes `1.2` or `1.3`, not `1.1`"),
        (format!("certificates: [ {} ]", pair("shop.pem", "other.key")), "larder.yaml:3:"),
        (
            format!("client: {{ required: true }}\n  {}", alone("shop.pem", "shop.key")),
            "clients show certificates of nobody; add ca: FILE",
        ),
        (
            format!("client: {{ ca: {} }}\n  {}", file("shop.key"), alone("shop.pem", "shop.key")),
            "DIR/shop.key: there is no certificate in it",
        ),
    ];
    for (tls, expected) in rows {
        let (code, told) = check(&tls).await;
        assert!(code == 2 && told.contains(expected), "{tls}\n{code} {told}");
        assert!(!told.contains("PRIVATE KEY-"), "{told}");
    }
    let (code, told) = check(&alone("old.pem", "old.key")).await;
    assert!(code == 0 && told.contains("is over"), "{code} {told}");
    let (code, told) = check(&alone("shop.pem", "shop.key")).await;
    assert_eq!((code, told.as_str()), (0, ""));
}
