//! What a person types: help, checks, schema, and the one sentence with which a start fails.

use std::net::TcpListener;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::answer::fresh;
use crate::support::client::get;
use crate::support::larder::{Larder, bare, run, run_after};
use crate::support::origin::Origin;

const FIVE_FAULTS: &str = "\
servce: shop
listen: 127.0.0.1:0
origins:
  api:
    endpoints: [ \"http://127.0.0.1:9\" ]
    timeouts: { connect: 1parsec }
l1: { capacity: 256MiX }
routes:
  - name: products
    match: { path: \"/api/**\" }
    origin: apy
    tll: 5m
";

fn directory_with(yaml: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("larder.yaml"), yaml).unwrap();
    directory
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn is_one_clear_sentence(output: &Output, codes: &[i32], names: &str) {
    let said = stderr(output);
    assert!(
        output.status.code().is_some_and(|code| codes.contains(&code)),
        "{:?}: {said}",
        output.status
    );
    let own: Vec<_> = said.lines().filter(|line| line.starts_with("larder: ")).collect();
    assert_eq!(own.len(), 1, "{said}");
    assert!(own[0].contains(names), "{names} is not named: {said}");
    is_without_traces(&said);
}

#[track_caller]
fn is_without_traces(said: &str) {
    for trace in ["panicked", "backtrace", "RUST_BACKTRACE", "src/", "Error {"] {
        assert!(!said.contains(trace), "{said}");
    }
}

#[tokio::test]
async fn five_faults_are_all_told_with_their_places() {
    let directory = directory_with(FIVE_FAULTS);
    for command in
        [&["check", "--config", "larder.yaml"][..], &["serve", "--config", "larder.yaml"]]
    {
        let output = run(directory.path(), command).await;
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        let faults: Vec<_> = said.lines().filter(|line| line.contains("larder.yaml:")).collect();
        assert_eq!(faults.len(), 5, "{said}");
        for (line, right) in
            [(1, "service"), (6, "1parsec"), (7, "256MiX"), (11, "api"), (12, "ttl")]
        {
            let start = format!("larder.yaml:{line}:");
            let fault =
                faults.iter().find_map(|fault| fault.split_once(&start).map(|(_, rest)| rest));
            let fault = fault.unwrap_or_else(|| panic!("line {line} is not told:\n{said}"));
            let (column, what) = fault.split_once(": ").unwrap();
            assert!(column.parse::<usize>().is_ok_and(|column| column > 0), "{fault}");
            assert!(what.contains(right) && what.contains("; "), "{fault}");
        }
        is_without_traces(&said);
    }
}

#[tokio::test]
async fn a_file_without_faults_is_said_to_have_none() {
    let directory = directory_with("origins: { api: { endpoints: [ \"http://127.0.0.1:9\" ] } }\n");
    let output = run(directory.path(), &["check", "--config", "larder.yaml"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output) + &stderr(&output);
    assert!(said.contains("larder.yaml: no faults"), "{said}");
}

#[tokio::test]
async fn text_that_is_no_yaml_is_told_with_its_place() {
    let directory = directory_with("listen: [ 127.0.0.1:80\norigins: {\n");
    let output = run(directory.path(), &["check", "--config", "larder.yaml"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("larder.yaml:"), "{}", stderr(&output));
    is_without_traces(&stderr(&output));
}

#[tokio::test]
async fn secrets_never_appear_in_what_is_printed() {
    let yaml = "admin: { tokens: [ { name: ci, secret: \"${TOKEN:-hush-hush}\", scopes: [nonsense] } ] }\nttl: hush\n";
    let directory = directory_with(yaml);
    let output = run(directory.path(), &["check", "--config", "larder.yaml"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(!stderr(&output).contains("hush-hush"), "{}", stderr(&output));
}

#[tokio::test]
async fn a_password_in_a_url_of_the_command_line_is_not_repeated() {
    let directory = TempDir::new().unwrap();
    for (wrong, code, names) in [
        (&["serve", "--origin", "http://user:hunter2@h"][..], 2, "a user or a password"),
        (&["serve", "--origin", "user:hunter2@h"], 2, "no scheme"),
        (&["serve", "--origin", "http://h", "--redis", "redis://:hunter2@h:99999"], 2, "port"),
        (&["purge", "--everything", "--admin", "ftp://user:hunter2@h"], 2, "--admin"),
        (&["layers", "--admin", "http://user:hunter2@127.0.0.1:9"], 1, "http://127.0.0.1:9:"),
        (&["events", "--admin", "http://user:hunter2@127.0.0.1:99999"], 2, "--admin"),
    ] {
        let output = run(directory.path(), wrong).await;
        is_one_clear_sentence(&output, &[code], names);
        assert!(!stderr(&output).contains("hunter2"), "{wrong:?}: {}", stderr(&output));
    }
}

#[tokio::test]
async fn a_password_in_the_environment_is_not_shown_by_the_help() {
    let directory = TempDir::new().unwrap();
    for command in ["purge", "events", "layers", "tripwire"] {
        let mut command_line = bare(directory.path());
        command_line.args([command, "--help"]).env("LARDER_ADMIN", "http://user:hunter2@h");
        let help = stdout(&command_line.output().unwrap());
        assert!(help.contains("LARDER_ADMIN") && !help.contains("hunter2"), "{help}");
    }
}

#[tokio::test]
async fn a_port_that_is_none_is_refused_on_the_command_line_too() {
    let directory = TempDir::new().unwrap();
    for port in ["0", "99999", "13000x"] {
        let origin = format!("http://127.0.0.1:{port}");
        let output = run(directory.path(), &["serve", "--l2", "none", "--origin", &origin]).await;
        is_one_clear_sentence(&output, &[2], "its port is no number from 1 to 65535; write ");
    }
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let directory = TempDir::new().unwrap();
    for command in ["serve", "check"] {
        let output = run(directory.path(), &[command, "--config", "absent.yaml"]).await;
        is_one_clear_sentence(&output, &[1, 2], "absent.yaml");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let directory = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let base = ["serve", "--origin", "http://127.0.0.1:9", "--l2", "none"];
    for (flag, other) in [("--listen", "--admin"), ("--admin", "--listen")] {
        let output =
            run(directory.path(), &[&base[..], &[flag, &address, other, "127.0.0.1:0"]].concat())
                .await;
        is_one_clear_sentence(&output, &[1], &address);
        is_one_clear_sentence(&output, &[1], "end what listens there, or name another with ");
        is_one_clear_sentence(&output, &[1], flag);
    }
}

#[tokio::test]
async fn a_cache_directory_that_is_taken_is_told_with_what_to_do() {
    let directory = TempDir::new().unwrap();
    let disk = directory.path().join("taken");
    let disk = disk.to_str().unwrap();
    let first = Larder::serve(&["--origin", "http://127.0.0.1:9", "--disk", disk]).await;
    let anywhere = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let second = ["serve", "--origin", "http://127.0.0.1:9", "--disk", disk];
    let output = run(directory.path(), &[&second[..], &anywhere].concat()).await;
    is_one_clear_sentence(&output, &[1], "is used by another process; end that one, or give ");
    is_one_clear_sentence(&output, &[1], "--disk DIRECTORY or `l2.disk.path`, ");
    is_one_clear_sentence(&output, &[1], "--l2 none");
    drop(first);
}

#[tokio::test]
async fn too_many_workers_for_the_limit_of_open_files_are_told_with_what_to_do() {
    let directory = directory_with(
        "origins: { api: { endpoints: [ \"http://127.0.0.1:9\" ] } }\nworkers: 200\nlisten: 127.0.0.1:0\nadmin: { listen: 127.0.0.1:0 }\n",
    );
    let serve = ["serve", "--config", "larder.yaml"];
    let output = run_after("ulimit -n 64", directory.path(), &serve).await;
    is_one_clear_sentence(&output, &[1], "raise the limit of open files (`ulimit -n`");
}

#[tokio::test]
async fn a_start_without_an_origin_says_what_is_missing() {
    let directory = directory_with("service: shop\n");
    for command in
        [&["serve"][..], &["serve", "--config", "larder.yaml"], &["serve", "--origin", "not a url"]]
    {
        let output = run(directory.path(), command).await;
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
        assert!(said.contains("origin") || said.contains("--config"), "{said}");
        is_without_traces(&said);
    }
}

#[tokio::test]
async fn a_disk_path_that_cannot_be_written_is_named() {
    let directory = TempDir::new().unwrap();
    // Below a file there can be no directory, not even for root.
    std::fs::write(directory.path().join("file"), "").unwrap();
    let path = directory.path().join("file/cache");
    let path = path.to_str().unwrap();
    let anywhere = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let output = run(
        directory.path(),
        &[&["serve", "--origin", "http://127.0.0.1:9", "--disk", path], &anywhere[..]].concat(),
    )
    .await;
    is_one_clear_sentence(&output, &[1, 2], path);
}

#[tokio::test]
async fn wrong_usage_is_2_and_help_has_examples() {
    let directory = TempDir::new().unwrap();
    for wrong in [
        &["serve", "--nonsense"][..],
        &["nonsense"],
        &["serve", "--listen", "nowhere", "--origin", "http://a"],
    ] {
        let output = run(directory.path(), wrong).await;
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", stderr(&output));
        is_without_traces(&stderr(&output));
    }
    let help = run(directory.path(), &["serve", "--help"]).await;
    assert_eq!(help.status.code(), Some(0));
    assert!(stdout(&help).contains("larder serve --config"), "{}", stdout(&help));
}

#[tokio::test]
async fn without_a_command_the_help_is_shown_and_says_what_is_missing() {
    let directory = TempDir::new().unwrap();
    let output = run(directory.path(), &[]).await;
    is_one_clear_sentence(&output, &[2], "name a command");
    assert!(stderr(&output).contains("larder demo"), "{}", stderr(&output));
}

#[tokio::test]
async fn the_schema_is_one_and_knows_the_keys() {
    let directory = TempDir::new().unwrap();
    let output = run(directory.path(), &["schema"]).await;
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    for key in ["service", "listen", "origins", "routes", "l1", "l2", "purge", "limits"] {
        assert!(
            schema["properties"][key].is_object() || schema["properties"][key] == true,
            "{key} in {schema}"
        );
    }
}

#[tokio::test]
async fn without_a_file_the_disk_under_the_users_cache_directory_is_the_second_layer() {
    let origin = Origin::start().await;
    origin.on("/x", fresh("hello"));
    let mut larder = Larder::serve(&["--origin", &origin.url()]).await;
    get(larder.url("/x")).await.is("MISS", "ORIGIN");
    get(larder.url("/x")).await.is("HIT", "L1");
    larder.restart().await;
    get(larder.url("/x")).await.is("HIT", "L2").says("hello");
}

#[tokio::test]
async fn the_demo_shows_four_requests_to_try_and_answers_them() {
    let larder = Larder::command(&["demo"]).await;
    let shown = async || {
        let all = larder.output().all().into_iter().chain(larder.errors().all());
        let lines: Vec<_> = all.filter(|line| line.contains("curl ")).collect();
        (lines.len() >= 4).then_some(lines)
    };
    let lines = crate::support::until("four curl lines are shown", shown).await;
    let url = lines
        .iter()
        .find_map(|line| line.split_whitespace().find(|word| word.contains(larder.authority())));
    let url = url.unwrap().trim_matches(['\'', '"']).to_owned();
    get(&url).await.is("MISS", "ORIGIN").has_status(200);
    get(&url).await.is("HIT", "L1").has_status(200);
}
