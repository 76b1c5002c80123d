//! Which format a template writes, found by asking it.
//!
//! A format is taken only where it gives byte for byte what the program gives, on every conversation that follows: orders of
//! roles, with and without a system message, blanks and line breaks at every edge, and, since a program can only look for what
//! stands in it, every literal of its own source as a message's words: alone, before, behind and around other words. A
//! template that reads the time is left to its program.

use loquat_core::{Message, Part, Reasoning, Role};

use super::fast::{self, Mistral};
use super::{Chat, ChatTemplate, Format, RenderedChat};

/// Most literals of the source that are tried: the longest published templates have some 150.
const MAX_LITERALS: usize = 400;

/// The format, if it is one of ours.
pub(super) fn format_of(template: &ChatTemplate, source: &str) -> Option<Format> {
    if source.contains("strftime_now") || source.contains("date_string is not defined and") {
        return None;
    }
    let literals = literals(source)?;
    candidates(template).into_iter().find(|format| {
        let shapes = shapes()
            .into_iter()
            .flat_map(|roles| EDGES.iter().map(move |edge| conversation(&roles, edge, "")));
        // A format without a system message covers none of the conversations that have one: they would tell nothing of it.
        let orders = [&SYSTEM_FIRST[..], &SYSTEM_FIRST[1..]];
        let mut literal_probes = literals.iter().flat_map(|literal| {
            let behind = format!("x{literal}");
            let around =
                [(literal.as_str(), "x"), (behind.as_str(), ""), (literal.as_str(), literal.as_str())];
            let probes = orders.into_iter().flat_map(|roles| {
                let alone = roles.iter().map(|role| Message::new(*role, vec![Part::Text(literal.clone())]));
                let around = around.map(|(before, behind)| conversation(roles, before, behind));
                [alone.collect()].into_iter().chain(around)
            });
            probes.collect::<Vec<Vec<Message>>>()
        });
        let mut shapes = shapes;
        shapes.all(|messages| agrees(template, format, &messages))
            && agrees(template, format, &thoughtful())
            && literal_probes.all(|messages| agrees(template, format, &messages))
    })
}

const SYSTEM_FIRST: [Role; 6] =
    [Role::System, Role::User, Role::Assistant, Role::User, Role::Assistant, Role::User];

const EDGES: [&str; 7] =
    ["word", "", " a ", "\n\nb\n\n", "<think>\nt\n</think>\n\nanswer\n", "\u{1c}c\u{a0}", "<b>&'\"{{x}}"];

/// Orders of roles, likely ones and odd ones.
fn shapes() -> Vec<Vec<Role>> {
    use Role::{Assistant as A, System as S, User as U};
    vec![
        vec![U],
        vec![S, U],
        vec![U, A],
        vec![U, A, U],
        vec![S, U, A, U],
        vec![S, U, A, U, A, U],
        vec![U, A, U, A],
        vec![S, U, A],
        vec![S],
        vec![A],
        vec![U, U],
        vec![A, A],
        vec![U, S, U],
        vec![S, S, U],
        vec![U, A, A, U],
        vec![S, A, U],
        vec![A, U, A],
    ]
}

fn conversation(roles: &[Role], before: &str, behind: &str) -> Vec<Message> {
    let message = |(index, role): (usize, &Role)| {
        let middle = if index % 3 == 1 { format!("m{index}") } else { String::new() };
        Message::new(*role, vec![Part::Text(format!("{before}{middle}{behind}"))])
    };
    roles.iter().enumerate().map(message).collect()
}

fn thoughtful() -> Vec<Message> {
    let said = |thoughts: &str, text: &str| {
        Message::new(
            Role::Assistant,
            vec![Part::Reasoning(Reasoning::new(thoughts)), Part::Text(text.to_owned())],
        )
    };
    vec![
        Message::user("a"),
        said("\nearlier\n", "\nb"),
        Message::user("c"),
        said("\nlate\n", "\nd"),
        said("last", "e"),
    ]
}

/// Whether both give the same, with and without the answer opened; a format that does not cover the conversation agrees.
fn agrees(template: &ChatTemplate, format: &Format, messages: &[Message]) -> bool {
    [true, false].into_iter().all(|opens_answer| {
        let chat = Chat::new(messages).with_answer_opened(opens_answer);
        let mut rendered = RenderedChat::default();
        if !fast::render(format, &chat, &template.beginning, &template.end, &mut rendered) {
            return true;
        }
        template.interpret(&chat, None).is_ok_and(|interpreted| interpreted.text() == rendered.text())
    })
}

/// The formats that a template can be, the parts of them that differ from model to model read from what it says.
fn candidates(template: &ChatTemplate) -> Vec<Format> {
    let question = [Message::user("QUESTION")];
    let render = |opens| template.interpret(&Chat::new(&question).with_answer_opened(opens), None);
    let (Ok(closed), Ok(opened)) = (render(false), render(true)) else { return Vec::new() };
    let (closed, opened) = (closed.into_text(), opened.into_text());
    let mut all = vec![Format::Qwen3];
    let between = |start: &str, end: &str| {
        let (_, after) = closed.split_once(start)?;
        after.split_once(end).map(|(between, _)| between.to_owned())
    };
    if closed.contains("<|im_start|>") {
        all.push(Format::ChatMl { default_system: between("<|im_start|>system\n", "<|im_end|>") });
    }
    if closed.contains("<|start_header_id|>") {
        all.push(Format::Llama3 {
            preamble: between("<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"),
        });
    }
    if closed.contains("[INST]") {
        all.extend(Mistral::all().map(Format::Mistral));
    }
    if closed.contains("<start_of_turn>") {
        all.extend([true, false].map(|takes_system| Format::Gemma { takes_system }));
    }
    if let Some((_, opening)) = opened.split_once("<｜Assistant｜>") {
        let formats = [true, false]
            .map(|drops_thoughts| Format::DeepSeek { drops_thoughts, opening: opening.to_owned() });
        all.extend(formats);
    }
    // One that covers nothing agrees with everything; what a format is worth is that it covers the plainest conversation.
    all.retain(|format| {
        let mut rendered = RenderedChat::default();
        let plain = Chat::new(&question);
        fast::render(format, &plain, &template.beginning, &template.end, &mut rendered)
            && rendered.text() == opened
    });
    all
}

/// The string literals of a program's source; `None` for too many.
fn literals(source: &str) -> Option<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['\'', '"']) {
        let quote = rest.get(at..at + 1)?;
        let mut escaped = false;
        let inner = rest.get(at + 1..)?;
        let end = inner.find(|character: char| {
            let closes = !escaped && quote.starts_with(character);
            escaped = character == '\\' && !escaped;
            closes
        });
        let Some(end) = end else { break };
        let literal = inner.get(..end)?.replace("\\n", "\n").replace("\\t", "\t");
        // An apostrophe in plain text begins nothing: both readings are tried.
        let is_new = !literal.is_empty() && literal.len() < 4096 && !found.contains(&literal);
        if is_new {
            found.push(literal);
        }
        rest = inner.get(end + 1..)?;
        if found.len() > MAX_LITERALS {
            return None;
        }
    }
    Some(found)
}
