//! What Larder keeps in Redis, in one server or many: entries, leases and the purge log.

mod address;
mod cluster;
pub mod entries;
mod health;
mod home;
pub mod intake;
mod lane;
pub mod lease;
mod link;
pub mod log;
mod map;
mod script;
mod sentinel;
mod servers;
mod slots;
pub mod sweep;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::breaker;
use crate::entry::seal::Seal;
use crate::store::Counts;
use crate::store::redis::address::{Dialer, Tls};
use crate::store::redis::cluster::Cluster;
use crate::store::redis::entries::Entries;
use crate::store::redis::intake::Intake;
use crate::store::redis::lane::Way;
use crate::store::redis::lease::RedisLeases;
use crate::store::redis::log::StreamLog;
use crate::store::redis::map::ReadFrom;
use crate::store::redis::sentinel::{Sentinel, Sentinels};
use crate::store::redis::servers::{Maker, Servers};
use crate::store::redis::slots::View;

#[derive(Clone)]
pub struct Settings {
    pub servers: Arrangement,
    /// For `rediss://`.
    pub certificates: Certificates,
    /// Whether entries may come from replicas.
    pub read_from_replicas: bool,
    /// Names the fleet: part of every key.
    pub service: String,
    /// Names this instance in the fleet's registry.
    pub instance: String,
    /// How long a request waits for a read, connecting included.
    pub timeout: Duration,
    pub breaker: breaker::Settings,
    /// Entries that may wait to be written.
    pub write_queue: usize,
    /// The longest body that is written.
    pub max_object: u64,
    /// How entries lie there.
    pub seal: Seal,
    /// Purges that the log keeps, at least, unless they are older than `keep_for`.
    pub retention: u64,
    pub keep_for: Duration,
    /// How long an instance counts as live after it was last heard of.
    pub lease: Duration,
}

/// How the servers of a Redis are arranged. URLs are `redis://` or `rediss://`, with user, password and database.
#[derive(Clone)]
pub enum Arrangement {
    Single(String),
    /// Some of the nodes; the account and TLS of the first hold for all.
    Cluster(Vec<String>),
    Sentinel {
        /// What the sentinels call the master.
        master: String,
        /// The sentinels, each with its own account.
        sentinels: Vec<String>,
        /// With the master and its replicas.
        account: Account,
    },
}

/// Who Larder is to a server.
#[derive(Clone, Default)]
pub struct Account {
    pub username: Option<String>,
    pub password: Option<String>,
    pub database: i64,
}

/// Files in PEM format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificates {
    /// Who signed the servers' certificates; none: whom the machine trusts.
    pub authority: Option<PathBuf>,
    /// Larder's own certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// The state of one server, as it is seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Host and port.
    pub name: String,
    pub is_up: bool,
    pub breaker: breaker::State,
}

/// The servers of a Redis, and what Larder keeps there. Cloning shares the connections; they end with the last of all
/// that was handed out, or by [`Redis::close`].
#[derive(Clone)]
pub struct Redis(Arc<Parts>);

struct Parts {
    servers: Arc<Servers>,
    entries: Entries,
    leases: RedisLeases,
    log: StreamLog,
}

/// Servers that can never be reached. Does not repeat a URL, which may hold a password.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BadServers {
    #[error("the Redis URL is not valid: {0}")]
    Url(String),
    #[error("the certificates for Redis cannot be used: {0}")]
    Tls(String),
    #[error("{0} cannot be read: {1}")]
    File(PathBuf, String),
    #[error("no Redis server is named")]
    Nobody,
}

impl Redis {
    /// Connects in the background of `background`; returns at once, whether or not the servers are there. All
    /// connections live there; calls may come from any runtime.
    pub fn new(settings: &Settings, background: &Handle) -> Result<Self, BadServers> {
        let servers = servers(settings, background)?;
        Ok(Self(Arc::new(Parts {
            entries: Entries::new(&servers, settings),
            leases: RedisLeases::new(&servers, &settings.service),
            log: StreamLog::new(&servers, settings),
            servers,
        })))
    }

    pub fn entries(&self) -> Entries {
        self.0.entries.clone()
    }

    pub fn leases(&self) -> RedisLeases {
        self.0.leases.clone()
    }

    pub fn log(&self) -> StreamLog {
        self.0.log.clone()
    }

    /// The fleet's place in a stream of events.
    pub fn intake(&self, service: &str, stream: &str) -> Intake {
        Intake::new(&self.0.servers, service, stream)
    }

    pub fn counts(&self) -> &Counts {
        self.0.entries.counts()
    }

    /// Every server that is known, masters first.
    pub fn servers(&self) -> Vec<Server> {
        let links = self.0.servers.links();
        let server = |link: &Arc<link::Link>| Server {
            name: link.address().to_string(),
            is_up: link.is_up(),
            breaker: link.breaker_state(),
        };
        links.iter().map(server).collect()
    }

    /// Whether servers are known, and all are connected at the moment.
    pub fn is_up(&self) -> bool {
        let servers = self.servers();
        !servers.is_empty() && servers.iter().all(|server| server.is_up)
    }

    /// The breaker's state; of several, the worst.
    pub fn breaker_state(&self) -> breaker::State {
        let states = self.servers().into_iter().map(|server| server.breaker);
        states
            .max_by_key(|state| match state {
                breaker::State::Closed => 0,
                breaker::State::HalfOpen => 1,
                breaker::State::Open => 2,
            })
            .unwrap_or(breaker::State::Closed)
    }

    /// Writes what is queued, at most until `patience` is over, and ends the background tasks. After that every
    /// call fails.
    pub async fn close(&self, patience: Duration) {
        self.0.entries.flush(patience).await;
        self.0.servers.close();
    }
}

/// The servers, and whoever keeps the map of them.
fn servers(settings: &Settings, background: &Handle) -> Result<Arc<Servers>, BadServers> {
    let tls = Tls::read(&settings.certificates)?;
    let maker = |dialer: Dialer| Maker {
        dialer,
        timeout: settings.timeout,
        breaker: settings.breaker,
        may_be_replica: false,
        background: background.clone(),
    };
    let read_from =
        if settings.read_from_replicas { ReadFrom::Replicas } else { ReadFrom::Masters };
    match &settings.servers {
        Arrangement::Single(url) => {
            let (dialer, address) = Dialer::of(url, Some(&tls))?;
            dialer.client(&address)?;
            let view = View::alone(address, Vec::new());
            Ok(Servers::new(maker(dialer), ReadFrom::Masters, Some(&view)))
        }
        Arrangement::Cluster(urls) => {
            let seeds = seeds(urls, &tls)?;
            let (dialer, _) = seeds.first().cloned().ok_or(BadServers::Nobody)?;
            let maker =
                Maker { may_be_replica: settings.read_from_replicas, ..maker(dialer.clone()) };
            let servers = Servers::new(maker, read_from, None);
            let cluster = Cluster {
                shared: servers.shared().clone(),
                dialer,
                seeds: seeds.into_iter().map(|(_, address)| address).collect(),
                read_from,
            };
            servers.spawn(cluster.keep());
            Ok(servers)
        }
        Arrangement::Sentinel { master, sentinels, account } => {
            let seeds = seeds(sentinels, &tls)?;
            let (dialer, _) = seeds.first().cloned().ok_or(BadServers::Nobody)?;
            let servers = Servers::new(maker(dialer.by(account)), read_from, None);
            let sentinels = seeds.into_iter().map(|(dialer, address)| {
                let way = Way { client: dialer.client(&address)?, address, may_be_replica: false };
                Ok(Sentinel { way, connection: None })
            });
            let sentinels = Sentinels {
                shared: servers.shared().clone(),
                master: master.clone(),
                all: sentinels.collect::<Result<_, BadServers>>()?,
                read_from,
            };
            servers.spawn(sentinels.keep());
            Ok(servers)
        }
    }
}

/// How each of the URLs is reached, tried as far as that goes without connecting.
fn seeds(urls: &[String], tls: &Tls) -> Result<Vec<(Dialer, address::Address)>, BadServers> {
    let seed = |url: &String| {
        let (dialer, address) = Dialer::of(url, Some(tls))?;
        dialer.client(&address)?;
        Ok((dialer, address))
    };
    urls.iter().map(seed).collect()
}

/// A name as a part of a key: lower case, short, without anything that means something in a key.
///
/// Two names may become one; no key depends on it, since the digest beside it knows the names as they are.
fn name(text: &str) -> String {
    let mut name = String::new();
    push_name(&mut name, text);
    name
}

/// The same, at the end of a key.
fn push_name(key: &mut String, text: &str) {
    let plain = |char: char| match char.to_ascii_lowercase() {
        char @ ('a'..='z' | '0'..='9' | '-' | '_' | '.') => char,
        _ => '-',
    };
    key.extend(text.chars().take(64).map(plain));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_keys_are_short_lower_case_and_plain() {
        assert_eq!(name("Shop:ÄX*y_1."), "shop--x-y_1.");
        assert_eq!(name(&"x".repeat(1000)).len(), 64);
    }
}
