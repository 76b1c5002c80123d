//! Which messages can go together.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use loquat_core::{Message, Part, Role};

/// The runs of messages that can be left out, oldest first: whole turns but the last, and of the last, which may be an agent's long
/// work, its calls with their results, but for the last of these. Instructions at the beginning stay. A turn begins with a user's
/// message that answers no open tool call; a system message inside stays and ends a run. Several calls may have one id, or none: what
/// follows an answer and is one, too, belongs to the same calls.
pub(super) fn droppable(messages: &[Message]) -> Vec<Range<usize>> {
    // A call that nobody ever answers holds nothing together.
    let mut answered = HashMap::new();
    for (place, message) in messages.iter().enumerate() {
        for part in &message.parts {
            if let Part::ToolResult(result) = part {
                answered.insert(result.call_id.as_str(), place);
            }
        }
    }
    let mut starts = Vec::new();
    let mut exchanges: Vec<Range<usize>> = Vec::new();
    let mut open = HashSet::new();
    let mut opened = 0;
    let mut answered_before = false;
    for (place, message) in messages.iter().enumerate().skip(beginning(messages)) {
        let answers = message.parts.iter().any(|part| matches!(part, Part::ToolResult(_)));
        let goes_on = answers && answered_before;
        answered_before = answers;
        if open.is_empty() && !goes_on {
            opened = place;
            if message.role == Role::User && !answers {
                starts.push(place);
                exchanges.clear();
            }
        }
        for part in &message.parts {
            match part {
                Part::ToolCall(call)
                    if answered.get(call.id.as_str()).is_some_and(|answer| *answer > place) =>
                {
                    open.insert(call.id.as_str());
                }
                Part::ToolResult(result) => {
                    open.remove(result.call_id.as_str());
                }
                _ => {}
            }
        }
        if answers && open.is_empty() {
            match exchanges.last_mut() {
                Some(last) if goes_on && last.end == place => last.end = place + 1,
                _ => exchanges.push(opened..place + 1),
            }
        }
    }
    // What stands before the first user's message, an answer without its question, goes with the first turn.
    if let Some(first) = starts.first_mut() {
        *first = beginning(messages);
    }
    let turns =
        starts.windows(2).filter_map(|pair| pair.first().zip(pair.get(1)).map(|(start, end)| *start..*end));
    exchanges.pop();
    turns.chain(exchanges).flat_map(|run| runs(messages, run)).collect()
}

/// The runs of a turn between system messages. A system message between a call and its result keeps all of them.
fn runs(messages: &[Message], turn: Range<usize>) -> Vec<Range<usize>> {
    let is_system = |place: usize| messages.get(place).is_some_and(|message| message.role == Role::System);
    if !turn.clone().any(is_system) {
        return vec![turn];
    }
    let has_tools = turn.clone().filter_map(|place| messages.get(place)).any(|message| {
        message.parts.iter().any(|part| matches!(part, Part::ToolCall(_) | Part::ToolResult(_)))
    });
    if has_tools {
        return Vec::new();
    }
    turn.filter(|place| !is_system(*place)).map(|place| place..place + 1).collect()
}

/// How many messages at the beginning are instructions.
pub(super) fn beginning(messages: &[Message]) -> usize {
    messages.iter().take_while(|message| message.role == Role::System).count()
}
