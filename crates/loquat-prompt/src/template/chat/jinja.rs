//! The program of a chat template, run with bounds.
//!
//! It is code from a stranger's file: it gets the conversation and nothing else, no files, no includes, no environment, and so
//! many steps. Set as Hugging Face's `apply_chat_template` sets Jinja (transformers, `chat_template_utils.py`): blocks are
//! trimmed, loops may be left, and there are `raise_exception`, `strftime_now`, `tojson`, `fromjson` and `{% generation %}`.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, Error, ErrorKind, Value};

use super::values::Guard;
use super::{Chat, MAX_SOURCE_BYTES, python};
use crate::template::{TemplateError, TemplateErrorKind as Kind, date};

/// Steps of the virtual machine: a message takes about a hundred.
const MAX_STEPS: u64 = 4_000_000;
pub(super) const NAME: &str = "chat_template";

/// A compiled program.
#[derive(Debug)]
pub(super) struct Program {
    environment: Option<Environment<'static>>,
    /// Whether it tells calls from words by `content is none`.
    wants_none: bool,
}

impl Program {
    pub(super) fn none() -> Self {
        Self { environment: None, wants_none: false }
    }

    pub(super) fn compile(source: String) -> Result<Self, TemplateError> {
        if source.len() > MAX_SOURCE_BYTES {
            let what = format!("a chat template of {} bytes; allowed are {MAX_SOURCE_BYTES}", source.len());
            return Err(TemplateError::new(Kind::TooLarge, NAME, what));
        }
        let wants_none =
            ["content is none", "content'] is none", "content\"] is none"].iter().any(|a| source.contains(a));
        let mut environment = Environment::empty();
        environment.set_fuel(Some(MAX_STEPS));
        environment.set_recursion_limit(64);
        let syntax =
            SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|e| placed(&e))?;
        environment.set_syntax(syntax);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        add_builtins(&mut environment);
        environment.add_template_owned(NAME, without_generation(source)).map_err(|error| placed(&error))?;
        Ok(Self { environment: Some(environment), wants_none })
    }

    pub(super) fn render(
        &self,
        chat: &Chat<'_>,
        guard: &Guard<'_>,
        beginning: &str,
        end: &str,
    ) -> Result<String, TemplateError> {
        let Some(environment) = &self.environment else {
            let what = "this format is for words alone: tools, media and odd orders of roles need the model's own template";
            return Err(TemplateError::new(Kind::Data, NAME, what));
        };
        let mut variables: Vec<(String, Value)> =
            chat.variables.iter().map(|(name, value)| (name.clone(), Value::from(Serde(value)))).collect();
        let now = chat.now;
        let own = [
            ("messages", guard.messages(chat, self.wants_none)?),
            ("tools", guard.tools(chat)?),
            ("add_generation_prompt", Value::from(chat.opens_answer)),
            ("bos_token", Value::from(beginning)),
            ("eos_token", Value::from(end)),
            ("strftime_now", Value::from_function(move |format: String| strftime(now, &format))),
        ];
        variables.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let template = environment.get_template(NAME).map_err(|error| placed(&error))?;
        template.render(Value::from_pairs(variables)).map_err(|error| placed(&error))
    }
}

fn strftime(now: Option<i64>, format: &str) -> Result<String, Error> {
    let refused = |what: String| Error::new(ErrorKind::InvalidOperation, what);
    let now = now.ok_or_else(|| refused("the template asks for the time, and none was given".to_owned()))?;
    date::format(now, format).map_err(refused)
}

/// `{% generation %}` marks what a model said, for training; in a prompt it stands for nothing.
fn without_generation(source: String) -> String {
    if !source.contains("generation") {
        return source;
    }
    let mut kept = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        let Some(end) = tag.find("%}") else { break };
        let (tag, after) = tag.split_at(end + 2);
        let word =
            tag.trim_start_matches("{%").trim_end_matches("%}").trim_matches(['-', '+', ' ', '\n', '\t']);
        kept.push_str(before);
        if matches!(word, "generation" | "endgeneration") {
            // An `if` that always holds keeps what the tag does to the white space around it.
            let (open, close) = (
                if tag.starts_with("{%-") { "{%-" } else { "{%" },
                if tag.ends_with("-%}") { "-%}" } else { "%}" },
            );
            let word = if word == "generation" { "if true" } else { "endif" };
            kept.push_str(&format!("{open} {word} {close}"));
        } else {
            kept.push_str(tag);
        }
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// The library's error in our words; its own may show values.
fn placed(error: &Error) -> TemplateError {
    let kind = match error.kind() {
        ErrorKind::SyntaxError => Kind::Syntax,
        ErrorKind::OutOfFuel => Kind::TooLong,
        ErrorKind::UndefinedError => Kind::MissingVariable,
        ErrorKind::UnknownFilter
        | ErrorKind::UnknownFunction
        | ErrorKind::UnknownMethod
        | ErrorKind::UnknownTest => Kind::UnknownHelper,
        _ => Kind::Data,
    };
    let what = match (kind, error.detail()) {
        (Kind::TooLong, _) => format!("more than {MAX_STEPS} steps"),
        // What `raise_exception` says is the template's word for the caller.
        (_, Some(detail)) => format!("{}: {detail}", error.kind()),
        (_, None) => error.kind().to_string(),
    };
    let shown = TemplateError::new(kind, NAME, what);
    match error.line() {
        Some(line) => shown.at(line, 1),
        None => shown,
    }
}

/// What of Jinja's standard library templates use; the rest stays out of a stranger's reach.
fn add_builtins(environment: &mut Environment<'_>) {
    use minijinja::{filters, functions, tests};
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_filter("trim", |text: String| python::strip(&text).to_owned());
    environment.add_filter("tojson", |value: Value, arguments: Kwargs| {
        let indent: Option<usize> = arguments.get("indent")?;
        python::to_json(&value, indent)
    });
    environment.add_filter("fromjson", |text: String| {
        serde_json::from_str::<Value>(&text).map_err(|_| Error::new(ErrorKind::InvalidOperation, "no JSON"))
    });
    environment.add_filter("upper", filters::upper);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("capitalize", filters::capitalize);
    environment.add_filter("title", filters::title);
    environment.add_filter("replace", filters::replace);
    environment.add_filter("length", filters::length);
    environment.add_filter("count", filters::length);
    environment.add_filter("default", filters::default);
    environment.add_filter("first", filters::first);
    environment.add_filter("last", filters::last);
    environment.add_filter("join", filters::join);
    environment.add_filter("list", filters::list);
    environment.add_filter("items", filters::items);
    environment.add_filter("dictsort", filters::dictsort);
    environment.add_filter("map", filters::map);
    environment.add_filter("select", filters::select);
    environment.add_filter("reject", filters::reject);
    environment.add_filter("selectattr", filters::selectattr);
    environment.add_filter("rejectattr", filters::rejectattr);
    environment.add_filter("reverse", filters::reverse);
    environment.add_filter("indent", filters::indent);
    environment.add_filter("int", filters::int);
    environment.add_filter("safe", |value: Value| value);
    environment.add_filter("string", |value: Value| value.to_string());
    environment.add_test("defined", tests::is_defined);
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("none", tests::is_none);
    environment.add_test("string", tests::is_string);
    environment.add_test("mapping", tests::is_mapping);
    environment.add_test("iterable", tests::is_iterable);
    environment.add_test("sequence", tests::is_sequence);
    environment.add_test("number", tests::is_number);
    environment.add_test("boolean", tests::is_boolean);
    environment.add_test("true", tests::is_true);
    environment.add_test("false", tests::is_false);
    environment.add_test("equalto", tests::is_eq);
    environment.add_test("eq", tests::is_eq);
    environment.add_test("in", tests::is_in);
    environment.add_function("range", functions::range);
    environment.add_function("namespace", functions::namespace);
    environment.add_function("dict", functions::dict);
}
