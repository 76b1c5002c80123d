//! One attempt against real sockets: what a peer does, and what the answer says of it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use loquat_client::{GenerationLimits, HttpModel};
use loquat_core::{
    Answer, ChatRequest, Context, Delivery, Delta, Ending, Endpoint, Error, ErrorKind, FinishReason, Model,
    Result,
};
use loquat_provider::{
    ANTHROPIC_MESSAGES, COHERE_CHAT, Format, GEMINI, GEMINI_INTERACTIONS, OLLAMA_CHAT, OPENAI_CHAT,
    OPENAI_RESPONSES,
};
use loquat_transport::{Config, Transport};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req-7\r\n\r\n";
const KEY: &str = "sk-planted-0123456789";

/// What the peer does after it has read the request.
enum Do {
    Send(String),
    Wait(Duration),
    /// Sends this over and over until the other side is gone.
    Forever(String, Duration),
    /// Closes with a reset instead of an orderly end.
    Reset,
}

fn chunk(text: &str) -> Do {
    Do::Send(format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"))
}

fn finish() -> Do {
    Do::Send("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n".into())
}

/// A peer for one connection; gives its address and the request it read.
async fn peer(script: Vec<Do>) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let task = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a client");
        let request = read_request(&mut socket).await;
        for step in script {
            match step {
                Do::Send(text) => drop(socket.write_all(text.as_bytes()).await),
                Do::Wait(pause) => tokio::time::sleep(pause).await,
                Do::Forever(text, pause) => {
                    while socket.write_all(text.as_bytes()).await.is_ok() {
                        tokio::time::sleep(pause).await;
                    }
                }
                Do::Reset => socket.set_zero_linger().expect("a socket"),
            }
        }
        request
    });
    (address, task)
}

async fn read_request(socket: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                return text;
            }
        }
        match socket.read(&mut buffer).await {
            Ok(0) | Err(_) => return text,
            Ok(n) => request.extend_from_slice(&buffer[..n]),
        }
    }
}

fn quick() -> GenerationLimits {
    GenerationLimits::default()
        .with_first_token(Duration::from_millis(400))
        .with_idle(Duration::from_millis(400))
        .with_total(Duration::from_millis(1500))
}

fn model(address: SocketAddr, limits: GenerationLimits) -> HttpModel {
    let endpoint = Endpoint::new("test", format!("http://{address}/v1"), "m").with_credential(KEY);
    let transport = Transport::new(Config::default()).expect("a transport");
    HttpModel::new(transport, &OPENAI_CHAT, endpoint).expect("a model").with_limits(limits)
}

async fn ask(script: Vec<Do>) -> Result<Answer> {
    let (address, _) = peer(script).await;
    let request = Arc::new(ChatRequest::new("").with_user("hello"));
    model(address, quick()).infer(&Context::new(), request).await
}

/// Pulls to the end.
async fn ended(mut answer: Answer) -> (String, Ending) {
    while answer.next().await.is_some() {}
    let text = answer.so_far().map(|response| response.text()).unwrap_or_default();
    (text, answer.ending().cloned().expect("every answer ends"))
}

fn head() -> Do {
    Do::Send(HEAD.into())
}

fn cut_by(ending: &Ending) -> Option<ErrorKind> {
    match ending {
        Ending::Truncated { cause } => cause.as_ref().map(Error::kind),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_stream_is_finished_and_says_what_it_knows() {
    let (address, peer) =
        peer(vec![head(), chunk("lo"), chunk("quat"), finish(), Do::Send("data: [DONE]\n\n".into())]).await;
    let request = Arc::new(ChatRequest::new("").with_user("hello"));
    let answer = model(address, quick()).infer(&Context::new(), request).await.expect("accepted");
    assert_eq!(answer.meta().request_id.as_deref(), Some("req-7"));
    let (text, ending) = ended(answer).await;
    assert_eq!(text, "loquat");
    assert!(matches!(ending, Ending::Finished { reason: FinishReason::Stop, .. }), "{ending:?}");
    let sent = peer.await.expect("the peer");
    assert!(sent.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{sent}");
    assert!(sent.contains(&format!("authorization: Bearer {KEY}\r\n")), "{sent}");
    assert!(sent.contains("\"model\":\"m\""), "{sent}");
}

#[tokio::test]
async fn a_peer_that_dies_in_the_middle_leaves_a_truncated_answer() {
    let (text, ending) = ended(ask(vec![head(), chunk("lo"), Do::Reset]).await.expect("accepted")).await;
    assert_eq!((text.as_str(), cut_by(&ending)), ("lo", Some(ErrorKind::Connection)));
    // An orderly end that comes too early is no better.
    let (text, ending) = ended(ask(vec![head(), chunk("lo")]).await.expect("accepted")).await;
    assert_eq!((text.as_str(), cut_by(&ending)), ("lo", None));
}

#[tokio::test]
async fn an_end_before_any_delta_is_a_failure() {
    let (_, ending) = ended(ask(vec![head()]).await.expect("accepted")).await;
    assert!(matches!(&ending, Ending::Failed(error) if error.kind() == ErrorKind::Protocol), "{ending:?}");
}

#[tokio::test]
async fn silence_meets_the_limit_to_the_first_token_and_between_tokens() {
    let pause = || Do::Wait(Duration::from_secs(5));
    let (_, ending) = ended(ask(vec![head(), pause()]).await.expect("accepted")).await;
    assert!(
        matches!(&ending, Ending::Failed(e) if e.kind() == ErrorKind::Timeout && e.message().contains("first-token")),
        "{ending:?}"
    );
    let (text, ending) = ended(ask(vec![head(), chunk("lo"), pause()]).await.expect("accepted")).await;
    assert_eq!((text.as_str(), cut_by(&ending)), ("lo", Some(ErrorKind::Timeout)));
}

/// What a provider sends until its model has something to say, and then only pings.
#[tokio::test]
async fn what_only_frames_an_answer_is_no_token() {
    let limits = quick().with_idle(Duration::from_millis(100)).with_thinking(Duration::from_millis(900));
    let chat = r#"{"choices":[{"index":0,"delta":{"role":"assistant"}}],"id":"c","model":"m"}"#;
    let empty =
        r#"{"choices":[{"index":0,"delta":{"content":"","reasoning_content":""}}],"id":"c","model":"m"}"#;
    let thought = r#"{"choices":[{"index":0,"delta":{"reasoning_content":"Hm"}}],"id":"c","model":"m"}"#;
    let text = r#"{"choices":[{"index":0,"delta":{"content":"lo"}}],"id":"c","model":"m"}"#;
    let message = r#"{"type":"message_start","message":{"id":"a","model":"m","content":[]}}"#;
    let block = |kind| {
        format!(
            r#"{{"type":"content_block_start","index":0,"content_block":{{"type":"{kind}","{kind}":""}}}}"#
        )
    };
    let words = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"lo"}}"#;
    let created = r#"{"type":"response.created","response":{"id":"r","model":"m","status":"in_progress"}}"#;
    let item = |kind| {
        format!(
            r#"{{"type":"response.output_item.added","output_index":0,"item":{{"id":"i","type":"{kind}"}}}}"#
        )
    };
    let said = r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"lo"}"#;
    let cohere = r#"{"type":"message-start","id":"c"}"#;
    let thinks = r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"thinking","thinking":""}}}}"#;
    let gemini =
        r#"{"candidates":[{"content":{"parts":[{"text":"","thought":true}]},"index":0}],"responseId":"g"}"#;
    let interaction = r#"{"event_type":"interaction.created","interaction":{"id":"i","model":"m"}}"#;
    let step = r#"{"event_type":"step.start","index":0,"step":{"type":"thought"}}"#;
    let ollama = r#"{"model":"m","message":{"role":"assistant","content":""},"done":false}"#;
    let (thinking, text_block) = (block("thinking"), block("text"));
    let (reasoning, output) = (item("reasoning"), item("message"));
    let cases: [(&'static dyn Format, &[&str], &str); _] = [
        (&OPENAI_CHAT, &[], "first-token"),
        (&OPENAI_CHAT, &[chat], "first-token"),
        (&OPENAI_CHAT, &[chat, empty], "first-token"),
        (&OPENAI_CHAT, &[chat, thought], "thinking"),
        (&OPENAI_CHAT, &[chat, thought, text], "idle"),
        (&ANTHROPIC_MESSAGES, &[message], "first-token"),
        (&ANTHROPIC_MESSAGES, &[message, &text_block], "first-token"),
        (&ANTHROPIC_MESSAGES, &[message, &thinking], "thinking"),
        (&ANTHROPIC_MESSAGES, &[message, &text_block, words], "idle"),
        (&ANTHROPIC_MESSAGES, &[message, &text_block, words, &thinking], "thinking"),
        (&OPENAI_RESPONSES, &[created, &output], "first-token"),
        (&OPENAI_RESPONSES, &[created, &reasoning], "thinking"),
        (&OPENAI_RESPONSES, &[created, &reasoning, said], "idle"),
        (&COHERE_CHAT, &[cohere], "first-token"),
        (&COHERE_CHAT, &[cohere, thinks], "thinking"),
        (&GEMINI, &[gemini], "thinking"),
        (&GEMINI_INTERACTIONS, &[interaction], "first-token"),
        (&GEMINI_INTERACTIONS, &[interaction, step], "thinking"),
        (&OLLAMA_CHAT, &[ollama], "first-token"),
    ];
    let mut asked = tokio::task::JoinSet::new();
    for (format, events, limit) in cases {
        let is_lines = format.name().contains("ollama");
        let event = |event: &&str| if is_lines { format!("{event}\n") } else { format!("data: {event}\n\n") };
        let ping = if is_lines { "\n" } else { ": ping\n\n" };
        let pings = Do::Forever(ping.into(), Duration::from_millis(20));
        let sent: String = events.iter().map(event).collect();
        let has_words = sent.contains("lo\"") || sent.contains("Hm\"");
        asked.spawn(async move {
            let (address, _) = peer(vec![head(), Do::Send(sent.clone()), pings]).await;
            let request = Arc::new(ChatRequest::new("").with_user("hello"));
            let endpoint = Endpoint::new("test", format!("http://{address}/v1"), "m");
            let transport = Transport::new(Config::default()).expect("a transport");
            let model = HttpModel::new(transport, format, endpoint).expect("a model").with_limits(limits);
            let (_, ending) = ended(model.infer(&Context::new(), request).await.expect("accepted")).await;
            let (Ending::Failed(error) | Ending::Truncated { cause: Some(error) }) = &ending else {
                panic!("{sent}: {ending:?}")
            };
            let what = if has_words { "no further token" } else { "no token" };
            let says = format!("{what} came within the {limit} limit of ");
            assert!(error.message().starts_with(&says), "{} {sent}: {error}", format.name());
        });
    }
    asked.join_all().await;
}

#[tokio::test]
async fn who_asks_for_reasoning_waits_for_it() {
    let limits = quick().with_first_token(Duration::from_millis(200)).with_idle(Duration::from_millis(200));
    let wait = || Do::Wait(Duration::from_millis(500));
    for (effort, expected) in
        [(Some("high"), "loquat"), (Some("minimal"), ""), (Some("none"), ""), (None, "")]
    {
        // Some say nothing at all until then, not even a head.
        for script in [vec![head(), wait()], vec![wait(), head()]] {
            let script = script.into_iter().chain([chunk("lo"), chunk("quat"), finish()]).collect();
            let (address, _) = peer(script).await;
            let mut request = ChatRequest::new("").with_user("hello");
            request.reasoning_effort = effort.map(str::to_owned);
            let answer = model(address, limits).infer(&Context::new(), Arc::new(request)).await;
            let text = match answer {
                Ok(answer) => ended(answer).await.0,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Timeout);
                    String::new()
                }
            };
            assert_eq!(text, expected, "{effort:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_changes_hands_still_meets_its_limit() {
    let mut answer =
        ask(vec![head(), chunk("lo"), Do::Wait(Duration::from_secs(30))]).await.expect("accepted");
    while !matches!(answer.next().await, Some(Delta::Text { .. })) {}
    // Two tasks wait for it one after the other; the second must be woken by the timer.
    let first = tokio::spawn(async move {
        let waited = tokio::time::timeout(Duration::from_millis(20), answer.next()).await.is_err();
        assert!(waited, "nothing has come");
        answer
    });
    let answer = first.await.expect("no panic");
    let last = tokio::time::timeout(Duration::from_secs(20), tokio::spawn(ended(answer)));
    let (text, ending) = last.await.expect("woken").expect("no panic");
    assert_eq!((text.as_str(), cut_by(&ending)), ("lo", Some(ErrorKind::Timeout)));
}

#[tokio::test]
async fn pings_keep_no_answer_alive() {
    let pings = Do::Forever(": ping\n\n".into(), Duration::from_millis(20));
    let (_, ending) = ended(ask(vec![head(), pings]).await.expect("accepted")).await;
    assert!(matches!(&ending, Ending::Failed(e) if e.kind() == ErrorKind::Timeout), "{ending:?}");
}

#[tokio::test]
async fn a_peer_that_never_stops_meets_the_total_limit() {
    let Do::Send(token) = chunk("x") else { unreachable!() };
    let tokens = Do::Forever(token, Duration::from_millis(20));
    let (text, ending) = ended(ask(vec![head(), tokens]).await.expect("accepted")).await;
    assert!(!text.is_empty());
    assert_eq!(cut_by(&ending), Some(ErrorKind::Timeout));
}

/// How an answer ends of which a token comes every so many seconds, and after how many.
fn dripped(seconds: u32, member: &str, text: &str, limits: GenerationLimits) -> (u64, String) {
    // A clock of its own: what has been moved is ahead of the system's, from which the transport's limits count.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let token =
            format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"{member}\":\"{text}\"}}}}]}}\n\n");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let model = model(listener.local_addr().expect("bound"), limits);
        let peer = async {
            let (mut socket, _) = listener.accept().await.expect("a client");
            read_request(&mut socket).await;
            socket.write_all(HEAD.as_bytes()).await.expect("a head");
            socket
        };
        // While a blocking task runs, a paused clock moves only when it is told to, and sockets have their time.
        let (release, held) = std::sync::mpsc::channel::<()>();
        let hold = tokio::task::spawn_blocking(move || held.recv().is_err());
        tokio::time::pause();
        let (context, request) = (Context::new(), Arc::new(ChatRequest::new("").with_user("hello")));
        let (answer, mut socket) = tokio::join!(model.infer(&context, request), peer);
        let (mut answer, started) = (answer.expect("accepted"), tokio::time::Instant::now());
        let pass = async || {
            for _ in 0..seconds {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        };
        while answer.ending().is_none() {
            socket.write_all(token.as_bytes()).await.expect("the client is there");
            while answer.next().await.is_some_and(|delta| delta.content_bytes().is_none()) {}
            tokio::select! {
                biased;
                over = answer.next() => assert!(over.is_none_or(|end| end.content_bytes().is_none()), "no other token"),
                () = pass() => {}
            }
        }
        drop(release);
        assert!(hold.await.expect("no panic"));
        let Some(Ending::Truncated { cause: Some(cause) }) = answer.ending() else {
            panic!("{:?}", answer.ending())
        };
        assert_eq!((cause.kind(), cause.delivery()), (ErrorKind::Timeout, Delivery::Committed));
        (started.elapsed().as_secs(), cause.message().to_owned())
    })
}

/// Each of its tokens comes before the limit between tokens; no two in a minute make an answer.
#[test]
fn a_peer_that_drips_is_given_up_and_a_slow_one_is_not() {
    let limits = GenerationLimits::default();
    let much = limits.with_min_tokens_per_minute(600);
    let few = "fewer than 3 tokens came within the pace limit of 60.0 s";
    const TEXT: &str = "content";
    const THOUGHT: &str = "reasoning_content";
    for (seconds, member, text, limits, after, says) in [
        (29, TEXT, "x", limits, 120, few),
        (1, TEXT, "x", much, 120, "fewer than 600 tokens"),
        (29, TEXT, "a dozen bytes", limits, 600, "total"),
        (29, TEXT, "x", limits.with_min_tokens_per_minute(0), 600, "total"),
        (19, TEXT, "x", limits, 600, "total"),
        (290, THOUGHT, "x", limits, 600, "total"),
        (310, THOUGHT, "x", limits, 300, "thinking limit of 300.0 s"),
    ] {
        let (took, said) = dripped(seconds, member, text, limits);
        // A timer fires a millisecond late, and is looked at once a second here.
        let is_then = took == after || took == after + 1;
        assert!(is_then && said.contains(says), "{text:?} every {seconds} s: {said} after {took} s");
    }
}

#[tokio::test]
async fn a_finish_reason_without_the_end_of_the_stream_is_finished() {
    let script = vec![head(), chunk("lo"), finish(), Do::Wait(Duration::from_secs(5))];
    let (text, ending) = ended(ask(script).await.expect("accepted")).await;
    assert_eq!(text, "lo");
    assert!(ending.is_finished(), "{ending:?}");
}

#[tokio::test]
async fn the_callers_own_pauses_are_not_the_peers() {
    let script = vec![head(), chunk("lo"), Do::Send(": ping\n\n".into()), chunk("quat"), finish()];
    let mut answer = ask(script).await.expect("accepted");
    while answer.next().await.and_then(|delta| delta.text().map(drop)).is_none() {}
    tokio::time::sleep(Duration::from_millis(700)).await;
    let (text, ending) = ended(answer).await;
    assert_eq!(text, "loquat");
    assert!(ending.is_finished(), "{ending:?}");
}

#[tokio::test]
async fn the_callers_deadline_and_token_are_obeyed_while_reading() {
    for cancel in [false, true] {
        let (address, _) = peer(vec![head(), chunk("lo"), Do::Wait(Duration::from_secs(5))]).await;
        let request = Arc::new(ChatRequest::new("").with_user("hello"));
        let mut context = Context::new();
        if !cancel {
            context = context.with_timeout(Duration::from_millis(300));
        }
        let answer =
            model(address, GenerationLimits::default()).infer(&context, request).await.expect("accepted");
        let token = context.cancellation().clone();
        let stop = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if cancel {
                token.cancel();
            }
        });
        let (text, ending) = ended(answer).await;
        let expected = if cancel { ErrorKind::Cancelled } else { ErrorKind::Timeout };
        assert_eq!((text.as_str(), cut_by(&ending)), ("lo", Some(expected)));
        stop.await.expect("done");
    }
}

#[tokio::test]
async fn a_refusal_names_its_kind_and_never_the_key() {
    let body = format!(
        "{{\"error\":{{\"message\":\"Incorrect API key provided: {KEY}\",\"code\":\"invalid_api_key\"}}}}"
    );
    let answer = format!(
        "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\nx-request-id: req-9\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let error = ask(vec![Do::Send(answer)]).await.expect_err("refused");
    assert_eq!((error.kind(), error.status()), (ErrorKind::Authentication, Some(401)));
    assert_eq!(error.request_id(), Some("req-9"));
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("Incorrect API key") && !shown.contains("planted"), "{shown}");
}

/// Not every server has a clock that it shows: then a date counts from its receipt.
#[tokio::test]
async fn a_time_to_try_again_counts_from_the_servers_clock_or_else_from_ours() {
    use std::time::SystemTime;
    let asked = async |headers: String| {
        let refusal = format!("HTTP/1.1 503 Service Unavailable\r\n{headers}content-length: 0\r\n\r\n");
        ask(vec![Do::Send(refusal)]).await.expect_err("busy").retry_hint().after
    };
    let at = |from, seconds| httpdate::fmt_http_date(from + Duration::from_secs(seconds));
    let now = SystemTime::now();
    let wait = asked(format!("retry-after: {}\r\n", at(now, 30))).await.expect("a hint");
    assert!(wait > Duration::from_secs(15) && wait <= Duration::from_secs(30), "{wait:?}");
    let yesterday = now - Duration::from_secs(86_400);
    let late = format!("date: {}\r\nretry-after: {}\r\n", at(yesterday, 0), at(yesterday, 30));
    assert_eq!(asked(late).await, Some(Duration::from_secs(30)), "a clock that is wrong cancels out");
    assert_eq!(asked(format!("retry-after: {}\r\n", at(yesterday, 30))).await, None, "whose clock is wrong?");
}

#[tokio::test]
async fn an_error_event_that_repeats_the_key_is_blotted() {
    let event = Do::Send(format!("data: {{\"error\":{{\"message\":\"bad key {KEY}\"}}}}\n\n"));
    let (_, ending) = ended(ask(vec![head(), chunk("x"), event]).await.expect("accepted")).await;
    let shown = format!("{ending:?}");
    assert!(matches!(ending, Ending::Failed(_)) && !shown.contains("planted"), "{shown}");
}

#[test]
fn a_key_never_travels_in_the_clear_to_another_machine() {
    let transport = Transport::new(Config::default()).expect("a transport");
    let endpoint = Endpoint::new("test", "http://192.0.2.1/v1", "m").with_credential(KEY);
    let error = HttpModel::new(transport.clone(), &OPENAI_CHAT, endpoint).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::NotConfigured);
    assert!(error.message().contains("with_plain_credential(true)"), "{error}");
    let allowed =
        Endpoint::new("test", "http://192.0.2.1/v1", "m").with_credential(KEY).with_plain_credential(true);
    assert!(HttpModel::new(transport.clone(), &OPENAI_CHAT, allowed).is_ok(), "who says so may");
    let endpoint = Endpoint::new("test", "http://192.0.2.1/v1", "m");
    assert!(HttpModel::new(transport, &OPENAI_CHAT, endpoint).is_ok(), "without a key it may");
}

#[test]
fn a_secret_header_travels_as_a_key_does() {
    let named = |is_secret: bool| {
        let mut value = http::HeaderValue::from_static("planted");
        value.set_sensitive(is_secret);
        (http::HeaderName::from_static("x-gateway"), value)
    };
    for (url, plain, is_secret, may) in [
        ("http://192.0.2.1/v1", false, true, false),
        ("http://192.0.2.1/v1", true, true, true),
        ("http://192.0.2.1/v1", false, false, true),
        ("https://192.0.2.1/v1", false, true, true),
        ("http://127.0.0.1/v1", false, true, true),
    ] {
        let transport = Transport::new(Config::default()).expect("a transport");
        let endpoint = Endpoint::new("test", url, "m").with_plain_credential(plain);
        let (name, value) = named(is_secret);
        let model = HttpModel::new(transport, &OPENAI_CHAT, endpoint).expect("a model");
        let made = model.with_header(name, value).map(drop);
        assert_eq!(made.is_ok(), may, "{url} {plain} {is_secret}");
        if let Err(error) = made {
            assert_eq!(error.kind(), ErrorKind::NotConfigured);
            assert!(error.message().contains("x-gateway") && !error.message().contains("planted"), "{error}");
        }
    }
}

#[test]
fn a_base_url_has_no_query() {
    for (url, says) in [
        ("https://gw.example/v1?key=planted", "a query"),
        ("https://gw.example/v1#planted", "a fragment"),
        ("https://gw.example/chat/completions", "https://gw.example"),
        ("https://user:planted@gw.example/v1", "name"),
    ] {
        let transport = Transport::new(Config::default()).expect("a transport");
        let made = HttpModel::new(transport, &OPENAI_CHAT, Endpoint::new("test", url, "m"));
        let error = made.map(drop).expect_err(url);
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        assert!(error.message().contains(says) && !error.message().contains("planted"), "{error}");
    }
}

/// The values of that header field, whoever set it.
fn values<'a>(sent: &'a str, name: &str) -> Vec<&'a str> {
    let fields = sent.lines().filter_map(|line| line.split_once(": "));
    fields.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

#[tokio::test]
async fn a_header_takes_the_place_of_ours_and_a_requests_own_that_of_both() {
    use http::{HeaderValue, header};
    let with_headers = |model: HttpModel| {
        let mut key = HeaderValue::from_static("Basic gateway");
        key.set_sensitive(true);
        let model = model.with_header(header::AUTHORIZATION, key).expect("here");
        model.with_header(header::USER_AGENT, HeaderValue::from_static("ours/1")).expect("here")
    };
    for (is_ours, own, key, agent) in [
        (false, false, format!("Bearer {KEY}"), concat!("loquat/", env!("CARGO_PKG_VERSION"))),
        (true, false, "Basic gateway".to_owned(), "ours/1"),
        (false, true, "Basic own".to_owned(), "own/1"),
        (true, true, "Basic own".to_owned(), "own/1"),
    ] {
        let (address, read) = peer(vec![head(), chunk("a"), finish()]).await;
        let asked = model(address, quick());
        let asked = if is_ours { with_headers(asked) } else { asked };
        let mut request = ChatRequest::new("").with_user("hi");
        if own {
            let own = [("Authorization", "Basic own"), ("User-Agent", "own/1")];
            request.extra_headers.0.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        ended(asked.infer(&Context::new(), Arc::new(request)).await.expect("begun")).await;
        let sent = read.await.expect("a request");
        assert_eq!(values(&sent, "authorization"), [key.as_str()], "{sent}");
        assert_eq!(values(&sent, "user-agent"), [agent], "{sent}");
    }
    // So it is for what is no chat.
    let answer =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"data\":[]}";
    let (address, read) = peer(vec![Do::Send(answer.into())]).await;
    let listed = with_headers(model(address, quick())).list_models(&Context::new()).await;
    assert_eq!(listed.expect("listed"), []);
    let sent = read.await.expect("a request");
    assert_eq!(values(&sent, "authorization"), ["Basic gateway"], "{sent}");
    assert_eq!(values(&sent, "user-agent"), ["ours/1"], "{sent}");
}

#[tokio::test]
async fn secrets_are_blotted_where_a_peer_repeats_them() {
    let asking = |address: SocketAddr| {
        let headers =
            [("x-gateway", "Bearer planted-gateway-token"), ("x-team", "sk-plan7"), ("x-short", "pl8")];
        headers.into_iter().fold(model(address, quick()), |model, (name, value)| {
            let mut value = http::HeaderValue::from_static(value);
            value.set_sensitive(true);
            model.with_header(http::HeaderName::from_static(name), value).expect("here")
        })
    };
    let repeated = format!(
        "{{\"error\":{{\"message\":\"who is planted-gateway-token with {KEY} of sk-plan7 at pl8 for own-7?\"}}}}"
    );
    let blotted = "who is [redacted] with [redacted] of [redacted] at pl8 for [redacted]?";
    let refused = format!("HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\n\r\n{repeated}", repeated.len());
    let (address, _) = peer(vec![Do::Send(refused)]).await;
    let mut request = ChatRequest::new("").with_user("hello");
    request.extra_headers.0.push(("x-tenant".to_owned(), "own-7".to_owned()));
    let request = Arc::new(request);
    let error = asking(address).infer(&Context::new(), request.clone()).await.expect_err("refused");
    let shown = format!("{error} {error:?}");
    assert!(shown.contains(blotted), "{shown}");

    let script = vec![head(), chunk("x"), Do::Send(format!("data: {repeated}\n\n"))];
    let (address, _) = peer(script).await;
    let answer = asking(address).infer(&Context::new(), request).await.expect("accepted");
    let shown = format!("{:?}", ended(answer).await.1);
    assert!(shown.contains(blotted), "{shown}");
}

/// A request's own key is kept from plain HTTP as the endpoint's is.
#[tokio::test]
async fn a_requests_own_credential_stays_where_others_could_read_it() {
    for (name, is_refused) in [("Authorization", true), ("X-Api-Key", true), ("x-team", false)] {
        let endpoint = Endpoint::new("openai", "http://192.0.2.1/v1", "m");
        let transport = Transport::new(Config::default()).expect("valid");
        let model = HttpModel::new(transport, &OPENAI_CHAT, endpoint).expect("no key of its own");
        let mut request = ChatRequest::new("").with_user("hello");
        request.extra_headers.0.push((name.to_owned(), "planted".to_owned()));
        let context = Context::new().with_timeout(Duration::from_millis(50));
        let error = model.infer(&context, Arc::new(request)).await.expect_err("nobody is there");
        assert_eq!(error.kind() == ErrorKind::NotConfigured, is_refused, "{name}: {error}");
        assert!(!format!("{error:?}").contains("planted"));
    }
}

#[tokio::test]
async fn models_are_listed_within_their_limit() {
    let body = "{\"object\":\"list\",\"data\":[{\"id\":\"m1\",\"owned_by\":\"us\"},{\"id\":\"m2\"}]}";
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (address, _) = peer(vec![Do::Send(answer.clone())]).await;
    let listed = model(address, quick()).list_models(&Context::new()).await.expect("listed");
    assert_eq!(listed.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(), ["m1", "m2"]);

    let (address, _) = peer(vec![Do::Wait(Duration::from_secs(5))]).await;
    let error = model(address, quick()).list_models(&Context::new()).await.expect_err("too slow");
    assert_eq!(error.kind(), ErrorKind::Timeout);

    // Who says how long they wait is taken at their word: for the head, and for what comes after it.
    let (head, rest) = answer.split_at(answer.len() - 5);
    let slow = Duration::from_millis(500);
    let script = vec![Do::Wait(slow), Do::Send(head.into()), Do::Wait(slow), Do::Send(rest.into())];
    let (address, _) = peer(script).await;
    let context = Context::new().with_timeout(Duration::from_secs(60));
    let limits = quick().with_listing(Duration::from_millis(100));
    assert_eq!(model(address, limits).list_models(&context).await.expect("in time").len(), 2);
}

#[tokio::test]
async fn tokens_are_counted_within_800_ms_unless_the_caller_says_otherwise() {
    let counting = |address: SocketAddr| {
        let endpoint = Endpoint::new("test", format!("http://{address}/v1"), "m").with_credential(KEY);
        let transport = Transport::new(Config::default()).expect("a transport");
        HttpModel::new(transport, &ANTHROPIC_MESSAGES, endpoint).expect("a model")
    };
    let request = ChatRequest::new("").with_user("hello");
    let (address, _) = peer(vec![Do::Wait(Duration::from_secs(60))]).await;
    let begin = std::time::Instant::now();
    let (model, context) = (counting(address), Context::new());
    // Far above 800 ms, for slow machines, and far below the minutes that a generation may take.
    let counted = tokio::time::timeout(Duration::from_secs(30), model.count_tokens(&context, &request)).await;
    let counted = counted.expect("a limit of its own");
    assert_eq!(counted.expect_err("too slow").kind(), ErrorKind::Timeout);
    assert!(begin.elapsed() >= Duration::from_millis(800));

    let answer =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 18\r\n\r\n{\"input_tokens\":7}";
    let (address, _) = peer(vec![Do::Wait(Duration::from_secs(1)), Do::Send(answer.into())]).await;
    let context = Context::new().with_timeout(Duration::from_secs(60));
    assert_eq!(counting(address).count_tokens(&context, &request).await, Ok(7));
}

#[tokio::test]
async fn the_peer_is_told_of_trace_key_and_deadline() {
    let ask = |context: Context| async move {
        let (address, read) = peer(vec![head(), chunk("a"), finish()]).await;
        let name = http::HeaderName::from_static("x-envoy-upstream-rq-timeout-ms");
        let model = model(address, quick()).with_deadline_header(name);
        ended(model.infer(&context, Arc::new(ChatRequest::new("").with_user("hi"))).await.expect("begun"))
            .await;
        read.await.expect("a request").to_ascii_lowercase()
    };
    let plain = ask(Context::new()).await;
    for name in ["traceparent", "tracestate", "idempotency-key", "x-envoy-upstream-rq-timeout-ms"] {
        assert!(!plain.contains(name), "{name} without a reason");
    }
    let trace = loquat_core::TraceContext::random();
    let state = loquat_core::TraceState::parse("rojo=00f067aa0ba902b7,congo=t61rcwkgmze").expect("valid");
    let context = Context::new().with_trace(trace).with_trace_state(state);
    let context = context.with_idempotency_key("key-1").with_timeout(Duration::from_secs(9));
    let told = ask(context).await;
    assert!(told.contains(&format!("traceparent: {}\r\n", trace.to_header())), "{told}");
    assert!(told.contains("tracestate: rojo=00f067aa0ba902b7,congo=t61rcwkgmze\r\n"), "{told}");
    assert!(told.contains("idempotency-key: key-1\r\n"), "{told}");
    assert!(
        told.contains("x-envoy-upstream-rq-timeout-ms: 8") || told.contains("timeout-ms: 9000\r\n"),
        "{told}"
    );

    let bad = Context::new().with_idempotency_key("a\nb");
    let model = model(SocketAddr::from(([127, 0, 0, 1], 1)), quick());
    let refused = model.infer(&bad, Arc::new(ChatRequest::new("").with_user("hi"))).await;
    assert_eq!(refused.expect_err("no header").kind(), ErrorKind::InvalidRequest);
}
