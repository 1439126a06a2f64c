//! What `deploy/` and the compose files say of Larder is true: metrics by their names, configurations without a fault.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops, and says where")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The metrics that an expression names, without what the kinds of metrics add to a name.
fn metrics(expression: &str) -> BTreeSet<String> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || "_:".contains(character);
    let words = expression.split(|character| !is_part(character));
    let kinds = ["larder_", "cache_", "process_"];
    let named = words.filter(|word| kinds.iter().any(|kind| word.starts_with(kind)));
    // A label is no metric.
    let named = named.filter(|word| *word != "cache_layer");
    named.map(|word| family(word).to_owned()).collect()
}

fn family(name: &str) -> &str {
    let suffixes = ["_bucket", "_sum", "_count"];
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

/// Whether Larder tells a metric of this name.
fn is_told(name: &str) -> bool {
    let told = text("src/telemetry/exposition.rs");
    let plain = name.strip_suffix("_total").unwrap_or(name);
    [name, plain].iter().any(|name| told.contains(&format!("\"{name}\"")))
}

#[track_caller]
fn are_told(place: &str, names: BTreeSet<String>) {
    assert!(!names.is_empty(), "{place} names no metric");
    let unknown: Vec<_> = names.into_iter().filter(|name| !is_told(name)).collect();
    assert!(unknown.is_empty(), "{place} asks for what Larder does not tell: {unknown:?}");
}

#[test]
fn the_alerts_ask_only_for_metrics_that_there_are() {
    let rules = text("deploy/prometheus-rules.yaml");
    are_told("deploy/prometheus-rules.yaml", metrics(&rules));
}

#[test]
fn the_dashboard_asks_only_for_metrics_that_there_are() {
    let dashboard: Value =
        serde_json::from_str(&text("deploy/grafana/dashboards/larder.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let expressions: Vec<_> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(expressions.len() > 20, "{}", expressions.len());
    for expression in expressions {
        are_told(expression, metrics(expression));
    }
}

#[test]
fn the_panels_of_the_dashboard_do_not_lie_on_each_other_and_say_what_they_show() {
    let dashboard: Value =
        serde_json::from_str(&text("deploy/grafana/dashboards/larder.json")).unwrap();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another's");
        let of = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(of("x") + of("w") <= 24, "{title} is too wide");
        for x in of("x")..of("x") + of("w") {
            for y in of("y")..of("y") + of("h") {
                assert!(taken.insert((x, y)), "{title} lies on another");
            }
        }
        let is_described = panel["description"].as_str().is_some_and(|text| text.len() > 10);
        assert!(panel["type"] == "row" || is_described, "{title} does not say what it shows");
    }
}

#[test]
fn the_configurations_of_the_compose_files_have_no_fault() {
    for file in ["deploy/compose.yaml", "deploy/compose.cluster.yaml"] {
        let done = Command::new(env!("CARGO_BIN_EXE_larder"))
            .args(["check", "--config", file])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("LARDER_TOKEN", "a-token-for-the-check")
            .output()
            .unwrap();
        assert!(done.status.success(), "{file}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn what_the_compose_files_mount_is_there() {
    for file in ["docker-compose.yml", "docker-compose.cluster.yml"] {
        let text = text(file);
        let mounted = text.lines().filter_map(|line| line.trim().strip_prefix("- ./"));
        let mounted: Vec<_> =
            mounted.map(|mount| mount.split(':').next().unwrap().to_owned()).collect();
        assert!(!mounted.is_empty(), "{file} mounts nothing");
        for path in mounted {
            let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(&path);
            assert!(place.exists(), "{file}: {path} is missing");
        }
    }
}
