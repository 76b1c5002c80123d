//! An answer as it is made, with rig: beside `crates/loquat/examples/stream.rs`.

use std::io::{Write, stdout};

use futures_util::StreamExt;
use rig::{
    providers::openai::OpenAI,
    streaming::{Item, StreamEvent},
};

#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut answer = OpenAI::from_env()?.completion("gpt-4o-mini").stream("Why is the sky blue?")?;
    while let Some(item) = answer.next().await {
        if let Item::Event(StreamEvent::Text { text, .. }) = item? {
            print!("{text}");
            stdout().flush()?;
        }
    }
    println!();
    Ok(())
}
