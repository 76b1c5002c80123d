//! Deltas put together into a [`Response`]: linear in what arrives, and bounded.

use std::hint::black_box;

use crate::{
    Choice, Delta, Detail, Ending, Error, ErrorKind, JsonText, Media, Opaque, Part, Reasoning, Response,
    ToolCall,
};

/// Most alternatives and most tool calls per alternative: twice what any provider's documentation allows.
const MAX_CHOICES: u32 = 256;
const MAX_TOOL_CALLS: u32 = 1024;

/// Puts deltas together. Appends only, so the whole answer costs time linear in its length.
#[derive(Debug)]
// What each delta needs comes first, and the response begins with the rest of that.
#[repr(C)]
pub struct Assembler {
    /// Bytes kept so far.
    bytes: usize,
    max_bytes: usize,
    response: Response,
    /// For each choice, the position of each tool call among the message's parts.
    calls: Vec<Vec<usize>>,
}

impl Assembler {
    /// Keeps at most that many bytes of content.
    pub fn new(max_bytes: usize) -> Self {
        Self { response: Response::default(), bytes: 0, max_bytes, calls: Vec::new() }
    }

    /// What has arrived so far.
    pub fn response(&self) -> &Response {
        &self.response
    }

    /// What has arrived, given away.
    pub fn into_response(self) -> Response {
        self.response
    }

    pub(crate) fn response_mut(&mut self) -> &mut Response {
        &mut self.response
    }

    /// Adds one delta.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] when the answer outgrows its bound, [`ErrorKind::Protocol`] for a tool call that
    /// never began. What was kept before stays.
    pub fn push(&mut self, delta: Delta<'_>) -> Result<(), Error> {
        match delta {
            Delta::Start { id, model } => {
                self.grow(id.len() + model.len())?;
                self.response.id = id.to_owned();
                self.response.model = model.to_owned();
            }
            Delta::Text { choice, text } => {
                let parts = self.parts(choice, text.len())?;
                match parts.last_mut() {
                    Some(Part::Text(whole)) => whole.push_str(text),
                    _ => parts.push(Part::Text(text.to_owned())),
                }
            }
            Delta::Refusal { choice, text } => {
                let parts = self.parts(choice, text.len())?;
                match parts.last_mut() {
                    Some(Part::Refusal(whole)) => whole.push_str(text),
                    _ => parts.push(Part::Refusal(text.to_owned())),
                }
            }
            Delta::Reasoning { choice, text } => {
                let parts = self.parts(choice, text.len())?;
                match parts.last_mut() {
                    // A signature seals what came before it: later thoughts are a part of their own.
                    Some(Part::Reasoning(whole)) if whole.signature.is_none() => whole.text.push_str(text),
                    _ => parts.push(Part::Reasoning(Reasoning::new(text))),
                }
            }
            Delta::ReasoningSignature { choice, signature, redacted, format } => {
                let parts = self.parts(choice, signature.len() + format.len())?;
                let format = Some(format).filter(|format| !format.is_empty()).map(str::to_owned);
                match parts.last_mut() {
                    Some(Part::Reasoning(open)) if open.signature.is_none() && !redacted => {
                        (open.signature, open.format) = (Some(signature.to_owned()), format);
                    }
                    _ => parts.push(Part::Reasoning(Reasoning {
                        redacted,
                        format,
                        ..Reasoning::default().with_signature(signature)
                    })),
                }
            }
            Delta::ToolCall { choice, call, id, name } => {
                let parts = self.parts(choice, id.len() + name.len())?;
                let position = parts.len();
                parts.push(Part::ToolCall(ToolCall::new(id, name, "")));
                let calls = &mut self.calls[choice as usize];
                if call as usize != calls.len() || call >= MAX_TOOL_CALLS {
                    return Err(Error::new(
                        ErrorKind::TooLarge,
                        format!("tool call {call} is out of order or beyond {MAX_TOOL_CALLS}"),
                    ));
                }
                calls.push(position);
            }
            Delta::ToolArguments { choice, call, fragment } => {
                self.choice(choice)?;
                let position = self.calls[choice as usize].get(call as usize).copied();
                let parts = self.parts(choice, fragment.len())?;
                match position.and_then(|position| parts.get_mut(position)) {
                    Some(Part::ToolCall(open)) => open.arguments.push_str(fragment),
                    _ => {
                        return Err(Error::new(
                            ErrorKind::Protocol,
                            format!("arguments for tool call {call}, which never began"),
                        ));
                    }
                }
            }
            Delta::ToolSignature { choice, call, signature } => {
                self.choice(choice)?;
                let position = self.calls[choice as usize].get(call as usize).copied();
                let parts = self.parts(choice, signature.len())?;
                if let Some(Part::ToolCall(sealed)) = position.and_then(|position| parts.get_mut(position)) {
                    sealed.signature = Some(signature.to_owned());
                }
            }
            Delta::Media { choice, media_type, data } => {
                let media = Media::bytes(media_type, data);
                let parts = self.parts(choice, data.len() + media_type.len())?;
                parts.push(match media_type.split('/').next() {
                    Some("image") => Part::Image(media),
                    Some("audio") => Part::Audio(media),
                    _ => Part::File(media),
                });
            }
            Delta::Opaque { choice, format, json } => {
                let parts = self.parts(choice, format.len() + json.len())?;
                parts.push(Part::Opaque(Opaque::new(format, json)));
            }
            Delta::Detail { choice, name, json } => {
                self.grow(name.len() + json.len())?;
                let detail = Detail { name: name.to_owned(), json: JsonText::new(json) };
                self.choice(choice)?.details.push(detail);
            }
            Delta::ChoiceEnd { choice, reason } => self.choice(choice)?.finish_reason = Some(reason.clone()),
            Delta::End(Ending::Finished { reason, usage }) => {
                self.response.usage = *usage;
                let first = self.choice(0)?;
                if first.finish_reason.is_none() {
                    first.finish_reason = Some(reason.clone());
                }
            }
            Delta::Raw { .. } | Delta::End(_) => {}
        }
        Ok(())
    }

    /// Looks at the end of the first alternative's text, and at all on the way there, so that it is on its way from memory before
    /// there is something to be added to it.
    #[inline]
    pub(crate) fn warm(&self) {
        let part = self.response.choices.first().and_then(|choice| choice.message.parts.last());
        let text = match part {
            Some(Part::Text(text) | Part::Refusal(text)) => text,
            Some(Part::Reasoning(reasoning)) => &reasoning.text,
            _ => return,
        };
        black_box(text.as_bytes().last().copied());
    }

    fn grow(&mut self, by: usize) -> Result<(), Error> {
        self.bytes = self.bytes.saturating_add(by);
        if self.bytes > self.max_bytes {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("the answer is longer than max_answer_bytes ({})", self.max_bytes),
            ));
        }
        Ok(())
    }

    fn choice(&mut self, index: u32) -> Result<&mut Choice, Error> {
        if index >= MAX_CHOICES {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("alternative {index} is beyond the bound of {MAX_CHOICES}"),
            ));
        }
        let index = index as usize;
        if self.response.choices.len() <= index {
            self.response.choices.resize_with(index + 1, Choice::default);
            self.calls.resize_with(index + 1, Vec::new);
        }
        Ok(&mut self.response.choices[index])
    }

    fn parts(&mut self, choice: u32, bytes: usize) -> Result<&mut Vec<Part>, Error> {
        self.grow(bytes)?;
        Ok(&mut self.choice(choice)?.message.parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assembled(deltas: &[Delta<'_>]) -> Result<Response, Error> {
        let mut assembler = Assembler::new(1000);
        deltas.iter().try_for_each(|delta| assembler.push(*delta))?;
        Ok(assembler.into_response())
    }

    #[test]
    fn interleaved_tool_calls_keep_apart() {
        let response = assembled(&[
            Delta::Text { choice: 0, text: "let me " },
            Delta::Text { choice: 0, text: "look" },
            Delta::ToolCall { choice: 0, call: 0, id: "a", name: "f" },
            Delta::ToolCall { choice: 0, call: 1, id: "b", name: "g" },
            Delta::ToolArguments { choice: 0, call: 0, fragment: "{\"x\"" },
            Delta::ToolArguments { choice: 0, call: 1, fragment: "{}" },
            Delta::ToolArguments { choice: 0, call: 0, fragment: ":1}" },
        ])
        .expect("well-formed");
        assert_eq!(response.text(), "let me look");
        let calls: Vec<_> = response.tool_calls().map(|c| (c.id.as_str(), c.arguments.as_str())).collect();
        assert_eq!(calls, [("a", "{\"x\":1}"), ("b", "{}")]);
    }

    #[test]
    fn a_signature_seals_the_thoughts_before_it() {
        let response = assembled(&[
            Delta::Reasoning { choice: 0, text: "one " },
            Delta::Reasoning { choice: 0, text: "two" },
            Delta::ReasoningSignature { choice: 0, signature: "s1", redacted: false, format: "f" },
            Delta::Reasoning { choice: 0, text: "three" },
            Delta::ReasoningSignature { choice: 0, signature: "hidden", redacted: true, format: "" },
        ])
        .expect("well-formed");
        let thoughts: Vec<_> = response.choices[0]
            .message
            .parts
            .iter()
            .map(|part| match part {
                Part::Reasoning(r) => {
                    (r.text.as_str(), r.signature.as_deref(), r.redacted, r.format.as_deref())
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            thoughts,
            [
                ("one two", Some("s1"), false, Some("f")),
                ("three", None, false, None),
                ("", Some("hidden"), true, None)
            ]
        );
    }

    #[test]
    fn hostile_numbers_and_sizes_are_bounded() {
        let kind = |delta: Delta<'_>| assembled(&[delta]).map_err(|e| e.kind());
        assert_eq!(kind(Delta::Text { choice: u32::MAX, text: "x" }), Err(ErrorKind::TooLarge));
        assert_eq!(kind(Delta::Text { choice: 0, text: &"x".repeat(1001) }), Err(ErrorKind::TooLarge));
        assert_eq!(
            kind(Delta::ToolCall { choice: 0, call: u32::MAX, id: "", name: "" }),
            Err(ErrorKind::TooLarge)
        );
        assert_eq!(kind(Delta::ToolArguments { choice: 0, call: 7, fragment: "" }), Err(ErrorKind::Protocol));
    }
}
