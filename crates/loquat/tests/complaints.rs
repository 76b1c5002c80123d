//! What users of other clients complain of, as tests of this one: each through the whole client, over a real socket. The
//! comment at each names the issues.
//!
//! All twenty-five of the list are here; that of fallback models needs the feature `router`.
#![cfg(all(feature = "client", feature = "tools"))]

use std::{
    future::poll_fn,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::Reason;
use loquat::{
    Answer, ChatRequest, Client, Context, Delta, Ending, Error, ErrorKind, FinishReason, Message, Model,
    Part, Response, Result, Toolbox,
    client::GenerationLimits,
    core::{Assembler, JsonText, Metered},
    tool,
    transport::{Config, Http2Mode},
};
use loquat_testing::{Fault, Gate, Reply, Server};
use tokio::{net::TcpListener, sync::mpsc};

/// A limit for tests that wait for it.
const SOON: Duration = Duration::from_millis(200);
const FIRST: &str =
    r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"hel"}}]}"#;
const REST: &str = r#"{"choices":[{"index":0,"delta":{"content":"lo"}}]}"#;
const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

fn client(server: &Server, path: &str) -> Client {
    limited(server, path, GenerationLimits::default())
}

fn limited(server: &Server, path: &str, limits: GenerationLimits) -> Client {
    let base_url = format!("{}{path}", server.base_url());
    Client::builder().base_url(base_url).limits(limits).build().expect("a valid address")
}

async fn server(reply: Reply) -> Server {
    Server::start([reply]).await.expect("a port")
}

/// The answer of a compatible server that replies so.
async fn ask(reply: Reply) -> Result<Response> {
    client(&server(reply).await, "/v1").chat("m").user("hi").send().await
}

/// The same within limits that a stalled reply meets soon; replies that come are waited for as long as ever.
async fn ask_within(reply: Reply, limits: GenerationLimits) -> Result<Response> {
    limited(&server(reply).await, "/v1", limits).chat("m").user("hi").send().await
}

async fn streamed<D: AsRef<str>>(events: impl IntoIterator<Item = D>) -> Result<Response> {
    ask(Reply::events(events)).await
}

/// What arrived, and how it ended.
async fn ended(mut answer: Answer) -> (String, Ending) {
    while answer.next().await.is_some() {}
    let text = answer.so_far().map(Response::text).unwrap_or_default();
    (text, answer.ending().cloned().expect("it has ended"))
}

// OpenSecretCloud/maple-proxy#3: `finish_reason: ""` ended a client.
#[tokio::test]
async fn c01_an_empty_finish_reason_is_none() {
    let empty = r#"{"choices":[{"index":0,"delta":{"content":"hel"},"finish_reason":""}]}"#;
    let response = streamed([empty, REST, STOP, "[DONE]"]).await.expect("whole");
    assert_eq!((response.text().as_str(), response.finish_reason()), ("hello", Some(&FinishReason::Stop)));
    let cut = streamed([empty, REST]).await.expect_err("nobody said it was over");
    assert_eq!(cut.kind(), ErrorKind::Truncated);
}

// 64bit/async-openai#457, mofa-org/mofa#1155: Groq's `service_tier: "on_demand"`, and any other new word.
#[tokio::test]
async fn c02_new_words_in_closed_places() {
    let odd = r#"{"object":"chunk?","service_tier":"on_demand","choices":[{"index":0,
        "delta":{"role":"oracle","content":"hello"},"finish_reason":"eos_token"}],"x_groq":{"id":"r"}}"#
        .replace('\n', " ");
    let response = streamed([odd.as_str(), "[DONE]"]).await.expect("whole");
    assert_eq!(response.finish_reason(), Some(&FinishReason::Other("eos_token".into())));
    assert_eq!(response.text(), "hello");
}

// 64bit/async-openai#503, #352, #403, 0xPlaygrounds/rig#1021: `status`, `object`, `tools` and the like are missing.
#[tokio::test]
async fn c03_nothing_is_required_but_what_is_used() {
    let body = r#"{"choices":[{"message":{"content":"hello"},"finish_reason":"stop"}]}"#;
    assert_eq!(ask(Reply::json(body)).await.expect("whole").text(), "hello");
}

// 0xPlaygrounds/rig#380: OpenRouter's comments, members and order.
#[tokio::test]
async fn c04_openrouter() {
    let text = ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n".to_owned()
        + "data: {\"id\":\"gen-1\",\"provider\":\"X\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\",\
           \"reasoning\":null,\"reasoning_details\":[]},\"native_finish_reason\":null,\"finish_reason\":null,\
           \"logprobs\":null}]}\n\n\
           data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"stop\",\
           \"native_finish_reason\":\"STOP\"}]}\n\n\
           data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1,\"cost\":0.1,\"is_byok\":false}}\n\n\
           data: [DONE]\n\n";
    let response = ask(Reply::new(200, "text/event-stream", text)).await.expect("whole");
    assert_eq!((response.text().as_str(), response.usage.input_tokens), ("hello", 3));
}

// 64bit/async-openai#423: what came is wanted with the error that says it cannot be read.
#[tokio::test]
async fn c05_what_cannot_be_read_is_kept_and_not_shown() {
    for reply in
        [Reply::json(r#"{"answer":"private words"}"#), Reply::refusal(500, r#"{"oops":"private words"}"#)]
    {
        let error = ask(reply).await.expect_err("no answer");
        let raw = String::from_utf8_lossy(error.raw_body().expect("kept")).into_owned();
        assert!(raw.contains("private words"), "{raw}");
        assert!(!format!("{error} {error:?}").contains("private"), "{error:?}");
    }
}

// openai/openai-node#1825: the timeout stopped at the headers, and a stream hung for 37 minutes.
#[tokio::test]
async fn c06_a_stream_that_stalls_meets_a_limit() {
    let after = FIRST.len();
    let stalled =
        Reply::events([FIRST, REST]).with_fault(Fault::Stall { after: after + 8, gate: Gate::new() });
    let limits = GenerationLimits::default().with_idle(SOON);
    let error = ask_within(stalled, limits).await.expect_err("it stalled");
    assert_eq!(error.kind(), ErrorKind::Truncated);
    let cause =
        std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<Error>()).map(Error::kind);
    assert_eq!(cause, Some(ErrorKind::Timeout));
    assert_eq!(error.partial().map(Response::text).as_deref(), Some("hel"));
}

// microsoft/amplifier#339, vercel/ai#11670: 8.7 hours of keep-alives.
#[tokio::test]
async fn c07_keep_alives_are_no_progress() {
    let pings = ": ping\n\n".repeat(50);
    let text = format!("data: {FIRST}\n\n{pings}");
    let stalled = Reply::new(200, "text/event-stream", text)
        .with_fault(Fault::Stall { after: 9999, gate: Gate::new() });
    assert_eq!(
        ask_within(stalled, GenerationLimits::default().with_idle(SOON))
            .await
            .expect_err("no progress")
            .kind(),
        ErrorKind::Truncated
    );
    let silent = Reply::new(200, "text/event-stream", pings);
    let silent = silent.with_fault(Fault::Stall { after: 9999, gate: Gate::new() });
    assert_eq!(
        ask_within(silent, GenerationLimits::default().with_first_token(SOON))
            .await
            .expect_err("no token")
            .kind(),
        ErrorKind::Timeout
    );
}

// openai/openai-python#3828: retries made 91 seconds of a timeout of 30.
#[tokio::test]
async fn c08_retries_share_one_deadline() {
    let busy = Reply::refusal(503, r#"{"error":{"message":"busy"}}"#).with_header("retry-after-ms", "40");
    let server = server(busy).await;
    let context = Context::new().with_timeout(Duration::from_millis(100));
    let error = client(&server, "/v1").chat("m").user("hi").context(context).send().await.expect_err("busy");
    assert!(matches!(error.kind(), ErrorKind::Overloaded | ErrorKind::Timeout), "{error:?}");
    // 70 % of 100 ms hold one wait of 40 ms and not two.
    assert!(server.requests().len() <= 2, "{}", server.requests().len());
}

// vercel/ai#19165, BerriAI/litellm#40260, pydantic/pydantic-ai#6610: a clean end was reported as success.
#[tokio::test]
async fn c09_a_clean_end_is_no_answer() {
    let error = streamed([FIRST]).await.expect_err("cut");
    assert_eq!(error.kind(), ErrorKind::Truncated);
    assert_eq!(error.partial().map(Response::text).as_deref(), Some("hel"));
    let nothing = ask(Reply::events::<&str>([])).await.expect_err("nothing came");
    assert_ne!(nothing.kind(), ErrorKind::Truncated);
}

// jeremychone/rust-genai#157: Anthropic's `error` events were dropped.
#[tokio::test]
async fn c10_error_events_surface() {
    let text = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"a\",\"model\":\"m\"}}\n\n\
                event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let server = server(Reply::new(200, "text/event-stream", text)).await;
    let error =
        client(&server, "/v1").chat("anthropic:m").user("hi").send().await.expect_err("an error event");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Overloaded, Some("overloaded_error")));
}

// vercel/ai#4726, #4720, 64bit/async-openai#558: errors were swallowed by the stream.
#[tokio::test]
async fn c11_errors_are_items_or_come_at_once() {
    let refused = server(Reply::refusal(401, r#"{"error":{"message":"no","code":"invalid_api_key"}}"#)).await;
    let error = client(&refused, "/v1").chat("m").user("hi").stream().await.expect_err("at once");
    assert_eq!(error.kind(), ErrorKind::Authentication);
    let late = server(Reply::events([FIRST, r#"{"error":{"message":"lost it"}}"#])).await;
    let mut answer = client(&late, "/v1").chat("m").user("hi").stream().await.expect("it began well");
    assert_eq!(answer.next_text().await, Ok(Some("hel")));
    assert_eq!(answer.next_text().await.expect_err("an item").message(), "lost it");
}

// 0xPlaygrounds/rig#2248: the finish reason was lost when streaming.
#[tokio::test]
async fn c12_streamed_and_whole_are_equal() {
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
    let pieces =
        streamed([FIRST, REST, r#"{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}"#, usage])
            .await;
    let whole = r#"{"id":"c","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},
        "finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
    assert_eq!(pieces, ask(Reply::json(whole)).await);
}

// 64bit/async-openai#542: a regression in `[DONE]`.
#[tokio::test]
async fn c13_done_in_every_shape() {
    for text in [
        format!("data: {FIRST}\n\ndata: {REST}\n\ndata: {STOP}\n\ndata: [DONE]\n\n"),
        format!("data: {FIRST}\n\ndata: {REST}\n\ndata: {STOP}\n\ndata: [DONE] \n\n"),
        format!("data:{FIRST}\r\n\r\ndata:{REST}\r\n\r\ndata:{STOP}\r\n\r\ndata:[DONE]\r\n\r\n"),
        format!("data: {FIRST}\n\ndata: {REST}\n\ndata: {STOP}\n\ndata: [DONE]"),
        format!("data: {FIRST}\n\ndata: {REST}\n\ndata: {STOP}\n\n"),
        format!("data: {FIRST}\n\ndata: {REST}\n\ndata: {STOP}\n\ndata: [DONE]\n\ndata: [DONE]\n\n"),
    ] {
        let response = ask(Reply::new(200, "text/event-stream", text.clone())).await.expect(&text);
        assert_eq!(
            (response.text().as_str(), response.finish_reason()),
            ("hello", Some(&FinishReason::Stop)),
            "{text}"
        );
    }
}

fn call_chunk(index: &str, id: &str, name: &str, arguments: &str) -> String {
    let arguments = arguments.replace('"', "\\\"");
    format!(
        r#"{{"choices":[{{"index":0,"delta":{{"tool_calls":[{{{index}"id":{id},"function":{{"name":{name},"arguments":"{arguments}"}}}}]}}}}]}}"#
    )
}

fn calls(response: &Response) -> Vec<(String, String)> {
    response.tool_calls().map(|call| (call.name.clone(), call.arguments.clone())).collect()
}

// openai/openai-go#464: a panic on the index −1.
#[tokio::test]
async fn c14_hostile_indices() {
    for index in ["-1", "4294967296", "1e308", "\"0\"", "null"] {
        let chunk = call_chunk(&format!("\"index\":{index},"), "\"a\"", "\"f\"", "{}");
        let response = streamed([chunk.as_str(), STOP]).await.expect(index);
        assert_eq!(calls(&response), [("f".to_owned(), "{}".to_owned())], "{index}");
    }
}

// jeremychone/rust-genai#173: of several calls in one chunk of Gemini's, all but the first were dropped.
#[tokio::test]
async fn c15_parallel_calls_of_gemini() {
    let text = "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[\
                {\"functionCall\":{\"name\":\"f\",\"args\":{\"x\":1}}},{\"functionCall\":{\"name\":\"g\",\"args\":{}}}]},\
                \"finishReason\":\"STOP\"}]}\n\n";
    let server = server(Reply::new(200, "text/event-stream", text)).await;
    let response = client(&server, "/v1beta").chat("gemini:m").user("hi").send().await.expect("whole");
    let names: Vec<_> = calls(&response).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["f", "g"]);
}

/// Fails if it is ever called.
#[tool]
async fn never() -> String {
    panic!("executed from an answer that was cut");
}

// vercel/ai#18382: indices are irregular or missing. vercel/ai#16838: calls were made from partial JSON that parsed.
#[tokio::test]
async fn c16_calls_are_told_apart_and_complete_only_at_the_end() {
    let chunks = [
        call_chunk("", "\"a\"", "\"f\"", "{\"x\":"),
        call_chunk("", "null", "null", "1}"),
        call_chunk("", "\"b\"", "\"g\"", "{}"),
        call_chunk("\"index\":7,", "\"c\"", "\"h\"", "[]"),
    ];
    let response = streamed(chunks.iter().map(String::as_str).chain([STOP])).await.expect("whole");
    let expected = [("f", "{\"x\":1}"), ("g", "{}"), ("h", "[]")];
    assert_eq!(calls(&response), expected.map(|(name, arguments)| (name.to_owned(), arguments.to_owned())));

    let complete_but_cut = call_chunk("\"index\":0,", "\"a\"", "\"never\"", "{}");
    let server = server(Reply::events([complete_but_cut])).await;
    let chat = client(&server, "/v1").chat("m").user("hi").tools(Toolbox::new().with(never));
    assert_eq!(chat.send().await.expect_err("cut").kind(), ErrorKind::Truncated);
}

// tinyhumansai/openhuman#3548, langchain-ai/langchain#37347: a lost `thought_signature` is refused in the next turn.
#[tokio::test]
async fn c17_signatures_come_back() {
    let text = "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[\
                {\"functionCall\":{\"name\":\"f\",\"args\":{}},\"thoughtSignature\":\"c2lnbmVk\"}]},\
                \"finishReason\":\"STOP\"}]}\n\n";
    let server = server(Reply::new(200, "text/event-stream", text)).await;
    let client = client(&server, "/v1beta");
    let response = client.chat("gemini:m").user("hi").send().await.expect("whole");
    let said = response.message().cloned().expect("a message");
    let results =
        response.tool_calls().map(|call| Part::ToolResult(loquat::ToolResult::new(call, "done"))).collect();
    let results = Message::new(loquat::Role::Tool, results);
    drop(client.chat("gemini:m").user("hi").messages([said, results]).send().await);
    let sent = server.requests()[1].body.to_string();
    assert!(sent.contains("c2lnbmVk"), "{sent}");
}

// pepperoni21/ollama-rs#194: no tools when streaming.
#[tokio::test]
async fn c18_ollama_streams_tool_calls() {
    let lines = [
        r#"{"model":"m","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"x":1}}}]},"done":false}"#,
        r#"{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","eval_count":5}"#,
    ];
    let server = server(Reply::lines(lines)).await;
    let response = client(&server, "").chat("ollama:m").user("hi").send().await.expect("whole");
    assert_eq!(calls(&response), [("f".to_owned(), "{\"x\":1}".to_owned())]);
    assert_eq!(response.usage.output_tokens, 5);
}

// openai/openai-node#1840, earendil-works/pi#3671, openai/openai-python#3555: "retry after two days" was obeyed.
#[tokio::test]
async fn c19_a_long_wait_is_told_and_not_taken() {
    let limited =
        Reply::refusal(429, r#"{"error":{"message":"slow down"}}"#).with_header("retry-after", "172800");
    let server = server(limited).await;
    let started = Instant::now();
    let error = client(&server, "/v1").chat("m").user("hi").send().await.expect_err("limited");
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert_eq!(error.retry_hint().after, Some(Duration::from_secs(172_800)));
    assert_eq!(server.requests().len(), 1);
    assert!(started.elapsed() < Duration::from_secs(60));
}

// openai/openai-python#416, jeremychone/rust-genai#280, #309, 0xPlaygrounds/rig#2210: rate limits, on success too.
#[tokio::test]
async fn c20_limits_and_request_id_on_success_and_refusal() {
    let with_headers = |reply: Reply| {
        reply
            .with_header("x-ratelimit-limit-requests", "100")
            .with_header("x-ratelimit-remaining-requests", "99")
            .with_header("x-ratelimit-reset-requests", "6m0s")
            .with_header("x-request-id", "req_7")
    };
    let response = ask(with_headers(Reply::events([FIRST, REST, STOP]))).await.expect("whole");
    let refused = with_headers(Reply::refusal(400, r#"{"error":{"message":"no"}}"#));
    let error = ask(refused).await.expect_err("refused");
    for (limits, id) in
        [(&response.rate_limits, response.request_id.as_deref()), (error.rate_limits(), error.request_id())]
    {
        let limit = limits.of(&Metered::Requests).expect("a limit on requests");
        assert_eq!((limit.limit, limit.remaining, id), (Some(100), Some(99), Some("req_7")));
        assert!(limit.reset.is_some());
    }
}

// vercel/ai#2636: another model where the first will not do, and none once a word of its answer has been heard.
#[cfg(feature = "router")]
#[tokio::test]
async fn c21_another_model_before_the_first_word_and_not_after() {
    use loquat::{
        ModelExt,
        core::Endpoint,
        router::{EndpointSpec, Plan},
    };
    let busy = Reply::refusal(503, r#"{"error":{"message":"busy"}}"#);
    for (first, expected) in [(busy, Ok("hello")), (Reply::events([FIRST]), Err("hel"))] {
        let (near, far) = (server(first).await, server(Reply::events([FIRST, REST, STOP])).await);
        let endpoint = |name: &str, server: &Server| {
            EndpointSpec::new(name, Endpoint::new("openai", format!("{}/v1", server.base_url()), "m"))
        };
        let plan = Plan::new()
            .with_endpoint(endpoint("near", &near))
            .with_endpoint(endpoint("far", &far))
            .with_chain("chat", ["near", "far"]);
        let router = Client::builder().schedule(None).build().expect("valid").router(&plan).expect("a plan");
        let answer = router.chat("chat").user("hi").stream().await.expect("somebody answers");
        let (text, ending) = ended(answer).await;
        match expected {
            Ok(whole) => assert!(text == whole && ending.is_finished(), "{text} {ending:?}"),
            Err(part) => {
                assert!(text == part && matches!(ending, Ending::Truncated { .. }), "{text} {ending:?}");
            }
        }
        assert_eq!((near.requests().len(), far.requests().len()), (1, usize::from(expected.is_ok())));
    }
}

// 64bit/async-openai#576: abandoned streams leaked a task and a socket.
#[tokio::test]
async fn c22_an_abandoned_stream_leaves_nothing() {
    let stalled =
        Reply::events([FIRST, REST]).with_fault(Fault::Stall { after: FIRST.len() + 8, gate: Gate::new() });
    let server = server(stalled).await;
    let client = client(&server, "/v1");
    for _ in 0..20 {
        let mut answer = client.chat("m").user("hi").stream().await.expect("it began");
        assert_eq!(answer.next_text().await, Ok(Some("hel")));
    }
    let closed = async {
        while client.transport().stats().http1_open > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), closed).await.expect("no socket is left open");
}

/// Serves HTTP/2 in clear, two streams at a time: each says the first words and no more, and tells how it was given up.
async fn two_streams_at_a_time(resets: mpsc::UnboundedSender<Reason>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let resets = resets.clone();
            tokio::spawn(async move {
                let mut builder = h2::server::Builder::new();
                builder.max_concurrent_streams(2);
                let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else { return };
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let resets = resets.clone();
                    tokio::spawn(async move {
                        let mut head = http::Response::new(());
                        let kind = http::HeaderValue::from_static("text/event-stream");
                        head.headers_mut().insert(http::header::CONTENT_TYPE, kind);
                        let Ok(mut stream) = respond.send_response(head, false) else { return };
                        let _ = stream.send_data(format!("data: {FIRST}\n\n").into(), false);
                        if let Ok(reason) = poll_fn(|cx| stream.poll_reset(cx)).await {
                            let _ = resets.send(reason);
                        }
                    });
                }
            });
        }
    });
    address
}

// bolna-ai/bolna#770, encode/httpcore#1098: cancelled requests were not reset, and took up the connection's places for ever.
#[tokio::test]
async fn c23_what_is_given_up_frees_its_place() {
    let (sender, mut resets) = mpsc::unbounded_channel();
    let address = two_streams_at_a_time(sender).await;
    let transport = Config::default().with_http2(Http2Mode::PriorKnowledge);
    let client = Client::builder()
        .base_url(format!("http://{address}/v1"))
        .transport(transport)
        .build()
        .expect("a valid address");
    for _ in 0..10 {
        let mut answer = client.chat("m").user("hi").stream().await.expect("there is a place");
        assert_eq!(answer.next_text().await, Ok(Some("hel")));
        drop(answer);
        let reset = tokio::time::timeout(Duration::from_secs(30), resets.recv()).await;
        assert_eq!(reset.expect("it is told"), Some(Reason::CANCEL));
    }
    assert_eq!(client.transport().stats().http2_opened, 1, "nobody needed another connection");
}

// vercel/ai#15670, anthropics/anthropic-sdk-typescript#995: what was kept was copied with each delta.
#[test]
fn c24_keeping_what_arrives_is_linear() {
    let time = |answers: usize, deltas: usize| {
        let once = || {
            let started = Instant::now();
            for _ in 0..answers {
                let mut assembler = Assembler::new(usize::MAX);
                for _ in 0..deltas {
                    assembler
                        .push(Delta::Text { choice: 0, text: "sixteen bytes ok" })
                        .expect("within bounds");
                }
                assert_eq!(assembler.response().text().len(), deltas * 16);
            }
            started.elapsed()
        };
        (0..5).map(|_| once()).min().unwrap_or_default()
    };
    // As many deltas in all, so that whoever else uses the machine slows both alike: as long where it is linear, 32 times as long where
    // it is not.
    let (few, many) = (time(32, 4_000), time(1, 128_000));
    assert!(many < few * 8, "{few:?} for 32 times 4,000, {many:?} for 128,000");
}

// 0xPlaygrounds/rig#1483, 64bit/async-openai#125: not object-safe. jeremychone/rust-genai#216: members nobody foresaw.
#[tokio::test]
async fn c25_one_object_for_all_and_members_of_ones_own() {
    struct Application {
        model: Arc<dyn Model>,
    }
    let server = server(Reply::events([FIRST, REST, STOP])).await;
    let (model, name) = client(&server, "/v1").resolve(&Context::new(), "m").await.expect("a model");
    let application = Application { model };
    let mut request = ChatRequest::new(name).with_user("hi");
    request.extra_body.push(("vendor_option".into(), JsonText::new(r#"{"deep":[1]}"#)));
    request.extra_headers.0.push(("x-vendor-option".into(), "on".into()));
    request.raw = true;
    let answer = application.model.infer(&Context::new(), Arc::new(request)).await.expect("it began");
    let response = answer.collect().await.expect("whole");
    assert_eq!(response.text(), "hello");
    let raw: Vec<&str> = response.details("raw").map(JsonText::as_str).collect();
    assert_eq!(raw, [FIRST, REST, STOP]);
    let sent = server.requests().swap_remove(0);
    assert_eq!(sent.body["vendor_option"]["deep"][0], 1);
    let header = sent.headers.iter().find(|(name, _)| name == "x-vendor-option");
    assert_eq!(header.map(|(_, value)| value.as_str()), Some("on"), "{:?}", sent.headers);
}
