//! A conversation as the values that Hugging Face chat templates read.
//!
//! Whatever the caller says in it goes by way of the [guard](super::guard): words, names, ids, and every text and key of what is
//! JSON, read first, since `\u003c` is a `<` as well.

use loquat_core::{Message, Part, Role};
use minijinja::Value;
use minijinja::value::{Serde, ValueKind};

use super::{Chat, guard::Guard};
use crate::template::{TemplateError, TemplateErrorKind as Kind};

/// The conversation as variables of a program.
pub(super) struct Values<'a> {
    pub(super) messages: Value,
    pub(super) tools: Value,
    pub(super) variables: Vec<(&'a str, Value)>,
}

impl<'a> Values<'a> {
    pub(super) fn new(
        chat: &'a Chat<'_>,
        guard: &Guard<'_>,
        wants_none: bool,
    ) -> Result<Self, TemplateError> {
        let by = Writer { guard };
        let variables = chat.variables.iter();
        let variables =
            variables.map(|(name, value)| Ok((name.as_str(), guard.json(&Value::from(Serde(value)))?)));
        Ok(Self {
            messages: by.messages(chat, wants_none)?,
            tools: by.tools(chat)?,
            variables: variables.collect::<Result<_, TemplateError>>()?,
        })
    }
}

/// Writes what the caller says by way of the guard, and what stands here as it is.
struct Writer<'g, 't> {
    guard: &'g Guard<'t>,
}

impl Writer<'_, '_> {
    fn text(&self, text: &str) -> Value {
        Value::from(self.guard.text(text))
    }

    /// The variable `messages`.
    fn messages(&self, chat: &Chat<'_>, wants_none: bool) -> Result<Value, TemplateError> {
        let mut all = Vec::with_capacity(chat.messages.len());
        for message in chat.messages {
            self.message(message, wants_none, &mut all)?;
        }
        Ok(Value::from(all))
    }

    fn message(
        &self,
        message: &Message,
        wants_none: bool,
        all: &mut Vec<Value>,
    ) -> Result<(), TemplateError> {
        let mut fields: Vec<(&'static str, Value)> = vec![("role", Value::from(role(message.role)))];
        let calls = message.tool_calls().map(|call| self.call(call)).collect::<Result<Vec<_>, _>>()?;
        let mut reasoning = String::new();
        let mut has_media = false;
        for part in &message.parts {
            match part {
                Part::Reasoning(thoughts) => reasoning.push_str(&thoughts.text),
                Part::Image(_) | Part::Audio(_) => has_media = true,
                // Each result is a message of its own here.
                Part::ToolResult(result) => all.push(Value::from_pairs([
                    ("role", Value::from("tool")),
                    ("content", self.text(&result.content)),
                    ("name", self.text(&result.name)),
                    ("tool_call_id", self.text(&result.call_id)),
                ])),
                Part::File(_) | Part::Opaque(_) => {
                    let what = "a chat template knows no files and no parts of one format";
                    return Err(TemplateError::new(Kind::Data, super::jinja::NAME, what));
                }
                _ => {}
            }
        }
        if !message.parts.is_empty() && message.parts.iter().all(|part| matches!(part, Part::ToolResult(_))) {
            return Ok(());
        }
        let content = if has_media { self.list(message) } else { self.text(&text(message)) };
        let is_empty = content.as_str().is_some_and(str::is_empty);
        // Some templates tell a call from words by `content is none`.
        let content = if wants_none && is_empty && !calls.is_empty() { Value::from(()) } else { content };
        fields.push(("content", content));
        if !reasoning.is_empty() {
            fields.push(("reasoning_content", self.text(&reasoning)));
        }
        if !calls.is_empty() {
            fields.push(("tool_calls", Value::from(calls)));
        }
        all.push(Value::from_pairs(fields));
        Ok(())
    }

    fn call(&self, call: &loquat_core::ToolCall) -> Result<Value, TemplateError> {
        // An object where it is one, as templates expect; a cut or foolish text is shown as it is.
        let arguments = match serde_json::from_str::<Value>(&call.arguments) {
            Ok(value) if value.kind() == ValueKind::Map => self.guard.json(&value)?,
            _ => self.text(&call.arguments),
        };
        let function = Value::from_pairs([("name", self.text(&call.name)), ("arguments", arguments)]);
        Ok(Value::from_pairs([
            ("id", self.text(&call.id)),
            ("type", Value::from("function")),
            ("function", function),
        ]))
    }

    fn list(&self, message: &Message) -> Value {
        let items = message.parts.iter().filter_map(|part| match part {
            Part::Text(text) | Part::Refusal(text) => {
                Some(Value::from_pairs([("type", Value::from("text")), ("text", self.text(text))]))
            }
            Part::Image(_) => Some(Value::from_pairs([("type", Value::from("image"))])),
            Part::Audio(_) => Some(Value::from_pairs([("type", Value::from("audio"))])),
            _ => None,
        });
        Value::from(items.collect::<Vec<_>>())
    }

    /// The variable `tools`: OpenAI's form, which templates know.
    fn tools(&self, chat: &Chat<'_>) -> Result<Value, TemplateError> {
        if chat.tools.is_empty() {
            return Ok(Value::from(()));
        }
        let tool = |tool: &loquat_core::Tool| {
            let parameters = serde_json::from_str::<Value>(tool.parameters.as_str()).map_err(|_| {
                let what = format!("the schema of the tool `{}` is no JSON", tool.name);
                TemplateError::new(Kind::Data, super::jinja::NAME, what)
            })?;
            let function = Value::from_pairs([
                ("name", self.text(&tool.name)),
                ("description", self.text(&tool.description)),
                ("parameters", self.guard.json(&parameters)?),
            ]);
            Ok(Value::from_pairs([("type", Value::from("function")), ("function", function)]))
        };
        chat.tools.iter().map(tool).collect::<Result<Vec<_>, _>>().map(Value::from)
    }
}

pub(super) fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        _ => "tool",
    }
}

/// A message's words.
fn text(message: &Message) -> String {
    let words = message.parts.iter().filter_map(|part| match part {
        Part::Text(text) | Part::Refusal(text) => Some(text.as_str()),
        _ => None,
    });
    words.collect()
}
