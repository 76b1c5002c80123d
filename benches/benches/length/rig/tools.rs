//! A function that the model may call, with rig: beside `crates/loquat/examples/tools.rs`.

use rig::{AgentBuilder, providers::openai::OpenAI, rig_tool, tool::ToolExecutionError};

/// The weather at a place, now.
#[rig_tool]
async fn weather(
    /// The city's English name.
    city: String,
) -> Result<String, ToolExecutionError> {
    Ok(format!("sunny in {city}, 20 °C"))
}

#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let agent = AgentBuilder::new(OpenAI::from_env()?.completion("gpt-4o-mini")).tool(Weather).build();
    println!("{}", agent.prompt("What is the weather in Rome and Oslo?").max_turns(5).await?.output());
    Ok(())
}
