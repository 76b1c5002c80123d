//! What a program does to texts, done so that guards neither get in its way nor get lost.
//!
//! `replace` and its like can make a control token of a text that spells none (`<|im_XXend|>` without its `XX`), and `fromjson`
//! reads one out of escapes. So their results are looked through for the control tokens that are known to come out, and what
//! they made gets a guard. Which those are is known only when the program has run once: they say that they changed something.
//!
//! What `split` gives is a text like those that were given. What a program cuts by position (`text[2:]`) is not followed.

use std::cell::RefCell;

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback as python_method;

use super::guard::{self, Guard};

/// What is known of the guards of the program that runs.
struct Running {
    guard: char,
    written: Vec<String>,
    changed: bool,
}

thread_local! {
    /// minijinja hands filters no place for it, and a program never leaves its thread.
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// Runs a program; also whether it changed texts in a way that can make a token.
pub(super) fn run<T>(guard: &Guard<'_>, program: impl FnOnce() -> T) -> (T, bool) {
    /// Also where the program panics.
    struct Ended;
    impl Drop for Ended {
        fn drop(&mut self) {
            RUNNING.set(None);
        }
    }
    let running = Running { guard: guard.character(), written: guard.written().to_vec(), changed: false };
    RUNNING.set(Some(running));
    let _ended = Ended;
    let value = program();
    (value, RUNNING.with_borrow(|running| running.as_ref().is_some_and(|running| running.changed)))
}

/// A method of Python's.
pub(super) fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    given: &[Value],
) -> Result<Value, Error> {
    let guard = RUNNING.with_borrow(|running| running.as_ref().map(|running| running.guard));
    let (Some(guard), Some(text)) = (guard, value.as_str()) else {
        return python_method(state, value, name, given);
    };
    match name {
        "startswith" | "endswith" if text.contains(guard) => {
            python_method(state, &Value::from(text.replace(guard, "")), name, given)
        }
        "split" | "splitlines" => {
            let parts = python_method(state, value, name, given)?;
            // A guard guards what is behind it, and behind the end of a part there is nothing.
            let part = |part: Value| match part.as_str() {
                Some(text) => cut_off(text.trim_end_matches(guard)).into(),
                None => part,
            };
            Ok(Value::from(parts.try_iter()?.map(part).collect::<Vec<Value>>()))
        }
        "upper" | "lower" | "title" | "capitalize" | "replace" => {
            let result = python_method(state, value, name, given)?;
            let from: Vec<&str> = given.iter().filter_map(Value::as_str).chain([text]).collect();
            Ok(result.as_str().map(|result| made(result, &from).into()).unwrap_or(result))
        }
        _ => python_method(state, value, name, given),
    }
}

/// The same as a filter, which takes other values than texts too.
pub(super) fn filter(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    given: &[Value],
) -> Result<Value, Error> {
    if value.kind() == ValueKind::String {
        return method(state, value, name, given);
    }
    method(state, &Value::from(value.to_string()), name, given)
}

/// JSON as a value.
pub(super) fn from_json(text: &str) -> Result<Value, Error> {
    let value = serde_json::from_str::<Value>(text)
        .map_err(|_| Error::new(ErrorKind::InvalidOperation, "no JSON"))?;
    guard::each_text(&value, &|part| made(part, &[text]))
}

/// A text that was turned round, and its guards with it: they stand behind what they guard, so they are set anew.
pub(super) fn turned(result: &str, from: &str) -> String {
    let guard = RUNNING.with_borrow(|running| running.as_ref().map(|running| running.guard));
    guard.map_or_else(|| result.to_owned(), |guard| cut_off(&made(&result.replace(guard, ""), &[from])))
}

/// A part of a text, with a guard where it could be a part of a token.
fn cut_off(text: &str) -> String {
    RUNNING.with_borrow_mut(|running| {
        let Some(running) = running else { return text.to_owned() };
        running.changed = true;
        guard::guard_parts(text, &running.written, running.guard)
    })
}

/// What was made of these texts, with a guard before each token that is in none of them.
fn made(result: &str, from: &[&str]) -> String {
    RUNNING.with_borrow_mut(|running| {
        let Some(running) = running else { return result.to_owned() };
        if from.iter().any(|text| text.contains(result)) {
            return result.to_owned();
        }
        running.changed = true;
        let guard = running.guard;
        let is_new =
            |token: &&String| from.iter().all(|text| guard::unguarded(text, token, guard).next().is_none());
        let tokens: Vec<String> = running.written.iter().filter(is_new).cloned().collect();
        guard::guard_all(result, &tokens, guard)
    })
}
