//! Interaction events, and whole interactions, into deltas.
//!
//! An answer is a list of steps: thoughts, output, calls, and steps that the server took itself, which are put together
//! from their pieces and stay parts of the message. Steps come one after the other. The first revision of the API had no steps but
//! `outputs`, each of which is one content; it is read as well (`OldKind` and the like below).

use loquat_core::{Error, ErrorKind, FinishReason, Result, Usage};
use loquat_json::{Extractor, Found, Match, Str, Value};
use serde_json::{Map, Value as Owned};

use crate::{
    DecodeLimits,
    calls::CallPiece,
    failure,
    fields::{Pick, fields},
    outbox::{Kind, Outbox, Text},
    seal::Family,
    wire::{EventError, Incoming, Wire},
};

/// The format's name in an opaque part.
pub(super) const OPAQUE: &str = "gemini-interactions";

fields! {
    EventType = "/event_type",
    Index = "/index",
    Error = "/error",
    Step = "/step",
    StepType = "/step/type",
    StepId = "/step/id",
    StepName = "/step/name",
    StepArguments = "/step/arguments",
    StepSignature = "/step/signature",
    Old = "/content",
    OldKind = "/content/type",
    OldId = "/content/id",
    OldName = "/content/name",
    OldArguments = "/content/arguments",
    OldSignature = "/content/signature",
    OldText = "/content/text",
    Delta = "/delta",
    DeltaType = "/delta/type",
    DeltaId = "/delta/id",
    DeltaName = "/delta/name",
    DeltaText = "/delta/text",
    DeltaSummary = "/delta/content/text",
    DeltaSignature = "/delta/signature",
    DeltaArguments = "/delta/arguments",
    DeltaAnnotations = "/delta/annotations",
    DeltaMediaType = "/delta/mime_type",
    DeltaData = "/delta/data",
    EndId = "/interaction/id",
    EndModel = "/interaction/model",
    EndStatus = "/interaction/status",
    EndTier = "/interaction/service_tier",
    EndError = "/interaction/error",
    EndInput = "/interaction/usage/total_input_tokens",
    EndOutput = "/interaction/usage/total_output_tokens",
    EndCached = "/interaction/usage/total_cached_tokens",
    EndThought = "/interaction/usage/total_thought_tokens",
    EndTools = "/interaction/usage/total_tool_use_tokens",
    Id = "/id",
    Model = "/model",
    Status = "/status",
    Tier = "/service_tier",
    Input = "/usage/total_input_tokens",
    OutputTokens = "/usage/total_output_tokens",
    Cached = "/usage/total_cached_tokens",
    Thought = "/usage/total_thought_tokens",
    Tools = "/usage/total_tool_use_tokens",
    Steps = "/steps",
    OneStep = "/steps/*",
    OneType = "/steps/*/type",
    OneId = "/steps/*/id",
    OneName = "/steps/*/name",
    OneArguments = "/steps/*/arguments",
    OneSignature = "/steps/*/signature",
    OneSummary = "/steps/*/summary/*/text",
    OneText = "/steps/*/content/*/text",
    OneMediaType = "/steps/*/content/*/mime_type",
    OneData = "/steps/*/content/*/data",
    OneAnnotations = "/steps/*/content/*/annotations",
    Outputs = "/outputs",
    Output = "/outputs/*",
    OutputType = "/outputs/*/type",
    OutputId = "/outputs/*/id",
    OutputName = "/outputs/*/name",
    OutputArguments = "/outputs/*/arguments",
    OutputSignature = "/outputs/*/signature",
    OutputSummary = "/outputs/*/summary/*/text",
    OutputText = "/outputs/*/text",
    OutputMediaType = "/outputs/*/mime_type",
    OutputData = "/outputs/*/data",
    OutputAnnotations = "/outputs/*/annotations",
}

/// The state of one answer.
#[derive(Debug)]
pub(super) struct Interactions {
    extractor: Extractor,
    open: Step,
    max_bytes: usize,
    /// Reused for comparing words.
    word: String,
}

/// The step that is being told.
#[derive(Debug, Default)]
enum Step {
    #[default]
    None,
    /// Thoughts: their seal, which comes before or after them, and whether there were any to read.
    Thought {
        signature: String,
        told: bool,
    },
    /// A call: the arguments it began with, in case no pieces come, and whether it had a name by then.
    Call {
        arguments: String,
        told: bool,
        begun: bool,
    },
    Output,
    /// One of the server's own, put together, and how much of it there is.
    Other {
        step: Map<String, Owned>,
        bytes: usize,
    },
}

impl Interactions {
    pub(super) fn boxed(limits: DecodeLimits) -> Result<Box<dyn Wire>> {
        Ok(Box::new(Self {
            extractor: Field::extractor()?,
            open: Step::None,
            max_bytes: limits.max_answer_bytes,
            word: String::new(),
        }))
    }
}

impl Wire for Interactions {
    fn extractor(&mut self) -> &mut Extractor {
        &mut self.extractor
    }

    fn event(&mut self, event: Incoming<'_>, out: &mut Outbox) -> Result<bool, EventError> {
        let data = event.data;
        if event.is_done() {
            self.open.close(out)?;
            out.finish();
            return Ok(true);
        }
        let Self { extractor, open, max_bytes, word } = self;
        let found = event.extract(extractor)?;
        if event.name == "error" || Field::Error.get(found).is_some_and(|error| !error.is_null()) {
            out.fail(failure::of_event(data));
            return Ok(true);
        }
        let Some(kind) = Field::EventType.text(found).map(|kind| kind.decode_lossy(word)) else {
            if Field::Steps.get(found).or(Field::Outputs.get(found)).is_none()
                && Field::Status.get(found).is_none()
            {
                out.raw(event.name, data)?;
            } else {
                whole(found, data, out)?;
            }
            return Ok(true);
        };
        match kind {
            "step.delta" | "content.delta" => delta(found, open, *max_bytes, (kind, data), out)?,
            "step.start" => {
                open.close(out)?;
                *open = Start::step(found).begin(out)?;
            }
            "content.start" => {
                open.close(out)?;
                *open = Start::content(found).begin(out)?;
                if let (Step::Output, Some(text)) = (&open, Field::OldText.text(found)) {
                    out.say(Kind::Text, 0, text)?;
                }
            }
            "step.stop" | "content.stop" => open.close(out)?,
            "interaction.created" | "interaction.start" => {
                out.start(Field::EndId.text(found), Field::EndModel.text(found))?;
            }
            "interaction.status_update" => {}
            "interaction.completed" | "interaction.complete" => {
                open.close(out)?;
                out.start(Field::EndId.text(found), Field::EndModel.text(found))?;
                usage(found, &AT_END, out);
                if let Some(tier) = Field::EndTier.get(found) {
                    out.detail(0, "service_tier", tier)?;
                }
                match Field::EndError.get(found).is_some_and(|error| !error.is_null()) {
                    true => out.fail(failure::of_event(data)),
                    false => finish(Field::EndStatus.text(found), data, out)?,
                }
                out.finish();
            }
            _ => out.raw(kind, data)?,
        }
        Ok(true)
    }
}

/// What a step begins with; of a whole interaction, what it says but its words.
#[derive(Debug, Clone, Copy, Default)]
struct Start<'e> {
    raw: Option<Value<'e>>,
    kind: Option<Str<'e>>,
    id: Option<Str<'e>>,
    name: Option<Str<'e>>,
    arguments: Option<Value<'e>>,
    signature: Option<Str<'e>>,
}

impl<'e> Start<'e> {
    fn step(found: Found<'e>) -> Self {
        Self {
            raw: Field::Step.get(found),
            kind: Field::StepType.text(found),
            id: Field::StepId.text(found),
            name: Field::StepName.text(found),
            arguments: Field::StepArguments.get(found),
            signature: Field::StepSignature.text(found),
        }
    }

    fn content(found: Found<'e>) -> Self {
        Self {
            raw: Field::Old.get(found),
            kind: Field::OldKind.text(found),
            id: Field::OldId.text(found),
            name: Field::OldName.text(found),
            arguments: Field::OldArguments.get(found),
            signature: Field::OldSignature.text(found),
        }
    }

    fn begin(self, out: &mut Outbox) -> Result<Step> {
        let Self { id, name, .. } = self;
        Ok(match self.kind.and_then(|kind| kind.borrowed()).unwrap_or_default() {
            "thought" => {
                out.think();
                let mut signature = String::new();
                if let Some(seal) = self.signature {
                    seal.append_lossy_to(&mut signature);
                }
                Step::Thought { signature, told: false }
            }
            kind if is_output(kind) => Step::Output,
            "function_call" => {
                let begun = name.is_some();
                if begun {
                    out.begin_call(0, &CallPiece { id, name, ..CallPiece::default() })?;
                    if let Some(seal) = self.signature {
                        out.seal_call(0, seal)?;
                    }
                }
                let arguments = self.arguments.map(|value| raw(value).to_owned()).unwrap_or_default();
                Step::Call { arguments, told: false, begun }
            }
            _ => {
                let text = self.raw.map(raw).unwrap_or_default();
                let step = serde_json::from_str(text).unwrap_or_default();
                Step::Other { step, bytes: text.len() }
            }
        })
    }
}

/// What the model says: the kind of a step, and those of contents in the first revision.
fn is_output(kind: &str) -> bool {
    matches!(kind, "model_output" | "text" | "image" | "audio" | "video" | "document")
}

impl Step {
    /// The step is complete.
    fn close(&mut self, out: &mut Outbox) -> Result<()> {
        match std::mem::take(self) {
            Self::Thought { signature, told } => out.seal(0, &*signature, !told, Family::Google),
            Self::Call { arguments, told: false, begun } => {
                let arguments = if arguments.starts_with('{') { &arguments } else { "{}" };
                let piece = CallPiece { arguments: Some(Text::Plain(arguments)), ..CallPiece::default() };
                if begun { out.call(0, &piece) } else { out.begin_call(0, &piece) }
            }
            Self::Other { step, .. } if !step.is_empty() => {
                out.opaque(0, OPAQUE, &Owned::Object(step).to_string())
            }
            _ => Ok(()),
        }
    }
}

fn delta(
    found: Found<'_>,
    open: &mut Step,
    max_bytes: usize,
    (kind, data): (&str, &str),
    out: &mut Outbox,
) -> Result<()> {
    match open {
        Step::Thought { signature, told } => {
            if let Some(text) = Field::DeltaSummary.text(found).or(Field::DeltaText.text(found)) {
                *told = true;
                out.say(Kind::Reasoning, 0, text)?;
            }
            if let Some(seal) = Field::DeltaSignature.text(found) {
                signature.clear();
                seal.append_lossy_to(signature);
            }
            Ok(())
        }
        Step::Call { told, begun, .. } => {
            if !*begun && let (id, Some(name)) = (Field::DeltaId.text(found), Field::DeltaName.text(found)) {
                *begun = true;
                out.begin_call(0, &CallPiece { id, name: Some(name), ..CallPiece::default() })?;
            }
            let arguments = match Field::DeltaArguments.get(found) {
                Some(Value::Str(text)) => Text::Json(text),
                Some(value @ Value::Object(_)) => Text::Plain(raw(value)),
                _ => return Ok(()),
            };
            *told |= !arguments.is_empty();
            let piece = CallPiece { arguments: Some(arguments), ..CallPiece::default() };
            if std::mem::replace(begun, true) { out.call(0, &piece) } else { out.begin_call(0, &piece) }
        }
        Step::Other { step, bytes } => {
            let text = Field::Delta.get(found).map(raw).unwrap_or_default();
            *bytes = bytes.saturating_add(text.len());
            if *bytes > max_bytes {
                return Err(Error::new(
                    ErrorKind::TooLarge,
                    format!("a step is longer than max_answer_bytes ({max_bytes})"),
                ));
            }
            let pieces: Map<String, Owned> = serde_json::from_str(text).unwrap_or_default();
            for (name, value) in pieces {
                match (step.get_mut(&name), value) {
                    (Some(Owned::Array(list)), Owned::Array(more)) => list.extend(more),
                    (_, value) => drop(step.insert(name, value)),
                }
            }
            Ok(())
        }
        Step::Output | Step::None => {
            if let Some(annotations) = Field::DeltaAnnotations.get(found) {
                out.detail(0, "citations", annotations)?;
            }
            if let Some(text) = Field::DeltaText.text(found) {
                return out.say(Kind::Text, 0, text);
            }
            let told = match Field::DeltaData.text(found).and_then(|data| data.borrowed()) {
                Some(data) => out.media(0, media_type(Field::DeltaMediaType.text(found)), data)?,
                None => Field::DeltaType.text(found).is_some_and(|kind| kind.raw().starts_with("text")),
            };
            if told { Ok(()) } else { out.raw(kind, data) }
        }
    }
}

fn media_type(said: Option<Str<'_>>) -> Text<'_> {
    said.map_or(Text::Plain("application/octet-stream"), Text::Json)
}

fn raw(value: Value<'_>) -> &str {
    std::str::from_utf8(value.raw()).unwrap_or_default()
}

fn whole(found: Found<'_>, data: &str, out: &mut Outbox) -> Result<()> {
    out.start(Field::Id.text(found), Field::Model.text(found))?;
    usage(found, &AT_TOP, out);
    let in_step = |found: Match<'_>| Some((found.indices.get(0)?, Field::of(&found)?));
    let mut ahead = found.iter().filter(|found| in_step(*found).is_some()).peekable();
    let mut behind = found.iter().filter(|found| in_step(*found).is_some());
    while let Some(position) = ahead.peek().and_then(|found| found.indices.get(0)) {
        let (mut step, mut matches) = (Start::default(), 0);
        while let Some(found) = ahead.next_if(|found| found.indices.get(0) == Some(position)) {
            matches += 1;
            let text = found.value.as_str().filter(|text| !text.is_empty());
            match Field::of(&found) {
                Some(Field::OneStep | Field::Output) => step.raw = Some(found.value),
                Some(Field::OneType | Field::OutputType) => step.kind = text,
                Some(Field::OneId | Field::OutputId) => step.id = text,
                Some(Field::OneName | Field::OutputName) => step.name = text,
                Some(Field::OneArguments | Field::OutputArguments) => step.arguments = Some(found.value),
                Some(Field::OneSignature | Field::OutputSignature) => step.signature = text,
                _ => {}
            }
        }
        step.take_in(behind.by_ref().take(matches), out)?;
    }
    if let Some(tier) = Field::Tier.get(found) {
        out.detail(0, "service_tier", tier)?;
    }
    finish(Field::Status.text(found), data, out)
}

impl<'e> Start<'e> {
    /// Tells all of a step of a whole interaction, of which these are the matches.
    fn take_in(self, matches: impl Iterator<Item = Match<'e>>, out: &mut Outbox) -> Result<()> {
        let kind = self.kind.and_then(|kind| kind.borrowed()).unwrap_or_default();
        let kind = if is_output(kind) { "model_output" } else { kind };
        let (mut told, mut media) = (false, None);
        for found in matches {
            let text = found.value.as_str().filter(|text| !text.is_empty());
            match (kind, Field::of(&found), text) {
                ("thought", Some(Field::OneSummary | Field::OutputSummary), Some(text)) => {
                    told = true;
                    out.say(Kind::Reasoning, 0, text)?;
                }
                ("model_output", Some(Field::OneText | Field::OutputText), Some(text)) => {
                    out.say(Kind::Text, 0, text)?;
                }
                ("model_output", Some(Field::OneMediaType | Field::OutputMediaType), text) => media = text,
                ("model_output", Some(Field::OneData | Field::OutputData), Some(text)) => {
                    if let Some(data) = text.borrowed() {
                        out.media(0, media_type(media), data)?;
                    }
                }
                ("model_output", Some(Field::OneAnnotations | Field::OutputAnnotations), _) => {
                    out.detail(0, "citations", found.value)?;
                }
                _ => {}
            }
        }
        match kind {
            "thought" => match self.signature {
                Some(seal) => out.seal(0, seal, !told, Family::Google),
                None => Ok(()),
            },
            "model_output" => Ok(()),
            "function_call" => {
                let arguments = self.arguments.and_then(|arguments| match arguments {
                    Value::Object(raw) => Some(Text::Plain(raw.as_str())),
                    Value::Str(text) if !text.is_empty() => Some(Text::Json(text)),
                    _ => None,
                });
                out.whole_call(0, &CallPiece { id: self.id, name: self.name, index: None, arguments })?;
                match self.signature {
                    Some(seal) => out.seal_call(0, seal),
                    None => Ok(()),
                }
            }
            _ => out.opaque(0, OPAQUE, self.raw.map(raw).unwrap_or_default()),
        }
    }
}

/// Where the counts are: input, output, cached, thoughts, the server's tools.
const AT_END: [Field; 5] =
    [Field::EndInput, Field::EndOutput, Field::EndCached, Field::EndThought, Field::EndTools];
const AT_TOP: [Field; 5] = [Field::Input, Field::OutputTokens, Field::Cached, Field::Thought, Field::Tools];

fn usage(found: Found<'_>, counts: &[Field; 5], out: &mut Outbox) {
    let [input, output, cached, thought, tools] = counts.map(|field| field.count(found));
    if input.is_none() && output.is_none() {
        return;
    }
    let mut usage = Usage::default();
    usage.reasoning_tokens = thought.unwrap_or(0);
    usage.input_tokens = input.unwrap_or(0).saturating_add(tools.unwrap_or(0));
    usage.output_tokens = output.unwrap_or(0).saturating_add(usage.reasoning_tokens);
    usage.cache_read_tokens = cached.unwrap_or(0);
    *out.usage_mut() = usage;
}

fn finish(status: Option<Str<'_>>, data: &str, out: &mut Outbox) -> Result<()> {
    let mut scratch = String::new();
    let Some(status) = status.map(|status| status.decode_lossy(&mut scratch)) else { return Ok(()) };
    let reason = match status {
        "completed" => FinishReason::Stop,
        "requires_action" => FinishReason::ToolCalls,
        "failed" | "cancelled" => {
            let error = Error::new(ErrorKind::Server, "the provider gave the interaction up");
            out.fail(error.with_code(status).with_raw_body(data.as_bytes()));
            return Ok(());
        }
        "in_progress" | "queued" => {
            let why = "the interaction is still under way: it was asked for in the background";
            out.fail(Error::new(ErrorKind::Unsupported, why));
            return Ok(());
        }
        other => FinishReason::Other(other.to_owned()),
    };
    out.end_choice(0, reason)
}
