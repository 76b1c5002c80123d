//! The helpers that every template may call, beside handlebars' own (`if`, `unless`, `with`, `lookup`, `eq`, `and`, `len` …).
//!
//! | helper | what it gives |
//! |---|---|
//! | `{{json value}}`, `{{json value pretty=true}}` | JSON, members in the order of the data |
//! | `{{trim text}}`, `{{upper text}}`, `{{lower text}}` | that |
//! | `{{join list ", "}}` | the items, with that between them |
//! | `{{default value "x"}}` | the value, or the other where it is missing, null or empty |
//! | `{{indent text 4}}` | every line but the first moved to the right |
//! | `{{date time "%d %B %Y"}}` | Unix seconds, or an RFC 3339 text, in UTC (see [`date`](super::date)) |
//! | `{{truncate_chars text 100}}` | that many characters, no more |
//! | `{{truncate_tokens text 100}}`, `… from="head"` | that many tokens, no more; `from` says what goes |
//! | `{{count_tokens text}}` | how many |
//!
//! There is no helper for the present time, on purpose: a prompt that holds it begins differently each time, and no cache of
//! any kind serves it. Who wants it passes it in.

use std::{io::Write as _, sync::Arc};

use handlebars::{
    BlockContext, BlockParams, Context, Handlebars, Helper, HelperDef, HelperResult, JsonRender, Output,
    PathAndJson, RenderContext, RenderError, RenderErrorReason, Renderable, ScopedJson,
};
use serde_json::{Map, Value};

use super::budget::{self, Making, TOO_LONG, TOO_MUCH};
use super::{date, held::size};
use crate::tokenizer::{Keep, Tokenizer};

/// A helper as a function of values.
pub(super) type Body = Arc<dyn Fn(&[Value], &Map<String, Value>) -> Result<Value, String> + Send + Sync>;

/// A helper that computes a value from values.
pub(super) struct Function {
    pub(super) body: Body,
    /// Whether a missing argument is null instead of an error.
    pub(super) takes_missing: bool,
    /// Whether it keeps to the budget itself, because what it makes can be much longer than what it is given.
    pub(super) pays: bool,
}

impl HelperDef for Function {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        budget::step()?;
        let strict = registry.strict_mode() && !self.takes_missing;
        let all = helper.params().iter().chain(helper.hash().values());
        let most = budget::room();
        let bytes = all
            .fold(0, |sum: usize, given| sum.saturating_add(size(given.value(), most.saturating_sub(sum))));
        let refused = |what| RenderErrorReason::Other(format!("{}: {what}", helper.name()));
        budget::copy(bytes).map_err(|_| refused(TOO_MUCH.to_owned()))?;
        let value = |given: &PathAndJson<'rc>| match (given.is_value_missing(), strict) {
            (true, true) => Err(RenderError::strict_error(given.relative_path())),
            (true, false) => Ok(Value::Null),
            _ => Ok(given.value().clone()),
        };
        let arguments = helper.params().iter().map(value).collect::<Result<Vec<_>, _>>()?;
        let mut named = Map::new();
        for (name, given) in helper.hash() {
            named.insert((*name).to_owned(), value(given)?);
        }
        let result = (self.body)(&arguments, &named);
        budget::look()?;
        let result = result.map_err(refused)?;
        match &result {
            Value::String(text) if !self.pays => {
                budget::make(text.len()).map_err(|_| refused(TOO_LONG.to_owned()))?;
            }
            Value::Array(_) | Value::Object(_) => {
                let bytes = size(&result, budget::room());
                budget::copy(bytes).map_err(|_| refused(TOO_MUCH.to_owned()))?;
            }
            _ => {}
        }
        Ok(ScopedJson::Derived(result))
    }
}

/// The built-in helpers; those of tokens only where there is something to count with.
pub(super) fn built_in(tokenizer: Option<Arc<dyn Tokenizer>>) -> Vec<(&'static str, Function)> {
    let mut all: Vec<(&'static str, Function)> = Vec::new();
    let mut add = |name: &'static str, takes_missing, body: Body| {
        let pays = matches!(name, "json" | "join" | "indent");
        all.push((name, Function { body, takes_missing, pays }));
    };
    add("json", false, Arc::new(json));
    add("trim", false, Arc::new(|given, _| Ok(text(given, 0)?.trim().into())));
    add("upper", false, Arc::new(|given, _| Ok(text(given, 0)?.to_uppercase().into())));
    add("lower", false, Arc::new(|given, _| Ok(text(given, 0)?.to_lowercase().into())));
    add("join", false, Arc::new(join));
    add("default", true, Arc::new(default));
    add("indent", false, Arc::new(indent));
    add("date", false, Arc::new(date_of));
    add(
        "truncate_chars",
        false,
        Arc::new(|given, _| {
            let (text, limit) = (text(given, 0)?, number(given, 1)?);
            let end = text.char_indices().nth(limit).map_or(text.len(), |(at, _)| at);
            Ok(text.get(..end).unwrap_or_default().into())
        }),
    );
    if let Some(tokenizer) = tokenizer {
        let counter = Arc::clone(&tokenizer);
        let count = move |given: &[Value], _: &Map<String, Value>| {
            counter.count(text(given, 0)?).map(Value::from).map_err(|error| error.to_string())
        };
        add("count_tokens", false, Arc::new(count));
        add(
            "truncate_tokens",
            false,
            Arc::new(move |given, named| {
                let (text, limit) = (text(given, 0)?, number(given, 1)?);
                let keep = match named.get("from").and_then(Value::as_str) {
                    None | Some("tail") => Keep::Head,
                    Some("head") => Keep::Tail,
                    Some(_) => return Err("`from` is \"head\" or \"tail\"".to_owned()),
                };
                tokenizer.truncate(text, limit, keep).map(Value::from).map_err(|error| error.to_string())
            }),
        );
    }
    all
}

fn text(given: &[Value], at: usize) -> Result<&str, String> {
    let value = given.get(at).ok_or_else(|| format!("argument {} is missing", at + 1))?;
    value.as_str().ok_or_else(|| format!("argument {} is {}, not a text", at + 1, kind(value)))
}

fn number(given: &[Value], at: usize) -> Result<usize, String> {
    let value = given.get(at).ok_or_else(|| format!("argument {} is missing", at + 1))?;
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| format!("argument {} is not a whole number", at + 1))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn json(given: &[Value], named: &Map<String, Value>) -> Result<Value, String> {
    let value = given.first().ok_or("what is to be JSON?")?;
    let pretty = named.get("pretty").and_then(Value::as_bool).unwrap_or(false);
    let mut made = Making::default();
    let written = if pretty {
        serde_json::to_writer_pretty(&mut made, value)
    } else {
        serde_json::to_writer(&mut made, value)
    };
    written.map_err(|error| if error.is_io() { TOO_LONG } else { "the value has no JSON form" })?;
    text_of(made)
}

fn join(given: &[Value], _: &Map<String, Value>) -> Result<Value, String> {
    let list = given.first().and_then(Value::as_array).ok_or("argument 1 is not a list")?;
    let between = if given.len() > 1 { text(given, 1)? } else { ", " };
    let mut joined = Making::default();
    let mut push = |text: &str| joined.write_all(text.as_bytes()).map_err(|_| TOO_LONG.to_owned());
    for (index, item) in list.iter().enumerate() {
        budget::step().map_err(|_| "too many items".to_owned())?;
        if index > 0 {
            push(between)?;
        }
        match item {
            Value::String(text) => push(text)?,
            other => push(&other.render())?,
        }
    }
    text_of(joined)
}

fn text_of(made: Making) -> Result<Value, String> {
    String::from_utf8(made.0).map(Value::from).map_err(|_| "no text".to_owned())
}

fn default(given: &[Value], _: &Map<String, Value>) -> Result<Value, String> {
    let [value, other] = given else { return Err("a value and another are wanted".to_owned()) };
    let is_empty = value.is_null() || value.as_str().is_some_and(str::is_empty);
    Ok(if is_empty { other.clone() } else { value.clone() })
}

/// Widest indentation: so that a number in the data cannot ask for gigabytes.
const MAX_INDENT: usize = 256;

fn indent(given: &[Value], _: &Map<String, Value>) -> Result<Value, String> {
    let (text, by) = (text(given, 0)?, number(given, 1)?);
    if by > MAX_INDENT {
        return Err(format!("at most {MAX_INDENT} columns"));
    }
    let lines = text.bytes().filter(|byte| *byte == b'\n').count();
    budget::make(text.len() + lines * by).map_err(|_| TOO_LONG)?;
    Ok(text.replace('\n', &format!("\n{}", " ".repeat(by))).into())
}

fn date_of(given: &[Value], _: &Map<String, Value>) -> Result<Value, String> {
    let when = match given.first() {
        Some(Value::Number(seconds)) => seconds.as_i64(),
        Some(Value::String(text)) => date::parse(text),
        _ => None,
    };
    let when = when.ok_or("argument 1 is neither Unix seconds nor an RFC 3339 time")?;
    let format = if given.len() > 1 { text(given, 1)? } else { "%Y-%m-%d" };
    date::format(when, format).map(Value::from)
}

/// `each` as handlebars has it, with every turn counted.
pub(super) struct Each;

impl HelperDef for Each {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        context: &'rc Context,
        render: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let value = helper.param(0).ok_or(RenderErrorReason::ParamNotFoundForIndex("each", 0))?;
        let Some(body) = helper.template() else { return Ok(()) };
        let items: Box<dyn Iterator<Item = (Option<&String>, &Value)> + '_> = match value.value() {
            Value::Array(list) => Box::new(list.iter().map(|item| (None, item))),
            Value::Object(object) => Box::new(object.iter().map(|(key, item)| (Some(key), item))),
            _ => Box::new(std::iter::empty()),
        };
        let length = items.size_hint().0;
        if length == 0 {
            return match helper.inverse() {
                Some(otherwise) => otherwise.render(registry, context, render, out),
                None => nothing(value, registry),
            };
        }
        let base = value.context_path();
        let mut block = BlockContext::new();
        match base {
            Some(path) => block.base_path_mut().clone_from(path),
            None => block.set_base_value(value.value().clone()),
        }
        render.push_block(block);
        let result = items.enumerate().try_for_each(|(index, (key, item))| {
            budget::step()?;
            if let Some(block) = render.block_mut() {
                let place = turn(block, helper, base, index, length, key, item)?;
                if let Some(path) = base {
                    if index == 0 {
                        *block.base_path_mut() = path.iter().cloned().chain([place]).collect();
                    } else if let Some(last) = block.base_path_mut().last_mut() {
                        *last = place;
                    }
                } else {
                    block.set_base_value(item.clone());
                }
            }
            body.render(registry, context, render, out)
        });
        render.pop_block();
        result
    }
}

/// What there is to be gone through in a value without items: nothing, unless the data lack it or hold something else in its place.
fn nothing(value: &PathAndJson<'_>, registry: &Handlebars<'_>) -> HelperResult {
    match value.value() {
        _ if !registry.strict_mode() => Ok(()),
        _ if value.is_value_missing() => Err(RenderError::strict_error(value.relative_path())),
        Value::Null | Value::Array(_) | Value::Object(_) => Ok(()),
        other => {
            let what = format!("each: argument 1 is {}, not a list or an object", kind(other));
            Err(RenderErrorReason::Other(what).into())
        }
    }
}

/// Sets what one turn sees; gives the last part of its path.
fn turn<'rc>(
    block: &mut BlockContext<'rc>,
    helper: &Helper<'rc>,
    base: Option<&Vec<String>>,
    index: usize,
    length: usize,
    key: Option<&String>,
    item: &Value,
) -> Result<String, RenderError> {
    block.set_local_var("first", (index == 0).into());
    block.set_local_var("last", (index + 1 == length).into());
    block.set_local_var("index", index.into());
    let name = key.map_or_else(|| Value::from(index), |key| Value::from(key.as_str()));
    if key.is_some() {
        block.set_local_var("key", name.clone());
    }
    let names = helper.block_param_pair().map(|(value, key)| (value, Some(key)));
    if let Some((value, key)) = names.or_else(|| helper.block_param().map(|value| (value, None))) {
        let mut params = BlockParams::new();
        match base {
            Some(_) => params.add_path(value, Vec::new())?,
            None => params.add_value(value, item.clone())?,
        }
        if let Some(key) = key {
            params.add_value(key, name)?;
        }
        block.set_block_params(params);
    }
    Ok(key.map_or_else(|| index.to_string(), String::clone))
}
