//! Connections to one Redis server: kept up in the background, asked within a deadline and behind a breaker.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::breaker::{self, Breaker};
use crate::store::StoreError;

/// Connections that requests take in turn, so that a large value does not hold up the small ones.
const READERS: usize = 2;
/// How long a connection may take until it is given up, handshake included.
const CONNECT: Duration = Duration::from_millis(500);
/// Between two proofs that the server still answers.
const PROBE: Duration = Duration::from_secs(1);
/// The same while the breaker is not closed.
const PROBE_WHEN_OPEN: Duration = Duration::from_millis(500);
/// How long a proof may take until the connection counts as dead.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts to connect, at first and at last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The connections to one server. They and their drivers live on the background runtime, so that no caller's runtime
/// can hold them up or end them; calls may come from any runtime.
pub(super) struct Link {
    client: Client,
    readers: [Lane; READERS],
    writer: Lane,
    turn: AtomicUsize,
    timeout: Duration,
    health: Arc<Health>,
    background: Handle,
    tasks: Mutex<JoinSet<()>>,
}

/// One connection, as it is at the moment.
struct Lane {
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

/// The breaker, which a background probe can replace by a closed one.
struct Health {
    settings: breaker::Settings,
    breaker: ArcSwap<Breaker>,
}

/// Which connection a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Read,
    /// Writes, and all that need not be quick.
    Write,
}

impl Link {
    /// Starts to connect and returns at once.
    pub(super) fn new(
        client: Client,
        timeout: Duration,
        breaker: breaker::Settings,
        background: &Handle,
    ) -> Arc<Self> {
        let health = Arc::new(Health {
            settings: breaker,
            breaker: ArcSwap::from_pointee(Breaker::new(breaker)),
        });
        let mut tasks = JoinSet::new();
        let mut lane = |healer: Option<Healer>| {
            let (state, seen) = watch::channel(State::Connecting);
            let lost = Arc::new(Notify::new());
            let keeper = Keeper { client: client.clone(), state, lost: lost.clone(), healer };
            tasks.spawn_on(keeper.keep(), background);
            Lane { state: seen, lost }
        };
        let healer = Healer { health: health.clone(), timeout, open_since: None, last: None };
        let readers = [lane(Some(healer)), lane(None)];
        let writer = lane(None);
        Arc::new(Self {
            client,
            readers,
            writer,
            turn: AtomicUsize::new(0),
            timeout,
            health,
            background: background.clone(),
            tasks: Mutex::new(tasks),
        })
    }

    /// Whether requests are let through to the server at the moment.
    pub(super) fn is_open(&self) -> bool {
        self.breaker_state() == breaker::State::Open
    }

    pub(super) fn breaker_state(&self) -> breaker::State {
        self.health.breaker.load().state(Instant::now())
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(*self.readers[0].state.borrow(), State::Up(_))
    }

    pub(super) fn can_write(&self) -> bool {
        !matches!(*self.writer.state.borrow(), State::Down(_))
    }

    /// Runs a task in the background; it ends with the link.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &self.background);
    }

    /// Asks the server within the deadline of a request, connecting included, unless the breaker is open.
    pub(super) async fn ask<T, F>(
        &self,
        ask: impl FnOnce(MultiplexedConnection) -> F + Send,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>> + Send,
    {
        let breaker = self.health.breaker.load_full();
        let permit = breaker.admit(Instant::now()).map_err(|_| StoreError::Open)?;
        let answered = self.ask_within(Use::Read, self.timeout, ask).await;
        match &answered {
            Err(StoreError::Late(_)) => permit.failed(Instant::now()),
            // Being away costs no time, and the connection's keeper notices by itself when that is over.
            Err(StoreError::Away(_)) => {}
            Ok(_) | Err(_) => permit.succeeded(),
        }
        answered
    }

    /// Asks the server within a deadline of its own, whatever the breaker says: for what is rare or in the background.
    pub(super) async fn ask_within<T, F>(
        &self,
        lane: Use,
        within: Duration,
        ask: impl FnOnce(MultiplexedConnection) -> F + Send,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>> + Send,
    {
        let lane = match lane {
            Use::Read => &self.readers[self.turn.fetch_add(1, Ordering::Relaxed) % READERS],
            Use::Write => &self.writer,
        };
        let asked = async {
            let connection = lane.connection().await?;
            ask(connection).await.map_err(|error| lane.failure(&error))
        };
        timeout(within, asked).await.unwrap_or(Err(StoreError::Late(within)))
    }

    /// A connection of the caller's own, for commands that block.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, StoreError> {
        let client = self.client.clone();
        let connecting = self.background.spawn(async move { connect(&client).await });
        match connecting.await {
            Ok(connected) => connected.map_err(StoreError::Away),
            Err(ended) => Err(StoreError::Away(ended.to_string())),
        }
    }

    /// Ends all background tasks, and with them the connections.
    pub(super) fn close(&self) {
        self.tasks.lock().abort_all();
    }
}

impl Lane {
    /// The connection, waiting only while the first attempt to connect is on its way.
    async fn connection(&self) -> Result<MultiplexedConnection, StoreError> {
        match &*self.state.borrow() {
            State::Up(connection) => return Ok(connection.clone()),
            State::Down(why) => return Err(StoreError::Away(why.to_string())),
            State::Connecting => {}
        }
        let mut state = self.state.clone();
        let known = state.wait_for(|state| !matches!(state, State::Connecting)).await;
        match known.as_deref() {
            Ok(State::Up(connection)) => Ok(connection.clone()),
            Ok(State::Down(why)) => Err(StoreError::Away(why.to_string())),
            Ok(State::Connecting) | Err(_) => Err(StoreError::Away("closed".into())),
        }
    }

    fn failure(&self, error: &RedisError) -> StoreError {
        if error.is_unrecoverable_error() {
            self.lost.notify_one();
            return StoreError::Away(error.to_string());
        }
        StoreError::Failed(error.to_string())
    }
}

/// Keeps one connection up.
struct Keeper {
    client: Client,
    state: watch::Sender<State>,
    lost: Arc<Notify>,
    healer: Option<Healer>,
}

impl Keeper {
    async fn keep(mut self) {
        let mut pause = PAUSES.0;
        loop {
            let why = match connect(&self.client).await {
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
            tracing::info!("connected to Redis");
        }
    }

    /// Said once, not at each attempt.
    fn tell_down(&self, why: &str) {
        let is_new = !matches!(*self.state.borrow(), State::Down(_));
        if is_new && self.healer.is_some() {
            tracing::warn!(
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
            match timeout(PROBE_PATIENCE, pong.exec_async(&mut connection)).await {
                Err(_) => return format!("no answer within {PROBE_PATIENCE:?}"),
                Ok(Err(error)) if error.is_unrecoverable_error() => return error.to_string(),
                Ok(Err(_)) => {}
                Ok(Ok(())) => {
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

/// Closes the breaker when the server answers quickly again, so that nobody has to wait until it would let a request
/// through. A breaker that opens again soon is left alone for twice as long each time.
struct Healer {
    health: Arc<Health>,
    timeout: Duration,
    open_since: Option<Instant>,
    /// When it was closed last, and how long it had been left open.
    last: Option<(Instant, Duration)>,
}

impl Healer {
    fn pause(&self) -> Duration {
        if self.open_since.is_some() { PROBE_WHEN_OPEN } else { PROBE }
    }

    fn answered_after(&mut self, elapsed: Duration) {
        let now = Instant::now();
        if self.health.breaker.load().state(now) == breaker::State::Closed {
            self.open_since = None;
            return;
        }
        let since = *self.open_since.get_or_insert(now);
        let settings = self.health.settings;
        let patience = match self.last {
            Some((closed, patience)) if now - closed < patience * 10 => patience * 2,
            Some(_) | None => PROBE,
        };
        if elapsed <= self.timeout && now - since >= patience.min(settings.open_for) {
            self.health.breaker.store(Arc::new(Breaker::new(settings)));
            self.last = Some((now, patience));
            self.open_since = None;
        }
    }
}

async fn connect(client: &Client) -> Result<MultiplexedConnection, String> {
    // The deadline of every answer is the caller's.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(1024);
    match timeout(CONNECT, client.get_multiplexed_async_connection_with_config(&config)).await {
        Ok(connected) => connected.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no connection within {CONNECT:?}")),
    }
}
