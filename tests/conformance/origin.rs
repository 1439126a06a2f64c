//! One origin for all rows of a file: it knows each by its path, and keeps a book of who asked what.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::support::beside;

use super::answer::{Answer, Manner, Place};
use super::row::Row;
use super::wire::{self, Connection, Fields, Framing};

/// What the origin was asked, and what it said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The number of the exchange, from 0.
    pub(crate) exchange: usize,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) fields: Fields,
    pub(crate) content: Vec<u8>,
    pub(crate) status: u16,
    /// As they went out.
    pub(crate) said: Fields,
    pub(crate) said_content: Vec<u8>,
}

/// A row that is being played.
pub(crate) struct Playing {
    pub(crate) row: Row,
    pub(crate) path: String,
    pub(crate) host: String,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    exchange: usize,
    /// The exchange's own time: what it would be on a machine that needs none.
    now: u64,
    seen: Vec<Seen>,
}

impl Playing {
    pub(crate) fn new(row: &Row, path: String, host: String) -> Self {
        Self { row: row.clone(), path, host, state: Mutex::default(), changed: Notify::new() }
    }

    /// From now on the origin is asked on behalf of this exchange.
    pub(crate) fn turn_to(&self, exchange: usize, now: u64) {
        let mut state = self.state.lock();
        (state.exchange, state.now) = (exchange, now);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().seen.clone()
    }

    pub(crate) fn times(&self, exchange: usize) -> usize {
        self.state.lock().seen.iter().filter(|seen| seen.exchange == exchange).count()
    }

    /// Waits until the origin has answered this exchange.
    pub(crate) async fn answered(&self, exchange: usize) {
        while self.times(exchange) == 0 {
            let changed = self.changed.notified();
            if self.times(exchange) > 0 {
                return;
            }
            let _again = tokio::time::timeout(Duration::from_millis(50), changed).await;
        }
    }

    /// What the script says to `asked`, which is written into the book.
    fn answer(&self, mut asked: Seen) -> (Answer, Vec<u8>) {
        let mut state = self.state.lock();
        let exchange = state.exchange;
        let answers = &self.row.exchanges[exchange].answers;
        let times = state.seen.iter().filter(|seen| seen.exchange == exchange).count();
        let answer = answers[times.min(answers.len() - 1)].clone();
        (asked.exchange, asked.status) = (exchange, answer.status);
        let message = message(&answer, &self.place(state.now), &mut asked);
        state.seen.push(asked);
        (answer, message)
    }

    pub(crate) fn place(&self, now: u64) -> Place<'_> {
        Place { path: &self.path, host: &self.host, now }
    }
}

/// The rows that are being played, by the first part of their paths.
type Book = Arc<Mutex<HashMap<String, Arc<Playing>>>>;

/// The origin.
pub(crate) struct Origin {
    address: SocketAddr,
    book: Book,
    _serving: AbortOnDropHandle<()>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let book = Book::default();
        let known = book.clone();
        let serving = beside(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, known.clone()));
            }
        });
        Self { address, book, _serving: AbortOnDropHandle::new(serving) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on what is asked under the row's path is this row's.
    pub(crate) fn plays(&self, playing: &Arc<Playing>) {
        self.book.lock().insert(playing.path.clone(), playing.clone());
    }
}

/// Answers one connection's requests until it ends or a script ends it.
async fn serve(socket: TcpStream, book: Book) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut connection = Connection::new(socket);
    while let Some(head) = wire::head(&mut connection).await? {
        let framing = Framing::Stated { or_close: false };
        let content = wire::content(&mut connection, &head.fields, framing).await?;
        let mut words = head.start.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default().to_owned();
        let playing = book.lock().get(own_path(&target)).cloned();
        let Some(playing) = playing else {
            wire::send(&mut connection, b"HTTP/1.1 421 Unknown\r\nContent-Length: 0\r\n\r\n")
                .await?;
            continue;
        };
        let asked = Seen { method, target, fields: head.fields, content, ..Seen::default() };
        let (answer, message) = playing.answer(asked);
        sleep(answer.delay).await;
        wire::send(&mut connection, &message).await?;
        playing.changed.notify_waiters();
        if answer.manner != Manner::Reply || answer.names("Transfer-Encoding") {
            return Ok(());
        }
    }
    Ok(())
}

/// The first segment of the path, which is the row's own.
fn own_path(target: &str) -> &str {
    let end = target.char_indices().skip(1).find(|(_, letter)| matches!(letter, '/' | '?'));
    end.map_or(target, |(end, _)| &target[..end])
}

/// The answer's bytes; notes in `seen` what it says.
fn message(answer: &Answer, place: &Place<'_>, seen: &mut Seen) -> Vec<u8> {
    match &answer.manner {
        Manner::Close => return Vec::new(),
        Manner::Raw(bytes) => return bytes.clone(),
        Manner::Reply | Manner::CutOff => {}
    }
    let mut message = Vec::new();
    for (status, fields) in &answer.interim {
        message.extend_from_slice(format!("HTTP/1.1 {status} Interim\r\n").as_bytes());
        for (name, value) in fields {
            wire::push(&mut message, name, &value.at(place));
        }
        message.extend_from_slice(b"\r\n");
    }
    let has_content = !matches!(answer.status, 100..200 | 204 | 304);
    let content = match &answer.content {
        Some(content) => content.clone(),
        None => format!("answer {}", seen.exchange + 1).into_bytes(),
    };
    seen.said.0 =
        answer.fields.iter().map(|(name, value)| (name.clone(), value.at(place))).collect();
    if answer.dated && !answer.names("Date") {
        seen.said.0.push(("Date".to_owned(), super::answer::Value::Moment(0).at(place)));
    }
    message.extend_from_slice(format!("HTTP/1.1 {} Said\r\n", answer.status).as_bytes());
    for (name, value) in &seen.said.0 {
        wire::push(&mut message, name, value);
    }
    if has_content && !answer.names("Content-Length") && !answer.names("Transfer-Encoding") {
        let announced = content.len() + usize::from(answer.manner == Manner::CutOff);
        wire::push(&mut message, "Content-Length", announced.to_string().as_bytes());
    }
    message.extend_from_slice(b"\r\n");
    if has_content && seen.method != "HEAD" {
        message.extend_from_slice(&content);
        message.extend_from_slice(answer.surplus);
        seen.said_content = content;
    }
    message
}
