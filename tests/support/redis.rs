//! A Redis server of the test's own: Debian's `redis-server` on a free port, without persistence.

use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{free_port, signal, until};

/// A running server; dropping it kills it.
pub(crate) struct RedisServer {
    port: u16,
    child: Child,
    directory: TempDir,
}

impl RedisServer {
    pub(crate) async fn start() -> Self {
        // Somebody else may take the free port in between; then the server ends at once and another port is tried.
        for _ in 0..5 {
            let directory = TempDir::new().expect("a temporary directory can be made");
            let port = free_port();
            let mut server = Self { port, child: launch(port, &directory), directory };
            if server.is_up().await {
                return server;
            }
        }
        panic!("redis-server found no free port in five attempts");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
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
        self.child = launch(self.port, &self.directory);
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
        let client = redis::Client::open(self.url()).expect("the URL is one");
        let mut connection =
            client.get_multiplexed_async_connection().await.expect("the server answers");
        let mut call = redis::cmd(command[0]);
        for part in &command[1..] {
            call.arg(*part);
        }
        call.query_async(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{command:?}: {error}"))
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

fn launch(port: u16, directory: &TempDir) -> Child {
    let port = port.to_string();
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no", "--loglevel", "warning"])
        .arg("--dir")
        .arg(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("redis-server cannot be started ({error}): apt-get install redis-server, or run tests/run, which does"))
}

async fn pong(port: u16) -> bool {
    let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)).await else { return false };
    let mut answer = [0; 7];
    socket.write_all(b"PING\r\n").await.is_ok()
        && socket.read_exact(&mut answer).await.is_ok()
        && answer == *b"+PONG\r\n"
}
