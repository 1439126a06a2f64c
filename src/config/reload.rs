//! Tells when the file has changed, and what of a new configuration can take effect while Larder runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use secrecy::ExposeSecret;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::config::compile::compile;
use crate::config::file::File;
use crate::config::file::store::{L2, Redis, Without};
use crate::config::settings::Settings;

/// How long a file must have been quiet before it is read: editors write in several steps.
const QUIET: Duration = Duration::from_millis(200);

/// Watches files. Dropped, it watches no longer.
pub struct Watch {
    files: Vec<Watched>,
    /// Something happened and was not looked at yet.
    pending: Pending,
    events: mpsc::Receiver<()>,
    _watcher: RecommendedWatcher,
}

struct Watched {
    file: PathBuf,
    /// What it held when it was last told of.
    known: Option<blake3::Hash>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pending {
    Nothing,
    Look,
}

/// A file cannot be watched; it can still be loaded again when asked.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch {}: {reason}", directory.display())]
pub struct CannotWatch {
    directory: PathBuf,
    reason: String,
}

impl Watch {
    /// Begins to watch. What the files hold now is known.
    ///
    /// Directories are watched and not files, since editors and Kubernetes put a new file in the old one's place.
    pub fn new(files: Vec<PathBuf>) -> Result<Self, CannotWatch> {
        let directories: BTreeSet<PathBuf> = files.iter().map(|file| directory(file)).collect();
        let (sender, events) = mpsc::channel(1);
        let tell = move |event: notify::Result<Event>| {
            // Reading the file is an event too, and would never end.
            let is_read = matches!(&event, Ok(Event { kind: EventKind::Access(_), .. }));
            if !is_read {
                // A full channel tells already.
                let _ = sender.try_send(());
            }
        };
        let cannot = |directory: &Path, error: &notify::Error| CannotWatch {
            directory: directory.to_owned(),
            reason: error.to_string(),
        };
        let watcher = notify::recommended_watcher(tell);
        let mut watcher = watcher.map_err(|error| cannot(Path::new("files"), &error))?;
        for directory in directories {
            watcher
                .watch(&directory, RecursiveMode::NonRecursive)
                .map_err(|error| cannot(&directory, &error))?;
        }
        let files = files.into_iter().map(|file| {
            let known = std::fs::read(&file).ok().map(|bytes| blake3::hash(&bytes));
            Watched { file, known }
        });
        Ok(Self { files: files.collect(), pending: Pending::Nothing, events, _watcher: watcher })
    }

    /// Waits until a file holds something else and all have been quiet for a moment. May be dropped: nothing is missed.
    /// Never returns when the system has stopped telling.
    pub async fn changed(&mut self) {
        loop {
            if self.pending == Pending::Nothing {
                let Some(()) = self.events.recv().await else {
                    return std::future::pending().await;
                };
                self.pending = Pending::Look;
            }
            while let Ok(Some(())) = timeout(QUIET, self.events.recv()).await {}
            self.pending = Pending::Nothing;
            if self.differs() {
                return;
            }
        }
    }

    /// Whether a file holds something else than when it was last told of. Files are small.
    fn differs(&mut self) -> bool {
        let mut differs = false;
        for Watched { file, known } in &mut self.files {
            let found = std::fs::read(file).ok().map(|bytes| blake3::hash(&bytes));
            // A file that is away is about to come back.
            if found.is_some() && found != *known {
                *known = found;
                differs = true;
            }
        }
        differs
    }
}

fn directory(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// The new settings with everything as it was that cannot change while Larder runs, and the keys of which a change
/// waits for the next start.
///
/// What takes effect at once: routes, defaults, origins, tokens, rates, certificates, trusted proxies, events, dependencies, hooks, whom purges
/// are told, the access log and the log level.
pub fn carry_over(running: &Settings, new: &Settings) -> (Settings, Vec<&'static str>) {
    let (old, wanted) = (&*running.effective, &*new.effective);
    let mut waiting = Vec::new();
    let mut keep = |key: &'static str, is_same: bool| {
        if !is_same {
            waiting.push(key);
        }
    };
    keep("service", old.service == wanted.service);
    keep("cache_name", running.cache_name == new.cache_name);
    keep("listen", running.listen == new.listen);
    // Whether there is TLS at all is the listeners' matter.
    let may_change_tls = running.tls.is_some() == new.tls.is_some();
    keep("tls", may_change_tls);
    keep("workers", running.workers == new.workers);
    keep("admin.listen", running.admin.listen == new.admin.listen);
    keep("l1", running.l1 == new.l1);
    let same_secrets =
        redis_secrets(old) == redis_secrets(wanted) && seal_secrets(old) == seal_secrets(wanted);
    keep("l2", is_same(&old.l2, &wanted.l2) && same_secrets);
    keep("purge", running.purge == new.purge);
    keep("intake", running.intake == new.intake);
    keep("limits", running.limits == new.limits);
    keep("log.format", running.log.format == new.log.format);
    let mut file = File { routes: wanted.routes.clone(), ..old.clone() };
    file.origins.clone_from(&wanted.origins);
    file.defaults.clone_from(&wanted.defaults);
    if may_change_tls {
        file.tls.clone_from(&wanted.tls);
    }
    file.trusted_proxies.clone_from(&wanted.trusted_proxies);
    file.admin.tokens.clone_from(&wanted.admin.tokens);
    file.events.clone_from(&wanted.events);
    file.depends.clone_from(&wanted.depends);
    file.hooks.clone_from(&wanted.hooks);
    file.downstream.clone_from(&wanted.downstream);
    file.limits.rate.clone_from(&wanted.limits.rate);
    file.log.access = wanted.log.access;
    file.log.level = wanted.log.level;
    (compile(file), waiting)
}

fn is_same<T: Serialize>(one: &T, other: &T) -> bool {
    serde_json::to_value(one).ok() == serde_json::to_value(other).ok()
}

/// What the printed form hides.
fn redis_secrets(file: &File) -> Vec<&str> {
    let redis = match &file.l2 {
        L2::Without(Without::None) => None,
        L2::Stores(stores) => stores.redis.as_ref(),
    };
    let urls = redis.into_iter().flat_map(Redis::urls).flat_map(|(_, urls)| urls).map(|url| &url.0);
    let sentinel = redis.and_then(|redis| redis.sentinel.as_ref());
    let password = sentinel.and_then(|sentinel| sentinel.password.as_ref()).map(|secret| &secret.0);
    urls.chain(password).map(ExposeSecret::expose_secret).collect()
}

fn seal_secrets(file: &File) -> Vec<&[u8; 32]> {
    let encrypt = match &file.l2 {
        L2::Without(Without::None) => None,
        L2::Stores(stores) => stores.encrypt.as_ref(),
    };
    let keys = encrypt.into_iter().flat_map(|encrypt| &encrypt.keys);
    keys.filter_map(|key| Some(key.secret.as_ref()?.0.expose_secret())).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Longer than any machine takes to tell of a change.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_file_that_is_written_or_replaced_is_told_once_and_others_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("larder.yaml");
        fs::write(&file, "a: 1").unwrap();
        let mut watch = Watch::new(vec![file.clone()]).unwrap();

        fs::write(&file, "a: 2").unwrap();
        timeout(PATIENCE, watch.changed()).await.expect("a written file is told");

        let new = directory.path().join("new");
        fs::write(&new, "a: 3").unwrap();
        fs::rename(&new, &file).unwrap();
        timeout(PATIENCE, watch.changed()).await.expect("a replaced file is told");

        fs::write(directory.path().join("other"), "x").unwrap();
        fs::write(&file, "a: 3").unwrap();
        assert!(timeout(QUIET * 4, watch.changed()).await.is_err(), "nothing changed");
    }

    #[tokio::test]
    async fn a_link_that_points_elsewhere_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (name, text) in [("one", "a: 1"), ("two", "a: 2")] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("larder.yaml"), text).unwrap();
        }
        std::os::unix::fs::symlink("one", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/larder.yaml", at("larder.yaml")).unwrap();
        let mut watch = Watch::new(vec![at("larder.yaml")]).unwrap();
        std::os::unix::fs::symlink("two", at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
        timeout(PATIENCE, watch.changed()).await.expect("a moved link is told");
    }
}
