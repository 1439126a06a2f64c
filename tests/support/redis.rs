//! A Redis server of the test's own: Debian's `redis-server` on a free port, without persistence.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{free_port, signal, until};

/// As the first option it makes the server a sentinel, with the file that follows.
pub(crate) const SENTINEL: &str = "--sentinel";

/// A running server; dropping it kills it.
pub(crate) struct RedisServer {
    port: u16,
    child: Child,
    directory: TempDir,
    /// What it is started with beside what all are.
    more: Vec<String>,
    /// User and password of the tests' own questions, with the `@`.
    account: &'static str,
}

impl RedisServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| Vec::new()).await
    }

    /// The same with more options, which may depend on the server's directory.
    pub(crate) async fn start_with(options: impl Fn(&Path) -> Vec<String>) -> Self {
        // Somebody else may take a free port in between; then the server ends at once and another port is tried.
        for _ in 0..5 {
            let directory = TempDir::new().expect("a temporary directory can be made");
            let (port, more) = (free_port(), options(directory.path()));
            let child = launch(port, &directory, &more);
            let mut server = Self { port, child, directory, more, account: "" };
            if server.is_up().await {
                return server;
            }
        }
        panic!("redis-server found no free port in five attempts");
    }

    /// The tests' own questions are asked by this `user:password@`.
    pub(crate) fn asked_by(mut self, account: &'static str) -> Self {
        self.account = account;
        self
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}127.0.0.1:{}/0", self.account, self.port)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends the server at once, and with it all that it held.
    pub(crate) fn kill(&mut self) {
        let _ended_before = self.child.kill();
        let _status = self.child.wait();
    }

    /// Starts it again, empty, on the same port.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.child = launch(self.port, &self.directory, &self.more);
        assert!(self.is_up().await, "redis-server did not come back on port {}", self.port);
    }

    /// Hangs: connections stay open, nothing is answered.
    pub(crate) fn pause(&self) {
        signal("STOP", self.child.id());
    }

    pub(crate) fn resume(&self) {
        signal("CONT", self.child.id());
    }

    /// Runs one command and returns what came back.
    pub(crate) async fn run(&self, command: &[&str]) -> redis::Value {
        self.try_run(command).await.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// The same as text.
    pub(crate) async fn text(&self, command: &[&str]) -> String {
        redis::from_redis_value(self.run(command).await).expect("the answer is text")
    }

    pub(crate) async fn try_run(&self, command: &[&str]) -> redis::RedisResult<redis::Value> {
        let client = redis::Client::open(self.url()).expect("the URL is one");
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut call = redis::cmd(command[0]);
        for part in &command[1..] {
            call.arg(*part);
        }
        call.query_async(&mut connection).await
    }

    /// All keys that match the pattern.
    pub(crate) async fn keys(&self, pattern: &str) -> Vec<String> {
        redis::from_redis_value(self.run(&["KEYS", pattern]).await).expect("keys are text")
    }

    /// The seconds that a key has left; -1 without an end, -2 without a key.
    pub(crate) async fn seconds_left(&self, key: &str) -> i64 {
        redis::from_redis_value(self.run(&["TTL", key]).await).expect("a number")
    }

    /// Waits for PONG; false when the process ended instead.
    async fn is_up(&mut self) -> bool {
        let port = self.port;
        let child = &mut self.child;
        until("redis-server says PONG", async || {
            if child.try_wait().expect("a child can be asked").is_some() {
                return Some(false);
            }
            pong(port).await.then_some(true)
        })
        .await
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn launch(port: u16, directory: &TempDir, more: &[String]) -> Child {
    let port = port.to_string();
    let mut command = Command::new("redis-server");
    match more {
        [first, file] if first == SENTINEL => command.args([file, SENTINEL]),
        _ => command.args(["--save", "", "--appendonly", "no"]).args(more),
    };
    command
        .args(["--bind", "127.0.0.1", "--port", &port, "--loglevel", "warning"])
        .arg("--dir")
        .arg(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("redis-server cannot be started ({error}): apt-get install redis-server, or run tests/run, which does"))
}

/// Whether it answers, and be it that it wants a password.
async fn pong(port: u16) -> bool {
    let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)).await else { return false };
    let mut answer = [0; 7];
    socket.write_all(b"PING\r\n").await.is_ok()
        && socket.read_exact(&mut answer).await.is_ok()
        && (answer == *b"+PONG\r\n" || answer == *b"-NOAUTH")
}
