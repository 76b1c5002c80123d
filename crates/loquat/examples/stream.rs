//! An answer as it is made: `cargo run -p loquat --example stream`, with `OPENAI_API_KEY` set.

#![allow(clippy::print_stdout, reason = "this is a program")]

use std::io::{Write, stdout};

use loquat::Client;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::from_env()?;
    let mut answer = client.chat("openai:gpt-4o-mini").user("Why is the sky blue?").stream().await?;
    while let Some(text) = answer.next_text().await? {
        print!("{text}");
        stdout().flush()?; // or only whole lines are seen
    }
    println!();
    Ok(())
}
