//! Messages as the values that Hugging Face chat templates read, with control tokens in them defused.
//!
//! A program may trim, split and compare what it is given, so marks around a user's text would show. Instead, one private
//! character is put inside each control token that the text spells out; it comes out of the program where the text does, is
//! removed, and its place is remembered as a cut.

use loquat_core::{Message, Part, Role};
use minijinja::Value;

use super::{Chat, RenderedChat};
use crate::template::{TemplateError, TemplateErrorKind as Kind};
use crate::tokenizer::Tokenizer;

/// The private character and the tokenizer that says where it is needed.
pub(super) struct Guard<'a> {
    tokenizer: Option<&'a dyn Tokenizer>,
    character: char,
}

impl<'a> Guard<'a> {
    /// # Errors
    /// The conversation uses every character that could be the guard.
    pub(super) fn new(chat: &Chat<'_>, tokenizer: Option<&'a dyn Tokenizer>) -> Result<Self, TemplateError> {
        let is_used = |character: char| {
            let mut found = false;
            each_text(chat, &mut |text| found = found || text.contains(character));
            found
        };
        let character = match tokenizer {
            None => '\u{F0000}',
            Some(_) => {
                ('\u{F0000}'..='\u{F00FF}').find(|character| !is_used(*character)).ok_or_else(|| {
                    let what = "the conversation uses all 256 private characters from U+F0000 on";
                    TemplateError::new(Kind::Data, super::jinja::NAME, what)
                })?
            }
        };
        Ok(Self { tokenizer, character })
    }

    fn defuse(&self, text: &str) -> String {
        let mut defused = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((place, _)) = self.tokenizer.and_then(|tokenizer| tokenizer.find_control(rest)) {
            // Behind the first character; what follows is looked at again, since a control token may begin in another.
            let first =
                rest.get(place.start..).and_then(|token| token.chars().next()).map_or(1, char::len_utf8);
            let (before, after) = rest.split_at(rest.ceil_char_boundary(place.start + first));
            defused.push_str(before);
            defused.push(self.character);
            rest = after;
        }
        defused.push_str(rest);
        defused
    }

    /// The rendered text without guards, cut where they were.
    pub(super) fn remove(&self, text: String) -> RenderedChat {
        if self.tokenizer.is_none() || !text.contains(self.character) {
            return RenderedChat { text, cuts: Vec::new() };
        }
        let mut rendered = RenderedChat { text: String::with_capacity(text.len()), cuts: Vec::new() };
        for (index, part) in text.split(self.character).enumerate() {
            if index > 0 {
                rendered.cuts.push(rendered.text.len());
            }
            rendered.text.push_str(part);
        }
        rendered
    }

    /// The variable `messages`.
    pub(super) fn messages(&self, chat: &Chat<'_>, wants_none: bool) -> Result<Value, TemplateError> {
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
        let calls: Vec<Value> = message.tool_calls().map(|call| self.call(call)).collect();
        let mut reasoning = String::new();
        let mut has_media = false;
        for part in &message.parts {
            match part {
                Part::Reasoning(thoughts) => reasoning.push_str(&thoughts.text),
                Part::Image(_) | Part::Audio(_) => has_media = true,
                // Each result is a message of its own here.
                Part::ToolResult(result) => all.push(Value::from_pairs([
                    ("role", Value::from("tool")),
                    ("content", Value::from(self.defuse(&result.content))),
                    ("name", Value::from(self.defuse(&result.name))),
                    ("tool_call_id", Value::from(self.defuse(&result.call_id))),
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
        let content = if has_media { self.list(message) } else { Value::from(self.defuse(&text(message))) };
        let is_empty = content.as_str().is_some_and(str::is_empty);
        // Some templates tell a call from words by `content is none`.
        let content = if wants_none && is_empty && !calls.is_empty() { Value::from(()) } else { content };
        fields.push(("content", content));
        if !reasoning.is_empty() {
            fields.push(("reasoning_content", Value::from(self.defuse(&reasoning))));
        }
        if !calls.is_empty() {
            fields.push(("tool_calls", Value::from(calls)));
        }
        all.push(Value::from_pairs(fields));
        Ok(())
    }

    fn call(&self, call: &loquat_core::ToolCall) -> Value {
        let arguments = self.defuse(&call.arguments);
        // An object where it is one, as templates expect; a cut or foolish text is shown as it is.
        let arguments = match serde_json::from_str::<Value>(&arguments) {
            Ok(value) if value.kind() == minijinja::value::ValueKind::Map => value,
            _ => Value::from(arguments),
        };
        let function =
            Value::from_pairs([("name", Value::from(self.defuse(&call.name))), ("arguments", arguments)]);
        Value::from_pairs([
            ("id", Value::from(self.defuse(&call.id))),
            ("type", Value::from("function")),
            ("function", function),
        ])
    }

    fn list(&self, message: &Message) -> Value {
        let items = message.parts.iter().filter_map(|part| match part {
            Part::Text(text) | Part::Refusal(text) => Some(Value::from_pairs([
                ("type", Value::from("text")),
                ("text", Value::from(self.defuse(text))),
            ])),
            Part::Image(_) => Some(Value::from_pairs([("type", Value::from("image"))])),
            Part::Audio(_) => Some(Value::from_pairs([("type", Value::from("audio"))])),
            _ => None,
        });
        Value::from(items.collect::<Vec<_>>())
    }

    /// The variable `tools`: OpenAI's form, which templates know.
    pub(super) fn tools(&self, chat: &Chat<'_>) -> Result<Value, TemplateError> {
        if chat.tools.is_empty() {
            return Ok(Value::from(()));
        }
        let tool = |tool: &loquat_core::Tool| {
            let parameters =
                serde_json::from_str::<Value>(&self.defuse(tool.parameters.as_str())).map_err(|_| {
                    let what = format!("the schema of the tool `{}` is no JSON", tool.name);
                    TemplateError::new(Kind::Data, super::jinja::NAME, what)
                })?;
            let function = Value::from_pairs([
                ("name", Value::from(self.defuse(&tool.name))),
                ("description", Value::from(self.defuse(&tool.description))),
                ("parameters", parameters),
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

fn each_text(chat: &Chat<'_>, see: &mut impl FnMut(&str)) {
    for part in chat.messages.iter().flat_map(|message| &message.parts) {
        match part {
            Part::Text(text) | Part::Refusal(text) => see(text),
            Part::Reasoning(reasoning) => see(&reasoning.text),
            Part::ToolCall(call) => {
                [&call.id, &call.name, &call.arguments].into_iter().for_each(|text| see(text));
            }
            Part::ToolResult(result) => {
                [&result.call_id, &result.name, &result.content].into_iter().for_each(|text| see(text));
            }
            _ => {}
        }
    }
    for tool in chat.tools {
        [tool.name.as_str(), tool.description.as_str(), tool.parameters.as_str()]
            .into_iter()
            .for_each(&mut *see);
    }
}
