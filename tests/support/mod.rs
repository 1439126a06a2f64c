//! What the tests on the wire are played with: the binary under test, origins, clients, Redis servers, and faults between them.
#![allow(dead_code, reason = "each test binary uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops, and says where")]

pub(crate) mod answer;
pub(crate) mod client;
pub(crate) mod faults;
pub(crate) mod larder;
pub(crate) mod lines;
pub(crate) mod origin;
pub(crate) mod raw;
pub(crate) mod redis;
pub(crate) mod redis_groups;
pub(crate) mod reply;
#[path = "../../load-tests/traffic/resp.rs"]
pub(crate) mod resp;
pub(crate) mod scripted_redis;
pub(crate) mod tls;
pub(crate) mod yaml;

use std::future::Future;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// How long anything that must happen may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `future`, and fails the test with `what` when it takes too long.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    let Ok(output) = timeout(PATIENCE, future).await else {
        panic!("waited {PATIENCE:?} in vain for {what}")
    };
    output
}

/// Asks again and again until there is an answer. For what tells nobody when it happens.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(since.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Runs `future` beside the test.
#[allow(
    clippy::disallowed_methods,
    reason = "the runtime of a test ends with the test, and its tasks with it"
)]
pub(crate) fn beside<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future)
}

/// A port that nobody listens on at this moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Sends the named signal to one process. The shell's own `kill` is everywhere, the program is not.
pub(crate) fn signal(name: &str, pid: u32) {
    let command = format!("kill -{name} {pid}");
    let status = Command::new("sh").args(["-c", &command]).status().expect("sh is there");
    assert!(status.success(), "{command} failed");
}
