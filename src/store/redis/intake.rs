//! Events from a Redis stream: each is given to one instance of the fleet, and again until it is done.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::streams::{StreamAutoClaimReply, StreamId, StreamReadReply};
use redis::{Cmd, FromRedisValue};
use tokio::time::{Instant, timeout};

use crate::store::StoreError;
use crate::store::redis::home::{Home, Seat};
use crate::store::redis::name;
use crate::store::redis::servers::Servers;

/// How long a question waits for news.
const SILENCE: Duration = Duration::from_secs(1);
/// How long it may take beyond that.
const PATIENCE: Duration = Duration::from_secs(2);
/// Messages that one question brings.
const PAGE: usize = 100;
/// After so long, what somebody has taken and not done is given to another.
const ABANDONED: Duration = Duration::from_secs(30);
/// Between two looks for what was abandoned.
const CLAIM: Duration = Duration::from_secs(5);
/// All instances are one consumer: Redis remembers what was given, not to whom.
const CONSUMER: &str = "larder";

/// The place of the fleet in a stream of events: a consumer group of the service's name. Cloning shares it.
#[derive(Clone)]
pub struct Intake(Arc<Parts>);

struct Parts {
    home: Home,
    stream: String,
    group: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Taken while a question is on its way, because it blocks.
    seat: Option<Seat>,
    joined: Joined,
    claimed: Option<Instant>,
}

/// Whether the group is known to be there.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Joined {
    /// Where this makes the group, it begins with what comes from now on.
    #[default]
    NotYet,
    Yes,
    /// The stream was lost with the group: all that it holds is new.
    Lost,
}

/// One message of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub id: String,
    /// The name of the event.
    pub event: Option<String>,
    /// Its data, as JSON.
    pub data: Option<String>,
}

impl Intake {
    pub(super) fn new(servers: &Arc<Servers>, service: &str, stream: &str) -> Self {
        Self(Arc::new(Parts {
            home: Home::new(servers, stream),
            stream: stream.to_owned(),
            group: format!("larder:{}", name(service)),
            state: Mutex::default(),
        }))
    }

    pub fn stream(&self) -> &str {
        &self.0.stream
    }

    /// The next messages for this instance: first what others have left undone, then what is new. None after a short
    /// silence.
    pub async fn next(&self) -> Result<Vec<Message>, StoreError> {
        let kept = self.0.state.lock().seat.take().filter(|seat| self.0.home.is_at(seat));
        let mut seat = match kept {
            Some(seat) => seat,
            None => self.0.home.seat().await?,
        };
        self.join(&mut seat).await?;
        let mut messages = self.claim(&mut seat).await?;
        if messages.is_empty() {
            messages = self.read(&mut seat).await?;
        }
        self.0.state.lock().seat = Some(seat);
        Ok(messages.into_iter().map(message).collect())
    }

    /// Says that a message need not be given again.
    pub async fn done(&self, id: &str) -> Result<(), StoreError> {
        let mut done = redis::cmd("XACK");
        done.arg(&self.0.stream).arg(&self.0.group).arg(id);
        self.0.home.ask::<i64>(&done, PATIENCE).await.map(drop)
    }

    /// Makes the group where there is none.
    async fn join(&self, seat: &mut Seat) -> Result<(), StoreError> {
        let joined = self.0.state.lock().joined;
        let from = match joined {
            Joined::Yes => return Ok(()),
            Joined::NotYet => "$",
            Joined::Lost => "0",
        };
        let mut create = redis::cmd("XGROUP");
        create.arg("CREATE").arg(&self.0.stream).arg(&self.0.group).arg(from).arg("MKSTREAM");
        let made = timeout(PATIENCE, seat.ask::<()>(&create)).await;
        match made.map_err(|_| StoreError::Late(PATIENCE))? {
            Err(error) if error.code() != Some("BUSYGROUP") => Err(self.failure(&error)),
            Ok(()) | Err(_) => {
                self.0.state.lock().joined = Joined::Yes;
                Ok(())
            }
        }
    }

    async fn claim(&self, seat: &mut Seat) -> Result<Vec<StreamId>, StoreError> {
        let now = Instant::now();
        let claimed = self.0.state.lock().claimed;
        if claimed.is_some_and(|claimed| now - claimed < CLAIM) {
            return Ok(Vec::new());
        }
        let mut claim = redis::cmd("XAUTOCLAIM");
        claim.arg(&self.0.stream).arg(&self.0.group).arg(CONSUMER);
        claim.arg(millis(ABANDONED)).arg("0-0").arg("COUNT").arg(PAGE);
        let found: StreamAutoClaimReply = self.ask(seat, &claim, PATIENCE).await?;
        if found.claimed.is_empty() {
            self.0.state.lock().claimed = Some(now);
        }
        Ok(found.claimed)
    }

    async fn read(&self, seat: &mut Seat) -> Result<Vec<StreamId>, StoreError> {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(&self.0.group).arg(CONSUMER).arg("COUNT").arg(PAGE);
        read.arg("BLOCK").arg(millis(SILENCE)).arg("STREAMS").arg(&self.0.stream).arg(">");
        let found: Option<StreamReadReply> = self.ask(seat, &read, SILENCE + PATIENCE).await?;
        let streams = found.into_iter().flat_map(|found| found.keys);
        Ok(streams.flat_map(|stream| stream.ids).collect())
    }

    async fn ask<T: FromRedisValue>(
        &self,
        seat: &mut Seat,
        command: &Cmd,
        within: Duration,
    ) -> Result<T, StoreError> {
        let answer = timeout(within, seat.ask(command)).await;
        answer.map_err(|_| StoreError::Late(within))?.map_err(|error| self.failure(&error))
    }

    fn failure(&self, error: &redis::RedisError) -> StoreError {
        if error.code() == Some("NOGROUP") {
            self.0.state.lock().joined = Joined::Lost;
        }
        if error.is_unrecoverable_error() {
            return StoreError::Away(error.to_string());
        }
        StoreError::Failed(error.to_string())
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn message(found: StreamId) -> Message {
    let (event, data) = (found.get("event"), found.get("data"));
    Message { id: found.id, event, data }
}
