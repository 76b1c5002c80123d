//! One question, one answer, with genai: beside `crates/loquat/examples/chat.rs`.

use genai::{Client, Error, chat::ChatRequest};

#[tokio::main]
pub async fn main() -> Result<(), Error> {
    let request = ChatRequest::from_user("Why is the sky blue?");
    let answer = Client::new()?.exec_chat("gpt-4o-mini", request, None).await?;
    println!("{}", answer.first_text().unwrap_or_default());
    Ok(())
}
