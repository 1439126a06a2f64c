//! Tells purges to whoever caches downstream, in order, and again until they are taken or given up.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, redirect};
use secrecy::ExposeSecret;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::admin::downstream::{Board, State};
use crate::config::settings::Downstream;
use crate::purge::announce::{Announced, Words};
use crate::purge::purger::Submitted;
use crate::telemetry::metrics::Metrics;

/// Between two attempts, at first and at last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// Whom purges are told; a reload replaces them.
pub(crate) type Targets = Arc<ArcSwap<Vec<Downstream>>>;

/// What each teller needs.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) targets: Targets,
    pub(crate) board: Arc<Board>,
    pub(crate) metrics: Metrics,
}

/// How one attempt fails.
enum Failure {
    /// Another one may succeed.
    Passing(String),
    /// Another one would be answered the same.
    Lasting(String),
}

/// Hands every purge to the teller of each target; for ever.
pub(crate) async fn tell(desk: Desk, mut submissions: broadcast::Receiver<Arc<Submitted>>) {
    let client = Client::builder().redirect(redirect::Policy::none()).build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            warn!(%error, "nobody can be told of purges");
            return;
        }
    };
    let mut queues: HashMap<Arc<str>, mpsc::Sender<Arc<Submitted>>> = HashMap::new();
    let mut tellers = JoinSet::new();
    loop {
        let submitted = match submissions.recv().await {
            Ok(submitted) => submitted,
            Err(RecvError::Lagged(missed)) => {
                desk.metrics.counts().downstream_failed.add(missed);
                warn!(purges = missed, "too many purges at once; they were told nobody downstream");
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        let targets = desk.targets.load_full();
        // A teller whose target is gone works off what it has, and ends.
        queues.retain(|name, _| targets.iter().any(|target| target.name == *name));
        while tellers.try_join_next().is_some() {}
        for target in &*targets {
            let queue = queues.entry(target.name.clone()).or_insert_with(|| {
                let (queue, waiting) = mpsc::channel(target.queue);
                tellers.spawn(work(desk.clone(), client.clone(), target.name.clone(), waiting));
                queue
            });
            let waiting = State::Waiting { attempts: 0, why: None };
            desk.board.note(submitted.mark, &target.name, waiting);
            if queue.try_send(submitted.clone()).is_err() {
                desk.give_up(&submitted, target, "too many purges wait".into());
            }
        }
    }
}

/// Tells one target of its purges, one after another.
async fn work(
    desk: Desk,
    client: Client,
    name: Arc<str>,
    mut waiting: mpsc::Receiver<Arc<Submitted>>,
) {
    while let Some(submitted) = waiting.recv().await {
        let mut attempt = 0;
        loop {
            let targets = desk.targets.load_full();
            let Some(target) = targets.iter().find(|target| target.name == name) else { break };
            let said = Announced::of(submitted.mark, &submitted.record, target.site.as_deref());
            let unsaid: BTreeSet<_> = said.kinds().difference(&named(target)).copied().collect();
            let unsaid = unsaid.into_iter().collect::<Vec<_>>().join(", ");
            if said.kinds().is_disjoint(&named(target)) {
                desk.give_up(&submitted, target, format!("it is not told of {unsaid}"));
                break;
            }
            attempt += 1;
            match once(&client, target, &said).await {
                Ok(()) => {
                    desk.told(&submitted, target, &unsaid);
                    break;
                }
                Err(Failure::Passing(why)) if attempt < target.attempts => {
                    desk.metrics.counts().downstream_retried.one();
                    let state = State::Waiting { attempts: attempt, why: Some(why) };
                    desk.board.note(submitted.mark, &name, state);
                    let pause = PAUSES.0 * 2_u32.saturating_pow(attempt - 1);
                    sleep(pause.min(PAUSES.1).mul_f64(rand::random_range(0.5..1.0))).await;
                }
                Err(Failure::Passing(why) | Failure::Lasting(why)) => {
                    desk.give_up(&submitted, target, why);
                    break;
                }
            }
        }
    }
}

impl Desk {
    fn told(&self, submitted: &Submitted, target: &Downstream, unsaid: &str) {
        self.metrics.counts().downstream_told.one();
        let state = if unsaid.is_empty() {
            info!(purge.mark = %submitted.mark, downstream = %target.name, "told downstream");
            State::Told
        } else {
            self.metrics.counts().downstream_failed.one();
            warn!(
                purge.mark = %submitted.mark, downstream = %target.name, purge.unsaid = unsaid,
                "a purge was not told whole"
            );
            State::InPart(format!("it is not told of {unsaid}"))
        };
        self.board.note(submitted.mark, &target.name, state);
    }

    fn give_up(&self, submitted: &Submitted, target: &Downstream, why: String) {
        self.metrics.counts().downstream_failed.one();
        warn!(
            purge.mark = %submitted.mark, downstream = %target.name, downstream.place = target.place,
            error = why, "a purge is not told downstream"
        );
        self.board.note(submitted.mark, &target.name, State::Failed(why));
    }
}

/// What a target can be told of.
fn named(target: &Downstream) -> BTreeSet<&'static str> {
    let fields = target.fields.iter().map(|(_, words)| words);
    fields.chain(&target.body).flat_map(Words::named).collect()
}

async fn once(client: &Client, target: &Downstream, said: &Announced) -> Result<(), Failure> {
    let mut request =
        client.request(target.method.clone(), target.url.expose_secret()).timeout(target.timeout);
    if let Some(body) = &target.body {
        let json = HeaderValue::from_static("application/json");
        request = request.header(CONTENT_TYPE, json).body(body.json(said));
    }
    for (name, words) in &target.fields {
        let value = HeaderValue::from_str(&words.plain(said))
            .map_err(|_| Failure::Lasting(format!("the field {name} cannot carry its value")))?;
        request = request.header(name, value);
    }
    // The URL may hold a secret.
    let answer =
        request.send().await.map_err(|error| Failure::Passing(cause(&error.without_url())))?;
    let status = answer.status();
    let why = || format!("it answered {status}");
    match status.as_u16() {
        200..=299 => Ok(()),
        408 | 425 | 429 => Err(Failure::Passing(why())),
        300..=499 => Err(Failure::Lasting(why())),
        _ => Err(Failure::Passing(why())),
    }
}

/// The last cause is the one that says something.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
