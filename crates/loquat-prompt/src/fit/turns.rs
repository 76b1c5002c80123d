//! Which messages can go together.

use std::{collections::HashSet, ops::Range};

use loquat_core::{Message, Part, Role};

/// The runs of messages that can be left out, oldest first: whole turns but the last, without the instructions at the beginning. A
/// turn begins with a user's message that answers no open tool call; a system message inside stays and ends a run.
pub(super) fn droppable(messages: &[Message]) -> Vec<Range<usize>> {
    let mut starts = Vec::new();
    let mut open = HashSet::new();
    for (place, message) in messages.iter().enumerate().skip(beginning(messages)) {
        let answers = message.parts.iter().any(|part| matches!(part, Part::ToolResult(_)));
        if message.role == Role::User && !answers && open.is_empty() {
            starts.push(place);
        }
        for part in &message.parts {
            match part {
                Part::ToolCall(call) => {
                    open.insert(call.id.as_str());
                }
                Part::ToolResult(result) => {
                    open.remove(result.call_id.as_str());
                }
                _ => {}
            }
        }
    }
    // What stands before the first user's message, an answer without its question, goes with the first turn.
    if let Some(first) = starts.first_mut() {
        *first = beginning(messages);
    }
    let turns =
        starts.windows(2).filter_map(|pair| pair.first().zip(pair.get(1)).map(|(start, end)| *start..*end));
    turns.flat_map(|turn| runs(messages, turn)).collect()
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
