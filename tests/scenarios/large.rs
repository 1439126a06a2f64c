//! Large responses from memory: whoever asks, and however, gets every byte, and of one response only.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::answer::{fresh, ok};
use crate::support::client::{Ask, ask, get, post};
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::tls::Authority;
use crate::support::yaml::all_to;
use crate::support::{until, within};

/// Neither a multiple of a page nor of what is sent at once, and the same nowhere near.
const LENGTH: usize = 3_000_001;

fn large(seed: usize) -> Vec<u8> {
    (0..LENGTH).map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ seed).to_le_bytes()[0]).collect()
}

async fn begin(origin: &Origin) -> Larder {
    origin.on("/large", fresh(large(0)).field("ETag", "\"a\""));
    origin.on("/small", ok("small").field("Cache-Control", "max-age=60"));
    let larder = all_to(origin).top("l1: { capacity: 256MiB, max_object: 16MiB }").start().await;
    for path in ["/large", "/small"] {
        get(larder.url(path)).await.is("MISS", "ORIGIN");
    }
    send_from_shelf(larder.authority(), &own_request(&larder, "/large")).await;
    larder
}

/// Asks on a connection that goes on, and is sent the body by the system: from now on it lies on the shelf.
async fn send_from_shelf(at: &str, asked: &str) {
    let mut client = TcpStream::connect(at).await.unwrap();
    for _ in 0..2 {
        client.write_all(asked.as_bytes()).await.unwrap();
        assert!(read(&mut client).await.0.contains("x-cache: HIT"));
    }
}

async fn read(socket: &mut (impl AsyncRead + Unpin)) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within("a head", socket.read_u8()).await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    within("a body", socket.read_exact(&mut body)).await.unwrap();
    (head, body)
}

/// A request by the name by which `get` asks.
fn own_request(larder: &Larder, path: &str) -> String {
    request(path, "").replace("shop.example", larder.authority())
}

fn request(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n")
}

#[tokio::test]
async fn every_byte_comes_over_either_protocol_whole_and_in_ranges() {
    let origin = Origin::start().await;
    let larder = begin(&origin).await;
    let body = large(0);
    let url = larder.url("/large");
    for over_h2 in [false, true] {
        let through = |asked: Ask| if over_h2 { asked.over_h2c() } else { asked };
        let whole = through(get(&url)).await;
        assert!(whole.is("HIT", "L1").has_status(200).body == body);
        let head = through(ask("HEAD", &url)).await;
        head.is("HIT", "L1").has("content-length", &LENGTH.to_string()).says("");
        for range in [0..1, 4095..4097, 65_535..200_000, LENGTH - 1..LENGTH, 0..LENGTH] {
            let asked = format!("bytes={}-{}", range.start, range.end - 1);
            let part = through(get(&url)).with("Range", asked).await;
            assert!(part.is("HIT", "L1").has_status(206).body == body[range.clone()], "{range:?}");
        }
        let several = through(get(&url)).with("Range", "bytes=5-9,100000-200000").await;
        several.is("HIT", "L1").has_status(206);
        let holds = |part: &[u8]| several.body.windows(part.len()).any(|window| window == part);
        assert!(holds(&body[5..10]) && holds(&body[100_000..200_001]));
        through(get(&url)).with("If-None-Match", "\"a\"").await.has_status(304).says("");
    }
    assert_eq!(origin.count("/large"), 1);
}

#[tokio::test]
async fn every_byte_comes_over_tls() {
    let (authority, origin) = (Authority::new(), Origin::start().await);
    origin.on("/large", fresh(large(0)));
    authority.issue("shop", &["shop.test"]);
    let top = format!(
        "listen: [ \"127.0.0.1:0\", {{ address: \"127.0.0.1:0\", tls: true }} ]\n\
         tls: {{ {} }}\ntrusted_proxies: [ 127.0.0.1 ]\nl1: {{ max_object: 16MiB }}",
        authority.pair("shop")
    );
    let larder = Larder::start_as_written(&all_to(&origin).top(&top).text()).await;
    let (plain, secure) = (larder.listener("http"), larder.listener("https"));
    let url = format!("https://{secure}/large");
    let h2 = authority.client("shop.test");
    get(&url).over_tls(&h2).await.is("MISS", "ORIGIN");
    // From the memory of the process; and from the shelf, where a client put it whose proxy had spoken TLS.
    for is_shelved in [false, true] {
        if is_shelved {
            let asked = request("/large", "X-Forwarded-Proto: https\r\n");
            send_from_shelf(&plain, &asked.replace("shop.example", &secure)).await;
        }
        for client in [&h2.clone().offering(&["http/1.1"]), &h2] {
            let reply = get(&url).over_tls(client).await;
            assert!(reply.is("HIT", "L1").body == large(0));
            let part = get(&url).with("Range", "bytes=70000-").over_tls(client).await;
            assert!(part.is("HIT", "L1").has_status(206).body == large(0)[70_000..]);
        }
        let mut stream = h2.clone().offering(&["http/1.1"]).connect(&secure).await.unwrap();
        let asked = request("/large", "").replace("shop.example", &secure);
        for _ in 0..3 {
            stream.write_all(asked.as_bytes()).await.unwrap();
            assert!(read(&mut stream).await.1 == large(0));
        }
        #[cfg(target_os = "linux")]
        assert!(shelved(&larder).is_none_or(|held| (held > 0) == is_shelved));
    }
}

#[tokio::test]
async fn large_and_small_answers_on_one_connection_come_in_order() {
    let origin = Origin::start().await;
    let larder = begin(&origin).await;
    let mut client = TcpStream::connect(larder.authority()).await.unwrap();
    // By the name under which it is asked below.
    for path in ["/small", "/large"] {
        client.write_all(request(path, "").as_bytes()).await.unwrap();
        read(&mut client).await;
    }
    let asked = [
        ("/small", ""),
        ("/large", ""),
        ("/large", ""),
        ("/small", ""),
        ("/large", "TE: trailers\r\n"),
        ("/small", ""),
        ("/small", ""),
        ("/large", "Range: bytes=0-99999\r\n"),
        ("/large", ""),
        ("/small", ""),
    ];
    for _ in 0..3 {
        let text: String = asked.iter().map(|(path, fields)| request(path, fields)).collect();
        client.write_all(text.as_bytes()).await.unwrap();
        for (path, fields) in asked {
            let (head, body) = read(&mut client).await;
            assert!(head.contains("x-cache: HIT"), "{head}");
            let expected = match (path, fields.starts_with("Range")) {
                ("/large", true) => large(0)[..100_000].to_vec(),
                ("/large", false) => large(0),
                _ => b"small".to_vec(),
            };
            assert!(body == expected, "{path} {fields}: {} bytes", body.len());
        }
    }
}

/// A body that is on its way is sent to its end as it was, whatever is stored and dropped meanwhile.
#[tokio::test]
async fn a_slow_reader_gets_the_response_that_it_asked_for_after_it_was_purged_and_replaced() {
    let origin = Origin::start().await;
    let larder = begin(&origin).await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut client = TcpStream::connect(larder.authority()).await.unwrap();
        client.write_all(request("/small", "").as_bytes()).await.unwrap();
        read(&mut client).await;
        client.write_all(request("/large", "").as_bytes()).await.unwrap();
        // The answer has begun, and nobody reads on.
        assert_eq!(within("a byte", client.read_u8()).await.unwrap(), b'H');
        slow.push(client);
    }
    for seed in 1..6 {
        origin.on("/large", fresh(large(seed)));
        let purge = post(larder.admin("/admin/purges")).with("Content-Type", "application/json");
        purge.body(r#"{"everything": true}"#).await.has_status(200);
        assert!(get(larder.url("/large")).await.is("MISS", "ORIGIN").body == large(seed));
        assert!(get(larder.url("/large")).await.is("HIT", "L1").body == large(seed));
    }
    for mut client in slow {
        assert!(read(&mut client).await.1 == large(0));
        client.write_all(request("/large", "").as_bytes()).await.unwrap();
        assert!(read(&mut client).await.1 == large(5));
    }
}

/// What the system holds in memory for the large bodies of a process; nothing where it has no file for them.
#[cfg(target_os = "linux")]
fn shelved(larder: &Larder) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;

    let open = std::fs::read_dir(format!("/proc/{}/fd", larder.pid())).unwrap();
    let is_shelf = |path: &std::path::PathBuf| {
        std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("/memfd:larder"))
    };
    let shelf = open.flatten().map(|file| file.path()).find(is_shelf)?;
    Some(std::fs::metadata(shelf).unwrap().blocks() * 512)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn large_bodies_in_memory_are_a_file_of_the_systems_that_shrinks_with_them() {
    let origin = Origin::start().await;
    let larder = begin(&origin).await;
    let (all, one) = (larder.url("/large"), LENGTH.next_multiple_of(4096) as u64);
    get(&all).await.is("HIT", "L1");
    let setting = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
    let setting = std::fs::read_to_string(setting).unwrap_or_default();
    if ["[always]", "[within_size]", "[force]"].iter().any(|it| setting.contains(it)) {
        assert_eq!(shelved(&larder), None, "a body would take a huge page");
        return;
    }
    assert_eq!(shelved(&larder), Some(one), "small ones are not there");
    origin.on("/other", fresh(large(1)));
    get(larder.url("/other")).await.is("MISS", "ORIGIN");
    get(larder.url("/other")).await.is("HIT", "L1");
    assert_eq!(shelved(&larder), Some(one), "nobody was sent it from there");
    send_from_shelf(larder.authority(), &own_request(&larder, "/other")).await;
    send_from_shelf(larder.authority(), &own_request(&larder, "/other")).await;
    assert_eq!(shelved(&larder), Some(2 * one));
    let off = post(larder.admin("/admin/layers")).with("Content-Type", "application/json");
    off.body(r#"{"l1": "off"}"#).await.has_status(200);
    until("the file is empty", async || (shelved(&larder) == Some(0)).then_some(())).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn where_the_size_of_files_is_limited_large_bodies_lie_with_the_others() {
    let origin = Origin::start().await;
    origin.on("/large", fresh(large(0)));
    let yaml = all_to(&origin).top("l1: { capacity: 256MiB, max_object: 16MiB }").text();
    let larder = Larder::start_after("ulimit -f 100", &yaml).await;
    get(larder.url("/large")).await.is("MISS", "ORIGIN");
    let mut client = TcpStream::connect(larder.authority()).await.unwrap();
    for _ in 0..3 {
        client.write_all(request("/large", "").as_bytes()).await.unwrap();
        assert!(read(&mut client).await.1 == large(0));
    }
    assert_eq!(shelved(&larder), None);
}
