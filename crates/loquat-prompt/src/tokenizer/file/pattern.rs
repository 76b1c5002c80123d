//! What a `tokenizer.json` does to a text before it is encoded: its normalizer, and the pattern that cuts words.

use loquat_core::{Error, Result};
use serde_json::Value;

use super::{Splitter, quoted, refused};
use crate::tokenizer::split::{Cl100k, Llama3, O200k, Pattern as _, Qwen2, Tekken, deepseek};

/// Whether text is to be in NFC; whatever else a normalizer does is refused.
pub(super) fn is_nfc(normalizer: &Value) -> Result<bool> {
    if normalizer.is_null() {
        return Ok(false);
    }
    match kind(normalizer) {
        "NFC" => Ok(true),
        "Sequence" => {
            let mut is_nfc_here = false;
            for step in steps(normalizer, "normalizers") {
                is_nfc_here |= is_nfc(step)?;
            }
            Ok(is_nfc_here)
        }
        other => Err(refused(&format!("its normalizer is {}, which is not supported", quoted(other)))),
    }
}

/// The pattern: one or more splits by regular expressions, and then bytes.
pub(super) fn splitter(pre_tokenizer: &Value) -> Result<Splitter> {
    if kind(pre_tokenizer) != "Sequence" {
        return Err(unknown(pre_tokenizer));
    }
    let mut regexes = Vec::new();
    let mut steps = steps(pre_tokenizer, "pretokenizers").iter();
    let Some(last) = steps.next_back() else { return Err(unknown(pre_tokenizer)) };
    for step in steps {
        let regex = step.pointer("/pattern/Regex").and_then(Value::as_str).filter(|_| kind(step) == "Split");
        regexes.push((regex.ok_or_else(|| unknown(step))?, keeps_all(step)));
    }
    let is_off = |name| last.get(name) == Some(&Value::Bool(false));
    if kind(last) != "ByteLevel" || !is_off("add_prefix_space") || !is_off("use_regex") {
        return Err(unknown(last));
    }
    // These match all of a text, so it is no difference whether what is between matches is kept or removed.
    if let [(regex, Some(_))] = regexes.as_slice() {
        let known = [
            (Llama3::REGEX, Splitter::Llama3),
            (Qwen2::REGEX, Splitter::Qwen2),
            (O200k::REGEX, Splitter::O200k),
            (Tekken::REGEX, Splitter::Tekken),
            (Cl100k::REGEX, Splitter::Cl100k),
        ];
        if let Some((_, splitter)) = known.iter().find(|(known, _)| known == regex) {
            return Ok(*splitter);
        }
    }
    if regexes.iter().copied().eq(deepseek::REGEXES.map(|regex| (regex, Some(Between::Kept)))) {
        return Ok(Splitter::DeepSeek);
    }
    let regexes: Vec<&str> = regexes.iter().map(|(regex, _)| *regex).collect();
    Err(refused(&format!("its pattern {} is none that is known", quoted(&regexes.join(" and ")))))
}

/// What becomes of the text between matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Kept,
    Removed,
}

/// How a split keeps each match as a word: `Isolated`, or `Removed` of what does not match. `None` for other behaviours.
fn keeps_all(split: &Value) -> Option<Between> {
    let is_inverted = split.get("invert") == Some(&Value::Bool(true));
    match (split.get("behavior").and_then(Value::as_str)?, is_inverted) {
        ("Isolated", false) => Some(Between::Kept),
        ("Removed", true) => Some(Between::Removed),
        _ => None,
    }
}

fn kind(step: &Value) -> &str {
    step.get("type").and_then(Value::as_str).unwrap_or("?")
}

fn steps<'v>(sequence: &'v Value, name: &str) -> &'v [Value] {
    sequence.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn unknown(step: &Value) -> Error {
    refused(&format!("its pre-tokenizer {} is none that is known, or set otherwise", quoted(kind(step))))
}
