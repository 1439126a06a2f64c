//! Where a stream lives, be it the purge log or one of events: the one server that holds its slot.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind};
use tokio::sync::Notify;

use crate::store::StoreError;
use crate::store::redis::link::Link;
use crate::store::redis::script::Call;
use crate::store::redis::servers::Servers;

/// How long it may take until somebody says where the log is, at the start.
const FINDING: Duration = Duration::from_secs(1);

/// The server of a stream; which one that is may change.
pub(super) struct Home {
    servers: Arc<Servers>,
    /// Any key of the stream's: all have one slot.
    key: String,
}

/// A connection of the reader's own, because its commands block.
pub(super) struct Seat {
    connection: MultiplexedConnection,
    link: Arc<Link>,
    doubt: Arc<Notify>,
}

impl Home {
    pub(super) fn new(servers: &Arc<Servers>, key: &str) -> Self {
        Self { servers: servers.clone(), key: key.to_owned() }
    }

    /// Runs a script of the log, within `patience`, wherever the log is.
    pub(super) async fn call<T: FromRedisValue>(
        &self,
        call: &Call,
        patience: Duration,
    ) -> Result<T, StoreError> {
        self.servers.in_background(&self.key, patience).call(call).await
    }

    /// Runs a command of the log, within `patience`, wherever the log is.
    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        command: &Cmd,
        patience: Duration,
    ) -> Result<T, StoreError> {
        self.servers.in_background(&self.key, patience).ask(command).await
    }

    /// A new connection to where the log is now.
    pub(super) async fn seat(&self) -> Result<Seat, StoreError> {
        let link = self.servers.in_background(&self.key, FINDING).link().await?;
        let doubt = self.servers.shared().doubt.clone();
        let connection = link.connect().await.inspect_err(|_| doubt.notify_one())?;
        Ok(Seat { connection, link, doubt })
    }

    /// Whether the log is still where this connection leads.
    pub(super) fn is_at(&self, seat: &Seat) -> bool {
        self.servers.holder(&self.key).is_some_and(|link| Arc::ptr_eq(&link, &seat.link))
    }
}

impl Seat {
    pub(super) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        let asked = command.query_async(&mut self.connection).await;
        asked.inspect_err(|error| self.doubt_after(error))
    }

    pub(super) async fn call<T: FromRedisValue>(&mut self, call: &Call) -> RedisResult<T> {
        match self.ask(&call.by_hash()).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.ask(&call.whole()).await
            }
            answer => answer,
        }
    }

    fn doubt_after(&self, error: &RedisError) {
        let kind = error.kind();
        let is_elsewhere =
            matches!(kind, ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::ReadOnly));
        if is_elsewhere || error.is_unrecoverable_error() {
            self.doubt.notify_one();
        }
    }
}
