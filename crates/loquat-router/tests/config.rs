//! Configurations as files: what they mean, and what they are refused for.
#![cfg(feature = "config")]

use loquat_core::{Error, ErrorKind, Secret};
use loquat_router::{
    Abilities, Members,
    config::{Config, KeyReference, ScriptConfig, Syntax, schema, script_schema},
};

const TOML: &str = r#"
[[endpoints]]
name = "near"
provider = "openai"
base_url = "http://10.0.0.1/v1"
model = "llama"
key = { env = "NEAR_KEY" }
abilities = ["vision", "streaming"]
context_window = 128000
price = { input = 1.0, output = 2.0 }
tags = ["eu"]
plain_key = true

[[endpoints]]
name = "far"
provider = "anthropic"
model = "claude"

[[routes]]
names = ["chat", "gpt-*"]
groups = [{ tags = ["eu"], strategy = "cheapest", objective_ms = 400 }, { endpoints = ["far"] }]
fallback = { on = ["overload", "timeout"], max_attempts = 2, after_delivery = "continue" }
canary = { name = "next", group = { endpoints = ["far"] }, first_percent = 1.0 }
"#;

const YAML: &str = "
endpoints:
  - { name: near, provider: openai, model: llama, key: { file: /run/key } }
routes:
  - names: [chat]
    groups: [{ model: llama, strategy: round_robin }]
    hedge_after_ms: 300
";

fn secret(_: &KeyReference) -> Result<Secret, Error> {
    Ok(Secret::new("sk-found"))
}

#[test]
fn a_file_is_a_plan() {
    let plan = Config::parse(TOML, Syntax::of("routes.toml")).expect("reads").plan(secret).expect("valid");
    let near = &plan.endpoints[0];
    assert_eq!(near.abilities, Abilities::VISION.and(Abilities::STREAMING));
    assert_eq!((near.context_window, near.price.output), (Some(128_000), 2.0));
    assert_eq!(near.endpoint.credential, Some(Secret::new("sk-found")));
    assert!(near.endpoint.plain_credential && !plan.endpoints[1].endpoint.plain_credential);
    let route = &plan.routes[0];
    assert_eq!(route.names, ["chat", "gpt-*"]);
    assert_eq!(route.groups[0].members, Members::Tagged(vec!["eu".into()]));
    assert_eq!((route.fallback.max_attempts, route.fallback.classes.len()), (2, 2));
    assert!(route.canary.is_some());
    let plan = Config::parse(YAML, Syntax::of("routes.yml")).expect("reads").plan(secret).expect("valid");
    assert_eq!(plan.routes[0].groups[0].members, Members::OfModel("llama".into()));
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_never_with_a_key() {
    for (syntax, text, parts) in [
        (
            Syntax::Toml,
            TOML.replace("{ env = \"NEAR_KEY\" }", "\"sk-planted\""),
            &["line 7", "must not stand in the file"][..],
        ),
        (Syntax::Yaml, YAML.replace("{ file: /run/key }", "sk-planted"), &["must not stand in the file"]),
        (Syntax::Toml, TOML.replace("weight", "x").replace("tags = [\"eu\"]\n", "wieght = 2\n"), &["wieght"]),
        (Syntax::Toml, TOML.replace("\"vision\"", "\"flight\""), &["tool_use"]),
        (
            Syntax::Toml,
            TOML.replace("{ env = \"NEAR_KEY\" }", "{ env = \"A\", file = \"b\" }"),
            &["one place"],
        ),
        (Syntax::Toml, "endpoints = 7".to_owned(), &["line 1"]),
        (Syntax::Yaml, "a: &a [*a, *a]".to_owned(), &[]),
        (Syntax::Yaml, "[".repeat(100_000), &[]),
    ] {
        let error = Config::parse(&text, syntax).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::NotConfigured);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("planted"), "{shown}");
        parts.iter().for_each(|part| assert!(shown.contains(part), "{part} in {shown}"));
    }
    let many = TOML.replace("\"far\"]", "\"gone\"]").replace("max_attempts = 2", "max_attempts = 99");
    let error = Config::parse(&many, Syntax::Toml).expect("reads").plan(secret).expect_err("not valid");
    for part in ["no endpoint `gone`", "max_attempts must be 1 to 8"] {
        assert!(error.message().contains(part), "all at once: {error}");
    }
    // Whoever goes on with an answer is a second endpoint.
    let (once, twice) = (TOML.replace("max_attempts = 2", "max_attempts = 1"), TOML);
    let plan = |text: &str| Config::parse(text, Syntax::Toml).expect("reads").plan(secret);
    assert!(plan(twice).is_ok());
    let error = plan(&once).expect_err("nobody is left to go on");
    assert!(error.message().contains("max_attempts allows one endpoint in all"), "{error}");
    assert!(plan(&once.replace("\"continue\"", "\"fail\"")).is_ok());
    let missing = |reference: &KeyReference| match reference {
        KeyReference::Env(name) => Err(Error::new(ErrorKind::NotConfigured, format!("{name} is not set"))),
        _ => secret(reference),
    };
    let error = Config::parse(TOML, Syntax::Toml).expect("reads").plan(missing).expect_err("no key");
    assert!(error.message().contains("endpoint `near`: NEAR_KEY is not set"), "{error}");
}

#[test]
fn the_schema_knows_every_field_and_a_script_its_servers() {
    let schema = format!("{:?}", schema());
    for field in
        ["base_url", "objective_ms", "after_delivery", "max_first_token_ms", "hedge_after_ms", "plain_key"]
    {
        assert!(schema.contains(field), "{field}");
    }
    let script = "seconds = 10\n[[spells]]\nserver = \"near\"\nfrom = 1\nuntil = 2\nslow = 5\n";
    let script = ScriptConfig::parse(script, Syntax::Toml).expect("reads");
    assert_eq!(script.script(["near"]).expect("valid").spells.len(), 1);
    assert!(script.script(["far"]).expect_err("no such server").message().contains("near"));
}

/// The files that editors are pointed at are what the code reads.
#[test]
fn the_published_schemas_are_those_of_the_code() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    for (file, option, schema) in
        [("routes.schema.json", "", schema()), ("script.schema.json", " --script", script_schema())]
    {
        let path = folder.join(file);
        let published = std::fs::read_to_string(&path).unwrap_or_default();
        let published: serde_json::Value = serde_json::from_str(&published).unwrap_or_default();
        assert_eq!(
            published,
            *schema.as_value(),
            "{} is not up to date: `loquat route schema{option}` writes it",
            path.display()
        );
    }
}
