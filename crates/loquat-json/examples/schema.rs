//! A schema of one's own: what to read from the events of a format that nobody has heard of, several choices and tool calls
//! in each, all found in one pass.
//!
//! `cargo run -p loquat-json --example schema` reads a stream of its own; `< recorded.ndjson` with `-` as the argument, another.

use loquat_json::{Extractor, Fields, Found, Framer, Limits, SplitPair, ndjson};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Read, Write};

/// The fields, in the order of their pointers: a field is known by its place there.
#[derive(Clone, Copy)]
enum Field {
    Text,
    ToolName,
    ToolArguments,
    FinishReason,
    OutputTokens,
    Failure,
}

/// `*` stands for each element of an array; which, comes with what is found.
const SCHEMA: [(&str, Field); 6] = [
    ("/output/choices/*/message/content", Field::Text),
    ("/output/choices/*/message/tool_calls/*/function/name", Field::ToolName),
    ("/output/choices/*/message/tool_calls/*/function/arguments", Field::ToolArguments),
    ("/output/choices/*/finish_reason", Field::FinishReason),
    ("/usage/output_tokens", Field::OutputTokens),
    ("/failure/message", Field::Failure),
];

/// Choices and tool calls kept. A server chooses their indices, so that somebody has to choose how many are too many.
const MAX_PARTS: usize = 64;

/// What all events of an answer come to.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    /// By choice.
    texts: BTreeMap<u32, String>,
    /// By choice and position in it: name and arguments.
    calls: BTreeMap<(u32, u32), (String, String)>,
    finish_reasons: BTreeMap<u32, String>,
    output_tokens: Option<u64>,
}

impl Answer {
    fn add(&mut self, found: Found<'_>, halves: &mut BTreeMap<u32, SplitPair>) -> Result<(), Box<dyn Error>> {
        for item in found.iter() {
            let (choice, call) = (item.indices.get(0).unwrap_or(0), item.indices.get(1).unwrap_or(0));
            if self.texts.len() + self.calls.len() + self.finish_reasons.len() > MAX_PARTS {
                return Err("the answer has more parts than this program keeps".into());
            }
            let Some((_, field)) = SCHEMA.get(item.field) else { continue };
            let text = item.value.as_str();
            match (field, text) {
                // Text is cut anywhere, in the middle of a character too.
                (Field::Text, Some(delta)) => {
                    let text = self.texts.entry(choice).or_default();
                    delta.append_joined_to(text, halves.entry(choice).or_default());
                }
                (Field::ToolName, Some(name)) => {
                    name.append_to(&mut self.calls.entry((choice, call)).or_default().0)?;
                }
                (Field::ToolArguments, Some(delta)) => {
                    delta.append_to(&mut self.calls.entry((choice, call)).or_default().1)?;
                }
                (Field::FinishReason, Some(reason)) => {
                    reason.append_to(self.finish_reasons.entry(choice).or_default())?;
                }
                (Field::OutputTokens, None) => self.output_tokens = item.value.as_u64(),
                (Field::Failure, Some(_)) => return Err("the server reports a failure".into()),
                // `null`, or a type that the schema does not expect there: not ours.
                _ => {}
            }
        }
        Ok(())
    }
}

fn read_answer(mut body: impl Read) -> Result<Answer, Box<dyn Error>> {
    let fields = Fields::compile(&SCHEMA.map(|(pointer, _)| pointer))?;
    let mut json = Extractor::new(fields);
    let mut events = Framer::from(ndjson::Decoder::new(Limits::default()));
    let (mut answer, mut halves) = (Answer::default(), BTreeMap::new());
    let mut bytes = [0; 16 * 1024];
    while let length @ 1.. = body.read(&mut bytes)? {
        let mut read = &bytes[..length];
        while let Some(event) = events.next_for(&mut read, &mut json)? {
            answer.add(json.extract_event(&event)?, &mut halves)?;
        }
    }
    // A last line without a line end is whole all the same, in NDJSON.
    if let Some(event) = events.finish()? {
        answer.add(json.extract_event(&event)?, &mut halves)?;
    }
    for (choice, text) in &mut answer.texts {
        if let Some(half) = halves.get_mut(choice) {
            half.finish(text);
        }
    }
    match answer.finish_reasons.is_empty() {
        true => Err("the stream ended before it said why".into()),
        false => Ok(answer),
    }
}

const DEMO: &str = r#"{"output":{"choices":[{"message":{"content":"Ripe \ud83c"},"finish_reason":null},{"message":{"content":"It"}}]}}
{"output":{"choices":[{"message":{"content":"\udf4a"}},{"message":{"tool_calls":[{"function":{"name":"weather","arguments":"{\"at\":"}}]}}]}}
{"output":{"choices":[{"finish_reason":"stop"},{"message":{"tool_calls":[{"function":{"arguments":"\"Jinan\"}"}}]},"finish_reason":"tool_calls"}]},"usage":{"output_tokens":12}}"#;

fn main() -> Result<(), Box<dyn Error>> {
    let answer = match std::env::args().nth(1).as_deref() {
        Some("-") => read_answer(io::stdin()),
        _ => read_answer(DEMO.as_bytes()),
    }?;
    Ok(writeln!(io::stdout(), "{answer:#?}")?)
}

#[test]
fn choices_and_calls_are_told_apart() -> Result<(), Box<dyn Error>> {
    let answer = read_answer(DEMO.as_bytes())?;
    let expected = Answer {
        texts: [(0, "Ripe 🍊".into()), (1, "It".into())].into(),
        calls: [((1, 0), ("weather".into(), r#"{"at":"Jinan"}"#.into()))].into(),
        finish_reasons: [(0, "stop".into()), (1, "tool_calls".into())].into(),
        output_tokens: Some(12),
    };
    assert_eq!(answer, expected);
    assert!(read_answer(r#"{"failure":{"message":"overloaded"}}"#.as_bytes()).is_err());
    assert!(read_answer(r#"{"output":{"choices":[{"message":{"content":"cut"}}]}}"#.as_bytes()).is_err());
    Ok(())
}
