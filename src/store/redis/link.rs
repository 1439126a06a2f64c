//! The connections to one server: asked within a deadline and, for requests, behind a breaker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, RedisResult, Value};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use crate::breaker::{self, Breaker};
use crate::per_runtime::PerRuntime;
use crate::store::StoreError;
use crate::store::redis::address::Address;
use crate::store::redis::health::Healer;
use crate::store::redis::lane::{Lane, Way, connect};

/// The connections to one server; calls may come from any runtime.
///
/// Each runtime that asks for requests reads over a connection of its own, driven where it is used: an answer crosses
/// no other thread, and a large value holds up nobody else's. All else lives on the background runtime, which no
/// caller can hold up or end: what writes, what proves that the server lives, and what a runtime reads over until its
/// own connection is up.
pub(super) struct Link {
    way: Way,
    reader: Lane,
    writer: Lane,
    own: PerRuntime<Lane>,
    doubt: Arc<Notify>,
    breaker: Arc<Breaker>,
    background: Handle,
    /// They end with the link.
    tasks: Mutex<JoinSet<()>>,
}

/// For whom a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A request waits: behind the breaker, and over a connection without large writes.
    Request,
    /// Writes, and all that need not be quick, whatever the breaker says.
    Background,
}

/// What goes before a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preface {
    Nothing,
    /// `ASKING`: the server answers for a slot that it is still taking over.
    Asking,
}

/// When an answer comes too late.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    pub(super) end: Instant,
    /// How long it was when it began.
    pub(super) patience: Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    Late(Duration),
    Open,
    Away(String),
    /// The server answered, with an error.
    Refused(RedisError),
}

impl Deadline {
    pub(super) fn within(patience: Duration) -> Self {
        Self { end: Instant::now() + patience, patience }
    }
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Late(patience) => Self::Late(patience),
            Trouble::Open => Self::Open,
            Trouble::Away(why) => Self::Away(why),
            Trouble::Refused(error) => Self::Failed(error.to_string()),
        }
    }
}

impl Link {
    /// Starts to connect and returns at once. `doubt` is told when the server is lost.
    pub(super) fn new(
        way: Way,
        timeout: Duration,
        breaker: breaker::Settings,
        doubt: &Arc<Notify>,
        background: &Handle,
    ) -> Arc<Self> {
        let breaker = Arc::new(Breaker::new(breaker));
        let mut tasks = JoinSet::new();
        let mut lane = |healer: Option<Healer>| {
            let (lane, keeper) = Lane::new(way.clone(), healer, doubt.clone());
            tasks.spawn_on(keeper.keep(), background);
            lane
        };
        // One of the connections speaks for all.
        let reader = lane(Some(Healer::new(breaker.clone(), timeout)));
        let writer = lane(None);
        Arc::new(Self {
            way,
            reader,
            writer,
            own: PerRuntime::default(),
            doubt: doubt.clone(),
            breaker,
            background: background.clone(),
            tasks: Mutex::new(tasks),
        })
    }

    pub(super) fn address(&self) -> &Address {
        &self.way.address
    }

    pub(super) fn breaker_state(&self) -> breaker::State {
        self.breaker.state(Instant::now())
    }

    pub(super) fn is_up(&self) -> bool {
        self.reader.is_up()
    }

    pub(super) fn can_write(&self) -> bool {
        !self.writer.is_down()
    }

    /// Returns when it is known whether the server is up.
    pub(super) async fn settled(&self) {
        for lane in [&self.reader, &self.writer] {
            // Whether it is up is asked later, by whoever needs it.
            let _known = lane.connection().await;
        }
    }

    /// Asks the server once.
    pub(super) async fn ask(
        &self,
        command: &Cmd,
        preface: Preface,
        used: Use,
        deadline: Deadline,
    ) -> Result<Value, Trouble> {
        if used == Use::Background {
            return self.ask_over(&self.writer, command, preface, deadline).await;
        }
        let breaker = &self.breaker;
        let permit = breaker.admit(Instant::now()).map_err(|_| Trouble::Open)?;
        let own = self.own();
        let lane = if own.is_up() { &*own } else { &self.reader };
        let answered = self.ask_over(lane, command, preface, deadline).await;
        match &answered {
            Err(Trouble::Late(_)) => permit.failed(Instant::now()),
            // Being away costs no time, and the connection's keeper notices by itself when that is over.
            Err(Trouble::Away(_)) => {}
            Ok(_) | Err(_) => permit.succeeded(),
        }
        answered
    }

    async fn ask_over(
        &self,
        lane: &Lane,
        command: &Cmd,
        preface: Preface,
        deadline: Deadline,
    ) -> Result<Value, Trouble> {
        let asked = async {
            let connection = lane.connection().await?;
            send(connection, command, preface).await.map_err(|error| lane.failure(error))
        };
        let answered = timeout_at(deadline.end.into(), asked).await;
        answered.unwrap_or(Err(Trouble::Late(deadline.patience)))
    }

    /// The connection of the runtime that asks, which begins to connect when it is asked for first.
    fn own(&self) -> Arc<Lane> {
        self.own.get(|runtime| {
            let (lane, keeper) = Lane::new(self.way.clone(), None, self.doubt.clone());
            self.tasks.lock().spawn_on(keeper.keep(), runtime);
            lane
        })
    }

    /// A connection of the caller's own, for commands that block.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, StoreError> {
        let way = Way { may_be_replica: false, ..self.way.clone() };
        let connecting = self.background.spawn(async move { connect(&way).await });
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

async fn send(
    mut connection: MultiplexedConnection,
    command: &Cmd,
    preface: Preface,
) -> RedisResult<Value> {
    if preface == Preface::Nothing {
        return command.query_async(&mut connection).await;
    }
    // In one piece, because the word holds for the next command on the connection alone.
    let mut both = redis::pipe();
    both.cmd("ASKING").ignore().add_command(command.clone());
    let (answer,) = both.query_async::<(Value,)>(&mut connection).await?;
    Ok(answer)
}
