//! An answer that is a Rust type, with rig: beside `crates/loquat/examples/structured.rs`.

use rig::{AgentBuilder, providers::openai::OpenAI};
use schemars::JsonSchema;
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
    let agent = AgentBuilder::new(OpenAI::from_env()?.completion("gpt-4o-mini")).build();
    let Recipe { name, ingredients, minutes } =
        agent.prompt_typed("A quick loquat dessert, please.").await?.output;
    println!("{name}, {minutes} minutes, of {}", ingredients.join(", "));
    Ok(())
}
