//! Sends what was asked for into the stack below the hit path, a bounded number at a time.

use std::fmt::Display;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};
use tracing::debug;

use crate::lookup::Lookup;
use crate::lookup::answer::Answer;
use crate::refresh::{Asked, Queue};
use crate::telemetry::metrics::Metrics;

/// Works the queue off until nobody can ask any more. A refresh is a lookup like any other: it joins a client's
/// flight, or finds what a sibling wrote, or asks the origin conditionally; the tiers keep the answer. A failed
/// one harms nothing: what is stored stays, and its windows end by themselves.
pub async fn work<S>(mut queue: Queue, stack: S, at_once: usize, tasks: TaskTracker)
where
    S: Service<Box<Lookup>, Response = Answer> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Display + Send,
{
    let permits = Arc::new(Semaphore::new(at_once));
    while let Some(asked) = queue.next().await {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let (stack, metrics) = (stack.clone(), queue.metrics.clone());
        tasks.spawn(async move {
            refresh(stack, asked, &metrics).await;
            drop(permit);
        });
    }
}

async fn refresh<S>(stack: S, asked: Asked, metrics: &Metrics)
where
    S: Service<Box<Lookup>, Response = Answer>,
    S::Error: Display,
{
    let Asked { mut lookup, _name } = asked;
    lookup.now = crate::time::Timestamp::now();
    if let Err(why) = bring(stack, lookup).await {
        metrics.counts().refreshes_failed.one();
        debug!(error = %why, "a refresh failed");
    }
}

/// Has the stack bring what `lookup` asks for.
pub async fn bring<S>(stack: S, lookup: Lookup) -> Result<(), S::Error>
where
    S: Service<Box<Lookup>, Response = Answer>,
{
    let answer = stack.oneshot(Box::new(lookup)).await?;
    // Whoever leads the flight lands it; here only a lookup that went alone could have something left.
    drop(answer.landing.run().await);
    Ok(())
}
