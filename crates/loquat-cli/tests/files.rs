//! Named files and folders that cannot be read: one code, 2, whichever command was given them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;

use support::Program;

/// What stands for the named file in the cases.
const NAMED: &str = "{}";

/// Every place of the command line that a file or a folder to be read is named in. Whatever else is there can be used.
fn cases(good: &str) -> Vec<Vec<&str>> {
    let mut cases = vec![
        vec!["chat", "-m", "ollama:m", "--ca-cert", NAMED, "hi"],
        vec!["models", "--ca-cert", NAMED],
        vec!["embed", "-m", "ollama:m", "--file", NAMED],
        vec!["embed", "-m", "ollama:m", "--ca-cert", NAMED, "hi"],
        vec!["tokens", NAMED],
        vec!["tokens", "--tokenizer", NAMED],
        vec!["doctor", "--offline", "--ca-cert", NAMED],
        vec!["prompt", "render", NAMED, "a"],
        vec!["prompt", "render", good, "a", "--data", NAMED],
        vec!["prompt", "lint", NAMED],
        vec!["prompt", "list", NAMED],
        vec!["route", "check", NAMED],
        vec!["route", "check", "--without-keys", NAMED],
        vec!["route", "explain", NAMED, "m"],
        vec!["route", "simulate", NAMED],
        vec!["discover", NAMED],
        vec!["discover", "--ca-cert", NAMED, "https://a.example"],
        vec!["discover", "--key-file", NAMED, "https://a.example"],
    ];
    if cfg!(feature = "engine") {
        cases.push(vec!["pull", "--ca-cert", NAMED]);
    }
    if cfg!(feature = "redis") {
        cases.push(vec!["cache", "warm", NAMED]);
    }
    cases
}

fn check(case: &[&str], named: &str) {
    let arguments = case.iter().map(|word| if *word == NAMED { named } else { word });
    let ran = Program::new(arguments).run();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{case:?} {ran:#?}");
    // A key's file may be the key itself.
    let says = if case.contains(&"--key-file") { "--key-file" } else { named };
    assert!(ran.stderr.contains(says), "{case:?} {ran:#?}");
}

#[test]
fn what_is_not_there_is_a_mistake_of_the_callers() {
    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().join("none");
    for case in cases(folder.path().to_str().unwrap()) {
        check(&case, named.to_str().unwrap());
    }
}

#[test]
fn so_is_a_folder_in_place_of_a_file_and_a_file_in_place_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "{}").unwrap();
    for case in cases(folder.path().to_str().unwrap()) {
        let takes_a_folder = case[0] == "prompt" && !case.contains(&"--data");
        check(&case, if takes_a_folder { &file } else { folder.path() }.to_str().unwrap());
    }
}

/// A script's routes have to be good before it is read, and a model's file is one by its name alone. Where that one is not there the
/// engine says what is.
#[test]
fn files_of_their_own_kind_are_no_exception() {
    let folder = tempfile::tempdir().unwrap();
    let routes = folder.path().join("routes.toml");
    fs::write(&routes, "[[endpoints]]\nname = \"a\"\nprovider = \"openai\"\nmodel = \"m\"\n").unwrap();
    let none = folder.path().join("none");
    let simulate = ["route", "simulate", routes.to_str().unwrap(), "--script", NAMED];
    check(&simulate, none.to_str().unwrap());
    check(&simulate, folder.path().to_str().unwrap());
    let model = folder.path().join("folder.gguf");
    fs::create_dir(&model).unwrap();
    let model = model.to_str().unwrap();
    for name in [model, &format!("engine:{model}"), &format!(" {model} ")] {
        let arguments = ["chat", "-m", name, "hi"];
        Program::new(arguments).run().check(2, "", &[model]);
    }
}

/// Text is wanted, and these are bytes.
#[test]
fn routes_that_are_no_text_cannot_be_read_either() {
    let folder = tempfile::tempdir().unwrap();
    let routes = folder.path().join("routes.toml");
    fs::write(&routes, b"\xff").unwrap();
    for case in
        [&["route", "check", NAMED][..], &["route", "explain", NAMED, "m"], &["route", "simulate", NAMED]]
    {
        check(case, routes.to_str().unwrap());
    }
}

/// Longer than what may be there, which is seen before it is read.
#[test]
fn what_is_too_long_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("long");
    let file = fs::File::create(&long).unwrap();
    file.set_len(1 << 30).unwrap();
    for case in cases(folder.path().to_str().unwrap()) {
        // A quarter of a gigabyte is what texts to embed may have together, and that is read.
        let is_slow = case.contains(&"--file");
        if !is_slow && (case[0] != "prompt" || case.contains(&"--data")) {
            check(&case, long.to_str().unwrap());
        }
    }
}

#[test]
fn the_help_says_so() {
    for command in [&["--help"][..], &["route", "--help"], &["chat", "--help"]] {
        let ran = Program::new(command.iter().copied()).run();
        let row = ran.stdout.lines().find(|line| line.trim_start().starts_with("2  "));
        assert!(row.is_some_and(|row| row.contains("named file or folder that cannot be read")), "{ran:#?}");
    }
}
