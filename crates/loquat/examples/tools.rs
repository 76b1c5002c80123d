//! A function that the model may call: `cargo run -p loquat --example tools`, with `OPENAI_API_KEY` set.

#![allow(clippy::print_stdout, reason = "this is a program")]

use loquat::{Client, Error, Toolbox, tool};

/// The weather at a place, now.
#[tool]
async fn weather(
    /// The city's English name.
    city: String,
) -> String {
    format!("sunny in {city}, 20 °C")
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let chat = Client::from_env()?.chat("openai:gpt-4o-mini").user("What is the weather in Rome and Oslo?");
    println!("{}", chat.tools(Toolbox::new().with(weather)).send().await?.text());
    Ok(())
}
