//! The deltas an event gave, waiting to be pulled, and what has been learnt of the answer so far.
//!
//! Every format writes into this one type, so the rules they share live here: empty text is no delta, tool calls get
//! our own ordinals, numbers from the peer are bounded and never index anything, and there is one truthful ending.
//! Text lies in one reused string; a delta in the queue is a few ranges into it, so that a steady stream allocates
//! nothing. Knows no JSON layout and no provider.

mod more;
mod slot;
#[cfg(test)]
mod tests;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use loquat_core::{Delivery, Delta, Ending, Error, ErrorKind, FinishReason, Result, Usage};
use loquat_json::{SplitPair, Str, Value};
use more::More;
use slot::{Slot, Span};

pub(crate) use more::Of;
pub(crate) use slot::{Kind, Text};

use crate::{
    DecodeLimits,
    calls::{Announced, CallPiece, Calls, Place},
    seal::Family,
};

/// Most alternatives of one answer; the same bound as the assembler's, twice what any provider documents.
const MAX_CHOICES: u32 = 256;
/// Most of a time stamp that names of calls are made of, in bytes: one with nanoseconds and a zone.
const MAX_STAMP_BYTES: usize = 40;
/// Scratch kept from one event to the next, in bytes: above every text event, below one inline image.
const RETAINED_BYTES: usize = 64 * 1024;
/// Queue slots kept likewise.
const RETAINED_SLOTS: usize = 256;
/// Buffers that are kept from one answer to the next, in bytes: above every text event.
const SMALL_BYTES: usize = 4 * 1024;
/// Slots and alternatives kept likewise.
const SMALL_SLOTS: usize = 16;

/// What is known of one alternative.
#[derive(Debug, Default)]
struct Choice {
    /// Said something, or was given a reason to stop.
    begun: bool,
    reason: Option<FinishReason>,
    calls: Calls,
    /// Halves of surrogate pairs that a peer split over two events, one for each kind of running text.
    pairs: [SplitPair; 3],
}

/// See the [module's words](self).
#[derive(Debug)]
// One among many finds all of this cold at each event: what more of the same text needs comes first, in three lines of memory.
#[repr(C, align(64))]
pub(crate) struct Outbox {
    /// What the next event may be more of.
    more: Option<More>,
    /// What that is more of.
    of: Of,
    scratch: String,
    answer_bytes: usize,
    next: usize,
    /// What an event gave; those before `next` have been pulled.
    queue: Vec<Slot>,
    failure: Option<Error>,
    terminal: bool,
    /// The scratch holds what came of that which the event was more of; no queue was needed.
    is_direct: bool,
    /// An alternative has been given its reason: before that, none is looked at for one.
    has_reason: bool,
    started: bool,
    /// Any delta at all has been queued.
    any: bool,
    /// One that is part of an answer has: more than events nobody knows.
    answered: bool,
    /// Words have come, or thoughts, a call, a picture: what somebody waits for.
    has_content: bool,
    /// The model has begun to think, or has gone on to, and has said nothing since.
    is_thinking: bool,
    limits: DecodeLimits,
    choices: Vec<Choice>,
    usage: Usage,
    answer_id: String,
}

impl Outbox {
    pub(crate) fn new(limits: DecodeLimits) -> Self {
        Self {
            scratch: String::new(),
            queue: Vec::new(),
            next: 0,
            choices: Vec::new(),
            usage: Usage::default(),
            answer_id: String::new(),
            started: false,
            any: false,
            answered: false,
            has_content: false,
            is_thinking: false,
            terminal: false,
            failure: None,
            answer_bytes: 0,
            limits,
            more: None,
            of: Of::TEXT,
            is_direct: false,
            has_reason: false,
        }
    }

    /// Forgets the answer, for the next one.
    pub(crate) fn renew(&mut self, limits: DecodeLimits) {
        let Self { scratch, queue, choices, answer_id, .. } = std::mem::replace(self, Self::new(limits));
        (self.scratch, self.queue, self.choices, self.answer_id) = (scratch, queue, choices, answer_id);
        self.recycle();
        self.choices.clear();
        self.answer_id.clear();
    }

    /// Whether its buffers are no larger than those of most answers are.
    pub(crate) fn is_small(&self) -> bool {
        self.scratch.capacity() <= SMALL_BYTES
            && self.answer_id.capacity() <= SMALL_BYTES
            && self.queue.capacity() <= SMALL_SLOTS
            && self.choices.capacity() <= SMALL_SLOTS
    }

    /// Goes on to the next delta, for [`current`](Self::current); `false` when all have been pulled.
    #[inline]
    pub(crate) fn advance(&mut self) -> bool {
        self.next += 1;
        self.next <= self.queue.len()
    }

    /// Forgets what has been pulled. To be called before an event is decoded, with all of it pulled.
    #[inline]
    pub(crate) fn recycle(&mut self) {
        self.next = 0;
        self.queue.clear();
        self.clear_scratch();
        if self.queue.capacity() > RETAINED_SLOTS {
            self.queue.shrink_to(RETAINED_SLOTS);
        }
    }

    /// Forgets the last texts, and the room that only a long one needs.
    #[inline]
    fn clear_scratch(&mut self) {
        self.scratch.clear();
        if self.scratch.capacity() > RETAINED_BYTES {
            self.scratch.shrink_to(RETAINED_BYTES);
        }
    }

    /// The delta that the last [`advance`](Self::advance) went on to; an empty start before it.
    #[inline]
    pub(crate) fn current(&self) -> Delta<'_> {
        if let Some(direct) = self.direct() {
            return direct;
        }
        let slot = self.queue.get(self.next.wrapping_sub(1));
        slot.map_or(Delta::Start { id: "", model: "" }, |slot| slot.show(&self.scratch))
    }

    /// The answer has begun; only the first call that names anything counts.
    pub(crate) fn start(&mut self, id: Option<Str<'_>>, model: Option<Str<'_>>) -> Result<()> {
        let empty = |text: &Option<Str<'_>>| text.is_none_or(|text| text.is_empty());
        if self.started || (empty(&id) && empty(&model)) {
            return Ok(());
        }
        self.started = true;
        let id = self.span(id.map_or(Text::Plain(""), Text::Json))?;
        let model = self.span(model.map_or(Text::Plain(""), Text::Json))?;
        self.answer_id.clear();
        self.answer_id.push_str(self.scratch.get(id.clone()).unwrap_or_default());
        self.queue(Slot::Start { id, model });
        Ok(())
    }

    /// For an answer without a name: what the names of its calls are made of, so that two answers of a conversation do not
    /// name theirs alike.
    pub(crate) fn name_calls_after(&mut self, text: Option<Str<'_>>) {
        if let Some(text) = text.filter(|_| self.answer_id.is_empty()) {
            let kept = text.raw().bytes().filter(u8::is_ascii_alphanumeric).take(MAX_STAMP_BYTES);
            self.answer_id.push_str("call-");
            self.answer_id.extend(kept.map(char::from));
        }
    }

    /// Whether the answer's own name and its model's have been told: they are told once.
    pub(crate) fn has_started(&self) -> bool {
        self.started
    }

    /// An alternative has begun, though it may have nothing to say yet: an answer is not whole without its end.
    pub(crate) fn begin(&mut self, choice: u32) -> Result<()> {
        choice_at(&mut self.choices, choice).map(drop)
    }

    /// Running text; nothing, if there is none.
    pub(crate) fn say<'a>(&mut self, kind: Kind, choice: u32, text: impl Into<Text<'a>>) -> Result<()> {
        let text = text.into();
        if text.is_empty() {
            return Ok(());
        }
        let start = self.scratch.len();
        let pair = &mut choice_at(&mut self.choices, choice)?.pairs[kind as usize];
        match text {
            Text::Json(text) => match text.borrowed() {
                Some(text) if !pair.is_waiting() => self.scratch.push_str(text),
                _ => text.append_joined_to(&mut self.scratch, pair),
            },
            Text::Plain(text) => {
                pair.finish(&mut self.scratch);
                self.scratch.push_str(text);
            }
        }
        self.grow(start)?;
        self.queue_running(kind, choice, start);
        Ok(())
    }

    /// [`say`](Self::say) for the text of most events of most streams: plain, and more of what an alternative has been saying.
    #[inline]
    pub(crate) fn say_on(&mut self, kind: Kind, choice: u32, text: &str) -> Result<()> {
        let known = self.choices.get(choice as usize);
        if known.is_some_and(|known| known.begun && !known.pairs[kind as usize].is_waiting()) {
            let start = self.scratch.len();
            self.scratch.push_str(text);
            self.count(text.len())?;
            self.queue_running(kind, choice, start);
            return Ok(());
        }
        self.say(kind, choice, text)
    }

    /// Queues the running text that was appended to the scratch since `start`.
    #[inline]
    fn queue_running(&mut self, kind: Kind, choice: u32, start: usize) {
        let text = start..self.scratch.len();
        if !text.is_empty() {
            (self.any, self.answered, self.has_content) = (true, true, true);
            self.is_thinking = matches!(kind, Kind::Reasoning);
            self.queue.push(Slot::Running { kind, choice, text });
        }
    }

    /// The model begins to think, which it may do for minutes without a word.
    pub(crate) fn think(&mut self) {
        self.is_thinking = true;
    }

    /// Whether the model thinks, as far as it has been told, and has said nothing since it began.
    #[inline]
    pub(crate) fn is_thinking(&self) -> bool {
        self.is_thinking
    }

    /// Whether words have come, thoughts that can be read among them, or a call or a picture.
    #[inline]
    pub(crate) fn has_content(&self) -> bool {
        self.has_content
    }

    /// The provider's seal on the reasoning so far.
    pub(crate) fn seal<'a>(
        &mut self,
        choice: u32,
        signature: impl Into<Text<'a>>,
        redacted: bool,
        family: Family,
    ) -> Result<()> {
        let signature = signature.into();
        if signature.is_empty() {
            return Ok(());
        }
        self.close_pairs(choice)?;
        let signature = self.span(signature)?;
        self.queue(Slot::Signature { choice, signature, redacted, format: family.name() });
        Ok(())
    }

    /// A piece of a tool call: its beginning, more of its arguments, or both. See [`Calls`] for whose it is.
    pub(crate) fn call(&mut self, choice: u32, piece: &CallPiece<'_>) -> Result<()> {
        self.more_of_call(choice, piece).map(drop)
    }

    /// [`call`](Self::call); says which, if the piece came to no more than arguments of one that is known.
    pub(crate) fn more_of_call(&mut self, choice: u32, piece: &CallPiece<'_>) -> Result<Option<u32>> {
        let max_calls = self.limits.max_tool_calls;
        let (call, is_known) = match choice_at(&mut self.choices, choice)?.calls.place(piece, max_calls)? {
            Place::Known(call) => (call, true),
            Place::New(announced) => (self.announce(choice, announced)?, false),
            Place::Waiting => return Ok(None),
        };
        match piece.arguments {
            Some(arguments) if !arguments.is_empty() => {
                let fragment = self.span(arguments)?;
                self.queue(Slot::ToolArguments { choice, call, fragment });
                Ok(is_known.then_some(call))
            }
            _ => Ok(None),
        }
    }

    /// More arguments of a call that has been announced.
    pub(crate) fn arguments(&mut self, choice: u32, call: u32, fragment: Text<'_>) -> Result<()> {
        if !fragment.is_empty() {
            let fragment = self.span(fragment)?;
            self.queue(Slot::ToolArguments { choice, call, fragment });
        }
        Ok(())
    }

    /// The number of the call that the last piece belonged to; `None` while it waits for its name.
    pub(crate) fn latest_call(&self, choice: u32) -> Option<u32> {
        self.choices.get(choice as usize)?.calls.latest()
    }

    /// How long the answer is so far, in bytes, with all that is said of it.
    #[inline]
    pub(crate) fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    fn announce(&mut self, choice: u32, announced: Announced) -> Result<u32> {
        let Announced { call, mut id, name } = announced;
        if id.is_empty() {
            id = made_up_id(&self.answer_id, choice, call);
        }
        let id = self.span(Text::Plain(&id))?;
        let name = self.span(Text::Plain(&name))?;
        self.queue(Slot::ToolCall { choice, call, id, name });
        Ok(call)
    }

    /// A tool call begins that is nobody else's whatever its index says.
    pub(crate) fn begin_call(&mut self, choice: u32, piece: &CallPiece<'_>) -> Result<()> {
        choice_at(&mut self.choices, choice)?.calls.separate();
        self.call(choice, piece)
    }

    /// A tool call that came whole, and is nobody else's whatever its index says.
    pub(crate) fn whole_call(&mut self, choice: u32, piece: &CallPiece<'_>) -> Result<()> {
        choice_at(&mut self.choices, choice)?.calls.separate();
        let arguments = piece.arguments.or(Some(Text::Plain("{}")));
        self.call(choice, &CallPiece { arguments, ..*piece })
    }

    /// The provider's seal on the call that the last piece belonged to.
    pub(crate) fn seal_call(&mut self, choice: u32, signature: Str<'_>) -> Result<()> {
        let call = choice_at(&mut self.choices, choice)?.calls.latest();
        if let (Some(call), false) = (call, signature.is_empty()) {
            let signature = self.span(signature.into())?;
            self.queue(Slot::ToolSignature { choice, call, signature });
        }
        Ok(())
    }

    /// Whether an alternative has asked for tools.
    pub(crate) fn has_calls(&self, choice: u32) -> bool {
        self.choices.get(choice as usize).is_some_and(|known| known.calls.any())
    }

    /// A picture, sound or file in base64 (RFC 4648 §4); `false` if it is none.
    pub(crate) fn media(&mut self, choice: u32, media_type: Text<'_>, base64: &str) -> Result<bool> {
        let Ok(data) = STANDARD.decode(base64) else { return Ok(false) };
        self.count(data.len())?;
        self.media_data(choice, media_type, data)?;
        Ok(true)
    }

    /// The same as bytes, which have been [counted](Self::count) as they came.
    pub(crate) fn media_data(&mut self, choice: u32, media_type: Text<'_>, data: Vec<u8>) -> Result<()> {
        self.close_pairs(choice)?;
        let media_type = self.span(media_type)?;
        self.queue(Slot::Media { choice, media_type, data });
        Ok(())
    }

    /// A part of the message that is of this format only.
    pub(crate) fn opaque(&mut self, choice: u32, format: &'static str, json: &str) -> Result<()> {
        self.close_pairs(choice)?;
        let json = self.span(Text::Plain(json))?;
        self.queue(Slot::Opaque { choice, format, json });
        Ok(())
    }

    /// What is said of the answer beside its content. Nothing for `null`, `""`, `[]` and `{}`.
    pub(crate) fn detail(&mut self, choice: u32, name: &'static str, value: Value<'_>) -> Result<()> {
        self.detail_text(choice, name, std::str::from_utf8(value.raw()).unwrap_or_default())
    }

    /// The same of a JSON text.
    pub(crate) fn detail_text(&mut self, choice: u32, name: &'static str, json: &str) -> Result<()> {
        if matches!(json, "null" | "[]" | "{}" | "\"\"") {
            return Ok(());
        }
        let json = self.span(Text::Plain(json))?;
        self.queue(Slot::Detail { choice, name, json });
        Ok(())
    }

    /// Whether events are told as they came, besides what they say.
    #[inline]
    pub(crate) fn keeps_events(&self) -> bool {
        self.limits.keeps_events
    }

    /// An event, or a whole answer, of which all has been told that it says; nothing, if it is no JSON.
    #[cold]
    pub(crate) fn event_as_it_came(&mut self, data: &str) -> Result<()> {
        match serde_json::from_str::<serde::de::IgnoredAny>(data) {
            Ok(_) => self.detail_text(0, "raw", data.trim_ascii()),
            Err(_) => Ok(()),
        }
    }

    /// What is still held back is handed out, as no more comes.
    pub(crate) fn settle(&mut self) -> Result<()> {
        for choice in 0..u32::try_from(self.choices.len()).unwrap_or(MAX_CHOICES) {
            if self.choices.get(choice as usize).is_some_and(|known| known.begun && known.reason.is_none()) {
                self.close_pairs(choice)?;
                self.announce_nameless(choice)?;
            }
        }
        Ok(())
    }

    /// Announces calls whose name never came, so that none is lost.
    fn announce_nameless(&mut self, choice: u32) -> Result<()> {
        while let Some(announced) = choice_at(&mut self.choices, choice)?.calls.next_waiting() {
            self.announce(choice, announced)?;
        }
        Ok(())
    }

    /// An alternative has come to its end. Said again with the same reason it is nothing new; with another, the
    /// later one counts.
    pub(crate) fn end_choice(&mut self, choice: u32, reason: FinishReason) -> Result<()> {
        self.close_pairs(choice)?;
        self.announce_nameless(choice)?;
        let known = choice_at(&mut self.choices, choice)?;
        if known.reason.as_ref() != Some(&reason) {
            known.reason = Some(reason.clone());
            self.has_reason = true;
            self.queue(Slot::ChoiceEnd { choice, reason });
        }
        Ok(())
    }

    /// An event as it came.
    pub(crate) fn raw(&mut self, event: &str, data: &str) -> Result<()> {
        let event = self.span(Text::Plain(event))?;
        let data = self.span(Text::Plain(data))?;
        self.queue(Slot::Raw { event, data });
        Ok(())
    }

    /// The provider's terminal event, or the end of a whole document: there will be no more.
    pub(crate) fn finish(&mut self) {
        self.terminal = true;
        self.expect_nothing();
    }

    /// The provider reported an error, or sent what is no answer. The first one stands.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error.with_delivery(Delivery::Committed));
        self.expect_nothing();
    }

    /// [`fail`](Self::fail), in place of what the same event has been taken to say in fewer words.
    pub(crate) fn fail_rather(&mut self, error: Error) {
        self.failure = Some(error.with_delivery(Delivery::Committed));
        self.expect_nothing();
    }

    /// Whether any alternative has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.choices.iter().any(|choice| choice.begun)
    }

    pub(crate) fn usage_mut(&mut self) -> &mut Usage {
        &mut self.usage
    }

    /// Whether nothing that comes now can change the ending.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.terminal || self.failure.is_some()
    }

    /// The ending has been made: there is nothing to come.
    pub(crate) fn close(&mut self) {
        self.terminal = true;
        self.expect_nothing();
    }

    /// Whether every alternative that began has been given its reason.
    pub(crate) fn has_finish(&self) -> bool {
        if !self.has_reason {
            return false;
        }
        let mut begun = self.choices.iter().filter(|choice| choice.begun).peekable();
        begun.peek().is_some() && begun.all(|choice| choice.reason.is_some())
    }

    /// The one ending, by the rules of the core's table. `cause` is why the bytes stopped, where that is known;
    /// `empty` says what a body without a delta was.
    pub(crate) fn ending(&mut self, cause: Option<Error>, empty: impl FnOnce() -> Error) -> Ending {
        if let Some(error) = self.failure.take() {
            return Ending::Failed(error);
        }
        let answered = self.answered || self.has_begun();
        // A choice that is only there, without a word or a reason, is nothing to have finished.
        if self.has_finish() || (self.terminal && answered && self.any) {
            let reasons = self.choices.iter().filter_map(|choice| choice.reason.clone());
            // A terminal event without a reason: the answer is whole, and why it stopped nobody said.
            let reason = reasons.into_iter().next().unwrap_or(FinishReason::Other(String::new()));
            return Ending::Finished { reason, usage: self.usage };
        }
        // A terminal event, or a whole document, of which nothing was an answer, was not cut: it never was one.
        if self.any && (answered || !self.terminal) {
            return Ending::Truncated { cause };
        }
        Ending::Failed(cause.unwrap_or_else(empty).with_delivery(Delivery::Committed))
    }

    fn queue(&mut self, slot: Slot) {
        // What is said beside the content is no content.
        self.any |= !matches!(slot, Slot::Detail { .. });
        // And a name alone is no answer.
        self.answered |= !matches!(slot, Slot::Start { .. } | Slot::Raw { .. } | Slot::Detail { .. });
        if matches!(slot, Slot::ToolCall { .. } | Slot::ToolArguments { .. } | Slot::Media { .. }) {
            (self.has_content, self.is_thinking) = (true, false);
        }
        self.queue.push(slot);
    }

    fn span(&mut self, text: Text<'_>) -> Result<Span> {
        let start = self.scratch.len();
        match text {
            Text::Json(text) => match text.borrowed() {
                Some(text) => self.scratch.push_str(text),
                None => text.append_lossy_to(&mut self.scratch),
            },
            Text::Plain(text) => self.scratch.push_str(text),
        }
        self.grow(start)?;
        Ok(start..self.scratch.len())
    }

    /// Counts what was appended to the scratch since `start`.
    fn grow(&mut self, start: usize) -> Result<()> {
        self.count(self.scratch.len() - start)
    }

    /// Counts bytes of content, told or kept to be told.
    #[inline]
    pub(crate) fn count(&mut self, bytes: usize) -> Result<()> {
        self.answer_bytes = self.answer_bytes.saturating_add(bytes);
        if self.answer_bytes > self.limits.max_answer_bytes { Err(too_large(self.limits)) } else { Ok(()) }
    }

    /// A half of a surrogate pair whose other half never came is one U+FFFD of text.
    fn close_pairs(&mut self, choice: u32) -> Result<()> {
        for kind in [Kind::Text, Kind::Reasoning, Kind::Refusal] {
            let start = self.scratch.len();
            choice_at(&mut self.choices, choice)?.pairs[kind as usize].finish(&mut self.scratch);
            self.grow(start)?;
            self.queue_running(kind, choice, start);
        }
        Ok(())
    }
}

#[cold]
fn too_large(limits: DecodeLimits) -> Error {
    let max = limits.max_answer_bytes;
    Error::new(ErrorKind::TooLarge, format!("the answer is longer than max_answer_bytes ({max})"))
}

/// An alternative, made on first use. Bounded, so a hostile number costs at most the bound.
#[inline]
fn choice_at(choices: &mut Vec<Choice>, index: u32) -> Result<&mut Choice> {
    if index >= MAX_CHOICES {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!("alternative {index} is beyond the bound of {MAX_CHOICES}"),
        ));
    }
    let index = index as usize;
    if choices.len() <= index {
        choices.resize_with(index + 1, Choice::default);
    }
    let choice = &mut choices[index];
    choice.begun = true;
    Ok(choice)
}

/// A name for a call that the provider left nameless: unique within a conversation as far as the answer's own is.
fn made_up_id(answer: &str, choice: u32, call: u32) -> String {
    match (answer, choice) {
        ("", 0) => format!("call_{call}"),
        ("", _) => format!("call_{choice}_{call}"),
        (answer, 0) => format!("{answer}-{call}"),
        (answer, _) => format!("{answer}-{choice}-{call}"),
    }
}
