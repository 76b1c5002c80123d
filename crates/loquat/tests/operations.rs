//! Embeddings, counts of tokens and moderation: what is sent, what is made of the answer, what is refused.
#![cfg(feature = "client")]

use std::{future::Future, time::Duration};

use loquat::{Client, Context, ErrorKind};
use loquat_testing::{RecordedRequest, Reply, Server};
use serde_json::json;

async fn client(body: &str) -> (Client, Server) {
    let server =
        Server::start([Reply::json(body.to_owned()).with_header("x-ratelimit-remaining-requests", "9")])
            .await
            .expect("a port");
    let client = Client::builder().base_url(format!("{}/v1", server.base_url())).build().expect("valid");
    (client, server)
}

fn last(server: &Server) -> RecordedRequest {
    server.requests().pop().expect("one was sent")
}

#[tokio::test]
async fn embeddings_keep_the_order_of_the_texts() {
    for (model, path, sent, answer) in [
        (
            "m",
            "/v1/embeddings",
            json!({"model": "m", "input": ["a", "b"], "encoding_format": "float"}),
            r#"{"data":[{"index":1,"embedding":[3,4]},{"index":0,"embedding":[1,2]}],"usage":{"prompt_tokens":5}}"#,
        ),
        (
            "ollama:m",
            "/v1/api/embed",
            json!({"model": "m", "input": ["a", "b"]}),
            r#"{"embeddings":[[1,2],[3,4]],"prompt_eval_count":5}"#,
        ),
        (
            "gemini:m",
            "/v1/models/m:batchEmbedContents",
            json!({"requests": [
                {"model": "models/m", "content": {"parts": [{"text": "a"}]}},
                {"model": "models/m", "content": {"parts": [{"text": "b"}]}}
            ]}),
            r#"{"embeddings":[{"values":[1,2]},{"values":[3,4]}]}"#,
        ),
        (
            "cohere:m",
            "/v1/v2/embed",
            json!({"model": "m", "texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["float"]}),
            r#"{"embeddings":{"float":[[1,2],[3,4]]},"meta":{"billed_units":{"input_tokens":5}}}"#,
        ),
    ] {
        let (client, server) = client(answer).await;
        let embeddings = client.embed(model, ["a", "b"]).await.expect(model);
        assert_eq!(embeddings.vectors, [[1.0, 2.0], [3.0, 4.0]], "{model}");
        assert_eq!(embeddings.usage.input_tokens, if model == "gemini:m" { 0 } else { 5 });
        assert_eq!(embeddings.rate_limits.requests().and_then(|limit| limit.remaining), Some(9));
        let request = last(&server);
        assert_eq!((request.path.as_str(), request.body), (path, sent), "{model}");
    }
}

#[tokio::test]
async fn what_is_no_embedding_of_these_texts_is_refused() {
    for answer in [
        r#"{"data":[{"index":0,"embedding":[1]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1]},{"index":18446744073709551615,"embedding":[1]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[]}]}"#,
        r#"{"data":[{"embedding":["private"]},{"embedding":[1]}]}"#,
        r#"{"error":"private"}"#,
        "",
    ] {
        let (client, _server) = client(answer).await;
        let error = client.embed("m", ["a", "b"]).await.expect_err(answer);
        assert_eq!(error.kind(), ErrorKind::Protocol, "{answer}");
        assert!(!format!("{error} {error:?}").contains("private"), "{error:?}");
    }
}

#[tokio::test]
async fn tokens_are_counted_by_who_can() {
    let (asked, server) = client(r#"{"input_tokens":7}"#).await;
    let chat = asked.chat("anthropic:m").system("be brief").user("hi").max_tokens(5).temperature(0.5);
    assert_eq!(chat.count_tokens().await, Ok(7));
    let request = last(&server);
    assert_eq!(request.path, "/v1/messages/count_tokens");
    let members: Vec<_> = request.body.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(members, ["messages", "model", "system"]);
    assert!(request.headers.iter().any(|(name, _)| name == "anthropic-version"));

    let (asked, server) = client(r#"{"totalTokens":8}"#).await;
    assert_eq!(asked.chat("gemini:m").user("hi").count_tokens().await, Ok(8));
    let request = last(&server);
    assert_eq!(request.path, "/v1/models/m:countTokens");
    assert_eq!(request.body["generateContentRequest"]["model"], "models/m");

    let (asked, server) = client("{}").await;
    let error = asked.chat("anthropic:m").user("hi").count_tokens().await.expect_err("no count");
    assert_eq!(error.kind(), ErrorKind::Protocol);
    let error = asked.chat("m").user("hi").count_tokens().await.expect_err("no such operation");
    assert_eq!((error.kind(), server.requests().len()), (ErrorKind::Unsupported, 1), "and nothing was sent");
    let error = asked.embed("anthropic:m", ["a"]).await.expect_err("no such operation");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn texts_are_judged_one_by_one() {
    let answer = r#"{"id":"m","results":[
        {"flagged":true,"categories":{"violence":true,"illicit":null},"category_scores":{"violence":0.9}},
        {"categories":{"pii":false},"category_scores":{"pii":0.01}}]}"#;
    let (asked, server) = client(answer).await;
    let judged = asked.moderate("omni", ["a", "b"]).await.expect("two judgements");
    assert_eq!([judged[0].is_flagged, judged[1].is_flagged], [true, false]);
    let categories: Vec<_> =
        judged[0].categories.iter().map(|c| (c.name.as_str(), c.score, c.is_flagged)).collect();
    assert_eq!(categories, [("illicit", 0.0, false), ("violence", 0.9, true)]);
    assert_eq!(last(&server).body, json!({"model": "omni", "input": ["a", "b"]}));
    assert_eq!(asked.moderate("omni", ["a"]).await.expect_err("two for one").kind(), ErrorKind::Protocol);
}

/// Asks a server that refuses once, then answers: what came of it, and how often it was asked.
async fn after_one<T, F: Future<Output = T>>(
    refusal: Reply,
    answer: &str,
    ask: impl FnOnce(Client) -> F,
) -> (T, usize) {
    let server = Server::start([refusal, Reply::json(answer.to_owned())]).await.expect("a port");
    let client = Client::builder().base_url(format!("{}/v1", server.base_url())).build().expect("valid");
    let done = ask(client).await;
    (done, server.requests().len())
}

#[tokio::test]
async fn what_was_refused_is_asked_for_again() {
    let busy =
        || Reply::refusal(429, r#"{"error":{"message":"slow down"}}"#).with_header("retry-after-ms", "20");
    let vectors = r#"{"data":[{"index":0,"embedding":[1]}]}"#;
    let (embedded, asked) =
        after_one(busy(), vectors, |client| async move { client.embed("m", ["a"]).await }).await;
    assert_eq!((embedded.expect("the second time").vectors, asked), (vec![vec![1.0]], 2));

    let judged = r#"{"id":"m","results":[{"flagged":false,"categories":{}}]}"#;
    let (judged, asked) =
        after_one(busy(), judged, |client| async move { client.moderate("omni", ["a"]).await }).await;
    assert_eq!((judged.expect("the second time").len(), asked), (1, 2));

    let count = |client: Client| async move { client.chat("anthropic:m").user("hi").count_tokens().await };
    let (counted, asked) = after_one(busy(), r#"{"input_tokens":7}"#, count).await;
    assert_eq!((counted, asked), (Ok(7), 2));

    let list = |client: Client| async move { client.list_models(&Context::new(), "").await };
    let (listed, asked) = after_one(busy(), r#"{"data":[{"id":"m"}]}"#, list).await;
    assert_eq!((listed.expect("the second time").len(), asked), (1, 2));
}

#[tokio::test]
async fn work_that_may_have_been_done_is_not_asked_for_again() {
    let broken = Reply::refusal(500, r#"{"error":{"message":"oops"}}"#).with_header("retry-after-ms", "20");
    let vectors = r#"{"data":[{"index":0,"embedding":[1]}]}"#;
    let (embedded, asked) =
        after_one(broken, vectors, |client| async move { client.embed("m", ["a"]).await }).await;
    assert_eq!((embedded.expect_err("it may have been done").kind(), asked), (ErrorKind::Server, 1));
}

#[tokio::test]
async fn a_moderation_that_waits_for_its_turn_ends_when_it_is_cancelled() {
    let busy = Reply::refusal(429, r#"{"error":{"message":"slow down"}}"#).with_header("retry-after", "30");
    let server = Server::start([busy]).await.expect("a port");
    let client = Client::builder().base_url(format!("{}/v1", server.base_url())).build().expect("valid");
    let context = Context::new();
    let cancel = context.cancellation().clone();
    let asked = tokio::spawn(async move { client.moderate_with(&context, "omni", &["a".to_owned()]).await });
    while server.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cancel.cancel();
    let ended =
        tokio::time::timeout(Duration::from_secs(20), asked).await.expect("at once").expect("no panic");
    assert_eq!(ended.expect_err("cancelled").kind(), ErrorKind::Cancelled);
}
