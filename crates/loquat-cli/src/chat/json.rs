//! An answer as JSON: one object per line, for programs. `type` says which delta it is; the last line is always the
//! one of type `end`.

use std::io::{self, Write as _};

use loquat::{Delta, Ending, Usage};
use serde::Serialize;

use crate::{
    console::Console,
    exit::Exit,
    json::{ErrorLine, to_json},
};

use super::ask::{Asked, Outcome, Show};

/// A line.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Start { id: &'a str, model: &'a str },
    Text { choice: u32, text: &'a str },
    Reasoning { choice: u32, text: &'a str },
    ReasoningSignature { choice: u32, signature: &'a str, redacted: bool, format: &'a str },
    Refusal { choice: u32, text: &'a str },
    ToolCall { choice: u32, call: u32, id: &'a str, name: &'a str },
    ToolArguments { choice: u32, call: u32, fragment: &'a str },
    ChoiceEnd { choice: u32, reason: &'a str },
    Raw { event: &'a str, data: &'a str },
    End(End<'a>),
}

/// The last line.
#[derive(Debug, Serialize)]
#[serde(tag = "ending", rename_all = "snake_case")]
enum End<'a> {
    Finished { reason: &'a str, usage: Option<UsageLine>, request_id: Option<&'a str> },
    Truncated { error: ErrorLine },
    Failed { error: ErrorLine },
}

/// Tokens as the provider counted them.
#[derive(Debug, Serialize)]
struct UsageLine {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_tokens: u64,
    cache_write_tokens: u64,
    reasoning_tokens: u64,
}

/// Writes lines to stdout.
#[derive(Debug)]
pub(crate) struct JsonLines {
    buffer: String,
}

impl JsonLines {
    pub(crate) fn stdout() -> Self {
        Self { buffer: String::new() }
    }

    /// Writes the last line and gives the exit code. An error goes to stderr, too, for the person who looks on.
    pub(crate) fn end(&mut self, asked: &Asked, console: &Console) -> Exit {
        let error = asked.error();
        let written = match (&asked.outcome, &error) {
            (Outcome::Unwritable(_), _) => Ok(()),
            (Outcome::Ended(Ending::Finished { reason, usage }), _) => {
                self.write(&Line::End(End::Finished {
                    reason: reason.as_str(),
                    usage: usage_line(usage),
                    request_id: asked.response.request_id.as_deref(),
                }))
            }
            (Outcome::Ended(Ending::Truncated { .. }), Some(error)) => {
                self.write(&Line::End(End::Truncated { error: ErrorLine::new(error, console) }))
            }
            (_, Some(error)) => self.write(&Line::End(End::Failed { error: ErrorLine::new(error, console) })),
            (_, None) => Ok(()),
        };
        match (error, written) {
            (Some(error), _) => {
                console.error(&error);
                Exit::of(&error)
            }
            (None, Err(cause)) => {
                let unwritable = Asked { outcome: Outcome::Unwritable(cause), response: Default::default() };
                unwritable.tell(console)
            }
            (None, Ok(())) => asked.exit(),
        }
    }

    fn write(&mut self, line: &Line<'_>) -> io::Result<()> {
        self.buffer = to_json(line)?;
        self.buffer.push('\n');
        let mut out = io::stdout().lock();
        out.write_all(self.buffer.as_bytes())?;
        out.flush()
    }
}

impl Show for JsonLines {
    fn show(&mut self, delta: &Delta<'_>) -> io::Result<()> {
        let line = match *delta {
            Delta::Start { id, model } => Line::Start { id, model },
            Delta::Text { choice, text } => Line::Text { choice, text },
            Delta::Reasoning { choice, text } => Line::Reasoning { choice, text },
            Delta::ReasoningSignature { choice, signature, redacted, format } => {
                Line::ReasoningSignature { choice, signature, redacted, format }
            }
            Delta::Refusal { choice, text } => Line::Refusal { choice, text },
            Delta::ToolCall { choice, call, id, name } => Line::ToolCall { choice, call, id, name },
            Delta::ToolArguments { choice, call, fragment } => Line::ToolArguments { choice, call, fragment },
            Delta::ChoiceEnd { choice, reason } => Line::ChoiceEnd { choice, reason: reason.as_str() },
            Delta::Raw { event, data } => Line::Raw { event, data },
            _ => return Ok(()),
        };
        self.write(&line)
    }
}

fn usage_line(usage: &Usage) -> Option<UsageLine> {
    (!usage.is_unknown()).then_some(UsageLine {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cache_read_tokens: usage.cache_read_tokens,
        cache_write_tokens: usage.cache_write_tokens,
        reasoning_tokens: usage.reasoning_tokens,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_names_ending_and_reason() {
        let end = Line::End(End::Finished { reason: "stop", usage: None, request_id: None });
        let text = to_json(&end).expect("strings");
        assert_eq!(
            text,
            r#"{"type":"end","ending":"finished","reason":"stop","usage":null,"request_id":null}"#
        );
    }
}
