//! Plays a table's rows, all at once, against one Larder with the strict configuration and one origin.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use larder::time::Timestamp;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::support::PATIENCE;
use crate::support::larder::Larder;

use super::answer::Place;
use super::check::{Played, Reply};
use super::origin::{Origin, Playing};
use super::row::{Asked, Clause, Exchange, Row};
use super::wire::{self, Connection, Fields, Framing};

/// How many rows exchange at one moment; those that wait for a clock do not count.
const AT_ONCE: usize = 24;
/// A row that took so much longer than it says may have failed because of that, and is played again.
const LATE: Duration = Duration::from_millis(500);
const TRIES: usize = 4;
/// Plays only rows whose names contain this.
const ONLY: &str = "LARDER_ROW";

/// Plays every row, and fails with all differences.
pub(crate) async fn play(rfc: u16, clauses: &[Clause]) {
    let origin = Origin::start().await;
    let larder = Larder::start(&configuration(&origin)).await;
    let stage =
        Stage { rfc, origin, host: larder.authority().to_owned(), places: Semaphore::new(AT_ONCE) };
    let only = std::env::var(ONLY).unwrap_or_default();
    let rows = clauses.iter().flat_map(|clause| clause.rows.iter().map(move |row| (clause, row)));
    let rows = rows.filter(|(_, row)| row.name.contains(&only));
    let played = join_all(rows.enumerate().map(|(number, (clause, row))| {
        let stage = &stage;
        async move {
            let failures = stage.row(number, row).await;
            (!failures.is_empty()).then(|| {
                let failures = failures.join("\n    ");
                format!(
                    "RFC {rfc} §{} ({}), {}:\n    {failures}",
                    clause.section, clause.level, row.name
                )
            })
        }
    }))
    .await;
    let count = played.len();
    let failed: Vec<String> = played.into_iter().flatten().collect();
    assert!(failed.is_empty(), "{} of {count} rows failed\n{}", failed.len(), failed.join("\n"));
}

/// The strict configuration as it is shipped, but for the origin's address.
fn configuration(origin: &Origin) -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/strict.yaml");
    let shipped = std::fs::read_to_string(file).expect("the strict configuration is there");
    let configuration = shipped.replace("http://127.0.0.1:8000", &origin.url());
    assert_ne!(shipped, configuration, "{file} names its origin by that address");
    configuration
}

struct Stage {
    rfc: u16,
    origin: Origin,
    /// The authority that clients ask.
    host: String,
    places: Semaphore,
}

impl Stage {
    /// Plays a row until it passes or fails in time; what differs.
    async fn row(&self, number: usize, row: &Row) -> Vec<String> {
        let mut tries = 0;
        loop {
            tries += 1;
            let path = format!("/{}-{number}-{tries}", self.rfc);
            let playing = Arc::new(Playing::new(row, path, self.host.clone()));
            self.origin.plays(&playing);
            let (failures, late) = self.once(&playing).await;
            if failures.is_empty() || late < LATE || tries == TRIES {
                return failures;
            }
        }
    }

    /// What differs, and how much longer it took than it says.
    async fn once(&self, playing: &Arc<Playing>) -> (Vec<String>, Duration) {
        let mut place = self.places.acquire().await.expect("the places stay");
        let (began, mut due, mut late) = (Instant::now(), Duration::ZERO, Duration::ZERO);
        let mut now = Timestamp::now().as_seconds();
        let mut client = Client::new(&self.host);
        let mut replies = Vec::new();
        for (number, exchange) in playing.row.exchanges.iter().enumerate() {
            if !exchange.pause.is_zero() {
                drop(place);
                sleep(exchange.pause).await;
                place = self.places.acquire().await.expect("the places stay");
                now += exchange.pause.as_secs();
            }
            playing.turn_to(number, now);
            let here = playing.place(now);
            let asking = client.ask(exchange, &here);
            let reply = match timeout(PATIENCE, asking).await {
                Ok(Ok(reply)) => reply,
                Ok(Err(error)) => return (vec![format!("exchange {}: {error}", number + 1)], late),
                Err(_) => {
                    return (vec![format!("exchange {}: no answer", number + 1)], Duration::ZERO);
                }
            };
            if exchange.asked == Asked::Beside {
                let _never = timeout(Duration::from_secs(5), playing.answered(number)).await;
            }
            replies.push((reply, now));
            due += exchange.pause
                + exchange.answers.iter().map(|answer| answer.delay).sum::<Duration>();
            late = late.max(began.elapsed().saturating_sub(due));
        }
        drop(place);
        (differences(playing, &replies), late)
    }
}

fn differences(playing: &Playing, replies: &[(Reply, u64)]) -> Vec<String> {
    let seen = playing.seen();
    let mut failures = Vec::new();
    for (number, (exchange, (reply, now))) in playing.row.exchanges.iter().zip(replies).enumerate()
    {
        let played = Played { number, exchange, reply, seen: &seen, place: playing.place(*now) };
        let told = played.differences();
        if !told.is_empty() {
            failures.push(format!(
                "exchange {}: {}; {}",
                number + 1,
                told.join("; "),
                short(reply)
            ));
        }
    }
    failures
}

/// What the caches on the way say of themselves.
fn short(reply: &Reply) -> String {
    let status = reply.fields.joined("cache-status").unwrap_or_default();
    format!("answered {} ({})", reply.status, wire::text(&status))
}

/// A row's client: one connection as long as it is kept.
struct Client<'a> {
    host: &'a str,
    connection: Option<Connection>,
}

impl<'a> Client<'a> {
    fn new(host: &'a str) -> Self {
        Self { host, connection: None }
    }

    async fn ask(&mut self, exchange: &Exchange, place: &Place<'_>) -> std::io::Result<Reply> {
        let mut connection = if let Some(connection) = self.connection.take() {
            connection
        } else {
            let socket = TcpStream::connect(self.host).await?;
            socket.set_nodelay(true)?;
            Connection::new(socket)
        };
        wire::send(&mut connection, &self.request(exchange, place)).await?;
        let (reply, kept) = reply(&mut connection, &exchange.request.method).await?;
        self.connection = kept.then_some(connection);
        Ok(reply)
    }

    fn request(&self, exchange: &Exchange, place: &Place<'_>) -> Vec<u8> {
        let request = &exchange.request;
        let mut message =
            format!("{} {}{} HTTP/1.1\r\n", request.method, place.path, request.suffix)
                .into_bytes();
        if !request.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            wire::push(&mut message, "Host", self.host.as_bytes());
        }
        for (name, value) in &request.fields {
            wire::push(&mut message, name, &value.at(place));
        }
        if let Some(content) = &request.content {
            wire::push(&mut message, "Content-Length", content.len().to_string().as_bytes());
        }
        message.extend_from_slice(b"\r\n");
        message.extend(request.content.iter().flatten());
        message
    }
}

/// The answer with its interim responses, and whether the connection can be used again.
async fn reply(connection: &mut Connection, method: &str) -> std::io::Result<(Reply, bool)> {
    let mut interim: Vec<(u16, Fields)> = Vec::new();
    loop {
        let head = wire::head(connection).await?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let status = head.start.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status: u16 = status.ok_or_else(|| std::io::Error::other(head.start.clone()))?;
        if (100..200).contains(&status) && status != 101 {
            interim.push((status, head.fields));
            continue;
        }
        let empty = method == "HEAD" || matches!(status, 101 | 204 | 304);
        let framing = if empty { Framing::Nothing } else { Framing::Stated { or_close: true } };
        let content = wire::content(connection, &head.fields, framing).await;
        let closes = head
            .fields
            .joined("connection")
            .is_some_and(|line| line.eq_ignore_ascii_case(b"close"));
        let stated = head.fields.has("content-length") || head.fields.has("transfer-encoding");
        let kept = content.is_ok() && !closes && (stated || empty);
        let cut_off = content.is_err();
        let content = content.unwrap_or_default();
        return Ok((Reply { status, fields: head.fields, content, interim, cut_off }, kept));
    }
}
