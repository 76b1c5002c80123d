//! `loquat prompt` over folders of templates, and `loquat cache` over a real Redis.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../loquat-prompt/tests/support/redis_server.rs"]
mod redis_server;
mod support;

use std::fs;

use support::Program;

/// A folder of templates by name.
fn folder(templates: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in templates {
        let file = folder.path().join(format!("{name}.hbs"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    folder
}

fn prompt(arguments: &[&str]) -> Program {
    Program::new(["prompt"].iter().chain(arguments).copied())
}

#[test]
fn templates_are_rendered_with_data_from_everywhere() {
    let folder = folder(&[
        ("greet", "Hello, {{name}}{{#if title}} ({{title}}){{/if}} of {{> parts/place}}!\n"),
        ("parts/place", "{{place.city}}"),
    ]);
    let path = folder.path().to_str().unwrap();
    let data = r#"{"name":"nobody","title":null,"place":{"city":"<Köln>"}}"#;
    let file = folder.path().join("data.json");
    fs::write(&file, data).unwrap();
    let set = ["--set", "name=Ann = A", "--set", "title=Dr"];
    let render = |data: &str| prompt(&[&["render", path, "greet", "--data", data], &set[..]].concat());
    let rendered = "Hello, Ann = A (Dr) of <Köln>!\n";
    render(file.to_str().unwrap()).run().check(0, rendered, &[]);
    render("-").stdin(data).run().check(0, rendered, &[]);
    // A variable that is missing is no empty text.
    prompt(&["render", path, "greet"]).run().check(2, "", &["error: ", "name", "greet"]);
    prompt(&["render", path, "nosuch"]).run().check(2, "", &["nosuch"]);
    let wrong = render("-").stdin("\"a planted sentence\"").run();
    wrong.check(2, "", &["no JSON object"]);
    assert!(!wrong.stderr.contains("planted"), "{wrong:#?}");
    render("/no/such/file").run().check(2, "", &["cannot read /no/such/file"]);
    let long = "x".repeat((64 << 20) + 1);
    render("-").stdin(long).run().check(2, "", &["stdin is larger than 64 MiB"]);
}

#[test]
fn no_terminal_obeys_a_name() {
    let hostile = folder(&[("x\u{1b}]0;owned\u{7}", "{{[a\u{9b}b]}}")]);
    let list = ["list", hostile.path().to_str().unwrap()];
    prompt(&list).run().check(0, "x␛]0;owned␇  [a\\u{9b}b]\n", &[]);
    let json = "{\"name\":\"x\\u001b]0;owned\\u0007\",\"variables\":[\"[a\\u009bb]\"]}\n";
    prompt(&[&list[..], &["--json"]].concat()).run().check(0, json, &[]);
}

#[test]
fn a_folder_is_checked_and_listed() {
    let good = folder(&[("b", "{{one}} {{two.three}}{{#if one}}{{@root.one}}{{/if}}"), ("a", "nothing")]);
    let path = good.path().to_str().unwrap();
    prompt(&["lint", path]).run().check(0, "", &["2 templates, nothing wrong"]);
    prompt(&["list", path]).run().check(0, "a\nb  one, two.three\n", &[]);
    let json = "{\"name\":\"a\",\"variables\":[]}\n{\"name\":\"b\",\"variables\":[\"one\",\"two.three\"]}\n";
    prompt(&["list", path, "--json"]).run().check(0, json, &[]);
    for (text, place) in [("{{#if x}}\nnever closed", "a.hbs"), ("fine\n{{> gone}}", "gone")] {
        let bad = folder(&[("a", text)]);
        prompt(&["lint", bad.path().to_str().unwrap()]).run().check(2, "", &[place]);
    }
    // What is wrong with a file, and not only that something is.
    let bad = folder(&[]);
    fs::write(bad.path().join("a.hbs"), b"\xff").unwrap();
    prompt(&["lint", bad.path().to_str().unwrap()]).run().check(
        2,
        "",
        &["a.hbs: cannot be read", "valid UTF-8"],
    );
    prompt(&["lint", "/no/such/folder"]).run().check(2, "", &["/no/such/folder"]);
}

#[test]
fn a_fleets_cache_is_filled_counted_and_emptied() {
    let server = redis_server::RedisServer::start(&[]);
    let url = server.url();
    let texts = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = texts.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let one = file("one", &"A text of the fleet's own. ".repeat(20));
    let two = file("two", &"Another one, and longer than the first. ".repeat(30));
    let run = |arguments: &[&str], seal: Option<&str>| {
        let program = Program::new(["cache"].iter().chain(arguments).copied());
        let program = program.variable("LOQUAT_REDIS_URL", &url);
        match seal {
            Some(seal) => program.variable("LOQUAT_CACHE_SEAL", seal).run(),
            None => program.run(),
        }
    };
    let seal = Some("the fleet's seal, planted");
    run(&["warm", &one], None).check(3, "", &["LOQUAT_CACHE_SEAL is not set"]);
    run(&["warm", &one, &two], seal).check(0, "", &["2 texts written, 0 were there, 0 left out"]);
    run(&["warm", &one, &two], seal).check(0, "", &["0 texts written, 2 were there"]);
    run(&["warm", &one, "--tenant", "another"], seal).check(0, "", &["1 texts written, 0 were there"]);
    run(&["warm", &one], Some("not the fleet's seal")).check(0, "", &["1 texts written, 0 were there"]);
    run(&["stats"], None).check(0, "tokens  4\n", &["4 values"]);
    run(&["stats", "--prefix", "other"], None).check(0, "", &["0 values"]);
    run(&["warm", "/no/such/file"], seal).check(2, "", &["cannot read /no/such/file"]);
    run(&["clear", "--prefix", "other"], None).check(0, "", &["0 values removed"]);
    run(&["clear"], None).check(0, "", &["4 values removed"]);
    run(&["stats"], None).check(0, "", &["0 values"]);
    let gone = run(&["stats", "--redis", "redis://user:planted@127.0.0.1:1"], None);
    assert!(gone.code != Some(0) && !gone.stderr.contains("planted"), "{gone:#?}");
}
