//! An answer that is a Rust type: `cargo run -p loquat --example structured`, with `OPENAI_API_KEY` set.

#![allow(clippy::print_stdout, reason = "this is a program")]

use loquat::{
    Client,
    Error,
    schemars::{self, JsonSchema}, // the derive names the crate, which need not be among the dependencies
};
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
struct Recipe {
    name: String,
    /// Metric units.
    ingredients: Vec<String>,
    minutes: u32,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let chat = Client::from_env()?.chat("openai:gpt-4o-mini").user("A quick loquat dessert, please.");
    let Recipe { name, ingredients, minutes } = chat.structured().send().await?;
    println!("{name}, {minutes} minutes, of {}", ingredients.join(", "));
    Ok(())
}
