//! The configuration: YAML as written, all faults at once, each part's settings, reload.

pub mod fault;
pub mod file;
pub mod reload;
pub mod scalar;
pub mod schema;
pub mod settings;
pub mod variables;

mod check;
mod compile;
mod print;
mod tree;
mod values;

use std::path::{Path, PathBuf};

use crate::config::check::At;
use crate::config::fault::{Fault, Faults, Place, Severity};
use crate::config::file::File;
use crate::config::file::listen::{Listen, Listeners, Tls};
use crate::config::file::origin::Origin;
use crate::config::file::store::{Disk, L2, Redis, Stores, Without};
use crate::config::scalar::address::{Address, Endpoint, RedisUrl};
use crate::config::scalar::name::Name;
use crate::config::schema::Told;
use crate::config::settings::Settings;
use crate::config::tree::{Content, Node};
use crate::config::variables::{Environment, Variables};

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub enum Config {
    File(PathBuf),
    /// No file: everything goes to this origin.
    Origin(Endpoint),
}

/// What the command line puts in the place of the configuration's own words.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// None: as configured.
    pub listen: Vec<Address>,
    pub admin: Option<Address>,
    /// A certificate and its key, for all clients.
    pub tls: Option<(PathBuf, PathBuf)>,
    pub l2: L2Override,
}

#[derive(Clone, Debug, Default)]
pub enum L2Override {
    #[default]
    AsConfigured,
    None,
    Redis(RedisUrl),
    Disk(PathBuf),
}

/// A configuration without faults.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// What can be used, but is hardly meant; to be shown.
    pub warnings: Faults,
}

impl Config {
    /// Reads, checks and compiles. Reads the file, the environment, and the files that `${file:…}` and `tls` name;
    /// changes nothing. Either everything is right, or all faults are told at once.
    pub fn load(&self, overrides: &Overrides) -> Result<Loaded, Faults> {
        match self {
            Self::File(path) => {
                let text = read(path)?;
                load(path, &text, &Environment::beside(path), overrides)
            }
            Self::Origin(origin) => finish(of_origin(origin), Path::new("command line"), overrides),
        }
    }

    /// The file that may change, if there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Origin(_) => None,
        }
    }
}

/// What [`Config::load`] does with the text of a file.
pub fn load(
    path: &Path,
    text: &str,
    variables: &dyn Variables,
    overrides: &Overrides,
) -> Result<Loaded, Faults> {
    let mut faults = Faults::new(path);
    let Some(root) = tree::read(text, variables, &mut faults) else { return Err(faults) };
    let held = schema::hold(&root, &schema::schema(), &mut faults);
    let Ok(file) = serde_json::from_value::<File>(held.value) else {
        // The schema and the types are the same thing, so this is a fault of Larder's; no value is shown.
        let right = "report it, with the file".to_owned();
        faults.add(whole("the file fits its schema and cannot be read".into(), right));
        return Err(faults);
    };
    judge(file, &root, &held.told, faults, overrides)
}

/// Checks and compiles what came from no file.
fn finish(file: File, name: &Path, overrides: &Overrides) -> Result<Loaded, Faults> {
    let root = Node { place: Place::START, content: Content::Nothing };
    judge(file, &root, &Told::default(), Faults::new(name), overrides)
}

fn judge(
    mut file: File,
    root: &Node,
    told: &Told,
    mut faults: Faults,
    overrides: &Overrides,
) -> Result<Loaded, Faults> {
    overrides.apply(&mut file);
    let file = file.effective();
    check::check(&file, At::root(root), told, &mut faults);
    faults.sort();
    if faults.is_fatal() {
        return Err(faults);
    }
    Ok(Loaded { settings: compile::compile(file), warnings: faults })
}

/// The file's text.
fn read(path: &Path) -> Result<String, Faults> {
    let bytes = std::fs::read(path).map_err(|error| {
        let what = format!("the file cannot be read: {}", reason(&error));
        Faults::of_file(path, what, "name a YAML file that can be read")
    })?;
    if bytes.len() > tree::MOST_BYTES {
        let what = "the file is larger than 1MiB".to_owned();
        return Err(Faults::of_file(path, what, "write less"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
        let line = good.matches('\n').count() + 1;
        let column = good.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        let mut faults = Faults::new(path);
        let fault = whole("this is no UTF-8".into(), "save the file as UTF-8".into());
        faults.add(Fault { place: Place { line, column }, ..fault });
        faults
    })
}

/// What went wrong, in words without numbers.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is none".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => error.to_string(),
    }
}

fn whole(what: String, right: String) -> Fault {
    let severity = Severity::Fault;
    Fault { place: Place::START, path: String::new(), what, right, severity }
}

/// Everything to one origin, with memory and, where a place for it is known, the disk behind it.
fn of_origin(origin: &Endpoint) -> File {
    let mut file = File::default();
    let server = Origin { endpoints: vec![origin.clone()], ..Origin::default() };
    file.origins.insert(Name("origin".into()), server);
    if let Some(directory) = cache_directory().filter(|_| cfg!(feature = "disk")) {
        file.l2 = on_disk(&Stores::default(), &directory);
    }
    file
}

/// The user's own cache directory, by the XDG base directory specification.
fn cache_directory() -> Option<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("larder"))
}

fn on_disk(stores: &Stores, directory: &Path) -> L2 {
    let path = Some(directory.to_string_lossy().into_owned());
    let disk = Disk { path, ..stores.disk.clone().unwrap_or_default() };
    L2::Stores(Box::new(Stores { disk: Some(disk), redis: None, ..stores.clone() }))
}

impl Overrides {
    fn apply(&self, file: &mut File) {
        if !self.listen.is_empty() {
            file.listen = Listeners::Many(self.listen.iter().copied().map(Listen::At).collect());
        }
        if let Some((certificate, key)) = &self.tls {
            let text = |path: &Path| Some(path.to_string_lossy().into_owned());
            let (certificate, key, certificates) = (text(certificate), text(key), Vec::new());
            let configured = file.tls.clone().unwrap_or_default();
            file.tls = Some(Tls { certificate, key, certificates, ..configured });
        }
        if let Some(admin) = self.admin {
            file.admin.listen = admin;
        }
        let stores = || match &file.l2 {
            L2::Without(Without::None) => Box::default(),
            L2::Stores(stores) => stores.clone(),
        };
        match &self.l2 {
            L2Override::AsConfigured => {}
            L2Override::None => file.l2 = L2::Without(Without::None),
            L2Override::Disk(directory) => file.l2 = on_disk(&stores(), directory),
            L2Override::Redis(url) => {
                let stores = stores();
                let url = Some(url.clone());
                let (cluster, sentinel) = (None, None);
                let configured = stores.redis.clone().unwrap_or_default();
                let redis = Redis { url, cluster, sentinel, ..configured };
                let stores = Stores { redis: Some(redis), disk: None, ..*stores };
                file.l2 = L2::Stores(Box::new(stores));
            }
        }
    }
}
