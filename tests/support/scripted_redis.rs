//! A server that speaks Redis' protocol and says what a test has it say, for what a real one cannot be made to say.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use super::beside;

/// Makes the answer to a command, byte for byte.
type Script = Box<dyn FnMut(&[String]) -> Vec<u8> + Send>;

/// A running server; dropping it closes everything.
pub(crate) struct ScriptedRedis {
    port: u16,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

struct Shared {
    script: Mutex<Script>,
    asked: Mutex<Vec<Vec<String>>>,
}

impl ScriptedRedis {
    /// Knows nothing: every command is answered by nil.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let script: Script = Box::new(|_| b"$-1\r\n".to_vec());
        let shared = Arc::new(Shared { script: Mutex::new(script), asked: Mutex::default() });
        let told = Arc::clone(&shared);
        let serving = beside(async move {
            let mut clients = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                clients.spawn(converse(socket, Arc::clone(&told)));
                while clients.try_join_next().is_some() {}
            }
        });
        Self { port, shared, _serving: AbortOnDropHandle::new(serving) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// From now on every command, but those with which a connection begins and is kept alive, is answered by this.
    pub(crate) fn says(&self, script: impl FnMut(&[String]) -> Vec<u8> + Send + 'static) {
        *self.shared.script.lock() = Box::new(script);
    }

    /// From now on every such command is answered so.
    pub(crate) fn always_says(&self, answer: impl Into<Vec<u8>>) {
        let answer = answer.into();
        self.says(move |_| answer.clone());
    }

    /// How many commands of this name it was asked.
    pub(crate) fn count(&self, name: &str) -> usize {
        let asked = self.shared.asked.lock();
        asked.iter().filter(|command| command[0].eq_ignore_ascii_case(name)).count()
    }
}

/// Answers one connection, command by command and in their order.
async fn converse(socket: TcpStream, shared: Arc<Shared>) -> Option<()> {
    let _unimportant = socket.set_nodelay(true);
    let (reader, mut writer) = socket.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let command = command(&mut reader).await?;
        let answer = match command[0].to_ascii_uppercase().as_str() {
            "PING" => b"+PONG\r\n".to_vec(),
            "CLIENT" | "SELECT" | "AUTH" | "READONLY" => b"+OK\r\n".to_vec(),
            _ => {
                shared.asked.lock().push(command.clone());
                (shared.script.lock())(&command)
            }
        };
        writer.write_all(&answer).await.ok()?;
    }
}

/// An array of bulk strings; nothing when the connection is over.
async fn command(reader: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Vec<String>> {
    let parts = number(reader, '*').await?;
    let mut command = Vec::new();
    for _ in 0..parts {
        let mut part = vec![0; number(reader, '$').await? + 2];
        reader.read_exact(&mut part).await.ok()?;
        command.push(String::from_utf8_lossy(&part[..part.len() - 2]).into_owned());
    }
    Some(command)
}

async fn number(reader: &mut (impl AsyncBufReadExt + Unpin), sign: char) -> Option<usize> {
    let mut line = String::new();
    reader.read_line(&mut line).await.ok()?;
    line.strip_prefix(sign)?.trim_end().parse().ok()
}
