//! The common formats by hand: each is a few literals around the messages' words.
//!
//! A renderer covers words of system, user and assistant, and thoughts where the format has a place for them. For anything else
//! (tools, media, a role out of order) it says so before it has written a byte that counts, and the program is asked.

use loquat_core::{Message, Part, Role};

use super::{Chat, RenderedChat, python, values::role};

/// A format that models are trained on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// `<|im_start|>role\n…<|im_end|>\n`: ChatML, Qwen 2 and 2.5, many others.
    ChatMl {
        /// What the system says where the conversation has no system message.
        default_system: Option<String>,
    },
    /// ChatML with thoughts, which are shown since the last question only: Qwen 3.
    Qwen3,
    /// `<|start_header_id|>role<|end_header_id|>\n\n…<|eot_id|>`: Llama 3.
    Llama3 {
        /// What stands before the words of the system message, which then is always there: Llama 3.1.
        preamble: Option<String>,
    },
    /// `[INST] … [/INST] …</s>`: Mistral.
    Mistral(Mistral),
    /// `<start_of_turn>role\n…<end_of_turn>\n`: Gemma.
    Gemma {
        /// Whether a system message goes before the first question (Gemma 3) or is refused (Gemma 1 and 2).
        takes_system: bool,
    },
    /// `<｜User｜>…<｜Assistant｜>…<｜end▁of▁sentence｜>`: DeepSeek V3 and R1.
    DeepSeek {
        /// Whether thoughts are cut from earlier answers: R1.
        drops_thoughts: bool,
        /// What stands behind `<｜Assistant｜>` where the answer is opened.
        opening: String,
    },
}

/// The blanks in which the versions of Mistral's format differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Mistral {
    /// Before `[/INST]`.
    pub blank_before_close: bool,
    /// Before an answer.
    pub blank_before_answer: bool,
    /// Whether answers are trimmed.
    pub trims_answers: bool,
    /// Whether a system message goes before the last question, or is refused.
    pub takes_system: bool,
}

impl Mistral {
    /// All that are looked for.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..16_u8).map(|bits| Self {
            blank_before_close: bits & 1 != 0,
            blank_before_answer: bits & 2 != 0,
            trims_answers: bits & 4 != 0,
            takes_system: bits & 8 != 0,
        })
    }
}

impl RenderedChat {
    /// The format's words, control tokens among them.
    fn literal(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// A stranger's words, whatever they spell.
    fn words(&mut self, words: &str) {
        self.end_piece(true);
        self.text.push_str(words);
        self.end_piece(false);
    }
}

/// Writes the conversation; `false` where the format does not cover it.
pub(super) fn render(
    format: &Format,
    chat: &Chat<'_>,
    beginning: &str,
    end: &str,
    to: &mut RenderedChat,
) -> bool {
    if !chat.tools.is_empty() || chat.messages.is_empty() {
        return false;
    }
    let thinks = match (chat.variables.len(), chat.variables.get("enable_thinking")) {
        (0, _) => true,
        (1, Some(value)) if *format == Format::Qwen3 => match value.as_bool() {
            Some(thinks) => thinks,
            None => return false,
        },
        _ => return false,
    };
    let length: usize = chat.messages.iter().flat_map(|message| &message.parts).map(length).sum();
    to.text.reserve(length + 48 * (chat.messages.len() + 1));
    match format {
        Format::ChatMl { default_system } => chat_ml(chat, default_system.as_deref(), to),
        Format::Qwen3 => qwen3(chat, thinks, to),
        Format::Llama3 { preamble } => llama3(chat, preamble.as_deref(), beginning, to),
        Format::Mistral(mistral) => self::mistral(chat, *mistral, beginning, end, to),
        Format::Gemma { takes_system } => gemma(chat, *takes_system, beginning, to),
        Format::DeepSeek { drops_thoughts, opening } => {
            deepseek(chat, *drops_thoughts, opening, beginning, to)
        }
    }
    .map(|()| to.end_piece(true))
    .is_some()
}

fn length(part: &Part) -> usize {
    match part {
        Part::Text(text) | Part::Refusal(text) => text.len(),
        Part::Reasoning(reasoning) => reasoning.text.len(),
        _ => 0,
    }
}

/// A message of words alone: its one text, or `None`. Several texts would have to be copied together; that is left to the
/// program, as are thoughts.
fn words(message: &Message) -> Option<&str> {
    match (message.role, message.parts.as_slice()) {
        (Role::Tool, _) => None,
        (_, []) => Some(""),
        (_, [Part::Text(text) | Part::Refusal(text)]) => Some(text),
        _ => None,
    }
}

fn turn(role: &str, words: &str, to: &mut RenderedChat) {
    to.literal("<|im_start|>");
    to.literal(role);
    to.literal("\n");
    to.words(words);
    to.literal("<|im_end|>\n");
}

fn chat_ml(chat: &Chat<'_>, default_system: Option<&str>, to: &mut RenderedChat) -> Option<()> {
    if let (Some(system), false) = (default_system, chat.messages.first()?.role == Role::System) {
        turn("system", system, to);
    }
    for message in chat.messages {
        turn(role(message.role), words(message)?, to);
    }
    if chat.opens_answer {
        to.literal("<|im_start|>assistant\n");
    }
    Some(())
}

fn qwen3(chat: &Chat<'_>, thinks: bool, to: &mut RenderedChat) -> Option<()> {
    let is_question = |message: &Message| {
        message.role == Role::User
            && words(message).is_some_and(|text| {
                !(text.starts_with("<tool_response>") && text.ends_with("</tool_response>"))
            })
    };
    let last = chat.messages.len() - 1;
    let last_question = chat.messages.iter().rposition(is_question).unwrap_or(last);
    for (index, message) in chat.messages.iter().enumerate() {
        if message.role != Role::Assistant {
            turn(role(message.role), words(message)?, to);
            continue;
        }
        let (thoughts, answer) = match message.parts.as_slice() {
            [Part::Reasoning(thoughts), Part::Text(text)] if !thoughts.text.is_empty() => {
                (thoughts.text.as_str(), text.as_str())
            }
            _ => thoughts_in(words(message)?),
        };
        to.literal("<|im_start|>assistant\n");
        if index > last_question && (index == last || !thoughts.is_empty()) {
            to.literal("<think>\n");
            to.words(thoughts.trim_matches('\n'));
            to.literal("\n</think>\n\n");
            to.words(answer.trim_start_matches('\n'));
        } else {
            to.words(answer);
        }
        to.literal("<|im_end|>\n");
    }
    if chat.opens_answer {
        to.literal("<|im_start|>assistant\n");
        if !thinks {
            to.literal("<think>\n\n</think>\n\n");
        }
    }
    Some(())
}

/// `<think>…</think>` at the beginning of an answer, and what comes behind it.
fn thoughts_in(text: &str) -> (&str, &str) {
    let Some((before, _)) = text.split_once("</think>") else { return ("", text) };
    let answer = text.rsplit("</think>").next().unwrap_or_default();
    let before = before.trim_end_matches('\n');
    let thoughts = before.rsplit("<think>").next().unwrap_or_default();
    (thoughts.trim_start_matches('\n'), answer.trim_start_matches('\n'))
}

fn llama3(chat: &Chat<'_>, preamble: Option<&str>, beginning: &str, to: &mut RenderedChat) -> Option<()> {
    fn head(role: &str, to: &mut RenderedChat) {
        to.literal("<|start_header_id|>");
        to.literal(role);
        to.literal("<|end_header_id|>\n\n");
    }
    to.literal(beginning);
    let mut messages = chat.messages;
    if let Some(preamble) = preamble {
        head("system", to);
        to.literal(preamble);
        if let Some((system, rest)) = messages.split_first().filter(|(first, _)| first.role == Role::System) {
            to.words(python::strip(words(system)?));
            messages = rest;
        }
        to.literal("<|eot_id|>");
    }
    for message in messages {
        head(role(message.role), to);
        to.words(python::strip(words(message)?));
        to.literal("<|eot_id|>");
    }
    if chat.opens_answer {
        head("assistant", to);
    }
    Some(())
}

/// User and assistant by turns, user first; a system message before them. `None` for anything else.
fn alternating<'a>(chat: &Chat<'a>) -> Option<(Option<&'a str>, &'a [Message])> {
    let (first, rest) = chat.messages.split_first()?;
    let (system, messages) = match first.role {
        Role::System => (Some(words(first)?), rest),
        _ => (None, chat.messages),
    };
    let expected = |index: usize| if index.is_multiple_of(2) { Role::User } else { Role::Assistant };
    let alternates = messages.iter().enumerate().all(|(index, message)| message.role == expected(index));
    (alternates && !messages.is_empty()).then_some((system, messages))
}

fn mistral(
    chat: &Chat<'_>,
    format: Mistral,
    beginning: &str,
    end: &str,
    to: &mut RenderedChat,
) -> Option<()> {
    let (system, messages) = alternating(chat)?;
    // These templates say nothing of an opened answer: `[/INST]` opens it.
    let last_question = messages.iter().rposition(|message| message.role == Role::User)?;
    if system.is_some() && (!format.takes_system || last_question + 1 != messages.len()) {
        return None;
    }
    to.literal(beginning);
    for (index, message) in messages.iter().enumerate() {
        let words = words(message)?;
        if message.role == Role::User {
            to.literal("[INST] ");
            if let Some(system) = system.filter(|_| index == last_question) {
                to.words(system);
                to.literal("\n\n");
            }
            to.words(words);
            to.literal(if format.blank_before_close { " [/INST]" } else { "[/INST]" });
        } else {
            if format.blank_before_answer {
                to.literal(" ");
            }
            to.words(if format.trims_answers { python::strip(words) } else { words });
            to.literal(end);
        }
    }
    Some(())
}

fn gemma(chat: &Chat<'_>, takes_system: bool, beginning: &str, to: &mut RenderedChat) -> Option<()> {
    let (system, messages) = alternating(chat)?;
    if system.is_some() && !takes_system {
        return None;
    }
    to.literal(beginning);
    for (index, message) in messages.iter().enumerate() {
        let is_user = message.role == Role::User;
        to.literal(if is_user { "<start_of_turn>user\n" } else { "<start_of_turn>model\n" });
        if let Some(system) = system.filter(|_| index == 0) {
            to.words(system);
            to.literal("\n\n");
        }
        to.words(python::strip(words(message)?));
        to.literal("<end_of_turn>\n");
    }
    if chat.opens_answer {
        to.literal("<start_of_turn>model\n");
    }
    Some(())
}

fn deepseek(
    chat: &Chat<'_>,
    drops_thoughts: bool,
    opening: &str,
    beginning: &str,
    to: &mut RenderedChat,
) -> Option<()> {
    to.literal(beginning);
    let systems = chat.messages.iter().filter(|message| message.role == Role::System);
    for (index, message) in systems.enumerate() {
        if index > 0 {
            to.literal("\n\n");
        }
        to.words(words(message)?);
    }
    for message in chat.messages {
        match message.role {
            Role::System => {}
            Role::User => {
                to.literal("<｜User｜>");
                to.words(words(message)?);
            }
            Role::Assistant => {
                let answer = words(message)?;
                let answer =
                    if drops_thoughts { answer.rsplit("</think>").next().unwrap_or(answer) } else { answer };
                to.literal("<｜Assistant｜>");
                to.words(answer);
                to.literal("<｜end▁of▁sentence｜>");
            }
            _ => return None,
        }
    }
    if chat.opens_answer {
        to.literal("<｜Assistant｜>");
        to.literal(opening);
    }
    Some(())
}
