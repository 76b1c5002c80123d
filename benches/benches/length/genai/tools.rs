//! A function that the model may call, with genai: beside `crates/loquat/examples/tools.rs`.

use genai::{
    Client,
    chat::{ChatRequest, Tool, ToolResponse},
};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Place {
    city: String,
}

async fn weather(Place { city }: Place) -> String {
    format!("sunny in {city}, 20 °C")
}

#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let city = json!({"type": "string", "description": "The city's English name."});
    let tool = Tool::new("weather")
        .with_description("The weather at a place, now.")
        .with_schema(json!({"type": "object", "properties": {"city": city}, "required": ["city"]}));
    let mut request = ChatRequest::from_user("What is the weather in Rome and Oslo?").with_tools([tool]);
    loop {
        let answer = Client::new()?.exec_chat("gpt-4o-mini", request.clone(), None).await?;
        if answer.tool_calls().is_empty() {
            println!("{}", answer.first_text().unwrap_or_default());
            return Ok(());
        }
        let calls = answer.into_tool_calls();
        request = request.append_message(calls.clone());
        for call in calls {
            let result = weather(serde_json::from_value(call.fn_arguments)?).await;
            request = request.append_message(ToolResponse::new(call.call_id, result));
        }
    }
}
