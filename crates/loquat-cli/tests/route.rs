//! `loquat route`: check, explain, simulate, schema.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;

use serde_json::Value;
use support::Program;

const ROUTES: &str = r#"
[[endpoints]]
name = "near"
provider = "openai"
base_url = "http://127.0.0.1:9/v1"
model = "m"
abilities = ["vision"]

[[endpoints]]
name = "<far>"
provider = "openai"
base_url = "http://127.0.0.1:10/v1"
model = "m"

[[routes]]
names = ["chat"]
groups = [{ model = "m" }]
"#;

const DAY: &str = r#"
seconds = 30
requests_per_second = 40.0

[[spells]]
server = "near"
from = 10.0
until = 20.0
refuses_after_ms = 2
"#;

#[test]
fn a_file_is_checked_explained_and_simulated() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (routes, day, plot) = (at("routes.toml"), at("day.toml"), at("day.svg"));
    fs::write(&routes, ROUTES).unwrap();
    fs::write(&day, DAY).unwrap();
    let ran = Program::new(["route", "check", &routes]).run();
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(ran.stdout, "2 endpoints, 1 route\n", "{ran:#?}");

    let piped = Program::new(["route", "check", "-"]).stdin(ROUTES).run();
    assert_eq!(piped.stdout, "2 endpoints, 1 route\n", "{piped:#?}");

    let ran = Program::new(["route", "explain", &routes, "chat", "--needs", "vision"]).run();
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stdout.contains("→ near") && ran.stdout.contains("lacks vision"), "{ran:#?}");
    assert!(ran.stdout.contains("first token expected in ") && ran.stdout.ends_with('\n'), "{ran:#?}");
    let ran = Program::new(["route", "explain", &routes, "chat", "--needs", "audio"]).run();
    assert_eq!(ran.code, Some(3), "nobody can: {ran:#?}");

    let ran = Program::new(["route", "simulate", &routes, "--script", &day, "--plot", &plot]).run();
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    for words in ["endpoint", "near", "<far>", "callers", "0 lost", "further attempts"] {
        assert!(ran.stdout.contains(words), "{words} in {ran:#?}");
    }
    let svg = fs::read_to_string(&plot).unwrap();
    for words in ["(ms)", "(per second)", "Time (s)", ">near</text>", "&lt;far&gt;", "<polyline", "</svg>"] {
        assert!(svg.contains(words), "{words} in {svg}");
    }
    let again = Program::new(["route", "simulate", &routes, "--script", &day]).run();
    assert_eq!(again.stdout, ran.stdout, "a script replays alike");
}

#[test]
fn what_is_wrong_is_said_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("routes.toml");
    let bad = ROUTES.replace("[\"vision\"]", "[\"flight\"]");
    fs::write(&file, bad).unwrap();
    let path = file.to_str().unwrap();
    Program::new(["route", "check", path]).run().check(2, "", &["line 7", "tool_use"]);
    fs::write(
        &file,
        ROUTES.replace("model = \"m\"\nabilities", "key = \"sk-planted\"\nmodel = \"m\"\nabilities"),
    )
    .unwrap();
    let ran = Program::new(["route", "check", path]).run();
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(!ran.stderr.contains("sk-planted"), "{ran:#?}");
    let schema = Program::new(["route", "schema"]).run();
    let schema: Value = serde_json::from_str(&schema.stdout).unwrap();
    assert!(schema["properties"]["endpoints"].is_object());
}

#[test]
fn no_terminal_obeys_a_name() {
    let routes = ROUTES.replace("<far>", "far\\u001b]0;owned\\u0007");
    let ran = Program::new(["route", "simulate", "-"]).stdin(routes).run();
    assert!(ran.stdout.contains("\nfar␛]0;owned␇  "), "{ran:#?}");
}

#[test]
fn a_file_without_routes_is_named() {
    Program::new(["route", "simulate", "-"]).stdin("").run().check(
        2,
        "",
        &["error: -: there is no route in it"],
    );
}
