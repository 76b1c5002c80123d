//! A function that the model may call, with async-openai: beside `crates/loquat/examples/tools.rs`.

use async_openai::{
    Client,
    types::chat::{
        ChatCompletionMessageToolCalls, ChatCompletionRequestAssistantMessageArgs,
        ChatCompletionRequestMessage, ChatCompletionRequestToolMessage, ChatCompletionRequestUserMessage,
        ChatCompletionTool, ChatCompletionTools, CreateChatCompletionRequestArgs, FunctionObjectArgs,
    },
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
    let function = FunctionObjectArgs::default()
        .name("weather")
        .description("The weather at a place, now.")
        .parameters(json!({"type": "object", "properties": {"city": city}, "required": ["city"]}))
        .build()?;
    let tools = [ChatCompletionTools::Function(ChatCompletionTool { function })];
    let question = ChatCompletionRequestUserMessage::from("What is the weather in Rome and Oslo?");
    let mut messages: Vec<ChatCompletionRequestMessage> = vec![question.into()];
    loop {
        let mut request = CreateChatCompletionRequestArgs::default();
        let request = request.model("gpt-4o-mini").messages(messages.clone()).tools(tools.clone()).build()?;
        let answer = Client::new().chat().create(request).await?.choices.remove(0).message;
        let Some(calls) = answer.tool_calls else {
            println!("{}", answer.content.unwrap_or_default());
            return Ok(());
        };
        let asked = ChatCompletionRequestAssistantMessageArgs::default().tool_calls(calls.clone()).build()?;
        messages.push(asked.into());
        for call in calls {
            let ChatCompletionMessageToolCalls::Function(call) = call else { continue };
            let content = weather(serde_json::from_str(&call.function.arguments)?).await.into();
            messages.push(ChatCompletionRequestToolMessage { content, tool_call_id: call.id }.into());
        }
    }
}
