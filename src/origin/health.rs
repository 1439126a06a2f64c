//! Asks the endpoints of an origin how they are, and remembers what that means for requests.

use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Extensions, Method, Request, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use crate::message::call::Call;
use crate::message::lines::FieldLines;
use crate::origin::Origin;
use crate::origin::body::Outgoing;
use crate::origin::client::Trouble;
use crate::origin::endpoint::{self, Endpoint};

/// How each endpoint is asked whether it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What is asked for by GET: 2xx and 3xx say that it is well.
    pub path: PathAndQuery,
    /// From one check to the next.
    pub every: Duration,
    /// How long an answer may take, connecting included.
    pub timeout: Duration,
    /// Checks in a row that must fail before it gets no more requests.
    pub unhealthy_after: u32,
    /// Checks in a row that must succeed before it gets requests again.
    pub healthy_after: u32,
}

/// What is read of the answer to a check, so that its connection can be used again.
const ANSWER: usize = 64 << 10;

/// The least share of requests that an endpoint which is back gets: without any it would never warm up.
const LEAST: f64 = 0.1;

/// Whether an endpoint is up, as its checks say, and since when. Reading it is one relaxed load.
#[derive(Debug)]
pub(super) struct Vitals {
    born: Instant,
    /// Zero: it is down. One: it was never down. Else microseconds after `born` when it came back.
    since: AtomicU64,
}

/// What the checks of one endpoint have said lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Course {
    health: Health,
    /// Checks in a row that speak against `health`.
    against: u32,
}

/// Whether an endpoint gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Up,
    Down,
}

impl Vitals {
    pub(super) fn new() -> Self {
        Self { born: Instant::now(), since: AtomicU64::new(1) }
    }

    pub(super) fn is_up(&self) -> bool {
        self.since.load(Ordering::Relaxed) != 0
    }

    /// The share of its usual requests that it gets, from 0 to 1: one that came back is given more and more over
    /// `slow_start`.
    pub(super) fn share(&self, now: Instant, slow_start: Duration) -> f64 {
        match self.since.load(Ordering::Relaxed) {
            0 => 0.0,
            1 => 1.0,
            _ if slow_start.is_zero() => 1.0,
            since => {
                let up = (now - self.born).saturating_sub(Duration::from_micros(since));
                (up.as_secs_f64() / slow_start.as_secs_f64()).clamp(LEAST, 1.0)
            }
        }
    }

    fn set(&self, health: Health, now: Instant) {
        let micros = u64::try_from((now - self.born).as_micros()).unwrap_or(u64::MAX);
        let since = match health {
            Health::Up => micros.max(2),
            Health::Down => 0,
        };
        self.since.store(since, Ordering::Relaxed);
    }
}

impl Course {
    const START: Self = Self { health: Health::Up, against: 0 };

    /// Takes the result of one check; says what the endpoint is from now on, where that changed.
    fn hear(&mut self, heard: Health, settings: &Settings) -> Option<Health> {
        if heard == self.health {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let enough = match heard {
            Health::Up => settings.healthy_after,
            Health::Down => settings.unhealthy_after,
        };
        if self.against < enough {
            return None;
        }
        *self = Self { health: heard, against: 0 };
        Some(heard)
    }
}

/// Checks all endpoints of `origin` at its pace, until the origin is gone; returns at once where it wants no checks.
/// May be dropped at any time.
pub async fn watch(origin: Weak<Origin>) {
    let Some((settings, number)) =
        origin.upgrade().and_then(|origin| Some((origin.health.clone()?, origin.endpoints.len())))
    else {
        return;
    };
    let mut courses = vec![Course::START; number];
    let mut pace = interval(settings.every);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let Some(origin) = origin.upgrade() else { return };
        let checks = origin.endpoints.iter().map(|endpoint| check(&origin, endpoint, &settings));
        let heard = join_all(checks).await;
        for ((endpoint, course), heard) in origin.endpoints.iter().zip(&mut courses).zip(heard) {
            let health = if heard.is_ok() { Health::Up } else { Health::Down };
            if let Some(health) = course.hear(health, &settings) {
                endpoint.vitals().set(health, Instant::now());
                tell(&origin, endpoint, &heard);
            }
        }
    }
}

fn tell(origin: &Origin, endpoint: &Endpoint, heard: &Result<(), String>) {
    let (name, endpoint) = (origin.name(), endpoint.uri());
    match heard {
        Ok(()) => {
            info!(origin.name = %name, origin.endpoint = %endpoint, "the endpoint is well again");
        }
        Err(why) => warn!(
            { origin.name = %name, origin.endpoint = %endpoint, error = why },
            "the endpoint is not well and gets no requests while another one is"
        ),
    }
}

/// One check; the error says what is wrong.
async fn check(origin: &Origin, endpoint: &Endpoint, settings: &Settings) -> Result<(), String> {
    let asked = async {
        let (body, feed) = Outgoing::new(Empty::<Bytes>::new());
        let request = request(origin, endpoint, &settings.path, body);
        let response =
            endpoint.exchange(request, feed, None).await.map_err(|trouble| match trouble {
                Trouble::NoConnection(why) | Trouble::Failed(why) => why.to_string(),
                Trouble::Unsent => "the connection was closed".into(),
            })?;
        let status = response.status;
        // Whatever it says beyond its status is of no interest; a long text costs the connection.
        let _ = Limited::new(response.body, ANSWER).collect().await;
        if status.is_success() || status.is_redirection() {
            Ok(())
        } else {
            Err(format!("it answered {status}"))
        }
    };
    let within = settings.timeout;
    timeout(within, asked).await.unwrap_or_else(|_| Err(format!("no answer within {within:?}")))
}

fn request(
    origin: &Origin,
    endpoint: &Endpoint,
    path: &PathAndQuery,
    body: Outgoing,
) -> Request<Outgoing> {
    let mut fields = FieldLines::with_capacity(2, 128);
    fields.push(&USER_AGENT, b"larder-health");
    fields.push(&HOST, endpoint.authority().as_str().as_bytes());
    let (method, uri) = (Method::GET, Uri::from(path.clone()));
    let mut call = Call { method, uri, fields, extensions: Extensions::new(), body: () };
    endpoint::name_host(&origin.host, &mut call);
    call.request(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            path: PathAndQuery::from_static("/healthz"),
            every: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            unhealthy_after: 3,
            healthy_after: 2,
        }
    }

    #[test]
    fn only_checks_in_a_row_change_what_an_endpoint_is() {
        let (mut course, settings) = (Course::START, settings());
        let mut heard = |health| course.hear(health, &settings);
        for _ in 0..3 {
            assert_eq!(heard(Health::Down), None);
            assert_eq!(heard(Health::Down), None);
            assert_eq!(heard(Health::Up), None);
        }
        assert_eq!([Health::Down; 3].map(&mut heard), [None, None, Some(Health::Down)]);
        assert_eq!(heard(Health::Down), None, "it is told once");
        assert_eq!(heard(Health::Up), None);
        assert_eq!(heard(Health::Down), None);
        assert_eq!([Health::Up; 3].map(&mut heard), [None, Some(Health::Up), None]);
    }

    #[test]
    fn an_endpoint_that_is_back_gets_more_and_more() {
        let vitals = Vitals::new();
        let (slow, begun) = (Duration::from_secs(10), vitals.born + Duration::from_secs(5));
        assert!((vitals.share(begun, slow) - 1.0).abs() < 0.001, "it was never away");
        vitals.set(Health::Down, begun);
        assert!(!vitals.is_up());
        assert!(vitals.share(begun, slow) < 0.001);
        vitals.set(Health::Up, begun);
        assert!(vitals.is_up());
        for (after, share) in [(0, 0.1), (1, 0.1), (5, 0.5), (10, 1.0), (60, 1.0)] {
            let told = vitals.share(begun + Duration::from_secs(after), slow);
            assert!((told - share).abs() < 0.001, "{told} after {after} s");
        }
        assert!((vitals.share(begun, Duration::ZERO) - 1.0).abs() < 0.001);
    }
}
