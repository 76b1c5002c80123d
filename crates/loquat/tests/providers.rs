//! Where providers are asked, with what, and how often to find out who lists a model.
#![cfg(feature = "client")]

use std::{sync::Arc, time::Duration};

use loquat::{ChatRequest, Client, ClientBuilder, Context, ErrorKind, client::GenerationLimits};
use loquat_testing::{Fault, Gate, Reply, Server};

fn models() -> Reply {
    Reply::json(r#"{"object":"list","data":[{"id":"llama3","object":"model"}]}"#)
}

fn text(words: &str) -> Reply {
    let said =
        format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{words}"}},"finish_reason":"stop"}}]}}"#);
    Reply::events([said])
}

/// Of a client for which `openai` is that server, and nobody else is there.
fn builder(server: &Server) -> ClientBuilder {
    let local = ["ollama", "llamacpp", "vllm", "sglang", "lmstudio"];
    let nobody = |builder: ClientBuilder, name| builder.provider_url(name, "http://127.0.0.1:1");
    let builder = local.into_iter().fold(Client::builder(), nobody);
    let builder = builder.key("openai", "sk-planted").provider_header("openai", "x-gateway", "planted-team");
    builder.provider_url("openai", format!("{}/v1/", server.base_url()))
}

fn client(server: &Server) -> Client {
    builder(server).build().expect("valid")
}

fn paths(server: &Server) -> Vec<String> {
    server.requests().into_iter().map(|request| request.path).collect()
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
    assert_eq!(paths(&server), ["/v1/models", "/v1/chat/completions", "/v1/chat/completions"]);
    let local: Vec<_> = client.providers().into_iter().filter(|known| known.key_variable.is_none()).collect();
    assert!(
        local.iter().all(|known| known.base_url == "http://127.0.0.1:1"),
        "nobody else is dialled: {local:?}"
    );
}

/// Who is always late does not make everybody else be asked at each call: what they said is believed, for a shorter while.
#[tokio::test]
async fn who_is_late_with_a_listing_is_not_waited_for_at_each_call() {
    let server = Server::start([models(), text("one"), text("two")]).await.expect("a port");
    let gate = Gate::new();
    let late = || models().with_fault(Fault::Stall { after: 0, gate: gate.clone() });
    let other = Server::start([late(), late()]).await.expect("a port");
    let builder = builder(&server).key("groq", "k").provider_url("groq", format!("{}/v1", other.base_url()));
    let limits = GenerationLimits::default().with_listing(Duration::from_secs(1));
    let client = builder.limits(limits).build().expect("valid");
    for words in ["one", "two"] {
        let answer = client.chat("llama3").user("hi").send().await.expect("an answer");
        assert_eq!(answer.text(), words);
    }
    assert_eq!(paths(&server), ["/v1/models", "/v1/chat/completions", "/v1/chat/completions"]);
    assert_eq!(paths(&other).len(), 1);
    gate.open();
}

#[tokio::test]
async fn a_name_is_looked_for_again_where_it_was_not_there() {
    let ways = ["chat", "model", "tools"];
    for way in &ways[..if cfg!(feature = "tools") { 3 } else { 2 }] {
        let missing = Reply::refusal(404, r#"{"error":{"message":"no such model"}}"#);
        let replies = [models(), missing, models(), text("two"), text("three")];
        let server = Server::start(replies).await.expect("a port");
        let client = client(&server);
        let ask = async || match *way {
            "chat" => client.chat("llama3").user("hi").send().await.map(|answer| answer.text()),
            #[cfg(feature = "tools")]
            "tools" => {
                let chat = client.chat("llama3").user("hi").tools(loquat::Toolbox::new());
                chat.send().await.map(|outcome| outcome.text())
            }
            _ => {
                let context = Context::new();
                let (model, name) = client.resolve(&context, "llama3").await?;
                let request = ChatRequest::new(name).with_user("hi");
                model.infer(&context, Arc::new(request)).await?.collect().await.map(|answer| answer.text())
            }
        };
        assert_eq!(ask().await.expect_err("it went away").kind(), ErrorKind::NotFound, "{way}");
        for words in ["two", "three"] {
            assert_eq!(ask().await.expect("an answer"), words, "{way}");
        }
        let chat = "/v1/chat/completions";
        assert_eq!(paths(&server), ["/v1/models", chat, "/v1/models", chat, chat], "{way}");
    }
}

/// A key in a file of routes takes the same way as one of the client.
#[cfg(feature = "router")]
#[test]
fn a_route_to_a_provider_over_plain_http_needs_the_word() {
    use loquat::{
        core::Endpoint,
        router::{EndpointSpec, Plan},
    };
    let plan = |key: bool, plain: bool| {
        let endpoint = Endpoint::new("openai", "", "m").with_plain_credential(plain);
        let endpoint = if key { endpoint.with_credential("planted") } else { endpoint };
        Plan::new().with_endpoint(EndpointSpec::new("e", endpoint)).with_chain("m", ["e"])
    };
    let gateway = || Client::builder().key("openai", "planted").provider_url("openai", "http://192.0.2.1/v1");
    for key in [false, true] {
        let (silent, told) = (gateway(), gateway().provider_plain_key("openai"));
        let (silent, told) = (silent.build().expect("valid"), told.build().expect("valid"));
        let error = silent.router(&plan(key, false)).map(drop).expect_err("readable on the way");
        assert!(error.message().contains("plain HTTP") && !error.message().contains("planted"), "{error}");
        assert!(silent.router(&plan(key, true)).is_ok() && told.router(&plan(key, false)).is_ok());
    }
    // Nor does it go past the gateway.
    let moved = Client::builder().provider_url("gemini", "https://gw.example").build().expect("valid");
    let endpoint = Endpoint::new("gemini-openai", "", "m").with_credential("planted");
    let plan = Plan::new().with_endpoint(EndpointSpec::new("e", endpoint)).with_chain("m", ["e"]);
    assert!(moved.router(&plan).map(drop).expect_err("elsewhere").message().contains("provider_url"));
}

#[test]
fn what_cannot_be_used_is_refused_by_name() {
    for (builder, says) in [
        (Client::builder().provider_url("openai", "localhost"), "the address of openai"),
        (Client::builder().provider_url("openai", "http://h/v1?key=planted"), "the address of openai"),
        (Client::builder().provider_url("opneai", "http://h"), "opneai"),
        (Client::builder().provider_header("openai", "no name", "x"), "not a header name"),
        (Client::builder().provider_header("openai", "x-a", "planted\nmore"), "forbidden characters"),
    ] {
        let error = builder.build().map(drop).expect_err(says);
        assert!(matches!(error.kind(), ErrorKind::InvalidRequest | ErrorKind::NotConfigured), "{error:?}");
        assert!(error.message().contains(says) && !error.message().contains("planted"), "{error}");
    }
}
