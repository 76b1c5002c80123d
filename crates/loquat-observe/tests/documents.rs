//! What lies in `docs/observability` fits what is shown: rules that hold, a dashboard of metrics that exist.
#![allow(clippy::print_stderr, reason = "says what it skips")]

mod common;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use common::{Reporting, ask, place};
use loquat_core::{Availability, Context, Error, ErrorKind, Event};
use loquat_observe::{CacheState, Observer, Price, TextFormat};
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/observability")
}

/// Every metric there is: by an observer to which everything has happened. What comes from elsewhere is named.
async fn names() -> BTreeSet<String> {
    let builder = Observer::builder().prices("USD", [("gpt-5", Price::per_million(1.0, 1.0))]);
    let observer = builder.build();
    let word = Arc::new(Availability::new(Instant::now()));
    observer.watch_endpoint("e", &word);
    observer.watch_cache("l1", CacheState::default);
    let happens = |context: &Context| {
        let error = Error::new(ErrorKind::Connect, "no");
        let elapsed = Duration::ZERO;
        for event in [
            Event::Admitted { waited: elapsed },
            Event::Retry { retry: 1, wait: elapsed, error: &error },
            Event::Route { endpoint: "e", reason: "r" },
            Event::Head { status: 200, protocol: "HTTP/2", reused: true, elapsed },
        ] {
            context.report(&event);
        }
    };
    let model = observer.operation(observer.attempt(Reporting(happens), place()), place());
    assert!(ask(&model, "gpt-5").await.is_err());
    let metrics = observer.metrics(TextFormat::Prometheus);
    let samples = metrics.lines().filter(|line| !line.starts_with('#'));
    let mut names: BTreeSet<String> =
        samples.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect();
    // The facade's, from the transport; and an exporter's.
    for name in ["pool_connections", "pool_opened_total", "pool_reused_total", "observe_dropped_total"] {
        names.insert(format!("loquat_{name}"));
    }
    names
}

/// The words of a query that are names of ours.
fn named(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let labels =
        ["gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type", "http_response_status_code"];
    words.filter(move |word| {
        ["gen_ai_", "loquat_", "http_"].iter().any(|prefix| word.starts_with(prefix))
            && !labels.contains(word)
    })
}

#[tokio::test]
async fn the_dashboard_and_the_alerts_ask_for_what_exists() {
    let names = names().await;
    let dashboard = fs::read_to_string(folder().join("grafana-dashboard.json")).expect("there");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    assert!(panels.len() > 10 && dashboard["schemaVersion"].is_u64() && dashboard["uid"].is_string());
    let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    let mut asked = 0;
    for panel in panels {
        for target in panel["targets"].as_array().expect("targets") {
            for name in named(target["expr"].as_str().expect("a query")) {
                assert!(names.contains(name), "{name} in {}", panel["title"]);
                asked += 1;
            }
        }
    }
    assert!(asked > 20);
    let alerts = fs::read_to_string(folder().join("alerts.yml")).expect("there");
    let queries = alerts.lines().filter(|line| !line.trim_start().starts_with(['#', 's', 'd']));
    for name in queries.flat_map(named) {
        assert!(names.contains(name), "{name} in alerts.yml");
    }
}

/// By the types that Grafana makes of its schemas: a field that they do not have, or of another type, would be lost.
#[test]
fn grafanas_own_types_lose_nothing_of_the_dashboard() {
    let Some(python) = std::env::var_os("LOQUAT_GRAFANA_PYTHON") else {
        eprintln!("skipped: Grafana's types need LOQUAT_GRAFANA_PYTHON, which `cargo xtask test` sets");
        return;
    };
    let read = |file: &Path| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_dashboard.py");
        Command::new(&python).arg(script).arg(file).output().expect("runs")
    };
    let file = folder().join("grafana-dashboard.json");
    let said = read(&file);
    assert!(said.status.success(), "{said:?}");

    let text = fs::read_to_string(&file).expect("there");
    let wrong = tempfile::tempdir().expect("a folder");
    let wrong = wrong.path().join("wrong.json");
    for (place, wanted) in [("schemaVersion", "schemaVersionn"), ("\"panels\"", "\"panel\"")] {
        fs::write(&wrong, text.replacen(place, wanted, 1)).expect("written");
        assert!(!read(&wrong).status.success(), "{wanted} is no field");
    }
}

#[test]
fn the_alerts_fire_where_they_should() {
    let promtool = |arguments: &[&str]| {
        Command::new("promtool").args(arguments).current_dir(folder()).stdout(Stdio::null()).output()
    };
    if promtool(&["--version"]).is_err() {
        assert!(std::env::var_os("LOQUAT_PYTHON").is_none(), "no promtool: cargo xtask setup brings it");
        eprintln!("skipped: no promtool here; `cargo xtask setup` brings it");
        return;
    }
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts-test.yml"]] {
        let said = promtool(&arguments).expect("runs");
        assert!(said.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
    }
}
