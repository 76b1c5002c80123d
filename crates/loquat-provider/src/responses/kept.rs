//! What an item has besides what is told of it: its name, its phase, its citations. The format takes all of that back.
//!
//! A message or a call that is complete leaves an opaque part behind it: the item without its words, of which there is the
//! length instead. On the way back the words are put in again, if they are still the same length; a text that somebody has
//! changed goes back without, as citations point into it by number, and without the thoughts before it, which are not taken alone.
//! What else those thoughts led to goes back without its name, under which it is not taken without them.

use serde_json::{Map, Value};

/// The item without its words, as JSON. `None` where there is nothing to keep: no name, or no item of these kinds.
pub(super) fn rest(raw: &str) -> Option<String> {
    let mut item: Map<String, Value> = serde_json::from_str(raw).ok()?;
    if item.get("id")?.as_str()?.is_empty() {
        return None;
    }
    match item.get("type")?.as_str()? {
        "message" => {
            for part in item.get_mut("content")?.as_array_mut()? {
                let part = part.as_object_mut()?;
                if let Some(logprobs) = part.get_mut("logprobs") {
                    *logprobs = Value::Array(Vec::new());
                }
                for words in ["text", "refusal"] {
                    if let Some(words) = part.get_mut(words) {
                        *words = words.as_str()?.len().into();
                    }
                }
            }
        }
        "function_call" | "custom_tool_call" => {
            ["name", "arguments", "input"].iter().for_each(|words| drop(item.remove(*words)));
        }
        _ => return None,
    }
    item.retain(|_, value| !value.is_null());
    Some(Value::Object(item).to_string())
}

/// An opaque part of this format that [`rest`] made.
pub(super) enum Kept {
    /// Of a message.
    Message(Map<String, Value>),
    /// Of a call.
    Call(Map<String, Value>),
}

impl Kept {
    /// `None` for a whole item, which goes back as it is.
    pub(super) fn read(json: &str) -> Option<Self> {
        let item: Map<String, Value> = serde_json::from_str(json).ok()?;
        match item.get("type")?.as_str()? {
            "message" => Some(Self::Message(item)),
            "function_call" | "custom_tool_call" => Some(Self::Call(item)),
            _ => None,
        }
    }
}

/// Words that were told: a text, or a refusal.
#[derive(Debug, Clone, Copy)]
pub(super) enum Words<'a> {
    Text(&'a str),
    Refusal(&'a str),
}

/// The message with its words in it again. `None` if they are not what they were.
pub(super) fn message(mut item: Map<String, Value>, told: &[Words<'_>]) -> Option<Map<String, Value>> {
    let mut told = told.iter().copied();
    let mut left = None;
    for part in item.get_mut("content")?.as_array_mut()? {
        for (member, is_text) in [("text", true), ("refusal", false)] {
            let Some(words) = part.get_mut(member) else { continue };
            let bytes = usize::try_from(words.as_u64()?).ok()?;
            if bytes == 0 {
                *words = "".into();
                continue;
            }
            let (known, all) = match left.take().or_else(|| told.next())? {
                Words::Text(all) => (true, all),
                Words::Refusal(all) => (false, all),
            };
            let (here, after) = all.split_at_checked(bytes).filter(|_| known == is_text)?;
            *words = here.into();
            left = match is_text {
                _ if after.is_empty() => None,
                true => Some(Words::Text(after)),
                false => Some(Words::Refusal(after)),
            };
        }
    }
    (left.is_none() && told.next().is_none()).then_some(item)
}

/// The call with its words in it again.
pub(super) fn call(mut item: Map<String, Value>, name: &str, arguments: &str) -> Map<String, Value> {
    let member = if is_custom(&item) { "input" } else { "arguments" };
    item.insert("name".to_owned(), name.into());
    item.insert(member.to_owned(), arguments.into());
    item
}

/// Whether the call's arguments are free text.
pub(super) fn is_custom(item: &Map<String, Value>) -> bool {
    item.get("type").and_then(Value::as_str) == Some("custom_tool_call")
}
