//! Leases in Redis: the right to fetch a key, one per fleet.

use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::key::Key;
use crate::store::redis::name;
use crate::store::redis::script::Script;
use crate::store::redis::servers::Servers;
use crate::store::{Lease, Leases, StoreError, Waited};

/// Between two looks at somebody else's lease, at first and at last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// How long letting go may take; the lease ends by itself anyway.
const RELEASE_PATIENCE: Duration = Duration::from_secs(3);
/// Between two attempts to let go: a lease that stays makes others wait for nothing.
const RELEASE_PAUSE: Duration = Duration::from_millis(100);

/// Deletes a lease only if it is still the caller's.
static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0",
    )
});

/// The fleet's leases.
#[derive(Clone)]
pub struct RedisLeases {
    servers: Arc<Servers>,
    /// `larder:{service}:lease:`
    prefix: Arc<str>,
}

/// A lease of this process; dropping it lets go in the background. One that is lost with its process ends by itself.
pub struct Held {
    servers: Arc<Servers>,
    key: String,
    token: String,
}

impl RedisLeases {
    pub(super) fn new(servers: &Arc<Servers>, service: &str) -> Self {
        let prefix = format!("larder:{}:lease:", name(service)).into();
        Self { servers: servers.clone(), prefix }
    }
}

impl Leases for RedisLeases {
    type Held = Held;

    async fn acquire(&self, key: Key, span: Duration) -> Lease<Held> {
        let name = format!("{}{key}", self.prefix);
        // What is fetched could not be stored now: nobody would gain anything by waiting for it.
        if !self.servers.can_write(&name) {
            return Lease::Mine(None);
        }
        // Nobody else can guess the token, so nobody else lets go of this lease.
        let token = format!("{:032x}", rand::random::<u128>());
        let held = Held { servers: self.servers.clone(), key: name, token };
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut set = redis::cmd("SET");
        set.arg(&held.key).arg(&held.token).arg("NX").arg("PX").arg(millis);
        let asked = self.servers.for_request(&held.key).ask::<Option<String>>(&set).await;
        match asked {
            Ok(None) => {
                held.forget();
                Lease::Theirs
            }
            Err(StoreError::Open) => {
                held.forget();
                Lease::Mine(None)
            }
            // It may have been set although the answer did not come: the guard lets go of it then.
            Ok(Some(_)) | Err(_) => Lease::Mine(Some(held)),
        }
    }

    async fn released(&self, key: Key, longest: Duration) -> Waited {
        let key = format!("{}{key}", self.prefix);
        let end = Instant::now() + longest;
        let mut pause = PAUSES.0;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Waited::Over;
            }
            sleep(pause.mul_f64(rand::random_range(0.5..1.0)).min(left)).await;
            pause = (pause * 2).min(PAUSES.1);
            let mut exists = redis::cmd("EXISTS");
            exists.arg(&key);
            match self.servers.for_request(&key).ask::<bool>(&exists).await {
                Ok(true) => {}
                Ok(false) => return Waited::Over,
                Err(_) => return Waited::OutOfReach,
            }
        }
    }
}

impl Held {
    /// There is nothing to let go of.
    fn forget(mut self) {
        self.key.clear();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.key.is_empty() {
            return;
        }
        let (key, token) = (std::mem::take(&mut self.key), std::mem::take(&mut self.token));
        let servers = Arc::downgrade(&self.servers);
        self.servers.spawn(async move {
            if timeout(RELEASE_PATIENCE, release(servers, &key, &token)).await.is_err() {
                tracing::debug!("a lease could not be released; it ends by itself");
            }
        });
    }
}

/// Lets go, as often as it takes: a connection that was lost is made again soon.
async fn release(servers: Weak<Servers>, key: &str, token: &str) {
    let mut release = RELEASE.call();
    release.key(key).arg(token);
    while let Some(servers) = servers.upgrade() {
        match servers.in_background(key, RELEASE_PATIENCE).call::<i64>(&release).await {
            Err(StoreError::Away(_)) => {}
            Ok(_) | Err(_) => return,
        }
        drop(servers);
        sleep(RELEASE_PAUSE).await;
    }
}
