//! An answer as it is made, with genai: beside `crates/loquat/examples/stream.rs`.

use std::io::{Write, stdout};

use futures_util::StreamExt;
use genai::{
    Client,
    chat::{ChatRequest, ChatStreamEvent},
};

#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let request = ChatRequest::from_user("Why is the sky blue?");
    let mut answer = Client::new()?.exec_chat_stream("gpt-4o-mini", request, None).await?.stream;
    while let Some(event) = answer.next().await {
        if let ChatStreamEvent::Chunk(chunk) = event? {
            print!("{}", chunk.content);
            stdout().flush()?;
        }
    }
    println!();
    Ok(())
}
