//! The servers of one Redis, however they are arranged: who holds a key, and a question to whoever that is.
//!
//! A single server, a master behind Sentinel and a Cluster have one shape: a map from slots to links. They differ by
//! who draws the map. The library's own Cluster client is not used: it has one retry policy and no breaker for all
//! nodes, and its driver lives on the runtime of the first caller.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind, Value};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout, timeout_at};

use crate::breaker;
use crate::store::StoreError;
use crate::store::redis::address::{Address, Dialer};
use crate::store::redis::lane::Way;
use crate::store::redis::link::{Deadline, Link, Preface, Trouble, Use};
use crate::store::redis::map::{Map, ReadFrom};
use crate::store::redis::script::Call;
use crate::store::redis::slots::View;

/// How long servers that are new on the map may take to be connected, before they are asked.
const NEW: Duration = Duration::from_millis(500);
/// How often a question follows the servers' word to another place: for a request, and for what nobody waits for.
const REDIRECTIONS: (usize, usize) = (1, 5);
/// Before a question of the background is asked again in the same place.
const PAUSE: Duration = Duration::from_millis(50);

/// The servers, and what runs for them. What runs ends with them.
pub(super) struct Servers {
    shared: Arc<Shared>,
    timeout: Duration,
    read_from: ReadFrom,
    background: Handle,
    tasks: Mutex<JoinSet<()>>,
}

/// What those share who ask and who draw the map.
pub(super) struct Shared {
    /// Nothing until somebody has said who the servers are, or that nobody can be asked.
    map: watch::Sender<Option<Arc<Map>>>,
    /// Told when the map may be wrong.
    pub(super) doubt: Arc<Notify>,
    /// Whether somebody keeps the map right; a single server is what it is.
    is_kept: bool,
    maker: Maker,
}

/// Makes links.
pub(super) struct Maker {
    pub(super) dialer: Dialer,
    pub(super) timeout: Duration,
    pub(super) breaker: breaker::Settings,
    /// Whether replicas of a Cluster are to be read from.
    pub(super) may_be_replica: bool,
    pub(super) background: Handle,
}

impl Servers {
    /// Servers that nobody knows yet, but for `view` where it is given. Then nobody needs to keep the map.
    pub(super) fn new(maker: Maker, read_from: ReadFrom, view: Option<&View>) -> Arc<Self> {
        let shared = Shared {
            map: watch::Sender::new(None),
            doubt: Arc::new(Notify::new()),
            is_kept: view.is_none(),
            maker,
        };
        if let Some(view) = view {
            shared.draw(view);
        }
        let (timeout, background) = (shared.maker.timeout, shared.maker.background.clone());
        let tasks = Mutex::default();
        Arc::new(Self { shared: Arc::new(shared), timeout, read_from, background, tasks })
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Runs a task in the background; it ends with the servers.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &self.background);
    }

    /// Questions of a request about `key`, which all together have the deadline of a request.
    pub(super) fn for_request<'a>(&'a self, key: &'a str) -> Asking<'a> {
        self.asking(key, Use::Request, self.timeout)
    }

    /// Questions about `key` that no request waits for, with a deadline of their own.
    pub(super) fn in_background<'a>(&'a self, key: &'a str, patience: Duration) -> Asking<'a> {
        self.asking(key, Use::Background, patience)
    }

    fn asking<'a>(&'a self, key: &'a str, used: Use, patience: Duration) -> Asking<'a> {
        let deadline = Deadline::within(patience);
        Asking { servers: self, key, used, read_from: ReadFrom::Masters, deadline }
    }

    /// Whether requests for `key` are refused at the moment.
    pub(super) fn is_open(&self, key: &str) -> bool {
        self.holder(key).is_some_and(|link| link.breaker_state() == breaker::State::Open)
    }

    /// Whether `key` could be written now, as far as anybody knows.
    pub(super) fn can_write(&self, key: &str) -> bool {
        match &*self.shared.map.borrow() {
            None => true,
            Some(map) => map.holder(key).is_some_and(|node| node.master.can_write()),
        }
    }

    /// The link to the server that holds `key`, where it is known.
    pub(super) fn holder(&self, key: &str) -> Option<Arc<Link>> {
        let map = self.shared.map.borrow();
        Some(map.as_ref()?.holder(key)?.master.clone())
    }

    /// Every master that is known: together they hold all keys.
    pub(super) fn masters(&self) -> Vec<Arc<Link>> {
        self.shared.map().masters().cloned().collect()
    }

    /// Every server that is known, masters first.
    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        self.shared.links()
    }

    /// Ends all background tasks, and with them the connections.
    pub(super) fn close(&self) {
        self.tasks.lock().abort_all();
        for link in self.links() {
            link.close();
        }
    }
}

impl Shared {
    /// Takes over what was seen. New servers get a moment to be connected, while the old map still holds.
    pub(super) async fn take_over(&self, view: &View) {
        let map = self.map_of(view);
        if self.is_known() {
            let _unknown = timeout(NEW, join_all(map.links().map(|link| link.settled()))).await;
        }
        self.map.send_replace(Some(Arc::new(map)));
    }

    fn draw(&self, view: &View) {
        self.map.send_replace(Some(Arc::new(self.map_of(view))));
    }

    /// Who waits to learn who the servers are learns that nobody can say.
    pub(super) fn give_up(&self) {
        self.map.send_if_modified(|map| {
            let is_new = map.is_none();
            map.get_or_insert_with(Arc::default);
            is_new
        });
    }

    fn is_known(&self) -> bool {
        self.map.borrow().as_ref().is_some_and(|map| map.links().next().is_some())
    }

    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        let map = self.map.borrow();
        map.iter().flat_map(|map| map.links()).cloned().collect()
    }

    /// Links that are known stay what they are: their connections, and what their breakers have learnt.
    fn map_of(&self, view: &View) -> Map {
        let known = self.map.borrow().clone().unwrap_or_default();
        Map::of(view, |address| known.at(address).or_else(|| self.maker.link(address, &self.doubt)))
    }

    fn map(&self) -> Arc<Map> {
        self.map.borrow().clone().unwrap_or_default()
    }

    /// The map, waiting only until it is drawn for the first time.
    async fn first_map(&self) -> Arc<Map> {
        let mut map = self.map.subscribe();
        let known = map.wait_for(Option::is_some).await;
        known.ok().and_then(|map| map.clone()).unwrap_or_default()
    }
}

impl Maker {
    /// Nothing where the certificates do not allow for a client, which the start has tried.
    fn link(&self, address: &Address, doubt: &Arc<Notify>) -> Option<Arc<Link>> {
        let client = self.dialer.client(address).ok()?;
        let way = Way { client, address: address.clone(), may_be_replica: self.may_be_replica };
        Some(Link::new(way, self.timeout, self.breaker, doubt, &self.background))
    }
}

/// Questions about one key, within one deadline.
pub(super) struct Asking<'a> {
    servers: &'a Servers,
    key: &'a str,
    used: Use,
    read_from: ReadFrom,
    deadline: Deadline,
}

/// What is asked.
#[derive(Clone, Copy)]
enum Question<'a> {
    Command(&'a Cmd),
    Script(&'a Call),
}

/// How a script is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    Hash,
    Whole,
}

/// What to do about an error.
enum Advice {
    /// Another server has the key, or will have it soon.
    Elsewhere(Address, Preface),
    /// The script is to be sent whole.
    Whole,
    /// It may be otherwise in a moment.
    Later,
    GiveUp,
}

impl Asking<'_> {
    /// Allows a replica to answer, where the configuration does. For entries alone: the purge log decides whether they
    /// may be served, however old they are.
    pub(super) fn of_entries(mut self) -> Self {
        self.read_from = self.servers.read_from;
        self
    }

    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let asked = self.put(Question::Command(command)).await;
        asked.map_err(StoreError::from).and_then(typed)
    }

    /// The same, with errors as the server told them.
    pub(super) async fn try_ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Trouble> {
        let value = self.put(Question::Command(command)).await?;
        redis::from_redis_value(value).map_err(|error| Trouble::Refused(error.into()))
    }

    pub(super) async fn call<T: FromRedisValue>(&self, call: &Call) -> Result<T, StoreError> {
        let asked = self.put(Question::Script(call)).await;
        asked.map_err(StoreError::from).and_then(typed)
    }

    /// Asks whoever has the key. Follows a redirection, which answers no question twice; repeats nothing else for a
    /// request.
    async fn put(&self, question: Question<'_>) -> Result<Value, Trouble> {
        let (mut link, mut preface, mut length) =
            (self.link().await?, Preface::Nothing, Length::Hash);
        let mut left = match self.used {
            Use::Request => REDIRECTIONS.0,
            Use::Background => REDIRECTIONS.1,
        };
        loop {
            let command = question.command(length);
            let error = match link.ask(&command, preface, self.used, self.deadline).await {
                Err(Trouble::Refused(error)) => error,
                Ok(value) => return Ok(value),
                Err(trouble) => return Err(trouble),
            };
            let advice = self.advice(&error, &link);
            if left == 0 && !matches!(advice, Advice::Whole) {
                return Err(Trouble::Refused(error));
            }
            match advice {
                Advice::Whole if length == Length::Hash => length = Length::Whole,
                Advice::Elsewhere(address, with) => {
                    left -= 1;
                    preface = with;
                    if let Some(other) = self.servers.shared.map().at(&address) {
                        link = other;
                    } else {
                        // Nobody follows the word of one server to where no map leads.
                        preface = Preface::Nothing;
                        link = self.link_later(error).await?;
                    }
                }
                Advice::Later => {
                    left -= 1;
                    preface = Preface::Nothing;
                    link = self.link_later(error).await?;
                }
                Advice::Whole | Advice::GiveUp => return Err(Trouble::Refused(error)),
            }
        }
    }

    fn advice(&self, error: &RedisError, link: &Link) -> Advice {
        let ErrorKind::Server(kind) = error.kind() else { return Advice::GiveUp };
        let shared = &self.servers.shared;
        match kind {
            ServerErrorKind::Moved | ServerErrorKind::Ask => {
                let preface = if kind == ServerErrorKind::Ask {
                    Preface::Asking
                } else {
                    shared.doubt.notify_one();
                    Preface::Nothing
                };
                let to = error.redirect_node();
                to.and_then(|(to, _)| Address::redirected(to, link.address()))
                    .map_or(Advice::GiveUp, |address| Advice::Elsewhere(address, preface))
            }
            ServerErrorKind::NoScript => Advice::Whole,
            ServerErrorKind::TryAgain => Advice::Later,
            ServerErrorKind::ReadOnly => {
                shared.doubt.notify_one();
                if shared.is_kept { Advice::Later } else { Advice::GiveUp }
            }
            ServerErrorKind::ClusterDown | ServerErrorKind::MasterDown => {
                shared.doubt.notify_one();
                Advice::GiveUp
            }
            _ => Advice::GiveUp,
        }
    }

    /// The link to the slot's holder as the map has it now, waiting only until there is one.
    pub(super) async fn link(&self) -> Result<Arc<Link>, Trouble> {
        let shared = &self.servers.shared;
        let map = shared.map.borrow().clone();
        let map = match map {
            Some(map) => map,
            None => timeout_at(self.deadline.end.into(), shared.first_map())
                .await
                .map_err(|_| Trouble::Late(self.deadline.patience))?,
        };
        let node = map.holder(self.key);
        let link = node.map(|node| node.link(self.read_from));
        link.ok_or_else(|| Trouble::Away("no server is known to hold this key".into()))
    }

    /// The same a moment later; a request does not wait for it.
    async fn link_later(&self, error: RedisError) -> Result<Arc<Link>, Trouble> {
        if self.used == Use::Request || Instant::now() + PAUSE >= self.deadline.end {
            return Err(Trouble::Refused(error));
        }
        sleep(PAUSE.mul_f64(rand::random_range(0.5..1.0))).await;
        self.link().await
    }
}

impl Question<'_> {
    fn command(&self, length: Length) -> Cow<'_, Cmd> {
        match self {
            Self::Command(command) => Cow::Borrowed(command),
            Self::Script(call) if length == Length::Whole => Cow::Owned(call.whole()),
            Self::Script(call) => Cow::Owned(call.by_hash()),
        }
    }
}

fn typed<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    redis::from_redis_value(value).map_err(|error| StoreError::Failed(error.to_string()))
}
