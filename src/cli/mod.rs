//! The command line: what can be said, and how each command ends.

mod client;
mod demo;
mod events;
mod launch;
mod layers;
mod sample;
mod tripwire;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::config::scalar::address::Address;

/// An HTTP read-through caching reverse proxy: memory, then Redis or disk, then your API.
#[derive(Debug, Parser)]
#[command(name = "larder", version, max_term_width = 100, after_help = EXAMPLES)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  larder demo                                  a sample API with Larder before it, to try
  larder serve --origin http://127.0.0.1:3000  Larder before your API, without a file
  larder serve --config larder.yaml
  larder check --config larder.yaml
  larder purge --tag product:7

Exit codes: 0 fine, 1 failed, 2 wrong usage or configuration.";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Serve),
    Demo(Demo),
    Check(Check),
    /// Print the JSON schema of the configuration file, for editors.
    #[command(after_help = "Example:
  larder schema > larder.schema.json

  and in the first line of larder.yaml:
  # yaml-language-server: $schema=./larder.schema.json")]
    Schema,
    Purge(Purge),
    Events(Events),
    Layers(Layers),
    Tripwire(Tripwire),
}

/// Run the proxy, until SIGTERM or Ctrl-C.
///
/// Without a file, Larder listens on 127.0.0.1:8080, its admin API on 127.0.0.1:9090, and entries are kept in
/// memory and on disk under the user's cache directory. SIGHUP loads the configuration file again.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("source").args(["config", "origin"]).required(true)),
    group(ArgGroup::new("behind_memory").args(["redis", "l2", "disk"])),
    after_help = "Examples:
  larder serve --config larder.yaml
  larder serve --origin http://127.0.0.1:3000
  larder serve --origin http://127.0.0.1:3000 --listen 0.0.0.0:80 --redis redis://127.0.0.1:6379/0
  larder serve --origin http://127.0.0.1:3000 --l2 none
  larder serve --origin http://127.0.0.1:3000 --listen 0.0.0.0:443 --tls-cert api.pem --tls-key api.key"
)]
pub(crate) struct Serve {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The API to stand before, instead of a file.
    #[arg(long, value_name = "URL")]
    origin: Option<String>,
    /// Where clients connect; may be given several times. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<Address>,
    /// Where the admin API listens.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<Address>,
    /// Speak TLS with this certificate (PEM, those that signed it behind it); read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Keep entries in this Redis as well, which other instances share.
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Keep entries in memory only.
    #[arg(long, value_enum)]
    l2: Option<L2>,
    /// Keep entries on disk as well, in this directory.
    #[arg(long, value_name = "DIRECTORY")]
    disk: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum L2 {
    /// Memory only.
    None,
}

/// Start a sample API with Larder before it, and say what to try.
///
/// Takes ports 3000, 8080 and 9090 of this machine, or the next free ones. Nothing is kept when it ends.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  larder demo
  larder demo --listen 127.0.0.1:0 --admin 127.0.0.1:0")]
struct Demo {
    /// Run the sample API alone, there.
    #[arg(long, hide = true, value_name = "ADDRESS", conflicts_with_all = ["listen", "admin"])]
    api_only: Option<Address>,
    /// Where clients connect. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<Address>,
    /// Where the admin API listens.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<Address>,
}

/// Tell all faults of a configuration file at once, each with its place and what would be right.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  larder check --config larder.yaml
  larder check --config larder.yaml --print")]
struct Check {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print the configuration as it would be in force, secrets hidden.
    #[arg(long)]
    print: bool,
}

/// Purge what a running Larder, and every instance that shares its Redis, has stored.
///
/// Waits until every live instance has applied the purge. The token is taken from `LARDER_TOKEN`.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("scope").args(["urls", "tags", "all_tags", "prefixes", "globs", "hosts", "routes", "everything"])
        .required(true).multiple(true)),
    after_help = "Examples:
  larder purge http://shop.example/api/products?page=2
  larder purge --tag product:7 --tag category:shoes --reason 'price change'
  larder purge --all-tags product:7,lang:en --all-tags product:7,lang:de
  larder purge --prefix http://shop.example/api/
  larder purge --glob '/api/products/*/reviews/**' --dry-run
  larder purge --glob '//*.shop.example/search?*q=shoes*'
  larder purge --host '*.shop.example'
  larder purge --route products --soft
  larder purge --everything --admin http://10.0.0.5:9090 --timeout 30s --json

Exit codes: 0 every instance has applied it, 1 not so, or not known, 2 wrong usage."
)]
struct Purge {
    /// URLs as clients write them, or from their path on for every host; all their variants go.
    #[arg(value_name = "URL")]
    urls: Vec<String>,
    /// Everything that carries this tag.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Everything that carries all of these tags, with commas between them.
    #[arg(long = "all-tags", value_name = "TAG,TAG")]
    all_tags: Vec<String>,
    /// Every URL that begins so: `/path/` on every host, or `http://host/path/`.
    #[arg(long = "prefix", value_name = "PREFIX")]
    prefixes: Vec<String>,
    /// Every URL like this: `*` within a segment, `**` across; on every host, or behind `//host`.
    #[arg(long = "glob", value_name = "PATTERN")]
    globs: Vec<String>,
    /// Every URL on this host: `shop.example` or `*.shop.example`.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Everything of this route.
    #[arg(long = "route", value_name = "NAME")]
    routes: Vec<String>,
    /// Everything there is.
    #[arg(long)]
    everything: bool,
    /// Purge nothing; say what would go.
    #[arg(long)]
    dry_run: bool,
    /// Mark stale instead of removing: what is stale may be served once more while it is fetched anew.
    #[arg(long)]
    soft: bool,
    /// For whom to wait.
    #[arg(long, value_enum, default_value = "all")]
    wait: Wait,
    /// How long to wait.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    timeout: humantime::Duration,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// How many of the hottest entries that go are fetched again.
    #[arg(long, value_name = "NUMBER")]
    rewarm: Option<u32>,
    #[command(flatten)]
    api: Api,
}

/// Tell a running Larder what happened, so that it purges what its configuration says; without a name, list the events.
///
/// Waits until every live instance has applied the purge. The token is taken from `LARDER_TOKEN`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  larder events
  larder events user.updated --set userId=7
  larder events order.paid --data '{\"user\": {\"id\": 7}, \"items\": [1, 2]}' --reason 'a test'")]
struct Events {
    /// The event.
    #[arg(value_name = "EVENT")]
    name: Option<String>,
    /// Its data.
    #[arg(long, value_name = "JSON", requires = "name")]
    data: Option<String>,
    /// One value of its data; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", requires = "name")]
    set: Vec<String>,
    /// For whom to wait.
    #[arg(long, value_enum, default_value = "all")]
    wait: Wait,
    /// How long to wait.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    timeout: humantime::Duration,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT", requires = "name")]
    reason: Option<String>,
    #[command(flatten)]
    api: Api,
}

/// Turn the layers of a running Larder off and on again, without a restart; without an option, show how they are.
///
/// A layer that is off is neither read nor written from the next request on, and purges are followed all the same.
/// Memory is emptied. It holds for the one instance that is asked, until it restarts. The token is taken from
/// `LARDER_TOKEN`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  larder layers
  larder layers --l2 off --reason 'redis is being moved'
  larder layers --l2 on
  larder layers --l1 off --l2 off --admin http://10.0.0.5:9090")]
struct Layers {
    /// Memory.
    #[arg(long, value_enum)]
    l1: Option<Turn>,
    /// Redis or disk.
    #[arg(long, value_enum)]
    l2: Option<Turn>,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    api: Api,
}

/// Show which routes of a running Larder share no more, because their answers differ by who asks; have them share again.
///
/// A route's tripwire springs where what is stored turns out to be one identity's alone. Mend the origin or the route first.
/// It holds for the one instance that is asked. The token is taken from `LARDER_TOKEN`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  larder tripwire
  larder tripwire --reset products --reason 'the origin says Vary: Cookie now'")]
struct Tripwire {
    /// Have this route share again; may be given several times.
    #[arg(long, value_name = "ROUTE")]
    reset: Vec<String>,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    api: Api,
}

/// Whom a command asks, and how it tells what was answered.
#[derive(Debug, Args)]
struct Api {
    /// The admin API.
    #[arg(
        long,
        value_name = "URL",
        env = "LARDER_ADMIN",
        hide_env_values = true,
        default_value = "http://127.0.0.1:9090"
    )]
    admin: String,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Turn {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wait {
    /// Every live instance.
    All,
    /// The instance that is asked.
    Local,
}

/// How a command fails: one or more sentences, and whose fault it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Something that was tried did not work.
    Failed(String),
    /// What was asked for is wrong.
    Usage(String),
    /// Faults of a configuration, which say their own place.
    Faults(String),
}

/// Runs the command that `arguments` name, and returns its exit code. Blocks until it is over.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let line = match Line::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => return usage(&error),
    };
    let done = match line.command {
        Command::Serve(serve) => launch::serve(serve),
        Command::Demo(demo) => demo::run(&demo),
        Command::Check(check) => launch::check(&check),
        Command::Schema => launch::schema(),
        Command::Purge(purge) => client::purge(&purge),
        Command::Events(asked) => events::events(&asked),
        Command::Layers(asked) => layers::layers(&asked),
        Command::Tripwire(asked) => tripwire::tripwire(&asked),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.told(),
    }
}

/// Says what is wrong with the arguments, or the help that was asked for.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Help that nobody reads (a closed pipe) is no failure.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let text = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => format!("name a command\n\n{text}"),
        _ => text.strip_prefix("error: ").unwrap_or(&text).to_owned(),
    };
    Failure::Usage(text.trim_end().to_owned()).told()
}

impl Failure {
    fn told(&self) -> ExitCode {
        let (text, code) = match self {
            Self::Failed(text) => (format!("larder: {text}"), 1),
            Self::Usage(text) => (format!("larder: {text}"), 2),
            Self::Faults(text) => (text.clone(), 2),
        };
        let _ = writeln!(io::stderr(), "{text}");
        ExitCode::from(code)
    }
}

/// Writes a result to stdout.
fn tell(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{text}") {
        // Whoever closed the pipe has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot write to stdout: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A runtime for a command that is a client or a small server.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Failed(format!("cannot start: {error}")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Line::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_in_its_help() {
        for command in Line::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let example = format!("larder {}", command.get_name());
            assert!(help.contains(&example), "{example}: {help}");
        }
    }

    #[test]
    fn wrong_usage_is_told_apart_from_asking_for_help() {
        let parse = |text: &str| Line::try_parse_from(text.split(' '));
        for wrong in [
            "larder serve",
            "larder serve --config a --origin http://b",
            "larder serve --origin http://b --l2 none --disk d",
            "larder serve --origin http://b --listen nowhere",
            "larder serve --origin http://b --tls-cert c.pem",
            "larder purge",
            "larder purge --soft",
            "larder purge --dry-run",
            "larder purge --everything --timeout 5",
            "larder check",
            "larder events --data {}",
            "larder layers --l2 maybe",
        ] {
            assert!(parse(wrong).unwrap_err().use_stderr(), "{wrong}");
        }
        assert!(!parse("larder --help").unwrap_err().use_stderr());
        for right in [
            "larder serve --origin http://b --listen 127.0.0.1:0 --listen [::1]:0 --l2 none",
            "larder purge http://a/b --tag c --soft",
            "larder purge --all-tags a,b --glob /a/* --host *.a --dry-run",
            "larder demo",
            "larder events",
            "larder layers",
            "larder layers --l1 off --l2 on --reason a",
            "larder events user.updated --set a=b --set c=d",
            "larder demo --listen 127.0.0.1:0 --admin 127.0.0.1:0",
            "larder demo --api-only 127.0.0.1:3000",
        ] {
            assert!(parse(right).is_ok(), "{right}");
        }
    }
}
