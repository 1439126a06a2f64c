//! Whether the store behind memory can be what it is said to be.

use std::collections::HashSet;

use crate::config::check::{At, Check};
use crate::config::file::store::{Disk, Encrypt, L2, Redis, Sentinel, Stores, Without};
use crate::config::scalar::address::RedisUrl;

impl Check<'_> {
    pub(super) fn l2(&mut self) {
        let at = self.root.key("l2");
        let stores = match &self.file.l2 {
            L2::Without(Without::None) => return,
            L2::Stores(stores) => stores,
        };
        let Stores { redis, disk, max_object, encrypt, .. } = &**stores;
        match (redis, disk) {
            (Some(_), Some(_)) => {
                let both = [at.key("redis"), at.key("disk")];
                let later =
                    both.into_iter().max_by_key(|at| at.place).unwrap_or_else(|| at.clone());
                self.fault(&later, "`l2` names both `redis` and `disk`", "keep one of the two");
            }
            (None, None) if !self.is_partly_faulty(&at) => {
                let right = "add `redis` or `disk`, or write l2: none";
                self.fault(&at, "`l2` names no store", right);
            }
            (Some(_) | None, None) | (None, Some(_)) => {}
        }
        if let Some(redis) = redis {
            self.redis(redis, &at.key("redis"));
        }
        if let Some(disk) = disk {
            self.disk(disk, &at.key("disk"));
        }
        if max_object.0 == 0 {
            let what = "`max_object` is nothing, so that nothing is kept in L2";
            self.fault(&at.key("max_object"), what, "write a size such as 100KiB, or l2: none");
        }
        if let Some(encrypt) = encrypt {
            self.encrypt(encrypt, &at.key("encrypt"));
        }
    }

    fn encrypt(&mut self, encrypt: &Encrypt, at: &At<'_>) {
        let mut ids = HashSet::new();
        for (index, key) in encrypt.keys.iter().enumerate() {
            let at = at.key("keys").index(index);
            for (name, is_missing, right) in [
                ("id", key.id.is_none(), "give it one, such as 2026a"),
                ("secret", key.secret.is_none(), "take it from the environment: ${CACHE_KEY}"),
            ] {
                if is_missing && !self.told.covers(&at.key(name).path) {
                    self.fault(&at.key(name), format!("this key has no `{name}`"), right);
                }
            }
            if let Some(id) = &key.id
                && !ids.insert(id)
            {
                let what = format!("there is a key `{id}` already");
                self.fault(&at.key("id"), what, "give each its own id");
            }
        }
        let keys = at.key("keys");
        if encrypt.keys.is_empty() && !self.is_partly_faulty(at) && !self.told.covers(&keys.path) {
            let right =
                "add keys: [ { id: 2026a, secret: \"${CACHE_KEY}\" } ], or remove `encrypt`";
            self.fault(&keys, "`encrypt` has no key", right);
        }
    }

    fn redis(&mut self, redis: &Redis, at: &At<'_>) {
        let ways: Vec<_> = [
            ("url", redis.url.is_some()),
            ("cluster", redis.cluster.is_some()),
            ("sentinel", redis.sentinel.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, is_there)| is_there.then_some(key))
        .collect();
        match *ways {
            [] if !self.is_partly_faulty(at) => {
                let right = "add url: redis://HOST:6379/0, or `cluster`, or `sentinel`";
                self.fault(&at.key("url"), "`redis` has no `url`", right);
            }
            [first, second, ..] => {
                let what = format!("`redis` names both `{first}` and `{second}`");
                let right = "keep `url` for one server, `cluster` for a Cluster, or `sentinel`";
                self.fault(&at.key(second), what, right);
            }
            [] | [_] => {}
        }
        if let Some(sentinel) = &redis.sentinel {
            self.sentinel(sentinel, &at.key("sentinel"));
        }
        let urls: Vec<_> = redis.urls().collect();
        for (key, urls) in urls {
            self.redis_urls(urls, &key.split('.').fold(at.clone(), |at, key| at.key(key)));
        }
        if redis.read_from_replicas && redis.url.is_some() {
            let what = "`read_from_replicas` wants replicas, and one server has none";
            self.fault(&at.key("read_from_replicas"), what, "use `cluster` or `sentinel`");
        }
        self.redis_tls(redis, at);
        self.positive(&at.key("timeout"), redis.timeout);
        self.positive(&at.key("breaker").key("open_for"), redis.breaker.open_for);
    }

    fn sentinel(&mut self, sentinel: &Sentinel, at: &At<'_>) {
        if sentinel.master.is_none() {
            let right = "add what the sentinels call it, such as master: mymaster";
            self.fault(&at.key("master"), "`sentinel` names no `master`", right);
        }
        if sentinel.urls.is_none() {
            let right = "add urls: [ redis://HOST:26379 ]";
            self.fault(&at.key("urls"), "`sentinel` names no sentinel", right);
        }
        if sentinel.username.is_some() && sentinel.password.is_none() {
            let right = "add password: \"${REDIS_PASSWORD}\"";
            self.fault(&at.key("username"), "there is a `username` and no `password`", right);
        }
    }

    /// Of several servers that belong together.
    fn redis_urls(&mut self, urls: &[RedisUrl], at: &At<'_>) {
        if at.path.ends_with("url") {
            return;
        }
        let mut seen = HashSet::new();
        for (index, url) in urls.iter().enumerate() {
            let at = at.index(index);
            if !seen.insert(url.server()) {
                self.fault(&at, "this server is listed already", "remove one of them");
            }
            if urls.first().is_some_and(|first| first.is_tls() != url.is_tls()) {
                let right = "write rediss:// for all of them, or for none";
                self.fault(&at, "some of these are reached by TLS and some are not", right);
            }
            if url.database() > 0 {
                let right = "end it with the port; with Sentinel write `database` beside it";
                self.fault(&at, "this URL names a database, and there is none here", right);
            }
        }
    }

    fn redis_tls(&mut self, redis: &Redis, at: &At<'_>) {
        let Some(tls) = &redis.tls else { return };
        let at = at.key("tls");
        if redis.urls().any(|(_, urls)| urls.iter().any(|url| !url.is_tls())) {
            let right = "write rediss:// instead of redis://, or remove `tls`";
            self.fault(&at, "`tls` is for servers that are reached by TLS", right);
        }
        let pair = (tls.certificate.as_deref(), tls.key.as_deref());
        if pair != (None, None) {
            self.certificate(pair, &at);
        }
        if let Some(ca) = &tls.ca {
            self.authorities(ca, &at.key("ca"));
        }
    }

    fn disk(&mut self, disk: &Disk, at: &At<'_>) {
        if !cfg!(feature = "disk") {
            let right = "build with the feature `disk`, use `redis`, or write l2: none";
            self.fault(at, "this Larder was built without the disk store", right);
        }
        if disk.path.as_ref().is_none_or(String::is_empty) {
            let right = "add path: /var/lib/larder";
            self.fault(&at.key("path"), "`disk` has no `path`", right);
        }
        if disk.capacity.0 < 64 << 20 {
            let what = format!("`{}` is too little for the disk store", disk.capacity);
            self.fault(&at.key("capacity"), what, "give it at least 64MiB");
        }
        self.positive(&at.key("timeout"), disk.timeout);
    }
}
