//! An answer as it is made, with async-openai: beside `crates/loquat/examples/stream.rs`.

use std::io::{Write, stdout};

use async_openai::{
    Client,
    types::chat::{ChatCompletionRequestUserMessage, CreateChatCompletionRequestArgs},
};
use futures_util::StreamExt;

#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let question = ChatCompletionRequestUserMessage::from("Why is the sky blue?");
    let mut request = CreateChatCompletionRequestArgs::default();
    let request = request.model("gpt-4o-mini").messages([question.into()]).build()?;
    let mut answer = Client::new().chat().create_stream(request).await?;
    while let Some(chunk) = answer.next().await {
        for choice in chunk?.choices {
            print!("{}", choice.delta.content.unwrap_or_default());
            stdout().flush()?;
        }
    }
    println!();
    Ok(())
}
