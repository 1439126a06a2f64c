//! The tracing subscriber, which writes to stderr.

use std::env;
use std::io;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Which log lines are written, from now on.
#[derive(Clone)]
pub struct Level(reload::Handle<EnvFilter, Registry>);

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    #[error("`{0}` is not a log level such as `info` or `larder=debug`; mend or unset {VARIABLE}")]
    Level(String),
    #[error("a log subscriber is installed already")]
    Installed,
}

/// Where the level is taken from before the configuration's.
const VARIABLE: &str = "RUST_LOG";

/// The disk store's engine tells of its own inner life, with traces of the stack, and what is an operator's concern of that
/// the store says itself. Who watches files would tell of each line that is written to one beside the configuration, in
/// one more line.
const QUIET: &str = "foyer=off,mio=info,notify=info";

/// Installs the process's subscriber: lines of `level` and above go to stderr, unless `RUST_LOG` says otherwise.
pub fn install(format: Format, level: &str) -> Result<Level, LogsError> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let lines = fmt::layer().with_writer(io::stderr).with_target(true);
    let lines = match format {
        Format::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    subscriber.try_init().map_err(|_| LogsError::Installed)?;
    Ok(Level(handle))
}

impl Level {
    /// Writes lines of `level` and above from now on, unless `RUST_LOG` says otherwise.
    pub fn set(&self, level: &str) -> Result<(), LogsError> {
        let filter = filter(level)?;
        // The subscriber lives as long as the process; were it gone, nobody would miss the level.
        let _ = self.0.reload(filter);
        Ok(())
    }
}

fn filter(level: &str) -> Result<EnvFilter, LogsError> {
    let directives = env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    let directives = directives.unwrap_or_else(|| format!("{level},{QUIET}"));
    EnvFilter::try_new(&directives).map_err(|_| LogsError::Level(directives))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_is_none_is_named() {
        let error = filter("larder=loud").unwrap_err();
        assert!(error.to_string().contains("larder=loud"), "{error}");
        assert!(filter("info").is_ok() && filter("warn,larder=debug").is_ok());
    }

    #[test]
    fn libraries_that_would_tell_of_themselves_or_of_the_log_are_quiet_at_every_level() {
        for level in ["info", "trace"] {
            let directives = filter(level).unwrap().to_string();
            for quiet in ["foyer=off", "mio=info", "notify=info", level] {
                assert!(directives.contains(quiet), "{directives}");
            }
        }
    }
}
