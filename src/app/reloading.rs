//! Takes a changed configuration over while requests go on; stored entries stay.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::admin::reload::{Refusal, Reload, Reloaded};
use crate::app::admin::Changing;
use crate::app::assemble::{House, networks};
use crate::app::routes::{Origins, table, watch};
use crate::app::threshold::{offer, unfit};
use crate::app::{StartError, access_format};
use crate::config::reload::{Watch, carry_over};
use crate::config::settings::{Settings, Tls};
use crate::config::{Config, Overrides};
use crate::server::tls::Terms;
use crate::telemetry::logs::Level;

/// The one task that changes the configuration in force.
pub(crate) struct Reloading {
    house: Arc<House>,
    tasks: TaskTracker,
    running: Settings,
    origins: Origins,
    level: Level,
    terms: Option<Terms>,
    changing: Changing,
    config: Config,
    overrides: Overrides,
    asked: mpsc::Receiver<Reload>,
    outside: Outside,
}

/// What asks for a reload besides the admin API.
pub(crate) struct Outside {
    hangups: Option<Signal>,
    watch: Option<Watch>,
}

impl Outside {
    /// Listens from now on: a change that comes while Larder starts is not missed, and a SIGHUP does not end it.
    pub(crate) fn listen(config: &Config, settings: &Settings) -> Self {
        Self { hangups: signal(SignalKind::hangup()).ok(), watch: watching(config, settings) }
    }

    /// May be dropped: nothing is missed.
    async fn asks(&mut self) {
        tokio::select! {
            () = next(&mut self.hangups) => {}
            () = changed(&mut self.watch) => {}
        }
    }
}

/// Watches the configuration's file, and those that it names.
fn watching(config: &Config, settings: &Settings) -> Option<Watch> {
    let files = files(config, settings);
    if files.is_empty() {
        return None;
    }
    match Watch::new(files) {
        Ok(watch) => Some(watch),
        Err(why) => {
            warn!(error = %why, "a change of the configuration is taken over only when asked for");
            None
        }
    }
}

fn files(config: &Config, settings: &Settings) -> Vec<PathBuf> {
    let named = settings.tls.iter().flat_map(Tls::files);
    config.path().map(Path::to_owned).into_iter().chain(named).collect()
}

/// What the task starts from.
pub(crate) struct Start {
    pub(crate) house: Arc<House>,
    /// Where what watches new origins runs.
    pub(crate) tasks: TaskTracker,
    pub(crate) running: Settings,
    pub(crate) origins: Origins,
    pub(crate) level: Level,
    pub(crate) terms: Option<Terms>,
    pub(crate) changing: Changing,
    pub(crate) config: Config,
    pub(crate) overrides: Overrides,
    pub(crate) outside: Outside,
}

impl Reloading {
    pub(crate) fn new(start: Start) -> (Self, mpsc::Sender<Reload>) {
        let Start {
            house,
            tasks,
            running,
            origins,
            level,
            terms,
            changing,
            config,
            overrides,
            outside,
        } = start;
        // One at a time: who asks while one is loaded is told to come back.
        let (loader, asked) = mpsc::channel(1);
        let reloading = Self {
            house,
            tasks,
            running,
            origins,
            level,
            terms,
            changing,
            config,
            overrides,
            asked,
            outside,
        };
        (reloading, loader)
    }

    /// Loads again on SIGHUP, when the file changes, and when the admin API asks; for ever.
    pub(crate) async fn run(mut self) {
        loop {
            let asked = tokio::select! {
                () = self.outside.asks() => None,
                Some(asked) = self.asked.recv() => Some(asked),
            };
            let result = self.load();
            let counts = self.house.metrics.counts();
            match &result {
                Ok(_) => counts.reloads.one(),
                Err(Refusal::Faulty(_)) => counts.reloads_refused.one(),
                Err(Refusal::NoFile) => {}
            }
            tell(self.config.path(), &result);
            if let Some(asked) = asked {
                asked.answer(result);
            }
        }
    }

    fn load(&mut self) -> Result<Reloaded, Refusal> {
        if files(&self.config, &self.running).is_empty() {
            return Err(Refusal::NoFile);
        }
        let loaded = self.config.load(&self.overrides).map_err(|faults| {
            Refusal::Faulty(faults.to_string().lines().map(str::to_owned).collect())
        })?;
        let (settings, needs_restart) = carry_over(&self.running, &loaded.settings);
        self.take_over(settings).map_err(|why| Refusal::Faulty(vec![why.to_string()]))?;
        Ok(Reloaded { needs_restart: needs_restart.into_iter().map(str::to_owned).collect() })
    }

    /// Everything that can fail comes first, so that a configuration is in force whole or not at all.
    fn take_over(&mut self, settings: Settings) -> Result<(), StartError> {
        let (table, origins) =
            table(&settings, &self.house.metrics, &self.origins, &self.house.rates)?;
        if let (Some(terms), Some(tls)) = (&self.terms, &settings.tls) {
            terms.change(offer(tls)?).map_err(unfit)?;
        }
        self.house.routes.store(Arc::new(table));
        self.house.rates.set(settings.rate.as_ref());
        self.house.trusted.set(&networks(&settings));
        self.house.access.set(access_format(settings.log));
        if let Err(why) = self.level.set(settings.log.level.as_str()) {
            warn!(error = %why, "the log's level stays as it was");
        }
        self.changing.change(&settings);
        watch(&origins, &self.origins, &self.tasks);
        self.origins = origins;
        if files(&self.config, &settings) != files(&self.config, &self.running) {
            self.outside.watch = watching(&self.config, &settings);
        }
        self.running = settings;
        Ok(())
    }
}

fn tell(path: Option<&Path>, result: &Result<Reloaded, Refusal>) {
    let file = path.map(|path| path.display().to_string()).unwrap_or_default();
    match result {
        Ok(Reloaded { needs_restart }) if needs_restart.is_empty() => {
            info!(config.file = file, "the configuration was loaded again");
        }
        Ok(Reloaded { needs_restart }) => warn!(
            config.file = file,
            config.needs_restart = needs_restart.join(", "),
            "the configuration was loaded again; some of it waits for a restart"
        ),
        Err(Refusal::NoFile) => warn!("there is no configuration file to load again"),
        Err(Refusal::Faulty(faults)) => {
            for fault in faults {
                error!(config.fault = fault, "the configuration is refused, the old one stays");
            }
        }
    }
}

async fn next(hangups: &mut Option<Signal>) {
    match hangups {
        Some(hangups) => drop(hangups.recv().await),
        None => std::future::pending().await,
    }
}

async fn changed(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}
