//! One question, one answer, with async-openai: beside `crates/loquat/examples/chat.rs`.

use async_openai::{
    Client,
    types::chat::{ChatCompletionRequestUserMessage, CreateChatCompletionRequestArgs},
};

#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let question = ChatCompletionRequestUserMessage::from("Why is the sky blue?");
    let mut request = CreateChatCompletionRequestArgs::default();
    let request = request.model("gpt-4o-mini").messages([question.into()]).build()?;
    let answer = Client::new().chat().create(request).await?;
    println!("{}", answer.choices[0].message.content.as_deref().unwrap_or_default());
    Ok(())
}
