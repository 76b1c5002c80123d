//! Files and batches: what is sent, what is made of the answer, what is refused.
#![cfg(feature = "client")]

use loquat::{
    ChatRequest, Client, Context, ErrorKind, FinishReason,
    provider::operations::{BatchItem, BatchState, FileUpload},
};
use loquat_client::HttpModel;
use loquat_testing::{Reply, Server};
use serde_json::{Value, json};

async fn endpoint(model: &str, answers: &[&str]) -> (HttpModel, Server) {
    let replies = answers.iter().map(|answer| Reply::json((*answer).to_owned()));
    let server = Server::start(replies).await.expect("a port");
    let client = Client::builder().base_url(format!("{}/v1", server.base_url())).build().expect("valid");
    (client.endpoint(model).expect("a model"), server)
}

fn asked(server: &Server) -> Vec<String> {
    server.requests().iter().map(|request| format!("{} {}", request.method, request.path)).collect()
}

fn items() -> Vec<BatchItem> {
    let request = |text: &str| ChatRequest::new("").with_user(text).with_max_output_tokens(5);
    vec![BatchItem::new("one", request("hi")), BatchItem::new("two", request("ho"))]
}

#[tokio::test]
async fn files_are_sent_listed_fetched_and_deleted() {
    let one = r#"{"id":"file-1","object":"file","bytes":3,"filename":"a.txt","purpose":"user_data"}"#;
    let page =
        r#"{"data":[{"id":"file-1","filename":"a.txt","size_bytes":3}],"has_more":true,"last_id":"file-1"}"#;
    let empty = r#"{"data":[],"has_more":true,"last_id":"file-1"}"#;
    for (model, parameter) in [("m", "after"), ("openai-responses:m", "after"), ("anthropic:m", "after_id")] {
        let (endpoint, server) = endpoint(model, &[one, page, empty, one, "abc", "{}"]).await;
        let context = Context::new();
        let file = FileUpload::new("a \"1\".txt", "text/plain", "--loquat-form\r\nabc");
        let sent = endpoint.upload_file(&context, &file).await.expect("sent");
        assert_eq!((sent.id.as_str(), sent.name.as_str(), sent.size_bytes), ("file-1", "a.txt", 3));
        let listed = endpoint.list_files(&context, None).await.expect("a page");
        assert_eq!(listed.files.len(), 1);
        let rest = endpoint.list_files(&context, listed.after.as_deref()).await.expect("a page");
        assert_eq!(rest.after, None, "an empty page is the last one, whatever it says");
        assert_eq!(endpoint.file(&context, "file-1").await.expect("known").id, "file-1");
        assert_eq!(endpoint.file_content(&context, "a/../b").await.expect("there"), "abc");
        endpoint.delete_file(&context, "file-1").await.expect("deleted");
        assert_eq!(
            asked(&server),
            [
                "POST /v1/files",
                "GET /v1/files",
                &format!("GET /v1/files?{parameter}=file-1"),
                "GET /v1/files/file-1",
                "GET /v1/files/a%2F..%2Fb/content",
                "DELETE /v1/files/file-1",
            ]
        );
        let upload = server.requests().remove(0);
        let header =
            |name: &str| upload.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        let boundary = "loquat-form-0";
        assert_eq!(header("content-type"), Some(&format!("multipart/form-data; boundary={boundary}")));
        assert_eq!(header("anthropic-beta").is_some(), model == "anthropic:m");
        let body = upload.body.as_str().expect("a text");
        assert!(body.ends_with(&format!("\r\n\r\n--loquat-form\r\nabc\r\n--{boundary}--\r\n")), "{body}");
        assert!(body.contains("name=\"file\"; filename=\"a %221%22.txt\"\r\nContent-Type: text/plain\r\n"));
        assert_eq!(body.contains("name=\"purpose\"\r\n\r\nuser_data\r\n"), model != "anthropic:m");
    }
}

#[tokio::test]
async fn a_batch_of_lines() {
    let file = r#"{"id":"file-in","bytes":3,"filename":"batch.jsonl","purpose":"batch"}"#;
    let started = r#"{"id":"batch_1","status":"validating","request_counts":null,"output_file_id":null}"#;
    let ended = r#"{"id":"batch_1","status":"completed","request_counts":{"total":3,"completed":1,"failed":2},
        "output_file_id":"file-out","error_file_id":"file-err"}"#;
    let answer = json!({"id": "c", "object": "chat.completion", "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}]});
    let out = json!({"custom_id": "one", "response": {"status_code": 200, "body": answer}, "error": null});
    let refused = json!({"custom_id": "two", "response": {"status_code": 429, "body":
        {"error": {"message": "slow down", "type": "rate_limit_exceeded"}}}, "error": null});
    let late = json!({"custom_id": "three", "response": null, "error": {"code": "batch_expired", "message": "late"}});
    let err = format!("{refused}\n\n{late}\n");
    let (endpoint, server) = endpoint("m", &[file, started, ended, &out.to_string(), &err]).await;
    let context = Context::new();
    let batch = endpoint.start_batch(&context, &items()).await.expect("started");
    assert_eq!((batch.id.as_str(), &batch.state), ("batch_1", &BatchState::Running));
    let early = endpoint.batch_results(&context, &batch).await.expect_err("not yet");
    assert_eq!(early.kind(), ErrorKind::InvalidRequest);
    let batch = endpoint.batch(&context, "batch_1").await.expect("known");
    assert_eq!((&batch.state, batch.total, batch.succeeded, batch.failed), (&BatchState::Ended, 3, 1, 2));
    let results = endpoint.batch_results(&context, &batch).await.expect("three");
    let ids: Vec<_> = results.iter().map(|result| result.id.as_str()).collect();
    assert_eq!(ids, ["one", "two", "three"]);
    let response = results[0].outcome.as_ref().expect("an answer");
    assert_eq!(response.text(), "hello");
    assert_eq!(response.choices[0].finish_reason, Some(FinishReason::Stop));
    let kinds = [1, 2].map(|n: usize| results[n].outcome.as_ref().expect_err("refused").kind());
    assert_eq!(kinds, [ErrorKind::RateLimited, ErrorKind::InvalidRequest]);
    assert_eq!(
        asked(&server),
        [
            "POST /v1/files",
            "POST /v1/batches",
            "GET /v1/batches/batch_1",
            "GET /v1/files/file-out/content",
            "GET /v1/files/file-err/content",
        ]
    );
    let requests = server.requests();
    let upload = requests[0].body.as_str().expect("a text");
    assert!(upload.contains("name=\"purpose\"\r\n\r\nbatch\r\n"));
    let lines: Vec<Value> = upload
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!([&lines[0]["custom_id"], &lines[0]["url"]], ["one", "/v1/chat/completions"]);
    assert_eq!(lines[1]["body"]["messages"][0]["content"], "ho");
    assert!(lines[0]["body"].get("stream").is_none_or(|stream| stream == false), "{}", lines[0]);
    assert_eq!(
        requests[1].body,
        json!({"input_file_id": "file-in", "endpoint": "/v1/chat/completions", "completion_window": "24h"})
    );
}

#[tokio::test]
async fn a_batch_in_one_body() {
    let started = r#"{"id":"msgbatch_1","processing_status":"in_progress","results_url":null,
        "request_counts":{"processing":2,"succeeded":0,"errored":0,"canceled":0,"expired":0}}"#;
    let cancelling = r#"{"id":"msgbatch_1","processing_status":"canceling","results_url":null}"#;
    let ended = r#"{"id":"msgbatch_1","processing_status":"ended","results_url":"https://elsewhere.example/steal",
        "request_counts":{"processing":0,"succeeded":1,"errored":1,"canceled":1,"expired":0}}"#;
    let message = json!({"id": "msg", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "hello"}], "usage": {"input_tokens": 3, "output_tokens": 1}});
    let lines = [
        json!({"custom_id": "one", "result": {"type": "succeeded", "message": message}}),
        json!({"custom_id": "two", "result": {"type": "errored", "error":
            {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}}}),
        json!({"custom_id": "three", "result": {"type": "canceled"}}),
    ];
    let lines = lines.map(|line| line.to_string()).join("\n");
    let (endpoint, server) = endpoint("anthropic:m", &[started, cancelling, ended, &lines]).await;
    let context = Context::new();
    let batch = endpoint.start_batch(&context, &items()).await.expect("started");
    assert_eq!((&batch.state, batch.total), (&BatchState::Running, 2));
    let batch = endpoint.cancel_batch(&context, &batch.id).await.expect("told");
    assert_eq!(batch.state, BatchState::Cancelling);
    let batch = endpoint.batch(&context, &batch.id).await.expect("known");
    assert_eq!((batch.total, batch.succeeded, batch.failed), (3, 1, 2));
    let results = endpoint.batch_results(&context, &batch).await.expect("three");
    assert_eq!(results[0].outcome.as_ref().expect("an answer").text(), "hello");
    let kinds = [1, 2].map(|n: usize| results[n].outcome.as_ref().expect_err("none").kind());
    assert_eq!(kinds, [ErrorKind::InvalidRequest, ErrorKind::Cancelled]);
    assert_eq!(
        asked(&server),
        [
            "POST /v1/messages/batches",
            "POST /v1/messages/batches/msgbatch_1/cancel",
            "GET /v1/messages/batches/msgbatch_1",
            "GET /v1/messages/batches/msgbatch_1/results",
        ]
    );
    let sent = &server.requests()[0].body["requests"];
    assert_eq!(sent[0]["custom_id"], "one");
    assert_eq!(sent[1].pointer("/params/messages/0/content/0/text"), Some(&json!("ho")));
    assert_eq!(sent[0]["params"]["max_tokens"], 5);
}

#[tokio::test]
async fn what_no_batch_can_be_is_refused_before_anything_is_sent() {
    let context = Context::new();
    let twice = vec![items().remove(0), items().remove(0)];
    let unnamed = vec![BatchItem::new("a b", ChatRequest::new("").with_user("hi"))];
    for (model, items, kind) in [
        ("m", Vec::new(), ErrorKind::InvalidRequest),
        ("m", twice, ErrorKind::InvalidRequest),
        ("anthropic:m", unnamed, ErrorKind::InvalidRequest),
        ("ollama:m", items(), ErrorKind::Unsupported),
    ] {
        let (endpoint, server) = endpoint(model, &["{}"]).await;
        let error = endpoint.start_batch(&context, &items).await.expect_err(model);
        assert_eq!((error.kind(), server.requests().len()), (kind, 0), "{model}");
    }
    let (endpoint, _server) = endpoint("m", &[r#"{"private":1}"#, r#"{"private":1}"#]).await;
    for error in [
        endpoint.batch(&context, "b").await.expect_err("no batch"),
        endpoint.upload_file(&context, &FileUpload::new("a", "text/plain", "b")).await.expect_err("no file"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(!format!("{error} {error:?}").contains("private"), "{error:?}");
    }
}
