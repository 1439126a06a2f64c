//! The binary under test as a process: started, asked, signalled, started again.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use serde_json::Value;
use tempfile::TempDir;

use super::client::{get, post};
use super::lines::Lines;
use super::reply::Reply;
use super::{signal, until};

const LISTENING: &str = "larder: listening on ";
const ADMIN: &str = "larder: admin on http://";

/// A running Larder; dropping it kills it, and shows what it said when the test has failed.
pub(crate) struct Larder {
    arguments: Vec<String>,
    /// Nothing where the file says it.
    listen_at: Option<String>,
    listen: String,
    scheme: String,
    admin: String,
    child: Child,
    errors: Lines,
    output: Lines,
    home: TempDir,
}

impl Larder {
    /// Starts it with this configuration, on free ports.
    pub(crate) async fn start(yaml: &str) -> Self {
        let (home, arguments) = written(yaml);
        Self::launch(home, arguments).await
    }

    /// Starts it with this configuration, listening for clients as that says.
    pub(crate) async fn start_as_written(yaml: &str) -> Self {
        let (home, arguments) = written(yaml);
        Self::launch_at(home, arguments, None).await
    }

    /// Starts `larder serve` with these arguments and no file, on free ports.
    pub(crate) async fn serve(arguments: &[&str]) -> Self {
        Self::command(&[&["serve"], arguments].concat()).await
    }

    /// Starts any command that listens, on free ports.
    pub(crate) async fn command(arguments: &[&str]) -> Self {
        let home = TempDir::new().expect("a temporary directory can be made");
        Self::launch(home, arguments.iter().map(ToString::to_string).collect()).await
    }

    async fn launch(home: TempDir, arguments: Vec<String>) -> Self {
        Self::launch_at(home, arguments, Some("127.0.0.1:0".to_owned())).await
    }

    /// Starts it with this configuration as a service manager does: with sockets that are open already, and with
    /// the address of who is told how far it has come.
    pub(crate) async fn start_managed(
        yaml: &str,
        sockets: &[&TcpListener],
        notify: Option<&Path>,
    ) -> Self {
        let (home, arguments) = written(yaml);
        Self::launch_as(home, arguments, None, |command| {
            hand_over(command, sockets.iter().map(|it| it.try_clone().expect("a handle").into()));
            command.envs(notify.map(|path| ("NOTIFY_SOCKET", path)));
        })
        .await
    }

    /// Starts it with this configuration and with limits that this command of a shell sets.
    pub(crate) async fn start_after(limits: &str, yaml: &str) -> Self {
        let (home, arguments) = written(yaml);
        Self::launch_as(home, arguments, Some("127.0.0.1:0".to_owned()), |command| {
            *command = after(limits, command);
        })
        .await
    }

    async fn launch_at(home: TempDir, arguments: Vec<String>, listen_at: Option<String>) -> Self {
        Self::launch_as(home, arguments, listen_at, |_| {}).await
    }

    async fn launch_as(
        home: TempDir,
        arguments: Vec<String>,
        listen_at: Option<String>,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let anywhere = "127.0.0.1:0".to_owned();
        let mut command = command(home.path(), &arguments, listen_at.as_deref(), &anywhere);
        prepare(&mut command);
        let mut child = spawn(command);
        let (errors, output) = outputs(&mut child);
        let mut larder = Self {
            arguments,
            listen_at,
            listen: anywhere.clone(),
            scheme: String::new(),
            admin: anywhere,
            child,
            errors,
            output,
            home,
        };
        larder.wait_until_ready().await;
        larder
    }

    async fn wait_until_ready(&mut self) {
        let after = |line: &str, start: &str| {
            line.strip_prefix(start).map(|rest| rest.trim_end_matches('/').to_owned())
        };
        let listen =
            self.errors.find("larder's listening line", |line| after(line, LISTENING)).await;
        let admin = self.errors.find("larder's admin line", |line| after(line, ADMIN)).await;
        let (Some(listen), Some(admin)) = (listen, admin) else {
            panic!(
                "larder {:?} ended before it was ready; it said:\n{}",
                self.arguments,
                self.errors.text()
            );
        };
        let (scheme, listen) = listen.split_once("://").expect("it says how it is asked");
        (self.scheme, self.listen) = (scheme.to_owned(), listen.to_owned());
        self.listen_at = self.listen_at.take().map(|_| self.listen.clone());
        self.admin = admin;
    }

    /// Where clients ask.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.listen)
    }

    /// Scheme, host and port of every listener, in the order of the file.
    pub(crate) fn listeners(&self) -> Vec<String> {
        let said = self.errors.text();
        said.lines().filter_map(|line| line.strip_prefix(LISTENING)).map(str::to_owned).collect()
    }

    /// Where it listens for this scheme.
    pub(crate) fn listener(&self, scheme: &str) -> String {
        let at = |it: &String| Some(it.strip_prefix(scheme)?.strip_prefix("://")?.to_owned());
        self.listeners().iter().find_map(at).expect("it listens for it")
    }

    /// Where operators ask.
    pub(crate) fn admin(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    /// Host and port of the public listener.
    pub(crate) fn authority(&self) -> &str {
        &self.listen
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The memory that it holds, in KiB, as Linux tells it.
    pub(crate) fn memory(&self) -> u64 {
        self.of_status("VmRSS:")
    }

    /// The most memory that it has held, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.of_status("VmHWM:")
    }

    fn of_status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("the process is there, and tells of itself");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("no number after {name} in {status}"))
    }

    /// What it has said on stderr.
    pub(crate) fn errors(&self) -> &Lines {
        &self.errors
    }

    /// What it has said on stdout.
    pub(crate) fn output(&self) -> &Lines {
        &self.output
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.home.path().join("larder.yaml")
    }

    /// Puts another text into the configuration file, at once, as editors do.
    pub(crate) fn rewrite(&self, yaml: &str) {
        let beside = self.home.path().join("larder.yaml.new");
        std::fs::write(&beside, yaml).expect("the temporary directory can be written");
        std::fs::rename(&beside, self.config_file()).expect("the file can be replaced");
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.ask_to_stop();
        self.ended().await
    }

    pub(crate) fn ask_to_stop(&self) {
        signal("TERM", self.child.id());
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        until("larder has ended", async || child.try_wait().expect("a child can be asked")).await
    }

    /// Ends it without a word (SIGKILL).
    pub(crate) fn kill(&mut self) {
        let _ended_before = self.child.kill();
        let _status = self.child.wait();
    }

    /// Starts it again after a `stop` or a `kill`: same arguments, file, directories and ports.
    pub(crate) async fn start_again(&mut self) {
        let listen_at = self.listen_at.as_deref();
        self.child = spawn(command(self.home.path(), &self.arguments, listen_at, &self.admin));
        (self.errors, self.output) = outputs(&mut self.child);
        self.wait_until_ready().await;
    }

    /// An orderly restart.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// `POST /admin/purges`, whatever it answers.
    pub(crate) async fn purge(&self, what: Value) -> Reply {
        post(self.admin("/admin/purges"))
            .with("Content-Type", "application/json")
            .body(what.to_string())
            .await
    }

    /// Purges, waiting for this instance alone unless `what` says otherwise, and returns the receipt's mark.
    pub(crate) async fn purges(&self, mut what: Value) -> String {
        if what.get("wait").is_none() {
            what["wait"] = "local".into();
        }
        let reply = self.purge(what).await;
        let mark = reply.has_status(200).json()["mark"].as_str().map(ToOwned::to_owned);
        mark.unwrap_or_else(|| panic!("no mark in {reply:?}"))
    }

    /// The sum of all samples of this name that carry all these labels.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let metrics = get(self.admin("/metrics")).await;
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let of_name =
            |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let samples = metrics
            .text()
            .lines()
            .filter(|line| of_name(line) && labels.iter().all(|label| line.contains(label)));
        samples
            .filter_map(|line| line.rsplit(' ').next()?.split('.').next()?.parse::<u64>().ok())
            .sum()
    }
}

impl Drop for Larder {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!(
                "--- larder {:?} said on stderr:\n{}\n---",
                self.arguments,
                self.errors.text()
            );
        }
    }
}

/// The binary that all tests drive: `LARDER_BIN`, or the one that cargo has just built.
pub(crate) fn binary() -> PathBuf {
    match std::env::var_os("LARDER_BIN") {
        // Tests run in the package's directory, whatever the caller's was.
        Some(path) => std::path::absolute(path).expect("LARDER_BIN is a path"),
        None => env!("CARGO_BIN_EXE_larder").into(),
    }
}

/// Runs a command of the binary to its end. It must end by itself.
pub(crate) async fn run(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = bare(directory);
    command.args(arguments);
    end(command, arguments).await
}

/// The same, with limits that this command of a shell sets.
pub(crate) async fn run_after(limits: &str, directory: &Path, arguments: &[&str]) -> Output {
    let mut command = bare(directory);
    command.args(arguments);
    end(after(limits, &command), arguments).await
}

async fn end(mut command: Command, arguments: &[&str]) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the binary is there");
    let pid = child.id();
    let waiting = tokio::task::spawn_blocking(move || child.wait_with_output());
    let Ok(ended) = tokio::time::timeout(super::PATIENCE, waiting).await else {
        signal("KILL", pid);
        panic!("larder {arguments:?} did not end");
    };
    ended.expect("the waiting does not panic").expect("the output can be read")
}

/// The binary in an environment without anything of the user's.
pub(crate) fn bare(directory: &Path) -> Command {
    let mut command = Command::new(binary());
    command
        .current_dir(directory)
        .env_clear()
        .env("HOME", directory)
        .env("XDG_CACHE_HOME", directory.join("cache"));
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.stdin(Stdio::null());
    command
}

fn command(home: &Path, arguments: &[String], listen: Option<&str>, admin: &str) -> Command {
    let listen = listen.map(|listen| ["--listen", listen]);
    let mut command = bare(home);
    command
        .args(arguments)
        .args(listen.into_iter().flatten())
        .args(["--admin", admin])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A home with this configuration, and how it is served.
fn written(yaml: &str) -> (TempDir, Vec<String>) {
    let home = TempDir::new().expect("a temporary directory can be made");
    let file = home.path().join("larder.yaml");
    std::fs::write(&file, yaml).expect("the temporary directory can be written");
    let file = file.to_str().expect("the path is text").to_owned();
    (home, vec!["serve".into(), "--config".into(), file])
}

/// The same command, in a shell that does something else before.
fn after(first: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{first} && exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        shell.current_dir(directory);
    }
    shell.stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

fn spawn(mut command: Command) -> Child {
    command
        .spawn()
        .unwrap_or_else(|error| panic!("{} cannot be started: {error}", binary().display()))
}

/// Gives a process descriptors from 3 on, and says how many, as systemd does.
pub(crate) fn hand_over(command: &mut Command, descriptors: impl Iterator<Item = OwnedFd>) {
    let mappings: Vec<_> = (3..)
        .zip(descriptors)
        .map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd })
        .collect();
    command.env("LISTEN_FDS", mappings.len().to_string());
    command.fd_mappings(mappings).expect("each has a number of its own");
}

fn outputs(child: &mut Child) -> (Lines, Lines) {
    (
        Lines::of(child.stderr.take().expect("stderr is piped")),
        Lines::of(child.stdout.take().expect("stdout is piped")),
    )
}
