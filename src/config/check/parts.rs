//! Whether tokens, origins, stores and limits fit each other.

use std::collections::HashSet;
use std::time::Duration;

use http::uri::Scheme;
use secrecy::ExposeSecret;

use crate::config::check::{At, Check};
use crate::config::file::origin::Origin;
use crate::config::file::service::Rate;
use crate::config::file::store::{L2, Without};
use crate::config::scalar::HIDDEN;
use crate::config::scalar::amount::Size;
use crate::config::scalar::name::Name;
use crate::message::bearer::Digest;
use crate::message::fill::room_for;
use crate::rate::LONGEST;

/// Each worker is a thread with a socket for each listener, which takes what a processor takes.
const WORKERS: usize = 4096;
/// What memory may hold, at least and at most. The largest machines have some tens of TiB.
const LEAST: Size = Size(1 << 20);
const MOST: Size = Size(1 << 50);

impl Check<'_> {
    pub(super) fn parts(&mut self) {
        self.listeners();
        self.workers();
        self.tokens();
        self.origins();
        self.l1();
        self.l2();
        self.spans();
    }

    fn tokens(&mut self) {
        let mut names = HashSet::new();
        let mut secrets: Vec<(Digest, Option<&Name>)> = Vec::new();
        for (index, token) in self.file.admin.tokens.iter().enumerate() {
            let at = self.root.key("admin").key("tokens").index(index);
            let missing = [
                ("name", token.name.is_none(), "give it one, for the audit log"),
                ("secret", token.secret.is_none(), "take it from the environment: ${CI_TOKEN}"),
                ("scopes", token.scopes.is_none(), "list some of read, purge and config"),
            ];
            for (key, is_missing, right) in missing {
                if is_missing {
                    self.fault(&at.key(key), format!("this token has no `{key}`"), right);
                }
            }
            if let Some(name) = &token.name
                && !names.insert(name)
            {
                let what = format!("there is a token `{name}` already");
                self.fault(&at.key("name"), what, "give each its own name");
            }
            let secret = token.secret.as_ref().map(|secret| secret.0.expose_secret());
            // What is hidden in a printed configuration may be anything.
            let Some(secret) = secret.filter(|secret| *secret != HIDDEN) else { continue };
            let digest = Digest::of(secret.as_bytes());
            let mut earlier = secrets.iter();
            if let Some((_, other)) = earlier.find(|(earlier, _)| *earlier == digest) {
                let other =
                    other.map_or("another token".into(), |name| format!("the token `{name}`"));
                let what =
                    format!("{other} has this secret already, so that it is not known who calls");
                self.fault(&at.key("secret"), what, "give each its own secret");
            } else {
                secrets.push((digest, token.name.as_ref()));
            }
        }
    }

    /// Whether each worker can have its thread and its sockets.
    fn workers(&mut self) {
        let Some(workers) = self.file.workers.filter(|workers| workers.get() > WORKERS) else {
            return;
        };
        let what = format!("{workers} workers are more than any machine has cores for");
        let right =
            format!("write the number of cores, at most {WORKERS}, or leave it out for just that");
        self.fault(&self.root.key("workers"), what, &right);
    }

    fn origins(&mut self) {
        let at = self.root.key("origins");
        if self.file.origins.is_empty() && !self.is_partly_faulty(&at) {
            let right = "name one: origins: { api: { endpoints: [ http://127.0.0.1:3000 ] } }";
            self.fault(&at, "there is no origin", right);
        }
        for (name, origin) in &self.file.origins {
            let at = at.key(&name.0);
            if origin.endpoints.is_empty() {
                let what = format!("the origin `{name}` has no endpoint");
                let endpoints = At { place: at.place, ..at.key("endpoints") };
                self.fault(&endpoints, what, "add endpoints: [ http://HOST:PORT ]");
            }
            let mut seen = HashSet::new();
            for (index, endpoint) in origin.endpoints.iter().enumerate() {
                if !seen.insert(endpoint.to_string()) {
                    let what = format!("`{endpoint}` is listed twice");
                    self.fault(&at.key("endpoints").index(index), what, "remove one of them");
                }
            }
            let timeouts = at.key("timeouts");
            let spans = &origin.timeouts;
            self.positive(&timeouts.key("connect"), spans.connect);
            self.positive(&timeouts.key("first_byte"), spans.first_byte);
            self.positive(&timeouts.key("idle"), spans.idle);
            self.positive(&at.key("queue").key("timeout"), origin.queue.timeout);
            self.positive(&at.key("breaker").key("open_for"), origin.breaker.open_for);
            self.health(origin, &at);
            self.origin_tls(origin, &at);
        }
    }

    fn health(&mut self, origin: &Origin, at: &At<'_>) {
        let Some(health) = &origin.health else { return };
        let at = at.key("health");
        if health.path.is_none() && !self.told.covers(&at.key("path").path) {
            self.fault(&at, "`health` has no `path`", "add what is asked for: path: /healthz");
        }
        if health.every.0 < Duration::from_millis(100) {
            let what = format!("checks every {} are a load of their own", health.every);
            self.fault(&at.key("every"), what, "write 100ms or more, better 5s");
        }
        self.positive(&at.key("timeout"), health.timeout);
    }

    fn origin_tls(&mut self, origin: &Origin, at: &At<'_>) {
        let Some(tls) = &origin.tls else { return };
        let at = at.key("tls");
        if !origin.endpoints.iter().any(|endpoint| endpoint.scheme == Scheme::HTTPS) {
            let right = "write https:// instead of http://, or remove `tls`";
            self.fault(&at, "`tls` is for endpoints that are reached by TLS", right);
        }
        let pair = (tls.certificate.as_deref(), tls.key.as_deref());
        if pair != (None, None) {
            self.certificate(pair, &at);
        }
        if let Some(ca) = &tls.ca {
            self.authorities(ca, &at.key("ca"));
        }
    }

    fn l1(&mut self) {
        let at = self.root.key("l1");
        let l1 = &self.file.l1;
        if l1.capacity.0 == 0 {
            let what = "`capacity` is nothing, so that nothing is kept in memory";
            self.fault(&at.key("capacity"), what, "give it at least 1MiB, better 256MiB");
            return;
        }
        if l1.capacity.0 < LEAST.0 {
            let what = format!("`{}` is too little for memory to keep anything in", l1.capacity);
            self.fault(&at.key("capacity"), what, "give it at least 1MiB, better 256MiB");
            return;
        }
        if l1.capacity.0 > MOST.0 {
            let what = format!("`{}` is more memory than any machine has", l1.capacity);
            let right = format!("write what this one can spare, at most {MOST}");
            self.fault(&at.key("capacity"), what, &right);
            return;
        }
        let Some(object) = l1.max_object else { return };
        let largest = Size(l1.capacity.0 / 4);
        if object.0 > largest.0 {
            // Memory is kept in shards of equal size; one of a few must be able to hold the largest object.
            let what =
                format!("`{object}` is more than a quarter of `l1.capacity` ({})", l1.capacity);
            let right = format!("write {largest} or less, or raise the capacity");
            self.fault(&at.key("max_object"), what, &right);
        } else if object.0 == 0 {
            let what = "`max_object` is nothing, so that nothing is kept in memory";
            self.fault(&at.key("max_object"), what, "write a size such as 1MiB");
        }
    }

    /// Whether a rate can be counted.
    pub(super) fn rate(&mut self, rate: &Rate, at: &At<'_>) {
        let (requests, per) = (rate.requests, rate.per.0);
        if per.is_zero() {
            self.positive(&at.key("per"), rate.per);
        } else if per / requests.get() == Duration::ZERO {
            let what = format!("{requests} requests in {} are more than can be counted", rate.per);
            self.fault(&at.key("requests"), what, "write a longer `per`, or no rate");
        } else if (per / requests.get()).saturating_mul(rate.burst.unwrap_or(requests).get())
            > LONGEST
        {
            let what =
                "a client that has used it up waits for more than a day to have all of it again";
            let written = if rate.burst.is_some() { "burst" } else { "per" };
            self.fault(&at.key(written), what, "write a smaller `burst`, or a shorter `per`");
        }
    }

    /// Whether what is to be stored finds room on its way.
    fn air(&mut self, at: &At<'_>) {
        let (at, air) = (at.key("bodies_in_the_air"), self.file.limits.bodies_in_the_air);
        if air.0 == 0 {
            let what = "`bodies_in_the_air` is nothing, so that nothing can be stored";
            self.fault(&at, what, "write a size such as 256MiB");
            return;
        }
        let of_l2 = match &self.file.l2 {
            L2::Without(Without::None) => None,
            L2::Stores(stores) => Some(("l2", stores.max_object)),
        };
        let of_l1 = self.file.l1.max_object.map(|object| ("l1", object));
        for (layer, object) in of_l1.into_iter().chain(of_l2) {
            if air.0 < room_for(Some(object.0)) {
                let what = format!(
                    "in {air} there is no room for a body of `{layer}.max_object` ({object})"
                );
                let right = "bodies that find no room are not stored: write several times as much";
                self.warn(&at, what, right);
            }
        }
    }

    /// Spans that must not be zero, or not so short.
    fn spans(&mut self) {
        let at = self.root.key("limits");
        let limits = &self.file.limits;
        let spans = [
            ("handshake_timeout", limits.handshake_timeout),
            ("header_timeout", limits.header_timeout),
            ("idle_timeout", limits.idle_timeout),
            ("body_timeout", limits.body_timeout),
            ("stall_timeout", limits.stall_timeout),
        ];
        for (key, span) in spans {
            self.positive(&at.key(key), span);
        }
        if let Some(rate) = &limits.rate {
            self.rate(rate, &at.key("rate"));
        }
        let sizes = [("header_bytes", limits.header_bytes), ("target_bytes", limits.target_bytes)];
        for (key, size) in sizes {
            if !((1 << 10)..=(16 << 20)).contains(&size.0) {
                let what = format!("`{key}` of {size} is out of range");
                self.fault(&at.key(key), what, "write 1KiB to 16MiB");
            }
        }
        self.air(&at);
        let keep_for = self.file.purge.keep_for;
        if keep_for.0 < Duration::from_mins(1) {
            let at = self.root.key("purge").key("keep_for");
            let what = format!("a log of the last {keep_for} vouches for next to nothing");
            self.fault(&at, what, "write 1m or more, better 7d");
        }
        let lease = self.file.purge.lease;
        if lease.0 < Duration::from_secs(1) {
            let at = self.root.key("purge").key("lease");
            let what = format!("a lease of {lease} ends before the log can be heard");
            self.fault(&at, what, "write 1s or more, better 10s");
        }
    }
}
