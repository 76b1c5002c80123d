//! Functions as tools and types as answers, through the whole client and over a real socket.
#![cfg(all(feature = "client", feature = "tools"))]

#[path = "support/says.rs"]
mod says;

use loquat::{Client, ErrorKind, Toolbox, schemars::JsonSchema, tool};
use loquat_testing::{Reply, Server};
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
    age: u8,
}

async fn client(replies: impl IntoIterator<Item = Reply>) -> (Client, Server) {
    let server = Server::start(replies).await.expect("a port");
    let base_url = format!("{}/v1", server.base_url());
    (Client::builder().base_url(base_url).build().expect("a valid address"), server)
}

#[tokio::test]
async fn tools_are_called_and_their_results_sent_back() {
    let (client, server) = client([calls("weather", ["Rome", "Oslo"]), text("both sunny")]).await;
    let outcome =
        client.chat("m").user("hi").tools(Toolbox::new().with(weather)).send().await.expect("an answer");
    assert_eq!((outcome.text().as_str(), outcome.turns), ("both sunny", 2));
    let requests = server.requests();
    assert_eq!(requests[0].body["tools"][0]["function"]["parameters"]["required"][0], "city");
    let messages = &requests[1].body["messages"];
    assert_eq!(messages[1]["tool_calls"][1]["id"], "id1");
    let results = [&messages[2], &messages[3]].map(|message| (&message["tool_call_id"], &message["content"]));
    assert_eq!(
        format!("{results:?}"),
        r#"[(String("id0"), String("sunny in Rome")), (String("id1"), String("sunny in Oslo"))]"#
    );
}

#[tokio::test]
async fn an_answer_is_a_value_or_says_what_does_not_fit() {
    let (fitting, misfit) = (r#"{"name":"Ann","age":7}"#, r#"{"name":"Ann","age":"seven"}"#);
    let ann = Person { name: "Ann".into(), age: 7 };
    let (asked, server) = client([text(fitting)]).await;
    assert_eq!(asked.chat("m").user("hi").structured().send().await, Ok(ann));
    let form = &server.requests()[0].body["response_format"]["json_schema"];
    assert_eq!((&form["strict"], &form["name"]), (&true.into(), &"Person".into()));

    let (asked, _server) = client([text(misfit)]).await;
    let error = asked.chat("m").user("hi").structured::<Person>().send().await.expect_err("no such person");
    assert_eq!(error.kind(), ErrorKind::Protocol);
    let shown = format!("{error} {:?}", std::error::Error::source(&error).map(ToString::to_string));
    assert!(shown.contains("`age`") && !shown.contains("seven"), "{shown}");

    let (asked, server) = client([text(misfit), text(fitting)]).await;
    let (value, _) =
        asked.chat("m").user("hi").structured::<Person>().repairs(1).send_whole().await.expect("mended");
    assert_eq!(value.age, 7);
    let words = server.requests()[1].body["messages"][2]["content"].to_string();
    assert!(words.contains("at `age`"), "{words}");
}

#[tokio::test]
async fn a_format_that_knows_no_schema_is_told_in_words() {
    let answer = r#"{"output":{"choices":[{"finish_reason":"stop","message":{"role":"assistant",
        "content":"```json\n{\"name\":\"Ann\",\"age\":7}\n```"}}]},"usage":{"input_tokens":1}}"#;
    let (asked, server) = client([Reply::json(answer)]).await;
    let ann = Person { name: "Ann".into(), age: 7 };
    assert_eq!(asked.chat("dashscope:m").user("hi").structured().send().await, Ok(ann));
    let request = server.requests().pop().expect("one was sent").body.to_string();
    assert!(request.contains("JSON Schema") && request.contains("additionalProperties"), "{request}");
    assert_eq!(server.requests().len(), 1, "what cannot be said is not sent");
}
