//! Measures the engine on a model file: loading, reading a prompt, generating, and the second turn of a conversation.
//!
//! ```text
//! cargo run --release -p loquat-engine --example speed -- MODEL.gguf [threads] [rounds]
//! ```
//!
//! Prints one line of JSON per round, so that a driver can interleave it with another engine's rounds.
#![expect(clippy::print_stdout, reason = "this is a program")]

use std::sync::Arc;
use std::time::Instant;

use loquat_core::{ChatRequest, Context, Delta, Ending, Error, ErrorKind, Message, Model, Usage};
use loquat_engine::{Engine, EngineConfig};

/// One answer's figures: seconds to the first text, seconds from there to the end, text, usage.
async fn ask(engine: &Engine, request: ChatRequest) -> Result<(f64, f64, String, Usage), Error> {
    let began = Instant::now();
    let mut answer = engine.infer(&Context::new(), Arc::new(request)).await?;
    let (mut first, mut text) = (None, String::new());
    while let Some(delta) = answer.next().await {
        match delta {
            Delta::Text { text: more, .. } => {
                first.get_or_insert_with(|| began.elapsed().as_secs_f64());
                text.push_str(more);
            }
            Delta::End(Ending::Finished { usage, .. }) => {
                let first = first.unwrap_or_default();
                return Ok((first, began.elapsed().as_secs_f64() - first, text, *usage));
            }
            Delta::End(ending) => return ending.clone().into_result().map(|_| Default::default()),
            _ => {}
        }
    }
    Err(Error::new(ErrorKind::Internal, "an answer without an end"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: speed MODEL.gguf [threads] [rounds]")?;
    let threads = arguments.next().map_or(Ok(2), |n| n.parse())?;
    let rounds: usize = arguments.next().map_or(Ok(1), |n| n.parse())?;
    let began = Instant::now();
    let engine = Engine::load_with(&path, &EngineConfig::default().with_threads(threads))?;
    let load = began.elapsed().as_secs_f64();
    for round in 0..rounds {
        // About 500 tokens that no earlier round has left in the cache.
        let mut words = format!("Round {round} {:?}. Summarize this text.\n", Instant::now());
        words.extend((0..90).map(|i| format!("Sentence {i} is about trees. ")));
        let mut first_turn =
            ChatRequest::new("").with_user(words).with_max_output_tokens(64).with_temperature(0.0);
        first_turn.seed = Some(1);
        let (ttft, rest, text, usage) = ask(&engine, first_turn.clone()).await?;
        let second_turn = first_turn.with_message(Message::assistant(text)).with_user("Shorter, please.");
        let (ttft2, _, _, usage2) = ask(&engine, second_turn).await?;
        println!(
            "{{\"load_s\":{load:.3},\"prompt_tokens\":{},\"prompt_per_s\":{:.1},\"generated_per_s\":{:.1},\
             \"ttft_turn1_ms\":{:.1},\"ttft_turn2_ms\":{:.1},\"turn2_cached\":{},\"turn2_tokens\":{}}}",
            usage.input_tokens,
            usage.input_tokens as f64 / ttft,
            (usage.output_tokens as f64 - 1.0) / rest,
            ttft * 1e3,
            ttft2 * 1e3,
            usage2.cache_read_tokens,
            usage2.input_tokens,
        );
    }
    Ok(())
}
