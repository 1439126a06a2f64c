//! What Larder keeps in one Redis server: entries, leases and the purge log.

pub mod entries;
pub mod lease;
mod link;
pub mod log;
pub mod sweep;

use std::sync::Arc;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{Client, IntoConnectionInfo};
use tokio::runtime::Handle;

use crate::breaker;
use crate::store::Counts;
use crate::store::redis::entries::Entries;
use crate::store::redis::lease::RedisLeases;
use crate::store::redis::link::Link;
use crate::store::redis::log::StreamLog;

#[derive(Clone)]
pub struct Settings {
    /// `redis://` or `rediss://`, with user, password and database as the URL says.
    pub url: String,
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
    /// Purges that the log keeps, at least, unless they are older than `keep_for`.
    pub retention: u64,
    pub keep_for: Duration,
    /// How long an instance counts as live after it was last heard of.
    pub lease: Duration,
}

/// A Redis server, and what Larder keeps there. Cloning shares the connections; they end with the last of all that
/// was handed out, or by [`Redis::close`].
#[derive(Clone)]
pub struct Redis(Arc<Parts>);

struct Parts {
    link: Arc<Link>,
    entries: Entries,
    leases: RedisLeases,
    log: StreamLog,
}

/// A URL that names no Redis server. Does not repeat the URL, which may hold a password.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the Redis URL is not valid: {0}")]
pub struct BadUrl(pub String);

impl Redis {
    /// Connects in the background of `background`; returns at once, whether or not the server is there. All
    /// connections live there; calls may come from any runtime.
    pub fn new(settings: &Settings, background: &Handle) -> Result<Self, BadUrl> {
        let client = client(&settings.url).map_err(|error| BadUrl(error.category().to_owned()))?;
        let link = Link::new(client, settings.timeout, settings.breaker, background);
        Ok(Self(Arc::new(Parts {
            entries: Entries::new(&link, settings),
            leases: RedisLeases::new(&link, &settings.service),
            log: StreamLog::new(&link, settings),
            link,
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

    pub fn counts(&self) -> &Counts {
        self.0.entries.counts()
    }

    /// Whether a connection is up at the moment.
    pub fn is_up(&self) -> bool {
        self.0.link.is_up()
    }

    pub fn breaker_state(&self) -> breaker::State {
        self.0.link.breaker_state()
    }

    /// Writes what is queued, at most until `patience` is over, and ends the background tasks. After that every
    /// call fails.
    pub async fn close(&self, patience: Duration) {
        self.0.entries.flush(patience).await;
        self.0.link.close();
    }
}

fn client(url: &str) -> redis::RedisResult<Client> {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(30));
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    Client::open(url.into_connection_info()?.set_tcp_settings(tcp))
}

/// A name as a part of a key: lower case, short, without anything that means something in a key.
///
/// Two names may become one; no key depends on it, since the digest beside it knows the names as they are.
fn name(text: &str) -> String {
    let plain = |char: char| match char.to_ascii_lowercase() {
        char @ ('a'..='z' | '0'..='9' | '-' | '_' | '.') => char,
        _ => '-',
    };
    text.chars().take(64).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_url_is_told_without_its_password() {
        let error = client("http://:secret@host").unwrap_err();
        let told = BadUrl(error.category().to_owned()).to_string();
        assert!(!told.contains("secret") && told.starts_with("the Redis URL is not valid: "));
    }

    #[test]
    fn names_in_keys_are_short_lower_case_and_plain() {
        assert_eq!(name("Shop:ÄX*y_1."), "shop--x-y_1.");
        assert_eq!(name(&"x".repeat(1000)).len(), 64);
    }
}
