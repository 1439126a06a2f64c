//! One connection to a server, kept up where its keeper runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use crate::per_runtime::Ends;
use crate::store::redis::address::Address;
use crate::store::redis::health::{Healer, PROBE};
use crate::store::redis::link::Trouble;

/// How long a connection may take until it is given up, handshake included.
const CONNECT: Duration = Duration::from_millis(500);
/// How long a proof may take until the connection counts as dead.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts to connect, at first and at last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// One connection, as it is at the moment.
pub(super) struct Lane {
    state: watch::Receiver<State>,
    /// Told by callers whose command found the connection broken.
    lost: Arc<Notify>,
}

#[derive(Clone)]
enum State {
    /// It was never up, and has not failed yet.
    Connecting,
    Up(MultiplexedConnection),
    Down(Arc<str>),
}

/// How a lane reaches its server.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) client: Client,
    pub(super) address: Address,
    /// Whether a replica is to answer reads of its own, as it does in a Cluster only if it is told to.
    pub(super) may_be_replica: bool,
}

impl Lane {
    /// A lane, and the keeper that has to run for it.
    pub(super) fn new(way: Way, healer: Option<Healer>, doubt: Arc<Notify>) -> (Self, Keeper) {
        let (state, seen) = watch::channel(State::Connecting);
        let lost = Arc::new(Notify::new());
        let keeper = Keeper { way, state, lost: lost.clone(), healer, doubt };
        (Self { state: seen, lost }, keeper)
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(*self.state.borrow(), State::Up(_))
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(*self.state.borrow(), State::Down(_))
    }

    /// The connection, waiting only while the first attempt to connect is on its way.
    pub(super) async fn connection(&self) -> Result<MultiplexedConnection, Trouble> {
        match &*self.state.borrow() {
            State::Up(connection) => return Ok(connection.clone()),
            State::Down(why) => return Err(Trouble::Away(why.to_string())),
            State::Connecting => {}
        }
        let mut state = self.state.clone();
        let known = state.wait_for(|state| !matches!(state, State::Connecting)).await;
        match known.as_deref() {
            Ok(State::Up(connection)) => Ok(connection.clone()),
            Ok(State::Down(why)) => Err(Trouble::Away(why.to_string())),
            Ok(State::Connecting) | Err(_) => Err(Trouble::Away("closed".into())),
        }
    }

    pub(super) fn failure(&self, error: RedisError) -> Trouble {
        if error.is_unrecoverable_error() {
            self.lost.notify_one();
            return Trouble::Away(error.to_string());
        }
        Trouble::Refused(error)
    }
}

impl Ends for Lane {
    /// Nobody keeps it up any more once the runtime of its keeper has ended.
    fn has_ended(&self) -> bool {
        self.state.has_changed().is_err()
    }
}

/// Keeps one connection up.
pub(super) struct Keeper {
    way: Way,
    state: watch::Sender<State>,
    lost: Arc<Notify>,
    healer: Option<Healer>,
    /// Told when the server is lost: another may have taken its place.
    doubt: Arc<Notify>,
}

impl Keeper {
    pub(super) async fn keep(mut self) {
        let mut pause = PAUSES.0;
        loop {
            let why = match connect(&self.way).await {
                Ok(connection) => {
                    pause = PAUSES.0;
                    // What is still told of the connection before this one is no news.
                    let _stale = self.lost.notified().now_or_never();
                    self.tell_up();
                    self.state.send_replace(State::Up(connection.clone()));
                    self.watch_over(connection).await
                }
                Err(why) => why,
            };
            self.tell_down(&why);
            self.state.send_replace(State::Down(why.into()));
            sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// One of the connections speaks for all.
    fn tell_up(&self) {
        if self.healer.is_some() {
            tracing::info!(redis.server = %self.way.address, "connected to Redis");
        }
    }

    /// Said once, not at each attempt.
    fn tell_down(&self, why: &str) {
        let is_new = !matches!(*self.state.borrow(), State::Down(_));
        if is_new && self.healer.is_some() {
            self.doubt.notify_one();
            tracing::warn!(
                redis.server = %self.way.address,
                redis.cause = why,
                "Redis is away; it is taken up again when it is back"
            );
        }
    }

    /// Proves now and then that the connection lives; returns why it does not.
    async fn watch_over(&mut self, mut connection: MultiplexedConnection) -> String {
        loop {
            let asked = Instant::now();
            let pong = redis::cmd("PING");
            match timeout(PROBE_PATIENCE, pong.query_async::<Value>(&mut connection)).await {
                Err(_) => return format!("no answer within {PROBE_PATIENCE:?}"),
                Ok(Err(error)) if error.is_unrecoverable_error() => return error.to_string(),
                Ok(Err(_)) => {}
                // Answers that are out of step would stay so: each would be taken for that of the question before.
                Ok(Ok(answer)) if answer != Value::SimpleString("PONG".into()) => {
                    return "an answer to another question".into();
                }
                Ok(Ok(_)) => {
                    if let Some(healer) = &mut self.healer {
                        healer.answered_after(asked.elapsed());
                    }
                }
            }
            let pause = self.healer.as_ref().map_or(PROBE, Healer::pause);
            tokio::select! {
                () = sleep(pause) => {}
                () = self.lost.notified() => return "the connection was lost".into(),
            }
        }
    }
}

/// Connects within a deadline; that of every answer is the caller's. A server that accepts and never answers is none.
pub(super) async fn connect(way: &Way) -> Result<MultiplexedConnection, String> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(1024);
    let connecting = async {
        let mut connection =
            way.client.get_multiplexed_async_connection_with_config(&config).await?;
        if way.may_be_replica {
            redis::cmd("READONLY").exec_async(&mut connection).await?;
        }
        match redis::cmd("PING").exec_async(&mut connection).await {
            Err(error) if error.is_unrecoverable_error() || wants_password(&error) => Err(error),
            // Whatever else a server says of it, it answers.
            Ok(()) | Err(_) => Ok(connection),
        }
    };
    match timeout(CONNECT, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) if wants_password(&error) => {
            Err("it wants a password, and the URL has none: write redis://:PASSWORD@HOST".into())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no connection within {CONNECT:?}")),
    }
}

fn wants_password(error: &RedisError) -> bool {
    error.code() == Some("NOAUTH")
}
