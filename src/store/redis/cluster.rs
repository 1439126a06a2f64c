//! Draws the map of a Cluster: asks its nodes now and then, and at once when the map is in doubt.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::Value;
use redis::aio::MultiplexedConnection;
use tokio::time::{sleep, timeout};

use crate::store::redis::address::{Address, Dialer};
use crate::store::redis::lane::{Way, connect};
use crate::store::redis::link::{Deadline, Link, Preface, Use};
use crate::store::redis::map::ReadFrom;
use crate::store::redis::servers::Shared;
use crate::store::redis::slots::View;

/// Between two looks while all is well.
const LOOK: Duration = Duration::from_secs(5);
/// The same while a master is away, for a replica may take its place.
const LOOK_IN_TROUBLE: Duration = Duration::from_millis(300);
/// Between two looks at least, however great the doubt is.
const REST: Duration = Duration::from_millis(100);
/// How long a node may take to say what it knows.
const PATIENCE: Duration = Duration::from_millis(500);

/// Keeps the map of a Cluster.
pub(super) struct Cluster {
    pub(super) shared: Arc<Shared>,
    pub(super) dialer: Dialer,
    /// Nodes that are asked when no other can be.
    pub(super) seeds: Vec<Address>,
    pub(super) read_from: ReadFrom,
}

/// What one node says.
struct Said {
    view: View,
    /// Rises with every failover and every move of slots that the node has heard of.
    epoch: u64,
}

impl Cluster {
    pub(super) async fn keep(self) {
        let mut known = View::default();
        loop {
            match newest(self.look().await) {
                Some(mut view) => {
                    if self.read_from == ReadFrom::Masters {
                        view.0.iter_mut().for_each(|shard| shard.replicas.clear());
                    }
                    if view != known {
                        tracing::info!(redis.masters = view.0.len(), "the Redis Cluster is known");
                        self.shared.take_over(&view).await;
                        known = view;
                    }
                }
                None => self.shared.give_up(),
            }
            let is_well =
                !known.0.is_empty() && self.shared.links().iter().all(|link| link.is_up());
            let pause = if is_well { LOOK } else { LOOK_IN_TROUBLE };
            // Several instances do not look at the same moment.
            sleep(REST.mul_f64(rand::random_range(1.0..2.0))).await;
            tokio::select! {
                () = sleep(pause.mul_f64(rand::random_range(0.5..1.0))) => {}
                () = self.shared.doubt.notified() => {}
            }
        }
    }

    /// What every node says that can be reached; the seeds are asked where none can.
    async fn look(&self) -> Vec<Said> {
        let links = self.shared.links();
        let said = join_all(links.iter().map(|link| ask_link(link))).await;
        let said: Vec<Said> = said.into_iter().flatten().collect();
        if !said.is_empty() {
            return said;
        }
        join_all(self.seeds.iter().map(|seed| self.ask_seed(seed)))
            .await
            .into_iter()
            .flatten()
            .collect()
    }

    async fn ask_seed(&self, seed: &Address) -> Option<Said> {
        let client = self.dialer.client(seed).ok()?;
        let way = Way { client, address: seed.clone(), may_be_replica: false };
        let asked = async {
            let mut connection: MultiplexedConnection = connect(&way).await.ok()?;
            let slots = slots().query_async(&mut connection).await.ok()?;
            let info = info().query_async(&mut connection).await.ok()?;
            Said::read(slots, info, seed)
        };
        timeout(PATIENCE, asked).await.ok()?
    }
}

async fn ask_link(link: &Link) -> Option<Said> {
    let ask = async |command: redis::Cmd| {
        let deadline = Deadline::within(PATIENCE);
        link.ask(&command, Preface::Nothing, Use::Background, deadline).await.ok()
    };
    let slots = ask(slots()).await?;
    Said::read(slots, ask(info()).await?, link.address())
}

fn slots() -> redis::Cmd {
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    command
}

fn info() -> redis::Cmd {
    let mut command = redis::cmd("CLUSTER");
    command.arg("INFO");
    command
}

impl Said {
    fn read(slots: Value, info: Value, by: &Address) -> Option<Self> {
        let info: String = redis::from_redis_value(info).ok()?;
        let epoch = info.lines().find_map(|line| line.strip_prefix("cluster_current_epoch:"))?;
        Some(Self { view: View::read(slots, by)?, epoch: epoch.trim().parse().ok()? })
    }
}

/// What those say who have heard the latest news; among them, what most say.
fn newest(said: Vec<Said>) -> Option<View> {
    let latest = said.iter().map(|said| said.epoch).max()?;
    let views: Vec<View> =
        said.into_iter().filter(|said| said.epoch == latest).map(|said| said.view).collect();
    let count = |view: &View| views.iter().filter(|other| *other == view).count();
    views.iter().max_by_key(|view| count(view)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(master: &str, epoch: u64) -> Said {
        Said { view: View::alone(Address::new(master, 1), Vec::new()), epoch }
    }

    #[test]
    fn the_latest_epoch_wins_and_then_the_majority() {
        let master = |said| newest(said).map(|view| view.0[0].master.host.to_string());
        assert_eq!(master(vec![]), None);
        assert_eq!(master(vec![said("a", 7), said("b", 8), said("a", 7)]).as_deref(), Some("b"));
        let split = vec![said("a", 8), said("b", 8), said("b", 8), said("a", 7), said("a", 7)];
        assert_eq!(master(split).as_deref(), Some("b"));
    }
}
