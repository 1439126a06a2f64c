//! Holds the house to its plan: who may import whom, one door per dependency, no circles, pure folders.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the sources fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, File, Item, ItemUse, UseTree};

/// Every folder (or file) of `src`, from the ground floor up, and which of the lower ones it may import.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("breaker", &[]),
    ("certificate", &[]),
    ("message", &[]),
    ("per_runtime", &[]),
    ("rate", &["message"]),
    ("telemetry", &[]),
    ("time", &[]),
    ("server", &["certificate", "message", "time"]),
    ("key", &["message"]),
    ("origin", &["breaker", "certificate", "message", "per_runtime", "telemetry"]),
    ("entry", &["key", "message", "time"]),
    ("policy", &["entry", "message", "time"]),
    ("purge", &["entry", "key", "telemetry", "time"]),
    (
        "route",
        &["entry", "key", "message", "origin", "policy", "purge", "rate", "telemetry", "time"],
    ),
    ("store", &["breaker", "entry", "key", "message", "per_runtime", "purge", "telemetry", "time"]),
    (
        "lookup",
        &["entry", "key", "message", "origin", "policy", "route", "store", "telemetry", "time"],
    ),
    ("refresh", &["entry", "key", "lookup", "message", "policy", "route", "telemetry", "time"]),
    ("admin", &["entry", "key", "message", "purge", "rate", "route", "store", "telemetry", "time"]),
    (
        "pipeline",
        &[
            "entry",
            "key",
            "lookup",
            "message",
            "origin",
            "policy",
            "purge",
            "rate",
            "refresh",
            "route",
            "store",
            "telemetry",
            "time",
        ],
    ),
    (
        "config",
        &[
            "certificate",
            "entry",
            "key",
            "message",
            "policy",
            "purge",
            "rate",
            "route",
            "telemetry",
            "time",
        ],
    ),
    (
        "app",
        &[
            "admin",
            "breaker",
            "certificate",
            "config",
            "entry",
            "lookup",
            "message",
            "origin",
            "pipeline",
            "purge",
            "rate",
            "refresh",
            "route",
            "server",
            "store",
            "telemetry",
            "time",
        ],
    ),
    ("cli", &["app", "config", "server"]),
    (
        "fuzzing",
        &[
            "config", "entry", "key", "message", "origin", "policy", "purge", "route", "server",
            "time",
        ],
    ),
    ("main", &["cli"]),
];

/// Which parts of `purge` talk to a log, and so may wait, look at the clock and log.
const PURGE_WITH_EFFECTS: &[&str] = &["purge/log.rs", "purge/purger.rs"];

/// Folders of pure values and decisions: no waiting, no clock, no chance, no logging.
const PURE: &[&str] = &["key", "entry", "policy", "purge", "route"];

/// What a pure file does not mention outside its tests.
const IMPURE: &[&str] = &["async fn", "async move", "::now()", "rand::", "tracing::", "tokio::"];

/// Dependencies that have one door: the files (or folders) that may name them.
const DOORS: &[(&str, &[&str])] = &[
    ("redis", &["store/redis/"]),
    ("governor", &["rate.rs"]),
    ("quick_cache", &["store/memory.rs"]),
    ("foyer", &["store/disk.rs"]),
    ("axum", &["admin/"]),
    ("saphyr_parser", &["config/tree.rs"]),
    ("schemars", &["config/"]),
    ("notify", &["config/reload.rs"]),
    ("prometheus_client", &["telemetry/exposition.rs"]),
    ("tracing_subscriber", &["telemetry/logs.rs"]),
    ("listenfd", &["app/handover.rs"]),
    ("sd_notify", &["app/handover.rs"]),
    ("clap", &["cli/"]),
    ("reqwest", &["app/downstream.rs", "cli/client.rs"]),
    ("aws_lc_rs", &["admin/hooks.rs", "entry/seal.rs"]),
    ("base64", &["admin/hooks.rs", "entry/seal.rs"]),
    ("zstd", &["entry/seal.rs"]),
    ("rmp", &["entry/pack.rs"]),
    ("http_cache_semantics", &["policy/veto.rs"]),
    ("httparse", &["origin/framing.rs", "origin/head.rs", "server/simple.rs"]),
    ("httpdate", &["message/date.rs"]),
    ("apollo_parser", &["key/content/graphql.rs"]),
    ("form_urlencoded", &["key/content/graphql.rs"]),
    ("hyper_util", &["origin/", "server/"]),
    ("hyper_rustls", &["origin/"]),
    (
        "rustls",
        &[
            "certificate.rs",
            // The names that certificates are compared with are parsed where they are written.
            "config/scalar/address.rs",
            "config/settings.rs",
            "main.rs",
            "origin/",
            "server/tls.rs",
        ],
    ),
    ("tokio_rustls", &["server/line.rs", "server/tls.rs"]),
    ("x509_parser", &["certificate.rs"]),
    ("mimalloc", &["main.rs"]),
    ("rustix", &["main.rs", "message/shelf.rs", "store/room.rs"]),
    ("xxhash_rust", &["entry/"]),
];

/// What only these may import, whatever the table says.
const ONLY_BY: &[(&str, &[&str])] =
    &[("pipeline", &["app"]), ("config", &["app", "cli", "fuzzing"])];

/// One source file, without what is compiled for tests only.
struct Source {
    /// Relative to `src`, with slashes.
    name: String,
    text: String,
    /// The first segments of what it imports, and the second where the first is `crate`.
    imports: BTreeSet<(String, String)>,
}

impl Source {
    fn folder(&self) -> &str {
        self.name.split('/').next().unwrap().trim_end_matches(".rs")
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    assert!(files.len() > 50, "the sources are at {}", root.display());
    files.iter().map(|file| source(&root, file)).filter(|source| !is_test(&source.name)).collect()
}

fn is_test(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/")
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn source(root: &Path, file: &Path) -> Source {
    let text = fs::read_to_string(file).unwrap();
    let name = file.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    let parsed: File = syn::parse_file(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut collector = Collector::default();
    for item in parsed.items.iter().filter(|item| !is_for_tests(item)) {
        collector.visit_item(item);
    }
    let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
    Source { name, text: code, imports: collector.imports }
}

fn is_for_tests(item: &Item) -> bool {
    let attributes: &[Attribute] = match item {
        Item::Mod(module) => &module.attrs,
        Item::Use(import) => &import.attrs,
        Item::Fn(function) => &function.attrs,
        Item::Impl(implementation) => &implementation.attrs,
        _ => &[],
    };
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

#[derive(Default)]
struct Collector {
    imports: BTreeSet<(String, String)>,
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut segments = path.segments.iter().map(|segment| segment.ident.to_string());
        if let (Some(first), Some(second)) = (segments.next(), segments.next()) {
            self.imports.insert((first, second));
        }
        visit::visit_path(self, path);
    }
}

impl Collector {
    fn tree(&mut self, tree: &UseTree, before: &mut Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(&path.tree, before);
                before.pop();
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(tree, before);
                }
            }
            UseTree::Name(name) => self.note(before, &name.ident.to_string()),
            UseTree::Rename(name) => self.note(before, &name.ident.to_string()),
            UseTree::Glob(_) => self.note(before, "*"),
        }
    }

    fn note(&mut self, before: &[String], last: &str) {
        let mut path = before.iter().map(String::as_str).chain([last]);
        let first = path.next().unwrap_or_default().to_owned();
        let second = path.next().unwrap_or_default().to_owned();
        self.imports.insert((first, second));
    }
}

fn floor(folder: &str) -> Option<usize> {
    MAY_IMPORT.iter().position(|(name, _)| *name == folder)
}

#[test]
fn nobody_imports_what_the_table_does_not_allow() {
    let table: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.name != "lib.rs") {
        let folder = source.folder();
        let allowed = table.get(folder).unwrap_or_else(|| panic!("{folder} is not in the table"));
        let ours = if folder == "main" { "larder" } else { "crate" };
        for (_, imported) in source.imports.iter().filter(|(first, _)| first == ours) {
            if imported != folder && !allowed.contains(&imported.as_str()) {
                wrong.push(format!("{} imports {imported}", source.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_table_knows_only_lower_floors_so_that_there_are_no_circles() {
    for (folder, allowed) in MAY_IMPORT {
        for lower in *allowed {
            assert!(
                floor(lower) < floor(folder),
                "{folder} may not import {lower}: it is not lower"
            );
        }
    }
}

#[test]
fn the_table_allows_nothing_that_nobody_uses() {
    let sources = sources();
    // Who may tell metrics or read times in the plan need not do so today.
    let planned = ["telemetry", "time", "message", "route"];
    for (folder, allowed) in MAY_IMPORT.iter().filter(|(folder, _)| *folder != "main") {
        let used: BTreeSet<&str> = sources
            .iter()
            .filter(|source| source.folder() == *folder)
            .flat_map(|source| &source.imports)
            .filter(|(first, _)| first == "crate")
            .map(|(_, second)| second.as_str())
            .collect();
        for lower in allowed.iter().filter(|lower| !planned.contains(lower)) {
            assert!(used.contains(lower), "{folder} does not import {lower} any more");
        }
    }
}

#[test]
fn each_dependency_has_one_door() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (first, second) in &source.imports {
            let Some((_, doors)) = DOORS.iter().find(|(name, _)| name == first) else { continue };
            // A module of ours may have the name of what it is the door to.
            let is_ours =
                source.name.starts_with("app/") && first == "redis" && second == "Settings";
            if !is_ours && !doors.iter().any(|door| source.name.starts_with(door)) {
                wrong.push(format!("{} names {first}::{second}", source.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_the_app_builds_the_pipeline_and_only_app_and_cli_read_the_configuration() {
    for source in sources() {
        for (imported, by) in ONLY_BY {
            let imports = source.imports.contains(&("crate".into(), (*imported).into()));
            let folder = source.folder();
            assert!(
                !imports || folder == *imported || by.contains(&folder),
                "{} imports {imported}",
                source.name
            );
        }
    }
}

#[test]
fn the_pipeline_names_no_store_but_memory() {
    for source in sources().iter().filter(|source| source.folder() == "pipeline") {
        for other in ["store::redis", "store::disk", "store::shared", "store::local_log"] {
            assert!(!source.text.contains(other), "{} names {other}", source.name);
        }
    }
}

#[test]
fn decisions_are_pure() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| PURE.contains(&source.folder())) {
        if PURGE_WITH_EFFECTS.contains(&source.name.as_str()) {
            continue;
        }
        let code = source.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for impure in IMPURE.iter().filter(|impure| line.contains(*impure)) {
                wrong.push(format!("{}: `{impure}` in {}", source.name, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_opens_with_one_sentence() {
    for source in sources() {
        let first = source.text.lines().next().unwrap_or_default();
        // The crate's own page is a file beside it.
        let opens = first.starts_with("//! ") || first.contains("architecture.md");
        assert!(opens, "{} opens with `{first}`", source.name);
    }
}

#[test]
fn nothing_is_re_exported_and_nothing_is_imported_whole() {
    for source in sources() {
        for line in source.text.lines() {
            let line = line.trim_start();
            assert!(!line.starts_with("pub use "), "{} re-exports: {line}", source.name);
            let glob = line.starts_with("use ") && line.ends_with("::*;");
            assert!(!glob, "{} imports whole: {line}", source.name);
        }
    }
}

/// The macros that write a line of the log.
const TELLING: &[&str] = &["trace!(", "debug!(", "info!(", "warn!(", "error!(", "event!("];

/// What a macro is called with, at the top level: the text behind its opening parenthesis, cut at its commas.
fn arguments(text: &str) -> Vec<String> {
    let mut arguments = vec![String::new()];
    let (mut depth, mut in_text, mut escaped) = (0, false, false);
    for character in text.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' => in_text = !in_text,
            _ if in_text => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        arguments.last_mut().unwrap().push(character);
    }
    arguments
}

/// Whether an argument is a field of this name: `name = …`, `name`, `%name` or `?name`.
fn is_field(argument: &str, name: &str) -> bool {
    let argument = argument.trim().trim_start_matches(['%', '?']);
    argument.split('=').next().is_some_and(|before| before.trim() == name)
}

#[test]
fn no_line_of_the_log_has_a_field_that_json_would_hold_twice() {
    let mut lines = 0;
    for source in sources() {
        for telling in TELLING {
            for (at, _) in source.text.match_indices(telling) {
                lines += 1;
                let arguments = arguments(&source.text[at + telling.len()..]);
                // The sentence itself is the field `message`; the others are the subscriber's own.
                for taken in ["message", "timestamp", "level", "target"] {
                    let twice = arguments.iter().any(|argument| is_field(argument, taken));
                    assert!(!twice, "{} has a field `{taken}` in {arguments:?}", source.name);
                }
            }
        }
    }
    assert!(lines > 50, "only {lines} lines are told at all");
}
