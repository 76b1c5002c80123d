//! Where providers are asked, with what, and how often to find out who lists a model.
#![cfg(feature = "client")]

use loquat::{Client, ErrorKind};
use loquat_testing::{Reply, Server};

fn models() -> Reply {
    Reply::json(r#"{"object":"list","data":[{"id":"llama3","object":"model"}]}"#)
}

fn text(words: &str) -> Reply {
    let said =
        format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{words}"}},"finish_reason":"stop"}}]}}"#);
    Reply::events([said])
}

/// A client for which `openai` is that server, and nobody else is there.
fn client(server: &Server) -> Client {
    let builder = Client::builder().key("openai", "sk-planted").provider_url("ollama", "http://127.0.0.1:1");
    let builder = builder.provider_header("openai", "x-gateway", "planted-team");
    builder.provider_url("openai", format!("{}/v1/", server.base_url())).build().expect("valid")
}

#[tokio::test]
async fn a_provider_behind_a_gateway_is_asked_there_with_what_that_wants() {
    let server = Server::start([text("here")]).await.expect("a port");
    let client = client(&server);
    let answer = client.chat("openai:llama3").user("hi").send().await.expect("an answer");
    assert_eq!(answer.text(), "here");
    let asked = server.requests().pop().expect("it was asked");
    assert_eq!(asked.path, "/v1/chat/completions");
    let header = |name: &str| {
        let mut named = asked.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.as_str())
    };
    assert!(header("x-gateway").is_some() && header("authorization").is_some(), "{asked:?}");
    let openai = client.providers().into_iter().find(|provider| provider.name == "openai").expect("known");
    assert_eq!(openai.base_url, format!("{}/v1", server.base_url()));
    assert!(!format!("{client:?}").contains("planted"));
}

#[tokio::test]
async fn a_bare_name_is_looked_for_once() {
    let server = Server::start([models(), text("one"), text("two")]).await.expect("a port");
    let client = client(&server);
    for expected in ["one", "two"] {
        let answer = client.chat("llama3").user("hi").send().await.expect("an answer");
        assert_eq!(answer.text(), expected);
    }
    let paths: Vec<_> = server.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/v1/models", "/v1/chat/completions", "/v1/chat/completions"]);
}

#[test]
fn what_cannot_be_used_is_refused_by_name() {
    for (builder, says) in [
        (Client::builder().provider_url("openai", "localhost"), "the address of openai"),
        (Client::builder().provider_url("opneai", "http://h"), "opneai"),
        (Client::builder().provider_header("openai", "no name", "x"), "not a header name"),
        (Client::builder().provider_header("openai", "x-a", "planted\nmore"), "forbidden characters"),
    ] {
        let error = builder.build().map(drop).expect_err(says);
        assert!(matches!(error.kind(), ErrorKind::InvalidRequest | ErrorKind::NotConfigured), "{error:?}");
        assert!(error.message().contains(says) && !error.message().contains("planted"), "{error}");
    }
}
