//! Leases in Redis: the right to fetch a key, one per fleet.

use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use redis::Script;
use tokio::time::{Instant, sleep, timeout};

use crate::key::Key;
use crate::store::redis::link::{Link, Use};
use crate::store::redis::name;
use crate::store::{Lease, Leases, StoreError};

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
    link: Arc<Link>,
    /// `larder:{service}:lease:`
    prefix: Arc<str>,
}

/// A lease of this process; dropping it lets go in the background. One that is lost with its process ends by itself.
pub struct Held {
    link: Arc<Link>,
    key: String,
    token: String,
}

impl RedisLeases {
    pub(super) fn new(link: &Arc<Link>, service: &str) -> Self {
        let prefix = format!("larder:{}:lease:", name(service)).into();
        Self { link: link.clone(), prefix }
    }
}

impl Leases for RedisLeases {
    type Held = Held;

    async fn acquire(&self, key: Key, span: Duration) -> Lease<Held> {
        // What is fetched could not be stored now: nobody would gain anything by waiting for it.
        if !self.link.can_write() {
            return Lease::Mine(None);
        }
        // Nobody else can guess the token, so nobody else lets go of this lease.
        let token = format!("{:032x}", rand::random::<u128>());
        let held = Held { link: self.link.clone(), key: format!("{}{key}", self.prefix), token };
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut set = redis::cmd("SET");
        set.arg(&held.key).arg(&held.token).arg("NX").arg("PX").arg(millis);
        let asked = self.link.ask(|mut connection| async move {
            set.query_async::<Option<String>>(&mut connection).await
        });
        match asked.await {
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

    async fn released(&self, key: Key, longest: Duration) {
        let key = format!("{}{key}", self.prefix);
        let end = Instant::now() + longest;
        let mut pause = PAUSES.0;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            sleep(pause.mul_f64(rand::random_range(0.5..1.0)).min(left)).await;
            pause = (pause * 2).min(PAUSES.1);
            let mut exists = redis::cmd("EXISTS");
            exists.arg(&key);
            let asked = self.link.ask(|mut connection| async move {
                exists.query_async::<bool>(&mut connection).await
            });
            match asked.await {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
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
        let link = Arc::downgrade(&self.link);
        self.link.spawn(async move {
            if timeout(RELEASE_PATIENCE, release(link, &key, &token)).await.is_err() {
                tracing::debug!("a lease could not be released; it ends by itself");
            }
        });
    }
}

/// Lets go, as often as it takes: a connection that was lost is made again soon.
async fn release(link: Weak<Link>, key: &str, token: &str) {
    while let Some(link) = link.upgrade() {
        let released = link.ask_within(Use::Write, RELEASE_PATIENCE, |mut connection| async move {
            RELEASE.key(key).arg(token).invoke_async::<i64>(&mut connection).await
        });
        match released.await {
            Err(StoreError::Away(_)) => {}
            Ok(_) | Err(_) => return,
        }
        drop(link);
        sleep(RELEASE_PAUSE).await;
    }
}
