//! Answers as bytes: recorded while they pass, and played again as the stream they were.
//!
//! An answer is recorded only when it has finished. What was spent on it then is no usage of the replay, which cost nothing: it is
//! told apart, as the detail `cached_usage`.

use std::{
    mem,
    task::{Context, Poll, ready},
};

use loquat_core::{Delta, Ending, FinishReason, OwnedDelta, Source, Step, Usage};

use super::codec::{Reader, write_number, write_text};

/// What became of an answer.
pub(super) enum Outcome {
    /// It has finished: this is it.
    Whole(Vec<u8>),
    /// It is too long or holds what cannot be kept, and may still be under way.
    Unkept,
    /// It ended otherwise, or was dropped.
    Cut,
}

/// What is to be done when that is known.
pub(super) type Done = Box<dyn FnOnce(Outcome) + Send>;

/// Passes an answer on and writes it down.
pub(super) struct Recording {
    inner: Box<dyn Source>,
    /// What has passed, until it is known what becomes of it.
    bytes: Vec<u8>,
    max_bytes: usize,
    /// `None` once it has been told, and then nothing is written down.
    done: Option<Done>,
}

impl Recording {
    pub(super) fn new(inner: Box<dyn Source>, max_bytes: usize, done: Done) -> Self {
        Self { inner, bytes: Vec::new(), max_bytes, done: Some(done) }
    }

    fn tell(&mut self, outcome: Outcome) {
        self.bytes = Vec::new();
        if let Some(done) = self.done.take() {
            done(outcome);
        }
    }
}

impl Source for Recording {
    fn poll_advance(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let step = ready!(self.inner.poll_advance(cx));
        if self.done.is_none() {
            return Poll::Ready(step);
        }
        match &step {
            Step::Delta => {
                let written = write(self.inner.current(), &mut self.bytes);
                if written.is_none() || self.bytes.len() > self.max_bytes {
                    self.tell(Outcome::Unkept);
                }
            }
            Step::End(Ending::Finished { reason, usage }) => {
                self.bytes.push(END);
                write_text(reason.as_str(), &mut self.bytes);
                let counts = [
                    usage.input_tokens,
                    usage.output_tokens,
                    usage.cache_read_tokens,
                    usage.cache_write_tokens,
                    usage.reasoning_tokens,
                ];
                counts.into_iter().for_each(|count| write_number(count, &mut self.bytes));
                let fits = self.bytes.len() <= self.max_bytes;
                let bytes = mem::take(&mut self.bytes);
                self.tell(if fits { Outcome::Whole(bytes) } else { Outcome::Unkept });
            }
            Step::End(_) => self.tell(Outcome::Cut),
        }
        Poll::Ready(step)
    }

    fn current(&self) -> Delta<'_> {
        self.inner.current()
    }

    fn warm(&mut self) {
        self.inner.warm();
    }

    fn arrived(&self) -> Option<std::time::Instant> {
        self.inner.arrived()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.tell(Outcome::Cut);
    }
}

const END: u8 = 255;

fn write(delta: Delta<'_>, to: &mut Vec<u8>) -> Option<()> {
    let mut put = |tag: u8, numbers: &[u32], texts: &[&str]| {
        to.push(tag);
        numbers.iter().for_each(|number| write_number(u64::from(*number), to));
        texts.iter().for_each(|text| write_text(text, to));
    };
    match delta {
        Delta::Start { id, model } => put(0, &[], &[id, model]),
        Delta::Text { choice, text } => put(1, &[choice], &[text]),
        Delta::Reasoning { choice, text } => put(2, &[choice], &[text]),
        Delta::ReasoningSignature { choice, signature, redacted, format } => {
            put(12, &[choice, u32::from(redacted)], &[signature, format]);
        }
        Delta::Refusal { choice, text } => put(4, &[choice], &[text]),
        Delta::ToolCall { choice, call, id, name } => put(5, &[choice, call], &[id, name]),
        Delta::ToolArguments { choice, call, fragment } => put(6, &[choice, call], &[fragment]),
        Delta::ToolSignature { choice, call, signature } => put(7, &[choice, call], &[signature]),
        Delta::Opaque { choice, format, json } => put(8, &[choice], &[format, json]),
        Delta::Detail { choice, name, json } => put(9, &[choice], &[name, json]),
        Delta::ChoiceEnd { choice, reason } => put(10, &[choice], &[reason.as_str()]),
        Delta::Raw { event, data } => put(11, &[], &[event, data]),
        // Pictures and sound are large, and a delta that is newer than this code would be lost.
        _ => return None,
    }
    Some(())
}

/// An answer played again.
#[derive(Debug)]
pub(super) struct Replay {
    deltas: std::vec::IntoIter<OwnedDelta>,
    current: Option<OwnedDelta>,
    ending: Option<Ending>,
}

impl Replay {
    /// `None` for bytes that are no whole answer.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let mut deltas = Vec::new();
        loop {
            let (tag, rest) = reader.0.split_first()?;
            reader.0 = rest;
            if *tag == END {
                break;
            }
            deltas.push(read(*tag, &mut reader)?);
        }
        let reason = reason(reader.text()?);
        let mut usage = Usage::default();
        for count in [
            &mut usage.input_tokens,
            &mut usage.output_tokens,
            &mut usage.cache_read_tokens,
            &mut usage.cache_write_tokens,
            &mut usage.reasoning_tokens,
        ] {
            *count = reader.number()?;
        }
        if !reader.0.is_empty() {
            return None;
        }
        let json = format!(
            r#"{{"input_tokens":{},"output_tokens":{},"cache_read_tokens":{},"cache_write_tokens":{},"reasoning_tokens":{}}}"#,
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
            usage.reasoning_tokens
        );
        deltas.push(OwnedDelta::Detail { choice: 0, name: "cached_usage".to_owned(), json });
        let ending = Some(Ending::Finished { reason, usage: Usage::default() });
        Some(Self { deltas: deltas.into_iter(), current: None, ending })
    }
}

fn read(tag: u8, reader: &mut Reader<'_>) -> Option<OwnedDelta> {
    let number = |reader: &mut Reader<'_>| u32::try_from(reader.number()?).ok();
    let text = |reader: &mut Reader<'_>| reader.text().map(str::to_owned);
    Some(match tag {
        0 => OwnedDelta::Start { id: text(reader)?, model: text(reader)? },
        1 => OwnedDelta::Text { choice: number(reader)?, text: text(reader)? },
        2 => OwnedDelta::Reasoning { choice: number(reader)?, text: text(reader)? },
        4 => OwnedDelta::Refusal { choice: number(reader)?, text: text(reader)? },
        5 => OwnedDelta::ToolCall {
            choice: number(reader)?,
            call: number(reader)?,
            id: text(reader)?,
            name: text(reader)?,
        },
        6 => OwnedDelta::ToolArguments {
            choice: number(reader)?,
            call: number(reader)?,
            fragment: text(reader)?,
        },
        7 => OwnedDelta::ToolSignature {
            choice: number(reader)?,
            call: number(reader)?,
            signature: text(reader)?,
        },
        8 => OwnedDelta::Opaque { choice: number(reader)?, format: text(reader)?, json: text(reader)? },
        9 => OwnedDelta::Detail { choice: number(reader)?, name: text(reader)?, json: text(reader)? },
        10 => OwnedDelta::ChoiceEnd { choice: number(reader)?, reason: reason(reader.text()?) },
        11 => OwnedDelta::Raw { event: text(reader)?, data: text(reader)? },
        // 3 was the same without the format.
        3 | 12 => {
            let (choice, redacted, signature) = (number(reader)?, number(reader)? != 0, text(reader)?);
            let format = if tag == 12 { text(reader)? } else { String::new() };
            OwnedDelta::ReasoningSignature { choice, signature, redacted, format }
        }
        _ => return None,
    })
}

fn reason(word: &str) -> FinishReason {
    let known = [
        FinishReason::Stop,
        FinishReason::Length,
        FinishReason::ToolCalls,
        FinishReason::ContentFilter,
        FinishReason::Refusal,
    ];
    known
        .into_iter()
        .find(|reason| reason.as_str() == word)
        .unwrap_or_else(|| FinishReason::Other(word.to_owned()))
}

impl Source for Replay {
    fn poll_advance(&mut self, _: &mut Context<'_>) -> Poll<Step> {
        self.current = self.deltas.next();
        Poll::Ready(match (&self.current, self.ending.take()) {
            (Some(_), ending) => {
                self.ending = ending;
                Step::Delta
            }
            (None, Some(ending)) => Step::End(ending),
            (None, None) => Step::End(Ending::Truncated { cause: None }),
        })
    }

    fn current(&self) -> Delta<'_> {
        self.current.as_ref().map_or(Delta::Start { id: "", model: "" }, OwnedDelta::as_delta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(format: &str) -> OwnedDelta {
        let (signature, format) = ("s".to_owned(), format.to_owned());
        OwnedDelta::ReasoningSignature { choice: 1, signature, redacted: true, format }
    }

    /// Answers that were kept before seals had a format are still played.
    #[test]
    fn seals_are_played_with_their_format_and_without() {
        let mut bytes = Vec::new();
        write(signature("f").as_delta(), &mut bytes).expect("can be kept");
        let mut old = vec![3];
        (0..2).for_each(|_| write_number(1, &mut old));
        write_text("s", &mut old);
        for (bytes, format) in [(bytes, "f"), (old, "")] {
            let (tag, rest) = bytes.split_first().expect("a tag");
            let mut reader = Reader(rest);
            assert_eq!(read(*tag, &mut reader), Some(signature(format)));
            assert!(reader.0.is_empty());
        }
    }
}
