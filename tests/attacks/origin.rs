//! An origin that takes bytes as they come, writes them down, and answers by the row's script.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::support::beside;

use super::wire::{Incoming, Message, find};

/// What a row's origin says to a request.
pub(crate) type Script = fn(&Message) -> Vec<u8>;

#[derive(Default)]
struct Book {
    scripts: Mutex<HashMap<String, Script>>,
    seen: Mutex<Vec<Message>>,
}

/// Rows are told apart by their names (`r001`), which stand in the head of each request of theirs.
pub(crate) struct Origin {
    url: String,
    book: Arc<Book>,
    _serving: AbortOnDropHandle<()>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let url = format!("http://{}", listener.local_addr().expect("a socket has an address"));
        let book = Arc::new(Book::default());
        let shared = book.clone();
        let serving = beside(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, shared.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { url, book, _serving: AbortOnDropHandle::new(serving) }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn play(&self, row: &str, script: Script) {
        self.book.scripts.lock().insert(row.to_owned(), script);
    }

    /// What came for the row, but what asks only whether all is well.
    pub(crate) fn seen(&self, row: &str) -> Vec<Message> {
        let seen = self.book.seen.lock();
        seen.iter()
            .filter(|seen| belongs(seen, row) && seen.target() != "/alive")
            .cloned()
            .collect()
    }

    /// What came for no row.
    pub(crate) fn strays(&self) -> Vec<Message> {
        let scripts = self.book.scripts.lock();
        let seen = self.book.seen.lock();
        let stray = |seen: &&Message| {
            seen.target() != "/alive" && !scripts.keys().any(|row| belongs(seen, row))
        };
        seen.iter().filter(stray).cloned().collect()
    }
}

fn belongs(seen: &Message, row: &str) -> bool {
    seen.head.contains(row)
}

async fn serve(mut socket: TcpStream, book: Arc<Book>) {
    let mut incoming = Incoming::default();
    while let Some(message) = incoming.request(&mut socket).await {
        let whole = message.whole;
        let script = {
            let scripts = book.scripts.lock();
            let found = scripts.iter().find(|(row, _)| belongs(&message, row));
            // Whether all is well is never the row's affair.
            let found = found.filter(|_| message.target() != "/alive");
            found.map_or(reflect as Script, |(_, script)| *script)
        };
        let answer = script(&message);
        book.seen.lock().push(message);
        let sent = socket.write_all(&answer).await.is_ok();
        if !whole || !sent || find(&answer, b"\r\nConnection: close\r\n").is_some() {
            break;
        }
    }
}

/// 200 with these fields and this body.
pub(crate) fn ok(fields: &str, body: &str) -> Vec<u8> {
    status("200 OK", fields, body)
}

pub(crate) fn status(line: &str, fields: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {line}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// 200 with all that came as its body, fresh for a minute.
pub(crate) fn reflect(message: &Message) -> Vec<u8> {
    answer(message, "Cache-Control: max-age=60\r\n")
}

/// The same, without a word about its lifetime.
pub(crate) fn silent(message: &Message) -> Vec<u8> {
    answer(message, "")
}

pub(crate) fn answer(message: &Message, fields: &str) -> Vec<u8> {
    let body = format!("{}{}", message.head, String::from_utf8_lossy(&message.body));
    if message.method() == "HEAD" {
        return format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", body.len()).into();
    }
    ok(fields, &body)
}
