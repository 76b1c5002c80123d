//! An answer that is a Rust type, with genai: beside `crates/loquat/examples/structured.rs`.

use genai::{
    Client,
    chat::{ChatOptions, ChatRequest, ChatResponseFormat, JsonSpec},
};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
struct Recipe {
    name: String,
    /// Metric units.
    ingredients: Vec<String>,
    minutes: u32,
}

#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let request = ChatRequest::from_user("A quick loquat dessert, please.");
    let spec = JsonSpec::new("recipe", serde_json::to_value(schema_for!(Recipe))?);
    let options = ChatOptions::default().with_response_format(ChatResponseFormat::JsonSpec(spec));
    let answer = Client::new()?.exec_chat("gpt-4o-mini", request, Some(&options)).await?;
    let Recipe { name, ingredients, minutes } =
        serde_json::from_str(answer.first_text().unwrap_or_default())?;
    println!("{name}, {minutes} minutes, of {}", ingredients.join(", "));
    Ok(())
}
