//! The examples, run as programs against servers that say what a provider would.

#[path = "support/example.rs"]
mod example;
#[path = "support/says.rs"]
mod says;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use loquat_testing::{Fault, Gate, Reply, Server};
use says::{calls, text};
use serde_json::json;
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};

fn models() -> Reply {
    Reply::json(r#"{"object":"list","data":[{"id":"llama3","object":"model"}]}"#)
}

async fn server(replies: impl IntoIterator<Item = Reply>) -> (Server, String) {
    let server = Server::start(replies).await.expect("a port");
    let url = format!("{}/v1", server.base_url());
    (server, url)
}

/// Runs an example to its end. What asks the default provider has `url` for it, and nothing else of the environment.
async fn run(name: &str, url: &str, arguments: &[&str]) -> Output {
    let mut program = example::program(name);
    program
        .args(arguments)
        .env_clear()
        .env("LOQUAT_BASE_URL", url)
        .env("TMPDIR", env!("CARGO_TARGET_TMPDIR"));
    spawn_blocking(move || program.output()).await.expect("no panic").expect("it starts")
}

/// What it printed.
#[track_caller]
fn printed(ran: &Output) -> String {
    assert!(ran.status.success(), "{ran:?}");
    String::from_utf8(ran.stdout.clone()).expect("text")
}

#[tokio::test]
async fn one_question_has_one_answer_whole_or_as_it_is_made() {
    for name in ["chat", "stream"] {
        let (server, url) = server([text("Rayleigh")]).await;
        assert_eq!(printed(&run(name, &url, &[]).await).trim_end(), "Rayleigh", "{name}");
        let asked = server.requests().pop().expect("it was asked").body;
        assert_eq!(asked["messages"][0]["content"], "Why is the sky blue?", "{name}");
    }
}

/// The first words are seen while the rest is still to come, although no line has ended.
#[tokio::test]
async fn a_stream_is_seen_as_it_is_made() {
    let event = |text: &str| json!({ "choices": [{ "index": 0, "delta": { "content": text } }] }).to_string();
    let end = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] }).to_string();
    let after = event("Ray").len() + "data: \n\n".len();
    for name in ["stream", "routes"] {
        let gate = Gate::new();
        let held = Fault::Stall { after, gate: gate.clone() };
        let (_server, url) =
            server([Reply::events([event("Ray"), event("leigh"), end.clone()]).with_fault(held)]).await;
        let arguments = if name == "routes" { vec!["m", &url, &url] } else { vec![] };
        let mut program = example::program(name);
        program.args(arguments).env_clear().env("LOQUAT_BASE_URL", &url).stdout(Stdio::piped());
        let mut program = program.env("TMPDIR", env!("CARGO_TARGET_TMPDIR")).spawn().expect("it starts");
        let mut says = program.stdout.take().expect("piped");
        let first = spawn_blocking(move || {
            let mut words = [0; 3];
            says.read_exact(&mut words).expect("words");
            (words, says)
        });
        let (words, mut says) =
            timeout(Duration::from_secs(20), first).await.expect("seen").expect("no panic");
        assert_eq!(&words, b"Ray", "{name}");
        gate.open();
        let rest = spawn_blocking(move || {
            let mut rest = String::new();
            says.read_to_string(&mut rest).map(|_| rest)
        });
        assert_eq!(rest.await.expect("no panic").expect("words"), "leigh\n", "{name}");
        assert!(program.wait().expect("it has run").success(), "{name}");
    }
}

/// What a page says to type works where a reader is: at the root of the workspace.
#[test]
fn examples_are_started_from_the_root() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages: Vec<_> = ["README.md", "docs/observability/README.md"].map(|page| root.join(page)).into();
    let examples = std::fs::read_dir(root.join("crates/loquat/examples")).expect("a folder");
    pages.extend(examples.map(|entry| entry.expect("a file").path()));
    let mut seen = 0;
    for page in pages.iter().filter(|page| page.is_file()) {
        let text = std::fs::read_to_string(page).expect("text");
        for line in text.lines().filter(|line| line.contains("cargo run") && line.contains("--example ")) {
            assert!(line.contains("cargo run -p loquat "), "{}: {line}", page.display());
            seen += 1;
        }
    }
    assert!(seen > 5, "{seen}");
}

#[tokio::test]
async fn an_answer_is_a_rust_type() {
    let recipe = r#"{"name":"Compote","ingredients":["500 g loquats","sugar"],"minutes":20}"#;
    let (_server, url) = server([text(recipe)]).await;
    assert_eq!(
        printed(&run("structured", &url, &[]).await),
        "Compote, 20 minutes, of 500 g loquats, sugar\n"
    );
}

#[tokio::test]
async fn a_function_is_called_by_the_model() {
    let (server, url) = server([calls("weather", ["Oslo"]), text("fine")]).await;
    assert_eq!(printed(&run("tools", &url, &[]).await), "fine\n");
    assert_eq!(server.requests()[1].body["messages"][2]["content"], "sunny in Oslo, 20 °C");
}

#[tokio::test]
async fn several_are_asked_at_once() {
    let (server, url) = server([text("one"), text("one"), text("one")]).await;
    let says = printed(&run("concurrent", "", &[&url, "m", "3"]).await);
    for n in 0..3 {
        assert!(says.contains(&format!("{n}: one (2 output tokens)\n")), "{says}");
    }
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn the_second_of_two_servers_answers_where_the_first_fails() {
    let busy = || Reply::refusal(503, r#"{"error":{"message":"busy"}}"#);
    let ((near, near_url), (far, far_url)) =
        (server([busy(), busy(), busy()]).await, server([text("blue")]).await);
    assert_eq!(printed(&run("routes", "", &["llama", &near_url, &far_url]).await), "blue\n");
    assert!(!near.requests().is_empty());
    let asked = far.requests().pop().expect("it was asked").body;
    assert_eq!(
        (&asked["model"], &asked["messages"][0]["content"]),
        (&"llama".into(), &"Why is the sky blue?".into())
    );
}

#[tokio::test]
async fn a_found_server_is_asked() {
    let (server, _) = server([models(), text("Loquats are gold.")]).await;
    let says = printed(&run("discovery", "", &["llama3", &server.base_url()]).await);
    assert!(says.contains("serves llama3\n") && says.ends_with("Loquats are gold.\n"), "{says}");
}

/// It asks for as long as it is told to, and shows what it does at a port of its own choice.
#[tokio::test]
async fn a_busy_program_is_watched() {
    let mut program = example::program("observe");
    program.args(["2", "127.0.0.1:0"]).env_clear().env("TMPDIR", env!("CARGO_TARGET_TMPDIR"));
    let mut program = program.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut says = BufReader::new(program.stdout.take().expect("piped")).lines();
    let page = says.next().expect("a line").expect("text");
    let address =
        page.strip_prefix("http://").and_then(|page| page.strip_suffix("/metrics")).expect("a page");
    let metrics = || {
        let mut socket = TcpStream::connect(address)?;
        let ask = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        socket.write_all(ask.as_bytes())?;
        std::io::read_to_string(socket)
    };
    // It is asked until it ends: by then answers have been counted.
    let mut seen = String::new();
    while program.try_wait().expect("it runs").is_none() {
        seen = metrics().unwrap_or(seen);
        sleep(Duration::from_millis(50)).await;
    }
    assert!(program.wait().expect("it has run").success());
    for model in ["small", "large"] {
        assert!(seen.contains(&format!("gen_ai_request_model=\"{model}\"")), "{model}: {seen}");
    }
}

/// Without what they need they say what that is.
#[tokio::test]
async fn those_that_take_arguments_say_which() {
    for name in ["concurrent", "routes"] {
        let ran = run(name, "", &[]).await;
        let says = [ran.stdout, ran.stderr].concat();
        assert_eq!(ran.status.code(), Some(2), "{name}");
        assert!(says.starts_with(format!("usage: {name} ").as_bytes()), "{name}");
    }
}
