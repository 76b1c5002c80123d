//! A router asked as a client is: text, tools and types, through the whole client and over real sockets.

#[path = "support/says.rs"]
mod says;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use loquat::{
    Answer, Chat, Client, Context, ErrorKind, Message, Model, ModelExt, Result, Toolbox,
    core::{BoxFuture, Endpoint, model_fn},
    router::{Abilities, EndpointSpec, Plan, Router},
    schedule::{Schedule, breaker::BreakerPolicy, retry::RetryPolicy},
    schemars::JsonSchema,
    tool,
    transport::{Config, HeaderName, Resolve},
};
use loquat_testing::{RecordedRequest, Reply, Server};
use says::{calls, text};
use serde::Deserialize;

/// The weather at a place.
#[tool]
async fn weather(city: String) -> String {
    format!("sunny in {city}")
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
struct Person {
    name: String,
}

const ANN: &str = r#"{"name":"Ann"}"#;

/// No name leads anywhere.
#[derive(Debug)]
struct Nowhere;

impl Resolve for Nowhere {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async { Err(io::ErrorKind::NotFound.into()) })
    }
}

async fn server(replies: impl IntoIterator<Item = Reply>) -> (Server, String) {
    let server = Server::start(replies).await.expect("a port");
    let url = format!("{}/v1", server.base_url());
    (server, url)
}

/// A route to one endpoint of these abilities.
fn one(url: &str, abilities: Abilities) -> Router {
    let spec = EndpointSpec::new("only", Endpoint::new("openai", url, "m")).with_abilities(abilities);
    let plan = Plan::new().with_endpoint(spec).with_chain("chat", ["only"]);
    Client::builder().schedule(None).build().expect("valid").router(&plan).expect("a plan")
}

#[tokio::test]
async fn a_route_that_is_none_is_named_before_anything_is_asked() {
    let (server, url) = server([]).await;
    let error = one(&url, Abilities::COMMON).chat("chta").user("hi").send().await.expect_err("no such route");
    assert_eq!(error.kind(), ErrorKind::NotConfigured);
    assert!(error.message().contains("chta") && error.message().contains("there are: chat"), "{error}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn tools_are_called_over_a_route() {
    let (server, url) = server([calls("weather", ["Rome"]), text("sunny")]).await;
    let router = one(&url, Abilities::COMMON);
    let outcome =
        router.chat("chat").user("hi").tools(Toolbox::new().with(weather)).send().await.expect("an answer");
    assert_eq!((outcome.text().as_str(), outcome.turns), ("sunny", 2));
    let messages = &server.requests()[1].body["messages"];
    assert_eq!(messages[2]["content"], "sunny in Rome");
}

/// By the endpoint's own means where it is said to have them, in words where it is not.
#[tokio::test]
async fn an_answer_over_a_route_is_a_value() {
    for (abilities, is_told_by_schema) in
        [(Abilities::COMMON, false), (Abilities::COMMON.and(Abilities::JSON_SCHEMA), true)]
    {
        let (server, url) = server([text(ANN)]).await;
        let ann: Result<Person> = one(&url, abilities).chat("chat").user("hi").structured().send().await;
        assert_eq!(ann, Ok(Person { name: "Ann".into() }));
        let asked = server.requests().pop().expect("it was asked").body;
        let in_words = asked["messages"][0]["content"].to_string().contains("JSON Schema");
        let by_schema = !asked["response_format"]["json_schema"].is_null();
        assert_eq!((by_schema, in_words), (is_told_by_schema, !is_told_by_schema), "{asked}");
    }
}

/// Where one server stands for all, it does for a route's models too, and no provider's key goes there.
#[tokio::test]
async fn one_server_for_everything_is_that_of_routes_too() {
    let (server, url) = server([text("here")]).await;
    let client = Client::builder().key("openai", "sk-planted").base_url(url).schedule(None);
    let plan = Plan::new().with_chain("chat", ["openai:m"]);
    let router = client.build().expect("valid").router(&plan).expect("a plan");
    let answer = router.chat("chat").user("hi").send().await.expect("an answer");
    assert_eq!(answer.text(), "here");
    let asked = server.requests().pop().expect("it was asked");
    assert!(asked.headers.iter().all(|(name, _)| name != "authorization"), "{asked:?}");
    assert_eq!(asked.body["model"], "m");

    // A key of the endpoint's own goes to its provider or nowhere: here to one whose address is not resolved.
    let spec = EndpointSpec::new("own", Endpoint::new("openai", "", "m").with_credential("sk-planted"));
    let (server, url) = self::server([text("here")]).await;
    let client =
        Client::builder().base_url(url).schedule(None).transport(Config::new().with_resolver(Nowhere));
    let plan = Plan::new().with_endpoint(spec).with_chain("chat", ["own"]);
    let router = client.build().expect("valid").router(&plan).expect("a plan");
    router.chat("chat").user("hi").send().await.expect_err("nobody is there");
    assert!(server.requests().is_empty(), "{:?}", server.requests());
}

/// What is said of the request at a client reaches any model, its name included.
#[tokio::test]
async fn any_model_is_asked_in_the_same_words() {
    use loquat_testing::model::Scripted;

    let tenant =
        |context: Context, _| async move { Ok(Answer::from_text(context.tenant().unwrap_or("nobody"))) };
    let answer = model_fn(tenant).chat("m").context(Context::new().with_tenant("ours")).send().await;
    assert_eq!(answer.map(|answer| answer.text()).as_deref(), Ok("ours"));

    let scripted = Arc::new(Scripted::new());
    let model: Arc<dyn Model> = scripted.clone();
    for chat in [scripted.chat("m"), model.chat("m"), Chat::over(model, "m")] {
        let chat = chat.system("s").user("u").temperature(0.5).max_tokens(7);
        assert_eq!(chat.count_tokens().await.map_err(|error| error.kind()), Err(ErrorKind::Unsupported));
        assert_eq!(chat.stream().await.map_err(|error| error.kind()).map(drop), Err(ErrorKind::Internal));
    }
    assert_eq!(scripted.asked().len(), 3);
    for asked in scripted.asked() {
        let words: Vec<_> = asked.messages.iter().map(Message::text).collect();
        assert_eq!((asked.model.as_str(), words), ("m", vec!["s".to_owned(), "u".to_owned()]));
        assert_eq!((asked.temperature, asked.max_output_tokens), (Some(0.5), Some(7)));
    }
}

/// By whichever way a server is asked: at its address, and as an endpoint of a router.
#[tokio::test]
async fn servers_are_told_how_long_the_caller_waits() {
    let (server, url) = server([text("one"), text("two")]).await;
    let name = HeaderName::from_static("x-envoy-upstream-rq-timeout-ms");
    let client = Client::builder().base_url(&*url).deadline_header(name.clone()).build().expect("valid");
    let spec = EndpointSpec::new("only", Endpoint::new("openai", &*url, "m"));
    let plan = Plan::new().with_endpoint(spec).with_chain("chat", ["only"]);
    let context = Context::new().with_timeout(Duration::from_secs(20));
    client.chat("m").user("hi").context(context.clone()).send().await.expect("an answer");
    let router = client.router(&plan).expect("a plan");
    router.chat("chat").user("hi").context(context).send().await.expect("an answer");
    let told = |request: &RecordedRequest| {
        let field = request.headers.iter().find(|(field, _)| field == name.as_str());
        field.expect("a field").1.parse::<u64>().expect("milliseconds")
    };
    let told: Vec<_> = server.requests().iter().map(told).collect();
    assert!(told.len() == 2 && told.iter().all(|&left| left > 0 && left <= 20_000), "{told:?}");
}

/// An endpoint whose breaker opens under a request, by that request's own failure: its retry would wait for the breaker, and somebody
/// else can answer. Later ones do not even look there.
#[tokio::test]
async fn nobody_waits_at_an_open_breaker_while_another_endpoint_is_well() {
    const OPEN: Duration = Duration::from_secs(30);
    let (busy, busy_url) = server((0..9).map(|_| Reply::refusal(503, "busy"))).await;
    let (well, well_url) = server((0..2).map(|_| text("here"))).await;
    let breaker = BreakerPolicy::default().with_success_rate(50, OPEN, 1).with_ejection(OPEN, OPEN);
    let retry = RetryPolicy::default().with_bases(Duration::from_millis(1), Duration::from_millis(1));
    let schedule = Schedule::new().with_breaker(breaker).with_retry(retry);
    let endpoint = |name: &str, url: &str| EndpointSpec::new(name, Endpoint::new("openai", url, "m"));
    let plan = Plan::new()
        .with_endpoint(endpoint("busy", &busy_url))
        .with_endpoint(endpoint("well", &well_url))
        .with_chain("chat", ["busy", "well"]);
    let client = Client::builder().schedule(schedule).build().expect("valid");
    let router = client.router(&plan).expect("a plan");
    let begun = Instant::now();
    for asked in 1..=2 {
        let answer = router.chat("chat").user("hi").send().await.expect("the other answers");
        assert_eq!((answer.text().as_str(), well.requests().len()), ("here", asked));
        assert_eq!(busy.requests().len(), 1, "left alone since");
    }
    assert!(begun.elapsed() < OPEN / 2, "{:?}", begun.elapsed());
}
