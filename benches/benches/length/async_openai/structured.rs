//! An answer that is a Rust type, with async-openai: beside `crates/loquat/examples/structured.rs`.

use async_openai::{
    Client,
    types::chat::{
        ChatCompletionRequestUserMessage, CreateChatCompletionRequestArgs, ResponseFormat,
        ResponseFormatJsonSchema,
    },
};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Recipe {
    name: String,
    /// Metric units.
    ingredients: Vec<String>,
    minutes: u32,
}

#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let question = ChatCompletionRequestUserMessage::from("A quick loquat dessert, please.");
    let schema = serde_json::to_value(schema_for!(Recipe))?;
    let json_schema =
        ResponseFormatJsonSchema { name: "recipe".into(), description: None, schema, strict: Some(true) };
    let request = CreateChatCompletionRequestArgs::default()
        .model("gpt-4o-mini")
        .messages([question.into()])
        .response_format(ResponseFormat::JsonSchema { json_schema })
        .build()?;
    let answer = Client::new().chat().create(request).await?.choices.remove(0).message.content;
    let Recipe { name, ingredients, minutes } = serde_json::from_str(&answer.unwrap_or_default())?;
    println!("{name}, {minutes} minutes, of {}", ingredients.join(", "));
    Ok(())
}
