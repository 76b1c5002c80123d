//! One question, one answer, with rig: beside `crates/loquat/examples/chat.rs`.

use rig::providers::openai::OpenAI;

#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let answer = OpenAI::from_env()?.completion("gpt-4o-mini").call("Why is the sky blue?").await?;
    println!("{}", answer.text());
    Ok(())
}
