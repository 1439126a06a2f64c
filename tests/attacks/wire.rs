//! Messages in bytes, read with as little strictness as a careless server has.

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A request or a response as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// To the empty line, which is a part of it.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its end.
    pub(crate) whole: bool,
}

impl Message {
    fn word(&self, number: usize) -> &str {
        let line = self.head.lines().next().unwrap_or_default();
        line.split(' ').nth(number).unwrap_or_default()
    }

    pub(crate) fn method(&self) -> &str {
        self.word(0)
    }

    pub(crate) fn target(&self) -> &str {
        self.word(1)
    }

    pub(crate) fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or_default()
    }

    /// The value of the field's first line.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// All of it as text.
    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.head, String::from_utf8_lossy(&self.body))
    }
}

/// The bytes of one direction that are not taken yet.
#[derive(Default)]
pub(crate) struct Incoming {
    bytes: Vec<u8>,
}

impl Incoming {
    /// The next request, or as much of it as came.
    pub(crate) async fn request(&mut self, socket: &mut TcpStream) -> Option<Message> {
        let mut message = Message { head: self.head(socket).await?, ..Message::default() };
        let length = length(&message).unwrap_or(0);
        self.body(socket, &mut message, length).await;
        Some(message)
    }

    /// The next final response to a request; nothing where the connection ended before.
    pub(crate) async fn response(
        &mut self,
        socket: &mut TcpStream,
        method: &str,
    ) -> Option<Message> {
        loop {
            let mut message = Message { head: self.head(socket).await?, ..Message::default() };
            let status = message.status();
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let empty = method == "HEAD" || matches!(status, 101 | 204 | 304);
            let length = if empty { 0 } else { length(&message).unwrap_or(usize::MAX) };
            self.body(socket, &mut message, length).await;
            return Some(message);
        }
    }

    /// The head of the next response, if that is a 100.
    pub(crate) async fn interim(&mut self, socket: &mut TcpStream) -> Option<String> {
        self.head(socket).await.filter(|head| head.starts_with("HTTP/1.1 100 "))
    }

    /// What is there beyond what was read, until the other side ends.
    pub(crate) async fn rest(&mut self, socket: &mut TcpStream) -> Vec<u8> {
        while self.more(socket).await {}
        std::mem::take(&mut self.bytes)
    }

    async fn head(&mut self, socket: &mut TcpStream) -> Option<String> {
        loop {
            if let Some(at) = find(&self.bytes, b"\r\n\r\n") {
                let head: Vec<u8> = self.bytes.drain(..at + 4).collect();
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            if !self.more(socket).await {
                return None;
            }
        }
    }

    async fn body(&mut self, socket: &mut TcpStream, message: &mut Message, length: usize) {
        let coding = message.field("transfer-encoding").unwrap_or_default().to_ascii_lowercase();
        if coding.contains("chunked") && length != 0 {
            message.whole = self.chunks(socket, &mut message.body).await;
            return;
        }
        while self.bytes.len() < length && self.more(socket).await {}
        let there = length.min(self.bytes.len());
        message.body = self.bytes.drain(..there).collect();
        message.whole = there == length || length == usize::MAX;
    }

    async fn chunks(&mut self, socket: &mut TcpStream, body: &mut Vec<u8>) -> bool {
        loop {
            let Some(line) = self.line(socket).await else { return false };
            let size = line.split(';').next().unwrap_or_default().trim();
            let Ok(size) = usize::from_str_radix(size, 16) else { return false };
            while self.bytes.len() < size && self.more(socket).await {}
            if self.bytes.len() < size {
                return false;
            }
            body.extend(self.bytes.drain(..size));
            if size == 0 {
                break;
            }
            if self.line(socket).await.is_none() {
                return false;
            }
        }
        loop {
            match self.line(socket).await {
                None => return false,
                Some(line) if line.is_empty() => return true,
                // A trailer counts as content here, so that rows see it.
                Some(line) => body.extend(line.into_bytes()),
            }
        }
    }

    async fn line(&mut self, socket: &mut TcpStream) -> Option<String> {
        loop {
            if let Some(at) = find(&self.bytes, b"\r\n") {
                let line: Vec<u8> = self.bytes.drain(..at + 2).collect();
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if !self.more(socket).await {
                return None;
            }
        }
    }

    async fn more(&mut self, socket: &mut TcpStream) -> bool {
        matches!(socket.read_buf(&mut self.bytes).await, Ok(read) if read > 0)
    }
}

/// How long the body is; nothing where no field says it. A request's is empty then, a response's ends with its connection.
fn length(message: &Message) -> Option<usize> {
    if message.field("transfer-encoding").is_some() {
        return Some(usize::MAX);
    }
    message.field("content-length")?.parse().ok()
}

pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
