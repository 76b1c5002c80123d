//! What of Python shows in a rendered prompt: how `json.dumps` writes, what `str.strip` takes away.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

/// Deepest JSON that is written: the value comes from JSON that was read, which is bounded alike.
const MAX_DEPTH: usize = 128;

/// `json.dumps(value, ensure_ascii=False)`: a blank behind `:` and `,`, no escapes for HTML. That is Hugging Face's `tojson`;
/// Jinja's own escapes `<`, `>`, `&` and `'`, which a prompt must not.
pub(super) fn to_json(value: &Value, indent: Option<usize>) -> Result<String, Error> {
    let mut text = String::new();
    write(value, indent, 0, &mut text)?;
    Ok(text)
}

fn write(value: &Value, indent: Option<usize>, depth: usize, to: &mut String) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::new(ErrorKind::InvalidOperation, "JSON nested too deep"));
    }
    let line = |to: &mut String, depth: usize| {
        if let Some(indent) = indent {
            to.push('\n');
            to.extend(std::iter::repeat_n(' ', indent.min(16) * depth));
        }
    };
    let comma = if indent.is_some() { "," } else { ", " };
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => to.push_str("null"),
        ValueKind::Map => {
            to.push('{');
            let mut is_empty = true;
            for key in value.try_iter()? {
                if !is_empty {
                    to.push_str(comma);
                }
                is_empty = false;
                line(to, depth + 1);
                string(key.as_str().unwrap_or(&key.to_string()), to);
                to.push_str(": ");
                write(&value.get_item(&key)?, indent, depth + 1, to)?;
            }
            if !is_empty {
                line(to, depth);
            }
            to.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            to.push('[');
            let mut is_empty = true;
            for item in value.try_iter()? {
                if !is_empty {
                    to.push_str(comma);
                }
                is_empty = false;
                line(to, depth + 1);
                write(&item, indent, depth + 1, to)?;
            }
            if !is_empty {
                line(to, depth);
            }
            to.push(']');
        }
        ValueKind::Bool | ValueKind::Number => to.push_str(&value.to_string()),
        _ => match value.as_str() {
            Some(text) => string(text, to),
            None => return Err(Error::new(ErrorKind::InvalidOperation, "a value without a JSON form")),
        },
    }
    Ok(())
}

fn string(text: &str, to: &mut String) {
    to.push('"');
    for character in text.chars() {
        match character {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            '\u{8}' => to.push_str("\\b"),
            '\u{c}' => to.push_str("\\f"),
            control if control < ' ' => to.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => to.push(other),
        }
    }
    to.push('"');
}

/// `str.strip()`: Unicode's white space, and the four separators that Python counts among it.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(|character: char| {
        character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
    })
}
