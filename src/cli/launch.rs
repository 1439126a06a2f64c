//! What the command line starts: the proxy, the check of a file, the schema.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use http::uri::{Authority, Scheme};

use crate::app::{self, Bound, Plan, StartError};
use crate::cli::{Check, Failure, L2, Serve, tell};
use crate::config::fault::Faults;
use crate::config::scalar::address::{Address, Endpoint, RedisUrl};
use crate::config::{Config, L2Override, Loaded, Overrides, schema as file_schema};

/// Runs the proxy until it is ended.
pub(super) fn serve(asked: Serve) -> Result<(), Failure> {
    let l2 = behind_memory(&asked)?;
    let tls = asked.tls_cert.zip(asked.tls_key);
    let overrides = Overrides { listen: asked.listen, admin: asked.admin, tls, l2 };
    let config = match (asked.config, asked.origin) {
        (Some(file), _) => Config::File(file),
        (None, Some(origin)) => Config::Origin(endpoint(&origin)?),
        (None, None) => return Err(Failure::Usage("name --config FILE or --origin URL".into())),
    };
    start(config, overrides, Box::new(app::tell))
}

/// Runs the proxy of the demo, and calls `ready` when it listens: memory only, so that each demo begins with nothing
/// stored.
pub(super) fn demo(
    api: SocketAddr,
    (proxy, admin): (Address, Address),
    ready: impl FnOnce(&Bound) + Send + 'static,
) -> Result<(), Failure> {
    let authority: Authority = api
        .to_string()
        .parse()
        .map_err(|_| Failure::Failed(format!("{api} is no place for the sample API")))?;
    let origin = Endpoint { scheme: Scheme::HTTP, authority };
    let (listen, l2) = (vec![proxy], L2Override::None);
    let overrides = Overrides { listen, admin: Some(admin), l2, ..Overrides::default() };
    start(Config::Origin(origin), overrides, Box::new(ready))
}

fn start(
    config: Config,
    overrides: Overrides,
    ready: Box<dyn FnOnce(&Bound) + Send>,
) -> Result<(), Failure> {
    let loaded = config.load(&overrides).map_err(|faults| refused(&config, &faults))?;
    let Loaded { settings, warnings } = loaded;
    warn(&warnings);
    app::run(Plan { settings, config, overrides, ready }).map_err(|error| match error {
        StartError::Configuration(what) => Failure::Usage(what),
        StartError::Failed(what) => Failure::Failed(what),
    })
}

/// Faults of a file say their place; those of the command line are all there is to say.
fn refused(config: &Config, faults: &Faults) -> Failure {
    match config {
        Config::File(file) => unread(file, faults).unwrap_or_else(|| {
            let file = file.display();
            Failure::Faults(format!("larder: cannot start with {file}, which has faults\n{faults}"))
        }),
        Config::Origin(_) => {
            let each = faults.iter().map(ToString::to_string).collect::<Vec<_>>();
            Failure::Usage(each.join("\nlarder: "))
        }
    }
}

/// A file that cannot be read has no place where the fault would be.
fn unread(file: &Path, faults: &Faults) -> Option<Failure> {
    let fault = faults.unread()?;
    Some(Failure::Usage(format!("{}: {fault}", file.display())))
}

fn warn(warnings: &Faults) {
    if !warnings.is_empty() {
        // Nobody reads: then nobody misses it.
        let _ = writeln!(io::stderr(), "{warnings}");
    }
}

/// Parsed here, not with the arguments: where one of those is wrong it is repeated, and this may hold a password.
fn endpoint(origin: &str) -> Result<Endpoint, Failure> {
    let wrong = |wrong| Failure::Usage(format!("--origin is no URL of an origin: {wrong}"));
    origin.parse().map_err(wrong)
}

fn behind_memory(asked: &Serve) -> Result<L2Override, Failure> {
    if let Some(url) = &asked.redis {
        // The URL may hold a password, so it is not repeated.
        let url: RedisUrl = url
            .parse()
            .map_err(|wrong| Failure::Usage(format!("--redis is no URL of a Redis: {wrong}")))?;
        return Ok(L2Override::Redis(url));
    }
    if let Some(directory) = &asked.disk {
        return Ok(L2Override::Disk(directory.clone()));
    }
    Ok(match asked.l2 {
        Some(L2::None) => L2Override::None,
        None => L2Override::AsConfigured,
    })
}

/// Tells all faults of a file; prints it as it would be in force, where that is asked for.
pub(super) fn check(asked: &Check) -> Result<(), Failure> {
    let config = Config::File(asked.config.clone());
    let loaded = config.load(&Overrides::default());
    let loaded = loaded.map_err(|faults| {
        let unread = unread(&asked.config, &faults);
        unread.unwrap_or_else(|| Failure::Faults(faults.to_string()))
    })?;
    let Loaded { settings, warnings } = loaded;
    warn(&warnings);
    if asked.print {
        return tell(settings.print().trim_end());
    }
    tell(&format!("{}: no faults", asked.config.display()))
}

/// Prints the schema of the file.
pub(super) fn schema() -> Result<(), Failure> {
    let schema = serde_json::to_string_pretty(&file_schema::schema())
        .map_err(|error| Failure::Failed(format!("cannot write the schema: {error}")))?;
    tell(&schema)
}
