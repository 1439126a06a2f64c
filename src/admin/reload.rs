//! The configuration over HTTP: what is in force, and having it loaded again.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::admin::problem::Problem;

/// A request to load the configuration again; whoever receives it answers it.
#[derive(Debug)]
pub struct Reload {
    answer: oneshot::Sender<Result<Reloaded, Refusal>>,
}

/// A configuration was taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys whose change takes a restart, and is not in force.
    pub needs_restart: Vec<String>,
}

/// Why a configuration was not taken over; the old one stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// All its faults, each as `FILE:LINE:COL: what is wrong; what would be right`.
    Faulty(Vec<String>),
    /// There is no file to load.
    NoFile,
}

impl Reload {
    /// Tells the asker what became of it. An asker who left misses it, nothing else.
    pub fn answer(self, result: Result<Reloaded, Refusal>) {
        let _ = self.answer.send(result);
    }
}

/// How long loading may take.
const LONGEST: Duration = Duration::from_secs(30);

/// Has the configuration loaded again. Dropped while it waits, it is loaded all the same.
pub(crate) async fn reload(loader: &mpsc::Sender<Reload>) -> Result<Value, Problem> {
    let (answer, told) = oneshot::channel();
    let busy = || Problem::unavailable("the configuration is being loaded already");
    loader.try_send(Reload { answer }).map_err(|_| busy())?;
    let told = timeout(LONGEST, told).await;
    match told.map_err(|_| busy())?.map_err(|_| Problem::unavailable("larder is about to end"))? {
        Ok(reloaded) => Ok(json!({ "reloaded": true, "needs_restart": reloaded.needs_restart })),
        Err(Refusal::Faulty(faults)) => {
            let detail = "the configuration has faults; the one in force stays";
            Err(Problem::unprocessable(detail).with("faults", faults))
        }
        Err(Refusal::NoFile) => Err(Problem::unprocessable(
            "larder was started without a configuration file; there is nothing to load",
        )),
    }
}
