//! The embedded engine beside llama.cpp: the same file, two threads each, turn by turn in one run.
//!
//! llama.cpp's figures are its own timings (tokens per second without HTTP); ours are taken outside, from request to delta.
//! Rounds alternate and medians are kept, because neighbours on a shared machine slow both. No criterion: one answer takes
//! seconds and is worth one sample.
//!
//! The last case is a 500-token conversation: time to the first token of its second turn, beside that of the first.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use loquat_benches::{is_quick, side};
use loquat_core::{ChatRequest, Context, Delta, Ending, Message, Model, Usage};
use loquat_engine::{Engine, EngineConfig};
use serde_json::{Value, json};

const THREADS: usize = 2;
const PEER: &str = "llama.cpp";

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("skipped: run by `cargo xtask bench engine`");
        return;
    }
    let (Ok(url), Ok(model)) = (std::env::var("LOQUAT_LLAMA_URL"), std::env::var("LOQUAT_GGUF")) else {
        panic!("needs LOQUAT_LLAMA_URL and LOQUAT_GGUF, which `cargo xtask bench engine` sets");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let engine =
        Engine::load_with(&model, &EngineConfig::default().with_threads(THREADS)).expect("the model loads");
    let rounds = if is_quick() { 2 } else { 7 };
    let mut figures: Vec<(&str, &str, Vec<f64>)> = Vec::new();
    let mut note = |case, who, value| match figures.iter_mut().find(|f| (f.0, f.1) == (case, who)) {
        Some(figure) => figure.2.push(value),
        None => figures.push((case, who, vec![value])),
    };
    for round in 0..=rounds {
        let ours = runtime.block_on(ours(&engine, round));
        let theirs = theirs(&url, round);
        // The first round warms caches and clocks.
        if round > 0 {
            for (who, turns) in [("ours", ours), (PEER, theirs)] {
                note("engine/read a prompt", who, turns.prompt_per_second);
                note("engine/generate", who, turns.generated_per_second);
                note("engine/first token, turn 1", who, turns.first_turn_ms);
                note("engine/first token, turn 2", who, turns.second_turn_ms);
            }
        }
    }
    for (case, who, mut values) in figures {
        values.sort_by(f64::total_cmp);
        let unit = if case.contains("first token") { "ms" } else { "tokens/s" };
        side::figure(case, who, values[values.len() / 2], unit);
    }
}

struct Turns {
    prompt_per_second: f64,
    generated_per_second: f64,
    first_turn_ms: f64,
    second_turn_ms: f64,
}

/// About 500 tokens, different in every round from the start, so that no cache helps the first turn.
fn question(round: usize) -> String {
    let mut text = format!("{round} is the number of this text. Summarize it.\n");
    text.extend((0..56).map(|sentence| format!("Sentence {sentence} is about trees. ")));
    text
}

const GENERATED: u32 = 64;

async fn ours(engine: &Engine, round: usize) -> Turns {
    let ask = |tokens: u32, messages: Vec<Message>| async move {
        let mut request = ChatRequest::new("").with_temperature(0.0).with_max_output_tokens(tokens);
        request.messages = messages;
        let began = Instant::now();
        let mut answer = engine.infer(&Context::new(), Arc::new(request)).await.expect("an answer");
        let (mut first, mut text, mut usage) = (None, String::new(), Usage::default());
        while let Some(delta) = answer.next().await {
            match delta {
                Delta::Text { text: more, .. } => {
                    first.get_or_insert_with(|| began.elapsed());
                    text.push_str(more);
                }
                Delta::End(Ending::Finished { usage: counted, .. }) => usage = *counted,
                Delta::End(ending) => panic!("the answer ended as {ending:?}"),
                _ => {}
            }
        }
        let first = first.expect("some text");
        (first, began.elapsed() - first, text, usage)
    };
    let first_turn = vec![Message::user(question(round))];
    let (first, rest, text, usage) = ask(GENERATED, first_turn.clone()).await;
    let second_turn =
        [first_turn, vec![Message::assistant(text), Message::user("Shorter, please.")]].concat();
    let (second, _, _, reused) = ask(2, second_turn).await;
    assert!(reused.cache_read_tokens > usage.input_tokens, "turn two reads turn one again: {reused:?}");
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    Turns {
        prompt_per_second: (usage.input_tokens - usage.cache_read_tokens) as f64 / first.as_secs_f64(),
        generated_per_second: (usage.output_tokens - 1) as f64 / rest.as_secs_f64(),
        first_turn_ms: millis(first),
        second_turn_ms: millis(second),
    }
}

fn theirs(url: &str, round: usize) -> Turns {
    let ask = |tokens: u32, messages: &Value| {
        let body = json!({
            "messages": messages, "max_tokens": tokens, "temperature": 0, "cache_prompt": true, "stream": false,
        });
        let answer = post(url, "/v1/chat/completions", &body);
        let timing =
            |name: &str| answer["timings"][name].as_f64().unwrap_or_else(|| panic!("no {name} in {answer}"));
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
        (timing("prompt_per_second"), timing("predicted_per_second"), timing("prompt_ms"), text)
    };
    let user = |text: &str| json!({"role": "user", "content": text});
    let (prompt_per_second, generated_per_second, first_turn_ms, text) =
        ask(GENERATED, &json!([user(&question(round))]));
    let assistant = json!({"role": "assistant", "content": text});
    let (_, _, second_turn_ms, _) =
        ask(2, &json!([user(&question(round)), assistant, user("Shorter, please.")]));
    Turns { prompt_per_second, generated_per_second, first_turn_ms, second_turn_ms }
}

/// One request over a fresh connection; the server closes it.
fn post(url: &str, path: &str, body: &Value) -> Value {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let host = address.split('/').next().unwrap_or(address);
    let mut stream =
        TcpStream::connect(host).unwrap_or_else(|error| panic!("no llama.cpp at {host}: {error}"));
    let body = body.to_string();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer is read");
    let json = answer.find('{').zip(answer.rfind('}')).map(|(from, to)| &answer[from..=to]);
    json.and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_else(|| panic!("no JSON answer: {answer}"))
}
