//! Arguments of a function call that come in pieces: a path into the arguments, and a value or more of a text.
//!
//! A path is the JSONPath of a single place (`$.recipe.steps[0]`, RFC 9535 §2.7). Places come in the order of the document
//! in every recording; here they may come in any, as the arguments are put together and told at their end. Numbers from
//! the peer never reserve anything: a list grows by one.

use loquat_core::{Error, ErrorKind, Result};
use serde_json::{Map, Value};

/// Deepest place; the extractor's own bound.
const MAX_DEPTH: usize = 64;

/// The arguments so far.
#[derive(Debug)]
pub(super) struct Arguments {
    root: Value,
    bytes: usize,
    max_bytes: usize,
}

impl Arguments {
    /// Holds that many bytes of paths and texts at most.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { root: Value::Object(Map::new()), bytes: 0, max_bytes }
    }

    /// All arguments at once, or the first of them.
    pub(super) fn begin(&mut self, json: &str) -> Result<()> {
        self.grow(json.len())?;
        if let Ok(value @ Value::Object(_)) = serde_json::from_str(json) {
            self.root = value;
        }
        Ok(())
    }

    /// A piece. Text is appended to a text that is there already; anything else replaces.
    pub(super) fn piece(&mut self, path: &str, value: Value) -> Result<()> {
        let added = match &value {
            Value::String(text) => text.len(),
            _ => 8,
        };
        // A level costs more than its name.
        self.grow(added + path.len() + 32)?;
        let place = place(&mut self.root, path).ok_or_else(|| {
            Error::new(ErrorKind::Protocol, "a piece of a call's arguments has no place in them")
        })?;
        match (place, value) {
            (Value::String(text), Value::String(more)) => text.push_str(&more),
            (place, value) => *place = value,
        }
        Ok(())
    }

    /// The arguments as JSON text.
    pub(super) fn text(&self) -> String {
        self.root.to_string()
    }

    fn grow(&mut self, by: usize) -> Result<()> {
        self.bytes = self.bytes.saturating_add(by);
        if self.bytes > self.max_bytes {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("the arguments of a call are longer than max_answer_bytes ({})", self.max_bytes),
            ));
        }
        Ok(())
    }
}

/// The place a path leads to, made where it is missing. `None` for a path that is none, or leads nowhere.
fn place<'a>(root: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let mut rest = path.strip_prefix('$')?;
    let mut here = root;
    for _ in 0..MAX_DEPTH {
        if rest.is_empty() {
            return Some(here);
        }
        let (step, tail) = step(rest)?;
        rest = tail;
        here = match step {
            Step::Member(name) => {
                if here.is_null() {
                    *here = Value::Object(Map::new());
                }
                here.as_object_mut()?.entry(name).or_insert(Value::Null)
            }
            Step::Element(index) => {
                if here.is_null() {
                    *here = Value::Array(Vec::new());
                }
                let list = here.as_array_mut()?;
                if index == list.len() {
                    list.push(Value::Null);
                }
                list.get_mut(index)?
            }
        };
    }
    None
}

enum Step<'p> {
    Member(&'p str),
    Element(usize),
}

/// `.name`, `[0]`, `['name']` or `["name"]`, and what follows.
fn step(path: &str) -> Option<(Step<'_>, &str)> {
    if let Some(rest) = path.strip_prefix('.') {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        return (end > 0).then(|| (Step::Member(&rest[..end]), &rest[end..]));
    }
    let rest = path.strip_prefix('[')?;
    for quote in ['\'', '"'] {
        if let Some(name) = rest.strip_prefix(quote) {
            let end = name.find(quote)?;
            return Some((Step::Member(&name[..end]), name[end + 1..].strip_prefix(']')?));
        }
    }
    let (index, rest) = rest.split_once(']')?;
    Some((Step::Element(index.parse().ok()?), rest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn built(pieces: &[(&str, Value)]) -> Result<String> {
        let mut arguments = Arguments::new(2000);
        for (path, value) in pieces {
            arguments.piece(path, value.clone())?;
        }
        Ok(arguments.text())
    }

    #[test]
    fn pieces_find_their_places() {
        let text = built(&[
            ("$.a.b[0].c", json!("x")),
            ("$.a.b[0].c", json!("y")),
            ("$.a.b[1]", json!(2)),
            ("$['odd name']", json!(null)),
            ("$.a.d", json!(true)),
        ]);
        assert_eq!(text.as_deref(), Ok(r#"{"a":{"b":[{"c":"xy"},2],"d":true},"odd name":null}"#));
    }

    #[test]
    fn hostile_paths_are_errors() {
        let kind = |path: &str| built(&[(path, json!(1))]).map_err(|error| error.kind());
        for path in ["", "a", "$a", "$.", "$[", "$[x]", "$[-1]", "$.a[4000000000]", "$.a[1]", "$['a", "$[0]"]
        {
            assert_eq!(kind(path), Err(ErrorKind::Protocol), "{path}");
        }
        assert_eq!(kind(&format!("${}", ".a".repeat(65))), Err(ErrorKind::Protocol));
        assert_eq!(kind(&format!("$.{}", "a".repeat(3000))), Err(ErrorKind::TooLarge));
    }
}
