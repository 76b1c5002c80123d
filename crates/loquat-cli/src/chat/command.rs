//! The commands of a conversation: lines that begin with a slash.

/// What `/help` prints, and what the Tab key completes.
pub(super) const COMMANDS: &[(&str, &str)] = &[
    ("/help", "this list"),
    ("/system", "TEXT: instructions above the conversation; alone: show them; `/system -`: none"),
    ("/model", "NAME: go on with another model; alone: show the present one"),
    ("/clear", "forget the conversation"),
    ("/retry", "ask the last question again"),
    ("/save", "FILE: write the conversation (as JSON where FILE ends in .json); never over an existing file"),
    ("/stats", "show or hide time to first token, tokens per second, usage"),
    ("/reasoning", "show or hide what the model thinks"),
    ("/quit", "leave; so do Ctrl-D, and Ctrl-C twice"),
];

/// A command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Help,
    System(&'a str),
    Model(&'a str),
    Clear,
    Retry,
    Save(&'a str),
    Stats,
    Reasoning,
    Quit,
    Unknown(&'a str),
}

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Empty,
    Command(Command<'a>),
    /// Words for the model.
    Words(&'a str),
}

/// Reads a line. A message that begins with a slash is written with two.
pub(super) fn parse(line: &str) -> Line<'_> {
    let line = line.trim();
    let Some(rest) = line.strip_prefix('/') else {
        return if line.is_empty() { Line::Empty } else { Line::Words(line) };
    };
    if rest.starts_with('/') {
        return Line::Words(rest);
    }
    let (name, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let argument = argument.trim();
    Line::Command(match name {
        "help" | "h" | "?" => Command::Help,
        "system" => Command::System(argument),
        "model" | "m" => Command::Model(argument),
        "clear" | "new" => Command::Clear,
        "retry" => Command::Retry,
        "save" => Command::Save(argument),
        "stats" => Command::Stats,
        "reasoning" => Command::Reasoning,
        "quit" | "exit" | "q" => Command::Quit,
        _ => Command::Unknown(name),
    })
}

/// The list for `/help`.
pub(super) fn help() -> String {
    let mut text = String::new();
    for (name, what) in COMMANDS {
        text += &format!("  {name:<11} {what}\n");
    }
    text += "A line that ends in \\ goes on in the next. A message that begins with / is written with //.\n";
    text + "Lines are kept in loquat/chat-history below XDG_DATA_HOME (or ~/.local/share), but for one that begins with a space."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        for (line, read) in [
            ("", Line::Empty),
            ("  hello ", Line::Words("hello")),
            ("//etc is what?", Line::Words("/etc is what?")),
            ("/quit", Line::Command(Command::Quit)),
            ("/system  be brief ", Line::Command(Command::System("be brief"))),
            ("/save a b.md", Line::Command(Command::Save("a b.md"))),
            ("/nonsense x", Line::Command(Command::Unknown("nonsense"))),
            ("/", Line::Command(Command::Unknown(""))),
        ] {
            assert_eq!(parse(line), read, "{line}");
        }
    }

    #[test]
    fn every_listed_command_is_known() {
        for (name, _) in COMMANDS {
            assert!(!matches!(parse(name), Line::Command(Command::Unknown(_))), "{name}");
        }
    }
}
