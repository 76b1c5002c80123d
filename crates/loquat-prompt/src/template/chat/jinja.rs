//! The program of a chat template, run with bounds.
//!
//! It is code from a stranger's file: it gets the conversation and nothing else, no files, no includes, no environment, and so
//! many steps. Set as Hugging Face's `apply_chat_template` sets Jinja (transformers, `chat_template_utils.py`): blocks are
//! trimmed, loops may be left, and there are `raise_exception`, `strftime_now`, `tojson`, `fromjson` and `{% generation %}`.

use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::guard::Guard;
use super::values::Values;
use super::{Chat, MAX_OUTPUT_BYTES, MAX_SOURCE_BYTES, RenderedChat, python, words};
use crate::template::{TemplateError, TemplateErrorKind as Kind, date};
use crate::tokenizer::Tokenizer;

/// Steps of the virtual machine: a message takes about a hundred. 64 bytes of a text that is made or written are one more, so no
/// program holds more than 256 MB.
const MAX_STEPS: u64 = 4_000_000;
pub(super) const NAME: &str = "chat_template";

/// A compiled program.
#[derive(Debug)]
pub(super) struct Program {
    environment: Option<Environment<'static>>,
    source: String,
    /// Whether it tells calls from words by `content is none`.
    wants_none: bool,
}

impl Program {
    pub(super) fn none() -> Self {
        Self { environment: None, source: String::new(), wants_none: false }
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
        environment.set_unknown_method_callback(words::method);
        add_builtins(&mut environment);
        let compiled = environment.add_template_owned(NAME, without_generation(source.clone()));
        compiled.map_err(|error| placed(&error))?;
        Ok(Self { environment: Some(environment), source, wants_none })
    }

    /// The conversation as the program writes it, run until no word of the caller's can be a part of a control token in it.
    pub(super) fn render(
        &self,
        chat: &Chat<'_>,
        tokenizer: Option<&dyn Tokenizer>,
        beginning: &str,
        end: &str,
    ) -> Result<RenderedChat, TemplateError> {
        let mut guard = Guard::new(&self.source, tokenizer);
        let mut values = guard.guarding(|guard| Values::new(chat, guard, self.wants_none))?;
        for _ in 0..MAX_RUNS {
            let (written, changed) = words::run(&guard, || self.run(&values, chat, beginning, end));
            let rendered = guard.remove(written?);
            let parts = guard.parts();
            if !guard.learn(&rendered) {
                return Ok(rendered);
            }
            values = guard.guarding(|guard| Values::new(chat, guard, self.wants_none))?;
            if !changed && guard.parts() == parts {
                return Ok(rendered);
            }
        }
        let what = "it makes ever other control tokens of what it is given";
        Err(TemplateError::new(Kind::Data, NAME, what))
    }

    /// One run.
    fn run(
        &self,
        values: &Values<'_>,
        chat: &Chat<'_>,
        beginning: &str,
        end: &str,
    ) -> Result<String, TemplateError> {
        let Some(environment) = &self.environment else {
            let what = "this format is for words alone: tools, media and odd orders of roles need the model's own template";
            return Err(TemplateError::new(Kind::Data, NAME, what));
        };
        let now = chat.now;
        let own = [
            ("messages", values.messages.clone()),
            ("tools", values.tools.clone()),
            ("add_generation_prompt", Value::from(chat.opens_answer)),
            ("bos_token", Value::from(beginning)),
            ("eos_token", Value::from(end)),
            ("strftime_now", Value::from_function(move |format: String| strftime(now, &format))),
        ];
        // The last one of a name counts.
        let variables = values.variables.iter().cloned().chain(own);
        let template = environment.get_template(NAME).map_err(|error| placed(&error))?;
        let mut text = Vec::new();
        let written = template.render_captured_to(Value::from_pairs(variables), Bounded(&mut text));
        written.map_err(|error| placed(&error))?;
        String::from_utf8(text).map_err(|_| TemplateError::new(Kind::Data, NAME, "the prompt is no text"))
    }
}

/// Most runs for one conversation. Two are usual where one is not enough; each further one follows a control token that only the run
/// before brought about.
const MAX_RUNS: usize = 6;

/// Where a prompt is written to: refuses what is over the limit while it arrives.
struct Bounded<'a>(&'a mut Vec<u8>);

impl io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > MAX_OUTPUT_BYTES - self.0.len() {
            return Err(io::Error::from(io::ErrorKind::QuotaExceeded));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
pub(super) fn placed(error: &Error) -> TemplateError {
    let kind = match error.kind() {
        ErrorKind::SyntaxError => Kind::Syntax,
        ErrorKind::OutOfFuel => Kind::TooLong,
        ErrorKind::WriteFailure => Kind::TooLarge,
        ErrorKind::UndefinedError => Kind::MissingVariable,
        ErrorKind::UnknownFilter
        | ErrorKind::UnknownFunction
        | ErrorKind::UnknownMethod
        | ErrorKind::UnknownTest => Kind::UnknownHelper,
        _ => Kind::Data,
    };
    let what = match (kind, error.detail()) {
        (Kind::TooLong, _) => format!("more than {MAX_STEPS} steps, or texts as long"),
        (Kind::TooLarge, _) => format!("a prompt of more than {MAX_OUTPUT_BYTES} bytes"),
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
    environment.add_filter("fromjson", |text: String| words::from_json(&text));
    for name in ["upper", "lower", "capitalize", "title"] {
        let filter = move |state: &mut State<'_, '_>, value: &Value| words::filter(state, value, name, &[]);
        environment.add_filter(name, filter);
    }
    environment.add_filter("replace", |state: &mut State<'_, '_>, value: &Value, old: Value, new: Value| {
        words::filter(state, value, "replace", &[old, new])
    });
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
    environment.add_filter("reverse", |value: &Value| {
        let reversed = filters::reverse(value)?;
        let text = value.as_str().zip(reversed.as_str());
        Ok::<_, Error>(text.map(|(from, text)| words::turned(text, from).into()).unwrap_or(reversed))
    });
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
