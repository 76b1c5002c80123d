//! The chat template that a GGUF carries: a conversation as the ids that the model was trained on.
//!
//! The program itself is run, within bounds, by `loquat-prompt`, which also keeps a user from writing control tokens. Here is what
//! the embedded engine adds: it reads text only, and puts the beginning token first.

use std::time::SystemTime;

use loquat_core::{Error, ErrorKind, Message, Part};
use loquat_prompt::{
    Tokenizer as _,
    template::{
        TemplateErrorKind,
        chat::{self, Chat},
    },
};

use crate::error::{Result, invalid, local, unsupported};
use crate::gguf::Gguf;
use crate::tokenizer::{Spelled, Tokenizer};

/// Used where the file has none: ChatML, which most instruction-tuned models of this size understand.
const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + \
                      '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// A compiled template.
#[derive(Debug)]
pub(crate) struct ChatTemplate(chat::ChatTemplate);

impl ChatTemplate {
    pub(crate) fn read(file: &Gguf, spelled: &Spelled) -> Result<Self> {
        let source = file.text("tokenizer.chat_template").unwrap_or(CHATML);
        let shown = file.path().display();
        let template = chat::ChatTemplate::try_new(source, spelled.beginning.as_str(), spelled.end.as_str());
        template.map(Self).map_err(|error| match error.kind() {
            TemplateErrorKind::TooLarge => invalid(format!("{shown}: {error}")),
            _ => local(format!("{shown}: its chat template does not compile"), error),
        })
    }

    /// The prompt's token ids, up to and including the opening of the assistant's turn.
    ///
    /// # Errors
    /// A message has parts that are no text; or the template fails, for example over the order of roles.
    pub(crate) fn encode(&self, messages: &[Message], tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        messages.iter().try_for_each(only_text)?;
        let mut chat = Chat::new(messages);
        // Some templates write the day into the system's turn.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok();
        if let Some(seconds) = now.and_then(|now| i64::try_from(now.as_secs()).ok()) {
            chat = chat.with_now(seconds);
        }
        // The error shows lines of the template, not the messages.
        let rendered = self.0.render(&chat, Some(tokenizer)).map_err(|e| {
            Error::new(ErrorKind::InvalidRequest, "the model's chat template refused the messages")
                .with_source(e)
        })?;
        let mut ids = Vec::with_capacity(rendered.text().len() / 3 + 1);
        ids.extend(tokenizer.beginning());
        tokenizer.encode_prompt(&rendered.pieces(), &mut ids)?;
        // A template that spells the beginning out itself gets one, not two.
        if let [first, second, ..] = ids.as_slice()
            && tokenizer.beginning() == Some(*first)
            && first == second
        {
            ids.remove(0);
        }
        Ok(ids)
    }
}

fn only_text(message: &Message) -> Result<()> {
    for part in &message.parts {
        match part {
            Part::Text(_) | Part::Refusal(_) | Part::Reasoning(_) => {}
            other => {
                let kind = match other {
                    Part::Image(_) => "an image",
                    Part::Audio(_) => "audio",
                    Part::File(_) => "a file",
                    Part::ToolCall(_) | Part::ToolResult(_) => "a tool call or result",
                    _ => "a part",
                };
                return Err(unsupported(format!(
                    "the embedded engine reads text only; a message holds {kind}"
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_is_refused_by_name() {
        let image = Part::Image(loquat_core::Media::url("https://example.com/a.png"));
        let error = only_text(&Message::user("look").with_part(image)).unwrap_err();
        assert!(error.to_string().contains("an image"), "{error}");
    }
}
