//! Finds the master behind Sentinel: asks the sentinels now and then, and at once when the master is in doubt.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tokio::time::{sleep, timeout};

use crate::store::redis::address::Address;
use crate::store::redis::lane::{Way, connect};
use crate::store::redis::map::ReadFrom;
use crate::store::redis::servers::Shared;
use crate::store::redis::slots::View;

/// Between two looks while all is well.
const LOOK: Duration = Duration::from_secs(1);
/// The same while the master is away, for a replica may take its place.
const LOOK_IN_TROUBLE: Duration = Duration::from_millis(200);
/// Between two looks at least, however great the doubt is.
const REST: Duration = Duration::from_millis(50);
/// How long a sentinel may take to say what it knows.
const PATIENCE: Duration = Duration::from_millis(500);

/// Keeps the map of a master and its replicas.
pub(super) struct Sentinels {
    pub(super) shared: Arc<Shared>,
    /// What the sentinels call the master.
    pub(super) master: String,
    pub(super) all: Vec<Sentinel>,
    pub(super) read_from: ReadFrom,
}

/// One sentinel, and the connection to it while there is one.
pub(super) struct Sentinel {
    pub(super) way: Way,
    pub(super) connection: Option<MultiplexedConnection>,
}

/// What one sentinel says.
struct Said {
    view: View,
    /// Rises with every failover.
    epoch: u64,
}

impl Sentinels {
    pub(super) async fn keep(mut self) {
        let mut known = View::default();
        loop {
            match self.look().await {
                Some(view) if view != known => {
                    if known.0.first().map(|shard| &shard.master)
                        != view.0.first().map(|shard| &shard.master)
                    {
                        let master = view.0.first().map(|shard| shard.master.to_string());
                        tracing::info!(
                            redis.server = master,
                            "the master behind Sentinel is known"
                        );
                    }
                    self.shared.take_over(&view).await;
                    known = view;
                }
                Some(_) => {}
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

    /// What the sentinel says that has heard the latest news.
    async fn look(&mut self) -> Option<View> {
        let (master, read_from) = (self.master.as_str(), self.read_from);
        let asked = self.all.iter_mut().map(|sentinel| sentinel.look(master, read_from));
        let said = join_all(asked).await.into_iter().flatten();
        said.max_by_key(|said| said.epoch).map(|said| said.view)
    }
}

impl Sentinel {
    async fn look(&mut self, master: &str, read_from: ReadFrom) -> Option<Said> {
        let looked = timeout(PATIENCE, self.ask(master, read_from)).await;
        let said = looked.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
        said.inspect_err(|why| {
            self.connection = None;
            tracing::debug!(redis.server = %self.way.address, redis.cause = why, "a sentinel does not answer");
        })
        .ok()
    }

    async fn ask(&mut self, master: &str, read_from: ReadFrom) -> Result<Said, String> {
        // Taken, so that an answer that comes too late goes with its connection.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.way).await?,
        };
        let said = said(&mut connection, master, read_from).await;
        self.connection = Some(connection);
        said.map_err(|error| error.to_string())?.ok_or_else(|| "it knows no such master".to_owned())
    }
}

/// The address comes from the command that tells of a failover first, the epoch from the one that has it.
async fn said(
    connection: &mut MultiplexedConnection,
    master: &str,
    read_from: ReadFrom,
) -> RedisResult<Option<Said>> {
    let mut both = redis::pipe();
    both.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    both.cmd("SENTINEL").arg("MASTER").arg(master);
    let (address, told): (Option<(String, u16)>, HashMap<String, String>) =
        both.query_async(connection).await?;
    let Some((host, port)) = address else { return Ok(None) };
    let epoch = told.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
    let replicas = if read_from == ReadFrom::Replicas {
        let mut replicas = redis::cmd("SENTINEL");
        replicas.arg("REPLICAS").arg(master);
        let told: Vec<HashMap<String, String>> = replicas.query_async(connection).await?;
        told.iter().filter_map(replica).collect()
    } else {
        Vec::new()
    };
    Ok(Some(Said { view: View::alone(Address::new(&host, port), replicas), epoch }))
}

/// A replica that follows its master.
fn replica(told: &HashMap<String, String>) -> Option<Address> {
    let is_well = told.get("flags")? == "slave" && told.get("master-link-status")? == "ok";
    let port = told.get("port")?.parse().ok()?;
    is_well.then(|| Address::new(told.get("ip").map_or("", String::as_str), port))
}
