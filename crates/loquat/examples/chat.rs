//! One question, one answer: `cargo run -p loquat --example chat`, with `OPENAI_API_KEY` set.

#![allow(clippy::print_stdout, reason = "this is a program")]

use loquat::{Client, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let answer = Client::from_env()?.chat("openai:gpt-4o-mini").user("Why is the sky blue?").send().await?;
    println!("{}", answer.text());
    Ok(())
}
