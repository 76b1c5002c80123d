//! The saved form, version 1: JSON, with words of its own for every kind of part.
//!
//! Apart from `loquat-core`'s types, so that those may change and old files stay readable. The version is looked at before
//! anything else is.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use loquat_core::{
    Error, ErrorKind, Media, MediaSource, Message, Opaque, Part, Reasoning, Result, Role, ToolCall,
    ToolResult,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    NodeId,
    conversation::{Conversation, Node},
};

const VERSION: u64 = 1;
/// The member that holds the version, by which a file is known for what it is.
const MARK: &str = "loquat_conversation";

#[derive(Serialize, Deserialize)]
struct Saved {
    #[serde(rename = "loquat_conversation")]
    version: u64,
    head: Option<u32>,
    messages: Vec<SavedNode>,
}

#[derive(Serialize, Deserialize)]
struct SavedNode {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<u32>,
    role: SavedRole,
    parts: Vec<SavedPart>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SavedRole {
    System,
    User,
    Assistant,
    Tool,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum SavedPart {
    Text {
        text: String,
    },
    Refusal {
        text: String,
    },
    Image(SavedMedia),
    Audio(SavedMedia),
    File(SavedMedia),
    ToolCall {
        id: String,
        name: String,
        arguments: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
    },
    ToolResult {
        call_id: String,
        name: String,
        content: String,
        #[serde(default)]
        is_error: bool,
    },
    Reasoning {
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
        #[serde(default)]
        redacted: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        format: Option<String>,
    },
    Opaque {
        format: String,
        json: String,
    },
}

#[derive(Serialize, Deserialize)]
struct SavedMedia {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(flatten)]
    source: SavedSource,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SavedSource {
    Base64(String),
    Url(String),
    FileId(String),
}

pub(crate) fn write(conversation: &Conversation) -> Result<String> {
    let messages = conversation.nodes.iter().map(|node| {
        let role = match node.message.role {
            Role::System => SavedRole::System,
            Role::User => SavedRole::User,
            Role::Assistant => SavedRole::Assistant,
            Role::Tool => SavedRole::Tool,
            _ => return Err(unwritten("role")),
        };
        let parts = node.message.parts.iter().map(saved_part).collect::<Result<_>>()?;
        Ok(SavedNode { parent: node.parent.map(|parent| parent.0), role, parts })
    });
    let messages = messages.collect::<Result<_>>()?;
    let saved = Saved { version: VERSION, head: conversation.head.map(|head| head.0), messages };
    serde_json::to_string(&saved).map_err(|error| {
        Error::new(ErrorKind::Internal, "the conversation cannot be written").with_source(error)
    })
}

pub(crate) fn read(text: &str) -> Result<Conversation> {
    let document: Value = serde_json::from_str(text).map_err(|error| {
        // Serde's own words may quote the text.
        let (line, column) = (error.line(), error.column());
        invalid(format!("no saved conversation: not valid JSON at line {line}, column {column}"))
    })?;
    match document.get(MARK).and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(version) => {
            let message =
                format!("the conversation was saved in version {version}; this build reads {VERSION}");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        None => return Err(invalid(format!("no saved conversation: no version under {MARK:?}"))),
    }
    let known = |kind: &str| invalid(format!("a saved conversation that was damaged: {kind}"));
    // Taken for none, they would be none from the next saving on.
    let messages = document.get("messages").and_then(Value::as_array);
    let messages = messages.ok_or_else(|| known("its messages are no list"))?;
    // One by one, so that an error names the message and quotes none.
    let head: Option<u32> = Option::deserialize(document.get("head").unwrap_or(&Value::Null))
        .map_err(|_| known("its head is no number"))?;
    let mut conversation = Conversation { nodes: Vec::with_capacity(messages.len()), head: head.map(NodeId) };
    for (position, saved) in messages.iter().enumerate() {
        let damaged = || known(&format!("messages[{position}]"));
        let saved = SavedNode::deserialize(saved).map_err(|_| damaged())?;
        if saved.parent.is_some_and(|parent| parent as usize >= position) {
            return Err(damaged());
        }
        let role = match saved.role {
            SavedRole::System => Role::System,
            SavedRole::User => Role::User,
            SavedRole::Assistant => Role::Assistant,
            SavedRole::Tool => Role::Tool,
        };
        let parts = saved.parts.into_iter().map(part).collect::<Option<_>>().ok_or_else(damaged)?;
        let message = Message::new(role, parts);
        conversation.nodes.push(Node { parent: saved.parent.map(NodeId), message });
    }
    if conversation.head.is_some_and(|head| head.0 as usize >= conversation.nodes.len()) {
        return Err(known("its head is none of its messages"));
    }
    Ok(conversation)
}

fn saved_part(part: &Part) -> Result<SavedPart> {
    Ok(match part {
        Part::Text(text) => SavedPart::Text { text: text.clone() },
        Part::Refusal(text) => SavedPart::Refusal { text: text.clone() },
        Part::Image(media) => SavedPart::Image(saved_media(media)?),
        Part::Audio(media) => SavedPart::Audio(saved_media(media)?),
        Part::File(media) => SavedPart::File(saved_media(media)?),
        Part::ToolCall(call) => SavedPart::ToolCall {
            id: call.id.clone(),
            name: call.name.clone(),
            arguments: call.arguments.clone(),
            signature: call.signature.clone(),
        },
        Part::ToolResult(result) => SavedPart::ToolResult {
            call_id: result.call_id.clone(),
            name: result.name.clone(),
            content: result.content.clone(),
            is_error: result.is_error,
        },
        Part::Reasoning(thoughts) => SavedPart::Reasoning {
            text: thoughts.text.clone(),
            signature: thoughts.signature.clone(),
            redacted: thoughts.redacted,
            format: thoughts.format.clone(),
        },
        Part::Opaque(opaque) => {
            SavedPart::Opaque { format: opaque.format.clone(), json: opaque.json.as_str().to_owned() }
        }
        _ => return Err(unwritten("part")),
    })
}

fn part(saved: SavedPart) -> Option<Part> {
    Some(match saved {
        SavedPart::Text { text } => Part::Text(text),
        SavedPart::Refusal { text } => Part::Refusal(text),
        SavedPart::Image(saved) => Part::Image(media(saved)?),
        SavedPart::Audio(saved) => Part::Audio(media(saved)?),
        SavedPart::File(saved) => Part::File(media(saved)?),
        SavedPart::ToolCall { id, name, arguments, signature } => {
            let mut call = ToolCall::new(id, name, arguments);
            call.signature = signature;
            Part::ToolCall(call)
        }
        SavedPart::ToolResult { call_id, name, content, is_error } => {
            let mut result = ToolResult::new(&ToolCall::new(call_id, name, ""), content);
            result.is_error = is_error;
            Part::ToolResult(result)
        }
        SavedPart::Reasoning { text, signature, redacted, format } => {
            let mut thoughts = Reasoning::new(text);
            (thoughts.signature, thoughts.redacted, thoughts.format) = (signature, redacted, format);
            Part::Reasoning(thoughts)
        }
        SavedPart::Opaque { format, json } => Part::Opaque(Opaque::new(format, json)),
    })
}

fn saved_media(media: &Media) -> Result<SavedMedia> {
    let source = match &media.source {
        MediaSource::Bytes(bytes) => SavedSource::Base64(STANDARD.encode(bytes)),
        MediaSource::Url(url) => SavedSource::Url(url.clone()),
        MediaSource::FileId(id) => SavedSource::FileId(id.clone()),
        _ => return Err(unwritten("source of media")),
    };
    Ok(SavedMedia { media_type: media.media_type.clone(), name: media.name.clone(), source })
}

fn media(saved: SavedMedia) -> Option<Media> {
    let source = match saved.source {
        SavedSource::Base64(text) => MediaSource::Bytes(STANDARD.decode(text).ok()?.into()),
        SavedSource::Url(url) => MediaSource::Url(url),
        SavedSource::FileId(id) => MediaSource::FileId(id),
    };
    Some(Media { media_type: saved.media_type, source, name: saved.name })
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidRequest, message)
}

fn unwritten(what: &str) -> Error {
    let message = format!("the saved form of version {VERSION} has no word for this kind of {what}");
    Error::new(ErrorKind::Unsupported, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn everything() -> Vec<Part> {
        let mut call = ToolCall::new("c", "f", "{\"x\":");
        call.signature = Some("s".into());
        let mut hidden = Reasoning::new("").with_signature("blob").with_format("anthropic");
        hidden.redacted = true;
        let mut named = Media::bytes("application/pdf", vec![0, 255, 7]);
        named.name = Some("a.pdf".into());
        let by_id = Media { media_type: String::new(), source: MediaSource::FileId("f1".into()), name: None };
        vec![
            Part::Text("é\u{0}\"".into()),
            Part::Refusal("no".into()),
            Part::Image(Media::url("https://a/b")),
            Part::Audio(by_id),
            Part::File(named),
            Part::ToolResult(ToolResult::new(&call, "1").with_error()),
            Part::ToolCall(call),
            Part::Reasoning(Reasoning::new("hm")),
            Part::Reasoning(hidden),
            Part::Opaque(Opaque::new("anthropic", "{ \"a\" : 1.0 }")),
        ]
    }

    #[test]
    fn every_part_comes_back_as_it_was() {
        let mut talk = Conversation::new();
        for role in [Role::System, Role::User, Role::Assistant, Role::Tool] {
            talk.push(Message::new(role, everything()));
        }
        let text = talk.save().expect("all have words");
        assert_eq!(Conversation::load(&text), Ok(talk));
    }

    #[test]
    fn a_file_of_version_1_is_read_for_ever() {
        // Written by hand, not by this build: what is out there does not change with it.
        let text = r#"{"loquat_conversation":1,"head":2,"later":"ignored","messages":[
            {"role":"user","parts":[{"type":"text","text":"hi"}]},
            {"parent":0,"role":"assistant","parts":[{"type":"reasoning","text":"","signature":"s"},
                {"type":"tool_call","id":"c","name":"f","arguments":"{}"}]},
            {"parent":1,"role":"tool","parts":[{"type":"tool_result","call_id":"c","name":"f","content":"1"}]}]}"#;
        let talk = Conversation::load(text).expect("version 1");
        assert_eq!(talk.messages().len(), 3);
    }

    #[test]
    fn what_is_none_is_refused_and_not_quoted() {
        let node = r#"{"role":"user","parts":[{"type":"text","text":"private"}]}"#;
        for (text, kind, words) in [
            (
                r#"{"loquat_conversation":2,"messages":"private"}"#.to_owned(),
                ErrorKind::Unsupported,
                "version 2",
            ),
            (r#"{"messages":[]}"#.to_owned(), ErrorKind::InvalidRequest, "no version"),
            (r#"{"loquat_conversation":1}"#.to_owned(), ErrorKind::InvalidRequest, "no list"),
            (
                r#"{"loquat_conversation":1,"messages":{"private":1}}"#.to_owned(),
                ErrorKind::InvalidRequest,
                "no list",
            ),
            (r#"{"loquat_conversation":1,"messages":null}"#.to_owned(), ErrorKind::InvalidRequest, "no list"),
            ("private".to_owned(), ErrorKind::InvalidRequest, "not valid JSON at line 1"),
            (
                r#"{"loquat_conversation":1,"messages":[{"role":"private"}]}"#.to_owned(),
                ErrorKind::InvalidRequest,
                "messages[0]",
            ),
            (
                format!(r#"{{"loquat_conversation":1,"head":1,"messages":[{node}]}}"#),
                ErrorKind::InvalidRequest,
                "head",
            ),
            (
                format!(r#"{{"loquat_conversation":1,"head":-1,"messages":[{node}]}}"#),
                ErrorKind::InvalidRequest,
                "head",
            ),
            (
                r#"{"loquat_conversation":1,"messages":[{"parent":0,"role":"user","parts":[]}]}"#.to_owned(),
                ErrorKind::InvalidRequest,
                "messages[0]",
            ),
        ] {
            let error = Conversation::load(&text).expect_err(&text);
            assert_eq!(error.kind(), kind, "{text}");
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(words) && !shown.contains("private"), "{shown}");
        }
    }

    proptest! {
        #[test]
        fn any_tree_comes_back_as_it_was(steps in prop::collection::vec((any::<u8>(), any::<u8>(), ".{0,8}"), 0..40)) {
            let mut talk = Conversation::new();
            for (step, place, text) in steps {
                let ids: Vec<_> = talk.path().iter().map(|(id, _)| *id).collect();
                let place = (!ids.is_empty()).then(|| ids[usize::from(place) % ids.len()]);
                match (step % 3, place) {
                    (0, Some(place)) => { talk.edit(place, Message::user(text)).expect("on the path"); }
                    (1, place) => talk.go_to(place).expect("on the path"),
                    _ => { talk.push(Message::assistant(text)); }
                }
            }
            prop_assert_eq!(Conversation::load(&talk.save().expect("all have words")), Ok(talk));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            drop(Conversation::load(&text));
            drop(Conversation::load(&format!("{{\"loquat_conversation\":1,\"messages\":[{text}]}}")));
        }
    }
}
