//! The exit codes that `--help` lists, by command: what cannot be used is 2, what is missing or unknown is 3.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;

use support::Program;

const ROUTES: &str = "[[endpoints]]\nname = \"a\"\nprovider = \"ollama\"\nmodel = \"m\"\n";

/// What stands in files whose name is the word before.
fn files() -> Vec<(&'static str, String)> {
    let with = |more: &str| format!("{ROUTES}{more}\n");
    vec![
        ("garbage.toml", "= {".to_owned()),
        ("garbage.json", "]".to_owned()),
        ("garbage.pem", "planted".to_owned()),
        ("good.toml", ROUTES.to_owned()),
        ("twice.toml", ROUTES.repeat(2)),
        ("ability.toml", with("abilities = [\"flight\"]")),
        ("address.toml", with("base_url = \"nonsense\"")),
        ("key.toml", with("key = { env = \"LOQUAT_NO_SUCH_KEY\" }")),
        ("both.toml", with("key = { env = \"LOQUAT_NO_SUCH_KEY\" }\nabilities = [\"flight\"]")),
        ("provider.toml", ROUTES.replace("ollama", "opneai")),
        ("nokey.toml", ROUTES.replace("ollama", "openai")),
        ("other.toml", "route = \"none\"".to_owned()),
        ("server.toml", "[[spells]]\nserver = \"none\"\nfrom = 1.0\nuntil = 2.0\n".to_owned()),
        ("templates/a.hbs", "{{#if}".to_owned()),
        ("prompt.txt", "a".to_owned()),
    ]
}

/// Whether this build has the command, the code, the arguments, a variable and its value.
type Case<'a> = (bool, u8, &'a [&'a str], (&'a str, &'a str));

const REDIS: bool = cfg!(feature = "redis");

#[test]
fn every_command_ends_with_the_code_of_what_went_wrong() {
    const TLS: [&str; 2] = ["--ca-cert", "garbage.pem"];
    let cases: &[Case<'_>] = &[
        (true, 2, &["route", "check", "garbage.toml"], ("", "")),
        (true, 2, &["route", "check", "garbage.json"], ("", "")),
        (true, 2, &["route", "check", "ability.toml"], ("", "")),
        (true, 2, &["route", "check", "--without-keys", "ability.toml"], ("", "")),
        (true, 2, &["route", "check", "both.toml"], ("", "")),
        (true, 2, &["route", "check", "twice.toml"], ("", "")),
        (true, 2, &["route", "check", "address.toml"], ("", "")),
        (true, 3, &["route", "check", "key.toml"], ("", "")),
        (true, 0, &["route", "check", "key.toml"], ("LOQUAT_NO_SUCH_KEY", "planted")),
        (true, 0, &["route", "check", "--without-keys", "key.toml"], ("", "")),
        (true, 3, &["route", "check", "provider.toml"], ("", "")),
        (true, 3, &["route", "check", "nokey.toml"], ("", "")),
        (true, 2, &["route", "explain", "garbage.toml", "m"], ("", "")),
        (true, 2, &["route", "explain", "twice.toml", "m"], ("", "")),
        (true, 3, &["route", "explain", "good.toml", "none"], ("", "")),
        (true, 2, &["route", "simulate", "garbage.toml"], ("", "")),
        (true, 2, &["route", "simulate", "good.toml", "--script", "garbage.toml"], ("", "")),
        (true, 2, &["route", "simulate", "good.toml", "--script", "other.toml"], ("", "")),
        (true, 2, &["route", "simulate", "good.toml", "--script", "server.toml"], ("", "")),
        (REDIS, 2, &["cache", "stats", "--redis", "nonsense"], ("", "")),
        (REDIS, 2, &["cache", "clear"], ("LOQUAT_REDIS_URL", "http://127.0.0.1:1")),
        (REDIS, 2, &["cache", "warm", "prompt.txt"], ("LOQUAT_CACHE_SEAL", "short")),
        (REDIS, 3, &["cache", "warm", "prompt.txt"], ("", "")),
        (REDIS, 5, &["cache", "stats", "--redis", "redis://127.0.0.1:1"], ("", "")),
        (true, 2, &["chat", "-m", "ollama:m", TLS[0], TLS[1], "hi"], ("", "")),
        (true, 2, &["chat", "-m", "m", "hi"], ("LOQUAT_BASE_URL", "nonsense")),
        (true, 3, &["chat", "-m", "opneai:m", "hi"], ("", "")),
        (true, 3, &["chat", "-m", "openai:m", "hi"], ("", "")),
        (true, 2, &["models", TLS[0], TLS[1]], ("", "")),
        (true, 3, &["models", "opneai"], ("", "")),
        (true, 2, &["embed", "-m", "ollama:m", TLS[0], TLS[1], "hi"], ("", "")),
        (true, 3, &["embed", "-m", "opneai:m", "hi"], ("", "")),
        (true, 2, &["doctor", "--offline", TLS[0], TLS[1]], ("", "")),
        (true, 2, &["discover", TLS[0], TLS[1], "https://a.example"], ("", "")),
        (true, 2, &["prompt", "lint", "templates"], ("", "")),
        (true, 2, &["prompt", "render", "templates", "a", "--data", "garbage.json"], ("", "")),
        (true, 2, &["tokens", "--tokenizer", "garbage.json", "prompt.txt"], ("", "")),
        (true, 3, &["top", "--token-env", "LOQUAT_NO_SUCH_KEY"], ("", "")),
        (true, 2, &["completions", "nonsense"], ("", "")),
    ];
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("templates")).unwrap();
    let files = files();
    for (name, text) in &files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let path = |word: &&str| {
        let is_file = *word == "templates" || files.iter().any(|(name, _)| name == word);
        if is_file { folder.path().join(word).to_str().unwrap().to_owned() } else { (*word).to_owned() }
    };
    let mut wrong = Vec::new();
    for (_, code, arguments, (name, value)) in cases.iter().filter(|(is_there, ..)| *is_there) {
        let ran = Program::new(arguments.iter().map(path));
        let ran = if name.is_empty() { ran.run() } else { ran.variable(name, value).run() };
        if ran.code != Some(i32::from(*code)) {
            wrong.push(format!("{arguments:?}: {:?}, not {code}: {}", ran.code, ran.stderr));
        }
        assert!(!ran.stderr.contains("planted"), "{ran:#?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
